"""Texts of exercises, with the numbers of the call filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..catalog.spec import Spec
from ..errors import InvalidInputError, UnknownEntryError, nearest
from ..units import si
from .asks import ENTRIES, Ask, attribute, displayed, fact

PLACE = re.compile(r"\{([A-Za-z]\w*)((?:\.[a-z]\w*)*)(?::([^{}]+))?\}")


def filled(text: str, ask: Ask, values: Mapping[str, str] | None = None) -> str:
    """A text with its places filled: ``{seq_len}``, ``{hardware.memory_bandwidth:TB/s}``, ``{answer}``, ``{wrong}``.

    Examples:
        >>> filled("{hardware.id} has {hardware.memory_bandwidth:TB/s}", Ask({"hardware": "h100"}, "Engine"))
        'H100 has 3.35 TB/s'
    """

    def place(found: re.Match[str]) -> str:
        name, path, unit = found[1], found[2][1:], found[3]
        if name == "answer" and path:
            return _written(attribute(ask.answer(), path), unit, found[0])
        if name in ("answer", "wrong"):
            if name not in (values or {}):
                raise InvalidInputError(f"{found[0]} stands where it is not known yet")
            return (values or {})[name]
        given = {**(ask.over.arguments if ask.over is not None else {}), **ask.arguments}
        if name not in given:
            raise UnknownEntryError("argument", name, nearest(name, given))
        thing = given[name]
        if name in ENTRIES and isinstance(thing, str):
            thing = ENTRIES[name][thing]
        return _written(attribute(thing, path) if path else fact(thing), unit, found[0])

    return PLACE.sub(place, text)


def _written(thing: Any, unit: str | None, label: str) -> str:
    if unit == "%":
        return displayed(float(thing), "1", "%")
    if unit is not None:
        return displayed(si(thing, unit, label), unit, unit)
    if isinstance(thing, (bool, str, Spec)):
        return str(thing)
    if isinstance(thing, (int, float)):
        return f"{thing:,.0f}" if float(thing).is_integer() and abs(thing) < 1e15 else f"{thing:.3g}"
    return f"{thing:.3g~P}" if hasattr(thing, "magnitude") else str(thing)


def close(value: float | str | bool, right: float | str | bool, tolerance: float) -> bool:
    """Whether a prediction is the answer, within a relative tolerance.

    Examples:
        >>> close(1.04, 1.0, 0.05), close(1.06, 1.0, 0.05), close("Memory", "Memory", 0.05)
        (True, False, True)
    """
    if isinstance(right, (str, bool)) or isinstance(value, (str, bool)):
        return value == right
    return abs(value - right) <= tolerance * abs(right) * (1 + 1e-12)
