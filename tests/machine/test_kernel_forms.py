"""Kernel forms: bounds, limits, directions and conserved sums that hold for any parameters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim.catalog import Hardware
from mlsysim.catalog.efficiency import family
from mlsysim.machine import collectives, kernels
from mlsysim.machine.chip import chip_of
from mlsysim.machine.measured import MeasuredMachine
from mlsysim.physics.attention_kernels import causal_pairs, key_value_splits
from mlsysim.physics.collective_kernels import smooth_minimum
from mlsysim.physics.gemm import gemm_time, miss_share, quantise_time, smooth_maximum, wave_count
from mlsysim.physics.moe_kernels import active_experts, expected_active_experts, expert_tile_rows

H100 = chip_of(Hardware["H100"])
positive = st.floats(1e-9, 1e3)
sizes = st.integers(1, 30_000).map(float)
depths = st.integers(1, 200).map(lambda k: 64.0 * k)


def parameters(name, generation="hopper"):
    entry = family(name)
    return dict(entry.choose(H100.names, (generation,), entry.kernel(generation, "ideal", "bf16")).values)


GEMM, CONTEXT, DECODE = (parameters(name) for name in ("gemm_bf16", "context_attention", "generation_attention"))
EXPERTS = parameters("moe")


@given(a=positive, b=positive, q=st.floats(1, 12))
def test_smooth_maximum_lies_between_maximum_and_sum(a, b, q):
    value = smooth_maximum(a, b, q)
    assert max(a, b) * (1 - 1e-12) <= value <= (a + b) * (1 + 1e-12)


@given(a=positive, b=positive)
def test_smooth_minimum_is_never_above_either(a, b):
    assert 0.5 * min(a, b) <= smooth_minimum(a, b) <= min(a, b)


@given(tiles=st.floats(1, 1e6), cores=st.floats(1, 300), smooth=st.floats(0, 1))
def test_waves_lie_between_even_share_and_whole_rounds(tiles, cores, smooth):
    waves = wave_count(tiles, cores, smooth)
    assert max(1.0, tiles / cores) * (1 - 1e-12) <= waves <= np.ceil(tiles / cores)


@given(footprint=positive, cache=positive, reach=st.floats(0, 2))
def test_miss_share_is_a_share(footprint, cache, reach):
    assert 0 <= miss_share(footprint, cache, reach) <= 1


@given(new=st.integers(1, 5000), more=st.integers(1, 5000), window=st.integers(1, 20_000))
def test_prefill_in_chunks_sees_the_same_pairs(new, more, window):
    whole = causal_pairs(float(new + more), 0.0, float(window))
    assert causal_pairs(float(new), 0.0, float(window)) + causal_pairs(
        float(more), float(new), float(window)
    ) == pytest.approx(whole)


@given(new=st.integers(1, 60), cached=st.integers(0, 60), window=st.integers(1, 80))
def test_causal_pairs_count_what_a_mask_keeps(new, cached, window):
    query, key = np.arange(cached, cached + new)[:, None], np.arange(cached + new)[None, :]
    assert causal_pairs(float(new), float(cached), float(window)) == ((key <= query) & (key > query - window)).sum()


@given(rows=st.floats(1, 1e5), blocks=st.floats(1, 1e4))
def test_splits_never_pass_the_blocks_and_fill_the_cores(rows, blocks):
    splits = key_value_splits(rows, 132.0, blocks)
    assert 1 <= splits <= max(blocks, 1)
    assert splits == 1 or rows * splits <= 132.0 * (1 + 1e-12)


@given(pairs=st.floats(1, 1e5), experts=st.floats(2, 512))
def test_random_routing_never_keeps_more_experts_busy_than_even_routing(pairs, experts):
    assert expected_active_experts(pairs, experts) <= active_experts(pairs, experts) * (1 + 1e-9)


@given(tokens=st.floats(0.1, 1e6))
def test_an_expert_tile_is_a_power_of_two_that_holds_its_tokens_or_the_largest(tokens):
    rows = expert_tile_rows(tokens)
    assert np.log2(rows) == int(np.log2(rows))
    assert rows >= min(tokens, 128.0)


@given(m=sizes, n=sizes, k=depths, factor=st.floats(1, 4))
@settings(max_examples=60)
def test_a_larger_product_never_takes_less_time(m, n, k, factor):
    def time(m, n):
        return kernels.gemm(GEMM, H100, m, n, k, H100.peaks["bf16"], (2.0, 2.0, 2.0))

    # The cache may hold less of a larger set, never more: both directions only add work.
    assert time(np.ceil(m * factor), n) >= time(m, n) * (1 - 1e-9)
    assert time(m, np.ceil(n * factor)) >= time(m, n) * (1 - 1e-9)


@given(m=sizes, n=sizes, k=depths)
@settings(max_examples=60)
def test_a_product_is_bound_by_launch_and_by_sustained_arithmetic(m, n, k):
    time = kernels.gemm(GEMM, H100, m, n, k, H100.peaks["bf16"], (2.0, 2.0, 2.0))
    assert time >= GEMM["launch"] + GEMM["wave"]
    assert time >= 2 * m * n * k / (GEMM["compute"] * H100.peaks["bf16"])


@given(m=sizes, n=sizes, k=depths)
@settings(max_examples=60)
@pytest.mark.parametrize(
    "fewer",
    [
        {"splits": 1.0},
        {"columns": 128.0, "narrow": 128.0, "least": 128.0, "most": 128.0, "turn": 128.0},
    ],
    ids=["whole", "one_tile"],
)
def test_a_library_with_fewer_tiles_is_never_faster(fewer, m, n, k):
    def time(p):
        return kernels.gemm(p, H100, m, n, k, H100.peaks["bf16"], (2.0, 2.0, 2.0))

    assert time({**GEMM, **fewer}) >= time(GEMM) * (1 - 1e-9)


@given(rows=st.floats(1, 1e5), width=st.floats(1, 1e5), row=st.floats(0, 1e-8))
def test_quantising_two_halves_apart_costs_one_more_launch(rows, width, row):
    whole, half = (quantise_time(2e-6, 3 * m * width, 2e12, m, row) for m in (2 * rows, rows))
    assert 2 * half - whole == pytest.approx(2e-6, rel=1e-6, abs=1e-12 * whole)


# Microseconds in the tables of aiconfigurator-core 0.12.0, vLLM 0.24 on H100 and TensorRT-LLM 1.3 on B200. The first pays
# for the height of its tile and for every row it quantises, the second for the depth of one wide tile.
@pytest.mark.parametrize(
    ("device", "stack", "precision", "shape", "published"),
    [
        ("H100", "vllm", "fp8", (64, 1024, 8192), 11.9),
        ("H100", "vllm", "fp8", (128, 1024, 8192), 17.9),
        ("H100", "vllm", "fp8", (256, 1024, 8192), 29.4),
        ("H100", "vllm", "fp8", (32768, 64, 64), 238.4),
        ("B200", "trtllm", "nvfp4", (1, 1024, 8192), 21.5),
        ("B200", "trtllm", "nvfp4", (512, 1024, 8192), 23.6),
        ("B200", "trtllm", "nvfp4", (16384, 1024, 8192), 161.1),
    ],
)
def test_products_in_narrow_formats_match_aiconfigurator_tables(device, stack, precision, shape, published):
    time = MeasuredMachine(Hardware[device], stack=stack).gemm(*shape, precision).time
    assert time * 1e6 == pytest.approx(published, rel=0.2)


def test_gemm_time_with_nothing_overlapped_is_the_sum():
    assert gemm_time(1.0, 2.0, 0.0, 3.0, 1.0, 2.0, 0.5, 4.0) == pytest.approx(1 + 5 + 1 + 4)


@given(batch=st.integers(1, 200), tokens=st.integers(1, 9000), kv=st.sampled_from([1.0, 8.0, 32.0]))
@settings(max_examples=60)
def test_prefill_attention_grows_with_the_batch_and_respects_the_exponentials(batch, tokens, kv):
    def time(batch):
        return kernels.context_attention(
            CONTEXT, H100, float(batch), float(tokens), 0.0, 32.0, kv, 128.0, 1e18, H100.peaks["bf16"], 2.0
        )

    assert time(2 * batch) >= time(batch) * (1 - 1e-9) - CONTEXT["split"]
    pairs = 32 * batch * causal_pairs(float(tokens), 0.0, 1e18)
    assert time(batch) >= CONTEXT["softmax"] * pairs / (H100.cores * H100.exponentials * H100.clock) * (1 - 1e-9)


@given(batch=st.integers(1, 500), window=st.integers(128, 4096))
@settings(max_examples=40)
def test_a_window_never_slows_a_kernel_that_skips_what_lies_outside(batch, window):
    p = {**DECODE, "windowed": 1.0}
    args = (float(batch), 8192.0, 32.0, 8.0, 128.0)
    windowed, full = (
        kernels.generation_attention(p, H100, *args, w, H100.peaks["bf16"], 2.0) for w in (float(window), 1e18)
    )
    assert windowed <= full * (1 + 1e-9) + p["split"] + p["wave"]


def decode(p, batch, context, heads, kv_heads, chip=H100):
    args = (float(batch), float(context), float(heads), float(kv_heads), 128.0, kernels.UNBOUNDED)
    return kernels.generation_attention(p, chip, *args, chip.peaks["bf16"], 2.0)


@given(batch=st.integers(1, 300), context=st.integers(1, 100_000), kv=st.sampled_from([1, 2, 8]))
@settings(max_examples=60)
def test_a_kernel_that_cannot_split_a_sequence_or_share_its_keys_is_never_faster(batch, context, kv):
    free = {**DECODE, "split": 0.0, "join": 0.0, "alone": 1.0, "shares": 1e6, "splits": 1e9, "swaps": 0.0}
    best = decode(free, batch, context, 16 * kv, kv)
    for worse in ({"splits": 1.0}, {"shares": 1.0}):
        assert decode({**free, **worse}, batch, context, 16 * kv, kv) >= best * (1 - 1e-9)


@given(rows=st.integers(1, 107))
@settings(max_examples=40)
def test_pieces_that_fill_the_cores_take_one_round(rows):
    # In binary, 13 x (108 / 13) is above 108.
    chip = chip_of(Hardware["A100"])
    p = {**DECODE, "split": 0.0, "join": 0.0, "launch": 0.0, "wave": 1.0, "wide": 1.0, "alone": 1.0}
    assert decode(p, rows, 2e5, 1, 1, chip) == pytest.approx(1.0, rel=0.05)


def test_a_kernel_that_serves_groups_only_without_a_window_takes_a_huge_window_for_none():
    p = {**DECODE, "swaps": 1.0}
    one, other, near = (
        kernels.generation_attention(p, H100, 64.0, 1024.0, 32.0, 8.0, 128.0, w, H100.peaks["bf16"], 2.0)
        for w in (1e15, kernels.UNBOUNDED, 4096.0)
    )
    assert one == other < near


@given(tokens=st.integers(1, 10_000), kv=st.sampled_from([1.0, 2.0, 4.0, 8.0, 32.0]))
@settings(max_examples=40)
def test_writing_the_cache_costs_the_threads_of_a_block_and_no_more_than_a_full_block(tokens, kv):
    def time(p):
        args = (1.0, float(tokens), 0.0, 32.0, kv, 128.0, kernels.UNBOUNDED)
        return kernels.context_attention(p, H100, *args, H100.peaks["bf16"], 2.0)

    p = {**CONTEXT, "write": 1.0}
    extra = time(p) - time({**p, "write": 1e12})
    assert extra == pytest.approx(tokens * min(kv * 128, 512) / (H100.cores * H100.clock), rel=1e-3)


def test_every_expert_of_a_rank_is_walked_through_busy_or_not():
    args = (1.0, 4096.0, 1536.0, 128.0, 8.0, 1.0, 1.0, H100.peaks["bf16"], (2.0, 2.0))
    none, some = (kernels.moe({**EXPERTS, "empty": each}, H100, *args) for each in (0.0, 1e-6))
    assert some - none == pytest.approx(128e-6)


def test_experts_cost_at_least_the_weights_of_the_busy_ones():
    tokens = np.array([1.0, 64.0, 4096.0])
    time = kernels.moe(EXPERTS, H100, tokens, 4096.0, 1536.0, 128.0, 8.0, 1.0, 1.0, H100.peaks["bf16"], (2.0, 2.0))
    busy = np.minimum(128.0, tokens * 8)
    assert (time > busy * 3 * 4096 * 1536 * 2 / (EXPERTS["memory"] * H100.bandwidth)).all()
    assert (np.diff(time) > 0).all()


@given(
    message=st.floats(1, 1e10),
    ranks=st.integers(2, 64),
    kind=st.sampled_from(["all_reduce", "all_gather", "all_to_all"]),
)
def test_a_ring_sends_what_the_algorithm_needs(message, ranks, kind):
    sent = collectives.wire_bytes(kind, message, float(ranks))
    passes = 2 if kind == "all_reduce" else 1
    assert sent == pytest.approx(passes * message * (ranks - 1) / ranks)
    assert collectives.wire_bytes("all_reduce", message, float(ranks), switch=True) <= 2 * message * (
        ranks - 1
    ) / ranks * (1 + 1e-12)


def test_distinct_shapes_give_the_same_times_in_blocks_and_alone():
    m = np.tile(np.arange(1.0, 701.0), 3)
    n = np.repeat([512.0, 4096.0, 14336.0], 700)
    whole = kernels.distinct((m, n, 4096.0), lambda a, b, d: kernels.gemm(GEMM, H100, a, b, d, 989e12, (2.0, 2.0, 2.0)))
    some = [float(kernels.gemm(GEMM, H100, m[i], n[i], 4096.0, 989e12, (2.0, 2.0, 2.0))) for i in range(0, 2100, 97)]
    assert whole.shape == m.shape
    assert whole[::97] == pytest.approx(some)
