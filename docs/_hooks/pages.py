"""What MkDocs does besides rendering: list the modules of a package, and turn TeX into MathML."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"
MARKER = re.compile(r"^<!-- modules of ([\w.]+) -->$", re.MULTILINE)
ARITHMATEX = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def modules_of(package: str) -> list[str]:
    """Public modules of a package, found by their files, so that nothing is imported."""
    folder = SOURCE.joinpath(*package.split("."))
    return [f"{package}.{path.stem}" for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")]


def expanded(markdown: str) -> str:
    """A page with each marker replaced by a section for every module of the package it names."""

    def sections(found: re.Match[str]) -> str:
        return "\n\n".join(f"## {name.rsplit('.', 1)[1]}\n\n::: {name}" for name in modules_of(found[1]))

    return MARKER.sub(sections, markdown)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with every page."""
    return expanded(markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Called by MkDocs with the HTML of every page."""
    from latex2mathml.converter import convert

    def mathml(found: re.Match[str]) -> str:
        display = "block" if found[2] == "[" else "inline"
        return str(convert(html.unescape(found[3]).strip(), display=display))

    return ARITHMATEX.sub(mathml, content)
