"""What MkDocs does besides rendering: lists made from code and data, figures, and TeX turned into MathML.

A page says where a list goes by a comment of its own line: ``<!-- modules of mlsysim.physics -->``, the same with
``: roofline gemm`` for some of them, or the name of a list of ``listings`` or of a figure of ``figures``.
"""

from __future__ import annotations

import html
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCE = Path(__file__).parents[2] / "src"
MODULES = re.compile(r"^<!-- modules of ([\w.]+)(?:: ([\w ]+))? -->$", re.MULTILINE)
LISTING = re.compile(r"^<!-- list of ([\w ]+) -->$", re.MULTILINE)
FIGURE = re.compile(r"^<!-- figure (\w+) -->$", re.MULTILINE)
ARITHMATEX = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def neighbour(name: str) -> Any:
    """A module of this folder; it is no package, and the builder does not put it on the path."""
    if f"_hooks_{name}" in sys.modules:
        return sys.modules[f"_hooks_{name}"]
    spec = importlib.util.spec_from_file_location(f"_hooks_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # data classes look their module up
    spec.loader.exec_module(module)
    return module


def modules_of(package: str) -> list[str]:
    """Public modules of a package, found by their files, so that nothing is imported."""
    folder = SOURCE.joinpath(*package.split("."))
    return [f"{package}.{path.stem}" for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")]


def expanded(markdown: str) -> str:
    """A page with each marker of modules replaced by a section for every one of them."""

    def sections(found: re.Match[str]) -> str:
        names = [f"{found[1]}.{name}" for name in found[2].split()] if found[2] else modules_of(found[1])
        return "\n\n".join(f"## {name.rsplit('.', 1)[1]}\n\n::: {name}" for name in names)

    return MODULES.sub(sections, markdown)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with every page."""
    if LISTING.search(markdown):
        listings = neighbour("listings")
        markdown = LISTING.sub(lambda found: listings.LISTS[found[1]](), markdown)
    if FIGURE.search(markdown):
        figures = neighbour("figures")
        markdown = FIGURE.sub(lambda found: figures.drawn(found[1]), markdown)
    return expanded(markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Called by MkDocs with the HTML of every page."""
    from latex2mathml.converter import convert

    def mathml(found: re.Match[str]) -> str:
        display = "block" if found[2] == "[" else "inline"
        return str(convert(html.unescape(found[3]).strip(), display=display))

    return ARITHMATEX.sub(mathml, content)
