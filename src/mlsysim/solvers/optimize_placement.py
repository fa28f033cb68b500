"""Where to put a fleet: cost, carbon, water and distance of many regions at once (wall 18)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Infra
from ..catalog.infra import Datacenter, GridProfile
from ..catalog.spec import Spec
from ..errors import MLSysimError, told
from ..record import total
from ..units import Count, Dollars, Kilograms, Plain
from .base import BaseOptimizer
from .border import Border
from .economics import EconomicsModel
from .ledger import Explanation
from .result import Question, Result
from .sustainability import SustainabilityModel, site_of, sites

OBJECTIVES = ("cost", "carbon", "water", "latency")
EARTH_RADIUS, FIBRE_SPEED = 6_371_008.8, 2e8
TIE = 1e-9
"""Objectives closer than this, relatively, are a tie."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacementResult(Result):
    """The best region, and how the others compare."""

    best_region: str
    objective_value: Count
    tco: Dollars
    carbon: Kilograms
    water_usage_liters: Plain
    pue: Plain
    latency_ms: Plain
    ties: tuple[str, ...]
    top_candidates: list[dict[str, Any]]
    total_searched: int

    @total
    def lowest_tco(self) -> Plain:
        """Total cost in the best region, in USD, its price of emissions included."""
        return self.tco

    @total
    def carbon_footprint(self) -> Plain:
        """Emissions in the best region, in tonnes."""
        return self.carbon / 1e3

    @property
    def best_config(self) -> dict[str, Any]:
        """The choice made."""
        return {"region": self.best_region}

    def explain(self) -> Explanation:
        """Where the bill, the emissions and the water of the best region come from."""
        asked = {name: self.question.arguments[name] for name in ("fleet", "duration_days", "mfu", "host_share",
                                                                  "embodied_carbon_per_device")}  # fmt: skip
        more = {name: self.question.arguments[name] for name in ("kwh_price", "unit_price_usd")}
        tax = self.question.arguments["carbon_tax_per_ton"]
        bill = EconomicsModel().solve(**asked, **more, datacenter=self.best_region, carbon_price_per_ton=tax).explain()
        nature = SustainabilityModel().solve(**asked, datacenter=self.best_region).explain()
        known = {line.name for line in bill.lines}
        lines = bill.lines + [line for line in nature.lines if line.name not in known]
        return Explanation(f"PlacementResult, {self.best_region}: {bill.title}", lines, self.notes)


