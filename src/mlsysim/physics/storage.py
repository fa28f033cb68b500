"""Storage and input: links in a row, checkpoints, preprocessing, prefetch and caches."""

from __future__ import annotations

import numpy as np

from ..units import Bytes, BytesPerSecond, Count, Dollars, DollarsPerByte, Fraction, PerSecond, Seconds
from . import equation

ENDLESS = float("inf")
"""Bandwidth of a link that never limits."""


@equation
def narrowest_bandwidth(
    first: BytesPerSecond,
    second: BytesPerSecond = ENDLESS,
    third: BytesPerSecond = ENDLESS,
    fourth: BytesPerSecond = ENDLESS,
) -> BytesPerSecond:
    r"""Bandwidth of several links in a row: that of the narrowest.

    .. math:: B = \min_i B_i

    Args:
        first: one link [byte/second]
        second: the next link; endless unless told otherwise [byte/second]
        third: the next link; endless unless told otherwise [byte/second]
        fourth: the next link; endless unless told otherwise [byte/second]

    Returns:
        Bandwidth end to end [byte/second].

    Source:
        Minimum of capacities along a path: L. R. Ford and D. R. Fulkerson, Canad. J. Math. 8 (1956) 399-404,
        doi:10.4153/CJM-1956-045-5.

    Examples:
        >>> float(narrowest_bandwidth(7e9, 64e9, 50e9)) / 1e9  # a disk, PCIe, host memory
        7.0
    """
    return np.minimum(np.minimum(first, second), np.minimum(third, fourth))


@equation
def transfer_time(size: Bytes, bandwidth: BytesPerSecond, latency: Seconds = 0.0) -> Seconds:
    r"""Time to move data over a link.

    .. math:: t = \alpha + \frac{M}{B}

    Args:
        size: bytes moved, M [byte]
        bandwidth: bandwidth of the path, B [byte/second]
        latency: time until the first byte arrives, alpha [second]

    Returns:
        Time [second].

    Source:
        R. W. Hockney, The communication challenge for MPP, Parallel Computing 20 (1994) 389-398,
        doi:10.1016/S0167-8191(06)80021-9.

    Examples:
        >>> transfer_time(141.2e9, 7e9, 1e-4)  # 70 B weights from an NVMe disk
        20.1715
    """
    return latency + size / bandwidth


@equation
def supply_utilisation(demand: BytesPerSecond, supply: BytesPerSecond) -> Fraction:
    r"""Share of a supply that a demand takes; above 1 the consumer stalls.

    .. math:: \rho = \frac{B_d}{B_s}

    Args:
        demand: bandwidth wanted, B_d [byte/second]
        supply: bandwidth there is, B_s [byte/second]

    Returns:
        Utilisation [1].

    Source:
        J. Mohan et al., Analyzing and mitigating data stalls in DNN training, VLDB 2021, arXiv:2007.06775.

    Examples:
        >>> supply_utilisation(1e9, 7e9)
        0.142857
    """
    return demand / supply


@equation
def input_bandwidth(consumers: Count, samples: Count, sample_size: Bytes, step: Seconds) -> BytesPerSecond:
    r"""Bandwidth that training wants of its storage.

    .. math:: B = \frac{n\, b\, M}{t}

    Args:
        consumers: accelerators that read different data, n [1]
        samples: samples of each in one step, b [1]
        sample_size: stored size of a sample, M [byte]
        step: time of a step, t [second]

    Returns:
        Bandwidth [byte/second].

    Source:
        J. Mohan et al., Analyzing and mitigating data stalls in DNN training, VLDB 2021, arXiv:2007.06775.

    Examples:
        >>> input_bandwidth(8.0, 256.0, 110e3, 0.1) / 1e9  # 8 accelerators, 256 pictures of 110 kB every 100 ms
        2.2528
    """
    return consumers * samples * sample_size / step


