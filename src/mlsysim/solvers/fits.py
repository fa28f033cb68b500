"""Does it fit? The context and the batch that a model leaves room for, on paper, in an engine, and with sense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import textbook
from ..catalog.stacks import NAMES, Stacks
from ..machine.textbook import wiring
from ..physics.serving_load import cache_pool
from ..record import total
from ..units import Bytes, Count, Fraction
from ..workloads.language import Layout
from . import plan as plans
from .base import BaseSolver
from .batching import generator
from .border import Border, shape_of
from .limits import Limit
from .load import number as number_of
from .load import truth
from .load_balance import CROWDED
from .result import Question, Result
from .serving_engine import Engine, cache_format, numerics_of
from .serving_measured import kernel_word, links_of, machine_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitResult(Result):
    """Room for caches on one device in three readings: raw memory, an engine's pool, and what is wise to ask for."""

    chips: Count
    weights_per_device: Bytes
    memory_capacity: Bytes
    reserve: Bytes
    gpu_memory_utilization: Fraction
    raw_room: Bytes
    engine_pool: Bytes
    cache_per_request: Bytes
    cache_per_token: Bytes
    data_ranks: Count
    max_context: Count
    raw_batch: Count
    engine_batch: Count
    feasible: bool

    @total
    def recommended_batch(self) -> Count:
        """Requests of this length beyond which the wait for a place swings too far: four fifths of the pool."""
        return np.floor(self.engine_batch * CROWDED)

    @total
    def memory_needed(self) -> Bytes:
        """Weights, reserve and the caches asked for, on one device."""
        return self.weights_per_device + self.reserve + self.cache_per_request

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit on one device."""
        inside = self.si
        share = inside.gpu_memory_utilization
        return (
            Limit("weights per device", inside.weights_per_device, inside.memory_capacity, "byte"),
            Limit("memory per device", inside.memory_needed, share * inside.memory_capacity, "byte"),
        )


class FitSolver(BaseSolver):
    """Wall 2 read backwards: from memory to the longest context and the largest batch."""

    walls = ((2, "Memory", "node"),)
    requires = ("workload", "hardware")
    produces = FitResult

    def solve(
        self,
        model: Any,
        hardware: Any,
        context: Any = 8192,
        batch_size: Any = 1,
        precision: Any = "fp16",
        stack: str = "vllm",
        *,
        kv_precision: Any = None,
        gpu_memory_utilization: Any = None,
        tp_size: Any = 1,
        pp_size: Any = 1,
        ep_size: Any = 1,
        attention_dp: Any = None,
    ) -> FitResult:
        """See :func:`fits`."""
        arguments = dict(model=model, hardware=hardware, context=context, batch_size=batch_size, precision=precision,
                         stack=stack, kv_precision=kv_precision, gpu_memory_utilization=gpu_memory_utilization,
                         tp_size=tp_size, pp_size=pp_size, ep_size=ep_size, attention_dp=attention_dp)  # fmt: skip
        border = Border()
        network, machine = border.model(model), border.machine(hardware)
        tokens, batch = border.count("context", context), border.count("batch_size", batch_size)
        name = border.choice("stack", stack, NAMES)
        number = border.format(precision)
        stored = None if kv_precision is None else border.format(kv_precision, "kv_precision")
        sizes = [border.count(key, arguments[key]) for key in ("tp_size", "pp_size", "ep_size")]
        data = None if attention_dp is None else border.count("attention_dp", attention_dp)
        share = None
        if gpu_memory_utilization is not None:
            share = border.fraction("gpu_memory_utilization", gpu_memory_utilization)
        border.close()
        generator("fits", network)
        group = wiring(machine, textbook().link_latency)
        plans.check(plans.Plan(*sizes), network, group)
        arguments.update(model=network, hardware=machine)
        chosen, word = Stacks[name], kernel_word(number.id)
        s = chosen.si
        share = s.memory_share if share is None else share
        layout = Layout.of(sizes[0], sizes[1], sizes[2], data)
        runner = machine_of(group.chip, chosen.kernels)
        cache = kernel_word(stored.id) if stored is not None else cache_format(chosen, word, runner.chip.generation)
        numerics = numerics_of(network, word, cache, runner.chip.generation)
        engine = Engine(runner, network, chosen, layout, numerics, links_of(group), group.chip.si.memory_capacity)

        capacity, weights = engine.capacity, engine.weights()
        raw = np.maximum(capacity - weights, 0.0)
        pool = cache_pool(capacity, share, weights, s.reserve, s.share_of_free)
        one = engine.cache_of(tokens)
        each = np.ceil(batch / layout.data) * one
        longest, per_token = _longest(engine, pool, network.si.max_context or network.si.positions)
        numbers = dict(
            chips=layout.chips, weights_per_device=weights, memory_capacity=capacity, reserve=s.reserve,
            gpu_memory_utilization=share, raw_room=raw, engine_pool=pool, cache_per_request=each,
            cache_per_token=per_token, data_ranks=layout.data, max_context=longest,
            raw_batch=np.floor(raw / one) * layout.data, engine_batch=np.floor(pool / one) * layout.data,
        )  # fmt: skip
        numbers = {key: number_of(value) for key, value in numbers.items()}
        shape = shape_of(*(value for value in numbers.values() if np.ndim(value)))
        notes = (f"{chosen.name}: cache in {cache}",)
        fine = truth(each <= pool)
        return FitResult(question=Question(type(self), arguments), shape=shape, notes=notes, **numbers, feasible=fine)


def _longest(engine: Engine, pool: Bytes, limit: Any) -> tuple[Count, Bytes]:
    """The longest context of one request, and the bytes that one more token takes then."""
    low, high = np.zeros(np.shape(pool)), np.full(np.shape(pool), 1e9 if limit is None else float(limit))
    fits_all = engine.cache_of(high) <= pool
    low = np.where(fits_all, high, low)
    for _ in range(40):
        middle = (low + high) / 2
        fine = engine.cache_of(middle) <= pool
        low, high = np.where(fine, middle, low), np.where(fine, high, middle)
    far = np.maximum(np.floor(np.where(fits_all, high, low)), 0.0)
    return far, engine.cache_of(far + 1.0) - engine.cache_of(far)


def fits(model: Any, hardware: Any, context: Any = 8192, batch_size: Any = 1, **options: Any) -> FitResult:
    """Does a model fit, with what context and what batch?

    Args:
        model: a decoder of ``Models`` or its name
        hardware: a device, a node, a fleet, or a name
        context: tokens of each request; may be an array
        batch_size: requests held at the same time; may be an array
        options: ``precision``, ``kv_precision``, ``stack``, ``gpu_memory_utilization``, ``tp_size``, ``pp_size``,
            ``ep_size``, ``attention_dp``

    Returns:
        Room for caches in raw memory and in the engine's pool, the batches of this context that fit in either and the
        one that is wise, the longest context of a single request; ``feasible`` for the context and batch asked.

    Examples:
        >>> answer = fits("Llama3_8B", "H100", context=8192)
        >>> bool(answer.feasible), answer.engine_batch
        (True, 53.0)
    """
    return FitSolver().solve(model, hardware, context, batch_size, **options)
