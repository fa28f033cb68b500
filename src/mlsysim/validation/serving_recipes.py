"""Published recipes of served runs: workers, layouts and speculation, for rows that do not tell them.

A recipe is one entry of the lists from which the public runs were started; which rows take theirs from it, and what is
done where several fit, is told in ``docs/decisions/0008-measured-serving.md``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..workloads.language import Layout
from .data import FOLDER, read_table

FILE = FOLDER / "serving" / "recipes.csv"
PREFIX = {"DeepSeek_V3": "dsr1", "Kimi_K2": "kimik2.5"}
"""Models as the lists name them."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One way a run may have been set up: workers, their layouts, and tokens drafted each step."""

    prefill_layout: Layout | None
    layout: Layout
    workers: tuple[float, float]
    drafted: float = 0.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """One entry of a published list."""

    model: str
    system: str
    stack: str
    precision: str
    version: str
    lengths: str
    concurrency: frozenset[float]
    setting: Setting

    @property
    def chips(self) -> tuple[float, float]:
        """Chips of a prefill worker and of a decode worker."""
        prefill = self.setting.prefill_layout
        return (float(prefill.chips) if prefill else 0.0, float(self.setting.layout.chips))

    @property
    def total(self) -> float:
        """Chips of all workers."""
        return sum(size * count for size, count in zip(self.chips, self.setting.workers, strict=True))


def layout_of(word: str) -> tuple[float, Layout]:
    """How many workers, and the layout of one: attention split (T) or data-parallel (D), experts spread (E) or split.

    Examples:
        >>> layout_of("2xDEP8")
        (2.0, Layout(attention=1.0, data=8.0, expert_tensor=1.0, expert_parallel=8.0, stages=1.0))
        >>> layout_of("1xTP4")[1].expert_tensor
        4.0
    """
    found = re.fullmatch(r"(\d+)x([DT])(E?)P(\d+)", word)
    if found is None:
        raise ValueError(f"expected workers such as 2xDEP8, found {word!r}")
    count, split, spread, size = float(found[1]), found[2], bool(found[3]), float(found[4])
    attention, data = (size, 1.0) if split == "T" else (1.0, size)
    return count, Layout(attention, data, 1.0 if spread else size, size if spread else 1.0)


@functools.lru_cache(maxsize=2)
def recipes(path: Path = FILE) -> tuple[Recipe, ...]:
    """Every entry of the file."""
    table = read_table(path)
    found = []
    for number in range(len(table)):
        row = {name: str(table[name][number]) for name in table.columns}
        prefill, decode = layout_of(row["prefill"]), layout_of(row["decode"])
        found.append(Recipe(
            row["model"], row["system"], row["stack"], row["precision"], row["version"], row["lengths"],
            frozenset(float(one) for one in row["concurrency"].split()),
            Setting(prefill[1], decode[1], (prefill[0], decode[0]), float(row["drafted"])),
        ))  # fmt: skip
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a row tells of its run."""

    model: str
    system: str
    stack: str
    precision: str
    version: str
    lengths: str
    concurrency: float
    chips: tuple[float, float]
    spread: float = 0.0


def settings_of(row: Asked, path: Path = FILE) -> tuple[Setting, ...]:
    """The settings that published lists have for a row, those that fit best; empty where none does.

    Lists name model, system, stack, precision, lengths and concurrency. Where no entry has the concurrency of a row, all
    that have its workers' chips count; where none has its lengths either, those of other lengths; then of other models.
    """
    near = _near(row.system, row.stack, row.precision, row.version, row.chips, path)
    mine = [one for one in near if one.model == PREFIX.get(row.model, row.model)]
    long = [one for one in mine if one.lengths == row.lengths]
    exact = [one for one in long if row.concurrency in one.concurrency or not one.concurrency]
    others = [one for one in near if one.lengths == row.lengths]
    for group in (exact, long, mine, others, near):
        if group:
            told = [one for one in group if _spread(one) == row.spread]
            return _distinct(told or group)
    return ()


@functools.lru_cache(maxsize=4096)
def _near(system: str, stack: str, precision: str, version: str, chips: tuple[float, float],
          path: Path) -> tuple[Recipe, ...]:  # fmt: skip
    """Recipes of a system, a stack and a precision whose version and chips can be those of a row."""
    return tuple(
        one for one in recipes(path)
        if (one.system, one.stack, one.precision) == (system, stack, precision)
        and _version(version, one.version) and _chips(chips, one)
    )  # fmt: skip


def _spread(one: Recipe) -> float:
    """Over how many ranks a prefill worker spreads experts; the codes of rows without worker counts repeat it for both."""
    layout = one.setting.prefill_layout
    return float(layout.expert_parallel) if layout else 0.0


def _version(mine: str, listed: str) -> bool:
    return not mine or not listed or mine.startswith(listed)


def _chips(mine: tuple[float, float], one: Recipe) -> bool:
    """Whether the codes of a row can be those of a recipe: chips of its workers, or of all of them, or nothing said."""
    return mine in (one.chips, (one.total, one.total), (1.0, 1.0))


def _distinct(group: Sequence[Recipe]) -> tuple[Setting, ...]:
    return tuple(dict.fromkeys(one.setting for one in group))
