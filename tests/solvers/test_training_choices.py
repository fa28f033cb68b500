"""Choices of a training job: schedules, contexts, recomputation, offloading, formats, stragglers; whole runs against money."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import DistributedModel, Hardware, Systems, TrainingRunModel, TrainingStepModel
from mlsysim.errors import InvalidInputError, InvalidPlanError, MLSysimError
from mlsysim.physics import pipeline
from mlsysim.solvers.training_budget import ranked_runs
from mlsysim.solvers.training_offload import host_of, link_of

STEP, RUN, FLEET = TrainingStepModel(), TrainingRunModel(), DistributedModel()
CLUSTER = Systems.Clusters.Research_256


def step(**change):
    asked = dict(model="Llama3_70B", fleet=CLUSTER, batch_size=256, tp_size=8, pp_size=4, seq_len=4096) | change
    return STEP.solve(**asked)


def run(**change):
    asked = dict(model="Llama3_8B", fleet=CLUSTER, tokens=1e12, batch_size=512, seq_len=8192, zero_stage=1, tp_size=2,
                 activation_recomputation="full", datacenter="US_Avg") | change  # fmt: skip
    return RUN.solve(**asked)


@given(stages=st.integers(1, 16).map(lambda n: 2.0 * n), forward=st.floats(0.1, 10), share=st.floats(0.3, 0.7))
def test_bubbles_of_deepseek_v3_table_2_are_in_its_order(stages, forward, share):
    backward = 2 * forward
    weights = share * backward
    plain = pipeline.bubble_time(forward + backward, stages)
    zero = pipeline.zero_bubble_time(forward, backward - weights, weights, stages)
    dual = pipeline.dualpipe_bubble_time(forward + backward, backward, weights, stages)
    assert zero == pytest.approx((stages - 1) * max(forward + backward - 2 * weights, 0))
    assert dual <= zero + 1e-9 * plain or share > 0.5
    assert zero <= plain
    assert dual <= plain


def test_dualpipe_keeps_weights_twice_and_waits_least():
    plain, zero, dual = (step(schedule=name).si for name in ("1f1b", "zero-bubble", "dualpipe"))
    assert dual.pipeline_bubble_latency < zero.pipeline_bubble_latency < plain.pipeline_bubble_latency
    assert dual.weights == pytest.approx(2 * plain.weights)
    assert dual.activations == pytest.approx(plain.activations * 5 / 4, rel=1e-6)  # p + 1 micro-batches for p


def test_dualpipe_textbook_plan_and_nearest_ones():
    plan = dict(batch_size=256, tp_size=8, pp_size=4, microbatch_count=32)
    plain = FLEET.solve("Llama3_70B", CLUSTER, **plan)
    dual = FLEET.solve("Llama3_70B", CLUSTER, schedule="dualpipe", **plan)
    assert dual.si.pipeline_bubble_latency == pytest.approx(plain.si.pipeline_bubble_latency * (2 / 3) / 3)
    assert dual.bubble_fraction < plain.bubble_fraction
    with pytest.raises(InvalidPlanError, match="try 4 stages and 8 micro-batches"):
        FLEET.solve("Llama3_70B", CLUSTER, schedule="dualpipe", **plan | {"microbatch_count": 4})


def test_context_ranks_hide_the_ring_only():
    kinds = {name: step(cp_size=2, pp_size=1, seq_len=8192, context_parallel=name).si for name in ("ring", "all_gather", "ulysses")}  # fmt: skip
    times = {name: i.cp_communication_latency for name, i in kinds.items()}
    assert times["ring"] < times["all_gather"]
    assert len({float(i.memory_per_device) for i in kinds.values()}) == 1
    near = step(cp_size=2, pp_size=1, tp_size=4, seq_len=8192, context_parallel="all_gather").si
    assert near.cp_communication_latency < times["all_gather"]  # inside a node


def test_heads_that_do_not_divide_over_contexts_name_those_that_do():
    with pytest.raises(
        InvalidPlanError, match=r"64 heads do not divide.*try 4, 8 or 16|64 heads do not divide.*try .*8"
    ):
        step(cp_size=16, pp_size=1, tp_size=8, batch_size=256, seq_len=16384, context_parallel="ulysses")


@given(layers=st.integers(1, 20), ranks=st.sampled_from([1, 4]))
@settings(max_examples=12, deadline=None)
def test_activations_on_the_host_leave_the_device_and_cross_its_link(layers, ranks):
    here, there = step(pp_size=ranks), step(pp_size=ranks, offload_layers=layers)
    assert there.si.activations <= here.si.activations
    assert there.si.step_latency_total >= here.si.step_latency_total
    # two layers in flight stay; all others are on one side or the other
    both = there.si.activations + there.si.optimizer_on_host
    assert here.si.activations * (1 - 1e-9) <= both <= here.si.activations * (1 + 2 / 80 + 1e-9)
    assert any("host" in limit.resource for limit in there.limits)


def test_a_slow_link_to_the_host_is_waited_for():
    node = Systems.Nodes.DGX_H100
    slow = node.replace(accelerator=node.accelerator.replace(host_bandwidth="1 GB/s"))
    plan = dict(fleet=node, batch_size=8, tp_size=8, pp_size=1, offload_layers=80)
    fast, waits = step(**plan).si, step(**plan | {"fleet": slow}).si
    moved = waits.optimizer_on_host  # of the one micro-batch in flight: down once and up once
    assert waits.step_latency_total - fast.step_latency_total > 0.5 * moved / 1e9 * 8
    with pytest.raises(MLSysimError, match="host_bandwidth"):
        link_of(Hardware["TPUv5p"])


def test_frozen_layers_keep_no_inputs_of_products():
    asked = dict(stack="nemo", lora_rank=16)  # a stack whose adapters drop nothing out
    rows = {name: step(**asked, adapted=name).si.activations for name in ("qkv", "attention", "all")}
    assert rows["qkv"] == rows["attention"] < rows["all"] == step(stack="nemo").si.activations


def test_inputs_in_a_narrow_format_take_less_memory():
    kept = [step(precision=name).si.activations for name in ("bf16", "fp8", "nvfp4")]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[2] > 0.5 * kept[0]  # norms, attention and what activation functions read stay in 16 bits


def test_recomputing_some_layers_lies_between_none_and_all():
    none, full = step(), step(activation_recomputation="full")
    some = [step(activation_recomputation="full", recompute_layers=n).si for n in (5, 10, 20)]
    times = [none.si.step_latency_total, *(i.step_latency_total for i in some)]
    memories = [none.si.activations, *(i.activations for i in some)]
    assert times == sorted(times)
    assert memories == sorted(memories, reverse=True)
    assert some[-1].step_latency_total == pytest.approx(full.si.step_latency_total)
    assert some[-1].activations == pytest.approx(full.si.activations)


def test_offloaded_states_leave_the_chip_and_cross_the_link():
    here, there, drives = (step(offload=place, zero_stage=1) for place in ("none", "cpu", "nvme"))
    assert there.si.optimizer_state == 0
    assert there.si.optimizer_on_host == pytest.approx(here.si.optimizer_state)
    parameters = here.si.optimizer_state / 12
    assert there.si.update_latency >= parameters * 4 / 64e9  # gradients down, weights up, over PCIe 5.0
    assert drives.si.update_latency > there.si.update_latency
    assert here.si.update_latency < there.si.update_latency


def test_a_host_too_small_for_the_states_does_not_fit():
    node = Systems.Nodes.DGX_H100
    asked = dict(fleet=node, batch_size=8, pp_size=1, activation_recomputation="full", offload="cpu")
    good, small = step(**asked), step(**asked | {"fleet": node.replace(host_memory="512 GB")})
    assert good.feasible
    assert not small.feasible
    assert [limit.resource for limit in small.limits][1].startswith("states on the host")
    assert small.si.host_capacity == 64e9


def test_an_offloaded_update_goes_at_the_pace_of_its_slowest_stream():
    node = Systems.Nodes.DGX_H100
    host = host_of(node, node.accelerator, "nvme", "none", 12.0, 2.0)
    touched, drives, link = 28 * 8 / 300e9, 24 * 8 / 50e9, 2 / 64e9
    assert host.update(1e9, 0.0, 9.0) == pytest.approx(1e9 * (link + max(touched, drives, link)))
    assert host.update(1e9, 9.0, 9.0) == pytest.approx(1e9 * max(touched, drives, link))  # gradients hid behind a pass
    late = host_of(node, node.accelerator, "nvme", "none", 12.0, 2.0, delayed=True)
    assert late.update(1e9, 9.0, 9.0) == 0


@given(window=st.floats(0, 2), more=st.floats(0, 2))
def test_more_work_to_hide_behind_never_slows_an_update(window, more):
    node = Systems.Nodes.DGX_H100
    for delayed in (False, True):
        host = host_of(node, node.accelerator, "cpu", "none", 12.0, 2.0, delayed)
        short, long = host.update(1e9, window, 3 * window), host.update(1e9, window + more, 3 * (window + more))
        assert long <= short * (1 + 1e-12)


def test_weights_on_the_host_cost_their_bytes_for_every_use():
    plan = dict(
        tp_size=1, pp_size=1, zero_stage=3, activation_recomputation="full", fleet=Systems.Nodes.DGX_H100, batch_size=8
    )
    here, there, drives = (step(offload_param=place, **plan).si for place in ("none", "cpu", "nvme"))
    assert there.dp_communication_latency >= here.dp_communication_latency
    assert drives.step_latency_total > there.step_latency_total
    shard = 70e9 * 2 / 8  # bytes of a rank, once forward and once backward; eight devices share 50 GB/s of drives
    assert drives.step_latency_total > 2 * shard / (50e9 / 8)
    assert there.optimizer_on_host == pytest.approx(shard, rel=0.02)
    with pytest.raises(InvalidPlanError, match=r"offload_param.*zero_stage 3"):
        step(offload_param="cpu", zero_stage=1)


def test_wide_formats_are_slower_and_say_that_nothing_was_measured():
    half, single = step(), step(precision="fp32")
    assert single.si.step_latency_total > 5 * half.si.step_latency_total  # 67 against 989 TFLOP/s
    assert single.si.activations == pytest.approx(2 * half.si.activations)
    assert any("no such products were measured" in note for note in single.notes)
    assert single.mfu <= 1


def test_padding_and_stragglers():
    base, padded, slow = step().si, step(padding_share=0.25).si, step(straggler_factor=1.2).si
    assert padded.step_latency_total == base.step_latency_total
    assert padded.mfu == pytest.approx(0.75 * base.mfu)
    assert padded.useful_tokens_per_second == pytest.approx(0.75 * base.tokens_per_second)
    assert slow.step_latency_total == pytest.approx(1.2 * base.step_latency_total)
    assert run(padding_share=0.25).si.steps == pytest.approx(run().si.steps / 0.75, rel=1e-3)


def test_smaller_optimizers_move_less():
    times = [step(optimizer=name).si.update_latency for name in ("sgd", "adamw8bit", "muon", "adam")]
    assert times == sorted(times)


@pytest.mark.parametrize(
    "change", [{"precision": "int8"}, {"context_parallel": "tree"}, {"offload": "disk"}, {"padding_share": 1.5}, {"straggler_factor": 0.5},
               {"recompute_layers": -1}, {"padding_share": "a lot"}]
)  # fmt: skip
def test_hostile_choices_are_one_clear_line(change):
    with pytest.raises(MLSysimError) as fault:
        step(**change)
    assert next(iter(change)) in str(fault.value)
    assert "\n" not in str(fault.value)


def test_remedies_fit_and_there_are_none_where_nothing_is_wrong():
    assert step().remedies == []
    crowded = STEP.solve("Llama3_8B", "DGX_H100", 64, zero_stage=0)
    assert not crowded.feasible
    assert crowded.remedies
    for line in crowded.remedies:
        gigabytes = float(line.split(": ")[1].split(" GB")[0])
        assert gigabytes * 1e9 <= crowded.si.memory_capacity
    assert STEP.solve("Llama3_8B", "DGX_H100", 64, tp_size=4, zero_stage=0).feasible  # the first of them


def test_the_fullest_stage_is_named():
    assert step(pp_size=1, tp_size=8, activation_recomputation="full").memory_peak.startswith("last stage")
    assert step(pp_size=8, batch_size=512).memory_peak.startswith("first stage")


def test_a_schedule_is_drawn_stage_by_stage(tmp_path):
    pytest.importorskip("matplotlib")
    from mlsysim.report.schedules import plot_schedule

    answer = step(batch_size=64)
    _, axes = plot_schedule(answer, out=tmp_path / "step.png")
    assert (tmp_path / "step.png").stat().st_size > 5000
    assert [label.get_text() for label in axes.get_yticklabels()] == ["stage 0", "stage 1", "stage 2", "stage 3"]
    assert max(bar.get_x() + bar.get_width() for bar in axes.patches) == pytest.approx(answer.si.step_latency_total)
    with pytest.raises(InvalidInputError, match="TrainingStepModel"):
        plot_schedule("step")
    with pytest.raises(InvalidInputError, match="smaller batch"):
        plot_schedule(step(batch_size=8192))


# -- what holds for every plan ------------------------------------------------------------------------------------------

plans = st.fixed_dictionaries(
    {"tp_size": st.sampled_from([1, 2, 4, 8]), "pp_size": st.sampled_from([1, 2, 4]), "zero_stage": st.sampled_from([0, 1]),
     "activation_recomputation": st.sampled_from(["none", "full"]), "microbatch_size": st.sampled_from([1, 2]),
     "schedule": st.sampled_from(["1f1b", "gpipe", "zero-bubble"])}
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(plan=plans)
def test_a_plan_never_beats_arithmetic_or_its_gradients_and_its_parts_add_up(plan):
    i = step(model="Llama3_8B", batch_size=512, **plan).si
    assert i.step_latency_total >= i.ideal_latency
    assert i.mfu <= i.hfu <= 1
    parts = (i.weights, i.gradients, i.optimizer_state, i.activations, i.logits, i.communication_buffers)
    assert sum(parts) == pytest.approx(i.memory_per_device)
    assert sum(step(model="Llama3_8B", batch_size=512, **plan).breakdown().values()) == pytest.approx(1.0)
    data = float(i.dp)
    whole = i.dp_communication_latency + i.dp_communication_hidden
    sent = 2 * (data - 1) / data * i.gradients * (0.5 if plan["zero_stage"] else 1)
    assert whole >= 0.5 * sent / CLUSTER.node.si.link_bandwidth


@settings(max_examples=15, deadline=None)
@given(
    factor=st.floats(1.0, 8.0),
    name=st.sampled_from(["memory_bandwidth", "link_bandwidth", "nic_bandwidth"]),
    plan=plans,
)
def test_more_of_a_resource_never_slows_a_textbook_step(factor, name, plan):
    node = CLUSTER.node
    if name == "memory_bandwidth":
        better = node.replace(
            accelerator=node.accelerator.replace(
                memory_bandwidth=f"{node.accelerator.si.memory_bandwidth * factor} B/s"
            )
        )
    else:
        better = node.replace(**{name: f"{getattr(node.si, name) * factor} B/s"})
    asked = {key: value for key, value in plan.items() if key != "microbatch_size"} | {"microbatch_count": 8}
    old, new = (FLEET.solve("Llama3_8B", fleet, 1024 * 8, **asked).si.step_latency_total for fleet in (CLUSTER, CLUSTER.replace(node=better)))  # fmt: skip
    assert new <= old * (1 + 1e-12)


def test_one_chip_waits_for_nobody():
    alone = Systems.Nodes.DGX_H100.replace(accelerators_per_node=1.0)
    i = STEP.solve("Llama3_8B", alone, 4, zero_stage=0, activation_recomputation="full").si
    assert i.step_latency_total == pytest.approx(i.compute_latency + i.update_latency)
    textbook = FLEET.solve("Llama3_8B", alone, 4, seq_len=4096, activation_recomputation="full", efficiency=1.0).si
    assert textbook.step_latency_total == pytest.approx(textbook.compute_latency + textbook.update_latency)
    assert textbook.hardware_flops / textbook.peak == pytest.approx(textbook.compute_latency)
    assert i.step_latency_total > textbook.step_latency_total


# -- whole runs ---------------------------------------------------------------------------------------------------------


def test_evaluations_pause_a_run_for_a_third_of_their_tokens():
    plain, checked = run().si, run(evaluation_interval=100, evaluation_tokens=512 * 8192).si
    times = np.floor(plain.steps / 100)
    assert checked.evaluation_time == pytest.approx(times * plain.step_time / 3)
    assert checked.productive_time == pytest.approx(plain.productive_time + checked.evaluation_time)


def test_a_checkpoint_written_aside_stalls_less_but_loses_more():
    slow = dict(checkpoint_bandwidth="1 GB/s")
    waiting, aside = run(**slow).si, run(asynchronous_checkpoint=True, **slow).si
    assert aside.checkpoint_stall < waiting.checkpoint_stall == waiting.checkpoint_time
    assert aside.goodput > waiting.goodput
    assert aside.checkpoint_interval >= aside.checkpoint_time


def test_spares_shorten_the_wait_for_a_node():
    none, two, many = (run(hot_spares=n, mtbf="6 hour").si for n in (0, 4, 40))
    assert none.replacement_wait > two.replacement_wait > many.replacement_wait
    assert none.replacement_wait == pytest.approx(86400, rel=0.001)  # the whole repair of a day
    assert none.goodput < two.goodput <= many.goodput


def test_processors_that_prepare_too_little_set_the_pace():
    answer = run(loader_tokens_per_second=1000)
    assert answer.si.step_time == pytest.approx(512 * 8192 / (1000 * 256))
    assert any("preparing" in note for note in answer.notes)
    assert answer.si.water_usage_liters > 0


def test_ranked_runs_keep_budget_and_deadline():
    asked = dict(tokens=1e11, batch=256, seq_len=8192, cloud_usd_per_hour=2.0, datacenter="US_Avg")
    found = ranked_runs("Llama3_8B", ["DGX_H100", CLUSTER], deadline="5 day", **asked)
    assert [one["chips"] for one in found.runs] == [256]
    assert [one["chips"] for one in found.others] == [8]
    assert found.others[0]["over"] > 0
    best = found.runs[0]
    assert best["cost_usd"] == pytest.approx(best["chips"] * best["days"] * 24 * 2.0)
    cheap = ranked_runs("Llama3_8B", ["DGX_H100", CLUSTER], budget=best["cost_usd"] * 0.5, **asked)
    assert not cheap.runs
    assert all(one["over"] > 0 for one in cheap.others)


@pytest.mark.parametrize("change", [{"budget": -1}, {"deadline": "5 GB"}, {"deadline": 3}, {"budget": float("nan")}])
def test_hostile_budgets_are_one_clear_line(change):
    with pytest.raises(InvalidInputError) as fault:
        ranked_runs("Llama3_8B", ["DGX_H100"], 1e10, 64, **change)
    assert next(iter(change)) in str(fault.value)
    assert "\n" not in str(fault.value)
    with pytest.raises(InvalidInputError, match="fleets"):
        ranked_runs("Llama3_8B", [], 1e10, 64)


@pytest.mark.parametrize("name", ["recompute_layers", "offload_layers"])
def test_more_layers_than_a_stage_has_are_all_of_them_and_the_answer_says_so(name):
    every, more = (step(activation_recomputation="full", **{name: count}) for count in (20, 21))  # 80 over 4 stages
    assert more.si.step_latency_total == every.si.step_latency_total
    assert f"{name}: more than a stage has; all of its layers" in more.notes
    assert not any(note.startswith(name) for note in every.notes)
