"""Energy, carbon and water of a fleet that runs for some time (wall 18)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ..catalog import Defaults, Infra, textbook
from ..catalog.infra import Datacenter
from ..catalog.systems import Fleet
from ..errors import MissingFactError
from ..physics import carbon, energy
from ..record import total
from ..units import (
    Count,
    CubicMeters,
    Fraction,
    Joules,
    Kilograms,
    KilogramsPerJoule,
    Number,
    Plain,
    Seconds,
    Watts,
)
from .base import ForwardModel
from .border import Border, shape_of
from .result import Question, Result

KilowattHours = Annotated[Number, "kilowatt_hour"]
DAY, HOUR, YEAR, LITER = 86400.0, 3600.0, 365 * 86400.0, 1e-3
KWH = 3.6e6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SustainabilityResult(Result):
    """What a run draws, emits and evaporates."""

    devices: Count
    duration: Seconds
    power_per_device: Watts
    it_energy: Joules
    facility_energy: Joules
    operational_carbon: Kilograms
    embodied_carbon: Kilograms
    embodied_manufactured: Kilograms
    site_water: CubicMeters
    source_water: CubicMeters
    carbon_intensity: KilogramsPerJoule
    pue: Fraction
    region_name: Any

    @total
    def it_energy_kwh(self) -> KilowattHours:
        """Energy of the IT equipment."""
        return self.it_energy / KWH

    @total
    def total_energy_kwh(self) -> KilowattHours:
        """Energy at the meter, cooling and losses included."""
        return self.facility_energy / KWH

    @total
    def carbon_footprint(self) -> Kilograms:
        """Emissions of the electricity and the run's share of manufacture."""
        return carbon.total_carbon(self.operational_carbon, self.embodied_carbon)

    @total
    def carbon_footprint_kg(self) -> Plain:
        """:attr:`carbon_footprint` in kilograms."""
        return carbon.total_carbon(self.operational_carbon, self.embodied_carbon)

    @total
    def embodied_carbon_kg(self) -> Plain:
        """:attr:`embodied_carbon` in kilograms."""
        return self.embodied_carbon

    @total
    def water_usage_liters(self) -> Plain:
        """Water used on site: water usage effectiveness times the energy of the IT equipment."""
        return self.site_water / LITER

    @total
    def total_water_liters(self) -> Plain:
        """Water on site and at the power plants; NaN where one of them is unknown."""
        return (self.site_water + self.source_water) / LITER


