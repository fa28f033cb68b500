"""The gate: no family may predict worse than the scoreboard that the documentation publishes."""

import json
from pathlib import Path

import pytest

from mlsysim.errors import UnknownEntryError
from mlsysim.validation import board

PUBLISHED = Path(__file__).parents[2] / "docs" / "accuracy" / "board.json"
SLACK = 0.01


@pytest.fixture(scope="module")
def fresh():
    return {(row.family, row.split): row for row in board.board("all") if row.group == "all"}


def published():
    rows = json.loads(PUBLISHED.read_text(encoding="utf-8"))["rows"]
    return {(row["family"], row["split"]): row for row in rows if row["group"] == "all"}


def test_the_published_board_is_complete(fresh):
    assert set(published()) == set(fresh), "run: mlsysim validate all --out docs/accuracy"


@pytest.mark.parametrize("key", sorted(published()), ids=" ".join)
def test_no_family_got_worse(fresh, key):
    then, now = published()[key], fresh[key]
    assert now.n == then["n"]
    assert now.answered >= then["answered"]
    assert now.median_abs_error <= then["median_abs_error"] + SLACK
    assert abs(now.coverage90 - then["coverage90"]) < 0.03


def test_the_scoreboard_is_better_than_the_textbook_wherever_it_is_compared(fresh):
    for row in fresh.values():
        if row.roofline_median_abs_error is not None and row.n >= 50:
            assert row.median_abs_error < row.roofline_median_abs_error, (row.family, row.split)


def test_an_unknown_subject_names_the_nearest():
    with pytest.raises(UnknownEntryError, match="kernels"):
        board.board("kernel")
