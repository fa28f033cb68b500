"""Books of deployments."""

import json

import pytest

from mlsysim import sim
from mlsysim.errors import MLSysimError, SLAViolation
from mlsysim.solvers.scenarios import Scenarios


def test_the_books_of_ten_million_doorbells_are_ten_million_times_one():
    ledger = sim.ResourceSimulation(Scenarios.SmartDoorbell, sim.Personas.TinyPioneer).evaluate(
        {"region": "Quebec", "duration_days": 365, "unit_price_usd": 5}
    )
    one = Scenarios.SmartDoorbell.evaluate(region="Quebec", costs={"unit_price_usd": 5})
    assert ledger.sustainability["carbon_t"] == pytest.approx(1e7 * one.metric("macro.carbon_footprint"))
    assert ledger.economics["tco_usd"] == pytest.approx(1e7 * one.metric("macro.tco"))
    assert ledger.performance["wanted_per_second"] == 1e7
    # microcontrollers that work alone do not stop each other, and no MTBF of theirs is known
    assert ledger.reliability == {}
    assert json.loads(json.dumps(ledger.to_dict()))["mission_name"] == "Smart doorbell"
    assert ledger.to_df().shape[0] == 1
    ledger.validate()


def test_clean_power_emits_less_and_twice_the_time_draws_twice():
    run = sim.ResourceSimulation("FrontierTraining", "cloud").evaluate
    clean, dirty = run({"region": "Quebec"}), run({"region": "Poland"})
    assert clean.sustainability["carbon_t"] < dirty.sustainability["carbon_t"] / 5
    long = run({"region": "Quebec", "duration_days": 730})
    assert long.sustainability["energy_mwh"] == pytest.approx(2 * clean.sustainability["energy_mwh"])
    assert 0.8 < clean.reliability["goodput"] < 1


def test_a_mission_that_misses_its_budget_does_not_validate():
    ledger = sim.ResourceSimulation("KeywordSpotting", "tiny").evaluate()
    with pytest.raises(SLAViolation, match="may draw 1 mW"):
        ledger.validate()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sim.Personas["clod"], "did you mean cloud"),
        (lambda: sim.ResourceSimulation("Dorbell", "tiny"), "did you mean"),
        (lambda: sim.ResourceSimulation(3, "tiny"), "expected a scenario"),
        (lambda: sim.ResourceSimulation("Doorbell", "tiny").evaluate({"regoin": "Quebec"}), "did you mean region"),
        (lambda: sim.ResourceSimulation("Doorbell", "tiny").evaluate({"region": "Atlantis"}), "Atlantis"),
        (lambda: sim.ResourceSimulation("Doorbell", "tiny").evaluate({"duration_days": -1}), "duration_days"),
    ],
)
def test_choices_that_make_no_sense_are_one_line(call, said):
    with pytest.raises(MLSysimError) as error:
        call()
    assert said in str(error.value)
