"""Training on a fleet: measured runs, published memory, conserved sums, arrays, hostile input."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlsysim
from mlsysim import DistributedModel, Fleet, Hardware, Systems, TrainingMemoryModel, Transformer
from mlsysim.errors import InvalidInputError, InvalidPlanError, MLSysimError

SOLVER, MEMORY = DistributedModel(), TrainingMemoryModel()
GIB = 2**30


def gpt(layers, hidden, heads, vocab=51200):
    """A GPT of Narayanan et al. 2021: equation 2 gives its parameters."""
    parameters = 12 * layers * hidden**2 * (1 + 13 / (12 * hidden) + (vocab + 2048) / (12 * layers * hidden))
    return Transformer(
        name=f"GPT {parameters / 1e9:.1f}B", architecture="transformer", release_year=2021, parameters=parameters,
        layers=layers, hidden=hidden, heads=heads, kv_heads=heads, head_dim=hidden / heads, vocab=vocab,
        ffn=4 * hidden, mlp_matrices=2.0, tied_embeddings=True,
    )  # fmt: skip


def selene(chips):
    return Fleet(
        name=f"selene {chips}", node=Systems.Nodes.DGX_A100, count=chips // 8, fabric=Systems.Fabrics.InfiniBand_HDR
    )


def train(layers, hidden, heads, chips, tp, pp, batch, chunks=1):
    return SOLVER.solve(
        gpt(layers, hidden, heads), selene(chips), batch_size=batch, tp_size=tp, pp_size=pp, v_stages=chunks,
        microbatch_count=batch // (chips // (tp * pp)), activation_recomputation="full", fused_attention=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "hidden", "heads", "chips", "tp", "pp", "batch", "chunks", "achieved"),
    [
        (30, 3072, 32, 64, 2, 1, 512, 1, 138e12),
        (36, 4096, 32, 128, 4, 1, 512, 1, 142e12),
        (48, 8192, 64, 512, 8, 2, 1536, 1, 138e12),
        (60, 10240, 80, 1024, 8, 4, 1792, 1, 140e12),
        (105, 20480, 128, 2520, 8, 35, 2520, 3, 163e12),
    ],
)
def test_step_times_match_narayanan_2021_table_1(layers, hidden, heads, chips, tp, pp, batch, chunks, achieved):
    """One efficiency of 0.5 for all sizes; the paper's equation 3 turns its FLOP/s into the time of a step."""
    work = 96 * batch * 2048 * layers * hidden**2 * (1 + 2048 / (6 * hidden) + 51200 / (16 * layers * hidden))
    r = train(layers, hidden, heads, chips, tp, pp, batch, chunks)
    assert r.si.step_latency_total == pytest.approx(work / (chips * achieved), rel=0.15)
    assert r.feasible


@pytest.mark.parametrize(
    ("layers", "hidden", "heads", "chips", "pp", "batch", "chunks", "days"),
    [
        (96, 12288, 96, 384, 12, 1536, 1, 84),
        (96, 12288, 96, 768, 12, 1536, 1, 43),
        (96, 12288, 96, 1536, 12, 1536, 1, 23),
        (105, 20480, 128, 560, 35, 2240, 3, 156),
        (105, 20480, 128, 2240, 35, 2240, 1, 42),
    ],
)
def test_days_for_300_billion_tokens_match_narayanan_2021_table_2(
    layers, hidden, heads, chips, pp, batch, chunks, days
):
    r = train(layers, hidden, heads, chips, 8, pp, batch, chunks)
    assert 300e9 / r.si.tokens_per_second / 86400 == pytest.approx(days, rel=0.2)


def test_a_step_of_the_22b_model_matches_korthikanti_2022_table_5():
    """Eight A100, tensor parallel 8, one micro-batch of four, full recomputation: 1.42 s."""
    r = SOLVER.solve(
        gpt(48, 6144, 64), "DGX_A100", 4, tp_size=8, activation_recomputation="full", fused_attention=False
    )
    assert r.si.step_latency_total == pytest.approx(1.42, rel=0.1)
    assert r.feasible


