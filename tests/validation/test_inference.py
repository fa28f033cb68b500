"""Language models on many stacks and devices: rules of the split, published speeds, and an account of every row."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import Hardware
from mlsysim.catalog import efficiency
from mlsysim.errors import InvalidInputError
from mlsysim.machine import llamacpp
from mlsysim.machine.chip import chip_of
from mlsysim.solvers.node import SingleNodeModel
from mlsysim.validation import inference

RECORD = Path(__file__).parents[2] / "docs" / "decisions" / "0013-language-models-everywhere.md"
PASS = llamacpp.Terms(flops=1e12, weights=5e9, cache=1e8, pairs=1e6, launches=400.0)


@pytest.fixture(scope="module")
def scores():
    return {(one.family, one.split, one.group): one for one in inference.inference_scores()}


def test_at_most_ten_rows_a_device_are_fitted_and_only_of_consumer_devices():
    used = [case for case in inference.cases() if case.split == "calibration"]
    llama = Counter(case.hardware for case in used if case.source.startswith("llama"))
    assert max(llama.values()) <= 10
    assert {Hardware[name].family for name in llama} == {"workstation"}
    # The servers of ML.ENERGY on H100 are those whose energy and step times the fits of power and sampling read.
    assert {(case.source, case.hardware) for case in used if case.hardware not in llama} == {("mlenergy-text", "H100")}


def test_fits_name_the_devices_of_their_rows():
    used = {c.hardware for c in inference.cases() if c.split == "calibration" and c.source.startswith("llama")}
    assert {name for fit in efficiency.family("llamacpp").fits for name in fit.devices} == used


def test_every_row_is_answered_or_told_why_not(scores):
    done = inference.predictions()
    assert len(done.cases) == 3785
    for case, value in zip(done.cases, done.predicted, strict=True):
        assert not (case.trouble and np.isfinite(value)), case.id
    silent = [c.id for c, value in zip(done.cases, done.predicted, strict=True) if not c.trouble and np.isnan(value)]
    assert len(silent) < 30, silent
    assert sum(one.n for (_, _, group), one in scores.items() if group == "all") == 3785


def recorded():
    """The table of the decision record."""
    rows = [line.strip("| ").split(" | ") for line in RECORD.read_text().splitlines() if line.startswith("| infer")]
    return [row for row in rows if row[2] != "all"]


@pytest.mark.parametrize(("family", "split", "group", "n", "answered", "here", "textbook"), recorded())
def test_errors_are_those_that_the_record_states(scores, family, split, group, n, answered, here, textbook):
    one = scores[family, split, group]
    assert (one.n, one.answered) == (int(n), int(answered))
    assert 100 * one.median_abs_error == pytest.approx(float(here), abs=4)
    assert 100 * one.roofline_median_abs_error == pytest.approx(float(textbook), abs=4)


def test_llama_cpp_is_predicted_three_times_better_than_by_the_textbook(scores):
    for family, least in (("inference_decode", 3.0), ("inference_prefill", 2.0)):
        one = scores[family, "validation", "source=llama-bench"]
        assert one.n > 200
        assert one.median_abs_error < one.roofline_median_abs_error / least
        assert one.coverage90 > 0.75


@pytest.mark.parametrize(("hardware", "precision", "length", "tokens"), [
    ("RTX4090", "int4", 512, 130.6), ("RTX4090", "fp16", 512, 54.8), ("RTX6000Ada", "int4", 1024, 130.99),
    ("RTX6000Ada", "fp16", 1024, 51.97), ("A6000", "fp16", 1024, 40.25), ("M2_Ultra", "int4", 1024, 76.28),
    ("M2_Ultra", "fp16", 1024, 36.25),
])  # fmt: skip
def test_tokens_a_second_match_llama_bench_of_xiongjie_dai(hardware, precision, length, tokens):
    # GPU-Benchmarks-on-LLM-Inference at aa72e0e, notebooks of Llama 3 8B, Q4_K - Medium and F16; the context grows from 0
    done = SingleNodeModel().solve("Llama3_8B", hardware, precision=precision, efficiency="measured", seq_len=length // 2,
                                   runtime="llamacpp")  # fmt: skip
    assert done.si.throughput == pytest.approx(tokens, rel=0.15)
    low, high = (side.magnitude for side in done.interval(0.95)["latency"])
    assert low < 1 / tokens < high


def test_llama_cpp_runs_language_models_only():
    with pytest.raises(InvalidInputError, match="language model"):
        SingleNodeModel().solve("ResNet50", "RTX4090", efficiency="measured", runtime="llamacpp")


@given(st.floats(1, 1e5), st.integers(1, 8))
@settings(max_examples=50)
def test_pieces_of_a_prompt_take_no_less_than_shared_evenly_and_no_more_than_one_by_one(tokens, devices):
    pieces = np.ceil(tokens / llamacpp.PIECE)
    taken = llamacpp.rounds(tokens, devices)
    assert pieces / devices <= taken * (1 + 1e-12)
    assert taken <= pieces * (1 + 1e-12)
    assert llamacpp.rounds(tokens, 1) == pytest.approx(pieces)


@given(st.sampled_from(["RTX4090", "M2_Ultra", "A100", "MI300X", "Core_i9_13900K"]), st.floats(1.01, 10))
@settings(max_examples=30)
def test_no_pass_beats_its_memory_or_its_arithmetic_and_more_work_takes_longer(name, more):
    chip = chip_of(Hardware[name])
    for phase, run in llamacpp.TIMES.items():
        values = llamacpp.fit_of(chip, "w4a16", phase)[0].values
        time = run(values, chip, PASS)
        floor = PASS.weights / chip.bandwidth if phase == "decode" else PASS.flops / llamacpp.peak_of(chip)
        assert time >= floor
        heavier = llamacpp.Terms(*(value * more for value in (PASS.flops, PASS.weights, PASS.cache, PASS.pairs, 400.0)))
        assert run(values, chip, heavier) > time


def test_a_device_that_was_not_measured_has_a_wider_interval():
    seen, unseen, far = (
        SingleNodeModel().solve("Llama3_8B", name, precision="int4", efficiency="measured", runtime="llamacpp").si.sigma
        for name in ("RTX4090", "RTX6000Ada", "MI300X")
    )
    assert seen < unseen < far
