"""One question at a time and many at once take different paths through the same equations: they must agree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import Engine, ServingModel
from mlsysim.physics import choice

SOLVER = ServingModel()
MODELS = ["Llama3_8B", "Gemma3_27B", "Mixtral_8x7B", "DeepSeek_V3", "GPT_OSS_120B", "Qwen3_Next_80B_A3B"]
CHIPS = ["A100", "H100", "B200", "L40S", "MI300X", "TPUv5e"]
SERVED = ["ttft", "itl", "throughput", "memory_per_device", "energy_per_token", "max_batch_size", "feasible"]
NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


def points(least, most):
    return st.lists(st.integers(least, most), min_size=2, max_size=4)


@given(st.sampled_from(MODELS), st.sampled_from(CHIPS), points(1, 100_000), points(1, 300), st.sampled_from([1, 2, 4]))
@settings(max_examples=60, deadline=None)
def test_a_textbook_sweep_holds_the_answers_of_its_points(model, chip, lengths, batches, ranks):
    chip = chip if chip != "TPUv5e" or ranks == 1 else "H100"
    swept = SOLVER.solve(model, chip, np.array(lengths)[:, None], np.array(batches), tp_size=ranks).si
    for row, length in enumerate(lengths):
        for column, batch in enumerate(batches):
            alone = SOLVER.solve(model, chip, length, batch, tp_size=ranks).si
            for name in SERVED:
                assert getattr(swept, name)[row, column] == pytest.approx(getattr(alone, name), rel=1e-12, nan_ok=True)


@given(
    st.sampled_from(MODELS),
    st.sampled_from(CHIPS),
    points(1, 40_000),
    points(1, 300),
    st.sampled_from(["bf16", "fp8"]),
    st.sampled_from(["ideal", "vllm", "sglang"]),
)
@settings(max_examples=40, deadline=None)
def test_a_measured_sweep_holds_the_answers_of_its_points(model, chip, lengths, batches, precision, stack):
    options = {"precision": precision, "efficiency": "measured", "stack": stack}
    swept = SOLVER.solve(model, chip, np.array(lengths)[:, None], np.array(batches), **options)
    sides = {name: swept.interval()[name] for name in ("ttft", "itl")}
    for row, length in enumerate(lengths):
        for column, batch in enumerate(batches):
            alone = SOLVER.solve(model, chip, length, batch, **options)
            for name in (*SERVED, "prefill_floor", "decode_floor"):
                one = getattr(alone.si, name)
                assert getattr(swept.si, name)[row, column] == pytest.approx(one, rel=1e-12, nan_ok=True)
            for name, (low, high) in sides.items():
                near, far = alone.interval()[name]
                assert low[row, column].magnitude == pytest.approx(near.magnitude, rel=1e-12)
                assert high[row, column].magnitude == pytest.approx(far.magnitude, rel=1e-12)


@given(st.sampled_from(MODELS), st.sampled_from(CHIPS), points(1, 100_000))
@settings(max_examples=30, deadline=None)
def test_a_sweep_of_passes_holds_the_answers_of_its_points(model, chip, batches):
    swept = Engine.solve(model, chip, np.array(batches)).si
    for place, batch in enumerate(batches):
        alone = Engine.solve(model, chip, batch).si
        for name in ("latency", "memory_footprint", "energy", "mfu", "feasible"):
            assert getattr(swept, name)[place] == pytest.approx(getattr(alone, name), rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("model", ["Llama3_8B", "DeepSeek_V3"])
def test_what_is_remembered_is_what_a_ledger_sees_worked_out(model):
    ask = {"seq_len": 3000, "batch_size": 5, "precision": "bf16", "efficiency": "measured", "tp_size": 8}
    first, again = SOLVER.solve(model, "H100", **ask), SOLVER.solve(model, "H100", **ask)
    assert first.passes["decode"].timed == again.passes["decode"].timed
    told = first.explain()
    assert told["itl"].value == pytest.approx(again.si.itl, rel=1e-12)


@given(NUMBERS, NUMBERS)
def test_plain_numbers_choose_as_arrays_do(first, second):
    for ours, theirs in ((choice.maximum, np.maximum), (choice.minimum, np.minimum)):
        assert ours(first, second) == pytest.approx(float(theirs(first, second)), rel=0, nan_ok=True)
    assert choice.either(first > second, first, second) == pytest.approx(
        float(np.where(first > second, first, second)), rel=0, nan_ok=True
    )
    for ours, theirs in ((choice.floor, np.floor), (choice.ceil, np.ceil)):
        assert ours(first) == pytest.approx(float(theirs(first)), rel=0, nan_ok=True)
    assert choice.root(abs(first)) == pytest.approx(float(np.sqrt(abs(first))), rel=0, nan_ok=True)
