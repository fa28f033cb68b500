"""Whole runs ranked: fleets of several sizes, each with its best plan, against a budget and a deadline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from .border import Border
from .training_run import TrainingRunModel
from .training_search import best_plans

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs that keep the budget and the deadline, the best first; the others, nearest first; fleets on which no plan fits."""

    title: str
    runs: list[dict[str, Any]]
    others: list[dict[str, Any]]
    too_small: list[int]
    order: str


def ranked_runs(
    model: Any,
    fleets: Sequence[Any],
    tokens: Any,
    batch: Any,
    seq_len: Any = 4096,
    precision: Any = "bf16",
    stack: Any = "megatron",
    *,
    budget: Any = None,
    deadline: Any = None,
    **run: Any,
) -> Runs:
    """The fastest plan of every fleet, and what the whole run then takes and costs.

    With a deadline the cheapest run in time comes first, else the fastest. A run keeps a deadline if nine in ten simulated
    ones do.

    Args:
        model: an entry of ``Models`` or its name
        fleets: fleets, nodes or their names
        tokens: training tokens
        batch: samples of a step
        seq_len: tokens of a sequence
        precision: format of the products
        stack: class of the stack
        budget: dollars at most
        deadline: time at most, such as ``"30 day"``
        run: further arguments of ``TrainingRunModel``, such as ``cloud_usd_per_hour`` or ``datacenter``

    Raises:
        InvalidInputError: no fleet, or a budget where no cost is known

    Examples:
        >>> found = ranked_runs("Llama3_8B", ["DGX_H100"], 1e10, 64, 8192, deadline="1 day", cloud_usd_per_hour=2.5)
        >>> found.runs, [(run["chips"], run["days"] > 1) for run in found.others]
        ([], [(8, True)])
    """
    border = Border()
    most = None if budget is None else border.positive("budget", budget)
    until = None if deadline is None else border.quantity("deadline", deadline, "second")
    if not len(fleets):
        border.problems.append("fleets: expected at least one fleet or node")
    border.close()
    good: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    too_small: list[int] = []
    for fleet in fleets:
        found = best_plans(model, fleet, batch, seq_len, precision, stack, 1)
        if not found.plans:
            too_small.append(found.chips)
            continue
        plan = found.plans[0]
        answer = TrainingRunModel().solve(
            model, fleet, tokens, batch, seq_len=seq_len, precision=precision, stack=stack, tp_size=plan["tp"],
            pp_size=plan["pp"], cp_size=plan["cp"], ep_size=plan["ep"], microbatch_size=plan["microbatch"],
            activation_recomputation=plan["recompute"], zero_stage=plan["zero"], v_stages=plan["chunks"], schedule=plan["schedule"],
            **run,
        )  # fmt: skip
        i = answer.si
        cost = float(i.cost)
        if most is not None and np.isnan(cost):
            raise InvalidInputError("budget: the cost of this hardware is unknown; pass a price of a chip and hour")
        one: dict[str, Any] = {"chips": int(i.chips), "days": float(i.calendar_time) / DAY, "days_late": float(i.latest) / DAY,
               "cost_usd": cost,
               "energy_kwh": float(i.facility_energy) / 3.6e6, "carbon_kg": float(i.operational_carbon),
               "goodput": float(i.goodput), "plan": plan}  # fmt: skip
        fits = (most is None or cost <= most) and (until is None or float(i.latest) <= until)
        excess = max(cost / most if most else 0.0, float(i.latest) / until if until else 0.0)
        (good if fits else others).append(one | {"over": excess})
    key = "cost_usd" if until is not None and not any(np.isnan(one["cost_usd"]) for one in good) else "days"
    good.sort(key=lambda one: one[key])
    others.sort(key=lambda one: one["over"])
    for one in (*good, *others):
        one["over"] = max(one["over"] - 1.0, 0.0)
    name = getattr(model, "id", model)
    order = "cheapest" if key == "cost_usd" else "fastest"
    return Runs(f"{name}: {float(tokens):.3g} tokens in batches of {batch:g}", good, others, too_small, order)
