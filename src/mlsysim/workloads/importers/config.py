"""A ``config.json`` as its readers see it: named numbers, checked, with all faults told at once."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InvalidInputError

LARGEST = 1e9
"""A count above this is a slip of the pen; no config needs one."""
LONGEST = 4 << 20
"""Bytes of the largest config that is read."""
_NEEDED: Any = object()


class Config:
    """Keys of a config; the first name present counts, since families name the same thing differently."""

    __slots__ = ("data", "label", "problems")

    def __init__(self, data: dict[str, Any], label: str, problems: list[str] | None = None) -> None:
        self.data, self.label = data, label
        self.problems: list[str] = [] if problems is None else problems

    def get(self, *names: str) -> Any:
        """The first value that is present and not null."""
        return next((self.data[name] for name in names if self.data.get(name) is not None), None)

    def number(self, *names: str, default: Any = _NEEDED) -> Any:
        """A positive whole number as float; without a default it must be there."""
        return self._number(names, default, least=1.0, whole=True)

    def count(self, *names: str, default: Any = 0.0) -> Any:
        """A whole number of at least 0 as float."""
        return self._number(names, default, least=0.0, whole=True)

    def real(self, *names: str, default: Any = _NEEDED) -> Any:
        """A positive number."""
        return self._number(names, default, least=math.ulp(0.0), whole=False)

    def _number(self, names: tuple[str, ...], default: Any, least: float, whole: bool) -> Any:
        name = next((name for name in names if self.data.get(name) is not None), None)
        if name is None:
            if default is _NEEDED:
                self.problems.append(f"{' or '.join(map(repr, names))} is missing")
                return 1.0
            return default
        value = self.data[name]
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= LARGEST
        if not good or (whole and value != int(value)):
            wanted = f"a {'whole ' if whole else ''}number from {least:.3g} to {LARGEST:g}"
            self.problems.append(f"{name}: expected {wanted}, found {shortened(value)}")
            return 1.0
        return float(value)

    def flag(self, *names: str, default: bool = False) -> bool:
        """True or false."""
        value = self.get(*names)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problems.append(f"{names[0]}: expected true or false, found {shortened(value)}")
            return default
        return value

    def sequence(self, *names: str) -> list[Any]:
        """A list; empty where it is missing."""
        value = self.get(*names)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > 100_000:
            self.problems.append(f"{names[0]}: expected a list, found {shortened(value)}")
            return []
        return value

    def section(self, *names: str) -> Config | None:
        """A mapping inside this one."""
        value = self.get(*names)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.problems.append(f"{names[0]}: expected a mapping, found {shortened(value)}")
            return None
        return Config(value, self.label, self.problems)

    def close(self) -> None:
        """Raise every fault found.

        Raises:
            InvalidInputError: keys that are missing or make no sense
        """
        if self.problems:
            raise InvalidInputError(f"{self.label}: " + "; ".join(dict.fromkeys(self.problems)))


@dataclass(slots=True)
class Draft:
    """What a reader found: fields of a spec, parameters that the general sum leaves out, remarks."""

    values: dict[str, Any]
    extra: float = 0.0
    notes: list[str] = field(default_factory=list)


def shortened(value: Any) -> str:
    """A value as an error shows it, never more than a few words."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**24:
        return "a number of more than 24 digits"
    text = repr(value) if not isinstance(value, (list, dict)) or len(value) < 6 else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def parsed(text: bytes, label: str) -> dict[str, Any]:
    """The mapping in a JSON text.

    Raises:
        InvalidInputError: no JSON, no mapping, too large, or nested too deep
    """
    if len(text) > LONGEST:
        raise InvalidInputError(f"{label}: expected a config of at most {LONGEST >> 20} MiB, found more")
    try:
        document = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{label}: expected a JSON mapping, found {reason(error)}") from None
    if not isinstance(document, dict):
        raise InvalidInputError(f"{label}: expected a JSON mapping, found {shortened(document)}")
    return document


def reason(error: Exception) -> str:
    """What is wrong with a text that is no JSON, in a few words."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.lower()} in line {error.lineno}"
    if isinstance(error, UnicodeDecodeError):
        return "bytes that are no UTF-8"
    return "mappings nested too deep" if isinstance(error, RecursionError) else "a number with too many digits"


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file.

    Raises:
        InvalidInputError: the file cannot be read or holds no JSON mapping
    """
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST + 1)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror or 'unknown reason'})") from None
    return parsed(text, str(path))
