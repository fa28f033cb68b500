"""What every resolver has: the walls it resolves, what it needs, what it gives."""

from __future__ import annotations

import abc
from typing import Any, ClassVar


class BaseResolver(abc.ABC):
    """A question answered. Subclasses implement :meth:`solve` and say which walls they resolve."""

    kind: ClassVar[str] = "model"
    walls: ClassVar[tuple[tuple[int, str, str], ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    produces: ClassVar[type[Any]]
    misbeliefs: ClassVar[dict[str, str]] = {}

    @abc.abstractmethod
    def solve(self, *args: Any, **kwargs: Any) -> Any:
        """Answer the question."""

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """Name, kind, walls, needs and result of the resolver."""
        return {
            "resolver": cls.__name__,
            "type": cls.kind,
            "walls": [{"number": n, "name": name, "domain": domain} for n, name, domain in cls.walls],
            "requires": cls.requires,
            "produces": cls.produces.__name__,
        }

    @classmethod
    def resolver_type(cls) -> str:
        """``model``, ``solver`` or ``optimizer``."""
        return cls.kind

    @classmethod
    def fallacies(cls) -> dict[str, str]:
        """What people wrongly believe here, and why it is wrong."""
        return dict(cls.misbeliefs)


class ForwardModel(BaseResolver):
    """A resolver that computes forward: from a system to its behaviour."""


class BaseSolver(BaseResolver):
    """A resolver that works backwards or around a forward model: sensitivities, inverse problems."""

    kind = "solver"


class BaseOptimizer(BaseResolver):
    """A resolver that searches: the best of many questions."""

    kind = "optimizer"
