"""The parts of a measured training step put together: stages, schedule, exposed communication, optimizer, host."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..catalog import Defaults
from ..catalog.models import Transformer
from ..catalog.training_stacks import TrainingStack
from ..machine.measured import MeasuredMachine
from ..machine.training_measured import Habits, Sums, Wires, collective, time_operators
from ..physics import hierarchical, memory, pipeline
from ..physics.power import slowest_of_equals
from ..units import Count, Fraction, Seconds
from ..workloads.training import FULL, SELECTIVE, Work
from ..workloads.training_operators import (
    BACKWARD,
    FORWARD,
    FUSED,
    UNFUSED,
    Share,
    Style,
    head_operators,
    layer_operators,
)

if TYPE_CHECKING:
    from .training_offload import Host

OPTIMIZER_TRAFFIC = 38.0
"""Bytes that Adam moves for a parameter of a shard: gradient, copy and two moments read (16), those and 16-bit weights
written (14), the gradient read for its norm and set to zero (8), all in 32 bits."""
WEIGHTS_OF_A_LAYER = 4.0
"""Large weights of a layer: queries, keys and values; output; up; down."""
STREAMED = 2e9
"""Bytes of one kernel of an optimizer at most; a larger shard takes several."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a step is split. ``data`` ranks share the batch (expert ranks included); experts lie over ``ep`` of them.

    ``recompute_layers`` are the layers of a stage to which recomputation applies; all if None.
    """

    data: Count
    tp: Count
    pp: Count
    cp: Count
    ep: Count
    etp: Count
    chunks: Count
    microbatches: Count
    samples: Count
    zero: Count
    recompute: Any
    schedule: str = "1f1b"
    sequence_parallel: bool = True
    shard_group: Any = None
    contexts: str = "ring"
    recompute_layers: Any = None

    @property
    def chips(self) -> Count:
        """Chips of the job."""
        return self.data * self.tp * self.pp * self.cp


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds of one step, by cause; they add up. ``stage`` and ``window`` describe the schedule for a timeline."""

    gemm: Seconds
    attention: Seconds
    experts: Seconds
    elementwise: Seconds
    head: Seconds
    recompute: Seconds
    host: Seconds
    tensor: Seconds
    expert: Seconds
    ring: Seconds
    sends: Seconds
    data: Seconds
    data_whole: Seconds
    bubble: Seconds
    update: Seconds
    forward_stage: Seconds
    backward_stage: Seconds
    weights_stage: Seconds
    sigma: Fraction
    floor: Seconds
    notes: tuple[str, ...] = field(default=(), repr=False)

    @property
    def compute(self) -> Seconds:
        """All kernels and the host."""
        dense = memory.sum_of_times(self.gemm, self.attention, self.experts)
        rest = memory.sum_of_times(self.elementwise, self.head, self.recompute)
        return memory.sum_of_times(dense, rest, self.host)

    @property
    def step(self) -> Seconds:
        """All of it."""
        inner = memory.sum_of_times(self.tensor, self.expert, self.ring)
        waits = memory.sum_of_times(inner, self.sends, self.data)
        return memory.sum_of_times(memory.sum_of_times(self.compute, self.bubble, self.update), waits, 0.0)


def style_of(stack: TrainingStack, linear: str, adapter_rank: Any = None, adapters: str = "all") -> Style:
    """How a stack writes a layer."""
    s = stack.si
    return Style(
        linear=linear, attention=UNFUSED if s.attention == UNFUSED else FUSED, passes=s.passes, dropout=bool(s.dropout),
        loss=s.loss, adapter_rank=adapter_rank, adapters=adapters, adapter_dropout=bool(s.adapter_dropout),
    )  # fmt: skip


def sustained(machine: MeasuredMachine, power: Any, chips: Count = 1.0) -> Any:
    """Slowdown of products that run for hours at a limit of power, on the slowest of the chips."""
    chip = machine.chip
    kind = chip.architecture if chip.architecture == "cdna" else chip.generation
    if kind not in ("ampere", "hopper", "blackwell", "cdna"):
        kind = "other"
    fact = Defaults[f"Sustained_{kind}"].si
    slowest = slowest_of_equals(chips, fact.spread)
    if power is None or fact.watts is None:
        return fact.slowdown * slowest
    own = power / (chip.peak("bf16")[0] / 1e12)
    return max(1.0, float(fact.slowdown * (fact.watts / own) ** fact.power_exponent)) * slowest


