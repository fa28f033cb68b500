"""One training step with the efficiencies that kernels were measured to reach, on a stack of a known class (wall 14)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from ..catalog import Defaults, textbook
from ..catalog.efficiency import KEPT
from ..catalog.training_stacks import STACKS, TrainingStacks
from ..errors import InvalidInputError, InvalidPlanError, MissingFactError, alternatives
from ..machine.measured import MeasuredMachine
from ..machine.textbook import peak_in, wiring
from ..machine.training_measured import Wires
from ..physics import pipeline
from ..record import total
from ..units import Bytes, Fraction, Seconds, TokensPerSecond, quantity
from ..workloads.training import OPTIMIZERS, adapter_parameters, optimizer_bytes, work_of
from ..workloads.training_operators import CONTEXTS, UNFUSED, trainable
from ..workloads.training_states import Recipe, footprint
from . import plan_rules
from . import training_offload as offloading
from .base import ForwardModel
from .border import Border, shape_of
from .distributed import DistributedResult, recomputation
from .limits import Limit
from .result import Question
from .training_plan import SCHEDULES, Plan, sample_flops
from .training_remedies import remedies_of
from .training_step_time import Layout, StepTimes, local_shard, recomputed_share, step_times, style_of

WIDE = {"fp32": 2.0, "tf32": 2.0, "fp64": 4.0}
"""Width of the values of formats that no products were measured in, over 16 bits."""
KERNELS = ("gemm", "attention", "experts", "elementwise", "head", "recompute", "host")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingStepResult(DistributedResult):
    """A measured step. ``compute_latency`` is the sum of its kernels, which are told apart here; see also the timeline."""

    stack: str
    gemm: Seconds
    attention: Seconds
    experts: Seconds
    elementwise: Seconds
    head: Seconds
    recompute: Seconds
    host: Seconds
    forward_stage: Seconds
    backward_stage: Seconds
    sigma: Fraction
    padding_share: Fraction
    optimizer_on_host: Bytes
    host_capacity: Bytes
    layout: Layout = field(repr=False)

    @total
    def useful_tokens_per_second(self) -> TokensPerSecond:
        """Tokens a second without those that only fill up sequences."""
        return self.batch * self.tokens_per_sample * (1.0 - self.padding_share) / self.step_latency_total

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit: the fullest chip, and a chip's share of its host where states lie there."""
        found: tuple[Limit, ...] = DistributedResult.limits.fget(self)  # type: ignore[attr-defined]
        if self.question.arguments["offload"] == "none":
            return found
        return (
            *found,
            Limit("states on the host, per device", self.si.optimizer_on_host, self.si.host_capacity, "byte"),
        )

    @property
    def remedies(self) -> list[str]:
        """Changes after which the step fits, cheapest first, each checked by asking again; empty where it fits."""
        return remedies_of(self)

    def interval(self, probability: float = 0.9) -> dict[str, Any]:
        """Low and high of the step between which that share of measurements is expected."""
        if not 0 < probability < 1:
            raise InvalidInputError(f"probability: expected a number in (0, 1), found {probability}")
        inside = self.si
        reach = np.exp(NormalDist().inv_cdf(0.5 + probability / 2) * np.asarray(inside.sigma))
        step = inside.step_latency_total
        low, high = step / reach, step * reach
        return {"step_latency_total": tuple(quantity(v if self.shape else float(v), "second") for v in (low, high))}

    def breakdown(self) -> dict[str, Any]:
        """Share of the step by cause, the longest first."""
        i = self.si
        parts: dict[str, Any] = {name: getattr(i, name) for name in KERNELS}
        parts |= {
            "tensor parallel": i.tp_communication_latency, "expert parallel": i.ep_communication_latency,
            "context parallel": i.cp_communication_latency, "pipeline sends": i.pp_communication_latency,
            "data parallel": i.dp_communication_latency, "bubble": i.pipeline_bubble_latency,
            "optimizer": i.update_latency, "stragglers": i.straggler_latency,
        }  # fmt: skip
        step = i.step_latency_total
        return dict(sorted(((n, v / step) for n, v in parts.items()), key=lambda item: -float(np.mean(item[1]))))

    def values(self) -> dict[str, Any]:
        """Every number of the answer by name."""
        return {name: value for name, value in DistributedResult.values(self).items() if name != "layout"}


