"""A sweep: one resolver, a grid of arguments, one row a point."""

from __future__ import annotations

import inspect
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog import Hardware, Models, Systems
from ..errors import InvalidInputError, UnknownEntryError, nearest
from ..solvers import resolver_named
from .blocks import Plan, kinds_of, run_block
from .constraints import Constraints
from .executors import Serial, executor_for
from .frames import check_target, frame_of, heading, polars, write_frame
from .space import Axis, Space

BLOCK = 16_384
"""Points of one block: some hundred columns of it fit a cache of a few megabytes, and a block takes milliseconds."""

LIMIT = 10_000_000
"""Points of one sweep, unless the caller says otherwise."""


def sweep(
    resolver: Any,
    space: Space | Mapping[str, Any] | Sequence[Axis],
    /,
    *,
    where: str | Sequence[str] | Constraints | None = None,
    outputs: Sequence[str] | None = None,
    jobs: int = 1,
    dask: Any = None,
    executor: Any = None,
    out: Path | str | None = None,
    limit: int = LIMIT,
    block: int = BLOCK,
    progress: bool | None = None,
    **fixed: Any,
) -> Any:
    """Ask one resolver about every point of a grid.

    Numbers go to the solver as arrays, a block of points at a time; entries and names are asked one after the other. A
    point that cannot be (a plan that does not divide, a missing fact) is a row with ``feasible`` false, numbers NaN and
    the reason in ``fault``. Rows come in the order of the grid, the last axis fastest, whoever computes them.

    Args:
        resolver: a class such as ``ServingModel``, or its name
        space: a :class:`Space`, axes, or a mapping of argument names to values
        where: conditions such as ``itl <= 50 ms``; rows that miss them, or do not fit, are left out
        outputs: fields to keep; all of them unless said
        jobs: processes of this machine
        dask: address of a Dask scheduler, a cluster or a client
        executor: any object with the ``run`` method of :class:`~mlsysim.search.executors.Executor`
        out: file to write as well, ``.parquet`` or ``.csv``; it appears only when complete
        limit: most points to compute
        block: points of one block
        progress: show a progress bar; only for long sweeps in a terminal unless said
        fixed: the other arguments

    Returns:
        A Polars frame with units in the column names.

    Raises:
        InvalidInputError: arguments that make no sense, or a grid above the limit
        UnknownEntryError: an argument or a field that there is not
        MissingExtraError: Polars (or Dask) is not installed

    Examples:
        >>> frame = sweep("ServingModel", {"hardware": ["A100", "H100"], "batch_size": [1, 8]},
        ...               model="Llama3_8B", seq_len=2048, outputs=["itl"])
        >>> frame.columns
        ['hardware', 'batch_size', 'itl [second]', 'feasible', 'fault']
        >>> frame.height
        4
    """
    polars("sweep")
    plan = plan_for(resolver, space, fixed, where, outputs)
    size = plan.space.size
    if size > limit:
        shape = " x ".join(
            f"{length:,} {name}" for name, length in zip(plan.space.names, plan.space.shape, strict=True)
        )
        raise InvalidInputError(f"{size:,} points ({shape}); the limit is {limit:,}: take fewer values, or raise limit")
    if isinstance(block, bool) or not isinstance(block, int) or block < 1:
        raise InvalidInputError(f"block: expected a whole number of at least 1, found {block!r}")
    if out is not None:
        check_target(out)
    runner = executor_for(jobs, dask, executor)
    tasks = [(start, min(start + block, size)) for start in range(0, size, block)]
    with _bar(progress, size) as advance:
        if isinstance(runner, Serial):
            parts = [advance(run_block(plan, *task), task) for task in tasks]
        else:
            found = runner.run(pickle.dumps(plan, protocol=pickle.HIGHEST_PROTOCOL), tasks)
            parts = [advance(part, task) for part, task in zip(found, tasks, strict=True)]
    units = kinds_of(plan.resolver)
    arguments = {axis.name: str(axis.unit) if axis.numeric and axis.unit else None for axis in plan.space.axes}
    columns = {
        heading(name, arguments[name] if name in arguments else units.get(name)): np.concatenate(
            [part[name] for part in parts]
        )
        for name in parts[0]
    }
    frame = frame_of(columns)
    if out is not None:
        write_frame(frame, out)
    return frame


def plan_for(resolver: Any, space: Any, fixed: Mapping[str, Any], where: Any, outputs: Any) -> Plan:
    """A sweep with everything checked that can be checked before it runs; all faults at once where they are of a kind."""
    owner = resolver_of(resolver)
    grid = space if isinstance(space, Space) else Space(space)
    if not grid.axes:
        raise InvalidInputError("space: expected at least one axis, found none")
    parameters = [name for name in inspect.signature(owner.solve).parameters if name != "self"]
    faults = []
    for name in (*grid.names, *fixed):
        if name not in parameters:
            near = nearest(name, parameters)
            faults.append(f"{owner.__name__} has no argument {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
    faults += [f"{name} is both fixed and an axis" for name in grid.names if name in fixed]
    required = [
        name
        for name, parameter in inspect.signature(owner.solve).parameters.items()
        if parameter.default is parameter.empty and name != "self" and name not in (*grid.names, *fixed)
    ]
    if required:
        faults.append(f"{owner.__name__} needs {', '.join(required)}")
    if faults:
        raise InvalidInputError(faults)
    units = kinds_of(owner)
    for name in outputs or ():
        if name not in units:
            raise UnknownEntryError(f"field of {owner.produces.__name__}", name, nearest(name, units))
    conditions = Constraints(where)
    known: dict[str, str | None] = {**units, "feasible": None}
    known |= {axis.name: (str(axis.unit) if axis.unit else "1") if axis.numeric else None for axis in grid.axes}
    conditions.check(known, owner.produces.__name__)
    kept = tuple(name for name in (units if outputs is None else dict.fromkeys(outputs)) if name not in grid.names)
    axes = [axis if axis.numeric else Axis(axis.name, [_entry(axis.name, v) for v in axis.values], axis.each, axis.unit)
            for axis in grid.axes]  # fmt: skip
    return Plan(owner, Space(axes), {name: _entry(name, value) for name, value in fixed.items()}, kept, conditions)


def resolver_of(resolver: Any) -> Any:
    """A resolver class, from the class, an instance or a name."""
    found = resolver_named(resolver) if isinstance(resolver, str) else resolver
    found = found if isinstance(found, type) else type(found)
    if not hasattr(found, "produces") or not hasattr(found, "solve"):
        raise InvalidInputError(f"resolver: expected a class such as ServingModel or its name, found {resolver!r}")
    return found


def _entry(name: str, value: Any) -> Any:
    """A name as the entry itself, so that other processes need not know the user's own entries; unknown names fail now."""
    if not isinstance(value, str):
        return value
    if name in ("model", "draft_model"):
        return Models[value]
    if name in ("hardware", "decode_hardware"):
        return Systems[value] if value not in Hardware and value in Systems else Hardware[value]
    return Systems[value] if name == "fleet" else value


@contextmanager
def _bar(progress: bool | None, size: int) -> Iterator[Any]:
    if not (progress if progress is not None else size > 20 * BLOCK and sys.stderr.isatty()):
        yield lambda part, task: part
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("sweep", BarColumn(), MofNCompleteColumn(), "points", TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        bar = shown.add_task("sweep", total=size)

        def advance(part: Any, task: tuple[int, int]) -> Any:
            shown.update(bar, advance=task[1] - task[0])
            return part

        yield advance
