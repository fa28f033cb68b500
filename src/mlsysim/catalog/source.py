"""Where a fact comes from."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("datasheet", "measured", "fitted", "derived", "assumed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A page a reader can open, or the reason for an assumption.

    ``datasheet``, ``measured`` and ``fitted`` have a ``url``; ``derived`` and ``assumed`` have a ``reason``.
    """

    kind: str
    title: str
    url: str = ""
    date: str = ""
    reason: str = ""

    def __str__(self) -> str:
        """One line for the ledger."""
        where = self.url or self.reason
        return f"{self.title} ({self.kind}, {self.date}): {where}" if where else f"{self.title} ({self.kind})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A value as its file states it: number or text, unit, source, note."""

    value: float | str | bool
    unit: str
    source: Source
    note: str = ""

    def __str__(self) -> str:
        """The value with its unit, as printed."""
        return f"{self.value} {self.unit}".strip()