class SustainabilityModel(ForwardModel):
    """Wall 18: energy, carbon and water of a fleet at a site."""

    walls = ((18, "Sustainability", "operations"),)
    requires = ("fleet",)
    produces = SustainabilityResult
    misbeliefs = {
        "an idle fleet is green": "idle chips draw a tenth to a third of their design power, all the time",
        "water is a matter of the data centre": "power plants often evaporate as much for the same kilowatt-hours",
        "efficiency decides the footprint": "the grid does: clean and dirty regions differ by a factor of tens",
    }

    def solve(
        self,
        fleet: Any,
        duration_days: Any,
        datacenter: Any = None,
        mfu: Any = 1.0,
        embodied_carbon_per_device: Any = None,
        *,
        utilisation: Any = None,
        power_per_device: Any = None,
        host_share: Any = 0.0,
        service_life_years: Any = None,
        hourly_intensity: Any = None,
        hourly_load: Any = None,
    ) -> SustainabilityResult:
        """Energy, carbon and water of a run.

        Args:
            fleet: an entry of ``Systems.Clusters`` or its name
            duration_days: how long it runs, in days (or a time with a unit)
            datacenter: a grid or a data centre, or a name; the fleet's own unless said
            mfu: busy share of the chips where ``utilisation`` is not given
            embodied_carbon_per_device: manufacture of one device in kg; the catalog's figure unless said
            utilisation: share of the time that the bottleneck of a chip is busy, which is what its power follows; a
                chip that waits for its own memory is busy though its MFU is low
            power_per_device: mean power of a device where it is known (measured), as ``"620 W"``
            host_share: power of hosts, network and storage over that of the accelerators
            service_life_years: time over which manufacture is written off
            hourly_intensity: carbon intensity of each hour of a day or year, repeated as often as the run lasts
            hourly_load: load of each such hour over the mean load

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once
            MissingFactError: the device has no design power in the catalog and none was given

        Examples:
            >>> answer = SustainabilityModel().solve("Research_256", 30)
            >>> round(answer.it_energy_kwh.magnitude), round(answer.total_energy_kwh.magnitude)
            (129024, 144507)
        """
        arguments = dict(fleet=fleet, duration_days=duration_days, datacenter=datacenter, mfu=mfu,
                         embodied_carbon_per_device=embodied_carbon_per_device, utilisation=utilisation,
                         power_per_device=power_per_device, host_share=host_share,
                         service_life_years=service_life_years, hourly_intensity=hourly_intensity,
                         hourly_load=hourly_load)  # fmt: skip
        border = Border()
        machines = border.fleet(fleet)
        where = None if datacenter is None else border.grid(datacenter, "datacenter")
        run = run_at_border(border, machines, duration_days, mfu, utilisation, power_per_device, host_share)
        made = embodied_at_border(border, embodied_carbon_per_device, service_life_years)
        curve = _curve(border, hourly_intensity, hourly_load, run.time)
        border.close()
        site = site_of(machines, where)
        arguments.update(fleet=machines, datacenter=site.entry)
        spent = run_energy(run, site)
        intensity = site.intensity if curve is None else carbon.mean_intensity(*curve)
        manufactured, charged, told = embodied(machines, run, made)
        it, meter = spent
        notes = site.notes + run.notes + told
        if np.ndim(host_share) == 0 and host_share == 0:
            notes += ("accelerators only: host_share adds hosts, network and storage to the IT energy",)
        return SustainabilityResult(
            question=Question(type(self), arguments),
            shape=shape_of(run.time, run.power, it, intensity, site.pue, charged),
            notes=notes,
            devices=run.devices,
            duration=run.time,
            power_per_device=run.power,
            it_energy=it,
            facility_energy=meter,
            operational_carbon=carbon.operational_carbon(meter, intensity),
            embodied_carbon=charged,
            embodied_manufactured=manufactured,
            site_water=carbon.site_water(it, site.wue),
            source_water=carbon.source_water(meter, site.ewif),
            carbon_intensity=intensity,
            pue=site.pue,
            region_name=site.name,
        )


@dataclass(frozen=True, slots=True)
class Site:
    """Where a fleet stands: what its grid emits and its facility adds. Arrays where several sites are compared."""

    entry: Any
    name: Any
    intensity: KilogramsPerJoule
    pue: Fraction
    wue: Any
    ewif: Any
    price: Any
    notes: tuple[str, ...] = ()


def site_of(fleet: Fleet, where: Any) -> Site:
    """The site asked for, or the fleet's own, or the planning baseline (with a note)."""
    if where is not None:
        return _site(where)
    for own in (fleet.datacenter, fleet.region):
        if own is not None:
            return _site(own)
    baseline = Defaults["Economics"].baseline_region
    found = _site(Infra[baseline])
    return Site(found.entry, found.name, found.intensity, found.pue, found.wue, found.ewif, found.price,
                (*found.notes, f"{fleet.id} names no region; it is taken to stand in {baseline}"))  # fmt: skip


def _site(where: Any) -> Site:
    if where.members:
        every = [_site(member) for member in where.members]
        return sites(where, every)
    grid = where.grid if isinstance(where, Datacenter) else where
    here, power = where.si, grid.si
    pue = here.pue if here.pue is not None else power.pue
    wue = here.wue if here.wue is not None else power.wue
    return Site(
        entry=where,
        name=where.name,
        intensity=power.carbon_intensity,
        pue=pue,
        wue=np.nan if wue is None else wue,
        ewif=np.nan if power.ewif is None else power.ewif,
        price=power.electricity_price,
        notes=_unknown([where.id], [wue], [power.ewif]),
    )


def _unknown(names: list[str], wues: Any, ewifs: Any) -> tuple[str, ...]:
    """Notes on the sites whose water use is not known."""
    found = []
    for values, what in ((wues, "water use on site"), (ewifs, "water use of the power plants")):
        lost = [name for name, value in zip(names, values, strict=True) if value is None or np.isnan(value)]
        if lost:
            found.append(f"{what} is not known for {', '.join(lost)}")
    return tuple(found)


def sites(entry: Any, every: list[Site]) -> Site:
    """Several sites as one that holds arrays."""
    prices = [np.nan if site.price is None else site.price for site in every]
    names = [site.entry.id for site in every]
    return Site(
        entry=entry,
        name=np.array([site.name for site in every]),
        intensity=np.array([site.intensity for site in every]),
        pue=np.array([site.pue for site in every]),
        wue=np.array([site.wue for site in every]),
        ewif=np.array([site.ewif for site in every]),
        price=np.array(prices),
        notes=_unknown(names, [site.wue for site in every], [site.ewif for site in every]),
    )


