"""Prefill and decode apart, in a closed loop: what a closed network of two stations must obey, and a published run."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import ServingLoadModel
from mlsysim.physics.serving_load import prefill_pass_time, prefill_queue_time, side_by_side_time
from mlsysim.solvers.load_balance import Policy, Server, interpolate, settle_apart

times = st.floats(1e-4, 1.0)
counts = st.integers(1, 16)


def server(prefill, batched, most, step, slope, places, output):
    batches = np.array([1.0, 8.0, 64.0, 512.0, 4096.0])
    return Server(batches=batches, steps=step + slope * batches, prefill=prefill, batched=batched, most_batched=most,
                  places=places, output=output)  # fmt: skip


@given(
    asked=st.integers(1, 4096),
    prefill=times,
    gain=st.floats(0.1, 1.0),
    most=counts,
    step=st.floats(1e-3, 0.05),
    output=st.integers(2, 4096),
    places=st.integers(1, 2048),
    workers=st.tuples(counts, counts),
    burst=st.floats(0.0, 1.0),
)
@settings(max_examples=150, deadline=None)
def test_requests_are_where_littles_law_has_them(asked, prefill, gain, most, step, output, places, workers, burst):
    batched = prefill if most == 1 else prefill * max(gain, 1 / most)
    one = server(prefill, batched, most, step, 1e-5, places, output)
    found = settle_apart(one, one, asked, *workers, Policy(0.01, 0.0, burst), 0.0, 2.0)
    rate = asked / (found.first_token + output * found.token_time)
    # Asymptotic bounds of a closed network (Denning and Buzen, Computing Surveys 10, 1978): no station beyond its capacity.
    assert rate <= workers[0] / batched * (1 + 1e-6)
    full = interpolate(one.batches, one.steps, places)
    assert rate <= workers[1] * places / (output * full) * (1 + 1e-6)
    assert rate <= asked / (prefill + output * (step + 1e-5)) * (1 + 1e-6)
    assert found.decoding == pytest.approx(rate * output * found.token_time, rel=1e-3)
    assert found.first_token >= prefill
    assert 0 <= found.wait <= found.first_token


def test_where_prefill_is_the_slower_side_each_further_request_waits_one_service_longer():
    one = server(0.5, 0.5, 1, 0.01, 0.0, 4096, 100)
    found = settle_apart(one, one, np.array([100.0, 200.0, 201.0]), 1, 4, Policy(0.0, 0.0, 0.0), 0.0, 0.0)
    assert np.diff(found.first_token) == pytest.approx([50.0, 0.5], rel=0.01)
    assert found.token_time == pytest.approx(0.01)


def test_where_decode_is_the_slower_side_the_others_wait_for_a_place():
    one = server(0.001, 0.001, 1, 0.01, 0.0, 32, 1000)
    found = settle_apart(one, one, np.array([32.0, 64.0]), 4, 1, Policy(0.0, 0.0, 0.0), 0.0, 0.0)
    assert found.wait[0] == pytest.approx(0.0, abs=0.05)
    assert found.wait[1] == pytest.approx(
        10.0, rel=0.01
    )  # twice as many as places: one whole stay, 1000 tokens of 10 ms


# SemiAnalysis InferenceX, DeepSeek-R1 in NVFP4 on B200, TensorRT-LLM, run of 2026-01-29: one prefill worker with
# data-parallel attention over 4 chips, five decode workers over 8 (nominal lengths 1024 and 1024; mean 0.9 of them):
# requests in flight, milliseconds to the first token and per output token
INFERENCEX = [(10, 169, 6.1), (25, 213, 7.2), (90, 294, 9.6)]


@pytest.mark.parametrize(("asked", "first", "token"), INFERENCEX)
def test_times_match_inferencex_deepseek_r1_on_b200_disaggregated(asked, first, token):
    answer = ServingLoadModel().solve(
        "DeepSeek_V3", "B200", 922, 922, asked, precision="nvfp4", stack="trtllm", ep_size=8, attention_dp=1,
        prefill_workers=1, decode_workers=5, prefill_tp_size=1, prefill_ep_size=4,
    )  # fmt: skip
    assert answer.ttft.to("ms").magnitude == pytest.approx(first, rel=0.5)
    assert answer.tpot.to("ms").magnitude == pytest.approx(token, rel=0.3)


@given(times, st.floats(0.1, 1.0), counts, st.floats(0.0, 1e3))
def test_a_pass_lies_between_one_prompt_and_all_that_fit(alone, gain, most, rate):
    batched = alone * max(gain, 1 / most)
    passed = prefill_pass_time(rate, alone, batched, float(most))
    assert alone * (1 - 1e-9) <= passed <= max(most * batched, alone) * (1 + 1e-9)
    assert prefill_queue_time(rate, passed, batched, float(most)) >= 0


def test_wait_is_that_of_m_d_1_in_kleinrock_1975_where_prompts_are_not_batched():
    # Kleinrock, Queueing Systems, volume 1, section 5.6: mean wait rho x / (2 (1 - rho)) for service that never varies
    for load, services in [(0.5, 0.5), (0.8, 2.0), (0.9, 4.5)]:
        assert prefill_queue_time(load / 0.2, 0.2, 0.2, 1.0) == pytest.approx(services * 0.2)


@given(times, times, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_two_streams_never_beat_the_slower_one_and_never_lose_to_one_after_the_other(first, second, near, far):
    together = side_by_side_time(first, second, near * first, far * second)
    assert max(first, second) <= together <= (first + second) * (1 + 1e-12)


@given(st.integers(1, 64), st.integers(16, 4096))
@settings(max_examples=20, deadline=None)
def test_the_interval_of_throughput_lies_between_those_of_its_parts(asked, prompt):
    answer = ServingLoadModel().solve("Llama3_8B", "H100", prompt, 256, asked)
    reach = {name: (high / getattr(answer, name)).to("").magnitude for name, (_, high) in answer.interval().items()}
    assert 1 < reach["throughput"] <= max(reach["ttft"], reach["tpot"]) * (1 + 1e-9)
