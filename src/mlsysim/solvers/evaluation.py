"""One system, three questions: does it fit, how fast is it, what does it cost in money, carbon and failures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..catalog.metrics import METRICS
from ..catalog.models import Transformer
from ..catalog.scenarios import JOBS
from ..catalog.systems import Fleet
from ..errors import InvalidInputError
from . import evaluation_macro, evaluation_work
from .border import Border
from .evaluation_work import Work, power_at_rate
from .ledger import shown

PASS, FAIL, SKIPPED, UNKNOWN = "PASS", "FAIL", "SKIPPED", "UNKNOWN"
PREFIX = {"feasibility": "f", "performance": "p", "macro": "m"}


@dataclass(frozen=True)
class EvaluationLevel:
    """One of three questions, and its answer."""

    level_name: str
    status: str
    summary: str
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SystemEvaluation:
    """A scorecard: what fits, how fast, and what it costs. A level above one that failed is never a pass."""

    scenario_name: str
    feasibility: EvaluationLevel
    performance: EvaluationLevel
    macro: EvaluationLevel
    notes: tuple[str, ...] = ()
    answers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def levels(self) -> tuple[EvaluationLevel, ...]:
        """All three, from the bottom up."""
        return (self.feasibility, self.performance, self.macro)

    @property
    def feasible(self) -> bool:
        """Whether the system can do the work at all."""
        return self.feasibility.status not in (FAIL, UNKNOWN)

    @property
    def passed_all(self) -> bool:
        """Whether every level that was asked about passed; costs that nobody asked for do not count."""
        return all(
            level.status == PASS or (level is self.macro and level.status == SKIPPED) for level in self.levels
        ) and (self.feasibility.status == self.performance.status == PASS)

    def metric(self, path: str) -> Any:
        """A number by its path, such as ``performance.latency``; None where this evaluation does not have it."""
        level, _, name = path.partition(".")
        return dict(getattr(self, level).metrics).get(name)

    def metrics(self) -> dict[str, Any]:
        """Every number by its path."""
        return {f"{level.level_name}.{name}": v for level in self.levels for name, v in level.metrics.items()}

    def to_dict(self) -> dict[str, Any]:
        """Flat plain data: ``scenario``, a status for each level, and every number with the letter of its level."""
        found: dict[str, Any] = {"scenario": self.scenario_name}
        found |= {f"{PREFIX[level.level_name]}_status": level.status for level in self.levels}
        for level in self.levels:
            found |= {f"{PREFIX[level.level_name]}_{name}": _plain(v) for name, v in level.metrics.items()}
        return found

    def rows(self) -> list[tuple[str, str, str]]:
        """Level, number and what it is, for display."""
        found = []
        for level in self.levels:
            for name, value in level.metrics.items():
                unit, text = METRICS[f"{level.level_name}.{name}"]
                told = "unknown" if _plain(value) is None else f"{shown(value, None)} {unit}".strip()
                found.append((name.replace("_", " "), told, text))
        return found

    def scorecard(self) -> str:
        """The three levels in a box."""
        lines = [f"{level.level_name:<12} {level.status:<8} {level.summary}" for level in self.levels]
        width = max(len(line) for line in [*lines, self.scenario_name]) + 2
        body = [f"│ {line:<{width - 2}} │" for line in (self.scenario_name, *lines)]
        return "\n".join(
            ["┌" + "─" * width + "┐", body[0], "├" + "─" * width + "┤", *body[1:], "└" + "─" * width + "┘"]
        )

    def __str__(self) -> str:
        """The scorecard."""
        return self.scorecard()


class SystemEvaluator:
    """Asks the resolvers of all levels about one system."""

    @staticmethod
    def evaluate(
        scenario_name: str,
        model_obj: Any,
        hardware_obj: Any = None,
        batch_size: Any = 1,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        fleet_obj: Any = None,
        nodes: Any = 1,
        duration_days: Any = None,
        *,
        job: Any = None,
        seq_len: Any = None,
        plan: Mapping[str, Any] | None = None,
        region: Any = None,
        sla_latency: Any = None,
        rate: Any = None,
        power_budget: Any = None,
        data_rate: Any = None,
        costs: Mapping[str, Any] | None = None,
    ) -> SystemEvaluation:
        """Feasibility, performance, and the costs of a system.

        Args:
            scenario_name: what to call it
            model_obj: an entry of ``Models`` or its name
            hardware_obj: the device at work, or its name; that of the fleet unless said
            batch_size: samples or requests together; of the whole fleet in training
            precision: number format
            efficiency: share of the arithmetic peak that is reached
            fleet_obj: a fleet, or its name: what is owned, and where training runs
            nodes: nodes of the fleet that train together; with 1 every device works on its own
            duration_days: span of the costs; without it they are skipped
            job: ``"inference"`` (a pass), ``"serving"`` (requests) or ``"training"``; training where several nodes work
                together, else inference
            seq_len: tokens of context
            plan: how work is split: arguments of :class:`DistributedModel` or :class:`ServingModel` such as ``tp_size``;
                without any, the best split is searched
            region: a grid or a data centre; the fleet's own unless said
            sla_latency: what the pass, the time to first token, or the step has to keep to, with a unit
            rate: passes wanted each second, with a unit
            power_budget: most mean power of a device, with a unit
            data_rate: bytes that the work reads a second, with a unit
            costs: further arguments of :class:`EconomicsModel`, such as ``unit_price_usd``

        Raises:
            InvalidInputError: arguments that make no sense
            MissingFactError: the catalog lacks what the performance needs

        Examples:
            >>> done = SystemEvaluator.evaluate("chat", "Llama3_8B", "H100", 32, efficiency=0.45)
            >>> done.feasibility.status, done.performance.status, done.macro.status
            ('PASS', 'PASS', 'SKIPPED')
        """
        border = Border()
        model = border.model(model_obj, "model_obj")
        fleet = None if fleet_obj is None else border.fleet(fleet_obj, "fleet_obj")
        together = border.count("nodes", nodes)
        asked = ("training" if fleet is not None and nodes != 1 else "inference") if job is None else job
        work = border.choice("job", asked, JOBS)
        limits = {
            name: None if value is None else border.quantity(name, value, unit)
            for name, value, unit in (
                ("sla_latency", sla_latency, "second"),
                ("rate", rate, "1/second"),
                ("power_budget", power_budget, "watt"),
            )
        }
        if hardware_obj is None and fleet is None:
            border.problems.append("hardware_obj: expected a device, or a fleet in fleet_obj")
        device = fleet.node.accelerator if hardware_obj is None and fleet is not None else None
        if hardware_obj is not None:
            device = border.machine(hardware_obj, "hardware_obj")
        for name, value in (("batch_size", batch_size), ("seq_len", seq_len), ("efficiency", efficiency)):
            if np.ndim(value) or isinstance(value, (list, tuple)):
                border.problems.append(f"{name}: a scorecard takes one number; sweep the resolvers themselves")
        border.close()
        own: Any = getattr(device, "accelerator", device)
        if fleet is not None and not isinstance(device, Fleet) and own.id != fleet.node.accelerator.id:
            raise InvalidInputError(f"hardware_obj: {fleet.id} holds {fleet.node.accelerator.id}, not {own.id}")
        if isinstance(device, Fleet):
            fleet, device = device, device.node.accelerator
            together = fleet.si.count if nodes == 1 and work == "training" else together
        notes: tuple[str, ...] = ()
        if fleet is not None and together > 1 and together != fleet.si.count:
            if together > fleet.si.count:
                raise InvalidInputError(f"nodes: {fleet.id} has {fleet.si.count:g} nodes, asked for {together:g}")
            notes = (f"{together:g} of the {fleet.si.count:g} nodes of {fleet.id}",)
            fleet = fleet.replace(count=float(together))
        if seq_len is None and work != "inference" and isinstance(model, Transformer):
            seq_len = 2048
        done = evaluation_work.ask(
            work, model, device, fleet if together > 1 else None, batch_size, precision, efficiency, seq_len,
            dict(plan or {}), data_rate, None if fleet is None or work != "serving" else fleet,
        )  # fmt: skip
        feasibility = _feasibility(done, device)
        performance = _performance(done, feasibility, limits)
        macro, more, costed = _macro(done, feasibility, performance, fleet, device, duration_days, region, limits["rate"],
                                     dict(costs or {}))  # fmt: skip
        return SystemEvaluation(
            scenario_name=str(scenario_name),
            feasibility=feasibility,
            performance=performance,
            macro=macro,
            notes=tuple(dict.fromkeys((*notes, *done.notes, *more))),
            answers={**done.answers, **costed},
            settings={"job": work, "plan": done.plan},
        )


def _feasibility(done: Work, device: Any) -> EvaluationLevel:
    used, room = done.memory / 1e9, done.capacity / 1e9
    metrics = {"memory_used_gb": used, "memory_available_gb": room, "memory_utilization": used / room}
    if done.feasible and done.stalled is None and "data" in done.answers:
        return EvaluationLevel("feasibility", UNKNOWN, f"whether data keeps up is not known: {done.data_note}", metrics)
    if done.stalled:
        return EvaluationLevel("feasibility", FAIL, f"data does not keep up: {done.data_note}", metrics)
    if not done.feasible:
        told = f"needs {shown(done.memory, 'byte')} a device, has {shown(done.capacity, 'byte')}"
        return EvaluationLevel("feasibility", FAIL, f"does not fit: {told} ({used / room:.2f}x)", metrics)
    told = f"{shown(done.memory, 'byte')} of {shown(done.capacity, 'byte')} a device ({_share(used / room)})"
    return EvaluationLevel("feasibility", PASS, f"fits: {told}", metrics)


def _share(part: float) -> str:
    """Per cent with the digits that it needs.

    Examples:
        >>> _share(0.29), _share(0.0035), _share(1e-6)
        ('29%', '0.35%', '0.0001%')
    """
    return f"{part:.0%}" if part >= 0.01 else f"{100 * part:.2g}%"


def _performance(done: Work, below: EvaluationLevel, limits: Mapping[str, Any]) -> EvaluationLevel:
    metrics = dict(done.metrics)
    told, missed = done.headline, []
    goal, rate, budget = limits["sla_latency"], limits["rate"], limits["power_budget"]
    if goal is not None:
        metrics["sla_latency"] = goal * 1e3
        if done.latency > goal:
            missed.append(f"{done.latency_name} {shown(done.latency, 'second')} misses {shown(goal, 'second')}")
    if rate is not None and done.throughput < rate:
        missed.append(f"{shown(done.throughput, '1')}/s is less than the {shown(rate, '1')}/s wanted")
    power = power_at_rate(done, rate)
    if math.isfinite(power):
        metrics["power"] = power
    if budget is not None:
        metrics["power_budget"] = budget
        if math.isnan(power):
            missed.append("the power of the device is not known")
        elif power > budget:
            missed.append(f"draws {shown(power, 'watt')}, may draw {shown(budget, 'watt')}")
    if below.status == FAIL:
        return EvaluationLevel("performance", SKIPPED, f"as if it fitted: {told}", metrics)
    if missed:
        return EvaluationLevel("performance", FAIL, f"{told}; {'; '.join(missed)}", metrics)
    return EvaluationLevel("performance", PASS if below.status == PASS else UNKNOWN, told, metrics)


def _macro(
    done: Work, feasibility: EvaluationLevel, performance: EvaluationLevel, fleet: Any, device: Any, days: Any,
    region: Any, rate: Any, costs: dict[str, Any],
) -> tuple[EvaluationLevel, tuple[str, ...], dict[str, Any]]:  # fmt: skip
    if days is None:
        return EvaluationLevel("macro", SKIPPED, "no duration was given"), (), {}
    if feasibility.status == FAIL:
        return EvaluationLevel("macro", SKIPPED, "what does not fit is not costed"), (), {}
    found = evaluation_macro.ask(done, fleet, device, days, region, rate, costs)
    status = PASS if math.isfinite(found.metrics.get("tco", math.nan)) else UNKNOWN
    if performance.status == FAIL:
        status = SKIPPED
    elif performance.status == UNKNOWN:
        status = UNKNOWN
    return EvaluationLevel("macro", status, found.summary, found.metrics), found.notes, found.answers


def _plain(value: Any) -> Any:
    if isinstance(value, (str, bool)) or value is None:
        return value
    number = float(value)
    return number if math.isfinite(number) else None
