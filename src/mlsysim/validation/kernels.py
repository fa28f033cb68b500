"""The kernel scoreboard: every measured kernel against the measured machine, and the textbook roofline beside it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Hardware
from ..catalog.efficiency import Family, read
from ..errors import MLSysimError
from ..machine.measured import MeasuredMachine
from .data import FOLDER, KERNELS, Table, kernel_table
from .rows import TABLES, Group
from .statistics import Score, score

KERNEL_TABLES = ("gemm", "context_attention", "generation_attention", "mla", "moe")
FOREIGN = "ampere_hopper_to_blackwell"
"""Name of the split whose fits saw only Ampere and Hopper and whose rows are all of Blackwell."""
BLACKWELL = ("b200_sxm", "gb200", "b300_sxm", "gb300")
GROUPS = ("gpu", "framework", "dtype", "kv_dtype", "num_gpus", "distribution")
"""Columns that the scoreboard splits families by."""
NVLINK = "link=nvlink"
"""The group of devices that NVLink joins; the others are cards on PCIe."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Rows of one table with what was predicted for them, in seconds."""

    table: Table
    family: NDArray[Any]
    kernel: NDArray[Any]
    predicted: NDArray[np.float64]
    sigma: NDArray[np.float64]
    roofline: NDArray[np.float64]
    measured: NDArray[np.float64]


def predict(name: str, tables: Path = KERNELS, library: Mapping[str, Family] | None = None) -> Predictions:
    """Predict every row of a table; rows that cannot be answered are NaN."""
    file, split = TABLES[name]
    table = kernel_table(file, tables)
    n = len(table)
    out = {key: np.full(n, np.nan) for key in ("predicted", "sigma", "roofline")}
    family, kernel = np.empty(n, dtype="U40"), np.empty(n, dtype="U120")
    machines: dict[str, MeasuredMachine] = {}
    for group in split(table):
        rows = group.rows
        family[rows], kernel[rows] = group.family, group.kernel
        try:
            if group.gpu not in machines:
                machines[group.gpu] = MeasuredMachine(Hardware[group.gpu], library=library)
            timing = timed(machines[group.gpu], group)
        except MLSysimError:
            continue  # stays NaN, and so counts as not answered
        out["predicted"][rows], out["sigma"][rows], out["roofline"][rows] = timing.time, timing.sigma, timing.floor
    return Predictions(table, family, kernel, **out, measured=table["latency_us"] * 1e-6)


def timed(machine: MeasuredMachine, group: Group) -> Any:
    """A group of rows on a machine, by the kernel that the rows name."""
    if group.family in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all"):
        kind, message, ranks, kernel = group.arguments
        return machine.collective(kind, message, ranks, algorithm=kernel)
    return machine.run(group.operator(machine.operators), kernel=group.kernel)


@functools.cache
def predictions(name: str) -> Predictions:
    """The predictions of a table that ships, kept for the next caller."""
    return predict(name)


@functools.cache
def foreign_library() -> Mapping[str, Family]:
    """Efficiencies fitted on Ampere and Hopper alone."""
    return {entry.id: entry for entry in map(read, sorted((FOLDER / "ampere_hopper").glob("*.yaml")))}


def kernel_scores(
    tables: Sequence[str] = KERNEL_TABLES,
    splits: Iterable[str] = ("calibration", "holdout", FOREIGN),
    grouped: bool = True,
) -> list[Score]:
    """The scoreboard of dense products, attention and experts.

    Args:
        tables: which tables
        splits: ``calibration``, ``holdout``, or ``ampere_hopper_to_blackwell``
        grouped: also by device, framework, format
    """
    found: list[Score] = []
    for name in tables:
        for split in splits:
            if split == FOREIGN:
                done = predict(name, library=foreign_library())
                rows = np.isin(done.table["gpu"], BLACKWELL)
            else:
                done = predictions(name)
                rows = done.table["split"] == split
            found += scores_of(done, split, rows, grouped)
    return found


def scores_of(done: Predictions, split: str, rows: NDArray[np.bool_], grouped: bool) -> list[Score]:
    """Scores of each family among some rows, and of its groups."""
    found: list[Score] = []
    families = [(name, done.family == name) for name in sorted(set(done.family[rows].tolist()))]
    if split == FOREIGN:  # a format that neither Ampere nor Hopper has makes no claim
        families = [(name, mine) for name, mine in families if name in foreign_library()]
    if any(name.startswith("mla_") for name, _ in families):
        families.append(("mla", np.ones_like(rows)))
    for name, mine in families:
        chosen = rows & mine
        found.append(one(done, name, split, "all", chosen))
        if not grouped:
            continue
        found.append(one(done, name, split, NVLINK, chosen & np.isin(done.table["gpu"], list(_switched()))))
        for column in GROUPS:
            if column not in done.table.columns:
                continue
            values = done.table[column]
            for value in sorted(set(values[chosen].tolist())):
                found.append(one(done, name, split, f"{column}={_text(value)}", chosen & (values == value)))
    return found


def one(done: Predictions, family: str, split: str, group: str, rows: NDArray[np.bool_]) -> Score:
    """One line of the scoreboard."""
    places = np.flatnonzero(rows)

    def label(number: int) -> dict[str, Any]:
        row = done.table.row(int(places[number]))
        hidden = ("op", "split", "version", "kernel_source")
        return {key: value for key, value in row.items() if key not in hidden} | {
            "kernel": str(done.kernel[places[number]])
        }

    return score(
        family, split, group, done.predicted[rows], done.measured[rows], done.sigma[rows], done.roofline[rows], label
    )


@functools.cache
def _switched() -> frozenset[str]:
    """Devices of the tables that NVLink joins."""
    devices = {gpu for name in TABLES for gpu in np.unique(kernel_table(TABLES[name][0])["gpu"]).tolist()}
    return frozenset(gpu for gpu in devices if "NVLink" in (Hardware[gpu].link_name or ""))


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