@pytest.mark.parametrize(
    ("layers", "hidden", "heads", "pp", "chunks", "micro", "none", "selective"),
    [
        (48, 6144, 64, 1, 1, 4, 59.25, None),
        (96, 12288, 96, 8, 3, 1, 66.84375, 12.3515625),
        (105, 20480, 128, 35, 3, 1, 114.0234375, 23.076171875),
        (128, 25600, 160, 64, 1, 1, 131.25, 26.5625),
    ],
)
def test_activations_match_korthikanti_2022_figure_1(layers, hidden, heads, pp, chunks, micro, none, selective):
    """Tensor parallel 8; without recomputation or sequence parallelism, and with both (the paper's method), in GiB."""
    steps = pp * 8 if pp > 1 else 1
    asked = dict(batch_size=micro * steps, tp_size=8, pp_size=pp, v_stages=chunks, gradient_accumulation_steps=steps,
                 fused_attention=False)  # fmt: skip
    plain = MEMORY.solve(
        gpt(layers, hidden, heads), "A100", **asked, activation_checkpointing="none", sequence_parallel=False
    )
    assert plain.si.activations / GIB == pytest.approx(none, rel=1e-9)
    if selective is not None:
        theirs = MEMORY.solve(gpt(layers, hidden, heads), "A100", **asked, activation_checkpointing="selective")
        assert theirs.si.activations / GIB == pytest.approx(selective, rel=1e-9)


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_states_match_rajbhandari_2020_figure_1(stage, gigabytes):
    model = gpt(36, 4096, 32).replace(parameters=7.5e9)
    r = MEMORY.solve(model, "V100", batch_size=64, dp_size=64, zero_stage=stage).si
    assert (r.weights + r.gradients + r.optimizer_state) / 1e9 == pytest.approx(gigabytes, abs=0.06)


def test_adapters_of_gpt3_match_hu_2022():
    """Section 4.2: adapters cut trainable parameters and optimizer states by thousands; memory falls about threefold."""
    full = SOLVER.solve("GPT3", selene(1024), 1536, tp_size=8, pp_size=8, microbatch_count=96)
    lora = SOLVER.solve(
        "GPT3", selene(1024), 1536, tp_size=8, pp_size=8, microbatch_count=96, is_lora=True, lora_rank=4
    )
    states = [r.si.weights + r.si.gradients + r.si.optimizer_state for r in (full, lora)]
    assert states[0] / states[1] > 3
    assert full.si.optimizer_state / lora.si.optimizer_state > 1000
    assert lora.si.flops < full.si.flops


def test_gpt3_without_a_plan_does_not_fit_and_says_by_how_much():
    r = SOLVER.solve("GPT3", selene(1024), 1536)
    assert not r.feasible
    assert r.limits[0].excess.to("TB").magnitude > 2
    assert any("does not divide" in note for note in r.notes)


FLEETS = st.sampled_from(["Research_256", "Frontier_8K", "DGX_H100"])


