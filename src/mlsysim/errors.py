"""Every exception. A message says what was given, what was wanted and the next step, in one line."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class MLSysimError(Exception):
    """Base of every error that mlsysim raises on purpose."""

    def __str__(self) -> str:
        """The message alone (KeyError would put it in quotes)."""
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[object, ...]:
        """Errors of worker processes arrive whole, whatever their constructors ask for."""
        return _raised_elsewhere, (type(self), self.args, dict(self.__dict__))


def _raised_elsewhere(cls: type[MLSysimError], args: tuple[object, ...], values: dict[str, object]) -> MLSysimError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(values)
    return error


class InvalidInputError(MLSysimError, ValueError):
    """Arguments that make no sense, all of them at once."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("; ".join(self.problems))


class UnitError(InvalidInputError, TypeError):
    """A unit that is missing, unknown, or of the wrong dimension."""


class InvalidPlanError(InvalidInputError):
    """A way to split work over chips that does not add up."""


class UnsupportedWorkloadError(InvalidInputError, TypeError):
    """A solver was asked about a kind of model it does not cover."""


class MissingFactError(MLSysimError, LookupError):
    """The answer needs a fact that the catalog does not know; it is not guessed."""


class UnknownEntryError(MLSysimError, KeyError, AttributeError):
    """No entry of that name; carries the nearest names."""

    def __init__(self, kind: str, name: object, near: Sequence[str] = ()) -> None:
        self.kind, self.near = kind, tuple(near)
        self.name: str | None = str(name)
        hint = f"; did you mean {alternatives(near)}?" if near else ""
        super().__init__(f"no {kind} named {told(name)}{hint}")


class CatalogError(MLSysimError, ValueError):
    """A file that does not fit the schema: its path, the key, what was expected."""


class MissingExtraError(MLSysimError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs an optional package; install it with: pip install 'mlsysim[{extra}]'")


class InfeasibleError(MLSysimError, MemoryError):
    """Raised only on request (``raise_errors=True``): the question does not fit the machine."""


class SLAViolation(MLSysimError, ValueError):
    """Raised only on request (``validate()``): an answer that misses its objective."""


class CompositionError(InvalidInputError):
    """Stages of a pipeline that do not fit together: a gap, a cycle, a clash of names, or a unit."""


def alternatives(names: Iterable[str]) -> str:
    """Join names as in a sentence: ``A``, ``A or B``, ``A, B or C``."""
    names = list(names)
    if not names:
        return "nothing"
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]


def told(value: object, most: int = 60) -> str:
    """What was given, as a message repeats it: cut where it is long.

    Examples:
        >>> told("H1000"), told("x" * 500)
        ("'H1000'", "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...' (500 characters)")
        >>> told(10**400)
        'a whole number of more than 60 digits'
    """
    if isinstance(value, str) and len(value) > most:
        return f"{value[:most] + '...'!r} ({len(value)} characters)"
    shape = getattr(value, "shape", ())
    if isinstance(shape, tuple) and shape:
        return f"an array of shape {shape}"
    if isinstance(value, int) and not -(10**most) < value < 10**most:
        return f"a whole number of more than {most} digits"
    text = " ".join(repr(value).split())
    return text if len(text) <= most + 40 else f"{text[:most]}... ({type(value).__name__})"


def nearest(name: object, names: Iterable[str], most: int = 3) -> list[str]:
    """Names close to a mistyped one, best first, ignoring case, hyphens, underscores and dots.

    Examples:
        >>> nearest("fp61", ["fp16", "bf16", "int8"])
        ['fp16']
    """
    plain: dict[str, str] = {}
    for candidate in names:
        plain.setdefault(normalised(candidate), candidate)
    wanted = normalised(str(name)[:200])
    found = [plain[key] for key in get_close_matches(wanted, plain, n=most, cutoff=0.6)]
    inside = [shown for key, shown in plain.items() if wanted and wanted in key and shown not in found]
    return (found + sorted(inside, key=len))[:most]


@functools.lru_cache(maxsize=4096)
def normalised(name: str, points: bool = False) -> str:
    """A name as lookups compare it: lower case, letters and digits only; ``points`` keeps those inside numbers.

    Examples:
        >>> normalised("Llama-3.1_70B"), normalised("opt-1.3b", points=True)
        ('llama3170b', 'opt1.3b')
    """
    text = name.casefold()
    kept = []
    for place, character in enumerate(text):
        inside = (
            points and character == "." and text[place - 1 : place].isdigit() and text[place + 1 : place + 2].isdigit()
        )
        if character.isalnum() or character == "+" or inside:
            kept.append(character)
    return "".join(kept)
