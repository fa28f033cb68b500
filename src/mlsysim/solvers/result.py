"""What every answer can do: quantities, plain data, a frame, a table, an explanation. Written once, from annotations."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..catalog import Defaults
from ..catalog.spec import Spec
from ..errors import MissingExtraError
from ..physics import is_recording, recording
from ..record import SI, Record, field_units, total
from ..units import quantity, registry
from .ledger import Explanation, Ledger, shown

PLAIN = {"question", "shape", "notes"}
NUMBER = re.compile(r"[+-]?\d+\.?\d*(?:e[+-]?\d+)?")


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Who was asked, and what."""

    resolver: type[Any]
    arguments: Mapping[str, Any]

    def ask(self) -> Any:
        """Ask again."""
        return self.resolver().solve(**self.arguments)


class Whole(SI):
    """The inside of an answer: SI numbers, each array of the shape of the question."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        value = SI.__getattr__(self, name)
        shape = object.__getattribute__(self._record, "shape")
        if (
            shape
            and name not in PLAIN
            and isinstance(value, (float, np.ndarray, np.generic))
            and np.shape(value) != shape
        ):
            return np.broadcast_to(value, shape)
        if isinstance(value, np.generic) and not is_recording():  # a ledger tells numbers by identity
            return value.item()
        return value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result(Record):
    """An answer. Fields are quantities (``answer.itl``) or SI numbers (``answer.si.itl``), of the question's shape."""

    question: Question = field(repr=False)
    shape: tuple[int, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if name[0] == "_" or value is None or name in PLAIN:
            return value
        text = field_units(type(self)).get(name)
        if text is None and not isinstance(value, (np.ndarray, np.bool_)):
            return value
        shape = object.__getattribute__(self, "shape")
        if shape and not isinstance(value, Mapping):
            value = np.broadcast_to(value, shape)
        elif isinstance(value, np.bool_):
            return bool(value)
        if text is None:
            return value
        if not shape and isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
            value = value.item()
        return value if text == "1" else quantity(value, text)

    @property
    def si(self) -> SI:
        """The same answer with plain SI numbers."""
        return Whole(self)

    @property
    def constraint_trace(self) -> list[str]:
        """What was assumed or replaced on the way to the answer."""
        return list(self.notes)

    @property
    def binding_wall(self) -> Any:
        """The wall that binds: its number and name; a mapping from ``bottleneck`` where the resolver knows several."""
        return self.question.resolver.walls[0][:2] if self.question.resolver.walls else None

    def interval(self, probability: float = 0.9) -> dict[str, Any] | None:
        """A prediction interval where the answer rests on measured efficiency; None where it is a bound."""
        return None

    def values(self) -> dict[str, Any]:
        """Every number of the answer by name, as quantities or plain numbers."""
        names = [item.name for item in dataclasses.fields(self) if item.name not in PLAIN]
        for base in type(self).__mro__:
            names += [name for name, member in vars(base).items() if isinstance(member, total)]
        return {name: getattr(self, name) for name in dict.fromkeys(names)}

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold: each number with its unit (SI), the question by name, and the notes."""
        units = field_units(type(self))
        answer = {}
        for name, value in self.values().items():
            unit = units.get(name)
            bare = value.magnitude if hasattr(value, "magnitude") else value
            answer[name] = {"value": _plain(bare), "unit": unit} if unit not in (None, "1") else _plain(bare)
        asked = {name: _asked(value) for name, value in self.question.arguments.items()}
        return {
            "resolver": self.question.resolver.__name__,
            "question": asked,
            "answer": answer,
            "notes": list(self.notes),
        }

    def to_json(self, **options: Any) -> str:
        """:meth:`to_dict` as a JSON document; unknown and infinite numbers are null."""
        return json.dumps(self.to_dict(), allow_nan=False, **options)

    def to_frame(self) -> Any:
        """A Polars frame with one row a point, units in the column names, the swept arguments first.

        Raises:
            MissingExtraError: Polars is not installed
        """
        try:
            import polars
        except ImportError:
            raise MissingExtraError("to_frame", "sweep") from None
        units = field_units(type(self))
        columns: dict[str, Any] = {}
        for name, value in self.question.arguments.items():
            if isinstance(value, Spec):
                members = [member.id for member in value.members] or value.id
                columns[name] = np.broadcast_to(np.array(members), self.shape).ravel()
            elif isinstance(value, (int, float, np.ndarray, str)):
                columns[name] = np.broadcast_to(np.asarray(value), self.shape).ravel()
        for name, value in self.values().items():
            bare = value.magnitude if hasattr(value, "magnitude") else value
            if bare is None or isinstance(bare, (Mapping, tuple, list, Record)):
                continue
            unit = units.get(name)
            label = f"{name} [{unit}]" if unit not in (None, "1") else name
            columns[label] = np.broadcast_to(np.asarray(bare), self.shape).ravel()
        return polars.DataFrame(
            {
                name: column.tolist() if column.dtype.kind in "UO" else np.ascontiguousarray(column)
                for name, column in columns.items()
            }
        )

    def explain(self) -> Explanation:
        """Where each number comes from: equations, inputs, units and sources, down to the datasheet."""
        arguments = {name: _own(value) for name, value in self.question.arguments.items()}
        with recording(Ledger(arguments, tuple(Defaults))) as ledger:
            again = Question(self.question.resolver, arguments).ask()
            lines = []
            units = field_units(type(again))
            for name in again.values():
                value = object.__getattribute__(again, name)
                if isinstance(value, (float, np.floating, np.ndarray)) and value is not None:
                    lines.append(ledger.line(name, value, units.get(name)))
        asked = ", ".join(
            f"{name}={_asked(value)}" for name, value in self.question.arguments.items() if value is not None
        )
        inner = {id(below.value) for line in lines for below in line.walk() if below is not line}
        told = [line for line in lines if line.formula and id(line.value) not in inner]
        return Explanation(f"{type(self).__name__} of {asked}", told, again.notes)

    def rows(self) -> list[tuple[str, str]]:
        """Names and values as shown to a person."""
        units = field_units(type(self))
        found = []
        for name, value in self.values().items():
            bare = value.magnitude if hasattr(value, "magnitude") else value
            if isinstance(bare, (tuple, list)):
                if all(isinstance(item, str) for item in bare):
                    found.append((name.replace("_", " "), ", ".join(bare) or "none"))
            elif not isinstance(bare, (Mapping, Record)):
                found.append((name.replace("_", " "), shown(bare, units.get(name))))
        return found

    def __str__(self) -> str:
        """One number a line."""
        rows = self.rows()
        width = max(len(name) for name, _ in rows)
        lines = [type(self).__name__, *(f"  {name:<{width}}  {value}" for name, value in rows)]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def summary(self) -> str:
        """The answer as text."""
        return str(self)

    def _repr_html_(self) -> str:
        body = "".join(f"<tr><th>{html.escape(n)}</th><td>{html.escape(v)}</td></tr>" for n, v in self.rows())
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<table><caption>{type(self).__name__}</caption>{body}</table>{notes}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(getattr(inner, "magnitude", inner)) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return [_plain(inner) for inner in value.tolist()] if value.ndim else _plain(value.item())
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _asked(value: Any) -> Any:
    """An argument of a question as plain data."""
    if isinstance(value, Spec):
        return [member.id for member in value.members] if value.members else value.id
    if hasattr(value, "magnitude"):
        return f"{_plain(value.magnitude)} {value.units}"
    return _plain(value)


def _own(value: Any) -> Any:
    """A number as an object of its own, so that the ledger can tell it from an equal one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return (
            np.array(value, dtype=np.float64) if isinstance(value, np.ndarray) and value.dtype.kind in "iuf" else value
        )
    return float(repr(float(value)))


def ask_again(document: Mapping[str, Any]) -> Any:
    """Solve the question of a saved answer (:meth:`Result.to_dict`, or its JSON read back) once more."""
    from . import resolver_named

    arguments = {}
    for name, value in document["question"].items():
        if isinstance(value, list):
            words = all(isinstance(inner, str) for inner in value)
            if not words:
                value = np.array(value)
            elif "model" in name or "hardware" in name:
                value = _stack(name, value)
        elif isinstance(value, str) and name not in ("model", "hardware", "precision"):
            number, _, unit = value.rpartition("] ") if value.startswith("[") else value.partition(" ")
            if unit and value.startswith("["):
                value = registry().Quantity(np.array(json.loads(number + "]")), unit)
            elif unit and NUMBER.fullmatch(number):
                value = registry().Quantity(float(number), unit)
        arguments[name] = value
    return resolver_named(document["resolver"])().solve(**arguments)


def _stack(name: str, names: list[str]) -> Any:
    from ..catalog import Hardware, Models

    return (Models if "model" in name else Hardware).stack(names)
