"""Cost: capital, electricity, upkeep, tokens, clouds and traffic, in US dollars."""

from __future__ import annotations

import numpy as np

from ..units import (
    BytesPerSecond,
    Count,
    Dollars,
    DollarsPerByte,
    DollarsPerJoule,
    DollarsPerSecond,
    DollarsPerToken,
    Fraction,
    Joules,
    Seconds,
    TokensPerSecond,
    Watts,
)
from . import equation

YEAR = 31_557_600.0
"""Seconds of a year of 365.25 days."""


@equation
def straight_line_capital(price: Dollars, time: Seconds, life: Seconds) -> Dollars:
    r"""Part of a purchase that is charged to a span of time, equal for every second of its life.

    .. math:: K = K_0 \frac{t}{L}

    Args:
        price: what was paid, K_0 [USD]
        time: span that is charged, t [second]
        life: time over which it is written off, L [second]

    Returns:
        Cost [USD].

    Source:
        L. A. Barroso et al., The datacenter as a computer, 3rd ed., 2018, doi:10.1007/978-3-031-01761-2, chapter 6.

    Examples:
        >>> straight_line_capital(256 * 30000.0, 30 * 86400.0, 3 * 365 * 86400.0)
        210410.96
    """
    return price * time / life


@equation
def capital_recovery_factor(rate: Fraction, periods: Count) -> Fraction:
    r"""Equal payment per period that repays a loan of one, interest included.

    .. math:: f = \frac{r}{1 - (1 + r)^{-n}}, \quad \lim_{r \to 0} f = \frac{1}{n}

    Args:
        rate: interest per period, r >= 0 [1]
        periods: number of payments, n [1]

    Returns:
        Payment per period over the loan [1].

    Source:
        W. Short, D. J. Packey and T. Holt, A manual for the economic evaluation of energy efficiency and renewable
        energy technologies, NREL/TP-462-5173, 1995 (uniform capital recovery factor).

    Examples:
        >>> round(float(capital_recovery_factor(0.08, 10.0)), 5)
        0.14903
        >>> round(float(capital_recovery_factor(0.0, 4.0)), 6)
        0.25
    """
    # A rate of 1e-12 stands for none: it differs from the limit in the twelfth digit and needs no branch.
    safe = np.maximum(rate, 1e-12)
    return -safe / np.expm1(-periods * np.log1p(safe))


@equation
def annuity_capital(price: Dollars, time: Seconds, life: Seconds, rate: Fraction, period: Seconds = YEAR) -> Dollars:
    r"""Part of a purchase that is charged to a span of time when money costs interest.

    .. math:: K = K_0\, f\!\left(r, \frac{L}{T}\right) \frac{t}{T}

    Args:
        price: what was paid, K_0 [USD]
        time: span that is charged, t [second]
        life: time over which it is paid off, L [second]
        rate: interest per period, r >= 0 [1]
        period: time between payments, T; a year unless told otherwise [second]

    Returns:
        Cost [USD].

    Source:
        NREL/TP-462-5173, 1995: the capital recovery factor f of ``capital_recovery_factor``.

    Examples:
        >>> round(float(annuity_capital(1000.0, 31_557_600.0, 10 * 31_557_600.0, 0.08)), 2)
        149.03
    """
    return price * capital_recovery_factor(rate, life / period) * time / period


@equation
def electricity_cost(facility_energy: Joules, price: DollarsPerJoule) -> Dollars:
    r"""Cost of the energy at the meter.

    .. math:: K = E\, p

    Args:
        facility_energy: energy at the meter, overhead included, E [joule]
        price: price of electricity, p [USD/joule]

    Returns:
        Cost [USD].

    Source:
        Definition.

    Examples:
        >>> electricity_cost(144506.88 * 3.6e6, 0.12 / 3.6e6)  # 144 507 kWh at 12 cents
        17340.83
    """
    return facility_energy * price


