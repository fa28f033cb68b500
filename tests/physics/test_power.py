"""Power of chips, and how equal chips at one limit of power differ."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.physics.power import slowest_of_equals


@pytest.mark.parametrize(("members", "expected"), [(2, 0.5642), (5, 1.1630), (10, 1.5388), (20, 1.8675), (100, 2.5076)])
def test_expected_greatest_of_normal_values_of_harter_1961(members, expected):
    assert slowest_of_equals(float(members), 1.0) - 1 == pytest.approx(expected, abs=0.03)


@given(members=st.integers(1, 100_000), more=st.integers(1, 1000), spread=st.floats(0.0, 0.2))
def test_more_chips_are_never_faster(members, more, spread):
    few, many = slowest_of_equals(np.array([members, members + more], dtype=np.float64), spread)
    assert 1.0 <= few <= many
    assert slowest_of_equals(1.0, spread) == pytest.approx(1.0, abs=1e-3)
