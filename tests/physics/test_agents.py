"""Sums over trajectories, votes, vector stores, streamed layers and inverse rooflines."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim.physics import agents, roofline, streaming, synthesis

COUNT = st.integers(1, 5000)


@given(COUNT, st.integers(0, 5000), st.integers(1, 50))
def test_a_trajectory_is_the_sum_of_its_prompts(prompt, appended, turns):
    prompts = [prompt + i * appended for i in range(turns)]
    assert agents.trajectory_tokens(prompt, appended, turns) == sum(prompts)
    assert agents.fresh_tokens(prompt, appended, turns) == prompts[-1]


@given(st.floats(0.01, 0.99), st.integers(1, 61))
def test_the_jury_theorem(success, jurors):
    vote = agents.success_of_majority(success, float(jurors))
    exact = sum(
        math.comb(jurors, k) * success**k * (1 - success) ** (jurors - k) * (1 if 2 * k > jurors else 0.5)
        for k in range(math.ceil(jurors / 2), jurors + 1)
        if 2 * k >= jurors
    )
    assert vote == pytest.approx(exact, rel=1e-9)
    assert (vote - success) * (success - 0.5) >= -1e-12  # voting amplifies whichever side is likelier
    assert agents.success_of_any(success, jurors) >= vote - 1e-12


def test_votes_of_arrays_are_those_of_their_elements():
    samples = np.array([1.0, 2.0, 3.0, 16.0])
    together = agents.success_of_majority(0.6, samples)
    assert together == pytest.approx([agents.success_of_majority(0.6, n) for n in samples])


def test_index_sizes_match_johnson_2017_and_the_hnsw_paper():
    assert agents.vector_store_size(1e9, 128.0, 1.0) == 128e9  # SIFT1B, one byte a component
    assert agents.product_code_size(1e9, 16.0, identifier=0.0) == 16e9
    # Malkov and Yashunin, section 4.2.3: 60 to 450 bytes a vector for M from 6 to 48
    assert 48 <= agents.graph_links_size(1.0, 6.0) <= 60
    assert 350 <= agents.graph_links_size(1.0, 48.0) <= 450


@given(st.floats(1e9, 1e13), st.floats(1e9, 1e15), st.floats(1e-4, 10), st.floats(0.05, 1))
@settings(max_examples=40)
def test_the_inverse_roofline_is_inverse(traffic, work, time, efficiency):
    bandwidth = synthesis.bandwidth_for_time(traffic, time)
    peak = synthesis.peak_for_time(work, time, efficiency)
    assert roofline.memory_time(traffic, bandwidth) == pytest.approx(time)
    assert roofline.compute_time(work, peak, efficiency) == pytest.approx(time)


@given(st.floats(1e-6, 1), st.floats(1e9, 1e15), st.floats(0.05, 1), st.floats(1e6, 1e12))
def test_at_the_balance_a_streamed_layer_computes_as_long_as_it_streams(injection, peak, efficiency, work):
    batch = streaming.streaming_balance(injection, 0.0, peak, efficiency, work)
    assert roofline.compute_time(batch * work, peak, efficiency) == pytest.approx(injection)
    assert streaming.streamed_layer_time(injection, injection) == injection
