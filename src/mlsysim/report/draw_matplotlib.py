"""Charts drawn by Matplotlib, without its global state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingExtraError
from .chart import COLOURS, DASHES, HATCHES, Bars, Chart, Heat, Line, Marks, Points

MARKS = ("o", "s", "D", "^", "v", "X", "*", "p")
OFFSETS = [
    (7, 6),
    (7, -13),
    (-7, 6),
    (-7, -13),
    (0, 13),
    (0, -20),
    (12, 20),
    (-12, 20),
    (12, -27),
    (-12, -27),
    (24, 0),
    (-24, 0),
]


def drawn(chart: Chart, ax: Any = None) -> tuple[Any, Any]:
    """Figure and axes."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("drawing with Matplotlib", "viz") from None
    if ax is None:
        figure: Any = Figure(figsize=chart.size, dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes: Any = figure.subplots()
    else:
        figure, axes = ax.figure, ax
    texts: list[tuple[float, float, str, str]] = []
    for mark in chart.marks:
        _draw(axes, mark, texts)
    axes.set_title(chart.title, loc="left", fontsize=11, fontweight="bold", pad=6 + 11 * len(chart.notes))
    if chart.notes:
        told = {"xytext": (0, 5), "textcoords": "offset points", "va": "bottom", "fontsize": 7.5, "color": "0.35"}
        axes.annotate("\n".join(chart.notes), (0, 1), xycoords="axes fraction", **told)
    axes.set_xlabel(chart.x)
    axes.set_ylabel(chart.y)
    if chart.log_x:
        axes.set_xscale("log")
    if chart.log_y:
        axes.set_yscale("log")
    if chart.rows:
        axes.set_yticks(range(len(chart.rows)), chart.rows)
        axes.set_ylim(len(chart.rows) - 0.4, -0.6)
        stops = [a + b for m in chart.marks if isinstance(m, Bars) for a, b in zip(m.starts, m.lengths, strict=True)]
        stops += [x for m in chart.marks if isinstance(m, Marks) for x in m.x]
        axes.set_xlim(0, max([*stops, 1e-300]) * (2.2 if chart.bare else 1.2))  # room for the texts at the right
    if chart.bare:
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    heat = any(isinstance(mark, Heat) for mark in chart.marks)
    if not heat:
        axes.grid(True, which="major", axis="x" if chart.rows else "both", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
    handles, labels = axes.get_legend_handles_labels()
    unique = {label: handle for handle, label in zip(handles, labels, strict=True)}
    if len(unique) > 1 or (unique and not chart.rows):
        # Below the axes, where no mark can be covered.
        look = {"ncols": min(3, len(unique)), "fontsize": 8, "frameon": False, "handlelength": 3.2}
        if ax is None:
            figure.legend(unique.values(), unique.keys(), loc="outside lower center", **look)
        else:
            axes.legend(unique.values(), unique.keys(), loc="upper center", bbox_to_anchor=(0.5, -0.14), **look)
    _place(figure, axes, texts)
    return figure, axes


def _draw(axes: Any, mark: Any, texts: list[tuple[float, float, str, str]]) -> None:
    if isinstance(mark, Line):
        style = mark.style
        axes.plot(
            mark.x,
            mark.y,
            color=_colour(style),
            linestyle=DASHES[style % len(DASHES)],
            linewidth=mark.width,
            label=mark.label,
        )
        if mark.text:
            texts.append((float(mark.x[-1]), float(mark.y[-1]), mark.text, _colour(style)))
    elif isinstance(mark, Points):
        look: dict[str, Any] = (
            {"s": 16, "alpha": 0.6, "color": "0.65", "edgecolors": "none", "zorder": 2, "rasterized": True}
            if mark.faint
            else {
                "s": 46 if len(mark.x) <= 30 else 12,
                "color": _colour(mark.style),
                "edgecolors": "black",
                "linewidths": 0.6 if len(mark.x) <= 30 else 0.2,
                "zorder": 4,
            }
        )
        axes.scatter(mark.x, mark.y, marker=MARKS[mark.style % len(MARKS)], label=mark.label, **look)
        texts += [(x, y, text, "black") for x, y, text in zip(mark.x, mark.y, mark.texts, strict=False) if text]
    elif isinstance(mark, Bars):
        rows = np.asarray(mark.rows, dtype=float) + mark.shift
        look = {"alpha": 0.4, "edgecolor": "0.3"} if mark.light else {"alpha": 1.0, "edgecolor": "white"}
        look |= {"hatch": HATCHES[mark.style % len(HATCHES)], "facecolor": _colour(mark.style), "linewidth": 0.8}
        axes.barh(rows, mark.lengths, left=mark.starts, height=mark.height, label=mark.label, **look)
        for row, start, length, text in zip(rows, mark.starts, mark.lengths, mark.texts, strict=False):
            if text:
                axes.annotate(
                    text, (start + length, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
                )
    elif isinstance(mark, Marks):
        for place, (row, x) in enumerate(zip(mark.rows, mark.x, strict=True)):
            axes.plot(
                [x, x], [row - 0.42, row + 0.42], color="black", linewidth=2.2, label=mark.label if place == 0 else "_"
            )
    elif isinstance(mark, Heat):
        _heat(axes, mark)


def _heat(axes: Any, mark: Heat) -> None:
    values = np.asarray(mark.values, dtype=float)
    image = axes.imshow(np.ma.masked_invalid(values), aspect="auto", origin="lower", cmap="cividis")
    axes.set_xticks(*_ticks(mark.x, 12), rotation=45 if max(map(len, mark.x)) > 5 else 0)
    axes.set_yticks(*_ticks(mark.y, 16))
    axes.figure.colorbar(image, ax=axes, label=mark.label)
    if values.size <= 120:
        middle = np.nanmean([np.nanmin(values), np.nanmax(values)]) if np.isfinite(values).any() else 0.0
        for (row, column), value in np.ndenumerate(values):
            text = f"{value:.3g}" if np.isfinite(value) else "does\nnot fit"
            colour = "0.4" if not np.isfinite(value) else "black" if value > middle else "white"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)


def _ticks(labels: Any, most: int) -> tuple[Any, Any]:
    step = max(1, -(-len(labels) // most))
    return list(range(0, len(labels), step)), list(labels)[::step]


def _place(figure: Any, axes: Any, texts: list[tuple[float, float, str, str]]) -> None:
    """Put each text beside its mark where it covers no other text and stays inside."""
    if not texts:
        return
    figure.draw_without_rendering()
    if not hasattr(figure.canvas, "get_renderer"):  # the caller's own canvas cannot measure text
        for x, y, text, colour in texts:
            axes.annotate(text, (x, y), xytext=OFFSETS[0], textcoords="offset points", fontsize=8, color=colour)
        return
    renderer, frame = figure.canvas.get_renderer(), axes.get_window_extent()
    taken: list[Any] = []
    scale = figure.dpi / 72
    dots = [axes.transData.transform((x, y)) for x, y, _, _ in texts]
    for x, y, text, colour in texts:
        label = axes.annotate(text, (x, y), xytext=OFFSETS[0], textcoords="offset points", fontsize=8, color=colour)
        best, fewest = OFFSETS[0], 1e9
        for dx, dy in OFFSETS:
            label.set_position((dx, dy))
            label.set_horizontalalignment("left" if dx > 0 else "right" if dx < 0 else "center")
            box = label.get_window_extent(renderer)
            crossings = sum(box.overlaps(other) for other in taken)
            crossings += sum(box.padded(3 * scale).contains(*dot) for dot in dots)
            inside = box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1
            if crossings + 3 * (not inside) < fewest:
                best, fewest = (dx, dy), crossings + 3 * (not inside)
            if fewest == 0:
                break
        label.set_position(best)
        label.set_horizontalalignment("left" if best[0] > 0 else "right" if best[0] < 0 else "center")
        label.set_bbox({"facecolor": "white", "alpha": 0.7, "pad": 0.6, "edgecolor": "none"})
        if abs(best[0]) + abs(best[1]) > 22:
            label.arrow_patch = None
            axes.annotate(
                "",
                (x, y),
                xytext=best,
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6},
            )
        taken.append(label.get_window_extent(renderer))


def _colour(style: int) -> str:
    return COLOURS[style % len(COLOURS)]


def save(figure: Any, target: Path) -> None:
    """Write a figure; for paper at 300 dots an inch."""
    figure.savefig(target, dpi=300 if target.suffix.lower() != ".png" else 200, bbox_inches="tight", facecolor="white")
