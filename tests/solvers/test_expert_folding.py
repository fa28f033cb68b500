"""Expert ranks folded over the tensor, context and data-parallel ranks of a stage (parallel folding of Megatron-Core)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import DistributedModel, Hardware, TrainingStepModel
from mlsysim.errors import InvalidPlanError
from mlsysim.solvers.plan_run import accelerators
from mlsysim.solvers.training_config import training_question


def fleet(chips):
    return accelerators(Hardware.H100, chips, None, "InfiniBand_NDR")


STEP, BOOK = TrainingStepModel(), DistributedModel()
PLAN = dict(tp_size=8, pp_size=4, zero_stage=1)
powers = st.integers(0, 6).map(lambda n: 2**n)


def book(**change):
    return BOOK.solve("DeepSeek_V3", "Research_256", 256, microbatch_count=8, **PLAN | change)


def test_more_expert_ranks_than_data_ranks_are_laid_out():
    for answer in (STEP.solve("DeepSeek_V3", "Research_256", 256, ep_size=64, **PLAN), book(ep_size=64, expert_tp=1)):
        assert answer.parallelism["ep"] == 64
        assert answer.parallelism["dp"] == 8  # 256 chips over tensor 8 and pipeline 4
        assert answer.si.ep_communication_latency > 0


@settings(max_examples=30, deadline=None)
@given(ep=powers, etp=st.sampled_from([1, 2, 4, 8]))
def test_the_same_part_of_the_experts_is_held_however_they_are_folded(ep, etp):
    """Weights of a rank: the dense share, and all experts of a stage over expert ranks x tensor ranks of an expert."""
    if ep * etp > 64:
        return
    dense = book(ep_size=64, expert_tp=1).si.weights
    whole = book(ep_size=1, expert_tp=1).si.weights
    experts = (whole - dense) / (1 - 1 / 64)
    assert book(ep_size=ep, expert_tp=etp).si.weights == pytest.approx(whole - experts * (1 - 1 / (ep * etp)))


def test_experts_split_as_attention_are_one_case_of_folding():
    apart, folded = book(ep_size=8).si, book(ep_size=8, expert_tp=8).si
    for name in (
        "weights",
        "gradients",
        "optimizer_state",
        "activations",
        "compute_latency",
        "pipeline_bubble_latency",
    ):
        assert getattr(folded, name) == pytest.approx(getattr(apart, name)), name


def test_what_does_not_divide_names_what_does():
    with pytest.raises(InvalidPlanError, match=r"ep_size 48 x expert_tp 1.*try ep_size 16, 32 or 64"):
        STEP.solve("DeepSeek_V3", "Research_256", 256, ep_size=48, **PLAN)
    with pytest.raises(InvalidPlanError, match=r"expert 64.*expert_tp=1 to fold"):
        book(ep_size=64)
    with pytest.raises(InvalidPlanError, match=r"ep_size 64 x expert_tp 2.*try ep_size 8, 16 or 32"):
        book(ep_size=64, expert_tp=2)


def test_a_megatron_job_with_more_expert_ranks_than_data_ranks():
    text = ("--num-layers 32 --hidden-size 4096 --num-attention-heads 32 --ffn-hidden-size 14336 --num-experts 8 "
             "--moe-router-topk 2 --seq-length 4096 --max-position-embeddings 4096 --swiglu --micro-batch-size 1 "
             "--global-batch-size 64 --tensor-model-parallel-size 4 --pipeline-model-parallel-size 4 "
             "--expert-model-parallel-size 8 --expert-tensor-parallel-size 1 --bf16")  # fmt: skip
    words = text.split()
    found = training_question(words, gpus=32, vocab=32000)
    assert found.solve(fleet(32)).parallelism["ep"] == 8
    with pytest.raises(InvalidPlanError, match=r"8 expert ranks of 4 tensor-parallel ranks do not divide the 8 ranks"):
        training_question(
            [w for w in words if not w.startswith("--expert-tensor")][:-2] + ["--bf16"], gpus=32, vocab=32000
        )
