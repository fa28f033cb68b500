"""An operator on a device to time, traffic and energy."""