@equation
def maintenance_cost(price: Dollars, time: Seconds, share: Fraction, period: Seconds = YEAR) -> Dollars:
    r"""Upkeep as a yearly share of what the hardware cost.

    .. math:: K = K_0\, s \frac{t}{T}

    Args:
        price: what was paid for the hardware, K_0 [USD]
        time: span that is charged, t [second]
        share: upkeep of one period over the price, s [1]
        period: period that the share is for, T; a year unless told otherwise [second]

    Returns:
        Cost [USD].

    Source:
        L. A. Barroso et al., The datacenter as a computer, 3rd ed., 2018, doi:10.1007/978-3-031-01761-2, chapter 6.

    Examples:
        >>> maintenance_cost(256 * 30000.0, 30 * 86400.0, 0.05, 365 * 86400.0)
        31561.64
    """
    return price * share * time / period


@equation
def fleet_tco(
    price: Dollars, power: Watts, chips: Count, time: Seconds, electricity: DollarsPerJoule, pue: Fraction = 1.0
) -> Dollars:
    r"""Total cost of owning a fleet: buy it all, then power it all the time.

    .. math:: K = n (K_1 + P u\, t\, p)

    Args:
        price: price of one chip with its share of the machine, K_1 [USD]
        power: mean power of one chip, P [watt]
        chips: chips bought, n [1]
        time: how long they run, t [second]
        electricity: price of electricity, p [USD/joule]
        pue: power usage effectiveness, u [1]

    Returns:
        Cost [USD].

    Source:
        L. A. Barroso et al., The datacenter as a computer, 3rd ed., 2018, doi:10.1007/978-3-031-01761-2, chapter 6.

    Examples:
        >>> fleet_tco(30000.0, 700.0, 1000.0, 3 * 31_557_600.0, 0.12 / 3.6e6)
        32209032.0
    """
    return chips * (price + power * pue * time * electricity)


@equation
def total_cost(capital: Dollars, energy: Dollars, maintenance: Dollars, carbon: Dollars = 0.0) -> Dollars:
    r"""Total cost of ownership over a span of time, from its parts.

    .. math:: K = K_c + K_e + K_m + K_x

    Args:
        capital: share of the purchase, K_c [USD]
        energy: electricity, K_e [USD]
        maintenance: upkeep, K_m [USD]
        carbon: price of emissions and other charges, K_x [USD]

    Returns:
        Cost [USD].

    Source:
        L. A. Barroso et al., The datacenter as a computer, 3rd ed., 2018, doi:10.1007/978-3-031-01761-2, chapter 6.

    Examples:
        >>> total_cost(210410.959, 17340.826, 31561.644)
        259313.43
    """
    return capital + energy + maintenance + carbon


@equation
def cost_rate(cost: Dollars, time: Seconds) -> DollarsPerSecond:
    r"""Cost per second of something that costs so much over a span of time.

    .. math:: c = \frac{K}{t}

    Args:
        cost: cost of the span, K [USD]
        time: the span, t [second]

    Returns:
        Rate [USD/second].

    Source:
        Definition.

    Examples:
        >>> cost_rate(7200.0, 3600.0)
        2.0
    """
    return cost / time


@equation
def cloud_cost(chips: Count, rate: DollarsPerSecond, time: Seconds, discount: Fraction = 0.0) -> Dollars:
    r"""Cost of renting chips.

    .. math:: K = n\, c\, t (1 - d)

    Args:
        chips: chips rented, n [1]
        rate: list price of one chip, c [USD/second]
        time: how long, t [second]
        discount: commitment or spot discount, d from 0 to 1 [1]

    Returns:
        Cost [USD].

    Source:
        Definition.

    Examples:
        >>> cloud_cost(8.0, 2.5 / 3600, 24 * 3600.0, 0.5)  # a day of 8 chips at 2.50 USD an hour, half off
        240.0
    """
    return chips * rate * time * (1 - discount)


