"""A pass of a language model on a device: every operator timed, the times summed by what bounds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import MissingFactError
from ..physics.choice import maximum, minimum, root
from ..physics.memory import sum_of_times
from ..units import BytesPerSecond, Count, Seconds
from ..workloads.language import KERNELS, kernels
from ..workloads.operators import Operator
from .exchange import LOW_LATENCY, NORMAL
from .measured import MeasuredMachine, Timing

COMMON = 0.5
"""Share of the log variance of a kernel's prediction that all kernels of a device have in common."""


@dataclass(frozen=True, slots=True)
class Links:
    """How ranks talk: inside the scale-up domain of ``domain`` ranks, and across."""

    domain: Count | None = None
    inside: BytesPerSecond | None = None
    latency: Seconds | None = None
    across: BytesPerSecond | None = None
    across_latency: Seconds | None = None


class Timed(NamedTuple):
    """One operator with the time of all its runs, and its speed of light."""

    operator: Operator
    time: Seconds
    sigma: Any
    floor: Seconds
    compute_floor: Seconds
    memory_floor: Seconds
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PassTime:
    """A pass in parts that add up: kernels that arithmetic bounds, kernels that memory bounds, collectives."""

    timed: tuple[Timed, ...]
    compute: Seconds
    memory: Seconds
    communication: Seconds
    floor: Seconds
    launches: Count
    sigma: Any
    notes: tuple[str, ...]

    @property
    def time(self) -> Seconds:
        """All kernels and collectives, one after the other."""
        return sum_of_times(self.compute, self.memory, self.communication)


def time_pass(
    machine: MeasuredMachine, operators: Sequence[Operator], links: Links | None = None, ahead: bool = True
) -> PassTime:
    """Time every operator of a pass.

    Args:
        machine: the device
        operators: what one rank runs
        links: how ranks talk; the device's own link if not given
        ahead: work out the matrix products at once; not where that was done for several passes together
    """
    links, rates, bandwidth = links or Links(), rates_of(machine), machine.chip.bandwidth
    if ahead:
        machine.look_ahead([(o.m, o.n, o.k, o.precision) for o in operators if o.kind == "gemm"])
    half, new = rates["bf16"], tuple.__new__  # a named tuple's own constructor takes twice as long
    done: list[Timed] = []
    compute: Any = 0.0
    memory: Any = 0.0
    communication: Any = 0.0
    alone: Any = 0.0
    together: Any = 0.0
    launches: Any = 0.0
    light: Any = 0.0
    for o in operators:
        kind, count = o.kind, o.count
        time, sigma, notes, floor = time_operator(machine, o, links)
        # Arithmetic at the peak, and weights with cache at the full bandwidth; activations may live in caches.
        if kind in PRODUCTS:
            busy, moving = o.flops / rates[o.precision], o.weight_bytes / bandwidth
        elif kind == "collective":
            busy, moving = 0.0, 0.0
        else:
            busy, moving = o.flops / half, o.read_bytes / bandwidth
        bound = busy > moving
        least = busy if bound is True else moving if bound is False else maximum(busy, moving)
        if type(time) is type(floor) is type(least) is type(count) is float:
            floor = (floor if floor >= least else least) * count
            time = max(time * count, floor)
        else:
            floor = maximum(floor, least) * count
            time = maximum(time * count, floor)
        done.append(new(Timed, (o, time, sigma, floor, busy, moving, notes)))
        error = sigma * time
        launches = launches + (kernels(o) if kind in PRODUCTS else KERNELS[kind]) * count
        light = light + floor
        alone = alone + error * error
        together = together + error
        if kind == "collective":
            communication = communication + time
        elif isinstance(bound, np.ndarray):
            compute, memory = compute + np.where(bound, time, 0.0), memory + np.where(bound, 0.0, time)
        elif bound:
            compute = compute + time
        else:
            memory = memory + time
    # Errors of one kernel are shared by all of its runs, and partly by all kernels of a device.
    sigma = root((1 - COMMON) * alone + COMMON * (together * together)) / (compute + memory + communication)
    told = dict.fromkeys([one.notes for one in done])
    notes = tuple(dict.fromkeys([note for few in told for note in few if note]))
    return PassTime(tuple(done), compute, memory, communication, light, launches, sigma, notes)


def rates_of(machine: MeasuredMachine) -> dict[str, float]:
    """Peak that arithmetic in a format reaches on a device, by format; looked up once."""
    if not isinstance(machine.rates, Rates):
        machine.rates = Rates(machine)
    return machine.rates


class Rates(dict[str, float]):
    """Peak that arithmetic in a format reaches on a chip, by format."""

    def __init__(self, machine: MeasuredMachine) -> None:
        super().__init__()
        self.chip = machine.chip

    def __missing__(self, precision: str) -> float:
        """Look it up."""
        self[precision] = peak = self.chip.peak(RATES.get(precision, "bf16"))[0]
        return peak


