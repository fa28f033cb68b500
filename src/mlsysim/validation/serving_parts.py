"""Kernel times behind every measured point of served load: computed once, for fitting and for scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Hardware, Models
from ..catalog.stacks import Stacks
from ..machine.measured import MeasuredMachine
from ..machine.passes import Links
from ..physics.transformer import speculative_tokens
from ..solvers.load_parts import Load, Parts, parts_of
from ..solvers.serving_engine import Engine, numerics_of
from .serving_data import Case

ACCEPTANCE = 0.7
"""Probability that a drafted token is accepted: what ``ServingLoadModel`` takes unless told."""
NIC = 50e9
"""One direction of the network of one GPU in these systems: 400 Gbit/s."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Cases that differ in load and lengths only, with the steps of their engine."""

    cases: tuple[Case, ...]
    rows: NDArray[np.int64]
    stack: str
    capacity: float
    decode: Parts
    prefill: Parts
    cache_bytes: NDArray[np.float64]
    prefill_chips: float

    def column(self, name: str) -> NDArray[np.float64]:
        """A number of each case."""
        return np.array([getattr(case, name) for case in self.cases], dtype=np.float64)


def engine_of(
    case: Case, layout: Any, machines: dict[tuple[str, str], MeasuredMachine], stacks: Mapping[str, Any] | None = None
) -> Engine:
    """The engine that a case ran."""
    device, stack = Hardware[case.system], (stacks or {}).get(case.stack) or Stacks[case.stack]
    key = (case.system, case.stack)
    if key not in machines:
        machines[key] = MeasuredMachine(device, stack.kernels)
    machine, model = machines[key], Models[case.model]
    numerics = numerics_of(model, case.precision, case.cache, machine.chip.generation)
    return Engine(machine, model, stack, layout, numerics, Links(across=NIC), float(device.si.memory_capacity))


def bundles(cases: Sequence[Case], stacks: Mapping[str, Any] | None = None) -> list[Bundle]:
    """Time the steps of all cases, those of one engine at once.

    Args:
        cases: rows
        stacks: stacks that stand in for those of the catalog, by name
    """
    groups: dict[Any, list[int]] = {}
    for number, case in enumerate(cases):
        groups.setdefault(case.key, []).append(number)
    machines: dict[tuple[str, str], MeasuredMachine] = {}
    found = []
    for numbers in groups.values():
        mine = tuple(cases[number] for number in numbers)
        first = mine[0]
        extra = np.array([case.drafted for case in mine])
        engine = engine_of(first, first.layout, machines, stacks)
        each = np.array([case.concurrency / case.workers[1] for case in mine])
        load = Load(np.maximum(each, 1.0), np.array([c.input for c in mine]), np.array([c.output for c in mine]),
                    drafted=extra, accepted=speculative_tokens(ACCEPTANCE, extra))  # fmt: skip
        budget = engine.stack.si.token_budget
        decode = parts_of(engine, load, budget)
        prefill, chips = decode, 1.0
        if first.prefill_layout is not None:
            prefill = parts_of(engine_of(first, first.prefill_layout, machines, stacks), load, budget)
            chips = first.prefill_layout.chips
        cache = engine.cache_of(load.input) * first.layout.attention
        found.append(Bundle(mine, np.array(numbers), first.stack, float(Hardware[first.system].si.memory_capacity),
                            decode, prefill, np.asarray(cache), chips))  # fmt: skip
    return found
