"""One block of a sweep: some points of the grid in, columns out. It runs here, in another process or on another machine."""

from __future__ import annotations

import functools
import itertools
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog.spec import Spec
from ..errors import InfeasibleError, InvalidPlanError, MissingFactError, UnsupportedWorkloadError
from ..record import Record, field_units
from ..units import memoised
from .constraints import Constraints
from .space import Space

IMPOSSIBLE = (InvalidPlanError, MissingFactError, UnsupportedWorkloadError, InfeasibleError)
"""A point that raises one of these is a point that cannot be; any other error stops the sweep."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """All that a block needs to know."""

    resolver: type[Any]
    space: Space
    fixed: dict[str, Any]
    outputs: tuple[str, ...]
    where: Constraints

    @property
    def needed(self) -> tuple[str, ...]:
        """Fields to compute: those asked for and those that conditions read."""
        arguments = self.space.names
        return tuple(dict.fromkeys([*self.outputs, *(name for name in self.where.fields if name not in arguments)]))


@functools.lru_cache(maxsize=2)
def _unpacked(packed: bytes) -> Plan:
    """The plan, unpacked once in each process so that entries and their caches are shared by all blocks."""
    found: Plan = pickle.loads(packed)
    return found


def run_packed(packed: bytes, start: int, stop: int) -> dict[str, Any]:
    """A block in another process."""
    return run_block(_unpacked(packed), start, stop)


def run_block(plan: Plan, start: int, stop: int) -> dict[str, Any]:
    """Columns of the points ``start`` to ``stop`` that meet the conditions."""
    space, count = plan.space, stop - start
    places = np.unravel_index(np.arange(start, stop), space.shape)
    inner = [axis.numeric for axis in space.axes]
    parts = []
    for rows in _alike(space, places, inner, count):
        asked = dict(plan.fixed)
        shown: dict[str, Any] = {}
        for axis, place, numeric in zip(space.axes, places, inner, strict=True):
            if numeric:
                shown[axis.name] = axis.values[place[rows]]
                asked[axis.name] = axis.argument(shown[axis.name])
            else:
                value = axis.values[place[rows.start]]
                asked[axis.name] = axis.argument(float(value)) if isinstance(value, np.floating) else value
                shown[axis.name] = np.full(rows.stop - rows.start, label(value))
        parts.append(_filtered(plan, {**shown, **_answer(plan, asked, rows.stop - rows.start)}, rows.stop - rows.start))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _alike(space: Space, places: Sequence[Any], inner: list[bool], count: int) -> list[slice]:
    """Runs of points that differ in numbers only: each is one question."""
    changes = np.zeros(count, dtype=bool)
    for place, numeric in zip(places, inner, strict=True):
        if not numeric:
            changes[1:] |= np.diff(place) != 0
    edges = [0, *np.flatnonzero(changes).tolist(), count]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _answer(plan: Plan, asked: dict[str, Any], count: int) -> dict[str, Any]:
    units = kinds_of(plan.resolver)
    try:
        answer = plan.resolver().solve(**asked)
    except IMPOSSIBLE as error:
        found: dict[str, Any] = {
            name: np.full(count, "") if units[name] is None else np.full(count, np.nan) for name in plan.needed
        }
        return {**found, "feasible": np.zeros(count, dtype=bool), "fault": np.full(count, " ".join(str(error).split()))}
    inside = answer.si
    found = {
        name: _column(getattr(inside if name in dir_of(answer) else answer, name), count, units[name])
        for name in plan.needed
    }
    feasible = np.broadcast_to(np.asarray(getattr(answer, "feasible", True), dtype=bool), (count,))
    return {**found, "feasible": feasible, "fault": np.full(count, "")}


def dir_of(answer: Any) -> Any:
    """Fields with a unit: those that are read as SI numbers."""
    return field_units(type(answer))


def _column(value: Any, count: int, unit: str | None) -> Any:
    if unit is None:
        return np.broadcast_to(np.asarray("" if value is None else value), (count,)).astype(str)
    if value is None:
        return np.full(count, np.nan)
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (count,))


def _filtered(plan: Plan, columns: dict[str, Any], count: int) -> dict[str, Any]:
    if plan.where:
        mask = plan.where.of(columns, count) & columns["feasible"]
        columns = {name: column[mask] for name, column in columns.items()}
    wanted = (*plan.space.names, *plan.outputs, "feasible", "fault")
    return {name: columns[name] for name in dict.fromkeys(wanted)}


@memoised
def kinds_of(resolver: type[Any]) -> dict[str, str | None]:
    """Fields of a resolver's answer that a sweep can hold, each with its unit; None for words."""
    owner = resolver.produces
    units: dict[str, str | None] = {}
    skipped = {"feasible", "question", "shape", "notes"}
    for name, unit in field_units(owner).items():
        hint = str(getattr(owner, "__annotations__", {}).get(name, ""))
        if name not in skipped and "Mapping" not in hint and "tuple" not in hint:
            units[name] = unit
    for name in ("bottleneck", "prefill_bottleneck", "decode_bottleneck"):
        if isinstance(getattr(owner, name, None), property):
            units[name] = None
    if isinstance(getattr(owner, "margin", None), property):
        units["margin"] = "1"
    return units


def label(value: Any) -> Any:
    """An entry by its id, anything else as it is."""
    if isinstance(value, (Spec, Record)):
        return getattr(value, "id", type(value).__name__)
    return value if isinstance(value, (str, float, int, np.floating, bool)) else str(value)
