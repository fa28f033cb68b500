"""Pictures of a pipeline at work: what every stage does when."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from ..solvers.timeline import Timeline, timeline
from ..solvers.training_step import TrainingStepResult
from .chart import Bars, Chart, draw

MOST = 4000
"""Bars that a picture can still show."""


def plot_schedule(step: Any, *, backend: str = "matplotlib", out: Path | str | None = None, ax: Any = None) -> Any:
    """One training step, a row for each pipeline stage: forward and backward passes, idle gaps, and what comes once a step.

    Args:
        step: of ``TrainingStepModel``, or its :func:`mlsysim.solvers.timeline.timeline`
        backend: ``matplotlib`` or ``plotly``
        out: file to write
        ax: Matplotlib axes to draw into

    Raises:
        InvalidInputError: another answer, or more events than a picture shows
    """
    if not isinstance(step, (TrainingStepResult, Timeline)):
        raise InvalidInputError(
            f"plot_schedule: expected an answer of TrainingStepModel or its timeline, found {type(step).__name__}"
        )
    drawn = step if isinstance(step, Timeline) else timeline(step)
    if len(drawn.events) > MOST:
        raise InvalidInputError(
            f"plot_schedule: {len(drawn.events):,} events are more than the {MOST:,} a picture shows; ask a smaller batch, or "
            "write the timeline for Perfetto"
        )
    kinds = dict.fromkeys(_kind(event.name) for event in drawn.events)
    marks = []
    for place, kind in enumerate(kinds):
        mine = [event for event in drawn.events if _kind(event.name) == kind]
        marks.append(Bars([event.rank for event in mine], [event.start for event in mine],
                          [event.duration for event in mine], kind, place, height=0.85))  # fmt: skip
    rows = [f"stage {rank}" for rank in range(drawn.ranks)]
    chart = Chart(
        drawn.title, "time [s]", marks=marks, rows=rows, notes=[f"step {drawn.length:.4g} s; gaps are the bubble"],
        size=(9.0, 2.0 + 0.4 * len(rows)),
    )  # fmt: skip
    return draw(chart, backend, out, ax)


def _kind(name: str) -> str:
    """What an event is, without its numbers.

    Examples:
        >>> _kind("forward 3, chunk 1"), _kind("forward 3 and backward 9"), _kind("optimizer")
        ('forward', 'forward and backward', 'optimizer')
    """
    return re.sub(r"(, chunk)? \d+", "", name)
