"""Energy and power: what a chip, a facility and a battery draw for some work.

A chip spends energy on being on (idle power times time), on arithmetic (per FLOP) and on memory traffic (per byte), and
never draws more than its thermal design power. Work that waits for memory is therefore not free.
"""

from __future__ import annotations

import numpy as np

from ..units import (
    Bytes,
    BytesPerSecond,
    Count,
    Flop,
    FlopPerByte,
    FlopPerSecond,
    Fraction,
    Joules,
    JoulesPerByte,
    JoulesPerFlop,
    JoulesPerToken,
    Seconds,
    Tokens,
    Watts,
)
from . import equation
from .choice import maximum, minimum


@equation
def chip_energy(
    time: Seconds,
    idle_power: Watts,
    flops: Flop,
    energy_per_flop: JoulesPerFlop,
    traffic: Bytes,
    energy_per_byte: JoulesPerByte,
    tdp: Watts,
) -> Joules:
    r"""Energy of a run: idle power all the time, plus arithmetic and memory traffic, capped at the design power.

    The cap keeps the average power below the thermal design power; it does not stretch the time (see
    ``power_capped_time`` for that).

    .. math:: E = \min(P_{tdp}\, t,\; P_0 t + W \epsilon_f + Q \epsilon_m)

    Args:
        time: how long the run takes, t [second]
        idle_power: power of a chip that is on and does nothing, P_0 [watt]
        flops: work, W [flop]
        energy_per_flop: dynamic energy of one FLOP, epsilon_f [joule/flop]
        traffic: bytes between memory and chip, Q [byte]
        energy_per_byte: dynamic energy of one byte of memory traffic, epsilon_m [joule/byte]
        tdp: thermal design power, P_tdp [watt]

    Returns:
        Energy [joule].

    Source:
        J. W. Choi, D. Bedard, R. Fowler and R. Vuduc, A roofline model of energy, IPDPS 2013,
        doi:10.1109/IPDPS.2013.77, section II; the cap is the definition of the thermal design power.

    Examples:
        >>> float(chip_energy(1.0, 100.0, 400e12, 0.5e-12, 2e12, 50e-12, 700.0))  # 100 + 200 + 100
        400.0
        >>> float(chip_energy(1.0, 100.0, 2e15, 0.5e-12, 0.0, 50e-12, 700.0))  # capped
        700.0
    """
    return minimum(tdp * time, idle_power * time + flops * energy_per_flop + traffic * energy_per_byte)


@equation
def energy_per_flop_at_tdp(
    tdp: Watts, idle_power: Watts, peak: FlopPerSecond, bandwidth: BytesPerSecond, energy_per_byte: JoulesPerByte
) -> JoulesPerFlop:
    r"""Energy of one FLOP if the chip draws its design power while arithmetic and memory both run at full rate.

    What idling and the memory leave of the design power is shared out over the FLOPs; never negative.

    .. math:: \epsilon_f = \frac{\max(P_{tdp} - P_0 - B \epsilon_m,\; 0)}{R}

    Args:
        tdp: thermal design power, P_tdp [watt]
        idle_power: power of a chip that is on and does nothing, P_0 [watt]
        peak: arithmetic peak in the precision used, R [flop/second]
        bandwidth: memory bandwidth, B [byte/second]
        energy_per_byte: dynamic energy of one byte of memory traffic, epsilon_m [joule/byte]

    Returns:
        Dynamic energy of one FLOP [joule/flop].

    Source:
        The model of J. W. Choi et al., IPDPS 2013, doi:10.1109/IPDPS.2013.77, solved for the energy of a FLOP at the
        ridge point.

    Examples:
        >>> float(energy_per_flop_at_tdp(700.0, 100.0, 1e15, 3e12, 50e-12)) * 1e12  # 450 W over 1 PFLOP/s
        0.45
    """
    return maximum(tdp - idle_power - bandwidth * energy_per_byte, 0.0) / peak


