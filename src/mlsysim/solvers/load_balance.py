"""The fixed point of a server in a closed loop: how many requests run decides how long a step takes, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..physics.memory import sum_of_times
from ..physics.serving_load import (
    first_token_time,
    prefill_pass_time,
    prefill_queue_time,
    slot_wait,
    stalled_token_time,
)
from ..units import Count, Fraction, Seconds

ROUNDS = 25
"""Damped iterations; the load changes by less than a thousandth after about half of them."""
HALVINGS = 40
"""Halvings of the interval in which the number of decoding requests lies."""
CROWDED = 0.8
"""Requests in flight over places in the cache beyond which waiting times swing too far to be told as a number."""


@dataclass(frozen=True, slots=True)
class Server:
    """An engine as the load sees it: step times on a grid of batches, prefill alone and batched, places.

    ``steps``, and ``batches`` where they are not the same for all, have one more axis, the last, along which the batch grows.
    """

    batches: Any
    steps: Any
    prefill: Seconds
    batched: Seconds
    most_batched: Count
    places: Count
    output: Count
    tokens_per_step: Count = 1.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What a stack's scheduler adds."""

    fixed: Seconds
    steps: Count
    burst: Fraction


@dataclass(frozen=True, slots=True)
class Balance:
    """Where the loop settles."""

    token_time: Seconds
    first_token: Seconds
    running: Count
    decoding: Count
    step: Seconds
    stall: Seconds
    wait: Seconds
    shared: Seconds


def interpolate(batches: Any, steps: Any, batch: Any) -> Any:
    """Step time at a batch, straight between the points of the grid; the ends hold beyond it."""
    batch = np.asarray(batch, dtype=np.float64)
    if np.ndim(batches) == 1:
        place = np.clip(np.searchsorted(batches, batch, side="right") - 1, 0, len(batches) - 2)
        low, high = batches[place], batches[place + 1]
        part = np.clip((batch - low) / (high - low), 0.0, 1.0)
        steps = np.asarray(steps)
        if steps.ndim == 1:
            before, after = steps[place], steps[place + 1]
        else:
            shape = np.broadcast_shapes(steps.shape[:-1], np.shape(batch))
            steps, place = np.broadcast_to(steps, (*shape, steps.shape[-1])), np.broadcast_to(place, shape)[..., None]
            before = np.take_along_axis(steps, place, -1)[..., 0]
            after = np.take_along_axis(steps, place + 1, -1)[..., 0]
        return before + part * (after - before)
    batch = batch[..., None]
    batches, steps = np.broadcast_arrays(batches, steps)
    low, high = batches[..., :-1], batches[..., 1:]
    part = np.clip((batch - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    return steps[..., 0] + (part * np.diff(steps, axis=-1)).sum(axis=-1)


def settle(server: Server, asked: Count, policy: Policy) -> Balance:
    """The loop of ``asked`` requests that are always in flight.

    Args:
        server: the engine
        asked: requests in flight
        policy: of the stack
    """
    running = np.maximum(np.minimum(asked, server.places), 1.0)
    output = np.maximum(server.output, 1.0)
    token = interpolate(server.batches, server.steps, running) / server.tokens_per_step
    first = server.prefill
    step = stall = shared = new_token = served = token * 0.0
    share = np.ones_like(np.asarray(token))
    for _ in range(ROUNDS):
        decode = output * token
        share = decode / (decode + first)
        step = interpolate(server.batches, server.steps, np.maximum(running * share, 1.0))
        # Requests that arrive during one step and one prefill are taken in together.
        waiting = running / (decode + first) * (step + server.prefill)
        together = np.clip(waiting, 1.0, server.most_batched)
        part = (together - 1) / np.maximum(server.most_batched - 1, 1e-9)
        shared = server.prefill + np.clip(part, 0.0, 1.0) * (server.batched - server.prefill)
        new_token = stalled_token_time(step / server.tokens_per_step, running, share, shared, output)
        served = first_token_time(policy.fixed, server.prefill, step, policy.steps, policy.burst, running, shared)
        stall = new_token - step / server.tokens_per_step
        token = (token + new_token) / 2
        # A request is decoded only while it runs, so the wait for a place is outside the balance.
        first = (first + served) / 2
    residence = sum_of_times(served, output * new_token, 0.0)
    wait = slot_wait(asked, running, residence)
    first = sum_of_times(served, wait, 0.0)
    return Balance(new_token, first, running, running * share, step, stall, wait, shared)


def settle_apart(
    prefiller: Server, decoder: Server, asked: Count, prefill_workers: Count, decode_workers: Count, policy: Policy,
    hand_over: Seconds, hand_over_steps: Count,
) -> Balance:  # fmt: skip
    """The same loop where some workers prefill and others decode: requests are where Little's law has them.

    Those that wait, prefill, are handed over and decode are all there are, so the slower side sets the rate and the rest
    wait before it.

    Args:
        prefiller: a prefill worker
        decoder: a decode worker
        asked: requests in flight
        prefill_workers: how many prefill
        decode_workers: how many decode
        policy: of the stack; its burst is that of requests that meet at a prefill worker
        hand_over: of the cache and the request, from one to the other
        hand_over_steps: decode steps that a request waits to be taken in
    """
    output = np.maximum(decoder.output, 1.0)
    workers, places = decode_workers * 1.0, np.maximum(decoder.places, 1.0)
    others = np.maximum(asked / prefill_workers - 1, 0.0)

    def at(decoding: Any) -> tuple[Any, ...]:
        """Requests a second, time to first token and the rest where each worker decodes that many requests."""
        step = interpolate(decoder.batches, decoder.steps, np.maximum(decoding, 1.0))
        token = step / decoder.tokens_per_step
        rate = workers * decoding / (output * token)
        each = rate / prefill_workers
        passed = prefill_pass_time(each, prefiller.prefill, prefiller.batched, prefiller.most_batched)
        queued = prefill_queue_time(each, passed, prefiller.batched, prefiller.most_batched)
        queued = queued * others / (others + 1) + policy.burst * others / 2 * prefiller.batched
        return rate, policy.fixed + passed + queued + hand_over + hand_over_steps * step, token, step, passed

    # More requests that decode are more that arrive, so the loop closes at one number of them.
    low = np.zeros(np.broadcast_shapes(np.shape(asked), np.shape(workers), np.shape(places), np.shape(output)))
    most = np.minimum(asked / workers, places)
    high = low + most
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        rate, first, *_ = at(middle)
        few = rate * first + workers * middle < asked
        low, high = np.where(few, middle, low), np.where(few, high, middle)
    decoding = np.where(most - high < 1e-6 * most, most, high)
    rate, first, token, step, passed = at(decoding)
    # Where all places of the decoders are taken, the others wait for one.
    wait = np.where(decoding < most, 0.0, np.maximum(asked / rate - first - output * token, 0.0))
    wait = np.where(asked / workers > places, wait, 0.0)
    return Balance(token, first + wait, workers * np.minimum(asked / workers, places), workers * decoding, step,
                   token * 0.0, wait, passed)  # fmt: skip
