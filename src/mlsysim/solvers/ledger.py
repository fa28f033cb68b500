"""The ledger: which equation gave each number of an answer, from which inputs, down to the lines of datasheets.

A question is solved once more while every equation writes its call here. Values are matched by identity, so no
second copy of a formula exists that could go stale.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..catalog.spec import DESCRIPTIVE, Spec
from ..units import EXAMPLES, quantity, units_of

SHOWN = {
    "byte": [("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)],
    "byte/second": [("TB/s", 1e12), ("GB/s", 1e9), ("MB/s", 1e6), ("B/s", 1.0)],
    "flop": [("EFLOP", 1e18), ("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6), ("FLOP", 1.0)],
    "flop/second": [("PFLOP/s", 1e15), ("TFLOP/s", 1e12), ("GFLOP/s", 1e9), ("MFLOP/s", 1e6), ("FLOP/s", 1.0)],
    "second": [("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)],
    "joule": [("MJ", 1e6), ("kJ", 1e3), ("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6), ("nJ", 1e-9), ("pJ", 1e-12)],
    "watt": [("MW", 1e6), ("kW", 1e3), ("W", 1.0), ("mW", 1e-3), ("uW", 1e-6)],
}


def shown(value: Any, unit: str | None) -> str:
    """A number in the unit a person would choose.

    Examples:
        >>> shown(3.35e12, "byte/second")
        '3.35 TB/s'
        >>> shown(0.0052, "second"), shown(0.00054, "second")
        ('5.2 ms', '0.54 ms')
    """
    if isinstance(value, np.ndarray) and value.ndim:
        known = value[np.isfinite(value)] if value.dtype.kind == "f" else value
        if value.dtype.kind != "f" or not known.size:
            return f"array {value.shape}"
        return f"{shown(known.min(), unit)} .. {shown(known.max(), unit)} {value.shape}"
    if isinstance(value, (str, bool, np.bool_)) or value is None:
        return "unknown" if value is None else str(value)
    number = float(value)
    for name, factor in SHOWN.get(unit or "1", []):
        if abs(number) >= factor * (0.1 if name == "ms" else 1.0):
            return f"{_digits(number / factor)} {name}"
    if unit in (None, "1"):
        return _digits(number)
    name = SHOWN[unit][-1][0] if unit in SHOWN else EXAMPLES.get(unit, unit)
    if unit in SHOWN:
        return f"{_digits(number / SHOWN[unit][-1][1])} {name}"
    return f"{_digits(float(quantity(number, unit).to(name).magnitude))} {name}"


def _digits(number: float) -> str:
    if not np.isfinite(number):
        return "infinite" if number > 0 else "unknown" if np.isnan(number) else str(number)
    if number == int(number) and abs(number) < 1e7:
        return f"{int(number):,}"
    if 0.001 <= abs(number) < 1e7:
        return f"{number:,.4g}" if abs(number) < 1e4 else f"{number:,.0f}"
    return f"{number:.4g}"


@dataclass(eq=False)
class Line:
    """One number of an answer: what it is called, its value, and where it comes from."""

    name: str
    value: Any
    unit: str | None
    origin: str
    formula: str = ""
    source: str = ""
    inputs: list[Line] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, inputs nested."""
        value = finite(self.value.tolist() if isinstance(self.value, (np.ndarray, np.generic)) else self.value)
        found = {"name": self.name, "value": value, "unit": self.unit or "1", "origin": self.origin}
        if self.formula:
            found["formula"] = self.formula
        if self.source:
            found["source"] = self.source
        if self.inputs:
            found["inputs"] = [line.to_dict() for line in self.inputs]
        return found

    def walk(self) -> Iterator[Line]:
        """This line and all below it."""
        yield self
        for line in self.inputs:
            yield from line.walk()


def finite(value: Any) -> Any:
    """Plain data with null for what is unknown or infinite, as JSON has it.

    Examples:
        >>> finite([1.0, [float("inf")]])
        [1.0, [None]]
    """
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


