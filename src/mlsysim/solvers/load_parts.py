"""What an engine's steps are made of over a grid of batches: kernels timed once, host costs of a stack added after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..physics.serving_load import cache_pool, engine_step_time
from ..units import Bytes, Count, Seconds
from ..workloads.language import Work
from .load_balance import Policy, Server, interpolate
from .serving_engine import Engine

GRID = np.array([1.0, 2.0, 3.0, *(step * 2.0**power for power in range(1, 18) for step in (2.0, 3.0))])
"""Batches at which decode steps are timed, the same for all loads: most kernels of many loads are timed once."""
DRAFT_WORK = 1.5
"""Work of one draft layer over that of one layer of the model: it has a projection of two inputs and its own head."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a server: requests in flight and lengths, drafted tokens and how many a step yields."""

    asked: Count
    input: Count
    output: Count
    cached: Count = 0.0
    drafted: Count = 0.0
    accepted: Count = 1.0


@dataclass(frozen=True, slots=True)
class StepParts:
    """Steps without what the host adds: kernel time and launches."""

    kernels: Seconds
    launches: Count

    def time(self, stack: Any, scale: Any = 1.0) -> Seconds:
        """With what a stack adds."""
        s = stack.si
        return engine_step_time(self.kernels * scale, self.launches * scale, s.gap, s.step_host)


@dataclass(frozen=True, slots=True)
class Parts:
    """All steps that a load needs."""

    load: Load
    batches: Any
    decode: StepParts
    alone: StepParts
    together: StepParts
    most_batched: Count
    draft_scale: Any
    weights: Bytes
    cache_input: Bytes
    cache_token: Bytes
    data: Count
    sigma_decode: Any
    sigma_prefill: Any
    floor: Seconds
    prefill_floor: Seconds
    notes: tuple[str, ...]

    def places(self, stack: Any, capacity: Bytes) -> Count:
        """Requests that the instance holds at the same time; ranks of data-parallel attention count each for itself."""
        s = stack.si
        pool = cache_pool(capacity, s.memory_share, self.weights, s.reserve, s.share_of_free)
        one = self.cache_input + self.cache_token * self.load.output * s.cached_output
        return np.minimum(np.floor(pool / one), s.max_sequences) * self.data

    def server(self, stack: Any, capacity: Bytes) -> Server:
        """The engine as the load sees it."""
        return Server(
            batches=self.batches,
            steps=self.decode.time(stack, self.draft_scale),
            prefill=self.alone.time(stack),
            batched=self.together.time(stack) / self.most_batched,
            most_batched=self.most_batched,
            places=self.places(stack, capacity),
            output=self.load.output,
            tokens_per_step=self.load.accepted,
        )


def policy_of(stack: Any, apart: bool = False, spread: Any = 1.0) -> Policy:
    """What the scheduler of a stack adds to a first token.

    Requests of one length that start together end together, and stay in lock-step; lengths that vary, by ``spread`` of
    the longest, take them apart, and only the start of a run is a burst.
    """
    s = stack.si
    burst = np.where(np.greater(spread, 0), s.burst, s.lock_step_burst)[()]
    return Policy(s.first_token_fixed, s.first_token_steps, s.disaggregated_burst if apart else burst)


def parts_of(engine: Engine, load: Load, budget: Count, decoding: bool = True) -> Parts:
    """Time the steps of an engine under a load."""
    layout = engine.layout
    asked = np.asarray(load.asked, dtype=np.float64)
    shape = np.broadcast_shapes(*(np.shape(value) for value in (
        asked, load.input, load.output, load.cached, load.drafted, load.accepted)))  # fmt: skip
    batches = GRID[: int(np.searchsorted(GRID, min(float(np.max(asked)), GRID[-1]))) + 1]
    batches = GRID[:2] if len(batches) < 2 else batches
    context = np.asarray(load.input + load.output / 2.0)[..., None]
    drafted = np.asarray(load.drafted, dtype=np.float64)[..., None]
    decode = engine.step(Work("decode", batches, 1.0 + drafted if np.any(drafted) else 1.0, context))

    def at_asked(values: Any) -> Any:
        """A column of the steps at the number of requests in flight."""
        columns = np.broadcast_to(
            values, (*np.shape(values)[:-1], len(batches)) if np.ndim(values) else (len(batches),)
        )
        return interpolate(batches, columns, np.broadcast_to(asked, shape))

    new = np.maximum(np.asarray(load.input - load.cached, dtype=np.float64), 1.0)
    chunks = np.ceil(new / budget)
    alone = engine.step(Work("prefill", 1.0, new, load.cached))
    # Batched prompts share the launches of one step; with data-parallel attention each rank has a budget of its own.
    many = np.maximum(np.floor(budget / new), 1.0) * layout.data
    together = engine.step(Work("prefill", many, new, load.cached))
    inside = engine.model.si
    tokens = np.asarray(load.input, dtype=np.float64)
    cached = engine.cache_of(tokens)
    token = (engine.cache_of(tokens + 1024.0) - cached) / 1024.0
    return Parts(
        load=load, batches=batches,
        decode=StepParts(decode.kernels.time, decode.kernels.launches),
        alone=StepParts(alone.kernels.time, alone.kernels.launches * chunks),
        together=StepParts(together.kernels.time, together.kernels.launches * chunks),
        most_batched=many, draft_scale=1.0 + DRAFT_WORK * drafted / inside.layers,
        weights=engine.weights(), cache_input=cached, cache_token=token, data=layout.data,
        sigma_decode=at_asked(decode.kernels.sigma), sigma_prefill=alone.kernels.sigma,
        floor=at_asked(decode.kernels.floor),
        prefill_floor=alone.kernels.floor,
        notes=tuple(dict.fromkeys((*decode.kernels.notes, *alone.kernels.notes))),
    )  # fmt: skip
