"""Bytes that a pass moves and holds, summed from named parts."""

from __future__ import annotations

from ..units import Bytes, Count, Flop, Fraction, Seconds
from . import equation
from .choice import maximum


@equation
def activation_traffic(weights: Bytes, samples: Count, share: Fraction) -> Bytes:
    r"""Bytes of weights once, and of activations for every sample, of a convolutional network as taught.

    .. math:: Q = M (1 + a B)

    Args:
        weights: size of the weights, M [byte]
        samples: samples in the batch, B [1]
        share: activation bytes of one sample over the weights, a [1]

    Returns:
        Traffic [byte].

    Source:
        Teaching model; the share is an assumption of the catalog entry ``Textbook``.

    Examples:
        >>> activation_traffic(51.2e6, 1.0, 0.1)
        56320000.0
    """
    return weights * (1 + share * samples)


@equation
def sum_of_bytes(first: Bytes, second: Bytes, third: Bytes) -> Bytes:
    r"""Bytes of three parts together.

    .. math:: M = M_1 + M_2 + M_3

    Args:
        first: one part [byte]
        second: another part [byte]
        third: a third part [byte]

    Returns:
        Sum [byte].

    Source:
        Definition.

    Examples:
        >>> sum_of_bytes(1.0, 2.0, 3.0)
        6.0
    """
    return first + second + third


@equation
def moe_weight_traffic(always: Bytes, routed: Bytes, touched: Fraction) -> Bytes:
    r"""Weights that a step reads: all that every token uses, and the experts that at least one token chose.

    .. math:: Q = M_a + f M_r

    Args:
        always: weights outside the routed experts, M_a [byte]
        routed: weights of all routed experts, M_r [byte]
        touched: share of the experts that are read, f [1]

    Returns:
        Traffic [byte].

    Source:
        C. Hwang et al., Tutel, arXiv:2206.03382 (only chosen experts are computed).

    Examples:
        >>> moe_weight_traffic(10e9, 90e9, 0.1)
        19000000000.0
    """
    return always + routed * touched


@equation
def sum_of_flops(first: Flop, second: Flop) -> Flop:
    r"""Work of two parts together.

    .. math:: W = W_1 + W_2

    Args:
        first: one part [flop]
        second: the other part [flop]

    Returns:
        Sum [flop].

    Source:
        Definition.

    Examples:
        >>> sum_of_flops(1.0, 2.0)
        3.0
    """
    return first + second


@equation
def activation_size(tokens: Count, width: Count, value: Bytes) -> Bytes:
    r"""Bytes of one activation tensor.

    .. math:: M = T d \beta

    Args:
        tokens: tokens, T [1]
        width: values of each token, d [1]
        value: bytes of one value, beta [byte]

    Returns:
        Size [byte].

    Source:
        M. Shoeybi et al., Megatron-LM, arXiv:1909.08053 (what a tensor-parallel all-reduce carries).

    Examples:
        >>> activation_size(32.0, 8192.0, 2.0)
        524288.0
    """
    return tokens * width * value


@equation
def sum_of_times(first: Seconds, second: Seconds, third: Seconds) -> Seconds:
    r"""Time of three parts one after the other.

    .. math:: t = t_1 + t_2 + t_3

    Args:
        first: one part [second]
        second: another part [second]
        third: a third part [second]

    Returns:
        Sum [second].

    Source:
        Definition.

    Examples:
        >>> sum_of_times(1.0, 2.0, 3.0)
        6.0
    """
    return first + second + third


@equation
def shared_time(step: Seconds, drafting: Seconds, tokens: Count) -> Seconds:
    r"""Time of one token when a step, and the drafting before it, yields several.

    .. math:: t = \frac{t_s + t_d}{E}

    Args:
        step: one step of the served model, t_s [second]
        drafting: what the draft model takes before it, t_d [second]
        tokens: tokens that the step yields on average, E [1]

    Returns:
        Time per token [second].

    Source:
        Y. Leviathan, M. Kalman and Y. Matias, ICML 2023, arXiv:2211.17192, theorem 3.8.

    Examples:
        >>> shared_time(10e-3, 5e-3, 3.0)
        0.005
    """
    return (step + drafting) / tokens


@equation
def launch_time(launches: Count, each: Seconds, once: Seconds = 0.0) -> Seconds:
    r"""Host time of a pass: a fixed part, and one for every layer.

    .. math:: t = t_0 + L t_l

    Args:
        launches: layers, L [1]
        each: software cost of one layer, t_l [second]
        once: cost of the pass as a whole, t_0 [second]

    Returns:
        Time that overlaps with nothing [second].

    Source:
        Teaching model; both costs are facts of the catalog (entry ``Textbook``, and the device).

    Examples:
        >>> round(launch_time(50.0, 10e-6, 15e-6) * 1e6, 3)
        515.0
    """
    return once + launches * each


@equation
def uncached_tokens(prompt: Count, cached: Count) -> Count:
    r"""Tokens of a prompt that must be computed: those not cached, and at least the last one.

    .. math:: n = \max(S - c, 1)

    Args:
        prompt: tokens of the prompt, S [1]
        cached: tokens whose keys and values are cached, c [1]

    Returns:
        Tokens [1].

    Source:
        L. Zheng et al., SGLang (RadixAttention), arXiv:2312.07104.

    Examples:
        >>> float(uncached_tokens(2048.0, 1024.0))
        1024.0
    """
    return maximum(prompt - cached, 1.0)
