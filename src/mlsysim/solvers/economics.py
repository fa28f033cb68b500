"""What it costs to own and run a fleet, or to rent one, or to buy tokens (wall 17)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Defaults, Infra
from ..catalog.infra import Price
from ..errors import MissingFactError
from ..physics import carbon, cost, energy
from ..record import total
from ..units import (
    Count,
    Dollars,
    DollarsPerSecond,
    DollarsPerToken,
    Fraction,
    Joules,
    Kilograms,
    Plain,
    Seconds,
    TokensPerSecond,
)
from .base import ForwardModel
from .border import Border, shape_of
from .result import Question, Result
from .sustainability import (
    HOUR,
    KWH,
    LITER,
    YEAR,
    KilowattHours,
    embodied,
    embodied_at_border,
    run_at_border,
    run_energy,
    site_of,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EconomicsResult(Result):
    """Total cost of ownership over a span of time, in parts that add up."""

    devices: Count
    duration: Seconds
    purchase: Dollars
    capital: Dollars
    facility: Dollars
    electricity: Dollars
    maintenance: Dollars
    staff: Dollars
    carbon_charge: Dollars
    it_energy: Joules
    facility_energy: Joules
    operational_carbon: Kilograms
    embodied_carbon: Kilograms
    water_usage_liters: Plain
    pue: Fraction
    region_name: Any
    device_hours_used: Count
    cloud: Dollars
    break_even: Seconds
    cost_per_token: DollarsPerToken
    api_price: DollarsPerToken
    break_even_volume: TokensPerSecond

    @total
    def capex_usd(self) -> Plain:
        """Share of the purchase (and of the building, where priced) charged to the span."""
        return self.capital + self.facility

    @total
    def opex_energy_usd(self) -> Plain:
        """Electricity."""
        return self.electricity

    @total
    def opex_maintenance_usd(self) -> Plain:
        """Upkeep of the hardware."""
        return self.maintenance

    @total
    def total_opex_usd(self) -> Plain:
        """Electricity, upkeep, staff and the price of emissions."""
        return self.electricity + self.maintenance + self.staff + self.carbon_charge

    @total
    def tco_usd(self) -> Plain:
        """Capital and operation together."""
        return self.capex_usd + self.total_opex_usd

    @total
    def it_energy_kwh(self) -> KilowattHours:
        """Energy of the IT equipment."""
        return self.it_energy / KWH

    @total
    def total_energy_kwh(self) -> KilowattHours:
        """Energy at the meter."""
        return self.facility_energy / KWH

    @total
    def carbon_footprint_kg(self) -> Plain:
        """Emissions of the electricity and the span's share of manufacture."""
        return carbon.total_carbon(self.operational_carbon, self.embodied_carbon)

    @total
    def cost_rate(self) -> DollarsPerSecond:
        """Cost of the whole fleet a second."""
        return cost.cost_rate(self.tco_usd, self.duration)

    @total
    def usd_per_device_hour(self) -> Plain:
        """Cost of one hour of one device that is in use; idle hours are paid by the used ones."""
        return self.tco_usd / self.device_hours_used

    @total
    def cloud_usd(self) -> Plain:
        """Renting the same device-hours instead."""
        return self.cloud


