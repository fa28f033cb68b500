"""A training step as events: which rank of a pipeline does what when, for a trace viewer. The same numbers as the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from .training_step import TrainingStepResult

LARGEST = 400_000
"""More events than this no viewer shows."""


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
class Timeline:
    """Events of one step on the ranks of one pipeline; all other ranks do the same."""

    title: str
    ranks: int
    events: tuple[Event, ...]

    @property
    def length(self) -> float:
        """Seconds from the first event to the end of the last."""
        return max(event.end for event in self.events)

    def busy(self, rank: int) -> float:
        """Seconds in which a rank's kernels run."""
        return sum(event.duration for event in self.events if event.rank == rank and event.stream == "kernels")

    def to_chrome(self) -> dict[str, Any]:
        """The trace event format that Perfetto and Chrome open: times in microseconds."""
        streams = {"kernels": 0, "network": 1}
        names = [
            {"name": "process_name", "ph": "M", "pid": rank, "tid": 0, "args": {"name": f"pipeline rank {rank}"}}
            for rank in range(self.ranks)
        ]
        named = [
            {"name": "thread_name", "ph": "M", "pid": rank, "tid": number, "args": {"name": stream}}
            for rank in range(self.ranks) for stream, number in streams.items()
        ]  # fmt: skip
        events = [
            {"name": event.name, "cat": event.stream, "ph": "X", "pid": event.rank, "tid": streams[event.stream],
             "ts": event.start * 1e6, "dur": event.duration * 1e6} for event in self.events
        ]  # fmt: skip
        return {"displayTimeUnit": "ms", "otherData": {"title": self.title}, "traceEvents": [*names, *named, *events]}

    def write(self, path: Path | str) -> None:
        """Write a JSON trace."""
        Path(path).write_text(json.dumps(self.to_chrome()))


def timeline(step: TrainingStepResult) -> Timeline:
    """The events of a step: its schedule played through stage by stage, then what is left once a step.

    Raises:
        InvalidInputError: a sweep, a zero-bubble or dualpipe schedule, or more events than a viewer shows
    """
    inside, layout = step.si, step.layout
    if step.shape:
        raise InvalidInputError("timeline: expected one step, found a sweep")
    if layout.schedule in ("zero-bubble", "dualpipe"):
        raise InvalidInputError(f"timeline: the {layout.schedule} schedule is not drawn; nearest: 1f1b")
    stages, steps, chunks = int(layout.pp), int(layout.microbatches), int(layout.chunks)
    count = 2 * stages * steps * chunks
    if count > LARGEST:
        raise InvalidInputError(
            f"timeline: {count:,} events are more than the {LARGEST:,} a viewer shows; use a smaller batch"
        )
    head = float(inside.head) / steps
    forward, backward = float(inside.forward_stage), float(inside.backward_stage)
    even = stages > 1 and float(layout.pp * layout.chunks) and head > 0 and _on_last(step)
    mean_head = head / stages if even else head
    events = schedule(
        stages, steps, chunks, forward + mean_head / 3, backward + 2 * mean_head / 3, layout.schedule == "gpipe"
    )
    start = max(event.end for event in events)
    once = [
        ("logits, above the mean stage", "kernels", steps * (head - mean_head)),
        ("hand-overs", "network", float(inside.pp_communication_latency)),
    ]
    rest = float(inside.step_latency_total) - start - sum(part for _, _, part in once) - float(inside.update_latency)
    rest -= float(inside.straggler_latency)
    once += [
        ("gradients and weights of data-parallel ranks, host", "network", max(rest, 0.0)),
        ("optimizer", "kernels", float(inside.update_latency)),
        ("waiting for stragglers", "network", float(inside.straggler_latency)),
    ]
    for name, stream, duration in once:
        if duration > 0:
            events += [Event(rank, stream, name, start, duration) for rank in range(stages)]
            start += duration
    title = f"{step.question.arguments['model'].id}, {float(inside.chips):g} chips, {step.stack}"
    return Timeline(title, stages, tuple(events))


def _on_last(step: TrainingStepResult) -> bool:
    """Whether the last stage has the logits on top of as many layers as the others."""
    layers = float(step.question.arguments["model"].si.layers)
    return layers % float(step.layout.pp * step.layout.chunks) == 0


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
    total = microbatches * chunks
    orders = [_order(stage, stages, microbatches, chunks, all_first) for stage in range(stages)]
    done: dict[tuple[str, int, int, int], float] = {}
    ready, place = [0.0] * stages, [0] * stages
    events: list[Event] = []
    while any(place[stage] < 2 * total for stage in range(stages)):
        moved = False
        for stage in range(stages):
            while place[stage] < 2 * total:
                kind, chunk, batch = orders[stage][place[stage]]
                needed = _needs(kind, stage, chunk, batch, stages, chunks)
                if needed is not None and needed not in done:
                    break
                begin = max(ready[stage], done[needed] if needed is not None else 0.0)
                duration = (forward if kind == "F" else backward) / chunks
                label = f"{'forward' if kind == 'F' else 'backward'} {batch}" + (
                    f", chunk {chunk}" if chunks > 1 else ""
                )
                events.append(Event(stage, "kernels", label, begin, duration))
                ready[stage] = done[(kind, stage, chunk, batch)] = begin + duration
                place[stage] += 1
                moved = True
        if not moved:
            raise InvalidInputError(
                f"schedule: {microbatches} micro-batches do not fit {stages} stages of {chunks} chunks"
            )
    return events


def _order(stage: int, stages: int, microbatches: int, chunks: int, all_first: bool) -> Sequence[tuple[str, int, int]]:
    """What a stage does, in order (Narayanan et al., SC 2021, figures 3 and 4)."""
    total = microbatches * chunks

    def nth(number: int, kind: str) -> tuple[str, int, int]:
        group, inside = divmod(number, stages * chunks)
        chunk = inside // stages if chunks > 1 else 0
        batch = group * stages + inside % stages if chunks > 1 else number
        return kind, chunk if kind == "F" else chunks - 1 - chunk, batch

    if all_first:
        return [*(nth(n, "F") for n in range(total)), *(nth(n, "B") for n in range(total))]
    ahead = stages - stage - 1 if chunks == 1 else 2 * (stages - stage - 1) + (chunks - 1) * stages
    ahead = min(ahead, total)
    order = [nth(n, "F") for n in range(ahead)]
    for n in range(total - ahead):
        order += [nth(n + ahead, "F"), nth(n, "B")]
    return [*order, *(nth(n, "B") for n in range(total - ahead, total))]


def _needs(kind: str, stage: int, chunk: int, batch: int, stages: int, chunks: int) -> tuple[str, int, int, int] | None:
    """What has to be done before."""
    if kind == "F":
        if stage:
            return "F", stage - 1, chunk, batch
        return ("F", stages - 1, chunk - 1, batch) if chunk else None
    if stage < stages - 1:
        return "B", stage + 1, chunk, batch
    return ("B", 0, chunk + 1, batch) if chunk < chunks - 1 else ("F", stage, chunk, batch)