def step_times(
    machine: MeasuredMachine, model: Transformer, work: Work, layout: Layout, stack: TrainingStack, style: Style,
    length: Count, wires: Wires, trained: Any = 1.0, power: Any = None, arithmetic: float = 1.0, wide: float = 1.0,
    adam_share: Any = 1.0, offloaded: Host | None = None, timed: Sums | None = None, sent: Seconds = 0.0,
) -> StepTimes:  # fmt: skip
    """Where the time of one step goes, on the slowest stage.

    Args:
        machine: the device
        model: what is trained
        work: where its parameters sit
        layout: how the step is split
        stack: class of the stack
        style: how it writes a layer
        length: tokens of a sequence
        wires: how chips talk
        trained: share of the parameters that is trained
        power: limit of power of the device
        arithmetic: 16-bit peak over that of the format, for formats without measured kernels
        wide: width of values over 16 bits
        adam_share: bytes that the optimizer moves over those of Adam
        offloaded: the host, where states or weights lie there
        timed: times of the layers of a model that is no transformer
        sent: time that a stage's activations of a micro-batch take to the host, and as long back
    """
    s = stack.si
    share = Share(layout.samples, length, layout.tp, layout.cp, layout.ep, layout.etp, layout.sequence_parallel,
                  layout.contexts)  # fmt: skip
    habits = _habits(machine, s, sustained(machine, power, layout.chips) * s.products * arithmetic, wide)
    if timed is None:
        layers = time_operators(machine, layer_operators(model, share, style), wires, habits)
        head = time_operators(machine, head_operators(model, share, style), wires, habits)
    else:
        layers, head = replace(timed, backward=dict(timed.backward)), Sums()
    _add_up(machine, layers, work, layout, s, trained)
    count, m = work.layers, layout.microbatches
    # exposed collectives of the whole model, forward and backward
    forward, backward = _exposed(layers, layout, s, FORWARD), _exposed(layers, layout, s, BACKWARD)
    own = [layers.of(phase, "gemm", "attention", "experts", "elementwise") for phase in (FORWARD, BACKWARD)]
    floor = layers.kernels * s.launch + layers.expert_kernels * s.launch_experts
    # a stack that launches kernels one by one cannot run faster than it launches
    host = [np.maximum(floor - own[0] - forward[0], 0.0), np.maximum(1.8 * floor - own[1] - backward[0], 0.0)]
    again, again_host = _again(layers, layout, s, forward[0], host[0], np.ceil(count / layout.pp))
    head_time = head.of(FORWARD) + head.of(BACKWARD)
    even = layout.pp * layout.chunks
    whole = np.mod(count, even) == 0
    per_stage = 1.0 / layout.pp

    ahead = (own[0] + forward[0] + host[0]) * per_stage
    behind = (own[1] + backward[0] + host[1] + again + again_host) * per_stage
    fsdp_f, fsdp_b, whole_data = _sharded(machine, work, layout, s, wires, ahead, behind, trained, offloaded)
    # activations go down beside the forward pass and come up beside the backward pass
    down, up = np.maximum(sent - ahead - fsdp_f, 0.0), np.maximum(sent - behind - fsdp_b, 0.0)
    mean = ahead + behind + fsdp_f + fsdp_b + down + up + head_time * per_stage
    # where layers divide the stages evenly the last one has the logits on top; else embedding and logits count as layers
    dealt = _dealt(
        mean - head_time * per_stage, head_time, count + (getattr(model.si, "mtp_layers", None) or 0.0), layout
    )
    slowest = np.where(np.asarray(layout.pp) > 1, np.where(whole, mean + head_time * (1 - per_stage), dealt), mean)
    last = np.where(whole & (np.asarray(layout.pp) > 1), head_time, head_time * per_stage)
    weights = layers.weights * per_stage
    third = head_time * per_stage / 3  # of the logits, as of any product: a third for each of the three passes
    bubble = _bubble(
        layout, ahead + fsdp_f + down + third, behind + fsdp_b + up - weights + third, weights + third
    ) + m * (slowest - mean - (last - head_time * per_stage))
    sends = _sends(machine, model, layout, s, share, wires)
    late, late_whole = _once_a_step(machine, work, layout, s, wires, ahead, behind, trained)
    update = _update(machine, work, layout, trained * adam_share)
    if offloaded is not None and offloaded.place != "none":
        update = offloaded.update(local_shard(work, layout) * trained, behind, m * mean)
    times = m * per_stage
    sums = {
        kind: (layers.of(FORWARD, kind) + layers.of(BACKWARD, kind)) * times
        for kind in ("gemm", "attention", "experts", "elementwise")
    }
    parts = StepTimes(
        gemm=sums["gemm"],
        attention=sums["attention"],
        experts=sums["experts"],
        elementwise=sums["elementwise"],
        head=m * last,
        recompute=(again + again_host) * times,
        host=(host[0] + host[1]) * times + m * (down + up) + s.step_host,
        tensor=(forward[1] + backward[1]) * times,
        expert=(forward[2] + backward[2]) * times,
        ring=(forward[3] + backward[3]) * times,
        sends=sends,
        data=m * (fsdp_f + fsdp_b) + late,
        data_whole=m * whole_data + late_whole,
        bubble=bubble,
        update=update,
        forward_stage=ahead + fsdp_f + down,
        backward_stage=behind + fsdp_b + up,
        weights_stage=weights,
        sigma=_sigma(layers, s, model),
        floor=m * (layers.floor * per_stage + head.floor * per_stage),
        notes=(*layers.notes,),
    )
    return parts


