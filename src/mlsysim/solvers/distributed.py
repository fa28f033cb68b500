"""One training step on a fleet: what is held on a chip, what waits for what, what it reaches (wall 14)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..catalog import Defaults, textbook
from ..catalog.models import Transformer
from ..errors import MissingFactError
from ..machine.textbook import Wiring, peak_in, wiring
from ..physics import memory, pipeline, roofline
from ..record import total
from ..units import Bytes, Count, Flop, FlopPerSecond, Fraction, PerSecond, Seconds, TokensPerSecond
from ..workloads.training import OPTIMIZERS, RECOMPUTE, work_of
from . import plan_rules
from .base import ForwardModel
from .border import Border, shape_of
from .limits import Limit, binding
from .result import Question, Result
from .topology import TOPOLOGIES, bisection_of
from .training_plan import SCHEDULES, Machine, Plan, memory_of, recipe_for, sample_flops, time_of

PARTS = ("Compute", "Tensor parallel", "Expert parallel", "Context parallel", "Pipeline sends", "Data parallel",
         "Pipeline bubble", "Optimizer update", "Stragglers")  # fmt: skip
WALLS = {"Compute": (1, "Compute"), "Memory": (2, "Memory"), "Optimizer update": (2, "Memory")}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DistributedResult(Result):
    """A step in parts that add up, the memory of the fullest chip in parts that add up, and what is reached."""

    compute_latency: Seconds
    tp_communication_latency: Seconds
    ep_communication_latency: Seconds
    cp_communication_latency: Seconds
    pp_communication_latency: Seconds
    dp_communication_latency: Seconds
    pipeline_bubble_latency: Seconds
    update_latency: Seconds
    straggler_latency: Seconds
    dp_communication_hidden: Seconds
    ideal_latency: Seconds
    bubble_fraction: Fraction
    weights: Bytes
    gradients: Bytes
    optimizer_state: Bytes
    activations: Bytes
    logits: Bytes
    communication_buffers: Bytes
    memory_capacity: Bytes
    batch: Count
    tokens_per_sample: Count
    chips: Count
    flops: Flop
    hardware_flops: Flop
    peak: FlopPerSecond
    dp: Count
    tp: Count
    pp: Count
    ep: Count
    cp: Count
    memory_bound: Any
    feasible: bool

    @total
    def communication_latency(self) -> Seconds:
        """All communication that the step waits for."""
        inner = memory.sum_of_times(
            self.tp_communication_latency, self.ep_communication_latency, self.cp_communication_latency
        )
        return memory.sum_of_times(inner, self.pp_communication_latency, self.dp_communication_latency)

    @total
    def step_latency_total(self) -> Seconds:
        """Time of one optimizer step."""
        own = memory.sum_of_times(self.compute_latency, self.pipeline_bubble_latency, self.update_latency)
        return memory.sum_of_times(own, self.communication_latency, self.straggler_latency)

    @total
    def scaling_efficiency(self) -> Fraction:
        """Arithmetic dealt evenly, at the given efficiency, over the step."""
        return self.ideal_latency / self.step_latency_total

    @total
    def effective_throughput(self) -> PerSecond:
        """Samples a second of the whole fleet."""
        return self.batch / self.step_latency_total

    @total
    def tokens_per_second(self) -> TokensPerSecond:
        """Tokens a second of the whole fleet; NaN for models that read none."""
        return self.batch * self.tokens_per_sample / self.step_latency_total

    @total
    def mfu(self) -> Fraction:
        """FLOPs that the model needs (causal attention, nothing recomputed) over what the peak does in that time."""
        return roofline.utilisation(self.flops, self.step_latency_total, self.peak * self.chips)

    @total
    def hfu(self) -> Fraction:
        """FLOPs done, recomputed ones included, over what the peak does in that time."""
        return roofline.utilisation(self.hardware_flops, self.step_latency_total, self.peak * self.chips)

    @total
    def flops_per_second_per_chip(self) -> FlopPerSecond:
        """Rate that a chip sustains, recomputation included, as Megatron-LM reports it."""
        return self.hardware_flops / (self.step_latency_total * self.chips)

    @total
    def memory_per_device(self) -> Bytes:
        """Memory of the fullest chip."""
        states = memory.sum_of_bytes(self.weights, self.gradients, self.optimizer_state)
        return memory.sum_of_bytes(states, memory.sum_of_bytes(self.activations, self.logits, 0.0),
                                   self.communication_buffers)  # fmt: skip

    @total
    def memory_utilization(self) -> Fraction:
        """Memory needed on the fullest chip over memory there is."""
        return self.memory_per_device / self.memory_capacity

    @property
    def memory_peak(self) -> Any:
        """Which stage is fullest, and when."""
        i = self.si
        late = np.broadcast_to(np.asarray(i.logits) > 0, self.shape)
        named = np.where(
            late, "last stage, at the loss", "first stage, when the last micro-batch of its warm-up is in flight"
        )
        return named if self.shape else str(named)

    @property
    def parallelism(self) -> dict[str, Any]:
        """Ranks of each kind; their product is the number of chips. The batch is dealt over ``dp * ep`` ranks."""
        inside = self.si
        names = ("dp", "tp", "pp", "ep", "cp")
        found = {name: getattr(inside, name) for name in names}
        return {name: value if np.ndim(value) else int(value) for name, value in found.items()}

    @property
    def node_profile(self) -> dict[str, Any]:
        """What one chip does in a step: arithmetic, and memory by use."""
        names = ("compute_latency", "weights", "gradients", "optimizer_state", "activations", "logits",
                 "communication_buffers", "memory_per_device", "memory_capacity")  # fmt: skip
        return {name: getattr(self, name) for name in names}

    @property
    def bottleneck(self) -> Any:
        """The longest part of the step."""
        return self._parts()[0]

    @property
    def margin(self) -> Any:
        """How many times longer the longest part is than the next."""
        return self._parts()[1]

    def _parts(self) -> tuple[Any, Any]:
        i = self.si
        times = (i.compute_latency, i.tp_communication_latency, i.ep_communication_latency, i.cp_communication_latency,
                 i.pp_communication_latency, i.dp_communication_latency, i.pipeline_bubble_latency, i.update_latency,
                 i.straggler_latency)  # fmt: skip
        named, margin = binding(PARTS, tuple(np.broadcast_to(t, self.shape) for t in times))
        memory_bound = np.broadcast_to(i.memory_bound, self.shape)
        named = np.where((np.asarray(named) == "Compute") & memory_bound, "Memory", named)
        return (named if self.shape else str(named)), margin

    @property
    def binding_wall(self) -> Any:
        """The wall of the bottleneck: arithmetic (1), memory (2) or communication (14); numbers in a sweep."""
        bound = self.bottleneck
        if not self.shape:
            return WALLS.get(bound, (14, "Communication"))
        return np.where(bound == "Compute", 1, np.where(np.isin(bound, ("Memory", "Optimizer update")), 2, 14))

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit, for the fullest chip."""
        inside = self.si
        return (Limit("memory per device", inside.memory_per_device, inside.memory_capacity, "byte"),)


