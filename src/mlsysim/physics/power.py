"""Power of a chip from how busy its arithmetic and its memory are."""

from __future__ import annotations

import numpy as np

from ..units import Fraction, Watts
from . import equation


@equation
def power_of_busy_units(
    design_power: Watts,
    idle: Fraction,
    arithmetic: Fraction,
    compute_share: Fraction,
    traffic: Fraction,
    memory_share: Fraction,
) -> Watts:
    r"""Mean power of a chip whose arithmetic and memory are busy for some share of the time; at most its design power.

    The energy of a FLOP and of a byte, written as the power they draw at full rate over what idling leaves of the
    design power, so that chips of different size share the two numbers.

    .. math:: P = \min(D,\; \iota D + (1 - \iota) D (a u_c + b u_m))

    Args:
        design_power: thermal design power, D [watt]
        idle: idle power over the design power, iota [1]
        arithmetic: power of arithmetic at its peak over what idling leaves, a [1]
        compute_share: FLOPs over what the peak could have done in that time, u_c [1]
        traffic: power of memory traffic at full bandwidth over what idling leaves, b [1]
        memory_share: bytes over what the bandwidth could have moved in that time, u_m [1]

    Returns:
        Power [watt].

    Source:
        J. W. Choi, D. Bedard, R. Fowler and R. Vuduc, A roofline model of energy, IPDPS 2013,
        doi:10.1109/IPDPS.2013.77, section II (energy is idle power times time, and a part for each FLOP and byte).

    Examples:
        >>> float(power_of_busy_units(700.0, 0.1, 0.8, 0.5, 0.4, 0.25))  # 70 + 630 * (0.4 + 0.1)
        385.0
        >>> float(power_of_busy_units(700.0, 0.1, 1.0, 1.0, 0.4, 1.0))  # capped
        700.0
    """
    dynamic = (1 - idle) * (arithmetic * compute_share + traffic * memory_share)
    return np.minimum(design_power, design_power * (idle + dynamic))
