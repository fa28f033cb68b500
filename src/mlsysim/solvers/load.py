"""A serving stack under load: how many requests run, how long a first token waits, how fast the others come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from ..catalog import textbook
from ..catalog.stacks import NAMES, Stacks
from ..errors import InvalidInputError, told
from ..machine.textbook import wiring
from ..physics import queueing
from ..physics import transformer as eq
from ..physics.memory import sum_of_times
from ..physics.serving_load import burst_wait_tail
from ..record import total
from ..units import Bytes, Count, Fraction, PerSecond, Seconds, TokensPerSecond, quantity
from ..workloads.language import Layout
from . import plan as plans
from .base import ForwardModel
from .batching import generator
from .border import Border, shape_of
from .limits import Limit
from .load_balance import CROWDED, Balance, Policy, Server, settle, settle_apart
from .load_parts import Load, parts_of, policy_of
from .result import Question, Result
from .serving_engine import Engine
from .serving_measured import engine_for, kernel_word

BISECTIONS = 40
MOST_BUSY = 0.999
"""Share of its time that prefill may take before the queue is told as endless."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServingLoadResult(Result):
    """Where a server under load settles. Times are means unless a name says otherwise."""

    concurrency: Count
    chips: Count
    output_tokens: Count
    ttft: Seconds
    tpot: Seconds
    step: Seconds
    prefill: Seconds
    prefill_stall: Seconds
    slot_wait: Seconds
    ttft_p99: Seconds
    itl_p99: Seconds
    running_requests: Count
    decoding_requests: Count
    max_running_requests: Count
    cache_per_request: Bytes
    weights_per_device: Bytes
    ttft_sigma: Fraction
    tpot_sigma: Fraction
    mean_residence: Seconds
    saturated: bool
    feasible: bool
    capacity: Bytes = field(repr=False)

    @total
    def itl(self) -> Seconds:
        """Gap between two tokens in which no prefill cuts in."""
        return self.step

    @total
    def throughput(self) -> TokensPerSecond:
        """Generated tokens a second of all requests."""
        return self.concurrency * self.output_tokens / self.mean_residence

    @total
    def throughput_per_gpu(self) -> TokensPerSecond:
        """The same over the chips, those that only prefill included."""
        return self.concurrency * self.output_tokens / self.mean_residence / self.chips

    @total
    def throughput_per_user(self) -> TokensPerSecond:
        """Tokens a second that one user sees."""
        return 1.0 / self.tpot

    @total
    def requests_per_second(self) -> PerSecond:
        """Requests that are finished a second."""
        return self.concurrency / self.mean_residence

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit."""
        inside = self.si
        return (
            Limit("weights per device", inside.weights_per_device, inside.capacity, "byte"),
            Limit("requests in flight", inside.concurrency, np.maximum(inside.max_running_requests, 0.0), "1"),
        )

    def interval(self, probability: float = 0.9) -> dict[str, Any]:
        """Low and high of ``tpot``, ``ttft`` and ``throughput`` between which that share of measurements is expected.

        Throughput is requests over the time of one, so each part of that time counts by its share.
        """
        if not 0 < probability < 1:
            raise InvalidInputError(f"probability: expected a number in (0, 1), found {probability}")
        inside, found = self.si, {}
        share = np.clip(inside.output_tokens * inside.tpot / inside.mean_residence, 0.0, 1.0)
        both = np.hypot((1 - share) * inside.ttft_sigma, share * inside.tpot_sigma)
        parts = {"tpot": inside.tpot_sigma, "ttft": inside.ttft_sigma, "throughput": both}
        for name, sigma in parts.items():
            reach = np.exp(NormalDist().inv_cdf(0.5 + probability / 2) * np.asarray(sigma))
            value, unit = getattr(inside, name), "token/second" if name == "throughput" else "second"
            found[name] = (quantity(value / reach, unit), quantity(value * reach, unit))
        return found


class ServingLoadModel(ForwardModel):
    """Wall 4 under load: a closed form of continuous batching with what hosts and schedulers were measured to add."""

    walls = ((4, "Serving", "node"),)
    requires = ("workload", "hardware")
    produces = ServingLoadResult
    misbeliefs = {
        "time to first token is prefill": "under load most of it is waiting: for the scheduler, for others, for a place",
        "a bigger batch is free until memory is full": "each request also brings a prefill that stalls all others once",
        "throughput per GPU is speed": "it grows with the batch while every single user gets slower",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        input_len: Any,
        output_len: Any,
        concurrency: Any = None,
        arrival_rate: Any = None,
        precision: Any = "fp8",
        stack: str = "vllm",
        *,
        kv_precision: Any = None,
        prefix_hit_ratio: Any = 0.0,
        draft_tokens: Any = 0,
        draft_acceptance_rate: Any = 0.7,
        max_num_seqs: Any = None,
        token_budget: Any = None,
        gpu_memory_utilization: Any = None,
        tp_size: Any = 1,
        pp_size: Any = 1,
        ep_size: Any = 1,
        attention_dp: Any = None,
        length_spread: Any = 0.2,
        prefill_workers: Any = None,
        decode_workers: Any = None,
        prefill_tp_size: Any = None,
        prefill_ep_size: Any = None,
        network_bandwidth: Any = "50 GB/s",
        image: str | None = None,
    ) -> ServingLoadResult:
        """The load of one instance, or of prefill and decode workers.

        Args:
            model: a decoder of ``Models`` or its name
            hardware: a device, a node, a fleet, or a name
            input_len: tokens of a prompt; may be an array
            output_len: tokens that a request generates; may be an array
            concurrency: requests that are always in flight (closed loop); this or ``arrival_rate``
            arrival_rate: requests a second that arrive at random (open loop)
            precision: number format of the checkpoint
            stack: ``vllm``, ``sglang``, ``trtllm``, or ``ideal`` for no host
            kv_precision: number format of the cache; what the stack does unless said
            prefix_hit_ratio: share of each prompt whose cache is already there
            draft_tokens: tokens that the model's own draft layers propose each step
            draft_acceptance_rate: probability that a drafted token is accepted
            max_num_seqs: most requests that the server runs together; that each rank does where attention is data-parallel
            token_budget: most prompt tokens in one step
            gpu_memory_utilization: share of the memory that the server may use
            tp_size: tensor-parallel ranks
            pp_size: pipeline stages
            ep_size: expert-parallel ranks
            attention_dp: data-parallel ranks of attention among the ``tp_size * ep_size``; ``ep_size`` unless said
            length_spread: how far lengths vary, as a share of the longest; at 0 requests stay in lock-step
            prefill_workers: instances that only prefill, where disaggregated
            decode_workers: instances that only decode, where disaggregated
            prefill_tp_size: tensor-parallel ranks of a prefill worker; ``tp_size`` unless said
            prefill_ep_size: expert-parallel ranks of a prefill worker, over which attention is data-parallel; none where
                only ``prefill_tp_size`` is said
            network_bandwidth: of one chip, one direction, over which the cache moves
            image: container image or version of the stack; that of the stack's entry unless said. One that the stack
                was not fitted on widens the interval and leaves a note

        Returns:
            Latencies, throughput, requests that run and fit; ``saturated`` where so many are in flight that the wait
            for a place swings too far to be a number (``ttft`` is NaN there).

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once
            InvalidPlanError: a split that the model or the machine cannot have

        Examples:
            >>> answer = ServingLoadModel().solve("Llama3_8B", "H100", 1024, 1024, concurrency=16)
            >>> bool(answer.feasible), bool(answer.saturated)
            (True, False)
        """
        arguments = dict(model=model, hardware=hardware, input_len=input_len, output_len=output_len,
                         concurrency=concurrency, arrival_rate=arrival_rate, precision=precision, stack=stack,
                         kv_precision=kv_precision, prefix_hit_ratio=prefix_hit_ratio, draft_tokens=draft_tokens,
                         draft_acceptance_rate=draft_acceptance_rate, max_num_seqs=max_num_seqs,
                         token_budget=token_budget, gpu_memory_utilization=gpu_memory_utilization, tp_size=tp_size,
                         pp_size=pp_size, ep_size=ep_size, attention_dp=attention_dp, length_spread=length_spread,
                         prefill_workers=prefill_workers,
                         decode_workers=decode_workers, prefill_tp_size=prefill_tp_size, prefill_ep_size=prefill_ep_size,
                         network_bandwidth=network_bandwidth, image=image)  # fmt: skip
        border = Border()
        network, machine = border.model(model), border.machine(hardware)
        name = border.choice("stack", stack, NAMES)
        border.problems += _image_problems(name, image)
        optional = {
            key: None
            if arguments[key] is None
            else (border.count if key.endswith("workers") else border.one_count)(key, arguments[key])
            for key in ("max_num_seqs", "token_budget", "prefill_workers", "decode_workers", "prefill_tp_size",
                        "prefill_ep_size", "attention_dp")
        }  # fmt: skip
        if (concurrency is None) == (arrival_rate is None):
            border.problems.append("concurrency, arrival_rate: expected exactly one of the two")
        if (prefill_workers is None) != (decode_workers is None):
            border.problems.append("prefill_workers, decode_workers: expected both or neither")
        if arrival_rate is not None and prefill_workers is not None:
            border.problems.append("arrival_rate: expected concurrency where prefill and decode are apart")
        share = None
        if gpu_memory_utilization is not None:
            share = border.fraction("gpu_memory_utilization", gpu_memory_utilization)
        asked = _Asked(
            prompt=border.count("input_len", input_len),
            output=border.count("output_len", output_len),
            concurrency=None if concurrency is None else border.count("concurrency", concurrency),
            rate=None if arrival_rate is None else _rate(border, arrival_rate),
            hits=border.fraction("prefix_hit_ratio", prefix_hit_ratio, closed=True),
            drafted=border.count("draft_tokens", draft_tokens, least=0),
            acceptance=border.fraction("draft_acceptance_rate", draft_acceptance_rate, closed=True),
            spread=border.fraction("length_spread", length_spread, closed=True),
            network=border.quantity("network_bandwidth", network_bandwidth, "byte/second"),
        )
        number = border.format(precision)
        stored = None if kv_precision is None else border.format(kv_precision, "kv_precision")
        sizes = [border.one_count(key, arguments[key]) for key in ("tp_size", "pp_size", "ep_size")]
        border.close()
        generator(type(self).__name__, network)
        group = wiring(machine, textbook().link_latency)
        plans.check(plans.Plan(*sizes), network, group)
        arguments.update(model=network, hardware=machine)
        chosen = _served(Stacks[name], optional, share, image)
        word = kernel_word(number.id)
        layout = Layout.of(sizes[0], sizes[1], sizes[2], optional["attention_dp"])
        decoder = engine_for(network, group, chosen, layout, word, stored)
        prefiller = None
        if prefill_workers is not None:
            width, spread = optional["prefill_tp_size"], optional["prefill_ep_size"]
            prefiller = decoder
            if width is not None or spread is not None:
                there = Layout.of(sizes[0] if width is None else width, 1.0, 1.0 if spread is None else spread)
                prefiller = engine_for(network, group, chosen, there, word, stored)
        return _answer(Question(type(self), arguments), asked, decoder, prefiller, optional)


def _rate(border: Border, value: Any) -> Any:
    if isinstance(value, str) or hasattr(value, "magnitude"):
        return border.quantity("arrival_rate", value, "1/second")
    return border.positive("arrival_rate", value)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The numbers of the question, in SI."""

    prompt: Count
    output: Count
    concurrency: Any
    rate: Any
    hits: Fraction
    drafted: Count
    acceptance: Fraction
    spread: Fraction
    network: Any


