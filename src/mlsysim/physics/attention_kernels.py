"""Fused attention on a chip of many cores: causal work in tiles, the exponential limit, and split key-value reads."""

from __future__ import annotations

from ..units import Bytes, BytesPerSecond, Count, Flop, FlopPerSecond, Fraction, PerSecond, Seconds
from . import equation
from .choice import maximum, minimum


@equation
def causal_pairs(new: Count, cached: Count, window: Count) -> Count:
    r"""Query-key pairs of one head when every new token looks back at itself and at most a window of tokens.

    .. math:: P = S(c + n) - S(c), \quad S(x) = \frac{y (y + 1)}{2} + w (x - y), \quad y = \min(x, w)

    Args:
        new: new tokens, n [1]
        cached: tokens before them, c [1]
        window: tokens that a query can see, itself included, w [1]

    Returns:
        Pairs [1].

    Source:
        T. Dao, FlashAttention-2, arXiv:2307.08691, section 3.1 (causal); A. Jiang et al., Mistral 7B,
        arXiv:2310.06825 (window).

    Examples:
        >>> causal_pairs(4.0, 0.0, 1e18), causal_pairs(1.0, 7.0, 1e18), causal_pairs(4.0, 0.0, 2.0)
        (10.0, 8.0, 7.0)
    """
    end, start = minimum(cached + new, window), minimum(cached, window)
    whole = end * (end + 1) / 2 + window * (cached + new - end)
    return whole - (start * (start + 1) / 2 + window * (cached - start))


@equation
def attention_block_time(
    rows: Count,
    keys: Count,
    head_dim: Count,
    cores: Count,
    peak: FlopPerSecond,
    efficiency: Fraction,
    exponentials: PerSecond,
    softmax: Count,
    multiply_add: Flop = 2.0,
) -> Seconds:
    r"""Time of one core for one block of queries against one block of keys: two products, then the softmax.

    The exponential units are far slower than the tensor cores, so that they bound small heads.

    .. math:: t = \frac{4 r k d S}{\eta P} + \kappa \frac{r k}{E}

    Args:
        rows: queries of the block, r [1]
        keys: keys of the block, k [1]
        head_dim: width of a head, d [1]
        cores: cores of the chip, S [1]
        peak: arithmetic peak of the chip, P [flop/second]
        efficiency: share of the peak sustained in the products, eta [1]
        exponentials: exponentials a second of one core, E [1/second]
        softmax: share of the softmax that does not overlap with the products, kappa [1]
        multiply_add: FLOPs of one multiply-add [flop]

    Returns:
        Time [second].

    Source:
        J. Shah et al., FlashAttention-3, arXiv:2407.08608, section 3.1 (special functions at 3.9 TFLOP/s against 989).

    Examples:
        >>> attention_block_time(128.0, 128.0, 128.0, 132.0, 989e12, 0.75, 16 * 1.755e9, 0.5)
        1.784...e-06
    """
    return (
        2 * multiply_add * rows * keys * head_dim * cores / (efficiency * peak) + softmax * rows * keys / exponentials
    )


@equation
def context_attention_time(
    launch: Seconds, shared: Seconds, longest: Seconds, memory: Seconds, balance: Count, combine: Seconds
) -> Seconds:
    r"""Time of prefill attention: the work shared by all cores against the longest chain of one core, and memory.

    .. math:: t = t_0 + \left((a^Q + c^Q)^{3/Q} + m^3\right)^{1/3} + t_s

    Args:
        launch: fixed time of the kernel on the chip, t_0 [second]
        shared: work of all blocks over all cores, a [second]
        longest: the longest row of blocks, which one core does alone, c [second]
        memory: queries, keys, values and results over the memory bandwidth, m [second]
        balance: Q; large when a scheduler hides the longest row [1]
        combine: extra time to join split rows, t_s [second]

    Returns:
        Time [second].

    Source:
        R. Graham, SIAM J. Appl. Math. 17 (1969) 416-429 (makespan between average load and longest job);
        T. Dao, FlashAttention-2, arXiv:2307.08691, section 3.2 (work partition).

    Examples:
        >>> context_attention_time(1e-6, 3e-6, 4e-6, 0.0, 2.0, 0.0)
        6e-06
    """
    work = maximum(shared, longest)
    work = work * (1 + (minimum(shared, longest) / work) ** balance) ** (1 / balance)
    longer = maximum(work, memory)
    return launch + longer * (1 + (minimum(work, memory) / longer) ** 3) ** (1 / 3) + combine


