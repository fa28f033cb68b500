"""A network of convolutions, products and kernels that stream, on a device under a runtime: operators to times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog.efficiency import ANY, Family, Fit, family
from ..catalog.hardware import Device
from ..errors import normalised
from ..physics.convolution_kernels import implicit_product_time, padded_share, trailing_time
from ..physics.gemm import smooth_maximum
from ..physics.memory_kernels import streaming_time
from ..physics.power import throttled_time
from ..physics.roofline import compute_time, memory_time
from ..units import Bytes, Count, Flop, FlopPerSecond, Seconds, Watts
from ..workloads.operators import Operator, columns
from .chip import Chip, chip_of
from .power import room_of, switching_energy

FAMILY = "convolution"
RUNTIMES = ("eager", "compiled", "engine")
"""One kernel after the other from a host (PyTorch); compiled with element-wise work fused; a built engine of fused layers."""
PROCESSORS = ("cpu", "tiny")
"""Families of devices whose cores compute with vectors."""
LAYOUTS = ("nchw", "nhwc")
MATRIX = frozenset({"conv", "gemm", "moe", "scan"})
ATTENTION = frozenset({"attention_context", "attention_decode", "mla"})
FOLLOWED = ("widen",)
"""Products that an activation follows."""
TILE = 128.0
"""Rows and columns of the tile of a product."""
GRAINS = {4.0: 4.0, 2.0: 8.0, 1.0: 16.0}
"""Values of a dimension that matrix units take at once, by bytes a value."""
NARROW = {1.0: "int8", 4.0: "tf32"}
"""Formats by bytes a value; 16 bits elsewhere."""
OVERLAP = 3.0
"""Sharpness of the overlap of arithmetic and memory."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A device under a runtime: the constants that network times depend on."""

    chip: Chip
    peak: FlopPerSecond
    vector: FlopPerSecond
    value: Bytes
    fit: Fit
    extra: float
    host: Seconds
    notes: tuple[str, ...]
    room: Watts | None = None
    switching: float = 0.0

    def limited(self, kernels: Seconds, flops: Flop) -> Seconds:
        """Time of kernels under the limit of power, where the energy of a FLOP is known."""
        if self.room is None:
            return kernels
        return throttled_time(kernels, flops * self.switching / kernels, self.room)

    @property
    def sigma(self) -> float:
        """Standard deviation of the log of measured over predicted, for a whole network."""
        return float(np.hypot(self.fit.sigma[2], self.extra))


@dataclass(frozen=True, slots=True)
class NetworkTime:
    """Times of the operators of a network, each over all its runs; operators first, then the shape of the question."""

    operators: tuple[Operator, ...]
    times: NDArray[np.float64]
    compute_floor: NDArray[np.float64]
    memory_floor: NDArray[np.float64]
    count: NDArray[np.float64]
    launches: Count
    flops: Flop
    traffic: Bytes

    @property
    def kernels(self) -> Seconds:
        """All kernels, one after the other."""
        return self.times.sum(axis=0)

    @property
    def floor(self) -> Seconds:
        """Speed of light of the same operators."""
        return np.maximum(self.compute_floor, self.memory_floor).sum(axis=0)


def kernel_of(device: Device, runtime: str, layout: str) -> str:
    """Name of the fit of a runtime on a kind of device."""
    if device.family in PROCESSORS:
        return "processor"
    # Compilers choose the layout of channels themselves; channels last was timed with eager kernels alone.
    return {"engine": "engine", "compiled": "compiled_nchw"}.get(runtime, f"{runtime}_{layout}")


def bench(
    device: Device, runtime: str, layout: str, peak: FlopPerSecond, value: Bytes, library: Family | None = None
) -> Bench:
    """A device under a runtime.

    Args:
        device: one device
        runtime: one of :data:`RUNTIMES`
        layout: of the channels, one of :data:`LAYOUTS`
        peak: dense peak in the format of the arithmetic
        value: bytes of one value
        library: fits in place of the catalog's
    """
    chip = chip_of(device)
    kernel = kernel_of(device, runtime, layout)
    fit = (library or family(FAMILY)).choose(chip.names, (chip.generation, ANY), kernel)
    seen = {normalised(name) for name in fit.devices}
    extra, notes = 0.0, chip.notes
    if not chip.names & seen:
        extra = fit.transfer if chip.generation == "graphics" or chip.architecture in fit.architectures else fit.far
        notes = (*notes, f"{FAMILY}: {device.id} was not measured; fitted on {', '.join(fit.devices) or 'no device'}")
    dispatch = device.si.dispatch_latency
    host = 0.0 if runtime == "engine" or dispatch is None else float(dispatch)
    if runtime != "engine" and dispatch is None:
        notes = (*notes, f"{device.id}: cost of a dispatch from the host unknown, none counted")
    vector = chip.peaks.get("fp32", peak)
    room = room_of(device) if runtime == "engine" else None
    switching = 0.0 if room is None else switching_energy(NARROW.get(value, "fp16"))
    return Bench(chip, float(peak), vector, float(value), fit, extra, host, notes, room, switching)


