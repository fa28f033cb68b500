"""Pipeline parallelism: idle time of the schedules, and the activations they hold."""

from __future__ import annotations

import numpy as np

from ..units import Count, Fraction, Seconds
from . import equation


@equation
def bubble_fraction(stages: Count, microbatches: Count, chunks: Count = 1.0) -> Fraction:
    r"""Share of a step that a stage idles while the pipeline fills and drains.

    .. math:: f = \frac{p - 1}{v m + p - 1}

    Args:
        stages: pipeline stages, p [1]
        microbatches: micro-batches of a step, m [1]
        chunks: model chunks of each stage (interleaved schedule), v; 1 for GPipe and 1F1B [1]

    Returns:
        Share of the step [1].

    Source:
        Y. Huang et al., GPipe, NeurIPS 2019, arXiv:1811.06965, section 2.3; D. Narayanan et al., SC 2021,
        arXiv:2104.04473, section 2.2.2.

    Examples:
        >>> round(bubble_fraction(8.0, 16.0), 6), round(bubble_fraction(8.0, 16.0, 4.0), 6)
        (0.304348, 0.098592)
    """
    return (stages - 1) / (chunks * microbatches + stages - 1)


@equation
def bubble_overhead(stages: Count, microbatches: Count, chunks: Count = 1.0) -> Fraction:
    r"""Idle time of a pipeline over its busy time.

    .. math:: r = \frac{1}{v} \frac{p - 1}{m}

    Args:
        stages: pipeline stages, p [1]
        microbatches: micro-batches of a step, m [1]
        chunks: model chunks of each stage, v [1]

    Returns:
        Idle over busy time [1].

    Source:
        D. Narayanan et al., Efficient large-scale language model training on GPU clusters using Megatron-LM, SC 2021,
        arXiv:2104.04473, section 2.2.

    Examples:
        >>> bubble_overhead(8.0, 64.0), bubble_overhead(8.0, 64.0, 2.0)
        (0.109375, 0.0546875)
    """
    return (stages - 1) / (chunks * microbatches)


@equation
def bubble_time(microbatch: Seconds, stages: Count, chunks: Count = 1.0) -> Seconds:
    r"""Idle time of a stage in one step under GPipe, 1F1B or the interleaved schedule.

    .. math:: t_b = \frac{(p - 1)\, t_{fb}}{v}

    Args:
        microbatch: forward and backward pass of one micro-batch through one stage, t_fb [second]
        stages: pipeline stages, p [1]
        chunks: model chunks of each stage, v [1]

    Returns:
        Time [second].

    Source:
        D. Narayanan et al., SC 2021, arXiv:2104.04473, section 2.2.

    Examples:
        >>> bubble_time(0.3, 8.0, 2.0)
        1.0499...
    """
    return (stages - 1) * microbatch / chunks


@equation
def zero_bubble_time(forward: Seconds, backward: Seconds, weights: Seconds, stages: Count) -> Seconds:
    r"""Idle time of a stage when gradients of weights fill the gaps (schedule ZB-H1, with the memory of 1F1B).

    .. math:: t_b = (p - 1) (t_F + t_B - t_W)

    Args:
        forward: forward pass of a micro-batch through a stage, t_F [second]
        backward: gradients of its inputs, t_B [second]
        weights: gradients of its weights, t_W [second]
        stages: pipeline stages, p [1]

    Returns:
        Time, at least zero [second].

    Source:
        P. Qi et al., Zero bubble pipeline parallelism, ICLR 2024, arXiv:2401.10241, table 2.

    Examples:
        >>> float(zero_bubble_time(1.0, 1.0, 1.0, 8.0))  # 1F1B: 21
        7.0
    """
    return (stages - 1) * np.maximum(forward + backward - weights, 0 * forward)


@equation
def dualpipe_bubble_time(overlapped: Seconds, backward: Seconds, weights: Seconds, stages: Count) -> Seconds:
    r"""Idle time of a stage when micro-batches enter from both ends of the pipeline (DualPipe).

    Every stage holds two parts of the model, so weights are kept twice.

    .. math:: t_b = \left(\frac{p}{2} - 1\right) (t_{FB} + t_B - 3 t_W)

    Args:
        overlapped: a forward and a backward pass that overlap, t_FB [second]
        backward: whole backward pass of a micro-batch, gradients of weights included, t_B [second]
        weights: gradients of its weights, t_W [second]
        stages: pipeline stages, p, an even number [1]

    Returns:
        Time, at least zero [second].

    Source:
        DeepSeek-AI, DeepSeek-V3 technical report, arXiv:2412.19437, table 2.

    Examples:
        >>> float(dualpipe_bubble_time(3.0, 2.0, 1.0, 8.0))  # 1F1B: 21
        6.0
    """
    return np.maximum(stages / 2 - 1, 0.0 * stages) * np.maximum(overlapped + backward - 3 * weights, 0 * overlapped)


