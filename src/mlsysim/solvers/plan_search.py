"""All ways to split a training step over a number of chips, as columns; and their figures, in blocks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..units import Count
from ..workloads.training import FULL, NONE, SELECTIVE, Work
from .training_plan import Held, Machine, Plan, Recipe, Times, memory_of, time_of

BLOCK = 1 << 15
COLUMNS = ("dp", "tp", "pp", "ep", "cp", "chunks", "microbatches", "zero", "recompute", "way")
Grid = dict[str, NDArray[np.float64]]
Way = tuple[str, str]
"""A schedule, and where the states of the optimizer lie. Plans of a way are computed together."""


def divisors(number: float) -> list[int]:
    """All divisors, in order.

    Examples:
        >>> divisors(12.0)
        [1, 2, 3, 4, 6, 12]
    """
    whole = int(number)
    small = [n for n in range(1, int(whole**0.5) + 1) if whole % n == 0]
    return sorted({*small, *(whole // n for n in small)})


@dataclass(frozen=True, slots=True)
class Space:
    """What is searched besides the ranks."""

    max_tp: Count
    max_pp: Count
    max_cp: Count
    max_samples: Count
    stages: tuple[float, ...]
    recompute: tuple[float, ...]
    chunks: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    ways: tuple[Way, ...] = (("1f1b", "none"),)


def factorisations(work: Work, chips: float, space: Space) -> NDArray[np.float64]:
    """Rows (dp, tp, pp, ep, cp) whose product is the number of chips and which the model can be laid out in."""
    m = work.model.si
    heads, layers, experts, tokens = (
        (m.heads, work.layers, work.shape.experts, float(work.tokens)) if work.shape is not None else (1.0,) * 4
    )
    rows = []
    for tp in (n for n in divisors(chips) if n <= space.max_tp and heads % n == 0):
        for pp in (n for n in divisors(chips / tp) if n <= min(space.max_pp, layers)):
            left = chips / tp / pp
            for ep in (n for n in divisors(left) if experts % n == 0):
                for cp in (n for n in divisors(left / ep) if n <= space.max_cp and tokens % n == 0):
                    rows.append((left / ep / cp, tp, pp, ep, cp))
    return np.array(rows, dtype=np.float64).reshape(-1, 5)


def grid(work: Work, chips: float, batch: float, space: Space) -> Grid:
    """Every plan that divides the batch: ranks, micro-batch size, chunks, ZeRO stage, recomputation."""
    rows = factorisations(work, chips, space)
    rows = rows[batch % (rows[:, 0] * rows[:, 3]) == 0]
    samples = [float(n) for n in range(1, int(space.max_samples) + 1)]
    options = np.array([*itertools.product(samples, space.chunks, space.stages, space.recompute)])
    count, each = len(rows), len(options)
    table = np.repeat(rows, each, axis=0)
    option = np.tile(options, (count, 1)) if count else np.empty((0, 4))
    local = batch / (table[:, 0] * table[:, 3])
    steps = local / option[:, 0]
    layers, chunks, stages = work.layers, option[:, 1], table[:, 2]
    # Interleaving needs a pipeline and whole rounds of micro-batches; layers that do not divide make one chunk fuller.
    fine = (local % option[:, 0] == 0) & (
        (chunks == 1) | ((stages > 1) & (steps % stages == 0) & (stages * chunks <= layers))
    )
    # One rank has nothing to share: the stages of ZeRO are then one and the same plan.
    fine &= (option[:, 2] == min(space.stages)) | (table[:, 0] * table[:, 3] * table[:, 4] > 1)
    columns = (*table.T, chunks, steps, option[:, 2], option[:, 3])
    found = [column[fine] for column in columns]
    ways = [_allowed(schedule, found[2], found[5], found[6]) for schedule, _ in space.ways]
    parts = [[column[keep] for column in found] for keep in ways]
    numbers = [np.full(int(keep.sum()), float(number)) for number, keep in enumerate(ways)]
    joined = [np.concatenate(same) for same in zip(*parts, strict=True)]
    return dict(zip(COLUMNS, (*joined, np.concatenate(numbers)), strict=True))


def _allowed(schedule: str, stages: Any, chunks: Any, steps: Any) -> NDArray[np.bool_]:
    """Where a schedule can run; without a pipeline all schedules are one."""
    one: NDArray[np.bool_] = chunks == 1
    if schedule == "1f1b":
        return one
    if schedule == "interleaved":
        return ~one
    fine: NDArray[np.bool_] = one & (stages > 1)
    if schedule == "dualpipe":
        fine &= (stages % 2 == 0) & (steps % 2 == 0) & (steps >= 2 * stages)
    return fine


def figures(
    work: Work, plans: Grid, batch: float, recipe: Recipe, machine: Machine, capacity: float, fused: bool,
    ways: tuple[Way, ...] = (("1f1b", "none"),), room: Any = np.inf,
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:  # fmt: skip
    """Step time (infinite where it does not fit) and memory of each plan, and how many were timed.

    Memory is cheap to find and most plans fail on it, so only those that fit are timed.
    """
    total = len(plans["dp"])
    held_size, step = np.empty(total), np.full(total, np.inf)
    timed = 0
    for number, way in enumerate(ways):
        mine = np.flatnonzero(plans["way"] == number)
        for start in range(0, len(mine), BLOCK):
            block = mine[start : start + BLOCK]
            plan = plan_of({name: column[block] for name, column in plans.items()}, fused, way)
            held = memory_of(work, plan, plan.samples(batch), recipe)
            held_size[block] = held.total
            good = held_size[block] <= capacity
            if machine.host is not None and way[1] != "none":
                good &= machine.host.held(held.shard, 1.0, 0.0) <= room
            fits = block[good]
            if not fits.size:
                continue
            timed += fits.size
            some = plan_of({name: column[fits] for name, column in plans.items()}, fused, way)
            held = memory_of(work, some, some.samples(batch), recipe)
            step[fits] = time_of(work, some, batch, held, recipe, machine).step
    return step, held_size, timed


def plan_of(columns: dict[str, Any], fused: bool, way: Way = ("1f1b", "none")) -> Plan:
    """A plan (or arrays of plans) from its columns."""
    ranks = {name: column for name, column in columns.items() if name != "way"}
    return Plan(**ranks, sequence_parallel=True, schedule=way[0], offload=way[1], fused_attention=fused)


def one(plans: Grid, index: int) -> dict[str, float]:
    """One row of the grid."""
    return {name: float(column[index]) for name, column in plans.items()}


def parts_of(
    work: Work, row: dict[str, float], batch: float, recipe: Recipe, machine: Machine, fused: bool,
    ways: tuple[Way, ...] = (("1f1b", "none"),),
) -> tuple[Held, Times]:  # fmt: skip
    """Memory and times of one plan, in full."""
    plan = plan_of(row, fused, ways[int(row["way"])])
    held = memory_of(work, plan, plan.samples(batch), recipe)
    return held, time_of(work, plan, batch, held, recipe, machine)


def recompute_choices(fused: bool, wanted: float | None) -> tuple[float, ...]:
    """What may be recomputed; with fused attention there are no scores to recompute, so that choice is left out."""
    if wanted is not None:
        return (wanted,)
    return (NONE, FULL) if fused else (NONE, SELECTIVE, FULL)
