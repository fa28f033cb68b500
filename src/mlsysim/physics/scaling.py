"""Scaling laws: what compute buys, and how to split it between parameters and tokens."""

from __future__ import annotations

import numpy as np

from ..units import Count, Flop, FlopPerSecond, Fraction, Seconds
from . import equation


@equation
def training_flops(parameters: Count, tokens: Count, each: Flop = 6.0) -> Flop:
    r"""FLOPs of training a transformer: two forward and four backward for every parameter and token.

    .. math:: C = 6 N D

    Args:
        parameters: parameters that take part in a token, N [1]
        tokens: training tokens, D [1]
        each: FLOPs for a parameter and a token; 8 where the forward pass is recomputed [flop]

    Returns:
        Work [flop].

    Source:
        J. Kaplan et al., Scaling laws for neural language models, arXiv:2001.08361, section 2.1.

    Examples:
        >>> print(f"{training_flops(70e9, 1.4e12):.3g}")  # Chinchilla
        5.88e+23
    """
    return each * parameters * tokens


@equation
def compute_in_time(time: Seconds, devices: Count, peak: FlopPerSecond, utilisation: Fraction) -> Flop:
    r"""FLOPs of useful work that devices do in some time.

    .. math:: C = t\, n\, P\, u

    Args:
        time: how long they run, t [second]
        devices: how many, n [1]
        peak: dense peak of one, P [flop/second]
        utilisation: model FLOPs utilisation, u [1]

    Returns:
        Work [flop].

    Source:
        A. Chowdhery et al., PaLM, arXiv:2204.02311, appendix B (model FLOPs utilisation).

    Examples:
        >>> print(f"{compute_in_time(86400.0, 1000.0, 989e12, 0.4):.4g}")  # a day of 1000 H100 at 40 %
        3.418e+22
    """
    return time * devices * peak * utilisation


@equation
def ratio_optimal_parameters(compute: Flop, ratio: Count = 20.0, each: Flop = 6.0) -> Count:
    r"""Parameters that a budget trains when tokens are a fixed multiple of parameters.

    .. math:: N = \sqrt{\frac{C}{6 r}}

    Args:
        compute: budget, C [flop]
        ratio: tokens for each parameter, r; about 20 by the first two approaches of the source [1]
        each: FLOPs for a parameter and a token [flop]

    Returns:
        Parameters [1].

    Source:
        J. Hoffmann et al., Training compute-optimal large language models, arXiv:2203.15556, table 3.

    Examples:
        >>> print(f"{ratio_optimal_parameters(5.88e23):.3g}")  # Chinchilla again
        7e+10
    """
    return (compute / (each * ratio)) ** 0.5


@equation
def affordable_tokens(compute: Flop, parameters: Count, each: Flop = 6.0) -> Count:
    r"""Tokens that a budget pays for at a given model size.

    .. math:: D = \frac{C}{6 N}

    Args:
        compute: budget, C [flop]
        parameters: parameters that take part in a token, N [1]
        each: FLOPs for a parameter and a token [flop]

    Returns:
        Tokens [1].

    Source:
        J. Kaplan et al., arXiv:2001.08361, section 2.1, solved for the tokens.

    Examples:
        >>> affordable_tokens(6e21, 1e9)
        1000000000000.0
    """
    return compute / (each * parameters)


@equation
def law_optimal_parameters(
    compute: Flop,
    parameter_scale: Count,
    token_scale: Count,
    parameter_exponent: Count,
    token_exponent: Count,
    each: Flop = 6.0,
) -> Count:
    r"""Parameters that minimise a fitted loss for a budget.

    .. math:: N = G \left(\frac{C}{6}\right)^{\frac{\beta}{\alpha + \beta}}, \quad
        G = \left(\frac{\alpha A}{\beta B}\right)^{\frac{1}{\alpha + \beta}}

    Args:
        compute: budget, C [flop]
        parameter_scale: A of the law [1]
        token_scale: B of the law [1]
        parameter_exponent: alpha of the law [1]
        token_exponent: beta of the law [1]
        each: FLOPs for a parameter and a token [flop]

    Returns:
        Parameters [1].

    Source:
        J. Hoffmann et al., arXiv:2203.15556, equation 4.

    Examples:
        >>> print(f"{law_optimal_parameters(5.76e23, 482.01, 2085.43, 0.3478, 0.3658):.2g}")  # Gopher's budget
        7e+10
    """
    total = parameter_exponent + token_exponent
    gain = (parameter_exponent * parameter_scale / (token_exponent * token_scale)) ** (1 / total)
    return gain * (compute / each) ** (token_exponent / total)


