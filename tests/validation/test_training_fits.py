"""Fits or does not fit: every published run did run, and the paper that says so otherwise is believed too."""

import numpy as np
import pytest

from mlsysim import TrainingStepModel
from mlsysim.errors import MLSysimError
from mlsysim.validation.training_rows import cases
from mlsysim.validation.training_unrecorded import OFFLOADED, lightest

CLEAN = [case for case in cases() if not case.trouble]
HYPOTHETICAL = [case for case in CLEAN if case.source == "korthikanti22" and case.row.endswith("-none")]
RAN = [case for case in CLEAN if case not in HYPOTHETICAL]


def asked(case):
    return TrainingStepModel().solve(case.model, case.fleet, **case.arguments)


def verdicts(some):
    found = {}
    for case in some:
        try:
            found[case.row] = bool(asked(case).feasible)
        except MLSysimError:  # such rows are counted by the scoreboard
            continue
    return found


@pytest.mark.parametrize("source", sorted({case.source for case in RAN}))
def test_every_clean_published_run_that_ran_fits(source):
    found = verdicts(case for case in RAN if case.source == source)
    assert found
    assert [row for row, fits in found.items() if not fits] == []


def test_korthikanti_2022_figure_1_without_recomputation_does_not_fit_80_gb():
    # "the dashed red line is the memory of an NVIDIA A100 GPU": every model lies above it without recomputation
    found = verdicts(HYPOTHETICAL)
    assert len(found) == 8
    assert not any(found.values())


def test_a_run_takes_the_lightest_recomputation_that_fits():
    some = [case for case in RAN if case.arguments.get("recompute_layers") is not None]
    assert some
    for case in some:
        layers = case.arguments["recompute_layers"]
        less = (
            {"recompute_layers": layers - 1}
            if layers > 1
            else {"recompute_layers": None, "activation_recomputation": "none"}
        )
        answer = TrainingStepModel().solve(case.model, case.fleet, **{**case.arguments, **less})
        assert not answer.feasible
        assert "recomputation" in case.assumed
        assert lightest(case).arguments == case.arguments


def test_layers_offloaded_are_those_of_megatron_bridge_s_recipes():
    some = [case for case in RAN if case.source == "bridge" and case.arguments.get("offload_layers")]
    assert some
    for case in some:
        key = (case.model.id, case.hardware, case.arguments["precision"])
        assert case.arguments["offload_layers"] == OFFLOADED[key]
        assert case.arguments["zero_stage"] == 3


def test_mlperf_training_5_0_memory_of_llama_2_70b_lora():
    # max_memory_usage in NVIDIA's logs: 168.8 GB on one context rank and 82.3 GB on eight
    for ranks, measured in ((1, 168.8e9), (8, 82.3e9)):
        case = next(
            case
            for case in RAN
            if case.source == "mlperf-lora" and case.hardware == "GB200" and case.arguments["cp_size"] == ranks
        )
        i = asked(case).si
        assert i.memory_per_device - i.cached_blocks == pytest.approx(measured, rel=0.15)


def test_cached_blocks_never_decide_and_take_what_is_left():
    for case in RAN[::9]:
        try:
            i = asked(case).si
        except MLSysimError:
            continue
        assert 0 <= i.cached_blocks <= i.communication_buffers
        assert i.memory_per_device <= i.memory_capacity * (1 + 1e-12)
        full = np.isclose(i.memory_per_device, i.memory_capacity, rtol=1e-9)
        assert full == any("memory is tight" in note for note in asked(case).notes)
