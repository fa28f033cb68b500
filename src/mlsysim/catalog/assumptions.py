"""What the textbook model takes for granted, as facts with a reason."""

from __future__ import annotations

from dataclasses import dataclass

from ..units import Count, Fraction, JoulesPerByte, Seconds
from .spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assumptions(Spec):
    """Defaults of the whole-model roofline."""

    layer_overhead: Seconds
    link_latency: Seconds
    prefill_chunk: Count
    drafted_tokens: Count
    idle_share: Fraction
    memory_energy: JoulesPerByte
    activation_share: Fraction
