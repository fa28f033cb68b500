"""Collectives over a hierarchy: fast links inside a group, slower ones between groups; and what stays exposed."""

from __future__ import annotations

import numpy as np

from ..units import Bytes, BytesPerSecond, Count, Fraction, Seconds
from . import equation


@equation
def hierarchical_all_reduce_time(
    message: Bytes,
    local: Count,
    groups: Count,
    inside: BytesPerSecond,
    across: BytesPerSecond,
    inside_latency: Seconds = 0.0,
    across_latency: Seconds = 0.0,
) -> Seconds:
    r"""Time of an all-reduce in three phases: reduce-scatter in each group, all-reduce across, all-gather in each group.

    Every member of a group carries its own shard across, all of them at once, so ``across`` is the bandwidth that one
    rank has between groups: a group's network bandwidth divided by its members.

    .. math:: t = 2 (g - 1) \left( \alpha_i + \frac{m}{g B_i} \right) + 2 (n - 1) \left( \alpha_a + \frac{m}{g\, n B_a} \right)

    Args:
        message: payload held by each rank, m [byte]
        local: ranks of a group, g >= 1 [1]
        groups: groups, n >= 1 [1]
        inside: one direction of a rank's link inside the group, B_i [byte/second]
        across: one direction of a rank's share of the links between groups, B_a [byte/second]
        inside_latency: per hop inside, alpha_i [second]
        across_latency: per hop between groups, alpha_a [second]

    Returns:
        Time, 0 for a single rank [second].

    Source:
        X. Jia et al., Highly scalable deep learning training system with mixed-precision, arXiv:1807.11205, section
        3.3; phases costed as rings (P. Patarasuk and X. Yuan, doi:10.1016/j.jpdc.2008.09.002).

    Examples:
        >>> hierarchical_all_reduce_time(16e9, 8.0, 32.0, 900e9, 50e9)
        0.10861...
    """
    first = (local - 1) * (inside_latency + message / (local * inside))
    between = 2 * (groups - 1) * (across_latency + message / (local * groups * across))
    return 2 * first + between


@equation
def hierarchical_all_to_all_time(
    message: Bytes,
    local: Count,
    groups: Count,
    inside: BytesPerSecond,
    across: BytesPerSecond,
    inside_latency: Seconds = 0.0,
    across_latency: Seconds = 0.0,
) -> Seconds:
    r"""Time of an all-to-all in two phases: gather by destination inside each group, then exchange across.

    The first phase lets each rank send one large block to each other group instead of one to each of its ranks.

    .. math:: t = (g - 1) \left( \alpha_i + \frac{m}{g B_i} \right) + (n - 1) \left( \alpha_a + \frac{m}{n B_a} \right)

    Args:
        message: all blocks that one rank holds, m [byte]
        local: ranks of a group, g >= 1 [1]
        groups: groups, n >= 1 [1]
        inside: one direction of a rank's link inside the group, B_i [byte/second]
        across: one direction of a rank's share of the links between groups, B_a [byte/second]
        inside_latency: of one message inside, alpha_i [second]
        across_latency: of one message between groups, alpha_a [second]

    Returns:
        Time, 0 for a single rank [second].

    Source:
        C. Hwang et al., Tutel: adaptive mixture-of-experts at scale, MLSys 2023, arXiv:2206.03382 (two-dimensional
        hierarchical all-to-all).

    Examples:
        >>> hierarchical_all_to_all_time(1e9, 8.0, 4.0, 450e9, 50e9)
        0.0169...
    """
    first = (local - 1) * (inside_latency + message / (local * inside))
    return first + (groups - 1) * (across_latency + message / (groups * across))


@equation
def two_phase_all_reduce_time(inside: Seconds, across: Seconds) -> Seconds:
    r"""Time of a hierarchical all-reduce from its phases: scatter and gather inside, all-reduce across.

    .. math:: t = 2 t_i + t_a

    Args:
        inside: time of the reduce-scatter, or of the all-gather, inside a group, t_i [second]
        across: time of the all-reduce of one shard between groups, t_a [second]

    Returns:
        Time [second].

    Source:
        X. Jia et al., Highly scalable deep learning training system with mixed-precision, arXiv:1807.11205, section
        3.3.

    Examples:
        >>> two_phase_all_reduce_time(1.0, 0.5)
        2.5
    """
    return 2 * inside + across


@equation
def exposed_time(communication: Seconds, window: Seconds, share: Fraction) -> Seconds:
    r"""Communication that the step still waits for when part of it runs behind arithmetic.

    At most the given share overlaps, and no more than the arithmetic lasts.

    .. math:: t_x = t - \min(\eta t, w)

    Args:
        communication: time of the communication alone, t [second]
        window: arithmetic that it can hide behind, w [second]
        share: largest share that overlaps, eta; 0 for no overlap [1]

    Returns:
        Time [second].

    Source:
        S. Li et al., PyTorch distributed: experiences on accelerating data parallel training, VLDB 2020,
        arXiv:2006.15704, section 3.2.3 (buckets of gradients reduced during the backward pass).

    Examples:
        >>> [float(exposed_time(1.0, window, 0.85)) for window in (10.0, 0.5)]
        [0.15..., 0.5]
    """
    return communication - np.minimum(share * communication, window)


@equation
def shard_size(message: Bytes, ranks: Count) -> Bytes:
    r"""Part of a buffer that one of several ranks keeps after a reduce-scatter.

    .. math:: s = \frac{m}{p}

    Args:
        message: whole buffer, m [byte]
        ranks: ranks that share it, p [1]

    Returns:
        Size [byte].

    Source:
        E. Chan et al., Concurrency Computat. 19 (2007) 1749-1783, doi:10.1002/cpe.1206, table I.

    Examples:
        >>> shard_size(8.0, 4.0)
        2.0
    """
    return message / ranks


@equation
def repeated_time(each: Seconds, times: Count, slowdown: Fraction = 1.0) -> Seconds:
    r"""Time of the same thing done many times over in one step.

    .. math:: t = n\, t_1 s

    Args:
        each: once, t_1 [second]
        times: how often, n [1]
        slowdown: by other traffic, s [1]

    Returns:
        Time [second].

    Source:
        D. Narayanan et al., SC 2021, arXiv:2104.04473, section 3.2 (communication of all layers and micro-batches).

    Examples:
        >>> repeated_time(2.0, 3.0)
        6.0
    """
    return each * times * slowdown
