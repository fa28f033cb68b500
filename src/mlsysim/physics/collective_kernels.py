"""Collectives as libraries run them: a latency that grows with the ranks, protocols, and what the wire carries."""

from __future__ import annotations

from ..units import Bytes, BytesPerSecond, Count, Fraction, Seconds
from . import equation
from .choice import maximum, minimum


@equation
def ring_wire_bytes(message: Bytes, ranks: Count, passes: Count) -> Bytes:
    r"""Bytes that each rank sends in a ring: one pass for gather or scatter, two for all-reduce.

    .. math:: w = c \frac{p - 1}{p} m

    Args:
        message: whole buffer of a rank, m [byte]
        ranks: ranks, p [1]
        passes: times that the buffer goes round, c [1]

    Returns:
        Bytes sent by one rank [byte].

    Source:
        R. Thakur, R. Rabenseifner and W. Gropp, Int. J. High Perform. Comput. Appl. 19 (2005) 49-66.

    Examples:
        >>> ring_wire_bytes(8.0, 4.0, 2.0)
        12.0
    """
    return passes * (ranks - 1) / ranks * message


@equation
def switch_wire_bytes(message: Bytes, ranks: Count) -> Bytes:
    r"""Bytes that each rank sends when the switch adds up and multicasts.

    .. math:: w = m \left(1 + \frac{1}{p}\right)

    Args:
        message: whole buffer of a rank, m [byte]
        ranks: ranks, p [1]

    Returns:
        Bytes over one rank's link, one direction [byte].

    Source:
        B. Klenk et al., An In-Network Architecture for Accelerating Shared-Memory Multiprocessor Collectives, ISCA
        2020, doi:10.1109/ISCA45697.2020.00085.

    Examples:
        >>> switch_wire_bytes(8.0, 4.0)
        10.0
    """
    return message * (1 + 1 / ranks)


@equation
def one_step_wire_bytes(message: Bytes, ranks: Count) -> Bytes:
    r"""Bytes that each rank receives when it reads the whole buffer of every other rank and adds up by itself.

    .. math:: w = (p - 1) m

    Args:
        message: whole buffer of a rank, m [byte]
        ranks: ranks, p [1]

    Returns:
        Bytes over one rank's link, one direction [byte].

    Source:
        E. Chan et al., Collective communication: theory, practice, and experience, Concurrency Computat. 19 (2007)
        1749-1783, doi:10.1002/cpe.1206 (all-gather of whole vectors, then a local sum).

    Examples:
        >>> one_step_wire_bytes(8.0, 4.0)
        24.0
    """
    return (ranks - 1) * message


@equation
def staged_time(time: Seconds, message: Bytes, efficiency: Fraction, bandwidth: BytesPerSecond) -> Seconds:
    r"""Time of a collective that first copies its buffer within the device's memory: a read and a write of each byte.

    .. math:: t' = t + \frac{2 m}{\eta B_m}

    Args:
        time: of the collective alone, t [second]
        message: whole buffer of a rank, m [byte]
        efficiency: share of the memory bandwidth that a copy reaches, eta [1]
        bandwidth: of the device's memory, B_m [byte/second]

    Returns:
        Time [second].

    Source:
        J. D. McCalpin, Memory bandwidth and machine balance in current high performance computers, IEEE TCCA
        Newsletter, December 1995 (the copy kernel of STREAM: two transfers a byte).

    Examples:
        >>> staged_time(1e-3, 1e9, 0.8, 2e12)
        0.00225
    """
    return time + 2 * message / (efficiency * bandwidth)


@equation
def protocol_time(
    latency: Seconds, growth: Fraction, ranks: Count, wire: Bytes, efficiency: Fraction, bandwidth: BytesPerSecond
) -> Seconds:
    r"""Time of a collective under one protocol: a latency that grows with the ranks, and bytes over the link.

    .. math:: t = \alpha (1 + \gamma (p - 2)) + \frac{w}{\eta B}

    Args:
        latency: latency with two ranks, alpha [second]
        growth: growth of the latency with each further rank, gamma [1]
        ranks: ranks, p [1]
        wire: bytes sent by one rank, w [byte]
        efficiency: share of the link that the protocol can use, eta [1]
        bandwidth: one direction of one rank's link, B [byte/second]

    Returns:
        Time [second].

    Source:
        R. Hockney, Parallel Computing 20 (1994) 389-398 (latency and bandwidth); protocols LL, LL128 and Simple:
        NVIDIA, NCCL User Guide, environment variable NCCL_PROTO.

    Examples:
        >>> protocol_time(10e-6, 0.2, 8.0, 1e6, 0.5, 450e9)
        2.644...e-05
    """
    return latency * (1 + growth * (ranks - 2)) + wire / (efficiency * bandwidth)


@equation
def smooth_minimum(first: Seconds, second: Seconds, sharpness: Count = 6.0) -> Seconds:
    r"""Time of the better of two ways to do the same, chosen well but not perfectly near the crossing.

    .. math:: t = (a^{-q} + b^{-q})^{-1/q}

    Args:
        first: time of one way, a [second]
        second: time of the other, b [second]
        sharpness: q; large for a perfect choice [1]

    Returns:
        Time [second].

    Source:
        NVIDIA, NCCL User Guide: the library picks the protocol from message size and ranks; the norm is ours.

    Examples:
        >>> round(float(smooth_minimum(1.0, 10.0)), 3)
        1.0
    """
    shorter = minimum(first, second)
    return shorter * (1 + (shorter / maximum(first, second)) ** sharpness) ** (-1 / sharpness)


@equation
def exchange_time(latency: Seconds, slowest: Seconds) -> Seconds:
    r"""Time of an exchange of tokens whose stages run as a pipeline: the slowest stage after a start.

    The stages are links, network and the cores that copy; blocks of tokens flow through all of them at once.

    .. math:: t = \alpha + \max_i t_i

    Args:
        latency: start, alpha [second]
        slowest: time of the slowest stage alone, t_i [second]

    Returns:
        Time [second].

    Source:
        DeepSeek-AI, DeepSeek-V3 technical report, arXiv:2412.19437, section 3.2.2 (sending, forwarding and receiving
        overlap, each with warps of its own).

    Examples:
        >>> exchange_time(20e-6, 480e-6)
        0.0005
    """
    return latency + slowest


@equation
def hierarchical_time(inside: Seconds, across: Seconds) -> Seconds:
    r"""Time of a collective done inside every node and then across nodes.

    .. math:: t = t_i + t_a

    Args:
        inside: time inside a node, t_i [second]
        across: time across nodes, on the share of the buffer that each rank owns, t_a [second]

    Returns:
        Time [second].

    Source:
        R. Thakur, R. Rabenseifner and W. Gropp, Int. J. High Perform. Comput. Appl. 19 (2005) 49-66 (composition).

    Examples:
        >>> hierarchical_time(1e-5, 2e-5)
        3.0000...e-05
    """
    return inside + across
