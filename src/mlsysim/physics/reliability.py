"""Failures: how often a machine of many parts stops, and how much work survives checkpoints and restarts."""

from __future__ import annotations

import numpy as np

from ..units import Count, Fraction, PerSecond, Seconds
from . import equation
from .special import log_binomial

LARGEST_EXPONENT = 300.0
"""Goodput is zero long before; more, and the product of two exponentials overflows."""


@equation
def failure_rate(mtbf: Seconds, parts: Count) -> PerSecond:
    r"""Rate at which any of several equal parts fails.

    .. math:: \lambda = \frac{n}{M}

    Args:
        mtbf: mean time between failures of one part, M [second]
        parts: parts that must all work, n [1]

    Returns:
        Rate [1/second].

    Source:
        R. E. Barlow and F. Proschan, Mathematical Theory of Reliability, Wiley 1965, chapter 2 (series systems).

    Examples:
        >>> failure_rate(50_000 * 3600.0, 8.0) * 3600  # an hour
        0.00016
    """
    return parts / mtbf


@equation
def redundant_failure_rate(mtbf: Seconds, parts: Count, needed: Count, repair: Seconds) -> PerSecond:
    r"""Rate at which a group falls below the parts it needs, each part repaired by itself.

    .. math:: \lambda = \binom{n}{k} A^k (1 - A)^{n - k} \frac{k}{M}, \quad A = \frac{M}{M + R}

    Args:
        mtbf: mean time between failures of one part, M [second]
        parts: parts there are, n [1]
        needed: parts that must work, k <= n [1]
        repair: mean time to replace a part, R [second]

    Returns:
        Rate [1/second].

    Source:
        R. E. Barlow and F. Proschan, Statistical Theory of Reliability and Life Testing, Holt 1975, chapter 7
        (k-out-of-n systems of independently repaired parts).

    Examples:
        >>> print(f"{redundant_failure_rate(100_000 * 3600.0, 6.0, 4.0, 86_400.0) * 3.6e12:.3f}")  # in 1e9 hours
        0.035
    """
    working = mtbf / (mtbf + repair)
    ways = np.exp(log_binomial(np.maximum(parts, needed), needed))
    return ways * working**needed * (1 - working) ** np.maximum(parts - needed, 0.0) * needed / mtbf


@equation
def mean_time_between(rate: PerSecond, correlation: Count = 1.0) -> Seconds:
    r"""Mean time between the events that stop a job.

    .. math:: M = \frac{\kappa}{\lambda}

    Args:
        rate: rate of failing parts, all together, lambda [1/second]
        correlation: parts that fail together in one event, on average; 1 if failures are independent, kappa [1]

    Returns:
        Time [second].

    Source:
        R. E. Barlow and F. Proschan, Mathematical Theory of Reliability, Wiley 1965, chapter 2; shared causes:
        A. Kokolis et al., Revisiting reliability in large-scale machine learning research clusters, arXiv:2410.21680.

    Examples:
        >>> mean_time_between(0.5, 2.0)
        4.0
    """
    return correlation / rate


@equation
def expected_failures(time: Seconds, mtbf: Seconds) -> Count:
    r"""Failures to be expected in a time.

    .. math:: n = \frac{T}{M}

    Args:
        time: time, T [second]
        mtbf: mean time between failures, M [second]

    Returns:
        Failures [1].

    Source:
        R. E. Barlow and F. Proschan, Mathematical Theory of Reliability, Wiley 1965, chapter 2.

    Examples:
        >>> expected_failures(720 * 3600.0, 4 * 3600.0)
        180.0
    """
    return time / mtbf


@equation
def failure_probability(time: Seconds, mtbf: Seconds) -> Fraction:
    r"""Probability of at least one failure in a time, failures coming at a constant rate.

    .. math:: P = 1 - e^{-T / M}

    Args:
        time: time, T [second]
        mtbf: mean time between failures, M [second]

    Returns:
        Probability [1].

    Source:
        R. E. Barlow and F. Proschan, Mathematical Theory of Reliability, Wiley 1965, chapter 2.

    Examples:
        >>> print(f"{failure_probability(14 * 24.0, 50.0):.6f}")
        0.998793
    """
    return -np.expm1(-time / mtbf)


