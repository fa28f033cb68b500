"""Read an architecture written as one layer or block a line, such as ``bottleneck 256 w64 s1 x3 > c2``.

A line is a kind, then in any order: bare numbers (usually the output channels), options of one or two letters and a
number (``k3`` kernel, ``s2`` stride, ``x3`` repeats; ``k10x4`` where directions differ), flags (``bias``), references to
earlier outputs (``@c2``), and at the end a name for the output (``> c2``). ``;`` separates lines too, ``#`` starts a
comment.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import CatalogError

_OPTION = re.compile(r"([a-z]{1,2})(\d+(?:\.\d+)?(?:x\d+){0,2})$")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:x\d+){0,2}$")
_WORD = re.compile(r"[a-z][a-z0-9_]*$")
LONGEST = 2000
"""Most lines in one architecture."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One line: a layer, or a block repeated some times."""

    line: int
    kind: str
    sizes: tuple[tuple[float, ...], ...] = ()
    options: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    inputs: tuple[str, ...] = ()
    output: str = ""

    def fault(self, text: str) -> CatalogError:
        """An error that names this line."""
        return CatalogError(f"stages, line {self.line} ({self.kind}): {text}")

    def size(self, index: int = 0) -> float:
        """A bare number of the line.

        Raises:
            CatalogError: the line has fewer
        """
        if index >= len(self.sizes):
            raise self.fault(f"expected at least {index + 1} number{'s' if index else ''}, such as the output channels")
        return self.sizes[index][0]

    def dims(self, index: int = 0) -> tuple[float, ...]:
        """A bare number as written, with one entry a direction."""
        self.size(index)
        return self.sizes[index]

    def get(self, name: str, default: float) -> float:
        """An option's number."""
        return self.options[name][0] if name in self.options else default

    def each(self, name: str, default: float, directions: int) -> tuple[float, ...]:
        """An option's numbers, one for each direction."""
        found = self.options.get(name, (default,))
        if len(found) == 1:
            return found * directions
        if len(found) != directions:
            raise self.fault(f"option {name} has {len(found)} directions, expected {directions}")
        return found

    @property
    def repeats(self) -> int:
        """How many times the block stands in a row."""
        return int(self.get("x", 1.0))


@functools.lru_cache(maxsize=512)
def parse(text: str) -> tuple[Stage, ...]:
    """The lines of an architecture.

    Raises:
        CatalogError: a word that is no kind, number, option, flag or reference

    Examples:
        >>> parse("conv 64 k7 s2; bottleneck 256 w64 x3 > c2")[1]
        Stage(line=2, kind='bottleneck', sizes=((256.0,),), options={'w': (64.0,), 'x': (3.0,)}, flags=frozenset(), inputs=(), output='c2')
    """
    lines = re.split(r"[;\n]", text)
    if len(lines) > LONGEST:
        raise CatalogError(f"stages: {len(lines)} lines; expected at most {LONGEST}")
    found = [_line(number, line) for number, line in enumerate(lines, 1) if line.partition("#")[0].strip()]
    if not found:
        raise CatalogError("stages: no layer in the text")
    return tuple(found)


def _line(number: int, text: str) -> Stage:
    body, arrow, output = (part.strip() for part in text.partition("#")[0].partition(">"))
    kind, *words = body.split() or [""]
    if not _WORD.match(kind):
        raise CatalogError(f"stages, line {number}: expected a kind of layer such as conv, found {kind[:40]!r}")
    if arrow and not _WORD.match(output):
        raise CatalogError(f"stages, line {number} ({kind}): expected a name after '>', found {output[:40]!r}")
    sizes: list[tuple[float, ...]] = []
    options: dict[str, tuple[float, ...]] = {}
    flags: set[str] = set()
    inputs: list[str] = []
    for word in words:
        option = _OPTION.match(word)
        if _NUMBER.match(word):
            sizes.append(_numbers(word))
        elif option:
            options[option[1]] = _numbers(option[2])
            if option[1] != "p" and 0.0 in options[option[1]]:
                raise CatalogError(f"stages, line {number} ({kind}): expected a number above 0, found {word[:40]!r}")
        elif word.startswith("@") and _WORD.match(word[1:]):
            inputs.append(word[1:])
        elif _WORD.match(word):
            flags.add(word)
        else:
            raise CatalogError(f"stages, line {number} ({kind}): cannot read {word[:40]!r}")
    return Stage(number, kind, tuple(sizes), options, frozenset(flags), tuple(inputs), output)


def _numbers(word: str) -> tuple[float, ...]:
    return tuple(float(part) for part in word.split("x"))