class EconomicsModel(ForwardModel):
    """Wall 17: buying, powering and keeping a fleet, against renting one or buying tokens."""

    walls = ((17, "Capital", "operations"),)
    requires = ("fleet",)
    produces = EconomicsResult
    misbeliefs = {
        "electricity dominates": "an accelerator costs several times the electricity of its life",
        "the cloud is always dearer": "it is not below the break-even use; idle hours of owned machines are paid too",
        "a cheaper token is a cheaper service": "what counts is the cost at the load one has; half-empty fleets double it",
    }

    def solve(
        self,
        fleet: Any,
        duration_days: Any,
        kwh_price: Any = None,
        datacenter: Any = None,
        grid: Any = None,
        mfu: Any = 1.0,
        amortization_years: Any = 3,
        infrastructure_multiplier: Any = 1.0,
        *,
        unit_price_usd: Any = None,
        discount_rate: Any = 0.0,
        residual_share: Any = 0.0,
        maintenance_share: Any = None,
        staff_usd_per_year: Any = 0.0,
        facility_usd_per_watt: Any = 0.0,
        facility_years: Any = 15,
        carbon_price_per_ton: Any = 0.0,
        embodied_carbon_per_device: Any = None,
        utilisation: Any = None,
        power_per_device: Any = None,
        host_share: Any = 0.0,
        used_share: Any = 1.0,
        cloud_usd_per_hour: Any = None,
        tokens_per_second: Any = None,
        api_usd_per_million: Any = None,
    ) -> EconomicsResult:
        """Total cost of ownership of a fleet over a span of time.

        Args:
            fleet: an entry of ``Systems.Clusters`` or its name
            duration_days: the span, in days (or a time with a unit)
            kwh_price: price of electricity in USD/kWh; the grid's own where the catalog knows it
            datacenter: a grid or a data centre, or a name; the fleet's own unless said
            grid: the same, for those who know only the grid
            mfu: busy share of the chips where ``utilisation`` is not given; their power follows it
            amortization_years: time over which the purchase is written off
            infrastructure_multiplier: price of a whole machine with its network over that of its accelerators
            unit_price_usd: price of one device; the catalog's unless said
            discount_rate: interest a year; above 0 the purchase is paid by an annuity
            residual_share: part of the price that the hardware still fetches at the end
            maintenance_share: upkeep a year over the price of the devices
            staff_usd_per_year: people who run it
            facility_usd_per_watt: building and power provisioning, for each watt of design power
            facility_years: time over which the building is written off
            carbon_price_per_ton: price of a tonne of emissions in USD
            embodied_carbon_per_device: manufacture of one device in kg; the catalog's figure unless said
            utilisation: share of the time that a chip's bottleneck is busy
            power_per_device: mean power of a device where it is known
            host_share: power of hosts, network and storage over that of the accelerators
            used_share: share of the paid hours in which somebody uses the fleet
            cloud_usd_per_hour: renting one device for an hour; or an entry of ``Infra.Pricing``
            tokens_per_second: tokens of the whole fleet while it is used
            api_usd_per_million: price of a million tokens elsewhere; or an entry of ``Infra.Pricing``

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once
            MissingFactError: the device has no price or no design power in the catalog and none was given

        Examples:
            >>> answer = EconomicsModel().solve("Research_256", 30, unit_price_usd=30000)
            >>> round(answer.capex_usd), round(answer.tco_usd)
            (210411, 259313)
        """
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        border = Border()
        machines = border.fleet(fleet)
        asked = datacenter if datacenter is not None else grid
        name = "datacenter" if datacenter is not None else "grid"
        where = None if asked is None else border.grid(asked, name)
        run = run_at_border(border, machines, duration_days, mfu, utilisation, power_per_device, host_share)
        life = border.positive("amortization_years", amortization_years) * YEAR
        made = embodied_at_border(border, embodied_carbon_per_device, None)[0], life
        price = None if kwh_price is None else border.number("kwh_price", kwh_price)
        unit = None if unit_price_usd is None else border.number("unit_price_usd", unit_price_usd)
        scale = border.positive("infrastructure_multiplier", infrastructure_multiplier)
        interest = border.number("discount_rate", discount_rate)
        left = border.fraction("residual_share", residual_share, closed=True)
        upkeep = (
            None if maintenance_share is None else border.fraction("maintenance_share", maintenance_share, closed=True)
        )
        people = border.number("staff_usd_per_year", staff_usd_per_year)
        watt = border.number("facility_usd_per_watt", facility_usd_per_watt)
        stands = border.positive("facility_years", facility_years) * YEAR
        tax = border.number("carbon_price_per_ton", carbon_price_per_ton) / 1e3
        used = border.fraction("used_share", used_share)
        rent = _rent(border, cloud_usd_per_hour)
        speed = None if tokens_per_second is None else border.positive("tokens_per_second", tokens_per_second)
        api = _api(border, api_usd_per_million)
        border.close()
        site = site_of(machines, where)
        arguments.update(fleet=machines, datacenter=site.entry, grid=None)
        notes = site.notes + run.notes
        assumed = Defaults["Economics"].si
        chip = machines.node.accelerator
        if unit is None:
            if chip.si.price is None:
                raise MissingFactError(f"{chip.id} has no price in the catalog; pass unit_price_usd=")
            unit = chip.si.price
        tariff, told = _tariff(price, site)
        it, meter = run_energy(run, site)
        emitted = carbon.operational_carbon(meter, site.intensity)
        _, charged, more = embodied(machines, run, made)
        bought = unit * run.devices * scale
        lost = bought * (1 - left)
        capital = cost.straight_line_capital(lost, run.time, life)
        if np.any(np.greater(interest, 0)):
            # What will be sold again is not written off, but its price is tied up: it pays interest all the same.
            capital = (
                cost.annuity_capital(lost, run.time, life, interest, YEAR) + bought * left * interest * run.time / YEAR
            )
        full = run.power if chip.si.tdp is None else np.maximum(run.power, chip.si.tdp)
        building = cost.straight_line_capital(
            watt * energy.it_power(run.devices, full, run.host_share), run.time, stands
        )
        kept = cost.maintenance_cost(bought, run.time, assumed.maintenance_share if upkeep is None else upkeep, YEAR)
        staff = people * run.time / YEAR
        fee = carbon.carbon_cost(carbon.total_carbon(emitted, charged), tax)
        power_bill = cost.electricity_cost(meter, tariff)
        spent = capital + building + power_bill + kept + staff + fee
        hours = run.devices * run.time / HOUR * used
        rate = cost.cost_rate(spent, run.time)
        running = cost.cost_rate(power_bill + kept + staff + fee, run.time)
        nothing = np.nan
        per_token = nothing if speed is None else cost.cost_per_token(rate, speed, used)
        return EconomicsResult(
            question=Question(type(self), arguments),
            shape=shape_of(spent, hours, nothing if rent is None else rent, per_token, site.pue),
            notes=notes + told + more,
            devices=run.devices,
            duration=run.time,
            purchase=bought,
            capital=capital,
            facility=building,
            electricity=power_bill,
            maintenance=kept,
            staff=staff,
            carbon_charge=fee,
            it_energy=it,
            facility_energy=meter,
            operational_carbon=emitted,
            embodied_carbon=charged,
            water_usage_liters=carbon.site_water(it, site.wue) / LITER,
            pue=site.pue,
            region_name=site.name,
            device_hours_used=hours,
            cloud=nothing if rent is None else cost.cloud_cost(run.devices, rent, run.time * used),
            break_even=nothing
            if rent is None
            else cost.ownership_break_even(bought, rent * run.devices * used, running),
            cost_per_token=per_token,
            api_price=nothing if api is None else api,
            break_even_volume=nothing if api is None else cost.break_even_volume(rate, api),
        )


