"""Carbon and water: operation, manufacture, and the grid they depend on."""

from __future__ import annotations

import numpy as np

from ..units import (
    Count,
    CubicMeters,
    CubicMetersPerJoule,
    Dollars,
    DollarsPerKilogram,
    Fraction,
    Joules,
    Kilograms,
    KilogramsPerJoule,
    Seconds,
    Watts,
)
from . import equation


@equation
def operational_carbon(facility_energy: Joules, intensity: KilogramsPerJoule) -> Kilograms:
    r"""Emissions of the electricity that a facility uses (CO2 equivalent, location based).

    .. math:: C = E\, I

    Args:
        facility_energy: energy at the meter, overhead included, E [joule]
        intensity: emissions of the grid per energy, I [kilogram/joule]

    Returns:
        Emissions [kilogram].

    Source:
        D. Patterson et al., Carbon emissions and large neural network training, arXiv:2104.10350.

    Examples:
        >>> operational_carbon(1287e6 * 3600, 0.429 / 3.6e6) / 1e3  # GPT-3, in tonnes
        552.1
    """
    return facility_energy * intensity


@equation
def mean_intensity(energies: Joules, intensities: KilogramsPerJoule) -> KilogramsPerJoule:
    r"""Carbon intensity that a run sees on a grid that changes over time, or over several grids.

    The mean over the last axis, weighted with the energy used in each interval: work moved to clean hours counts.

    .. math:: I = \frac{\sum_i E_i I_i}{\sum_i E_i}

    Args:
        energies: energy used in each interval, E_i [joule]
        intensities: carbon intensity of the grid in each interval, I_i [kilogram/joule]

    Returns:
        Mean intensity; one axis less than the arguments [kilogram/joule].

    Source:
        J. Dodge et al., Measuring the carbon intensity of AI in cloud instances, FAccT 2022, arXiv:2206.05229
        (a sum over time intervals).

    Examples:
        >>> float(mean_intensity(np.array([1.0, 3.0]), np.array([400.0, 200.0])))
        250.0
    """
    return np.sum(energies * intensities, axis=-1) / np.sum(energies, axis=-1)


@equation
def amortised_embodied_carbon(
    embodied: Kilograms, time: Seconds, life: Seconds, share: Fraction = 1.0, utilisation: Fraction = 1.0
) -> Kilograms:
    r"""Part of the emissions of manufacture that is charged to a run.

    .. math:: M = M_0 \frac{t}{L\, u} s

    Args:
        embodied: emissions of making the hardware, M_0 [kilogram]
        time: how long the run holds it, t [second]
        life: time that the hardware is in service, L [second]
        share: part of the hardware that the run holds, s [1]
        utilisation: share of its life in which anyone holds it; those runs bear its idle life too, u [1]

    Returns:
        Emissions charged to the run [kilogram].

    Source:
        Software Carbon Intensity specification, ISO/IEC 21031:2024 (time and resource share of embodied emissions);
        idle life: A. S. Luccioni et al., Estimating the carbon footprint of BLOOM, arXiv:2211.02001.

    Examples:
        >>> amortised_embodied_carbon(150.0, 30 * 86400.0, 4 * 365 * 86400.0)  # 150 kg over 4 years, for 30 days
        3.082
    """
    return embodied * share * time / (life * utilisation)


@equation
def total_carbon(operational: Kilograms, embodied: Kilograms) -> Kilograms:
    r"""Emissions of operation and the share of manufacture together.

    .. math:: C = O + M

    Args:
        operational: emissions of the electricity, O [kilogram]
        embodied: emissions of manufacture charged to the run, M [kilogram]

    Returns:
        Emissions [kilogram].

    Source:
        Software Carbon Intensity specification, ISO/IEC 21031:2024.

    Examples:
        >>> total_carbon(24.69, 11.2)
        35.89
    """
    return operational + embodied


@equation
def carbon_per_unit(carbon: Kilograms, units: Count) -> Kilograms:
    r"""Emissions of one unit of service: a request, a user, a trained model.

    .. math:: SCI = \frac{C}{R}

    Args:
        carbon: emissions of all of them, C [kilogram]
        units: functional units served, R [1]

    Returns:
        Emissions of one unit [kilogram].

    Source:
        Software Carbon Intensity specification, ISO/IEC 21031:2024.

    Examples:
        >>> carbon_per_unit(35.9, 1000.0)
        0.0359
    """
    return carbon / units


