"""Headers of safetensors files: how many parameters of which type, without reading a weight.

Format: eight bytes with the length of the header, little-endian; the header, a JSON mapping from names to type, shape
and place; the data. https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from ...errors import InvalidInputError
from .checkpoint import Checkpoint
from .config import read_json, reason, shortened

LONGEST_HEADER = 100_000_000
"""Bytes that the format allows a header."""
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16,
    "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64,
}  # fmt: skip


def read(path: Path) -> Checkpoint:
    """What the header of one file says, or the headers of all files that an index names.

    Raises:
        InvalidInputError: no safetensors file, a header that lies about its length, files that are missing
    """
    return _sharded(path) if path.name.endswith(".json") else _single(path)


def _single(path: Path) -> Checkpoint:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            if len(start) < 8:
                raise InvalidInputError(f"{path}: expected a safetensors file, found {size} bytes")
            (length,) = struct.unpack("<Q", start)
            if length > min(LONGEST_HEADER, size - 8):
                raise InvalidInputError(
                    f"{path}: expected a header of at most {min(LONGEST_HEADER, size - 8)} bytes, found a length of {length}"
                )
            text = file.read(length)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror or 'unknown reason'})") from None
    try:
        header = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: expected a JSON header, found {reason(error)}") from None
    if not isinstance(header, dict):
        raise InvalidInputError(f"{path}: expected a header that is a mapping, found {shortened(header)}")
    metadata = header.pop("__metadata__", {})
    values: Counter[str] = Counter()
    shapes: dict[str, tuple[int, ...]] = {}
    stored = 0
    for name, entry in header.items():
        kind, shape = _tensor(path, name, entry, size - 8 - length)
        shapes[name] = shape
        values[kind] += math.prod(shape)
        stored += entry["data_offsets"][1] - entry["data_offsets"][0]
    if stored > size - 8 - length:
        raise InvalidInputError(f"{path}: tensors of {stored} bytes do not fit a file of {size}")
    return Checkpoint(dict(values), float(stored), shapes, metadata if isinstance(metadata, dict) else {})


def _tensor(path: Path, name: str, entry: Any, room: int) -> tuple[str, tuple[int, ...]]:
    where = f"{path}: tensor {name[:80]!r}"
    if not isinstance(entry, dict):
        raise InvalidInputError(f"{where}: expected a mapping, found {shortened(entry)}")
    kind, shape, place = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if kind not in BITS:
        raise InvalidInputError(f"{where}: expected a type such as BF16, found {shortened(kind)}")
    if (
        not isinstance(shape, list)
        or len(shape) > 64
        or not all(type(side) is int and 0 <= side < 2**63 for side in shape)
    ):
        raise InvalidInputError(f"{where}: expected a shape, found {shortened(shape)}")
    if not isinstance(place, list) or len(place) != 2 or not all(type(at) is int for at in place):
        raise InvalidInputError(f"{where}: expected two places inside the file, found {shortened(place)}")
    if not 0 <= place[0] <= place[1] <= room:
        raise InvalidInputError(f"{where}: expected two places inside the file, found {shortened(place)}")
    if (math.prod(shape) * BITS[kind] + 7) // 8 != place[1] - place[0]:
        raise InvalidInputError(
            f"{where}: {place[1] - place[0]} bytes do not hold a {kind} tensor of shape {shortened(shape)}"
        )
    return str(kind), tuple(shape)


def _sharded(path: Path) -> Checkpoint:
    index = read_json(path)
    places = index.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise InvalidInputError(f"{path}: expected a 'weight_map' from tensors to files")
    files = sorted(set(places.values()))
    outside = [file for file in files if Path(file).name != file]
    if outside:
        raise InvalidInputError(f"{path}: expected files beside the index, found {outside[0][:80]!r}")
    missing = [file for file in files if not (path.parent / file).is_file()]
    if missing:
        raise InvalidInputError(
            f"{path}: {len(missing)} of {len(files)} files are missing, the first is {missing[0][:80]!r}"
        )
    values: Counter[str] = Counter()
    shapes: dict[str, tuple[int, ...]] = {}
    stored, metadata = 0.0, dict[str, Any]()
    for file in files:
        part = _single(path.parent / file)
        values.update(part.values)
        shapes |= part.shapes
        stored += part.size
        metadata |= part.metadata
    absent = [name for name in places if name not in shapes]
    if absent:
        raise InvalidInputError(f"{path}: no file holds the tensor {absent[0][:80]!r}")
    return Checkpoint(dict(values), stored, shapes, metadata)


def beside(folder: Path) -> Path | None:
    """The index or the single file of a folder's checkpoint."""
    for name in ("model.safetensors.index.json", "model.safetensors"):
        if (folder / name).is_file():
            return folder / name
    files = sorted(folder.glob("*.safetensors"))
    return files[0] if len(files) == 1 else None
