"""Tables of measurements as columns, read once from the files beside this module or from a folder of your own."""

from __future__ import annotations

import csv
import functools
import gzip
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogError

FOLDER = Path(__file__).parent / "data"
KERNELS = FOLDER / "kernels"


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length: float64 where every value is a number, text elsewhere."""

    columns: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        """Rows."""
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A column."""
        return self.columns[name]

    def where(self, rows: NDArray[Any]) -> Table:
        """The rows where a mask is true, or those of an array of numbers."""
        return Table({name: column[rows] for name, column in self.columns.items()})

    def groups(self, *names: str) -> Iterator[tuple[tuple[str, ...], NDArray[np.int64]]]:
        """Each combination of values of some columns, in order, with the numbers of its rows."""
        found: dict[tuple[str, ...], list[int]] = {}
        for row, key in enumerate(zip(*(self.columns[name] for name in names), strict=True)):
            found.setdefault(tuple(str(part) for part in key), []).append(row)
        for key in sorted(found):
            yield key, np.array(found[key])

    def row(self, number: int) -> dict[str, Any]:
        """One row."""
        return {name: column[number].item() for name, column in self.columns.items()}


def read_table(path: Path) -> Table:
    """A comma-separated file with a header, gzipped or not.

    Raises:
        CatalogError: there is no such file, it has no rows, or a row has too few columns
    """
    if not os.path.isfile(path):
        raise CatalogError(f"{path}: no such file")
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = list(csv.reader(raw.decode("utf-8-sig").splitlines()))
    except (OSError, EOFError, ValueError, csv.Error) as error:  # no permission, no gzip, no text, a field without end
        raise CatalogError(f"{path.name}: cannot be read as comma-separated text ({error})") from None
    if len(lines) < 2:
        raise CatalogError(f"{path.name}: expected a header and at least one row")
    header = [name.strip() for name in lines[0]]
    rows = [line for line in lines[1:] if line]
    short = next((number for number, line in enumerate(rows, 2) if len(line) != len(header)), None)
    if short is not None:
        raise CatalogError(f"{path.name}: line {short}: expected {len(header)} columns as in the header")
    return Table({name: _column([line[number] for line in rows]) for number, name in enumerate(header)})


def _column(texts: Sequence[str]) -> NDArray[Any]:
    try:
        return np.array(texts, dtype=np.float64)
    except ValueError:
        return np.array(texts)


@functools.lru_cache(maxsize=32)
def kernel_table(name: str, folder: Path = KERNELS) -> Table:
    """One of the kernel tables, such as ``gemm``."""
    return read_table(folder / f"{name}.csv.gz")
