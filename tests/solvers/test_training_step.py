"""The measured training step: published runs, limits, arrays, hostile plans."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import DistributedModel, Hardware, Models, TrainingStepModel
from mlsysim.catalog.training_stacks import STACKS, TrainingStacks
from mlsysim.errors import InvalidInputError, InvalidPlanError, MLSysimError, UnsupportedWorkloadError
from mlsysim.validation.training_cases import fleet_of

STEP = TrainingStepModel()
# Korthikanti et al., arXiv:2205.05198, table 5: seconds of an iteration on A100, full recomputation; then sequence
# parallelism with selective recomputation. Model, chips, batch, stages, chunks, micro-batch.
TABLE5 = [
    ("Megatron_22B", 8, 4, 1, 1, 4, 1.42, 1.10),
    ("GPT3", 64, 64, 8, 3, 1, 18.13, 13.75),
    ("Megatron_530B", 280, 280, 35, 3, 1, 49.05, 37.83),
    ("Megatron_1T", 512, 512, 64, 1, 1, 94.42, 71.49),
]


def korthikanti(row, recompute):
    model, chips, batch, stages, chunks, micro, *_ = row
    return STEP.solve(
        model, fleet_of(Hardware["A100"], chips), batch, micro, "fp16", 8, stages, 1, 1, chunks, 0, recompute, 2048,
        "megatron2022", sequence_parallel=recompute == "selective",
    )  # fmt: skip


@pytest.mark.parametrize("row", TABLE5, ids=[row[0] for row in TABLE5])
def test_eight_iterations_of_korthikanti_2022_table_5(row):
    for recompute, measured in (("full", row[6]), ("selective", row[7])):
        answer = korthikanti(row, recompute)
        assert answer.si.step_latency_total == pytest.approx(measured, rel=0.07)
        low, high = (side.magnitude for side in answer.interval()["step_latency_total"])
        assert low < measured < high


def test_selective_recomputation_saves_about_as_much_as_korthikanti_2022_measured():
    for row in TABLE5:
        times = [float(korthikanti(row, recompute).si.step_latency_total) for recompute in ("full", "selective")]
        assert times[1] / times[0] == pytest.approx(row[7] / row[6], rel=0.05)


def test_gpt3_on_1024_a100_of_narayanan_2021_lies_in_the_interval():
    answer = STEP.solve("GPT3", fleet_of(Hardware["A100"], 1024), 1536, 1, "fp16", 8, 8, 1, 1, 2, 0, "full", 2048,
                        "megatron2021", sequence_parallel=False)  # fmt: skip
    low, high = (side.magnitude for side in answer.interval()["step_latency_total"])
    assert low < 31.5 < high  # arXiv:2104.04473, section 5.1: 140 TFLOP/s a chip


@settings(max_examples=25, deadline=None)
@given(
    tp=st.sampled_from([1, 2, 4, 8]), pp=st.sampled_from([1, 2, 4]), cp=st.sampled_from([1, 2]),
    recompute=st.sampled_from(["none", "selective", "full"]), stack=st.sampled_from(STACKS), zero=st.sampled_from([0, 1, 2, 3]),
)  # fmt: skip
def test_parts_add_up_and_light_is_never_beaten(tp, pp, cp, recompute, stack, zero):
    answer = STEP.solve("Llama3_8B", "Research_256", 512, 1, "bf16", tp, pp, 1, cp, 1, zero, recompute, 8192, stack)
    i = answer.si
    assert sum(answer.breakdown().values()) == pytest.approx(1.0)
    assert i.step_latency_total >= i.ideal_latency
    assert 0 < i.mfu <= i.hfu < 1
    low, high = (side.magnitude for side in answer.interval()["step_latency_total"])
    assert low < i.step_latency_total < high
    wider = answer.interval(0.99)["step_latency_total"]
    assert wider[0].magnitude < low
    assert wider[1].magnitude > high


def test_arrays_equal_scalars_element_by_element():
    batches, ranks = np.array([256.0, 512.0]), np.array([[2.0], [8.0]])
    plan = dict(precision="fp8", seq_len=8192, activation_recomputation="full", zero_stage=1)
    together = STEP.solve("Llama3_70B", "Research_256", batches, tp_size=ranks, **plan)
    assert together.shape == (2, 2)
    for row, tp in enumerate(ranks[:, 0]):
        for column, batch in enumerate(batches):
            one = STEP.solve("Llama3_70B", "Research_256", batch, tp_size=tp, **plan)
            for name in ("step_latency_total", "memory_per_device", "sigma", "mfu"):
                assert getattr(together.si, name)[row, column] == pytest.approx(getattr(one.si, name), rel=1e-12)


def test_recomputation_trades_time_for_memory():
    answers = [STEP.solve("Llama3_8B", "DGX_H100", 16, activation_recomputation=r).si for r in ("none", "full")]
    assert answers[0].step_latency_total < answers[1].step_latency_total
    assert answers[0].activations > answers[1].activations


def test_eight_bits_are_faster_but_not_twice():
    times = [STEP.solve("Llama3_8B", "DGX_H100", 16, precision=p).si.step_latency_total for p in ("bf16", "fp8")]
    assert 1.0 < times[0] / times[1] < 2.0


def test_adapters_spare_gradients_of_weights_and_states():
    whole, adapters = (STEP.solve("Llama2_70B", "DGX_H100", 8, tp_size=8, lora_rank=r) for r in (None, 16))
    assert adapters.si.step_latency_total < whole.si.step_latency_total
    assert adapters.si.optimizer_state < 0.01 * whole.si.optimizer_state
    assert adapters.si.weights == pytest.approx(whole.si.weights)


def test_sharding_inside_a_node_with_copies_across_needs_less_of_the_fabric():
    plan = dict(zero_stage=3, activation_recomputation="full", stack="fsdp", seq_len=2048)
    everything = STEP.solve("Llama3_8B", "Research_256", 256, **plan).si
    hybrid = STEP.solve("Llama3_8B", "Research_256", 256, shard_group=8, **plan).si
    assert hybrid.dp_communication_latency < everything.dp_communication_latency


def test_experts_exchange_tokens_and_can_be_split():
    answer = STEP.solve("Mixtral_8x7B", "Research_256", 256, ep_size=8, activation_recomputation="full").si
    assert answer.experts > 0
    assert answer.ep_communication_latency > 0
    dense = STEP.solve("Llama3_8B", "Research_256", 256).si
    assert dense.experts == 0
    assert dense.ep_communication_latency == 0


def test_distributed_model_asks_the_same_question():
    plan = dict(tp_size=8, pp_size=4, activation_recomputation="full", zero_stage=1, seq_len=4096)
    here = DistributedModel().solve("Llama3_70B", "Research_256", 256, "bf16", "measured", microbatch_count=32, **plan)
    there = STEP.solve("Llama3_70B", "Research_256", 256, 1, **plan)
    assert here.si.step_latency_total == pytest.approx(there.si.step_latency_total)
    with pytest.raises(InvalidInputError, match="congestion_factor"):
        DistributedModel().solve(
            "Llama3_70B", "Research_256", 256, efficiency="measured", congestion_factor=2.0, **plan
        )
    with pytest.raises(InvalidInputError, match="efficiency"):
        DistributedModel().solve("Llama3_70B", "Research_256", 256, efficiency="guessed", **plan)


def test_every_stack_says_where_its_numbers_come_from():
    for name in STACKS:
        stack = TrainingStacks[name]
        for field in ("contention", "launch", "sigma", "overlap_data"):
            assert stack.source(field).kind in ("assumed", "derived", "datasheet")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tp_size": 3}, "try 2|try 1|heads do not divide"),
        ({"batch_size": 1000}, "nearby: batch 768 or 1024"),
        ({"ep_size": 4}, "routed experts"),
        ({"batch_size": -1}, "batch_size"),
        ({"seq_len": float("nan")}, "seq_len"),
        ({"stack": "megatorn"}, "megatron"),
        ({"precision": "bf17"}, "BF16"),
        ({"zero_stage": 4}, "zero_stage"),
        ({"model": "Llama9"}, "Llama"),
        ({"fleet": "H100"}, "expected a fleet or a node"),
        ({"activation_recomputation": "some"}, "full"),
        ({"lora_rank": 0}, "lora_rank"),
    ],
)
def test_hostile_plans_are_one_clear_line(change, told):
    asked = dict(model="Llama3_8B", fleet="Research_256", batch_size=256) | change
    with pytest.raises(MLSysimError, match=told) as fault:
        STEP.solve(**asked)
    assert "\n" not in str(fault.value)


def test_all_faults_are_told_at_once():
    with pytest.raises(InvalidInputError) as fault:
        STEP.solve("Llama3_8B", "Research_256", -1, 0, stack="?")
    assert all(name in str(fault.value) for name in ("batch_size", "microbatch_size", "stack"))


def test_layers_without_operators_are_refused_by_name():
    with pytest.raises(UnsupportedWorkloadError, match=r"MaskRCNN_R50: its layers are not in the catalog.*efficiency"):
        STEP.solve("MaskRCNN_R50", "Research_256", 256)


def test_not_fitting_is_an_answer():
    answer = STEP.solve("Llama3_70B", "DGX_H100", 8, tp_size=8)
    assert answer.feasible is False
    assert answer.si.memory_per_device > answer.si.memory_capacity
    with pytest.raises(InvalidPlanError):
        STEP.solve("Llama3_70B", "DGX_H100", 8, tp_size=16)


def test_an_answer_saves_explains_and_asks_again():
    answer = STEP.solve("Llama3_8B", "DGX_H100", 16, 1, "bf16", 2)
    assert answer.to_dict()["answer"]["step_latency_total"]["value"] == pytest.approx(answer.si.step_latency_total)
    assert "step_latency_total" in str(answer.explain())
    assert answer.to_frame().shape[0] == 1
    assert answer.question.ask().si.step_latency_total == answer.si.step_latency_total
    assert Models["Llama3_8B"] is answer.question.arguments["model"]
