"""Calibration of serving stacks: what host and scheduler add, from served load on two systems. Needs SciPy.

Six numbers a stack, and four that all share: how evenly tokens are routed, and three for disaggregation. The kernel
times under them are not touched.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Models
from ..catalog.registry import DATA
from ..catalog.stacks import Stacks
from ..solvers.load_balance import Balance, settle, settle_apart
from ..solvers.load_parts import policy_of
from .fitting import least_squares
from .serving_data import FILE, FITTED, Case, cases, measured, table_of
from .serving_parts import NIC, Bundle, bundles

FREE = ("gap", "step_host", "first_token_fixed", "first_token_steps", "burst", "lock_step_burst")
SOLVER = {"diff_step": 1e-3, "max_nfev": 40}
SCALES = np.array([1e-6, 1e-3, 1e-2, 1.0, 0.1, 0.1])
MOST = np.array([1e-5, 1e-2, 0.2, 25.0, 1.0, 1.0])
START = np.array([5e-7, 2e-4, 2e-2, 5.0, 0.2, 0.5])
EVENNESS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Values of the evenness of routing that are tried; one for all stacks."""
SIGMAS = ("token_sigma", "first_sigma", "disaggregated_token_sigma", "disaggregated_first_sigma")
APART = ("hand_over", "hand_over_steps", "disaggregated_burst")
DOMAIN = 8
"""Chips of a node of the systems that are fitted."""
TOKEN_SCALE, FIRST_SCALE = 0.12, 0.3
"""Log errors beyond which a row loses weight: heavy tails are runs with settings that no column tells."""
Z90 = 1.6449


def predict(bundle: Bundle, stack: Any, places: float = 1.0) -> Balance:
    """Where the load of each case settles; ``places`` scales how many requests fit in the cache."""
    server = bundle.decode.server(stack, bundle.capacity)
    if places != 1.0:
        server = dataclasses.replace(server, places=server.places * places)
    asked = bundle.column("concurrency")
    if bundle.cases[0].prefill_layout is None:
        return settle(server, asked, policy_of(stack, spread=bundle.column("spread")))
    prefiller = bundle.prefill.server(stack, bundle.capacity)
    workers = np.array([case.workers for case in bundle.cases]).T
    moved = bundle.cache_bytes / (NIC * bundle.prefill_chips) + stack.si.hand_over
    return settle_apart(prefiller, server, asked, workers[0], workers[1], policy_of(stack, True), moved,
                        stack.si.hand_over_steps)  # fmt: skip


