"""Expressions over the fields of an answer, with units: ``itl <= 50 ms and memory_utilization < 0.9``.

The text is parsed, never executed: names, numbers with units, words in quotes, + - * /, comparisons, and, or, not.
"""

from __future__ import annotations

import ast
import itertools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import InvalidInputError, UnitError, UnknownEntryError, nearest
from ..units import EXAMPLES, registry, unit

LONGEST = 2000
DEEPEST = 50
NUMBER = re.compile(
    r"(?<![\w.])(\d[\d_]*\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
    r"[ ]*((?!and\b|or\b|not\b)[A-Za-zµμ%$][\w%]*(?:/[A-Za-zµμ][\w]*)*(?:\*\*\d+)?)"
)
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
COMPARE: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Lt: ("<", np.less),
    ast.LtE: ("<=", np.less_equal),
    ast.Gt: (">", np.greater),
    ast.GtE: (">=", np.greater_equal),
    ast.Eq: ("==", np.equal),
    ast.NotEq: ("!=", np.not_equal),
}
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
}


class Expression:
    """A parsed expression. :meth:`check` holds it to the fields that there are; :meth:`of` computes it on columns."""

    def __init__(self, text: str) -> None:
        """Parse, and refuse anything that is not an expression over fields."""
        if not isinstance(text, str):
            raise InvalidInputError(f"expected an expression such as 'itl <= 50 ms', found {type(text).__name__}")
        self.text = " ".join(text.split())
        if not self.text or len(self.text) > LONGEST:
            raise InvalidInputError(f"expected an expression of 1 to {LONGEST} characters, found {len(self.text)}")
        self.quantities: dict[str, tuple[float, str]] = {}
        quoted = [match.span() for match in QUOTED.finditer(self.text)]

        def stored(match: re.Match[str]) -> str:
            if any(start <= match.start() < stop for start, stop in quoted):
                return match[0]
            name = f"__quantity_{len(self.quantities)}"
            self.quantities[name] = (float(match[1].replace("_", "")), match[2])
            return f" {name} "

        marked = NUMBER.sub(stored, self.text)
        try:
            self.root = ast.parse(marked.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise InvalidInputError(
                f"cannot read {self.text!r}; write it like 'itl <= 50 ms and memory_utilization < 0.9'"
            ) from None
        if _depth(self.root) > DEEPEST:
            raise InvalidInputError(f"an expression nested deeper than {DEEPEST} levels")
        for node in ast.walk(self.root):
            self._allow(node)

    def _allow(self, node: ast.AST) -> None:
        good = isinstance(
            node,
            (ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.BinOp, ast.Compare, ast.Name,
             ast.Attribute, ast.Load, *ARITHMETIC, *COMPARE),
        ) or (isinstance(node, ast.Constant) and type(node.value) in (int, float, str, bool))  # fmt: skip
        if not good:
            told = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
            for name, (value, text) in self.quantities.items():
                told = told.replace(name, f"{value:g} {text}")
            raise InvalidInputError(
                f"{told!r} has no place in {self.text!r}: only fields, numbers with units, + - * /, comparisons, and, or, not"
            )

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields that are read."""
        outer = [node for node in ast.walk(self.root) if isinstance(node, (ast.Name, ast.Attribute))]
        inner = {id(child) for node in outer for child in ast.walk(node) if child is not node}
        names = [_dotted(node) for node in outer if id(node) not in inner]
        return tuple(dict.fromkeys(name for name in names if name not in self.quantities))

    @property
    def logical(self) -> bool:
        """Whether it is true or false, and not a number."""
        return _logical(self.root)

    def check(self, units: Mapping[str, str | None], owner: str = "answer") -> Any:
        """Hold names and units to the fields there are (unit of each, None for words).

        Returns:
            The Pint unit of the value; None for true, false and words.

        Raises:
            UnknownEntryError: a field that there is not
            UnitError: sides of different dimensions, or a bare number where a unit is needed
        """
        for name in self.fields:
            if name not in units:
                raise UnknownEntryError(f"field of {owner}", name, nearest(name, units))
        return self._unit(self.root, units)

    def of(self, columns: Mapping[str, Any]) -> Any:
        """The value on columns of SI numbers."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return self._value(self.root, columns)

    def excess(self, columns: Mapping[str, Any]) -> Any:
        """How far a condition is from true: 0 where it holds, else the relative gap; grows smoothly for an optimiser."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return self._excess(self.root, columns)

    def __repr__(self) -> str:
        """The text."""
        return f"Expression({self.text!r})"

    # -- units -------------------------------------------------------------------------------------------------

    def _unit(self, node: ast.AST, units: Mapping[str, str | None]) -> Any:
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self._condition(value, units)
            return None
        if isinstance(node, ast.UnaryOp):
            if isinstance(node.op, ast.Not):
                self._condition(node.operand, units)
                return None
            return self._unit(node.operand, units)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for left, right in itertools.pairwise(sides):
                self._alike(left, right, units)
            return None
        if isinstance(node, ast.BinOp):
            left, right = self._unit(node.left, units), self._unit(node.right, units)
            if left is None or right is None:
                raise InvalidInputError(f"words and conditions cannot be added or multiplied in {self.text!r}")
            if isinstance(node.op, ast.Mult):
                return left * right
            if isinstance(node.op, ast.Div):
                return left / right
            self._alike(node.left, node.right, units)
            return left
        if isinstance(node, ast.Constant):
            return None if isinstance(node.value, (str, bool)) else unit("1")
        name = _dotted(node)
        if name in self.quantities:
            return self._quantity(name).units
        text = units[name]
        return None if text is None else unit(text)

    def _condition(self, node: ast.AST, units: Mapping[str, str | None]) -> None:
        if self._unit(node, units) is not None:
            raise InvalidInputError(f"{self._told(node)!r} is a number, not a condition, in {self.text!r}")

    def _alike(self, left: ast.AST, right: ast.AST, units: Mapping[str, str | None]) -> None:
        one, other = self._unit(left, units), self._unit(right, units)
        if one is None and other is None:
            return
        if one is None or other is None:
            number, word = (left, right) if other is None else (right, left)
            raise InvalidInputError(f"{self._told(number)} is a number and {self._told(word)} is not, in {self.text!r}")
        if one.dimensionality != other.dimensionality:
            bare = right if other.dimensionless else left if one.dimensionless else None
            if bare is not None:
                field, needed = (left, one) if bare is right else (right, other)
                near = _example(needed)
                raise UnitError(
                    f"{self._told(field)} needs a unit like {near}, found the bare number {self._told(bare)} in {self.text!r}"
                )
            raise UnitError(f"{self._told(left)} is in {one} and {self._told(right)} in {other}, in {self.text!r}")

    def _told(self, node: ast.AST) -> str:
        told = ast.unparse(node)
        for name, (value, text) in self.quantities.items():
            told = re.sub(rf"\b{name}\b", f"{value:g} {text}", told)
        return told

    def _quantity(self, name: str) -> Any:
        value, text = self.quantities[name]
        try:
            return registry().Quantity(value, text).to_base_units()
        except Exception as error:  # Pint raises errors of many kinds for text it cannot read
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise UnitError(f"{text!r} is not a unit in {self.text!r}; units are written like ms, GB/s, USD") from None

    # -- values ------------------------------------------------------------------------------------------------

    def _value(self, node: ast.AST, columns: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            found = self._value(node.values[0], columns)
            for value in node.values[1:]:
                found = join(found, self._value(value, columns))
            return found
        if isinstance(node, ast.UnaryOp):
            value = self._value(node.operand, columns)
            return (
                np.logical_not(value)
                if isinstance(node.op, ast.Not)
                else -value
                if isinstance(node.op, ast.USub)
                else value
            )
        if isinstance(node, ast.Compare):
            sides = [self._value(side, columns) for side in (node.left, *node.comparators)]
            held: Any = True
            for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
                held = np.logical_and(held, COMPARE[type(operator)][1](left, right))
            return held
        if isinstance(node, ast.BinOp):
            return ARITHMETIC[type(node.op)](self._value(node.left, columns), self._value(node.right, columns))
        if isinstance(node, ast.Constant):
            return node.value
        name = _dotted(node)
        return self._quantity(name).magnitude if name in self.quantities else columns[name]

    def _excess(self, node: ast.AST, columns: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.BoolOp):
            parts = [self._excess(value, columns) for value in node.values]
            return sum(parts) if isinstance(node.op, ast.And) else np.minimum.reduce(parts)
        if isinstance(node, ast.Compare):
            sides = [self._value(side, columns) for side in (node.left, *node.comparators)]
            total: Any = 0.0
            for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
                held = COMPARE[type(operator)][1](left, right)
                if np.asarray(left).dtype.kind in "fiu" and np.asarray(right).dtype.kind in "fiu":
                    scale = np.maximum(np.abs(left), np.abs(right))
                    gap = np.nan_to_num(np.abs(left - right) / np.where(scale > 0, scale, 1.0), nan=1.0)
                    total = total + np.where(held, 0.0, np.maximum(gap, 1e-9))
                else:
                    total = total + np.where(held, 0.0, 1.0)
            return total
        return np.where(self._value(node, columns), 0.0, 1.0)

    def bounds(self) -> dict[str, tuple[float, bool, float, bool]]:
        """What a conjunction demands of single fields: name to (lower, strict, upper, strict), in SI."""
        found: dict[str, tuple[float, bool, float, bool]] = {}
        parts = (
            self.root.values if isinstance(self.root, ast.BoolOp) and isinstance(self.root.op, ast.And) else [self.root]
        )
        for part in parts:
            if not isinstance(part, ast.Compare):
                continue
            sides = [part.left, *part.comparators]
            for operator, left, right in zip(part.ops, sides, sides[1:], strict=False):
                symbol = COMPARE[type(operator)][0]
                name, value = self._field(left), self._number(right)
                if name is None or value is None:
                    name, value = self._field(right), self._number(left)
                    symbol = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(symbol, symbol)
                if name is None or value is None:
                    continue
                low, open_low, high, open_high = found.get(name, (-math.inf, False, math.inf, False))
                if symbol in (">", ">=", "==") and (value, symbol == ">") > (low, open_low):
                    low, open_low = value, symbol == ">"
                if symbol in ("<", "<=", "==") and (value, symbol != "<") < (high, not open_high):
                    high, open_high = value, symbol == "<"
                found[name] = (low, open_low, high, open_high)
        return found

    def _field(self, node: ast.AST) -> str | None:
        name = _dotted(node) if isinstance(node, (ast.Name, ast.Attribute)) else None
        return None if name in self.quantities else name

    def _number(self, node: ast.AST) -> float | None:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            inner = self._number(node.operand)
            return None if inner is None else -inner
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return float(node.value)  # type: ignore[arg-type]
        if isinstance(node, ast.Name) and node.id in self.quantities:
            return float(self._quantity(node.id).magnitude)
        return None


def _depth(root: ast.AST) -> int:
    level, depth = [root], 0
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _example(needed: Any) -> str:
    for text, example in EXAMPLES.items():
        if unit(text).dimensionality == needed.dimensionality:
            return example
    return str(needed)


def _logical(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, bool)
    return isinstance(node, (ast.BoolOp, ast.Compare)) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ast.unparse(node)
