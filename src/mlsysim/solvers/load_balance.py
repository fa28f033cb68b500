"""The fixed point of a server in a closed loop: how many requests run decides how long a step takes, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..physics.memory import sum_of_times
from ..physics.serving_load import first_token_time, slot_wait, stalled_token_time
from ..units import Count, Fraction, Seconds

ROUNDS = 25
"""Damped iterations; the load changes by less than a thousandth after about half of them."""
CROWDED = 0.8
"""Requests in flight over places in the cache beyond which waiting times swing too far to be told as a number."""


@dataclass(frozen=True, slots=True)
class Server:
    """An engine as the load sees it: step times on a grid of batches, prefill alone and batched, places.

    ``batches`` and ``steps`` have one more axis, the last, along which the batch grows.
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
    batch = np.asarray(batch, dtype=np.float64)[..., None]
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
    """The same loop where some workers prefill and others decode.

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
    each = asked / decode_workers
    running = np.maximum(np.minimum(each, decoder.places), 1.0)
    token = interpolate(decoder.batches, decoder.steps, running) / decoder.tokens_per_step
    first = prefiller.prefill + hand_over
    step = token * 1.0
    for _ in range(ROUNDS):
        decode = output * token
        share = decode / (decode + first)
        step = interpolate(decoder.batches, decoder.steps, np.maximum(np.minimum(each * share, decoder.places), 1.0))
        rate = asked / (decode + first)
        # A request finds those before it at its worker, which never holds more than all. Waiting prompts are batched.
        busy = np.minimum(rate * prefiller.batched / prefill_workers, 1.0)
        queue = np.minimum(busy / np.maximum(1 - busy, 1e-3), np.maximum(asked / prefill_workers - 1, 0.0)) / 2
        queue = queue + policy.burst * np.maximum(asked / prefill_workers - 1, 0.0) / 2
        served = policy.fixed + prefiller.prefill + queue * prefiller.batched + hand_over + hand_over_steps * step
        token = (token + step / decoder.tokens_per_step) / 2
        first = (first + served) / 2
    zero = token * 0.0
    wait = slot_wait(each, np.maximum(np.minimum(each, decoder.places), 1.0), output * token)
    return Balance(token, first + wait, running * decode_workers, running * share * decode_workers, step, zero, wait,
                   prefiller.prefill)  # fmt: skip
