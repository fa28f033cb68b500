"""Operators of training on a measured device: time of each by what it is, in which phase, over whole micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..physics import moe
from ..units import Bytes, BytesPerSecond, Count, Seconds
from ..workloads.operators import Operator
from ..workloads.training_operators import BACKWARD, FORWARD, WEIGHTS
from .measured import MeasuredMachine, Timing
from .passes import COMMON

ATTENTION_BACKWARD = 2.5 * 0.73 / 0.63
"""Time of the backward pass of fused attention over the forward pass: five products where there are two, at 63 % of the
peak where the forward pass reaches 73 % (Dao, arXiv:2307.08691, section 4.1)."""
LATENT_BACKWARD = 2.5 / 0.72
"""The same where queries and keys are wider than values (192 and 128), as SimuMax measured on a B200 for 32 to 128 heads and
4,096 tokens: 61 to 64 % backward where the forward pass has 79 to 89 % (configs/system/b200_bf16_ceperm.json)."""
KINDS = ("gemm", "attention", "experts", "elementwise", "tensor", "expert", "ring")
"""Classes of operators whose times are told apart; the last three are collectives."""
WRITTEN = 2.0
"""Bytes of an output that were written when products were measured."""
EXPERT_KERNELS, KERNELS_OF_AN_EXPERT, NARROW_KERNELS = 40.0, 6.0, 12.0
"""Kernels of a layer of experts in training, forward: routing, permutation and joining; those of each local expert (a
product and a conversion for each matrix, which grouped layers launch side by side); and those of each where values are
narrower than 16 bits, since every expert's rows get scales and a layout of their own."""


@dataclass(frozen=True, slots=True)
class Wires:
    """How ranks of a job talk: inside a domain of so many chips and across, one direction of one chip.

    Tensor ranks lie side by side; context ranks ``context_stride`` chips apart.
    """

    domain: Count
    inside: BytesPerSecond | None
    across: BytesPerSecond | None
    across_latency: Seconds | None = None
    context_stride: Count = 1.0


@dataclass(slots=True)
class Sums:
    """Times by class for the forward pass and the backward pass (weights included), and the spread of their sum."""

    forward: dict[str, Any] = field(default_factory=dict)
    backward: dict[str, Any] = field(default_factory=dict)
    weights: Any = 0.0
    kernels: Any = 0.0
    expert_kernels: Any = 0.0
    floor: Any = 0.0
    variance: Any = 0.0
    spread: Any = 0.0
    notes: dict[str, None] = field(default_factory=dict)

    def of(self, phase: str, *kinds: str) -> Any:
        """Time of some classes in a phase."""
        times = self.forward if phase == FORWARD else self.backward
        found: Any = 0.0
        for kind in kinds or KINDS:
            found = found + times.get(kind, 0.0)
        return found

    def sigma(self) -> Any:
        """Standard deviation of the log of the sum of all times, as errors of kernels make it."""
        whole = self.of(FORWARD) + self.of(BACKWARD)
        return np.sqrt((1 - COMMON) * self.variance + COMMON * np.square(self.spread)) / np.maximum(whole, 1e-30)


def class_of(operator: Operator) -> str:
    """The class of an operator, one of :data:`KINDS`."""
    if operator.kind == "collective":
        return operator.name
    if operator.kind in ("attention_context", "mla") or operator.name in ("scores", "values", "softmax", "join"):
        return "attention"
    if operator.kind == "gemm":
        return "experts" if operator.name == "experts" else "gemm"
    return "elementwise"


@dataclass(frozen=True, slots=True)
class Habits:
    """What of a stack and of a run changes the time of a kernel.

    Attention runs ``forward`` and ``backward`` times as long as the measured kernel where a stack has an older one;
    products and attention ``sustained`` times as long over hours at a limit of power; what is streamed or sent ``wide``
    times as long for values wider than 16 bits. A value of the gradient of a weight costs ``written`` bytes. Heads narrower
    than ``width`` take as long for a FLOP as those.
    """

    forward: float = 1.0
    backward: float = 1.0
    sustained: Any = 1.0
    wide: float = 1.0
    written: float = WRITTEN
    width: float = 1.0


