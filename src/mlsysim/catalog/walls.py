"""The 22 walls: what can bind an ML system, from arithmetic to synthesis, and who answers for each."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UnknownEntryError, nearest
from . import yaml_file

DOMAINS = ("node", "data", "algorithm", "fleet", "operations", "analysis")

if TYPE_CHECKING:
    ALL_WALLS: tuple[Wall, ...]


@dataclass(frozen=True, slots=True)
class Wall:
    """One constraint: its number, what binds, the equation, who resolves it, and where to read on."""

    number: int
    name: str
    domain: str
    resolver_name: str
    resolvers: tuple[str, ...]
    constraint: str
    equation: str
    sources: tuple[str, ...]

    def __str__(self) -> str:
        """Number and name."""
        return f"{self.number} {self.name}"


@functools.cache
def all_walls() -> tuple[Wall, ...]:
    """Every wall, by number."""
    document = yaml_file.read(Path(__file__).parent / "data" / "walls.yaml")
    found = []
    for number, entry in document["walls"].items():
        names = tuple(entry["resolvers"])
        found.append(
            Wall(
                number=int(number),
                name=entry["name"],
                domain=entry["domain"],
                resolver_name=names[0],
                resolvers=names,
                constraint=entry["constraint"],
                equation=entry["equation"],
                sources=tuple(entry["sources"]),
            )
        )
    return tuple(sorted(found, key=lambda item: item.number))


def wall(number: int | str) -> Wall:
    """The wall of that number or name.

    Examples:
        >>> wall(14).name, wall("tail latency").number
        ('Communication', 7)
    """
    for item in all_walls():
        if number == item.number or str(number).lower() == item.name.lower():
            return item
    names = [item.name for item in all_walls()]
    raise UnknownEntryError("wall", number, nearest(number, names) or ["1 to 22"])


def walls_for_resolver(name: str) -> list[Wall]:
    """The walls that a resolver answers for.

    Examples:
        >>> [wall.number for wall in walls_for_resolver("SingleNodeModel")]
        [1, 2]
    """
    return [item for item in all_walls() if name in item.resolvers]


def walls_in_domain(domain: str) -> list[Wall]:
    """The walls of ``node``, ``data``, ``algorithm``, ``fleet``, ``operations`` or ``analysis``.

    Examples:
        >>> len(walls_in_domain("node"))
        7
    """
    if domain not in DOMAINS:
        raise UnknownEntryError("domain", domain, nearest(domain, DOMAINS) or DOMAINS)
    return [item for item in all_walls() if item.domain == domain]


def taxonomy() -> str:
    """All walls by domain, as text."""
    rows = []
    for domain in DOMAINS:
        rows.append(domain)
        rows += [f"  {item.number:>2} {item.name:<16} {item.equation}" for item in walls_in_domain(domain)]
    return "\n".join(rows)


def __getattr__(name: str) -> Any:
    if name == "ALL_WALLS":
        return all_walls()
    raise AttributeError(f"module 'mlsysim.walls' has no attribute {name!r}")
