"""Design-space exploration of a small space, point by point, under the textbook's spelling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InfeasibleError, InvalidInputError, UnknownEntryError, nearest
from ..record import field_units
from .blocks import IMPOSSIBLE
from .constraints import Constraints
from .expression import Expression
from .fronts import front
from .objective import objectives
from .space import Space

LIMIT = 1_000_000
TOP = 5


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of a search: the best point, the next ones, and how many could be."""

    best_params: dict[str, Any]
    best_objective: float
    best_result: Any
    top_candidates: list[dict[str, Any]]
    front: list[dict[str, Any]]
    searched: int
    feasible: int
    faults: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """As in a dictionary: ``found["best_params"]``."""
        if name not in self.__slots__:
            raise UnknownEntryError("part of a search's outcome", name, nearest(name, self.__slots__))
        return getattr(self, name)


class DSE:
    """Search a space for the best point that meets the constraints. A point that does not fit never wins.

    Examples:
        >>> from mlsysim import Engine
        >>> space = {"hardware": ["A100", "H100", "H200"], "batch_size": [1, 8, 32]}
        >>> found = DSE(space, "maximize: throughput", ["latency < 10 ms"]).search(
        ...     lambda point: Engine.solve("Llama3_8B", point["hardware"], batch_size=point["batch_size"]))
        >>> found.best_params
        {'hardware': 'H200', 'batch_size': 32}
    """

    def __init__(self, space: Space | Mapping[str, Any], objective: Any, constraints: Any = None) -> None:
        """A space, an objective (or several), and conditions with units.

        Args:
            space: arguments and the values they take
            objective: such as ``"maximize: throughput"``; of several, the first decides and all make the front
            constraints: such as ``["latency < 10 ms"]``
        """
        self.space = space if isinstance(space, Space) else Space(space)
        if not self.space.axes:
            raise InvalidInputError("space: expected at least one axis, found none")
        if self.space.size > LIMIT:
            raise InvalidInputError(
                f"{self.space.size:,} points; the limit of a search point by point is {LIMIT:,} (sweep() asks in blocks)"
            )
        self.objectives = objectives(objective)
        self.constraints = Constraints(constraints)
        # The values as they were given: 8 stays 8, not 8.0.
        self._given = {
            axis.name: [int(v) if isinstance(v, np.floating) and v == int(v) else v for v in axis.values]
            for axis in self.space.axes
        }

    def search(self, evaluate: Callable[[dict[str, Any]], Any]) -> Found:
        """Ask a function about every point.

        Args:
            evaluate: takes a point as a dictionary and returns an answer

        Raises:
            InfeasibleError: no point both fits and meets the constraints; says how many fail which
            UnknownEntryError: an objective or a condition reads a field that the answer does not have
        """
        kept: list[tuple[dict[str, Any], list[float], Any]] = []
        faults: dict[str, int] = {}
        for index in range(self.space.size):
            point = self._point(index)
            try:
                answer = evaluate(point)
            except IMPOSSIBLE as error:
                _tell(faults, str(error))
                continue
            if not np.all(getattr(answer, "feasible", True)):
                _tell(faults, "does not fit")
                continue
            missed = self._missed(answer)
            if missed is not None:
                _tell(faults, f"misses {missed}")
                continue
            costs = [objective.sign * _value(objective.expression, answer) for objective in self.objectives]
            if np.isnan(costs).any():
                _tell(faults, f"{self.objectives[int(np.argmax(np.isnan(costs)))].name} is unknown")
                continue
            kept.append((point, costs, answer))
        if not kept:
            told = "; ".join(f"{count} x {reason}" for reason, count in faults.items())
            raise InfeasibleError(f"none of {self.space.size} points fits and meets the constraints: {told}")
        kept.sort(key=lambda candidate: candidate[1])
        mask = front(np.array([costs for _, costs, _ in kept]))
        shown = [self._shown(*candidate) for candidate in kept]
        first = kept[0]
        return Found(
            best_params=first[0],
            best_objective=shown[0]["objective"],
            best_result=first[2],
            top_candidates=shown[:TOP],
            front=[candidate for candidate, on in zip(shown, mask, strict=True) if on],
            searched=self.space.size,
            feasible=len(kept),
            faults=faults,
        )

    def _point(self, index: int) -> dict[str, Any]:
        places = np.unravel_index(index, self.space.shape)
        return {
            axis.name: axis.argument(self._given[axis.name][place])
            for axis, place in zip(self.space.axes, places, strict=True)
        }

    def _missed(self, answer: Any) -> str | None:
        for condition in self.constraints.conditions:
            if not np.all(_value(condition, answer)):
                return condition.text
        return None

    def _shown(self, point: dict[str, Any], costs: Sequence[float], answer: Any) -> dict[str, Any]:
        values = [objective.sign * cost for objective, cost in zip(self.objectives, costs, strict=True)]
        return {"params": point, "objective": values[0], "objectives": values, "result": answer}


def _tell(faults: dict[str, int], reason: str) -> None:
    faults[reason] = faults.get(reason, 0) + 1


def _value(expression: Expression, answer: Any) -> Any:
    """An expression on one answer, of any kind: a result, a dictionary, an object, with dotted paths."""
    units: dict[str, str | None] = {}
    values: dict[str, Any] = {}
    for name in expression.fields:
        found = answer
        for part in name.split("."):
            found = _part(found, part, name)
        if hasattr(found, "magnitude"):
            base = found.to_base_units()
            units[name], values[name] = str(base.units) or "1", base.magnitude
        else:
            number = isinstance(found, (int, float, np.ndarray, np.number)) and not isinstance(found, (bool, np.bool_))
            units[name], values[name] = ("1" if number else None), found
    expression.check(units, type(answer).__name__)
    value = expression.of(values)
    if np.ndim(value):
        raise InvalidInputError(
            f"{expression.text}: expected one number a point, found an array; use sweep() for arrays"
        )
    return value


def _part(owner: Any, part: str, name: str) -> Any:
    if isinstance(owner, Mapping):
        if part in owner:
            return owner[part]
        known: Any = list(owner)
    else:
        if not part.startswith("_") and hasattr(owner, part):
            return getattr(owner, part)
        known = (
            [*field_units(type(owner)), *(n for n in dir(owner) if not n.startswith("_"))] if owner is not None else []
        )
    raise UnknownEntryError(f"field of {type(owner).__name__}", name, nearest(part, dict.fromkeys(map(str, known))))
