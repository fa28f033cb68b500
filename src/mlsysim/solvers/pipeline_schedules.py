"""Pipeline schedules played through: which rank does what in which order, and when that makes it start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import InvalidInputError

FORWARD, BACKWARD, INPUTS, WEIGHTS = "forward", "backward", "input gradients", "weight gradients"
"""What a rank does for a micro-batch. A backward pass is whole, or its two halves apart: gradients of inputs, on which the
rank before waits, and gradients of weights, on which nobody does."""
RETURNED = (BACKWARD, INPUTS)
"""Passes after which the rank before can go on."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a pipeline rank does on one of its streams, in seconds from the start of the step."""

    rank: int
    stream: str
    name: str
    start: float
    duration: float

    @property
    def end(self) -> float:
        """When it is over."""
        return self.start + self.duration


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a micro-batch through a rank: ``lane`` is its chunk, or the direction in which it goes (DualPipe)."""

    kind: str
    lane: int
    batch: int


Slot = tuple[Pass, ...]
"""Passes that run side by side; most slots hold one."""
Needs = Callable[[int, Pass], tuple[int, Pass] | None]
"""What must be done before a pass, by whom; None for what can start at once."""


def play(
    orders: Sequence[Sequence[Slot]], needs: Needs, duration: Callable[[Pass], float], named: Callable[[Slot], str]
) -> list[Event] | None:
    """Events of ranks that work through their orders, each slot as soon as what it needs is done; None if they never end.

    Passes after which the rank before can go on count as one kind, whole or not.
    """
    done: dict[tuple[int, Pass], float] = {}
    ready, place = [0.0] * len(orders), [0] * len(orders)
    events: list[Event] = []
    moved = True
    while moved:
        moved = False
        for rank, order in enumerate(orders):
            while place[rank] < len(order):
                slot = order[place[rank]]
                before = [need for one in slot if (need := needs(rank, one)) is not None]
                if any(need not in done for need in before):
                    break
                start = max([ready[rank], *(done[need] for need in before)])
                length = sum(duration(one) for one in slot)
                events.append(Event(rank, "kernels", named(slot), start, length))
                ready[rank] = start + length
                done.update(((rank, _returned(one)), ready[rank]) for one in slot)
                place[rank] += 1
                moved = True
    return events if all(place[rank] == len(order) for rank, order in enumerate(orders)) else None


def _returned(one: Pass) -> Pass:
    return Pass(BACKWARD, one.lane, one.batch) if one.kind in RETURNED else one


def schedule(
    stages: int, microbatches: int, chunks: int, forward: float, backward: float, all_first: bool = False
) -> list[Event]:
    """Events of a pipeline of equal stages: 1F1B, interleaved (more than one chunk), or GPipe.

    Args:
        stages: pipeline stages
        microbatches: micro-batches; a multiple of the stages where there are several chunks
        chunks: model chunks of each stage
        forward: time of a micro-batch on a whole stage, forward
        backward: the same, backward
        all_first: every forward pass before the first backward pass

    Examples:
        >>> max(event.end for event in schedule(4, 8, 1, 1.0, 2.0))  # (8 + 3) x 3
        33.0
        >>> max(event.end for event in schedule(4, 8, 2, 1.0, 2.0))  # (8 + 3/2) x 3
        28.5
    """
    last = stages - 1

    def needs(stage: int, one: Pass) -> tuple[int, Pass] | None:
        if one.kind == FORWARD:
            if stage:
                return stage - 1, one
            return (last, Pass(FORWARD, one.lane - 1, one.batch)) if one.lane else None
        if stage < last:
            return stage + 1, one
        if one.lane < chunks - 1:
            return 0, Pass(BACKWARD, one.lane + 1, one.batch)
        return stage, Pass(FORWARD, one.lane, one.batch)

    def named(slot: Slot) -> str:
        one = slot[0]
        return f"{one.kind} {one.batch}" + (f", chunk {one.lane}" if chunks > 1 else "")

    orders = [_order(stage, stages, microbatches, chunks, all_first) for stage in range(stages)]
    lengths = {FORWARD: forward / chunks, BACKWARD: backward / chunks}
    events = play(orders, needs, lambda one: lengths[one.kind], named)
    if events is None:
        raise InvalidInputError(f"schedule: {microbatches} micro-batches do not fit {stages} stages of {chunks} chunks")
    return events


def _order(stage: int, stages: int, microbatches: int, chunks: int, all_first: bool) -> list[Slot]:
    """What a stage does, in order (Narayanan et al., SC 2021, figures 3 and 4)."""
    total = microbatches * chunks

    def nth(number: int, kind: str) -> Slot:
        group, inside = divmod(number, stages * chunks)
        chunk = inside // stages if chunks > 1 else 0
        batch = group * stages + inside % stages if chunks > 1 else number
        return (Pass(kind, chunk if kind == FORWARD else chunks - 1 - chunk, batch),)

    if all_first:
        return [*(nth(n, FORWARD) for n in range(total)), *(nth(n, BACKWARD) for n in range(total))]
    ahead = stages - stage - 1 if chunks == 1 else 2 * (stages - stage - 1) + (chunks - 1) * stages
    ahead = min(ahead, total)
    order = [nth(n, FORWARD) for n in range(ahead)]
    for n in range(total - ahead):
        order += [nth(n + ahead, FORWARD), nth(n, BACKWARD)]
    return [*order, *(nth(n, BACKWARD) for n in range(total - ahead, total))]


def zero_bubble(stages: int, microbatches: int, forward: float, inputs: float, weights: float) -> list[Event]:
    """Events of ZB-H1: 1F1B with the gradients of weights put off, by as many micro-batches as a stage lies from the first.

    So every stage has as many micro-batches in flight as the first one of 1F1B (Qi et al., ICLR 2024, arXiv:2401.10241,
    section 2.1 and figure 3).

    Args:
        stages: pipeline stages
        microbatches: micro-batches
        forward: time of a micro-batch on a stage, forward
        inputs: gradients of its inputs
        weights: gradients of its weights

    Examples:
        >>> max(event.end for event in zero_bubble(4, 8, 1.0, 1.0, 1.0))  # 8 x 3 + 3; 1F1B takes 33
        27.0
    """
    lengths = {FORWARD: forward, INPUTS: inputs, WEIGHTS: weights}

    def needs(stage: int, one: Pass) -> tuple[int, Pass] | None:
        back = Pass(BACKWARD, 0, one.batch)
        if one.kind == FORWARD:
            return (stage - 1, one) if stage else None
        if one.kind == WEIGHTS:
            return stage, back
        return (stage + 1, back) if stage < stages - 1 else (stage, Pass(FORWARD, 0, one.batch))

    orders: list[list[Slot]] = []
    for stage in range(stages):
        started = min(stages - stage, microbatches)
        order: list[Slot] = [(Pass(FORWARD, 0, n),) for n in range(started)]
        for n in range(microbatches):
            order.append((Pass(INPUTS, 0, n),))
            if n >= stage:
                order.append((Pass(WEIGHTS, 0, n - stage),))
            if n + started < microbatches:
                order.append((Pass(FORWARD, 0, n + started),))
        order += [(Pass(WEIGHTS, 0, n),) for n in range(max(microbatches - stage, 0), microbatches)]
        orders.append(order)
    return play(orders, needs, lambda one: lengths[one.kind], lambda slot: f"{slot[0].kind} {slot[0].batch}") or []


def dualpipe(stages: int, microbatches: int, forward: float, inputs: float, weights: float) -> list[Event]:
    """Events of DualPipe: half of the micro-batches enter at the first rank, half at the last (numbered after the others).

    A rank holds a stage of each direction. In the steady state a forward pass of one direction and a backward pass of the
    other run side by side, so that each hides the exchanges of the other (DeepSeek-V3, arXiv:2412.19437, figures 4 and 5).

    Args:
        stages: pipeline ranks, an even number
        microbatches: micro-batches, an even number, at least two a rank
        forward: time of a micro-batch on a stage, forward
        inputs: gradients of its inputs
        weights: gradients of its weights

    Examples:
        >>> max(event.end for event in dualpipe(4, 8, 1.0, 1.0, 1.0))  # 8 x 3 + (4/2 - 1) x (3 + 2 - 3)
        26.0
    """
    half = microbatches // 2
    lengths = {FORWARD: forward, BACKWARD: inputs + weights, INPUTS: inputs, WEIGHTS: weights}

    def needs(rank: int, one: Pass) -> tuple[int, Pass] | None:
        back = Pass(BACKWARD, one.lane, one.batch)
        if one.kind == WEIGHTS:
            return rank, back
        before = rank + (-1 if (one.kind == FORWARD) == (one.lane == 0) else 1)
        if 0 <= before < stages:
            return before, one if one.kind == FORWARD else back
        return None if one.kind == FORWARD else (rank, Pass(FORWARD, one.lane, one.batch))

    def named(slot: Slot) -> str:
        return " and ".join(f"{one.kind} {one.batch + half * one.lane}" for one in slot)

    orders = [_dual_order(rank, stages, half) for rank in range(stages)]
    return play(orders, needs, lambda one: lengths[one.kind], named) or []


def _dual_order(rank: int, stages: int, half: int) -> list[Slot]:
    """What a rank does; ranks of the second half mirror those of the first, with the directions swapped."""
    mirrored = rank >= stages // 2
    depth = stages - 1 - rank if mirrored else rank
    inner = stages // 2 - depth - 1  # ranks between this one and the middle
    count = {(kind, lane): 0 for kind in (FORWARD, BACKWARD) for lane in (0, 1)}
    waiting: list[Pass] = []
    order: list[Slot] = []

    def nth(kind: str, near: int) -> Pass:
        number = count[_returned(Pass(kind, near, 0)).kind, near]
        count[_returned(Pass(kind, near, 0)).kind, near] += 1
        one = Pass(kind, near ^ mirrored, number)
        if kind == INPUTS:
            waiting.append(Pass(WEIGHTS, one.lane, number))
        return one

    def weights() -> None:
        order.append((waiting.pop(0),))

    order += [(nth(FORWARD, 0),) for _ in range(2 * inner)]
    for _ in range(depth + 1):
        order += [(nth(FORWARD, 0),), (nth(FORWARD, 1),)]
    for _ in range(inner):  # the first gradients return, and those of weights fill the time until the next do
        order.append((nth(INPUTS, 1),))
        weights()
        order.append((nth(FORWARD, 1),))
    for n in range(half - stages + depth + 1):
        if n == 0 and not inner:  # the middle ranks hand on their first forward pass at once
            order += [(nth(FORWARD, 0),), (nth(BACKWARD, 1),)]
        else:
            order.append((nth(FORWARD, 0), nth(BACKWARD, 1)))
        order.append((nth(FORWARD, 1), nth(BACKWARD, 0)))
    for _ in range(inner):
        order += [(nth(BACKWARD, 1),), (nth(FORWARD, 1), nth(BACKWARD, 0))]
    for n in range(2 * (depth + 1)):  # the second half of what only returns puts the gradients of weights off
        order.append((nth(INPUTS if n > depth else BACKWARD, (n + 1) % 2),))
    for _ in range(inner):
        weights()
        order.append((nth(INPUTS, 0),))
    return [*order, *((one,) for one in waiting)]
