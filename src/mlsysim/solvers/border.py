"""Check what a person hands to a solver, once, and turn it into SI numbers. All faults are told at the same time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..catalog import Formats, Hardware, Infra, Models, Systems
from ..catalog.formats import NumberFormat
from ..catalog.hardware import Device
from ..catalog.infra import Datacenter, GridProfile
from ..catalog.models import Workload
from ..catalog.systems import Fleet, Node
from ..errors import InvalidInputError, MLSysimError, UnitError, UnsupportedWorkloadError, alternatives, nearest, told
from ..units import si

LARGEST = 1e12
"""More sequences, tokens or chips than this are a slip of the pen."""
SMALLEST, GREATEST = 1e-30, 1e30
"""What is measured in SI units lies between these; beyond, products of a few such numbers leave the range of floats."""


class Border:
    """Collects the faults of one call; :meth:`close` raises them together."""

    __slots__ = ("_shapes", "_unit", "problems")

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._unit = False
        self._shapes: dict[str, tuple[int, ...]] = {}

    def close(self) -> None:
        """Raise every fault found."""
        self.agree()
        if self.problems:
            raise (UnitError if self._unit and len(self.problems) == 1 else InvalidInputError)(self.problems)

    def agree(self) -> bool:
        """Whether the arrays so far broadcast together, which comparing two of them needs; a fault if not."""
        if len(self._shapes) < 2:
            return True
        try:
            np.broadcast_shapes(*self._shapes.values())
        except ValueError:
            told = " and ".join(f"{name} of shape {shape}" for name, shape in self._shapes.items())
            self.problems.append(f"arrays do not broadcast together: {told}")
            self._shapes.clear()  # told once
            return False
        return True

    # -- numbers -----------------------------------------------------------------------------------------------

    def count(self, name: str, value: Any, least: float = 1.0, most: float = LARGEST) -> Any:
        """A whole number, or an array of them, as float."""
        if type(value) is int and least <= value <= most:  # the common case, without a text for its fault
            return float(value)
        return self._number(name, value, least, most, whole=True, wanted=f"a whole number of at least {least:g}")

    def one_count(self, name: str, value: Any, least: float = 1.0, most: float = LARGEST) -> int:
        """One whole number, not an array of them; ``least`` where it is wrong."""
        found = self.count(name, value, least, most) if self.one(name, value) else math.nan
        return int(found) if math.isfinite(found) else int(least)

    def one(self, name: str, value: Any) -> bool:
        """Whether it is one number, not several."""
        several = isinstance(value, (list, tuple)) or bool(getattr(value, "ndim", 0))
        if several:
            self.problems.append(f"{name}: expected one number, found several")
        return not several

    def fraction(self, name: str, value: Any, *, above: float = 0.0, closed: bool = False) -> Any:
        """A number in (above, 1], or in [above, 1] where ``closed``."""
        if type(value) is float and SMALLEST <= value <= 1.0 and value > above:
            return value
        wanted = f"a number in {'[' if closed else '('}{above:g}, 1]"
        least = above if closed else max(math.nextafter(above, 1.0), SMALLEST)
        return self._number(name, value, least, 1.0, whole=False, wanted=wanted)

    def number(self, name: str, value: Any, least: float = 0.0, most: float = GREATEST) -> Any:
        """A finite number of at least ``least``."""
        bound = "" if most >= GREATEST else f" and at most {most:g}"
        return self._number(
            name, value, least, most, whole=False, wanted=f"a finite number of at least {least:g}{bound}"
        )

    def positive(self, name: str, value: Any, most: float = GREATEST) -> Any:
        """A finite number above 0."""
        return self._number(name, value, SMALLEST, most, whole=False, wanted="a positive, finite number")

    def quantity(self, name: str, value: Any, unit: str, *, zero: bool = False) -> Any:
        """A quantity with a unit, positive and finite, in SI."""
        try:
            number = si(value, unit, name)
        except UnitError as error:
            self._unit = True
            self.problems.append(str(error))
            return math.nan
        least = 0.0 if zero else SMALLEST
        wanted = "a finite quantity of at least 0" if zero else "a positive, finite quantity"
        return self._number(name, number, least, GREATEST, whole=False, wanted=wanted)

    def _number(self, name: str, value: Any, least: float, most: float, *, whole: bool, wanted: str) -> Any:
        if type(value) is float or type(value) is int:  # the common case, without NumPy
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if not (least <= number <= most and number < math.inf and (not whole or number == math.floor(number))):
                self._refuse(name, value, most, wanted)
                return math.nan
            return number
        magnitude = getattr(value, "magnitude", None)
        if magnitude is not None:
            if str(getattr(value, "units", "")) not in ("", "count", "token", "dimensionless"):
                self._unit = True
                self.problems.append(f"{name}: expected {wanted}, found {value}")
                return math.nan
            value = magnitude
        if isinstance(value, (bool, str, bytes)) or value is None:
            self.problems.append(f"{name}: expected {wanted}, found {told(value)}")
            return math.nan
        try:
            array = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            self.problems.append(f"{name}: expected {wanted}, found {type(value).__name__}")
            return math.nan
        if array.size == 0:
            self.problems.append(f"{name}: expected {wanted}, found an empty array")
            return math.nan
        good = (array >= least) & (array <= most) & np.isfinite(array)
        if whole:
            good &= array == np.floor(array)
        if not good.all():
            self._refuse(name, array[~good].flat[0], most, wanted)
        if array.ndim:
            self._shapes[name] = array.shape
        return float(array) if array.ndim == 0 else array

    def _refuse(self, name: str, value: Any, most: float, wanted: str) -> None:
        shown = told(value.item() if isinstance(value, np.generic) else value)
        if 0 < value < SMALLEST:
            wanted += f", not below {SMALLEST:g}"
        elif most > 1.0 and (most < GREATEST or value > most):
            wanted += f" and at most {most:g}"
        self.problems.append(f"{name}: expected {wanted}, found {shown}")

    # -- entries -----------------------------------------------------------------------------------------------

    def entry(self, name: str, value: Any, cls: Any, registry: Any) -> Any:
        """A catalog entry, or the name of one."""
        if isinstance(value, cls):
            if value.members:
                self._shapes[name] = (len(value.members),)
            return value
        if isinstance(value, str):
            try:
                found = registry[value]
            except MLSysimError as error:
                self.problems.append(str(error))
                return None
            if isinstance(found, cls):
                return found
            wanted = " or ".join(kind.__name__.lower() for kind in (cls if isinstance(cls, tuple) else (cls,)))
            self.problems.append(f"{name}: expected a {wanted}, found the {type(found).__name__.lower()} {found.id}")
            return None
        self.problems.append(f"{name}: expected an entry of the catalog or its name, found {type(value).__name__}")
        return None

    def model(self, value: Any, name: str = "model") -> Any:
        """A model, or its name."""
        return self.entry(name, value, Workload, Models)

    def device(self, value: Any, name: str = "hardware") -> Any:
        """A device, or its name."""
        if isinstance(value, (Node, Fleet)):
            self.problems.append(f"{name}: expected one device, found the {type(value).__name__.lower()} {value.id}")
            return None
        return self.entry(name, value, Device, Hardware)

    def machine(self, value: Any, name: str = "hardware") -> Any:
        """A device, a node or a fleet, or its name."""
        if isinstance(value, (Device, Node, Fleet)):
            return value
        if isinstance(value, str) and value not in Hardware and value in Systems:
            return self.entry(name, value, (Node, Fleet), Systems)
        return self.entry(name, value, Device, Hardware)

    def fleet(self, value: Any, name: str = "fleet") -> Any:
        """A fleet, or its name."""
        return self.entry(name, value, Fleet, Systems)

    def grid(self, value: Any, name: str = "grid") -> Any:
        """A grid or a data centre, or its name."""
        return self.entry(name, value, (GridProfile, Datacenter), Infra)

    def flag(self, name: str, value: Any) -> Any:
        """True or false."""
        if not isinstance(value, (bool, np.bool_)):
            self.problems.append(f"{name}: expected true or false, found {told(value)}")
            return False
        return bool(value)

    def format(self, value: Any, name: str = "precision") -> Any:
        """A number format, or its name."""
        found = self.entry(name, value, NumberFormat, Formats)
        return found

    def choice(self, name: str, value: Any, allowed: tuple[str, ...]) -> Any:
        """One of a few words, ignoring case."""
        word = value.lower() if isinstance(value, str) else ""
        if word not in allowed:
            near = nearest(value, allowed) if isinstance(value, str) else []
            hint = f"; did you mean {alternatives(near)}?" if near else ""
            self.problems.append(f"{name}: expected {alternatives(allowed)}, found {told(value)}{hint}")
        return word


def unsupported(solver: str, model: Workload, wanted: str) -> UnsupportedWorkloadError:
    """The error for a kind of model that a solver does not cover."""
    return UnsupportedWorkloadError(f"{solver} answers for {wanted}; {model.id} is a {model.architecture} model")


def is_array(*values: Any) -> bool:
    """Whether any of the values is an array."""
    return any(isinstance(value, np.ndarray) and value.ndim for value in values)


def shape_of(*values: Any) -> tuple[int, ...]:
    """The broadcast shape of the values; () where all are scalars."""
    shapes = [value.shape for value in values if isinstance(value, np.ndarray)]
    try:
        return np.broadcast_shapes(*shapes) if shapes else ()
    except ValueError:
        told = alternatives([str(shape) for shape in shapes])
        raise InvalidInputError(f"arrays of shapes {told} do not broadcast together") from None