class DistributedModel(ForwardModel):
    """Wall 14: chips that train together wait for each other's activations and gradients."""

    walls = ((14, "Communication", "fleet"),)
    requires = ("workload", "fleet")
    produces = DistributedResult
    misbeliefs = {
        "twice the chips train twice as fast": "at a fixed batch, gradients take as long as before and bubbles grow",
        "every kind of parallelism costs the same bandwidth": "tensor parallelism talks in every layer, data parallelism "
        "once a step; keep the first inside a node",
        "recomputation is only a cost": "it makes room for larger micro-batches or fewer ranks, which may save more",
    }

    def solve(
        self,
        model: Any,
        fleet: Any,
        batch_size: Any = 1,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        tp_size: Any = 1,
        pp_size: Any = 1,
        ep_size: Any = 1,
        v_stages: Any = 1,
        microbatch_count: Any = 1,
        topology_override: Any = None,
        zero_stage: Any = 0,
        is_lora: Any = False,
        activation_recomputation: Any = False,
        overlap_comm: Any = False,
        overlap_efficiency: Any = 0.85,
        congestion_factor: Any = 1.0,
        straggler_factor: Any = 1.0,
        gradient_accumulation_steps: Any = 1,
        seq_len: Any = 2048,
        *,
        moe_routing_imbalance_factor: Any = 1.0,
        cp_size: Any = 1,
        sequence_parallel: Any = True,
        schedule: Any = "1f1b",
        fused_attention: Any = True,
        optimizer: Any = "adam",
        lora_rank: Any = None,
    ) -> DistributedResult:
        """One optimizer step of a global batch, split over all chips of a fleet.

        Args:
            model: an entry of ``Models`` or its name; models that are no transformers train data-parallel only
            fleet: a fleet or a node, or its name; every chip is used, so data-parallel ranks follow from the others
            batch_size: samples of one optimizer step over the whole fleet; may be an array
            precision: number format of the arithmetic
            efficiency: share of the arithmetic peak that kernels reach, in (0, 1]; or ``"measured"``: every kernel at the
                efficiency it was measured to reach, on a stack such as Megatron's (see ``TrainingStepModel``)
            tp_size: tensor-parallel ranks
            pp_size: pipeline stages
            ep_size: expert-parallel ranks; they hold different experts and different data
            v_stages: model chunks of each stage (interleaved schedule)
            microbatch_count: micro-batches that a rank's share of the batch is cut into
            topology_override: scale the fabric to the bisection of this topology (``"torus_3d"``, ...)
            zero_stage: what data-parallel ranks share: 1 optimizer states, 2 gradients too, 3 weights too
            is_lora: train low-rank adapters of the attention projections only
            activation_recomputation: False or ``"none"``, ``"selective"`` (attention scores), True or ``"full"``
            overlap_comm: hide data-parallel traffic behind the backward pass
            overlap_efficiency: the largest share of it that can hide
            congestion_factor: slowdown of all communication by other traffic, at least 1
            straggler_factor: slowest over mean rank, at least 1
            gradient_accumulation_steps: multiplies the micro-batches of a step
            seq_len: tokens of a sequence
            moe_routing_imbalance_factor: load of the fullest expert rank over the mean, at least 1
            cp_size: context-parallel ranks, which share the tokens of a sequence
            sequence_parallel: tensor-parallel ranks also share norms and residuals
            schedule: ``"1f1b"``, ``"interleaved"``, ``"gpipe"``, ``"zero-bubble"`` (ZB-H1) or ``"dualpipe"``
            fused_attention: attention scores are never stored
            optimizer: whose states are kept: sgd, momentum, adam, adamw, adamw8bit, adafactor or muon
            lora_rank: rank of the adapters

        Returns:
            The step by cause, memory by use, MFU and HFU; ``feasible`` where the fullest chip holds its part.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once
            InvalidPlanError: ranks that do not divide chips, heads, layers, experts, tokens or the batch
            MissingFactError: the catalog lacks a peak or a link that the answer needs

        Examples:
            >>> step = DistributedModel().solve("Llama3_70B", "Research_256", batch_size=256, tp_size=8, pp_size=4,
            ...                                 microbatch_count=32, activation_recomputation="full")
            >>> step.feasible, step.parallelism["dp"], step.bottleneck
            (True, 8, 'Compute')
        """
        arguments = dict(model=model, fleet=fleet, batch_size=batch_size, precision=precision, efficiency=efficiency,
                         tp_size=tp_size, pp_size=pp_size, ep_size=ep_size, v_stages=v_stages,
                         microbatch_count=microbatch_count, topology_override=topology_override, zero_stage=zero_stage,
                         is_lora=is_lora, activation_recomputation=activation_recomputation, overlap_comm=overlap_comm,
                         overlap_efficiency=overlap_efficiency, congestion_factor=congestion_factor,
                         straggler_factor=straggler_factor, gradient_accumulation_steps=gradient_accumulation_steps,
                         seq_len=seq_len, moe_routing_imbalance_factor=moe_routing_imbalance_factor, cp_size=cp_size,
                         sequence_parallel=sequence_parallel, schedule=schedule, fused_attention=fused_attention,
                         optimizer=optimizer, lora_rank=lora_rank)  # fmt: skip
        if isinstance(efficiency, str):
            from .training_step import measured_step

            return measured_step(arguments)
        border = Border()
        network, machine = border.model(model), plan_rules.fleet_of(border, fleet)
        number = border.format(precision)
        batch = border.count("batch_size", batch_size)
        eta = border.fraction("efficiency", efficiency)
        sizes = {name: border.count(name, value) for name, value in (
            ("tp_size", tp_size), ("pp_size", pp_size), ("ep_size", ep_size), ("cp_size", cp_size),
            ("v_stages", v_stages), ("microbatch_count", microbatch_count),
            ("gradient_accumulation_steps", gradient_accumulation_steps), ("seq_len", seq_len),
        )}  # fmt: skip
        topology = (
            None if topology_override is None else border.choice("topology_override", topology_override, TOPOLOGIES)
        )
        zero = border.count("zero_stage", zero_stage, least=0, most=3)
        lora, overlap = border.flag("is_lora", is_lora), border.flag("overlap_comm", overlap_comm)
        recompute = recomputation(border, activation_recomputation)
        hidden = border.fraction("overlap_efficiency", overlap_efficiency, closed=True)
        congestion = border.number("congestion_factor", congestion_factor, least=1.0)
        straggler = border.number("straggler_factor", straggler_factor, least=1.0)
        imbalance = border.number("moe_routing_imbalance_factor", moe_routing_imbalance_factor, least=1.0)
        shared, fused = (
            border.flag("sequence_parallel", sequence_parallel),
            border.flag("fused_attention", fused_attention),
        )
        order = border.choice("schedule", schedule, SCHEDULES)
        update = border.choice("optimizer", optimizer, tuple(OPTIMIZERS))
        rank = Defaults["Training"].si.adapter_rank if lora_rank is None else border.count("lora_rank", lora_rank)
        if lora and network is not None and not isinstance(network, Transformer):
            border.problems.append(f"is_lora: adapters sit on attention projections; {network.id} has none")
        border.close()
        arguments.update(model=network, fleet=machine)
        wires = wiring(machine, textbook().link_latency)
        notes = wires.notes
        if topology is not None and wires.across is not None:
            wires, notes = _on_topology(wires, machine, topology), (*notes, f"the fabric is scaled to a {topology}")
        peak, more = peak_in(wires.chip, number)
        work = work_of(network, sizes["seq_len"])
        tp, pp, ep, cp = (sizes[name] for name in ("tp_size", "pp_size", "ep_size", "cp_size"))
        plan = Plan(
            dp=np.maximum(np.floor(wires.chips / (tp * pp * ep * cp)), 1.0), tp=tp, pp=pp, ep=ep, cp=cp,
            chunks=sizes["v_stages"], microbatches=sizes["microbatch_count"] * sizes["gradient_accumulation_steps"],
            zero=zero, recompute=recompute, sequence_parallel=shared, schedule=order, fused_attention=fused,
        )  # fmt: skip
        good, problems = plan_rules.layout(plan, work, wires.chips)
        plan_rules.refuse(problems)
        recipe, told = recipe_for(number, work, update, lora_rank=rank if lora else None)
        held = memory_of(work, plan, plan.samples(batch), recipe)
        chip = wires.chip.si
        dealt, problem = plan_rules.dealt(plan, batch)
        if problem:
            if np.all(held.state <= chip.memory_capacity):
                plan_rules.refuse([problem])
            told += (problem, "the states alone do not fit, whatever the batch")
        _links_known(wires, plan)
        bed = Machine(wires, peak, eta, chip.memory_bandwidth, hidden if overlap else 0.0, congestion, imbalance)
        times = time_of(work, plan, batch, held, recipe, bed)
        useful, done = sample_flops(work, recompute, lora, fused)
        if not isinstance(network, Transformer):
            told += (f"a sample of {network.id} has no tokens",)
        shape = shape_of(batch, eta, *sizes.values(), zero, recompute, hidden, congestion, straggler, imbalance, rank)
        return DistributedResult(
            question=Question(type(self), arguments),
            shape=shape,
            notes=tuple(dict.fromkeys((*notes, *more, *told))),
            compute_latency=times.compute,
            tp_communication_latency=times.tp,
            ep_communication_latency=times.ep,
            cp_communication_latency=times.cp,
            pp_communication_latency=times.pp,
            dp_communication_latency=times.dp,
            pipeline_bubble_latency=times.bubble,
            update_latency=times.update,
            straggler_latency=(straggler - 1.0) * times.step,
            dp_communication_hidden=times.dp_whole - times.dp,
            ideal_latency=times.ideal,
            bubble_fraction=_idle(plan),
            weights=held.weights,
            gradients=held.gradients,
            optimizer_state=held.optimizer,
            activations=held.activations,
            logits=held.logits,
            communication_buffers=held.buffers,
            memory_capacity=chip.memory_capacity,
            batch=batch,
            tokens_per_sample=sizes["seq_len"] if isinstance(network, Transformer) else np.nan,
            chips=wires.chips,
            flops=batch * useful,
            hardware_flops=batch * done,
            peak=peak,
            dp=plan.dp,
            tp=tp,
            pp=pp,
            ep=ep,
            cp=cp,
            memory_bound=times.bound_by_memory,
            feasible=good & dealt & (held.total <= chip.memory_capacity),
        )  # fmt: skip


