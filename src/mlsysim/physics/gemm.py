"""A matrix multiplication on a chip of many cores: tiles, waves, split-K, cache, and what overlaps with what."""

from __future__ import annotations

import numpy as np

from ..units import Bytes, BytesPerSecond, Count, Flop, FlopPerSecond, Fraction, Seconds
from . import equation
from .choice import ceil, maximum


@equation
def tile_count(rows: Count, columns: Count, tile_rows: Count, tile_columns: Count, splits: Count = 1.0) -> Count:
    r"""Tiles of an output matrix, each computed by one core, times the slices of the inner dimension.

    .. math:: n = \left\lceil \frac{M}{m} \right\rceil \left\lceil \frac{N}{n_t} \right\rceil s

    Args:
        rows: rows of the output, M [1]
        columns: columns of the output, N [1]
        tile_rows: rows of a tile, m [1]
        tile_columns: columns of a tile, n_t [1]
        splits: slices of the inner dimension that different cores sum, s [1]

    Returns:
        Tiles [1].

    Source:
        NVIDIA, Matrix Multiplication Background User's Guide, section "Tile Quantization";
        M. Osama et al., Stream-K, PPoPP 2023, arXiv:2301.03598 (fixed split).

    Examples:
        >>> tile_count(257.0, 512.0, 128.0, 256.0)
        np.float64(6.0)
    """
    return np.ceil(rows / tile_rows) * np.ceil(columns / tile_columns) * splits


@equation
def wave_count(tiles: Count, cores: Count, smooth: Fraction = 0.3) -> Count:
    r"""Rounds in which the cores work through the tiles.

    A last round that is part full costs nearly as much as a full one; persistent kernels recover some of it.

    .. math:: w = \max\left(1, (1 - \phi) \lceil x \rceil + \phi x\right), \quad x = \frac{n}{S}

    Args:
        tiles: tiles to compute, n [1]
        cores: cores that compute one tile at a time, S [1]
        smooth: share of the rounding that is recovered, phi in [0, 1] [1]

    Returns:
        Rounds [1].

    Source:
        NVIDIA, Matrix Multiplication Background User's Guide, section "Wave Quantization";
        M. Osama et al., Stream-K, PPoPP 2023, arXiv:2301.03598.

    Examples:
        >>> wave_count(np.array([1.0, 132.0, 133.0]), 132.0, 0.0)
        array([1., 1., 2.])
    """
    share = tiles / cores
    return maximum(1.0, (1 - smooth) * ceil(share) + smooth * share)


@equation
def tile_math_time(
    tile_rows: Count,
    tile_columns: Count,
    depth: Count,
    waves: Count,
    cores: Count,
    peak: FlopPerSecond,
    efficiency: Fraction,
    multiply_add: Flop = 2.0,
) -> Seconds:
    r"""Arithmetic of the core that computes most tiles.

    .. math:: t = w \frac{2 m n k S}{\eta P}

    Args:
        tile_rows: rows of a tile, m [1]
        tile_columns: columns of a tile, n [1]
        depth: inner dimension of a tile's slice, k [1]
        waves: tiles one after the other on that core, w [1]
        cores: cores of the chip, S [1]
        peak: arithmetic peak of the chip, P [flop/second]
        efficiency: share of the peak sustained inside a tile, eta [1]
        multiply_add: FLOPs of one multiply-add [flop]

    Returns:
        Time [second].

    Source:
        A. Kerr et al., CUTLASS: Fast Linear Algebra in CUDA C++, NVIDIA developer blog (2017).

    Examples:
        >>> tile_math_time(128.0, 256.0, 4096.0, 1.0, 132.0, 989e12, 0.8)  # one round of a large tile on an H100
        4.478...e-05
    """
    return waves * (multiply_add * tile_rows * tile_columns * depth) * cores / (efficiency * peak)


@equation
def tile_feed_time(
    tile_rows: Count, tile_columns: Count, depth: Count, element: Bytes, waves: Count, feed: BytesPerSecond
) -> Seconds:
    r"""Time for one core to take the operands of its tiles from the shared cache.

    .. math:: t = w \frac{(m + n) k \beta}{f}

    Args:
        tile_rows: rows of a tile, m [1]
        tile_columns: columns of a tile, n [1]
        depth: inner dimension of a tile's slice, k [1]
        element: bytes of an operand, beta [byte]
        waves: tiles one after the other on that core, w [1]
        feed: bandwidth from the cache to one core, f [byte/second]

    Returns:
        Time [second].

    Source:
        A. Kerr et al., CUTLASS: Fast Linear Algebra in CUDA C++, NVIDIA developer blog (2017).

    Examples:
        >>> tile_feed_time(128.0, 256.0, 4096.0, 2.0, 1.0, 64 * 1.755e9)
        2.80...e-05
    """
    return waves * (tile_rows + tile_columns) * depth * element / feed


