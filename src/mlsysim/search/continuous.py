"""The best point of a continuous space, where a grid is too coarse or too large."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidInputError, MissingExtraError
from .blocks import Plan, dir_of, kinds_of
from .constraints import Constraints
from .objective import Objective
from .space import Axis, Space
from .sweeping import plan_for

FAR = 1e30
"""Cost of a point that misses the constraints: above that of any point that meets them (Deb's rule)."""


@dataclass(frozen=True, slots=True)
class Optimum:
    """The best point found, its answer, and what it took."""

    feasible: bool
    best_params: dict[str, float]
    best_objective: float
    best_result: Any
    evaluations: int
    converged: bool
    message: str


def optimize(
    resolver: Any,
    variables: Mapping[str, tuple[float, float]],
    objective: str | Objective,
    constraints: str | Sequence[str] | Constraints | None = None,
    *,
    whole: Sequence[str] = (),
    seed: int = 0,
    generations: int = 300,
    population: int = 24,
    **fixed: Any,
) -> Optimum:
    """Minimise or maximise a field of an answer over ranges of numeric arguments.

    Differential evolution: a whole generation is one vectorised question. Points that miss a constraint or do not fit are
    ranked by how far they are from meeting it, behind all that do. The result is reproducible: the seed is fixed.

    Args:
        resolver: a class such as ``ServingModel``, or its name
        variables: arguments and their ranges, such as ``{"batch_size": (1, 512)}``
        objective: such as ``"maximize: throughput"``
        constraints: such as ``["itl <= 20 ms"]``
        whole: variables that take whole numbers
        seed: of the random numbers
        generations: most generations
        population: points of a generation for each variable
        fixed: the other arguments

    Returns:
        The optimum; ``feasible`` false if no point meets the constraints, then with the nearest miss.

    Raises:
        MissingExtraError: SciPy is not installed

    Source:
        R. Storn and K. Price, J. Global Optimization 11 (1997) 341-359, doi:10.1023/A:1008202821328; constraints by
        K. Deb, Comput. Methods Appl. Mech. Engrg. 186 (2000) 311-338, doi:10.1016/S0045-7825(99)00389-8.

    Examples:
        >>> best = optimize("ServingModel", {"batch_size": (1, 512)}, "maximize: throughput", "itl <= 10 ms",
        ...                 whole=["batch_size"], model="Llama3_8B", hardware="H100", seq_len=2048)
        >>> best.feasible, best.best_params["batch_size"]
        (True, 60.0)
    """
    try:
        from scipy.optimize import differential_evolution
    except ImportError:
        raise MissingExtraError("optimize", "calibrate") from None
    wanted = Objective.parse(objective)
    bounds = range_of(variables, whole)
    names = list(bounds)
    grid = Space([Axis(name, [low]) for name, (low, _) in bounds.items()])
    conditions = Constraints(constraints)
    plan = plan_for(resolver, grid, fixed, conditions, None)
    units: dict[str, str | None] = {**kinds_of(plan.resolver), **dict.fromkeys(names, "1")}
    wanted.check(units, plan.resolver.produces.__name__)
    count = 0

    def costs(points: Any) -> Any:
        nonlocal count
        table = np.atleast_2d(points.T if points.ndim == 2 else points)
        count += len(table)
        values, excess = _ask(plan, names, table, wanted, conditions)
        found = np.where(excess > 0, FAR * (1.0 + excess), wanted.sign * values)
        found = np.where(np.isnan(found), FAR * FAR, found)
        return found if points.ndim == 2 else float(found[0])

    with np.errstate(over="ignore", invalid="ignore"):
        outcome = differential_evolution(
            costs, list(bounds.values()), maxiter=generations, popsize=population, seed=seed, polish=False,
            vectorized=True, updating="deferred", integrality=[name in whole for name in names], tol=1e-10,
        )  # fmt: skip
    point = {name: float(value) for name, value in zip(names, outcome.x, strict=True)}
    values, excess = _ask(plan, names, np.array([outcome.x]), wanted, conditions)
    feasible = bool(excess[0] == 0)
    return Optimum(
        feasible=feasible,
        best_params=point,
        best_objective=float(values[0]),
        best_result=plan.resolver().solve(**plan.fixed, **point),
        evaluations=count,
        converged=bool(outcome.success),
        message=""
        if feasible
        else f"no point found that fits and meets {', '.join(c.text for c in conditions.conditions)}",
    )


def range_of(variables: Mapping[str, tuple[float, float]], whole: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Ranges of variables, checked; whole ones are rounded inwards."""
    faults = []
    found = {}
    for name, given in variables.items():
        try:
            low, high = (float(value) for value in given)
        except (TypeError, ValueError):
            faults.append(f"{name}: expected (lowest, highest), found {given!r}")
            continue
        if name in whole:
            low, high = math.ceil(low) if math.isfinite(low) else low, math.floor(high) if math.isfinite(high) else high
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            faults.append(f"{name}: expected finite lowest < highest, found {given!r}")
        found[name] = (low, high)
    faults += [f"whole: {name!r} is not a variable" for name in whole if name not in variables]
    if not variables:
        faults.append("variables: expected at least one, such as {'batch_size': (1, 512)}")
    if faults:
        raise InvalidInputError(faults)
    return found


def _ask(plan: Plan, names: list[str], table: Any, wanted: Objective, conditions: Constraints) -> tuple[Any, Any]:
    """Objective and distance from the constraints for each row of points."""
    columns: dict[str, Any] = {name: table[:, place] for place, name in enumerate(names)}
    answer = plan.resolver().solve(**plan.fixed, **columns)
    count = len(table)
    for name in {*wanted.expression.fields, *conditions.fields} - {*names, "feasible"}:
        source = answer.si if name in dir_of(answer) else answer
        columns[name] = np.broadcast_to(np.asarray(getattr(source, name)), (count,))
    columns["feasible"] = np.broadcast_to(np.asarray(getattr(answer, "feasible", True), dtype=bool), (count,))
    excess = conditions.excess(columns, count) + np.where(columns["feasible"], 0.0, 1.0)
    for limit in getattr(answer, "limits", ()):
        with np.errstate(divide="ignore", invalid="ignore"):
            over = np.maximum(np.nan_to_num(limit.needed / limit.available - 1.0, nan=0.0, posinf=1e6), 0.0)
        excess = excess + np.where(columns["feasible"], 0.0, np.broadcast_to(over, (count,)))
    return np.broadcast_to(np.asarray(wanted.expression.of(columns), dtype=np.float64), (count,)), excess
