"""Whether a training plan can be laid out: a mask in a sweep; alone, an error that names plans near by."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..catalog import Hardware, Systems
from ..catalog.hardware import Device
from ..catalog.systems import Fleet, Node
from ..errors import InvalidPlanError, alternatives, nearest
from ..units import Count
from ..workloads.training import Work
from .border import Border
from .training_plan import Plan


def near_divisors(number: float, value: float, most: int = 3) -> list[int]:
    """Divisors of a number nearest to a value.

    Examples:
        >>> near_divisors(128.0, 6.0, 2)
        [4, 8]
    """
    whole = int(number)
    small = [n for n in range(1, int(whole**0.5) + 1) if whole % n == 0]
    found = {*small, *(whole // n for n in small)}
    return sorted(sorted(found, key=lambda n: (abs(n - value), n))[:most])


def _or(numbers: Sequence[int]) -> str:
    return alternatives([f"{n:g}" for n in numbers])


def layout(plan: Plan, work: Work, chips: Count, ends: Count = 0.0) -> tuple[Any, list[str]]:
    """Whether ranks divide chips, heads, layers, experts and tokens, and what is wrong where they do not.

    Of the layers, ``ends`` are the embedding and the logits, where a stack counts them when it deals layers to stages.
    """
    m = work.model.si
    one = np.asarray(1.0)
    folded = plan.etp is not None
    parts = plan.tp * plan.pp * plan.cp * (1.0 if folded else plan.ep)
    if work.shape is not None:
        heads, experts, layers = m.heads, work.shape.experts, work.layers
        kind = ""
    else:
        heads = experts = layers = 1.0
        kind = f"{work.model.id} is trained with data parallelism only; "
    checks: list[tuple[Any, Callable[[], str]]] = [
        (chips % parts == 0, lambda: (
            f"tensor {plan.tp:g} x pipeline {plan.pp:g}{'' if folded else f' x expert {plan.ep:g}'} x context {plan.cp:g} does not divide "
            f"{chips:g} chips; nearby: {_or(near_divisors(chips, parts))} chips in all"
            f"{', or expert_tp=1 to fold experts over all ranks of a stage' if not folded and _foldable(plan, chips) else ''}")),
        (heads % plan.tp == 0, lambda: (
            f"tp_size {plan.tp:g}: {kind or f'{heads:g} attention heads do not divide; '}try {_or(near_divisors(heads, plan.tp))}")),
        (plan.pp * plan.chunks <= layers, lambda: (
            f"pp_size {plan.pp:g} x v_stages {plan.chunks:g}: {kind}there are {layers - ends:g} layers; "
            f"try {_or(near_divisors(layers - ends, min(float(plan.pp * plan.chunks), float(layers - ends))))} stages in all")),
        (experts % plan.ep == 0, lambda: (
            f"ep_size {plan.ep:g}: {kind or f'{experts:g} routed experts do not divide; '}try {_or(near_divisors(experts, plan.ep))}")),
        (np.mod(plan.data * plan.cp * plan.tp, plan.expert_parts) == 0 if folded else one == 1, lambda: (
            folding(plan.data * plan.cp * plan.tp, experts, plan.ep, plan.etp))),
        ((work.tokens % plan.cp == 0) if work.shape is not None else plan.cp == one, lambda: (
            f"cp_size {plan.cp:g}: {kind}{work.tokens:g} tokens do not divide; try {_or(near_divisors(work.tokens, plan.cp))}")),
        ((plan.chunks == 1) | (plan.pp > 1), lambda: f"v_stages {plan.chunks:g} needs a pipeline; give a pp_size of 2 or more"),
        ((plan.chunks == 1) | (plan.microbatches % plan.pp == 0), lambda: (
            f"v_stages {plan.chunks:g}: {plan.microbatches:g} micro-batches are not a multiple of {plan.pp:g} stages; "
            f"try {np.ceil(plan.microbatches / plan.pp) * plan.pp:g}")),
        ((plan.chunks == 1) | (plan.schedule in ("1f1b", "interleaved")), lambda: (
            f"v_stages {plan.chunks:g}: the {plan.schedule} schedule has one chunk a stage")),
        ((plan.schedule != "dualpipe") | ((plan.pp % 2 == 0) & (plan.microbatches % 2 == 0) & (plan.microbatches >= 2 * plan.pp)), lambda: (
            f"dualpipe: {plan.pp:g} stages and {plan.microbatches:g} micro-batches; it needs an even number of both, and two "
            f"micro-batches a stage; try {2 * np.ceil(plan.pp / 2):g} stages and {4 * np.ceil(plan.pp / 2):g} micro-batches")),
    ]  # fmt: skip
    good: Any = True
    problems = []
    for fine, message in checks:
        good = np.logical_and(good, fine)
        if np.ndim(fine) == 0 and not fine and _plain(plan):
            problems.append(message())
    return good, problems


def _foldable(plan: Plan, chips: Count) -> bool:
    """Whether expert ranks fit in a stage if they are folded over its other ranks."""
    return bool(plan.ep > 1 and chips % (plan.tp * plan.pp * plan.cp) == 0 and chips % (plan.pp * plan.ep) == 0)


def folding(ranks: Count, experts: Count, ep: Count, etp: Count) -> str:
    """What is wrong where expert ranks times tensor ranks of an expert do not divide the ranks of a stage."""
    near = [n for n in near_divisors(experts, float(ep), 64) if ranks % (n * etp) == 0]
    found = f"ep_size {ep:g} x expert_tp {etp:g}: {experts:g} routed experts over {ranks:g} ranks of a stage"
    if not near:
        return f"{found}; try expert_tp {_or(near_divisors(ranks, float(etp)))}"
    return f"{found}; try ep_size {_or(sorted(sorted(near, key=lambda n: (abs(n - ep), n))[:3]))}"


def _plain(plan: Plan) -> bool:
    return all(np.ndim(value) == 0 for value in (plan.tp, plan.pp, plan.ep, plan.cp, plan.chunks, plan.microbatches))


def dealt(plan: Plan, batch: Count) -> tuple[Any, str]:
    """Whether the batch divides over data ranks and micro-batches, and what is wrong if not."""
    share = plan.data * plan.microbatches
    fine = batch % share == 0
    if np.ndim(fine) or fine:
        return fine, ""
    ranks = plan.data
    below, above = max(np.floor(batch / share), 0.0) * share, np.ceil(batch / share) * share
    batches = [f"{value:g}" for value in (below, above) if value > 0]
    found = (
        f"batch_size {batch:g} does not divide over {ranks:g} data-parallel ranks x {plan.microbatches:g} micro-batches; "
        f"nearby: batch {alternatives(batches)}"
    )
    if batch % ranks == 0:
        found += f", or {_or(near_divisors(batch / ranks, plan.microbatches))} micro-batches"
    return fine, found


def fleet_of(border: Border, value: Any) -> Any:
    """A fleet or a node, or the name of one; a device alone has nobody to talk to."""
    if isinstance(value, Device) or (isinstance(value, str) and value in Hardware and value not in Systems):
        name = value.id if isinstance(value, Device) else value
        border.problems.append(f"fleet: expected a fleet or a node, found the device {name}")
        return None
    return border.entry("fleet", value, (Fleet, Node), Systems)


def taken(border: Border, solver: Any, plan: Mapping[str, Any]) -> None:
    """Arguments handed on to another solver must be some that it has."""
    names = [*inspect.signature(solver.solve).parameters][1:]
    for name in plan:
        if name not in names:
            near = nearest(name, names)
            hint = f"; did you mean {alternatives(near)}?" if near else ""
            border.problems.append(f"{name}: {solver.__name__} takes no such argument{hint}")


def refuse(problems: list[str]) -> None:
    """Raise what is wrong with a plan, if anything is."""
    if problems:
        raise InvalidPlanError(problems)
