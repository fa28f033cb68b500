"""A device: what a chip can do, as its sources state it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import MissingFactError
from ..record import Record
from ..units import (
    Bytes,
    BytesPerSecond,
    Count,
    Dollars,
    DollarsPerSecond,
    FlopPerByte,
    FlopPerSecond,
    Hertz,
    Joules,
    Kilograms,
    Seconds,
    SquareMeters,
    Watts,
)
from .spec import Spec

NATIVE = ("fp16", "bf16", "fp32", "int8", "fp8", "fp4", "int4", "tf32", "fp64")
"""Whose peak ``compute.peak_flops`` is: the first of these that the device has."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComputeCore(Record):
    """Arithmetic of a device; peaks are dense."""

    peak_flops: FlopPerSecond
    precision_flops: Mapping[str, FlopPerSecond] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemoryHierarchy(Record):
    """Memory of a device, from the main one inwards."""

    capacity: Bytes
    bandwidth: BytesPerSecond
    sram_capacity: Bytes | None = None
    sram_bandwidth: BytesPerSecond | None = None
    flash_capacity: Bytes | None = None
    flash_bandwidth: BytesPerSecond | None = None
    l2_capacity: Bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StorageHierarchy(Record):
    """Local storage."""

    capacity: Bytes | None = None
    bandwidth: BytesPerSecond | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IOInterconnect(Record):
    """A link of one device; the bandwidth is one direction."""

    name: str = ""
    bandwidth: BytesPerSecond | None = None
    latency: Seconds | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Device(Spec):
    """An accelerator, processor or microcontroller.

    Peaks are dense and a multiply-add is two FLOPs; link bandwidths are one direction; None means unknown.
    """

    release_year: Count
    vendor: str
    peaks: Mapping[str, FlopPerSecond]
    memory_capacity: Bytes
    memory_bandwidth: BytesPerSecond
    dispatch_latency: Seconds
    architecture: str | None = None
    memory_kind: str | None = None
    sram_capacity: Bytes | None = None
    sram_bandwidth: BytesPerSecond | None = None
    flash_capacity: Bytes | None = None
    flash_bandwidth: BytesPerSecond | None = None
    l2_capacity: Bytes | None = None
    shared_memory: Bytes | None = None
    cores: Count | None = None
    clock: Hertz | None = None
    link_bandwidth: BytesPerSecond | None = None
    link_name: str | None = None
    link_latency: Seconds | None = None
    link_domain: Count | None = None
    host_bandwidth: BytesPerSecond | None = None
    host_name: str | None = None
    host_latency: Seconds | None = None
    storage_capacity: Bytes | None = None
    storage_bandwidth: BytesPerSecond | None = None
    tdp: Watts | None = None
    idle_power: Watts | None = None
    battery_capacity: Joules | None = None
    price: Dollars | None = None
    cloud_price: DollarsPerSecond | None = None
    embodied_carbon: Kilograms | None = None
    die_area: SquareMeters | None = None
    process: str | None = None

    @property
    def compute(self) -> ComputeCore:
        """Arithmetic: ``chip.compute.peak_flops`` (fp16 or the nearest native precision), ``precision_flops``."""
        inside = self.si
        return ComputeCore(peak_flops=native_peak(inside.peaks), precision_flops=inside.peaks)

    @property
    def memory(self) -> MemoryHierarchy:
        """Memory: ``chip.memory.bandwidth``, ``capacity``, and the levels inside."""
        inside = self.si
        return MemoryHierarchy(
            capacity=inside.memory_capacity,
            bandwidth=inside.memory_bandwidth,
            sram_capacity=inside.sram_capacity,
            sram_bandwidth=inside.sram_bandwidth,
            flash_capacity=inside.flash_capacity,
            flash_bandwidth=inside.flash_bandwidth,
            l2_capacity=inside.l2_capacity,
        )

    @property
    def storage(self) -> StorageHierarchy:
        """Local storage, its fields None where unknown."""
        return StorageHierarchy(capacity=self.si.storage_capacity, bandwidth=self.si.storage_bandwidth)

    @property
    def interconnect(self) -> IOInterconnect:
        """The link to the host (PCIe, C2C), one direction."""
        inside = self.si
        return IOInterconnect(name=inside.host_name or "", bandwidth=inside.host_bandwidth, latency=inside.host_latency)

    @property
    def scale_up(self) -> IOInterconnect:
        """The link to peers (NVLink, xGMI, ICI), one direction, all links of the chip together."""
        inside = self.si
        return IOInterconnect(name=inside.link_name or "", bandwidth=inside.link_bandwidth, latency=inside.link_latency)

    @property
    def unit_cost(self) -> Any:
        """Purchase price, as :attr:`price`."""
        return self.price

    def ridge_point(self, precision: str | None = None) -> FlopPerByte:
        """Arithmetic intensity at which compute and memory take equal time."""
        from ..physics.roofline import ridge_point
        from ..units import quantity

        inside = self.si
        peak = native_peak(inside.peaks) if precision is None else inside.peaks.get(precision)
        if peak is None:
            have = ", ".join(inside.peaks)
            raise MissingFactError(f"{self.id} has no {precision} peak in the catalog; it has {have}")
        return quantity(ridge_point(peak, inside.memory_bandwidth), "flop/byte")


def native_peak(peaks: Mapping[str, Any]) -> Any:
    """The peak in the precision a device is known by; element by element where devices are stacked.

    Examples:
        >>> native_peak({"fp32": 1e12, "fp16": 2e12})
        2000000000000.0
    """
    found: Any = None
    for precision in NATIVE:
        peak = peaks.get(precision)
        if peak is None:
            continue
        if found is None:
            found = peak
        elif isinstance(found, np.ndarray):
            found = np.where(np.isnan(found), peak, found)
    return found
