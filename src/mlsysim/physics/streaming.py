"""Weights that stream in, layer by layer, while the layer before computes."""

from __future__ import annotations

import numpy as np

from ..units import Count, Flop, FlopPerSecond, Fraction, Seconds
from . import equation


@equation
def streamed_layer_time(compute: Seconds, injection: Seconds) -> Seconds:
    r"""Time of a layer whose successor's weights stream in meanwhile.

    .. math:: t = \max(t_c, t_i)

    Args:
        compute: arithmetic of the layer, launch included, t_c [second]
        injection: streaming its weights in, t_i [second]

    Returns:
        Time [second].

    Source:
        S. Lie, Cerebras architecture deep dive, IEEE Micro 43 no. 3 (2023) 18-30, doi:10.1109/MM.2023.3256384 (weight
        streaming).

    Examples:
        >>> float(streamed_layer_time(1e-3, 2e-3))
        0.002
    """
    return np.maximum(compute, injection)


@equation
def streaming_balance(
    injection: Seconds, launch: Seconds, peak: FlopPerSecond, efficiency: Fraction, work: Flop
) -> Count:
    r"""Sequences that keep arithmetic busy while the weights of a layer stream in.

    .. math:: B = \frac{\max(t_i - t_0, 0) \eta P}{W}

    Args:
        injection: streaming the weights of a layer in, t_i [second]
        launch: fixed time of starting a layer, t_0 [second]
        peak: arithmetic peak, P [flop/second]
        efficiency: share of it that is reached, eta [1]
        work: work of a layer for one sequence, W [flop]

    Returns:
        Sequences [1].

    Source:
        Equality of the two times of ``streamed_layer_time``; S. Lie, IEEE Micro 43 no. 3 (2023) 18-30.

    Examples:
        >>> float(streaming_balance(1e-3, 0.0, 1e15, 0.5, 1e9))
        500.0
    """
    return np.maximum(injection - launch, 0.0) * peak * efficiency / work