class PlacementOptimizer(BaseOptimizer):
    """Wall 18: the region with the best cost, carbon, water or latency, or a weighted mix of them."""

    walls = ((18, "Sustainability", "operations"),)
    requires = ("fleet",)
    produces = PlacementResult
    misbeliefs = {
        "the cheapest region is the cleanest": "only where clean power is cheap; a price of carbon makes them meet",
        "carbon follows renewables": "it follows the intensity of the grid; nuclear power is low-carbon too",
    }

    def solve(
        self,
        fleet: Any,
        duration_days: Any,
        regions: Any = ("US_Avg", "Quebec", "Iowa"),
        carbon_tax_per_ton: Any = 100,
        mfu: Any = 1.0,
        *,
        objective: Any = "cost",
        users_at: Any = None,
        unit_price_usd: Any = None,
        kwh_price: Any = None,
        embodied_carbon_per_device: Any = None,
        host_share: Any = 0.0,
    ) -> PlacementResult:
        """The best of some regions.

        Args:
            fleet: an entry of ``Systems.Clusters`` or its name
            duration_days: how long it runs, in days
            regions: grids or data centres, or their names; ``None`` for every grid of the catalog
            carbon_tax_per_ton: price of a tonne of emissions in USD, part of the cost
            mfu: busy share of the chips
            objective: ``"cost"``, ``"carbon"``, ``"water"`` or ``"latency"``, or a mapping of weights over them; each is
                then taken relative to the best region
            users_at: (latitude, longitude) of the users, for ``"latency"``
            unit_price_usd: price of one device; the catalog's unless said
            kwh_price: price of electricity in USD/kWh; each grid's own unless said
            embodied_carbon_per_device: manufacture of one device in kg; the catalog's figure unless said
            host_share: power of hosts, network and storage over that of the accelerators

        Raises:
            InvalidInputError: arguments that make no sense, an unknown region among them
            MissingFactError: the device has no price or no design power

        Examples:
            >>> PlacementOptimizer().solve("Research_256", 30, ["US_Avg", "Quebec"], unit_price_usd=30000).best_region
            'Quebec'
        """
        arguments = dict(fleet=fleet, duration_days=duration_days, regions=regions, carbon_tax_per_ton=carbon_tax_per_ton,
                         mfu=mfu, objective=objective, users_at=users_at, unit_price_usd=unit_price_usd,
                         kwh_price=kwh_price, embodied_carbon_per_device=embodied_carbon_per_device,
                         host_share=host_share)  # fmt: skip
        border = Border()
        machines = border.fleet(fleet)
        places = _places(border, regions)
        weights = _weights(border, objective)
        point = _point(border, users_at, "latency" in weights)
        tax = border.number("carbon_tax_per_ton", carbon_tax_per_ton)
        for name in ("duration_days", "mfu", "carbon_tax_per_ton", "unit_price_usd", "kwh_price",
                     "embodied_carbon_per_device", "host_share"):  # fmt: skip
            border.one(name, arguments[name])
        border.close()
        every = _together(places)
        common = dict(mfu=mfu, embodied_carbon_per_device=embodied_carbon_per_device, host_share=host_share)
        money = EconomicsModel().solve(machines, duration_days, kwh_price, every, carbon_price_per_ton=tax,
                                       unit_price_usd=unit_price_usd, **common)  # fmt: skip
        nature = SustainabilityModel().solve(machines, duration_days, every, **common)
        metrics = {
            "cost": np.broadcast_to(money.si.tco_usd, (len(places),)),
            "carbon": np.broadcast_to(nature.si.carbon_footprint, (len(places),)),
            "water": np.broadcast_to(nature.si.total_water_liters, (len(places),)),
            "latency": _latency(places, point),
        }
        score = _score(metrics, weights)
        order = np.argsort(np.where(np.isnan(score), np.inf, score), kind="stable")
        best = int(order[0])
        tied = tuple(
            places[i].id
            for i in order[1:]
            if score[i] - score[best] <= TIE * max(abs(score[best]), np.finfo(float).tiny)
        )
        notes = [note for note in dict.fromkeys(money.notes + nature.notes)]
        if tied:
            notes.append(f"{', '.join(tied)} tie with {places[best].id}; the first of the list is named")
        lost = [places[i].id for i in range(len(places)) if np.isnan(score[i])]
        if lost:
            notes.append(f"{', '.join(lost)}: not all of {', '.join(weights)} is known there, ranked last")
        arguments.update(fleet=machines, regions=[place.id for place in places])
        pues = np.broadcast_to(money.si.pue, (len(places),))
        return PlacementResult(
            question=Question(type(self), arguments),
            notes=tuple(notes),
            best_region=places[best].id,
            objective_value=float(score[best]),
            tco=float(metrics["cost"][best]),
            carbon=float(metrics["carbon"][best]),
            water_usage_liters=float(metrics["water"][best]),
            pue=float(pues[best]),
            latency_ms=float(metrics["latency"][best]) * 1e3,
            ties=tied,
            top_candidates=[
                {"region": places[i].id, "objective": float(score[i]), "tco_usd": float(metrics["cost"][i]),
                 "carbon_kg": float(metrics["carbon"][i]), "water_liters": float(metrics["water"][i]),
                 "latency_ms": float(metrics["latency"][i]) * 1e3, "pue": float(pues[i])}
                for i in order
            ],
            total_searched=len(places),
        )  # fmt: skip


