"""A mission times everybody who deploys it: what all devices together do, draw, emit, cost and lose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..catalog import Infra
from ..catalog.scenarios import Persona
from ..catalog.scenarios import Personas as _PERSONAS
from ..errors import InfeasibleError, InvalidInputError, MissingExtraError, SLAViolation, alternatives, nearest
from ..physics import reliability
from .evaluation import FAIL, SystemEvaluation
from .evaluation_macro import dollars
from .ledger import shown
from .scenarios import Scenario, Scenarios

Personas = _PERSONAS
CHOICES = ("region", "duration_days", "batch_size", "precision", "efficiency", "unit_price_usd", "kwh_price",
           "carbon_price_per_ton")  # fmt: skip


@dataclass(frozen=True)
class SystemLedger:
    """The books of a deployment. What is not known is left out, and ``notes`` say why.

    Units are in the names: milliseconds, a second, MWh, tonnes, litres, USD, hours.
    """

    mission_name: str
    track_name: str
    choice_summary: str
    performance: Mapping[str, float]
    sustainability: Mapping[str, float]
    economics: Mapping[str, float]
    reliability: Mapping[str, float]
    notes: tuple[str, ...] = ()
    scorecard: SystemEvaluation | None = field(default=None, repr=False)

    def validate(self) -> None:
        """Raise if a device cannot do its work.

        Raises:
            InfeasibleError: it does not fit
            SLAViolation: it misses a limit
        """
        assert self.scorecard is not None
        for level, kind in ((self.scorecard.feasibility, InfeasibleError), (self.scorecard.performance, SLAViolation)):
            if level.status == FAIL:
                raise kind(f"{self.mission_name}: {level.summary}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "mission_name": self.mission_name,
            "track_name": self.track_name,
            "choice_summary": self.choice_summary,
            "performance": dict(self.performance),
            "sustainability": dict(self.sustainability),
            "economics": dict(self.economics),
            "reliability": dict(self.reliability),
            "notes": list(self.notes),
        }

    def to_df(self) -> Any:
        """One row, as a Polars frame.

        Raises:
            MissingExtraError: Polars is not installed
        """
        try:
            import polars
        except ImportError:
            raise MissingExtraError("to_df", "sweep") from None
        row: dict[str, Any] = {"mission": self.mission_name, "track": self.track_name}
        for part in ("performance", "sustainability", "economics", "reliability"):
            row |= {f"{part}.{name}": value for name, value in getattr(self, part).items()}
        return polars.DataFrame({name: [value] for name, value in row.items()})

    def __str__(self) -> str:
        """All books."""
        lines = [f"{self.mission_name}, {self.track_name}", self.choice_summary]
        for part in ("performance", "sustainability", "economics", "reliability"):
            told = ", ".join(
                f"{name.replace('_', ' ')} {shown(value, None)}" for name, value in getattr(self, part).items()
            )
            lines.append(f"  {part:<15} {told or 'not known'}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


class ResourceSimulation:
    """A mission, deployed as a persona deploys it.

    Args:
        scenario: an entry of ``Scenarios`` or its name
        persona: an entry of ``Personas`` or its name

    Examples:
        >>> ledger = ResourceSimulation("SmartDoorbell", "tiny").evaluate({"region": "Quebec", "duration_days": 365})
        >>> ledger.performance["devices"], round(ledger.performance["latency_ms"], 2)
        (10000000.0, 13.76)
    """

    def __init__(self, scenario: Scenario | str, persona: Persona | str) -> None:
        self.scenario: Scenario = Scenarios[scenario] if isinstance(scenario, str) else scenario
        self.persona: Persona = Personas[persona] if isinstance(persona, str) else persona
        if not isinstance(self.scenario, Scenario) or not isinstance(self.persona, Persona):
            raise InvalidInputError("expected a scenario and a persona, or their names")

    def evaluate(self, choice: Mapping[str, Any] | None = None) -> SystemLedger:
        """The books of all devices over a span of time.

        Args:
            choice: any of ``region``, ``duration_days``, ``batch_size``, ``precision``, ``efficiency``,
                ``unit_price_usd``, ``kwh_price``, ``carbon_price_per_ton``

        Raises:
            InvalidInputError: an unknown choice, or one that makes no sense
        """
        asked = dict(choice or {})
        problems = []
        for name in asked:
            if name not in CHOICES:
                near = nearest(name, CHOICES)
                problems.append(f"no choice named {name}" + (f"; did you mean {alternatives(near)}?" if near else ""))
        if problems:
            raise InvalidInputError(problems)
        days = asked.pop("duration_days", 365)
        own = {name: asked.pop(name) for name in ("region", "batch_size", "precision", "efficiency") if name in asked}
        card = self.scenario.evaluate(duration_days=days, costs=asked, **own)
        scale = self.persona.si.scale
        macro = card.macro.metrics
        span = card.answers["sustainability"].si.duration if "sustainability" in card.answers else float(days) * 86400.0
        economics = {
            f"{name}_usd": macro[name] * scale for name in ("tco", "capex", "opex", "energy_cost") if name in macro
        }
        for name in ("cost_per_million_tokens", "cost_per_million_inferences"):
            if name in macro:
                economics[f"{name}_usd"] = macro[name]
        where = macro.get("region", "an unknown region")
        spent = f"{dollars(economics['tco_usd'])}" if "tco_usd" in economics else "an unknown cost"
        return SystemLedger(
            mission_name=self.scenario.name,
            track_name=self.persona.name,
            choice_summary=f"{scale:g} x {self.scenario.name} for {span / 86400:g} days in {where}: {spent}",
            performance=self._performance(card, scale),
            sustainability={
                f"{name}_{unit}": macro[key] * scale
                for name, unit, key in (
                    ("energy", "mwh", "energy"),
                    ("carbon", "t", "carbon_footprint"),
                    ("water", "liters", "water"),
                )
                if key in macro
            },
            economics=economics,
            reliability=self._reliability(card, scale, span),
            notes=card.notes,
            scorecard=card,
        )

    def _performance(self, card: SystemEvaluation, scale: float) -> dict[str, float]:
        inside = card.performance.metrics
        found = {"devices": scale * float(card.macro.metrics.get("fleet_size", 1.0))}
        for name in ("latency", "ttft", "itl", "step_latency"):
            if name in inside:
                found[f"{name}_ms"] = float(inside[name])
        one = inside.get("throughput", inside.get("fleet_throughput", math.nan))
        wanted = self.scenario.si.rate
        found["capacity_per_second"] = float(one) * scale
        if wanted is not None:
            found["wanted_per_second"] = float(wanted) * scale
        return found

    def _reliability(self, card: SystemEvaluation, scale: float, span: float) -> dict[str, float]:
        """Of a training cluster its goodput; of chips that work alone how many fail. Nothing where no MTBF is known."""
        macro = card.macro.metrics
        if "goodput" in macro:
            return {name: float(macro[name]) for name in ("goodput", "failures", "mtbf")}
        if self.scenario.hardware.family != "cloud":
            return {}
        mtbf = Infra["GPU"].si.mtbf
        devices = scale * float(macro.get("fleet_size", 1.0))
        return {
            "failures": float(reliability.expected_failures(span, mtbf / devices)),
            "mtbf": float(mtbf / devices / 3600.0),
        }