@equation
def power_capped_time(time: Seconds, dynamic_energy: Joules, idle_power: Watts, tdp: Watts) -> Seconds:
    r"""Time of a run on a chip that slows down rather than draw more than its design power.

    .. math:: t' = \max\left(t,\; \frac{E_d}{P_{tdp} - P_0}\right)

    Args:
        time: time without a power cap, t [second]
        dynamic_energy: energy of the arithmetic and of the traffic, E_d [joule]
        idle_power: power of a chip that is on and does nothing, P_0 [watt]
        tdp: power cap, larger than the idle power, P_tdp [watt]

    Returns:
        Time under the cap [second].

    Source:
        J. Choi, M. Dukhan, X. Liu and R. Vuduc, Algorithmic time, energy, and power on candidate HPC compute building
        blocks, IPDPS 2014: the power term of the capped model.

    Examples:
        >>> float(power_capped_time(1.0, 1200.0, 100.0, 700.0))
        2.0
    """
    return np.maximum(time, dynamic_energy / (tdp - idle_power))


@equation
def energy_balance(energy_per_byte: JoulesPerByte, energy_per_flop: JoulesPerFlop) -> FlopPerByte:
    r"""Arithmetic intensity at which arithmetic and memory traffic take equal energy.

    .. math:: I_\epsilon = \frac{\epsilon_m}{\epsilon_f}

    Args:
        energy_per_byte: dynamic energy of one byte of memory traffic, epsilon_m [joule/byte]
        energy_per_flop: dynamic energy of one FLOP, epsilon_f [joule/flop]

    Returns:
        Energy balance [flop/byte].

    Source:
        J. W. Choi et al., A roofline model of energy, IPDPS 2013, doi:10.1109/IPDPS.2013.77, section II.

    Examples:
        >>> energy_balance(50e-12, 0.5e-12)
        100.0
    """
    return energy_per_byte / energy_per_flop


@equation
def average_power(energy: Joules, time: Seconds) -> Watts:
    r"""Mean power over a run.

    .. math:: P = \frac{E}{t}

    Args:
        energy: energy of the run, E [joule]
        time: its duration, t [second]

    Returns:
        Power [watt].

    Source:
        Definition of power.

    Examples:
        >>> average_power(1400.0, 2.0)
        700.0
    """
    return energy / time


@equation
def power_at_utilisation(idle_power: Watts, full_power: Watts, utilisation: Fraction) -> Watts:
    r"""Power of a machine that is busy some of the time, linear between idle and full.

    Utilisation is the busy share of whatever is the bottleneck; a chip that waits for its own memory is busy.

    .. math:: P = P_0 + (P_{full} - P_0) u

    Args:
        idle_power: power when it does nothing, P_0 [watt]
        full_power: power when it is fully busy, P_full [watt]
        utilisation: busy share, u from 0 to 1 [1]

    Returns:
        Power [watt].

    Source:
        X. Fan, W.-D. Weber and L. A. Barroso, Power provisioning for a warehouse-sized computer, ISCA 2007,
        doi:10.1145/1250662.1250665.

    Examples:
        >>> power_at_utilisation(210.0, 700.0, 0.5)
        455.0
    """
    return idle_power + (full_power - idle_power) * utilisation


@equation
def power_capped_frequency(cap: Watts, idle_power: Watts, dynamic_power: Watts, exponent: Count = 3.0) -> Fraction:
    r"""Share of the full clock at which a chip stays below a power cap.

    Dynamic power goes as capacitance times voltage squared times frequency; where voltage follows frequency that is
    the third power. At a fixed voltage the exponent is 1.

    .. math:: f = \min\left(1, \left(\frac{\max(P_{cap} - P_0, 0)}{P_d}\right)^{1/k}\right)

    Args:
        cap: power that may be drawn, P_cap [watt]
        idle_power: power that does not depend on the clock, P_0 [watt]
        dynamic_power: dynamic power at full clock, P_d [watt]
        exponent: power law of the dynamic power, k [1]

    Returns:
        Clock over full clock, from 0 to 1 [1].

    Source:
        T. Mudge, Power: a first-class architectural design constraint, IEEE Computer 34 no. 4 (2001) 52-58.

    Examples:
        >>> float(power_capped_frequency(400.0, 100.0, 600.0))  # half the dynamic power costs 21 % of the clock
        0.7937
    """
    return np.minimum(1.0, (np.maximum(cap - idle_power, 0.0) / dynamic_power) ** (1 / exponent))


