"""Operators of language models: their FLOPs are those of the weights, whatever the layout; nothing is lost in a split."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsysim import Models
from mlsysim.physics import transformer as eq
from mlsysim.workloads.language import Layout, Numerics, Work, kernels, operators
from mlsysim.workloads.operators import total_flops
from mlsysim.workloads.passes import decode_attention, prefill_attention
from mlsysim.workloads.transformer import parameter_count, shape

DENSE = ["Llama3_8B", "Llama3_70B", "Qwen3_32B", "Gemma_2_27B", "Llama2_7B", "Command_R", "GPT3"]
MIXED = ["Mixtral_8x7B", "DeepSeek_V3", "GPT_OSS_120B", "MiniMax_M2", "Kimi_K2_5", "Qwen3_235B_A22B"]
OTHER = ["Qwen3_5_397B_A17B", "GLM_5", "Jamba_v0_1", "Nemotron_H_8B", "DeepSeek_V3_2"]


def multiplied(model):
    """Parameters that a token is multiplied with: all but tables, norms and experts that it does not reach."""
    m, s = model.si, shape(model)
    idle = s.routed * (1 - s.active_experts / s.experts)
    tables = m.vocab * (m.embedding_dim or m.hidden) * (1 if m.tied_embeddings else 2)
    return parameter_count(model) - idle - tables - (m.positions or 0.0) * m.hidden - (m.vision_parameters or 0.0)


@pytest.mark.parametrize("name", DENSE + MIXED)
def test_flops_are_two_a_weight_and_token_plus_attention(name):
    model = Models[name]
    s, head = shape(model), 2 * model.si.vocab * model.si.hidden
    # Biases are parameters that multiply nothing; the norms inside latent attention are not products either.
    claimed = 0.02 if model.si.kv_lora_rank else 0.01 if model.si.bias else 2e-3
    decode = total_flops(operators(model, Work("decode", 4.0, 1.0, 3000.0), Layout()))
    book = eq.linear_flops(multiplied(model), 4.0) + 4 * head + decode_attention(s, 3000.0, 4.0)
    assert decode == pytest.approx(book, rel=claimed)
    prefill = total_flops(operators(model, Work("prefill", 4.0, 1000.0, 0.0), Layout()))
    book = eq.linear_flops(multiplied(model), 4000.0) + 4 * head + prefill_attention(s, 1000.0, 0.0, 4.0)
    assert prefill == pytest.approx(book, rel=claimed)


@pytest.mark.parametrize("name", OTHER)
def test_hybrids_and_sparse_attention_run_every_weight_at_least(name):
    model = Models[name]
    decode = total_flops(operators(model, Work("decode", 4.0, 1.0, 3000.0), Layout()))
    linear = eq.linear_flops(multiplied(model), 4.0) + 8 * model.si.vocab * model.si.hidden
    # Attention, the states of recurrent layers and the scores of indexers come on top.
    assert 0.98 * linear <= decode <= 1.35 * (linear + decode_attention(shape(model), 3000.0, 4.0))


@pytest.mark.parametrize("name", ["Llama3_70B", "GPT_OSS_120B", "MiniMax_M2", "Qwen3_235B_A22B"])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_a_split_over_ranks_loses_no_work(name, phase):
    model = Models[name]
    work = Work(phase, 8.0, 1.0 if phase == "decode" else 512.0, 2048.0)
    whole = {one.name: one.flops * one.count for one in operators(model, work, Layout())}
    for layout in (Layout.of(4.0), Layout.of(1.0, ep=4.0), Layout.of(1.0, ep=4.0, attention_dp=1.0)):
        for one in operators(model, work, layout):
            if one.flops is not None and np.any(one.flops) and one.name != "router":
                assert one.flops * one.count * layout.ranks == pytest.approx(whole[one.name]), (one.name, layout)


def test_too_few_key_heads_are_copied_and_not_split():
    model = Models.Qwen3_235B_A22B  # 4 key-value heads
    one = next(o for o in operators(model, Work("decode", 8.0, 1.0, 100.0), Layout.of(8.0)) if o.name == "attention")
    assert one.kv_heads == 1
    assert one.heads == 8


def test_projections_are_fused():
    names = [one.name for one in operators(Models.Llama3_8B, Work("decode", 1.0, 1.0, 100.0), Layout())]
    assert names.count("attention_qkv") == names.count("mlp_up") == names.count("attention_norm") == 1
    run = {one.name: one for one in operators(Models.Llama3_8B, Work("decode", 1.0, 1.0, 100.0), Layout())}
    assert run["attention_qkv"].n == (32 + 8 + 8) * 128
    assert run["mlp_up"].n == 2 * 14336
    # A quantised product has a kernel more than one in 16 bits.
    narrow = {
        one.name: one
        for one in operators(Models.Llama3_8B, Work("decode", 1.0, 1.0, 100.0), Layout(), Numerics(linear="fp8"))
    }
    assert kernels(narrow["mlp_up"]) == kernels(run["mlp_up"]) + 1


def test_latent_attention_is_absorbed_in_decode_only():
    decode = {one.name: one for one in operators(Models.DeepSeek_V3, Work("decode", 1.0, 1.0, 100.0), Layout())}
    prefill = {one.name: one for one in operators(Models.DeepSeek_V3, Work("prefill", 1.0, 100.0, 0.0), Layout())}
    assert "latent_absorb_keys" in decode
    assert "latent_kv_up" not in decode
    assert "latent_kv_up" in prefill
    assert "latent_absorb_keys" not in prefill
    # One vector of 512 + 64 values a token, read once whatever the number of heads.
    assert decode["latent_attention"].read_bytes == pytest.approx(100 * 576 * 2 + 128 * 576 * 2)


@given(st.integers(1, 4096), st.floats(0.1, 1.0))
@settings(max_examples=40, deadline=None)
def test_busy_experts_stay_within_what_tokens_and_the_rank_allow(tokens, evenness):
    work = Work("decode", float(tokens), 1.0, 100.0)
    found = operators(Models.DeepSeek_V3, work, Layout.of(1.0, ep=8.0), evenness=evenness)
    one = next(o for o in found if o.kind == "moe")
    assert 0 < one.active <= 256 / 8 * (1 + 1e-12)
    assert one.active <= tokens * 8 / 8 * (1 + 1e-9)


def test_windows_cap_what_decode_reads():
    run = {one.name: one for one in operators(Models.GPT_OSS_120B, Work("decode", 1.0, 1.0, 5000.0), Layout())}
    assert run["window_attention"].flops * 5000 == pytest.approx(run["attention"].flops * 128)
    assert run["window_attention"].count == run["attention"].count == 18


@pytest.mark.parametrize(
    "name", ["Llama3_8B", "DeepSeek_V3", "GPT_OSS_120B", "Qwen3_5_397B_A17B", "GLM_5", "Jamba_v0_1"]
)
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_arrays_equal_scalars(name, phase):
    batch, context = np.array([1.0, 3.0, 64.0]), np.array([100.0, 5000.0, 2048.0])

    def work(b, c):
        return Work(phase, b, 1.0, c) if phase == "decode" else Work(phase, b, c, 0.0)

    together = operators(Models[name], work(batch, context), Layout.of(1.0, ep=4.0))
    for i in range(3):
        for many, one in zip(
            together, operators(Models[name], work(batch[i], context[i]), Layout.of(1.0, ep=4.0)), strict=True
        ):
            assert np.broadcast_to(many.flops, 3)[i] == pytest.approx(float(one.flops))
            assert np.broadcast_to(many.bytes, 3)[i] == pytest.approx(float(one.bytes))
