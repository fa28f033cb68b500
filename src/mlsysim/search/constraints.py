"""Conditions that an answer must meet, and whether they can be met together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from .expression import Expression


class Constraints:
    """Some conditions, all of which must hold.

    Examples:
        >>> Constraints(["itl <= 50 ms", "itl > 60 ms"])
        Traceback (most recent call last):
        mlsysim.errors.InvalidInputError: no value of itl can meet 'itl > 60 ms' and 'itl <= 50 ms' together
    """

    def __init__(self, texts: str | Sequence[str] | Constraints | None = None) -> None:
        """Parse; refuse a condition that is none, and conditions that exclude each other."""
        listed = [] if texts is None else [texts] if isinstance(texts, str) else texts
        self.conditions: tuple[Expression, ...] = (
            listed.conditions if isinstance(listed, Constraints) else tuple(Expression(text) for text in listed)
        )
        for condition in self.conditions:
            # A bare name may be a field that is true or false; that is known once the fields are.
            if not condition.logical and condition.fields != (condition.text,):
                raise InvalidInputError(f"{condition.text!r} is not a condition; write it like 'itl <= 50 ms'")
        self._possible()

    def _possible(self) -> None:
        lows: dict[str, tuple[float, bool, str]] = {}
        highs: dict[str, tuple[float, bool, str]] = {}
        for condition in self.conditions:
            for name, (low, open_low, high, open_high) in condition.bounds().items():
                if name not in lows or (low, open_low) > lows[name][:2]:
                    lows[name] = (low, open_low, condition.text)
                if name not in highs or (high, not open_high) < (highs[name][0], not highs[name][1]):
                    highs[name] = (high, open_high, condition.text)
                (least, open_least, one), (most, open_most, other) = lows[name], highs[name]
                if least > most or (least == most and (open_least or open_most)):
                    both = f"{one!r}" if one == other else f"{one!r} and {other!r} together"
                    raise InvalidInputError(f"no value of {name} can meet {both}")

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields that are read."""
        return tuple(dict.fromkeys(name for condition in self.conditions for name in condition.fields))

    def check(self, units: Mapping[str, str | None], owner: str) -> None:
        """Hold every condition to the fields there are."""
        for condition in self.conditions:
            condition.check(units, owner)
            if not condition.logical and units[condition.text] is not None:
                raise InvalidInputError(
                    f"{condition.text!r} is a number, not a condition; write it like 'itl <= 50 ms'"
                )

    def of(self, columns: Mapping[str, Any], count: int) -> Any:
        """A mask: where all hold."""
        mask = np.ones(count, dtype=bool)
        for condition in self.conditions:
            mask &= np.broadcast_to(np.asarray(condition.of(columns), dtype=bool), (count,))
        return mask

    def excess(self, columns: Mapping[str, Any], count: int) -> Any:
        """How far from meeting them all, 0 where met."""
        total = np.zeros(count)
        for condition in self.conditions:
            total = total + condition.excess(columns)
        return total

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.conditions)
