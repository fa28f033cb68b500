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

SHARE = 0.99
"""The percentile that objectives are stated for."""


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
    """A rate of requests on a replica: how many are active, how long one stays, and 99 in 100 at most."""

    active: Count
    stay: Seconds
    late_stay: Seconds


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


def load(running: Pace, rate: PerSecond, slots: Count) -> Load:
    """What an arriving request meets at a replica that is offered a rate and has a number of slots.

    The requests there are a birth-death chain: born at the rate, done at ``rates[n]``, and at that of the full replica
    while others wait. Arrivals see its stationary distribution; it is that of processor sharing, whatever the lengths.
    """
    count = np.arange(1.0, running.rates.shape[0] + 1).reshape((-1,) + (1,) * (running.rates.ndim - 1))
    index = (np.broadcast_to(slots, running.rates.shape[1:]).astype(np.intp) - 1)[None]
    with np.errstate(divide="ignore"):  # nobody comes: the chain stays at zero
        births = np.cumsum(np.log(rate * running.stays / count), axis=0)
    met = np.concatenate([np.zeros_like(births[:1]), births[:-1]])  # log weight of meeting count - 1 others
    inside = count <= slots
    most = np.max(np.where(inside, met, -np.inf), axis=0)
    full, load = at(births, index) - most, rate / at(running.rates, index)
    stable = load < 1
    # Whoever comes when all slots are taken waits, and then shares the replica with all others but one.
    late = np.exp(np.minimum(full, 0.0)) / np.where(stable, 1 - load, 1.0)
    weight = np.where(inside, np.exp(np.where(inside, met, most) - most), 0.0) + np.where(count == slots, late, 0.0)
    weight = np.where(stable, weight, count == slots)
    seen = np.cumsum(weight, axis=0) / np.sum(weight, axis=0)
    unlucky = np.minimum(np.sum(seen < SHARE, axis=0), running.rates.shape[0] - 1)
    stay = (np.sum(weight * running.stays, axis=0) / np.sum(weight, axis=0))[()]
    return Load(
        active=np.minimum(rate * stay, slots), stay=stay, late_stay=at(running.stays, unlucky.astype(np.intp)[None])
    )


def latency(running: Pace, qps: PerSecond, replicas: Count, slots: Count, cv: Count) -> tuple[Any, Any, Any]:
    """Load, p99 of the wait, and p99 from arrival to last token of a request of the stated length.

    The 99th percentiles of the wait for a slot and of the stay are added, which is on the safe side where both vary;
    ``cv`` is the variation of the stays of the requests ahead.
    """
    now = load(running, qps / replicas, slots)
    wait = queueing.wait_quantile(SHARE, qps, now.stay, replicas * slots, cv)
    return now, wait, memory.sum_of_times(wait, now.late_stay, 0.0)


def largest(running: Pace, allowed: Any) -> tuple[Any, Any]:
    """The largest number of active requests that fits and is allowed, 0 if none; and where it stands, at least first."""
    count = np.arange(1.0, running.rates.shape[0] + 1).reshape((-1,) + (1,) * (running.rates.ndim - 1))
    best = np.max(np.where(running.fits & allowed, count, 0.0), axis=0)
    return best[()], np.maximum(best - 1, 0).astype(np.intp)[None]


def at(table: Any, index: Any) -> Any:
    """What a table over active requests holds at an index for each point of the question."""
    return np.take_along_axis(table, index, axis=0)[0][()]
