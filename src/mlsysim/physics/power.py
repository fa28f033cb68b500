"""Power of a chip from how busy its arithmetic and its memory are, and how chips at one limit of power differ."""

from __future__ import annotations

import numpy as np

from ..units import Count, Fraction, Seconds, Watts
from . import equation


@equation
def power_of_busy_units(
    design_power: Watts,
    idle: Fraction,
    arithmetic: Fraction,
    compute_share: Fraction,
    traffic: Fraction,
    memory_share: Fraction,
) -> Watts:
    r"""Mean power of a chip whose arithmetic and memory are busy for some share of the time; at most its design power.

    The energy of a FLOP and of a byte, written as the power they draw at full rate over what idling leaves of the
    design power, so that chips of different size share the two numbers.

    .. math:: P = \min(D,\; \iota D + (1 - \iota) D (a u_c + b u_m))

    Args:
        design_power: thermal design power, D [watt]
        idle: idle power over the design power, iota [1]
        arithmetic: power of arithmetic at its peak over what idling leaves, a [1]
        compute_share: FLOPs over what the peak could have done in that time, u_c [1]
        traffic: power of memory traffic at full bandwidth over what idling leaves, b [1]
        memory_share: bytes over what the bandwidth could have moved in that time, u_m [1]

    Returns:
        Power [watt].

    Source:
        J. W. Choi, D. Bedard, R. Fowler and R. Vuduc, A roofline model of energy, IPDPS 2013,
        doi:10.1109/IPDPS.2013.77, section II (energy is idle power times time, and a part for each FLOP and byte).

    Examples:
        >>> float(power_of_busy_units(700.0, 0.1, 0.8, 0.5, 0.4, 0.25))  # 70 + 630 * (0.4 + 0.1)
        385.0
        >>> float(power_of_busy_units(700.0, 0.1, 1.0, 1.0, 0.4, 1.0))  # capped
        700.0
    """
    dynamic = (1 - idle) * (arithmetic * compute_share + traffic * memory_share)
    return np.minimum(design_power, design_power * (idle + dynamic))


@equation
def throttled_time(time: Seconds, needed: Watts, room: Watts, exponent: Fraction = 0.5) -> Seconds:
    r"""Time of work whose power at full clock exceeds what is left for it.

    A chip at its limit of power lowers clock and voltage together. Switching power goes with the clock times the square of the
    voltage; where the voltage follows the clock only in part, power falls with about the square of the clock.

    .. math:: t' = t \max(1, P / R)^{e}

    Args:
        time: at full clock, t [second]
        needed: power of switching at full clock, P [watt]
        room: design power less idle power, R [watt]
        exponent: slow-down by the power that is missing, e: 1 at fixed voltage, 1/3 where the voltage follows in full [1]

    Returns:
        Time [second].

    Source:
        T. D. Burd and R. W. Brodersen, Energy efficient CMOS microprocessor design, HICSS 1995,
        doi:10.1109/HICSS.1995.375385 (power with clock and voltage); the exponent is ours, between its limits.

    Examples:
        >>> float(throttled_time(1.0, 400.0, 100.0)), float(throttled_time(1.0, 50.0, 100.0))
        (2.0, 1.0)
    """
    return time * np.maximum(1.0, needed / room) ** exponent


@equation
def slowest_of_equals(members: Count, spread: Fraction) -> Fraction:
    r"""Time of the slowest of many equal chips over that of a typical one.

    Chips of one kind draw differently at the same clock, so at one limit of power their clocks differ; ranks in
    lockstep wait for the slowest. The greatest of n normal values lies z standard deviations above the mean, with z the
    value that a share of (n - 3/8) / (n + 1/4) does not exceed.

    .. math::
        r = 1 + s z, \quad z = t - \frac{2.515517 + 0.802853 t + 0.010328 t^2}{1 + 1.432788 t + 0.189269 t^2 + 0.001308 t^3},
        \quad t = \sqrt{2 \ln \frac{n + 1/4}{5/8}}

    Args:
        members: chips in lockstep, n >= 1 [1]
        spread: standard deviation of the time of a chip over its mean, s [1]

    Returns:
        Ratio, 1 for a single chip [1].

    Source:
        G. Blom, Statistical estimates and transformed beta-variables, Wiley 1958 (the share); M. Abramowitz and
        I. A. Stegun, Handbook of mathematical functions, 1964, equation 26.2.23 (z, to 4.5e-4).

    Examples:
        >>> [round(float(slowest_of_equals(n, 1.0)) - 1, 2) for n in (1.0, 8.0, 100.0)]  # of tables: 0, 1.42, 2.51
        [0.0, 1.43, 2.5]
        >>> round(float(slowest_of_equals(512.0, 0.015)), 4)
        1.0455
    """
    tail = np.sqrt(2 * np.log((np.maximum(members, 1.0) + 0.25) / 0.625))
    above = 2.515517 + 0.802853 * tail + 0.010328 * tail**2
    below = 1 + 1.432788 * tail + 0.189269 * tail**2 + 0.001308 * tail**3
    return 1 + spread * np.maximum(tail - above / below, 0.0 * tail)
