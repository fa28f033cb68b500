"""The scoreboard of served load: time to first token, time per output token and throughput against measurements."""

from __future__ import annotations

import csv
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog.stacks import Stacks
from .calibrate_serving import predict
from .data import Table
from .serving_data import FILE, FITTED, Case, cases, known, measured, table_of
from .serving_parts import bundles
from .statistics import Score, interval, score

FAMILIES = ("serving_tpot", "serving_ttft", "serving_throughput")


@dataclass(frozen=True, slots=True)
class Served:
    """Rows of a file with what was predicted for them, in seconds; throughput in tokens a second of all requests."""

    table: Table
    cases: tuple[Case, ...]
    predicted: dict[str, NDArray[np.float64]]
    measured: dict[str, NDArray[np.float64]]
    sigma: dict[str, NDArray[np.float64]]
    roofline: dict[str, NDArray[np.float64]]


@functools.lru_cache(maxsize=4)
def predictions(path: Path = FILE) -> Served:
    """Predict every row of a file; rows whose model, system or stack is unknown are NaN."""
    table = table_of(path)
    every = cases(path)
    answerable = [case for case in every if known(case) and case.stack in Stacks]
    n = len(every)
    out = {name: {family: np.full(n, np.nan) for family in FAMILIES} for name in ("predicted", "sigma", "roofline")}
    for bundle in bundles(answerable):
        stack = Stacks[bundle.stack]
        balance = predict(bundle, stack)
        rows = np.array([case.row for case in bundle.cases])
        s, asked, output = stack.si, bundle.column("concurrency"), bundle.column("output")
        first, token = balance.first_token, balance.token_time
        kernels = np.broadcast_to(bundle.decode.sigma_decode, bundle.decode.batches.shape)[..., -1]
        token_sigma = np.maximum(s.token_sigma, kernels)
        first_sigma = np.maximum(s.first_sigma, bundle.prefill.sigma_prefill)
        light = np.broadcast_to(bundle.decode.floor, bundle.decode.batches.shape)[..., -1] / bundle.decode.load.accepted
        for family, value, sigma, floor in (
            ("serving_tpot", token, token_sigma, light),
            ("serving_ttft", first, first_sigma, bundle.prefill.prefill_floor),
            ("serving_throughput", asked * output / (first + output * token), token_sigma, asked / light),
        ):
            out["predicted"][family][rows] = value
            out["sigma"][family][rows] = sigma
            out["roofline"][family][rows] = floor
    token, first = measured(table, "tpot"), measured(table, "ttft")
    asked = np.array([case.concurrency for case in every])
    output = np.array([case.output for case in every])
    truth = {
        "serving_tpot": token,
        "serving_ttft": first,
        "serving_throughput": asked * output / (first + output * token),
    }
    return Served(table, every, out["predicted"], truth, out["sigma"], out["roofline"])


def serving_scores(path: Path = FILE, grouped: bool = True) -> list[Score]:
    """The scoreboard of served load.

    Rows that codes or missing columns leave ambiguous count only in the families that end in ``_raw``, which hold
    every row as published.

    Args:
        path: measurements
        grouped: also by mode, system, stack, model
    """
    done = predictions(path)
    clean = np.array([not case.trouble for case in done.cases])
    fitted = np.array([case.system in FITTED for case in done.cases])
    found: list[Score] = []
    for split, mine in (("fitted", fitted), ("open", ~fitted)):
        for suffix, kept in (("", clean), ("_raw", np.ones_like(clean))):
            for family in FAMILIES:
                for group, inside in _groups(done.cases, grouped):
                    rows = np.flatnonzero(mine & kept & inside)
                    if len(rows):
                        found.append(_one(done, family, f"{family}{suffix}", split, group, rows))
    return found


def rows(path: Path = FILE) -> list[dict[str, Any]]:
    """The same as plain rows, for JSON."""
    return [one.to_dict() for one in serving_scores(path)]


def _groups(every: Sequence[Case], grouped: bool) -> list[tuple[str, NDArray[np.bool_]]]:
    found = [("all", np.ones(len(every), dtype=bool))]
    if grouped:
        for name in ("mode", "system", "stack", "model"):
            values = np.array([getattr(case, name) for case in every])
            found += [(f"{name}={value}", values == value) for value in sorted(set(values.tolist()))]
    return found


def _one(done: Served, family: str, name: str, split: str, group: str, rows: NDArray[np.int64]) -> Score:
    def label(number: int) -> dict[str, Any]:
        case = done.cases[int(rows[number])]
        lengths = f"{case.nominal[0]:g}/{case.nominal[1]:g}"
        return {"model": case.model, "system": case.system, "stack": case.stack, "precision": case.precision,
                "mode": case.mode, "lengths": lengths, "concurrency": case.concurrency, "chips": case.layout.chips}  # fmt: skip

    predicted, truth, sigma, light = (
        side[family][rows] for side in (done.predicted, done.measured, done.sigma, done.roofline)
    )
    return score(name, split, group, predicted, truth, sigma, light, label)


def validate_file(path: Path | str, out: Path | str | None = None) -> list[Score]:
    """Score a file of your own with the columns of the one that ships, and write predictions beside measurements.

    Args:
        path: comma-separated, gzipped or not; see ``serving_data.NEEDED`` for the columns it must have
        out: where to write every row with predictions and 90 % intervals; nowhere if not given
    """
    path = Path(path)
    done = predictions(path)
    if out is not None:
        names = list(done.table.columns)
        extra = [f"{family}_{side}" for family in ("ttft_ms", "tpot_ms") for side in ("predicted", "low90", "high90")]
        with Path(out).open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*names, *extra, "trouble"])
            for number, case in enumerate(done.cases):
                line: list[Any] = [done.table[name][number] for name in names]
                for family in ("serving_ttft", "serving_tpot"):
                    value = done.predicted[family][number] * 1e3
                    low, high = interval(value, done.sigma[family][number])
                    line += [f"{value:.6g}", f"{low:.6g}", f"{high:.6g}"]
                writer.writerow([*line, case.trouble])
    return serving_scores(path, grouped=False)