@given(FLEETS, st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]), st.integers(0, 3), st.booleans(),
       st.sampled_from(["none", "selective", "full"]), st.integers(1, 4))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_parts_add_up_and_bounds_hold(fleet, tp, pp, zero, overlap, recompute, micro):
    chips = Systems[fleet].total_accelerators if fleet != "DGX_H100" else 8
    if tp * pp > chips:
        return
    data = int(chips) // (tp * pp)
    r = SOLVER.solve("Llama3_8B", fleet, data * micro * 4, tp_size=tp, pp_size=pp, microbatch_count=micro, zero_stage=zero,
                     overlap_comm=overlap, activation_recomputation=recompute, straggler_factor=1.1, congestion_factor=1.3)  # fmt: skip
    i = r.si
    parts = (i.compute_latency + i.tp_communication_latency + i.ep_communication_latency + i.cp_communication_latency
             + i.pp_communication_latency + i.dp_communication_latency + i.pipeline_bubble_latency + i.update_latency
             + i.straggler_latency)  # fmt: skip
    assert i.step_latency_total == pytest.approx(parts, rel=1e-12)
    held = i.weights + i.gradients + i.optimizer_state + i.activations + i.logits + i.communication_buffers
    assert i.memory_per_device == pytest.approx(held, rel=1e-12)
    assert r.feasible == (i.memory_per_device <= i.memory_capacity)
    assert 0 < i.mfu <= i.hfu <= 0.5 * (1 + 1e-9), "no more than the efficiency of the kernels"
    assert 0 < i.scaling_efficiency <= 1
    assert i.effective_throughput == pytest.approx(i.batch / i.step_latency_total)
    assert i.dp * i.tp * i.pp * i.ep * i.cp == i.chips == chips
    assert i.dp_communication_latency >= 0
    assert i.dp_communication_hidden >= 0


@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4, 8]))
@settings(max_examples=16, deadline=None)
def test_more_of_everything_is_never_faster_than_ideal_and_slower_links_never_help(tp, pp):
    asked = dict(model="Llama3_8B", batch_size=4096, tp_size=tp, pp_size=pp, microbatch_count=16)
    fleet = Systems.Clusters.Research_256
    slow = fleet.replace(fabric=fleet.fabric.replace(bandwidth="5 GB/s"))
    fast, slower = SOLVER.solve(fleet=fleet, **asked).si, SOLVER.solve(fleet=slow, **asked).si
    assert slower.step_latency_total >= fast.step_latency_total
    assert fast.step_latency_total >= fast.ideal_latency
    assert slower.compute_latency == fast.compute_latency


def test_zero_stages_trade_memory_for_traffic():
    """Rajbhandari et al. 2020, section 7: stages 1 and 2 move what plain data parallelism moves, stage 3 half as much again."""
    stages = [SOLVER.solve("Llama3_8B", "Research_256", 256, zero_stage=z).si for z in range(4)]
    memory = [r.memory_per_device for r in stages]
    assert memory == sorted(memory, reverse=True)
    traffic = [r.dp_communication_latency for r in stages]
    assert traffic[0] == pytest.approx(traffic[1]) == pytest.approx(traffic[2])
    assert traffic[3] == pytest.approx(1.5 * traffic[0])


def test_pipeline_and_tensor_ranks_divide_the_gradients():
    """Defect P4 of the specification: data-parallel traffic is that of one rank's weights, not of the model's."""
    flat = SOLVER.solve("Llama3_70B", "Frontier_8K", 8192).si
    split = SOLVER.solve("Llama3_70B", "Frontier_8K", 8192, tp_size=8, pp_size=4).si
    assert split.gradients < flat.gradients / 30
    assert split.dp_communication_latency < flat.dp_communication_latency / 3


def test_experts_share_weights_and_pay_in_traffic():
    asked = dict(model="Mixtral_8x7B", fleet="Research_256", batch_size=512, zero_stage=1, microbatch_count=2,
                 tp_size=2, activation_recomputation=True)  # fmt: skip
    whole, spread = SOLVER.solve(**asked, ep_size=1).si, SOLVER.solve(**asked, ep_size=8).si
    hot = SOLVER.solve(**asked, ep_size=8, moe_routing_imbalance_factor=1.5).si
    assert spread.weights < whole.weights / 3
    assert whole.ep_communication_latency == 0 < spread.ep_communication_latency
    assert hot.compute_latency > spread.compute_latency
    assert hot.ep_communication_latency > spread.ep_communication_latency
    assert hot.flops == spread.flops