@equation
def split_backward_bubble_time(
    forward: Seconds, inputs: Seconds, weights: Seconds, stages: Count, microbatches: Count
) -> Seconds:
    r"""Idle time of a stage under ZB-H1 for passes of any length and few micro-batches.

    What the published form counts, with two bounds it leaves out: gradients of weights fill a gap at most as long as a
    forward pass or one of gradients of inputs, and there are no more of them than micro-batches. Playing the schedule
    through gives the same.

    .. math:: t_b = (p - 1)(t_F + t_B) - \min(p - 1, m - 1) \min(t_F, t_B, t_W)

    Args:
        forward: forward pass of a micro-batch through a stage, t_F [second]
        inputs: gradients of its inputs, t_B [second]
        weights: gradients of its weights, t_W [second]
        stages: pipeline stages, p [1]
        microbatches: micro-batches of a step, m [1]

    Returns:
        Time [second].

    Source:
        P. Qi et al., Zero bubble pipeline parallelism, ICLR 2024, arXiv:2401.10241, table 2 and figure 3.

    Examples:
        >>> float(split_backward_bubble_time(1.0, 1.0, 1.0, 8.0, 64.0))
        7.0
        >>> float(split_backward_bubble_time(1.0, 2.0, 1.0, 8.0, 64.0))
        14.0
    """
    filled = np.minimum(stages, microbatches) - 1
    return (stages - 1) * (forward + inputs) - filled * np.minimum(np.minimum(forward, inputs), weights)


@equation
def bidirectional_bubble_time(forward: Seconds, inputs: Seconds, weights: Seconds, stages: Count) -> Seconds:
    r"""Idle time of a stage under DualPipe for passes of any length.

    The published form is that of passes whose forward part takes as long as the gradients of inputs; this one is what
    the published order of passes gives when it is played through, and equal to it there.

    .. math:: t_b = k \max(t_B - t_W, 0) + \max(2 k t_F, (k - 1) t_F + k t_B), \quad k = \frac{p}{2} - 1

    Args:
        forward: forward pass of a micro-batch through a stage, t_F [second]
        inputs: gradients of its inputs, t_B [second]
        weights: gradients of its weights, t_W [second]
        stages: pipeline stages, p, an even number [1]

    Returns:
        Time, at least zero [second].

    Source:
        DeepSeek-AI, DeepSeek-V3 technical report, arXiv:2412.19437, figure 5 (order of passes) and table 2.

    Examples:
        >>> float(bidirectional_bubble_time(1.0, 1.0, 1.0, 8.0)), float(dualpipe_bubble_time(3.0, 2.0, 1.0, 8.0))
        (6.0, 6.0)
    """
    pairs = np.maximum(stages / 2 - 1, 0.0 * stages)
    gap = pairs * np.maximum(inputs - weights, 0 * inputs)
    return gap + np.maximum(2 * pairs * forward, (pairs - 1) * forward + pairs * inputs)


@equation
def interleaved_first_in_flight(stages: Count, microbatches: Count, chunks: Count = 1.0) -> Count:
    r"""Micro-batches whose activations the first stage holds at once; 1F1B is the case of one chunk.

    .. math:: k = \min\left(m, p + \frac{p - 1}{v} [v > 1] \right)

    Args:
        stages: pipeline stages, p [1]
        microbatches: micro-batches of a step, m [1]
        chunks: model chunks of each stage, v [1]

    Returns:
        Micro-batches of a whole stage [1].

    Source:
        V. Korthikanti et al., MLSys 2023, arXiv:2205.05198, section 4.2.3: L (1 + (p - 1) / (p m)) layers.

    Examples:
        >>> interleaved_first_in_flight(np.array([8.0, 8.0, 8.0]), np.array([64.0, 64.0, 4.0]), np.array([1.0, 2.0, 1.0]))
        array([ 8. , 11.5,  4. ])
    """
    return np.minimum(microbatches, stages + (stages - 1) / chunks * np.minimum(chunks - 1, 1))


@equation
def interleaved_last_in_flight(stages: Count, microbatches: Count, chunks: Count = 1.0) -> Count:
    r"""Micro-batches whose activations the last stage holds at once.

    It warms up over all chunks but its last before the first backward pass.

    .. math:: k = \min\left(m, \frac{(v - 1) p + 1}{v} \right)

    Args:
        stages: pipeline stages, p [1]
        microbatches: micro-batches of a step, m [1]
        chunks: model chunks of each stage, v [1]

    Returns:
        Micro-batches of a whole stage [1].

    Source:
        D. Narayanan et al., SC 2021, arXiv:2104.04473, figure 4 (warm-up of the interleaved schedule).

    Examples:
        >>> interleaved_last_in_flight(8.0, 64.0, np.array([1.0, 2.0]))
        array([1. , 4.5])
    """
    return np.minimum(microbatches, ((chunks - 1) * stages + 1) / chunks)


@equation
def stage_imbalance(layers: Count, stages: Count, chunks: Count = 1.0) -> Fraction:
    r"""Work of the fullest stage over the mean, when whole layers are dealt to stages.

    .. math:: r = \left\lceil \frac{L}{p v} \right\rceil \frac{p v}{L}

    Args:
        layers: layers of the model, L [1]
        stages: pipeline stages, p [1]
        chunks: model chunks of each stage, v [1]

    Returns:
        Ratio, 1 where the layers divide [1].

    Source:
        D. Narayanan et al., PipeDream, SOSP 2019, doi:10.1145/3341301.3359646 (the slowest stage sets the pace).

    Examples:
        >>> stage_imbalance(126.0, np.array([1.0, 8.0, 16.0]))  # Llama-3.1-405B
        array([1.        , 1.01587302, 1.01587302])
    """
    return np.ceil(layers / (stages * chunks)) * stages * chunks / layers