@equation
def request_bandwidth(requests: PerSecond, size: Bytes, sequential: BytesPerSecond) -> BytesPerSecond:
    r"""Bandwidth of many small reads: limited by requests per second, at most the sequential bandwidth.

    .. math:: B = \min(q M, B_{seq})

    Args:
        requests: requests that the device serves per second, q [1/second]
        size: bytes of one request, M [byte]
        sequential: bandwidth of large reads, B_seq [byte/second]

    Returns:
        Bandwidth [byte/second].

    Source:
        Definition of an I/O rate; the two limits of a device datasheet.

    Examples:
        >>> float(request_bandwidth(1e6, 4096.0, 7e9)) / 1e9  # a million random 4 KiB reads a second
        4.096
    """
    return np.minimum(requests * size, sequential)


@equation
def cached_bandwidth(hit_rate: Fraction, hot: BytesPerSecond, cold: BytesPerSecond) -> BytesPerSecond:
    r"""Bandwidth of a reader whose data is partly in a fast tier, one read at a time.

    .. math:: B = \left(\frac{h}{B_h} + \frac{1 - h}{B_c}\right)^{-1}

    Args:
        hit_rate: share of the bytes found in the fast tier, h [1]
        hot: bandwidth of the fast tier, B_h [byte/second]
        cold: bandwidth of the slow tier, B_c [byte/second]

    Returns:
        Mean bandwidth [byte/second].

    Source:
        J. L. Hennessy and D. A. Patterson, Computer architecture, 6th ed., 2017, section 2.1 (average access time).

    Examples:
        >>> cached_bandwidth(0.5, 10e9, 1e9) / 1e9  # half the bytes hit: 1.8 times, not 5.5 times the slow tier
        1.8181818
    """
    return 1 / (hit_rate / hot + (1 - hit_rate) / cold)


@equation
def transform_time(samples: Count, sample_size: Bytes, throughput: BytesPerSecond) -> Seconds:
    r"""Time that host processors take to decode and augment a batch.

    .. math:: t = \frac{b M}{C}

    Args:
        samples: samples of the batch, b [1]
        sample_size: size of a sample, M [byte]
        throughput: bytes that the processors transform per second, C [byte/second]

    Returns:
        Time [second].

    Source:
        J. Mohan et al., Analyzing and mitigating data stalls in DNN training, VLDB 2021, arXiv:2007.06775.

    Examples:
        >>> transform_time(256.0, 500e3, 2e9)
        0.064
    """
    return samples * sample_size / throughput


@equation
def stalled_utilisation(compute: Seconds, supply: Seconds) -> Fraction:
    r"""Busy share of an accelerator whose input is prepared while it computes.

    .. math:: u = \frac{t_c}{\max(t_c, t_s)}

    Args:
        compute: time of the step on the accelerator, t_c [second]
        supply: time to load and transform the next batch, t_s [second]

    Returns:
        Utilisation [1].

    Source:
        J. Mohan et al., Analyzing and mitigating data stalls in DNN training, VLDB 2021, arXiv:2007.06775.

    Examples:
        >>> float(stalled_utilisation(0.05, 0.064))
        0.78125
    """
    return compute / np.maximum(compute, supply)


@equation
def prefetch_depth(latency: Seconds, step: Seconds, reserve: Count = 0.0) -> Count:
    r"""Batches to keep in flight so that a slow read never starves the accelerator.

    .. math:: k = \left\lceil \frac{t_l}{t} \right\rceil + k_0

    Args:
        latency: time from request to batch; a tail percentile to be safe, t_l [second]
        step: time between two batches, t [second]
        reserve: batches kept beyond that, k_0 [1]

    Returns:
        Batches [1].

    Source:
        J. D. C. Little, A proof for the queuing formula L = lambda W, Oper. Res. 9 (1961) 383-387,
        doi:10.1287/opre.9.3.383.

    Examples:
        >>> float(prefetch_depth(0.25, 0.1))
        3.0
    """
    return np.ceil(latency / step) + reserve