def test_context_ranks_share_activations():
    asked = dict(model="Llama3_8B", fleet="Research_256", seq_len=131072, batch_size=64, tp_size=4, zero_stage=1)
    one, four = SOLVER.solve(**asked).si, SOLVER.solve(**asked, cp_size=4).si
    assert four.activations == pytest.approx(one.activations, rel=1e-9), "a quarter of the tokens of four sequences"
    assert four.cp_communication_latency == 0 == one.cp_communication_latency, (
        "at this length the ring hides behind attention"
    )
    waits = [
        SOLVER.solve(**asked, cp_size=4, context_parallel=kind).si.cp_communication_latency
        for kind in ("all_gather", "ulysses")
    ]
    assert min(waits) > 0


def test_a_narrower_network_slows_data_parallel_traffic():
    fat = SOLVER.solve("Llama3_8B", "Frontier_8K", 8192).si
    ring = SOLVER.solve("Llama3_8B", "Frontier_8K", 8192, topology_override="ring").si
    assert ring.dp_communication_latency > 5 * fat.dp_communication_latency


def test_arrays_equal_scalars_point_by_point():
    batches, ranks = np.array([4096, 8192])[:, None], np.array([1, 2, 4, 8])
    asked = dict(
        model="Llama3_70B", fleet="Frontier_8K", pp_size=8, microbatch_count=4, activation_recomputation="full"
    )
    sweep = SOLVER.solve(**asked, batch_size=batches, tp_size=ranks)
    assert sweep.feasible.shape == (2, 4)
    assert sweep.to_frame().shape[0] == 8
    for row, batch in enumerate((4096, 8192)):
        for column, tp in enumerate((1, 2, 4, 8)):
            one = SOLVER.solve(**asked, batch_size=batch, tp_size=tp)
            for name in (
                "step_latency_total",
                "memory_per_device",
                "mfu",
                "dp_communication_latency",
                "effective_throughput",
            ):
                whole = np.broadcast_to(getattr(sweep.si, name), (2, 4))
                assert whole[row, column] == pytest.approx(getattr(one.si, name), rel=1e-12), name
            assert sweep.feasible[row, column] == one.feasible
            assert sweep.bottleneck[row, column] == one.bottleneck


def test_impossible_plans_are_masked_in_a_sweep():
    r = SOLVER.solve("Llama3_8B", "Research_256", 1536, zero_stage=3, tp_size=np.array([1, 2, 3, 64]))
    assert r.feasible.tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dict(batch_size=300), "nearby: batch 256 or 512"),
        (dict(tp_size=3), "try 1, 2 or 4"),
        (dict(tp_size=8, pp_size=6), "does not divide 256 chips; nearby"),
        (dict(ep_size=2), "1 routed experts do not divide"),
        (dict(v_stages=2), "needs a pipeline"),
        (dict(pp_size=4, v_stages=2, microbatch_count=6, batch_size=384), "try 8"),
        (dict(pp_size=64), "there are 32 layers"),
        (dict(cp_size=256, seq_len=2047), "2047 tokens do not divide"),
    ],
)
def test_plans_that_do_not_divide_name_near_ones(change, told):
    with pytest.raises(InvalidPlanError, match=told) as caught:
        SOLVER.solve(**(dict(model="Llama3_8B", fleet="Research_256", batch_size=256, zero_stage=3) | change))
    assert "\n" not in str(caught.value)


def test_all_bad_arguments_are_told_at_once():
    with pytest.raises(InvalidInputError) as caught:
        SOLVER.solve(
            "Llama3_8B", "H100", -1, efficiency=2, zero_stage=7, congestion_factor=0.5, schedule="1f1", optimizer="adan"
        )
    for word in (
        "fleet",
        "batch_size",
        "efficiency",
        "zero_stage",
        "congestion_factor",
        "did you mean 1f1b",
        "did you mean adam",
    ):
        assert word in str(caught.value)