@equation
def young_interval(dump: Seconds, mtbf: Seconds) -> Seconds:
    r"""First-order optimum of the time between checkpoints.

    .. math:: \tau = \sqrt{2 \delta M}

    Args:
        dump: time that a checkpoint stops the work, delta [second]
        mtbf: mean time between failures, M [second]

    Returns:
        Interval [second].

    Source:
        J. W. Young, A first order approximation to the optimum checkpoint interval, Commun. ACM 17 (1974) 530-531,
        doi:10.1145/361147.361115.

    Examples:
        >>> print(f"{young_interval(60.0, 4 * 3600.0):.3f}")
        1314.534
    """
    return (2 * dump * mtbf) ** 0.5


@equation
def daly_interval(dump: Seconds, mtbf: Seconds) -> Seconds:
    r"""Higher-order optimum of the work between two checkpoints, their own time not counted.

    .. math:: \tau = \sqrt{2 \delta M} \left[ 1 + \frac{1}{3} \sqrt{\frac{\delta}{2 M}}
        + \frac{1}{9} \frac{\delta}{2 M} \right] - \delta \ \text{ for } \delta < 2 M, \text{ else } M

    Args:
        dump: time that a checkpoint stops the work, delta [second]
        mtbf: mean time between failures, M [second]

    Returns:
        Work between the end of a checkpoint and the start of the next [second].

    Source:
        J. T. Daly, A higher order estimate of the optimum checkpoint interval for restart dumps, Future Gener. Comput.
        Syst. 22 (2006) 303-312, doi:10.1016/j.future.2004.11.016, equation 37.

    Examples:
        >>> print(f"{daly_interval(300.0, 24 * 3600.0) / 60:.1f}")  # figure 3: 117 min
        116.7
    """
    share = (dump / (2 * mtbf)) ** 0.5
    return np.where(share < 1, (2 * dump * mtbf) ** 0.5 * (1 + share / 3 + share**2 / 9) - dump, mtbf)[()]


@equation
def optimal_interval(dump: Seconds, mtbf: Seconds) -> Seconds:
    r"""Exact optimum of the work between two checkpoints under exponential failures: the maximum of :func:`goodput`.

    Newton's iteration from the right, where the function is concave, so that it converges for every ratio.

    .. math:: \tau = M x, \quad x + \ln(1 - x) = -\frac{\delta}{M}

    Args:
        dump: time that a checkpoint stops the work, delta [second]
        mtbf: mean time between failures, M [second]

    Returns:
        Work between the end of a checkpoint and the start of the next [second].

    Source:
        J. T. Daly, Future Gener. Comput. Syst. 22 (2006) 303-312, doi:10.1016/j.future.2004.11.016, section 3 (the
        minimum of the complete cost function, in terms of the Lambert function).

    Examples:
        >>> print(f"{optimal_interval(300.0, 15 * 60.0) / 60:.3f}")  # the approximation gives 9.141
        9.167
    """
    ratio = np.minimum(dump / mtbf, 35.0)  # beyond it, x is one to the last bit
    x = -np.expm1(-1 - ratio)
    for _ in range(60):
        x = np.maximum(x + (x + np.log1p(-x) + ratio) * (1 - x) / np.maximum(x, 1e-300), 0.0)
    return x * mtbf


@equation
def goodput(work: Seconds, dump: Seconds, mtbf: Seconds, recovery: Seconds) -> Fraction:
    r"""Share of the time that is useful work, when failures come at a constant rate at any moment.

    By renewal theory: a segment of work and its checkpoint are repeated until they pass without a failure, each failure
    costs the time since the last checkpoint and a recovery, and recoveries can fail too.

    .. math:: G = \frac{\tau}{M e^{R / M} \left( e^{(\tau + \delta) / M} - 1 \right)}

    Args:
        work: work between two checkpoints, tau [second]
        dump: time that a checkpoint stops the work, delta [second]
        mtbf: mean time between failures, M [second]
        recovery: time from a failure until work goes on at the last checkpoint, R [second]

    Returns:
        Share [1].

    Source:
        J. T. Daly, Future Gener. Comput. Syst. 22 (2006) 303-312, doi:10.1016/j.future.2004.11.016 (complete cost function).

    Examples:
        >>> print(f"{goodput(1334.0, 60.0, 15_000.0, 300.0):.4f}")
        0.8951
    """
    attempt = np.minimum((work + dump) / mtbf, LARGEST_EXPONENT)
    return work / (mtbf * np.exp(np.minimum(recovery / mtbf, LARGEST_EXPONENT)) * np.expm1(attempt))