@equation
def cache_write_time(tokens: Count, values: Count, rate: PerSecond, threads: Count = 512.0) -> Seconds:
    r"""Time of the kernel that writes new keys and values into a paged cache, one block of threads for each token.

    Such a block waits for memory far longer than it moves data, so it costs the threads that it holds, not the bytes.

    .. math:: t = \frac{n \min(v, b)}{R}

    Args:
        tokens: new tokens, n [1]
        values: values of a key of all heads, v [1]
        rate: threads that the chip starts and ends in a second, R [1/second]
        threads: most threads of a block, b [1]

    Returns:
        Time [second].

    Source:
        vLLM, csrc/cache_kernels.cu, reshape_and_cache_flash (a grid of tokens, blocks of at most 512 threads),
        github.com/vllm-project/vllm.

    Examples:
        >>> cache_write_time(1000.0, np.array([128.0, 1024.0, 8192.0]), 1e11)
        array([1.28e-06, 5.12e-06, 5.12e-06])
    """
    return tokens * minimum(values, threads) / rate


@equation
def key_value_splits(rows: Count, cores: Count, blocks: Count) -> Count:
    r"""Pieces into which a decoding kernel cuts each key-value sequence so that all cores have work.

    .. math:: s = \min\left(\max\left(\frac{S}{n}, 1\right), k\right)

    Args:
        rows: independent rows of work (sequences times key-value heads), n [1]
        cores: cores of the chip, S [1]
        blocks: blocks of keys in a sequence, the most pieces that make sense, k [1]

    Returns:
        Pieces [1].

    Source:
        T. Dao et al., Flash-Decoding for long-context inference, Stanford CRFM blog (2023).

    Examples:
        >>> key_value_splits(np.array([8.0, 1000.0]), 132.0, 64.0)
        array([16.5,  1. ])
    """
    return minimum(maximum(cores / rows, 1.0), blocks)


@equation
def core_stream_time(blocks: Count, block: Bytes, cores: Count, bandwidth: BytesPerSecond, share: Fraction) -> Seconds:
    r"""Time of one core to stream its blocks when one core alone can draw only so much bandwidth.

    .. math:: t = \frac{k b S}{\kappa B}

    Args:
        blocks: blocks that the busiest core reads, k [1]
        block: bytes of one block, b [byte]
        cores: cores of the chip, S [1]
        bandwidth: memory bandwidth of the chip, B [byte/second]
        share: bandwidth of one core over its equal share, kappa [1]

    Returns:
        Time [second].

    Source:
        Little's law for memory: V. Volkov, Understanding Latency Hiding on GPUs, UC Berkeley EECS-2016-143.

    Examples:
        >>> core_stream_time(4.0, 65536.0, 132.0, 3.35e12, 2.0)
        5.16...e-06
    """
    return blocks * block * cores / (share * bandwidth)


@equation
def generation_attention_time(
    launch: Seconds,
    memory: Seconds,
    stream: Seconds,
    math: Seconds,
    sharpness: Count,
    waves: Count,
    wave_overhead: Seconds,
    combine: Seconds,
) -> Seconds:
    r"""Time of decode attention: key-value reads, one core's stream, and the arithmetic and rounds of a core overlap.

    .. math:: t = t_0 + \left(m^q + l^q + (c + w\, t_w)^q\right)^{1/q} + t_s

    Args:
        launch: fixed time of the kernel on the chip, t_0 [second]
        memory: key-value cache over the memory bandwidth, m [second]
        stream: what the busiest core reads over what one core can draw, l [second]
        math: arithmetic, padded to whole tiles of queries, c [second]
        sharpness: how well they overlap, q [1]
        waves: rounds of the cores, w [1]
        wave_overhead: prologue and epilogue of a row, t_w [second]
        combine: extra time to join split sequences, t_s [second]

    Returns:
        Time [second].

    Source:
        T. Dao et al., Flash-Decoding for long-context inference, Stanford CRFM blog (2023); overlap as in the roofline.

    Examples:
        >>> generation_attention_time(1e-6, 3e-6, 0.0, 3e-6, 2.0, 2.0, 5e-7, 0.0)
        6e-06
    """
    core = math + waves * wave_overhead
    longest = maximum(maximum(memory, stream), core)
    shares = (memory / longest) ** sharpness + (stream / longest) ** sharpness + (core / longest) ** sharpness
    return launch + longest * shares ** (1 / sharpness) + combine
