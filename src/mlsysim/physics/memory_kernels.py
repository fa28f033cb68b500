"""Kernels that only move bytes: norms, activations, quantisation, embedding, scans."""

from __future__ import annotations

from ..units import Bytes, BytesPerSecond, Fraction, Seconds
from . import equation


@equation
def streaming_time(traffic: Bytes, bandwidth: BytesPerSecond, efficiency: Fraction, launch: Seconds) -> Seconds:
    r"""Time of a kernel that streams its operands once.

    .. math:: t = t_0 + \frac{Q}{\eta B}

    Args:
        traffic: bytes read and written, Q [byte]
        bandwidth: memory bandwidth, B [byte/second]
        efficiency: share of the bandwidth that a stream sustains, eta [1]
        launch: fixed time of the kernel on the chip, t_0 [second]

    Returns:
        Time [second].

    Source:
        J. McCalpin, Memory Bandwidth and Machine Balance in Current High Performance Computers, IEEE TCCA Newsletter
        (1995), with R. Hockney's startup time (Parallel Computing 17 (1991) 1111-1130).

    Examples:
        >>> streaming_time(64e6, 3.35e12, 0.85, 1.5e-6)
        2.397...e-05
    """
    return launch + traffic / (efficiency * bandwidth)


@equation
def gather_time(
    rows: Bytes, bandwidth: BytesPerSecond, efficiency: Fraction, launch: Seconds, reuse: Fraction = 0.0
) -> Seconds:
    r"""Time to gather rows of a table, some of which are found in the cache.

    .. math:: t = t_0 + \frac{Q (1 - r)}{\eta B}

    Args:
        rows: bytes of all rows gathered, Q [byte]
        bandwidth: memory bandwidth, B [byte/second]
        efficiency: share of the bandwidth that a gather sustains, eta [1]
        launch: fixed time of the kernel on the chip, t_0 [second]
        reuse: share of the rows found in the cache, r [1]

    Returns:
        Time [second].

    Source:
        M. Naumov et al., Deep Learning Recommendation Model, arXiv:1906.00091, section 3 (embedding lookups are bound
        by memory).

    Examples:
        >>> gather_time(1e6, 1e12, 0.5, 0.0)
        2e-06
    """
    return launch + rows * (1 - reuse) / (efficiency * bandwidth)