@equation
def miss_share(footprint: Bytes, cache: Bytes, reach: Fraction, sharpness: Count = 4.0) -> Fraction:
    r"""Share of a working set, read over and over, that comes from memory rather than from the cache.

    .. math:: \mu = \frac{1}{1 + (\rho C / F)^{s}}

    Args:
        footprint: bytes that are read again, F [byte]
        cache: capacity of the last cache, C [byte]
        reach: share of the cache that such data can hold, rho [1]
        sharpness: how sudden the change is, s [1]

    Returns:
        Share of the bytes that miss [1].

    Source:
        Smooth form of the working-set rule: P. Denning, Commun. ACM 11 (1968) 323-333, doi:10.1145/363095.363141.

    Examples:
        >>> miss_share(np.array([1e6, 50e6, 1e9]), 50e6, 1.0).round(3)
        array([0. , 0.5, 1. ])
    """
    return 1 / (1 + (reach * cache / footprint) ** sharpness)


@equation
def smooth_maximum(first: Seconds, second: Seconds, sharpness: Count) -> Seconds:
    r"""Time of two things that overlap: between their sum (sharpness 1) and their maximum (large sharpness).

    .. math:: t = (a^q + b^q)^{1/q}

    Args:
        first: one time, a [second]
        second: the other, b [second]
        sharpness: q of at least 1; how well they overlap [1]

    Returns:
        Time [second].

    Source:
        The p-norm between the additive and the perfectly overlapped roofline: J. Choi et al., A Roofline Model of
        Energy, IPDPS 2013, doi:10.1109/IPDPS.2013.77, sections II-III (limits); the norm is ours.

    Examples:
        >>> smooth_maximum(3.0, 4.0, 2.0)
        np.float64(5.0)
    """
    longer = np.maximum(first, second)
    return longer * (1 + (np.minimum(first, second) / longer) ** sharpness) ** (1 / sharpness)


@equation
def quantise_time(fixed: Seconds, moved: Bytes, bandwidth: BytesPerSecond, rows: Count, row: Seconds = 0.0) -> Seconds:
    r"""Time of the kernel that turns activations into a narrow format before a product.

    It reads and writes every value once. A kernel that keeps one scale for the whole tensor joins the maxima of all
    rows at one address, one after the other, so that its rows add up whatever their length.

    .. math:: t = t_q + \frac{B}{b} + M t_r

    Args:
        fixed: launch of the kernel, t_q [second]
        moved: bytes read and written, B [byte]
        bandwidth: bandwidth that the kernel sustains, b [byte/second]
        rows: rows of the activations, M [1]
        row: what each row adds by itself, t_r [second]

    Returns:
        Time [second].

    Source:
        Streaming as in the roofline (S. Williams et al., Commun. ACM 52 (2009) 65-76); atomic updates of one address
        are served one by one: NVIDIA, CUDA C++ Programming Guide, section "Atomic Functions".

    Examples:
        >>> quantise_time(2e-6, 3 * 4096 * 8192.0, 2e12, 4096.0, 6e-9)
        7.69...e-05
    """
    return fixed + moved / bandwidth + rows * row


@equation
def gemm_time(
    launch: Seconds,
    math: Seconds,
    feed: Seconds,
    memory: Seconds,
    sharpness: Count,
    waves: Count,
    wave_overhead: Seconds,
    reduction: Seconds,
) -> Seconds:
    r"""Time of one matrix multiplication: launch, the slower of tiles and memory, a prologue a wave, the split's sum.

    .. math:: t = t_0 + \left(\max(t_c, t_f)^q + t_m^q\right)^{1/q} + w\, t_w + t_s

    Args:
        launch: fixed time of the kernel on the chip, t_0 [second]
        math: arithmetic of the busiest core, t_c [second]
        feed: its operands from the cache, t_f [second]
        memory: operands and result between memory and chip, t_m [second]
        sharpness: how well tiles and memory overlap, q [1]
        waves: tiles one after the other, w [1]
        wave_overhead: prologue and epilogue of a tile, t_w [second]
        reduction: extra time to sum the slices of a split inner dimension, t_s [second]

    Returns:
        Time [second].

    Source:
        Composed of the roofline (S. Williams et al., Commun. ACM 52 (2009) 65-76) and of tile and wave quantisation
        (NVIDIA, Matrix Multiplication Background User's Guide).

    Examples:
        >>> gemm_time(1e-6, 4e-6, 3e-6, 3e-6, 2.0, 1.0, 5e-7, 0.0)
        np.float64(6.5e-06)
    """
    busy = np.maximum(math, feed)
    longer = np.maximum(busy, memory)
    overlapped = longer * (1 + (np.minimum(busy, memory) / longer) ** sharpness) ** (1 / sharpness)
    return launch + overlapped + waves * wave_overhead + reduction
