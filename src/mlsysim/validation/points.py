"""Every prediction of the scoreboard beside its measurement, as arrays by family and split, to draw or to export."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..machine import exchange
from . import collectives, energy, inference, kernels, serving, training, vision
from .serving_data import FILE, FITTED

SEEN = ("calibration", "fitted")
"""Splits whose rows parameters were fitted to."""


@dataclass(frozen=True, slots=True)
class Points:
    """Rows of one family and split that were answered; ``sigma`` is that of the log, ``unit`` that of the first two."""

    family: str
    split: str
    unit: str
    predicted: NDArray[np.float64]
    measured: NDArray[np.float64]
    sigma: NDArray[np.float64]

    @property
    def seen(self) -> bool:
        """Whether parameters were fitted to these rows."""
        return self.split in SEEN


def points(subject: str = "all", data: Path | None = None) -> list[Points]:
    """The points behind the scoreboard, rows of clean families only.

    Args:
        subject: as for :func:`mlsysim.validation.board.board`
        data: serving only: a file of your own
    """
    found = [part for name, make in MAKERS.items() if subject in ("all", name) for part in make(data)]
    return [part for part in found if len(part.measured)]


def _points(family: str, split: str, unit: str, mine: Any, predicted: Any, measured: Any, sigma: Any) -> Points:
    predicted, measured, sigma = (np.asarray(side, dtype=np.float64) for side in (predicted, measured, sigma))
    good = mine & np.isfinite(predicted) & (predicted > 0) & (measured > 0)
    return Points(family, split, unit, predicted[good], measured[good], sigma[good])


def _tables(tables: list[kernels.Predictions]) -> Iterator[Points]:
    for done in tables:
        for family in sorted(set(done.family.tolist())):
            for split in ("calibration", "holdout"):
                mine = (done.family == family) & (done.table["split"] == split)
                yield _points(family, split, "s", mine, done.predicted, done.measured, done.sigma)


def _kernels(_: Path | None) -> Iterator[Points]:
    yield from _tables([kernels.predictions(name) for name in kernels.KERNEL_TABLES])


def _collectives(_: Path | None) -> Iterator[Points]:
    yield from _tables([collectives.joined([kernels.predictions(name) for name in collectives.COLLECTIVE_TABLES])])
    yield from _tables([kernels.predictions(exchange.FAMILY)])


def _serving(data: Path | None) -> Iterator[Points]:
    done = serving.predictions(data or FILE)
    clean = np.array([not case.trouble for case in done.cases])
    fitted = np.array([case.system in FITTED for case in done.cases])
    for family in serving.FAMILIES:
        unit = "tokens/s" if family.endswith("throughput") else "s"
        for split, mine in (("fitted", fitted), ("open", ~fitted)):
            yield _points(family, split, unit, clean & mine,
                          *(side[family] for side in (done.predicted, done.measured, done.sigma)))  # fmt: skip


def _training(_: Path | None) -> Iterator[Points]:
    done = training.predictions()
    for family, unit in zip(training.FAMILIES, ("s", "byte"), strict=True):
        mine = np.array([case.family == family and not case.trouble for case in done.cases])
        yield _points(family, "validation", unit, mine, done.predicted, done.measured, done.sigma)


def _vision(_: Path | None) -> Iterator[Points]:
    done = vision.predictions()
    for split in ("calibration", "validation"):
        mine = np.array([case.split == split for case in done.cases])
        yield _points("vision", split, "s", mine, done.predicted, done.measured, done.sigma)


def _energy(_: Path | None) -> Iterator[Points]:
    done = energy.predictions()
    for family, unit in zip(energy.FAMILIES, ("J", "W"), strict=True):
        for split in ("calibration", "validation"):
            mine = np.array([case.split == split for case in done.cases])
            yield _points(family, split, unit, mine,
                          *(side[family] for side in (done.predicted, done.measured, done.sigma)))  # fmt: skip


def _inference(_: Path | None) -> Iterator[Points]:
    done = inference.predictions()
    for family, unit in inference.UNITS.items():
        for split in ("calibration", "validation"):
            # Rates and times of one family meet on one axis as rates.
            mine = np.array([case.family == family and case.split == split for case in done.cases])
            rate = np.array([case.kind not in inference.IN_SECONDS for case in done.cases])
            predicted, measured = (np.where(rate, side, 1 / side) for side in (done.predicted, done.measured))
            yield _points(family, split, unit, mine, predicted, measured, done.sigma)


MAKERS: dict[str, Callable[[Path | None], Iterator[Points]]] = {
    "kernels": _kernels,
    "collectives": _collectives,
    "serving": _serving,
    "training": _training,
    "vision": _vision,
    "energy": _energy,
    "inference": _inference,
}
