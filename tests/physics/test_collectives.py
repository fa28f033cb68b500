"""Collectives: lower bounds of the theory, the published algorithms, hierarchy, and what the functional tests list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.physics import collectives as c
from mlsysim.physics import hierarchical as h

message, bandwidth = st.floats(1.0, 1e12), st.floats(1e6, 1e13)
latency = st.floats(0.0, 1.0)
ranks = st.integers(1, 4096).map(float)
REDUCERS = [
    c.ring_all_reduce_time,
    c.direct_all_reduce_time,
    c.tree_all_reduce_time,
    c.double_tree_all_reduce_time,
    c.recursive_doubling_all_reduce_time,
    c.rabenseifner_all_reduce_time,
    c.in_network_all_reduce_time,
    c.multicast_all_reduce_time,
]
HOSTS = REDUCERS[:6]
EPS = 1 + 1e-9


@given(message, ranks, bandwidth, latency)
def test_no_host_algorithm_beats_the_bandwidth_bound(m, p, b, a):
    """Chan et al. 2007, table I: an all-reduce without help from the network moves 2 (p - 1) / p of the message."""
    bound = 2 * (p - 1) / p * m / b
    for reducer in HOSTS:
        assert reducer(m, p, b, a) * EPS >= bound, reducer.__name__


@given(message, ranks, bandwidth, latency)
def test_no_host_algorithm_but_a_direct_one_beats_the_latency_bound(m, p, b, a):
    """Chan et al. 2007: ceil(log2 p) messages one after the other; only ranks that send to all at once need fewer."""
    bound = np.floor(np.log2(p)) * a
    for reducer in (c.ring_all_reduce_time, *HOSTS[2:]):
        assert reducer(m, p, b, a) * EPS >= bound, reducer.__name__


@given(message, bandwidth, latency)
def test_one_rank_has_nobody_to_talk_to(m, b, a):
    for f in (*REDUCERS, c.ring_all_gather_time, c.direct_all_gather_time, c.all_to_all_time, c.broadcast_time):
        assert f(m, 1.0, b, a) == 0.0, f.__name__
    assert h.hierarchical_all_reduce_time(m, 1.0, 1.0, b, b, a, a) == 0.0


@given(message, ranks, bandwidth, latency)
def test_a_gather_and_a_scatter_make_an_all_reduce(m, p, b, a):
    assert 2 * c.ring_all_gather_time(m, p, b, a) == pytest.approx(c.ring_all_reduce_time(m, p, b, a))
    assert 2 * c.direct_all_gather_time(m, p, b, a) == pytest.approx(c.direct_all_reduce_time(m, p, b, a))


@given(message, st.integers(1, 12).map(lambda k: 2.0**k), bandwidth, latency)
def test_halving_and_doubling_is_never_slower_than_a_ring_on_a_power_of_two(m, p, b, a):
    assert c.rabenseifner_all_reduce_time(m, p, b, a) <= c.ring_all_reduce_time(m, p, b, a) * EPS


@given(message, st.integers(2, 64).map(float), st.integers(1, 64).map(float), bandwidth, latency)
def test_hierarchy_on_equal_links_moves_the_bytes_of_one_ring_and_counts_the_inner_phase_once(m, g, n, b, a):
    flat, nested = c.ring_all_reduce_time(m, g * n, b, 0.0), h.hierarchical_all_reduce_time(m, g, n, b, b)
    assert nested == pytest.approx(flat)
    assert h.hierarchical_all_reduce_time(m, g, n, b, b, a, a) <= c.ring_all_reduce_time(m, g * n, b, a) * EPS


@given(message, st.integers(2, 64).map(float), bandwidth)
def test_switches_that_reduce_save_up_to_half_of_the_bytes(m, p, b):
    ring = c.ring_all_reduce_time(m, p, b)
    for reducer in (c.in_network_all_reduce_time, c.multicast_all_reduce_time):
        assert ring / 2 <= reducer(m, p, b) * EPS
    if p > 2:
        assert c.multicast_all_reduce_time(m, p, b) <= ring * EPS


@given(message, st.integers(2, 64).map(float), st.integers(2, 64).map(float), bandwidth, latency)
def test_hierarchical_all_to_all_sends_the_same_bytes_across_in_fewer_messages(m, g, n, b, a):
    two = h.hierarchical_all_to_all_time(m, g, n, b, b, 0.0, a)
    assert two <= c.all_to_all_time(m, g * n, b, a) + m / b


@given(message, st.floats(0, 1e3), st.floats(0, 1))
def test_overlap_hides_no_more_than_the_window_nor_than_there_is(t, window, share):
    exposed = h.exposed_time(t, window, share)
    assert max(t - window, t * (1 - share)) <= exposed * EPS + 1e-12
    assert exposed <= t


def test_ring_and_all_to_all_of_the_functional_specification():
    assert c.ring_all_reduce_time(1e9, 8, 50e9, 500e-9) == pytest.approx(0.035007, rel=1e-6)
    assert c.tree_all_reduce_time(1e9, 8, 50e9, 500e-9) == pytest.approx(0.120003, rel=1e-6)
    assert c.all_to_all_time(1e9, 8, 50e9, 500e-9) == pytest.approx(0.0175035, rel=1e-6)


def test_latency_optimal_message_counts_of_thakur_2005():
    """Section 4: recursive doubling takes lg p steps, Rabenseifner's algorithm 2 lg p, a ring 2 (p - 1)."""
    tiny = 1e-9
    assert c.recursive_doubling_all_reduce_time(tiny, 32.0, 1e9, 1.0) == pytest.approx(5)
    assert c.rabenseifner_all_reduce_time(tiny, 32.0, 1e9, 1.0) == pytest.approx(10)
    assert c.ring_all_reduce_time(tiny, 32.0, 1e9, 1.0) == pytest.approx(62)
