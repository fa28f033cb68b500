"""The scoreboard of training: time of a step and memory of a chip against published runs, none of which was fitted."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MLSysimError
from ..solvers.training_step import TrainingStepModel
from .statistics import Score, score
from .training_cases import Case
from .training_rows import FILE, cases

FAMILIES = ("training_step_time", "training_memory")
MEMORY_SIGMA = {"allocated": 0.03, "activations": 0.03, "states": 0.05, "reserved": 0.3, "device": 0.09}
"""Standard deviation claimed for the logarithm of memory, by counter: work space of kernels, rounding and cached blocks of
the allocator, and contexts of libraries are hardly modelled."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Cases with what was predicted: seconds a step or bytes a chip, and the textbook figure (speed of light, states alone)."""

    cases: tuple[Case, ...]
    predicted: NDArray[np.float64]
    measured: NDArray[np.float64]
    sigma: NDArray[np.float64]
    roofline: NDArray[np.float64]
    reasons: tuple[str, ...]


@functools.lru_cache(maxsize=4)
def predictions(path: Path = FILE) -> Trained:
    """Predict every case of a file; what cannot be answered is NaN, with the reason."""
    every = cases(path)
    n = len(every)
    predicted, sigma, light = (np.full(n, np.nan) for _ in range(3))
    reasons = [""] * n
    for place, case in enumerate(every):
        try:
            answer = TrainingStepModel().solve(case.model, case.fleet, **case.arguments)
        except MLSysimError as error:
            reasons[place] = str(error)
            continue
        inside = answer.si
        if case.family == "training_memory":
            predicted[place] = counted(inside, case)
            light[place] = inside.weights + inside.gradients + inside.optimizer_state
            sigma[place] = MEMORY_SIGMA[case.counter]
        else:
            predicted[place], sigma[place], light[place] = inside.step_latency_total, inside.sigma, inside.ideal_latency
    measured = np.array([case.value for case in every])
    return Trained(every, predicted, measured, sigma, light, tuple(reasons))


def counted(inside: Any, case: Case) -> float:
    """Memory as the counter of a row sees it: of the allocator, reserved by it, of the device, or a part alone."""
    stack = case.arguments["stack"].si
    device = float(inside.memory_per_device)
    allocated = device - stack.context_memory - float(inside.cached_blocks)
    states = inside.weights + inside.gradients + inside.optimizer_state
    found: float = {
        "device": device, "reserved": device - stack.context_memory, "activations": inside.activations, "states": states,
    }.get(case.counter, allocated)  # fmt: skip
    return found


def training_scores(path: Path = FILE, grouped: bool = True) -> list[Score]:
    """The scoreboard of training; rows with unknown or contradictory recipes count only in families that end in ``_raw``.

    Args:
        path: measurements
        grouped: also by source, hardware and regime
    """
    done = predictions(path)
    clean = np.array([not case.trouble for case in done.cases])
    found: list[Score] = []
    for suffix, kept in (("", clean), ("_raw", np.ones_like(clean))):
        for family in FAMILIES:
            mine = kept & np.array([case.family == family for case in done.cases])
            for group, inside in _groups(done.cases, grouped):
                rows = np.flatnonzero(mine & inside)
                if len(rows):
                    found.append(_one(done, f"{family}{suffix}", group, rows))
    return found


def rows(path: Path = FILE) -> list[dict[str, Any]]:
    """The same as plain rows, for JSON."""
    return [one.to_dict() for one in training_scores(path)]


def _groups(every: tuple[Case, ...], grouped: bool) -> list[tuple[str, NDArray[np.bool_]]]:
    found = [("all", np.ones(len(every), dtype=bool))]
    if grouped:
        for name in ("source", "hardware", "regime"):
            values = np.array([getattr(case, name) for case in every])
            found += [(f"{name}={value}", values == value) for value in sorted(set(values.tolist()))]
    return found


def _one(done: Trained, name: str, group: str, rows: NDArray[np.int64]) -> Score:
    def label(number: int) -> dict[str, Any]:
        case = done.cases[int(rows[number])]
        return {
            "row": case.row,
            "source": case.source,
            "hardware": case.hardware,
            "regime": case.regime,
            "assumed": list(case.assumed),
        }

    predicted, measured, sigma, light = (
        side[rows] for side in (done.predicted, done.measured, done.sigma, done.roofline)
    )
    return score(name, "validation", group, predicted, measured, sigma, light, labels=label)
