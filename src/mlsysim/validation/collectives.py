"""The scoreboard of collectives inside a node or rack."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .data import Table
from .kernels import BLACKWELL, FOREIGN, Predictions, foreign_library, predict, scores_of
from .statistics import Score

COLLECTIVE_TABLES = ("nccl", "custom_allreduce")


def collective_scores(splits: Iterable[str] = ("calibration", "holdout", FOREIGN), grouped: bool = True) -> list[Score]:
    """All-reduce (of general libraries and of serving stacks), all-gather, reduce-scatter and all-to-all.

    Args:
        splits: ``calibration``, ``holdout``, or ``ampere_hopper_to_blackwell``
        grouped: also by device, library and number of ranks
    """
    found: list[Score] = []
    kept = joined([predict(name) for name in COLLECTIVE_TABLES])
    for split in splits:
        done = kept
        rows = done.table["split"] == split
        if split == FOREIGN:
            done = joined([predict(name, library=foreign_library()) for name in COLLECTIVE_TABLES])
            rows = np.isin(done.table["gpu"], BLACKWELL)
        found += scores_of(done, split, rows, grouped)
    return found


def joined(parts: list[Predictions]) -> Predictions:
    """Predictions of several tables as one; columns that all have."""
    names = set.intersection(*(set(part.table.columns) for part in parts))
    table = Table({name: np.concatenate([part.table[name] for part in parts]) for name in sorted(names)})
    fields = ("family", "kernel", "predicted", "sigma", "roofline", "measured")
    return Predictions(table, *(np.concatenate([getattr(part, field) for part in parts]) for field in fields))