def _idle(plan: Plan) -> Any:
    """Share of the pipeline's time that a stage idles, everything else left out."""
    if plan.schedule == "dualpipe":
        idle = pipeline.dualpipe_bubble_time(1.0, 2 / 3, 1 / 3, plan.pp) / plan.microbatches
        return idle / (1.0 + idle)
    if plan.schedule != "zero-bubble":
        return pipeline.bubble_fraction(plan.pp, plan.microbatches, plan.chunks)
    overhead = pipeline.bubble_overhead(plan.pp, plan.microbatches) / 3.0  # forward, inputs, weights: a third each
    return overhead / (1.0 + overhead)


def recomputation(border: Border, value: Any, name: str = "activation_recomputation") -> Any:
    """What is recomputed, as a number that arrays can hold."""
    if isinstance(value, (bool, np.bool_)):
        return RECOMPUTE["full" if value else "none"]
    word = border.choice(name, value, tuple(RECOMPUTE))
    return RECOMPUTE.get(word, 0.0) if isinstance(word, str) else 0.0


def _on_topology(wires: Wiring, machine: Any, topology: str) -> Wiring:
    fraction = bisection_of(topology, machine.si.count, Defaults["Training"].si.switch_radix)
    return replace(wires, across=wires.across * np.minimum(fraction, 1.0))


def _links_known(wires: Wiring, plan: Plan) -> None:
    if wires.inside is None and np.any(np.asarray(plan.chips) > 1):
        raise MissingFactError(f"{wires.chip.id} has no known link; pass a node with a link_bandwidth")
