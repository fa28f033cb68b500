"""Compression: how small weights get by quantising, pruning or factoring them.

What it does to accuracy has no first-principles formula and is not here; measured losses belong to the catalog.
"""

from __future__ import annotations

import numpy as np

from ..units import Bytes, Count, Fraction
from . import equation


@equation
def quantised_size(
    values: Count, bits: Count, scale_bits: Count = 0.0, block: Count = 1.0, bit: Bytes = 0.125
) -> Bytes:
    r"""Memory of values stored with few bits, the scales of their blocks included.

    .. math:: M = n u \left(b + \frac{b_s}{k}\right)

    Args:
        values: values stored, n [1]
        bits: bits of one value, b [1]
        scale_bits: bits of the scale (and zero point) of one block, b_s [1]
        block: values that share one scale, k [1]
        bit: size of one bit, u; an eighth of a byte [byte]

    Returns:
        Size [byte].

    Source:
        T. Dettmers and L. Zettlemoyer, The case for 4-bit precision, ICML 2023, arXiv:2212.09720 (bits per parameter
        with block-wise scales).

    Examples:
        >>> quantised_size(8e9, 4.0, 16.0, 64.0) / 1e9  # 4 bits, an fp16 scale for 64 values: 4.25 bits each
        4.25
    """
    return values * (bits + scale_bits / block) * bit


@equation
def compression_ratio(original: Bytes, compressed: Bytes) -> Fraction:
    r"""How many times smaller the compressed form is.

    .. math:: r = \frac{M_0}{M}

    Args:
        original: size before, M_0 [byte]
        compressed: size after, scales and indices included, M [byte]

    Returns:
        Ratio; more than 1 where compression pays [1].

    Source:
        S. Han, H. Mao and W. J. Dally, Deep compression, ICLR 2016, arXiv:1510.00149.

    Examples:
        >>> round(compression_ratio(240e6, 6.9e6))  # AlexNet
        35
    """
    return original / compressed


@equation
def memory_savings(original: Bytes, compressed: Bytes) -> Fraction:
    r"""Share of the memory that compression frees.

    .. math:: s = 1 - \frac{M}{M_0}

    Args:
        original: size before, M_0 [byte]
        compressed: size after, scales and indices included, M [byte]

    Returns:
        Share; negative where the overhead is larger than the gain [1].

    Source:
        Definition.

    Examples:
        >>> memory_savings(16e9, 4e9)
        0.75
    """
    return 1 - compressed / original


@equation
def bitmap_sparse_size(values: Count, sparsity: Fraction, bytes_per_value: Bytes = 2.0, bit: Bytes = 0.125) -> Bytes:
    r"""Memory of an unstructured sparse tensor: the values kept, and one bit for every position.

    .. math:: M = n \left[(1 - s) \beta + u\right]

    Args:
        values: positions of the dense tensor, n [1]
        sparsity: share of the positions that are zero, s [1]
        bytes_per_value: bytes of one value kept, beta [byte]
        bit: size of one bit, u; an eighth of a byte [byte]

    Returns:
        Size [byte].

    Source:
        T. Hoefler et al., Sparsity in deep learning, JMLR 22 (2021) 1-124, arXiv:2102.00554 (bitmap storage).

    Examples:
        >>> bitmap_sparse_size(1e9, 0.5) / 1e9  # half the fp16 values and a bit each
        1.125
    """
    return values * ((1 - sparsity) * bytes_per_value + bit)


@equation
def indexed_sparse_size(
    rows: Count,
    columns: Count,
    sparsity: Fraction,
    bytes_per_value: Bytes = 2.0,
    bytes_per_index: Bytes = 4.0,
    bytes_per_pointer: Bytes = 4.0,
) -> Bytes:
    r"""Memory of a matrix in compressed sparse row form: values, a column index each, and a pointer per row.

    .. math:: M = m n (1 - s)(\beta + \beta_i) + (m + 1) \beta_p

    Args:
        rows: rows, m [1]
        columns: columns, n [1]
        sparsity: share of the elements that are zero, s [1]
        bytes_per_value: bytes of one value kept, beta [byte]
        bytes_per_index: bytes of one column index, beta_i [byte]
        bytes_per_pointer: bytes of one row pointer, beta_p [byte]

    Returns:
        Size [byte].

    Source:
        Y. Saad, Iterative methods for sparse linear systems, 2nd ed., SIAM 2003, doi:10.1137/1.9780898718003,
        section 3.4.

    Examples:
        >>> indexed_sparse_size(1000.0, 1000.0, 0.9)  # 100 000 values of 2 + 4 bytes, 1001 pointers
        604004.0
    """
    return rows * columns * (1 - sparsity) * (bytes_per_value + bytes_per_index) + (rows + 1) * bytes_per_pointer


