"""What MkDocs does besides rendering: lists made from code and data, figures, and TeX turned into MathML.

A page says where a list goes by a comment on a line of its own: ``<!-- modules of mlsysim.physics -->``; the same with
``: roofline gemm`` takes some of them, and ``other modules of`` those that no page names. ``<!-- list of walls -->`` is
one of ``listings``, ``<!-- figure tail -->`` one of ``figures``.
"""

from __future__ import annotations

import functools
import html
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCE = Path(__file__).parents[2] / "src"
MODULES = re.compile(r"^<!-- (other )?modules of ([\w.]+)(?:: ([\w ]+))? -->$", re.MULTILINE)
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


@functools.cache
def listed(package: str) -> frozenset[str]:
    """Modules of a package that some page of the reference names; one page takes the others."""
    found = set()
    for page in (HERE.parent / "reference").glob("*.md"):
        for _, of, names in MODULES.findall(page.read_text(encoding="utf-8")):
            found |= {f"{of}.{name}" for name in names.split() if of == package}
    return frozenset(found)


def expanded(markdown: str) -> str:
    """A page with each marker of modules replaced by a section for every one of them."""

    def sections(found: re.Match[str]) -> str:
        names = [f"{found[2]}.{name}" for name in found[3].split()] if found[3] else modules_of(found[2])
        if found[1]:
            names = [name for name in names if name not in listed(found[2])]
        return "\n\n".join(f"## {name.rsplit('.', 1)[1]}\n\n::: {name}" for name in names)

    return MODULES.sub(sections, markdown)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with every page."""
    if LISTING.search(markdown):
        lists = {**neighbour("listings").LISTS, "commands": neighbour("commands").commands}
        markdown = LISTING.sub(lambda found: lists[found[1]](), markdown)
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
