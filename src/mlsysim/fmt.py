"""Numbers as text, for tables and prose."""

from __future__ import annotations

from typing import Any

from .errors import InvalidInputError

SI_UNITS = {
    "B": "byte",
    "B/s": "byte/second",
    "FLOP": "flop",
    "FLOP/s": "flop/second",
    "s": "second",
    "J": "joule",
    "W": "watt",
}


def number(value: Any) -> str:
    """A number with as many digits as a reader needs.

    Examples:
        >>> number(68.754), number(0.26843), number(1842.9), number(12)
        ('68.75', '0.268', '1,842.9', '12')
    """
    value = float(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    size = abs(value)
    if size >= 100:
        return f"{value:,.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}" if size >= 0.01 else f"{value:.2e}"


def cell(value: Any) -> str:
    """Anything as a table cell: a quantity with its unit, a number, or text.

    Examples:
        >>> cell(0.19), cell(True), cell("PASS")
        ('0.1900', 'yes', 'PASS')
    """
    if hasattr(value, "magnitude") and hasattr(value, "units"):
        unit = f"{value.units:~P}"
        if unit in SI_UNITS:  # an answer as it is stored: in the unit a person would choose
            from .solvers.ledger import shown

            return shown(value.magnitude, SI_UNITS[unit])
        return f"{number(value.magnitude)} {unit}".rstrip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        size = abs(value)
        digits = 0 if size >= 1e6 else 1 if size >= 100 else 2 if size >= 1 else 4
        return f"{value:,.{digits}f}"
    return str(value)


def fmt(value: Any, unit: str | None = None, precision: int = 1, commas: bool = True, allow_zero: bool = False) -> str:
    """A number with a fixed count of decimals; a value that would be shown as zero is refused.

    Examples:
        >>> fmt(2039.4), fmt(0.26, precision=2)
        ('2,039.4', '0.26')
        >>> fmt(0.001)
        Traceback (most recent call last):
        mlsysim.errors.InvalidInputError: 0.001 rounds to zero with 1 decimals; give a higher precision or another unit
    """
    if unit is not None:
        value = value.to(unit)
    bare = float(getattr(value, "magnitude", value))
    text = f"{bare:{',' if commas else ''}.{precision}f}"
    if bare != 0 and not allow_zero and float(text.replace(",", "")) == 0:
        raise InvalidInputError(
            f"{bare:g} rounds to zero with {precision} decimals; give a higher precision or another unit"
        )
    return text


def fmt_percent(fraction: Any, precision: int = 1) -> str:
    """A fraction as per cent.

    Examples:
        >>> fmt_percent(0.1234)
        '12.3%'
    """
    return f"{float(getattr(fraction, 'magnitude', fraction)):.{precision}%}"


def sci(value: Any, precision: int = 2) -> str:
    """Scientific notation for prose.

    Examples:
        >>> sci(4.1e9)
        '4.10 × 10⁹'
    """
    mantissa, exponent = f"{float(getattr(value, 'magnitude', value)):.{precision}e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