PRODUCTS = ("gemm", "moe")
"""Kinds that stream weights."""
STREAMS = ("elementwise", "norm", "softmax")
"""Kinds that stream activations and do next to no arithmetic."""
RATES = {
    "fp8": "fp8", "fp8_static": "fp8", "fp8_block": "fp8", "int8": "int8", "nvfp4": "fp4", "mxfp4": "fp4",
    "fp32": "fp32", "tf32": "tf32", "w4a8": "fp8",
}  # fmt: skip
"""The rate that a format computes at; 16 bits elsewhere."""


def time_operator(machine: MeasuredMachine, o: Operator, links: Links) -> Timing:
    """One run of an operator on a device."""
    if o.kind == "gemm":
        return machine.gemm(o.m, o.n, o.k, o.precision)
    if o.kind in STREAMS:
        return machine.elementwise(o.bytes)
    if o.kind == "moe":
        return machine.moe(o.m, o.k, o.n, o.experts, o.topk, 1.0, o.ranks, o.precision, active=o.active, gated=o.groups == 3)  # fmt: skip
    if o.kind == "attention_decode":
        return machine.generation_attention(o.m, o.context, o.heads, o.kv_heads, o.head_dim, _window(o), o.precision)
    if o.kind == "attention_context":
        return machine.context_attention(
            o.m, o.query_tokens, o.context, o.heads, o.kv_heads, o.head_dim, _window(o), o.precision
        )
    if o.kind == "mla" and o.phase == "decode":
        return machine.mla_generation(o.m, o.context, o.heads, o.head_dim, o.value_dim, o.precision)
    if o.kind == "mla":
        return machine.mla_context(o.m, o.query_tokens, o.context, o.heads, o.head_dim, o.value_dim, o.precision)
    if o.kind == "embedding":
        return machine.embedding(o.m, o.k)
    if o.kind == "scan":
        return machine.scan(o.flops * _vector_share(machine, o), o.bytes)
    if o.kind == "collective":
        return _collective(machine, o, links)
    return machine.elementwise(o.bytes)


EXCHANGES = ("hopper", "blackwell")
"""Generations whose stacks exchange tokens of experts by kernels made for it: few tokens by those of low latency."""
STACKS_WITH_EXCHANGE = ("ideal", "vllm", "sglang")
"""Stacks that can run those of DeepEP; TensorRT-LLM has its own."""
EXCHANGED = {"experts_dispatch": "dispatch", "experts_combine": "combine"}
"""Operators that exchange tokens, and which way these go."""


def _collective(machine: MeasuredMachine, o: Operator, links: Links) -> Timing:
    """A collective: inside the scale-up domain while the ranks fit in it, else across."""
    domain = links.domain if links.domain is not None else machine.chip.link_domain
    far = o.ranks > domain if domain is not None else False
    made = machine.stack in STACKS_WITH_EXCHANGE and machine.chip.generation in EXCHANGES
    if made and o.name in EXCHANGED and not (np.any(far) and links.across is None):
        nodes = 1.0 if domain is None else maximum(o.ranks / domain, 1.0)
        return machine.exchange(
            EXCHANGED[o.name], o.m, o.k, o.topk, o.experts, o.ranks, nodes, links.across,
            LOW_LATENCY if o.phase == "decode" else NORMAL, links.inside,
        )  # fmt: skip
    near = machine.collective(o.collective, o.message, o.ranks, link_bandwidth=links.inside, link_latency=None)
    if not np.any(far):
        return near
    if links.across is None:
        raise MissingFactError(
            f"{machine.chip.id}: {np.max(o.ranks):g} ranks exceed the {domain:g} of its scale-up domain; pass a fleet"
        )
    nodes = np.maximum(o.ranks / domain, 1.0)
    wide = machine.collective(o.collective, o.message, o.ranks, domain="cross", nodes=nodes,
                              link_bandwidth=links.across, link_latency=links.across_latency)  # fmt: skip
    pick = [np.where(far, getattr(wide, name), getattr(near, name))[()] for name in ("time", "sigma", "floor")]
    return Timing(pick[0], pick[1], (*near.notes, *wide.notes), pick[2])


def _vector_share(machine: MeasuredMachine, o: Operator) -> Any:
    """What turns FLOPs of a recurrence into those of the vector units: chunks of a prompt run as matrix products."""
    if o.phase == "decode" and o.precision == "fp32":
        return 1.0
    chip = machine.chip
    rate = "fp8" if o.precision == "fp8" else "bf16"
    return chip.peak("fp32")[0] / (MATRIX_SHARE * chip.peak(rate)[0])


def _window(o: Operator) -> Any:
    """The window as kernels take it: none where an operator sees everything."""
    return minimum(o.window, FARTHEST)


MATRIX_SHARE = 0.3
"""Share of the matrix peak that chunked recurrences and indexers reach; assumed, no such kernel was measured."""
FARTHEST = 1e15
"""A window that no context reaches."""
