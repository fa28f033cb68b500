"""Pages, shared prefixes, static batches and drafts against printed values and their limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim.physics import batching as b
from mlsysim.physics.transformer import speculative_tokens


@pytest.mark.parametrize(
    ("acceptance", "drafted", "cost", "speedup"),
    [(0.8, 5, 0.02, 3.35), (0.75, 7, 0.02, 3.16), (0.8, 7, 0.04, 3.25)],
)
def test_speculative_speedup_is_theorem_3_8_of_leviathan_2023(acceptance, drafted, cost, speedup):
    # (1 - a^(g+1)) / ((1 - a)(g c + 1)), the improvement of theorem 3.8, worked by hand for three settings
    expected = (1 - acceptance ** (drafted + 1)) / ((1 - acceptance) * (drafted * cost + 1))
    found = b.speculative_speedup(speculative_tokens(acceptance, float(drafted)), 1.0, 1.0, drafted * cost)
    assert found == pytest.approx(expected)
    assert found == pytest.approx(speedup, abs=0.01)


def test_attention_designs_match_deepseek_v2_table_1():
    # MHA 2 n_h d_h l, GQA 2 n_g d_h l, MQA 2 d_h l, MLA (d_c + d_h^R) l = 9/2 d_h l values a token; V2: n_h = d_h = 128
    layers, width = 60.0, 128.0
    assert b.attention_design_size(layers, 128.0, width, 1.0, 1.0) == 2 * 128 * 128 * 60
    assert b.attention_design_size(layers, 2.25, width, 1.0, 1.0) == (512 + 64) * 60


def test_shared_prefix_keeps_one_copy():
    assert b.shared_cache_size(10.0, 4.0, 1.0) == 10.0
    assert b.shared_cache_size(10.0, 4.0, 5.0) == 4 + 5 * 6


@given(st.integers(1, 100_000), st.integers(1, 512))
@settings(max_examples=60, deadline=None)
def test_pages_waste_less_than_one_page(tokens, page):
    padded = b.paged_tokens(float(tokens), float(page))
    assert tokens <= padded < tokens + page
    assert 0 <= b.wasted_share(tokens, padded) < page / (tokens + page - 1) + 1e-12


@given(st.floats(1, 1e12), st.floats(1, 1e9), st.floats(0, 0.99))
@settings(max_examples=60, deadline=None)
def test_resident_requests_fill_the_room_and_no_more(room, request, share):
    prefix = request * share
    count = float(b.resident_requests(room, request, prefix))
    if count > 0:
        assert b.shared_cache_size(request, prefix, count) <= room * (1 + 1e-9)
    assert b.shared_cache_size(request, prefix, count + 1) >= room * (1 - 1e-9)


def test_static_batch_share_is_that_of_sampled_lengths():
    lengths = np.random.default_rng(0).uniform(0, 2, (100_000, 16))
    sampled = lengths.mean() / lengths.max(axis=1).mean()
    assert b.static_batch_share(16.0) == pytest.approx(sampled, rel=0.005)
    assert b.static_batch_share(16.0, 0.0) == 1.0


@given(st.floats(1e-4, 1), st.floats(1e-4, 1), st.integers(1, 512), st.integers(1, 4096))
@settings(max_examples=60, deadline=None)
def test_a_full_server_spends_all_its_time_on_prefills_and_steps(step, prefill, active, output):
    stay = b.residence_time(step, prefill, float(active), float(output))
    rate = b.slot_capacity(stay, float(active))
    # each request takes one prefill and its part of the steps of the whole batch
    assert rate * (prefill + output * step / active) == pytest.approx(1)
