"""What every catalog entry has in common."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ..errors import CatalogError, InvalidInputError, UnitError, UnknownEntryError, nearest
from ..record import Record
from ..units import si, units_of
from .source import Fact, Source

S = TypeVar("S", bound="Spec")

DESCRIPTIVE = {"id", "name", "family", "aliases", "note", "facts", "members"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spec(Record):
    """An entry: SI numbers inside, quantities outside, and a source for every value.

    A stack of entries is an entry too: each number becomes an array, an unknown one becomes NaN there.
    """

    id: str = ""
    name: str
    family: str = ""
    aliases: tuple[str, ...] = field(default=(), repr=False)
    note: str = field(default="", repr=False)
    facts: Mapping[str, Fact] = field(default_factory=dict, repr=False)
    members: tuple[Any, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Entries made in Python: an id from the name, and texts or quantities to SI numbers."""
        if not self.id:
            object.__setattr__(self, "id", "".join(letter if letter.isalnum() else "_" for letter in self.name))
            _to_si(self)

    @property
    def si(self) -> Any:
        """The same entry with plain SI numbers."""
        return _bare(self)

    def source(self, value: str) -> Source:
        """Where a value comes from, as ``chip.source("price")``."""
        return self.fact(value).source

    def fact(self, value: str) -> Fact:
        """A value as its file states it, with unit, source and note."""
        if value not in self.facts:
            raise UnknownEntryError(f"value of {self.id}", value, nearest(value, self.facts))
        return self.facts[value]

    @classmethod
    def define(cls: type[S], name: str, *, reason: str = "defined in Python", **values: Any) -> S:
        """An entry of your own in a few lines, checked as a file would be.

        Args:
            name: what to call it
            reason: why these values, or where they come from
            values: as in a file: texts such as ``"80 GB"``, quantities, or plain numbers for counts

        Raises:
            CatalogError: a value is missing, unknown, has a wrong unit or is not positive
        """
        from .load import from_values

        return from_values(cls, name, values, reason)

    def replace(self: S, **values: Any) -> S:
        """A copy with some values changed (texts such as ``"4 TB/s"`` or quantities); their source becomes assumed."""
        from .load import replaced

        return replaced(self, values)

    def __str__(self) -> str:
        """The name."""
        return self.name

    def __len__(self) -> int:
        """How many entries are stacked."""
        if not self.members:
            raise TypeError(f"{self.id} is one entry, not a stack")
        return len(self.members)

    def __bool__(self) -> bool:
        """An entry is always something, however long the stack."""
        return True


def _to_si(spec: Spec) -> None:
    problems = []
    for name, unit in units_of(type(spec)).items():
        value = object.__getattribute__(spec, name)
        if value is None or type(value) is float or isinstance(value, (Mapping, np.ndarray)):
            continue
        try:
            number = float(si(value, unit, name))
        except (UnitError, TypeError, ValueError) as error:
            problems.append(str(error))
            continue
        if not np.isfinite(number) or number < 0 or (number == 0 and unit != "1"):
            problems.append(f"{name}: expected a positive number, found {value}")
        object.__setattr__(spec, name, number)
    if problems:
        raise CatalogError(f"{spec.name}: " + "; ".join(problems))


@functools.lru_cache(maxsize=8192)
def _bare(spec: Spec) -> types.SimpleNamespace:
    """All fields of an entry as stored, in an object whose attributes cost nothing to read."""
    values = {item.name: object.__getattribute__(spec, item.name) for item in dataclasses.fields(spec)}
    return types.SimpleNamespace(**{name: v.si if isinstance(v, Spec) else v for name, v in values.items()})


def stack(specs: Sequence[S]) -> S:
    """One entry that holds arrays, in the order given, to ask one question of all of them."""
    if not specs:
        raise InvalidInputError("stack: expected at least one entry, found none")
    kinds = {type(spec) for spec in specs}
    if len(kinds) > 1:
        raise InvalidInputError("stack: entries of different kinds: " + ", ".join(sorted(k.__name__ for k in kinds)))
    inside = [spec.si for spec in specs]
    values: dict[str, Any] = {}
    for item in dataclasses.fields(specs[0]):
        if item.name not in DESCRIPTIVE:
            values[item.name] = _column([getattr(spec, item.name) for spec in inside])
    label = ", ".join(spec.id for spec in specs)
    return dataclasses.replace(specs[0], id=f"[{label}]", name=label, facts={}, members=tuple(specs), **values)


def _column(values: list[Any]) -> Any:
    if all(value is None for value in values):
        return None
    if isinstance(values[0], Mapping):
        keys = list(dict.fromkeys(key for value in values for key in value))
        return {key: _column([value.get(key) for value in values]) for key in keys}
    if any(isinstance(value, (str, bool, Record, types.SimpleNamespace)) for value in values):
        return values[0] if all(value == values[0] for value in values) else np.array([str(value) for value in values])
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
