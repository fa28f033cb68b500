"""Experts of one rank as grouped matrix multiplications: who is active, padded rows, and their time."""

from __future__ import annotations

import numpy as np

from ..units import Count, Seconds
from . import equation
from .choice import maximum, minimum


@equation
def active_experts(assignments: Count, experts: Count) -> Count:
    r"""Experts that get at least one token when tokens are dealt out evenly.

    .. math:: A = \max(1, \min(E, a))

    Args:
        assignments: token-expert pairs of the rank, a [1]
        experts: experts of the rank, E [1]

    Returns:
        Active experts, at least one [1].

    Source:
        D. Lepikhin et al., GShard, arXiv:2006.16668, section 2.2 (expert capacity under even routing).

    Examples:
        >>> active_experts(np.array([0.5, 8.0, 4096.0]), 128.0)
        array([  1.,   8., 128.])
    """
    return maximum(1.0, minimum(experts, assignments))


@equation
def expected_active_experts(assignments: Count, experts: Count) -> Count:
    r"""Experts expected to get a token when every assignment falls on any expert with equal chance.

    .. math:: A = E \left(1 - \left(1 - \frac{1}{E}\right)^a\right)

    Args:
        assignments: token-expert pairs of the rank, a [1]
        experts: experts of the rank, E [1]

    Returns:
        Active experts [1].

    Source:
        W. Feller, An Introduction to Probability Theory and Its Applications, vol. 1 (1968), section IV.2 (occupancy).

    Examples:
        >>> expected_active_experts(128.0, 128.0)
        81.09...
    """
    return experts * (1 - (1 - 1 / experts) ** assignments)


@equation
def expert_tile_rows(tokens: Count, least: Count = 16.0, most: Count = 128.0) -> Count:
    r"""Rows of the tile that a grouped kernel picks for its tokens of one expert: the next power of two.

    .. math:: m = \min\left(m_1, \max\left(m_0, 2^{\lceil \log_2 \mu \rceil}\right)\right)

    Args:
        tokens: tokens of one active expert, mu [1]
        least: smallest tile, m_0 [1]
        most: largest tile, m_1 [1]

    Returns:
        Rows of a tile [1].

    Source:
        T. Gale et al., MegaBlocks, MLSys 2023, arXiv:2211.15841, section 5.1 (blocked grouped multiplication).

    Examples:
        >>> expert_tile_rows(np.array([1.0, 17.0, 5000.0]))
        array([ 16.,  32., 128.])
    """
    return np.minimum(most, np.maximum(least, 2.0 ** np.ceil(np.log2(np.maximum(tokens, 1.0)))))


@equation
def grouped_time(
    launch: Seconds,
    math: Seconds,
    memory: Seconds,
    sharpness: Count,
    waves: Count,
    wave_overhead: Seconds,
    rows: Count,
    row_overhead: Seconds,
) -> Seconds:
    r"""Time of the experts of a rank: launches, overlapped tiles and memory, a prologue a wave, and moving the rows.

    .. math:: t = t_0 + (t_c^q + t_m^q)^{1/q} + w\, t_w + a\, t_r

    Args:
        launch: fixed time of routing, sorting and the kernels, t_0 [second]
        math: tiles of the busiest core, t_c [second]
        memory: weights of the active experts and activations over the memory bandwidth, t_m [second]
        sharpness: how well they overlap, q [1]
        waves: tiles one after the other, w [1]
        wave_overhead: prologue and epilogue of a tile, t_w [second]
        rows: token-expert pairs of the rank, a [1]
        row_overhead: permuting and joining one pair, t_r [second]

    Returns:
        Time [second].

    Source:
        T. Gale et al., MegaBlocks, MLSys 2023, arXiv:2211.15841; overlap as in the roofline.

    Examples:
        >>> grouped_time(1e-5, 4e-6, 3e-6, 2.0, 2.0, 1e-6, 1000.0, 1e-9)
        1.8e-05
    """
    longer = maximum(math, memory)
    overlapped = longer * (1 + (minimum(math, memory) / longer) ** sharpness) ** (1 / sharpness)
    return launch + overlapped + waves * wave_overhead + rows * row_overhead
