"""The examples run, and show what they say."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
ARGUMENTS = {"sweep_and_select", "multi_objective_pareto"}


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.py")), ids=lambda p: p.stem)
def test_the_example_runs(script, tmp_path):
    arguments = [str(tmp_path)] if script.stem in ARGUMENTS else []
    command = [sys.executable, "-W", "error", str(script), *arguments]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert out.returncode == 0, out.stderr[-2000:]
    assert out.stdout.strip()
    if arguments:
        assert [p.read_bytes()[:8] for p in tmp_path.glob("*.png")] == [b"\x89PNG\r\n\x1a\n"]


def test_the_design_loop_ends_when_nothing_is_missed():
    out = subprocess.run(
        [sys.executable, str(FOLDER / "design_loop.py")], capture_output=True, text=True, timeout=120, check=True
    )
    lines = out.stdout.splitlines()
    assert lines[-1].endswith("missed: nothing")
    assert all("missed: nothing" not in line for line in lines[:-1])
