"""What answers are made of, as pictures need it: parts of a time, parts of a memory, lanes of a step, rows of a scorecard."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from ..record import field_units

KINDS = (
    ("Communication", ("communication", "transfer", "network")),
    ("Waiting", ("bubble", "straggler", "wait", "queue")),
    ("Overhead", ("overhead", "update", "draft")),
    ("Memory", ("memory",)),
    ("Compute", ("compute",)),
)
SKIPPED = ("hidden", "ideal")
MEMORY = (
    "model_weights_size", "draft_weights_size", "weights", "gradients", "optimizer_state", "state_size", "kv_cache_size", "cache_size",
    "activation_size", "activations", "logits", "communication_buffers",
)  # fmt: skip
TOTALS = ("memory_per_device", "memory_footprint", "total_memory", "memory_required", "total_memory_required")
CAPACITY = ("memory_capacity", "available_memory")


@dataclass(frozen=True, slots=True)
class TimePart:
    """A part of a time: where it starts and how long it takes, in seconds."""

    name: str
    kind: str
    start: float
    length: float
    phase: str = ""

    @property
    def stop(self) -> float:
        """Where it ends."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Stack:
    """Parts of a memory, in bytes."""

    parts: tuple[tuple[str, float], ...]
    total: float
    capacity: float
    fits: bool


@dataclass(frozen=True, slots=True)
class Lane:
    """A block of a step."""

    lane: str
    name: str
    start: float
    length: float
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a scorecard."""

    name: str
    status: str
    text: str


def _one(answer: Any) -> None:
    if not hasattr(answer, "question") or not hasattr(answer, "si"):
        raise InvalidInputError(f"expected an answer of a solver, found {type(answer).__name__}")
    if answer.shape:
        raise InvalidInputError(f"expected the answer to one question, found a sweep of shape {answer.shape}")


def time_parts(answer: Any) -> list[TimePart]:
    """Parts of the times of an answer; what a phase computes and what it moves start together, the rest follows.

    Raises:
        InvalidInputError: the answer is a sweep, or has no times that add up
    """
    _one(answer)
    units, inside = field_units(type(answer)), answer.si
    names = [
        item.name
        for item in dataclasses.fields(answer)
        if units.get(item.name) == "second" and not any(w in item.name for w in SKIPPED)
    ]
    parts = []
    phases = ("prefill", "decode") if "prefill_compute" in names else ("",)
    for phase in phases:
        clock, overlap = 0.0, 0.0
        own = [n for n in names if n.startswith(phase)] if phase else names
        own += ["kv_transfer"] if phase == "prefill" else ["draft_time"] if phase == "decode" else []
        for name in [n for n in own if n in names]:
            length = float(getattr(inside, name))
            kind = next((kind for kind, words in KINDS if any(word in name for word in words)), None)
            if kind is None or not np.isfinite(length):
                continue
            together = kind in ("Compute", "Memory")
            start = 0.0 if together else max(clock, overlap)
            if together:
                overlap = max(overlap, length)
            else:
                clock = start + length
            if length > 0:
                parts.append(TimePart(_words(name), kind, start, length, phase))
        if any(part.kind != "Total" for part in parts):
            parts.append(TimePart(f"{phase} total".strip(), "Total", 0.0, max(clock, overlap), phase))
    if len(parts) < 2:
        raise InvalidInputError(f"a {type(answer).__name__} has no times that add up to a total")
    return parts


def _words(name: str) -> str:
    plain = name.removesuffix("_latency").removeprefix("latency_").replace("_", " ")
    return plain.replace("tp ", "tensor-parallel ").replace("pp ", "pipeline ").replace("dp ", "data-parallel ").replace(
        "ep ", "expert-parallel ").replace("cp ", "context-parallel ")  # fmt: skip


def memory_parts(answer: Any) -> Stack:
    """What fills the memory of one device.

    Raises:
        InvalidInputError: the answer is a sweep, or holds no memory
    """
    _one(answer)
    inside, names = answer.si, {*field_units(type(answer))}
    capacity = next((float(getattr(inside, name)) for name in CAPACITY if name in names), None)
    found = [(name, float(getattr(inside, name))) for name in MEMORY if name in names]
    if capacity is None or not found:
        raise InvalidInputError(f"a {type(answer).__name__} does not say what fills the memory of a device")
    if "state_size" in names:  # weights are part of the state of a training step
        found = [(name, value) for name, value in found if name != "model_weights_size"]
    devices = float(inside.devices) if "devices" in names else 1.0
    parts = [(_words(name.removesuffix("_size")), value / devices) for name, value in found if value > 0]
    held = sum(value for _, value in parts)
    total = next((float(getattr(inside, name)) for name in TOTALS if name in names), held)
    # What a plan replicates on every device, and working memory without a field of its own.
    if total > held * (1 + 1e-9):
        parts.append(("caches, copies and working memory", total - held))
    return Stack(tuple(parts), total, capacity, bool(answer.feasible))


def step_lanes(answer: Any) -> list[Lane]:
    """A training step as lanes: arithmetic, each kind of communication, waiting.

    Raises:
        InvalidInputError: not an answer of ``DistributedModel``, or a sweep
    """
    _one(answer)
    if "step_latency_total" not in field_units(type(answer)):
        raise InvalidInputError(f"expected an answer of DistributedModel, found {type(answer).__name__}")
    inside = answer.si
    order = [
        ("arithmetic", "compute", "compute_latency"), ("waiting", "pipeline bubble", "pipeline_bubble_latency"),
        ("communication", "tensor parallel", "tp_communication_latency"), ("communication", "expert parallel", "ep_communication_latency"),
        ("communication", "context parallel", "cp_communication_latency"), ("communication", "pipeline sends", "pp_communication_latency"),
        ("communication", "data parallel", "dp_communication_latency"), ("arithmetic", "optimizer update", "update_latency"),
        ("waiting", "stragglers", "straggler_latency"),
    ]  # fmt: skip
    lanes, clock = [], 0.0
    for lane, name, source in order:
        length = float(getattr(inside, source))
        if length > 0:
            lanes.append(Lane(lane, name, clock, length))
            clock += length
    hidden = float(inside.dp_communication_hidden)
    if hidden > 0:
        stop = float(inside.compute_latency)
        lanes.append(Lane("hidden communication", "data parallel, hidden", max(stop - hidden, 0.0), hidden, True))
    return lanes


def scorecard_rows(evaluation: Any) -> list[Row]:
    """The levels of an evaluation, each with its verdict and its summary.

    Raises:
        InvalidInputError: not an evaluation
    """
    levels = getattr(evaluation, "levels", None)
    if levels is None or not hasattr(evaluation, "scenario_name"):
        raise InvalidInputError(
            f"expected an evaluation (of SystemEvaluator or a scenario), found {type(evaluation).__name__}"
        )
    return [Row(level.level_name, level.status, f"{level.status}: {level.summary}") for level in levels]