@equation
def die_embodied_carbon(
    fab_energy: Joules, fab_intensity: KilogramsPerJoule, gases: Kilograms, materials: Kilograms, good_share: Fraction
) -> Kilograms:
    r"""Emissions of making one good die; the bad dies of the wafer are charged to the good ones.

    .. math:: M = \frac{E I + G + S}{Y}

    Args:
        fab_energy: fab energy spent on one die, E [joule]
        fab_intensity: carbon intensity of the fab's electricity, I [kilogram/joule]
        gases: direct emissions of process gases for one die, G [kilogram]
        materials: emissions of raw materials for one die, S [kilogram]
        good_share: yield, Y in (0, 1] [1]

    Returns:
        Emissions of one good die [kilogram].

    Source:
        U. Gupta et al., ACT: designing sustainable computer systems with an architectural carbon modeling tool,
        ISCA 2022, doi:10.1145/3470496.3527408 (carbon per area, here times the area of the die).

    Examples:
        >>> die_embodied_carbon(10 * 3.6e6, 0.5 / 3.6e6, 1.0, 2.0, 0.8)  # 10 kWh at 500 g/kWh
        10.0
    """
    return (fab_energy * fab_intensity + gases + materials) / good_share


@equation
def carbon_payback(embodied: Kilograms, saved_power: Watts, intensity: KilogramsPerJoule) -> Seconds:
    r"""Time after which new hardware has saved the emissions of its own manufacture.

    .. math:: t = \frac{M}{P\, I}

    Args:
        embodied: emissions of making the new hardware, M [kilogram]
        saved_power: mean power saved at the meter, P [watt]
        intensity: carbon intensity of the grid, I [kilogram/joule]

    Returns:
        Time [second].

    Source:
        U. Gupta et al., Chasing carbon, HPCA 2021, arXiv:2011.02839 (break-even of embodied emissions).

    Examples:
        >>> carbon_payback(438.0, 1000.0, 0.1 / 3.6e6) / 86400  # 438 kg, 1 kW saved at 100 g/kWh, in days
        182.5
    """
    return embodied / (saved_power * intensity)


@equation
def carbon_cost(carbon: Kilograms, price: DollarsPerKilogram) -> Dollars:
    r"""What emissions cost under a tax or an internal price.

    .. math:: K = C\, p

    Args:
        carbon: emissions, C [kilogram]
        price: price of emissions, p [USD/kilogram]

    Returns:
        Cost [USD].

    Source:
        Definition.

    Examples:
        >>> carbon_cost(552e3, 0.1)  # 552 t at 100 USD a tonne
        55200.0
    """
    return carbon * price


@equation
def site_water(it_energy: Joules, wue: CubicMetersPerJoule) -> CubicMeters:
    r"""Water that a facility uses on site, most of it evaporated by cooling towers.

    Water usage effectiveness is defined per energy of the IT equipment, not of the facility.

    .. math:: V = E_{it}\, w

    Args:
        it_energy: energy of the IT equipment, E_it [joule]
        wue: water usage effectiveness of the site, w [meter**3/joule]

    Returns:
        Water [meter**3].

    Source:
        ISO/IEC 30134-9:2022, Water usage effectiveness (WUE).

    Examples:
        >>> site_water(129024 * 3.6e6, 1.8e-3 / 3.6e6)  # 129 024 kWh at 1.8 L/kWh
        232.24
    """
    return it_energy * wue


@equation
def source_water(facility_energy: Joules, ewif: CubicMetersPerJoule) -> CubicMeters:
    r"""Water that power plants use for the electricity of a facility.

    .. math:: V = E\, f

    Args:
        facility_energy: energy at the meter, E [joule]
        ewif: energy water intensity factor of the grid, f [meter**3/joule]

    Returns:
        Water [meter**3].

    Source:
        P. Li, J. Yang, M. A. Islam and S. Ren, Making AI less thirsty, arXiv:2304.03271 (off-site water).

    Examples:
        >>> source_water(1.17 * 1287e3 * 3.6e6, 3.142e-3 / 3.6e6)  # GPT-3 at 3.142 L/kWh
        4731.2
    """
    return facility_energy * ewif


@equation
def water_use(it_energy: Joules, wue: CubicMetersPerJoule, pue: Fraction, ewif: CubicMetersPerJoule) -> CubicMeters:
    r"""Water of a run: on site and at the power plants.

    .. math:: V = E_{it} (w + u f)

    Args:
        it_energy: energy of the IT equipment, E_it [joule]
        wue: water usage effectiveness of the site, w [meter**3/joule]
        pue: power usage effectiveness, 1 or more, u [1]
        ewif: energy water intensity factor of the grid, f [meter**3/joule]

    Returns:
        Water [meter**3].

    Source:
        P. Li, J. Yang, M. A. Islam and S. Ren, Making AI less thirsty, arXiv:2304.03271.

    Examples:
        >>> water_use(1287e3 * 3.6e6, 0.55e-3 / 3.6e6, 1.17, 3.142e-3 / 3.6e6)  # GPT-3 in the United States
        5439.0
    """
    return it_energy * (wue + pue * ewif)