@equation
def checkpoint_size(
    parameters: Count, weights: Bytes = 2.0, master: Bytes = 4.0, first_moment: Bytes = 4.0, second_moment: Bytes = 4.0
) -> Bytes:
    r"""Size of a training checkpoint: what an exact restart needs. The defaults are mixed-precision Adam.

    Plain SGD has no moments, SGD with momentum one; gradients are not saved.

    .. math:: M = N (\beta_w + \beta_c + \beta_m + \beta_v)

    Args:
        parameters: parameters of the model, N [1]
        weights: working copy, beta_w; 0 if it is cast from the master copy on restart [byte]
        master: full-precision copy, beta_c [byte]
        first_moment: momentum, beta_m [byte]
        second_moment: variance, beta_v [byte]

    Returns:
        Size [byte].

    Source:
        S. Rajbhandari et al., ZeRO, SC 2020, arXiv:1910.02054, section 3.1 (parts of the training state).

    Examples:
        >>> checkpoint_size(70e9) / 1e9
        980.0
    """
    return parameters * (weights + master + first_moment + second_moment)


@equation
def checkpoint_write_time(
    size: Bytes, writers: Count, writer_bandwidth: BytesPerSecond, shared_bandwidth: BytesPerSecond = ENDLESS
) -> Seconds:
    r"""Time to write a checkpoint from several nodes to a shared file system.

    .. math:: t = \frac{M}{\min(w B_w, B_s)}

    Args:
        size: size of the checkpoint, M [byte]
        writers: nodes that write a part each, w [1]
        writer_bandwidth: bandwidth of one of them, B_w [byte/second]
        shared_bandwidth: bandwidth of the file system, B_s [byte/second]

    Returns:
        Time [second].

    Source:
        A. Eisenman et al., Check-N-Run, NSDI 2022, arXiv:2010.08679 (checkpoint bandwidth is the limit).

    Examples:
        >>> float(checkpoint_write_time(988.4e9, 1.0, 7e9, 500e9))
        141.2
        >>> float(checkpoint_write_time(988.4e9, 64.0, 7e9, 500e9))
        2.20625
    """
    return size / np.minimum(writers * writer_bandwidth, shared_bandwidth)


@equation
def checkpoint_overhead(write_time: Seconds, interval: Seconds, blocking: Fraction = 1.0) -> Fraction:
    r"""Share of the wall-clock time lost to writing checkpoints.

    .. math:: f = \min\left(1, \frac{b\, t_w}{\tau}\right)

    Args:
        write_time: time to write one checkpoint, t_w [second]
        interval: time from the start of one checkpoint to the start of the next, tau [second]
        blocking: part of the write during which training waits; less than 1 if it is asynchronous, b [1]

    Returns:
        Share of the time, at most 1 [1].

    Source:
        J. T. Daly, Future Gener. Comput. Syst. 22 (2006) 303-312, doi:10.1016/j.future.2004.11.016 (dump time).

    Examples:
        >>> float(checkpoint_overhead(141.2, 4 * 3600.0)) * 100  # in percent
        0.980556
    """
    return np.minimum(1.0, blocking * write_time / interval)


@equation
def restore_time(size: Bytes, replicas: Count, bandwidth: BytesPerSecond) -> Seconds:
    r"""Time of a restart in which every data-parallel replica reads the checkpoint from the same storage.

    .. math:: t = \frac{r M}{B}

    Args:
        size: size of the checkpoint, M [byte]
        replicas: copies read; 1 if one replica reads and broadcasts, r [1]
        bandwidth: bandwidth of the storage, B [byte/second]

    Returns:
        Time [second].

    Source:
        A. Eisenman et al., Check-N-Run, NSDI 2022, arXiv:2010.08679 (restore reads all of the state).

    Examples:
        >>> restore_time(980e9, 16.0, 100e9)
        156.8
    """
    return size * replicas / bandwidth


@equation
def storage_cost(size: Bytes, price: DollarsPerByte, time: Seconds, period: Seconds = 2_629_800.0) -> Dollars:
    r"""Cost of keeping data.

    .. math:: K = M\, p \frac{t}{T}

    Args:
        size: bytes kept, M [byte]
        price: price of a byte for one billing period, p [USD/byte]
        time: how long they are kept, t [second]
        period: billing period, T; a month unless told otherwise [second]

    Returns:
        Cost [USD].

    Source:
        Definition.

    Examples:
        >>> storage_cost(1e12, 23 / 1e12, 31_557_600.0)  # 1 TB for a year at 23 USD per TB-month
        276.0
    """
    return size * price * time / period
