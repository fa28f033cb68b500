"""What a transformer holds, reads and computes in a phase, from its spec."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from ..catalog.models import Transformer
from ..physics import is_recording
from ..physics import transformer as eq
from ..units import Count


@dataclass(frozen=True, slots=True)
class Cache:
    """One kind of cached state: values a token leaves, how many tokens are kept, and how many a query reads."""

    values: Count
    kept: float = eq.EVERYTHING
    read: float = eq.EVERYTHING


@dataclass(frozen=True, slots=True)
class Attention:
    """Layers that attend alike: how many, their heads and widths, and the window."""

    layers: Count
    heads: Count
    query_dim: Count
    value_dim: Count
    decode_query_dim: Count
    decode_value_dim: Count
    window: float = eq.EVERYTHING


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a transformer that its cost depends on."""

    parameters: float
    active: float
    routed: float
    layers: float
    moe_layers: float
    hidden: float
    widest: float
    experts: float
    active_experts: float
    kv_heads: float
    heads: float
    attention: tuple[Attention, ...]
    caches: tuple[Cache, ...]
    state_values: float


def shape(model: Transformer) -> Shape:
    """The shape of a model; computed once, and once more for every ledger."""
    return _shape(model) if is_recording() else _known_shape(model)


def _shape(model: Transformer) -> Shape:
    m = model.si
    moe_layers = 0.0
    if m.experts is not None:
        moe_layers = m.moe_layers if m.moe_layers is not None else m.layers - (m.first_dense_layers or 0.0)
    expert = eq.mlp_parameters(m.hidden, m.expert_ffn or m.ffn or 0.0, m.mlp_matrices)
    attention, caches = _attention(m)
    return Shape(
        parameters=m.parameters,
        active=m.active_parameters if m.active_parameters is not None else m.parameters,
        routed=moe_layers * (m.experts or 0.0) * expert,
        layers=m.layers,
        moe_layers=moe_layers,
        hidden=m.hidden,
        widest=max(m.ffn or 0.0, (m.active_experts or 0.0) * (m.expert_ffn or 0.0), m.hidden),
        experts=m.experts or 1.0,
        active_experts=m.active_experts or 1.0,
        kv_heads=1.0 if m.kv_lora_rank is not None else m.kv_heads,
        heads=m.heads,
        attention=attention,
        caches=caches,
        state_values=state_values(model),
    )


_known_shape = functools.lru_cache(maxsize=1024)(_shape)


def _attention(m: Any) -> tuple[tuple[Attention, ...], tuple[Cache, ...]]:
    softmax = m.attention_layers if m.attention_layers is not None else m.layers
    windowed = m.window_layers if m.window_layers is not None else (softmax if m.sliding_window is not None else 0.0)
    if m.kv_lora_rank is not None:
        rope = m.qk_rope_head_dim or 0.0
        latent = m.kv_lora_rank + rope
        query, value = (m.qk_nope_head_dim or 0.0) + rope, m.v_head_dim or m.head_dim
        widths = (query, value, latent, m.kv_lora_rank)  # decoding attends in the latent space (absorbed form)
        keys = (1.0, latent, 0.0)
    else:
        widths = (m.head_dim, m.head_dim, m.head_dim, m.head_dim)
        keys = (m.kv_heads, m.head_dim, m.head_dim)
    attention: list[Attention] = []
    caches: list[Cache] = []
    full = softmax - windowed if windowed else softmax
    if full:
        sparse = m.index_topk if m.index_topk is not None else eq.EVERYTHING
        attention.append(Attention(full, m.heads, *widths, window=sparse))
        caches.append(Cache(eq.cached_values(full, *keys), read=sparse))
        if m.index_topk is not None:
            # the indexer scores every cached token with small keys of its own
            attention.append(
                Attention(full, m.index_heads or 1.0, m.index_head_dim or 0.0, 0.0, m.index_head_dim or 0.0, 0.0)
            )
            caches.append(Cache(full * (m.index_head_dim or 0.0)))
    if windowed:
        window = m.sliding_window if m.sliding_window is not None else eq.EVERYTHING
        attention.append(Attention(windowed, m.heads, *widths, window=window))
        caches.append(Cache(eq.cached_values(windowed, *keys), kept=window, read=window))
    return tuple(attention), tuple(caches)


def state_values(model: Transformer) -> float:
    """Values of recurrent state that a sequence keeps in linear-attention and Mamba layers, whatever its length."""
    m = model.si
    values = 0.0
    if m.linear_layers:
        keys = (m.linear_key_heads or 0.0) * (m.linear_key_head_dim or 0.0)
        width = (m.linear_value_heads or 0.0) * (m.linear_value_head_dim or 0.0)
        state = (m.linear_value_heads or 0.0) * (m.linear_key_head_dim or 0.0) * (m.linear_value_head_dim or 0.0)
        values += m.linear_layers * (state + ((m.conv_kernel or 1.0) - 1) * (2 * keys + width))
    if m.mamba_layers:
        inner = (m.ssm_heads or 0.0) * (m.ssm_head_dim or 0.0)
        groups = (m.ssm_groups or 1.0) * (m.ssm_state or 0.0)
        values += m.mamba_layers * (inner * (m.ssm_state or 0.0) + ((m.conv_kernel or 1.0) - 1) * (inner + 2 * groups))
    return float(values)


