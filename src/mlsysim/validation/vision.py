"""The scoreboard of vision networks: throughput and latency on servers, workstations, edge devices and processors."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Formats, Hardware, Models, textbook
from ..catalog.efficiency import Family, family
from ..machine import vision_kernels
from ..machine.textbook import peak_in
from ..physics import memory, roofline
from ..physics.convolution_kernels import exposed_dispatch_time
from ..workloads.network import network
from ..workloads.passes import inference_pass
from .data import FOLDER, read_table
from .statistics import Score, score

FILE = FOLDER / "measurements" / "vision.csv.gz"
GROUPS = ("hardware", "model", "source", "runtime", "metric")


@dataclass(frozen=True, slots=True)
class Case:
    """One measured run: a batch on one device, in seconds."""

    id: str
    hardware: str
    runtime: str
    layout: str
    model: str
    resolution: float
    precision: str
    batch: float
    metric: str
    source: str
    split: str
    seconds: float

    @property
    def value(self) -> float:
        """Bytes of a weight or activation."""
        return float(Formats[self.precision].bytes_per_value())

    @property
    def kernel(self) -> str:
        """Name of the fit."""
        return vision_kernels.kernel_of(Hardware[self.hardware], self.runtime, self.layout)


@functools.lru_cache(maxsize=4)
def cases(path: Path = FILE) -> tuple[Case, ...]:
    """The rows of a file; throughput of several devices is shared out evenly, latency is that of one sample."""
    table, found = read_table(path), []
    for number in range(len(table)):
        r = table.row(number)
        rate = r["metric"] == "throughput"
        found.append(
            Case(
                id=r["id"], hardware=r["hardware"], runtime=r["runtime"], layout=r["layout"], model=r["model"],
                resolution=r["resolution"], precision=r["precision"], batch=r["batch"], metric=r["metric"],
                source=r["source"], split=r["split"],
                seconds=r["batch"] * r["devices"] / r["value"] if rate else r["value"],
            )
        )  # fmt: skip
    return tuple(found)


@functools.cache
def bound(case: Case) -> tuple[vision_kernels.Bench, Mapping[str, Any]]:
    """The device and the network of a case."""
    device = Hardware[case.hardware]
    peak = peak_in(device, Formats[case.precision])[0]
    on = vision_kernels.bench(device, case.runtime, case.layout, peak, case.value)
    return on, _table(case.model, case.batch, case.resolution, case.value)


@functools.lru_cache(maxsize=2048)
def _table(model: str, batch: float, resolution: float, value: float) -> Mapping[str, Any]:
    return vision_kernels.table_of(network(Models[model], batch, resolution, value, value).operators)


def seconds(case: Case, values: Mapping[str, float]) -> float:
    """Predicted time of a case with some parameters."""
    on, table = bound(case)
    kernels = (vision_kernels.operator_times(values, on, table) * table["count"]).sum()
    kernels = on.limited(kernels, (table["flops"] * table["count"]).sum())
    launches = vision_kernels.kernels_of(values, table).sum()
    return float(kernels + exposed_dispatch_time(launches, on.host, kernels))


@functools.cache
def _light(case: Case) -> float:
    """The textbook roofline of a case at its default efficiency of one half."""
    device, assumed = Hardware[case.hardware], textbook()
    peak = peak_in(device, Formats[case.precision])[0]
    work = inference_pass(Models[case.model], case.batch, 1.0, case.value, case.value, assumed.activation_share,
                          assumed.prefill_chunk)  # fmt: skip
    compute = roofline.compute_time(work.flops, peak, 0.5)
    stream = roofline.memory_time(work.traffic, device.si.memory_bandwidth)
    overhead = memory.launch_time(work.launches, assumed.layer_overhead, device.si.dispatch_latency or 0.0)
    return float(roofline.roofline_time(compute, stream, overhead))


@dataclass(frozen=True, slots=True)
class Predictions:
    """Cases with what was predicted for them, in seconds."""

    cases: tuple[Case, ...]
    predicted: NDArray[np.float64]
    sigma: NDArray[np.float64]
    roofline: NDArray[np.float64]
    measured: NDArray[np.float64]


def predict(path: Path = FILE, library: Family | None = None) -> Predictions:
    """Predict every row of a file."""
    every = cases(path)
    library = library or family(vision_kernels.FAMILY)
    fitted = [(bound(case)[0], case) for case in every]
    return Predictions(
        every,
        np.array([seconds(case, on.fit.values) for on, case in fitted]),
        np.array([on.sigma for on, _ in fitted]),
        np.array([_light(case) for case in every]),
        np.array([case.seconds for case in every]),
    )


@functools.cache
def predictions(path: Path = FILE) -> Predictions:
    """The predictions of a file that ships, kept for the next caller."""
    return predict(path)


def vision_scores(path: Path = FILE, grouped: bool = True) -> list[Score]:
    """The scoreboard of vision networks.

    Args:
        path: measurements
        grouped: also by device, network, source, runtime, and whether throughput or latency was measured
    """
    done = predictions(path)
    found: list[Score] = []
    for split in ("calibration", "validation"):
        mine = np.array([case.split == split for case in done.cases])
        found.append(_one(done, split, "all", mine))
        for name in GROUPS if grouped else ():
            values = np.array([getattr(case, name) for case in done.cases])
            found += [
                _one(done, split, f"{name}={value}", mine & (values == value))
                for value in sorted(set(values[mine].tolist()))
            ]
    return found


def rows(path: Path = FILE) -> list[dict[str, Any]]:
    """The same as plain rows, for JSON."""
    return [one.to_dict() for one in vision_scores(path)]


def _one(done: Predictions, split: str, group: str, mine: NDArray[np.bool_]) -> Score:
    places: Sequence[int] = np.flatnonzero(mine).tolist()

    def label(number: int) -> dict[str, Any]:
        case = done.cases[places[number]]
        return {"id": case.id, "model": case.model, "hardware": case.hardware, "precision": case.precision,
                "batch": case.batch, "metric": case.metric}  # fmt: skip

    sides = (side[mine] for side in (done.predicted, done.measured, done.sigma, done.roofline))
    predicted, measured, sigma, light = sides
    return score("vision", split, group, predicted, measured, sigma, light, label)
