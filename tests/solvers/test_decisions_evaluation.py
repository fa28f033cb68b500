"""The column "here" of docs/decisions/0009, computed."""

from pathlib import Path

import pytest

import mlsysim
from mlsysim import DifferentialExplainer, Engine, Scenarios, sim
from mlsysim.catalog.plans import Plan

PAGE = Path(__file__).parents[2] / "docs" / "decisions" / "0009-evaluation-and-plans.md"
ROWS = [
    [cell.strip() for cell in line.strip("|\n ").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("|")
]
HERE = [(row[0], row[2]) for row in ROWS[2:]]


def mission(name):
    return Scenarios[name].evaluate(duration_days=365)


def latency(name, metric="latency", places=2):
    return f"{mission(name).metric(f'performance.{metric}'):.{places}f} ms"


def books():
    return sim.ResourceSimulation("Doorbell", "tiny").evaluate({"region": "Quebec", "unit_price_usd": 5})


def seventy_billion():
    plan = Plan.read(PAGE.parents[2] / "examples" / "plans" / "llama3_70b_training.yaml")
    return str(mlsysim.evaluate_plan(plan).settings["plan"]["tp_size"])


def ratio(*models):
    chips = ("A100", "H100") if len(models) == 1 else ("H100", "H100")
    answers = [Engine.solve(m, c) for m, c in zip((models[0], models[-1]), chips, strict=True)]
    return DifferentialExplainer.compare_performance(*answers)


COMPUTED = [
    lambda: latency("SmartDoorbell"),
    lambda: f"{mission('SmartDoorbell').metric('macro.tco'):.2f} USD",
    lambda: latency("TinySensor"),
    lambda: latency("AutonomousVehicle"),
    lambda: mission("AutonomousVehicle_Waymo").feasibility.status,
    lambda: latency("MobileHealth"),
    lambda: f"a step of {mission('LocalTraining').metric('performance.step_latency') / 1e3:.2f} s",
    lambda: mission("FrontierTraining").feasibility.status,
    lambda: latency("ChatbotServing", "ttft"),
    lambda: f"{mission('KeywordSpotting').metric('performance.power') * 1e3:.2f} mW, over 1 mW",
    lambda: f"{books().economics['tco_usd'] / 1e6:.1f} MUSD",
    lambda: f"{books().sustainability['carbon_t']:,.0f} t",
    lambda: str(books().reliability.get("goodput", "none")),
    seventy_billion,
    lambda: f"{ratio('Llama3_8B').speedup:.2f}x",
    lambda: ratio("Llama3_70B", "Llama3_8B").factors[0].name,
    lambda: mlsysim.evaluate_config({"model": "GPT3", "hardware": "H100"}).feasibility.status,
]


@pytest.mark.parametrize(("row", "computed"), list(zip(HERE, COMPUTED, strict=True)), ids=[row[0] for row in HERE])
def test_the_page_says_what_is_computed(row, computed):
    assert computed() == row[1]


def test_ten_million_doorbells_by_hand():
    # 5 kg of manufacture over a life of three years, one of which is charged; 2.79 mJ a frame, a frame a second
    ledger = books()
    made = 1e7 * 5.0 / 3 / 1e3
    assert ledger.sustainability["carbon_t"] == pytest.approx(made + 7.3, rel=1e-3)
    assert ledger.sustainability["energy_mwh"] == pytest.approx(1e7 * 2.789e-3 * 365 * 86400 / 3.6e9, rel=1e-3)