def parameter_count(model: Transformer) -> float:
    """Parameters summed from the architecture, to be held against the published count.

    Embeddings, attention (grouped, latent, linear, Mamba), MLPs, experts with their router, norms, biases and a vision
    tower. Encoder-decoder models add cross-attention in every decoder layer.
    """
    m = model.si
    matrices = 1.0 if m.tied_embeddings else 2.0
    if m.architecture in ("encoder", "encoder_decoder"):
        matrices = 1.0 if m.tied_embeddings or m.architecture == "encoder" else 2.0
    count = eq.embedding_parameters(m.vocab, m.hidden, matrices) + (m.positions or 0.0) * m.hidden
    softmax = m.attention_layers if m.attention_layers is not None else m.layers
    count += softmax * _softmax_attention(m)
    if m.architecture == "encoder_decoder":
        count += (m.decoder_layers or 0.0) * _softmax_attention(m)
    count += _linear_attention(m) + _mamba(m)
    if m.index_heads:
        per = (m.q_lora_rank or m.hidden) * m.index_heads * m.index_head_dim + m.hidden * (
            m.index_head_dim + m.index_heads
        )
        count += softmax * per
    count += _mlps(m)
    norms = 2.0 * m.layers + 1
    count += norms * m.hidden * (2.0 if m.norm_bias else 1.0)
    return float(count + (m.vision_parameters or 0.0))


def _softmax_attention(m: Any) -> Any:
    if m.kv_lora_rank is not None:
        count = eq.latent_attention_parameters(
            m.hidden,
            m.heads,
            m.q_lora_rank or 0.0,
            m.kv_lora_rank,
            m.qk_nope_head_dim,
            m.qk_rope_head_dim or 0.0,
            m.v_head_dim,
        )
        return count + (m.q_lora_rank or 0.0) + m.kv_lora_rank
    count = eq.attention_parameters(m.hidden, m.heads, m.kv_heads, m.head_dim)
    if m.qkv_bias or m.bias:
        count += (m.heads + 2 * m.kv_heads) * m.head_dim
    if m.bias:
        count += m.hidden
    return count + (2 * m.head_dim if m.qk_norm else 0.0)


def _linear_attention(m: Any) -> Any:
    if not m.linear_layers:
        return 0.0
    keys = (m.linear_key_heads or 0.0) * (m.linear_key_head_dim or 0.0)
    values = (m.linear_value_heads or 0.0) * (m.linear_value_head_dim or 0.0)
    heads = m.linear_value_heads or 0.0
    # query, key, value, output gate; two scalars a head (decay, update); output; the short convolution; a gated norm
    per = (
        m.hidden * (2 * keys + 2 * values + 2 * heads)
        + values * m.hidden
        + (m.conv_kernel or 0.0) * (2 * keys + values)
    )
    return m.linear_layers * (per + 2 * heads + (m.linear_value_head_dim or 0.0))


def _mamba(m: Any) -> Any:
    if not m.mamba_layers:
        return 0.0
    inner = (m.ssm_heads or 0.0) * (m.ssm_head_dim or 0.0)
    groups = (m.ssm_groups or 1.0) * (m.ssm_state or 0.0)
    per = m.hidden * (2 * inner + 2 * groups + m.ssm_heads) + inner * m.hidden
    per += ((m.conv_kernel or 0.0) + 1) * (inner + 2 * groups) + 3 * m.ssm_heads + inner
    return m.mamba_layers * per


def _mlps(m: Any) -> Any:
    moe_layers = 0.0
    if m.experts is not None:
        moe_layers = m.moe_layers if m.moe_layers is not None else m.layers - (m.first_dense_layers or 0.0)
    hybrid = m.mamba_layers is not None or m.linear_layers is not None
    dense_layers = m.mlp_layers if m.mlp_layers is not None else (0.0 if m.mamba_layers else m.layers - moe_layers)
    if hybrid and m.mlp_layers is None and not m.mamba_layers:
        dense_layers = m.layers - moe_layers
    count = dense_layers * eq.mlp_parameters(m.hidden, m.ffn or 0.0, m.mlp_matrices)
    if m.bias:
        count += dense_layers * ((m.mlp_matrices - 1) * (m.ffn or 0.0) + m.hidden)
    if moe_layers:
        shared = m.shared_expert_ffn if m.shared_expert_ffn is not None else (m.shared_experts or 0.0) * m.expert_ffn
        per = m.experts * eq.mlp_parameters(m.hidden, m.expert_ffn, m.mlp_matrices) + m.hidden * m.experts
        count += moe_layers * (per + eq.mlp_parameters(m.hidden, shared, m.mlp_matrices))
    return count
