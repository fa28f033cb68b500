"""Records: frozen dataclasses that hold SI numbers and show quantities.

``answer.itl`` is a quantity (``answer.itl.to("ms")``); ``answer.si.itl`` is the float or array inside. Which fields
carry a unit is read from their aliases, so it is said once.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any, cast

from .units import memoised, quantity, unit_of, units_of


class SI:
    """The inside of a record: every field as the SI number it is stored as."""

    __slots__ = ("_record",)

    def __init__(self, record: Record) -> None:
        self._record = record

    def __getattr__(self, name: str) -> Any:
        value = object.__getattribute__(self._record, name)
        return SI(value) if isinstance(value, Record) else value

    def __dir__(self) -> list[str]:
        return dir(self._record)


class total:
    """A derived field: computed from the SI parts of a record when it is read, with the unit of its return alias."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, record: Record | None, owner: type) -> Any:
        """The SI value; the record attaches the unit."""
        return self if record is None else self.function(SI(record))


class Record:
    """Base of facts and answers: frozen, SI numbers inside, quantities outside."""

    __slots__ = ()

    @property
    def si(self) -> SI:
        """The same record with plain SI numbers."""
        return SI(self)

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if name == "si" or value is None or name[0] == "_":
            return value
        text = field_units(type(self)).get(name)
        return value if text is None or text == "1" else outside(value, text)

    def __reduce__(self) -> Any:
        """A copy or a pickle holds the SI numbers, not the quantities that reading a field gives."""
        values = {item.name: object.__getattribute__(self, item.name) for item in dataclasses.fields(cast(Any, self))}
        return _rebuilt, (type(self), values)


def _rebuilt(cls: type[Any], values: Mapping[str, Any]) -> Any:
    record = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(record, name, value)
    return record


def outside(value: Any, text: str) -> Any:
    """An SI number, or a mapping of them, as quantities."""
    if isinstance(value, Mapping):
        return {key: quantity(inner, text) for key, inner in value.items()}
    return quantity(value, text)


@memoised
def field_units(owner: type) -> dict[str, str]:
    """Units of all fields and totals of a record class."""
    found = dict(units_of(owner))
    for base in owner.__mro__:
        for name, member in vars(base).items():
            if isinstance(member, total):
                text = unit_of(typing.get_type_hints(member.function, include_extras=True).get("return"))
                if text is not None:
                    found.setdefault(name, text)
    return found