HOSTILE = [None, -1, 0, float("nan"), float("inf"), "8 GB", "x" * 40, [], True, 10**400]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda v: repr(v)[:12])
@pytest.mark.parametrize(
    "name", ["batch_size", "tp_size", "microbatch_count", "seq_len", "efficiency", "fleet", "model"]
)
def test_nonsense_is_refused_in_one_line(name, value):
    with pytest.raises(MLSysimError) as caught:
        SOLVER.solve(**(dict(model="Llama3_8B", fleet="Research_256", batch_size=256) | {name: value}))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_other_models_train_data_parallel_only():
    r = SOLVER.solve("ResNet50", "Research_256", 25600)
    assert r.feasible
    assert r.si.flops == pytest.approx(25600 * 3 * mlsysim.Models.ResNet50.flops())
    with pytest.raises(InvalidPlanError, match="data parallelism only"):
        SOLVER.solve("ResNet50", "Research_256", 25600, tp_size=2)
    with pytest.raises(InvalidInputError, match="adapters sit on attention"):
        SOLVER.solve("ResNet50", "Research_256", 25600, is_lora=True)


def test_answers_explain_themselves_and_can_be_asked_again():
    r = SOLVER.solve("Llama3_70B", "Frontier_8K", 8192, tp_size=8, pp_size=8, microbatch_count=16)
    lines = list(r.explain()["step_latency_total"].walk())
    assert any(line.origin == "bubble_time" for line in lines)
    assert any(line.origin == "exposed_time" for line in lines)
    assert any(line.origin == "H100.peak_fp16" for line in lines)
    assert mlsysim.ask_again(json.loads(r.to_json())).si.step_latency_total == r.si.step_latency_total
    assert r.binding_wall == (1, "Compute")


@pytest.mark.parametrize(
    "model", ["Llama3_8B", "Llama3_70B", "Mixtral_8x7B", "DeepSeek_V3", "GPT3", "BERT_Large", "ResNet50"]
)
def test_memory_parts_add_up_for_every_family(model):
    r = MEMORY.solve(model, "H100", batch_size=4, seq_len=512)
    assert sum(part.magnitude for part in r.breakdown.values()) == pytest.approx(r.si.total_memory)
    assert r.feasible == (r.si.total_memory <= r.si.available_memory)


def test_optimizers_keep_what_their_papers_say():
    """Bytes a parameter besides the 32-bit copy: none, 4, 8, about 2 (Dettmers 2022), hardly any (Shazeer 2018)."""
    spec = mlsysim.Models.Llama3_8B.si
    moments = {
        name: MEMORY.solve("Llama3_8B", "H100", optimizer=name).si.optimizer_state / spec.parameters - 4
        for name in ("sgd", "momentum", "adam", "adamw", "adamw8bit", "adafactor", "muon")
    }
    assert moments["sgd"] == pytest.approx(0, abs=1e-9)
    assert moments["momentum"] == pytest.approx(4)
    assert moments["adam"] == moments["adamw"] == pytest.approx(8)
    assert moments["adamw8bit"] == pytest.approx(2, rel=0.01)
    assert 0 < moments["adafactor"] < 0.01
    assert 4 < moments["muon"] < 5


def test_memory_takes_stacks_and_arrays():
    r = MEMORY.solve("Llama3_8B", Hardware.stack(["A100", "H200"]), tp_size=np.array([[1], [2], [8]]), batch_size=1)
    assert r.feasible.tolist() == [[False, True], [True, True], [True, True]], "16 bytes a parameter: 128, 64 and 16 GB"


def test_remedies_are_checked_and_ranked_by_what_they_cost():
    near = MEMORY.solve("Llama3_8B", "H100", batch_size=8, dp_size=8)
    assert not near.feasible
    assert near.remedies[0].startswith("ZeRO stage 1")
    far = MEMORY.solve("Llama3_70B", "H100", batch_size=64, dp_size=8, seq_len=4096)
    assert len(far.remedies) == 1
    assert " and " in far.remedies[0]
    assert MEMORY.solve("Llama3_8B", "H200", tp_size=4).remedies == []


