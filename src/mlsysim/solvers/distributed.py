"""One training step on a fleet: what is held on a chip, what waits for what, what it reaches (wall 14)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..catalog import Defaults, textbook
from ..catalog.models import Transformer
from ..errors import MissingFactError
from ..machine.textbook import Wiring, peak_in, wiring
from ..physics import pipeline
from ..workloads.training import OPTIMIZERS, RECOMPUTE, work_of
from ..workloads.training_operators import CONTEXTS
from . import plan_rules
from . import training_offload as offloading
from .base import ForwardModel
from .border import Border, shape_of
from .distributed_result import DistributedResult
from .result import Question
from .topology import TOPOLOGIES, bisection_of
from .training_plan import SCHEDULES, Machine, Plan, bubble_of, memory_of, recipe_for, sample_flops, time_of


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
        expert_tp: Any = None,
        context_parallel: Any = "ring",
        offload: Any = "none",
        offload_param: Any = "none",
        delayed_update: Any = False,
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
            expert_tp: tensor-parallel ranks of an expert; experts are then folded over all ranks of a stage, so that
                ``ep_size`` may exceed the data-parallel ranks. If not given, experts are split as attention is
            context_parallel: how context ranks exchange: ``"ring"`` (hides behind attention), ``"all_gather"``, ``"ulysses"``
            offload: where optimizer states lie and the update runs: ``"none"``, ``"cpu"``, or ``"nvme"`` (states on drives)
            offload_param: where weights lie between their uses, with ZeRO-3: ``"none"``, ``"cpu"`` or ``"nvme"``
            delayed_update: an offloaded update runs beside the next step, which works with weights one step old

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
                         optimizer=optimizer, lora_rank=lora_rank, expert_tp=expert_tp,
                         context_parallel=context_parallel, offload=offload, offload_param=offload_param,
                         delayed_update=delayed_update)  # fmt: skip
        if isinstance(efficiency, str):
            from .training_measured_question import measured_step

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
        etp = None if expert_tp is None else border.count("expert_tp", expert_tp)
        contexts = border.choice("context_parallel", context_parallel, CONTEXTS)
        place = border.choice("offload", offload, offloading.PLACES)
        outside = border.choice("offload_param", offload_param, offloading.PLACES)
        late = border.flag("delayed_update", delayed_update)
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
            dp=np.maximum(np.floor(wires.chips / (tp * pp * cp * (ep if etp is None else 1.0))), 1.0), etp=etp, tp=tp, pp=pp, ep=ep, cp=cp,
            chunks=sizes["v_stages"], microbatches=sizes["microbatch_count"] * sizes["gradient_accumulation_steps"],
            zero=zero, recompute=recompute, sequence_parallel=shared, schedule=order, fused_attention=fused,
            contexts=contexts, offload=place, offload_param=outside,
        )  # fmt: skip
        good, problems = plan_rules.layout(plan, work, wires.chips)
        if outside != "none" and np.any(np.asarray(zero) < 3):
            problems.append(f"offload_param {outside}: weights lie on the host with zero_stage 3 only")
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
        host = offloading.host_of(
            machine, wires.chip, place, outside, recipe.master + recipe.first + recipe.second, recipe.weight, late
        )
        on_host = 0.0 if host is None else host.held(held.shard, 1.0, held.shard_weights / recipe.weight)
        room, more_told = offloading.capacity(machine, place, outside)
        told += more_told
        bed = Machine(wires, peak, eta, chip.memory_bandwidth, hidden if overlap else 0.0, congestion, imbalance, host)
        times = time_of(work, plan, batch, held, recipe, bed)
        useful, done = sample_flops(work, recompute, lora, fused)
        if not isinstance(network, Transformer):
            told += (f"a sample of {network.id} has no tokens",)
        shape = shape_of(
            batch,
            eta,
            *sizes.values(),
            zero,
            recompute,
            hidden,
            congestion,
            straggler,
            imbalance,
            rank,
            1.0 if etp is None else etp,
        )
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
            bubble_fraction=idle_share(plan),
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
            optimizer_on_host=on_host,
            host_capacity=room,
            feasible=good & dealt & (held.total <= chip.memory_capacity) & (on_host <= room),
        )  # fmt: skip


def idle_share(plan: Any) -> Any:
    """Share of the pipeline's time that a stage idles under a plan or layout, everything else left out."""
    if plan.schedule not in ("dualpipe", "zero-bubble"):
        return pipeline.bubble_fraction(plan.pp, plan.microbatches, plan.chunks)
    idle = bubble_of(plan, 1 / 3, 1 / 3, 1 / 3) / plan.microbatches  # forward, inputs, weights: a third each
    return idle / (1.0 + idle)


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
