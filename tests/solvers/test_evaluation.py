"""Scorecards: levels that build on each other, regions that count, fleets that are split sensibly."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlsysim
from mlsysim import Engine, Hardware, Infra, Models, SystemEvaluator, Systems
from mlsysim.catalog.metrics import METRICS
from mlsysim.errors import InvalidInputError, MLSysimError, SLAViolation
from mlsysim.solvers import DistributedModel, EconomicsModel, ServingModel
from mlsysim.solvers.scenarios import Applications, Archetypes, Scenario, Scenarios, load_config

evaluate = SystemEvaluator.evaluate


def test_a_pass_on_one_device_is_the_answer_of_the_engine():
    card = evaluate("chat", Models.Llama3_8B, Hardware.H100, 32, "fp16", 0.45)
    alone = Engine.solve("Llama3_8B", "H100", 32, "fp16", 0.45)
    flat = card.to_dict()
    assert (flat["f_status"], flat["p_status"], flat["m_status"]) == ("PASS", "PASS", "SKIPPED")
    assert flat["p_latency"] == pytest.approx(alone.si.latency * 1e3)
    assert flat["f_memory_used_gb"] == pytest.approx(alone.si.memory_footprint / 1e9)
    assert card.passed_all
    assert len(card.scorecard().splitlines()) >= 6


def test_training_on_a_fleet_is_split_over_its_nodes_sensibly():
    # tensor-parallel ranks stay inside a node, where the specification used as many as there are nodes
    card = evaluate("train", "Llama3_70B", None, 256, fleet_obj=Systems.Clusters.Research_256, nodes=32)
    plan = card.settings["plan"]
    assert plan["tp_size"] <= 8
    assert card.feasibility.status == "PASS"
    same = DistributedModel().solve("Llama3_70B", "Research_256", 256, **plan)
    assert card.metric("performance.step_latency") == pytest.approx(same.si.step_latency_total * 1e3)
    given_plan = {"tp_size": 8, "pp_size": 4, "microbatch_count": 32, "activation_recomputation": "full"}
    slower = evaluate("train", "Llama3_70B", None, 256, fleet_obj="Research_256", nodes=32, plan=given_plan)
    assert slower.metric("performance.step_latency") >= card.metric("performance.step_latency")


def test_the_region_of_a_plan_counts():
    common = dict(fleet_obj="Research_256", nodes=32, duration_days=30)
    quebec, poland = (evaluate("t", "Llama3_70B", None, 256, region=r, **common) for r in ("Quebec", "Poland"))
    ratio = poland.metric("macro.carbon_operational") / quebec.metric("macro.carbon_operational")
    grids = [Infra.Grids[name].si for name in ("Poland", "Quebec")]
    # the same machines draw the same, so emissions go as intensity times PUE
    assert ratio == pytest.approx(grids[0].carbon_intensity * grids[0].pue / (grids[1].carbon_intensity * grids[1].pue))
    assert quebec.metric("macro.region") == Infra.Grids.Quebec.name


def test_costs_are_those_of_the_economics_of_the_fleet():
    card = evaluate("t", "Llama3_70B", None, 256, fleet_obj="Research_256", nodes=32, duration_days=30)
    money = card.answers["economics"]
    again = EconomicsModel().solve("Research_256", 30, utilisation=money.question.arguments["utilisation"])
    assert card.metric("macro.tco") == pytest.approx(again.si.tco_usd)
    assert card.metric("macro.tco") == pytest.approx(card.metric("macro.capex") + card.metric("macro.opex"))
    assert 0.9 < card.metric("macro.goodput") < 1
    some = evaluate("t", "Llama3_70B", None, 256, fleet_obj="Research_256", nodes=16, duration_days=30)
    assert some.metric("macro.capex") == pytest.approx(card.metric("macro.capex") / 2)
    assert any("16 of the 32 nodes" in note for note in some.notes)


def test_a_failed_level_never_shows_a_pass_above():
    card = evaluate("x", "GPT3", "H100", duration_days=30)
    assert [level.status for level in card.levels] == ["FAIL", "SKIPPED", "SKIPPED"]
    assert not card.passed_all
    late = evaluate("x", "Llama3_8B", "H100", duration_days=30, sla_latency="1 ms")
    assert [level.status for level in late.levels] == ["PASS", "FAIL", "SKIPPED"]
    fleet = evaluate("x", "Llama3_405B", None, 64, fleet_obj="Research_256", nodes=1, duration_days=30)
    assert [level.status for level in fleet.levels] == ["FAIL", "SKIPPED", "SKIPPED"]


@settings(max_examples=25, deadline=None)
@given(
    model=st.sampled_from(["Llama3_8B", "Llama3_70B", "ResNet50", "WakeVision"]),
    device=st.sampled_from(["H100", "A100", "ESP32_S3", "JetsonOrinNX", "iPhone15Pro"]),
    batch=st.integers(1, 512),
    goal=st.floats(1e-4, 10.0),
    days=st.one_of(st.none(), st.floats(1.0, 400.0)),
)
def test_levels_build_on_each_other_whatever_is_asked(model, device, batch, goal, days):
    card = evaluate("any", model, device, batch, sla_latency=f"{goal} s", duration_days=days)
    order = {"PASS": 0, "UNKNOWN": 1, "FAIL": 2, "SKIPPED": 3}
    f, p, m = (order[level.status] for level in card.levels)
    assert f <= p or f == 2
    assert not (f >= 2 and p == 0)
    assert not (p >= 1 and m == 0)
    assert set(card.metrics()) <= set(METRICS)
    json.dumps(card.to_dict(), allow_nan=False)
    assert len(card.rows()) == len(card.metrics())


def test_serving_fills_a_fleet_with_replicas():
    card = evaluate("s", "Llama3_70B", None, 8, fleet_obj="Research_256", job="serving", plan={"tp_size": 8})
    one = ServingModel().solve("Llama3_70B", Systems.Nodes.DGX_H100, 2048, 8, tp_size=8)
    assert card.metric("performance.ttft") == pytest.approx(one.si.ttft * 1e3)
    assert card.metric("performance.tokens_per_second") == pytest.approx(32 * one.si.tokens_per_sec)


def test_a_missing_price_is_said_and_the_rest_stands():
    card = evaluate("d", "WakeVision", "Apollo4", precision="int8", duration_days=365)
    assert card.macro.status == "UNKNOWN"
    assert card.metric("macro.tco") is None
    assert card.metric("macro.carbon_footprint") > 0
    assert any("no price" in note for note in card.notes)
    priced = evaluate("d", "WakeVision", "Apollo4", precision="int8", duration_days=365, costs={"unit_price_usd": 5})
    assert priced.metric("macro.capex") == pytest.approx(5 / 3)  # a third of a life of three years
    assert priced.metric("macro.pue") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("x", "Llama3_8", "H100"), "did you mean"),
        (("x", "Llama3_8B", "H1000"), "did you mean"),
        (("x", "Llama3_8B"), "hardware_obj"),
        (("x", "Llama3_8B", "H100", -3), "batch_size"),
        (("x", "Llama3_8B", "H100", float("nan")), "batch_size"),
        (("x", "Llama3_8B", "H100", [1, 2]), "sweep"),
        (("x", "Llama3_8B", "H100", 1, "fp61"), "no number format"),
        (("x", "Llama3_8B", "H100", 1, "fp16", float("inf")), "efficiency"),
        (("x", "Llama3_8B", "H100", 1, "fp16", 0.5, "H100"), "no system entry named 'H100'"),
        (("x", "Llama3_8B", "A100", 1, "fp16", 0.5, "Research_256"), "Research_256 holds H100, not A100"),
        (("x", "Llama3_8B", None, 256, "fp16", 0.5, "Research_256", 0), "nodes"),
        (("x", "Llama3_8B", None, 256, "fp16", 0.5, "Research_256", 33), "32 nodes"),
        (("x", "Llama3_8B", "H100", 1, "fp16", 0.5, None, 1, -3), "duration_days"),
    ],
)
def test_input_that_makes_no_sense_is_one_line(arguments, said):
    with pytest.raises(MLSysimError) as error:
        evaluate(*arguments)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"job": "trainig"}, "did you mean training"),
        ({"sla_latency": "3 GB"}, "sla_latency"),
        ({"region": "Atlantis", "duration_days": 3}, "Atlantis"),
        ({"plan": {"tp_sise": 2}}, "tp_sise"),
    ],
)
def test_options_that_make_no_sense_are_one_line(more, said):
    with pytest.raises(MLSysimError) as error:
        evaluate("x", "Llama3_8B", "H100", **more)
    assert said in str(error.value)


# -- missions --------------------------------------------------------------------------------------------------


def test_the_nine_missions_and_their_other_names():
    assert len(Scenarios) == 9
    assert mlsysim.Scenarios.SmartDoorbell is Applications.Doorbell is Archetypes.TinyML_M7
    assert Applications.Frontier is Scenarios["frontier-training"]
    assert len(Applications) == 6 == len(Archetypes)
    with pytest.raises(MLSysimError, match="did you mean Doorbell"):
        Applications["Dorbell"]


def test_a_mission_of_ones_own():
    mine = Scenario(name="mine", workload=Models.ResNet50, system=Hardware.A100, sla_latency="2 ms", description="sort")
    assert mine.evaluate(duration_days=None).passed_all
    assert (mine.mission_goal, mine.critical_constraint) == ("sort", "latency at most 2 ms")
    assert mine.validate()["status"] == "PASS"
    assert mine.hardware is Hardware.A100
    assert mine.ram == Hardware.A100.memory_capacity
    strict = Scenario(name="strict", workload="ResNet50", system="A100", sla_latency="0.1 ms")
    with pytest.raises(SLAViolation, match="misses"):
        strict.validate()
    big = Scenario(name="big", workload="GPT3", system="H100")
    with pytest.raises(MemoryError, match="does not fit"):
        big.validate()
    for wrong in ({"job": "sereving"}, {"system": "H1000"}, {"sla_latency": "3 GB"}, {"sla_latency": "-3 ms"}):
        with pytest.raises(MLSysimError):
            Scenario(**{"name": "w", "workload": "ResNet50", "system": "A100", **wrong})


def test_unknown_storage_is_unknown_not_a_stall():
    card = Scenarios.AutonomousVehicle_Waymo.evaluate()
    assert card.feasibility.status == "UNKNOWN"
    assert "storage bandwidth of JetsonOrinNX" in card.feasibility.summary
    assert card.performance.status != "PASS"


def test_the_power_budget_of_a_mission_is_checked():
    card = Scenarios.KeywordSpotting.evaluate(duration_days=None)
    energy = card.metric("performance.energy_per_inference")
    assert card.metric("performance.power") == pytest.approx(2 * energy)  # two passes a second, asleep in between
    assert card.performance.status == "FAIL"
    assert "may draw 1 mW" in card.performance.summary


def test_configurations_are_checked_all_at_once():
    config = load_config({"model": "Llama3_8B", "hardware": "H100"})
    assert (config.batch_size, config.efficiency, config.region) == (1, 0.5, "US_Avg")
    assert mlsysim.evaluate_config(config).passed_all
    eight = mlsysim.evaluate_config({"model": "Llama3_8B", "hardware": "H100", "fleet_size": 16, "region": "Quebec"})
    assert eight.metric("macro.fleet_size") == 16
    assert mlsysim.evaluate_config({"model": "GPT3", "hardware": "H100"}).feasibility.status == "FAIL"
    with pytest.raises(InvalidInputError) as error:
        load_config({"model": "Llama3_8", "hardware": "H100", "batch_size": -4, "efficiency": 7, "fabrik": "x"})
    for part in ("no model entry", "batch_size", "efficiency", "did you mean fabric"):
        assert part in str(error.value)
