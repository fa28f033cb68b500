"""Optimizer states on the host: what an update takes over the host link, on processors and from drives."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..catalog import Defaults
from ..catalog.systems import Fleet
from ..errors import MissingFactError
from ..physics import memory, roofline
from ..units import Bytes

PLACES = ("none", "cpu", "nvme")


def seconds_per_parameter(machine: Any, device: Any, place: str, states: Bytes, value: Bytes) -> Any:
    """Seconds that updating one parameter of a rank's shard takes when its states lie outside the device.

    Gradients go down and weights come up over the link to the host; the host reads and writes the states, which lie in its
    memory or on drives that all devices of the node share (Ren et al., ZeRO-Offload, arXiv:2101.06840; Rajbhandari et al.,
    ZeRO-Infinity, arXiv:2104.07857). Nothing of it is hidden.

    Args:
        machine: fleet or node
        device: its accelerator
        place: ``"cpu"`` or ``"nvme"``
        states: bytes of the states of a parameter
        value: bytes of a gradient, and of a weight

    Raises:
        MissingFactError: no known link to the host, or no drives

    Examples:
        >>> from mlsysim import Hardware, Systems
        >>> node = Systems.Nodes.DGX_H100
        >>> round(1e9 * float(seconds_per_parameter(node, Hardware.H100, "cpu", 12.0, 2.0)), 2)  # seconds, 1e9 parameters
        0.81
    """
    node = machine.node if isinstance(machine, Fleet) else machine
    link = device.si.host_bandwidth
    if link is None:
        raise MissingFactError(
            f"{device.id}: offloading needs a host_bandwidth; pass hardware.replace(host_bandwidth=...)"
        )
    sharers = node.si.accelerators_per_node
    over = roofline.memory_time(2 * value, link)
    touched = roofline.memory_time((2 * states + 2 * value) * sharers, Defaults["Training"].si.host_update_bandwidth)
    drives: Any = 0.0
    if place == "nvme":
        speed = node.si.storage_bandwidth
        if speed is None:
            raise MissingFactError(
                f"{node.id}: offload='nvme' needs a storage_bandwidth; pass node.replace(storage_bandwidth=...)"
            )
        drives = roofline.memory_time(2 * states * sharers, speed)
    return memory.sum_of_times(over, touched, drives)


def capacity(machine: Any, place: str) -> tuple[Any, tuple[str, ...]]:
    """Room for states beside one device: none where nothing lies there, infinite with a note where its size is unknown."""
    if place == "none":
        return 0.0, ()
    node = machine.node if isinstance(machine, Fleet) else machine
    found = node.si.host_memory if place == "cpu" else node.si.storage_capacity
    if found is None:
        return np.inf, (f"{node.id}: the room for offloaded states is unknown and was not checked",)
    return found / node.si.accelerators_per_node, ()
