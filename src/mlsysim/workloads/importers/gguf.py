"""Headers of GGUF files: shape, number of parameters and bytes, without reading a weight.

Format: magic, version, counts; metadata as typed key-value pairs; name, extents, type and place of every tensor.
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import InvalidInputError
from .checkpoint import Checkpoint

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
BLOCKS = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip
"""Types of tensors: name, values of a block, bytes of a block."""
MOST_PAIRS, MOST_TENSORS, LONGEST_TEXT = 100_000, 1_000_000, 1 << 24


class _Reader:
    """Little-endian values one after the other; never past the end of the file."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.file, self.path, self.size = file, path, size

    def fault(self, text: str) -> InvalidInputError:
        return InvalidInputError(f"{self.path}: {text}")

    def take(self, count: int) -> bytes:
        if count > self.size - self.file.tell():
            raise self.fault("the header ends early; the file is cut off or no GGUF file")
        return self.file.read(count)

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def text(self) -> str:
        length = self.number("Q")
        if length > LONGEST_TEXT:
            raise self.fault(f"expected a text of at most {LONGEST_TEXT} bytes, found a length of {length}")
        return self.take(length).decode("utf-8", errors="replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind == STRING:
            return self.text()
        if kind != ARRAY or depth > 4:
            raise self.fault(f"expected a type of value from 0 to 12, found {kind}")
        inner, length = self.number("I"), self.number("Q")
        least = struct.calcsize(f"<{SCALARS[inner]}") if inner in SCALARS else 8
        if length * least > self.size - self.file.tell():
            raise self.fault(f"a list of {length} values does not fit the file")
        if inner in SCALARS:
            return struct.unpack(f"<{length}{SCALARS[inner]}", self.take(length * least))
        if inner == STRING:
            for _ in range(length):  # vocabularies: only their length matters here
                skipped = self.number("Q")
                if skipped > self.size - self.file.tell():
                    raise self.fault("the header ends early; the file is cut off or no GGUF file")
                self.file.seek(skipped, 1)
            return range(length)
        return [self.value(inner, depth + 1) for _ in range(length)]


def read(path: Path) -> Checkpoint:
    """What the header of a file says.

    Raises:
        InvalidInputError: no GGUF file, an unknown version or type, a header that does not fit the file
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _read(_Reader(file, path, size))
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror or 'unknown reason'})") from None


def _read(reader: _Reader) -> Checkpoint:
    if reader.size < 24 or reader.take(4) != b"GGUF":
        raise reader.fault("expected a GGUF file, which begins with the letters GGUF")
    version = reader.number("I")
    if version not in (2, 3):
        told = "a big-endian file" if version >> 24 else f"version {version}"
        raise reader.fault(f"expected version 2 or 3, little-endian, found {told}")
    tensors, pairs = reader.number("Q"), reader.number("Q")
    if tensors > MOST_TENSORS or pairs > MOST_PAIRS:
        raise reader.fault(
            f"expected at most {MOST_TENSORS} tensors and {MOST_PAIRS} keys, found {tensors} and {pairs}"
        )
    metadata = {}
    for _ in range(pairs):
        key = reader.text()
        metadata[key] = reader.value(reader.number("I"))
    values: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    stored = 0.0
    for _ in range(tensors):
        name, directions = reader.text(), reader.number("I")
        if not 0 <= directions <= 8:
            raise reader.fault(f"tensor {name[:80]!r}: expected at most 8 directions, found {directions}")
        shape = tuple(reader.number("Q") for _ in range(directions))
        kind, _place = reader.number("I"), reader.number("Q")
        if kind not in BLOCKS:
            raise reader.fault(f"tensor {name[:80]!r}: the type {kind} is not known")
        told, block, size = BLOCKS[kind]
        count = math.prod(shape)
        if count > 1 << 50 or (shape and shape[0] % block):
            raise reader.fault(f"tensor {name[:80]!r}: a shape of {count:.3g} values does not fit blocks of {block}")
        values[told] = values.get(told, 0) + count
        shapes[name] = shape
        stored += count // block * size
    return Checkpoint(values, stored, shapes, metadata, logical=True)