class Ledger:
    """The calls of one solution, and how to read them as a tree."""

    def __init__(self, arguments: Mapping[str, Any], defaults: tuple[Spec, ...] = ()) -> None:
        self.calls: dict[int, tuple[Callable[..., Any], dict[str, Any], Any]] = {}
        self.keep: list[Any] = []
        self.facts: dict[int, tuple[str, str, str]] = {}
        for spec in defaults:
            self._learn(spec)
        for name, value in arguments.items():
            if isinstance(value, Spec):
                self._learn(value)
            elif value is not None and not isinstance(value, (bool, str)):
                self.facts[id(value)] = (name, "you asked", "")

    def _learn(self, spec: Spec) -> None:
        inside = spec.si
        for name in type(spec).__dataclass_fields__:
            if name in DESCRIPTIVE:
                continue
            value = object.__getattribute__(spec, name)
            if isinstance(value, Spec):
                self._learn(value)
            entries = {f"peak_{key}": v for key, v in value.items()} if isinstance(value, Mapping) else {name: value}
            for key, number in entries.items():
                if isinstance(number, (float, np.ndarray)):
                    fact = spec.facts.get(key)
                    told = f"{fact.source}" + (f"; {fact.note}" if fact.note else "") if fact else ""
                    self.facts[id(number)] = (key, f"{spec.id}", told or "default of the catalog schema")
        del inside

    def record(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], value: Any) -> None:
        """One call of an equation."""
        bound = inspect.signature(function).bind(*args, **kwargs)
        given = dict(bound.arguments)
        bound.apply_defaults()
        self.keep.append((bound.arguments, value))  # ids stay unique while the values live
        if id(value) not in self.facts:
            self.calls.setdefault(id(value), (function, {n: bound.arguments[n] for n in bound.arguments}, set(given)))

    def line(self, name: str, value: Any, unit: str | None = None) -> Line:
        """The tree below one number."""
        found = self.calls.get(id(value))
        if found is None:
            label, origin, source = self.facts.get(id(value), (name, "", ""))
            return Line(name, value, unit, f"{origin}.{label}" if source else origin, source=source)
        function, arguments, given = found
        units = units_of(function)
        line = Line(name, value, units.get("return", unit), function.__name__, formula(function), citation(function))
        for argument, inner in arguments.items():
            if inner is value:
                continue
            below = self.line(argument, inner, units.get(argument))
            if argument not in given:
                below.origin, below.source = "by convention", ""
            line.inputs.append(below)
        return line


class Explanation:
    """The ledger of an answer, as a tree for each of its numbers."""

    def __init__(self, title: str, lines: list[Line], notes: tuple[str, ...]) -> None:
        self.title, self.lines, self.notes = title, lines, notes

    def __str__(self) -> str:
        """The trees as text."""
        rows = [self.title]
        for line in self.lines:
            rows += _draw(line, "", "", set())
        rows += [f"note: {note}" for note in self.notes]
        return "\n".join(rows)

    __repr__ = __str__

    def __getitem__(self, name: str) -> Line:
        """The tree of one number."""
        for line in self.lines:
            if line.name == name:
                return line
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"title": self.title, "lines": [line.to_dict() for line in self.lines], "notes": list(self.notes)}


def _draw(line: Line, lead: str, below: str, seen: set[int]) -> list[str]:
    text = f"{lead}{line.name} = {shown(line.value, line.unit)}"
    if line.formula:
        text += f"   <- {line.origin}: {line.formula}"
    elif line.origin:
        text += f"   [{line.origin}{'; ' + line.source if line.source else ''}]"
    if line.formula and id(line.value) in seen:
        return [text + "   (see above)"]
    seen.add(id(line.value))
    rows = [text]
    for index, inner in enumerate(line.inputs):
        last = index == len(line.inputs) - 1
        rows += _draw(inner, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "), seen)
    return rows


@functools.cache
def formula(function: Callable[..., Any]) -> str:
    """What an equation returns, read from its own source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    statements = [ast.unparse(node) for node in body if not isinstance(node, ast.Expr)]
    return "; ".join(statements).replace("return ", "").replace("np.", "")


@functools.cache
def citation(function: Callable[..., Any]) -> str:
    """The source that an equation's docstring names."""
    text = inspect.getdoc(function) or ""
    cited = text.partition("Source:")[2].partition("Examples:")[0]
    return " ".join(cited.split())
