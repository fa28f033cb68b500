"""One training step with the efficiencies that kernels were measured to reach, on a stack of a known class (wall 14)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from ..catalog import Defaults, textbook
from ..catalog.efficiency import KEPT
from ..catalog.models import Recommender, Transformer
from ..catalog.training_stacks import STACKS, TrainingStacks
from ..errors import InvalidInputError, InvalidPlanError, MissingFactError, alternatives
from ..machine.measured import MeasuredMachine
from ..machine.textbook import peak_in, wiring
from ..machine.training_measured import Wires
from ..physics import training_memory as state
from ..record import total
from ..units import Bytes, Fraction, Seconds, TokensPerSecond, quantity
from ..workloads.training import OPTIMIZERS, Kept, adapter_parameters, optimizer_bytes, work_of
from ..workloads.training_operators import CONTEXTS, UNFUSED
from ..workloads.training_states import Recipe
from . import plan_rules
from . import training_networks as networks
from . import training_offload as offloading
from .base import ForwardModel
from .border import Border, shape_of
from .distributed import idle_share, recomputation
from .distributed_result import DistributedResult
from .result import Question
from .training_plan import SCHEDULES, Plan, sample_flops
from .training_step_time import Layout, StepTimes, local_shard, recomputed_share, step_times, style_of

WIDE = {"fp32": 2.0, "tf32": 2.0, "fp64": 4.0}
"""Width of the values of formats that no products were measured in, over 16 bits."""
NARROW = {"fp8": 1.0, "fp8_block": 1.0, "nvfp4": 0.5625}
"""Bytes of a value in formats that products are computed in; a scale of 8 bits serves 16 values of four bits."""
KERNELS = ("gemm", "attention", "experts", "elementwise", "head", "recompute", "host")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingStepResult(DistributedResult):
    """A measured step. ``compute_latency`` is the sum of its kernels, which are told apart here; see also the timeline.

    ``cached_blocks``, part of the buffers, is what the allocator holds between requests. It gives them back where the device
    is full, so that they never decide whether a step fits; they take no more than what is left.
    """

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
    weights_stage: Seconds
    sigma: Fraction
    padding_share: Fraction
    cached_blocks: Bytes
    layout: Layout = field(repr=False)

    @total
    def useful_tokens_per_second(self) -> TokensPerSecond:
        """Tokens a second without those that only fill up sequences."""
        return self.batch * self.tokens_per_sample * (1.0 - self.padding_share) / self.step_latency_total

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
        offload_layers: Any = None,
        offload: Any = "none",
        offload_param: Any = "none",
        delayed_update: Any = False,
        padding_share: Any = 0.0,
        straggler_factor: Any = 1.0,
    ) -> TrainingStepResult:
        """One optimizer step of a global batch, split over all chips of a fleet.

        Args:
            model: an entry of ``Models`` or its name; models that are no transformers train data-parallel only
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
            stack: class of the stack: megatron, megatron2021, megatron2022, nemo, fsdp, fsdp_eager, deepspeed, jax; or an entry of its own
            schedule: ``"1f1b"``, ``"interleaved"``, ``"gpipe"``, ``"zero-bubble"`` or ``"dualpipe"``
            sequence_parallel: tensor-parallel ranks also share norms and residuals
            expert_tp: tensor-parallel ranks of an expert; 1 if not given
            shard_group: ranks that share the weights under ZeRO-3, the others hold copies (HSDP); all if not given
            optimizer: whose states are kept
            lora_rank: rank of adapters beside frozen weights
            adapted: which matrices have adapters: ``"attention"``, ``"qkv"`` (of it) or ``"all"``
            context_parallel: how context ranks exchange: ``"ring"``, ``"all_gather"`` or ``"ulysses"``
            recompute_layers: layers of each stage to which recomputation applies; all if not given
            offload_layers: layers of each stage whose kept activations wait in the memory of the host; none if not given
            offload: where optimizer states lie and the update runs: ``"none"``, ``"cpu"``, or ``"nvme"`` (states on drives)
            offload_param: where weights lie between their uses, with ZeRO-3: ``"none"``, ``"cpu"`` or ``"nvme"``
            delayed_update: an offloaded update runs beside the next step, which works with weights one step old
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
                         offload_layers=offload_layers,
                         offload=offload, offload_param=offload_param, delayed_update=delayed_update,
                         padding_share=padding_share, straggler_factor=straggler_factor)  # fmt: skip
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
        which = border.choice("adapted", adapted, ("attention", "all", "qkv"))
        contexts = border.choice("context_parallel", context_parallel, CONTEXTS)
        again = None if recompute_layers is None else border.count("recompute_layers", recompute_layers)
        gone = None if offload_layers is None else border.count("offload_layers", offload_layers)
        place = border.choice("offload", offload, offloading.PLACES)
        outside_weights = border.choice("offload_param", offload_param, offloading.PLACES)
        late = border.flag("delayed_update", delayed_update)
        padding = border.number("padding_share", padding_share, least=0.0, most=0.99)
        straggler = border.number("straggler_factor", straggler_factor, least=1.0)
        if number is not None and number.id.lower().startswith("int"):
            border.problems.append(f"precision: expected a floating format such as bf16 or fp8, found {precision}")
        border.close()
        arguments.update(model=network, fleet=machine)
        entry = TrainingStacks[name]
        links = wiring(machine, textbook().link_latency)
        device = links.chip
        peak, told = peak_in(device, number)
        tp, pp, ep, cp, chunks = (sizes[key] for key in ("tp_size", "pp_size", "ep_size", "cp_size", "v_stages"))
        spec = networks.trainable(network, rank)
        work = work_of(spec, sizes["seq_len"])
        batch, samples = sizes["batch_size"], sizes["microbatch_size"]
        data = np.maximum(np.floor(links.chips / (tp * pp * cp)), 1.0)
        steps = np.maximum(batch / (data * samples), 1.0)
        level = entry.si.sharding if zero is None else zero
        if outside_weights != "none" and np.any(np.asarray(level) < 3):
            raise InvalidPlanError([f"offload_param {outside_weights}: weights lie on the host with zero_stage 3 only"])
        spread = data if isinstance(spec, Recommender) else ep  # tables lie over all ranks
        layout = Layout(data=data, tp=tp, pp=pp, cp=cp, ep=spread, etp=etp, chunks=chunks, microbatches=steps, samples=samples,
                        zero=level, recompute=recompute, schedule=order, sequence_parallel=shared, shard_group=group,
                        contexts=contexts, recompute_layers=again)  # fmt: skip
        good = _checked(layout, work, links.chips, batch)
        if links.inside is None and np.any(np.asarray(links.chips) > 1):
            raise MissingFactError(f"{device.id} has no known link; pass a node with a link_bandwidth")
        linear = linear_format(number.id)
        style = style_of(entry, linear, rank, which)
        share = 1.0
        if rank is not None:
            share = adapter_parameters(spec, rank) / work.parameters
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
        host = offloading.host_of(machine, device, place, outside_weights, states, 2.0 * wide, late)
        timed, touched = None, work
        if not isinstance(spec, Transformer):
            timed, touched = networks.timed(bed, device, spec, work, layout, entry, number, peak, wires)
        recipe = _recipe(entry.si, level, wide, states, linear, rank, which)
        held = networks.footprint_of(
            work, recipe, samples=samples, tp=tp, pp=pp, cp=cp, ep=spread, etp=etp, data=data, chunks=chunks,
            microbatches=steps, zero=level, recompute=recompute, sequence_parallel=shared,
            fused=entry.si.attention != UNFUSED, selective=entry.si.selective, trained=share, schedule=order,
            recomputed=recomputed_share(np.ceil(work.layers / pp), again), kept_on_chip=float(place == "none"), outside=gone,
        )  # fmt: skip
        sent = 0.0 if gone is None else held.sent / offloading.link_of(device)
        times = step_times(
            bed, spec, touched, layout, entry, style, sizes["seq_len"], wires, share, device.si.tdp, ratio, wide,
            (22.0 + 2.0 * (first + second)) / 38.0, host, timed, sent,
        )  # fmt: skip
        for name, asked in (("recompute_layers", again), ("offload_layers", gone)):
            if asked is not None and np.any(asked > np.ceil(work.layers / pp)):
                told += (f"{name}: more than a stage has; all of its layers",)
        mine = local_shard(work, layout)
        on_host = held.away + (0.0 if host is None else host.held(mine, share, mine))
        room, more = offloading.capacity(machine, place, outside_weights, "none" if gone is None else "cpu")
        told += more
        capacity = device.si.memory_capacity
        resident = held.allocated - held.weights * float(outside_weights != "none") + entry.si.context_memory
        cached = state.cached_blocks_size(held.allocated, entry.si.fragmentation, capacity - resident)
        if np.ndim(cached) == 0 and resident <= capacity and cached < entry.si.fragmentation * held.allocated:
            told += (
                f"memory is tight: {resident / capacity:.0%} is in use at the peak, so cached blocks are given back",
            )
        useful, done = sample_flops(work, recompute, rank is not None, entry.si.attention != UNFUSED)
        return TrainingStepResult(
            question=Question(type(self), arguments),
            shape=shape_of(
                *sizes.values(),
                level,
                recompute,
                etp,
                *(v for v in (rank, again, gone) if v is not None),
                padding,
                straggler,
            ),
            notes=tuple(dict.fromkeys((*links.notes, *told, *times.notes))),
            **_times(times),
            stack=entry.id,
            straggler_latency=(straggler - 1.0) * times.step,
            padding_share=padding,
            optimizer_on_host=on_host,
            host_capacity=room,
            ideal_latency=batch * useful / (links.chips * peak),
            bubble_fraction=idle_share(layout),
            weights=held.weights * float(outside_weights == "none"),
            gradients=held.gradients,
            optimizer_state=held.optimizer,
            activations=held.activations,
            logits=held.logits,
            communication_buffers=held.workspace + entry.si.context_memory + cached,
            cached_blocks=cached,
            memory_capacity=capacity,
            batch=batch,
            tokens_per_sample=sizes["seq_len"] if isinstance(spec, Transformer) else np.nan,
            chips=links.chips,
            flops=batch * useful * (1.0 - padding),
            hardware_flops=batch * done,
            peak=peak,
            dp=np.where(np.mod(data, ep) == 0, data / ep, data)[()],
            tp=tp,
            pp=pp,
            ep=ep,
            cp=cp,
            memory_bound=False,
            feasible=good & (resident <= capacity) & (on_host <= room),
            layout=layout,
        )