def _tariff(price: Any, site: Any) -> tuple[Any, tuple[str, ...]]:
    """Price of a joule: as asked, of the grid, or the planning figure (with a note)."""
    planned = Defaults["Economics"].si.electricity_price
    if price is not None:
        return price / KWH, ()
    if site.price is None:
        return planned, ("the grid's price of electricity is not known; the planning price of 0.12 USD/kWh stands in",)
    if np.ndim(site.price) and np.any(np.isnan(site.price)):
        told = ("where a grid's price of electricity is not known the planning price of 0.12 USD/kWh stands in",)
        return np.where(np.isnan(site.price), planned, site.price), told
    return site.price, ()


def _rent(border: Border, value: Any) -> Any:
    """Rent of one device [USD/s], from a number of USD an hour or a price entry."""
    if value is None:
        return None
    if isinstance(value, (str, Price)):
        entry = border.entry("cloud_usd_per_hour", value, Price, Infra)
        if entry is None or entry.si.price is None:
            if entry is not None:
                border.problems.append(f"cloud_usd_per_hour: {entry.id} is no price of an instance")
            return None
        return entry.si.price / (entry.si.accelerators or 1.0)
    return border.number("cloud_usd_per_hour", value) / HOUR


def _api(border: Border, value: Any) -> Any:
    """Price of a token [USD], from USD a million or a price entry (the price of its output)."""
    if value is None:
        return None
    if isinstance(value, (str, Price)):
        entry = border.entry("api_usd_per_million", value, Price, Infra)
        if entry is None or entry.si.price_output is None:
            if entry is not None:
                border.problems.append(f"api_usd_per_million: {entry.id} is no price of tokens")
            return None
        return entry.si.price_output
    return border.number("api_usd_per_million", value) / 1e6
