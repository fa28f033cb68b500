"""The pages cover every public name, module, catalog entry, wall and equation; test_howto.py has the commands."""

import importlib.util
import pkgutil
import re
import sys
from pathlib import Path

import pytest

import mlsysim
from mlsysim.catalog import Hardware, Infra, Models, Systems
from mlsysim.validation import board

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DIRECTIVE = re.compile(r"^::: ([\w.]+)(?:\n +options:\n +members: \[([^\]]*)\])?", re.MULTILINE)


def hook(name):
    spec = importlib.util.spec_from_file_location(f"docs_hooks_{name}", DOCS / "_hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


PAGES = {page.relative_to(DOCS).as_posix(): page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md"))}
BUILT = {name: hook("pages").on_page_markdown(text) for name, text in PAGES.items() if "scoreboard" not in text}
TEXT = "\n".join(text for name, text in BUILT.items() if name.startswith("reference/"))
MADE = {DOCS / "appendix" / f"{kind}.md" for kind in hook("appendix").KINDS}  # pages that only the builder has
DOCUMENTED = {module: members.split(", ") if members else None for module, members in DIRECTIVE.findall(TEXT)}


@pytest.mark.parametrize("name", mlsysim.__all__)
def test_every_public_name_has_its_home_on_a_page(name):
    home = f"mlsysim.{mlsysim._WHERE.get(name) or mlsysim._MODULES.get(name, name)}"
    if home == "mlsysim.solvers" and name != "solvers":
        home += f".{mlsysim.solvers.RESOLVERS[name]}"
    listed = f"| `{name}` |" in BUILT["reference/index.md"]
    package = any(module.startswith(home) for module in DOCUMENTED)
    assert listed, f"{name} is not in the list of public names"
    assert package or name in ("ureg", "Tiers"), f"{home}, the home of {name}, is on no reference page"


def modules(package):
    return [m.name for m in pkgutil.iter_modules(package.__path__, f"{package.__name__}.") if "._" not in m.name]


PACKAGES = [name for name in modules(mlsysim) if name.rsplit(".", 1)[1] not in ("cli", "web")]
HIDDEN = {"mlsysim.record", "mlsysim.__main__"}


@pytest.mark.parametrize("name", sorted(set(PACKAGES) - HIDDEN))
def test_every_module_is_on_a_reference_page(name):
    spec = importlib.util.find_spec(name)
    if spec.submodule_search_locations is None:
        assert name in DOCUMENTED, f"add '::: {name}' to docs/reference"
        return
    found = [m.name for m in pkgutil.iter_modules(spec.submodule_search_locations, f"{name}.") if not m.ispkg]
    missing = [module for module in found if module not in DOCUMENTED and "._" not in module]
    assert not missing, f"add {', '.join(missing)} to the lists of modules in docs/reference"


@pytest.mark.parametrize("module", DOCUMENTED)
def test_every_documented_module_exists(module):
    assert importlib.util.find_spec(module) is not None


@pytest.mark.parametrize(
    ("page", "registry"),
    [("hardware", Hardware), ("models", Models), ("infrastructure", Infra), ("systems", Systems)],
)
def test_every_entry_is_on_its_catalog_page_with_a_source(page, registry):
    rows = {row.split("`")[1]: row for row in BUILT[f"catalog/{page}.md"].splitlines() if row.startswith("| `")}
    missing = [entry.id for entry in registry.list() if entry.id not in rows]
    bare = [name for name, row in rows.items() if "<a href=" not in row and "<span title=" not in row]
    assert not missing, f"not on docs/catalog/{page}.md: {missing}"
    assert not bare, f"without a source on docs/catalog/{page}.md: {bare}"


@pytest.mark.parametrize("wall", mlsysim.walls.all_walls(), ids=lambda wall: wall.name)
def test_every_wall_is_on_its_page_with_its_solvers(wall):
    section = BUILT["reference/walls.md"].split(f"### {wall.number}. {wall.name}\n")[1].split("\n##")[0]
    assert wall.equation in section
    assert all(f"`{name}`" in section for name in wall.resolvers)


def test_every_equation_is_on_the_cheat_sheet_with_a_source():
    listings = hook("listings")
    names = [equation.__name__ for equation in listings.equations()]
    assert not [name for name in names if f"**`{name}`**" not in BUILT["cheatsheet.md"]]
    assert not [name for name in names if f"`{name}`" not in BUILT["references.md"]]


def test_the_pages_are_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        if not page.startswith(("decisions/", "accuracy/")):  # records and tables that other pages lead to
            assert f": {page}\n" in navigation or f"- {page}\n" in navigation, f"{page} is not in the nav of mkdocs.yml"


@pytest.mark.parametrize("name", PAGES)
def test_relative_links_lead_to_a_page(name):
    prose = re.sub(r"^( *)```.*?^\1```", "", BUILT.get(name, PAGES[name]), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)", prose):
        path = (DOCS / name).parent.joinpath(target).resolve()
        assert path.exists() or path in MADE, f"{name} links to {target}"


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("tutorials/")])
def test_a_tutorial_asks_predicts_warns_and_answers(name):
    text = PAGES[name]
    for part in ('!!! note "Assumptions', "```pycon", "## Exercises", '??? success "Answer"'):
        assert part in text, f"{name} has no {part}"
    assert text.split("\n\n")[1].count("?") >= 1, f"{name} does not open with a question"


@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if "<!-- figure" in text])
def test_figures_are_drawn_and_small(name):
    drawn = re.findall(r"<svg.*?</svg>", BUILT[name], re.DOTALL)
    assert len(drawn) == PAGES[name].count("<!-- figure")
    assert all("nan" not in picture and "inf" not in picture and len(picture) < 60_000 for picture in drawn)


def test_every_subject_of_the_scoreboard_is_on_a_page():
    asked = []
    listings = hook("listings")
    listings.scoreboard = lambda *subjects: asked.extend(subjects)
    for name in (
        found for text in PAGES.values() for found in re.findall(r"<!-- list of (scoreboard[\w ]*) -->", text)
    ):
        listings.LISTS[name]()
    assert sorted(asked) == sorted(board.SUBJECTS)


def test_the_site_asks_no_other_host():
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in config
    assert not re.search(r"https?://", config)
    assert not re.search(r"<(?:script|link|img)[^>]*https?://", "\n".join(BUILT.values()))