@given(st.sampled_from(["none", "selective", "full"]), st.integers(1, 8), st.integers(64, 4096))
@settings(max_examples=30, deadline=None)
def test_recomputation_saves_memory_and_length_costs_it(recompute, batch, tokens):
    asked = dict(model="GPT3", hardware="H100", batch_size=batch, fused_attention=False, tp_size=8)
    here = MEMORY.solve(**asked, seq_len=tokens, activation_checkpointing=recompute).si
    longer = MEMORY.solve(**asked, seq_len=tokens + 1, activation_checkpointing=recompute).si
    less = MEMORY.solve(**asked, seq_len=tokens, activation_checkpointing="full").si
    assert longer.total_memory > here.total_memory
    assert less.activations <= here.activations
    assert less.weights == here.weights


@given(st.sampled_from([2, 4, 8]), st.integers(1, 32), st.sampled_from(["1f1b", "gpipe", "zero-bubble"]))
@settings(max_examples=30, deadline=None)
def test_the_bubble_is_the_share_it_says(stages, micro, schedule):
    data = 256 // stages
    r = SOLVER.solve(
        "Llama3_8B", "Research_256", data * micro, pp_size=stages, microbatch_count=micro, schedule=schedule
    ).si
    busy = r.compute_latency + r.tp_communication_latency + r.pp_communication_latency
    assert r.bubble_fraction == pytest.approx(r.pipeline_bubble_latency / (r.pipeline_bubble_latency + busy))
    held = SOLVER.solve("Llama3_8B", "Research_256", data * micro, pp_size=stages, microbatch_count=micro).si
    assert r.activations >= held.activations, "no schedule here holds less than 1F1B"


def test_two_stacks_of_layers_are_split_as_one():
    whole, split = (SOLVER.solve("T5_Base", "Research_256", 256, **plan) for plan in ({}, dict(tp_size=4)))
    assert split.si.weights == pytest.approx(whole.si.weights / 4)
    assert MEMORY.solve("T5_Base", "H100", 8).feasible


def test_a_ring_between_nodes_waits_where_attention_is_short():
    asked = dict(model="Llama3_8B", fleet="Research_256", batch_size=256, tp_size=8, cp_size=4, zero_stage=1)
    short, long = (SOLVER.solve(**asked, seq_len=n).si.cp_communication_latency / n for n in (1024, 65536))
    assert short > long


def test_offloaded_states_leave_the_chip_and_wait_for_the_host():
    asked = dict(
        model="Llama3_70B",
        fleet="Research_256",
        batch_size=256,
        tp_size=8,
        zero_stage=1,
        activation_recomputation="full",
    )
    here, there, late = (SOLVER.solve(**asked, offload=place, delayed_update=late).si for place, late in
                         (("none", False), ("cpu", False), ("cpu", True)))  # fmt: skip
    assert there.optimizer_state == 0
    assert there.optimizer_on_host == pytest.approx(here.optimizer_state)
    assert there.update_latency > here.update_latency > 0
    assert late.update_latency < there.update_latency
    again = asked | dict(tp_size=1, zero_stage=3)
    kept, fetched = (SOLVER.solve(**again, offload_param=place).si for place in ("none", "nvme"))
    assert fetched.weights == 0
    assert fetched.step_latency_total >= kept.step_latency_total
    assert fetched.memory_per_device == pytest.approx(kept.memory_per_device - 1.05 * kept.weights, rel=0.01)


def test_what_does_not_fit_is_told_what_would():
    crowded = SOLVER.solve("Llama3_70B", "Research_256", 256, tp_size=8)
    assert not crowded.feasible
    assert crowded.remedies
    assert SOLVER.solve("Llama3_8B", "Research_256", 256, tp_size=8, zero_stage=1).remedies == []
    single = SOLVER.solve("Llama3_70B", "DGX_H100", 8)
    assert any("offload_param" in line or "and" in line for line in single.remedies)
