"""What does not fit, by how much, and what would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..units import quantity
from .ledger import shown


@dataclass(frozen=True, slots=True)
class Limit:
    """A resource that an answer needs: what it takes, what there is."""

    resource: str
    needed: Any
    available: Any
    unit: str

    @property
    def excess(self) -> Any:
        """How much is missing, as a quantity; zero where it fits."""
        return quantity(np.maximum(self.needed - self.available, 0.0), self.unit)

    @property
    def met(self) -> Any:
        """Whether it fits (a mask in a sweep)."""
        return self.needed <= self.available

    def __str__(self) -> str:
        """One line."""
        have, want = shown(self.available, self.unit), shown(self.needed, self.unit)
        if np.ndim(self.met):
            return f"{self.resource}: {np.count_nonzero(self.met)} of {np.size(self.met)} points fit"
        if self.met:
            return f"{self.resource}: {want} of {have}"
        return f"{self.resource}: needs {want}, has {have} ({float(self.needed / self.available):.2f}x)"


def binding(names: tuple[str, ...], times: tuple[Any, ...]) -> tuple[Any, Any]:
    """Which of several times is the longest, and how many times longer than the next one.

    Examples:
        >>> binding(("Compute", "Memory"), (1.0, 4.0))
        ('Memory', 4.0)
    """
    table = np.stack(np.broadcast_arrays(*(np.asarray(t, dtype=np.float64) for t in times)))
    order = np.argsort(-table, axis=0, kind="stable")
    ranked = np.take_along_axis(table, order[:2], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.where(ranked[1] > 0, ranked[0] / ranked[1], np.inf)
    named = np.array(names)[order[0]]
    return (str(named), float(margin)) if named.ndim == 0 else (named, margin)
