"""What eight points of a new device are worth: fitted as a user would fit them, and scored on the rest of its rows."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Hardware
from ..catalog.efficiency import Family, family, read
from ..machine.measured import MeasuredMachine
from .calibrate_device import calibrate_device
from .collectives import COLLECTIVE_TABLES, by_kernel, joined
from .data import Table, kernel_table
from .kernels import Predictions, one, timed
from .rows import TABLES
from .statistics import Score

SPLIT = "eight_points"


@dataclass(frozen=True, slots=True)
class Trial:
    """A family of kernels: which table gives the points, under which names a user would write them, and what is scored."""

    family: str
    given: str
    columns: Mapping[str, str]
    tables: tuple[str, ...]
    devices: tuple[str, ...]
    groups: tuple[str, ...]


TRIALS: Mapping[str, Trial] = {
    "all_reduce": Trial(
        "all_reduce", "nccl", {"message_bytes": "message_bytes", "ranks": "num_gpus"}, COLLECTIVE_TABLES,
        ("h200_sxm", "b300_sxm", "gb300"), ("gpu", "framework", "num_gpus"),
    ),
    "gemm_bf16": Trial(
        "gemm_bf16", "gemm", {"m": "m", "n": "n", "k": "k"}, ("gemm",),
        ("h200_sxm", "b300_sxm", "gb300", "l40s", "b60"), ("gpu", "framework"),
    ),
}  # fmt: skip
"""What is tried. All-reduce on held-out devices with a scale-up link, dense products on all held-out devices."""


def chosen(trial: Trial, device: str) -> NDArray[np.int64]:
    """Numbers of the eight rows that are given away; nothing but this rule decides.

    All-reduce of the general library in half precision, with two and with the most ranks: the smallest message, those a
    third and two thirds up the list of sizes, and the largest. Dense products of vLLM in 16 bits: in the order of their
    FLOPs, the least, the most, and six at equal steps between.
    """
    table = kernel_table(trial.given)
    mine = table["gpu"] == device
    if trial.family == "gemm_bf16":
        rows = np.flatnonzero(mine & (table["framework"] == "vllm") & (table["dtype"] == "bfloat16"))
        rows = rows[np.argsort(table["m"][rows] * table["n"][rows] * table["k"][rows], kind="stable")]
        return np.array([rows[round(place * (len(rows) - 1) / 7)] for place in range(8)])
    rows = np.flatnonzero(mine & np.char.endswith(table["op"], "_all_reduce") & (table["dtype"] == "half"))
    found: list[int] = []
    for ranks in (2.0, float(table["num_gpus"][rows].max())):
        some = rows[table["num_gpus"][rows] == ranks]
        some = some[np.argsort(table["message_bytes"][some], kind="stable")]
        last = len(some) - 1
        found += [int(some[place]) for place in (0, round(last / 3), round(2 * last / 3), last)]
    return np.array(found)


def fitted(trial: Trial, rows: Sequence[int], device: str) -> Mapping[str, Family]:
    """The catalog's family with a device's rows added by the public :func:`calibrate_device`."""
    table = kernel_table(trial.given)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "points.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow((*trial.columns, "latency_us"))
            named = (*trial.columns.values(), "latency_us")
            writer.writerows([table[name][row] for name in named] for row in rows)
        calibrate_device(path, device, Path(folder))
        own = read(Path(folder) / f"{trial.family}.yaml")
    known = family(trial.family)
    return {trial.family: Family(id=known.id, name=known.name, fits=(*own.fits, *known.fits), kernels=known.kernels)}


def scored(trial: Trial, name: str, device: str, library: Mapping[str, Family], given: Sequence[int]) -> Predictions:
    """Predictions of a device's rows in one table; those given away count as not measured."""
    file, split = TABLES[name]
    table: Table = kernel_table(file)
    if name == trial.given:
        table = table.where(np.setdiff1d(np.arange(len(table)), given))
    table = table.where(table["gpu"] == device)
    machine = MeasuredMachine(Hardware[device], library=library)
    groups = [group for group in split(table) if group.family == trial.family]
    parts: list[Any] = [timed(machine, group) for group in groups]
    rows = np.concatenate([group.rows for group in groups])
    return Predictions(
        table=table.where(rows),
        family=np.full(len(rows), trial.family),
        kernel=np.concatenate([np.full(len(group.rows), group.kernel, dtype="U120") for group in groups]),
        predicted=np.concatenate([timing.time for timing in parts]),
        sigma=np.concatenate([timing.sigma for timing in parts]),
        roofline=np.concatenate([timing.floor for timing in parts]),
        measured=table["latency_us"][rows] * 1e-6,
    )


def predictions(trial: Trial, devices: Sequence[str] | None = None) -> Predictions:
    """Rows of some devices, of each of which eight points are known; by default the held-out devices of the trial."""
    parts = []
    for device in trial.devices if devices is None else devices:
        given = chosen(trial, device).tolist()
        library = fitted(trial, given, device)
        parts += [scored(trial, name, device, library, given) for name in trial.tables]
    return joined(parts)


def eight_point_scores() -> list[Score]:
    """Scores of all trials: all rows, each device, each library or stack."""
    found = []
    for trial in TRIALS.values():
        done = predictions(trial)
        found.append(one(done, trial.family, SPLIT, "all", np.ones(len(done.measured), dtype=bool)))
        found += by_kernel(done, trial.family, SPLIT, np.ones(len(done.measured), dtype=bool))
        for column in trial.groups:
            for value in sorted(set(done.table[column].tolist())):
                text = f"{value:g}" if isinstance(value, float) else str(value)
                found.append(one(done, trial.family, SPLIT, f"{column}={text}", done.table[column] == value))
    return found
