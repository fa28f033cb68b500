import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.physics.cost import (
    YEAR,
    annuity_capital,
    blended_token_price,
    break_even_volume,
    capital_recovery_factor,
    cloud_cost,
    cost_per_token,
    cost_rate,
    egress_cost,
    electricity_cost,
    fleet_tco,
    maintenance_cost,
    ownership_break_even,
    straight_line_capital,
    total_cost,
)

DAY = 86400.0
KWH = 3.6e6
positive = st.floats(1e-3, 1e3)
share = st.floats(0, 1)


def test_month_of_256_chips():
    """30 000 USD each over 3 years of 365 days, 12 cents a kWh, 5 % upkeep a year: 259 313.43 USD."""
    price = 256 * 30000.0
    capital = straight_line_capital(price, 30 * DAY, 3 * 365 * DAY)
    energy = electricity_cost(144506.88 * KWH, 0.12 / KWH)
    maintenance = maintenance_cost(price, 30 * DAY, 0.05, 365 * DAY)
    assert capital == pytest.approx(210410.959, abs=1e-3)
    assert energy == pytest.approx(17340.826, abs=1e-3)
    assert maintenance == pytest.approx(31561.644, abs=1e-3)
    assert total_cost(capital, energy, maintenance) == pytest.approx(259313.428, abs=2e-3)


def test_fleet_of_a_thousand_for_three_years():
    assert fleet_tco(30000.0, 700.0, 1000.0, 3 * YEAR, 0.12 / KWH) == pytest.approx(32_209_032, abs=0.5)


@given(price=positive, power=positive, chips=st.floats(1, 1e5), time=positive, pue=st.floats(1, 3))
def test_overhead_of_the_facility_only_adds_electricity(price, power, chips, time, pue):
    plain = fleet_tco(price, power, chips, time, 0.1)
    extra = electricity_cost((pue - 1) * chips * power * time, 0.1)
    assert fleet_tco(price, power, chips, time, 0.1, pue) == pytest.approx(plain + extra)


@pytest.mark.parametrize(
    ("rate", "periods", "factor"),
    [(0.08, 10, 0.14903), (0.05, 20, 0.08024), (0.10, 5, 0.26380), (0.06, 30, 0.07265)],
)
def test_capital_recovery_factor_matches_interest_tables(rate, periods, factor):
    """The A/P column of compound interest tables in engineering economics."""
    assert capital_recovery_factor(rate, float(periods)) == pytest.approx(factor, abs=1e-5)


@given(rate=st.floats(0, 0.5), periods=st.floats(1, 100))
def test_payments_repay_the_loan_and_exceed_the_straight_line(rate, periods):
    factor = capital_recovery_factor(rate, periods)
    assert factor >= 1 / periods * (1 - 1e-9)
    if rate > 1e-6:
        assert factor * (1 - (1 + rate) ** -periods) / rate == pytest.approx(1.0)


@given(price=positive, life=st.floats(1, 20))
def test_annuity_without_interest_is_the_straight_line(price, life):
    annuity = annuity_capital(price, YEAR, life * YEAR, 0.0)
    assert annuity == pytest.approx(straight_line_capital(price, YEAR, life * YEAR), rel=1e-9)


@given(price=positive, rate=st.floats(0, 0.3))
def test_annuity_grows_with_interest(price, rate):
    assert annuity_capital(price, YEAR, 4 * YEAR, rate + 0.01) > annuity_capital(price, YEAR, 4 * YEAR, rate)


@given(rate=positive, throughput=positive, busy=st.floats(0.01, 1))
def test_tokens_pay_for_the_hardware(rate, throughput, busy):
    assert cost_per_token(rate, throughput, busy) * throughput * busy == pytest.approx(rate)
    assert cost_per_token(rate, throughput, busy) >= cost_per_token(rate, throughput)


@given(low=positive, extra=positive, mix=share, hits=share)
def test_blended_price_lies_between_its_parts(low, extra, mix, hits):
    price = blended_token_price(low + extra, low + 2 * extra, mix, low, hits)
    assert low * (1 - 1e-9) <= price <= (low + 2 * extra) * (1 + 1e-9)


@given(fixed=positive, variable=positive, margin=positive)
def test_at_the_break_even_volume_both_ways_cost_the_same(fixed, variable, margin):
    volume = break_even_volume(fixed, variable + margin, variable)
    assert volume * (variable + margin) == pytest.approx(fixed + volume * variable, rel=1e-6)


def test_dedicated_hardware_never_pays_where_the_api_is_cheaper():
    assert np.array_equal(break_even_volume(1.0, np.array([1.0, 2.0, 3.0]), 2.0), [np.inf, np.inf, 1.0])
    assert ownership_break_even(1.0, 1.0, 1.0) == np.inf


@given(price=positive, running=positive, saving=positive)
def test_at_the_break_even_time_owning_costs_what_renting_does(price, running, saving):
    time = ownership_break_even(price, running + saving, running)
    assert cloud_cost(1.0, running + saving, time) == pytest.approx(price + running * time, rel=1e-6)


def test_egress_for_30_days():
    assert egress_cost(1e9, 30 * DAY, 0.09 / 1e9) == pytest.approx(233_280)


@given(chips=positive, rate=positive, time=positive, discount=share)
def test_cloud_rate_and_cost_agree(chips, rate, time, discount):
    cost = cloud_cost(chips, rate, time, discount)
    assert cost_rate(cost, time) == pytest.approx(chips * rate * (1 - discount))
    assert cost <= cloud_cost(chips, rate, time)