@equation
def fitted_loss(
    parameters: Count,
    tokens: Count,
    irreducible: Count,
    parameter_scale: Count,
    token_scale: Count,
    parameter_exponent: Count,
    token_exponent: Count,
) -> Count:
    r"""Loss of a trained model, in nats a token.

    .. math:: L = E + \frac{A}{N^{\alpha}} + \frac{B}{D^{\beta}}

    Args:
        parameters: N [1]
        tokens: training tokens, D [1]
        irreducible: entropy of text, E [1]
        parameter_scale: A [1]
        token_scale: B [1]
        parameter_exponent: alpha [1]
        token_exponent: beta [1]

    Returns:
        Loss [1].

    Source:
        J. Hoffmann et al., arXiv:2203.15556, equation 2.

    Examples:
        >>> round(fitted_loss(70e9, 1.4e12, 1.8172, 482.01, 2085.43, 0.3478, 0.3658), 3)
        1.973
    """
    return irreducible + parameter_scale / parameters**parameter_exponent + token_scale / tokens**token_exponent


@equation
def tokens_for_loss(
    parameters: Count,
    loss: Count,
    irreducible: Count,
    parameter_scale: Count,
    token_scale: Count,
    parameter_exponent: Count,
    token_exponent: Count,
) -> Count:
    r"""Tokens after which a model of given size has a given loss; infinite where it never gets there.

    .. math:: D = \left(\frac{B}{L - E - A N^{-\alpha}}\right)^{1/\beta}

    Args:
        parameters: N [1]
        loss: loss wanted, L [1]
        irreducible: E [1]
        parameter_scale: A [1]
        token_scale: B [1]
        parameter_exponent: alpha [1]
        token_exponent: beta [1]

    Returns:
        Tokens [1].

    Source:
        J. Hoffmann et al., arXiv:2203.15556, equation 2, solved for the tokens.

    Examples:
        >>> print(f"{tokens_for_loss(70e9, 1.9729, 1.8172, 482.01, 2085.43, 0.3478, 0.3658):.2g}")
        1.4e+12
        >>> float(tokens_for_loss(1e6, 1.9, 1.8172, 482.01, 2085.43, 0.3478, 0.3658))
        inf
    """
    left = np.maximum(loss - irreducible - parameter_scale / parameters**parameter_exponent, 0.0)
    with np.errstate(divide="ignore"):
        return np.divide(token_scale, left) ** (1 / token_exponent)


@equation
def lifetime_flops(parameters: Count, tokens: Count, served: Count, training: Flop = 6.0, serving: Flop = 2.0) -> Flop:
    r"""FLOPs of training a model and of all the tokens it will serve.

    .. math:: C = 6 N D + 2 N T

    Args:
        parameters: N [1]
        tokens: training tokens, D [1]
        served: tokens read and written over its life, T [1]
        training: FLOPs for a parameter and a training token [flop]
        serving: FLOPs for a parameter and a served token [flop]

    Returns:
        Work [flop].

    Source:
        N. Sardana et al., Beyond Chinchilla-optimal, ICML 2024, arXiv:2401.00448, equation 2.

    Examples:
        >>> lifetime_flops(7e9, 1e12, 2e12)
        7e+22
    """
    return training * parameters * tokens + serving * parameters * served


@equation
def lifetime_optimal_parameters(
    loss: Count,
    served: Count,
    irreducible: Count,
    parameter_scale: Count,
    token_scale: Count,
    parameter_exponent: Count,
    token_exponent: Count,
    serving_share: Fraction = 1 / 3,
) -> Count:
    r"""Parameters that reach a loss with the fewest FLOPs of training and serving together.

    With u the part of the reducible loss K = L - E that the size leaves, the optimum is where

    .. math:: 1 + \frac{2 T}{6 D} = \frac{\alpha u}{\beta (1 - u)}, \quad N = \left(\frac{A}{K u}\right)^{1/\alpha},
        \quad D = \left(\frac{B}{K (1 - u)}\right)^{1/\beta}

    whose left side falls and right side rises with u, so that bisection finds the one root.

    Args:
        loss: loss wanted, L > E [1]
        served: tokens served over the life of the model, T [1]
        irreducible: E [1]
        parameter_scale: A [1]
        token_scale: B [1]
        parameter_exponent: alpha [1]
        token_exponent: beta [1]
        serving_share: FLOPs of a served token over those of a training token, 2/6 [1]

    Returns:
        Parameters; infinite where the loss is below what any model reaches [1].

    Source:
        N. Sardana et al., Beyond Chinchilla-optimal, ICML 2024, arXiv:2401.00448, section 3 (they solve it by Newton's
        method).

    Examples:
        >>> print(f"{lifetime_optimal_parameters(1.9729, 0.0, 1.8172, 482.01, 2085.43, 0.3478, 0.3658):.1g}")
        7e+10
        >>> print(f"{lifetime_optimal_parameters(1.9729, 1e13, 1.8172, 482.01, 2085.43, 0.3478, 0.3658):.1g}")
        4e+10
    """
    reducible = np.maximum(loss - irreducible, 0.0)
    low, high = 0.0 * reducible, 0.0 * reducible + 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        for _ in range(60):
            share = (low + high) / 2
            tokens = (token_scale / (reducible * (1 - share))) ** (1 / token_exponent)
            gain = 1 + serving_share * served / tokens
            above = gain > parameter_exponent * share / (token_exponent * (1 - share))
            low, high = np.where(above, share, low), np.where(above, high, share)
        return (parameter_scale / (reducible * low)) ** (1 / parameter_exponent)
