"""What a system costs in money, electricity, emissions, water and failures over a span of time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ..catalog.infra import Datacenter
from ..catalog.systems import Fleet, NetworkFabric, Node
from ..errors import MissingFactError
from .border import Border
from .economics import EconomicsModel
from .evaluation_work import Work, power_at_rate
from .ledger import shown
from .reliability import ReliabilityModel
from .sustainability import DAY, SustainabilityModel, duration_at_border, site_of

OUTSIDE = ("tiny", "mobile", "edge", "workstation")
"""Families of devices that stand in no data centre: no cooling is added to what they draw."""


@dataclass(frozen=True)
class Macro:
    """Numbers in the units of the scorecard."""

    summary: str
    metrics: dict[str, Any]
    notes: tuple[str, ...]
    answers: dict[str, Any] = field(default_factory=dict)


def standalone(device: Any, count: float = 1.0) -> Fleet:
    """Devices that are connected to nothing: a fleet whose links are unknown (NaN)."""
    inside = Node(
        id=device.id, name=device.name, accelerator=device, accelerators_per_node=1.0, link_bandwidth=math.nan
    )
    nothing = NetworkFabric(id="none", name="no fabric", topology="none", bandwidth=math.nan, latency=math.nan)
    return Fleet(
        id=device.id if count == 1 else f"{count:g}_x_{device.id}",
        name=f"{count:g} x {device.name}",
        node=inside,
        count=float(count),
        fabric=nothing,
    )


def place(fleet: Any, device: Any, region: Any) -> tuple[Any, tuple[str, ...]]:
    """Where it stands; a device outside data centres adds nothing to what it draws."""
    border = Border()
    where = None if region is None else border.grid(region, "region")
    border.close()
    if device.family not in OUTSIDE:
        return where, ()
    entry = site_of(fleet, where).entry
    grid = entry.grid if isinstance(entry, Datacenter) else entry
    told = f"stands in {grid.name}, in no data centre: PUE 1"
    return grid.replace(pue=1.0, wue="0 L/kWh"), (told,)


def ask(done: Work, fleet: Any, machine: Any, days: Any, region: Any, rate: Any, costs: dict[str, Any]) -> Macro:
    """Economics, sustainability and reliability of a fleet, or of one machine on its own."""
    border = Border()
    span = duration_at_border(border, "duration_days", days)
    border.close()
    owned = fleet if fleet is not None else _owned(machine, done)
    device = owned.node.accelerator
    where, notes = place(owned, device, region)
    power = power_at_rate(done, rate)
    drawn: dict[str, Any] = {"utilisation": min(done.busy, 1.0)}
    if math.isfinite(power):
        drawn = {"power_per_device": f"{power!r} W"}
    metrics: dict[str, Any] = {"fleet_size": float(owned.total_accelerators)}
    answers: dict[str, Any] = {}
    told = []
    shared = {k: v for k, v in costs.items() if k in ("host_share", "embodied_carbon_per_device")}
    try:
        green = SustainabilityModel().solve(owned, days, where, **drawn, **shared)
    except MissingFactError as error:
        notes += (f"no energy or carbon: {error}",)
    else:
        i = green.si
        answers["sustainability"] = green
        notes += green.notes
        metrics |= {
            "energy": i.facility_energy / 3.6e9, "carbon_footprint": i.carbon_footprint / 1e3,
            "carbon_operational": i.operational_carbon / 1e3, "pue": i.pue, "region": i.region_name,
        }  # fmt: skip
        if math.isfinite(i.site_water):
            metrics["water"] = green.si.water_usage_liters
    try:
        money = EconomicsModel().solve(owned, days, datacenter=where, **drawn, **costs)
    except MissingFactError as error:
        notes += (f"no cost: {error}",)
    else:
        i = money.si
        answers["economics"] = money
        notes += money.notes
        metrics |= {"tco": i.tco_usd, "capex": i.capex_usd, "opex": i.total_opex_usd, "energy_cost": i.electricity}
        told.append(f"{dollars(i.tco_usd)} ({dollars(i.capex_usd)} capital)")
    if "carbon_footprint" in metrics:
        told.append(f"{shown(metrics['carbon_footprint'], '1')} t CO2e in {metrics['region']}")
    good = 1.0
    if done.job == "training" and fleet is not None:
        failing = ReliabilityModel().solve(fleet, span / 3600)
        i = failing.si
        answers["reliability"] = failing
        notes += (*failing.notes, "checkpoints stop the work for 60 s each, at the best interval")
        good = float(i.goodput_ratio)
        metrics |= {"goodput": good, "failures": i.expected_failures, "mtbf": i.fleet_mtbf / 3600}
        told.append(f"goodput {good:.1%}")
    made = (min(done.produced, rate) if rate is not None else done.produced) * span * good
    if done.job == "inference":
        made *= float(owned.total_accelerators) / done.devices
    if "tco" in metrics:
        metrics[f"cost_per_million_{done.product}"] = metrics["tco"] / made * 1e6
    if "carbon_footprint" in metrics and done.product == "tokens":
        metrics["carbon_per_million_tokens"] = metrics["carbon_footprint"] * 1e3 / made * 1e6
    return Macro(f"{span / DAY:g} days: " + (", ".join(told) or "nothing of it is known"), metrics, notes, answers)


def _owned(machine: Any, done: Work) -> Any:
    """What works where no fleet is named: the devices of one replica, or one node."""
    if isinstance(machine, Node):
        return Fleet(id=machine.id, name=machine.name, node=machine, count=1.0,
                     fabric=standalone(machine.accelerator).fabric)  # fmt: skip
    return standalone(machine, done.devices)


def dollars(value: float) -> str:
    """Money as a person says it.

    Examples:
        >>> dollars(213456.0), dollars(12.3), dollars(2.5e9)
        ('213.5 kUSD', '12.3 USD', '2.5 GUSD')
    """
    for name, size in (("GUSD", 1e9), ("MUSD", 1e6), ("kUSD", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.4g} {name}"
    return f"{value:.4g} USD"
