"""Docstrings are written for a terminal; the reference pages want Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

MATH = re.compile(r"^\.\. math::[ \t]*(.+(?:\n[ \t]+\S.*)*)", re.MULTILINE)
ROLE = re.compile(r":(?:class|meth|func|attr|mod):`~?([^`]+)`")
BRACKET = re.compile(r"\[([^\[\]\n]*)\](?!\()")
LITERAL = re.compile(r"``([^`]+)``")


def to_markdown(text: str) -> str:
    r"""Formulas between ``$$``, roles and literals as code, units in brackets that are no links.

    Examples:
        >>> to_markdown(".. math:: a =\n    b")
        '$$ a = b $$'
    """
    text = MATH.sub(lambda found: f"$$ {' '.join(found[1].split())} $$", text)
    text = ROLE.sub(lambda found: f"`{found[1].rsplit('.', 1)[-1]}`", text)
    prose, examples, rest = text.partition("Examples:")  # there a bracket is a unit, never a link
    return LITERAL.sub(r"`\1`", BRACKET.sub(r"&#91;\1&#93;", prose)) + examples + rest


class Markdown(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe with every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
        elif isinstance(obj, griffe.Attribute) and obj.annotation is not None:  # a field: its type says its unit
            obj.docstring = griffe.Docstring(f"`{obj.annotation}`", parent=obj)
