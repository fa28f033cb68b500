"""Number formats: memory of a value that shares a scale with its block."""

from __future__ import annotations

from ..units import Bytes, Count
from . import equation


@equation
def bits_per_value(bits: Count, scale_bits: Count = 0.0, block: Count = 1.0) -> Count:
    r"""Bits that one value takes, its share of the block's scale included.

    .. math:: b = b_v + \frac{b_s}{n}

    Args:
        bits: bits of the value itself [1]
        scale_bits: bits of the scale (and zero point) of one block [1]
        block: values that share one scale [1]

    Returns:
        Bits per value [1].

    Source:
        OCP Microscaling Formats (MX) Specification v1.0 (2023), section 5: MXFP4 is 4 bits with an 8-bit scale for
        32 values.

    Examples:
        >>> bits_per_value(4.0, 8.0, 32.0)  # MXFP4
        4.25
        >>> bits_per_value(4.0, 8.0, 16.0)  # NVFP4
        4.5
    """
    return bits + scale_bits / block


@equation
def bytes_per_value(bits: Count, scale_bits: Count = 0.0, block: Count = 1.0, bit: Bytes = 0.125) -> Bytes:
    r"""Bytes that one value takes, its share of the block's scale included; multiply by a count of values.

    .. math:: \beta = u \left(b_v + \frac{b_s}{n}\right)

    Args:
        bits: bits of the value itself [1]
        scale_bits: bits of the scale (and zero point) of one block [1]
        block: values that share one scale [1]
        bit: size of one bit, u; an eighth of a byte [byte]

    Returns:
        Size of one value [byte].

    Source:
        OCP Microscaling Formats (MX) Specification v1.0 (2023), section 5.

    Examples:
        >>> bytes_per_value(16.0)
        2.0
        >>> bytes_per_value(4.0, 16.0, 128.0)  # INT4 in groups of 128 with an fp16 scale
        0.515625
    """
    return (bits + scale_bits / block) * bit