class TrainingStepModel(ForwardModel):
    """Wall 14: kernel by kernel, collective by collective, what one optimizer step takes."""

    walls = ((14, "Communication", "fleet"),)
    requires = ("workload", "fleet")
    produces = TrainingStepResult
    misbeliefs = {
        "a training step is six FLOPs a parameter and token": "at long contexts attention, and with experts their exchange, "
        "take more than the products",
        "eight bits train twice as fast as sixteen": "only products speed up; conversions, attention and norms do not",
        "the stack hardly matters": "what is recomputed, overlapped and launched apart moves a step by tens of per cent",
    }

    def solve(
        self,
        model: Any,
        fleet: Any,
        batch_size: Any = 1,
        microbatch_size: Any = 1,
        precision: Any = "bf16",
        tp_size: Any = 1,
        pp_size: Any = 1,
        ep_size: Any = 1,
        cp_size: Any = 1,
        v_stages: Any = 1,
        zero_stage: Any = None,
        activation_recomputation: Any = "none",
        seq_len: Any = 4096,
        stack: Any = "megatron",
        *,
        schedule: Any = "1f1b",
        sequence_parallel: Any = True,
        expert_tp: Any = None,
        shard_group: Any = None,
        optimizer: Any = "adam",
        lora_rank: Any = None,
        adapted: Any = "attention",
        context_parallel: Any = "ring",
        recompute_layers: Any = None,
        offload: Any = "none",
        padding_share: Any = 0.0,
        straggler_factor: Any = 1.0,
    ) -> TrainingStepResult:
        """One optimizer step of a global batch, split over all chips of a fleet.

        Args:
            model: a decoder or encoder of ``Models`` or its name
            fleet: a fleet or a node, or its name; every chip is used
            batch_size: samples of one optimizer step over the whole fleet; may be an array
            microbatch_size: samples of one pass of one rank
            precision: format of the products of layers: bf16, fp16, fp8, nvfp4...; logits and attention stay in 16 bits
            tp_size: tensor-parallel ranks
            pp_size: pipeline stages
            ep_size: ranks that hold different experts; they are drawn from the data-parallel ranks
            cp_size: context-parallel ranks, which share the tokens of a sequence
            v_stages: model chunks of each stage (interleaved schedule)
            zero_stage: what data-parallel ranks share; that of the stack if not given (3 is FSDP)
            activation_recomputation: ``"none"``, ``"selective"`` or ``"full"``
            seq_len: tokens of a sequence
            stack: class of the stack: megatron, megatron2021, nemo, fsdp, fsdp_eager, deepspeed, jax; or an entry of its own
            schedule: ``"1f1b"``, ``"interleaved"``, ``"gpipe"``, ``"zero-bubble"`` or ``"dualpipe"``
            sequence_parallel: tensor-parallel ranks also share norms and residuals
            expert_tp: tensor-parallel ranks of an expert; 1 if not given
            shard_group: ranks that share the weights under ZeRO-3, the others hold copies (HSDP); all if not given
            optimizer: whose states are kept
            lora_rank: rank of adapters beside frozen weights
            adapted: which matrices have adapters: ``"attention"`` or ``"all"``
            context_parallel: how context ranks exchange: ``"ring"``, ``"all_gather"`` or ``"ulysses"``
            recompute_layers: layers of each stage to which recomputation applies; all if not given
            offload: where optimizer states lie and the update runs: ``"none"``, ``"cpu"``, or ``"nvme"`` (states on drives)
            padding_share: share of the tokens that only fill up sequences; 0 where samples are packed
            straggler_factor: slowest over mean rank, at least 1

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once
            InvalidPlanError: ranks that do not divide chips, heads, layers, experts, tokens or the batch
            UnsupportedWorkloadError: layers without operators here
            MissingFactError: the catalog lacks a peak or a link

        Examples:
            >>> step = TrainingStepModel().solve("Llama3_8B", "DGX_H100", batch_size=128, zero_stage=1, seq_len=8192,
            ...                                  precision="fp8", cp_size=2, stack="nemo")
            >>> low, high = step.interval()["step_latency_total"]
            >>> low < step.step_latency_total < high
            True
        """
        arguments = dict(model=model, fleet=fleet, batch_size=batch_size, microbatch_size=microbatch_size,
                         precision=precision, tp_size=tp_size, pp_size=pp_size, ep_size=ep_size, cp_size=cp_size,
                         v_stages=v_stages, zero_stage=zero_stage, activation_recomputation=activation_recomputation,
                         seq_len=seq_len, stack=stack, schedule=schedule, sequence_parallel=sequence_parallel,
                         expert_tp=expert_tp, shard_group=shard_group, optimizer=optimizer, lora_rank=lora_rank,
                         adapted=adapted, context_parallel=context_parallel, recompute_layers=recompute_layers,
                         offload=offload, padding_share=padding_share, straggler_factor=straggler_factor)  # fmt: skip
        border = Border()
        network, machine = border.model(model), plan_rules.fleet_of(border, fleet)
        number = border.format(precision)
        name = stack if not isinstance(stack, str) else border.choice("stack", stack, STACKS)
        sizes = {key: border.count(key, arguments[key]) for key in (
            "batch_size", "microbatch_size", "tp_size", "pp_size", "ep_size", "cp_size", "v_stages", "seq_len")}  # fmt: skip
        zero = None if zero_stage is None else border.count("zero_stage", zero_stage, least=0, most=3)
        recompute = recomputation(border, activation_recomputation)
        order = border.choice("schedule", schedule, SCHEDULES)
        shared = border.flag("sequence_parallel", sequence_parallel)
        etp = 1.0 if expert_tp is None else border.count("expert_tp", expert_tp)
        group = None if shard_group is None else border.count("shard_group", shard_group)
        update = border.choice("optimizer", optimizer, tuple(OPTIMIZERS))
        rank = None if lora_rank is None else border.count("lora_rank", lora_rank)
        which = border.choice("adapted", adapted, ("attention", "all"))
        contexts = border.choice("context_parallel", context_parallel, CONTEXTS)
        again = None if recompute_layers is None else border.count("recompute_layers", recompute_layers)
        place = border.choice("offload", offload, offloading.PLACES)
        padding = border.number("padding_share", padding_share, least=0.0, most=0.99)
        straggler = border.number("straggler_factor", straggler_factor, least=1.0)
        if number is not None and number.id.lower().startswith("int"):
            border.problems.append(f"precision: expected a floating format such as bf16 or fp8, found {precision}")
        border.close()
        arguments.update(model=network, fleet=machine)
        trainable(network)
        entry = TrainingStacks[name]
        links = wiring(machine, textbook().link_latency)
        device = links.chip
        peak, told = peak_in(device, number)
        tp, pp, ep, cp, chunks = (sizes[key] for key in ("tp_size", "pp_size", "ep_size", "cp_size", "v_stages"))
        work = work_of(network, sizes["seq_len"])
        batch, samples = sizes["batch_size"], sizes["microbatch_size"]
        data = np.maximum(np.floor(links.chips / (tp * pp * cp)), 1.0)
        steps = np.maximum(batch / (data * samples), 1.0)
        level = entry.si.sharding if zero is None else zero
        layout = Layout(data=data, tp=tp, pp=pp, cp=cp, ep=ep, etp=etp, chunks=chunks, microbatches=steps, samples=samples,
                        zero=level, recompute=recompute, schedule=order, sequence_parallel=shared, shard_group=group,
                        contexts=contexts, recompute_layers=again)  # fmt: skip
        good = _checked(layout, work, links.chips, batch)
        if links.inside is None and np.any(np.asarray(links.chips) > 1):
            raise MissingFactError(f"{device.id} has no known link; pass a node with a link_bandwidth")
        linear = linear_format(number.id)
        style = style_of(entry, linear, rank, which)
        share = 1.0
        if rank is not None:
            share = adapter_parameters(network, rank) / work.parameters
        wires = Wires(links.domain, links.inside, links.across, links.across_latency, tp)
        bed = _machine(device)
        wide = WIDE.get(number.id.lower(), 1.0)
        ratio = 1.0
        if wide > 1:
            ratio = bed.chip.peak("bf16")[0] / peak
            told += (f"{number.id}: no such products were measured; those of bf16, slowed by the ratio of the peaks",)
        master, first, second = optimizer_bytes(
            update, work, Defaults["Training"].si.master_weight if wide == 1 else 0.0
        )
        states = master + first + second
        host = None if place == "none" else offloading.seconds_per_parameter(machine, device, place, states, 2.0 * wide)
        times = step_times(
            bed, network, work, layout, entry, style, sizes["seq_len"], wires, share, device.si.tdp, ratio, wide,
            (22.0 + 2.0 * (first + second)) / 38.0, host,
        )  # fmt: skip
        kept = entry.si.gradient_kept
        # Fully sharded stacks keep weights in 32 bits alone; 16-bit gradients are copied to 32 bits by the optimizer.
        recipe = Recipe(
            weight=np.where(np.asarray(level) >= 3, 0.0, 2.0)[()] if wide == 1 else 2.0 * wide,
            gradient=np.maximum(kept, 2.0 * wide),
            states=states + np.maximum(4.0 - kept, 0.0) * (wide == 1),
            value=2.0 * wide,
        )
        held = footprint(
            work, recipe, samples=samples, tp=tp, pp=pp, cp=cp, ep=ep, etp=etp, data=data, chunks=chunks,
            microbatches=steps, zero=level, recompute=recompute, sequence_parallel=shared,
            fused=entry.si.attention != UNFUSED, selective=entry.si.selective, trained=share, schedule=order,
            recomputed=recomputed_share(np.ceil(work.layers / pp), again), kept_on_chip=float(place == "none"),
        )  # fmt: skip
        on_host = 0.0 if place == "none" else local_shard(work, layout) * share * states
        room, more = offloading.capacity(machine, place)
        told += more
        outside = entry.si.context_memory + entry.si.fragmentation * held.allocated
        useful, done = sample_flops(work, recompute, rank is not None, entry.si.attention != UNFUSED)
        capacity = device.si.memory_capacity
        return TrainingStepResult(
            question=Question(type(self), arguments),
            shape=shape_of(
                *sizes.values(), level, recompute, etp, *(v for v in (rank, again) if v is not None), padding, straggler
            ),
            notes=tuple(dict.fromkeys((*links.notes, *told, *times.notes))),
            **_times(times),
            stack=entry.id,
            straggler_latency=(straggler - 1.0) * times.step,
            padding_share=padding,
            optimizer_on_host=on_host,
            host_capacity=room,
            ideal_latency=batch * useful / (links.chips * peak),
            bubble_fraction=pipeline.bubble_fraction(pp, steps, chunks),
            weights=held.weights,
            gradients=held.gradients,
            optimizer_state=held.optimizer,
            activations=held.activations,
            logits=held.logits,
            communication_buffers=held.workspace + outside,
            memory_capacity=capacity,
            batch=batch,
            tokens_per_sample=sizes["seq_len"],
            chips=links.chips,
            flops=batch * useful * (1.0 - padding),
            hardware_flops=batch * done,
            peak=peak,
            dp=data / ep,
            tp=tp,
            pp=pp,
            ep=ep,
            cp=cp,
            memory_bound=False,
            feasible=good & (held.allocated + outside <= capacity) & (on_host <= room),
            layout=layout,
        )


