"""Missions that can be asked about: ``Scenarios.SmartDoorbell.evaluate()``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..catalog.plans import SimulationConfig
from ..catalog.registry import Registry
from ..catalog.scenarios import MISSION_FAMILIES, Mission
from ..catalog.systems import Fleet
from ..errors import InfeasibleError, SLAViolation, UnknownEntryError, nearest
from .evaluation import FAIL, PASS, SystemEvaluation, SystemEvaluator

YEAR_DAYS = 365


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scenario(Mission):
    """A mission, and the questions to ask about it."""

    def evaluate(
        self,
        batch_size: Any = None,
        precision: Any = None,
        *,
        efficiency: Any = None,
        duration_days: Any = YEAR_DAYS,
        region: Any = None,
        costs: Mapping[str, Any] | None = None,
    ) -> SystemEvaluation:
        """The scorecard: does it fit, does it keep to its limits, what does it cost.

        Args:
            batch_size: the mission's own unless said
            precision: the mission's own unless said
            efficiency: the mission's own unless said
            duration_days: span of the costs
            region: where it stands; the mission's own unless said
            costs: further arguments of :class:`EconomicsModel`, such as ``unit_price_usd``

        Examples:
            >>> Scenarios.SmartDoorbell.evaluate().performance.status
            'PASS'
        """
        inside = self.si
        plan: dict[str, Any] = {}
        if self.job == "training" and self.adapters:
            plan["is_lora"] = True
        if self.job == "training" and self.recompute != "none":
            plan["activation_recomputation"] = self.recompute
        fleet = self.system if isinstance(self.system, Fleet) else None
        return SystemEvaluator.evaluate(
            self.name, self.workload, None if fleet is not None else self.system,
            inside.batch_size if batch_size is None else batch_size, precision or self.precision,
            inside.efficiency if efficiency is None else efficiency, fleet,
            inside.system.count if fleet is not None and self.job == "training" else 1, duration_days, job=self.job,
            seq_len=inside.seq_len, plan=plan, region=self.region if region is None else region,
            sla_latency=self.sla_latency, rate=self.rate, power_budget=self.power_budget, data_rate=self.data_rate,
            costs=costs,
        )  # fmt: skip

    def validate_scenario(self) -> dict[str, Any]:
        """Raise if the mission cannot be fulfilled; else say how it stands.

        Raises:
            InfeasibleError: it does not fit
            SLAViolation: it fits, and misses its latency, its rate or its power budget
        """
        card = self.evaluate(duration_days=None)
        if card.feasibility.status == FAIL:
            raise InfeasibleError(f"{self.id}: {card.feasibility.summary}")
        if card.performance.status == FAIL:
            raise SLAViolation(f"{self.id}: {card.performance.summary}")
        return {
            "status": card.performance.status if card.performance.status != PASS else card.feasibility.status,
            "memory_utilization": card.metric("feasibility.memory_utilization"),
            "performance": card.answers["performance"],
        }

    def validate(self) -> dict[str, Any]:
        """:meth:`validate_scenario`."""
        return self.validate_scenario()


Scenarios = Registry("scenarios", MISSION_FAMILIES, lambda family, facts, label: Scenario)


class Named:
    """Scenarios under other names: ``Applications.Doorbell``."""

    def __init__(self, kind: str, names: Mapping[str, str]) -> None:
        self._kind, self._names = kind, dict(names)

    def __getattr__(self, name: str) -> Scenario:
        """The scenario of that name."""
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Scenario:
        """The scenario of that name."""
        if name not in self._names:
            raise UnknownEntryError(self._kind, name, nearest(name, self._names))
        found: Scenario = Scenarios[self._names[name]]
        return found

    def __iter__(self) -> Any:
        """Every scenario."""
        return (self[name] for name in self._names)

    def __len__(self) -> int:
        """How many names."""
        return len(self._names)

    def __dir__(self) -> list[str]:
        """Names, for completion."""
        return list(self._names)


Applications = Named(
    "application",
    {
        "Doorbell": "SmartDoorbell",
        "AutoDrive": "AutonomousVehicle",
        "Workstation": "LocalTraining",
        "Frontier": "FrontierTraining",
        "Chatbot": "ChatbotServing",
        "KWS": "KeywordSpotting",
    },
)
Archetypes = Named(
    "archetype",
    {
        "Cloud_V100": "FrontierTraining",
        "TinyML_M7": "SmartDoorbell",
        "Cloud": "FrontierTraining",
        "Edge": "AutonomousVehicle",
        "Mobile": "MobileHealth",
        "Tiny": "SmartDoorbell",
    },
)


def load_config(config: Mapping[str, Any]) -> SimulationConfig:
    """A checked configuration of one simulation from plain data.

    Raises:
        InvalidInputError: unknown keys, names or numbers that make no sense, all of them at once

    Examples:
        >>> load_config({"model": "Llama3_8B", "hardware": "H100"}).batch_size
        1
    """
    return SimulationConfig.load(config)
