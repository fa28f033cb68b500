"""The whole-model roofline of a device: which peak, which memory, which link."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog.formats import NumberFormat
from ..catalog.hardware import Device
from ..catalog.systems import Fleet, Node
from ..errors import MissingFactError
from ..physics import energy


@functools.lru_cache(maxsize=1024)
def peak_in(device: Device, number: NumberFormat) -> tuple[Any, tuple[str, ...]]:
    """The dense peak that arithmetic in a number format runs at, and notes on what stood in for it.

    A chip without a native rate computes in the next wider format it has; never in a narrower one.

    Raises:
        MissingFactError: the device (or one of a stack) has no usable peak
    """
    peaks = device.si.peaks
    chain = number.chain
    peak = peaks.get(chain[0])
    if peak is not None and not (isinstance(peak, np.ndarray) and np.isnan(peak).any()):
        return peak, ()
    used = np.array([chain[0]] * len(device.members or (device,)), dtype=object)
    found = np.full(len(used), np.nan) if peak is None else np.atleast_1d(np.asarray(peak)).copy()
    used[np.isnan(found)] = ""
    for precision in chain[1:]:
        candidate = peaks.get(precision)
        if candidate is not None:
            new = np.isnan(found) & ~np.isnan(np.atleast_1d(candidate))
            found, used = np.where(new, candidate, found), np.where(new, precision, used)
    members = device.members or (device,)
    lost = [member.id for member, value in zip(members, found, strict=True) if np.isnan(value)]
    if lost:
        have = ", ".join(peaks)
        raise MissingFactError(
            f"{', '.join(lost)} cannot compute in {number.id.lower()}: no {' or '.join(chain)} peak in the catalog; it has {have}"
        )
    wanted = chain[0]
    notes = tuple(
        f"{member.id} has no {wanted} peak; arithmetic runs in {precision}"
        for member, precision in zip(members, used, strict=True)
        if precision != wanted
    )
    if device.members:
        return found, notes
    return peaks[used[0]], notes


@dataclass(frozen=True, slots=True)
class Wiring:
    """How the chips of one group talk: inside the scale-up domain, and across it."""

    chip: Device
    domain: Any
    chips: Any
    inside: Any
    inside_latency: Any
    across: Any
    across_latency: Any
    notes: tuple[str, ...]


@functools.lru_cache(maxsize=1024)
def wiring(machine: Device | Node | Fleet, default_latency: Any) -> Wiring:
    """The links of a device, node or fleet; a device stands among its own kind in one scale-up domain."""
    if isinstance(machine, Fleet):
        inner = wiring(machine.node, default_latency)
        fabric, node = machine.si.fabric, machine.node.si
        nics = node.nics_per_node if node.nics_per_node is not None else node.accelerators_per_node
        share = fabric.bandwidth * nics / node.accelerators_per_node / fabric.oversubscription_ratio
        return Wiring(inner.chip, inner.domain, machine.total_accelerators, inner.inside, inner.inside_latency,
                      share, fabric.latency, inner.notes)  # fmt: skip
    if isinstance(machine, Node):
        node = machine.si
        latency = node.link_latency if node.link_latency is not None else default_latency
        size = node.accelerators_per_node
        return Wiring(machine.accelerator, size, size, node.link_bandwidth, latency, None, None, ())
    chip = machine.si
    notes: tuple[str, ...] = ()
    bandwidth = chip.link_bandwidth
    latency = chip.link_latency if chip.link_latency is not None else default_latency
    if bandwidth is None or (isinstance(bandwidth, np.ndarray) and np.isnan(bandwidth).all()):
        bandwidth = chip.host_bandwidth
        if bandwidth is not None:
            link = chip.host_name or "the host link"
            notes = (f"{machine.id} has no scale-up link in the catalog; its chips talk over {link}",)
    elif isinstance(bandwidth, np.ndarray) and chip.host_bandwidth is not None:
        bandwidth = np.where(np.isnan(bandwidth), chip.host_bandwidth, bandwidth)
    return Wiring(machine, chip.link_domain, None, bandwidth, latency, None, None, notes)


def power_terms(device: Device, peak: Any, bandwidth: Any, assumed: Any) -> tuple[Any, Any, Any]:
    """Idle power, energy per FLOP and TDP of a device; NaN where its TDP is unknown."""
    chip = device.si
    tdp = chip.tdp if chip.tdp is not None else np.nan
    idle = chip.idle_power
    if idle is None:
        idle = assumed.idle_share * tdp
    elif isinstance(idle, np.ndarray):
        idle = np.where(np.isnan(idle), assumed.idle_share * tdp, idle)
    per_flop = energy.energy_per_flop_at_tdp(tdp, idle, peak, bandwidth, assumed.memory_energy)
    return idle, per_flop, tdp
