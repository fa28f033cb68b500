"""The border: units that are missing, wrong, or hostile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.errors import UnitError
from mlsysim.physics.roofline import memory_time
from mlsysim.units import quantity, registry, si, with_units


def test_byte_flop_dollar_and_token_are_not_interchangeable():
    ureg = registry()
    kinds = [ureg.Unit(name).dimensionality for name in ("byte", "flop", "USD", "token", "second", "count")]
    assert len({str(kind) for kind in kinds}) == len(kinds)
    with pytest.raises(Exception, match="Cannot convert"):
        ureg.Quantity(1, "flop") + ureg.Quantity(1, "USD")


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("80 GB", "byte", 80e9),
        ("80 GiB", "byte", 80 * 2**30),
        ("80GB", "byte", 80e9),
        ("400 Gbps", "byte/second", 50e9),
        ("1_000 TFLOP/s", "flop/second", 1e15),
        ("300 TOP/s", "flop/second", 300e12),
        ("2 us", "second", 2e-6),
        ("0.12 USD/kWh", "USD/joule", 0.12 / 3.6e6),
        ("429 g/kWh", "kilogram/joule", 0.429 / 3.6e6),
    ],
)
def test_texts_become_si(text, unit, value):
    assert si(text, unit, "x") == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "bad",
    [
        "80",
        "80 s",
        "80 TB/s",
        "GB",
        "",
        "80 potato",
        "80 __import__('os').system('id')",
        "80 GB GB",
        "1e3e3 GB",
        "x" * 500,
    ],
)
def test_bad_texts_name_the_argument_in_one_line(bad):
    with pytest.raises(UnitError) as error:
        si(bad, "byte", "capacity")
    assert "capacity" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_bare_number_is_refused_where_a_unit_is_needed():
    with pytest.raises(UnitError, match="capacity: expected a quantity like '1 GB', found the bare number 80"):
        si(80, "byte", "capacity")


@given(value=st.floats(1e-12, 1e18), unit=st.sampled_from(["GB", "GiB", "kB", "TB", "bit"]))
def test_units_round_trip(value, unit):
    ureg = registry()
    inside = si(ureg.Quantity(value, unit), "byte", "x")
    assert quantity(inside, "byte").to(unit).magnitude == pytest.approx(value, rel=1e-12)


def test_with_units_checks_arguments_and_returns_a_quantity():
    assert with_units(memory_time)("16.06 GB", "3.35 TB/s").to("ms").magnitude == pytest.approx(4.794, rel=1e-3)
    with pytest.raises(UnitError, match="bandwidth"):
        with_units(memory_time)("16.06 GB", "3.35 TB")
