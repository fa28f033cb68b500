"""Charts drawn by Plotly."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingExtraError
from .chart import COLOURS, MARKERS, Bars, Chart, Heat, Line, Marks, Points

DASH = ("solid", "dash", "dashdot", "dot")
PATTERNS = ("", "/", ".", "x", "\\", "-", "+", "|")


def drawn(chart: Chart) -> Any:
    """The figure."""
    try:
        objects: Any = import_module("plotly.graph_objects")
    except ImportError:
        raise MissingExtraError("drawing with Plotly", "viz") from None
    figure = objects.Figure()
    for mark in chart.marks:
        _draw(objects, figure, mark, chart)
    subtitle = "<br>".join(chart.notes)
    figure.update_layout(
        title={"text": f"<b>{chart.title}</b>" + (f"<br><sub>{subtitle}</sub>" if subtitle else "")},
        template="simple_white",
        barmode="overlay",
        legend={"orientation": "h", "yanchor": "top", "y": -0.18},
        margin={"l": 90, "r": 30, "t": 90, "b": 90},
    )
    figure.update_xaxes(title=chart.x, type="log" if chart.log_x else None, showgrid=True)
    figure.update_yaxes(title=chart.y, type="log" if chart.log_y else None, showgrid=not chart.rows)
    if chart.rows:
        figure.update_yaxes(
            tickmode="array",
            tickvals=list(range(len(chart.rows))),
            ticktext=list(chart.rows),
            range=[len(chart.rows) - 0.4, -0.6],
        )
        figure.update_xaxes(rangemode="tozero", visible=not chart.bare)
    return figure


def _draw(objects: Any, figure: Any, mark: Any, chart: Chart) -> None:
    if isinstance(mark, Line):
        line = {"color": _colour(mark.style), "dash": DASH[mark.style % len(DASH)], "width": mark.width}
        figure.add_trace(objects.Scatter(x=list(mark.x), y=list(mark.y), name=mark.label, mode="lines", line=line))
    elif isinstance(mark, Points):
        symbol = {"color": "#A6A6A6" if mark.faint else _colour(mark.style), "size": 4 if mark.faint else 10,
                  "symbol": MARKERS[mark.style % len(MARKERS)], "opacity": 0.4 if mark.faint else 1.0,
                  "line": {"width": 0 if mark.faint else 1, "color": "black"}}  # fmt: skip
        figure.add_trace(
            objects.Scatter(x=list(mark.x), y=list(mark.y), name=mark.label, mode="markers+text" if mark.texts else "markers",
                            text=list(mark.texts) or None, textposition="top center", marker=symbol)
        )  # fmt: skip
    elif isinstance(mark, Bars):
        look = {"color": _colour(mark.style), "opacity": 0.4 if mark.light else 1.0,
                "pattern": {"shape": PATTERNS[mark.style % len(PATTERNS)]}}  # fmt: skip
        figure.add_trace(
            objects.Bar(x=list(mark.lengths), y=[row + mark.shift for row in mark.rows], base=list(mark.starts), orientation="h",
                        width=mark.height, name=mark.label, text=list(mark.texts) or None, textposition="outside", marker=look)
        )  # fmt: skip
    elif isinstance(mark, Marks):
        for place, (row, x) in enumerate(zip(mark.rows, mark.x, strict=True)):
            figure.add_trace(
                objects.Scatter(x=[x, x], y=[row - 0.42, row + 0.42], mode="lines", line={"color": "black", "width": 3},
                                name=mark.label, showlegend=place == 0, legendgroup=mark.label)
            )  # fmt: skip
    elif isinstance(mark, Heat):
        table = np.asarray(mark.values, dtype=float)
        values = [[value if np.isfinite(value) else None for value in row] for row in table.tolist()]
        figure.add_trace(
            objects.Heatmap(
                x=list(mark.x), y=list(mark.y), z=values, colorscale="Cividis", colorbar={"title": mark.label}
            )
        )
        figure.update_xaxes(type="category")
        figure.update_yaxes(type="category")


def _colour(style: int) -> str:
    return COLOURS[style % len(COLOURS)]


def save(figure: Any, target: Path) -> None:
    """Write a page that needs nothing else, or the figure's JSON."""
    text = figure.to_html(include_plotlyjs=True) if target.suffix.lower() == ".html" else figure.to_json()
    target.write_text(text, encoding="utf-8")
