"""Several resolvers in a row: each takes what is given and what those before it found."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CompositionError, InvalidInputError, UnknownEntryError, alternatives, nearest
from ..record import field_units
from ..units import registry
from . import RESOLVERS, list_available, resolver_named
from .base import BaseResolver

UNITS = [
    (r"_(ms|s|hours|days|years)$|latency|(^|_)time(_|$)|duration|interval|mtbf", "second"),
    (r"_(qps|rate_qps)$", "1/second"),
    (r"bandwidth|data_rate", "byte/second"),
    (r"_(gb|bytes)$", "byte"),
    (r"_usd$", "USD"),
    (r"_flops$|compute_budget", "flop"),
    (r"power_per_device", "watt"),
    (r"_(size|count|stage|stages|len|steps|tokens|replicas)$|^(batch_size|seq_len|efficiency|mfu|utilisation)$", "1"),
]
"""What an argument of a resolver measures, read from its name."""

FAMILIES = {"workload": ("model", "workload"), "hardware": ("hardware",), "fleet": ("fleet",)}
INNER = {"question", "shape", "notes"}


@dataclass(frozen=True)
class Stage:
    """One resolver of a pipeline, and where each of its arguments comes from."""

    name: str
    resolver: BaseResolver
    required: tuple[str, ...]
    optional: tuple[str, ...]
    sources: Mapping[str, str]

    @property
    def takes(self) -> tuple[str, ...]:
        """Arguments of ``solve``."""
        return self.required + self.optional


class Pipeline:
    """Resolvers that feed each other, checked when they are put together.

    Args:
        resolvers: names, classes or instances, in order; or pairs of a stage name and one of these
        name: what to call it
        inputs: names that :meth:`run` will be given, or a mapping of them to units; with it the pipeline is complete or
            refused here, without it whatever no stage finds is an input of the run
        wiring: where an argument comes from when its name does not say so: ``{"stage.argument": "stage.field"}`` or
            ``{"stage.argument": "input"}``

    Raises:
        CompositionError: a stage needs what neither an input nor an earlier stage gives; two stages give the same; a
            stage is fed by a later one; a unit does not fit

    Examples:
        >>> line = Pipeline(["ServingModel", "EconomicsModel"])
        >>> line
        Pipeline(ServingModel → EconomicsModel)
        >>> line.inputs
        ('model', 'hardware', 'seq_len', 'fleet', 'duration_days')
    """

    def __init__(
        self,
        resolvers: Iterable[Any],
        name: str = "Pipeline",
        *,
        inputs: Iterable[str] | Mapping[str, str | None] | None = None,
        wiring: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._callbacks: list[Any] = []
        given = _stages(resolvers)
        declared = None if inputs is None else dict(inputs) if isinstance(inputs, Mapping) else dict.fromkeys(inputs)
        self.stages, problems = _wired(given, declared, dict(wiring or {}))
        if problems:
            raise CompositionError(problems)
        self._declared = declared

    @property
    def inputs(self) -> tuple[str, ...]:
        """What :meth:`run` has to be given."""
        needed = [
            source for stage in self.stages for arg in stage.required if "." not in (source := stage.sources[arg])
        ]
        return tuple(dict.fromkeys(needed))

    @property
    def accepted(self) -> tuple[str, ...]:
        """Everything that :meth:`run` may be given."""
        found = [source for stage in self.stages for source in stage.sources.values() if "." not in source]
        return tuple(dict.fromkeys(found))

    def run(self, **inputs: Any) -> dict[str, Any]:
        """Answers of all stages by stage name.

        Raises:
            CompositionError: an input is missing, or no stage takes it
        """
        problems = []
        for name in self.inputs:
            if name not in inputs:
                users = [stage.name for stage in self.stages if name in stage.sources.values()]
                problems.append(f"{alternatives(users)} needs {name}{_makers(name, self.stages)}; pass {name}=")
        for name in inputs:
            if name not in self.accepted:
                made = [s.name for s in self.stages if name in _fields(s.resolver)]
                if made:
                    problems.append(f"{name} is given and also found by {made[0]}; wire one of them explicitly")
                else:
                    near = nearest(name, self.accepted)
                    hint = f"; did you mean {alternatives(near)}?" if near else ""
                    problems.append(f"no stage takes {name}{hint}")
        if problems:
            raise CompositionError(problems)
        answers: dict[str, Any] = {}
        for stage in self.stages:
            arguments = {}
            for argument, source in stage.sources.items():
                maker, _, found = source.rpartition(".")
                if maker:
                    arguments[argument] = getattr(answers[maker], found)
                elif source in inputs:
                    arguments[argument] = inputs[source]
            self._tell("on_stage_start", stage_name=stage.name)
            answers[stage.name] = stage.resolver.solve(**arguments)
            self._tell("on_stage_end", stage_name=stage.name, result=answers[stage.name])
        return answers

    def register_callback(self, callback: Any) -> None:
        """Tell an object of every stage: ``on_stage_start(stage_name=)`` and ``on_stage_end(stage_name=, result=)``."""
        if not any(callable(getattr(callback, hook, None)) for hook in ("on_stage_start", "on_stage_end")):
            raise InvalidInputError(
                f"callback: expected on_stage_start or on_stage_end, found {type(callback).__name__} with neither"
            )
        self._callbacks.append(callback)

    def _tell(self, hook: str, **facts: Any) -> None:
        for callback in self._callbacks:
            method = getattr(callback, hook, None)
            if callable(method):
                method(**facts)

    def explain(self) -> str:
        """Stages with their walls, what each takes and from where, and what it gives."""
        lines = [f"{self.name}: {' → '.join(stage.name for stage in self.stages)}"]
        for index, stage in enumerate(self.stages, 1):
            kind = type(stage.resolver)
            walls = ", ".join(f"{number} {title}" for number, title, _ in kind.walls) or "none"
            lines += ["", f"{index}. {stage.name} ({kind.kind}); walls: {walls}"]
            for argument, source in stage.sources.items():
                if argument in stage.required or "." in source:
                    lines.append(f"   takes {argument} from {source if '.' in source else 'the inputs'}")
            lines.append(f"   gives {kind.produces.__name__}")
        domains = dict.fromkeys(domain for s in self.stages for _, _, domain in type(s.resolver).walls)
        lines += ["", f"inputs: {', '.join(self.inputs)}", f"domains covered: {', '.join(domains)}"]
        return "\n".join(lines)

    def __len__(self) -> int:
        """How many stages."""
        return len(self.stages)

    def __repr__(self) -> str:
        """The stages in order."""
        return f"{self.name}({' → '.join(stage.name for stage in self.stages)})"


class ResolverFactory:
    """Resolvers by name, those of plugins included."""

    @staticmethod
    def list_available() -> list[str]:
        """Every name."""
        return list_available()

    @staticmethod
    def get(name: str) -> Any:
        """The class of that name."""
        return resolver_named(name)


def _stages(resolvers: Iterable[Any]) -> list[tuple[str, BaseResolver]]:
    entries = [resolvers] if isinstance(resolvers, (str, type, BaseResolver)) else list(resolvers)
    if not entries:
        raise CompositionError("a pipeline needs at least one resolver, found none")
    found: list[tuple[str, BaseResolver]] = []
    problems: list[str] = []
    for entry in entries:
        label: Any = None
        thing: Any = entry
        if isinstance(entry, tuple) and len(entry) == 2:
            label, thing = entry
        try:
            made = resolver_named(thing) if isinstance(thing, str) else thing
        except UnknownEntryError as error:
            problems.append(str(error))
            continue
        resolver = made() if isinstance(made, type) else made
        if not callable(getattr(resolver, "solve", None)) or not hasattr(type(resolver), "produces"):
            problems.append(f"expected a resolver or the name of one, found {thing!r}")
            continue
        base = str(label or type(resolver).__name__)
        used = [name for name, _ in found]
        if label is not None and base in used:
            problems.append(f"two stages are called {base}")
        number = 2
        name = base
        while name in used:
            name, number = f"{base}_{number}", number + 1
        found.append((name, resolver))
    if problems:
        raise CompositionError(problems)
    return found


def _arguments(resolver: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Required and optional arguments of a resolver's ``solve``."""
    members = [
        p
        for p in inspect.signature(resolver.solve).parameters.values()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    required = tuple(p.name for p in members if p.default is p.empty)
    return required, tuple(p.name for p in members if p.default is not p.empty)


def _fields(resolver: Any) -> dict[str, str | None]:
    """Fields and totals of a resolver's answer, with units."""
    kind = type(resolver).produces
    units = field_units(kind)
    names = [name for name in getattr(kind, "__dataclass_fields__", {}) if name not in INNER]
    return {name: units.get(name) for name in dict.fromkeys([*names, *units]) if name not in INNER}


def expected_unit(argument: str) -> str | None:
    """What an argument measures, read from its name; None where the name does not say.

    Examples:
        >>> expected_unit("checkpoint_time_s"), expected_unit("network_bandwidth"), expected_unit("model")
        ('second', 'byte/second', None)
    """
    return next((unit for pattern, unit in UNITS if re.search(pattern, argument)), None)


def _fits(unit: str | None, argument: str) -> bool:
    wanted = expected_unit(argument)
    if unit is None or wanted is None:
        return True
    if unit == "1":  # a plain number may be in the unit that the name says
        return True
    units = registry()
    return bool(units.Unit(unit).dimensionality == units.Unit("" if wanted == "1" else wanted).dimensionality)


def _wired(
    given: Sequence[tuple[str, BaseResolver]], declared: dict[str, str | None] | None, wiring: dict[str, str]
) -> tuple[list[Stage], list[str]]:
    names = [name for name, _ in given]
    outputs = {name: _fields(resolver) for name, resolver in given}
    problems = _bad_wires(given, outputs, declared, wiring)
    stages = []
    for index, (name, resolver) in enumerate(given):
        required, optional = _arguments(resolver)
        sources: dict[str, str] = {}
        for argument in required + optional:
            wire = wiring.get(f"{name}.{argument}")
            makers = [before for before in names[:index] if argument in outputs[before]]
            if wire is not None:
                sources[argument] = wire
            elif len(makers) > 1:
                problems.append(
                    f"{argument} of {name} is found by {alternatives(makers).replace(' or ', ' and ')}; say which: "
                    f"wiring={{'{name}.{argument}': '{makers[-1]}.{argument}'}}"
                )
            elif makers and declared is not None and argument in declared:
                problems.append(
                    f"{argument} of {name} is an input and is found by {makers[0]}; say which: "
                    f"wiring={{'{name}.{argument}': '{argument}'}}"
                )
            elif makers:
                sources[argument] = f"{makers[0]}.{argument}"
            elif declared is None or argument in declared:
                sources[argument] = argument
            elif argument in required:
                later = [after for after in names[index + 1 :] if argument in outputs[after]]
                told = f"; {later[0]} gives it, but only later: put it before {name}" if later else ""
                problems.append(f"{name} needs {argument}{told or _makers(argument, [])}")
            source = sources.get(argument)
            if source is None:
                continue
            maker, _, field = source.rpartition(".")
            unit = outputs.get(maker, {}).get(field) if maker else (declared or {}).get(source)
            if not _fits(unit, argument):
                problems.append(f"{argument} of {name} is a {expected_unit(argument)}, {source} a {unit}")
        stages.append(Stage(name, resolver, required, optional, sources))
    return stages, problems


def _bad_wires(
    given: Sequence[tuple[str, BaseResolver]], outputs: Mapping[str, Any], declared: Any, wiring: Mapping[str, str]
) -> list[str]:
    """Wires that lead from or to nothing, or backwards."""
    names = [name for name, _ in given]
    takes = {name: sum(_arguments(resolver), ()) for name, resolver in given}
    problems = []
    for target, source in wiring.items():
        stage, _, argument = target.rpartition(".")
        if stage not in names:
            problems.append(f"wiring {target!r}: no stage named {stage!r}{_near(stage, names)}")
            continue
        if argument not in takes[stage]:
            problems.append(f"wiring {target!r}: {stage} takes no {argument!r}{_near(argument, takes[stage])}")
        maker, _, field = source.rpartition(".")
        if not maker:
            if declared is not None and source not in declared:
                problems.append(f"wiring {target!r}: no input named {source!r}{_near(source, declared)}")
        elif maker not in names:
            problems.append(f"wiring {target!r}: no stage named {maker!r}{_near(maker, names)}")
        elif field not in outputs[maker]:
            problems.append(f"wiring {target!r}: {maker} gives no {field!r}{_near(field, outputs[maker])}")
        elif names.index(maker) >= names.index(stage):
            back = " and so on round" if any(t.startswith(f"{maker}.") and s.startswith(f"{stage}.")
                                             for t, s in wiring.items()) else ""  # fmt: skip
            kind = "a cycle: " if back or maker == stage else ""
            problems.append(f"{kind}{stage} takes {argument} from {maker}, which comes no earlier{back}")
    return problems


def _makers(name: str, stages: Sequence[Stage]) -> str:
    """Which resolver of the library could give a missing piece."""
    here = {type(stage.resolver).__name__ for stage in stages}
    found = []
    for resolver in RESOLVERS:
        if resolver not in here and name in _fields_of(resolver_named(resolver)):
            found.append(resolver)
    return f"; {alternatives(found[:3])} could give it" if found else ""


def _fields_of(kind: Any) -> Iterable[str]:
    made = getattr(kind, "produces", None)
    return () if made is None else field_units(made)


def _near(name: str, names: Iterable[str]) -> str:
    near = nearest(name, list(names))
    return f"; did you mean {alternatives(near)}?" if near else ""
