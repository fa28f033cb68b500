"""What to make small or large."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError, alternatives, nearest, told
from .expression import Expression

WORDS = {"minimize": 1.0, "minimise": 1.0, "min": 1.0, "maximize": -1.0, "maximise": -1.0, "max": -1.0}


@dataclass(frozen=True, slots=True)
class Objective:
    """A direction and an expression: ``minimize: ttft``, ``maximize: throughput / devices``."""

    sign: float
    expression: Expression

    @classmethod
    def parse(cls, text: Any) -> Objective:
        """From its text.

        Examples:
            >>> Objective.parse("maximize: throughput").sign
            -1.0
            >>> Objective.parse("minimze: ttft")
            Traceback (most recent call last):
            mlsysim.errors.InvalidInputError: objective 'minimze: ttft': expected minimize or maximize first; did you mean minimize?
        """
        if isinstance(text, Objective):
            return text
        if not isinstance(text, str):
            raise InvalidInputError(f"expected an objective such as 'minimize: ttft', found {type(text).__name__}")
        match = re.fullmatch(r"\s*(\w+)\s*(?::|\s)\s*(\S.*?)\s*", text, re.DOTALL)
        word = match[1].lower() if match else ""
        if match is None or word not in WORDS:
            near = nearest(word, ["minimize", "maximize"]) if word else []
            hint = f"; did you mean {alternatives(near[:1])}?" if near else ", as in 'minimize: ttft'"
            raise InvalidInputError(f"objective {told(text)}: expected minimize or maximize first{hint}")
        expression = Expression(match[2])
        if expression.logical:
            raise InvalidInputError(f"objective {told(text)}: expected a number such as ttft, found a condition")
        return cls(WORDS[word], expression)

    def check(self, units: Any, owner: str) -> None:
        """Hold it to the fields there are; words have no order."""
        if self.expression.check(units, owner) is None:
            raise InvalidInputError(f"objective {self.expression.text!r}: expected a number, found words or a flag")

    @property
    def name(self) -> str:
        """What is made small or large."""
        return self.expression.text


def objectives(given: Any) -> list[Objective]:
    """One objective or several, as a list."""
    listed = [given] if isinstance(given, (str, Objective)) else list(given)
    if not listed:
        raise InvalidInputError("expected at least one objective such as 'minimize: ttft', found none")
    return [Objective.parse(text) for text in listed]
