"""Frames of a sweep: their units, rows that meet conditions, and files that are whole or not there."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInputError, MissingExtraError, MLSysimError
from .constraints import Constraints

HEADING = re.compile(r"(?P<name>.+?) \[(?P<unit>[^\]]+)\]")
FORMATS = (".parquet", ".csv")


class WriteError(MLSysimError, OSError):
    """A file could not be written; nothing was left behind."""


def polars(what: str) -> Any:
    """The Polars module."""
    try:
        import polars as module
    except ImportError:
        raise MissingExtraError(what, "sweep") from None
    return module


def heading(name: str, unit: str | None) -> str:
    """A column with its unit, as answers write it.

    Examples:
        >>> heading("itl", "second"), heading("devices", "1")
        ('itl [second]', 'devices')
    """
    return name if unit in (None, "1") else f"{name} [{unit}]"


def units_of_frame(frame: Any) -> dict[str, str | None]:
    """Fields of a frame with their units: ``1`` for plain numbers, None for words and flags."""
    found: dict[str, str | None] = {}
    for label, kind in frame.schema.items():
        match = HEADING.fullmatch(label)
        found[match["name"] if match else label] = match["unit"] if match else "1" if kind.is_numeric() else None
    return found


def columns_of(frame: Any, fields: Sequence[str]) -> dict[str, Any]:
    """Columns of a frame by field, as arrays of SI numbers."""
    labels = {(match["name"] if (match := HEADING.fullmatch(label)) else label): label for label in frame.columns}
    return {name: frame.get_column(labels[name]).to_numpy() for name in fields}


def select(frame: Any, constraints: str | Sequence[str] | Constraints) -> Any:
    """The rows that meet conditions such as ``itl <= 50 ms and memory_utilization < 0.9``.

    Raises:
        UnknownEntryError: a field that the frame does not have
        UnitError: a bare number where a unit is needed, or one of another dimension
    """
    module, wanted = polars("select"), Constraints(constraints)
    wanted.check(units_of_frame(frame), "the frame")
    return frame.filter(module.Series(wanted.of(columns_of(frame, wanted.fields), frame.height)))


def check_target(path: Path | str) -> Path:
    """A file that can be written, known before the work is done.

    Raises:
        WriteError: the folder does not exist or is read-only
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise InvalidInputError(f"{target}: expected a name that ends in .parquet or .csv")
    if target.is_dir():
        raise WriteError(f"{target} is a folder; name a file in it")
    if not target.parent.is_dir():
        raise WriteError(f"{target.parent}: no such folder")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise WriteError(f"cannot write {target}: {(error.strerror or 'refused').lower()}") from None
    os.close(handle)
    os.unlink(name)
    return target


def write_frame(frame: Any, path: Path | str) -> Path:
    """Write a frame as Parquet or CSV, by the ending of the name.

    The file appears under its name only when it is complete: a run that is stopped leaves nothing, and a file that was
    there stays as it was.

    Raises:
        WriteError: the place cannot be written to, or is full
    """
    target = check_target(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            if target.suffix.lower() == ".csv":
                frame.write_csv(file)
            else:
                frame.write_parquet(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_mask())
        os.replace(name, target)
    except OSError as error:
        raise WriteError(f"cannot write {target}: {(error.strerror or str(error)).lower()}") from None
    finally:
        if os.path.exists(name):
            os.unlink(name)
    return target


def _mask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def frame_of(columns: Mapping[str, Any]) -> Any:
    """A frame of arrays: words as text, numbers as they are."""
    module = polars("sweep")
    made = {}
    for name, column in columns.items():
        if column.dtype.kind in "UO":
            made[name] = module.Series(name, column.tolist(), dtype=module.String)
        else:
            made[name] = np.ascontiguousarray(column)
    return module.DataFrame(made)