def measured_step(arguments: Mapping[str, Any]) -> TrainingStepResult:
    """A question of ``DistributedModel`` with ``efficiency="measured"``.

    Raises:
        InvalidInputError: another word than measured, or an argument that has no meaning there
    """
    asked = dict(arguments)
    border = Border()
    border.choice("efficiency", asked.pop("efficiency"), ("measured",))
    count = border.count("microbatch_count", asked.pop("microbatch_count"))
    count = count * border.count("gradient_accumulation_steps", asked.pop("gradient_accumulation_steps"))
    for name, neutral in (("topology_override", None), ("congestion_factor", 1.0), ("moe_routing_imbalance_factor", 1.0)):  # fmt: skip
        if np.any(np.asarray(asked.pop(name) != neutral)):
            border.problems.append(
                f"{name}: has no meaning with efficiency='measured'; leave it out, or give an efficiency in (0, 1]"
            )
    border.flag("overlap_comm", asked.pop("overlap_comm"))
    asked.pop("overlap_efficiency")
    lora, rank = border.flag("is_lora", asked.pop("is_lora")), asked.pop("lora_rank")
    asked.pop("fused_attention")
    machine = plan_rules.fleet_of(border, asked["fleet"])
    batch = border.count("batch_size", asked["batch_size"])
    ranks = [border.count(name, asked[name]) for name in ("tp_size", "pp_size", "cp_size")]
    border.close()
    chips = wiring(machine, textbook().link_latency).chips
    data = np.maximum(np.floor(chips / (ranks[0] * ranks[1] * ranks[2])), 1.0)
    samples = np.maximum(np.ceil(batch / (data * count)), 1.0)[()]
    if lora:
        asked["lora_rank"] = Defaults["Training"].si.adapter_rank if rank is None else rank
    return TrainingStepModel().solve(
        microbatch_size=samples,
        expert_tp=asked["tp_size"] if np.any(np.asarray(asked["ep_size"]) > 1) else None,
        **asked,
    )