@dataclass(frozen=True, slots=True)
class Run:
    """How many devices run for how long at which power."""

    devices: Count
    time: Seconds
    power: Watts
    host_share: Fraction
    notes: tuple[str, ...]


def duration_at_border(border: Border, name: str, value: Any) -> Any:
    """A number of days, or a time with a unit, in seconds."""
    if isinstance(value, str) or hasattr(value, "units"):
        return border.quantity(name, value, "second")
    return border.positive(name, value) * DAY


def run_at_border(
    border: Border, fleet: Any, duration: Any, mfu: Any, utilisation: Any, power: Any, host_share: Any
) -> Run:
    """Check what says how a fleet runs, and find the power of a device between idle and full."""
    time = duration_at_border(border, "duration_days", duration)
    name = "mfu" if utilisation is None else "utilisation"
    busy = border.fraction(name, mfu if utilisation is None else utilisation, closed=True)
    host = border.number("host_share", host_share)
    drawn = None if power is None else border.quantity("power_per_device", power, "watt")
    if fleet is None or border.problems:
        return Run(np.nan, np.nan, np.nan, np.nan, ())
    chip = fleet.node.accelerator
    notes: tuple[str, ...] = ()
    if drawn is None:
        if chip.si.tdp is None:
            raise MissingFactError(
                f"{chip.id} has no tdp in the catalog; pass power_per_device='... W' with its mean power"
            )
        idle = chip.si.idle_power
        if idle is None:
            idle = textbook().idle_share * chip.si.tdp
        drawn = energy.power_at_utilisation(idle, chip.si.tdp, busy)
        if utilisation is None and not np.all(np.equal(mfu, 1.0)):
            notes = ("power follows the busy share, for which the MFU stands in; memory-bound work draws more",)
    return Run(fleet.total_accelerators, time, drawn, host, notes)


def run_energy(run: Run, site: Site) -> tuple[Any, Any]:
    """Energy of the IT equipment and at the meter."""
    it = energy.energy_at_power(energy.it_power(run.devices, run.power, run.host_share), run.time)
    return it, energy.facility_energy(it, site.pue)


def embodied_at_border(border: Border, per_device: Any, life_years: Any) -> tuple[Any, Any]:
    """Manufacture of one device [kg] (None: ask the catalog) and service life [s]."""
    made = None if per_device is None else border.number("embodied_carbon_per_device", per_device)
    if life_years is None:
        return made, Defaults["Economics"].si.life
    return made, border.positive("service_life_years", life_years) * YEAR


def embodied(fleet: Fleet, run: Run, made: tuple[Any, Any]) -> tuple[Any, Any, tuple[str, ...]]:
    """Emissions of making all devices, the share charged to the run, and what was assumed."""
    per_device, life = made
    notes: tuple[str, ...] = ()
    if per_device is None:
        chip = fleet.node.accelerator
        per_device = chip.si.embodied_carbon
        if per_device is None:
            per_device = 0.0
            notes = (f"manufacture of {chip.id} is not known and not counted; pass embodied_carbon_per_device=",)
    manufactured = per_device * run.devices
    return manufactured, carbon.amortised_embodied_carbon(manufactured, run.time, life), notes


def _curve(border: Border, intensity: Any, load: Any, time: Any) -> tuple[Any, Any] | None:
    """Relative energy and carbon intensity of every hour of the run."""
    if intensity is None:
        if load is not None:
            border.problems.append("hourly_load: expected only together with hourly_intensity")
        return None
    grid = np.atleast_1d(border.quantity("hourly_intensity", intensity, "kilogram/joule"))
    shape = np.ones_like(grid) if load is None else np.atleast_1d(border.number("hourly_load", load))
    if shape.shape != grid.shape or grid.ndim != 1:
        border.problems.append("hourly_load: expected as many hours as hourly_intensity, in one row")
        return None
    if np.ndim(time):
        border.problems.append("hourly_intensity: expected one duration_days, found an array of them")
        return None
    if np.isnan(time):
        return None
    hours = int(np.ceil(time / HOUR - 1e-9))
    which = np.arange(hours) % len(grid)
    lasted = np.minimum(1.0, time / HOUR - np.arange(hours))
    return shape[which] * lasted, grid[which]
