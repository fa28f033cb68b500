"""Points that no other point beats: exact, for any number of objectives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from .frames import columns_of, polars, units_of_frame
from .objective import Objective, objectives

BLOCK = 512


def front(costs: Any) -> Any:
    """Which rows are on the Pareto front when every column is to be small; equal rows are all kept, NaN never is.

    Two objectives take one sort. More take, after a sort that puts every dominating row before the rows it dominates,
    one comparison of each block with the front so far.

    Args:
        costs: one row a point, one column an objective

    Returns:
        A mask of the rows that no row beats: nowhere worse and somewhere better.

    Source:
        H. T. Kung, F. Luccio and F. P. Preparata, J. ACM 22 (1975) 469-476, doi:10.1145/321906.321910.

    Examples:
        >>> front(np.array([[1.0, 4.0], [2.0, 2.0], [3.0, 3.0], [4.0, 1.0]]))
        array([ True,  True, False,  True])
    """
    table = np.asarray(costs, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise InvalidInputError(f"expected rows of costs, found an array of shape {table.shape}")
    mask = np.zeros(len(table), dtype=bool)
    known = np.flatnonzero(~np.isnan(table).any(axis=1))
    if not known.size:
        return mask
    rows, inverse = np.unique(table[known], axis=0, return_inverse=True)  # sorted, the first column first
    mask[known] = (_of_two(rows) if rows.shape[1] <= 2 else _of_many(rows))[inverse.ravel()]
    return mask


def _of_two(rows: Any) -> Any:
    last = rows[:, -1] if rows.shape[1] == 2 else rows[:, 0]
    before = np.minimum.accumulate(last)
    return np.concatenate([[True], last[1:] < before[:-1]])


def _of_many(rows: Any) -> Any:
    kept = np.zeros(len(rows), dtype=bool)
    best = rows[:0]
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        alive = np.flatnonzero(~_beaten(block, best))
        fresh = block[alive]
        fresh_kept = ~_beaten(fresh, fresh)  # a row never beats itself: rows are distinct
        kept[start + alive[fresh_kept]] = True
        best = np.concatenate([best, fresh[fresh_kept]])
    return kept


def _beaten(rows: Any, others: Any) -> Any:
    """Which rows another row is nowhere worse than; a row is not compared with its equal."""
    beaten = np.zeros(len(rows), dtype=bool)
    for start in range(0, len(others), BLOCK):
        left = np.flatnonzero(~beaten)
        if not left.size:
            break
        part = others[start : start + BLOCK]
        no_worse = np.ones((len(left), len(part)), dtype=bool)
        better = np.zeros_like(no_worse)
        for column in range(rows.shape[1]):
            no_worse &= part[:, column] <= rows[left, column][:, None]
            better |= part[:, column] < rows[left, column][:, None]
        beaten[left] = (no_worse & better).any(axis=1)
    return beaten


def pareto(frame: Any, objectives_: str | Objective | Sequence[str | Objective]) -> Any:
    """The rows of a frame on the Pareto front, in order of the first objective; rows that do not fit are left out.

    Args:
        frame: the frame of a sweep, or any with units in the column names
        objectives_: such as ``["minimize: ttft", "maximize: throughput"]``

    Raises:
        UnknownEntryError: a field that the frame does not have
    """
    module, wanted, units = polars("pareto"), objectives(objectives_), units_of_frame(frame)
    for objective in wanted:
        objective.check(units, "the frame")
    if "feasible" in frame.columns:
        frame = frame.filter(frame["feasible"])
    fields = list(dict.fromkeys(name for objective in wanted for name in objective.expression.fields))
    columns = columns_of(frame, fields)
    costs = np.column_stack(
        [np.broadcast_to(objective.sign * objective.expression.of(columns), (frame.height,)) for objective in wanted]
    )
    mask = front(costs)
    chosen = frame.filter(module.Series(mask))
    return chosen[np.lexsort(costs[mask].T[::-1])]
