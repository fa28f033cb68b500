"""Collective communication under the alpha-beta model: a latency for each message, bytes over one link direction."""

from __future__ import annotations

import numpy as np

from ..units import Bytes, BytesPerSecond, Count, Seconds
from . import equation


@equation
def ring_all_reduce_time(message: Bytes, ranks: Count, bandwidth: BytesPerSecond, latency: Seconds = 0.0) -> Seconds:
    r"""Time of a ring all-reduce.

    Each rank hands ``ranks - 1`` chunks of ``message / ranks`` to its neighbour twice over: once to
    reduce-scatter, once to all-gather. Links are equal and uncontended; the local reduction is free.

    .. math:: t = 2 (p - 1) \left( \alpha + \frac{m}{p B} \right)

    Args:
        message: payload held by each rank, m [byte]
        ranks: ranks in the ring, p >= 1 [1]
        bandwidth: one direction of one link, B; half of a bidirectional datasheet figure [byte/second]
        latency: per hop, alpha [second]

    Returns:
        Time, broadcast shape of the arguments; 0 for a single rank [second].

    Source:
        P. Patarasuk and X. Yuan, J. Parallel Distrib. Comput. 69 (2009) 117-124, doi:10.1016/j.jpdc.2008.09.002.

    Examples:
        >>> ring_all_reduce_time(1e9, 8, 450e9, 2e-6)  # 1 GB on 8 ranks, 450 GB/s each way, 2 us per hop
        0.0039168...
        >>> ring_all_reduce_time(1e9, np.array([1.0, 2.0, 4.0]), 1e9)
        array([0. , 1. , 1.5])
    """
    return 2 * (ranks - 1) * (latency + message / (ranks * bandwidth))


@equation
def direct_all_reduce_time(message: Bytes, ranks: Count, bandwidth: BytesPerSecond, latency: Seconds = 0.0) -> Seconds:
    r"""Time of an all-reduce in two exchanges through a switch that joins every pair of ranks.

    Every rank sends each other rank its shard at once, adds up what it gets, and sends the sum to all. The bytes are
    those of a ring; the latency does not grow with the ranks.

    .. math:: t = 2 \left( \alpha \min(p - 1, 1) + \frac{p - 1}{p} \frac{m}{B} \right)

    Args:
        message: payload held by each rank, m [byte]
        ranks: ranks, p >= 1 [1]
        bandwidth: one direction of one rank's link into the switch, B [byte/second]
        latency: of one exchange, alpha [second]

    Returns:
        Time, 0 for a single rank [second].

    Source:
        E. Chan et al., Collective communication: theory, practice, and experience, Concurrency Computat. 19 (2007)
        1749-1783, doi:10.1002/cpe.1206 (lower bound of the bandwidth term: reduce-scatter, then all-gather).

    Examples:
        >>> float(direct_all_reduce_time(1e9, 8.0, 450e9, 2e-6))
        0.003892...
    """
    return 2 * (latency * np.minimum(ranks - 1, 1) + (ranks - 1) / ranks * message / bandwidth)


@equation
def tree_all_reduce_time(message: Bytes, ranks: Count, bandwidth: BytesPerSecond, latency: Seconds = 0.0) -> Seconds:
    r"""Time of an all-reduce up and down a binomial tree, the whole message at every step.

    .. math:: t = 2 \lceil \log_2 p \rceil \left( \alpha + \frac{m}{B} \right)

    Args:
        message: payload held by each rank, m [byte]
        ranks: ranks, p >= 1 [1]
        bandwidth: one direction of one link, B [byte/second]
        latency: of one message, alpha [second]

    Returns:
        Time, 0 for a single rank [second].

    Source:
        R. Thakur, R. Rabenseifner and W. Gropp, Int. J. High Perform. Comput. Appl. 19 (2005) 49-66,
        doi:10.1177/1094342005051521, sections 4.2 and 4.4 (binomial reduce, then broadcast).

    Examples:
        >>> float(tree_all_reduce_time(1e9, 8.0, 50e9, 500e-9))
        0.120003
    """
    return 2 * np.ceil(np.log2(ranks)) * (latency + message / bandwidth)


