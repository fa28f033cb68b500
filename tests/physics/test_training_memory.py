import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.physics.training_memory import (
    adapter_state_size,
    full_recompute_activation_size,
    gated_layer_activation_size,
    head_activation_size,
    in_flight_microbatches,
    interleaved_activation_factor,
    layer_activation_size,
    lora_parameters,
    optimizer_state_size,
    selective_activation_size,
    training_state_size,
    zero_state_size,
)

counts = st.integers(1, 4096).map(float)


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_zero_matches_rajbhandari_2020_figure_1(stage, gigabytes):
    """7.5 billion parameters on 64 GPUs with mixed-precision Adam."""
    parts = (7.5e9 * 2, 7.5e9 * 2, optimizer_state_size(7.5e9))
    assert zero_state_size(*parts, 64.0, float(stage)) / 1e9 == pytest.approx(gigabytes, abs=0.05)


@pytest.mark.parametrize(
    ("billions", "shards", "stage", "gigabytes"),
    [
        (128, 1024, 1, 513), (128, 1024, 2, 257), (128, 1024, 3, 2),
        (1000, 1, 3, 16000), (1000, 1024, 3, 15.6),
    ],
)  # fmt: skip
def test_zero_matches_rajbhandari_2020_table_1(billions, shards, stage, gigabytes):
    parts = (billions * 2e9, billions * 2e9, optimizer_state_size(billions * 1e9))
    assert zero_state_size(*parts, float(shards), float(stage)) / 1e9 == pytest.approx(gigabytes, rel=0.004)


@given(parameters=st.floats(1, 1e12), shards=st.floats(1, 1e4))
def test_each_stage_needs_no_more_than_the_one_before(parameters, shards):
    parts = (2 * parameters, 2 * parameters, optimizer_state_size(parameters))
    sizes = zero_state_size(*parts, shards, np.arange(4.0))
    assert sizes[0] == pytest.approx(training_state_size(parameters))
    assert np.all(np.diff(sizes) <= 0)
    assert sizes[3] * shards == pytest.approx(sizes[0])


@pytest.mark.parametrize(
    ("sequence", "hidden", "heads", "scores", "saved"),
    [(2048, 12288, 96, 80, 0.70), (2048, 20480, 128, 64, 0.65)],  # GPT-3, MT-NLG
)
def test_scores_match_korthikanti_2022_section_5(sequence, hidden, heads, scores, saved):
    shape = (float(sequence), 1.0, float(hidden))
    whole, selective = layer_activation_size(*shape, float(heads)), selective_activation_size(*shape)
    assert (whole - selective) / (sequence * hidden) == pytest.approx(scores)
    assert 1 - selective / whole == pytest.approx(saved, abs=0.005)


@given(s=counts, b=counts, h=counts, a=st.integers(1, 128).map(float), t=st.sampled_from([1.0, 2.0, 8.0]))
def test_layer_matches_korthikanti_2022_table_2(s, b, h, a, t):
    sbh, score = s * b * h, 5 * a * s / h
    assert layer_activation_size(s, b, h, a) == pytest.approx(sbh * (34 + score))
    assert layer_activation_size(s, b, h, a, t) == pytest.approx(sbh * (10 + 24 / t + score / t))
    assert layer_activation_size(s, b, h, a, t, t) == pytest.approx(sbh * (34 + score) / t)
    assert selective_activation_size(s, b, h, t) == pytest.approx(sbh * (10 + 24 / t))
    assert selective_activation_size(s, b, h, t, t) == pytest.approx(sbh * 34 / t)
    assert full_recompute_activation_size(s, b, h) == pytest.approx(sbh * 2)


@pytest.mark.parametrize(
    ("size", "expected"), [(selective_activation_size, 9_126_805_504), (full_recompute_activation_size, 536_870_912)]
)
def test_32_layers_of_2048_tokens_and_4096_channels(size, expected):
    assert 32 * size(2048.0, 1.0, 4096.0) == expected


@given(s=counts, h=counts, a=st.integers(1, 128).map(float))
def test_a_wider_value_is_counted_once(s, h, a):
    """Four-byte values double the stored values, not the masks."""
    two, four = (layer_activation_size(s, 1.0, h, a, value=v, mask=0.0) for v in (2.0, 4.0))
    assert four == pytest.approx(2 * two)


@given(s=counts, h=counts)
def test_recomputing_more_keeps_less(s, h):
    assert (
        full_recompute_activation_size(s, 1.0, h)
        < selective_activation_size(s, 1.0, h)
        < layer_activation_size(s, 1.0, h, 1.0)
    )


@given(
    tokens=counts,
    dim=st.sampled_from([64.0, 128.0]),
    heads=st.integers(1, 64).map(float),
    t=st.sampled_from([1.0, 4.0]),
)
def test_gated_layer_with_a_plain_mlp_width_is_near_the_gpt_count(tokens, dim, heads, t):
    """Multi-head attention and f = 8/3 h, the same weights as 4 h without a gate: 4 + 4 + 8 = 16 values a channel."""
    hidden = heads * dim
    gated = gated_layer_activation_size(tokens, hidden, heads, heads, dim, 8 / 3 * hidden, t, t)
    assert gated == pytest.approx(selective_activation_size(tokens, 1.0, hidden, t, t, mask=0.0))


@given(tokens=counts, h=counts, v=counts, t=st.sampled_from([1.0, 8.0]))
def test_head_matches_korthikanti_2022_section_4_3(tokens, h, v, t):
    assert head_activation_size(tokens, h, v, t) == pytest.approx(4 * tokens * h / t * (1 + v / h))


@given(stages=st.integers(1, 64).map(float), microbatches=st.integers(1, 512).map(float))
def test_the_first_stage_holds_as_many_microbatches_as_there_are_stages(stages, microbatches):
    assert in_flight_microbatches(stages, microbatches) == min(stages, microbatches)
    assert in_flight_microbatches(stages, microbatches, stages - 1) == 1


@given(stages=st.integers(1, 64).map(float), chunks=st.integers(1, 16).map(float))
def test_interleaving_holds_less_than_twice_as_much(stages, chunks):
    assert 1 <= interleaved_activation_factor(stages, chunks) < 2
    assert interleaved_activation_factor(stages, chunks + 1) <= interleaved_activation_factor(stages, chunks)


@pytest.mark.parametrize(("rank", "millions"), [(1, 4.7), (8, 37.7)])
def test_adapters_of_gpt3_match_hu_2021_table_4(rank, millions):
    """Queries and values of 96 layers."""
    assert lora_parameters(12288.0, 12288.0, float(rank), 2 * 96.0) / 1e6 == pytest.approx(millions, abs=0.05)


@given(frozen=st.floats(1, 1e12), trainable=st.floats(0, 1e9))
def test_frozen_weights_need_no_gradients(frozen, trainable):
    size = adapter_state_size(frozen, trainable)
    assert size == pytest.approx(2 * frozen + training_state_size(trainable))
    assert size <= training_state_size(frozen + trainable)