def _dealt(stage: Seconds, head: Seconds, layers: Count, layout: Layout) -> Seconds:
    """The slowest stage where whole blocks are dealt out, of which embedding and logits are two."""
    even = layout.pp * layout.chunks
    blocks = np.ceil((layers + 2.0) / even) * layout.chunks
    each = stage * layout.pp / layers
    return np.maximum(blocks * each, (blocks - 1.0) * each + head)


def _habits(machine: MeasuredMachine, s: Any, hours: Any, wide: float) -> Habits:
    """What of the stack changes the time of a kernel on this device."""
    older = (s.attention_slowdown, s.attention_slowdown_backward)
    if machine.chip.generation == "hopper":
        older = (s.attention_slowdown_hopper, s.attention_slowdown_backward_hopper)
    return Habits(*older, hours, wide, s.gradient_written, s.attention_width)


def _add_up(machine: MeasuredMachine, layers: Sums, work: Work, layout: Layout, s: Any, trained: Any) -> None:
    """Gradients of a micro-batch added to their sum by kernels of their own, where no product does it."""
    if not s.gradient_apart:
        return
    parameters = work.layer_parameters / layout.tp + work.expert_parameters / (layout.ep * layout.etp)
    count = WEIGHTS_OF_A_LAYER * work.layers
    moved = s.gradient_written + 2 * min(s.gradient_kept, 4.0)  # read; the sum read and written
    time = machine.elementwise(parameters * trained * moved / count, count).time
    layers.backward["elementwise"] = layers.backward.get("elementwise", 0.0) + time


def _sigma(layers: Sums, s: Any, model: Transformer) -> Any:
    """Error of kernels, and of the stack: releases differ, most of all in how they run experts."""
    kernels = layers.sigma()
    busy = layers.of(FORWARD) + layers.of(BACKWARD)
    routed = (layers.of(FORWARD, "experts", "expert") + layers.of(BACKWARD, "experts", "expert")) / busy
    return np.sqrt(kernels**2 + s.sigma**2 + (s.sigma_experts * routed) ** 2)


def _exposed(layers: Sums, layout: Layout, s: Any, phase: str) -> tuple[Any, Any, Any, Any]:
    """Collectives inside layers that a rank waits for: all, of tensor ranks, of expert ranks, of context ranks."""
    tensor = layers.of(phase, "tensor")
    if s.overlap_tensor:
        # pipelined with the product in as many parts as there are ranks: the first part waits, the rest hides
        tensor = tensor / layout.tp + np.maximum(tensor * (1 - 1 / layout.tp) - layers.of(phase, "gemm"), 0.0)
    elif not layout.sequence_parallel and phase == BACKWARD:
        # gradients of weights run beside the all-reduce of the gradient of the input
        tensor = tensor / 2 + np.maximum(tensor / 2 - layers.weights, 0.0)
    expert = layers.of(phase, "expert")
    if layout.schedule == "dualpipe":  # it pairs a forward with a backward pass so that exchanges hide
        expert = np.maximum(expert - layers.of(phase, "gemm", "attention", "experts"), 0.0)
    ring = layers.of(phase, "ring")
    if layout.contexts == "ring":  # a block is handed on while another one is at work
        ring = np.maximum(ring - layers.of(phase, "attention") * (1 - 1 / layout.cp), 0.0)
    return tensor + expert + ring, tensor, expert, ring


