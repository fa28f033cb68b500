"""A number or a word that an exercise asks for: always computed, never typed in."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .. import physics
from ..catalog import Hardware, Infra, Models, Systems
from ..catalog.spec import Spec
from ..errors import InvalidInputError, MLSysimError, UnitError, UnknownEntryError, alternatives, nearest
from ..record import field_units
from ..solvers import resolver_named
from ..solvers.ledger import citation, formula
from ..units import factor, quantity, si, units_of, with_units

REGISTRIES = {"Hardware": Hardware, "Models": Models, "Infra": Infra, "Systems": Systems}
FACT = re.compile(r"(Hardware|Models|Infra|Systems)\.(\w+)((?:\.[a-z]\w*)+)")
ENTRIES = {
    "model": Models, "draft_model": Models, "hardware": Hardware, "decode_hardware": Hardware, "fleet": Systems,
    "fabric": Systems, "datacenter": Infra, "grid": Infra,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ask:
    """One field of a resolver's answer, or the value of an equation; times a factor, over another such number."""

    arguments: Mapping[str, Any]
    resolver: str = ""
    equation: str = ""
    field: str = ""
    times: float = 1.0
    over: Ask | None = None

    def changed(self, changes: Mapping[str, Any]) -> Ask:
        """The same question with some of it changed; another resolver or equation starts with arguments of its own."""
        values = dict(changes)
        if not ("resolver" in values or "equation" in values):
            values["arguments"] = {**self.arguments, **values.get("arguments", {})}
        elif "equation" in values:
            values = {"resolver": "", "field": "", **values}
        else:
            values = {"equation": "", **values}
        over = values.pop("over", self.over)
        made = dataclasses.replace(self, **values, over=None)
        if isinstance(over, Mapping):
            over = dataclasses.replace(made, times=1.0).changed(over)
        return dataclasses.replace(made, over=over)

    @property
    def unit(self) -> str | None:
        """Unit of the number, in SI; None where the answer is a word or yes or no."""
        own = units_of(equation_named(self.equation))["return"] if self.equation else self._field_unit()
        if own is None or self.over is None:
            return own
        below = self.over.unit
        return "1" if below == own else f"({own}) / ({below})"

    def _field_unit(self) -> str | None:
        produces = resolver_named(self.resolver).produces
        return field_units(produces).get(self.field)

    def value(self) -> float | str | bool:
        """The number in SI, the word, or the truth."""
        found = self.solved()
        if isinstance(found, (str, bool, np.bool_)):
            return bool(found) if isinstance(found, np.bool_) else found
        number = float(found) * self.times
        return number if self.over is None else number / float(self.over.value())

    def solved(self) -> Any:
        """What the resolver's field or the equation says, before any factor."""
        if self.equation:
            function = equation_named(self.equation)
            return si(with_units(function)(**self.given()), units_of(function)["return"], self.equation)
        answer = self.answer()
        return getattr(answer.si if self._field_unit() is not None else answer, self.field)

    def answer(self) -> Any:
        """The whole answer of the resolver."""
        return resolver_named(self.resolver)().solve(**self.given())

    def given(self) -> dict[str, Any]:
        """Arguments of the call, facts of the catalog looked up."""
        return {name: fact(value) for name, value in self.arguments.items()}

    def problems(self) -> list[str]:
        """Why this cannot be asked: unknown names of resolvers, equations, arguments and fields."""
        if bool(self.resolver) == bool(self.equation):
            return ["ask: expected either resolver or equation"]
        found: list[str] = []
        try:
            call: Any = resolver_named(self.resolver).solve if self.resolver else equation_named(self.equation)
        except MLSysimError as error:
            return [str(error)]
        named = [p for p in inspect.signature(call).parameters.values() if p.name != "self"]
        names = [p.name for p in named]
        for name in self.arguments:
            if name not in names:
                found.append(f"{self.resolver or self.equation} takes no {name!r}{_hint(name, names)}")
        missing = [p.name for p in named if p.default is p.empty and p.name not in self.arguments]
        if missing:
            found.append(f"{self.resolver or self.equation} needs {', '.join(missing)}")
        if self.resolver:
            produces = resolver_named(self.resolver).produces
            public = [name for name in dir(produces) if name[0] != "_"]
            if self.field not in public:
                found.append(f"{produces.__name__} has no field {self.field!r}{_hint(self.field, public)}")
        elif self.field:
            found.append(f"an equation has no fields, found field {self.field!r}")
        return found + ([] if self.over is None else [f"over: {text}" for text in self.over.problems()])

    def explanation(self) -> str:
        """Where the number comes from: the tree of a resolver's field, or the formula and source of an equation."""
        if self.equation:
            function = equation_named(self.equation)
            return f"{self.equation} = {formula(function)}\n{citation(function)}"
        answer = self.answer()
        told, value = answer.explain(), self.solved()
        named = [line for line in told.lines if line.name == self.field]
        if not named and isinstance(value, (float, np.floating)):  # part of another number: told inside its tree
            below = (inner for line in told.lines for inner in line.walk())
            named = [line for line in below if line.formula and np.ndim(line.value) == 0 and line.value == value][:1]
            named = [dataclasses.replace(line, name=self.field) for line in named]
        told.lines = named or told.lines
        return str(told)


