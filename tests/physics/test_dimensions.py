"""Every registered equation is dimensionally sound and documents the units it declares."""

import importlib
import inspect
import pkgutil
import re

import numpy as np
import pytest

from mlsysim import physics
from mlsysim.units import registry, units_of

for module in pkgutil.iter_modules(physics.__path__):
    importlib.import_module(f"mlsysim.physics.{module.name}")


@pytest.mark.parametrize("equation", physics.EQUATIONS, ids=lambda e: f"{e.__module__.rsplit('.', 1)[1]}.{e.__name__}")
def test_equation_is_dimensionally_sound(equation):
    units = units_of(equation.__wrapped__)
    inside = {
        name: 2.0 + i if parameter.default is inspect.Parameter.empty else float(parameter.default)
        for i, (name, parameter) in enumerate(inspect.signature(equation).parameters.items())
    }
    # Fractions such as probabilities must stay below one: try both scales.
    for scale in (1.0, 0.1):
        si = {name: value * scale for name, value in inside.items()}
        quantities = {
            name: registry().Quantity(value, units[name] if units[name] != "1" else "") for name, value in si.items()
        }
        with np.errstate(all="ignore"):
            checked = equation(**quantities)
            plain = equation(**si)
        magnitude = registry().Quantity(checked).to(units["return"] if units["return"] != "1" else "").magnitude
        assert magnitude == pytest.approx(plain, nan_ok=True)


@pytest.mark.parametrize("equation", physics.EQUATIONS, ids=lambda e: f"{e.__module__.rsplit('.', 1)[1]}.{e.__name__}")
def test_docstring_states_the_declared_units(equation):
    units = units_of(equation.__wrapped__)
    text = inspect.getdoc(equation)
    for part in ("Args:", "Returns:", "Source:", "Examples:", ".. math::"):
        assert part in text, f"{equation.__name__} has no {part}"
    arguments = text.split("Args:")[1].split("Returns:")[0]
    for name in inspect.signature(equation).parameters:
        line = re.search(rf"^\s+{name}: (.*?)(?=^\s+\w+: |\Z)", arguments, re.MULTILINE | re.DOTALL)
        assert line, f"{equation.__name__}: {name} is not documented"
        bracket = re.findall(r"\[([^\]]+)\]", line[1])[-1]
        assert same_unit(bracket, units[name]), f"{equation.__name__}: {name} says [{bracket}], declares {units[name]}"
    returned = text.split("Returns:")[1].split("Source:")[0]
    bracket = re.findall(r"\[([^\]]+)\]", returned)[-1]
    assert same_unit(bracket, units["return"]), f"{equation.__name__} returns [{bracket}], declares {units['return']}"


def same_unit(one, other):
    read = registry()
    return (
        read.Unit("" if one == "1" else one).dimensionality == read.Unit("" if other == "1" else other).dimensionality
    )