@equation
def energy_at_power(power: Watts, time: Seconds) -> Joules:
    r"""Energy of a steady draw.

    .. math:: E = P t

    Args:
        power: power drawn, P [watt]
        time: how long, t [second]

    Returns:
        Energy [joule].

    Source:
        Definition of power.

    Examples:
        >>> energy_at_power(256 * 700.0, 30 * 86400.0) / 3.6e6  # 256 chips for 30 days, in kWh
        129024.0
    """
    return power * time


@equation
def it_power(accelerators: Count, accelerator_power: Watts, host_share: Fraction = 0.0) -> Watts:
    r"""Power of the IT equipment: accelerators, and the hosts, network and storage that go with them.

    .. math:: P = n P_a (1 + h)

    Args:
        accelerators: accelerators, n [1]
        accelerator_power: power of one accelerator, P_a [watt]
        host_share: power of everything else in the racks over that of the accelerators, h [1]

    Returns:
        Power of the IT equipment [watt].

    Source:
        Definition; ISO/IEC 30134-2:2016 counts servers, storage and network as IT equipment.

    Examples:
        >>> it_power(8.0, 700.0, 0.25)
        7000.0
    """
    return accelerators * accelerator_power * (1 + host_share)


@equation
def facility_power(it_power: Watts, pue: Fraction) -> Watts:
    r"""Power of a whole facility when its IT equipment draws some.

    .. math:: P = P_{it}\, u

    Args:
        it_power: power of the IT equipment, P_it [watt]
        pue: power usage effectiveness, 1 or more, u [1]

    Returns:
        Power at the meter [watt].

    Source:
        ISO/IEC 30134-2:2016, Power usage effectiveness (PUE).

    Examples:
        >>> round(facility_power(1e6, 1.12))
        1120000
    """
    return it_power * pue


@equation
def facility_energy(it_energy: Joules, pue: Fraction) -> Joules:
    r"""Energy of a whole facility when its IT equipment uses some.

    .. math:: E = E_{it}\, u

    Args:
        it_energy: energy of the IT equipment, E_it [joule]
        pue: power usage effectiveness over the same time, 1 or more, u [1]

    Returns:
        Energy at the meter [joule].

    Source:
        ISO/IEC 30134-2:2016, Power usage effectiveness (PUE).

    Examples:
        >>> facility_energy(129024 * 3.6e6, 1.12) / 3.6e6  # in kWh
        144506.88
    """
    return it_energy * pue


@equation
def energy_per_token(energy: Joules, tokens: Tokens) -> JoulesPerToken:
    r"""Energy of one token.

    .. math:: e = \frac{E}{T}

    Args:
        energy: energy of a run, E [joule]
        tokens: tokens that it processed, T [token]

    Returns:
        Energy per token [joule/token].

    Source:
        Definition; S. Samsi et al., From words to watts, HPEC 2023, arXiv:2310.03003, reports it for LLaMA-65B.

    Examples:
        >>> energy_per_token(700.0, 350.0)
        2.0
    """
    return energy / tokens


@equation
def battery_life(capacity: Joules, power: Watts, usable: Fraction = 1.0) -> Seconds:
    r"""How long a battery lasts at a mean power.

    .. math:: t = \frac{u E}{P}

    Args:
        capacity: energy of the full battery, E [joule]
        power: mean power drawn, P [watt]
        usable: share of the capacity that can be used, u [1]

    Returns:
        Time [second].

    Source:
        Definition of power.

    Examples:
        >>> battery_life(10 * 3600.0, 2.0) / 3600  # 10 Wh at 2 W, in hours
        5.0
    """
    return capacity * usable / power


@equation
def transmission_energy(message: Bytes, energy_per_byte: JoulesPerByte) -> Joules:
    r"""Energy to send data over a link or a radio.

    .. math:: E = m \epsilon

    Args:
        message: bytes sent, m [byte]
        energy_per_byte: energy of one byte on the link, epsilon [joule/byte]

    Returns:
        Energy [joule].

    Source:
        Linear model of J. Huang et al., A close examination of performance and power characteristics of 4G LTE
        networks, MobiSys 2012, doi:10.1145/2307636.2307658, without its promotion and tail energies.

    Examples:
        >>> transmission_energy(5e6, 100e-9)  # 5 MB at 100 mJ/MB
        0.5
    """
    return message * energy_per_byte
