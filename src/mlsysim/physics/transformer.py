"""Parameters, FLOPs and bytes of a transformer: dense and mixture of experts, grouped and latent attention."""

from __future__ import annotations

import numpy as np

from ..units import Bytes, Count, Flop, Fraction
from . import equation
from .choice import maximum, minimum

EVERYTHING = 1e18
"""A window wider than any context: full attention."""


@equation
def attention_parameters(hidden: Count, heads: Count, kv_heads: Count, head_dim: Count) -> Count:
    r"""Weights of the query, key, value and output projections of one layer (MHA, GQA or MQA).

    .. math:: n = 2 d\, d_h (h + h_{kv})

    Args:
        hidden: width of the residual stream, d [1]
        heads: query heads, h [1]
        kv_heads: key and value heads, h_kv; h for MHA, 1 for MQA [1]
        head_dim: width of one head, d_h [1]

    Returns:
        Parameters, biases not counted [1].

    Source:
        J. Ainslie et al., GQA, EMNLP 2023, arXiv:2305.13245.

    Examples:
        >>> attention_parameters(4096.0, 32.0, 8.0, 128.0)  # Llama-3-8B
        41943040.0
    """
    return 2 * hidden * head_dim * (heads + kv_heads)


@equation
def latent_attention_parameters(
    hidden: Count, heads: Count, q_rank: Count, kv_rank: Count, nope_dim: Count, rope_dim: Count, value_dim: Count
) -> Count:
    r"""Weights of one layer of multi-head latent attention (MLA).

    .. math:: n = n_q + d (r_{kv} + d_r) + r_{kv} h (d_n + d_v) + h d_v d, \quad
        n_q = \begin{cases} r_q (d + h (d_n + d_r)) & r_q > 0 \\ d\, h (d_n + d_r) & r_q = 0 \end{cases}

    Args:
        hidden: width of the residual stream, d [1]
        heads: heads, h [1]
        q_rank: rank of the query compression, r_q; 0 for none [1]
        kv_rank: rank of the shared key-value latent, r_kv [1]
        nope_dim: width of a head's part without rotary embedding, d_n [1]
        rope_dim: width of the rotary part, d_r [1]
        value_dim: width of a value head, d_v [1]

    Returns:
        Parameters [1].

    Source:
        DeepSeek-AI, DeepSeek-V2, arXiv:2405.04434, section 2.1.

    Examples:
        >>> float(latent_attention_parameters(7168.0, 128.0, 1536.0, 512.0, 128.0, 64.0, 128.0)) / 1e6  # DeepSeek-V3
        187.10...
    """
    query = np.where(
        q_rank > 0, q_rank * (hidden + heads * (nope_dim + rope_dim)), hidden * heads * (nope_dim + rope_dim)
    )
    latent = hidden * (kv_rank + rope_dim) + kv_rank * heads * (nope_dim + value_dim)
    return query + latent + heads * value_dim * hidden


@equation
def mlp_parameters(hidden: Count, ffn: Count, matrices: Count = 3.0) -> Count:
    r"""Weights of one MLP.

    .. math:: n = k\, d\, f

    Args:
        hidden: width of the residual stream, d [1]
        ffn: intermediate width, f [1]
        matrices: 3 for a gated MLP (SwiGLU, GeGLU), 2 for a plain one, k [1]

    Returns:
        Parameters, biases not counted [1].

    Source:
        N. Shazeer, GLU variants improve transformer, arXiv:2002.05202.

    Examples:
        >>> mlp_parameters(4096.0, 14336.0)  # Llama-3-8B
        176160768.0
    """
    return matrices * hidden * ffn


@equation
def embedding_parameters(vocab: Count, hidden: Count, matrices: Count = 2.0) -> Count:
    r"""Weights of the input embedding and the output head.

    .. math:: n = k\, V d

    Args:
        vocab: vocabulary size, V [1]
        hidden: width of the residual stream, d [1]
        matrices: 2 for separate input and output matrices, 1 where they are tied, k [1]

    Returns:
        Parameters [1].

    Source:
        O. Press and L. Wolf, Using the output embedding to improve language models, EACL 2017, arXiv:1608.05859.

    Examples:
        >>> embedding_parameters(128256.0, 4096.0)  # Llama-3-8B
        1050673152.0
    """
    return matrices * vocab * hidden