def recomputed_share(layers: Count, chosen: Any) -> Any:
    """Share of the layers of a stage to which recomputation applies.

    Examples:
        >>> float(recomputed_share(10.0, 4.0)), recomputed_share(10.0, None)
        (0.4, 1.0)
    """
    return 1.0 if chosen is None else np.minimum(chosen / layers, 1.0)


def _again(layers: Sums, layout: Layout, s: Any, exposed: Any, host: Any, layers_of_stage: Count) -> tuple[Any, Any]:
    """What the backward pass computes again."""
    kinds = ("gemm", "attention", "experts", "elementwise")
    whole = layers.of(FORWARD, *kinds) + exposed
    if s.selective == "alternate":
        some = layers.of(FORWARD, "gemm", "experts") / 2 + layers.of(FORWARD, "elementwise")
    else:
        some = layers.of(FORWARD, "attention")
    if s.attention != UNFUSED and s.selective != "alternate":
        some = 0.0 * some  # fused attention keeps no scores
    level = np.asarray(layout.recompute)
    chosen = np.where(level >= FULL, whole, np.where(level >= SELECTIVE, some, 0.0))
    part = recomputed_share(layers_of_stage, layout.recompute_layers)
    return chosen[()] * part, np.where(level >= FULL, host, 0.0)[()] * part


def _bubble(layout: Layout, forward: Seconds, inputs: Seconds, weights: Seconds) -> Seconds:
    """What a stage idles: passes of a micro-batch forward, for gradients of inputs, and for gradients of weights."""
    if layout.schedule == "zero-bubble":
        return pipeline.split_backward_bubble_time(forward, inputs, weights, layout.pp, layout.microbatches)
    if layout.schedule == "dualpipe":
        return pipeline.bidirectional_bubble_time(forward, inputs, weights, layout.pp)
    return pipeline.bubble_time(forward + inputs + weights, layout.pp, layout.chunks)


def _sends(machine: MeasuredMachine, model: Transformer, layout: Layout, s: Any, share: Share, wires: Wires) -> Any:
    """Hand-overs between stages: each waits in the plain schedule; overlapped ones wait only while the pipeline fills."""
    if not np.any(np.asarray(layout.pp) > 1):
        return 0.0
    boundary = share.tokens * model.si.hidden * 2.0 / layout.tp
    one = collective(machine, "p2p", boundary, 2.0, layout.chips / layout.pp, wires).time
    hidden = s.overlap_pipeline and layout.schedule != "gpipe"
    steady = np.where(np.asarray(layout.chunks) > 1, 0.0, 1.0) if hidden else 1.0
    if layout.schedule == "dualpipe":
        steady = 0.0
    count = 2 * layout.microbatches * layout.chunks * steady + 2 * (layout.pp - 1)
    return np.where(np.asarray(layout.pp) > 1, count * one, 0.0)[()]


def local_parameters(work: Work, layout: Layout) -> tuple[Any, Any]:
    """Parameters of a rank before data-parallel ranks share them: dense (an embedding included), and experts."""
    ends = np.where(np.asarray(layout.pp) > 1, 1.0, 1.0 if work.tied else 2.0)
    dense = (work.layer_parameters / layout.pp + work.embedding * ends) / layout.tp
    return dense, work.expert_parameters / (layout.pp * layout.ep * layout.etp)


def groups(layout: Layout) -> tuple[Any, Any]:
    """Data-parallel ranks of dense weights, and of experts."""
    return layout.data * layout.cp, layout.data * layout.cp * layout.tp / (layout.ep * layout.etp)


