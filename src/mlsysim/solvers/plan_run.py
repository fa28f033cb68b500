"""A plan to its scorecard, and what it asserts to verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..catalog import Hardware, Models, Systems
from ..catalog.metrics import METRICS
from ..catalog.plans import Plan, SimulationConfig
from ..catalog.systems import Fleet, Node
from ..errors import InvalidPlanError, MissingFactError
from .evaluation import SystemEvaluation, SystemEvaluator

NODE_SIZE = 8


@dataclass(frozen=True)
class Verdict:
    """One assertion, and whether it held. ``held`` is None where the evaluation has no such number."""

    metric: str
    value: float | None
    least: float | None
    most: float | None
    unit: str
    held: bool | None

    def __str__(self) -> str:
        """One line."""
        bounds = []
        if self.least is not None:
            bounds.append(f"at least {self.least:g}")
        if self.most is not None:
            bounds.append(f"at most {self.most:g}")
        found = "is not known here" if self.value is None else f"is {self.value:.6g}"
        return f"{self.metric} {found}, wanted {' and '.join(bounds)} {self.unit}".rstrip()


def evaluate_plan(plan: Plan) -> SystemEvaluation:
    """The scorecard of a plan.

    Raises:
        InvalidPlanError: accelerators that do not fill nodes, a split that does not divide
        MissingFactError: the catalog lacks what the performance needs
    """
    work, ops, run = plan.workload, plan.ops, plan.hardware or plan.fleet
    assert run is not None  # the schema says so
    device, fleet = machines(plan)
    job = work.job or ("training" if fleet is not None else "inference")
    split = {
        "tp_size": run.tp, "pp_size": run.pp, "ep_size": run.ep, "cp_size": run.cp, "microbatch_count": run.microbatches,
        "zero_stage": run.zero, "activation_recomputation": run.recompute, "is_lora": run.adapters or None,
        "kv_precision": run.kv_precision,
    }  # fmt: skip
    costs = {} if ops is None else ops.model_dump(exclude={"region", "duration_days"}, exclude_none=True)
    return SystemEvaluator.evaluate(
        plan.name, Models[work.name], device, work.batch_size, run.precision, run.efficiency, fleet,
        fleet.si.count if fleet is not None and job == "training" else 1,
        None if ops is None else ops.duration_days, job=job, seq_len=work.seq_len,
        plan={name: value for name, value in split.items() if value is not None},
        region=None if ops is None else ops.region, sla_latency=work.sla_latency,
        rate=None if work.rate is None else f"{work.rate!r} 1/s",
        power_budget=run.power_budget, data_rate=work.data_rate, costs=costs,
    )  # fmt: skip


def verdicts(plan: Plan, card: SystemEvaluation) -> list[Verdict]:
    """Whether each assertion of a plan holds."""
    found = []
    for item in plan.constraints.asserted:
        least, most = item.limits()
        value = card.metric(item.metric)
        number = None if value is None or isinstance(value, str) or not math.isfinite(value) else float(value)
        held = None if number is None else (least is None or number >= least) and (most is None or number <= most)
        found.append(Verdict(item.metric, number, least, most, METRICS[item.metric][0], held))
    return found


def machines(plan: Plan) -> tuple[Any, Any]:
    """The device at work, and the fleet it belongs to (None for one device on its own)."""
    if plan.fleet is not None:
        asked = plan.fleet
        if asked.node is not None:
            node = Systems[asked.node]
            fleet = Fleet(id=f"{node.id}_x_{asked.count}", name=f"{asked.count} x {node.name}", node=node,
                          count=float(asked.count or 1), fabric=Systems[asked.fabric])  # fmt: skip
            return node.accelerator, fleet
        fleet = Systems[str(asked.name)]
        if isinstance(fleet, Node):
            raise InvalidPlanError(f"fleet.name: {fleet.id} is a node; write it as node, with a count")
        return fleet.node.accelerator, fleet if asked.count is None else fleet.replace(count=float(asked.count))
    assert plan.hardware is not None
    device = Hardware[plan.hardware.name]
    return device, accelerators(device, plan.hardware.accelerators, plan.hardware.node, plan.hardware.fabric)


def accelerators(device: Any, count: int, node: str | None = None, fabric: str = "InfiniBand_NDR") -> Any:
    """A fleet of so many accelerators in nodes of the zoo that hold them; None for one."""
    if count == 1 and node is None:
        return None
    home = Systems[node] if node is not None else _home(device)
    if home.accelerator.id != device.id:
        raise InvalidPlanError(f"hardware.node: {home.id} holds {home.accelerator.id}, not {device.id}")
    size = int(home.si.accelerators_per_node)
    if count < size:
        home, size = home.replace(accelerators_per_node=float(count)), count
    if count % size:
        near = [n for n in (count // size * size, (count // size + 1) * size) if n]
        raise InvalidPlanError(
            f"hardware.accelerators: {count} do not fill nodes of {size} ({home.id}); nearby: {near[0]} or {near[-1]}"
        )
    return Fleet(id=f"{device.id}_x_{count}", name=f"{count} x {device.name}", node=home, count=float(count // size),
                 fabric=Systems[fabric])  # fmt: skip


def _home(device: Any) -> Any:
    """A node of the zoo with this device, with eight of them where there is a choice; else eight on the device's links."""
    found = [node for node in Systems.Nodes if node.accelerator.id == device.id]
    if found:
        return min(found, key=lambda node: (abs(node.si.accelerators_per_node - NODE_SIZE), -len(node.facts), node.id))
    if device.si.link_bandwidth is None:
        raise MissingFactError(f"{device.id} has no known link and is in no node of the zoo; it works alone")
    return Node(id=f"{device.id}_node", name=f"{NODE_SIZE} x {device.name}", accelerator=device,
                accelerators_per_node=float(NODE_SIZE), link_bandwidth=device.si.link_bandwidth,
                link_latency=device.si.link_latency)  # fmt: skip


def evaluate_config(config: SimulationConfig | dict[str, Any]) -> SystemEvaluation:
    """The scorecard of a configuration: one device, or ``fleet_size`` of them on a fabric."""
    asked = config if isinstance(config, SimulationConfig) else SimulationConfig.load(config)
    device = Hardware[asked.hardware]
    return SystemEvaluator.evaluate(
        f"{asked.model} on {asked.hardware}", asked.model, device, asked.batch_size, asked.precision, asked.efficiency,
        accelerators(device, asked.fleet_size, None, asked.fabric), 1, asked.duration_days, region=asked.region,
    )  # fmt: skip
