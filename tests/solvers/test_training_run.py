"""Whole runs, timelines, plans and steps after pre-training."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import PostTrainingModel, TrainingRunModel, TrainingStepModel
from mlsysim.errors import InvalidInputError, InvalidPlanError, MLSysimError
from mlsysim.physics import pipeline, reliability
from mlsysim.solvers.timeline import schedule, timeline
from mlsysim.solvers.training_run import simulated_runs
from mlsysim.solvers.training_search import best_plans

RUN, STEP, POST = TrainingRunModel(), TrainingStepModel(), PostTrainingModel()
PLAN = dict(seq_len=8192, zero_stage=1, tp_size=2, activation_recomputation="full")


def run(**change):
    asked = (
        dict(model="Llama3_8B", fleet="Research_256", tokens=1e12, batch_size=512, datacenter="US_Avg") | PLAN | change
    )
    return RUN.solve(**asked)


@settings(max_examples=10, deadline=None)
@given(segment=st.floats(600, 7200), dump=st.floats(1, 120), mtbf=st.floats(2e4, 1e6), recovery=st.floats(0, 1800))
def test_simulated_runs_agree_with_the_closed_form(segment, dump, mtbf, recovery):
    times = simulated_runs(5e6, segment, dump, mtbf, recovery, runs=2000, seed=1)
    expected = 5e6 / reliability.goodput(segment, dump, mtbf, recovery)
    error = times.std() / np.sqrt(len(times))
    assert times.mean() == pytest.approx(expected, abs=6 * error + 0.002 * expected)


def test_a_run_is_its_steps_over_its_goodput():
    answer = run()
    i = answer.si
    assert i.productive_time == pytest.approx(np.ceil(1e12 / (512 * 8192)) * i.step_time)
    assert i.calendar_time == pytest.approx(i.productive_time / i.goodput)
    assert i.earliest < i.median < i.latest
    assert i.productive_time < i.earliest
    assert answer.step.si.step_latency_total == i.step_time


def test_tokens_that_are_best_for_the_compute_are_twenty_a_parameter():
    answer = run(tokens=20 * 8.03e9)  # Hoffmann et al., arXiv:2203.15556, table 3: about 20 tokens a parameter
    assert answer.tokens_per_parameter_ratio == pytest.approx(1.0, rel=0.01)


def test_failures_stretch_a_run_and_the_same_seed_gives_the_same_end():
    calm, rough = run(mtbf="1000 day"), run(mtbf="2 hour")
    assert rough.goodput < calm.goodput
    assert rough.si.latest - rough.si.earliest > calm.si.latest - calm.si.earliest
    assert run(mtbf="2 hour").si.median == rough.si.median


def test_a_slow_store_of_data_sets_the_pace():
    answer = run(loading_bandwidth="1 MB/s")
    assert answer.si.step_time == pytest.approx(512 * 8192 * 4 / 1e6)
    assert any("reading the training data" in note for note in answer.notes)


def test_a_textbook_efficiency_can_stand_in():
    answer = RUN.solve("Llama3_8B", "Research_256", 1e12, 512, efficiency=0.4, datacenter="US_Avg", tp_size=2, seq_len=8192,
                       zero_stage=1, activation_recomputation="full")  # fmt: skip
    assert answer.goodput > 0.9


@pytest.mark.parametrize(
    "change", [{"tokens": -1}, {"tokens": "many"}, {"mtbf": "5 GB"}, {"runs": 0}, {"checkpoint_bandwidth": 3}]
)
def test_hostile_runs_are_one_clear_line(change):
    with pytest.raises(MLSysimError) as fault:
        run(**change)
    assert next(iter(change)) in str(fault.value)
    assert "\n" not in str(fault.value)


@settings(max_examples=40, deadline=None)
@given(stages=st.integers(1, 8), groups=st.integers(1, 4), chunks=st.integers(1, 4), backward=st.floats(0.5, 4))
def test_a_played_schedule_is_as_long_as_the_formula(stages, groups, chunks, backward):
    chunks = chunks if stages > 1 else 1
    steps = stages * groups
    events = schedule(stages, steps, chunks, 1.0, backward)
    whole = 1.0 + backward
    assert max(event.end for event in events) == pytest.approx(
        steps * whole + pipeline.bubble_time(whole, stages, chunks)
    )
    for stage in range(stages):  # nobody does two things at once
        mine = sorted((e for e in events if e.rank == stage), key=lambda e: e.start)
        assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(mine))
        assert sum(e.duration for e in mine) == pytest.approx(steps * whole)


@pytest.mark.parametrize("plan", [dict(pp_size=8, tp_size=8, v_stages=2), dict(pp_size=4, tp_size=8), dict(tp_size=8, zero_stage=3),
                                  dict(tp_size=8, pp_size=4, schedule="gpipe"), dict(tp_size=8, pp_size=4, schedule="zero-bubble"),
                                  dict(tp_size=8, pp_size=4, schedule="dualpipe"), dict(tp_size=8, pp_size=4, straggler_factor=1.1)])  # fmt: skip
def test_a_timeline_is_as_long_as_the_step(plan, tmp_path):
    step = STEP.solve("Llama3_70B", "Research_256", 256, activation_recomputation="full", **plan)
    drawn = timeline(step)
    assert drawn.length == pytest.approx(step.si.step_latency_total, rel=1e-9)
    drawn.write(tmp_path / "step.json")
    events = json.loads((tmp_path / "step.json").read_text())["traceEvents"]
    longest = max(event["ts"] + event["dur"] for event in events if event["ph"] == "X")
    assert longest == pytest.approx(step.si.step_latency_total * 1e6)
    assert drawn.busy(0) <= drawn.length


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(InvalidInputError, match="sweep"):
        timeline(STEP.solve("Llama3_8B", "Research_256", np.array([256.0, 512.0])))


def test_the_best_plan_fits_and_is_the_fastest_of_those_tried():
    found = best_plans("Llama3_8B", "DGX_H100", 64, 8192)
    times = [plan["step"] for plan in found.plans]
    assert times == sorted(times)
    best = found.plans[0]
    again = STEP.solve("Llama3_8B", "DGX_H100", 64, best["microbatch"], "bf16", best["tp"], best["pp"], best["ep"], best["cp"],
                       best["chunks"], best["zero"], best["recompute"], 8192, schedule=best["schedule"], offload=best["offload"])  # fmt: skip
    assert again.feasible
    assert again.si.step_latency_total == pytest.approx(best["step"])
    assert not best_plans("Llama3_405B", "DGX_H100", 8).plans


def test_schedules_are_searched_and_the_next_plan_is_named():
    found = best_plans("Llama3_70B", "Research_256", 128, top=400)
    assert {plan["schedule"] for plan in found.plans} == {"1f1b", "interleaved", "zero-bubble", "dualpipe"}
    assert found.why[0].startswith("the next plan takes")
    for name in ("1f1b", "interleaved", "zero-bubble"):
        fixed = best_plans("Llama3_70B", "Research_256", 128, schedule=name, top=1).plans[0]
        assert fixed["step"] >= found.plans[0]["step"]
        assert fixed["schedule"] == name or fixed["pp"] == 1


def test_rollouts_take_most_of_a_step_of_grpo():
    answer = POST.solve("Llama3_8B", "DGX_H100", prompts=64, activation_recomputation="full", zero_stage=3)
    i = answer.si
    assert answer.bottleneck == "Rollout"
    assert i.iteration_latency == pytest.approx(i.rollout + i.learning_latency + i.weight_transfer)
    assert i.sequences == 64 * 8


def test_two_fleets_go_at_the_pace_of_the_slower():
    answer = POST.solve("Llama3_8B", "Research_256", prompts=1024, placement="disaggregated", activation_recomputation="full",
                        zero_stage=3)  # fmt: skip
    i = answer.si
    assert i.iteration_latency == pytest.approx(max(i.rollout, i.learning_latency) + i.weight_transfer)
    assert i.rollout_chips + i.training_chips == 256
    with pytest.raises(InvalidPlanError, match="rollout_share"):
        POST.solve("Llama3_8B", "Research_256", placement="disaggregated", rollout_share=1.0)


def test_preferences_cost_a_reference_and_two_answers():
    plan = dict(prompts=64, activation_recomputation="full", zero_stage=3)
    tuned, preferred, critic = (POST.solve("Llama3_8B", "DGX_H100", how, **plan).si for how in ("sft", "dpo", "ppo"))
    assert preferred.iteration_latency > 2 * tuned.iteration_latency
    assert 0.15 < preferred.reference / preferred.update_latency < 0.4
    assert critic.rollout > 0
    assert tuned.rollout == 0


@pytest.mark.parametrize(
    "change", [{"method": "rlhf"}, {"prompts": 0}, {"placement": "here"}, {"rollout_share": 2}, {"seq_len": 100}]
)
def test_hostile_steps_are_one_clear_line(change):
    with pytest.raises(MLSysimError) as fault:
        POST.solve("Llama3_8B", "DGX_H100", **change)
    assert next(iter(change)) in str(fault.value)
    assert "\n" not in str(fault.value)
