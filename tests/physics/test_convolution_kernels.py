"""Kernels of vision networks and the power of busy units: bounds, limits, and what a guide prints."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.physics.convolution_kernels import (
    exposed_dispatch_time,
    implicit_product_time,
    padded_share,
    trailing_time,
)
from mlsysim.physics.power import power_of_busy_units, throttled_time

positive = st.floats(1e-3, 1e6)
share = st.floats(0.01, 1.0)


@given(st.integers(1, 10_000), st.sampled_from([1.0, 4.0, 8.0, 16.0]))
def test_padding_never_makes_work_and_is_free_on_multiples(size, grain):
    assert 1 / grain <= padded_share(float(size), grain) <= 1
    assert padded_share(size * grain, grain) == 1


def test_tiles_waste_what_nvidia_s_guide_on_tile_quantisation_says():
    # "a matrix of 257 columns in 128-wide tiles needs three of them, and runs 1.5x the work of 256 columns"
    assert padded_share(256.0, 128.0) / (256 / 257) / padded_share(257.0, 128.0) == pytest.approx(1.5)


@given(positive, share, st.integers(1, 200), st.integers(1, 100_000), st.floats(0, 2))
def test_rounds_that_are_not_full_cost_less_with_more_tiles(work, efficiency, cores, tiles, partial):
    few = implicit_product_time(work, 1e3, efficiency, cores, tiles, partial)
    many = implicit_product_time(work, 1e3, efficiency, cores, 10.0 * tiles, partial)
    assert work / 1e3 / efficiency * (1 - 1e-12) <= many <= few
    assert implicit_product_time(work, 1e3, efficiency, cores, 1e18, partial) == pytest.approx(work / 1e3 / efficiency)


@given(st.floats(0, 1e4), st.floats(0, 1e-3), st.floats(0, 1))
def test_a_host_is_hidden_or_adds_exactly_what_is_not(launches, dispatch, kernels):
    exposed = exposed_dispatch_time(launches, dispatch, kernels)
    assert exposed + kernels == pytest.approx(max(launches * dispatch, kernels))


@given(positive, st.floats(0, 8))
def test_passes_after_a_convolution_add_up(output, passes):
    once = trailing_time(output, 1.0, 1e3, 0.5)
    assert trailing_time(output, passes, 1e3, 0.5) == pytest.approx(passes * once)


@given(positive, share, st.floats(0, 3), share, st.floats(0, 3), share)
def test_power_lies_between_idle_and_design_power(tdp, idle, arithmetic, compute, traffic, memory):
    power = power_of_busy_units(tdp, idle, arithmetic, compute, traffic, memory)
    assert idle * tdp * (1 - 1e-12) <= power <= tdp
    assert power_of_busy_units(tdp, idle, arithmetic, 0.0, traffic, 0.0) == pytest.approx(idle * tdp)
    busier = power_of_busy_units(tdp, idle, arithmetic, np.minimum(compute * 1.1, 1.0), traffic, memory)
    assert busier >= power * (1 - 1e-12)


@given(st.floats(1e-6, 10), st.floats(1, 1e4), st.floats(1, 1e4), st.floats(1 / 3, 1.0))
def test_a_throttled_chip_keeps_its_limit_and_is_no_slower_than_at_a_fixed_voltage(time, needed, room, exponent):
    slower = throttled_time(time, needed, room, exponent)
    assert time <= slower <= throttled_time(time, needed, room, 1.0) * (1 + 1e-12)
    # At a fixed voltage the power of switching falls with the clock alone, and just meets what is left for it.
    assert needed * time / throttled_time(time, needed, room, 1.0) <= room * (1 + 1e-9) or needed <= room
