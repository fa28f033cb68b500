"""What a system does, asked of the resolver that answers for its job, in one form for the scorecard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..catalog.models import Transformer
from ..catalog.systems import Fleet, Node
from ..errors import InvalidInputError, alternatives, nearest
from ..physics import energy
from .distributed import DistributedModel
from .ingestion import DataModel
from .ledger import shown
from .node import SingleNodeModel
from .optimize_parallelism import ParallelismOptimizer
from .serving import ServingModel
from .training import TrainingStep

SPLIT = ("tp_size", "pp_size", "ep_size", "cp_size", "microbatch_count", "v_stages")
TRAINING = (*SPLIT, "zero_stage", "activation_recomputation", "is_lora", "overlap_comm", "schedule", "optimizer",
            "gradient_accumulation_steps", "lora_rank", "sequence_parallel", "fused_attention")  # fmt: skip
SERVING = ("tp_size", "pp_size", "ep_size", "kv_precision")
SEARCHED = ("zero_stage", "activation_recomputation", "overlap_comm", "optimizer", "fused_attention", "schedule")
INFERENCE = ("kv_precision",)
LOCAL = ("is_lora", "activation_recomputation", "lora_rank")


@dataclass(frozen=True)
class Work:
    """Memory, speed and power of a job, SI; ``metrics`` are in the units of the scorecard."""

    job: str
    feasible: bool
    memory: float
    capacity: float
    latency: float
    latency_name: str
    throughput: float
    produced: float
    product: str
    busy: float
    power: float
    devices: float
    headline: str
    metrics: Mapping[str, float]
    notes: tuple[str, ...]
    answers: dict[str, Any]
    plan: Mapping[str, Any] = field(default_factory=dict)
    stalled: bool | None = None
    data_note: str = ""


def ask(
    job: str, model: Any, device: Any, fleet: Any, batch: Any, precision: Any, efficiency: Any, seq_len: Any,
    plan: dict[str, Any], data_rate: Any, replicas: Any,
) -> Work:  # fmt: skip
    """The job on a device, or on a fleet whose nodes work together."""
    if job == "training" and (fleet is not None or isinstance(device, Node)):
        done = _distributed(model, device if fleet is None else fleet, batch, precision, efficiency, seq_len, plan)
    elif job == "training":
        done = _local(model, device, batch, precision, efficiency, seq_len, plan)
    elif job == "serving":
        done = _serving(model, device, replicas, batch, precision, efficiency, seq_len, plan)
    else:
        done = _pass(model, device, batch, precision, efficiency, seq_len, plan)
    if data_rate is None:
        return done
    answer = DataModel().solve(data_rate, device if fleet is None else fleet)
    stalled, values = answer.is_stalled, dict(vars(done))
    told = f"{shown(answer.si.demand_bw, 'byte/second')} wanted, "
    told += (
        f"{shown(answer.si.supply_bw, 'byte/second')} arrive" if stalled is not None else answer.notes[0].split(";")[0]
    )
    values.update(
        answers={**done.answers, "data": answer}, stalled=None if stalled is None else bool(stalled), data_note=told,
        notes=done.notes + answer.notes,
    )  # fmt: skip
    return Work(**values)


def power_at_rate(done: Work, rate: Any) -> float:
    """Mean power of a device: during the work, or at a rate of passes, asleep in between."""
    if rate is None or not done.throughput:
        return done.power
    return float(energy.average_power(done.power * min(rate / done.throughput, 1.0), 1.0))


def _said(plan: Mapping[str, Any], ones: bool = False) -> dict[str, Any]:
    """What a plan says; one rank of a kind says nothing to a job that has no ranks."""
    return {k: v for k, v in plan.items() if v is not None and (ones or k not in SPLIT or v != 1)}


def _only(plan: Mapping[str, Any], allowed: tuple[str, ...], job: str) -> dict[str, Any]:
    problems = []
    for name in plan:
        if name not in allowed:
            near = nearest(name, allowed)
            problems.append(
                f"{name} means nothing to {job}" + (f"; did you mean {alternatives(near)}?" if near else "")
            )
    if problems:
        raise InvalidInputError(problems)
    return dict(plan)


def _pass(
    model: Any, device: Any, batch: Any, precision: Any, efficiency: Any, seq_len: Any, plan: dict[str, Any]
) -> Work:
    chosen = _only(_said(plan), INFERENCE, "one pass on one device")
    answer = SingleNodeModel().solve(model, _one(device), batch, precision, efficiency, seq_len=seq_len, **chosen)
    i = answer.si
    return Work(
        job="inference", feasible=bool(answer.feasible), memory=i.memory_footprint, capacity=i.memory_capacity,
        latency=i.latency, latency_name="latency", throughput=i.throughput, produced=i.throughput,
        product="tokens" if isinstance(model, Transformer) and model.architecture == "transformer" else "inferences",
        busy=1.0 - float(i.overhead_share), power=float(i.power), devices=1.0,
        headline=f"{shown(i.latency, 'second')} a pass, {shown(i.throughput, '1')}/s, {answer.bottleneck}-bound",
        metrics={"latency": i.latency * 1e3, "throughput": i.throughput, "mfu": i.mfu,
                 "energy_per_inference": i.energy_per_inference},
        notes=answer.notes, answers={"performance": answer},
    )  # fmt: skip


def _local(
    model: Any, device: Any, batch: Any, precision: Any, efficiency: Any, seq_len: Any, plan: dict[str, Any]
) -> Work:
    chosen = _only(_said(plan), LOCAL, "training on one device")
    recompute = chosen.pop("activation_recomputation", False)
    answer = TrainingStep().solve(
        model, device, batch, precision, efficiency, seq_len=seq_len or 2048,
        activation_recomputation=recompute in (True, "full"), **chosen,
    )  # fmt: skip
    i = answer.si
    return Work(
        job="training", feasible=bool(answer.feasible), memory=i.memory_footprint, capacity=i.memory_capacity,
        latency=i.latency, latency_name="step", throughput=i.throughput,
        produced=i.throughput * (seq_len or 1.0), product="tokens" if seq_len else "inferences",
        busy=1.0 - float(i.overhead_share), power=float(i.power), devices=1.0,
        headline=f"{shown(i.latency, 'second')} a step, MFU {i.mfu:.1%}, {answer.bottleneck}-bound",
        metrics={"step_latency": i.latency * 1e3, "throughput": i.throughput, "mfu": i.mfu, "hfu": i.hfu},
        notes=answer.notes, answers={"performance": answer},
    )  # fmt: skip


def _serving(
    model: Any, device: Any, fleet: Any, batch: Any, precision: Any, efficiency: Any, seq_len: Any,
    plan: dict[str, Any],
) -> Work:  # fmt: skip
    chosen = _only(_said(plan, ones=True), SERVING, "serving")
    ranks = chosen.get("tp_size", 1) * chosen.get("pp_size", 1) * chosen.get("ep_size", 1)
    machine = device if ranks == 1 or fleet is None else fleet
    answer = ServingModel().solve(model, machine, seq_len, batch, precision, efficiency, **chosen)
    i = answer.si
    count = 1.0 if fleet is None else fleet.total_accelerators // i.devices
    rate = float(i.tokens_per_sec)
    return Work(
        job="serving", feasible=bool(answer.feasible), memory=i.memory_per_device, capacity=i.memory_capacity,
        latency=i.ttft, latency_name="TTFT", throughput=rate, produced=rate * count, product="tokens", busy=1.0,
        power=float(i.energy_per_token * rate / i.devices), devices=float(i.devices),
        headline=f"TTFT {shown(i.ttft, 'second')}, ITL {shown(i.itl, 'second')}, {shown(rate, '1')} tokens/s a replica",
        metrics={"ttft": i.ttft * 1e3, "itl": i.itl * 1e3, "throughput": rate, "tokens_per_second": rate * count,
                 "energy_per_inference": i.energy_per_token, "devices": i.devices},
        notes=answer.notes, answers={"performance": answer}, plan=chosen,
    )  # fmt: skip


def _distributed(
    model: Any, fleet: Any, batch: Any, precision: Any, efficiency: Any, seq_len: Any, plan: dict[str, Any]
) -> Work:
    chosen = _only(_said(plan, ones=True), TRAINING, "training on a fleet")
    tokens = seq_len or 2048
    answers: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    if not any(chosen.get(name, 1) != 1 for name in SPLIT) and not chosen.get("is_lora"):
        given = {name: chosen[name] for name in SEARCHED if name in chosen}
        best = ParallelismOptimizer().solve(model, fleet, batch, precision, efficiency, seq_len=tokens, **given)
        config = best.best_config
        answers["plan"] = best
        chosen |= {
            "tp_size": config["tp"], "pp_size": config["pp"], "ep_size": config["ep"], "cp_size": config["cp"],
            "v_stages": config["v_stages"], "microbatch_count": config["microbatch_count"],
            "zero_stage": config["zero_stage"], "activation_recomputation": config["activation_recomputation"],
            "overlap_comm": given.get("overlap_comm", True), "schedule": config["schedule"],
        }  # fmt: skip
        notes = (f"split searched: the fastest of {best.si.feasible_plans:g} that fit",) if best.feasible else ()
    answer = DistributedModel().solve(model, fleet, batch, precision, efficiency, seq_len=tokens, **chosen)
    i, ranks = answer.si, answer.parallelism
    split = " ".join(f"{name.upper()} {value}" for name, value in ranks.items() if value > 1 or name == "dp")
    stored = "" if not chosen.get("zero_stage") else f", ZeRO-{chosen['zero_stage']}"
    metrics = {
        "step_latency": i.step_latency_total * 1e3, "comm_overhead": i.communication_latency * 1e3,
        "bubble": i.pipeline_bubble_latency * 1e3, "fleet_throughput": i.effective_throughput,
        "tokens_per_second": i.tokens_per_second, "scaling_efficiency": i.scaling_efficiency, "mfu": i.mfu,
        "hfu": i.hfu, "devices": float(i.chips),
    }  # fmt: skip
    produced = i.tokens_per_second if math.isfinite(i.tokens_per_second) else i.effective_throughput
    return Work(
        job="training", feasible=bool(answer.feasible), memory=i.memory_per_device, capacity=i.memory_capacity,
        latency=i.step_latency_total, latency_name="step", throughput=i.effective_throughput, produced=produced,
        product="tokens" if math.isfinite(i.tokens_per_second) else "inferences",
        busy=float(i.compute_latency / i.step_latency_total), power=math.nan, devices=float(i.chips),
        headline=f"{shown(i.step_latency_total, 'second')} a step, MFU {i.mfu:.1%}, longest part {answer.bottleneck}; "
        f"{split}{stored}",
        metrics={k: v for k, v in metrics.items() if math.isfinite(v)}, notes=notes + answer.notes,
        answers={"performance": answer, **answers}, plan=chosen,
    )  # fmt: skip


def _one(machine: Any) -> Any:
    """The device of a machine."""
    if isinstance(machine, Fleet):
        return machine.node.accelerator
    return machine.accelerator if isinstance(machine, Node) else machine
