"""Queues: how long work waits when arrivals are random, and how the tail grows before a server is full.

A queue has arrivals at a rate, servers, and a service time with a mean and a coefficient of variation (``cv``: standard
deviation over mean; 1 for exponential times, 0 for constant ones). Where it is unstable the answer is infinite.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..units import Count, Fraction, PerSecond, Seconds
from . import equation
from .special import poisson_probability, tail_ratio

HALVINGS = 46
"""Bisections of a quantile; its bracket is at most a few times its value, so that this leaves 1e-12."""


@equation
def offered_load(arrival: PerSecond, service: Seconds) -> Count:
    r"""Servers that are busy on average: Little's law of the servers.

    .. math:: a = \lambda s

    Args:
        arrival: arrival rate, lambda [1/second]
        service: mean service time, s [second]

    Returns:
        Load in servers (erlangs) [1].

    Source:
        J. D. C. Little, A proof for the queuing formula L = lambda W, Oper. Res. 9 (1961) 383-387, doi:10.1287/opre.9.3.383.

    Examples:
        >>> offered_load(80.0, 0.01)
        0.8
    """
    return arrival * service


@equation
def server_utilisation(arrival: PerSecond, service: Seconds, servers: Count) -> Fraction:
    r"""Share of the time that a server is busy; 1 and more is unstable.

    .. math:: \rho = \frac{\lambda s}{c}

    Args:
        arrival: arrival rate, lambda [1/second]
        service: mean service time, s [second]
        servers: servers, c [1]

    Returns:
        Utilisation [1].

    Source:
        L. Kleinrock, Queueing Systems, volume 1, Wiley 1975, section 2.1.

    Examples:
        >>> server_utilisation(500.0, 0.01, 4.0)
        1.25
    """
    return arrival * service / servers


@equation
def number_in_system(arrival: PerSecond, time: Seconds) -> Count:
    r"""Little's law: how many are there on average.

    .. math:: L = \lambda W

    Args:
        arrival: arrival rate, lambda [1/second]
        time: mean time that each one stays, W [second]

    Returns:
        Mean number [1].

    Source:
        J. D. C. Little, A proof for the queuing formula L = lambda W, Oper. Res. 9 (1961) 383-387, doi:10.1287/opre.9.3.383.

    Examples:
        >>> number_in_system(80.0, 0.05)
        4.0
    """
    return arrival * time


@equation
def blocking_probability(load: Count, servers: Count) -> Fraction:
    r"""Erlang B: probability that all servers are busy where nobody may wait. Servers need not be whole.

    .. math:: B(c, a) = \frac{a^c / c!}{\sum_{k=0}^{c} a^k / k!}

    Args:
        load: offered load, a [1]
        servers: servers, c > 0 [1]

    Returns:
        Probability [1].

    Source:
        L. Kleinrock, Queueing Systems, volume 1, Wiley 1975, equation 3.44; evaluated as a Poisson probability over a
        Poisson sum (M. Abramowitz and I. A. Stegun, Handbook of Mathematical Functions, 26.4.21).

    Examples:
        >>> print(f"{blocking_probability(2.0, 3.0):.6f}")  # (8/6) / (1 + 2 + 2 + 8/6)
        0.210526
    """
    return _erlang_b(load, servers)


def _erlang_b(load: Any, servers: Any) -> Any:
    """Erlang B. Up to a load of c the tail above c is summed, beyond it the head below c: neither cancels."""
    load, servers = getattr(load, "magnitude", load), getattr(servers, "magnitude", servers)
    inside = np.minimum(load, servers)
    exactly = poisson_probability(servers, inside)
    light = exactly / (1 - exactly * tail_ratio(servers, inside))
    if np.all(np.less_equal(load, servers)):
        return light
    return np.where(np.less_equal(load, servers), light, 1 / (1 + _head_ratio(servers, np.maximum(load, servers))))[()]


def _head_ratio(servers: Any, load: Any) -> Any:
    """Sum of ``c (c - 1) ... (c - k + 1) / a^k``: what lies below c, over what lies at c, for a >= c."""
    servers, load = np.broadcast_arrays(np.asarray(servers, float), np.asarray(load, float))
    term, total, done = np.ones(load.shape), np.zeros(load.shape), 0.0
    while np.any(term > 1e-17 * (1 + total)):
        term = term * np.maximum(servers - done, 0.0) / load
        total, done = total + term, done + 1.0
    return total


@equation
def wait_probability(load: Count, servers: Count) -> Fraction:
    r"""Erlang C: probability that an arrival has to wait in M/M/c; 1 where the queue is unstable.

    .. math:: C(c, a) = \frac{B(c, a)}{1 - \rho (1 - B(c, a))}, \quad \rho = \frac{a}{c}

    Args:
        load: offered load, a [1]
        servers: servers, c > 0 [1]

    Returns:
        Probability [1].

    Source:
        L. Kleinrock, Queueing Systems, volume 1, Wiley 1975, equation 3.40.

    Examples:
        >>> print(f"{wait_probability(0.8, 1.0):.4f} {wait_probability(450.0, 500.0):.4f}")
        0.8000 0.0122
    """
    return _erlang_c(load, servers)


def _erlang_c(load: Any, servers: Any) -> Any:
    blocked = _erlang_b(np.minimum(load, servers), servers)
    return np.where(load < servers, blocked / (1 - np.minimum(load / servers, 1.0) * (1 - blocked)), 1.0)[()]


@equation
def mean_wait(arrival: PerSecond, service: Seconds, servers: Count) -> Seconds:
    r"""Mean time in the queue of M/M/c.

    .. math:: W_q = \frac{C(c, a)\, s}{c - a}

    Args:
        arrival: arrival rate, lambda [1/second]
        service: mean service time, s [second]
        servers: servers, c [1]

    Returns:
        Time [second].

    Source:
        L. Kleinrock, Queueing Systems, volume 1, Wiley 1975, section 3.5.

    Examples:
        >>> print(f"{mean_wait(80.0, 0.01, 1.0):.4f}")  # rho s / (1 - rho)
        0.0400
    """
    load = arrival * service
    spare = np.maximum(servers - load, 1e-300)
    return np.where(load < servers, _erlang_c(load, servers) * service / spare, np.inf * service)[()]


@equation
def allen_cunneen_wait(wait: Seconds, service_cv: Count, arrival_cv: Count = 1.0) -> Seconds:
    r"""Mean time in the queue of G/G/c: that of M/M/c, scaled by the variability of arrivals and service.

    Exact for M/M/c and for M/G/1 (Pollaczek and Khinchine); a two-moment approximation otherwise.

    .. math:: W_q^{G/G/c} = \frac{c_a^2 + c_s^2}{2} W_q^{M/M/c}

    Args:
        wait: mean wait of M/M/c at the same load, W_q [second]
        service_cv: coefficient of variation of the service time, c_s [1]
        arrival_cv: coefficient of variation of the time between arrivals, c_a; 1 for Poisson arrivals [1]

    Returns:
        Time [second].

    Source:
        A. O. Allen, Probability, Statistics and Queueing Theory, 2nd ed., Academic Press 1990, section 5.3.5.

    Examples:
        >>> allen_cunneen_wait(0.04, 0.0)  # M/D/1 waits half as long as M/M/1
        0.02
    """
    return wait * (arrival_cv**2 + service_cv**2) / 2


@equation
def kingman_bound(arrival: PerSecond, service: Seconds, service_cv: Count = 1.0, arrival_cv: Count = 1.0) -> Seconds:
    r"""Kingman's upper bound on the mean time in the queue of G/G/1.

    .. math:: W_q \le \frac{\lambda (\sigma_a^2 + \sigma_s^2)}{2 (1 - \rho)}, \quad \sigma_a = \frac{c_a}{\lambda},
        \quad \sigma_s = c_s s

    Args:
        arrival: arrival rate, lambda [1/second]
        service: mean service time, s [second]
        service_cv: coefficient of variation of the service time, c_s [1]
        arrival_cv: coefficient of variation of the time between arrivals, c_a [1]

    Returns:
        Bound [second].

    Source:
        J. F. C. Kingman, Some inequalities for the queue GI/G/1, Biometrika 49 (1962) 315-324, doi:10.1093/biomet/49.3-4.315.

    Examples:
        >>> print(f"{kingman_bound(80.0, 0.01):.5f}")
        0.05125
    """
    spare = np.maximum(1 - arrival * service, 1e-300)
    bound = (arrival_cv**2 / arrival + arrival * (service_cv * service) ** 2) / (2 * spare)
    return np.where(arrival * service < 1, bound, np.inf * service)[()]


@equation
def wait_quantile(
    probability: Fraction,
    arrival: PerSecond,
    service: Seconds,
    servers: Count,
    service_cv: Count = 1.0,
    arrival_cv: Count = 1.0,
) -> Seconds:
    r"""Time within which a share of the requests is taken on: the quantile of the wait alone.

    Exact for M/M/c; for other variations the exponential tail keeps Allen and Cunneen's mean.

    .. math:: t_q = \frac{c_a^2 + c_s^2}{2} \frac{s}{c - a} \max\left(0, \ln \frac{C(c, a)}{1 - q}\right)

    Args:
        probability: share of the requests, q in (0, 1) [1]
        arrival: arrival rate, lambda [1/second]
        service: mean service time, s [second]
        servers: servers, c [1]
        service_cv: coefficient of variation of the service time, c_s [1]
        arrival_cv: coefficient of variation of the time between arrivals, c_a [1]

    Returns:
        Time; infinite where the queue is unstable [second].

    Source:
        L. Kleinrock, Queueing Systems, volume 1, Wiley 1975, section 3.5; A. O. Allen, Probability, Statistics and
        Queueing Theory, 2nd ed., Academic Press 1990, section 5.3.5.

    Examples:
        >>> print(f"{wait_quantile(0.99, 80.0, 0.01, 1.0):.7f}")  # ln(0.8 / 0.01) / (mu - lambda)
        0.2191013
    """
    load = arrival * service
    scale = (arrival_cv**2 + service_cv**2) / 2 * service / np.maximum(servers - load, 1e-300)
    over = np.maximum(_erlang_c(load, servers) / np.maximum(1 - probability, 1e-300), 1.0)
    return np.where(load < servers, scale * np.log(over), np.inf * service)[()]


@equation
def wait_tail(
    time: Seconds,
    arrival: PerSecond,
    service: Seconds,
    servers: Count,
    service_cv: Count = 1.0,
    arrival_cv: Count = 1.0,
) -> Fraction:
    r"""Probability of waiting longer than a time: the inverse of :func:`wait_quantile`; 1 for a negative time.

    .. math:: P(W > t) = C(c, a) \exp\left(-\frac{2}{c_a^2 + c_s^2} \frac{c - a}{s} t\right)

    Args:
        time: the time, t [second]
        arrival: arrival rate, lambda [1/second]
        service: mean service time, s [second]
        servers: servers, c [1]
        service_cv: coefficient of variation of the service time, c_s [1]
        arrival_cv: coefficient of variation of the time between arrivals, c_a [1]

    Returns:
        Probability; 1 where the queue is unstable [1].

    Source:
        L. Kleinrock, Queueing Systems, volume 1, Wiley 1975, section 3.5.

    Examples:
        >>> print(f"{wait_tail(0.05, 80.0, 0.01, 1.0):.5f}")  # 0.8 exp(-1)
        0.29430
    """
    load = arrival * service
    theta = 2 * np.maximum(servers - load, 0.0) / (np.maximum(arrival_cv**2 + service_cv**2, 1e-9) * service)
    late = _erlang_c(load, servers) * np.exp(-theta * np.maximum(time, 0.0 * time))
    return np.where((load < servers) & (time >= 0.0 * time), late, 1.0)[()]


@equation
def sojourn_tail(
    time: Seconds,
    arrival: PerSecond,
    service: Seconds,
    servers: Count,
    service_cv: Count = 1.0,
    arrival_cv: Count = 1.0,
) -> Fraction:
    r"""Probability that a request takes longer than a time, waiting and service together, first come first served.

    Exact for M/M/c. For other variations the wait keeps the M/M/c probability of waiting and an exponential tail
    with Allen and Cunneen's mean, and the service time is a constant and an exponential part (cv below 1) or a mixture
    of two exponentials with balanced means (above 1), which match its mean and variance.

    .. math:: P(T > t) = e^{-\mu t} + C \mu \frac{e^{-\mu t} - e^{-\theta t}}{\theta - \mu},
        \quad \mu = \frac{1}{s},\ \theta = \frac{c - a}{s}

    Args:
        time: the time, t [second]
        arrival: arrival rate, lambda [1/second]
        service: mean service time, s [second]
        servers: servers, c [1]
        service_cv: coefficient of variation of the service time [1]
        arrival_cv: coefficient of variation of the time between arrivals; it stretches the wait [1]

    Returns:
        Probability; 1 where the queue is unstable [1].

    Source:
        D. Gross, J. F. Shortle, J. M. Thompson and C. M. Harris, Fundamentals of Queueing Theory, 4th ed., Wiley 2008,
        section 2.3; mixture: W. Whitt, Oper. Res. 30 (1982) 125-147, doi:10.1287/opre.30.1.125, section 3.

    Examples:
        >>> print(f"{sojourn_tail(0.05, 80.0, 0.01, 1.0):.5f}")  # M/M/1: exp(-(mu - lambda) t) = exp(-1)
        0.36788
    """
    load = arrival * service
    return _tail(time, service, load, servers, _erlang_c(load, servers), service_cv, arrival_cv)


def _tail(time: Any, service: Any, load: Any, servers: Any, waits: Any, cv: Any, arrival_cv: Any) -> Any:
    """:func:`sojourn_tail` where the probability of waiting is known."""
    variation = np.maximum(arrival_cv**2 + cv**2, 1e-9)
    theta = np.where(load < servers, 2 * np.maximum(servers - load, 0.0) / variation, 1.0) / service
    constant = np.maximum(1 - cv, 0.0) * service
    first = (1 + np.sqrt(np.maximum(cv**2 - 1, 0.0) / (cv**2 + 1))) / 2
    # No part shorter than a millionth of the service time: keeps its rate finite where service is constant.
    short = np.maximum(np.minimum(cv, 1.0), 1e-6) * service
    left = np.maximum(time - constant, 0.0 * service)
    tail = first * _two_stages(left, 2 * first / short, theta, waits)
    tail = tail + (1 - first) * _two_stages(left, 2 * (1 - first) / short, theta, waits)
    return np.where((load < servers) & (time > constant), np.minimum(tail, 1.0), 1.0)[()]


def _two_stages(time: Any, mu: Any, theta: Any, waits: Any) -> Any:
    """P(W + S > t): S exponential of rate mu; W zero, or with probability ``waits`` exponential of rate theta."""
    apart = np.abs(theta - mu) * time
    gap = np.where(apart > 1e-12, -np.expm1(-apart) / np.maximum(apart, 1e-300), 1.0)
    return np.exp(-mu * time) + waits * mu * time * np.exp(-np.minimum(mu, theta) * time) * gap


@equation
def sojourn_quantile(
    probability: Fraction,
    arrival: PerSecond,
    service: Seconds,
    servers: Count,
    service_cv: Count = 1.0,
    arrival_cv: Count = 1.0,
) -> Seconds:
    r"""Time within which a share of the requests is done, waiting and service together.

    The quantile of the sum, not the sum of a quantile and a mean: the inverse of :func:`sojourn_tail`, by bisection.

    .. math:: P(T > t_q) = 1 - q

    Args:
        probability: share of the requests, q in (0, 1), as 0.99 [1]
        arrival: arrival rate, lambda [1/second]
        service: mean service time, s [second]
        servers: servers, c [1]
        service_cv: coefficient of variation of the service time [1]
        arrival_cv: coefficient of variation of the time between arrivals; it stretches the wait [1]

    Returns:
        Time; infinite where the queue is unstable [second].

    Source:
        D. Gross, J. F. Shortle, J. M. Thompson and C. M. Harris, Fundamentals of Queueing Theory, 4th ed., Wiley 2008,
        section 2.3.

    Examples:
        >>> print(f"{sojourn_quantile(0.99, 80.0, 0.01, 1.0):.5f}")  # M/M/1: ln(100) / (mu - lambda)
        0.23026
    """
    return _quantile(probability, service, arrival * service, servers, service_cv, arrival_cv)


def _quantile(probability: Any, service: Any, load: Any, servers: Any, cv: Any, arrival_cv: Any) -> Any:
    """:func:`sojourn_quantile` by bisection of :func:`sojourn_tail`."""
    waits = _erlang_c(load, servers)
    spare = np.maximum(servers - load, 1e-300)
    # P(W + S > x + y) <= P(S > x) + P(W > y): half of the probability for each brackets the quantile.
    log = np.log(2 / np.maximum(1 - probability, 1e-300))
    slowest = 1 / (1 - np.sqrt(np.maximum(cv**2 - 1, 0.0) / (cv**2 + 1)))
    factor = np.maximum(1 - cv, 0.0) + np.maximum(np.minimum(cv, 1.0), 1e-6) * slowest * log
    queued = np.maximum(log + np.log(np.maximum(waits, 1e-300)), 0.0) * (arrival_cv**2 + cv**2) / (2 * spare)
    low, high = 0.0 * service * (factor + queued), service * (factor + queued)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = _tail(middle, service, load, servers, waits, cv, arrival_cv) > 1 - probability
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(load < servers, high, np.inf * service)[()]
