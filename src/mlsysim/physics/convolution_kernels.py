"""Kernels of vision networks: channels padded to what matrix units take, and rounds of tiles that do not fill a chip."""

from __future__ import annotations

import numpy as np

from ..units import Bytes, BytesPerSecond, Count, Flop, FlopPerSecond, Fraction, Seconds
from . import equation


@equation
def padded_share(size: Count, grain: Count) -> Fraction:
    r"""Useful share of a dimension that is padded up to a multiple of what a matrix unit takes.

    .. math:: \phi = \frac{n}{g \lceil n / g \rceil}

    Args:
        size: the dimension, n of at least 1 [1]
        grain: values that the unit takes at once, g [1]

    Returns:
        Share of the arithmetic that is not padding [1].

    Source:
        NVIDIA, Deep Learning Performance: Matrix Multiplication Background, section on tensor core requirements and tile
        quantization, https://docs.nvidia.com/deeplearning/performance/dl-performance-matrix-multiplication/.

    Examples:
        >>> padded_share(np.array([3.0, 8.0, 9.0]), 8.0)
        array([0.375 , 1.    , 0.5625])
    """
    return size / (grain * np.ceil(size / grain))


@equation
def implicit_product_time(
    work: Flop, peak: FlopPerSecond, efficiency: Fraction, cores: Count, tiles: Count, partial: Fraction
) -> Seconds:
    r"""Arithmetic of a convolution (or product) cut into tiles that are dealt out to cores in rounds.

    The last round is not full: it costs a share of a whole round, however few tiles are left. With few tiles, as in
    small batches, that share is most of the time.

    .. math:: t = \frac{W}{\eta P} \left(1 + \lambda \frac{c}{T}\right)

    Args:
        work: FLOPs, W [flop]
        peak: arithmetic peak, P [flop/second]
        efficiency: share of it in full rounds, eta [1]
        cores: cores of the chip, c [1]
        tiles: tiles of the output, T [1]
        partial: rounds lost to partly filled ones, lambda [1]

    Returns:
        Time [second].

    Source:
        Wave quantization: NVIDIA, Deep Learning Performance: Matrix Multiplication Background,
        https://docs.nvidia.com/deeplearning/performance/dl-performance-matrix-multiplication/; the mean over
        shapes of ceil(T/c) is T/c + 1/2, the form used here with a free share.

    Examples:
        >>> float(implicit_product_time(1e12, 1e14, 0.5, 100.0, 400.0, 0.5))  # 20 ms in full rounds, 1/8 more
        0.0225
    """
    return work / (efficiency * peak) * (1 + partial * cores / tiles)


@equation
def trailing_time(output: Bytes, passes: Count, bandwidth: BytesPerSecond, efficiency: Fraction) -> Seconds:
    r"""Time of the normalisation and activation after a convolution, where they are kernels of their own.

    .. math:: t = \frac{p\, Q}{\eta B}

    Args:
        output: bytes that the convolution writes, Q [byte]
        passes: reads and writes of them that follow, p; 0 where all is fused into the convolution [1]
        bandwidth: memory bandwidth, B [byte/second]
        efficiency: share of it that a stream sustains, eta [1]

    Returns:
        Time [second].

    Source:
        Bytes over bandwidth, the roofline's memory side: S. Williams, A. Waterman and D. Patterson, CACM 52 no. 4 (2009)
        65-76, doi:10.1145/1498765.1498785.

    Examples:
        >>> float(trailing_time(1e9, 4.0, 1e12, 0.8))
        0.005
    """
    return passes * output / (efficiency * bandwidth)


@equation
def exposed_dispatch_time(launches: Count, dispatch: Seconds, kernels: Seconds) -> Seconds:
    r"""Time that a device waits for a host which hands it kernels one by one, ahead of their execution.

    .. math:: t = \max(n\, d - t_k,\; 0)

    Args:
        launches: kernels, n [1]
        dispatch: time of the host for each, d [second]
        kernels: time of all kernels on the device, t_k [second]

    Returns:
        Time that is not hidden behind kernels [second].

    Source:
        Asynchronous execution: A. Paszke et al., PyTorch: An Imperative Style, High-Performance Deep Learning Library,
        NeurIPS 2019, arXiv:1912.01703, section 5.2.

    Examples:
        >>> float(exposed_dispatch_time(100.0, 1e-5, 4e-4))
        0.0006
    """
    return np.maximum(launches * dispatch - kernels, 0.0)
