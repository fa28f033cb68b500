"""The arrows of the design: which package may import which, and that importing does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "mlsysim"
ORDER = [
    "errors",
    "units",
    "record",
    "physics",
    "catalog",
    "workloads",
    "machine",
    "solvers",
    "search",
    "validation",
    "report",
    "learn",
    "cli",
    "web",
]
LEVEL = {name: level for level, name in enumerate(ORDER)} | {"fmt": 10, "show": 10, "__init__": 99, "__main__": 99}
SAME = {"errors", "units"}


def imports_of(path):
    here = path.relative_to(SRC).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = list(here[: len(here) - node.level])
            target = base + (node.module.split(".") if node.module else [])
            yield from [target[0]] if target else [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mlsysim."):
            yield node.module.split(".")[1]


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_point_one_way(path):
    owner = path.relative_to(SRC).with_suffix("").parts[0]
    if owner == "__init__":
        return
    for target in imports_of(path):
        if target in LEVEL:
            assert LEVEL[target] <= LEVEL[owner], f"{path.name} of {owner} imports {target}"


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_modules_stay_small(path):
    assert len(path.read_text().splitlines()) <= 450


def test_importing_loads_nothing_heavy():
    code = "import sys, mlsysim; print([m for m in ('pint', 'yaml', 'pydantic', 'typer', 'rich', 'numpy') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_help_does_not_read_the_catalog():
    code = "import sys; sys.argv = ['mlsysim', '--help']\nfrom mlsysim.cli import main\ntry:\n    main()\nexcept SystemExit:\n    print([m for m in ('pint', 'numpy', 'mlsysim.catalog') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip().endswith("[]")
