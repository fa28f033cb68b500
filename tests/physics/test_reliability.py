"""Checkpoint intervals and goodput against Daly's paper, renewal theory and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim.physics import queueing
from mlsysim.physics import reliability as r
from mlsysim.solvers.reliability import simulate

DUMPS, MTBFS, RECOVERIES = st.floats(1, 600), st.floats(1200, 1e7), st.floats(0, 900)


@pytest.mark.parametrize(
    ("mtbf_minutes", "best_minutes", "rounding"), [(1440, 117, 0.5), (360, 57, 0.5), (15, 9.1, 0.05)]
)
def test_intervals_match_daly_2006_figures_3_to_5(mtbf_minutes, best_minutes, rounding):
    # M = 24 h, 6 h, 15 min, delta = 5 min: tau_opt = 117, 57, 9.1 min (captions of figures 3, 4 and 5)
    assert r.daly_interval(300.0, mtbf_minutes * 60.0) / 60 == pytest.approx(best_minutes, abs=rounding)
    assert r.optimal_interval(300.0, mtbf_minutes * 60.0) / 60 == pytest.approx(best_minutes, abs=rounding, rel=0.01)


@given(DUMPS, MTBFS, RECOVERIES)
@settings(max_examples=80, deadline=None)
def test_the_optimum_is_one(dump, mtbf, recovery):
    best = r.optimal_interval(dump, mtbf)
    top = r.goodput(best, dump, mtbf, recovery)
    for factor in (0.9, 1.1):
        assert r.goodput(best * factor, dump, mtbf, recovery) <= top
    assert r.goodput(r.daly_interval(dump, mtbf), dump, mtbf, recovery) <= top * (1 + 1e-9)
    assert r.goodput(r.daly_interval(dump, mtbf), dump, mtbf, recovery) >= top * 0.998


@given(st.floats(1e-7, 1e-3))
@settings(max_examples=40, deadline=None)
def test_young_is_the_limit_of_rare_failures(ratio):
    assert r.optimal_interval(ratio, 1.0) == pytest.approx(r.young_interval(ratio, 1.0), rel=1.5 * math.sqrt(ratio))


@given(DUMPS, MTBFS, RECOVERIES, st.floats(0.2, 5))
@settings(max_examples=60, deadline=None)
def test_shares_of_the_time_add_up_to_one(dump, mtbf, recovery, factor):
    work = r.optimal_interval(dump, mtbf) * factor
    good = r.goodput(work, dump, mtbf, recovery)
    saving, lost = r.checkpoint_loss(good, work, dump), r.recovery_loss(recovery, mtbf)
    assert good + saving + lost + r.rework_loss(good, saving, lost) == pytest.approx(1)
    assert good + saving + lost <= 1 + 1e-12


@given(st.floats(10, 120), st.floats(3000, 60_000), st.floats(0, 600), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_simulation_agrees_with_renewal_theory(dump, mtbf, recovery, seed):
    work = r.optimal_interval(dump, mtbf)
    found, error = simulate(work, dump, mtbf, recovery, 40_000, 1.0, seed)
    assert abs(found - r.goodput(work, dump, mtbf, recovery)) < 6 * error


def test_redundancy_takes_two_failures_in_one_repair():
    # two units of which one is needed: rate 2 lambda, times the chance that the other is in repair
    mtbf, repair = 1000.0, 10.0
    assert r.redundant_failure_rate(mtbf, 2.0, 1.0, repair) == pytest.approx(2 / mtbf * repair / mtbf, rel=0.03)
    # none to spare is a series system, less the time it is down
    assert r.redundant_failure_rate(mtbf, 4.0, 4.0, 1e-9) == pytest.approx(r.failure_rate(mtbf, 4.0))


def test_rates_add_and_correlation_stretches():
    rate = r.failure_rate(100.0, 3.0) + r.failure_rate(50.0, 1.0)
    assert r.mean_time_between(rate) == pytest.approx(20.0)
    assert r.mean_time_between(rate, 2.0) == pytest.approx(40.0)


def test_llama_3_interruptions_match_table_5():
    # Llama 3 report, arXiv:2407.21783, section 3.3.4: 419 unexpected interruptions in 54 days, about one in 3 hours
    mtbf = 50_677 * 3600.0 / 16_384
    assert r.expected_failures(54 * 86_400.0, mtbf) == pytest.approx(419, rel=0.001)


def test_spares_that_never_run_out_cost_no_wait():
    waits = [float(r.spare_wait(queueing.blocking_probability(2.0, s), s, 86_400.0)) for s in (1.0, 4.0, 20.0)]
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] < 1.0


def test_hopeless_machines_have_no_goodput_and_no_overflow():
    assert r.goodput(1e6, 60.0, 10.0, 300.0) < 1e-10
    assert np.isfinite(r.optimal_interval(1e5, 10.0))
