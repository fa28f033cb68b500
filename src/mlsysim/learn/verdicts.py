"""What is said about a prediction: right or wrong, by how much, and what may have gone wrong."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .asks import as_quantity
from .texts import close

if TYPE_CHECKING:
    from .exercises import Exercise


@dataclass(frozen=True, slots=True)
class Verdict:
    """A prediction beside the computed answer."""

    exercise: Exercise
    given: float | str | bool
    right: float | str | bool
    correct: bool
    misconception: str = ""
    note: str = ""

    @property
    def answer(self) -> Any:
        """The computed answer: a quantity, a plain number, a word, or a truth."""
        return as_quantity(self.right, self.exercise.ask.unit)

    @property
    def prediction(self) -> Any:
        """What was predicted, in the same form."""
        return as_quantity(self.given, self.exercise.ask.unit)

    @property
    def error(self) -> float | None:
        """Relative error of the prediction, signed; None where the answer is no number."""
        if isinstance(self.right, (str, bool)) or isinstance(self.given, (str, bool)):
            return None
        return (self.given - self.right) / abs(self.right)

    @property
    def why(self) -> str:
        """The reasoning, with the numbers filled in."""
        return self.exercise.why(self.right)

    def explain(self) -> str:
        """Where the answer comes from: equations, inputs and sources."""
        return self.exercise.ask.explanation()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "exercise": self.exercise.name,
            "correct": self.correct,
            "given": self.exercise.shown(self.given),
            "answer": self.exercise.shown(self.right),
            "error": self.error,
            "misconception": self.misconception or None,
            "why": self.why,
        }

    def _lines(self) -> list[str]:
        said, right = self.exercise.shown(self.given), self.exercise.shown(self.right)
        error = self.error
        if self.correct:
            first = f"right: {right}" if error is None else f"right: {right}, you said {said} ({error:+.1%})"
        else:
            first = f"not quite: {right}, you said {said}{_off(self.given, self.right)}"
        return [first, *filter(None, (self.misconception, self.why, self.note and f"note: {self.note}"))]

    def __str__(self) -> str:
        """The verdict, what may have gone wrong, and why."""
        return "\n\n".join(self._lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        first, *rest = map(html.escape, self._lines())
        return f"<p><strong>{first}</strong></p>" + "".join(f"<p>{line}</p>" for line in rest)


def verdict(exercise: Exercise, given: float | str | bool) -> Verdict:
    """Compare, and find the misconception whose number is nearest to the prediction."""
    right = exercise.ask.value()
    if close(given, right, exercise.tolerance):
        return Verdict(exercise, given, right, True)
    fitting = []
    for item in exercise.wrong:
        value = item.value()
        if close(given, value, exercise.tolerance):
            distance = 0.0 if isinstance(value, (str, bool)) else abs(float(given) - value)
            fitting.append((distance, exercise.because(item, right, value)))
    return Verdict(exercise, given, right, False, min(fitting)[1] if fitting else "")


def _off(given: float | str | bool, right: float | str | bool) -> str:
    """By how much a number is off, as a person says it."""
    if isinstance(given, (str, bool)) or isinstance(right, (str, bool)):
        return ""
    ratio = given / right
    if ratio <= 0:
        return " (of the other sign)" if ratio < 0 else ""
    if ratio >= 1:
        return f" ({ratio:.3g} times too much)" if ratio >= 1.5 else f" ({ratio - 1:.0%} too much)"
    return f" ({1 / ratio:.3g} times too little)" if ratio <= 1 / 1.5 else f" ({1 - ratio:.0%} too little)"
