"""Fit the parameters of a form to measured times: robust least squares of log errors, drawn towards a prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError
from ..machine.operators import Operator

FIXED = {"rows", "pack", "least", "most", "columns", "narrow", "turn", "splits", "windowed", "shares", "swaps"}
"""Parameters that are choices, not fitted."""
BOUNDS: Mapping[str, tuple[float, float]] = {
    "compute": (0.01, 1.0),
    "memory": (0.02, 2.0),
    "launch": (2e-7, 3e-4),
    "overlap": (0.01, 8.0),
    "feed": (0.03, 20.0),
    "wave": (1e-9, 3e-5),
    "split": (1e-8, 5e-5),
    "empty": (1e-10, 3e-6),
    "write": (0.01, 100.0),
    "join": (1e-10, 1e-6),
    "alone": (0.02, 10.0),
    "reach": (0.01, 2.0),
    "quantise": (1e-7, 5e-5),
    "quantise_memory": (0.05, 1.5),
    "quantise_row": (1e-12, 1e-7),
    "eager": (1e-6, 1e-3),
    "unaligned": (1e-7, 1e-3),
    "softmax": (0.01, 8.0),
    "balance": (0.05, 8.0),
    "diagonal": (0.01, 10.0),
    "wide": (0.05, 3.0),
    "cache_gain": (0.01, 10.0),
    "stream": (0.2, 50.0),
    "row": (1e-12, 1e-6),
    "token": (0.01, 60.0),
    "slot": (0.001, 20.0),
    "latency": (5e-7, 5e-4),
    "growth": (0.001, 2.0),
    "low": (0.01, 1.2),
    "bulk_latency": (1e-6, 2e-3),
    "bulk_growth": (0.001, 2.0),
    "bulk": (0.02, 1.2),
    "middle": (0.02, 1.2),
    "bridge": (0.1, 1.0),
    "once_latency": (5e-7, 5e-4),
    "once_growth": (0.001, 2.0),
    "once": (0.02, 1.2),
    "twice_latency": (1e-6, 5e-4),
    "twice_growth": (0.001, 2.0),
    "twice": (0.02, 1.2),
    "host": (1e-6, 1e-3),
    "far_latency": (5e-7, 1e-3),
    "across": (0.05, 1.0),
    "channel": (2e10, 9.9e11),
    "each": (1e8, 9.9e11),
}
SCALE = 0.06
"""Log error beyond which a row counts by its size rather than by its square."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of one device and kernel bound to its chip, with the times that were measured."""

    gpu: str
    kernel: str
    operator: Operator
    seconds: NDArray[np.float64]

    def errors(self, values: Mapping[str, float]) -> NDArray[np.float64]:
        """Log of measured over predicted."""
        out: NDArray[np.float64] = np.log(self.seconds / self.operator.run(values))
        return out


def least_squares(residuals: Callable[[Any], Any], start: Any, bounds: Any, **options: Any) -> NDArray[np.float64]:
    """Where SciPy's ``least_squares`` ends.

    Raises:
        MissingExtraError: SciPy is not installed
    """
    try:
        from scipy.optimize import least_squares as solve
    except ImportError:
        raise MissingExtraError("calibration", "calibrate") from None
    solved: Any = solve(residuals, start, bounds=bounds, **options)
    return np.asarray(solved.x)


def drawn(
    errors: Callable[[Mapping[str, float]], Any],
    prior: Mapping[str, float],
    spread: float,
    bounds: Mapping[str, tuple[float, float]],
    scale: float,
    digits: int,
    **options: Any,
) -> dict[str, float]:
    """Positive parameters of least robust error, in logs, drawn towards a prior.

    Args:
        errors: log errors of all rows, given parameters by name
        prior: where every parameter starts, and whither it is drawn
        spread: how far (in logs) it may go before that costs as much as a row that is off by ``scale``
        bounds: least and largest value of every parameter
        scale: log error beyond which a row counts by its size rather than by its square
        digits: significant digits kept
        options: for the solver

    Raises:
        MissingExtraError: SciPy is not installed
    """
    names = [*prior]
    low, high = (np.log([bounds[name][side] for name in names]) for side in (0, 1))
    start = np.clip(np.log([prior[name] for name in names]), low + 1e-6, high - 1e-6)

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        values = dict(zip(names, np.exp(x).tolist(), strict=True))
        return np.concatenate([errors(values), scale * (x - start) / spread])

    found = np.exp(least_squares(residuals, start, (low, high), loss="soft_l1", f_scale=scale, **options))
    return {name: float(f"{value:.{digits}g}") for name, value in zip(names, found, strict=True)}


def fit(
    samples: Sequence[Sample],
    prior: Mapping[str, float],
    spread: float,
    rounds: int = 30,
    pinned: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Parameters of one form for some samples.

    Args:
        samples: at least one
        prior: a value for every parameter; choices keep it
        spread: how far (in logs) a parameter may go from it before that costs as much as a row that is 6 % off
        rounds: most steps of the solver
        pinned: parameters held at a value

    Raises:
        MissingExtraError: SciPy is not installed
    """
    # The launches of a product and of the kernel that quantises its operand cannot be told apart: one is held.
    held = {"launch": prior["launch"]} if "quantise" in prior else {}
    held |= dict(pinned or {})
    prior = {**prior, **held}
    free = {name: value for name, value in prior.items() if name not in FIXED and name not in held and value > 0}

    def errors(values: Mapping[str, float]) -> NDArray[np.float64]:
        every = {**prior, **values}
        return np.concatenate([sample.errors(every) for sample in samples])

    return {**prior, **drawn(errors, free, spread, BOUNDS, SCALE, 4, max_nfev=rounds, xtol=1e-4, ftol=1e-4)}


def cost(samples: Sequence[Sample], values: Mapping[str, float]) -> float:
    """Mean absolute log error, by which choices are compared."""
    return float(np.mean(np.abs(np.concatenate([sample.errors(values) for sample in samples]))))


def best_of(
    samples: Sequence[Sample],
    prior: Mapping[str, float],
    choices: Sequence[Mapping[str, float]],
    spread: float,
    pinned: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """The fit under the best of some choices of the parameters that are not fitted."""
    tried = [fit(samples, {**prior, **choice}, spread, 15 if len(choices) > 1 else 30, pinned) for choice in choices]
    best = min(tried, key=lambda values: cost(samples, values))
    return fit(samples, best, spread, pinned=pinned) if len(choices) > 1 else best


def pooled(samples: Sequence[Sample], most: int = 1200) -> list[Sample]:
    """The samples, the rows of each thinned evenly so that together they hold at most about ``most``."""
    total = sum(len(sample.seconds) for sample in samples)
    step = int(np.ceil(total / most))
    return list(samples) if step <= 1 else [keep(sample, slice(None, None, step)) for sample in samples]


def keep(sample: Sample, rows: Any) -> Sample:
    """The sample as far as some rows go: a mask, numbers, or a slice."""

    def run(values: Mapping[str, float]) -> Any:
        return sample.operator.run(values)[rows]

    operator = Operator(sample.operator.family, run, sample.operator.floor, sample.operator.precision)
    return Sample(sample.gpu, sample.kernel, operator, sample.seconds[rows])