def linear_format(name: str) -> str:
    """Format of the products of layers, as kernels name it.

    Examples:
        >>> [linear_format(name) for name in ("FP16", "MXFP8", "FP8_Block", "NVFP4")]
        ['bf16', 'fp8', 'fp8_block', 'nvfp4']
    """
    word = name.lower()
    if word == "fp8_block":
        return word
    return "fp8" if "fp8" in word else "nvfp4" if "fp4" in word else "bf16"


_machines: dict[int, tuple[Any, MeasuredMachine]] = {}
KEPT.append(_machines)


def _machine(device: Any) -> MeasuredMachine:
    """One machine a device, so that it remembers its kernels."""
    found = _machines.get(id(device))
    if found is None or found[0] is not device:
        if len(_machines) > 64:
            _machines.clear()
        found = _machines[id(device)] = (device, MeasuredMachine(device))
    return found[1]


def _times(times: StepTimes) -> Mapping[str, Any]:
    named = {name: getattr(times, name) for name in (*KERNELS, "forward_stage", "backward_stage", "sigma")}
    return named | {
        "compute_latency": times.compute, "tp_communication_latency": times.tensor,
        "ep_communication_latency": times.expert, "cp_communication_latency": times.ring,
        "pp_communication_latency": times.sends, "dp_communication_latency": times.data,
        "dp_communication_hidden": np.maximum(times.data_whole - times.data, 0.0), "pipeline_bubble_latency": times.bubble,
        "update_latency": times.update,
    }  # fmt: skip