def _places(border: Border, regions: Any) -> list[Any]:
    if regions is None:
        return [entry for entry in Infra if isinstance(entry, GridProfile)]
    if isinstance(regions, (str, Spec)):
        regions = [regions]
    if not isinstance(regions, Sequence) or not len(regions):
        border.problems.append("regions: expected a list of grids or data centres, or of their names")
        return []
    found = []
    for region in regions:
        try:
            entry = Infra[region] if isinstance(region, str) else region
        except MLSysimError as error:
            border.problems.append(f"regions: {error}")
            continue
        if not isinstance(entry, (GridProfile, Datacenter)):
            border.problems.append(f"regions: {getattr(entry, 'id', entry)!s} is neither a grid nor a data centre")
            continue
        found.append(entry)
    return list(dict.fromkeys(found))


def _together(places: list[Any]) -> Any:
    """All places as one entry that holds arrays (a grid, so that both kinds may be mixed)."""
    one = sites(None, [site_of(None, place) for place in places])  # type: ignore[arg-type]
    return GridProfile(id="sites", name=", ".join(place.id for place in places), members=tuple(places),
                       carbon_intensity=one.intensity, pue=one.pue, wue=one.wue, ewif=one.ewif,
                       electricity_price=one.price)  # fmt: skip


def _weights(border: Border, objective: Any) -> dict[str, float]:
    if isinstance(objective, Mapping):
        found = {border.choice("objective", name, OBJECTIVES): border.number(f"objective[{name!r}]", value)
                 for name, value in objective.items()}  # fmt: skip
        if not found or not any(value > 0 for value in found.values()):
            border.problems.append("objective: expected at least one positive weight")
        return {name: float(value) for name, value in found.items() if value > 0}
    return {border.choice("objective", objective, OBJECTIVES): 1.0}


def _point(border: Border, users_at: Any, needed: bool) -> tuple[float, float] | None:
    if users_at is None:
        if needed:
            border.problems.append("users_at: expected (latitude, longitude) of the users, which latency needs")
        return None
    if not isinstance(users_at, Sequence) or len(users_at) != 2:
        border.problems.append(f"users_at: expected (latitude, longitude), found {told(users_at)}")
        return None
    if not all([border.one("users_at", value) for value in users_at]):
        return None
    latitude = border.number("users_at latitude", users_at[0], least=-90.0, most=90.0)
    longitude = border.number("users_at longitude", users_at[1], least=-180.0, most=180.0)
    return latitude, longitude


def _latency(places: list[Any], point: tuple[float, float] | None) -> Any:
    """Round trip through fibre along the great circle [s]; NaN where it is not known."""
    if point is None:
        return np.full(len(places), np.nan)
    grids = [place.grid if isinstance(place, Datacenter) else place for place in places]
    there = np.array(
        [[np.nan if x is None else x for x in (grid.si.latitude, grid.si.longitude)] for grid in grids],
        dtype=np.float64,
    )
    (a, b), (c, d) = np.radians(point), np.radians(there.T)
    angle = 2 * np.arcsin(np.sqrt(np.sin((c - a) / 2) ** 2 + np.cos(a) * np.cos(c) * np.sin((d - b) / 2) ** 2))
    return 2 * EARTH_RADIUS * angle / FIBRE_SPEED


def _score(metrics: Mapping[str, Any], weights: Mapping[str, float]) -> Any:
    if len(weights) == 1:
        return np.asarray(metrics[next(iter(weights))], dtype=np.float64)
    score: Any = 0.0
    for name, weight in weights.items():
        values = np.asarray(metrics[name], dtype=np.float64)
        least = np.nanmin(values) if not np.isnan(values).all() else np.nan
        score = score + weight * values / (least if least > 0 else 1.0)
    return np.asarray(score) / sum(weights.values())
