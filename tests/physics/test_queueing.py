"""Queues against printed values, exact sums, and the laws that hold for every queue."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim.physics import queueing as q

LOADS = st.floats(0.01, 0.97)
SERVERS = st.integers(1, 60)


def erlang_c_by_recurrence(load, servers):
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def test_mm3_matches_bronson_1982_problem_24_6():
    # Bronson, Operations Research, 1982, 24.6: s = 3, 300 arrivals a year, 2 days each: Lq = 0.352, Wq = 0.43 d,
    # W = 2.429 d, L = 1.996 (listed by M. Casquilho, web.ist.utl.pt/mcasquilho/compute/or/Fx-queuevars.php)
    rate, service = 300 / 365, 2.0
    wait = q.mean_wait(rate, service, 3.0)
    assert wait == pytest.approx(0.43, abs=0.005)
    assert q.number_in_system(rate, wait) == pytest.approx(0.352, abs=0.001)
    assert wait + service == pytest.approx(2.429, abs=0.001)
    assert q.number_in_system(rate, wait + service) == pytest.approx(1.996, abs=0.001)


def test_mm1_matches_bronson_1982_problem_23_16():
    # 1 arrival a minute, 45 s each: Wq = 2.25 min, W = 3 min, Lq = 2.25 (same list)
    wait = q.mean_wait(1.0, 0.75, 1.0)
    assert wait == pytest.approx(2.25)
    assert q.number_in_system(1.0, wait) == pytest.approx(2.25)


def test_two_hospital_doctors_match_hillier_and_lieberman():
    # Hillier and Lieberman, Introduction to Operations Research, M/M/s chapter, County Hospital: 2 an hour, 3 an hour
    # served by each doctor. P(Wq > 0), P(Wq > 1/2 h), P(Wq > 1 h): 0.667, 0.404, 0.245 for one; 0.167, 0.022, 0.003 for two
    for servers, expected in ((1.0, (0.667, 0.404, 0.245)), (2.0, (0.167, 0.022, 0.003))):
        for time, probability in zip((0.0, 0.5, 1.0), expected, strict=True):
            assert q.wait_tail(time, 2.0, 1 / 3, servers) == pytest.approx(probability, abs=0.0006)


@given(LOADS, SERVERS)
@settings(max_examples=100, deadline=None)
def test_erlang_c_is_that_of_the_recurrence(share, servers):
    assert q.wait_probability(share * servers, float(servers)) == pytest.approx(
        erlang_c_by_recurrence(share * servers, servers), rel=1e-10
    )


@pytest.mark.parametrize("servers", [10_000, 1_000_000])
def test_erlang_c_is_stable_for_very_many_servers(servers):
    load = servers - 2 * math.sqrt(servers)
    assert q.wait_probability(load, float(servers)) == pytest.approx(erlang_c_by_recurrence(load, servers), rel=1e-9)


def test_halfin_and_whitt_limit():
    # Halfin and Whitt, Oper. Res. 29 (1981) 567-588: with c = a + beta sqrt(a), C -> 1 / (1 + beta Phi(beta) / phi(beta))
    beta = 1.0
    density, below = math.exp(-0.5) / math.sqrt(2 * math.pi), 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    load = 1e6 - beta * 1e3
    assert q.wait_probability(load, 1e6) == pytest.approx(1 / (1 + beta * below / density), rel=0.003)


def test_erlang_b_where_more_is_offered_than_there_are_servers():
    direct = 1.0
    for k in range(1, 21):
        direct = 500 * direct / (k + 500 * direct)
    assert q.blocking_probability(500.0, 20.0) == pytest.approx(direct, rel=1e-12)
    assert q.wait_probability(500.0, 20.0) == 1.0


@given(LOADS, st.floats(0, 4))
@settings(max_examples=60, deadline=None)
def test_one_server_is_pollaczek_and_khinchine_and_below_kingman(rho, cv):
    exact = rho * (1 + cv**2) / (2 * (1 - rho))
    assert q.allen_cunneen_wait(q.mean_wait(rho, 1.0, 1.0), cv) == pytest.approx(exact, rel=1e-9)
    assert q.kingman_bound(rho, 1.0, cv) >= exact * (1 - 1e-12)


@given(LOADS, SERVERS, st.floats(0, 3))
@settings(max_examples=40, deadline=None)
def test_the_tail_integrates_to_the_mean_of_littles_law(share, servers, cv):
    # E[T] is the integral of P(T > t): the distribution and the mean, hence L = lambda W, agree
    rate, far = share * servers, q.sojourn_quantile(1 - 1e-9, share * servers, 1.0, float(servers), cv)
    times = np.linspace(0, far, 200_001)
    integral = np.trapezoid(q.sojourn_tail(times, rate, 1.0, float(servers), cv), times)
    assert integral == pytest.approx(1 + q.allen_cunneen_wait(q.mean_wait(rate, 1.0, float(servers)), cv), rel=1e-3)


@given(LOADS, SERVERS, st.floats(0, 3), st.floats(0.01, 0.9999))
@settings(max_examples=60, deadline=None)
def test_quantiles_invert_tails(share, servers, cv, probability):
    arguments = (share * servers, 0.01, float(servers), cv)
    at = q.sojourn_quantile(probability, *arguments)
    assert q.sojourn_tail(at * (1 - 1e-6), *arguments) >= 1 - probability - 1e-9
    assert q.sojourn_tail(at * (1 + 1e-6), *arguments) <= 1 - probability + 1e-9
    waiting = q.wait_quantile(probability, *arguments)
    if waiting > 0:
        assert q.wait_tail(waiting, *arguments) == pytest.approx(1 - probability)


def test_simulated_mmc_agrees():
    rng = np.random.default_rng(1)
    servers, n = 3, 100_000
    arrivals = np.cumsum(rng.exponential(1 / 2.4, n))
    services = rng.exponential(1.0, n)
    free, sojourn = np.zeros(servers), np.empty(n)
    for i in range(n):
        k = free.argmin()
        free[k] = max(free[k], arrivals[i]) + services[i]
        sojourn[i] = free[k] - arrivals[i]
    for p in (0.5, 0.9, 0.99):
        assert np.quantile(sojourn[5000:], p) == pytest.approx(q.sojourn_quantile(p, 2.4, 1.0, 3.0), rel=0.05)


def test_a_constant_service_time_is_a_floor():
    assert q.sojourn_quantile(0.99, 1e-6, 1.0, 4.0, 0.0) == pytest.approx(1.0, rel=1e-4)
    assert q.sojourn_tail(0.999, 1e-6, 1.0, 4.0, 0.0) == 1.0