def _checked(layout: Layout, work: Any, chips: Any, batch: Any) -> Any:
    """Where a plan can be laid out; a single one that cannot is refused with plans near by."""
    plan = Plan(dp=layout.data, tp=layout.tp, pp=layout.pp, ep=1.0, cp=layout.cp, chunks=layout.chunks,
                microbatches=layout.microbatches, zero=layout.zero, recompute=layout.recompute, schedule=layout.schedule)  # fmt: skip
    # A pipeline may count the embedding and the logits as layers of its first and last stage.
    layers = work.layers + np.where(np.asarray(layout.pp) > 1, 2.0, 0.0)[()]
    good, problems = plan_rules.layout(plan, replace(work, layers=layers), chips)
    experts = work.shape.experts
    ranks = layout.data * layout.cp * layout.tp
    fits = (experts % layout.ep == 0) & (ranks % (layout.ep * layout.etp) == 0)
    if np.ndim(fits) == 0 and not fits:
        near = [n for n in plan_rules.near_divisors(experts, float(layout.ep), 8) if ranks % (n * layout.etp) == 0][:3]
        problems.append(
            f"ep_size {layout.ep:g}: {experts:g} routed experts over {ranks:g} ranks; try {alternatives([f'{n:g}' for n in near])}"
        )
    if layout.contexts == "ulysses":
        heads = work.model.si.heads
        spread = np.mod(heads, layout.tp * layout.cp) == 0
        if np.ndim(spread) == 0 and not spread:
            near = plan_rules.near_divisors(heads / float(layout.tp), float(layout.cp))
            problems.append(
                f"cp_size {layout.cp:g}: {heads:g} heads do not divide over tensor {layout.tp:g} x context {layout.cp:g} ranks "
                f"(ulysses); try {alternatives([f'{n:g}' for n in near])}"
            )
        fits = np.logical_and(fits, spread)
    share = layout.data * layout.samples
    dealt = np.mod(batch, share) == 0
    if np.ndim(dealt) == 0 and not dealt and not problems:
        below, above = np.floor(batch / share) * share, np.ceil(batch / share) * share
        near_batches = alternatives([f"{n:g}" for n in (below, above) if n > 0])
        problems.append(
            f"batch_size {batch:g} does not divide over {layout.data:g} data-parallel ranks x micro-batches of {layout.samples:g}; "
            f"nearby: batch {near_batches}"
        )
    if problems:
        raise InvalidPlanError(problems)
    return np.logical_and(np.logical_and(good, fits), dealt)
