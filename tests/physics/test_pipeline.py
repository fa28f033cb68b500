"""Pipelines: published bubbles, limits, and the activations of the schedules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.physics import moe, pipeline

stages, microbatches = st.integers(1, 64).map(float), st.integers(1, 1024).map(float)
chunks = st.integers(1, 8).map(float)


@given(stages, microbatches, chunks)
def test_bubble_share_and_overhead_say_the_same(p, m, v):
    share, overhead = pipeline.bubble_fraction(p, m, v), pipeline.bubble_overhead(p, m, v)
    assert share == pytest.approx(overhead / (1 + overhead))
    assert 0 <= share < 1
    assert pipeline.bubble_time(1.0, p, v) == pytest.approx(overhead * m)


@given(stages, microbatches, chunks)
def test_more_microbatches_and_chunks_shrink_the_bubble(p, m, v):
    assert pipeline.bubble_fraction(p, m + 1, v) <= pipeline.bubble_fraction(p, m, v)
    assert pipeline.bubble_fraction(p, m, v + 1) <= pipeline.bubble_fraction(p, m, v)


def test_bubble_is_negligible_at_four_microbatches_a_stage_as_gpipe_says():
    """Huang et al. 2019, section 2.3: the bubble overhead is (K - 1) / (M + K - 1), negligible when M >= 4 K."""
    assert pipeline.bubble_fraction(8.0, 32.0) == pytest.approx(7 / 39)
    assert pipeline.bubble_fraction(8.0, 32.0) < 0.2


def test_zero_bubble_h1_is_a_third_of_1f1b_when_the_passes_take_equally_long():
    """Qi et al. 2024, section 2.2: ZB-H1 reduces the bubble to a third of that of 1F1B."""
    assert pipeline.zero_bubble_time(1.0, 1.0, 1.0, 8.0) == pytest.approx(pipeline.bubble_time(3.0, 8.0) / 3)


@given(stages, microbatches, chunks)
def test_the_first_stage_holds_the_most(p, m, v):
    first, last = pipeline.interleaved_first_in_flight(p, m, v), pipeline.interleaved_last_in_flight(p, m, v)
    assert last <= first <= m
    assert pipeline.interleaved_first_in_flight(p, m, 1.0) == min(p, m)


@given(st.integers(1, 200).map(float), stages, chunks)
def test_the_fullest_stage_has_at_least_the_mean(layers, p, v):
    worst = pipeline.stage_imbalance(layers, p, v)
    assert worst >= 1 - 1e-12
    if layers % (p * v) == 0:
        assert worst == pytest.approx(1)


@given(st.floats(10, 1e9), st.integers(1, 512).map(float))
def test_imbalance_of_random_routing_lies_between_even_and_one_bin(assignments, bins):
    assert 1 <= moe.routing_imbalance(assignments, bins) <= bins
    assert moe.routing_imbalance(2 * assignments, bins) <= moe.routing_imbalance(assignments, bins)


def test_imbalance_bounds_the_mean_of_simulated_multinomial_maxima():
    """The theorem's leading term, from above and within 12 % for loads that are well filled."""
    import numpy as np

    draw = np.random.default_rng(7)
    for m, n in ((6_400, 64), (100_000, 64), (50_000, 256), (20_000, 8)):
        seen = draw.multinomial(m, np.full(n, 1 / n), size=400).max(axis=1).mean() / (m / n)
        said = float(moe.routing_imbalance(float(m), float(n)))
        assert seen <= said <= seen * 1.12


def test_dropped_share_matches_simulated_multinomial_overflow():
    import numpy as np

    draw = np.random.default_rng(3)
    for m, n, c in ((6_400, 64, 1.0), (6_400, 64, 1.1), (12_800, 128, 1.25)):
        loads = draw.multinomial(m, np.full(n, 1 / n), size=2000)
        seen = np.maximum(loads - c * m / n, 0).sum(axis=1).mean() / m
        assert float(moe.dropped_share(float(m), float(n), c)) == pytest.approx(seen, rel=0.2, abs=2e-4)


@given(st.integers(1, 64).map(float), st.integers(1, 16).map(float))
def test_a_token_visits_between_one_and_all_places(places, active):
    seen = moe.distinct_destinations(places, active)
    assert 1 - 1e-9 <= seen <= min(places, active) + 1e-9