@equation
def linear_flops(parameters: Count, tokens: Count, multiply_add: Flop = 2.0) -> Flop:
    r"""FLOPs of the forward pass through the weights: one multiply-add a weight and token.

    Attention over the context is not in it.

    .. math:: W = m N T

    Args:
        parameters: weights that a token passes through; the active ones of a mixture of experts, N [1]
        tokens: tokens processed, T [1]
        multiply_add: FLOPs of one multiply-add, m; 2 by convention [flop]

    Returns:
        Work [flop].

    Source:
        J. Kaplan et al., Scaling laws for neural language models, arXiv:2001.08361, section 2.1.

    Examples:
        >>> linear_flops(8.03e9, 2048.0)
        32890880000000.0
    """
    return multiply_add * parameters * tokens


@equation
def multiply_add_flops(multiply_adds: Count, multiply_add: Flop = 2.0) -> Flop:
    r"""FLOPs of a published multiply-add count.

    .. math:: W = m M

    Args:
        multiply_adds: multiply-adds, M [1]
        multiply_add: FLOPs of one multiply-add, m; 2 by convention [flop]

    Returns:
        Work [flop].

    Source:
        S. Williams, A. Waterman and D. Patterson, Commun. ACM 52 (2009) 65-76: a fused multiply-add is two operations.

    Examples:
        >>> multiply_add_flops(4.1e9)
        8200000000.0
    """
    return multiply_add * multiply_adds


@equation
def attended_pairs(new: Count, cached: Count = 0.0, window: Count = EVERYTHING) -> Count:
    r"""Query-key pairs of causal attention: each new token sees the cached ones, the new ones before it, and itself.

    .. math:: p = a c + \frac{a (a + 1)}{2} + (n - a) w, \quad a = \min(\max(w - c, 0), n)

    Args:
        new: new tokens, n [1]
        cached: tokens already in the cache, c [1]
        window: most tokens that a query sees, itself included, w [1]

    Returns:
        Pairs of one sequence and one head [1].

    Source:
        T. Dao et al., FlashAttention, NeurIPS 2022, arXiv:2205.14135 (causal masking halves the work); windows:
        I. Beltagy et al., Longformer, arXiv:2004.05150.

    Examples:
        >>> float(attended_pairs(4.0))  # 1 + 2 + 3 + 4
        10.0
        >>> float(attended_pairs(1.0, 100.0))  # a decode step
        101.0
        >>> float(attended_pairs(4.0, 0.0, 2.0))  # 1 + 2 + 2 + 2
        7.0
    """
    growing = minimum(maximum(window - cached, 0.0), new)
    return growing * cached + growing * (growing + 1) / 2 + (new - growing) * window


@equation
def attention_flops(
    pairs: Count,
    sequences: Count,
    layers: Count,
    heads: Count,
    query_dim: Count,
    value_dim: Count,
    multiply_add: Flop = 2.0,
) -> Flop:
    r"""FLOPs of scores and weighted values; the softmax itself is not counted.

    .. math:: W = m\, p\, B L\, h (d_q + d_v)

    Args:
        pairs: query-key pairs of one sequence and head, p [1]
        sequences: sequences, B [1]
        layers: layers that attend so, L [1]
        heads: query heads, h [1]
        query_dim: width of a query (and key) head, d_q [1]
        value_dim: width of a value head, d_v [1]
        multiply_add: FLOPs of one multiply-add, m; 2 by convention [flop]

    Returns:
        Work [flop].

    Source:
        T. Dao, FlashAttention-2, arXiv:2307.08691, section 4.1: 4 * seqlen^2 * head_dim * heads, halved if causal.

    Examples:
        >>> attention_flops(10.0, 1.0, 2.0, 32.0, 128.0, 128.0)
        327680.0
    """
    return multiply_add * pairs * sequences * layers * heads * (query_dim + value_dim)


@equation
def kv_cache_size(values: Count, tokens: Count, sequences: Count, bytes_per_value: Bytes = 2.0) -> Bytes:
    r"""Memory of the key-value cache.

    .. math:: M = v\, S B \beta

    Args:
        values: cached values per token over all layers, 2 * layers * kv_heads * head_dim for GQA, v [1]
        tokens: tokens cached per sequence, S [1]
        sequences: sequences, B [1]
        bytes_per_value: bytes of one cached value, beta [byte]

    Returns:
        Size [byte].

    Source:
        W. Kwon et al., PagedAttention, SOSP 2023, arXiv:2309.06180, section 3.

    Examples:
        >>> kv_cache_size(2 * 32.0 * 8 * 128, 2048.0, 1.0)  # Llama-3-8B
        268435456.0
    """
    return values * tokens * sequences * bytes_per_value


