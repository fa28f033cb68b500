"""Continuous batching, caches, drafts, capacity and batch limits: specified and published answers, laws, hostile input."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import Hardware, Models, ServingModel
from mlsysim.errors import MLSysimError, UnsupportedWorkloadError
from mlsysim.solvers.batching import ContinuousBatchingModel
from mlsysim.solvers.capacity import ServingCapacityModel
from mlsysim.solvers.kv_cache import KVCacheModel, SpeculativeDecodingModel
from mlsysim.solvers.optimize_batching import BatchingOptimizer

BATCH, CACHE, DRAFT = ContinuousBatchingModel().solve, KVCacheModel().solve, SpeculativeDecodingModel().solve
CAPACITY, LIMIT = ServingCapacityModel().solve, BatchingOptimizer().solve


def test_pages_match_the_specification():
    r = BATCH("Llama3_8B", "H100", 2050, 1024)
    assert r.memory_fragmentation == pytest.approx(0.006783, rel=1e-3)
    assert r.memory_fragmentation_pct == pytest.approx(100 * r.memory_fragmentation)
    assert r.max_active_requests == pytest.approx(258, abs=3)  # the working memory of a prefill takes its part
    full = BATCH("Llama3_8B", "H100", 2048, 64)
    assert full.paged_kv_cache_size.to("GB").magnitude == pytest.approx(17.1799, rel=1e-5)
    assert full.memory_fragmentation == 0


def test_ttft_is_that_of_one_request_and_itl_pays_for_layers():
    r, serving = BATCH("Llama3_8B", "H100", 2048, 64), ServingModel().solve("Llama3_8B", "H100", 2048, 64).si
    assert r.si.ttft == ServingModel().solve("Llama3_8B", "H100", 2048, 1).si.ttft
    assert r.si.itl == serving.itl
    assert r.throughput_tokens_per_sec == pytest.approx(64 / serving.itl)


def test_nothing_fits_is_an_answer():
    r = BATCH("Llama3_70B", "H100", 2048, 8)
    assert r.feasible is False
    assert (r.max_active_requests, r.throughput_tokens_per_sec) == (0, 0)
    assert math.isnan(r.si.itl)
    assert math.isnan(r.speedup_vs_static)
    assert not r.limits[0].met


def test_pages_hold_more_than_reservations_as_in_vllm():
    # Kwon et al., arXiv:2309.06180, abstract: 2 to 4 times the throughput of reserving systems at the same latency
    r = BATCH("Llama3_8B", "H100", 2048, 2048, mean_request_tokens=700, output_tokens=300)
    assert r.max_active_requests > 2 * r.static_max_active_requests
    assert 2 < r.speedup_vs_static < 4


@given(st.integers(64, 8192), st.integers(1, 256), st.integers(1, 128))
@settings(max_examples=25, deadline=None)
def test_sharing_and_chunks_never_hurt(tokens, batch, page):
    plain = BATCH("Llama3_8B", "H100", tokens, batch, page)
    shared = BATCH("Llama3_8B", "H100", tokens, batch, page, shared_prefix_len=tokens // 2)
    assert shared.max_active_requests >= plain.max_active_requests
    assert shared.si.kv_bytes_saved_by_sharing >= 0
    chunked = BATCH("Llama3_8B", "H100", tokens, batch, page, prefill_chunk_tokens=max(1, tokens // 4)).si
    if plain.feasible:
        assert plain.si.itl <= chunked.worst_token_gap <= plain.si.worst_token_gap * (1 + 1e-9)


def test_batching_arrays_equal_the_scalar_answers():
    tokens, batch = np.array([512, 2048]), np.array([[1], [64], [4096]])
    many = BATCH("Llama3_8B", Hardware.H100, tokens, batch, output_tokens=64)
    assert many.itl.shape == many.feasible.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            one = BATCH("Llama3_8B", "H100", int(tokens[j]), int(batch[i, 0]), output_tokens=64).si
            for field in ("throughput_tokens_per_sec", "max_active_requests", "worst_token_gap", "ttft"):
                assert np.broadcast_to(getattr(many.si, field), (3, 2))[i, j] == getattr(one, field), field


@pytest.mark.parametrize("bad", [{"seq_len": 0}, {"page_size": 0}, {"page_size": -16}, {"max_batch_size": -1},
                                 {"mean_request_tokens": 4096}, {"output_tokens": 2048}, {"precision": "fp13"},
                                 {"efficiency": 2}, {"shared_prefix_len": 2048}])  # fmt: skip
def test_hostile_batches_are_refused_in_one_line(bad):
    with pytest.raises(MLSysimError) as error:
        BATCH(**{"model": "Llama3_8B", "hardware": "H100", "seq_len": 2048, **bad})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("solve", [lambda m: BATCH(m, "H100", 64), lambda m: CACHE(m, "H100", 64),
                                   lambda m: CAPACITY(m, "H100", 1, 1000), lambda m: LIMIT(m, "H100", 64, 1000, 1)])  # fmt: skip
def test_a_model_that_writes_no_tokens_is_refused(solve):
    with pytest.raises(UnsupportedWorkloadError):
        solve("ResNet50")


def test_cache_of_llama_and_of_latent_attention():
    # Llama 3 8B: 2 x 32 layers x 8 heads x 128 x 2 B (arXiv:2407.21783, table 3); DeepSeek-V3: 61 x (512 + 64) x 2 B
    # (arXiv:2412.19437, section 4.2)
    r = CACHE("Llama3_8B", "H100", 8192)
    assert r.bytes_per_token.to("byte").magnitude == 131_072
    assert r.mha_over_design == 4
    assert r.si.gqa_cache == r.si.session_cache
    deep = CACHE("DeepSeek_V3", "H200", 4096, precision="fp8", kv_precision="fp16")
    assert deep.bytes_per_token.to("byte").magnitude == 61 * 576 * 2
    assert deep.si.mla_cache == pytest.approx(deep.si.session_cache)


@given(st.integers(1, 60_000), st.integers(1, 64), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_caches_keep_their_order(tokens, sessions, share):
    prefix = int((tokens - 1) * share)
    r = CACHE("Llama3_8B", "H100", tokens, sessions, shared_prefix_len=prefix).si
    assert r.mqa_cache <= r.gqa_cache <= r.mha_cache
    assert r.paged_cache <= r.total_cache * (1 + 1e-12)
    assert r.total_cache <= r.reserved_cache or tokens > 131_072 - 16
    assert r.feasible == (r.paged_cache <= r.memory_for_caches)


def test_paused_sessions_say_what_is_unknown():
    chip = next(
        c for c in Hardware if c.si.host_bandwidth is None and "fp16" in c.si.peaks and c.si.memory_capacity > 2e10
    )
    r = CACHE("Llama3_8B", chip, 1024)
    assert math.isnan(r.si.reload_time)
    assert any("host link" in note for note in r.notes)
    fast = CACHE("Llama3_8B", "H100", 1024, link_bandwidth="64 GB/s")
    assert fast.si.reload_time == pytest.approx(1024 * 131_072 / 64e9)
    assert fast.bottleneck == "Recompute"


def test_drafting_pays_while_decoding_waits_for_memory():
    r = DRAFT("Llama3_70B", "Llama3_8B", "MI300X", 2048, np.array([1, 512]), draft_acceptance_rate=0.8)
    assert r.optimal_speedup[0] > 1.5
    assert r.optimal_draft_tokens[1] == 0  # bound by arithmetic: a rejected token is work thrown away
    assert DRAFT("Llama3_70B", "Llama3_8B", "MI300X", draft_acceptance_rate=0).optimal_draft_tokens == 0


@given(st.floats(0, 1), st.integers(1, 16))
@settings(max_examples=20, deadline=None)
def test_no_draft_beats_the_best_draft(acceptance, drafted):
    r = DRAFT("Llama3_70B", "Llama3_8B", "MI300X", draft_acceptance_rate=acceptance, draft_tokens=drafted)
    assert r.speedup <= r.optimal_speedup * (1 + 1e-9)
    assert 1 <= r.tokens_per_step <= drafted + 1
    assert r.si.itl == pytest.approx((r.si.verify_time + r.si.draft_time) / r.tokens_per_step)


def test_capacity_lowers_the_batch_before_it_gives_up():
    # 20 requests a second, p99 in 3 s: an earlier version kept 32 slots and found no number of replicas
    r = CAPACITY("Llama3_8B", "H100", qps=20, target_p99_latency_ms=3000)
    assert r.feasible
    assert r.batch_size < 32
    assert r.required_replicas < 10
    assert r.si.estimated_p99_latency <= 3
    assert r.qps_capacity.to("1/s").magnitude > 20


def test_capacity_is_the_fewest():
    r = CAPACITY("Llama3_8B", "H100", qps=200, target_p99_latency_ms=3000, max_seq_len=1024, price_per_hour=3)
    fewer = CAPACITY("Llama3_8B", "H100", qps=200, target_p99_latency_ms=3000, max_seq_len=1024,
                     max_replicas=int(r.required_replicas) - 1)  # fmt: skip
    assert r.feasible
    assert not fewer.feasible
    assert math.isinf(fewer.required_replicas)
    dollars = r.required_replicas * 3 / 3600 / (200 * 128) * 1e6
    assert r.cost_per_million_tokens_usd == pytest.approx(dollars)


@given(st.floats(0.1, 500), st.floats(0.8, 30))
@settings(max_examples=25, deadline=None)
def test_more_traffic_or_less_time_needs_no_fewer_replicas(qps, seconds):
    base = CAPACITY("Llama3_8B", "H100", qps, f"{seconds} s").required_replicas
    assert CAPACITY("Llama3_8B", "H100", 2 * qps, f"{seconds} s").required_replicas >= base
    many = CAPACITY("Llama3_8B", "H100", np.array([qps, 2 * qps]), f"{seconds} s").required_replicas
    assert many[0] == base


def test_objectives_bind():
    loose = CAPACITY("Llama3_8B", "H100", 20, 5000)
    tight = CAPACITY("Llama3_8B", "H100", 20, 5000, itl_slo_ms=10, ttft_slo_ms=100)
    assert tight.batch_size < loose.batch_size
    assert tight.si.full_token_gap <= 0.010
    assert tight.si.p99_ttft <= 0.100
    assert not CAPACITY("Llama3_8B", "H100", 20, 100).feasible


def test_light_load_is_feasible():
    # 1 request a second, 1,024 tokens, 20 s: a queue of whole batches used to call this impossible
    r = LIMIT("Llama3_8B", "H100", 1024, 20_000, 1)
    assert r.is_feasible
    alone = ServingModel().solve("Llama3_8B", "H100", 1024, 1).si
    assert r.si.p99_latency >= alone.ttft + 1024 * alone.itl
    assert r.si.p99_latency < 20
    assert LIMIT("Llama3_8B", "H100", 1024, 20_000, 0).is_feasible
    assert not LIMIT("Llama3_8B", "H100", 512, 100, 5, 4).is_feasible


@given(st.floats(0.1, 60), st.floats(1, 40))
@settings(max_examples=25, deadline=None)
def test_best_limit_grows_with_time_and_throughput_with_the_limit(qps, seconds):
    one, two = (LIMIT("Llama3_8B", "H100", 512, f"{s} s", qps, output_len=128) for s in (seconds, 2 * seconds))
    assert two.best_batch_size >= one.best_batch_size
    assert two.si.max_throughput >= one.si.max_throughput
    assert 0 <= one.slo_violation_probability <= 1
    if one.is_feasible:
        assert one.slo_violation_probability <= 0.01 + 1e-9
        assert one.si.served_throughput <= one.si.max_throughput


def test_limits_of_arrays_equal_the_scalar_answers():
    rates = np.array([1.0, 20.0, 60.0, 500.0])
    many = LIMIT("Llama3_8B", Hardware.stack(["A100", "H100"]), 512, 5000, rates[:, None], output_len=128)
    assert many.best_batch_size.shape == (4, 2)
    for i, rate in enumerate(rates):
        one = LIMIT("Llama3_8B", "H100", 512, 5000, rate, output_len=128)
        assert many.best_batch_size[i, 1] == one.best_batch_size
        assert many.si.p99_latency[i, 1] == pytest.approx(one.si.p99_latency)
        assert many.is_feasible[i, 1] == one.is_feasible


@pytest.mark.parametrize("bad", [{"sla_latency_ms": -1}, {"max_search_batch": 0}, {"arrival_rate_qps": math.nan},
                                 {"seq_len": 0}, {"num_replicas": 0}, {"hardware": "H1000"}])  # fmt: skip
def test_hostile_limits_are_refused(bad):
    with pytest.raises(MLSysimError):
        LIMIT(**{"model": Models.Llama3_8B, "hardware": "H100", "seq_len": 512, "sla_latency_ms": 5000,
                 "arrival_rate_qps": 5, **bad})  # fmt: skip


def run_a_replica(qps, slots, prefill, steps, output, requests, seed):
    """Step by step: free slots take waiting requests, one prefill each, then all active ones get a token."""
    arrivals = np.cumsum(np.random.default_rng(seed).exponential(1 / qps, requests))
    now, coming, active, latencies = 0.0, 0, [], []
    while len(latencies) < requests:
        if not active and coming < requests:
            now = max(now, arrivals[coming])
        while coming < requests and arrivals[coming] <= now and len(active) < slots:
            now += prefill
            active.append([arrivals[coming], output])
            coming += 1
        now += steps[len(active) - 1]
        for request in active:
            request[1] -= 1
        latencies += [now - start for start, left in active if left == 0]
        active = [request for request in active if request[1]]
    return np.array(latencies[requests // 10 :])


@pytest.mark.parametrize("share", [0.05, 0.4, 0.8])
@pytest.mark.parametrize(("slots", "prompt", "output"), [(16, 512, 64), (64, 128, 128)])
def test_latencies_agree_with_a_replica_run_step_by_step(share, slots, prompt, output):
    # the queue of slots against a simulation of the engine itself, at a light, a moderate and a heavy load
    serving = ServingModel().solve("Llama3_8B", "H100", prompt + output // 2, np.arange(1, slots + 1)).si
    prefill = ServingModel().solve("Llama3_8B", "H100", prompt, 1).si.ttft
    qps = share * slots / (slots * prefill + output * serving.step_latency[-1])
    simulated = run_a_replica(qps, slots, prefill, serving.step_latency, output, 4000, 3)
    r = CAPACITY("Llama3_8B", "H100", qps, "60 s", prompt + output, output_tokens=output, max_batch_size=slots,
                 max_replicas=1)  # fmt: skip
    assert r.feasible
    assert simulated.mean() == pytest.approx(r.si.token_gap * output + prefill, rel=0.1)
    assert np.quantile(simulated, 0.99) == pytest.approx(r.si.estimated_p99_latency, rel=0.15)


def test_a_prefix_outside_the_window_is_not_shared():
    windowed = Models.Mistral_7B_v0_1
    window = int(windowed.si.sliding_window)
    far = CACHE(windowed, "B200", 4 * window, 8, shared_prefix_len=window)
    near = CACHE(windowed, "B200", window, 8, shared_prefix_len=window // 2)
    assert far.si.shared_saving == pytest.approx(0)
    assert near.si.shared_saving == pytest.approx(near.si.session_cache / 2 * 7, rel=0.01)
