"""The scoreboard: every family of predictions against public measurements, as one list of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from ..errors import UnknownEntryError, nearest
from .statistics import Score

SUBJECTS: dict[str, tuple[tuple[str, str], ...]] = {
    "kernels": (("kernels", "kernel_scores"),),
    "collectives": (
        ("collectives", "collective_scores"),
        ("collectives", "exchange_scores"),
        ("eight_points", "eight_point_scores"),
        ("collectives", "elsewhere_scores"),
    ),
    "serving": (("serving", "serving_scores"),),
    "training": (("training", "training_scores"),),
    "vision": (("vision", "vision_scores"),),
    "energy": (("energy", "energy_scores"),),
    "inference": (("inference", "inference_scores"),),
}
"""What can be validated, and the functions that do it."""


def board(subject: str = "all") -> list[Score]:
    """Score the predictions of a subject, or of all of them.

    Args:
        subject: ``kernels``, ``collectives``, ``serving``, ``training``, ``vision``, ``energy``, ``inference``, or ``all``

    Raises:
        UnknownEntryError: there is no such subject
    """
    if subject != "all" and subject not in SUBJECTS:
        raise UnknownEntryError("subject of validation", subject, nearest(subject, [*SUBJECTS, "all"]) or [*SUBJECTS])
    found: list[Score] = []
    for name, makers in SUBJECTS.items():
        if subject in ("all", name):
            for module, function in makers:
                maker: Callable[[], Sequence[Score]] = getattr(import_module(f".{module}", __package__), function)
                found += maker()
    return found


def document(scores: Sequence[Score]) -> dict[str, Any]:
    """The rows as plain data for JSON; what is not known is null, and only whole families list their worst cases."""
    rows = [_plain(score.to_dict()) for score in scores]
    return {"rows": [row if row["group"] == "all" else {**row, "worst": []} for row in rows]}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


HEADER = ("family", "split", "group", "n", "answered", "median", "p90", "bias", "coverage", "roofline")


def table(scores: Sequence[Score]) -> list[tuple[str, ...]]:
    """The rows as texts, errors in per cent; ``roofline`` is the median error of the textbook on the same rows."""
    return [
        (
            row.family,
            row.split,
            row.group,
            str(row.n),
            str(row.answered),
            _percent(row.median_abs_error),
            _percent(row.p90_abs_error),
            _percent(row.bias, signed=True),
            _percent(row.coverage90),
            _percent(row.roofline_median_abs_error),
        )
        for row in scores
    ]


def worst(scores: Sequence[Score]) -> list[str]:
    """The worst cases of each family and split, one line each."""
    lines = []
    for row in scores:
        if row.group != "all":
            continue
        for case in row.worst:
            told = ", ".join(f"{key} {value}" for key, value in case.items() if key != "error")
            lines.append(f"{row.family}, {row.split}: {_percent(case['error'], signed=True)}: {told}")
    return lines


def _percent(value: float | None, signed: bool = False) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
