"""Pictures of the scoreboard: they show the rows that the scores count, and the textbook beside them."""

import builtins

import numpy as np
import pytest
from typer.testing import CliRunner

from mlsysim import InvalidInputError
from mlsysim.cli.app import app
from mlsysim.report import scoreboard
from mlsysim.report.chart import Bars, Line, Points
from mlsysim.validation import board
from mlsysim.validation.points import Points as Rows
from mlsysim.validation.points import points
from mlsysim.validation.statistics import score

RNG = np.random.default_rng(2)
MEASURED = np.exp(RNG.normal(size=40))
SPREAD = np.full(40, 0.1)


def rows(split, factor, sigma=0.2):
    return Rows("kernel", split, "s", MEASURED * factor, MEASURED, np.full(40, sigma))


def marks(chart, kind):
    return [mark for mark in chart.marks if isinstance(mark, kind)]


def test_points_lie_where_they_were_predicted_and_the_band_is_that_of_rows_not_fitted():
    chart = scoreboard.predicted_against_measured([rows("holdout", 1.1, 0.5), rows("calibration", 1.0)])
    fitted, held = marks(chart, Points)
    assert (fitted.faint, held.faint) == (True, False)
    assert held.y == pytest.approx(held.x * 1.1)
    equal, high, low = marks(chart, Line)
    assert equal.x == pytest.approx(equal.y)
    assert high.y / equal.y == pytest.approx([np.exp(1.645 * 0.5)] * 2, rel=1e-3)
    assert low.y * high.y == pytest.approx(equal.y**2)


def test_bars_are_the_medians_of_the_scores():
    one = score("kernel", "holdout", "all", MEASURED * 1.2, MEASURED, SPREAD, roofline=MEASURED * 0.5)
    two = score("kernel", "holdout", "gpu=b60", MEASURED * 0.9, MEASURED, SPREAD)
    ours, light = marks(scoreboard.error_bars([one, two], "kernel"), Bars)
    assert ours.lengths == pytest.approx([20, 10])
    assert (list(light.rows), light.lengths) == ([0], pytest.approx([50]))  # unknown is left out, not nought


@pytest.mark.parametrize("draw", [scoreboard.predicted_against_measured, lambda none: scoreboard.error_bars(none, "")])
def test_nothing_to_draw_is_said(draw):
    with pytest.raises(InvalidInputError, match="at least one"):
        draw([])


@pytest.mark.parametrize("subject", ["vision", "training", "energy"])
def test_the_points_are_those_that_the_scoreboard_counts(subject):
    scores = {(row.family, row.split): row for row in board.board(subject) if row.group == "all"}
    parts = points(subject)
    assert parts
    for part in parts:
        known = scores[part.family, part.split]
        assert len(part.measured) == known.answered
        assert np.median(np.abs(part.predicted / part.measured - 1)) == pytest.approx(known.median_abs_error)


def test_the_command_writes_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    run = CliRunner().invoke(app, ["validate", "vision", "--out", str(tmp_path)])
    assert run.exit_code == 0, run.output
    assert {path.name for path in (tmp_path / "plots").iterdir()} >= {"vision.png", "errors_vision.png"}
    assert "pictures in" in run.output


def test_without_matplotlib_the_command_says_so_and_goes_on(tmp_path, monkeypatch):
    found = builtins.__import__

    def missing(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    run = CliRunner().invoke(app, ["validate", "vision", "--out", str(tmp_path)])
    assert run.exit_code == 0, run.output
    assert "no pictures" in run.output
    assert (tmp_path / "board.json").exists()
