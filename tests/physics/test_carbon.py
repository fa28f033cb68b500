import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.physics.carbon import (
    amortised_embodied_carbon,
    carbon_cost,
    carbon_payback,
    carbon_per_unit,
    die_embodied_carbon,
    mean_intensity,
    operational_carbon,
    site_water,
    source_water,
    total_carbon,
    water_use,
)

KWH = 3.6e6
LITRE = 1e-3
positive = st.floats(1e-3, 1e3)


def test_operational_carbon_of_gpt3_matches_patterson_2021():
    """1287 MWh at 429 g/kWh: 552.1 t."""
    assert operational_carbon(1287e3 * KWH, 0.429 / KWH) / 1e3 == pytest.approx(552.1, abs=0.1)


def test_bloom_matches_luccioni_2022():
    """433 196 kWh at 57 g/kWh is 24.69 t; 11.2 t of manufacture bring it to 35.9 t."""
    dynamic = operational_carbon(433_196 * KWH, 0.057 / KWH)
    assert dynamic / 1e3 == pytest.approx(24.69, abs=0.01)
    assert total_carbon(dynamic, 11.2e3) / 1e3 == pytest.approx(35.9, abs=0.05)


@pytest.mark.parametrize(("kwh", "grams", "kilograms"), [(144506.88, 429, 61993.45), (88897.536, 20, 1777.951)])
def test_month_of_256_chips(kwh, grams, kilograms):
    assert operational_carbon(kwh * KWH, grams * 1e-3 / KWH) == pytest.approx(kilograms, rel=1e-6)


@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=10))
def test_mean_intensity_lies_between_the_cleanest_and_the_dirtiest_hour(hours):
    energies, intensities = np.array(hours).T
    mean = mean_intensity(energies, intensities)
    assert intensities.min() * (1 - 1e-9) <= mean <= intensities.max() * (1 + 1e-9)
    assert operational_carbon(energies.sum(), mean) == pytest.approx((energies * intensities).sum())


def test_moving_work_to_clean_hours_lowers_the_mean():
    grid = np.array([500.0, 100.0])
    plans = np.array([[1.0, 1.0], [0.5, 1.5]])
    assert mean_intensity(plans, grid) == pytest.approx([300.0, 200.0])


@given(embodied=positive, life=positive, first=st.floats(0, 1))
def test_embodied_carbon_of_all_runs_adds_up_to_the_whole(embodied, life, first):
    parts = amortised_embodied_carbon(embodied, first * life, life) + amortised_embodied_carbon(
        embodied, (1 - first) * life, life
    )
    assert parts == pytest.approx(embodied)
    assert amortised_embodied_carbon(embodied, life, life, 0.5, 0.5) == pytest.approx(embodied)


@given(energy=positive, intensity=positive, good=st.floats(0.05, 1))
def test_bad_dies_are_charged_to_the_good_ones(energy, intensity, good):
    assert die_embodied_carbon(energy, intensity, 1.0, 2.0, good) * good == pytest.approx(energy * intensity + 3.0)


@given(embodied=positive, power=positive, intensity=positive)
def test_after_the_payback_time_the_savings_equal_the_manufacture(embodied, power, intensity):
    time = carbon_payback(embodied, power, intensity)
    assert operational_carbon(power * time, intensity) == pytest.approx(embodied)


def test_water_matches_li_2023_for_gpt3_in_the_united_states():
    """1287 MWh, PUE 1.17, WUE 0.55 L/kWh, 3.142 L/kWh at the power plants: 0.708 and 4.731 million litres."""
    energy, wue, ewif = 1287e3 * KWH, 0.55 * LITRE / KWH, 3.142 * LITRE / KWH
    assert site_water(energy, wue) / LITRE == pytest.approx(0.708e6, rel=1e-3)
    assert source_water(1.17 * energy, ewif) / LITRE == pytest.approx(4.731e6, rel=1e-3)
    assert water_use(energy, wue, 1.17, ewif) / LITRE == pytest.approx(5.439e6, rel=1e-3)


@given(energy=positive, wue=positive, pue=st.floats(1, 3), ewif=positive)
def test_water_is_the_sum_of_site_and_source(energy, wue, pue, ewif):
    parts = site_water(energy, wue) + source_water(energy * pue, ewif)
    assert water_use(energy, wue, pue, ewif) == pytest.approx(parts)


@given(energy=positive, wue=positive, pue=st.floats(1, 3))
def test_site_water_does_not_depend_on_the_facility_overhead(energy, wue, pue):
    assert water_use(energy, wue, pue, 0.0) == pytest.approx(site_water(energy, wue))


def test_carbon_price_and_unit():
    assert carbon_cost(2.735309e3, 100 / 1e3) == pytest.approx(273.5309)
    assert carbon_per_unit(100.0, 50.0) == 2.0
