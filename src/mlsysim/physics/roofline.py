"""The roofline: work takes as long as the slower of arithmetic and memory, plus what cannot overlap."""

from __future__ import annotations

import numpy as np

from ..units import Bytes, BytesPerSecond, Flop, FlopPerByte, FlopPerSecond, Fraction, Seconds
from . import equation
from .choice import maximum


@equation
def ridge_point(peak: FlopPerSecond, bandwidth: BytesPerSecond) -> FlopPerByte:
    r"""Arithmetic intensity at which arithmetic and memory take equally long.

    .. math:: I^* = \frac{P}{B}

    Args:
        peak: arithmetic peak in the precision used, P [flop/second]
        bandwidth: memory bandwidth, B [byte/second]

    Returns:
        Ridge point [flop/byte].

    Source:
        S. Williams, A. Waterman and D. Patterson, Commun. ACM 52 (2009) 65-76, doi:10.1145/1498765.1498785.

    Examples:
        >>> ridge_point(989e12, 3.35e12)
        295.22...
    """
    return peak / bandwidth


@equation
def arithmetic_intensity(work: Flop, traffic: Bytes) -> FlopPerByte:
    r"""FLOPs done for each byte moved.

    .. math:: I = \frac{W}{Q}

    Args:
        work: FLOPs, two per multiply-add, W [flop]
        traffic: bytes between memory and chip, Q [byte]

    Returns:
        Arithmetic intensity [flop/byte].

    Source:
        S. Williams, A. Waterman and D. Patterson, Commun. ACM 52 (2009) 65-76, doi:10.1145/1498765.1498785.

    Examples:
        >>> arithmetic_intensity(16e9, 16e9)
        1.0
    """
    return work / traffic


@equation
def attainable_flops(intensity: FlopPerByte, peak: FlopPerSecond, bandwidth: BytesPerSecond) -> FlopPerSecond:
    r"""Highest rate a kernel of some arithmetic intensity can reach.

    .. math:: R = \min(P, I B)

    Args:
        intensity: FLOPs per byte moved, I [flop/byte]
        peak: arithmetic peak, P [flop/second]
        bandwidth: memory bandwidth, B [byte/second]

    Returns:
        Attainable rate [flop/second].

    Source:
        S. Williams, A. Waterman and D. Patterson, Commun. ACM 52 (2009) 65-76, doi:10.1145/1498765.1498785.

    Examples:
        >>> attainable_flops(np.array([1.0, 1000.0]), 989e12, 3.35e12) / 1e12
        array([  3.35, 989.  ])
    """
    return np.minimum(peak, intensity * bandwidth)


@equation
def compute_time(work: Flop, peak: FlopPerSecond, efficiency: Fraction = 1.0) -> Seconds:
    r"""Time of the arithmetic alone.

    .. math:: t = \frac{W}{\eta P}

    Args:
        work: FLOPs, W [flop]
        peak: arithmetic peak of all chips at work, P [flop/second]
        efficiency: share of the peak that is reached, eta in (0, 1] [1]

    Returns:
        Time [second].

    Source:
        S. Williams, A. Waterman and D. Patterson, Commun. ACM 52 (2009) 65-76, doi:10.1145/1498765.1498785.

    Examples:
        >>> compute_time(4.1e9, 312e12, 0.5)
        2.628...e-05
    """
    return work / (peak * efficiency)


@equation
def memory_time(traffic: Bytes, bandwidth: BytesPerSecond) -> Seconds:
    r"""Time to move bytes between memory and chip.

    .. math:: t = \frac{Q}{B}

    Args:
        traffic: bytes read and written, Q [byte]
        bandwidth: memory bandwidth, B [byte/second]

    Returns:
        Time [second].

    Source:
        S. Williams, A. Waterman and D. Patterson, Commun. ACM 52 (2009) 65-76, doi:10.1145/1498765.1498785.

    Examples:
        >>> memory_time(16.06e9, 3.35e12)
        0.00479...
    """
    return traffic / bandwidth


@equation
def roofline_time(compute: Seconds, memory: Seconds, exposed: Seconds) -> Seconds:
    r"""Time when arithmetic and memory overlap fully and the rest not at all.

    .. math:: t = \max(t_c, t_m) + t_x

    Args:
        compute: time of the arithmetic, t_c [second]
        memory: time of the memory traffic, t_m [second]
        exposed: launches, communication and other time that overlaps with neither, t_x [second]

    Returns:
        Time [second].

    Source:
        S. Williams, A. Waterman and D. Patterson, Commun. ACM 52 (2009) 65-76, doi:10.1145/1498765.1498785.

    Examples:
        >>> roofline_time(1.0, 2.0, 0.5)
        2.5
    """
    return maximum(compute, memory) + exposed


@equation
def spilled_memory_time(
    traffic: Bytes, resident: Bytes, capacity: Bytes, bandwidth: BytesPerSecond, host_bandwidth: BytesPerSecond
) -> Seconds:
    r"""Time to stream data once when what does not fit lies in host memory.

    The share that fits streams at memory bandwidth, the spilled share over the host link, one after the other.

    .. math:: t = \frac{Q (1 - s)}{B} + \frac{Q s}{B_h}, \quad s = \max\left(0, 1 - \frac{C}{M}\right)

    Args:
        traffic: bytes moved in one pass, Q [byte]
        resident: bytes that want to stay in memory, M [byte]
        capacity: bytes that do, C [byte]
        bandwidth: memory bandwidth, B [byte/second]
        host_bandwidth: one direction of the host link, B_h [byte/second]

    Returns:
        Time [second].

    Source:
        Y. Sheng et al., FlexGen, ICML 2023, arXiv:2303.06865, section 4.3 (cost of a percentage placed on the CPU).

    Examples:
        >>> spilled_memory_time(100e9, 100e9, 80e9, 2e12, 50e9)
        np.float64(0.44)
    """
    spilled = np.maximum(0.0, 1 - capacity / resident)
    return traffic * (1 - spilled) / bandwidth + traffic * spilled / host_bandwidth


@equation
def utilisation(work: Flop, time: Seconds, peak: FlopPerSecond) -> Fraction:
    r"""Model FLOPs utilisation: useful FLOPs over what the peak would do in that time.

    .. math:: \mathrm{MFU} = \frac{W}{t P}

    Args:
        work: FLOPs that the model needs, recomputation excluded, W [flop]
        time: wall-clock time, t [second]
        peak: arithmetic peak of all chips at work, P [flop/second]

    Returns:
        MFU [1].

    Source:
        A. Chowdhery et al., PaLM, J. Mach. Learn. Res. 24 (2023), arXiv:2204.02311, appendix B.

    Examples:
        >>> round(utilisation(1.0e12, 2.0e-3, 1e15), 3)
        0.5
    """
    return work / (time * peak)
