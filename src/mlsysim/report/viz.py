"""Pictures of answers: rooflines, waterfalls, memory stacks, fronts, heat maps, scorecards, timelines.

Each returns ``(figure, axes)`` of Matplotlib, or the figure of Plotly with ``backend="plotly"``; ``out=`` writes a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from ..search.frames import columns_of, units_of_frame
from ..search.fronts import pareto
from ..search.objective import objectives
from ..solvers.ledger import shown
from .chart import Bars, Chart, Heat, Line, Marks, Points, draw
from .parts import memory_parts, scorecard_rows, step_lanes, time_parts
from .rooflines import listed, plot_distributed_roofline, plot_hierarchical_roofline, plot_roofline

__all__ = [
    "plot_distributed_roofline",
    "plot_evaluation_scorecard",
    "plot_heatmap",
    "plot_hierarchical_roofline",
    "plot_latency_waterfall",
    "plot_memory_stack",
    "plot_pareto",
    "plot_roofline",
    "plot_step_timeline",
]


def plot_latency_waterfall(
    answer: Any,
    previous: Any = None,
    *,
    backend: str = "matplotlib",
    out: Path | str | None = None,
    ax: Any = None,
) -> Any:
    """Where the time goes: one bar a part, each starting where what it waits for ends, and the total.

    Arithmetic and memory traffic of a phase overlap, so both start together.

    Args:
        answer: an answer with times: a pass, a serving answer, a training step
        previous: an answer of the same kind to compare with, drawn light
        backend: ``matplotlib`` or ``plotly``
        out: file to write
        ax: Matplotlib axes to draw into
    """

    parts = time_parts(answer)
    before = {} if previous is None else {part.name: part for part in time_parts(previous)}
    if previous is not None and type(previous) is not type(answer):
        raise InvalidInputError(f"previous: expected a {type(answer).__name__}, found a {type(previous).__name__}")
    ends: dict[str, float] = {}
    for part in (*parts, *before.values()):
        ends[part.phase] = max(ends.get(part.phase, 0.0), part.stop)
    # Phases of very different length, as prefill and one decode step, each fill the width; texts say how long they are.
    unit, factor = _scale(max(ends.values()))
    scales = {phase: stop if len(ends) > 1 else factor for phase, stop in ends.items()}
    shift, height = (0.0, 0.62) if previous is None else (-0.2, 0.36)
    marks: list[Any] = []
    for style, kind in enumerate(KINDS):
        rows = [place for place, part in enumerate(parts) if part.kind == kind]
        mine = [parts[place] for place in rows]
        texts = [_compared(part, before.get(part.name)) for part in mine]
        if mine:
            marks.append(_bars(rows, mine, scales, kind, style, texts, False, height, shift))
        old = [(row, before[part.name]) for row, part in zip(rows, mine, strict=True) if part.name in before]
        if old:
            marks.append(
                _bars(
                    [row for row, _ in old],
                    [part for _, part in old],
                    scales,
                    f"{kind}, before",
                    style,
                    [],
                    True,
                    height,
                    0.2,
                )
            )
    title = f"Where the time goes: {_asked(answer)}"
    notes = () if previous is None else (f"light bars: {_asked(previous)}",)
    size = (8.0, 1.9 + (0.34 if previous is None else 0.5) * len(parts))
    axis = (
        f"time [{unit}]"
        if len(ends) == 1
        else "share of the time of each phase" + ("" if previous is None else ", the longer one")
    )
    return draw(Chart(title, axis, marks=marks, rows=[p.name for p in parts], notes=notes, size=size), backend, out, ax)


def _bars(
    rows: Any, parts: Any, scales: Any, label: str, style: int, texts: Any, light: bool, height: float, shift: float
) -> Bars:
    starts = [part.start / scales[part.phase] for part in parts]
    lengths = [part.length / scales[part.phase] for part in parts]
    return Bars(rows, starts, lengths, label, style, texts, light, height, shift)


KINDS = ["Compute", "Memory", "Communication", "Overhead", "Waiting", "Total"]


def _compared(part: Any, old: Any) -> str:
    text = shown(part.length, "second")
    if old is None or old.length <= 0:
        return text
    change = part.length / old.length - 1.0
    return f"{text} ({change:+.0%})" if abs(change) >= 0.005 else f"{text} (same)"


def plot_memory_stack(
    answers: Any, *, backend: str = "matplotlib", out: Path | str | None = None, ax: Any = None
) -> Any:
    """What fills the memory of a device, and where it ends.

    Args:
        answers: one answer or several, of any kind that holds memory: passes, serving, training
        backend: ``matplotlib`` or ``plotly``
        out: file to write
        ax: Matplotlib axes to draw into
    """

    stacks = [memory_parts(answer) for answer in listed(answers)]
    if not stacks:
        raise InvalidInputError("answers: expected at least one answer, found none")
    names = list(dict.fromkeys(name for stack in stacks for name, _ in stack.parts))
    longest = max(max(stack.capacity, stack.total) for stack in stacks)
    unit, factor = ("GB", 1e9) if longest >= 1e9 else ("MB", 1e6) if longest >= 1e6 else ("kB", 1e3)
    starts = [0.0] * len(stacks)
    marks: list[Any] = []
    for place, name in enumerate(names):
        lengths = [dict(stack.parts).get(name, 0.0) / factor for stack in stacks]
        last = place == len(names) - 1
        texts = [f"{stack.total / factor:,.3g} of {stack.capacity / factor:,.3g} {unit}{'' if stack.fits else ' (does not fit)'}"
                 for stack in stacks] if last else []  # fmt: skip
        marks.append(Bars(range(len(stacks)), list(starts), lengths, name, place, texts))
        starts = [start + length for start, length in zip(starts, lengths, strict=True)]
    marks.append(Marks(range(len(stacks)), [stack.capacity / factor for stack in stacks], "capacity"))
    rows = [_asked(answer) for answer in listed(answers)]
    chart = Chart(
        "Memory of one device", f"memory [{unit}]", marks=marks, rows=rows, size=(8.5, 1.9 + 0.55 * len(rows))
    )
    return draw(chart, backend, out, ax)


def plot_pareto(
    frame: Any, objectives_: Sequence[str], *, label: str | None = None, highlight: Any = None, backend: str = "matplotlib",
    out: Path | str | None = None, ax: Any = None,
) -> Any:  # fmt: skip
    """All points of a sweep, and the front of those that no other beats.

    Args:
        frame: the frame of a sweep
        objectives_: two, such as ``["minimize: ttft", "maximize: throughput"]``: the axes
        label: a column whose value is written beside some points of the front
        highlight: a frame of rows to mark
        backend: ``matplotlib`` or ``plotly``
        out: file to write
        ax: Matplotlib axes to draw into
    """
    wanted = objectives(objectives_)
    if len(wanted) != 2:
        raise InvalidInputError(f"objectives: expected two, one an axis, found {len(wanted)}")
    best, units = pareto(frame, wanted), units_of_frame(frame)
    fits = frame.filter(frame["feasible"]) if "feasible" in frame.columns else frame

    def place(rows: Any) -> list[Any]:
        return [np.broadcast_to(o.expression.of(columns_of(rows, o.expression.fields)), (rows.height,)) for o in wanted]

    texts: list[str] = []
    if label is not None and best.height:
        values = [_short(value) for value in best.get_column(label).to_list()]
        kept = set(np.unique(np.linspace(0, best.height - 1, min(best.height, 8)).astype(int)).tolist())
        texts = [f"{label}={value}" if index in kept else "" for index, value in enumerate(values)]
    every, (x, y) = place(fits), place(best)
    marks: list[Any] = [
        Points(every[0], every[1], "points that fit", 7, faint=True),
        Line(x, y, "Pareto front", 0, 1.4),
        Points(x, y, "on the front", 0, texts),
    ]
    if highlight is not None and highlight.height:
        at = place(highlight)
        marks.append(Points(at[0], at[1], "highlighted", 5, ["chosen"] + [""] * (highlight.height - 1)))
    axes = [
        f"{o.name} [{o.expression.check(units)}]".replace(" []", "").replace(" [dimensionless]", "") for o in wanted
    ]
    logs = [bool(len(v) and np.min(v) > 0 and np.max(v) / np.min(v) > 30) for v in every]
    words = [f"{'less' if o.sign > 0 else 'more'} {o.name}" for o in wanted]
    title = " against ".join(words).capitalize()
    return draw(Chart(title, axes[0], axes[1], logs[0], logs[1], marks), backend, out, ax)


def plot_heatmap(
    frame: Any,
    x: str,
    y: str,
    value: str,
    *,
    backend: str = "matplotlib",
    out: Path | str | None = None,
    ax: Any = None,
) -> Any:
    """A field of a sweep over two of its axes; points that do not fit are blank.

    Args:
        frame: the frame of a sweep with one row for each pair of values
        x: the axis to the right
        y: the axis upwards
        value: the field
        backend: ``matplotlib`` or ``plotly``
        out: file to write
        ax: Matplotlib axes to draw into
    """
    units = units_of_frame(frame)
    for name in (x, y, value):
        objectives(f"minimize: {name}")[0].expression.check(units, "the frame")
    table = columns_of(frame, [x, y, value])
    across, columns = np.unique(table[x], return_inverse=True)
    up, rows = np.unique(table[y], return_inverse=True)
    if len(set(zip(columns.tolist(), rows.tolist(), strict=True))) != frame.height:
        raise InvalidInputError(
            f"several rows for one pair of {x} and {y}: choose the others with frame.filter(...) first"
        )
    grid = np.full((len(up), len(across)), np.nan)
    fits = frame["feasible"].to_numpy() if "feasible" in frame.columns else np.ones(frame.height, dtype=bool)
    grid[rows, columns] = np.where(fits, table[value], np.nan)
    unit, factor = (
        _scale(float(np.nanmax(grid))) if units[value] == "second" and np.isfinite(grid).any() else (units[value], 1.0)
    )
    label = value if unit in (None, "1") else f"{value} [{unit}]"
    heat = Heat([_short(v) for v in across.tolist()], [_short(v) for v in up.tolist()], grid / factor, label)
    return draw(Chart(f"{value} over {x} and {y}", x, y, marks=[heat]), backend, out, ax)


def plot_step_timeline(
    answer: Any, *, backend: str = "matplotlib", out: Path | str | None = None, ax: Any = None
) -> Any:
    """One training step on a fleet as a timeline: what runs, what is waited for, what is hidden behind it.

    Args:
        answer: of ``DistributedModel``
        backend: ``matplotlib`` or ``plotly``
        out: file to write
        ax: Matplotlib axes to draw into
    """

    lanes = step_lanes(answer)
    unit, factor = _scale(max(lane.start + lane.length for lane in lanes))
    names = list(dict.fromkeys(lane.lane for lane in lanes))
    marks = []
    for place, kind in enumerate(dict.fromkeys(lane.name for lane in lanes)):
        mine = [lane for lane in lanes if lane.name == kind]
        marks.append(Bars([names.index(lane.lane) for lane in mine], [lane.start / factor for lane in mine],
                          [lane.length / factor for lane in mine], kind, place, light=mine[0].hidden))  # fmt: skip
    total = float(answer.si.step_latency_total)
    notes = [f"step {total / factor:.4g} {unit}; each part is shown as one block, in order"]
    if any(lane.hidden for lane in lanes):
        notes.append("light: hidden behind arithmetic")
    chart = Chart(
        f"One step: {_asked(answer)}",
        f"time [{unit}]",
        marks=marks,
        rows=names,
        notes=notes,
        size=(8.5, 2.2 + 0.5 * len(names)),
    )
    return draw(chart, backend, out, ax)


def plot_evaluation_scorecard(
    evaluation: Any, *, backend: str = "matplotlib", out: Path | str | None = None, ax: Any = None
) -> Any:
    """The three levels of an evaluation, with what each uses of what it may use.

    Args:
        evaluation: of ``SystemEvaluator`` or of a scenario
        backend: ``matplotlib`` or ``plotly``
        out: file to write
        ax: Matplotlib axes to draw into
    """

    rows = scorecard_rows(evaluation)
    styles = {"PASS": 2, "FAIL": 5, "SKIPPED": 7, "UNKNOWN": 7}
    marks = [
        Bars([place for place, row in enumerate(rows) if row.status == status], [0.0] * count, [1.0] * count, status, style,
             [row.text for row in rows if row.status == status])
        for status, style in styles.items()
        if (count := sum(row.status == status for row in rows))
    ]  # fmt: skip
    title = f"Scorecard: {evaluation.scenario_name}"
    chart = Chart(
        title,
        "",
        marks=marks,
        rows=[row.name for row in rows],
        notes=tuple(evaluation.notes)[:4],
        size=(9.0, 1.8 + 0.6 * len(rows)),
        bare=True,
    )
    return draw(chart, backend, out, ax)


def _scale(longest: float) -> tuple[str, float]:
    """The unit a time is best shown in."""
    for name, factor in (("h", 3600.0), ("s", 1.0), ("ms", 1e-3)):
        if longest >= factor * (10 if name == "h" else 1):
            return name, factor
    return "us", 1e-6


def _asked(answer: Any) -> str:
    """The question in a few words: its entries and its batch."""
    asked = answer.question.arguments
    words = [asked[name].id for name in ("model", "hardware", "fleet") if getattr(asked.get(name), "id", "")]
    batch = asked.get("batch_size")
    return " on ".join(words[:2]) + (f", batch {batch:g}" if isinstance(batch, (int, float)) else "")


def _short(value: Any) -> str:
    return f"{value:,g}" if isinstance(value, float) else str(value)
