"""A picture as data: axes and marks, drawn alike by Matplotlib and by Plotly.

Marks differ by colour and by dash, hatch or marker, so that a picture reads in grey and to colour-blind eyes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError, MLSysimError, alternatives, nearest

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#8C8C8C")
"""Palette of M. Okabe and K. Ito, "Color Universal Design", 2008, with a grey in place of its yellow."""

HATCHES = ("", "//", "..", "xx", "\\\\", "--", "++", "oo")
DASHES = ("solid", "dashed", "dashdot", "dotted")
MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "pentagon")


@dataclass(frozen=True, slots=True)
class Line:
    """A curve; ``style`` picks colour and dash."""

    x: Any
    y: Any
    label: str
    style: int = 0
    width: float = 2.0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Points:
    """Marks, each with a text beside it or none; ``faint`` for a crowd in the background."""

    x: Any
    y: Any
    label: str
    style: int = 0
    texts: Sequence[str] = ()
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Bars:
    """Horizontal bars of one part, one a row, each from ``start``; ``light`` for what is compared with."""

    rows: Sequence[int]
    starts: Sequence[float]
    lengths: Sequence[float]
    label: str
    style: int = 0
    texts: Sequence[str] = ()
    light: bool = False
    height: float = 0.62
    shift: float = 0.0


@dataclass(frozen=True, slots=True)
class Marks:
    """A short upright line across each row: a capacity, a limit."""

    rows: Sequence[int]
    x: Sequence[float]
    label: str


@dataclass(frozen=True, slots=True)
class Heat:
    """A grid of values; NaN is left blank."""

    x: Sequence[str]
    y: Sequence[str]
    values: Any
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Axes and marks."""

    title: str
    x: str
    y: str = ""
    log_x: bool = False
    log_y: bool = False
    marks: Sequence[Any] = ()
    rows: Sequence[str] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    size: tuple[float, float] = (8.0, 5.0)
    bare: bool = False


BACKENDS = ("matplotlib", "plotly")
SAVED = {"matplotlib": (".png", ".svg", ".pdf"), "plotly": (".html", ".json")}


class PictureError(MLSysimError, OSError):
    """A picture could not be written."""


def draw(chart: Chart, backend: str = "matplotlib", out: Path | str | None = None, ax: Any = None) -> Any:
    """Draw a chart, and write it where ``out`` says.

    Args:
        chart: what to draw
        backend: ``matplotlib`` or ``plotly``
        out: file: .png, .svg or .pdf of Matplotlib, .html (self-contained) or .json of Plotly
        ax: Matplotlib axes to draw into

    Returns:
        ``(figure, axes)`` of Matplotlib, or the figure of Plotly.

    Raises:
        MissingExtraError: the backend is not installed
        PictureError: the file cannot be written
    """
    if backend not in BACKENDS:
        near = nearest(backend, BACKENDS) or BACKENDS
        raise InvalidInputError(
            f"backend: expected {alternatives(BACKENDS)}, found {backend!r}; did you mean {near[0]}?"
        )
    target = None if out is None else Path(out)
    if target is not None and target.suffix.lower() not in SAVED[backend]:
        wanted = alternatives(SAVED[backend])
        raise InvalidInputError(
            f"{target}: {backend} writes {wanted}, not {target.suffix or 'a name without an ending'}"
        )
    made: Any
    if backend == "plotly":
        from .draw_plotly import drawn as plotly_drawn
        from .draw_plotly import save as plotly_save

        made = plotly_drawn(chart)
        if target is not None:
            _written(target, lambda: plotly_save(made, target))
        return made
    from .draw_matplotlib import drawn, save

    made = drawn(chart, ax)
    if target is not None:
        _written(target, lambda: save(made[0], target))
    return made


def _written(target: Path, write: Any) -> None:
    try:
        write()
    except OSError as error:
        raise PictureError(f"cannot write {target}: {(error.strerror or str(error)).lower()}") from None
