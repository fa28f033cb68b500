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
from .serving_parts import Bundle, bundles
from .serving_recipes import Setting
from .statistics import Z90, Score, interval, score

Z80 = 1.2815515655446004
"""Quantile of the normal law beyond which a tenth lies."""
PLACES = (0.7, 1.3)
"""How far the number of requests that fit in the cache may be off: its format, and what the allocator keeps."""
Answer = dict[str, tuple[float, float, float]]
FAMILIES = ("serving_tpot", "serving_ttft", "serving_throughput")


@dataclass(frozen=True, slots=True)
class Served:
    """Rows of a file with what was predicted for them, in seconds; throughput in tokens a second of all requests.

    ``sigma`` is that of the log above the prediction, ``below`` that of the other side.
    """

    table: Table
    cases: tuple[Case, ...]
    predicted: dict[str, NDArray[np.float64]]
    measured: dict[str, NDArray[np.float64]]
    sigma: dict[str, NDArray[np.float64]]
    below: dict[str, NDArray[np.float64]]
    roofline: dict[str, NDArray[np.float64]]


@functools.lru_cache(maxsize=4)
def predictions(path: Path = FILE) -> Served:
    """Predict every row of a file; rows whose model, system or stack is unknown are NaN.

    A row that may have been run in several ways is answered in each. Where published lists hold all of them alike, the
    answer lies midway and its interval reaches to both ends; where only speculation is unknown the answer is that without, and
    the interval reaches down to the one with it.
    """
    table = table_of(path)
    every = cases(path)
    stacks = {name for name in {case.stack for case in every} if name in Stacks}
    answerable = [case for case in every if case.stack in stacks and known(case)]
    n = len(every)
    names = ("predicted", "sigma", "below", "roofline")
    out = {name: {family: np.full(n, np.nan) for family in FAMILIES} for name in names}
    found: dict[int, dict[Setting, Answer]] = {}
    for bundle in bundles([one for case in answerable for one in case.variants]):
        for case, answer in zip(bundle.cases, answers(bundle), strict=True):
            found.setdefault(case.row, {})[case.settings[0]] = answer
    for case in answerable:
        mine = [found[case.row][one] for one in case.settings]
        for family in FAMILIES:
            told = combined([one[family] for one in mine], case.listed)
            for name, value in zip(names, told, strict=True):
                out[name][family][case.row] = value
    token, first = measured(table, "tpot"), measured(table, "ttft")
    asked = np.array([case.concurrency for case in every])
    output = np.array([case.output for case in every])
    truth = {
        "serving_tpot": token,
        "serving_ttft": first,
        "serving_throughput": asked * output / (first + output * token),
    }
    return Served(table, every, out["predicted"], truth, out["sigma"], out["below"], out["roofline"])


def answers(bundle: Bundle) -> list[Answer]:
    """Value, sigma and speed of light of each family for the cases of one engine."""
    stack, n = Stacks[bundle.stack], len(bundle.cases)
    balance = predict(bundle, stack)
    s, asked, output = stack.si, bundle.column("concurrency"), bundle.column("output")
    apart = bundle.cases[0].prefill_layout is not None
    token, first = balance.token_time, balance.first_token
    kernels = bundle.decode.sigma_decode
    token_sigma = np.maximum(s.disaggregated_token_sigma if apart else s.token_sigma, kernels)
    first_sigma = np.maximum(s.disaggregated_first_sigma if apart else s.first_sigma, bundle.prefill.sigma_prefill)
    # How many requests fit hangs on settings that no row tells, and the wait for a place hangs on that.
    asked_each = asked / np.array([case.workers[1] for case in bundle.cases])
    if np.any(asked_each > PLACES[0] * bundle.decode.places(stack, bundle.capacity)):
        ends = [predict(bundle, stack, scale).first_token for scale in PLACES]
        first_sigma = np.hypot(first_sigma, np.abs(np.log(ends[1] / ends[0])) / 2)
    # Little's law: throughput is requests over the time of one, whose parts err on their own.
    share = first / (first + output * token)
    both = np.hypot(share * first_sigma, (1 - share) * token_sigma)
    light = bundle.decode.floor / bundle.decode.load.accepted
    columns = {
        "serving_tpot": (token, token_sigma, light),
        "serving_ttft": (first, first_sigma, bundle.prefill.prefill_floor),
        "serving_throughput": (asked * output / (first + output * token), both, asked / light),
    }
    spread = {name: [np.broadcast_to(one, n) for one in column] for name, column in columns.items()}
    return [
        {name: (float(a[row]), float(b[row]), float(c[row])) for name, (a, b, c) in spread.items()} for row in range(n)
    ]


def combined(ways: Sequence[tuple[float, float, float]], listed: bool) -> tuple[float, float, float, float]:
    """Answer, sigma above, sigma below and speed of light of a row that may have been run in several ways.

    Examples:
        >>> combined([(2.0, 0.1, 1.0)], False)
        (2.0, 0.1, 0.1, 1.0)
        >>> combined([(1.0, 0.1, 1.0), (4.0, 0.1, 1.0)], True)[0]
        2.0
        >>> answer, above, below, _ = combined([(4.0, 0.1, 1.0), (1.0, 0.1, 1.0)], False)
        >>> answer, above, below > 0.8
        (4.0, 0.1, True)
    """
    first, sigma, light = ways[0]
    if len(ways) == 1:
        return first, sigma, sigma, light
    values = np.array([one[0] for one in ways])
    middle = float(np.sqrt(values.min() * values.max())) if listed else first
    above, below = (_reach(float(np.log(end)), sigma) for end in (values.max() / middle, middle / values.min()))
    return middle, above, below, light


def _reach(distance: float, sigma: float) -> float:
    """Sigma whose 95 % quantile lies where a tenth of the measurements around an answer that far away lies beyond."""
    return max(sigma, (distance + Z80 * sigma) / Z90)


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

    predicted, truth, sigma, below, light = (
        side[family][rows] for side in (done.predicted, done.measured, done.sigma, done.below, done.roofline)
    )
    return score(name, split, group, predicted, truth, sigma, light, label, below=below)


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
                    low = interval(value, done.below[family][number])[0]
                    high = interval(value, done.sigma[family][number])[1]
                    line += [f"{value:.6g}", f"{low:.6g}", f"{high:.6g}"]
                writer.writerow([*line, case.trouble])
    return serving_scores(path, grouped=False)
