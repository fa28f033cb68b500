"""Many questions at once: spaces, sweeps, constraints, Pareto fronts, optimisers. Loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

HOMES = {
    "Axis": "space",
    "Space": "space",
    "Expression": "expression",
    "Objective": "objective",
    "Constraints": "constraints",
    "pareto": "fronts",
    "select": "frames",
    "sweep": "sweeping",
    "write_frame": "frames",
    "DSE": "design",
    "Found": "design",
    "optimize": "continuous",
    "Optimum": "continuous",
    "OptimizationRegistry": "backends",
    "OptimizationResult": "backends",
}

__all__ = [*HOMES]


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(import_module(f".{HOMES[name]}", __name__), name)
    raise AttributeError(f"module 'mlsysim.search' has no attribute {name!r}")
