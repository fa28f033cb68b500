"""What is varied: axes, and the grid they span. No point exists before it is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog.spec import Spec
from ..errors import InvalidInputError
from ..units import NUMBER_AND_UNIT, quantity

LONGEST = 10_000_000
"""An axis of more values than this is a slip of the pen."""


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One argument and the values it takes: numbers (an array) or entries, names and flags (words).

    ``each`` asks value by value even though the values are numbers, for an argument that must be a single number.
    """

    name: str
    values: Any
    each: bool = False
    unit: str | None = None

    def __post_init__(self) -> None:
        """Numbers become an array; anything else a tuple."""
        values = self.values
        unit = str(values.units) if hasattr(values, "magnitude") else self.unit
        given = values.magnitude if hasattr(values, "magnitude") else values
        if isinstance(given, (str, bytes, Spec)) or not np.iterable(given) or isinstance(given, Mapping):
            given = (given,)
        given = list(given)
        if not given:
            raise InvalidInputError(f"axis {self.name}: expected at least one value, found none")
        if len(given) > LONGEST:
            raise InvalidInputError(f"axis {self.name}: {len(given):,} values; the limit is {LONGEST:,}")
        if all(_is_number(value) for value in given):
            array = np.array(given, dtype=np.float64)
            if not np.isfinite(array).all():
                raise InvalidInputError(
                    f"axis {self.name}: expected finite numbers, found {array[~np.isfinite(array)][0]}"
                )
            object.__setattr__(self, "values", array)
        else:
            object.__setattr__(self, "values", tuple(given))
        object.__setattr__(self, "unit", unit)

    @property
    def numeric(self) -> bool:
        """Whether the values go to a solver as one array."""
        return isinstance(self.values, np.ndarray) and not self.each

    def __len__(self) -> int:
        """How many values there are."""
        return len(self.values)

    def argument(self, values: Any) -> Any:
        """Values as the solver takes them: with the unit of the axis, if it has one."""
        return values if self.unit in (None, "", "dimensionless") else quantity(values, str(self.unit))

    @classmethod
    def range(cls, name: str, start: float, stop: float, step: float = 1.0, *, unit: str | None = None) -> Axis:
        """Evenly spaced values from ``start`` to ``stop``, both included where the step meets it.

        Examples:
            >>> Axis.range("batch_size", 1, 10, 3).values
            array([ 1.,  4.,  7., 10.])
        """
        if not (all(map(math.isfinite, (start, stop, step))) and step > 0 and stop >= start):
            raise InvalidInputError(f"axis {name}: expected start <= stop and step > 0, found {start}:{stop}:{step}")
        count = math.floor((stop - start) / step * (1 + 1e-12)) + 1
        _bounded(name, count)
        return cls(name, start + step * np.arange(count), unit=unit)

    @classmethod
    def powers(cls, name: str, start: float, stop: float, factor: float = 2.0, *, unit: str | None = None) -> Axis:
        """Values that grow by a factor, from ``start`` up to ``stop``.

        Examples:
            >>> Axis.powers("batch_size", 1, 8).values
            array([1., 2., 4., 8.])
        """
        if not (all(map(math.isfinite, (start, stop, factor))) and factor > 1 and 0 < start <= stop):
            raise InvalidInputError(
                f"axis {name}: expected 0 < start <= stop and factor > 1, found {start}:{stop}:*{factor}"
            )
        count = math.floor(math.log(stop / start) / math.log(factor) + 1e-9) + 1
        _bounded(name, count)
        return cls(name, start * factor ** np.arange(count, dtype=np.float64), unit=unit)

    @classmethod
    def logspace(cls, name: str, start: float, stop: float, count: int, *, unit: str | None = None) -> Axis:
        """So many values between ``start`` and ``stop``, evenly spaced on a logarithmic scale.

        Examples:
            >>> Axis.logspace("seq_len", 100, 10000, 3).values
            array([  100.,  1000., 10000.])
        """
        if not (math.isfinite(stop) and 0 < start <= stop and count >= 1):
            raise InvalidInputError(
                f"axis {name}: expected 0 < start <= stop and count >= 1, found {start}, {stop}, {count}"
            )
        _bounded(name, count)
        return cls(name, np.geomspace(start, stop, int(count)), unit=unit)

    @classmethod
    def parse(cls, name: str, text: str) -> Axis:
        """Values as on the command line: ``1,2,8``, ``1:10:3`` (steps), ``1:1024:*2`` (factor), ``1:10`` or words.

        Examples:
            >>> Axis.parse("batch_size", "1:16:*4").values, Axis.parse("precision", "fp16,int8").values
            (array([ 1., 4., 16.]), ('fp16', 'int8'))
        """
        parts = text.split(":")
        if len(parts) > 1:
            wanted = f"axis {name}: expected start:stop, start:stop:step or start:stop:*factor, found {text!r}"
            try:
                start, stop = float(parts[0]), float(parts[1])
                step = parts[2] if len(parts) > 2 else "1"
                value = float(step.removeprefix("*"))
            except ValueError:
                raise InvalidInputError(wanted) from None
            if len(parts) > 3:
                raise InvalidInputError(wanted)
            return (cls.powers if step.startswith("*") else cls.range)(name, start, stop, value)
        words = [word.strip() for word in text.split(",")]
        if not all(words):
            raise InvalidInputError(f"axis {name}: an empty value in {text!r}")
        plain = [NUMBER_AND_UNIT.fullmatch(word) for word in words]
        if all(match and not match[2] for match in plain):
            return cls(name, [float(word.replace("_", "")) for word in words])
        return cls(name, words)


def _bounded(name: str, count: float) -> None:
    if count > LONGEST:
        raise InvalidInputError(f"axis {name}: {count:,.0f} values; the limit is {LONGEST:,}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, (bool, np.bool_))


class Space:
    """The grid of some axes, the last one running fastest.

    Examples:
        >>> space = Space(hardware=["A100", "H100"], batch_size=[1, 8, 32])
        >>> len(space), space.point(4)
        (6, {'hardware': 'H100', 'batch_size': 8.0})
    """

    def __init__(self, axes: Mapping[str, Any] | Sequence[Axis] = (), /, **named: Any) -> None:
        """From axes, or from names and values."""
        listed = list(axes.items()) if isinstance(axes, Mapping) else [(axis.name, axis) for axis in axes]
        listed += list(named.items())
        names = [name for name, _ in listed]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidInputError(f"the axis {twice[0]} is given twice")
        self.axes = tuple(
            value if isinstance(value, Axis) and value.name == name
            else Axis(name, value.values, value.each, value.unit) if isinstance(value, Axis)
            else Axis(name, value)
            for name, value in listed
        )  # fmt: skip

    @property
    def shape(self) -> tuple[int, ...]:
        """Values on each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def size(self) -> int:
        """How many points there are, exactly, however many."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        """How many points there are."""
        return self.size

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the axes."""
        return tuple(axis.name for axis in self.axes)

    def point(self, index: int) -> dict[str, Any]:
        """One point as arguments."""
        places = np.unravel_index(index, self.shape) if self.axes else ()
        found = {}
        for axis, place in zip(self.axes, places, strict=True):
            value = axis.values[place]
            found[axis.name] = axis.argument(float(value)) if isinstance(value, np.floating) else value
        return found

    def points(self) -> Iterator[dict[str, Any]]:
        """Every point, in order."""
        return (self.point(index) for index in range(self.size))
