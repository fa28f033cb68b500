"""Equations: pure functions of SI numbers, one phenomenon a module. Knows no chip, no model, no file."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

EQUATIONS: list[Callable[..., Any]] = []
"""Every registered equation, in order of import; the dimension test walks it."""

_ledger: list[Any] = []


def equation(function: F) -> F:
    """Register an equation; when a ledger is open, write each call of it there."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not _ledger:
            return function(*args, **kwargs)
        value = function(*args, **kwargs)
        _ledger[-1].record(function, args, kwargs, value)
        return value

    EQUATIONS.append(call)
    return call  # type: ignore[return-value]


class recording:
    """Open a ledger for a ``with`` block: it gets ``record(function, args, kwargs, value)`` for every equation."""

    def __init__(self, ledger: Any) -> None:
        self.ledger = ledger

    def __enter__(self) -> Any:
        """Open."""
        _ledger.append(self.ledger)
        return self.ledger

    def __exit__(self, *_: object) -> None:
        """Close."""
        _ledger.pop()


def is_recording() -> bool:
    """Whether a ledger is open; caches of derived numbers step aside then, so that it sees how they came about."""
    return bool(_ledger)
