"""State-space models and linear attention: weights, state and work of Mamba, Mamba-2 and gated delta networks.

Their state does not grow with the context. A recurrent form does one token at a time (decode); a chunked form does
matrix products within chunks of the sequence (prefill, training).
"""

from __future__ import annotations

from ..units import Bytes, Count, Flop
from . import equation


@equation
def mamba_parameters(hidden: Count, inner: Count, state: Count, rank: Count, kernel: Count = 4.0) -> Count:
    r"""Weights of one Mamba block, the norm before it not counted.

    Input projection, short convolution with bias, the projection to step, B and C, the step projection with bias, A, D
    and the output projection.

    .. math:: n = 2 d e + e (k + 1) + e (r + 2 N) + e (r + 1) + e N + e + e d

    Args:
        hidden: width of the residual stream, d [1]
        inner: expanded width, usually 2 d, e [1]
        state: state size per channel, N [1]
        rank: rank of the step projection, usually d / 16 rounded up, r [1]
        kernel: width of the short convolution, k [1]

    Returns:
        Parameters [1].

    Source:
        A. Gu and T. Dao, Mamba: linear-time sequence modeling with selective state spaces, arXiv:2312.00752,
        section 3.4 and algorithm 2.

    Examples:
        >>> mamba_parameters(768.0, 1536.0, 16.0, 48.0)  # a block of Mamba-130m
        3770880.0
    """
    return inner * (3 * hidden + kernel + 2 * rank + 3 * state + 3)


@equation
def mamba2_parameters(
    hidden: Count, inner: Count, state: Count, heads: Count, groups: Count = 1.0, kernel: Count = 4.0
) -> Count:
    r"""Weights of one Mamba-2 block, the norm before it not counted.

    One projection makes the gate, x, B, C and the step; a short convolution with bias runs over x, B and C; each head
    has a step bias, an A and a D; a gated norm comes before the output projection.

    .. math:: n = d (2 e + 2 G N + h) + (k + 1)(e + 2 G N) + 3 h + e + e d

    Args:
        hidden: width of the residual stream, d [1]
        inner: expanded width, usually 2 d, e [1]
        state: state size per channel, N [1]
        heads: heads, the expanded width over the head width, h [1]
        groups: groups of heads that share B and C, G [1]
        kernel: width of the short convolution, k [1]

    Returns:
        Parameters [1].

    Source:
        T. Dao and A. Gu, Transformers are SSMs, arXiv:2405.21060, section 7.

    Examples:
        >>> mamba2_parameters(768.0, 1536.0, 128.0, 24.0)  # a block of Mamba-2-130m
        3764552.0
    """
    shared = 2 * groups * state
    return hidden * (3 * inner + shared + heads) + (kernel + 1) * (inner + shared) + 3 * heads + inner


@equation
def ssm_state_size(
    layers: Count,
    sequences: Count,
    state_values: Count,
    conv_channels: Count = 0.0,
    kernel: Count = 4.0,
    bytes_per_state: Bytes = 4.0,
    bytes_per_conv: Bytes = 2.0,
) -> Bytes:
    r"""Memory that sequences in flight keep, whatever their length: recurrent state and the tail of the convolution.

    The state holds e N values in Mamba and Mamba-2, and heads times key width times value width in linear attention.
    The convolution runs over e channels in Mamba and over e + 2 G N in Mamba-2.

    .. math:: M = L B \left(S \beta_s + c (k - 1) \beta_c\right)

    Args:
        layers: recurrent layers, L [1]
        sequences: sequences in flight, B [1]
        state_values: values of the recurrent state of one layer, S [1]
        conv_channels: channels of the short convolution, c [1]
        kernel: its width, k; software that keeps all k columns needs one more [1]
        bytes_per_state: bytes of one state value, often fp32, beta_s [byte]
        bytes_per_conv: bytes of one kept input, beta_c [byte]

    Returns:
        Size [byte].

    Source:
        A. Gu and T. Dao, arXiv:2312.00752, section 3.3 (state of size e N); T. Dao and A. Gu, arXiv:2405.21060.

    Examples:
        >>> ssm_state_size(64.0, 1.0, 5120 * 128.0, 5376.0) / 1e6  # Mamba-2-2.7b: one sequence, any length
        169.836544
    """
    kept = conv_channels * (kernel - 1)
    return layers * sequences * (state_values * bytes_per_state + kept * bytes_per_conv)


