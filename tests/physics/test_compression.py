import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.physics.compression import (
    bitmap_sparse_size,
    break_even_rank,
    channel_pruned_parameters,
    compression_ratio,
    indexed_sparse_size,
    low_rank_parameters,
    memory_savings,
    quantised_size,
    signal_to_quantisation_noise,
    structured_sparse_size,
    structured_sparse_speedup_bound,
)

counts = st.floats(1, 1e12)
share = st.floats(0, 1)


@pytest.mark.parametrize(("bits", "ratio", "saved"), [(16, 2, 0.5), (8, 4, 0.75), (4, 8, 0.875), (2, 16, 0.9375)])
def test_fewer_bits_than_fp32(bits, ratio, saved):
    full, small = 8.03e9 * 4, quantised_size(8.03e9, float(bits))
    assert compression_ratio(full, small) == ratio
    assert memory_savings(full, small) == saved


@pytest.mark.parametrize(
    ("bits", "scale_bits", "block", "total"),
    [(4, 8, 32, 4.25), (4, 8, 16, 4.5), (8, 8, 32, 8.25), (6, 8, 32, 6.25)],
)
def test_bits_per_element_match_ocp_mx_2023_and_nvfp4(bits, scale_bits, block, total):
    """MXFP4, NVFP4, MXFP8 and MXFP6 with their shared scales."""
    assert quantised_size(1e6, float(bits), float(scale_bits), float(block)) * 8 / 1e6 == pytest.approx(total)


def test_qlora_constants_match_dettmers_2023():
    """arXiv:2305.14314: blocks of 64 cost 0.5 bit for fp32 constants, 0.127 bit after double quantisation."""
    plain = quantised_size(1.0, 4.0, 32.0, 64.0) * 8 - 4
    double = quantised_size(1.0, 4.0, 8.0 + 32.0 / 256, 64.0) * 8 - 4
    assert plain == pytest.approx(0.5)
    assert double == pytest.approx(0.127, abs=5e-4)


@given(values=counts, bits=st.floats(1, 32), scale=st.floats(0, 64), block=st.floats(1, 1024))
def test_scales_only_add(values, bits, scale, block):
    assert quantised_size(values, bits, scale, block) >= quantised_size(values, bits)


@given(original=counts, compressed=counts)
def test_savings_and_ratio_say_the_same(original, compressed):
    ratio = compression_ratio(original, compressed)
    assert memory_savings(original, compressed) == pytest.approx(1 - 1 / ratio, rel=1e-6, abs=1e-9)


@given(values=counts, sparsity=share)
def test_a_bitmap_pays_above_one_sixteenth_in_fp16(values, sparsity):
    smaller = bitmap_sparse_size(values, sparsity) < 2 * values
    if abs(sparsity - 1 / 16) > 1e-6:
        assert smaller == (sparsity > 1 / 16)


@given(sparsity=share)
def test_indices_pay_only_above_two_thirds_in_fp16(sparsity):
    """A kept value costs 2 + 4 bytes instead of 2, so at least two thirds must be zero."""
    size = indexed_sparse_size(4096.0, 4096.0, sparsity)
    if abs(sparsity - 2 / 3) > 1e-2:
        assert (size < 2 * 4096**2) == (sparsity > 2 / 3)


@pytest.mark.parametrize(("bytes_per_value", "kept"), [(2.0, 9 / 16), (1.0, 10 / 16)])
def test_two_in_four_with_two_bit_indices_matches_mishra_2021(bytes_per_value, kept):
    dense = 1e9 * bytes_per_value
    assert structured_sparse_size(1e9, bytes_per_value=bytes_per_value) == pytest.approx(kept * dense)
    assert structured_sparse_speedup_bound() == 2.0


@given(parameters=counts, inputs=share, outputs=share)
def test_removed_channels_leave_a_smaller_dense_layer(parameters, inputs, outputs):
    left = channel_pruned_parameters(parameters, inputs, outputs)
    assert 0 <= left <= parameters


@given(rows=st.floats(1, 1e5), columns=st.floats(1, 1e5))
def test_at_the_break_even_rank_factors_are_as_large_as_the_matrix(rows, columns):
    rank = break_even_rank(rows, columns)
    assert low_rank_parameters(rows, columns, rank) == pytest.approx(rows * columns)
    assert rank <= min(rows, columns)


@pytest.mark.parametrize(("bits", "decibels"), [(8, 49.92), (16, 98.09)])
def test_quantisation_noise_matches_bennett_1948(bits, decibels):
    """6.02 b + 1.76 dB."""
    assert signal_to_quantisation_noise(float(bits)) == pytest.approx(decibels, abs=0.01)
    assert signal_to_quantisation_noise(float(bits)) == pytest.approx(6.02 * bits + 1.76, abs=0.02)
