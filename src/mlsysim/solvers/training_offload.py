"""States and weights on the host: what crosses its link, what its processors and drives take, and what of it hides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Defaults
from ..catalog.systems import Fleet
from ..errors import MissingFactError
from ..physics import hierarchical, memory, roofline
from ..units import Bytes, BytesPerSecond, Count, Seconds

PLACES = ("none", "cpu", "nvme")


@dataclass(frozen=True, slots=True)
class Host:
    """One device's share of its host: a link of its own, and part of the memory and of the drives of the node.

    ``states`` are the bytes of the optimizer's states of a parameter and ``value`` those of a gradient or a weight.
    ``place`` says where states lie and the update runs, ``weights`` where weights lie between their uses.
    """

    link: BytesPerSecond
    memory: BytesPerSecond
    drives: BytesPerSecond | None
    states: Bytes
    value: Bytes
    place: str = "none"
    weights: str = "none"
    delayed: bool = False

    def update(self, parameters: Count, window: Seconds, step: Seconds) -> Seconds:
        """What the update of a shard adds to a step.

        Gradients go down as the last backward pass makes them, so they hide behind it. Then the host works through the
        states in pieces: one is updated while the weights of another go up and the states of a third come from a drive, so
        the slowest of the three sets the pace (Ren et al., ZeRO-Offload, arXiv:2101.06840; Rajbhandari et al.,
        ZeRO-Infinity, arXiv:2104.07857). A delayed update runs beside the whole next step.

        Args:
            parameters: those of the shard that are trained
            window: the last backward pass
            step: passes of a whole step

        Examples:
            >>> host = Host(link=64e9, memory=37.5e9, drives=None, states=12.0, value=2.0, place="cpu")
            >>> [round(float(host.update(1e9, window, 1.0)), 3) for window in (0.0, 1.0)]
            [0.778, 0.747]
        """
        down = roofline.memory_time(parameters * self.value, self.link)
        pieces: Any = np.maximum(
            roofline.memory_time(parameters * (2 * self.states + 2 * self.value), self.memory),
            roofline.memory_time(parameters * self.value, self.link),
        )
        if self.place == "nvme":
            pieces = np.maximum(pieces, roofline.memory_time(parameters * 2 * self.states, self.drives))
        if self.delayed:
            pieces = hierarchical.exposed_time(pieces, step, 1.0)
        return memory.sum_of_times(hierarchical.exposed_time(down, window, 1.0), pieces, 0.0)

    def fetch(self, size: Bytes) -> Seconds:
        """Weights of a shard brought to the device for one use; from a drive they pass through the host's memory."""
        over: Any = roofline.memory_time(size, self.link)
        if self.weights == "nvme":
            over = np.maximum(over, roofline.memory_time(size, self.drives))
        return over

    def held(self, parameters: Count, trained: Any, shard: Count) -> Bytes:
        """Bytes that lie off the device: states of trained parameters, and weights."""
        states = parameters * trained * self.states if self.place != "none" else 0.0
        return states + (shard * self.value if self.weights != "none" else 0.0)


def host_of(
    machine: Any, device: Any, place: str, weights: str, states: Bytes, value: Bytes, delayed: bool = False
) -> Host | None:
    """The host of a device, or None where nothing lies there.

    Raises:
        MissingFactError: no known link to the host, or no drives
    """
    if place == "none" and weights == "none":
        return None
    node = machine.node if isinstance(machine, Fleet) else machine
    link = link_of(device)
    sharers, speed = node.si.accelerators_per_node, node.si.storage_bandwidth
    if "nvme" in (place, weights) and speed is None:
        raise MissingFactError(
            f"{node.id}: offload='nvme' needs a storage_bandwidth; pass node.replace(storage_bandwidth=...)"
        )
    return Host(
        link=link, memory=Defaults["Training"].si.host_update_bandwidth / sharers,
        drives=None if speed is None else speed / sharers, states=states, value=value, place=place, weights=weights,
        delayed=delayed,
    )  # fmt: skip


def link_of(device: Any) -> Any:
    """Bandwidth of a device's link to its host, one direction.

    Raises:
        MissingFactError: it is not known
    """
    if device.si.host_bandwidth is None:
        raise MissingFactError(
            f"{device.id}: offloading needs a host_bandwidth; pass hardware.replace(host_bandwidth=...)"
        )
    return device.si.host_bandwidth


def capacity(machine: Any, *places: str) -> tuple[Any, tuple[str, ...]]:
    """Room beside one device: none where nothing lies there, infinite with a note where its size is unknown."""
    used = [place for place in places if place != "none"]
    if not used:
        return 0.0, ()
    node = machine.node if isinstance(machine, Fleet) else machine
    sizes = {"cpu": node.si.host_memory, "nvme": node.si.storage_capacity}
    found = [sizes[place] for place in dict.fromkeys(used)]
    if any(size is None for size in found):
        return np.inf, (f"{node.id}: the room for offloaded states is unknown and was not checked",)
    return sum(found) / node.si.accelerators_per_node, ()
