"""A training step as events: which rank of a pipeline does what when, for a trace viewer. The same numbers as the answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from .pipeline_schedules import Event, dualpipe, schedule, zero_bubble
from .training_step import TrainingStepResult

LARGEST = 400_000
"""More events than this no viewer shows."""
SPLIT = {"zero-bubble": zero_bubble, "dualpipe": dualpipe}
"""Schedules that do the halves of a backward pass apart."""


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
        InvalidInputError: a sweep, or more events than a viewer shows
    """
    inside, layout = step.si, step.layout
    if step.shape:
        raise InvalidInputError("timeline: expected one step, found a sweep")
    stages, steps, chunks = int(layout.pp), int(layout.microbatches), int(layout.chunks)
    count = (3 if layout.schedule in SPLIT else 2) * stages * steps * chunks
    if count > LARGEST:
        raise InvalidInputError(
            f"timeline: {count:,} events are more than the {LARGEST:,} a viewer shows; use a smaller batch"
        )
    head = float(inside.head) / steps
    forward, backward = float(inside.forward_stage), float(inside.backward_stage)
    even = stages > 1 and float(layout.pp * layout.chunks) and head > 0 and _on_last(step)
    mean_head = head / stages if even else head
    if layout.schedule in SPLIT and stages > 1:
        weights = float(inside.weights_stage)
        parts = [each + mean_head / 3 for each in (forward, backward - weights, weights)]
        events = SPLIT[layout.schedule](stages, steps, *parts)
    else:
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


__all__ = ["Event", "Timeline", "schedule", "timeline"]
