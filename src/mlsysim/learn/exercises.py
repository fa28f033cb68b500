"""Exercises: a question, the call that answers it, and what people answer instead. One YAML file holds several."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..catalog import yaml_file
from ..catalog.walls import all_walls
from ..errors import CatalogError, MLSysimError, UnknownEntryError, alternatives, nearest
from ..units import factor
from .asks import Ask, displayed, understood
from .progress import keep
from .texts import close, filled
from .verdicts import Verdict, verdict

DATA = Path(__file__).parent / "data"
NEEDED = ("wall", "title", "question", "ask", "why")
OPTIONAL = ("unit", "tolerance", "choices", "hint", "wrong")
ASK = ("resolver", "equation", "arguments", "field", "times", "over")
NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Misconception:
    """A way to go wrong: the number or word that it leads to, and why it is not the answer."""

    because: str
    ask: Ask | None = None
    says: str | bool | None = None

    def value(self) -> float | str | bool:
        """What somebody who thinks so predicts."""
        if self.ask is not None:
            return self.ask.value()
        assert self.says is not None  # the file says one of both
        return self.says


@dataclass(frozen=True, slots=True)
class Exercise:
    """Predict first, then compare with what the software computes.

    Examples:
        >>> from mlsysim import learn
        >>> told = learn.exercise("kv-cache-1").check("270 MB", kept=False)
        >>> told.correct
        True
    """

    name: str
    wall: int
    title: str
    ask: Ask
    text: str
    reason: str
    unit: str = "1"
    tolerance: float = 0.05
    choices: tuple[str, ...] = ()
    clue: str = ""
    wrong: tuple[Misconception, ...] = ()
    where: str = field(default="", repr=False)

    @property
    def question(self) -> str:
        """What is asked, with the numbers of the call filled in."""
        return filled(self.text, self.ask)

    @property
    def hint(self) -> str:
        """Where to start."""
        return filled(self.clue, self.ask)

    @property
    def wanted(self) -> str:
        """The form of an answer: a unit, words to choose from, or yes or no."""
        if self.ask.unit is None:
            return alternatives(self.choices) if self.choices else "yes or no"
        if self.unit == "1":
            return "a number"
        return "a number or a percentage" if self.unit == "%" else f"a number in {self.unit} or the like"

    def check(self, prediction: Any, *, kept: bool = True) -> Verdict:
        """Compare a prediction with the computed answer, and keep the attempt in the progress file.

        Args:
            prediction: a text such as ``"4.3 GB"``, ``"25 %"`` or ``"yes"``, a quantity, or a plain number where the
                answer has no unit
            kept: whether to write the attempt to the progress file

        Raises:
            UnitError: a unit is missing or of the wrong dimension
            InvalidInputError: not a number, not a word among the choices
        """
        unit = self.ask.unit
        given = understood(prediction, unit, self.unit, self.choices)
        told = verdict(self, given)
        return keep(told) if kept else told

    def shown(self, value: float | str | bool) -> str:
        """A value as this exercise prints it."""
        return displayed(value, self.ask.unit, self.unit)

    def why(self, right: float | str | bool) -> str:
        """The reasoning, with the numbers filled in."""
        return filled(self.reason, self.ask, {"answer": self.shown(right)})

    def because(self, item: Misconception, right: float | str | bool, value: float | str | bool) -> str:
        """Why a misconception is one, with the numbers filled in."""
        return filled(item.because, self.ask, {"answer": self.shown(right), "wrong": self.shown(value)})

    def verify(self) -> None:
        """Compute everything once: the answer, the texts, and that no misconception leads to the right answer.

        Raises:
            CatalogError: one line with every fault
        """
        problems = []
        try:
            right = self.ask.value()
            if isinstance(right, float) and not (abs(right) > 0 and abs(right) < float("inf")):
                problems.append(f"ask: expected an answer that is a finite number other than 0, found {right:g}")
            elif isinstance(right, str) and right not in self.choices:
                problems.append(f"choices: expected the answer {right!r} among them, found {', '.join(self.choices)}")
            _ = (self.question, self.hint, self.why(right))
            for index, item in enumerate(self.wrong, 1):
                value = item.value()
                self.because(item, right, value)
                if not problems and close(value, right, self.tolerance):
                    problems.append(f"wrong {index}: leads to {self.shown(value)}, which is the right answer")
        except MLSysimError as error:
            problems.append(str(error))
        if problems:
            raise CatalogError(f"{self.where}: {'; '.join(problems)}")

    def __str__(self) -> str:
        """The question as printed."""
        return f"{self.title} ({self.name}, wall {self.wall})\n\n{self.question}\n\nAnswer with {self.wanted}."

    def _repr_html_(self) -> str:
        from html import escape

        lines = (self.title, self.question, f"Answer with {self.wanted}.")
        return f"<h4>{escape(lines[0])}</h4><p>{escape(lines[1])}</p><p><em>{escape(lines[2])}</em></p>"


def read(path: Path | str) -> dict[str, Exercise]:
    """The exercises of a YAML file, checked: every fault of the file in one line.

    Raises:
        CatalogError: the file cannot be read, or does not fit the schema
    """
    path = Path(path)
    return parsed(yaml_file.read(path), path.name if path.is_relative_to(DATA) else str(path))


def parsed(document: Mapping[str, Any], label: str) -> dict[str, Exercise]:
    """Exercises from the mapping that a file holds."""
    problems = [f"unknown key {key!r}; expected exercises" for key in document if key != "exercises"]
    entries = document.get("exercises")
    if not isinstance(entries, Mapping) or not entries:
        raise CatalogError(f"{label}: " + "; ".join([*problems, "exercises: expected a mapping of names to exercises"]))
    found = {}
    for name, entry in entries.items():
        mine: list[str] = []
        made = _exercise(str(name), entry, mine, f"{label}: {name}")
        problems += [f"{name}: {text}" for text in mine]
        if made is not None and not mine:
            found[str(name)] = made
    if problems:
        raise CatalogError(f"{label}: " + "; ".join(problems))
    return found


def _exercise(name: str, entry: Any, problems: list[str], where: str) -> Exercise | None:
    if not NAME.fullmatch(name):
        problems.append("expected a name of lower-case letters, digits and hyphens")
    if not isinstance(entry, Mapping):
        problems.append(f"expected a mapping with {', '.join(NEEDED)}, found {type(entry).__name__}")
        return None
    _keys(entry, NEEDED + OPTIONAL, problems)
    missing = [key for key in NEEDED if key not in entry]
    if missing:
        problems.append(f"needs {', '.join(missing)}")
    texts = {key: _text(entry, key, problems) for key in ("title", "question", "why", "hint")}
    if "wall" in entry and entry["wall"] not in [item.number for item in all_walls()]:
        problems.append(f"wall: expected a number from 1 to {len(all_walls())}, found {entry['wall']!r}")
    tolerance = entry.get("tolerance", 0.05)
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 < tolerance <= 1:
        problems.append(f"tolerance: expected a number in (0, 1], found {tolerance!r}")
    ask = _ask(entry.get("ask"), problems, "ask", None) if "ask" in entry else None
    if ask is None:
        return None
    unit, choices = entry.get("unit", "1"), tuple(str(word) for word in entry.get("choices") or ())
    _unit(ask, unit, "unit" in entry, choices, problems)
    wrong = _misconceptions(entry.get("wrong", []), ask, choices, problems)
    if problems:
        return None
    return Exercise(
        name=name, wall=int(entry["wall"]), title=texts["title"], ask=ask, text=texts["question"], reason=texts["why"],
        unit=str(unit), tolerance=float(tolerance), choices=choices, clue=texts["hint"], wrong=wrong, where=where,
    )  # fmt: skip


def _unit(ask: Ask, unit: Any, said: bool, choices: tuple[str, ...], problems: list[str]) -> None:
    own = ask.unit
    if own is None:
        if said:
            problems.append(f"unit: the answer {ask.field} is no number; leave it out")
        return
    if choices:
        problems.append("choices: the answer is a number; leave them out")
    if own == "1" and unit == "%":
        return
    try:
        factor(str(unit), own, "unit")
    except MLSysimError as error:
        problems.append(str(error))


def _misconceptions(entries: Any, ask: Ask, choices: tuple[str, ...], problems: list[str]) -> tuple[Misconception, ...]:
    if not isinstance(entries, list):
        problems.append(f"wrong: expected a list, found {type(entries).__name__}")
        return ()
    found = []
    for index, entry in enumerate(entries, 1):
        label = f"wrong {index}"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("because"), str):
            problems.append(f"{label}: expected a mapping with because and what differs")
            continue
        changes = {key: value for key, value in entry.items() if key not in ("because", "says")}
        because = " ".join(entry["because"].split())
        if ask.unit is None:
            says = entry.get("says")
            fits = says in choices if choices else isinstance(says, bool)
            if not fits or changes:
                words = alternatives(choices) if choices else "true or false"
                problems.append(f"{label}: expected says, one of {words}, and because")
            found.append(Misconception(because, says=says))
            continue
        if "says" in entry or not changes:
            problems.append(f"{label}: expected what differs from ask: {alternatives(ASK)}")
            continue
        made = _ask(changes, problems, label, ask)
        if made is not None:
            found.append(Misconception(because, ask=made))
    return tuple(found)


def _ask(entry: Any, problems: list[str], label: str, right: Ask | None) -> Ask | None:
    if not isinstance(entry, Mapping):
        problems.append(f"{label}: expected a mapping with resolver or equation, found {type(entry).__name__}")
        return None
    mine: list[str] = []
    _keys(entry, ASK, mine)
    below = entry.get("over")
    for inner, name in ((entry, ""), (below, "over: ")):
        if not isinstance(inner, Mapping):
            if inner not in (None, "nothing"):
                mine.append(f"{name}expected a mapping, found {inner!r}")
            continue
        if name:
            _keys(inner, ASK[:-1], mine)
        if not isinstance(inner.get("arguments", {}), Mapping):
            mine.append(f"{name}arguments: expected a mapping, found {type(inner['arguments']).__name__}")
        times = inner.get("times", 1.0)
        if isinstance(times, bool) or not isinstance(times, (int, float)) or times == 0:
            mine.append(f"{name}times: expected a number other than 0, found {times!r}")
        mine += [
            f"{name}{key}: expected a text, found {inner[key]!r}"
            for key in ("resolver", "equation", "field")
            if not isinstance(inner.get(key, ""), str)
        ]
    if mine:
        problems += [f"{label}: {text}" for text in mine]
        return None
    changes = {key: value for key, value in entry.items() if key != "over"}
    if below is not None:
        changes["over"] = None if below == "nothing" else below
    made = (right or Ask({})).changed({"arguments": {}, **changes})
    mine = made.problems()
    problems += [text if text.startswith(label) else f"{label}: {text}" for text in mine]
    return None if mine else made


def _keys(entry: Mapping[str, Any], known: tuple[str, ...], problems: list[str]) -> None:
    for key in entry:
        if key not in known:
            near = nearest(key, known)
            problems.append(f"unknown key {key!r}" + (f"; did you mean {alternatives(near)}?" if near else ""))


def _text(entry: Mapping[str, Any], key: str, problems: list[str]) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str) or (key in entry and not value.strip()):
        problems.append(f"{key}: expected a text, found {value!r}")
        return ""
    return " ".join(value.split())


@functools.cache
def _own(path: Path) -> Mapping[str, Exercise]:
    return read(path)


def built_in() -> Mapping[str, Exercise]:
    """The exercises that come with the library, by name, in the order of the walls."""
    found = {name: item for path in sorted(DATA.glob("*.yaml")) for name, item in _own(path).items()}
    return dict(sorted(found.items(), key=lambda pair: pair[1].wall))


def named(name: str, among: Mapping[str, Exercise] | None = None) -> Exercise:
    """The exercise of that name, of those given or of the library; only its file is read."""
    if among is None:
        for path in DATA.glob("*.yaml"):
            if f"\n  {name}:\n" in path.read_text(encoding="utf-8"):
                return _own(path)[name]
    known = built_in() if among is None else among
    if name not in known:
        raise UnknownEntryError("exercise", name, nearest(name, known))
    return known[name]
