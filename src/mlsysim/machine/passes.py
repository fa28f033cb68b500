"""A pass of a language model on a device: every operator timed, the times summed by what bounds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import MissingFactError
from ..physics.memory import sum_of_times
from ..units import Bytes, BytesPerSecond, Count, Flop, Seconds
from ..workloads.language import kernels
from ..workloads.operators import Operator, larger, smaller
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


@dataclass(frozen=True, slots=True)
class Timed:
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


def time_pass(machine: MeasuredMachine, operators: Sequence[Operator], links: Links | None = None) -> PassTime:
    """Time every operator of a pass.

    Args:
        machine: the device
        operators: what one rank runs
        links: how ranks talk; the device's own link if not given
    """
    machine.look_ahead((o.m, o.n, o.k, o.precision) for o in operators if o.kind == "gemm")
    done = tuple(_timed(machine, operator, links or Links()) for operator in operators)
    compute: Any = 0.0
    memory: Any = 0.0
    communication: Any = 0.0
    alone: Any = 0.0
    together: Any = 0.0
    launches: Any = 0.0
    floor: Any = 0.0
    for one in done:
        error = one.sigma * one.time
        launches = launches + kernels(one.operator) * one.operator.count
        floor = floor + one.floor
        alone = alone + error**2
        together = together + error
        if one.operator.kind == "collective":
            communication = communication + one.time
            continue
        bound = one.compute_floor > one.memory_floor
        if isinstance(bound, np.ndarray):
            compute, memory = compute + np.where(bound, one.time, 0.0), memory + np.where(bound, 0.0, one.time)
        elif bound:
            compute = compute + one.time
        else:
            memory = memory + one.time
    # Errors of one kernel are shared by all of its runs, and partly by all kernels of a device.
    sigma = np.sqrt((1 - COMMON) * alone + COMMON * np.square(together)) / (compute + memory + communication)
    notes = tuple(dict.fromkeys(note for one in done for note in one.notes if note))
    return PassTime(done, compute, memory, communication, floor, launches, sigma, notes)


def _timed(machine: MeasuredMachine, o: Operator, links: Links) -> Timed:
    timing = time_operator(machine, o, links)
    time, floor = timing.time * o.count, timing.floor * o.count
    compute, memory = _bounds(machine, o)
    floor = larger(floor, larger(compute, memory) * o.count)
    return Timed(o, larger(time, floor), timing.sigma, floor, compute, memory, timing.notes)


def _bounds(machine: MeasuredMachine, o: Operator) -> tuple[Seconds, Seconds]:
    """Arithmetic at the peak, and weights with cache at the full bandwidth; activations may live in caches."""
    if o.kind == "collective":
        return 0.0, 0.0
    chip = machine.chip
    rate = RATES.get(o.precision, "bf16") if o.kind in ("gemm", "moe") else "bf16"
    compute: Flop = o.flops / chip.peak(rate)[0]
    moved: Bytes = o.weight_bytes if o.kind in ("gemm", "moe") else o.read_bytes
    return compute, moved / chip.bandwidth


RATES = {
    "fp8": "fp8", "fp8_static": "fp8", "fp8_block": "fp8", "int8": "int8", "nvfp4": "fp4", "mxfp4": "fp4",
    "fp32": "fp32", "tf32": "tf32", "w4a8": "fp8",
}  # fmt: skip
"""The rate that a format computes at; 16 bits elsewhere."""


def time_operator(machine: MeasuredMachine, o: Operator, links: Links) -> Timing:
    """One run of an operator on a device."""
    if o.kind == "gemm":
        return machine.gemm(o.m, o.n, o.k, o.precision)
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


def _collective(machine: MeasuredMachine, o: Operator, links: Links) -> Timing:
    """A collective: inside the scale-up domain while the ranks fit in it, else across."""
    near = machine.collective(o.collective, o.message, o.ranks, link_bandwidth=links.inside, link_latency=None)
    domain = links.domain if links.domain is not None else machine.chip.link_domain
    far = o.ranks > domain if domain is not None else False
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
    return smaller(o.window, FARTHEST)


MATRIX_SHARE = 0.3
"""Share of the matrix peak that chunked recurrences and indexers reach; assumed, no such kernel was measured."""
FARTHEST = 1e15
"""A window that no context reaches."""