def time_operators(
    machine: MeasuredMachine, operators: Sequence[Operator], wires: Wires, habits: Habits = Habits()
) -> Sums:
    """Time every operator.

    Args:
        machine: the device
        operators: what one rank runs
        wires: how ranks talk
        habits: what of the stack and the run changes the time of a kernel
    """
    sums = Sums()
    for o in operators:
        timing = _timing(machine, o, wires, habits)
        factor: Any = o.count
        if o.kind in ("attention_context", "mla"):
            again = LATENT_BACKWARD if o.kind == "mla" else ATTENTION_BACKWARD
            older = habits.backward * again if o.phase == BACKWARD else habits.forward
            factor = factor * habits.sustained * older
        elif o.kind == "gemm":
            factor = factor * habits.sustained
        else:
            factor = factor * habits.wide
        time = timing.time * factor
        if o.phase == WEIGHTS and o.kind == "gemm":
            # A tile adds to the sum when its products are done: the traffic hides behind nothing.
            time = time + (habits.written - WRITTEN) * o.m * o.n / machine.chip.bandwidth * o.count
        name = class_of(o)
        into = sums.forward if o.phase == FORWARD else sums.backward
        into[name] = into.get(name, 0.0) + time
        if o.phase == WEIGHTS:
            sums.weights = sums.weights + time
        if o.phase == FORWARD and o.kind != "collective":
            if o.name == "experts":  # two products of a layer
                each = KERNELS_OF_AN_EXPERT if o.precision in ("bf16", "fp16") else NARROW_KERNELS
                sums.expert_kernels = sums.expert_kernels + (EXPERT_KERNELS + each * o.experts) / 2 * o.count
            else:
                sums.kernels = sums.kernels + o.count
        sums.floor = sums.floor + timing.floor * o.count
        sums.variance = sums.variance + (timing.sigma * time) ** 2
        sums.spread = sums.spread + timing.sigma * time
        sums.notes.update(dict.fromkeys(note for note in timing.notes if note))
    return sums


def _timing(machine: MeasuredMachine, o: Operator, wires: Wires, habits: Habits) -> Timing:
    if o.kind == "gemm":
        # Grouped layers run the products of each expert one after another.
        each = o.experts if o.name == "experts" else 1.0
        timing = machine.gemm(o.m / each, o.n, o.k, o.precision)
        if o.name != "experts":
            return timing
        return Timing(timing.time * each, timing.sigma, timing.notes, timing.floor * each)
    if o.kind == "attention_context":
        width = np.maximum(o.head_dim, habits.width)[()]
        share = o.head_dim / width  # as many FLOPs in fewer, wider heads
        return machine.context_attention(
            o.m,
            o.query_tokens,
            o.context,
            o.heads * share,
            o.kv_heads * share,
            width,
            np.minimum(o.window, 1e15),
            "bf16",
        )
    if o.kind == "mla":
        return machine.mla_context(o.m, o.query_tokens, o.context, o.heads, o.head_dim, o.value_dim, "bf16")
    if o.kind == "collective":
        stride: Any = wires.context_stride if o.name == "ring" else 1.0
        return collective(machine, o.collective, o.message, o.ranks, stride, wires)
    return machine.elementwise(o.bytes)


def collective(
    machine: MeasuredMachine, kind: str, message: Bytes, ranks: Count, stride: Count, wires: Wires, copies: Count = 1.0
) -> Timing:
    """A collective of ranks that lie ``stride`` chips apart: inside a domain while they fit, and across domains.

    Args:
        machine: the device
        kind: ``all_reduce``, ``all_gather``, ``reduce_scatter``, ``all_to_all`` or ``p2p``
        message: whole buffer of a rank
        ranks: members
        stride: chips from one member to the next
        wires: how chips talk
        copies: blocks of an all-to-all that carry the same token: they cross to a domain once
    """
    room = np.maximum(np.floor(wires.domain / stride), 1.0)
    local = np.minimum(ranks, room)
    nodes = np.ceil(np.asarray(ranks / local))
    far = nodes > 1
    if kind == "p2p":
        far = np.asarray(stride * ranks) > wires.domain  # the slowest hop of a ring sets its pace
    near = machine.collective(kind, message, np.minimum(ranks, local), link_bandwidth=wires.inside)
    if not np.any(far) or wires.across is None:
        return near
    sent = message
    if kind == "all_to_all":
        sent = message * np.minimum(moe.distinct_destinations(nodes, copies) / copies, 1.0)
        nodes_time = machine.collective("all_to_all", sent, nodes, domain="cross", nodes=nodes, link_bandwidth=wires.across,
                                        link_latency=wires.across_latency)  # fmt: skip
        time: Any = np.where(far, np.maximum(nodes_time.time, near.time), near.time)
        spread: Any = np.where(far, nodes_time.sigma, near.sigma)
        return Timing(time[()], spread[()], (*near.notes, *nodes_time.notes), near.floor)
    wide = machine.collective(kind, sent, ranks, domain="cross", nodes=nodes, link_bandwidth=wires.across,
                              link_latency=wires.across_latency)  # fmt: skip
    parts = [np.where(far, getattr(wide, name), getattr(near, name))[()] for name in ("time", "sigma", "floor")]
    return Timing(parts[0], parts[1], (*near.notes, *wide.notes), parts[2])


__all__ = ["KINDS", "Habits", "Sums", "Wires", "class_of", "collective", "time_operators"]