@equation
def double_tree_all_reduce_time(
    message: Bytes, ranks: Count, bandwidth: BytesPerSecond, latency: Seconds = 0.0
) -> Seconds:
    r"""Time of an all-reduce over two complementary binary trees, each pipelining half of the message.

    The optimal number of chunks hides the depth of the trees behind the bandwidth, at the cost of a cross term.

    .. math:: t = 2 \left( \sqrt{h \alpha} + \sqrt{\frac{m}{B}} \right)^2 \ (p > 1), \quad h = \lceil \log_2 p \rceil

    Args:
        message: payload held by each rank, m [byte]
        ranks: ranks, p >= 1 [1]
        bandwidth: one direction of one link, B [byte/second]
        latency: of one message, alpha [second]

    Returns:
        Time, 0 for a single rank [second].

    Source:
        P. Sanders, J. Speck and J. L. Traeff, Two-tree algorithms for full bandwidth broadcast, reduction and scan,
        Parallel Computing 35 (2009) 581-594, doi:10.1016/j.parco.2009.09.001; run as reduction, then broadcast.

    Examples:
        >>> float(double_tree_all_reduce_time(1e9, 1024.0, 50e9, 5e-6))
        0.0441...
    """
    height = np.ceil(np.log2(ranks))
    return 2 * np.minimum(height, 1) * (np.sqrt(height * latency) + np.sqrt(message / bandwidth)) ** 2


@equation
def recursive_doubling_all_reduce_time(
    message: Bytes, ranks: Count, bandwidth: BytesPerSecond, latency: Seconds = 0.0
) -> Seconds:
    r"""Time of a recursive-doubling all-reduce: pairs at growing distance exchange the whole message.

    Fewest messages, so best for small ones. A rank count that is no power of two costs two more exchanges.

    .. math:: t = \left( \lfloor \log_2 p \rfloor + 2 [p \ne 2^k] \right) \left( \alpha + \frac{m}{B} \right)

    Args:
        message: payload held by each rank, m [byte]
        ranks: ranks, p >= 1 [1]
        bandwidth: one direction of one link, B [byte/second]
        latency: of one message, alpha [second]

    Returns:
        Time, 0 for a single rank [second].

    Source:
        R. Thakur, R. Rabenseifner and W. Gropp, Int. J. High Perform. Comput. Appl. 19 (2005) 49-66,
        doi:10.1177/1094342005051521, section 4.5.

    Examples:
        >>> recursive_doubling_all_reduce_time(1e3, np.array([8.0, 9.0]), 1e9, 1e-6) * 1e6
        array([ 6., 10.])
    """
    steps = np.floor(np.log2(ranks))
    return (steps + 2 * np.minimum(ranks - 2**steps, 1)) * (latency + message / bandwidth)


@equation
def rabenseifner_all_reduce_time(
    message: Bytes, ranks: Count, bandwidth: BytesPerSecond, latency: Seconds = 0.0
) -> Seconds:
    r"""Time of a recursive-halving reduce-scatter followed by a recursive-doubling all-gather.

    The bytes of a ring with few messages. A rank count that is no power of two first folds the surplus ranks in.

    .. math:: t = 2 \log_2 p'\, \alpha + 2 \frac{p' - 1}{p'} \frac{m}{B} + 2 [p \ne p'] \left( \alpha + \frac{m}{B} \right),
        \quad p' = 2^{\lfloor \log_2 p \rfloor}

    Args:
        message: payload held by each rank, m [byte]
        ranks: ranks, p >= 1 [1]
        bandwidth: one direction of one link, B [byte/second]
        latency: of one message, alpha [second]

    Returns:
        Time, 0 for a single rank [second].

    Source:
        R. Thakur, R. Rabenseifner and W. Gropp, Int. J. High Perform. Comput. Appl. 19 (2005) 49-66,
        doi:10.1177/1094342005051521, section 4.5.

    Examples:
        >>> float(rabenseifner_all_reduce_time(1e9, 8.0, 50e9, 500e-9))
        0.035003
    """
    steps = np.floor(np.log2(ranks))
    core = 2**steps
    folded = 2 * np.minimum(ranks - core, 1) * (latency + message / bandwidth)
    return 2 * steps * latency + 2 * (core - 1) / core * message / bandwidth + folded


