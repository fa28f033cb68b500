"""A model spec to the work of a phase."""
