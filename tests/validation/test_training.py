"""The scoreboard of training: published runs, none of them fitted."""

import numpy as np
import pytest

from mlsysim.validation.training import FAMILIES, predictions, training_scores
from mlsysim.validation.training_cases import gpt_flops
from mlsysim.validation.training_rows import cases


@pytest.fixture(scope="module")
def board():
    return {(row.family, row.group): row for row in training_scores()}


# family and group: median absolute error, ninetieth percentile, at most
ACCEPTED = {
    ("training_step_time", "all"): (0.08, 0.30),
    ("training_step_time", "regime=dense"): (0.09, 0.30),
    ("training_step_time", "regime=fsdp"): (0.05, 0.14),
    ("training_step_time", "regime=long_context"): (0.08, 0.12),
    ("training_step_time", "regime=lora"): (0.08, 0.20),
    ("training_step_time", "regime=moe"): (0.22, 0.45),
    ("training_step_time", "source=mlperf-405b"): (0.06, 0.10),
    ("training_step_time", "source=sc21"): (0.04, 0.06),
    ("training_memory", "source=simumax"): (0.02, 0.06),
    ("training_memory", "all"): (0.04, 0.12),
}


@pytest.mark.parametrize("key", ACCEPTED)
def test_errors_stay_within_what_is_accepted(board, key):
    row = board[key]
    assert row.median_abs_error <= ACCEPTED[key][0]
    assert row.p90_abs_error <= ACCEPTED[key][1]
    assert row.split == "validation"


def test_a_measured_step_is_far_better_than_the_speed_of_light(board):
    row = board["training_step_time", "all"]
    assert row.median_abs_error < 0.3 * row.roofline_median_abs_error
    assert 0.8 <= row.coverage90 <= 0.97


def test_nearly_every_case_is_answered_and_others_say_why(board):
    done = predictions()
    assert board["training_step_time", "all"].answered >= 0.94 * board["training_step_time", "all"].n
    for predicted, reason in zip(done.predicted, done.reasons, strict=True):
        assert np.isfinite(predicted) != bool(reason)


def test_sources_hardware_and_regimes_add_up(board):
    for family in FAMILIES:
        for kind in ("source", "hardware", "regime"):
            parts = [row.n for (name, group), row in board.items() if name == family and group.startswith(f"{kind}=")]
            assert sum(parts) == board[family, "all"].n


def test_configurations_are_counted_once():
    every = cases()
    assert len({case.key for case in every}) == len(every)
    assert sum(case.repeats for case in every) > len(every)


def test_flops_of_gpt3_as_narayanan_2021_counts_them():
    # SC 2021, section 5.1: 175B, batch 1,536 on 1,024 A100 at 140 TFLOP/s; 34 days for 300B tokens
    step = gpt_flops(96, 12288, 2048, 51200, 1536, 4) / (1024 * 140e12)
    assert 300e9 / (1536 * 2048) * step / 86400 == pytest.approx(34, rel=0.04)
