"""The few numbers of a chip that kernel times depend on, drawn from its catalog entry once."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..catalog.hardware import Device
from ..errors import InvalidInputError, MissingFactError, normalised

CORE_FLOPS = 7.0e12
"""Half-precision peak of one core where the number of cores is unknown: about that of one H100 multiprocessor."""
CLOCK = 1.5e9
"""Clock where it is unknown, in hertz."""
PEAKS: Mapping[str, tuple[str, ...]] = {
    "bf16": ("bf16", "fp16", "tf32", "fp32"),
    "fp16": ("fp16", "bf16", "tf32", "fp32"),
    "tf32": ("tf32", "fp32", "bf16", "fp16"),
    "fp32": ("fp32", "tf32", "bf16", "fp16"),
    "fp8": ("fp8", "bf16", "fp16", "fp32"),
    "int8": ("int8", "bf16", "fp16", "fp32"),
    "fp4": ("fp4", "fp8", "bf16", "fp16", "fp32"),
}
"""The rates that arithmetic in a format can run at, best first; a wider one stands in where a chip lacks one."""
MATRIX_RIDGE = 60.0
"""FLOPs a byte above which a chip must have matrix units; vector units and processors lie well below."""
EXPONENTIALS = {"blackwell_ultra": 32.0}
"""Exponentials a clock of one core; 16 elsewhere."""


RELATIVES: Mapping[str, tuple[str, ...]] = {
    "hopper": ("ampere",),
    "blackwell": ("hopper",),
    "rubin": ("blackwell", "hopper"),
    "volta": ("ampere",),
}
"""Generations whose fits stand in, the nearest first, where a kernel was not measured on a chip's own."""


@dataclass(frozen=True, slots=True)
class Chip:
    """Constants of one chip in SI; ``notes`` tell what was unknown and what stood in.

    ``dispatch`` is the least time between two kernels where a host launches them one by one, else 0. ``matrix`` says
    whether arithmetic comes in whole tiles of a matrix unit.
    """

    id: str
    generation: str
    architecture: str
    peaks: Mapping[str, float]
    bandwidth: float
    cores: float
    clock: float
    cache: float
    exponentials: float
    link: float | None
    link_latency: float | None
    link_domain: float | None
    host: float | None
    dispatch: float
    matrix: bool
    names: frozenset[str]
    notes: tuple[str, ...]

    @property
    def generations(self) -> tuple[str, ...]:
        """The chip's generation, then related ones."""
        return (self.generation, *RELATIVES.get(self.generation, ()))

    def peak(self, precision: str) -> tuple[float, str]:
        """The dense peak in a precision and the precision it runs in."""
        for name in PEAKS[precision]:
            if name in self.peaks:
                return self.peaks[name], name
        have = ", ".join(self.peaks)
        raise MissingFactError(f"{self.id} has no peak for {precision} arithmetic; it has {have}")


def generation_of(device: Device) -> str:
    """The class of chips whose fitted efficiencies stand in for a chip without its own.

    Hopper, Ampere and Blackwell are the data-centre parts with stacked memory; ``graphics`` are NVIDIA parts with GDDR
    memory and a large cache, which run the kernels of workstations whatever their name.
    """
    inside = device.si
    architecture = str(inside.architecture or "").lower()
    memory = str(inside.memory_kind or "").lower()
    if str(inside.vendor).lower() != "nvidia":
        return "other"
    if "gddr" in memory or "lpddr" in memory:
        return "graphics"
    for name in ("hopper", "blackwell", "ampere", "rubin", "volta"):
        if name in architecture:
            return name
    return "other"


@functools.lru_cache(maxsize=512)
def chip_of(device: Device) -> Chip:
    """The constants of a device.

    Raises:
        InvalidInputError: the device is a stack of several
        MissingFactError: the device has no peak or no memory bandwidth
    """
    if device.members:
        raise InvalidInputError(f"measured efficiency is asked of one device at a time, found the stack {device.id}")
    inside = device.si
    peaks: dict[str, float] = {name: float(value) for name, value in inside.peaks.items()}
    half = next((peaks[name] for name in ("bf16", "fp16", "int8", "fp32") if name in peaks), None)
    if half is None or not inside.memory_bandwidth:
        raise MissingFactError(f"{device.id} has no peak or no memory bandwidth in the catalog")
    notes: list[str] = []

    def known(value: Any, standin: float, told: str) -> float:
        if value is None:
            notes.append(f"{device.id}: {told}")
            return standin
        return float(value)

    generation, vendor = generation_of(device), str(inside.vendor).lower()
    architecture = str(inside.architecture or "").lower()
    ultra = "ultra" in architecture or ("300" in device.id and generation == "blackwell")
    return Chip(
        id=device.id,
        generation=generation,
        architecture=architecture.replace(",", " ").split(" ")[0] or "unknown",
        peaks=peaks,
        bandwidth=float(inside.memory_bandwidth),
        cores=max(1.0, known(inside.cores, round(half / CORE_FLOPS), "number of cores unknown, taken from its peak")),
        clock=known(inside.clock, CLOCK, f"clock unknown, taken as {CLOCK / 1e9:g} GHz"),
        cache=known(inside.l2_capacity, 1.0, "size of the last cache unknown, none assumed"),
        exponentials=EXPONENTIALS["blackwell_ultra"] if ultra else 16.0,
        link=None if inside.link_bandwidth is None else float(inside.link_bandwidth),
        link_latency=None if inside.link_latency is None else float(inside.link_latency),
        link_domain=None if inside.link_domain is None else float(inside.link_domain),
        host=None if inside.host_bandwidth is None else float(inside.host_bandwidth),
        # Kernels of Intel's GPUs were timed launched one by one; elsewhere as graphs or compiled programs.
        dispatch=float(inside.dispatch_latency) if vendor == "intel" and device.family != "cpu" else 0.0,
        matrix=half / float(inside.memory_bandwidth) > MATRIX_RIDGE,
        names=frozenset(normalised(name) for name in (device.id, *device.aliases)),
        notes=tuple(notes),
    )
