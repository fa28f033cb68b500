"""The labs run from top to bottom, say what the library says, and follow their controls."""

import importlib.util
import runpy
import sys
from pathlib import Path

import pytest

import mlsysim
from mlsysim import learn

FOLDER = Path(__file__).parents[2] / "labs"
LABS = sorted(FOLDER.glob("*.py"))

pytest.importorskip("marimo", reason="the extra labs is not installed")
pytest.importorskip("plotly", reason="the extra labs is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def run(name):
    spec = importlib.util.spec_from_file_location(f"lab_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    _, names = module.app.run()
    return names


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_a_lab_runs_as_a_script(path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_a_lab_begins_with_an_exercise_of_the_library(path):
    names = run(path.stem)
    assert names["task"].name in {item.name for item in learn.exercises()}
    assert names["verdict"] is None


def test_the_labs_say_what_the_library_says():
    roofline = run("roofline")
    assert roofline["answer"].latency == mlsysim.Engine.solve("Llama3_8B", "H100").latency
    serving = run("serving")
    assert serving["answers"]["H100"].itl == mlsysim.ServingModel().solve("Llama3_8B", "H100", 2048, 8).itl
    assert [row["device"] for row in serving["rows"]] == ["A100", "H100", "H200"]
    fleet = run("fleet")
    assert fleet["answer"].feasible
    assert fleet["best"].best_mfu >= fleet["answer"].mfu
    carbon = run("carbon")
    by_grid = {row["grid"]: row["carbon [t]"] for row in carbon["rows"]}
    assert by_grid["Quebec"] == min(by_grid.values())
    assert by_grid["Poland"] == max(by_grid.values())