@equation
def structured_sparse_size(
    values: Count,
    kept: Count = 2.0,
    group: Count = 4.0,
    bytes_per_value: Bytes = 2.0,
    index_bits: Count = 2.0,
    bit: Bytes = 0.125,
) -> Bytes:
    r"""Memory of an n:m sparse tensor: the values kept in each group, and the position of each.

    .. math:: M = N \frac{n}{m} (\beta + b u)

    Args:
        values: positions of the dense tensor, N [1]
        kept: values kept in a group, n [1]
        group: positions of a group, m [1]
        bytes_per_value: bytes of one value kept, beta [byte]
        index_bits: bits that say where a kept value sits, b; log2 of the group [1]
        bit: size of one bit, u; an eighth of a byte [byte]

    Returns:
        Size [byte].

    Source:
        A. Mishra et al., Accelerating sparse deep neural networks, arXiv:2104.08378 (2:4 with a 2-bit index for each
        value kept).

    Examples:
        >>> structured_sparse_size(1e9) / 1e9  # 2:4 in fp16: 9/16 of the dense 2 GB
        1.125
    """
    return values * kept / group * (bytes_per_value + index_bits * bit)


@equation
def structured_sparse_speedup_bound(kept: Count = 2.0, group: Count = 4.0) -> Fraction:
    r"""Most that n:m sparsity can speed up arithmetic on hardware that skips the zeros.

    .. math:: r = \frac{m}{n}

    Args:
        kept: values kept in a group, n [1]
        group: positions of a group, m [1]

    Returns:
        Ratio of arithmetic rates [1].

    Source:
        A. Mishra et al., Accelerating sparse deep neural networks, arXiv:2104.08378 (twice the dense rate for 2:4).

    Examples:
        >>> structured_sparse_speedup_bound()
        2.0
    """
    return group / kept


@equation
def channel_pruned_parameters(parameters: Count, kept_inputs: Fraction, kept_outputs: Fraction) -> Count:
    r"""Weights left when whole input and output channels of a layer are removed; what is left is dense.

    .. math:: n = n_0\, f_i f_o

    Args:
        parameters: weights of the layer before, n_0 [1]
        kept_inputs: share of the input channels kept, f_i [1]
        kept_outputs: share of the output channels kept, f_o [1]

    Returns:
        Weights [1].

    Source:
        H. Li et al., Pruning filters for efficient ConvNets, ICLR 2017, arXiv:1608.08710.

    Examples:
        >>> channel_pruned_parameters(1e6, 0.5, 0.5)
        250000.0
    """
    return parameters * kept_inputs * kept_outputs


@equation
def low_rank_parameters(rows: Count, columns: Count, rank: Count) -> Count:
    r"""Weights of a matrix written as the product of a tall and a wide one.

    .. math:: n = r (m + n')

    Args:
        rows: rows, m [1]
        columns: columns, n' [1]
        rank: inner width, r [1]

    Returns:
        Weights [1].

    Source:
        E. Denton et al., Exploiting linear structure within convolutional networks, NeurIPS 2014, arXiv:1404.0736.

    Examples:
        >>> low_rank_parameters(4096.0, 4096.0, 256.0)
        2097152.0
    """
    return rank * (rows + columns)


@equation
def break_even_rank(rows: Count, columns: Count) -> Count:
    r"""Rank below which a factored matrix is smaller than the matrix itself.

    .. math:: r = \frac{m n}{m + n}

    Args:
        rows: rows, m [1]
        columns: columns, n [1]

    Returns:
        Rank [1].

    Source:
        Follows from ``low_rank_parameters``.

    Examples:
        >>> break_even_rank(4096.0, 4096.0)
        2048.0
    """
    return rows * columns / (rows + columns)


@equation
def signal_to_quantisation_noise(bits: Count) -> Count:
    r"""Signal to noise ratio of a uniform quantiser on a sine that fills its range, in decibels.

    The error is uniform within a step; about 6 dB a bit. A property of the number format, not of a model's accuracy.

    .. math:: S = 10 \log_{10}\left(\tfrac{3}{2}\, 4^{b}\right) \approx 6.02\, b + 1.76

    Args:
        bits: bits of a value, b [1]

    Returns:
        Ratio in decibels [1].

    Source:
        W. R. Bennett, Spectra of quantized signals, Bell Syst. Tech. J. 27 (1948) 446-472,
        doi:10.1002/j.1538-7305.1948.tb01340.x.

    Examples:
        >>> round(float(signal_to_quantisation_noise(8.0)), 2)
        49.92
    """
    return 10 * np.log10(1.5 * 4**bits)