def _image_problems(name: str, image: Any) -> list[str]:
    """What is wrong with an image of a stack."""
    if image is None:
        return []
    if not isinstance(image, str) or not 0 < len(image) <= 200 or len(image.split()) != 1:
        return [f"image: expected a version or an image such as {Stacks['vllm'].image}, found {told(image)}"]
    return ["image: expected none with the stack ideal, which is no software"] if name == "ideal" else []


def _served(stack: Any, optional: dict[str, Any], share: Any, image: str | None) -> Any:
    """A stack with the limits and the image that the user set."""
    changes = {
        "max_sequences": optional["max_num_seqs"], "token_budget": optional["token_budget"], "memory_share": share,
        "image": image,
    }  # fmt: skip
    given = {key: value for key, value in changes.items() if value is not None}
    return stack.replace(**given) if given else stack


def _answer(
    question: Question, q: _Asked, decoder: Engine, prefiller: Any, workers: dict[str, Any]
) -> ServingLoadResult:
    stack = decoder.stack
    s = stack.si
    capacity = decoder.capacity
    per_step = eq.speculative_tokens(q.acceptance, q.drafted) if np.any(q.drafted) else 1.0
    first = 1.0 if q.concurrency is None else q.concurrency
    n_prefill, n_decode = workers["prefill_workers"] or 1.0, workers["decode_workers"] or 1.0
    load = Load(
        np.maximum(np.asarray(first) / n_decode, 1.0), q.prompt, q.output, q.prompt * q.hits, q.drafted, per_step
    )
    if q.rate is not None:
        load = replace(load, asked=np.asarray(s.max_sequences, dtype=np.float64))
    parts = parts_of(decoder, load, s.token_budget)
    server, policy = parts.server(stack, capacity), policy_of(stack, prefiller is not None, q.spread)
    chips = decoder.layout.chips * n_decode
    open_wait: Any = 0.0
    tail: Any
    if prefiller is not None:
        front = (
            parts_of(prefiller, load, s.token_budget).server(stack, capacity) if prefiller is not decoder else server
        )
        moved = decoder.cache_of(q.prompt) * decoder.layout.attention / (q.network * prefiller.layout.chips)
        balance = settle_apart(front, server, q.concurrency, n_prefill, n_decode, policy, moved + s.hand_over,
                               s.hand_over_steps)  # fmt: skip
        chips = chips + prefiller.layout.chips * n_prefill
        places, concurrency = server.places * n_decode, q.concurrency
        tail = burst_wait_tail(policy.burst, np.asarray(q.concurrency) / n_prefill, front.prefill)
    elif q.rate is None:
        balance, concurrency, places = settle(server, q.concurrency, policy), q.concurrency, server.places
        tail = burst_wait_tail(policy.burst, balance.running, balance.shared)
    else:
        places = server.places
        concurrency, balance, open_wait, tail = _open(server, q.rate, replace(policy, burst=0.0))
    residence = balance.first_token + open_wait + q.output * balance.token_time
    fits = np.logical_and(places >= 1, parts.weights < capacity)
    saturated = np.greater(concurrency, CROWDED * places)
    whole = sum_of_times(balance.first_token, open_wait, 0.0)
    ttft = _where(np.logical_and(fits, np.logical_not(saturated)), whole)
    chunk = np.minimum(q.prompt, s.token_budget) / q.prompt * server.prefill
    cutting = concurrency / residence * balance.step  # prompts that cut into one step
    gap = balance.step + np.where(cutting > 0.01, chunk, 0.0)
    served = ttft + np.maximum(tail - policy.burst * np.maximum(balance.running - 1, 0.0) / 2 * balance.shared, 0.0)
    notes = list(parts.notes) + [f"{stack.name}: {stack.note}"]
    token_spread = first_spread = 0.0
    token_sigma, first_sigma = s.token_sigma, s.first_sigma
    if prefiller is not None:
        token_sigma, first_sigma = s.disaggregated_token_sigma, s.disaggregated_first_sigma
    if s.image != "none" and not stack.fitted_on(s.image):
        token_spread, first_spread = s.version_token_sigma, s.version_first_sigma
        notes.append(f"image {s.image}: {stack.name} was fitted on versions {', '.join(s.versions.split())}; "
                     "the interval is wider")  # fmt: skip
    if np.any(saturated):
        notes.append("saturated: more requests in flight than four fifths of the places in the cache")
    numbers = dict(
        concurrency=concurrency, chips=chips, output_tokens=q.output, ttft=ttft, tpot=_where(fits, balance.token_time),
        step=_where(fits, balance.step), prefill=server.prefill, prefill_stall=balance.stall, slot_wait=balance.wait,
        ttft_p99=served, itl_p99=_where(fits, gap), running_requests=balance.running,
        decoding_requests=balance.decoding, max_running_requests=places,
        cache_per_request=parts.cache_input + parts.cache_token * q.output, weights_per_device=parts.weights,
        # What a new version changes is independent of the rest, so the variances add.
        ttft_sigma=np.hypot(np.maximum(first_sigma, parts.sigma_prefill), first_spread),
        tpot_sigma=np.hypot(np.maximum(token_sigma, parts.sigma_decode), token_spread),
        mean_residence=residence,
        capacity=capacity,
    )  # fmt: skip
    numbers = {name: number(value) for name, value in numbers.items()}
    shape = shape_of(*(value for value in numbers.values() if np.ndim(value)))
    return ServingLoadResult(question=question, shape=shape, notes=tuple(dict.fromkeys(notes)), **numbers,
                             saturated=truth(saturated), feasible=truth(fits))  # fmt: skip


