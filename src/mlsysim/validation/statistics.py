"""How good predictions are: relative errors, bias, and whether intervals hold what they promise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z90 = 1.6448536269514722
"""Half-width of the 90 % interval of a normal law, in standard deviations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One line of the scoreboard: a family of predictions against measurements of one split."""

    family: str
    split: str
    group: str
    n: int
    answered: int
    median_abs_error: float
    p90_abs_error: float
    bias: float
    coverage90: float
    roofline_median_abs_error: float | None = None
    roofline_bias: float | None = None
    worst: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def relative_error(predicted: Any, measured: Any) -> NDArray[np.float64]:
    """Predicted over measured, less one.

    Examples:
        >>> relative_error(np.array([9.0, 11.0]), 10.0)
        array([-0.1,  0.1])
    """
    ratio: NDArray[np.float64] = np.asarray(predicted, dtype=np.float64) / measured
    return ratio - 1


def coverage(predicted: Any, measured: Any, sigma: Any, below: Any = None) -> float:
    """Share of the measurements inside the 90 % interval of the predictions; sigma is that of the log.

    ``below`` is that of the lower side, where an unknown setting can only make the measurement smaller.

    Examples:
        >>> coverage(np.array([1.0, 1.0]), np.array([1.1, 2.0]), 0.1)
        0.5
        >>> coverage(np.array([1.0, 1.0]), np.array([1.1, 0.6]), 0.1, below=0.5)
        1.0
    """
    ratio = np.log(np.asarray(measured) / predicted)
    return float(
        np.mean((ratio <= Z90 * np.asarray(sigma)) & (ratio >= -Z90 * np.asarray(sigma if below is None else below)))
    )


def interval(predicted: Any, sigma: Any, share: float = 0.9) -> tuple[Any, Any]:
    """Interval that holds ``share`` of what is measured, when the log error is normal.

    Examples:
        >>> low, high = interval(1.0, 0.1)
        >>> round(float(low), 3), round(float(high), 3)
        (0.848, 1.179)
    """
    from statistics import NormalDist

    reach = np.exp(NormalDist().inv_cdf(0.5 + share / 2) * np.asarray(sigma))
    return predicted / reach, predicted * reach


def score(
    family: str,
    split: str,
    group: str,
    predicted: Any,
    measured: Any,
    sigma: Any,
    roofline: Any = None,
    labels: Any = None,
    worst: int = 3,
    below: Any = None,
) -> Score:
    """Sum up predictions; one that is not finite counts as not answered.

    Args:
        family: what is predicted
        split: which rows
        group: ``all``, or ``column=value``
        predicted: predictions
        measured: measurements, the same shape and unit
        sigma: standard deviation of the log error that each prediction claims
        roofline: the textbook prediction of the same rows
        labels: called with the number of a row, gives its description
        worst: rows with the largest errors to show
        below: the same as sigma for the lower side, where it differs
    """
    below = sigma if below is None else below
    predicted, measured, sigma, below = (
        np.asarray(value, dtype=np.float64) for value in (predicted, measured, sigma, below)
    )
    good = np.isfinite(predicted) & (predicted > 0) & (measured > 0)
    if not good.any():
        nothing = float("nan")
        return Score(
            family=family, split=split, group=group, n=len(measured), answered=0, median_abs_error=nothing,
            p90_abs_error=nothing, bias=nothing, coverage90=nothing,
        )  # fmt: skip
    error = relative_error(predicted[good], measured[good])
    light = None if roofline is None else relative_error(np.asarray(roofline)[good], measured[good])
    shown: list[Mapping[str, Any]] = []
    if labels is not None:
        rows = np.flatnonzero(good)
        for place in np.argsort(-np.abs(np.log1p(error)), kind="stable")[:worst]:
            shown.append({**labels(int(rows[place])), "error": round(float(error[place]), 4)})
    return Score(
        family=family,
        split=split,
        group=group,
        n=len(measured),
        answered=int(good.sum()),
        median_abs_error=float(np.median(np.abs(error))),
        p90_abs_error=float(np.quantile(np.abs(error), 0.9)),
        bias=float(np.median(error)),
        coverage90=coverage(predicted[good], measured[good], sigma[good], below[good]),
        roofline_median_abs_error=None if light is None else float(np.median(np.abs(light))),
        roofline_bias=None if light is None else float(np.median(light)),
        worst=tuple(shown),
    )
