"""Mixture of experts over several chips: uneven routing, capacity, and the bytes that tokens travel as."""

from __future__ import annotations

import numpy as np

from ..units import Bytes, Count, Fraction
from . import equation


@equation
def routing_imbalance(assignments: Count, bins: Count) -> Fraction:
    r"""Load of the fullest of several bins over the mean, when assignments fall at random and evenly.

    What a perfectly trained router leaves: balls into bins. The leading term for many balls, good to a few per cent;
    learned routers are less even.

    .. math:: r = \min\left(n,\ 1 + \sqrt{\frac{2 n \ln n}{m}} \right)

    Args:
        assignments: token-to-expert assignments of a step, m [1]
        bins: experts, or ranks that hold experts, n [1]

    Returns:
        Ratio, at least 1 [1].

    Source:
        M. Raab and A. Steger, Balls into bins: a simple and tight analysis, RANDOM 1998, LNCS 1518,
        doi:10.1007/3-540-49543-6_13, theorem 1.

    Examples:
        >>> np.round(routing_imbalance(np.array([1e4, 1e6]), 64.0), 3)
        array([1.231, 1.023])
    """
    return np.minimum(bins, 1 + np.sqrt(2 * bins * np.log(np.maximum(bins, 1)) / assignments))


@equation
def dropped_share(assignments: Count, bins: Count, capacity_factor: Fraction) -> Fraction:
    r"""Expected share of assignments that find their expert full, when routing is random and even.

    The load of an expert is taken as normal, and the normal tail by the logistic approximation of its integral.

    .. math:: f = \frac{\sigma}{\mu} \left[ \varphi(z) - z\, (1 - \Phi(z)) \right], \quad
        \mu = \frac{m}{n},\ \sigma^2 = \mu \left(1 - \frac{1}{n}\right),\ z = \frac{(c - 1) \mu}{\sigma},\
        \Phi(z) \approx \frac{1}{1 + e^{-1.5976 z - 0.07056 z^3}}

    Args:
        assignments: token-to-expert assignments of a step, m [1]
        bins: experts, n [1]
        capacity_factor: room of an expert over the mean load, c [1]

    Returns:
        Share [1].

    Source:
        W. Fedus, B. Zoph and N. Shazeer, Switch transformers, J. Mach. Learn. Res. 23 (2022), arXiv:2101.03961,
        section 2.2 (capacity factor); the loss integral of a normal variable, and S. R. Bowling et al., A logistic
        approximation to the cumulative normal distribution, J. Ind. Eng. Manag. 2 (2009) 114-127.

    Examples:
        >>> np.round(dropped_share(64 * 100.0, 64.0, np.array([1.0, 1.25, 2.0])), 4)
        array([0.0396, 0.0002, 0.    ])
    """
    mean = assignments / bins
    spread = np.sqrt(mean * (1 - 1 / bins))
    z = (capacity_factor - 1) * mean / np.maximum(spread, 1e-300)
    capped = np.minimum(np.maximum(z, -8.0), 8.0)
    beyond = 1 / (1 + np.exp(1.5976 * capped + 0.07056 * capped**3))
    loss = np.exp(-capped * capped / 2) / np.sqrt(2 * np.pi) - capped * beyond
    return np.minimum(np.maximum(loss, 0.0) * spread / mean, 1.0)


@equation
def dispatch_size(tokens: Count, active: Count, hidden: Count, value: Bytes, imbalance: Fraction = 1.0) -> Bytes:
    r"""Bytes of tokens that one rank hands to experts in one layer: a copy for every expert that a token chooses.

    .. math:: M = T k\, h \beta\, r

    Args:
        tokens: tokens of the rank, T [1]
        active: experts that a token chooses, k [1]
        hidden: width of a token, h [1]
        value: bytes of one value, beta [byte]
        imbalance: load of the fullest rank over the mean, r [1]

    Returns:
        Size, before what stays on the rank is taken off [byte].

    Source:
        D. Lepikhin et al., GShard, ICLR 2021, arXiv:2006.16668, section 3.2.

    Examples:
        >>> dispatch_size(4096.0, 8.0, 7168.0, 1.0) / 1e6  # DeepSeek-V3, tokens sent in fp8
        234.881024
    """
    return tokens * active * hidden * value * imbalance


@equation
def effective_parameters(always: Count, routed: Count, imbalance: Fraction) -> Count:
    r"""Parameters that the slowest rank computes with for each token: its dense part, and its share of hot experts.

    .. math:: N = N_a + r N_r

    Args:
        always: parameters that every token passes through, N_a [1]
        routed: parameters of the experts that a token chooses, N_r [1]
        imbalance: load of the fullest rank over the mean, r [1]

    Returns:
        Parameters [1].

    Source:
        W. Fedus, B. Zoph and N. Shazeer, Switch transformers, J. Mach. Learn. Res. 23 (2022), arXiv:2101.03961.

    Examples:
        >>> effective_parameters(17e9, 20e9, 1.5)
        47000000000.0
    """
    return always + routed * imbalance


@equation
def distinct_destinations(destinations: Count, active: Count) -> Count:
    r"""Expected number of different places that the experts of one token lie in, when routing is even.

    A token need travel only once to each node, whatever the number of its experts there.

    .. math:: \bar d = d \left[ 1 - \left(1 - \frac{1}{d}\right)^k \right]

    Args:
        destinations: nodes that hold experts, d [1]
        active: experts that a token chooses, k [1]

    Returns:
        Places, from 1 to min(d, k) [1].

    Source:
        DeepSeek-AI, DeepSeek-V3 technical report, arXiv:2412.19437, section 3.2.2 (dispatch over InfiniBand once a
        node, then over NVLink); the count is the classical occupancy problem.

    Examples:
        >>> distinct_destinations(np.array([1.0, 4.0, 8.0]), 8.0)
        array([1.        , 3.59954..., 5.25112...])
    """
    return destinations * (1 - (1 - 1 / destinations) ** active)
