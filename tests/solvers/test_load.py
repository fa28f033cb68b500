"""A server under load: against published runs, and what queues must obey."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import MLSysimError, ServingLoadModel, fits
from mlsysim.physics.serving_load import burst_wait_tail, cache_pool, first_token_time, slot_wait, stalled_token_time
from mlsysim.solvers.load_balance import interpolate

SOLVER = ServingLoadModel()


def ask(model="Llama3_8B", chip="H100", prompt=1024, output=1024, **options):
    if "arrival_rate" not in options:
        options = {"concurrency": 16} | options
    return SOLVER.solve(model, chip, prompt, output, **options)


# SemiAnalysis InferenceX, TensorRT-LLM, Llama-3.1-70B FP8 on B200, four requests in flight (runs of 2025-10 and -11):
# ranks, nominal input and output (mean 0.9 of it), milliseconds per output token
INFERENCEX = [(1, 1024, 1024, 14.59), (1, 1024, 8192, 14.87), (1, 8192, 1024, 16.63)]


@pytest.mark.parametrize(("ranks", "prompt", "output", "tpot"), INFERENCEX)
def test_time_per_token_matches_inferencex_llama_70b_on_b200(ranks, prompt, output, tpot):
    answer = ask("Llama3_70B", "B200", round(0.9 * prompt), round(0.9 * output), concurrency=4, stack="trtllm",
                 tp_size=ranks)  # fmt: skip
    assert answer.tpot.to("ms").magnitude == pytest.approx(tpot, rel=0.2)


@given(
    st.sampled_from(["Llama3_8B", "Qwen3_32B", "GPT_OSS_120B"]),
    st.integers(1, 400),
    st.integers(16, 8192),
    st.integers(2, 4096),
    st.sampled_from(["vllm", "sglang", "trtllm", "ideal"]),
)
@settings(max_examples=40, deadline=None)
def test_littles_law_and_parts_in_order(model, concurrency, prompt, output, stack):
    answer = ask(model, "H200", prompt, output, concurrency=concurrency, stack=stack)
    inside = answer.si
    assert inside.throughput * inside.mean_residence == pytest.approx(concurrency * output)
    assert inside.requests_per_second * output == pytest.approx(inside.throughput)
    assert inside.running_requests <= max(inside.max_running_requests, 1) + 1e-9
    assert inside.decoding_requests <= inside.running_requests + 1e-9
    if inside.feasible:
        assert inside.tpot >= inside.step - 1e-12
        assert inside.itl_p99 >= inside.step
    if inside.feasible and not inside.saturated:
        assert inside.ttft_p99 >= inside.ttft - 1e-9 >= inside.prefill - 1e-9


def test_more_requests_in_flight_are_slower_for_each_and_faster_for_all():
    answer = ask(concurrency=np.array([1, 2, 4, 8, 16, 32, 64, 128]))
    assert (np.diff(answer.si.tpot) > 0).all()
    assert (np.diff(answer.si.ttft) > 0).all()
    assert (np.diff(answer.si.throughput) > 0).all()


def test_near_capacity_the_answer_is_a_word_and_not_a_number():
    answer = ask("Llama3_70B", "H100", 8192, 1024, tp_size=4, concurrency=np.array([4, 512]))
    assert answer.saturated.tolist() == [False, True]
    assert np.isfinite(answer.si.ttft[0])
    assert np.isnan(answer.si.ttft[1])
    assert np.isfinite(answer.si.throughput).all()
    assert any("saturated" in note for note in answer.notes)


def test_a_model_that_does_not_fit_is_an_answer():
    answer = ask("Llama3_70B", "H100", precision="fp16")
    assert not answer.feasible
    assert np.isnan(answer.si.tpot)
    assert (
        answer.limits[0].needed > answer.limits[0].available if hasattr(answer.limits[0], "needed") else answer.limits
    )


def test_arrivals_that_a_server_can_take_leave_at_the_same_rate():
    rate = np.array([0.5, 2.0, 8.0])
    answer = ask(prompt=512, output=128, arrival_rate=rate)
    busy = answer.si.concurrency > 1.05
    assert answer.si.requests_per_second[busy] == pytest.approx(rate[busy], rel=0.05)
    assert not answer.saturated.any()
    assert ask(prompt=512, output=128, arrival_rate=1e4).saturated


@pytest.mark.parametrize(
    ("better", "than", "what"),
    [
        ({"prefix_hit_ratio": 0.9}, {}, "ttft"),
        ({"draft_tokens": 3, "draft_acceptance_rate": 0.9}, {}, "tpot"),
        ({"stack": "ideal"}, {"stack": "vllm"}, "ttft"),
        ({"tp_size": 2}, {}, "tpot"),
        ({}, {"length_spread": 0, "stack": "sglang"}, "ttft"),
    ],
)
def test_what_helps_helps(better, than, what):
    assert getattr(ask(prompt=4096, **better).si, what) < getattr(ask(prompt=4096, **than).si, what)


def test_limits_of_the_server_bind():
    assert ask(concurrency=4, max_num_seqs=8).max_running_requests == 8
    small, large = ask(gpu_memory_utilization=0.5), ask(gpu_memory_utilization=0.95)
    assert small.max_running_requests < large.max_running_requests
    assert ask(prompt=8192, token_budget=512).si.itl_p99 < ask(prompt=8192, token_budget=8192).si.itl_p99


def test_prefill_and_decode_apart_do_not_stall_each_other():
    joined = ask("Llama3_70B", "H100", 4096, 512, tp_size=4)
    apart = ask("Llama3_70B", "H100", 4096, 512, tp_size=4, prefill_workers=2, decode_workers=1)
    assert apart.si.prefill_stall == 0 < joined.si.prefill_stall
    assert apart.chips == 12
    assert joined.chips == 4


def test_arrays_equal_scalars_and_intervals_hold_the_answer():
    asked, prompt = np.array([1, 16, 64])[:, None], np.array([512, 4096])[None, :]
    many = ask(prompt=prompt, concurrency=asked)
    for i in range(3):
        for j in range(2):
            one = ask(prompt=int(prompt[0, j]), concurrency=int(asked[i, 0]))
            for name in ("ttft", "tpot", "throughput_per_gpu", "max_running_requests"):
                assert np.broadcast_to(getattr(many.si, name), (3, 2))[i, j] == pytest.approx(getattr(one.si, name))
    answer = ask()
    for name in ("ttft", "tpot"):
        low, high = answer.interval(0.8)[name]
        assert low < getattr(answer, name) < high
    assert json.loads(answer.to_json())["resolver"] == "ServingLoadModel"
    assert "stalled_token_time" in str(answer.explain())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"concurrency": 0}, "concurrency: expected"),
        ({"concurrency": float("nan")}, "concurrency: expected"),
        ({"concurrency": None}, "exactly one"),
        ({"arrival_rate": 1.0, "concurrency": 4}, "exactly one"),
        ({"prompt": -5}, "input_len: expected"),
        ({"output": float("inf")}, "output_len: expected"),
        ({"prefix_hit_ratio": 1.5}, "prefix_hit_ratio: expected"),
        ({"prefill_workers": 1}, "both or neither"),
        ({"network_bandwidth": "5 GB"}, "network_bandwidth"),
        ({"stack": "tgi"}, "stack: expected"),
        ({"chip": "H1000"}, "H1000"),
        ({"model": "ResNet50"}, "ServingLoadModel"),
    ],
)
def test_hostile_input_gets_one_line(options, told):
    with pytest.raises(MLSysimError, match=told) as error:
        ask(**options)
    assert "\n" not in str(error.value)


# -- does it fit -----------------------------------------------------------------------------------------------------


def test_vllm_pool_of_llama_8b_on_an_80_gb_gpu():
    # 0.9 of 85.5 GB less 16.06 GB of weights and 3 GB: 57.9 GB; 131,072 bytes of cache a token (32 x 2 x 8 x 128 x 2 B)
    answer = fits("Llama3_8B", "H100", context=8192)
    assert answer.si.engine_pool == pytest.approx(0.9 * answer.si.memory_capacity - 8.03e9 * 2 - 3e9, rel=1e-3)
    assert answer.si.cache_per_token == pytest.approx(131072)
    assert answer.engine_batch == np.floor(answer.si.engine_pool / (8192 * 131072))
    assert answer.recommended_batch < answer.engine_batch < answer.raw_batch


@given(st.integers(128, 100_000), st.integers(1, 64), st.sampled_from([1, 2, 4, 8]))
@settings(max_examples=40, deadline=None)
def test_what_fits_keeps_fitting_with_less(context, batch, ranks):
    answer = fits("Qwen3_32B", "H200", context, batch, tp_size=ranks)
    smaller = fits("Qwen3_32B", "H200", max(context // 2, 1), batch, tp_size=ranks)
    assert smaller.feasible or not answer.feasible
    assert answer.feasible == (batch <= answer.engine_batch)
    assert smaller.engine_batch >= answer.engine_batch


def test_windows_and_latents_hold_more_context():
    dense, latent = fits("Llama3_70B", "B200", tp_size=8), fits("DeepSeek_V3", "B200", precision="fp8", tp_size=8)
    # 61 layers of one vector of 576 values a token on every rank, 16 bits
    assert latent.si.cache_per_token == pytest.approx(61 * 576 * 2)
    assert dense.si.cache_per_token == pytest.approx(80 * 2 * 128 * 2)
    assert not fits("DeepSeek_V3", "H100").feasible


def test_fits_refuses_nonsense_in_one_line():
    for options in ({"context": 0}, {"batch_size": -1}, {"gpu_memory_utilization": 1.2}, {"stack": "x"}):
        with pytest.raises(MLSysimError) as error:
            fits("Llama3_8B", "H100", **options)
        assert "\n" not in str(error.value)


# -- equations -------------------------------------------------------------------------------------------------------

positive = st.floats(1e-6, 1e3)


@given(positive, st.floats(1, 1e4), st.floats(0, 1), positive, st.floats(1, 1e5))
def test_a_request_alone_is_never_stalled(step, running, share, prefill, output):
    assert stalled_token_time(step, 1.0, share, prefill, output) == step
    assert stalled_token_time(step, running, share, prefill, output) >= step


@given(positive, positive, positive, st.floats(0, 50), st.floats(0, 1), st.floats(1, 1e4))
def test_the_tail_of_a_burst_is_no_shorter_than_its_mean(fixed, prefill, step, steps, burst, running):
    alone = first_token_time(fixed, prefill, step, steps, burst, 1.0, prefill)
    mean_wait = first_token_time(fixed, prefill, step, steps, burst, running, prefill) - alone
    assert mean_wait >= 0
    if burst > 0.03:
        assert burst_wait_tail(burst, running, prefill) >= mean_wait * (1 - 1e-6) - 1e-9


@given(st.floats(1, 1e4), st.floats(1, 1e4), positive)
def test_nobody_waits_for_a_place_that_is_free(asked, places, residence):
    assert (slot_wait(asked, places, residence) == 0) == (asked <= places)


@given(st.floats(1e9, 1e12), st.floats(0.1, 1.0), st.floats(0, 1e12), st.floats(0, 1e10), st.sampled_from([0.0, 1.0]))
def test_a_pool_never_exceeds_what_weights_leave(capacity, share, weights, reserve, of_free):
    assert 0 <= cache_pool(capacity, share, weights, reserve, of_free) <= max(capacity - weights, 0)


def test_steps_between_grid_points_lie_on_the_line():
    grid, steps = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 4.0])
    assert interpolate(grid, steps, np.array([0.5, 1.5, 3.0, 9.0])).tolist() == [1.0, 2.0, 3.5, 4.0]
