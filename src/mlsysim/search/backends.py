"""Minimise a function of one's own, under the textbook's names: ``OptimizationRegistry.get_backend("exhaustive")``."""

from __future__ import annotations

import abc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InvalidInputError, MissingExtraError, UnknownEntryError, nearest
from .space import Space

LIMIT = 10_000_000


@dataclass(frozen=True, slots=True)
class OptimizationResult:
    """What a backend found: every variable of the best point, and what it took."""

    feasible: bool
    optimal_value: float
    best_configuration: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    solver_name: str = ""
    solve_time_ms: float = 0.0


class Backend(abc.ABC):
    """Holds a problem until it is solved."""

    name = ""

    def __init__(self) -> None:
        self._function: Callable[..., Any] | None = None
        self._variables: Mapping[str, Any] = {}
        self._maximize = False

    def compile(self, function: Callable[..., Any], variables: Mapping[str, Any], *, maximize: bool = False) -> Backend:
        """State the problem.

        Args:
            function: takes the variables by name and returns a number; infinite or NaN where a point cannot be
            variables: values of each (exhaustive, discrete) or its range (continuous)
            maximize: look for the largest value
        """
        if not callable(function):
            raise InvalidInputError(f"function: expected a function, found {type(function).__name__}")
        if not variables:
            raise InvalidInputError("variables: expected at least one, found none")
        self._function, self._variables, self._maximize = function, variables, maximize
        return self

    def solve(self) -> OptimizationResult:
        """The best point."""
        if self._function is None:
            raise InvalidInputError("solve: no problem stated yet; call compile(function, variables) first")
        start = time.perf_counter()
        value, point, asked = self._search()
        return OptimizationResult(
            feasible=math.isfinite(value),
            optimal_value=-value if self._maximize else value,
            best_configuration=point if math.isfinite(value) else {},
            metrics={"evaluations": float(asked)},
            solver_name=self.name,
            solve_time_ms=(time.perf_counter() - start) * 1e3,
        )

    @abc.abstractmethod
    def _search(self) -> tuple[float, dict[str, Any], int]:
        """Cost and variables of the best point, and how many points were asked."""

    def _cost(self, **point: Any) -> Any:
        value = self._function(**point) if self._function else math.nan
        cost = np.where(np.isnan(np.asarray(value, dtype=np.float64)), math.inf, value)
        return np.where(np.isinf(cost), math.inf, -cost if self._maximize else cost)


class Exhaustive(Backend):
    """Every combination of the values; the first of equal ones."""

    name = "exhaustive"

    def _search(self) -> tuple[float, dict[str, Any], int]:
        space = Space(self._variables)
        if space.size > LIMIT:
            raise InvalidInputError(f"{space.size:,} points; the limit is {LIMIT:,}")
        costs = np.array([float(self._cost(**point)) for point in space.points()])
        best = int(np.argmin(costs))
        return float(costs[best]), space.point(best), space.size


class Continuous(Backend):
    """Ranges of real numbers, by differential evolution and a local polish (SciPy)."""

    name = "continuous"

    def _search(self) -> tuple[float, dict[str, Any], int]:
        try:
            from scipy.optimize import differential_evolution
        except ImportError:
            raise MissingExtraError("the continuous backend", "calibrate") from None
        from .continuous import FAR, range_of

        bounds = range_of(self._variables, ())
        names = list(bounds)

        def cost(x: Sequence[float]) -> float:
            return min(float(self._cost(**dict(zip(names, map(float, x), strict=True)))), FAR)

        found = differential_evolution(cost, list(bounds.values()), seed=0, tol=1e-10, polish=True)
        value = math.inf if found.fun >= FAR else float(found.fun)
        return value, dict(zip(names, map(float, found.x), strict=True)), int(found.nfev)


BACKENDS: dict[str, type[Backend]] = {"exhaustive": Exhaustive, "discrete": Exhaustive, "continuous": Continuous}


class OptimizationRegistry:
    """Backends by name.

    Examples:
        >>> backend = OptimizationRegistry.get_backend("exhaustive")
        >>> found = backend.compile(lambda x, y: (x - 3) ** 2 + (y - 1) ** 2, {"x": range(6), "y": range(6)}).solve()
        >>> found.best_configuration
        {'x': 3.0, 'y': 1.0}
    """

    @staticmethod
    def get_backend(name: str) -> Backend:
        """``exhaustive`` (also ``discrete``) or ``continuous``."""
        if name not in BACKENDS:
            raise UnknownEntryError("optimization backend", name, nearest(name, BACKENDS) or list(BACKENDS))
        return BACKENDS[name]()

    @staticmethod
    def list_available() -> list[str]:
        """Names of the backends."""
        return list(BACKENDS)
