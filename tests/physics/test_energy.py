import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.physics.energy import (
    average_power,
    battery_life,
    chip_energy,
    energy_at_power,
    energy_balance,
    energy_per_flop_at_tdp,
    energy_per_token,
    facility_energy,
    facility_power,
    it_power,
    power_at_utilisation,
    power_capped_frequency,
    power_capped_time,
    transmission_energy,
)

KWH = 3.6e6
positive = st.floats(1e-3, 1e3)
share = st.floats(0, 1)


@given(time=positive, idle=positive, flops=positive, traffic=positive, tdp_over_idle=st.floats(1, 100))
def test_power_stays_between_idle_and_tdp(time, idle, flops, traffic, tdp_over_idle):
    tdp = idle * tdp_over_idle
    power = average_power(chip_energy(time, idle, flops, 0.5, traffic, 2.0, tdp), time)
    assert idle * (1 - 1e-12) <= power <= tdp * (1 + 1e-12)


@given(time=positive, traffic=positive)
def test_memory_bound_work_is_not_free(time, traffic):
    without = chip_energy(time, 100.0, 0.0, 1e-12, 0.0, 1.0, 1e9)
    assert chip_energy(time, 100.0, 0.0, 1e-12, traffic, 1.0, 1e9) == pytest.approx(without + traffic)


@given(idle=st.floats(1, 500), bandwidth=st.floats(1e9, 1e13), per_byte=st.floats(1e-12, 1e-9))
def test_energy_per_flop_fills_the_design_power_and_is_never_negative(idle, bandwidth, per_byte):
    tdp, peak = 700.0, 1e15
    per_flop = energy_per_flop_at_tdp(tdp, idle, peak, bandwidth, per_byte)
    assert per_flop >= 0
    at_ridge = idle + peak * per_flop + bandwidth * per_byte
    assert at_ridge == pytest.approx(max(tdp, idle + bandwidth * per_byte))
    assert chip_energy(1.0, idle, peak, per_flop, bandwidth, per_byte, tdp) == pytest.approx(tdp)


def test_h100_decode_draws_less_than_the_design_power_but_far_more_than_idle():
    """700 W, 989.5 TFLOP/s and 3.35 TB/s are datasheet values; 5 pJ a bit is typical of HBM."""
    per_flop = energy_per_flop_at_tdp(700.0, 70.0, 989.5e12, 3.35e12, 40e-12)
    assert 0.2e-12 < per_flop < 1e-12
    time = 16.06e9 / 3.35e12
    power = average_power(chip_energy(time, 70.0, 16.06e9, per_flop, 16.06e9, 40e-12, 700.0), time)
    assert 70 + 3.35e12 * 40e-12 < power < 350


@given(time=positive, energy=positive, idle=share)
def test_power_cap_stretches_the_time_until_the_energy_fits(time, energy, idle):
    tdp = 1.0 + idle
    capped = power_capped_time(time, energy, idle, tdp)
    assert capped >= time
    assert idle * capped + energy <= tdp * capped * (1 + 1e-9)


@given(cap=st.floats(0, 1000), exponent=st.floats(1, 3))
def test_capped_clock_draws_no_more_than_the_cap(cap, exponent):
    clock = power_capped_frequency(cap, 100.0, 600.0, exponent)
    assert 0 <= clock <= 1
    assert 600 * clock**exponent <= max(cap - 100, 0) * (1 + 1e-9) + 1e-9
    assert power_capped_frequency(700.0, 100.0, 600.0, exponent) == 1


@given(idle=positive, extra=positive, busy=share)
def test_power_is_linear_in_utilisation(idle, extra, busy):
    power = power_at_utilisation(idle, idle + extra, busy)
    assert idle <= power <= (idle + extra) * (1 + 1e-12)


@pytest.mark.parametrize(
    ("busy", "pue", "it", "facility"), [(1.0, 1.12, 129024.0, 144506.88), (0.5, 1.06, 83865.6, 88897.536)]
)
def test_fleet_of_256_chips_for_30_days(busy, pue, it, facility):
    """The linear 30 % to 100 % power law of the teaching model, in kWh."""
    energy = energy_at_power(256 * power_at_utilisation(210.0, 700.0, busy), 30 * 86400.0)
    assert energy / KWH == pytest.approx(it)
    assert facility_energy(energy, pue) / KWH == pytest.approx(facility)


@given(power=positive, pue=st.floats(1, 3), time=positive)
def test_facility_energy_and_power_agree(power, pue, time):
    assert energy_at_power(facility_power(power, pue), time) == pytest.approx(facility_energy(power * time, pue))


@given(chips=st.floats(1, 1e5), power=positive, host=share)
def test_hosts_add_to_the_power_of_the_chips(chips, power, host):
    assert it_power(chips, power, host) >= it_power(chips, power) == chips * power


@given(per_byte=positive, per_flop=positive)
def test_at_the_energy_balance_both_take_the_same(per_byte, per_flop):
    balance = energy_balance(per_byte, per_flop)
    assert balance * per_flop == pytest.approx(per_byte)


def test_dram_costs_two_orders_of_magnitude_more_than_arithmetic_horowitz_2014():
    """M. Horowitz, ISSCC 2014, 45 nm: 640 pJ for a 32-bit DRAM access, 3.7 pJ for an FP32 multiplication."""
    assert energy_balance(640e-12 / 4, 3.7e-12) == pytest.approx(43.2, rel=0.01)


@given(capacity=positive, power=positive, usable=st.floats(0.1, 1))
def test_a_battery_gives_back_what_it_holds(capacity, power, usable):
    assert battery_life(capacity, power, usable) * power == pytest.approx(usable * capacity)


def test_energy_per_token_and_transmission_are_linear():
    tokens = np.array([1.0, 10.0])
    assert energy_per_token(5.0, tokens) == pytest.approx(5.0 / tokens)
    assert transmission_energy(2 * 3e6, 1e-7) == pytest.approx(2 * transmission_energy(3e6, 1e-7))