def errors(
    found: Sequence[Bundle], stacks: Mapping[str, Any], table: Any
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Log of predicted over measured, for time per output token and to the first, and the row of each."""
    token, first = measured(table, "tpot"), measured(table, "ttft")
    out: list[tuple[Any, Any, Any]] = []
    for bundle in found:
        balance = predict(bundle, stacks[bundle.stack])
        rows = np.array([case.row for case in bundle.cases])
        out.append((np.log(balance.token_time / token[rows]), np.log(balance.first_token / first[rows]), rows))
    return tuple(np.concatenate(part) for part in zip(*out, strict=True))  # type: ignore[return-value]


def calibrate_serving(path: Path = FILE, out: Path | None = None, date: str | None = None) -> dict[str, dict[str, Any]]:
    """Fit every stack to rows of the systems that may be fitted.

    Args:
        path: measurements
        out: folder for the files of the stacks; None writes nothing
        date: written in the files; today by default

    Returns:
        Values by stack, with how well they fit.

    Raises:
        MissingExtraError: SciPy is not installed
    """
    table = table_of(path)
    alone, disaggregated = fitted_cases(path), apart_cases(path)
    evenness = min(EVENNESS, key=lambda value: _cost(alone, value, table))
    stacks = _even(evenness)
    together = bundles(alone, stacks=stacks)
    apart = bundles(disaggregated, stacks=stacks)
    found: dict[str, dict[str, Any]] = {}
    for name in ("vllm", "sglang", "trtllm"):
        mine = [bundle for bundle in together if bundle.stack == name]
        found[name] = _fit(mine, name, FREE, START, SCALES, MOST, table)
    shared = _fit_apart(apart, found, table)
    for name, values in found.items():
        values.update(shared, routing_evenness=evenness)
        if out is not None:
            _write(Path(out), name, values, date or datetime.date.today().isoformat())
    return found


def _even(evenness: float) -> dict[str, Any]:
    """Stacks under an evenness, their host numbers where the fit begins, so that what was fitted before leaves no trace."""
    start = dict(zip(FREE, START.tolist(), strict=True))
    return {name: changed(Stacks[name], {"routing_evenness": evenness} | start) for name in FILES}


def _cost(alone: Sequence[Case], evenness: float, table: Any) -> float:
    """Error of the time per output token under a routing that is more or less even, every mixture counting the same."""
    stacks = _even(evenness)
    mixtures = [case for case in alone if Models[case.model].si.experts]
    token, _, rows = errors(bundles(mixtures, stacks=stacks), stacks, table)
    model = {case.row: case.model for case in mixtures}
    names = np.array([model[int(row)] for row in rows])
    return float(np.mean([np.median(np.abs(token[names == name])) for name in sorted(set(names.tolist()))]))


def _fit(
    mine: Sequence[Bundle], name: str, free: Sequence[str], start: Any, scales: Any, most: Any, table: Any
) -> dict[str, Any]:
    base = Stacks[name]

    def stack(x: Any) -> Any:
        return changed(base, dict(zip(free, (x * scales).tolist(), strict=True)))

    def residuals(x: Any) -> Any:
        token, first, _ = errors(mine, {name: stack(x)}, table)
        return np.concatenate([_robust(token, TOKEN_SCALE), _robust(first, FIRST_SCALE)])

    x = least_squares(residuals, start / scales, (0.0, most / scales), **SOLVER)
    token, first, _ = errors(mine, {name: stack(x)}, table)
    values: dict[str, Any] = dict(zip(free, (x * scales).tolist(), strict=True))
    return values | _quality(token, first)


def _fit_apart(apart: Sequence[Bundle], found: Mapping[str, Mapping[str, Any]], table: Any) -> dict[str, float]:
    scales, start = np.array([1e-2, 1.0, 0.1]), np.array([2e-2, 5.0, 0.1])

    def stacks(x: Any) -> dict[str, Any]:
        extra = dict(zip(APART, (x * scales).tolist(), strict=True))
        return {
            name: changed(Stacks[name], {key: values[key] for key in FREE} | extra) for name, values in found.items()
        }

    def residuals(x: Any) -> Any:
        token, first, _ = errors(apart, stacks(x), table)
        return np.concatenate([_robust(token, TOKEN_SCALE), _robust(first, FIRST_SCALE)])

    x = least_squares(residuals, start / scales, (0.0, np.array([0.5, 60.0, 1.0]) / scales), **SOLVER)
    token, first, _ = errors(apart, stacks(x), table)
    quality = _quality(token, first)
    return dict(zip(APART, (x * scales).tolist(), strict=True)) | {
        f"disaggregated_{name}": quality[name] for name in ("token_sigma", "first_sigma")
    }


def changed(stack: Any, values: Mapping[str, float]) -> Any:
    """A stack with other numbers, in SI."""
    kept = {item.name: object.__getattribute__(stack, item.name) for item in dataclasses.fields(stack)}
    return type(stack)(**(kept | dict(values)))


def _robust(error: Any, scale: float) -> Any:
    """Cauchy's loss as a residual."""
    return np.sqrt(np.log1p((error / scale) ** 2))


def _quality(token: Any, first: Any) -> dict[str, Any]:
    relative = np.abs(np.exp(token) - 1), np.abs(np.exp(first) - 1)
    return {
        "token_sigma": float(np.quantile(np.abs(token), 0.9)) / Z90,
        "first_sigma": float(np.quantile(np.abs(first), 0.9)) / Z90,
        "rows": len(token),
        "token_error": [float(np.median(relative[0])), float(np.quantile(relative[0], 0.9))],
        "first_error": [float(np.median(relative[1])), float(np.quantile(relative[1], 0.9))],
    }


NOTHING = 1e-8
"""A fitted number below this, in SI, is written as 0."""
UNITS = {"gap": ("us", 1e6), "step_host": ("us", 1e6), "first_token_fixed": ("ms", 1e3), "hand_over": ("ms", 1e3)}
CATALOG = DATA / "stacks" / "stacks"
FILES = {"vllm": "vllm.yaml", "sglang": "sglang.yaml", "trtllm": "tensorrt-llm.yaml"}


def _write(folder: Path, name: str, values: Mapping[str, Any], date: str) -> None:
    """Put fitted values in the file of a stack, or into a copy of the catalog's; the other lines stay."""
    import re

    path = folder / FILES[name]
    text = (path if path.exists() else CATALOG / FILES[name]).read_text(encoding="utf-8")
    for key in ("routing_evenness", *FREE, *APART, *SIGMAS):
        unit, factor = UNITS.get(key, ("", 1.0))
        value = values[key] if values[key] > NOTHING else 0.0
        told = f"{{value: {float(f'{value * factor:.4g}')}{', unit: ' + unit if unit else ''}, source: load}}"
        text = re.sub(rf"^  {key}: .*$", f"  {key}: {told}", text, flags=re.M)
    (token, token_tail), (first, first_tail) = values["token_error"], values["first_error"]
    note = (f"fitted on {values['rows']} aggregated runs; error of time per output token {token:.1%} in median and "
            f"{token_tail:.0%} at the 90th percentile, to the first token {first:.0%} and {first_tail:.0%}")  # fmt: skip
    text = re.sub(r"^note: .*$", f'note: "{note}"', text, flags=re.M)
    text = re.sub(r"(kind: fitted.*date: )[\d-]+", rf"\g<1>{date}", text)
    path.write_text(text, encoding="utf-8")


def fitted_cases(path: Path = FILE) -> list[Case]:
    """Aggregated rows that stacks are fitted on; none whose speculation is unknown."""
    return [
        case for case in cases(path)
        if case.system in FITTED and case.mode == "agg" and not case.trouble and len(case.settings) == 1
    ]  # fmt: skip


def apart_cases(path: Path = FILE) -> list[Case]:
    """Disaggregated rows that hand-over is fitted on: workers told, by the row or by the one recipe it can be of.

    Workers that reach across nodes are left out: how long they take hangs on the links between.
    """
    found = []
    for case in cases(path):
        if case.system not in FITTED or case.mode != "disagg" or len(case.settings) != 1:
            continue
        told = not case.trouble or case.listed
        if told and case.layout.chips <= DOMAIN and case.prefill_layout and case.prefill_layout.chips <= DOMAIN:
            found.append(case)
    return found
