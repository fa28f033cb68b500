"""Many calls of one model: trajectories of agents, samples of one question, and looking things up by vectors."""

from __future__ import annotations

import numpy as np

from ..units import Bytes, Count, Dollars, DollarsPerToken, Flop, Fraction, Tokens
from . import equation


@equation
def trajectory_tokens(prompt: Count, appended: Count, turns: Count) -> Count:
    r"""Prompt tokens sent over a trajectory that only grows: every turn sends all that came before.

    .. math:: T = n p + a \frac{n (n - 1)}{2}

    Args:
        prompt: tokens of the first prompt, p [1]
        appended: tokens that a turn adds, answer and tool output together, a [1]
        turns: calls of the model, n [1]

    Returns:
        Tokens [1].

    Source:
        Sum of an arithmetic series.

    Examples:
        >>> trajectory_tokens(1000.0, 500.0, 4.0)  # 1000 + 1500 + 2000 + 2500
        7000.0
    """
    return turns * prompt + appended * turns * (turns - 1) / 2


@equation
def fresh_tokens(prompt: Count, appended: Count, turns: Count) -> Count:
    r"""Prompt tokens of a growing trajectory that no earlier turn has sent: each token once.

    .. math:: T = p + a (n - 1)

    Args:
        prompt: tokens of the first prompt, p [1]
        appended: tokens that a turn adds, a [1]
        turns: calls of the model, n [1]

    Returns:
        Tokens [1].

    Source:
        Length of the last prompt; reuse of prefixes: L. Zheng et al., SGLang, arXiv:2312.07104 (RadixAttention).

    Examples:
        >>> fresh_tokens(1000.0, 500.0, 4.0)
        2500.0
    """
    return prompt + appended * (turns - 1)


@equation
def token_bill(
    fresh: Tokens,
    cached: Tokens,
    written: Tokens,
    input_price: DollarsPerToken,
    cached_price: DollarsPerToken,
    output_price: DollarsPerToken,
) -> Dollars:
    r"""What an API charges for prompts, cached prompts and answers.

    .. math:: K = T_f p_i + T_c p_c + T_w p_o

    Args:
        fresh: prompt tokens that are read anew, T_f [token]
        cached: prompt tokens found in the cache, T_c [token]
        written: tokens generated, T_w [token]
        input_price: price of a prompt token, p_i [USD/token]
        cached_price: price of a cached prompt token, p_c [USD/token]
        output_price: price of a generated token, p_o [USD/token]

    Returns:
        Cost [USD].

    Source:
        Definition of a price list.

    Examples:
        >>> token_bill(1e6, 0.0, 1e6, 2.5e-6, 1.25e-6, 10e-6)
        12.5
    """
    return fresh * input_price + cached * cached_price + written * output_price


@equation
def success_of_any(success: Fraction, samples: Count) -> Fraction:
    r"""Probability that at least one of several independent samples is right, which a perfect verifier would pick.

    .. math:: P = 1 - (1 - p)^n

    Args:
        success: probability that one sample is right, p [1]
        samples: samples drawn, n [1]

    Returns:
        Probability [1].

    Source:
        M. Chen et al., Evaluating large language models trained on code, arXiv:2107.03374, section 2.1 (pass@k).

    Examples:
        >>> success_of_any(0.5, 3.0)
        0.875
    """
    return 1 - (1 - success) ** samples


@equation
def success_of_majority(success: Fraction, samples: Count) -> Fraction:
    r"""Probability that more than half of several independent samples are right; ties are broken by a coin.

    .. math:: P = \sum_{k > n/2} \binom{n}{k} p^k (1 - p)^{n - k} + \tfrac{1}{2} \left[k = \tfrac{n}{2}\right]

    Wrong answers are taken to agree with each other, so this is the least that voting over many answers yields.

    Args:
        success: probability that one sample is right, p [1]
        samples: samples drawn, n; a whole number [1]

    Returns:
        Probability [1].

    Source:
        M. de Condorcet, Essai sur l'application de l'analyse, 1785 (the jury theorem); voting over samples: X. Wang et
        al., Self-consistency improves chain of thought reasoning, arXiv:2203.11171.

    Examples:
        >>> round(float(success_of_majority(0.6, 3.0)), 4)  # p^3 + 3 p^2 (1 - p)
        0.648
        >>> round(float(success_of_majority(0.6, 2.0)), 4)
        0.6
    """
    p, n = np.asarray(success * 1.0)[..., None], np.asarray(samples * 1.0)[..., None]
    most = int(np.maximum(np.max(n), 1.0))
    k = np.arange(most + 1.0)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1.0, most + 1)))])
    rest = np.clip(n - k, 0, most).astype(np.int64)
    ways = logs[np.clip(n, 0, most).astype(np.int64)] - logs[k.astype(np.int64)] - logs[rest]
    with np.errstate(divide="ignore", invalid="ignore"):
        right = np.where(k == 0, 0.0, k * np.log(p))
        wrong = np.where(n - k <= 0, 0.0, (n - k) * np.log1p(-p))
        chance = np.where(k <= n, np.exp(ways + right + wrong), 0.0)
    votes = np.where(2 * k > n, 1.0, np.where(2 * k == n, 0.5, 0.0))
    return np.sum(chance * votes, axis=-1)[()]