@equation
def ownership_break_even(price: Dollars, cloud_rate: DollarsPerSecond, running_rate: DollarsPerSecond) -> Seconds:
    r"""Time of use after which buying is cheaper than renting.

    .. math:: t = \frac{K_0}{c - c_0}, \quad \infty \text{ if } c \le c_0

    Args:
        price: what is paid up front, K_0 [USD]
        cloud_rate: cost of renting the same, c [USD/second]
        running_rate: cost of running what was bought, c_0 [USD/second]

    Returns:
        Time in use [second].

    Source:
        Definition of a break-even point.

    Examples:
        >>> float(ownership_break_even(30000.0, 2.5 / 3600, 0.5 / 3600)) / 3600  # in hours
        15000.0
        >>> float(ownership_break_even(30000.0, 1.0, 2.0))
        inf
    """
    with np.errstate(divide="ignore"):
        return np.divide(price, np.maximum(cloud_rate - running_rate, 0.0))


@equation
def cost_per_token(rate: DollarsPerSecond, throughput: TokensPerSecond, utilisation: Fraction = 1.0) -> DollarsPerToken:
    r"""Cost of one token on hardware that is paid for whether it works or not.

    .. math:: k = \frac{c}{u\, \theta}

    Args:
        rate: cost of the hardware and its power, c [USD/second]
        throughput: tokens per second when busy, theta [token/second]
        utilisation: share of the time it is busy, u in (0, 1] [1]

    Returns:
        Cost of one token [USD/token].

    Source:
        Definition.

    Examples:
        >>> cost_per_token(3.6 / 3600, 1000.0, 0.5) * 1e6  # 3.60 USD an hour, half busy: USD per million tokens
        2.0
    """
    return rate / (throughput * utilisation)


@equation
def blended_token_price(
    input_price: DollarsPerToken,
    output_price: DollarsPerToken,
    input_share: Fraction,
    cached_price: DollarsPerToken = 0.0,
    cached_share: Fraction = 0.0,
) -> DollarsPerToken:
    r"""Mean price of a token where prompt, cached prompt and answer are priced apart.

    .. math:: p = s \left[(1 - h) p_i + h p_c\right] + (1 - s) p_o

    Args:
        input_price: price of a prompt token, p_i [USD/token]
        output_price: price of a generated token, p_o [USD/token]
        input_share: prompt tokens over all tokens, s [1]
        cached_price: price of a prompt token found in the cache, p_c [USD/token]
        cached_share: share of the prompt tokens found there, h [1]

    Returns:
        Mean price [USD/token].

    Source:
        Definition of a weighted mean.

    Examples:
        >>> blended_token_price(3e-6, 15e-6, 0.75) * 1e6  # three prompt tokens to one answer token
        6.0
    """
    prompt = (1 - cached_share) * input_price + cached_share * cached_price
    return input_share * prompt + (1 - input_share) * output_price


@equation
def break_even_volume(
    fixed_rate: DollarsPerSecond, api_price: DollarsPerToken, variable_price: DollarsPerToken = 0.0
) -> TokensPerSecond:
    r"""Tokens per second above which dedicated hardware is cheaper than paying by the token.

    .. math:: \theta = \frac{c}{p - v}, \quad \infty \text{ if } p \le v

    Args:
        fixed_rate: cost of the dedicated hardware, busy or not, c [USD/second]
        api_price: price of a token bought, p [USD/token]
        variable_price: further cost of a token made, v [USD/token]

    Returns:
        Mean rate of tokens [token/second].

    Source:
        Definition of a break-even point.

    Examples:
        >>> float(break_even_volume(3.6 / 3600, 2e-6))
        500.0
    """
    with np.errstate(divide="ignore"):
        return np.divide(fixed_rate, np.maximum(api_price - variable_price, 0.0))


@equation
def egress_cost(rate: BytesPerSecond, time: Seconds, price: DollarsPerByte) -> Dollars:
    r"""Cost of data that leaves a cloud.

    .. math:: K = B\, t\, p

    Args:
        rate: mean rate of the outgoing data, B [byte/second]
        time: how long, t [second]
        price: price of a byte, p [USD/byte]

    Returns:
        Cost [USD].

    Source:
        Definition.

    Examples:
        >>> egress_cost(1e9, 30 * 86400.0, 0.09 / 1e9)  # 1 GB/s for 30 days at 9 cents a GB
        233280.0
    """
    return rate * time * price
