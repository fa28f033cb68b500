"""The scoreboard of served load: systems that were never fitted, every row answered, intervals that hold."""

import csv

import numpy as np
import pytest

from mlsysim.errors import CatalogError
from mlsysim.validation.calibrate_serving import fitted_cases
from mlsysim.validation.serving import FAMILIES, rows, serving_scores, validate_file
from mlsysim.validation.serving_data import FITTED, cases, table_of


@pytest.fixture(scope="module")
def board():
    return {(row.family, row.split, row.group): row for row in serving_scores()}


@pytest.mark.parametrize(
    ("family", "most"), [("serving_tpot", 0.14), ("serving_ttft", 0.32), ("serving_throughput", 0.15)]
)
def test_errors_on_systems_that_were_not_fitted_stay_within_what_is_accepted(board, family, most):
    row = board[family, "open", "mode=agg"]
    assert row.median_abs_error <= most
    assert row.answered >= 0.98 * row.n
    assert 0.8 <= row.coverage90 <= 0.97
    assert row.median_abs_error < 0.3 * row.roofline_median_abs_error


def test_every_row_as_published_is_on_the_board_and_answered(board):
    for family in FAMILIES:
        shown = [board[f"{family}_raw", split, "all"] for split in ("fitted", "open")]
        assert sum(row.n for row in shown) == len(table_of()) == sum(row.answered for row in shown)


def test_groups_add_up_to_the_whole(board):
    for (family, split, group), row in board.items():
        if group == "all":
            for column in ("mode", "system", "stack", "model"):
                parts = [
                    r for (f, s, g), r in board.items() if (f, s) == (family, split) and g.startswith(f"{column}=")
                ]
                assert sum(part.n for part in parts) == row.n


def test_stacks_are_fitted_on_two_systems_only():
    assert {case.system for case in fitted_cases()} <= set(FITTED) == {"h100_sxm", "b200_sxm"}


def test_codes_that_are_products_of_themselves_are_put_right():
    # tp 64 with experts 8 x 8, and tp 4, dp 4, ep 16: the same runs also stand with plain codes, on 8 and on 4 chips
    assert max(case.layout.ranks for case in cases() if not case.trouble and case.mode == "agg") == 8
    for case in cases():
        o = case.layout
        assert o.expert_tensor * o.expert_parallel == o.ranks


def test_rows_for_json_have_what_a_reader_needs():
    keys = {"family", "split", "group", "n", "answered", "median_abs_error", "p90_abs_error", "bias", "coverage90"}
    assert all(keys <= row.keys() for row in rows())


def test_a_file_of_ones_own_is_scored_and_written_beside_its_measurements(tmp_path):
    names = [
        "framework",
        "model",
        "system",
        "precision",
        "mode",
        "isl",
        "osl",
        "concurrency",
        "tp_size",
        "ttft_ms",
        "tpot_ms",
    ]
    mine, out = tmp_path / "mine.csv", tmp_path / "out.csv"
    lines = [["vllm", "Llama3_8B", "h100_sxm", "bf16", "agg", 1024, 1024, 8, 1, 60, 7.0],
             ["vllm", "Llama9", "h100_sxm", "bf16", "agg", 1024, 1024, 8, 1, 60, 7.0]]  # fmt: skip
    with mine.open("w", newline="") as file:
        csv.writer(file).writerows([names, *lines])
    found = {(row.family, row.group): row for row in validate_file(mine, out)}
    assert found["serving_tpot_raw", "all"].n == 2
    assert found["serving_tpot_raw", "all"].answered == 1
    with out.open() as file:
        first, second = csv.DictReader(file)
    assert float(first["tpot_ms_low90"]) < float(first["tpot_ms_predicted"]) < float(first["tpot_ms_high90"])
    assert np.isnan(float(second["tpot_ms_predicted"]))
    assert "not in the catalog" in second["trouble"]
    mine.write_text("framework,model\nvllm,Llama3_8B\n")
    with pytest.raises(CatalogError, match="columns are missing"):
        validate_file(tmp_path / "again.csv") if (tmp_path / "again.csv").exists() else validate_file(_copy(mine))


def _copy(path):
    other = path.with_name("other.csv")
    other.write_text(path.read_text())
    return other