@equation
def short_convolution_flops(channels: Count, kernel: Count, tokens: Count, multiply_add: Flop = 2.0) -> Flop:
    r"""FLOPs of the causal depthwise convolution in front of the recurrence.

    .. math:: W = m\, c\, k\, T

    Args:
        channels: channels, c [1]
        kernel: width of the convolution, k [1]
        tokens: tokens processed, T [1]
        multiply_add: FLOPs of one multiply-add, m; 2 by convention [flop]

    Returns:
        Work [flop].

    Source:
        A. Gu and T. Dao, arXiv:2312.00752, section 3.4.

    Examples:
        >>> short_convolution_flops(5120.0, 4.0, 1.0)
        40960.0
    """
    return multiply_add * channels * kernel * tokens


@equation
def selective_scan_flops(inner: Count, state: Count, tokens: Count, operation: Flop = 1.0) -> Flop:
    r"""FLOPs of the selective scan of Mamba, recurrent form.

    For each channel and state: the step times A, its exponential (one operation), B times the scaled input, the state
    update (two), and C times the state (two); for each channel the scaled input and the skip through D (three).

    .. math:: W = T e (7 N + 3)\, o

    Args:
        inner: expanded width, e [1]
        state: state size per channel, N [1]
        tokens: tokens processed, T [1]
        operation: FLOPs of one operation, o [flop]

    Returns:
        Work; projections and convolution are not in it [flop].

    Source:
        Count of the operations of algorithm 2 of A. Gu and T. Dao, arXiv:2312.00752.

    Examples:
        >>> selective_scan_flops(5120.0, 16.0, 1.0)
        588800.0
    """
    return operation * tokens * inner * (7 * state + 3)


@equation
def ssd_recurrent_flops(inner: Count, state: Count, tokens: Count, operation: Flop = 1.0) -> Flop:
    r"""FLOPs of the Mamba-2 recurrence, one token after the other.

    The decay is one number a head, so each channel and state takes a product with the decay, an outer product, their
    sum, and a multiply-add with C; each channel the scaled input and the skip through D (three).

    .. math:: W = T e (5 N + 3)\, o

    Args:
        inner: expanded width, e [1]
        state: state size per channel, N [1]
        tokens: tokens processed, T [1]
        operation: FLOPs of one operation, o [flop]

    Returns:
        Work; projections and convolution are not in it [flop].

    Source:
        Count of the operations of the recurrence of T. Dao and A. Gu, arXiv:2405.21060, section 2.

    Examples:
        >>> ssd_recurrent_flops(5120.0, 128.0, 1.0)
        3292160.0
    """
    return operation * tokens * inner * (5 * state + 3)


@equation
def ssd_chunked_flops(
    inner: Count, state: Count, chunk: Count, tokens: Count, groups: Count = 1.0, multiply_add: Flop = 2.0
) -> Flop:
    r"""FLOPs of the matrix products of the Mamba-2 (SSD) chunked form.

    Per token: C B^T within the chunk once a group, its product with x, the chunk's state, and the state's part of the
    output; the states of the chunks are then passed on. Products are dense: the causal half is not skipped.

    .. math:: W = m\, T \left(G Q N + e Q + 2 e N + \frac{e N}{Q}\right)

    Args:
        inner: expanded width, e [1]
        state: state size per channel, N [1]
        chunk: tokens of a chunk, Q [1]
        tokens: tokens processed, T [1]
        groups: groups of heads that share B and C, G [1]
        multiply_add: FLOPs of one multiply-add, m; 2 by convention [flop]

    Returns:
        Work; projections, convolution and elementwise masks are not in it [flop].

    Source:
        T. Dao and A. Gu, Transformers are SSMs, arXiv:2405.21060, section 6.

    Examples:
        >>> ssd_chunked_flops(5120.0, 128.0, 256.0, 1.0) / 1e6  # 1.6 times the recurrence, but in matrix products
        5.31...
    """
    return multiply_add * tokens * (chunk * (groups * state + inner) + inner * state * (2 + 1 / chunk))


@equation
def linear_attention_state(heads: Count, key_dim: Count, value_dim: Count) -> Count:
    r"""Values of the state of one layer of linear attention: a matrix from keys to values for each head.

    .. math:: S = h\, d_k d_v

    Args:
        heads: heads that hold a state; those of the values where they are more than those of the keys, h [1]
        key_dim: width of a key, d_k [1]
        value_dim: width of a value, d_v [1]

    Returns:
        Values per sequence and layer [1].

    Source:
        A. Katharopoulos et al., Transformers are RNNs, ICML 2020, arXiv:2006.16236.

    Examples:
        >>> linear_attention_state(32.0, 128.0, 128.0)  # a gated delta layer of Qwen3-Next
        524288.0
    """
    return heads * key_dim * value_dim


