"""A file, or values given in Python, to a checked spec."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..errors import CatalogError, UnitError, alternatives, nearest
from ..units import factor, memoised, si, unit_of
from . import yaml_file
from .source import KINDS, Fact, Source
from .spec import DESCRIPTIVE, Spec

S = TypeVar("S", bound=Spec)

TOP_LEVEL = {"id", "name", "aliases", "sources", "default_source", "values", "note"}
SIGNED = {"latitude", "longitude"}
MAPPINGS = {"peaks": "peak_"}
"""Fields that hold one number a precision, and the prefix of their keys in a file."""


@memoised
def fields_of(cls: type[Spec]) -> dict[str, tuple[str | None, type, bool]]:
    """Keys that a file of this class may have: unit (None for text), Python type, whether it is required."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found: dict[str, tuple[str | None, type, bool]] = {}
    for item in dataclasses.fields(cls):
        if item.name in DESCRIPTIVE:
            continue
        hint = hints[item.name]
        kinds = [hint, *typing.get_args(hint)]
        needed = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        unit = unit_of(hint)
        python: type = float if unit is not None else next((k for k in (bool, str) if k in kinds), object)
        if unit is None and python is object:
            python = next((k for k in kinds if isinstance(k, type) and issubclass(k, Spec)), object)
        found[item.name] = (unit, python, needed)
    return found


def from_file(path: Path, family: str, choose: Any) -> Spec:
    """The spec in a YAML file; ``choose(values)`` names its class."""
    document = yaml_file.read(path)
    label = _label(path)
    for key in document:
        if key not in TOP_LEVEL:
            raise CatalogError(f"{label}: unknown key {key!r}{_hint(key, TOP_LEVEL)}")
    for key in ("id", "name", "values"):
        if key not in document:
            raise CatalogError(f"{label}: key {key!r} is missing")
    identifier = document["id"]
    if not isinstance(identifier, str) or not identifier.isidentifier():
        raise CatalogError(f"{label}: id: expected a name such as H100, found {identifier!r}")
    if not isinstance(document["values"], dict):
        raise CatalogError(f"{label}: values: expected a mapping")
    aliases = document.get("aliases") or []
    if not isinstance(aliases, list):
        raise CatalogError(f"{label}: aliases: expected a list of names")
    sources = _sources(document.get("sources") or {}, label)
    default = document.get("default_source")
    if default is not None and default not in sources:
        raise CatalogError(f"{label}: default_source {default!r} is not among the sources{_hint(default, sources)}")
    facts = {key: _fact(key, raw, sources, default, label) for key, raw in document["values"].items()}
    cls: type[Spec] = choose(facts, label)
    return build(
        cls,
        facts,
        label,
        id=identifier,
        name=str(document["name"]),
        family=family,
        aliases=tuple(str(alias) for alias in aliases),
        note=str(document.get("note") or ""),
    )


def from_values(cls: type[S], name: str, values: Mapping[str, Any], reason: str) -> S:
    """The spec of values given in Python, with the checks of a file."""
    source = Source(kind="assumed", title="given in Python", reason=reason)
    facts: dict[str, Fact] = {}
    given: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Spec):
            given[key] = value
        else:
            facts[key] = _python_fact(cls, key, value, source, name)
    identifier = "".join(letter if letter.isalnum() else "_" for letter in name)
    return build(cls, facts, name, id=identifier, name=name, family="user", given=given)


def replaced(spec: S, values: Mapping[str, Any]) -> S:
    """A copy of a spec with some values changed; the source of each change says what it replaces."""
    changes: dict[str, Any] = {}
    facts = dict(spec.facts)
    for key, value in values.items():
        if isinstance(value, Spec):
            changes[key] = value
            continue
        source = Source(kind="assumed", title="changed in Python", reason=f"{spec.id} has {facts.get(key, 'no value')}")
        facts[key] = fact = _python_fact(type(spec), key, value, source, spec.id)
        name, entry, number = _number(type(spec), key, fact, spec.id)
        changes[name] = number if entry is None else {**changes.get(name, getattr(spec.si, name)), entry: number}
    stored = {item.name: object.__getattribute__(spec, item.name) for item in dataclasses.fields(spec)}
    # not dataclasses.replace, which would read quantities where SI numbers are stored
    return type(spec)(**{**stored, "facts": facts, **changes})


def build(cls: type[S], facts: Mapping[str, Fact], label: str, given: Mapping[str, Any] | None = None, **own: Any) -> S:
    """A spec from facts: every unit, sign and key checked, every fault of one entry told in one message."""
    problems: list[str] = []
    fields: dict[str, Any] = dict(given or {})
    for key, fact in facts.items():
        try:
            name, entry, number = _number(cls, key, fact, label)
        except (CatalogError, UnitError) as error:
            problems.append(str(error).removeprefix(f"{label}: "))
            continue
        if entry is None:
            fields[name] = number
        else:
            fields.setdefault(name, {})[entry] = number
    missing = [key for key, (_, _, needed) in fields_of(cls).items() if needed and key not in fields]
    problems += [
        f"values.{MAPPINGS.get(key, key)}{'<precision>' if key in MAPPINGS else ''} is missing" for key in missing
    ]
    if problems:
        raise CatalogError(f"{label}: " + "; ".join(problems))
    return cls(facts=dict(facts), **own, **fields)


