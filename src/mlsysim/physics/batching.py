"""Batches of requests: pages of cache, shared prefixes, prefill between decode steps, drafts, static batches."""

from __future__ import annotations

import numpy as np

from ..units import Bytes, Count, Fraction, PerSecond, Seconds
from . import equation


@equation
def paged_tokens(tokens: Count, page: Count) -> Count:
    r"""Tokens that a sequence occupies in a cache handed out in pages.

    .. math:: S' = p \left\lceil \frac{S}{p} \right\rceil

    Args:
        tokens: tokens of the sequence, S [1]
        page: tokens in a page, p [1]

    Returns:
        Tokens, at most one page more than there are [1].

    Source:
        W. Kwon et al., Efficient memory management for large language model serving with PagedAttention, SOSP 2023,
        arXiv:2309.06180, section 4.3 (waste is limited to one block a request).

    Examples:
        >>> float(paged_tokens(2050.0, 16.0))
        2064.0
    """
    return np.ceil(tokens / page) * page


@equation
def wasted_share(used: Count, reserved: Count) -> Fraction:
    r"""Share of reserved cache that holds nothing.

    .. math:: f = 1 - \frac{S}{S'}

    Args:
        used: tokens held, S [1]
        reserved: tokens there is room for, S' [1]

    Returns:
        Share [1].

    Source:
        W. Kwon et al., PagedAttention, SOSP 2023, arXiv:2309.06180, section 3.1.

    Examples:
        >>> print(f"{wasted_share(2050.0, 2064.0):.6f}")
        0.006783
    """
    return 1 - used / reserved


@equation
def shared_cache_size(request: Bytes, prefix: Bytes, requests: Count) -> Bytes:
    r"""Cache of several requests that keep a common prefix once.

    .. math:: M = M_p + n (M_r - M_p)

    Args:
        request: cache of one request, its prefix included, M_r [byte]
        prefix: cache of the common prefix, M_p <= M_r [byte]
        requests: requests, n [1]

    Returns:
        Size [byte].

    Source:
        W. Kwon et al., PagedAttention, SOSP 2023, arXiv:2309.06180, section 4.4 (shared prefix).

    Examples:
        >>> shared_cache_size(100.0, 60.0, 10.0)
        460.0
    """
    return prefix + requests * (request - prefix)


@equation
def resident_requests(room: Bytes, request: Bytes, prefix: Bytes) -> Count:
    r"""Whole requests whose cache fits, a common prefix kept once.

    .. math:: n = \left\lfloor \frac{C - M_p}{M_r - M_p} \right\rfloor

    Args:
        room: memory left for caches, C [byte]
        request: cache of one request, its prefix included, M_r [byte]
        prefix: cache of the common prefix, M_p < M_r [byte]

    Returns:
        Requests, 0 if none fits [1].

    Source:
        W. Kwon et al., PagedAttention, SOSP 2023, arXiv:2309.06180, section 4.4.

    Examples:
        >>> float(resident_requests(1000.0, 100.0, 60.0))
        23.0
    """
    return np.floor(np.maximum(room - prefix, 0.0 * room) / (request - prefix))


@equation
def residence_time(decode_step: Seconds, prefill: Seconds, active: Count, output: Count) -> Seconds:
    r"""Time that a request holds its slot when every neighbour's prefill stalls it once, as its own stalls them.

    In a steady state as many requests enter during a stay as are active: each brings one prefill.

    .. math:: t = n\, t_p + O\, t_d

    Args:
        decode_step: time of a decode step of all active requests, t_d [second]
        prefill: time of the prefill of one request, t_p [second]
        active: requests active at the same time, n [1]
        output: tokens that a request generates, O [1]

    Returns:
        Time [second].

    Source:
        A. Agrawal et al., Taming throughput-latency tradeoff in LLM inference with Sarathi-Serve, OSDI 2024,
        arXiv:2403.02310, section 3 (generation stalls); Little's law.

    Examples:
        >>> residence_time(0.01, 0.05, 8.0, 100.0)
        1.4
    """
    return active * prefill + output * decode_step


@equation
def slot_capacity(residence: Seconds, active: Count) -> PerSecond:
    r"""Requests a second of a server that keeps all of its slots busy: Little's law.

    .. math:: \lambda = \frac{n}{t}

    Args:
        residence: time that a request holds its slot, t [second]
        active: slots, n [1]

    Returns:
        Rate [1/second].

    Source:
        J. D. C. Little, Oper. Res. 9 (1961) 383-387, doi:10.1287/opre.9.3.383.

    Examples:
        >>> slot_capacity(1.4, 8.0)
        5.714...
    """
    return active / residence


@equation
def static_batch_share(requests: Count, spread: Fraction = 1.0) -> Fraction:
    r"""Useful share of the steps of a static batch, which runs until its longest member is done.

    Output lengths are uniform around their mean, from ``1 - spread`` to ``1 + spread`` times it.

    .. math:: f = \frac{1}{1 + s \frac{n - 1}{n + 1}}

    Args:
        requests: requests of the batch, n [1]
        spread: half of the range of output lengths over their mean, s in [0, 1] [1]

    Returns:
        Mean length over the mean of the longest of n [1].

    Source:
        H. A. David and H. N. Nagaraja, Order Statistics, 3rd ed., Wiley 2003, section 2.3 (maximum of n uniform
        variables); G.-I. Yu et al., Orca, OSDI 2022, section 3 (early-finished requests), lengths uniform as in 6.2.

    Examples:
        >>> static_batch_share(1.0), static_batch_share(3.0, 0.5)
        (1.0, 0.8)
    """
    return 1 / (1 + spread * (requests - 1) / (requests + 1))


@equation
def speculative_speedup(tokens: Count, plain_step: Seconds, verify_step: Seconds, drafting: Seconds) -> Count:
    r"""How many times faster tokens come with a draft model.

    With a verification as long as a plain step and drafts of a fixed relative cost this is theorem 3.8 of the source.

    .. math:: s = \frac{E\, t}{t_v + t_d}

    Args:
        tokens: tokens of one verification on average, E [1]
        plain_step: decode step without drafts, t [second]
        verify_step: step that verifies the drafts, t_v [second]
        drafting: time to draft, all drafts of a step together, t_d [second]

    Returns:
        Speedup; below 1 drafting does not pay [1].

    Source:
        Y. Leviathan, M. Kalman and Y. Matias, Fast inference from transformers via speculative decoding, ICML 2023,
        arXiv:2211.17192, theorem 3.8.

    Examples:
        >>> print(f"{speculative_speedup(3.3616, 1.0, 1.0, 4 * 0.02):.2f}")  # gamma 4, alpha 0.8, c 0.02
        3.11
    """
    return tokens * plain_step / (verify_step + drafting)


@equation
def attention_design_size(layers: Count, heads: Count, head_dim: Count, tokens: Count, value: Bytes) -> Bytes:
    r"""Cache of one sequence if some number of heads keep a key and a value: all heads, groups of them, or one.

    .. math:: M = 2\, l\, h\, d_h S \beta

    Args:
        layers: layers that attend, l [1]
        heads: heads that keep a key and a value: all (MHA), one a group (GQA), one (MQA), 2.25 (MLA), h [1]
        head_dim: width of a head, d_h [1]
        tokens: tokens, S [1]
        value: bytes of one value, beta [byte]

    Returns:
        Size [byte].

    Source:
        DeepSeek-AI, DeepSeek-V2, arXiv:2405.04434, table 1.

    Examples:
        >>> attention_design_size(32.0, 8.0, 128.0, 1.0, 2.0)
        131072.0
    """
    return 2 * layers * heads * head_dim * tokens * value
