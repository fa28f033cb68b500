"""Unit aliases, the one Pint registry, and the border between quantities and SI numbers.

Inside mlsysim a number is a float or a float64 array in SI (byte, second, FLOP, watt, joule; plus USD and token).
A person hands in and gets back quantities. The aliases below are the only place where a field's unit is declared:
the border, the reference pages, the JSON schema and the dimension tests all read them.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from .errors import UnitError, told

_F = TypeVar("_F", bound=Callable[..., Any])

if TYPE_CHECKING:
    # A field of an answer is a Quantity outside and a float or array inside: no static type says both.
    Number = Any
else:
    Number = float | NDArray[np.float64]

Count = Annotated[Number, "1"]
Plain = Annotated[Number, "1"]  # a number whose field name says its unit, as capex_usd
Fraction = Annotated[Number, "1"]
Seconds = Annotated[Number, "second"]
PerSecond = Annotated[Number, "1/second"]
Bytes = Annotated[Number, "byte"]
BytesPerSecond = Annotated[Number, "byte/second"]
BytesPerToken = Annotated[Number, "byte/token"]
Flop = Annotated[Number, "flop"]
FlopPerSecond = Annotated[Number, "flop/second"]
FlopPerByte = Annotated[Number, "flop/byte"]
Tokens = Annotated[Number, "token"]
TokensPerSecond = Annotated[Number, "token/second"]
Watts = Annotated[Number, "watt"]
Joules = Annotated[Number, "joule"]
JoulesPerFlop = Annotated[Number, "joule/flop"]
JoulesPerByte = Annotated[Number, "joule/byte"]
JoulesPerToken = Annotated[Number, "joule/token"]
Hertz = Annotated[Number, "1/second"]
Meters = Annotated[Number, "meter"]
MetersPerSecond = Annotated[Number, "meter/second"]
SquareMeters = Annotated[Number, "meter**2"]
CubicMeters = Annotated[Number, "meter**3"]
Kilograms = Annotated[Number, "kilogram"]
KilogramsPerJoule = Annotated[Number, "kilogram/joule"]
CubicMetersPerJoule = Annotated[Number, "meter**3/joule"]
Dollars = Annotated[Number, "USD"]
DollarsPerSecond = Annotated[Number, "USD/second"]
DollarsPerJoule = Annotated[Number, "USD/joule"]
DollarsPerByte = Annotated[Number, "USD/byte"]
DollarsPerToken = Annotated[Number, "USD/token"]
DollarsPerKilogram = Annotated[Number, "USD/kilogram"]


@functools.cache
def registry() -> Any:
    """The one Pint registry, built from ``units.txt`` on first use."""
    import pint

    built: Any = pint.UnitRegistry(str(Path(__file__).with_name("units.txt")), cache_folder=None)
    built.formatter.default_format = "~P"
    return built


@functools.cache
def unit(text: str) -> Any:
    """A Pint unit, parsed once."""
    return registry().Unit("" if text == "1" else text)


def quantity(value: Any, text: str) -> Any:
    """An SI number as a quantity.

    Examples:
        >>> quantity(3.35e12, "byte/second").to("TB/s").magnitude
        3.35
    """
    return registry().Quantity(value, unit(text))


def factor(text: str, wanted: str, name: str) -> float:
    """What a number in unit ``text`` is multiplied by to be in unit ``wanted``; ``name`` is for the message."""
    try:
        return _factor(text, wanted)
    except UnitError as error:
        raise UnitError(f"{name}: {error}") from None


@functools.lru_cache(maxsize=4096)
def _factor(text: str, wanted: str) -> float:
    import pint

    near = EXAMPLES.get(wanted, wanted)
    if len(text) > 80:
        raise UnitError(f"expected a unit like {near}, found a text of {len(text)} characters")
    if TOWER.search(text):
        raise UnitError(f"{text!r} is not a unit; expected one like {near}")
    try:
        return float(registry().Quantity(1.0, "" if text == "1" else text).to(unit(wanted)).magnitude)
    except pint.DimensionalityError:
        raise UnitError(f"expected a unit like {near}, found {text or 'no unit'}") from None
    except Exception as error:  # Pint raises errors of many kinds (tokenizer, syntax, name) for text it cannot read
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise UnitError(f"{text!r} is not a unit; expected one like {near}") from None


NUMBER_AND_UNIT = re.compile(r"\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*$", re.DOTALL)

POWER = r"(?:\*\*|\^)"
TOWER = re.compile(rf"{POWER}(?!\s*[-+]?\d(?:\.5)?(?![\w.])(?!\s*{POWER}))|\)\s*{POWER}")
"""Powers that no unit has (``9**9**9``), which would be computed for ever: an exponent is one digit, once."""

EXAMPLES = {
    "1": "a plain number",
    "second": "ms",
    "1/second": "1/s",
    "byte": "GB",
    "byte/second": "GB/s",
    "flop": "TFLOP",
    "flop/second": "TFLOP/s",
    "flop/byte": "FLOP/B",
    "watt": "W",
    "joule": "kWh",
    "meter": "km",
    "kilogram": "kg",
    "kilogram/joule": "g/kWh",
    "meter**2": "mm2",
    "meter**3": "L",
    "meter**3/joule": "L/kWh",
    "USD": "USD",
    "USD/second": "USD/hour",
    "USD/joule": "USD/kWh",
    "USD/byte": "USD/GB",
    "token/second": "token/s",
}


def si(value: Any, wanted: str, name: str) -> Any:
    """A person's value as an SI number: a quantity, a text such as ``"80 GB"``, or a plain number where none is needed.

    Examples:
        >>> si("2 us", "second", "latency")
        2e-06
        >>> si(3.0, "byte", "message")
        Traceback (most recent call last):
        mlsysim.errors.UnitError: message: expected a quantity like '1 GB', found the bare number 3.0
    """
    if isinstance(value, str):
        match = NUMBER_AND_UNIT.match(value)
        if match is None:
            expected = "a number" if wanted == "1" else f"a quantity like '1 {EXAMPLES.get(wanted, wanted)}'"
            raise UnitError(f"{name}: expected {expected}, found {value[:60]!r}")
        return float(match[1].replace("_", "")) * factor(match[2] or "1", wanted, name)
    magnitude = getattr(value, "magnitude", None)
    if magnitude is not None and hasattr(value, "units"):
        return np.multiply(magnitude, factor(str(value.units) or "1", wanted, name))[()]
    if wanted == "1":
        return value
    bare = isinstance(value, (int, float)) and not isinstance(value, bool)
    found = f"the bare number {told(value)}" if bare else type(value).__name__
    raise UnitError(f"{name}: expected a quantity like '1 {EXAMPLES.get(wanted, wanted)}', found {found}")


def unit_of(annotation: Any) -> str | None:
    """The unit that an alias declares, also inside ``... | None`` and ``Mapping[str, ...]``; None if there is none."""
    for note in getattr(annotation, "__metadata__", ()):
        if isinstance(note, str):
            return note
    for inner in typing.get_args(annotation):
        found = unit_of(inner)
        if found is not None:
            return found
    return None


def memoised(function: _F) -> _F:
    """A function of hashable arguments that computes each answer once (``functools.cache`` with its types kept)."""
    return cast(_F, functools.cache(function))


@memoised
def units_of(thing: Any) -> dict[str, str]:
    """Units of a function's arguments (and ``return``) or of a class's fields, read from their aliases.

    Examples:
        >>> def rate(work: Flop, time: Seconds) -> FlopPerSecond: ...
        >>> units_of(rate)
        {'work': 'flop', 'time': 'second', 'return': 'flop/second'}
    """
    hints = typing.get_type_hints(thing, include_extras=True)
    found = {name: unit_of(hint) for name, hint in hints.items() if not isinstance(hint, types.FunctionType)}
    return {name: text for name, text in found.items() if text is not None}


def with_units(function: Callable[..., Any]) -> Callable[..., Any]:
    """An equation as a person calls it: quantities or texts in, a quantity out.

    Examples:
        >>> def speed(distance: Meters, time: Seconds) -> MetersPerSecond:
        ...     return distance / time
        >>> print(with_units(speed)("1 km", "500 ms"))
        2000.0 m/s
    """
    units = units_of(function)
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if name in units:
                bound.arguments[name] = si(value, units[name], name)
        return quantity(function(*bound.args, **bound.kwargs), units["return"])

    return call