@equation
def vector_scan_flops(vectors: Count, dimension: Count, queries: Count, multiply_add: Flop = 2.0) -> Flop:
    r"""FLOPs of comparing queries with every stored vector.

    .. math:: W = 2 n d q

    Args:
        vectors: vectors compared, n [1]
        dimension: their length, d [1]
        queries: queries, q [1]
        multiply_add: FLOPs of a multiply-add [flop]

    Returns:
        Work [flop].

    Source:
        J. Johnson, M. Douze and H. Jegou, Billion-scale similarity search with GPUs, arXiv:1702.08734, section 2.

    Examples:
        >>> vector_scan_flops(1e6, 768.0, 1.0)
        1536000000.0
    """
    return multiply_add * vectors * dimension * queries


@equation
def vector_store_size(vectors: Count, dimension: Count, value: Bytes = 4.0) -> Bytes:
    r"""Memory of vectors stored as they are.

    .. math:: M = n d \beta

    Args:
        vectors: vectors stored, n [1]
        dimension: their length, d [1]
        value: bytes of a component, beta [byte]

    Returns:
        Size [byte].

    Source:
        Definition.

    Examples:
        >>> vector_store_size(1e9, 96.0) / 1e9  # Deep1B
        384.0
    """
    return vectors * dimension * value


@equation
def graph_links_size(vectors: Count, links: Count = 32.0, value: Bytes = 4.0) -> Bytes:
    r"""Memory of the links of a navigable graph; the upper layers add a few per cent.

    .. math:: M = 2 n m \beta_l

    Args:
        vectors: vectors stored, n [1]
        links: links of a vertex in the upper layers, m; the lowest has twice as many [1]
        value: bytes of a link, beta_l [byte]

    Returns:
        Size [byte].

    Source:
        Y. A. Malkov and D. A. Yashunin, Efficient and robust approximate nearest neighbor search using hierarchical
        navigable small world graphs, arXiv:1603.09320, section 4.2.3.

    Examples:
        >>> graph_links_size(1e6, 16.0) / 1e6  # 128 bytes a vector
        128.0
    """
    return 2 * vectors * links * value


@equation
def product_code_size(vectors: Count, parts: Count, code: Bytes = 1.0, identifier: Bytes = 8.0) -> Bytes:
    r"""Memory of product-quantised vectors in inverted lists: one code a part, and an identifier.

    .. math:: M = n (m \beta_c + \beta_i)

    Args:
        vectors: vectors stored, n [1]
        parts: parts a vector is cut into, m [1]
        code: bytes of the code of a part, beta_c; 1 for 256 centroids [byte]
        identifier: bytes of an identifier, beta_i [byte]

    Returns:
        Size [byte].

    Source:
        H. Jegou, M. Douze and C. Schmid, Product quantization for nearest neighbor search, IEEE Trans. Pattern Anal.
        Mach. Intell. 33 (2011) 117-128, doi:10.1109/TPAMI.2010.57.

    Examples:
        >>> product_code_size(1e9, 8.0) / 1e9
        16.0
    """
    return vectors * (parts * code + identifier)


@equation
def probed_share(probes: Count, lists: Count) -> Fraction:
    r"""Share of the vectors that an inverted index looks at, its lists being of equal length.

    .. math:: s = \min\left(1, \frac{p}{l}\right)

    Args:
        probes: lists looked at, p [1]
        lists: lists there are, l [1]

    Returns:
        Share [1].

    Source:
        H. Jegou et al., IEEE Trans. Pattern Anal. Mach. Intell. 33 (2011) 117-128, doi:10.1109/TPAMI.2010.57, section 4.

    Examples:
        >>> float(probed_share(32.0, 4096.0))
        0.0078125
    """
    return np.minimum(1.0, probes / lists)
