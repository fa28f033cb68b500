"""What the header of a checkpoint says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FLOATING = {
    "F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8",
}  # fmt: skip
"""Types of values that are weights one by one, and their number format."""

BLOCKS = {
    "Q1": "int4",
    "Q2": "int4",
    "Q3": "int4",
    "Q4": "int4",
    "Q5": "int8",
    "Q6": "int8",
    "Q8": "int8",
    "MX": "mxfp4",
    "TQ": "int4",
}
"""Beginnings of the names of GGUF's block formats, and the narrowest format of ours that holds them."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Values by type, their bytes, and the shape of every tensor; nothing of the weights themselves.

    Quantised weights are often packed into integers, so ``parameters`` counts only where no tensor is packed.

    Examples:
        >>> found = Checkpoint({"BF16": 6}, 12.0, {"w": (2, 3)})
        >>> found.parameters, found.format, Checkpoint({"I32": 6}, 24.0, {"w": (2, 3)}).parameters
        (6, 'bf16', None)
    """

    values: dict[str, int]
    size: float
    shapes: dict[str, tuple[int, ...]] = field(repr=False)
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)
    logical: bool = False
    """Whether shapes count weights even where these are quantised, as in GGUF."""

    @property
    def parameters(self) -> int | None:
        """Parameters; None where some are packed, and the header alone does not say how many there are."""
        if self.logical:
            return sum(self.values.values())
        whole = set(self.values) <= {*FLOATING, "I64", "BOOL"}
        return sum(count for kind, count in self.values.items() if kind in FLOATING) if whole and self.values else None

    @property
    def format(self) -> str | None:
        """Number format of most values, if it is known; the next wider one for the many formats of GGUF."""
        if not self.values or self.parameters is None:
            return None
        most = max(self.values, key=lambda kind: self.values[kind])
        return FLOATING.get(most) or BLOCKS.get(most.removeprefix("I")[:2])

    def side(self, name: str, axis: int) -> int | None:
        """One extent of a tensor, if there is such a tensor."""
        shape = self.shapes.get(name)
        return shape[axis] if shape is not None and len(shape) > axis else None
