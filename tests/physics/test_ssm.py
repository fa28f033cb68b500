import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.physics.ssm import (
    gated_delta_chunked_flops,
    gated_delta_parameters,
    linear_attention_flops,
    linear_attention_state,
    mamba2_parameters,
    mamba_parameters,
    selective_scan_flops,
    short_convolution_flops,
    ssd_chunked_flops,
    ssd_recurrent_flops,
    ssm_state_size,
)

width = st.integers(1, 64).map(lambda n: 64.0 * n)


@pytest.mark.parametrize(("layers", "hidden", "total"), [(24, 768, 129_135_360), (64, 2560, 2_768_345_600)])
def test_mamba_checkpoints_have_the_published_number_of_parameters(layers, hidden, total):
    """Mamba-130m and Mamba-2.8b as counted by their author; 50 280 tied embeddings, a norm before each block."""
    block = mamba_parameters(float(hidden), 2.0 * hidden, 16.0, hidden / 16)
    assert layers * (block + hidden) + (50280 + 1) * hidden == total


@pytest.mark.parametrize(("layers", "hidden", "total"), [(24, 768, 128_989_632), (64, 2560, 2_702_599_680)])
def test_mamba2_checkpoints_have_the_published_number_of_parameters(layers, hidden, total):
    """Mamba-2-130m and Mamba-2-2.7b: 50 288 tied embeddings, heads of 64, state of 128."""
    block = mamba2_parameters(float(hidden), 2.0 * hidden, 128.0, hidden / 32)
    assert layers * (block + hidden) + (50288 + 1) * hidden == total


def test_a_mamba_block_is_mostly_three_projections():
    """Gu and Dao 2023, section 3.4: 3 E D^2 parameters dominate."""
    assert mamba_parameters(2560.0, 5120.0, 16.0, 160.0) == pytest.approx(3 * 2 * 2560**2, rel=0.06)


@given(hidden=width, state=st.integers(16, 256).map(float), sequences=st.floats(1, 1e4))
def test_state_is_linear_in_sequences_and_counts_the_expanded_width(hidden, state, sequences):
    one = ssm_state_size(1.0, 1.0, 2 * hidden * state)
    assert ssm_state_size(1.0, sequences, 2 * hidden * state) == pytest.approx(one * sequences)
    assert one == 2 * hidden * state * 4
    assert ssm_state_size(1.0, 1.0, 2 * hidden * state, 2 * hidden) == one + 2 * hidden * 3 * 2


@given(inner=width, state=st.integers(8, 256).map(float), tokens=st.floats(1, 1e6))
def test_work_is_linear_in_tokens(inner, state, tokens):
    for work in (selective_scan_flops, ssd_recurrent_flops):
        assert work(inner, state, tokens) == pytest.approx(tokens * work(inner, state, 1.0))
    chunked = ssd_chunked_flops(inner, state, 64.0, tokens)
    assert chunked == pytest.approx(tokens * ssd_chunked_flops(inner, state, 64.0, 1.0))


@given(inner=width, state=st.integers(8, 256).map(float))
def test_scalar_decay_makes_a_mamba2_step_cheaper_per_state(inner, state):
    assert ssd_recurrent_flops(inner, state, 1.0) < selective_scan_flops(inner, state, 1.0)


def selective_scan_by_hand(inner, state):
    """Operations of one token, counted while they are done."""
    count = 0
    rng = np.random.default_rng(0)
    a, b, c, h = rng.random((inner, state)), rng.random(state), rng.random(state), rng.random((inner, state))
    step, x, skip = rng.random(inner), rng.random(inner), rng.random(inner)
    for e in range(inner):
        scaled = step[e] * x[e]
        y = skip[e] * x[e]
        count += 2
        total = 0.0
        for n in range(state):
            decay = np.exp(step[e] * a[e, n])
            h[e, n] = decay * h[e, n] + b[n] * scaled
            total += c[n] * h[e, n]
            count += 2 + 3 + 2
        y += total
        count += 1
    return count


def test_selective_scan_does_as_many_operations_as_its_loop():
    assert selective_scan_flops(6.0, 4.0, 1.0) == selective_scan_by_hand(6, 4)


@given(chunk=st.integers(4, 8).map(lambda n: 2.0**n))
def test_chunk_of_equal_sizes_costs_what_dao_2024_section_6_says(chunk):
    """With chunk, state and head width all N, every term is of order T N^2 for one head: 4 products and a carry."""
    assert ssd_chunked_flops(chunk, chunk, chunk, 1.0) == pytest.approx(2 * (4 * chunk**2 + chunk))


def test_mamba2_recurrence_is_gated_linear_attention():
    """Heads of 64 with keys of 128: five operations a state value, besides three a channel."""
    inner, state = 5120.0, 128.0
    values = linear_attention_state(inner / 64, state, 64.0)
    assert values == inner * state
    assert ssd_recurrent_flops(inner, state, 1.0) - 3 * inner == linear_attention_flops(values, 1.0, 1.0)


def test_gated_delta_rule_takes_seven_operations_a_state_value():
    """S k, a decay and an outer product added, S q: 2 + 1 + 2 + 2."""
    assert linear_attention_flops(1.0, 1.0, 1.0, 1.0) == 7


@given(chunk=st.floats(1, 1024), key=width, value=width)
def test_longer_chunks_cost_more_work_than_the_recurrence_needs(chunk, key, value):
    work = gated_delta_chunked_flops(1.0, key, value, chunk, 1.0)
    assert work >= 2 * 3 * key * value
    assert gated_delta_chunked_flops(1.0, key, value, chunk + 1, 1.0) > work


def test_gated_delta_layer_is_the_sum_of_the_tensors_of_its_layout():
    """Qwen3-Next: 12 288 rows for q, k, v, z and 64 for two gates, 8192 x 4 convolution, 4096 x 2048 output."""
    tensors = [2048 * (2048 + 2048 + 4096 + 4096), 2048 * 64, 8192 * 4, 32, 32, 128, 4096 * 2048]
    assert gated_delta_parameters(2048.0, 16.0, 32.0, 128.0, 128.0) == sum(tensors)


def test_short_convolution_is_small():
    convolution = short_convolution_flops(5120.0, 4.0, 1.0)
    assert convolution < 0.01 * 2 * mamba_parameters(2560.0, 5120.0, 16.0, 160.0)
