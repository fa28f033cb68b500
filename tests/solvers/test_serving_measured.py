"""Serving operator by operator: against step times composed from kernels that others timed, and what must always hold."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import Hardware, InvalidInputError, MLSysimError, Models, ServingModel
from mlsysim.solvers.serving_measured import MeasuredServingResult

SOLVER = ServingModel()
# One step composed from vLLM kernels timed one by one (aiconfigurator-core 0.12.0, Apache-2.0): bf16, batch 1, 2,048
# tokens; TTFT and ITL in milliseconds.
COMPOSED = [
    ("Llama3_8B", "A100", 1, 125.2, 12.0),
    ("Llama3_8B", "H100", 1, 43.5, 6.24),
    ("Llama3_8B", "H200", 1, 43.4, 4.91),
    ("Llama3_70B", "A100", 8, 225.6, 17.3),
    ("Llama3_70B", "H100", 8, 85.9, 10.2),
    ("Llama3_70B", "H200", 8, 79.9, 7.96),
]


def ask(model="Llama3_8B", chip="H100", tokens=2048, batch=1, **options):
    return SOLVER.solve(model, chip, tokens, batch, **{"precision": "bf16", "efficiency": "measured"} | options)


@pytest.mark.parametrize(("model", "chip", "ranks", "ttft", "itl"), COMPOSED)
def test_steps_match_those_composed_from_kernels_timed_one_by_one(model, chip, ranks, ttft, itl):
    answer = ask(model, chip, tp_size=ranks)
    assert answer.ttft.to("ms").magnitude == pytest.approx(ttft, rel=0.15)
    assert answer.itl.to("ms").magnitude == pytest.approx(itl, rel=0.15)


@given(
    st.sampled_from(["Llama3_8B", "Llama3_70B", "Mixtral_8x7B", "DeepSeek_V3", "GPT_OSS_120B", "Qwen3_32B"]),
    st.sampled_from(["A100", "H100", "H200", "B200", "L40S", "MI300X"]),
    st.integers(1, 256),
    st.integers(1, 16384),
    st.sampled_from(["ideal", "vllm", "sglang", "trtllm"]),
)
@settings(max_examples=40, deadline=None)
def test_nothing_is_faster_than_light_and_parts_add_up(model, chip, batch, tokens, stack):
    answer = ask(model, chip, tokens, batch, stack=stack)
    inside, device = answer.si, Hardware[chip].si
    assert inside.itl >= inside.decode_floor * (1 - 1e-9)
    assert inside.ttft >= inside.prefill_floor * (1 - 1e-9)
    active = Models[model].si.active_parameters or Models[model].si.parameters
    tables = 2 * Models[model].si.vocab * Models[model].si.hidden
    assert inside.ttft >= 2 * (active * 0.85 - tables) * tokens * batch / max(device.peaks.values())
    parts = inside.decode_compute + inside.decode_memory + inside.decode_communication + inside.decode_overhead
    assert inside.itl == pytest.approx(parts)
    for phase in ("prefill", "decode"):
        rows = answer.breakdown(phase)
        assert len(rows) >= 6
        assert sum(row["share"] for row in rows) == pytest.approx(1, abs=1e-6)
        assert all(row["light_share"] <= 100 * (1 + 1e-9) for row in rows)


def test_a_stack_costs_at_least_what_its_kernels_do():
    for stack in ("vllm", "sglang", "trtllm"):
        answer = ask(stack=stack)
        assert answer.si.itl >= answer.passes["decode"].time
        assert answer.si.ttft > answer.passes["prefill"].time


def test_the_answer_is_slower_than_the_whole_model_at_its_bound():
    light = SOLVER.solve("Llama3_8B", "H100", 2048, precision="bf16", efficiency=1.0)
    assert ask().itl > light.itl * 0.97
    assert ask().ttft > light.ttft


def test_intervals_hold_the_answer_and_widen_with_what_they_promise():
    answer = ask(chip="H200")
    for name in ("itl", "ttft"):
        low, high = answer.interval(0.9)[name]
        narrow_low, narrow_high = answer.interval(0.5)[name]
        assert low < narrow_low < getattr(answer, name) < narrow_high < high
        assert high / low < 3
    measured = ask(chip="H100").interval()["itl"]
    held_out = answer.interval()["itl"]
    assert held_out[1] / held_out[0] > measured[1] / measured[0]


def test_a_device_that_was_not_measured_says_so():
    assert any("not measured" in note for note in ask(chip="MI300X").notes)


def test_arrays_equal_scalars():
    batch, tokens = np.array([1, 7, 64])[:, None], np.array([128, 4096])[None, :]
    many = ask(tokens=tokens, batch=batch, stack="trtllm")
    assert many.itl.shape == many.ttft.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            one = ask(tokens=int(tokens[0, j]), batch=int(batch[i, 0]), stack="trtllm")
            assert many.si.itl[i, j] == pytest.approx(one.si.itl, rel=1e-9)
            assert many.si.ttft[i, j] == pytest.approx(one.si.ttft, rel=1e-9)
            assert many.si.decode_memory[i, j] == pytest.approx(one.si.decode_memory, rel=1e-9)


def test_apart_with_a_draft_and_pipelined():
    answer = ask("Llama3_70B", "H200", decode_hardware="H100", tp_size=8, draft_model="Llama3_8B", draft_tokens=3)
    assert answer.si.kv_transfer > 0
    assert answer.si.draft_time > 0
    assert answer.si.tokens_per_step > 1
    staged = ask("Llama3_70B", "H100", tp_size=4, pp_size=2, batch=8)
    assert any(row["operator"] == "stage_hand_over" for row in staged.breakdown("decode"))


def test_data_parallel_attention_exchanges_tokens_with_experts():
    names = {row["operator"] for row in ask("DeepSeek_V3", "H200", precision="fp8", ep_size=8).breakdown()}
    assert {"experts_dispatch", "experts_combine"} <= names
    together = ask("DeepSeek_V3", "H200", precision="fp8", ep_size=8, attention_dp=1)
    names = {row["operator"] for row in together.breakdown()}
    assert "experts_dispatch" not in names
    assert {"attention_all_reduce", "experts_all_reduce"} <= names


def test_faces():
    answer = ask(stack="vllm")
    assert isinstance(answer, MeasuredServingResult)
    document = json.loads(answer.to_json())
    assert document["question"]["efficiency"] == "measured"
    assert "passes" not in document["answer"]
    assert answer.question.ask().si.itl == answer.si.itl
    told = str(answer.explain())
    assert "itl = " in told
    assert "sum_of_times" in told
    assert "itl" in str(answer)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"stack": "vlm"}, "stack: expected"),
        ({"batch": -1}, "batch_size: expected"),
        ({"tokens": float("nan")}, "seq_len: expected"),
        ({"batch": float("inf")}, "batch_size: expected"),
        ({"tp_size": 3}, "does not divide"),
        ({"ep_size": 4, "attention_dp": 3, "model": "Mixtral_8x7B"}, "does not divide"),
        ({"model": "Llama9"}, "Llama9"),
        ({"model": "ResNet50"}, "ServingModel"),
        ({"precision": "fp5"}, "fp5"),
    ],
)
def test_hostile_input_gets_one_line(options, told):
    with pytest.raises(MLSysimError, match=told) as error:
        ask(**options)
    assert "\n" not in str(error.value)


def test_all_faults_at_once_and_stacks_only_where_measured():
    with pytest.raises(InvalidInputError) as error:
        ask(batch=0, stack="vlm")
    assert "stack" in str(error.value)
    assert "batch_size" in str(error.value)
    with pytest.raises(InvalidInputError, match="measured"):
        SOLVER.solve("Llama3_8B", "H100", 2048, stack="vllm")
    with pytest.raises(InvalidInputError, match="phase"):
        ask().breakdown("training")