@equation
def in_network_all_reduce_time(
    message: Bytes, ranks: Count, bandwidth: BytesPerSecond, latency: Seconds = 0.0
) -> Seconds:
    r"""Time of an all-reduce that switches add up on the way (SHARP): each rank sends once and receives once.

    Sending and receiving overlap, so the link carries the message once in each direction; a ring carries it nearly
    twice.

    .. math:: t = \left( 2 \alpha + \frac{m}{B} \right) \min(p - 1, 1)

    Args:
        message: payload held by each rank, m [byte]
        ranks: ranks, p >= 1 [1]
        bandwidth: one direction of one rank's link, B [byte/second]
        latency: from a rank to the root of the reduction tree, alpha [second]

    Returns:
        Time, 0 for a single rank [second].

    Source:
        R. L. Graham et al., Scalable Hierarchical Aggregation Protocol (SHARP): a hardware architecture for efficient
        data reduction, COMHPC 2016, doi:10.1109/COMHPC.2016.006.

    Examples:
        >>> float(in_network_all_reduce_time(1e9, 8.0, 50e9, 1e-6))
        0.020002
    """
    return np.minimum(ranks - 1, 1) * (2 * latency + message / bandwidth)


@equation
def multicast_all_reduce_time(
    message: Bytes, ranks: Count, bandwidth: BytesPerSecond, latency: Seconds = 0.0
) -> Seconds:
    r"""Time of an all-reduce over a memory switch that reduces loads and multicasts stores (NVLink SHARP, NVLS).

    Each rank reads its shard, summed over all ranks, and writes it to all: in one direction a link carries the
    message once to serve the others' reads and once more a shard.

    .. math:: t = \left( 2 \alpha + \frac{m}{B} \left( 1 + \frac{1}{p} \right) \right) \min(p - 1, 1)

    Args:
        message: payload held by each rank, m [byte]
        ranks: ranks, p >= 1 [1]
        bandwidth: one direction of one rank's link, B [byte/second]
        latency: of one pass through the switch, alpha [second]

    Returns:
        Time, 0 for a single rank [second].

    Source:
        B. Klenk et al., An in-network architecture for accelerating shared-memory multiprocessor collectives, ISCA
        2020, doi:10.1109/ISCA45697.2020.00085.

    Examples:
        >>> float(multicast_all_reduce_time(1e9, 8.0, 450e9, 1e-6))
        0.002502
    """
    return np.minimum(ranks - 1, 1) * (2 * latency + message / bandwidth * (1 + 1 / ranks))


@equation
def ring_all_gather_time(message: Bytes, ranks: Count, bandwidth: BytesPerSecond, latency: Seconds = 0.0) -> Seconds:
    r"""Time of a ring all-gather, or of a ring reduce-scatter, which moves the same bytes the other way round.

    .. math:: t = (p - 1) \left( \alpha + \frac{m}{p B} \right)

    Args:
        message: the whole buffer: what each rank holds after the gather or before the scatter, m [byte]
        ranks: ranks in the ring, p >= 1 [1]
        bandwidth: one direction of one link, B [byte/second]
        latency: per hop, alpha [second]

    Returns:
        Time, 0 for a single rank [second].

    Source:
        R. Thakur, R. Rabenseifner and W. Gropp, Int. J. High Perform. Comput. Appl. 19 (2005) 49-66,
        doi:10.1177/1094342005051521, sections 4.1 and 4.3.

    Examples:
        >>> ring_all_gather_time(1e9, 4.0, 1e9, 1e-3)
        0.753
    """
    return (ranks - 1) * (latency + message / (ranks * bandwidth))


