"""A replica that batches continuously, as a server of slots whose pace depends on how many are taken.

A request holds a slot from its prefill to its last token. While ``n`` are active, each step takes ``step(n)`` and every
request that enters stalls the others for its prefill, so that in a steady state a stay lasts ``n P + O step(n)`` and a
replica serves ``n`` over that a second. Requests that find all slots of all replicas taken wait in one queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..physics import batching, memory, queueing
from ..units import Count, PerSecond, Seconds
from .border import shape_of
from .serving import ServingModel


@dataclass(frozen=True, slots=True)
class Pace:
    """How a replica runs with 1, 2, ... requests active; the first axis counts them, the others are the question's."""

    prefill: Seconds
    steps: Any
    stays: Any
    rates: Any
    fits: Any
    devices: Count
    needed: Any
    capacity: Any
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """A rate of requests on some replicas: active requests of each, the stay of one, the spread of the queue."""

    active: Count
    stay: Seconds


def pace(
    model: Any,
    hardware: Any,
    prompt: Any,
    output: Any,
    most: int,
    precision: Any,
    efficiency: Any,
    *others: Any,
    room: Any = None,
    **options: Any,
) -> Pace:
    """The pace of a replica for every number of active requests up to ``most``; ``others`` only lend their shape.

    Each slot has room for ``room`` tokens: those of prompt and output unless said.
    """
    serving = ServingModel()
    one = serving.solve(model, hardware, prompt, 1, precision, efficiency, **options)
    shape = shape_of(*(np.asarray(v) for v in (prompt, output, *others)), *_of(one.shape))
    count = np.arange(1.0, most + 1).reshape((most,) + (1,) * len(shape))
    # A sequence is half way through its output on average, and all of it must fit at the end.
    middle = serving.solve(model, hardware, prompt + np.floor(output / 2), count, precision, efficiency, **options)
    longest = prompt + output if room is None else room
    end = serving.solve(model, hardware, longest, count, precision, efficiency, **options)
    whole = (most, *shape)
    steps = np.broadcast_to(middle.si.step_latency, whole)
    stays = batching.residence_time(steps, one.si.ttft, count, output)
    return Pace(
        prefill=one.si.ttft,
        steps=steps,
        stays=stays,
        rates=batching.slot_capacity(stays, count),
        fits=np.broadcast_to(end.si.feasible, whole),
        devices=one.si.devices,
        needed=end.si.memory_per_device,
        capacity=end.si.memory_capacity,
        notes=one.notes,
    )


def _of(shape: tuple[int, ...]) -> tuple[Any, ...]:
    return (np.empty(shape),) if shape else ()


def load(running: Pace, output: Count, rate: PerSecond) -> Load:
    """Active requests of a replica that is offered a rate, and how long each stays.

    The smallest number that can serve the rate, between whole numbers by interpolation; a lone request has one
    slot's pace. Past the last number the answer is the last: the queue then says that it is unstable.
    """
    rates = running.rates
    rate = np.broadcast_to(rate, np.broadcast_shapes(np.shape(rate), rates.shape[1:]))
    lead = rate.ndim - (rates.ndim - 1)
    table = rates.reshape((rates.shape[0],) + (1,) * lead + rates.shape[1:])
    below = np.sum(table < rate, axis=0)
    upper = np.minimum(below, rates.shape[0] - 1)
    lower = np.maximum(upper - 1, 0)
    full = np.broadcast_to(table, (rates.shape[0], *rate.shape))
    high = np.take_along_axis(full, upper[None], axis=0)[0]
    low = np.take_along_axis(full, lower[None], axis=0)[0]
    part = np.where(high > low, (rate - low) / np.where(high > low, high - low, 1.0), 0.0)
    active = np.where(below == 0, 1.0, np.minimum(lower + 1 + np.minimum(part, 1.0), rates.shape[0]))
    alone = batching.residence_time(running.steps[0], running.prefill, 1.0, output)
    stay = np.maximum(alone, active / np.maximum(rate, 1e-300) * (below > 0))
    return Load(active=active, stay=stay)


def latency(
    running: Pace, output: Count, qps: PerSecond, replicas: Count, slots: Count, cv: Count
) -> tuple[Any, Any, Any]:
    """Load, p99 of the wait, and p99 from arrival to last token of a request of the stated length.

    A request's wait does not depend on its own length, so that the percentile of its latency is its stay and the
    percentile of the wait; ``cv`` is the variation of the stays it waits for.
    """
    now = load(running, output, qps / replicas)
    wait = queueing.wait_quantile(0.99, qps, now.stay, replicas * slots, cv)
    return now, wait, memory.sum_of_times(wait, now.stay, 0.0)


def largest(running: Pace, allowed: Any) -> tuple[Any, Any]:
    """The largest number of active requests that fits and is allowed, 0 if none; and where it stands, at least first."""
    count = np.arange(1.0, running.rates.shape[0] + 1).reshape((-1,) + (1,) * (running.rates.ndim - 1))
    best = np.max(np.where(running.fits & allowed, count, 0.0), axis=0)
    return best[()], np.maximum(best - 1, 0).astype(np.intp)[None]


def at(table: Any, index: Any) -> Any:
    """What a table over active requests holds at an index for each point of the question."""
    return np.take_along_axis(table, index, axis=0)[0][()]
