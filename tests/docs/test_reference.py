"""The reference pages cover every public name."""

import importlib.util
import re
from pathlib import Path

import pytest

import mlsysim

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))
DIRECTIVE = re.compile(r"^::: ([\w.]+)(?:\n +options:\n +members: \[([^\]]*)\])?", re.MULTILINE)


def hooks():
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "_hooks" / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TEXT = "\n".join(hooks().expanded(page.read_text(encoding="utf-8")) for page in PAGES)
DOCUMENTED = {module: members.split(", ") if members else None for module, members in DIRECTIVE.findall(TEXT)}


@pytest.mark.parametrize("name", mlsysim.__all__)
def test_every_public_name_is_in_the_reference(name):
    home = f"mlsysim.{mlsysim._WHERE.get(name) or mlsysim._MODULES.get(name, name)}"
    if home == "mlsysim.solvers" and name != "solvers":
        home += f".{mlsysim.solvers.RESOLVERS[name]}"
    members = DOCUMENTED.get(home, ())
    told = members is None or name in members or f"`{name}`" in TEXT
    assert told, f"{name} of {home} is on no reference page; add it to docs/reference"


@pytest.mark.parametrize("module", DOCUMENTED)
def test_every_documented_module_exists(module):
    assert importlib.util.find_spec(module) is not None


def test_the_pages_are_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").rglob("*.md")):
        path = page.relative_to(ROOT / "docs").as_posix()
        if not path.startswith("decisions/"):
            assert path in navigation, f"{path} is not in the nav of mkdocs.yml"