def table_of(operators: Sequence[Operator]) -> dict[str, Any]:
    """The columns of a network, with what the forms need: which kind an operator is, and whether an activation follows."""
    table = columns(operators)
    kinds = table["kind"]
    table["matrix"] = np.isin(kinds, list(MATRIX))
    table["attention"] = np.isin(kinds, list(ATTENTION))
    table["depthwise"] = kinds == "depthwise"
    table["followed"] = np.isin(kinds, ["conv", "depthwise"]) | np.array(
        [str(n).endswith(FOLLOWED) for n in table["name"]]
    )
    table["streams"] = ~(table["matrix"] | table["attention"] | table["depthwise"])
    return table


def time_network(on: Bench, operators: Sequence[Operator], table: Mapping[str, Any] | None = None) -> NetworkTime:
    """Time every operator of a network; ``table`` is that of :func:`table_of` where it is at hand."""
    table = table_of(operators) if table is None else table
    count = table["count"]
    times = operator_times(on.fit.values, on, table) * count
    work, weights, moved = table["flops"], table["weight_bytes"], table["read_bytes"] + table["write_bytes"]
    compute = compute_time(work, on.peak, 1.0) * count
    # Activations may stay in caches; weights and what the network takes in must come from memory once.
    memory = memory_time(weights, on.chip.bandwidth) * count
    times = np.maximum(times, np.maximum(compute, memory))
    whole = times.sum(axis=0)
    times = times * (on.limited(whole, (work * count).sum(axis=0)) / whole)
    shape = times.shape[1:]
    launches = np.broadcast_to(kernels_of(on.fit.values, table), times.shape).sum(axis=0)
    return NetworkTime(
        tuple(operators), times, compute, memory, count,
        launches[()] if shape else float(launches),
        (work * count).sum(axis=0), ((weights + moved) * count).sum(axis=0),
    )  # fmt: skip


def _rows(mask: NDArray[np.bool_], like: NDArray[np.float64]) -> NDArray[np.bool_]:
    return mask.reshape(mask.shape + (1,) * (like.ndim - 1))


def kernels_of(p: Mapping[str, float], table: Mapping[str, Any]) -> NDArray[np.float64]:
    """Kernels that each operator launches: itself, and what follows it where that is not fused."""
    count = table["count"]
    alone = np.where(_rows(table["streams"], count), np.minimum(p["passes"], 1.0), 1.0)
    out: NDArray[np.float64] = count * (alone + np.where(_rows(table["followed"], count), p["tail"] / 2, 0.0))
    return out


def operator_times(p: Mapping[str, float], on: Bench, table: Mapping[str, Any]) -> NDArray[np.float64]:
    """Time of one run of each operator, by its kind."""
    c = on.chip
    work, moved = table["flops"], table["weight_bytes"] + table["read_bytes"] + table["write_bytes"]
    grain = 1.0 if on.fit.kernel == "processor" else GRAINS.get(on.value, 8.0)
    fill = padded_share(table["n"], grain) * padded_share(table["k"], grain)
    tiles = np.ceil(table["m"] / TILE) * np.ceil(table["n"] / TILE) * table["groups"]
    cores = c.cores
    reach = np.where(_rows(table["kind"] == "conv", work), p["compute"], p["products"])
    matrix = implicit_product_time(work, on.peak * fill, reach, cores, tiles, p["partial"])
    fused = implicit_product_time(
        work, on.peak, p["attention"], cores, np.maximum(table["m"] * table["heads"], 1.0), 0.0
    )
    own = compute_time(work, on.vector, p["vector"])
    arithmetic = np.where(_rows(table["matrix"], work), matrix, np.where(_rows(table["attention"], work), fused, own))
    streams = _rows(table["streams"], work)
    share = np.where(_rows(table["depthwise"], work), p["depthwise"], p["memory"])
    launch = p["launch"] * np.where(streams, np.minimum(p["passes"], 1.0), 1.0)
    # The part that the last cache holds does not wait for memory.
    near = 1 + p["cache_gain"] * np.minimum(c.cache / np.maximum(moved, 1.0), 1.0)
    memory = streaming_time(np.where(streams, p["passes"], 1.0) * moved, c.bandwidth * near, share, 0.0)
    time = launch + smooth_maximum(np.maximum(arithmetic, 1e-15), np.maximum(memory, 1e-15), OVERLAP)
    after = (
        trailing_time(table["write_bytes"], p["tail"], c.bandwidth * near, p["memory"]) + p["tail"] / 2 * p["launch"]
    )
    out: NDArray[np.float64] = time + np.where(_rows(table["followed"], work), after, 0.0)
    return out
