"""The release kit: one version everywhere, and a check that notices what is wrong."""

import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mlsysim
from mlsysim.catalog import yaml_file

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("check_release", ROOT / "scripts" / "check_release.py")
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)


def test_the_sources_agree_on_the_version_and_a_difference_is_noticed():
    assert check.version() == mlsysim.__version__
    assert check.sources(mlsysim.__version__) == []
    assert len(check.sources("9.9.9")) == 2


def test_the_citation_file_has_what_its_format_requires():
    citation = yaml_file.read(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["license"] in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_a_damaged_package_is_noticed(tmp_path):
    assert "expected one wheel" in check.packages(tmp_path, "1.0.0")[0]
    with zipfile.ZipFile(tmp_path / "mlsysim-1.0.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("mlsysim-1.0.0.dist-info/METADATA", "Name: mlsysim\nVersion: 1.0.0\n\nnothing")
        wheel.writestr("tests/test_odd.py", "")
    import tarfile

    with tarfile.open(tmp_path / "mlsysim-1.0.0.tar.gz", "w:gz") as archive:
        archive.add(ROOT / "README.md", "mlsysim-1.0.0/notes.md")
    told = "; ".join(check.packages(tmp_path, "1.0.0"))
    for part in (
        "lacks mlsysim/py.typed",
        "should not hold tests/test_odd.py",
        "lack License-Expression",
        "should not hold notes.md",
    ):
        assert part in told


@pytest.mark.parametrize("page", ["editor.md", "release.md"])
def test_the_commands_of_a_page_run(page, tmp_path):
    text = (ROOT / "docs" / "howto" / page).read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert lines
    for line in lines:
        run = [sys.executable, "-m", *line.split()]
        out = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert out.returncode == 0, (line, out.stderr[-500:])
