"""The roofline backwards: what a target of time asks of a machine."""

from __future__ import annotations

import numpy as np

from ..units import Bytes, BytesPerSecond, Count, Flop, FlopPerSecond, Fraction, Seconds
from . import equation


@equation
def bandwidth_for_time(traffic: Bytes, time: Seconds) -> BytesPerSecond:
    r"""Memory bandwidth that moves some bytes in some time.

    .. math:: B = \frac{Q}{t}

    Args:
        traffic: bytes moved, Q [byte]
        time: time there is, t [second]

    Returns:
        Bandwidth [byte/second].

    Source:
        S. Williams, A. Waterman and D. Patterson, Roofline, Commun. ACM 52 (2009) 65-76, doi:10.1145/1498765.1498785,
        solved for the bandwidth.

    Examples:
        >>> bandwidth_for_time(141.2e9, 0.05) / 1e9  # 70 billion weights in 16 bits every 50 ms
        2824.0
    """
    return traffic / time


@equation
def peak_for_time(work: Flop, time: Seconds, efficiency: Fraction = 1.0) -> FlopPerSecond:
    r"""Arithmetic peak that does some work in some time at some efficiency.

    .. math:: P = \frac{W}{\eta t}

    Args:
        work: FLOPs, W [flop]
        time: time there is, t [second]
        efficiency: share of the peak that is reached, eta [1]

    Returns:
        Peak [flop/second].

    Source:
        S. Williams et al., Commun. ACM 52 (2009) 65-76, doi:10.1145/1498765.1498785, solved for the peak.

    Examples:
        >>> peak_for_time(141.2e9, 0.05, 0.5) / 1e12
        5.648
    """
    return work / (time * efficiency)


@equation
def devices_for_needs(bandwidth: Fraction, arithmetic: Fraction, memory: Fraction) -> Count:
    r"""Devices that together meet three needs, if work splits evenly and communication is free.

    .. math:: n = \lceil \max(b, a, m) \rceil

    Args:
        bandwidth: bandwidth needed over that of one device, b [1]
        arithmetic: peak needed over that of one device, a [1]
        memory: memory needed over that of one device, m [1]

    Returns:
        Devices; a lower bound [1].

    Source:
        Definition.

    Examples:
        >>> float(devices_for_needs(0.84, 0.01, 1.77))
        2.0
    """
    return np.ceil(np.maximum(np.maximum(bandwidth, arithmetic), memory))


@equation
def elasticity(changed: Fraction, factor: Fraction) -> Fraction:
    r"""Elasticity: relative change of a result for a small relative change of an input.

    .. math:: e = \frac{\ln (T' / T)}{\ln (x' / x)}

    Args:
        changed: result over the result before, T'/T [1]
        factor: input over the input before, x'/x [1]

    Returns:
        Elasticity; -1 where the result is inversely proportional to the input [1].

    Source:
        A. Saltelli et al., Global sensitivity analysis: the primer, Wiley 2008, section 1.2 (local derivatives, here of
        logarithms).

    Examples:
        >>> round(float(elasticity(1 / 1.1, 1.1)), 6)
        -1.0
    """
    return np.log(changed) / np.log(factor)
