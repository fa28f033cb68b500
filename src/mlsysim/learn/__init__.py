"""Exercises that check themselves: predict a number, then compare it with the one that is computed.

Examples:
    >>> from mlsysim import learn
    >>> task = learn.exercise("phases-1")
    >>> print(task.check("Compute", kept=False))
    right: Compute
    ...
"""

from __future__ import annotations

from pathlib import Path

from .exercises import Exercise, Misconception, built_in, named, parsed, read
from .progress import attempts, export, progress, progress_file, table
from .schema import json_schema
from .verdicts import Verdict

__all__ = [
    "Exercise",
    "Misconception",
    "Verdict",
    "attempts",
    "exercise",
    "exercises",
    "export",
    "json_schema",
    "parsed",
    "progress",
    "progress_file",
    "read",
    "table",
]


def exercise(name: str, file: Path | str | None = None) -> Exercise:
    """The exercise of that name, of the library or of a YAML file.

    Examples:
        >>> exercise("kv-cash-1")
        Traceback (most recent call last):
        mlsysim.errors.UnknownEntryError: no exercise named 'kv-cash-1'; did you mean kv-cache-1...?
    """
    return named(name, None if file is None else read(file))


def exercises(wall: int | None = None) -> list[Exercise]:
    """Every exercise of the library, by wall, or those of one wall.

    Examples:
        >>> len(exercises()) >= 20
        True
    """
    return [item for item in built_in().values() if wall is None or item.wall == wall]