def _number(cls: type[Spec], key: str, fact: Fact, label: str) -> tuple[str, str | None, Any]:
    """Field, entry inside a mapping field, and value in SI, of one fact."""
    known = fields_of(cls)
    name, entry = key, None
    for field, prefix in MAPPINGS.items():
        if field in known and key.startswith(prefix):
            name, entry = field, key.removeprefix(prefix)
    if name not in known or (name in MAPPINGS and entry is None):
        raise CatalogError(f"{label}: values.{key}: unknown key{_hint(key, known)}")
    unit, python, _ = known[name]
    value = fact.value
    if unit is None:
        if python is bool and not isinstance(value, bool):
            raise CatalogError(f"{label}: values.{key}: expected true or false, found {value!r}")
        if (isinstance(python, type) and issubclass(python, Spec)) or (python is object and name == "accelerator"):
            return name, entry, reference(python, str(value), f"{label}: values.{key}")
        return name, entry, value if python is bool else str(value)
    if isinstance(value, bool):
        raise CatalogError(f"{label}: values.{key}: expected a number, found {value}")
    if isinstance(value, str):
        number = float(si(f"{value} {fact.unit}", unit, f"{label}: values.{key}"))
    else:
        number = float(value) * factor(fact.unit or "1", unit, f"{label}: values.{key}")
    return name, entry, _plausible(number, name, unit, f"{label}: values.{key}")


def _plausible(number: float, name: str, unit: str, where: str) -> float:
    positive = unit in {"byte", "byte/second", "flop/second", "flop"}
    if not math.isfinite(number) or (number < 0 and name not in SIGNED) or (positive and number <= 0):
        raise CatalogError(f"{where}: expected a {'positive' if positive else 'non-negative'} number, found {number:g}")
    return number


def reference(cls: type[Any], name: str, where: str) -> Any:
    """Another entry named by a value, such as a node's accelerator."""
    from . import registry_for

    try:
        return registry_for(cls)[name]
    except KeyError as error:
        raise CatalogError(f"{where}: {error}") from None


def _sources(raw: Any, label: str) -> dict[str, Source]:
    if not isinstance(raw, dict):
        raise CatalogError(f"{label}: sources: expected a mapping")
    found = {}
    for key, value in raw.items():
        where = f"{label}: sources.{key}"
        if not isinstance(value, dict):
            raise CatalogError(f"{where}: expected a mapping with kind and title")
        unknown = [name for name in value if name not in {"kind", "title", "url", "date", "reason"}]
        if unknown:
            raise CatalogError(f"{where}: unknown key {unknown[0]!r}{_hint(unknown[0], ['kind', 'title', 'url'])}")
        kind, title = value.get("kind"), value.get("title")
        if kind not in KINDS or not title:
            raise CatalogError(f"{where}: expected a title and a kind ({alternatives(KINDS)}), found {kind!r}")
        wanted = "reason" if kind in {"derived", "assumed"} else "url"
        if not value.get(wanted):
            raise CatalogError(f"{where}: a {kind} source needs a {wanted}")
        found[str(key)] = Source(**{name: str(text) for name, text in value.items()})
    return found


def _fact(key: str, raw: Any, sources: Mapping[str, Source], default: str | None, label: str) -> Fact:
    where = f"{label}: values.{key}"
    if not isinstance(raw, dict):
        raw = {"value": raw}
        if default is None:
            raise CatalogError(f"{where}: expected a value with a source, or a default_source for the file")
    unknown = [name for name in raw if name not in {"value", "unit", "source", "note"}]
    if unknown:
        raise CatalogError(
            f"{where}: unknown key {unknown[0]!r}{_hint(unknown[0], ['value', 'unit', 'source', 'note'])}"
        )
    value, source = raw.get("value"), raw.get("source", default)
    if not isinstance(value, (str, int, float)):
        raise CatalogError(f"{where}: expected a number or a text, found {value!r}")
    if source not in sources:
        raise CatalogError(f"{where}: names no known source, found {source!r}{_hint(source, sources)}")
    return Fact(value=value, unit=str(raw.get("unit") or ""), source=sources[source], note=str(raw.get("note") or ""))


def _python_fact(cls: type[Spec], key: str, value: Any, source: Source, label: str) -> Fact:
    if value is None or (not isinstance(value, (str, int, float)) and not hasattr(value, "magnitude")):
        raise CatalogError(f"{label}: {key}: expected a text such as '80 GB' or a quantity, found {value!r}")
    if hasattr(value, "magnitude"):
        return Fact(value=float(value.magnitude), unit=str(value.units), source=source)
    return Fact(value=value, unit="", source=source)


def _hint(name: object, names: Any) -> str:
    near = nearest(name, [str(candidate) for candidate in names])
    return f"; did you mean {alternatives(near)}?" if near else ""


def _label(path: Path) -> str:
    root = Path(__file__).parent / "data"
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