def _sharded(
    machine: MeasuredMachine, work: Work, layout: Layout, s: Any, wires: Wires, ahead: Any, behind: Any, trained: Any,
    offloaded: Host | None = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """What gathering weights and scattering gradients in every micro-batch adds to a stage (ZeRO-2 and ZeRO-3)."""
    zero = np.asarray(layout.zero)
    if not np.any(zero >= 2):
        return 0.0, 0.0, 0.0
    dense, experts = local_parameters(work, layout)
    stages = np.maximum(work.layers / layout.pp, 1.0)
    gather: Any = 0.0
    scatter: Any = 0.0
    for parameters, ranks, stride in zip((dense, experts), groups(layout), (layout.tp, layout.tp), strict=True):
        if not np.any(np.asarray(parameters) > 0):
            continue
        each = parameters / stages
        shard = ranks if layout.shard_group is None else np.minimum(layout.shard_group, ranks)
        gather = gather + stages * collective(machine, "all_gather", each * s.gathered, shard, stride, wires).time
        reduced = stages * collective(machine, "reduce_scatter", each * trained * s.gradient, shard, stride, wires).time
        if layout.shard_group is not None and np.any(ranks > shard):  # replicas of the shards add theirs up
            reduced = reduced + stages * collective(
                machine, "all_reduce", each * trained * s.gradient / shard, ranks / shard, stride * shard, wires
            ).time  # fmt: skip
        scatter = scatter + reduced
    if offloaded is not None and offloaded.weights != "none":  # each rank brings its shard while others are gathered
        gather = np.maximum(gather, offloaded.fetch(local_shard(work, layout) * s.gathered))
    gather = np.where(zero >= 3, gather, 0.0)
    waits_f = _beside(ahead, gather, s) - ahead
    waits_b = _beside(behind, gather + scatter, s) - behind
    on = zero >= 2
    return np.where(on, waits_f, 0.0)[()], np.where(on, waits_b, 0.0)[()], np.where(on, 2 * gather + scatter, 0.0)[()]


def _beside(work: Any, traffic: Any, s: Any) -> Any:
    """Kernels and collectives side by side: the longer one, and kernels slowed down while a collective runs."""
    if not s.overlap_data:
        return work + traffic
    return np.maximum(work + s.contention * np.minimum(work, traffic), traffic)


def _once_a_step(
    machine: MeasuredMachine, work: Work, layout: Layout, s: Any, wires: Wires, ahead: Any, behind: Any, trained: Any
) -> tuple[Any, Any]:
    """Data-parallel collectives after the last micro-batch (ZeRO-0 and ZeRO-1): what is exposed, and all of it."""
    zero = np.asarray(layout.zero)
    dense, experts = local_parameters(work, layout)
    reduce: Any = 0.0
    gather: Any = 0.0
    for parameters, ranks in zip((dense, experts), groups(layout), strict=True):
        if not np.any(np.asarray(parameters) > 0) or not np.any(np.asarray(ranks) > 1):
            continue
        grads, weights = parameters * trained * s.gradient, parameters * trained * s.gathered
        scatter = collective(machine, "reduce_scatter", grads, ranks, layout.tp, wires).time
        collected = collective(machine, "all_gather", weights, ranks, layout.tp, wires).time
        summed = collective(machine, "all_reduce", grads, ranks, layout.tp, wires).time
        reduce = reduce + np.where(zero >= 1, scatter, summed)
        gather = gather + np.where(zero >= 1, collected, 0.0)
    whole = np.where(zero < 2, reduce + gather, 0.0)[()]
    if not s.overlap_data:
        return whole, whole
    # gradients go out layer by layer during the last backward pass, weights come in during the next forward pass
    first = np.maximum(work.layers / layout.pp, 1.0)
    late = np.maximum(reduce - behind, reduce / first) + np.maximum(gather - ahead, gather / first)
    slowed = s.contention * (np.minimum(reduce, behind) + np.minimum(gather, ahead))
    return np.where(zero < 2, np.minimum(late + slowed, whole), 0.0)[()], whole


def _update(machine: MeasuredMachine, work: Work, layout: Layout, trained: Any) -> Any:
    """The optimizer: a stream over the states of a rank's shard, and the 16-bit weights it writes."""
    zero = np.asarray(layout.zero)
    moved: Any = 0.0
    for parameters, ranks in zip(local_parameters(work, layout), groups(layout), strict=True):
        moved = moved + parameters * trained * OPTIMIZER_TRAFFIC / np.where(zero >= 1, ranks, 1.0)
    kernels = np.ceil(moved / STREAMED)
    return machine.elementwise(moved / kernels, kernels).time


def local_shard(work: Work, layout: Layout) -> Any:
    """Parameters whose states a rank keeps."""
    sharded = np.asarray(layout.zero) >= 1
    return sum(
        parameters / np.where(sharded, ranks, 1.0)
        for parameters, ranks in zip(local_parameters(work, layout), groups(layout), strict=True)
    )


def hidden_share(exposed: Seconds, whole: Seconds) -> Seconds:
    """What of the data-parallel collectives hides."""
    return whole - hierarchical.exposed_time(whole, whole - exposed, 1.0)
