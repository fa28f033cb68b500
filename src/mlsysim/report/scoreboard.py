"""Pictures of the scoreboard: predicted against measured, and errors by family or group with the textbook beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from ..validation.points import Points
from ..validation.statistics import Z90, Score
from .chart import Bars, Chart, Line, PictureError, draw
from .chart import Points as Dots

DOTS = 96
"""Dots an inch: these are for a screen, and there are many."""
MOST = 400
"""Points of one split that are drawn; more hide one another."""
KINDS = {"all": "collectives", "reduce": "collectives", "send": "collectives", "context": "attention",
         "generation": "attention", "mla": "attention"}  # fmt: skip
"""Families, by their first word, that share a picture."""
DEVICES = ("gpu", "system", "hardware")
"""Columns that groups by device are named after."""


def predicted_against_measured(parts: Sequence[Points]) -> Chart:
    """One family: a point a row, the line of equality, and the 90 % interval at the median spread.

    Args:
        parts: the splits of the family; those that parameters were fitted to are grey
    """
    if not parts:
        raise InvalidInputError("parts: expected at least one split, found none")
    measured = np.concatenate([part.measured for part in parts])
    predicted = np.concatenate([part.predicted for part in parts])
    open_rows = [part for part in parts if not part.seen] or list(parts)
    reach = float(np.exp(Z90 * np.median(np.concatenate([part.sigma for part in open_rows]))))
    ends = np.array([min(measured.min(), predicted.min()), max(measured.max(), predicted.max())])
    marks: list[Any] = []
    for part in sorted(parts, key=lambda part: not part.seen):
        step = -(-len(part.measured) // MOST)
        marks.append(
            Dots(
                part.measured[::step],
                part.predicted[::step],
                f"{part.split}: {len(part.measured):,} rows",
                faint=part.seen,
            )
        )
    marks.append(Line(ends, ends, "equal", style=6, width=1.2))
    for factor in (reach, 1 / reach):
        marks.append(Line(ends, ends * factor, "90 % interval", style=5, width=1.2))
    unit = parts[0].unit
    return Chart(
        parts[0].family.replace("_", " "), f"measured ({unit})", f"predicted ({unit})", log_x=True, log_y=True,
        marks=marks, notes=(f"interval at the median spread of rows that were not fitted: times and over {reach:.2f}",)
        if not all(part.seen for part in parts) else (), size=(5.0, 4.4),
    )  # fmt: skip


def error_bars(scores: Sequence[Score], title: str) -> Chart:
    """Median errors in per cent: one row a score, that of the textbook light beside it where it is known.

    Args:
        scores: what to compare
        title: of the picture
    """
    if not scores:
        raise InvalidInputError("scores: expected at least one, found none")
    names = [
        f"{row.family.replace('_', ' ')}, {row.split}"
        if row.group == "all"
        else f"{row.group.split('=', 1)[1]}, {row.split}"
        for row in scores
    ]
    ours = [100 * row.median_abs_error for row in scores]
    known = [place for place, row in enumerate(scores) if row.roofline_median_abs_error is not None]
    light = [100 * float(scores[place].roofline_median_abs_error or 0.0) for place in known]
    rows = range(len(scores))
    marks = [Bars(rows, [0.0] * len(ours), ours, "measured efficiency", texts=[f"{v:.0f}" for v in ours], height=0.38,
                  shift=-0.2)]  # fmt: skip
    if known:
        marks.append(Bars(known, [0.0] * len(light), light, "textbook", style=1, light=True, height=0.38, shift=0.2,
                          texts=[f"{v:.0f}" for v in light]))  # fmt: skip
    return Chart(title, "median error (per cent)", rows=names, marks=marks, size=(6.0, 1.3 + 0.36 * len(names)))


def write(folder: Path, scores: Sequence[Score], parts: Sequence[Points]) -> list[Path]:
    """Draw all of it into a folder.

    Args:
        folder: where to
        scores: rows of the scoreboard
        parts: the points behind them

    Returns:
        The files: ``<family>.png``; ``<family>_devices.png`` where the scores tell devices apart; ``errors_<kind>.png``
        with every family of a kind, such as ``gemm``, rows as published (``_raw``) excepted.

    Raises:
        MissingExtraError: Matplotlib is not installed
        PictureError: a file cannot be written
    """
    charts: dict[str, Chart] = {}
    for family in dict.fromkeys(part.family for part in parts):
        charts[family] = predicted_against_measured([part for part in parts if part.family == family])
    answered = [row for row in scores if row.answered]
    kinds: dict[str, list[Score]] = {}
    for row in answered:
        if row.group == "all" and not row.family.endswith("_raw"):
            kind = row.family.split("_")[0]
            kinds.setdefault(KINDS.get(kind, kind), []).append(row)
    for kind, mine in kinds.items():
        charts[f"errors_{kind}"] = error_bars(mine, f"{kind}: median error")
    for family in dict.fromkeys(row.family for row in answered):
        mine = [row for row in answered if row.family == family and row.group.split("=")[0] in DEVICES]
        if family.endswith("_raw"):
            continue
        if len(mine) > 1:
            charts[f"{family}_devices"] = error_bars(mine, f"{family.replace('_', ' ')}: median error by device")
    written = []
    for name, chart in charts.items():
        figure, _ = draw(chart)
        target = folder / f"{name}.png"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(target, dpi=DOTS, bbox_inches="tight", facecolor="white", pil_kwargs={"optimize": True})
        except OSError as error:
            raise PictureError(f"cannot write {target}: {(error.strerror or str(error)).lower()}") from None
        written.append(target)
    return written