@equation
def cached_values(layers: Count, kv_heads: Count, key_dim: Count, value_dim: Count) -> Count:
    r"""Values that a token leaves in the cache: a key and a value for each layer and key-value head.

    For latent attention (MLA) there is one head whose key is the latent with its rotary part, and no value.

    .. math:: v = L\, h_{kv} (d_k + d_v)

    Args:
        layers: layers with this attention, L [1]
        kv_heads: key-value heads, h_kv [1]
        key_dim: width of a key, d_k [1]
        value_dim: width of a value, d_v [1]

    Returns:
        Values per token [1].

    Source:
        J. Ainslie et al., GQA, arXiv:2305.13245; MLA: DeepSeek-AI, DeepSeek-V2, arXiv:2405.04434, section 2.1.3.

    Examples:
        >>> cached_values(32.0, 8.0, 128.0, 128.0)  # Llama-3-8B
        65536.0
        >>> cached_values(61.0, 1.0, 576.0, 0.0)  # DeepSeek-V3: 512 + 64 a layer
        35136.0
    """
    return layers * kv_heads * (key_dim + value_dim)


@equation
def weight_size(parameters: Count, bytes_per_value: Bytes = 2.0) -> Bytes:
    r"""Memory of the weights.

    .. math:: M = N \beta

    Args:
        parameters: weights, N [1]
        bytes_per_value: bytes of one weight, its share of scales included, beta [byte]

    Returns:
        Size [byte].

    Source:
        T. Dettmers et al., LLM.int8(), NeurIPS 2022, arXiv:2208.07339 (memory by precision).

    Examples:
        >>> weight_size(175e9) / 1e9  # GPT-3 in fp16
        350.0
    """
    return parameters * bytes_per_value


@equation
def touched_experts(tokens: Count, experts: Count, active: Count) -> Fraction:
    r"""Expected share of a layer's experts that at least one token chooses, when routing is uniform.

    Uneven routing touches fewer; a batch of one touches exactly ``active / experts``.

    .. math:: f = 1 - \left(1 - \frac{k}{E}\right)^T

    Args:
        tokens: tokens in the step, T [1]
        experts: routed experts of the layer, E [1]
        active: experts a token chooses, k [1]

    Returns:
        Share of the experts whose weights are read [1].

    Source:
        Probability that none of T independent draws of k out of E hits an expert; used for MoE decode by
        C. Hwang et al., Tutel, arXiv:2206.03382.

    Examples:
        >>> round(touched_experts(1.0, 256.0, 8.0), 6)
        0.03125
        >>> round(touched_experts(64.0, 256.0, 8.0), 3)
        0.869
    """
    return 1 - (1 - active / experts) ** tokens


@equation
def speculative_tokens(acceptance: Fraction, drafted: Count) -> Count:
    r"""Tokens that one verification of drafted tokens yields on average.

    Each draft is accepted independently with the same probability; the verifier always adds one token of its own.

    .. math:: E = \sum_{i=0}^{\gamma} \alpha^i = \frac{1 - \alpha^{\gamma + 1}}{1 - \alpha}

    Args:
        acceptance: probability that a drafted token is accepted, alpha in [0, 1] [1]
        drafted: tokens drafted for each verification, gamma [1]

    Returns:
        Tokens per verification, from 1 to gamma + 1 [1].

    Source:
        Y. Leviathan, M. Kalman and Y. Matias, Fast inference from transformers via speculative decoding, ICML 2023,
        arXiv:2211.17192, equation 1.

    Examples:
        >>> float(speculative_tokens(0.8, 4.0))
        3.3616
        >>> float(speculative_tokens(1.0, 4.0))
        5.0
    """
    safe = np.where(acceptance < 1, acceptance, 0.0)
    return np.where(acceptance < 1, (1 - safe ** (drafted + 1)) / (1 - safe), drafted + 1)


@equation
def prefill_activation_size(tokens: Count, hidden: Count, ffn: Count, bytes_per_value: Bytes = 2.0) -> Bytes:
    r"""Working memory of a forward pass: the residual stream in and out and the two halves of a gated MLP, one layer.

    .. math:: M = T (2 d + 2 f) \beta

    Args:
        tokens: tokens in one pass, T [1]
        hidden: width of the residual stream, d [1]
        ffn: widest intermediate width, f [1]
        bytes_per_value: bytes of one activation, beta [byte]

    Returns:
        Size [byte].

    Source:
        R. Y. Aminabadi et al., DeepSpeed Inference, SC 2022, arXiv:2207.00032 (activations are reused layer by layer).

    Examples:
        >>> prefill_activation_size(8192.0, 4096.0, 14336.0) / 1e6
        603.97...
    """
    return tokens * (2 * hidden + 2 * ffn) * bytes_per_value
