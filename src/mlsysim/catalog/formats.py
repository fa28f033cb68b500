"""Number formats: how many bits a value takes in memory, with its share of the scales, and who computes with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..physics.formats import bytes_per_value
from ..units import Count
from .spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NumberFormat(Spec):
    """A number format for weights or caches.

    ``compute`` names the peaks it may run at, best first, joined by spaces: a chip without the first computes in the
    next one (the weights are converted on the way), and the answer says so.
    """

    bits: Count
    scale_bits: Count = 0.0
    block: Count = 1.0
    activation_bits: Count = 16.0
    compute: str

    @property
    def chain(self) -> list[str]:
        """Precisions whose peak may serve, best first."""
        return self.compute.split()

    def bytes_per_value(self) -> Any:
        """Memory of one value, its share of the block scale included [byte]."""
        inside = self.si
        return bytes_per_value(inside.bits, inside.scale_bits, inside.block)
