"""Every kind of model in training: hybrids, both stacks of an encoder-decoder, Mamba, vision, diffusion, recommenders."""

import numpy as np
import pytest

from mlsysim import DistributedModel, Models, TrainingStepModel
from mlsysim.catalog.models import StateSpace, Transformer
from mlsysim.errors import InvalidInputError, InvalidPlanError, UnsupportedWorkloadError
from mlsysim.workloads.training import work_of
from mlsysim.workloads.training_operators import Share, Style, head_operators, layer_operators
from mlsysim.workloads.transformer import as_transformer

STEP, BOOK = TrainingStepModel(), DistributedModel()
KINDS = ("Llama3_8B", "Mixtral_8x7B", "DeepSeek_V3", "BERT_Large", "Jamba_v0_1", "Nemotron_H_8B", "Nemotron_3_Super_120B_A12B",
         "Qwen3_Next_80B_A3B", "MiniMax_Text_01", "Kimi_K3", "DeepSeek_V4_Pro", "GLM_5_2", "Gemma_3_27B", "T5_11B",
         "Whisper_Large_v3", "Mamba_2_8B", "Mamba2_2_7B", "ResNet50", "ViT_L_16", "SDXL", "DiT_XL_2", "DLRM")  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_model_is_answered_both_ways(name):
    asked = dict(seq_len=2048, zero_stage=1)
    for answer in (STEP.solve(name, "Research_256", 256, **asked), BOOK.solve(name, "Research_256", 256, **asked)):
        i = answer.si
        assert 0 < answer.mfu < 1
        assert answer.scaling_efficiency < 1
        parts = (i.weights, i.gradients, i.optimizer_state, i.activations, i.logits, i.communication_buffers)
        assert i.memory_per_device == pytest.approx(sum(parts))
        assert all(part >= 0 for part in parts)


def transformers():
    for entry in Models:
        model = Models[entry] if isinstance(entry, str) else entry
        if isinstance(model, StateSpace):
            yield as_transformer(model)
        elif isinstance(model, Transformer) and not model.vision_parameters and model.si.parameters > 1e9:
            yield model


def test_products_of_every_language_model_are_two_flops_a_parameter_and_token():
    """The published counts of parameters, active ones for experts, against the operators written from the architecture."""
    ratios = {}
    for model in transformers():
        work = work_of(model, 2048.0)
        share = Share(512.0, 2048.0)
        found = [*layer_operators(model, share, Style()), *head_operators(model, share, Style())]
        forward, inputs, weights = (
            sum(o.flops * o.count for o in found if o.kind == "gemm" and o.phase == phase)
            for phase in ("forward", "backward", "weights")
        )
        assert inputs == pytest.approx(forward, rel=0.03)  # but for the router of experts, which runs forward alone
        assert weights == pytest.approx(forward, rel=0.03)
        extra = work.embedding * (0.0 if work.tied else 1.0) + (model.si.positions or 0.0) * model.si.hidden
        ratios[model.id] = float(forward / (work.linear + work.routed - 2 * extra * work.tokens) / 512)
    ordinary = [value for name, value in ratios.items() if not getattr(Models[name].si, "mtp_layers", None)]
    assert len(ordinary) > 150
    assert np.quantile(ordinary, 0.05) > 0.93
    assert np.quantile(ordinary, 0.95) < 1.07


def test_a_hybrid_trains_long_contexts_faster_than_the_same_parameters_in_attention():
    """A recurrence grows with the tokens, attention with their square: the gap widens with the context."""

    def ratio(length):
        asked = dict(batch_size=256, seq_len=length, cp_size=1, activation_recomputation="full", zero_stage=3)
        hybrid, dense = (STEP.solve(name, "Research_256", **asked).si for name in ("Nemotron_H_8B", "Llama3_8B"))
        return hybrid.step_latency_total / dense.step_latency_total

    short, long = ratio(4096), ratio(65536)
    assert long < 0.75 * short


def test_an_encoder_sees_both_ways_and_a_decoder_only_back():
    """As many pairs as tokens squared, against half of them."""
    found = {
        name: sum(o.flops * o.count for o in layer_operators(Models[name], Share(1.0, 512.0), Style()) if o.phase == "forward" and o.kind == "attention_context")
        for name in ("BERT_Large", "GPT2_Medium")
    }  # fmt: skip
    assert found["BERT_Large"] / found["GPT2_Medium"] == pytest.approx(2.0, rel=0.01)  # both: 24 layers of width 1,024


def test_an_encoder_with_a_length_of_its_own_reads_that_much():
    few, many = (STEP.solve("Whisper_Large_v3", "Research_256", 256, seq_len=n).si for n in (64, 448))
    assert few.flops > 0.5 * many.flops  # 1,500 positions are read whatever is written
    alike, twice = (STEP.solve("T5_3B", "Research_256", 256, seq_len=n).si for n in (512, 1024))
    assert twice.flops == pytest.approx(2 * alike.flops, rel=0.1)


def test_tables_of_a_recommender_lie_over_all_ranks():
    small, large = (STEP.solve("DLRM_DCNv2", fleet, batch, precision="fp16").si for fleet, batch in
                    (("DGX_H100", 65536), ("Research_256", 65536 * 32)))  # fmt: skip
    assert large.weights < small.weights / 16
    assert large.ep_communication_latency > 0


def test_models_without_layers_of_a_kind_say_so():
    with pytest.raises(UnsupportedWorkloadError, match=r"FasterRCNN_R50.*efficiency such as 0.4"):
        STEP.solve("FasterRCNN_R50", "Research_256", 256)
    for name in ("ResNet50", "Mamba2_2_7B"):
        with pytest.raises(InvalidInputError, match="lora_rank"):
            STEP.solve(name, "Research_256", 256, lora_rank=16)
    with pytest.raises(InvalidPlanError, match="data parallelism only"):
        STEP.solve("ResNet50", "Research_256", 256, tp_size=2)


def test_recomputation_trades_memory_for_time_in_every_kind():
    for name in ("Jamba_v0_1", "T5_3B", "ResNet50", "Mamba2_2_7B"):
        plain, again = (
            STEP.solve(name, "Research_256", 1024, activation_recomputation=level).si for level in ("none", "full")
        )
        assert again.activations < plain.activations
        assert again.step_latency_total > plain.step_latency_total