def _where(fits: Any, value: Any) -> Any:
    """The value where it stands; itself where it stands everywhere."""
    return value if np.all(fits) else np.where(fits, value, np.nan)


def truth(value: Any) -> Any:
    """True or false, or an array of them."""
    return value if np.ndim(value) else bool(value)


def number(value: Any) -> Any:
    """A float, or an array with at least one axis; the same object where it is one already."""
    if np.ndim(value):
        return value
    return value if isinstance(value, float) else float(value)


def _open(server: Server, rate: Any, policy: Policy) -> tuple[Any, Balance, Any, Any]:
    """Requests in flight at which the server finishes as many as arrive, by bisection; more than it holds if none."""
    low = np.zeros(np.broadcast_shapes(np.shape(rate), np.shape(server.places), np.shape(server.prefill)))
    high = low + np.maximum(server.places, 1.0)
    balance = settle(server, high, policy)

    def finished(asked: Any, balance: Balance) -> Any:
        return asked / (balance.first_token + server.output * balance.token_time)

    most = finished(high, balance)
    asked = high
    for _ in range(BISECTIONS):
        asked = (low + high) / 2
        balance = settle(server, np.maximum(asked, 1.0), policy)
        slow = finished(np.maximum(asked, 1e-12), balance) < rate
        low, high = np.where(slow, asked, low), np.where(slow, high, asked)
    # Prompts queue for prefill as customers of equal service that arrive at random.
    arriving = np.minimum(rate, MOST_BUSY / balance.shared)
    wait = queueing.allen_cunneen_wait(queueing.mean_wait(arriving, balance.shared, 1.0), 0.0)
    tail = queueing.wait_quantile(0.99, arriving, balance.shared, 1.0, 0.0)
    asked = np.where(rate >= most, np.inf, asked)
    return asked, balance, wait, tail