@equation
def direct_all_gather_time(message: Bytes, ranks: Count, bandwidth: BytesPerSecond, latency: Seconds = 0.0) -> Seconds:
    r"""Time of an all-gather (or reduce-scatter) in one exchange through a switch: half of a direct all-reduce.

    .. math:: t = \alpha \min(p - 1, 1) + \frac{p - 1}{p} \frac{m}{B}

    Args:
        message: the whole buffer: what each rank holds after the gather or before the scatter, m [byte]
        ranks: ranks, p >= 1 [1]
        bandwidth: one direction of one rank's link into the switch, B [byte/second]
        latency: of one exchange, alpha [second]

    Returns:
        Time, 0 for a single rank [second].

    Source:
        E. Chan et al., Collective communication: theory, practice, and experience, Concurrency Computat. 19 (2007)
        1749-1783, doi:10.1002/cpe.1206.

    Examples:
        >>> float(direct_all_gather_time(1e9, 4.0, 1e9, 1e-3))
        0.751
    """
    return latency * np.minimum(ranks - 1, 1) + (ranks - 1) / ranks * message / bandwidth


@equation
def all_to_all_time(message: Bytes, ranks: Count, bandwidth: BytesPerSecond, latency: Seconds = 0.0) -> Seconds:
    r"""Time of a pairwise all-to-all: in step i every rank exchanges its block with the rank i further on.

    .. math:: t = (p - 1) \left( \alpha + \frac{m}{p B} \right)

    Args:
        message: all blocks that one rank holds, its own included, m [byte]
        ranks: ranks, p >= 1 [1]
        bandwidth: one direction of one rank's link, B [byte/second]
        latency: of one message, alpha [second]

    Returns:
        Time, 0 for a single rank [second].

    Source:
        R. Thakur, R. Rabenseifner and W. Gropp, Int. J. High Perform. Comput. Appl. 19 (2005) 49-66,
        doi:10.1177/1094342005051521 (pairwise exchange for long messages).

    Examples:
        >>> all_to_all_time(1e9, 8.0, 50e9, 500e-9)
        0.0175035
    """
    return (ranks - 1) * (latency + message / (ranks * bandwidth))


@equation
def broadcast_time(message: Bytes, ranks: Count, bandwidth: BytesPerSecond, latency: Seconds = 0.0) -> Seconds:
    r"""Time of a broadcast that scatters the message and then gathers it round a ring; best for long messages.

    .. math:: t = (\lceil \log_2 p \rceil + p - 1)\, \alpha + 2 \frac{p - 1}{p} \frac{m}{B}

    Args:
        message: payload of the root, m [byte]
        ranks: ranks, p >= 1 [1]
        bandwidth: one direction of one link, B [byte/second]
        latency: of one message, alpha [second]

    Returns:
        Time, 0 for a single rank [second].

    Source:
        R. Thakur, R. Rabenseifner and W. Gropp, Int. J. High Perform. Comput. Appl. 19 (2005) 49-66,
        doi:10.1177/1094342005051521, section 4.2 (van de Geijn's algorithm).

    Examples:
        >>> float(broadcast_time(1e9, 4.0, 1e9, 1e-3))
        1.505
    """
    return (np.ceil(np.log2(ranks)) + ranks - 1) * latency + 2 * (ranks - 1) / ranks * message / bandwidth


@equation
def send_time(message: Bytes, bandwidth: BytesPerSecond, latency: Seconds = 0.0) -> Seconds:
    r"""Time of one point-to-point message.

    .. math:: t = \alpha + \frac{m}{B}

    Args:
        message: bytes sent, m [byte]
        bandwidth: one direction of the link, B [byte/second]
        latency: alpha [second]

    Returns:
        Time [second].

    Source:
        R. W. Hockney, The communication challenge for MPP, Parallel Computing 20 (1994) 389-398,
        doi:10.1016/S0167-8191(06)80021-9.

    Examples:
        >>> send_time(1e9, 50e9, 5e-6)
        0.020005
    """
    return latency + message / bandwidth
