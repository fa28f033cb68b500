"""How a training step is split over a fleet, what it then holds on a chip, and where its time goes. Arrays of plans too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Defaults
from ..machine import network
from ..machine.textbook import Wiring
from ..physics import hierarchical, memory, moe, pipeline, roofline
from ..physics import training_memory as state
from ..physics import transformer as eq
from ..units import Bytes, Count, Flop, Seconds
from ..workloads import training as jobs
from ..workloads.training import FULL, SELECTIVE, Work
from .training_offload import Host

SCHEDULES = ("1f1b", "interleaved", "gpipe", "zero-bubble", "dualpipe")


@dataclass(frozen=True, slots=True)
class Plan:
    """Ranks of each kind of parallelism, and how a step runs on them.

    Chips lie in the order tensor (innermost), context, expert, data, pipeline. Expert ranks hold different data, so the
    batch is dealt over ``dp * ep`` ranks; dense weights are copied over ``dp * ep * cp`` and experts over ``dp * cp``.

    With ``etp``, experts are folded over all ranks of a stage instead (Liu et al., MoE parallel folding, arXiv:2504.14960):
    ``ep`` times ``etp`` of them hold all experts, and the batch is dealt over ``dp`` ranks.
    """

    dp: Count
    tp: Count
    pp: Count
    ep: Count
    cp: Count
    chunks: Count
    microbatches: Count
    zero: Count
    recompute: Any
    sequence_parallel: bool = True
    schedule: str = "1f1b"
    fused_attention: bool = True
    etp: Any = None
    contexts: str = "ring"
    offload: str = "none"
    offload_param: str = "none"

    @property
    def data(self) -> Count:
        """Ranks that hold different samples."""
        return self.dp * self.ep if self.etp is None else self.dp

    @property
    def chips(self) -> Count:
        """Chips of the plan."""
        return self.data * self.tp * self.pp * self.cp

    @property
    def expert_parts(self) -> Count:
        """Ranks that share the experts of a stage."""
        return self.ep * (self.tp if self.etp is None else self.etp)

    @property
    def expert_copies(self) -> Count:
        """Ranks that hold the same part of the experts of a stage."""
        return self.data * self.cp * self.tp / self.expert_parts

    def samples(self, batch: Count) -> Count:
        """Samples of a micro-batch on the fullest rank."""
        return np.ceil(batch / (self.data * self.microbatches))


@dataclass(frozen=True, slots=True)
class Recipe:
    """Bytes of each kind of state, and what is trained."""

    weight: Bytes
    value: Bytes
    gradient: Bytes
    master: Bytes
    first: Bytes
    second: Bytes
    trainable: Any = 1.0
    adapters: Any = None
    buffers: Any = None


@dataclass(frozen=True, slots=True)
class Held:
    """Memory of the fullest chip, by use."""

    weights: Bytes
    gradients: Bytes
    optimizer: Bytes
    activations: Bytes
    logits: Bytes
    buffers: Bytes
    dense_gradients: Bytes
    expert_gradients: Bytes
    dense_weights: Bytes
    expert_weights: Bytes
    shard: Count
    shard_weights: Bytes

    @property
    def state(self) -> Bytes:
        """What does not depend on the batch."""
        return memory.sum_of_bytes(self.weights, self.gradients, self.optimizer)

    @property
    def total(self) -> Bytes:
        """Everything."""
        return memory.sum_of_bytes(self.state, memory.sum_of_bytes(self.activations, self.logits, 0.0), self.buffers)


def recipe_for(number: Any, work: Work, optimizer: str, *, trainable: Any = 1.0, lora_rank: Any = None,
               buffers: Any = None) -> tuple[Recipe, tuple[str, ...]]:  # fmt: skip
    """Bytes of mixed-precision training in a number format; formats below 16 bits compute, they do not store weights."""
    assumed = Defaults["Training"].si
    value = number.si.activation_bits / 8
    stored = number.bytes_per_value()
    notes: tuple[str, ...] = ()
    if stored < 2.0:
        notes = (f"weights and gradients are kept in 16 bits; {number.id.lower()} is the format of the arithmetic",)
        stored = 2.0
    master, first, second = jobs.optimizer_bytes(optimizer, work, assumed.master_weight if stored < 4.0 else 0.0)
    adapters = None if lora_rank is None else jobs.adapter_parameters(work.model, lora_rank)  # type: ignore[arg-type]
    share = assumed.buffer_share if buffers is None else buffers
    return Recipe(stored, value, max(stored, 2.0), master, first, second, trainable, adapters, share), notes


def memory_of(work: Work, plan: Plan, samples: Count, recipe: Recipe) -> Held:
    """Memory of the fullest chip: the first pipeline stage, or the last one with its logits."""
    assumed = Defaults["Training"].si
    stage = np.ceil(work.layers / (plan.pp * plan.chunks)) * plan.chunks
    share = stage / work.layers
    copies = np.where(np.asarray(plan.pp) > 1, 1.0, 1.0 if work.tied else 2.0)
    dense = (work.layer_parameters * share + work.embedding * copies) / plan.tp
    experts = work.expert_parameters * share / plan.expert_parts
    dense_shards, expert_shards = plan.data * plan.cp, plan.expert_copies
    trained_dense, trained_experts = dense * recipe.trainable, experts * recipe.trainable
    if recipe.adapters is not None:
        trained_dense, trained_experts = recipe.adapters * share / plan.tp, 0.0 * experts
    dense_weights, expert_weights = eq.weight_size(dense, recipe.weight), eq.weight_size(experts, recipe.weight)
    if recipe.adapters is not None:
        dense_weights = dense_weights + eq.weight_size(trained_dense, recipe.weight)
    dense_gradients = eq.weight_size(trained_dense, recipe.gradient)
    expert_gradients = eq.weight_size(trained_experts, recipe.gradient)
    moments = (recipe.master, recipe.first, recipe.second)
    dense_states = state.optimizer_state_size(trained_dense, *moments)
    expert_states = state.optimizer_state_size(trained_experts, *moments)

    def held(dense_part: Bytes, expert_part: Bytes, kind: int) -> Bytes:
        """One kind of state after the data-parallel ranks share it out."""
        parts = [0.0, 0.0, 0.0]
        parts[kind] = dense_part
        kept = state.zero_state_size(parts[0], parts[1], parts[2], dense_shards, plan.zero)
        if not work.expert_parameters:
            return kept
        parts[kind] = expert_part
        return kept + state.zero_state_size(parts[0], parts[1], parts[2], expert_shards, plan.zero)

    weights = held(dense_weights, expert_weights, 0)
    gradients = held(dense_gradients, expert_gradients, 1)
    layer_weights = (dense_weights + expert_weights) / stage
    gathered = np.where(np.asarray(plan.zero) >= 3, assumed.gathered_layers * layer_weights, 0.0)
    activations, logits = _activations(work, plan, samples, recipe, stage)
    if plan.schedule == "dualpipe":  # a stage of each direction
        weights = 2.0 * weights
    shard_weights = weights
    if plan.offload_param != "none":
        weights = 0.0 * weights
    on_chip = float(plan.offload == "none")
    return Held(
        weights=weights,
        gradients=gradients,
        optimizer=held(dense_states, expert_states, 2) * on_chip,
        activations=activations,
        logits=logits,
        buffers=recipe.buffers * (weights + gradients) + gathered,
        dense_gradients=dense_gradients,
        expert_gradients=expert_gradients,
        dense_weights=dense_weights,
        expert_weights=expert_weights,
        shard=held(trained_dense, trained_experts, 2),
        shard_weights=shard_weights,
    )


def _activations(work: Work, plan: Plan, samples: Count, recipe: Recipe, stage: Count) -> tuple[Bytes, Bytes]:
    """Activations and logits of the stage that holds more: the first, full of micro-batches, or the last."""
    shards = plan.tp if plan.sequence_parallel else 1.0
    kept, whole = jobs.layer_activations(
        work, samples, plan.tp, plan.cp, shards, plan.recompute, recipe.value, plan.fused_attention
    )
    if plan.schedule == "gpipe":
        first = last = plan.microbatches
    elif plan.schedule == "dualpipe":  # both directions together (DeepSeek-V3, arXiv:2412.19437, table 2)
        first = last = np.minimum(plan.microbatches, plan.pp + 1)
    else:
        first = pipeline.interleaved_first_in_flight(plan.pp, plan.microbatches, plan.chunks)
        last = pipeline.interleaved_last_in_flight(plan.pp, plan.microbatches, plan.chunks)
        if (
            plan.schedule == "zero-bubble"
        ):  # every stage keeps as many, for gradients of weights put off (Qi et al., 2024)
            last = first
    working = np.where(np.asarray(plan.recompute) >= FULL, whole, 0.0)
    at_first, at_last = kept * stage * first + working, kept * stage * last + working
    if work.shape is None:
        return at_first, 0.0 * at_first
    m = work.model.si
    logit = Defaults["Training"].si.logit
    logits = state.head_activation_size(
        samples * work.tokens / plan.cp, m.hidden, m.vocab, plan.tp, recipe.value, logit
    )
    ending = (at_last + logits > at_first) | (np.asarray(plan.pp) == 1)
    return np.where(ending, at_last, at_first)[()], np.where(ending, logits, 0.0)[()]


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of one optimizer step, by cause; they add up to the step of a fleet without stragglers."""

    compute: Seconds
    tp: Seconds
    ep: Seconds
    cp: Seconds
    pp: Seconds
    dp: Seconds
    dp_whole: Seconds
    bubble: Seconds
    update: Seconds
    ideal: Seconds
    bound_by_memory: Any

    @property
    def step(self) -> Seconds:
        """All of it."""
        communication = memory.sum_of_times(memory.sum_of_times(self.tp, self.ep, self.cp), self.pp, self.dp)
        return memory.sum_of_times(memory.sum_of_times(self.compute, self.bubble, self.update), communication, 0.0)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the times need to know of a chip and its links."""

    wires: Wiring
    peak: Any
    efficiency: Any
    bandwidth: Any
    overlap: Any = 0.0
    congestion: Any = 1.0
    imbalance: Any = 1.0
    host: Host | None = None


def sample_flops(work: Work, recompute: Any, frozen: bool, fused: bool) -> tuple[Flop, Flop]:
    """FLOPs of training on one sample: what the model needs, and what is done with recomputation.

    Fused attention stores no scores, so selective recomputation has nothing to do again.
    """
    forward = memory.sum_of_flops(work.linear + work.routed, work.attention)
    weights = 0.0 if frozen else 1.0  # gradients of frozen weights are not needed
    useful = (work.linear + work.routed) * (2.0 + weights) + work.attention * (1.0 + jobs.BACKWARD)
    scores = 0.0 if fused else work.attention
    again = np.where(np.asarray(recompute) >= FULL, forward, np.where(np.asarray(recompute) >= SELECTIVE, scores, 0.0))
    return useful, useful + again[()]


def time_of(work: Work, plan: Plan, batch: Count, held: Held, recipe: Recipe, machine: Machine) -> Times:
    """Where the time of one step goes, on the slowest rank."""
    samples, m = plan.samples(batch), plan.microbatches
    frozen = recipe.adapters is not None
    _, done = sample_flops(work, plan.recompute, frozen, plan.fused_attention)
    full = np.asarray(plan.recompute) >= FULL
    hot = work.routed * (3.0 - frozen + full) * (machine.imbalance - 1.0)
    ranks = plan.tp * plan.pp * plan.cp
    uneven = pipeline.stage_imbalance(work.layers, plan.pp, plan.chunks)
    assumed = Defaults["Training"].si
    arithmetic = roofline.compute_time(samples * (done + hot) * uneven / ranks, machine.peak, machine.efficiency)
    traffic = assumed.weight_reads * (held.dense_weights + held.expert_weights)
    moving = roofline.memory_time(traffic, machine.bandwidth)
    busy = roofline.roofline_time(arithmetic, moving, 0.0)
    layers = np.ceil(work.layers / (plan.pp * plan.chunks)) * plan.chunks
    slow = machine.congestion
    tensor, expert, context, send = _inside_a_microbatch(work, plan, samples, recipe, machine, layers, full)
    if plan.contexts == "ring":  # a block is handed on while another one is at work
        scores = roofline.compute_time(
            samples * work.attention * (3.0 + full) / ranks, machine.peak, machine.efficiency
        )
        context = hierarchical.exposed_time(context, scores * (1 - 1 / plan.cp), 1.0)
    if plan.schedule == "dualpipe":  # a forward and a backward pass hide each other's exchanges
        expert = hierarchical.exposed_time(expert, busy, 1.0)
    one = memory.sum_of_times(busy, memory.sum_of_times(tensor, expert, context) * slow, send * slow)
    # forward once, gradients of inputs and of weights as long each; what is recomputed comes before the gradients of inputs
    ahead = one / (3.0 - frozen + full)
    bubble = bubble_of(plan, ahead, (1.0 + full) * ahead, (1.0 - frozen) * ahead)
    reduce, window = _gradients(plan, held, machine, m * busy, busy)
    reduce = reduce * slow
    update: Any = roofline.memory_time(2 * (held.state + held.shard_weights - held.weights), machine.bandwidth)
    if machine.host is not None and plan.offload != "none":
        update = machine.host.update(held.shard, busy * 2 / 3, m * busy)
    return Times(
        compute=hierarchical.repeated_time(busy, m),
        tp=hierarchical.repeated_time(tensor, m, slow),
        ep=hierarchical.repeated_time(expert, m, slow),
        cp=hierarchical.repeated_time(context, m, slow),
        pp=hierarchical.repeated_time(send, m, slow),
        dp=hierarchical.exposed_time(reduce, window, machine.overlap),
        dp_whole=reduce,
        bubble=bubble,
        update=update,
        ideal=roofline.compute_time(batch * done / plan.chips, machine.peak, machine.efficiency),
        bound_by_memory=moving > arithmetic,
    )


def bubble_of(plan: Plan, forward: Seconds, inputs: Seconds, weights: Seconds) -> Seconds:
    """What a stage idles: passes of a micro-batch forward, for gradients of inputs, and for gradients of weights."""
    if plan.schedule == "zero-bubble":
        return pipeline.split_backward_bubble_time(forward, inputs, weights, plan.pp, plan.microbatches)
    if plan.schedule == "dualpipe":
        return pipeline.bidirectional_bubble_time(forward, inputs, weights, plan.pp)
    return pipeline.bubble_time(forward + inputs + weights, plan.pp, plan.chunks)


def _inside_a_microbatch(
    work: Work, plan: Plan, samples: Count, recipe: Recipe, machine: Machine, layers: Count, full: Any
) -> tuple[Seconds, Seconds, Seconds, Seconds]:
    """Tensor, expert and context collectives of a micro-batch on one stage, and its hand-overs to the next."""
    if work.shape is None:
        return 0.0, 0.0, 0.0, 0.0
    m, s, wires = work.model.si, work.shape, machine.wires
    tokens = samples * work.tokens / plan.cp
    message = memory.activation_size(tokens, m.hidden, recipe.value)
    passes = 2.0 + full  # forward, backward, and forward again
    tensor: Any = 0.0
    if np.any(np.asarray(plan.tp) > 1):
        once = network.all_reduce_time(message, network.group_of(wires, plan.tp))
        tensor = hierarchical.repeated_time(once, 2 * passes * layers)
    expert: Any = 0.0
    if s.moe_layers and np.any(np.asarray(plan.ep) > 1):
        routed = moe.dispatch_size(tokens / plan.tp, s.active_experts, m.hidden, recipe.value, machine.imbalance)
        group = network.group_of(wires, plan.ep, plan.tp * plan.cp if plan.etp is None else plan.etp)
        once = network.all_to_all_time(routed, group, s.active_experts)
        expert = hierarchical.repeated_time(once, 2 * passes * layers * (s.moe_layers / s.layers))
    context: Any = 0.0
    if np.any(np.asarray(plan.cp) > 1):
        context = _between_contexts(work, plan, tokens, recipe, wires, layers, full)
    send: Any = 0.0
    if np.any(np.asarray(plan.pp) > 1):
        boundary = memory.activation_size(tokens / plan.tp, m.hidden, recipe.value)
        each = network.hop_time(boundary, wires, plan.chips / plan.pp)
        send = np.where(np.asarray(plan.pp) > 1, 2 * plan.chunks * each, 0.0)[()]
    return tensor, expert, context, send


def _between_contexts(
    work: Work, plan: Plan, tokens: Count, recipe: Recipe, wires: Wiring, layers: Count, full: Any
) -> Seconds:
    """What context ranks exchange for attention; latent attention hands on its latent, which tensor ranks do not split."""
    m, s = work.model.si, work.shape
    assert s is not None
    passes = 2.0 + full
    latent = m.kv_lora_rank is not None
    width = m.kv_lora_rank + (m.qk_rope_head_dim or 0.0) if latent else 2 * s.kv_heads * m.head_dim
    block = memory.activation_size(tokens / (1.0 if latent else np.minimum(plan.tp, s.kv_heads)), width, recipe.value)
    if plan.contexts == "ring":  # keys and values go round forward; they and their gradients backward
        each = network.hop_time(block, wires, plan.tp * (plan.cp - 1))
        return hierarchical.repeated_time(each, (passes + 1.0) * layers * (plan.cp - 1))
    group = network.group_of(wires, plan.cp, plan.tp)
    if plan.contexts == "all_gather":  # gathered for each pass, and their gradients scattered
        each = network.all_gather_time(block * plan.cp, group)
        return hierarchical.repeated_time(each, (passes + 1.0) * layers)
    # queries, keys and values go out by heads and the output comes back
    moved = block + memory.activation_size(tokens / plan.tp, 2 * m.heads * m.head_dim, recipe.value)
    return hierarchical.repeated_time(network.all_to_all_time(moved, group), passes * layers)


def _gradients(plan: Plan, held: Held, machine: Machine, all_compute: Seconds, one: Seconds) -> tuple[Seconds, Seconds]:
    """Time of the data-parallel collectives of a step, and the arithmetic that they can hide behind.

    Up to ZeRO-1, gradients are reduced once a step; ZeRO-2 scatters them after every micro-batch; ZeRO-3 also gathers
    the weights for each pass of each micro-batch.
    """
    stage, m = np.asarray(plan.zero), plan.microbatches
    dense = network.group_of(machine.wires, plan.data * plan.cp, plan.tp)
    reduce = network.all_reduce_time(held.dense_gradients, dense)
    gather = network.all_gather_time(held.dense_weights, dense)
    if np.any(np.asarray(held.expert_weights) > 0):
        experts = network.group_of(machine.wires, plan.expert_copies, plan.expert_parts)
        reduce = memory.sum_of_times(reduce, network.all_reduce_time(held.expert_gradients, experts), 0.0)
        gather = memory.sum_of_times(gather, network.all_gather_time(held.expert_weights, experts), 0.0)
    if not stage.any():
        return reduce, one * 2 / 3
    if (
        machine.host is not None and plan.offload_param != "none"
    ):  # each rank brings its shard while others are gathered
        gather = np.maximum(gather, machine.host.fetch(held.shard_weights))
    scatter = reduce / 2
    time = np.where(stage >= 3, m * (2 * gather + scatter), np.where(stage >= 2, m * scatter + scatter, reduce))
    return time[()], np.where(stage >= 2, all_compute, one * 2 / 3)[()]