def fact(value: Any) -> Any:
    """A fact of the catalog where a text names one, else the value as it is.

    Examples:
        >>> print(fact("Hardware.H100.memory_bandwidth").to("TB/s"))
        3.35 TB/s
        >>> fact("16 GB")
        '16 GB'
    """
    match = FACT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    return attribute(REGISTRIES[match[1]][match[2]], match[3][1:])


def attribute(thing: Any, path: str) -> Any:
    """A field of a field of an entry or an answer, by public names only."""
    for name in path.split("."):
        near = [known for known in dir(thing) if known[0] != "_"]
        if name[0] == "_" or not hasattr(thing, name):
            raise UnknownEntryError("field", name, nearest(name, near))
        thing = getattr(thing, name)
        if callable(thing) and not isinstance(thing, Spec):
            raise UnknownEntryError("field", name, [])
    return thing


@functools.cache
def modules() -> tuple[str, ...]:
    """Modules of equations."""
    return tuple(sorted(p.stem for p in Path(physics.__path__[0]).glob("*.py") if p.stem != "__init__"))


def equation_named(name: str) -> Callable[..., Any]:
    """The equation ``module.name`` of :mod:`mlsysim.physics`.

    Examples:
        >>> equation_named("pipeline.bubble_fraction").__name__
        'bubble_fraction'
        >>> equation_named("roofline.ridge")
        Traceback (most recent call last):
        mlsysim.errors.UnknownEntryError: no equation named 'roofline.ridge'; did you mean roofline.ridge_point?
    """
    home, _, wanted = str(name).partition(".")
    if home not in modules():
        raise UnknownEntryError("module of equations", home, nearest(home, modules()) or ["roofline", "collectives"])
    module = import_module(f"{physics.__name__}.{home}")
    for known in physics.EQUATIONS:
        if known.__module__ == module.__name__ and known.__name__ == wanted:
            return known
    there = [f"{home}.{known.__name__}" for known in physics.EQUATIONS if known.__module__ == module.__name__]
    raise UnknownEntryError("equation", name, nearest(name, there)[:1])


BARE = re.compile(r"\s*[+-]?[\d._]+(?:[eE][+-]?\d+)?\s*")
PERCENT = re.compile(r"\s*([+-]?[\d.]+(?:[eE][+-]?\d+)?)\s*%\s*")


def understood(prediction: Any, unit: str | None, wanted: str, words: tuple[str, ...] = ()) -> float | str | bool:
    """What a person predicts, as a number in SI, a word, or a truth.

    Examples:
        >>> understood("4 GB", "byte", "GB"), understood("25 %", "1", "1"), understood("yes", None, "")
        (4000000000.0, 0.25, True)
    """
    if unit is None:
        text = str(prediction).strip().casefold()
        if not words:
            if text in ("yes", "true", "y"):
                return True
            if text in ("no", "false", "n"):
                return False
            raise InvalidInputError(f"answer: expected yes or no, found {prediction!r}")
        for word in words:
            if text == word.casefold():
                return word
        raise InvalidInputError(f"answer: expected {alternatives(words)}, found {prediction!r}")
    percent = PERCENT.fullmatch(prediction) if isinstance(prediction, str) else None
    if percent is not None:
        prediction = float(percent[1]) / 100
    if isinstance(prediction, bool) or prediction is None:
        raise InvalidInputError(f"answer: expected a number in a unit like {wanted}, found {prediction!r}")
    if isinstance(prediction, str) and unit != "1" and BARE.fullmatch(prediction):
        raise UnitError(
            f"answer: expected a number with a unit, as '{prediction.strip()} {wanted}', found {prediction!r}"
        )
    number = float(si(prediction, unit, "answer"))
    if not np.isfinite(number):
        raise InvalidInputError(f"answer: expected a finite number, found {prediction!r}")
    return number


def displayed(value: float | str | bool, unit: str | None, wanted: str) -> str:
    """An answer as a person reads it, in the unit of the exercise, to three or four digits.

    Examples:
        >>> displayed(4.29e9, "byte", "GB"), displayed(0.2113, "1", "%"), displayed(True, None, "")
        ('4.29 GB', '21.1 %', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) or unit is None:
        return str(value)
    scale = 0.01 if wanted == "%" else factor(wanted, unit, "unit")
    number = value / scale
    size = abs(number)
    text = f"{number:,.0f}" if 1000 <= size < 1e9 else f"{number:.3g}" if size >= 1e-3 else f"{number:.2e}"
    return text if wanted == "1" else f"{text} {wanted}"


def as_quantity(value: float | str | bool, unit: str | None) -> Any:
    """An answer as the library hands numbers out."""
    return value if unit in (None, "1") or isinstance(value, (str, bool)) else quantity(value, str(unit))


def _hint(name: str, names: list[str]) -> str:
    near = nearest(name, names)
    return f"; did you mean {alternatives(near)}?" if near else ""