def _recipe(s: Any, level: Any, wide: float, states: Any, linear: str, rank: Any, which: str) -> Recipe:
    """Bytes of every state of a parameter, and how activations wait."""
    kept = s.gradient_kept
    # Fully sharded stacks keep weights in 32 bits alone; 16-bit gradients are copied to 32 bits by the optimizer.
    weight = np.where(np.asarray(level) >= 3, 0.0, 2.0)[()] if wide == 1 else 2.0 * wide
    copied = np.maximum(4.0 - kept, 0.0) * (wide == 1 and s.state_width == 1)
    waiting = Kept(
        narrow=NARROW.get(linear) if s.input_narrow and wide == 1 else None, gate=s.gate_kept if wide == 1 else None,
        mask=float(s.dropout > 0), adapted="" if rank is None else which, dropped=bool(s.adapter_dropout) and rank is not None,
    )  # fmt: skip
    return Recipe(
        weight=weight if rank is None else s.frozen * wide,
        gradient=np.maximum(kept, 2.0 * wide),
        states=states * s.state_width + copied,
        value=2.0 * wide,
        logit=s.logit_kept,
        waiting=waiting,
        cast_late=bool(s.cast_late),
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
    named = {
        name: getattr(times, name) for name in (*KERNELS, "forward_stage", "backward_stage", "weights_stage", "sigma")
    }
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
    ends = np.where(np.asarray(layout.pp) > 1, 2.0, 0.0)[()]
    good, problems = plan_rules.layout(plan, replace(work, layers=work.layers + ends), chips, ends)
    if work.shape is None:
        layout = replace(layout, ep=1.0)
    experts = work.shape.experts if work.shape is not None else 1.0
    ranks = layout.data * layout.cp * layout.tp
    fits = (experts % layout.ep == 0) & (ranks % (layout.ep * layout.etp) == 0)
    if np.ndim(fits) == 0 and not fits:
        problems.append(plan_rules.folding(ranks, experts, layout.ep, layout.etp))
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