@equation
def linear_attention_flops(
    state_values: Count, tokens: Count, decay: Count = 0.0, delta: Count = 0.0, operation: Flop = 1.0
) -> Flop:
    r"""FLOPs of linear attention in recurrent form, terms of the order of the state.

    Adding an outer product takes two operations a state value and reading with the query two; a decay (gate) takes one
    more, and the delta rule two, to read what the state holds for the key.

    .. math:: W = T S (4 + g + 2 \delta)\, o

    Args:
        state_values: values of the state of one layer, S [1]
        tokens: tokens processed, T [1]
        decay: 1 if the state decays (gated), 0 if not, g [1]
        delta: 1 for the delta rule, 0 for plain linear attention, delta [1]
        operation: FLOPs of one operation, o [flop]

    Returns:
        Work; projections and convolution are not in it [flop].

    Source:
        Count of the operations of S. Yang, J. Kautz and A. Hatamizadeh, Gated delta networks, arXiv:2412.06464;
        plain: A. Katharopoulos et al., arXiv:2006.16236.

    Examples:
        >>> linear_attention_flops(524288.0, 1.0, 1.0, 1.0)  # seven operations a state value
        3670016.0
    """
    return operation * tokens * state_values * (4 + decay + 2 * delta)


@equation
def gated_delta_chunked_flops(
    heads: Count, key_dim: Count, value_dim: Count, chunk: Count, tokens: Count, multiply_add: Flop = 2.0
) -> Flop:
    r"""FLOPs of the matrix products of a gated delta network in chunked form.

    Per token and head: K K^T, Q K^T and T K (a chunk of keys each), T V and the product with V (a chunk of values
    each), the inverse of a unit triangular matrix, and three products with the state. Products are dense.

    .. math:: W = m\, T h \left(C (3 d_k + 2 d_v) + \frac{C^2}{6} + 3 d_k d_v\right)

    Args:
        heads: heads that hold a state, h [1]
        key_dim: width of a key, d_k [1]
        value_dim: width of a value, d_v [1]
        chunk: tokens of a chunk, C [1]
        tokens: tokens processed, T [1]
        multiply_add: FLOPs of one multiply-add, m; 2 by convention [flop]

    Returns:
        Work; projections and convolution are not in it [flop].

    Source:
        Count of the products of S. Yang et al., Gated delta networks, arXiv:2412.06464, section 3.3 (WY form of
        arXiv:2406.06484).

    Examples:
        >>> gated_delta_chunked_flops(32.0, 128.0, 128.0, 64.0, 1.0) / 1e6
        5.811...
    """
    inside = chunk * (3 * key_dim + 2 * value_dim) + chunk * chunk / 6
    return multiply_add * tokens * heads * (inside + 3 * key_dim * value_dim)


@equation
def gated_delta_parameters(
    hidden: Count, key_heads: Count, value_heads: Count, key_dim: Count, value_dim: Count, kernel: Count = 4.0
) -> Count:
    r"""Weights of one gated delta layer, the norm before it not counted.

    Projections to queries, keys, values and an output gate of the values' width, two gates a value head; a short
    convolution without bias over queries, keys and values; a decay and a step bias a value head; the norm of one value
    head; the output projection.

    .. math:: n = d (2 K + 3 V + 2 h_v) + k (2 K + V) + 2 h_v + d_v, \quad K = h_k d_k,\; V = h_v d_v

    Args:
        hidden: width of the residual stream, d [1]
        key_heads: heads of queries and keys, h_k [1]
        value_heads: heads of values, h_v [1]
        key_dim: width of a key, d_k [1]
        value_dim: width of a value, d_v [1]
        kernel: width of the short convolution, k [1]

    Returns:
        Parameters [1].

    Source:
        S. Yang et al., Gated delta networks, arXiv:2412.06464; layout of the open Qwen3-Next models.

    Examples:
        >>> gated_delta_parameters(2048.0, 16.0, 32.0, 128.0, 128.0)  # Qwen3-Next-80B-A3B
        33718464.0
    """
    keys, values = key_heads * key_dim, value_heads * value_dim
    projections = hidden * (2 * keys + 3 * values + 2 * value_heads)
    return projections + kernel * (2 * keys + values) + 2 * value_heads + value_dim
