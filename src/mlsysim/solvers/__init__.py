"""Questions to answers: one module a wall or two. Every resolver is found here by its name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import UnknownEntryError, nearest

RESOLVERS = {
    "Engine": "node",
    "ServingModel": "serving",
    "SingleNodeModel": "node",
    "TrainingStep": "training",
}

__all__ = [*RESOLVERS]


def resolver_named(name: str) -> Any:
    """The resolver class of that name.

    Examples:
        >>> resolver_named("ServingModel").__name__
        'ServingModel'
    """
    if name not in RESOLVERS:
        raise UnknownEntryError("resolver", name, nearest(name, RESOLVERS))
    return getattr(import_module(f".{RESOLVERS[name]}", __name__), name)


def __getattr__(name: str) -> Any:
    if name in RESOLVERS:
        return resolver_named(name)
    raise AttributeError(f"module 'mlsysim.solvers' has no attribute {name!r}")