@equation
def checkpoint_loss(goodput: Fraction, work: Seconds, dump: Seconds) -> Fraction:
    r"""Share of the time spent on checkpoints that were kept.

    .. math:: f = G \frac{\delta}{\tau}

    Args:
        goodput: share of the time that is useful work, G [1]
        work: work between two checkpoints, tau [second]
        dump: time that a checkpoint stops the work, delta [second]

    Returns:
        Share [1].

    Source:
        J. T. Daly, Future Gener. Comput. Syst. 22 (2006) 303-312, doi:10.1016/j.future.2004.11.016, section 2.

    Examples:
        >>> checkpoint_loss(0.9, 1000.0, 50.0)
        0.045
    """
    return goodput * dump / work


@equation
def recovery_loss(recovery: Seconds, mtbf: Seconds) -> Fraction:
    r"""Share of the time spent on recoveries, those that fail included.

    .. math:: f = 1 - e^{-R / M}

    Args:
        recovery: time from a failure until work goes on, R [second]
        mtbf: mean time between failures, M [second]

    Returns:
        Share [1].

    Source:
        J. T. Daly, Future Gener. Comput. Syst. 22 (2006) 303-312, doi:10.1016/j.future.2004.11.016 (complete cost function): the
        recoveries of one segment over its whole time.

    Examples:
        >>> print(f"{recovery_loss(300.0, 15_000.0):.4f}")
        0.0198
    """
    return -np.expm1(-recovery / mtbf)


@equation
def rework_loss(goodput: Fraction, checkpoints: Fraction, recoveries: Fraction) -> Fraction:
    r"""Share of the time spent on work that a failure threw away: what is left.

    .. math:: f = 1 - G - f_\delta - f_R

    Args:
        goodput: useful work, G [1]
        checkpoints: checkpoints that were kept, f_delta [1]
        recoveries: recoveries, f_R [1]

    Returns:
        Share [1].

    Source:
        J. T. Daly, Future Gener. Comput. Syst. 22 (2006) 303-312, doi:10.1016/j.future.2004.11.016, equation 1 (solve,
        dump, rework and restart time add up).

    Examples:
        >>> print(f"{rework_loss(0.9, 0.04, 0.02):.2f}")
        0.04
    """
    return np.maximum(1 - goodput - checkpoints - recoveries, 0.0)


@equation
def spare_wait(blocked: Fraction, spares: Count, repair: Seconds) -> Seconds:
    r"""Mean time a failure waits for a node to come back from repair, when hot spares may have run out.

    Nodes in repair are a loss system of as many servers as there are spares: the job stands still once they are used up.

    .. math:: t = B(s, m) \frac{R}{s + 1}, \quad m = \frac{R}{M}

    Args:
        blocked: probability that every spare is in repair (Erlang B with the nodes in repair as load), B [1]
        spares: hot spares, s [1]
        repair: mean time to repair a node, R [second]

    Returns:
        Time for each failure [second].

    Source:
        L. Kleinrock, Queueing Systems, volume 1, Wiley 1975, section 3.6 (M/M/m/m loss system).

    Examples:
        >>> spare_wait(0.2, 4.0, 86_400.0)
        3456.0
    """
    return blocked * repair / (spares + 1)


@equation
def multiplied_goodput(scheduling: Fraction, runtime: Fraction, program: Fraction) -> Fraction:
    r"""Productivity of a machine: time it is given, time it makes progress, progress over the ideal.

    .. math:: G = G_s G_r G_p

    Args:
        scheduling: share of the time that all resources of a job are there, G_s [1]
        runtime: share of that time which is progress that is kept, G_r [1]
        program: progress over what the hardware could ideally do, G_p [1]

    Returns:
        Share [1].

    Source:
        A. Wongpanich et al., Machine learning fleet efficiency: analyzing and optimizing large-scale Google TPU systems
        with ML productivity goodput, arXiv:2502.06982, section 4.

    Examples:
        >>> print(f"{multiplied_goodput(0.9, 0.95, 0.5):.4f}")
        0.4275
    """
    return scheduling * runtime * program
