"""What a transformer holds, reads and computes in a phase, from its spec."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from ..catalog.models import StateSpace, Transformer
from ..physics import is_recording, ssm
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
    moe_layers = _moe_layers(m)
    expert = eq.mlp_parameters(m.expert_hidden or m.hidden, m.expert_ffn or m.ffn or 0.0, m.mlp_matrices)
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


def _moe_layers(m: Any) -> float:
    if m.experts is None:
        return 0.0
    return float(m.moe_layers if m.moe_layers is not None else m.layers - (m.first_dense_layers or 0.0))


@dataclass(frozen=True, slots=True)
class Softmax:
    """Softmax attention layers by kind: how many look at everything and how many at a window, and the window's heads."""

    full: float
    windowed: float
    window: float
    heads: float
    kv_heads: float
    head_dim: float
    value_dim: float
    """Widths of the windowed layers; those of the full ones are the model's own."""


def softmax_layers(m: Any) -> Softmax:
    """Softmax attention layers of a model by kind."""
    softmax = m.attention_layers if m.attention_layers is not None else m.layers
    windowed = m.window_layers if m.window_layers is not None else (softmax if m.sliding_window is not None else 0.0)
    head_dim = m.window_head_dim or m.head_dim
    return Softmax(
        full=softmax - windowed,
        windowed=windowed,
        window=m.sliding_window if m.sliding_window is not None else eq.EVERYTHING,
        heads=m.window_heads or m.heads,
        kv_heads=m.window_kv_heads or m.kv_heads,
        head_dim=head_dim,
        value_dim=m.v_head_dim or head_dim,
    )


def mixer_layers(m: Any) -> float:
    """Layers in which tokens meet: softmax attention, linear attention, Mamba."""
    softmax = m.attention_layers if m.attention_layers is not None else m.layers
    if m.compressed_layers is not None:
        softmax = m.layers
    return float(softmax + (m.linear_layers or 0.0) + (m.mamba_layers or 0.0))


def dense_layers(m: Any, moe_layers: float) -> float:
    """Layers with a plain MLP. A Mamba hybrid names them; elsewhere every layer without experts has one."""
    if m.mlp_layers is not None:
        return float(m.mlp_layers)
    return 0.0 if m.mamba_layers else float(m.layers - moe_layers)


def source_length(m: Any, length: Any) -> Any:
    """Tokens that the encoder of an encoder-decoder model reads: its own fixed number, else as many as are written."""
    return length if m.encoder_context is None else m.encoder_context + 0.0 * length


def part_of(model: Transformer, architecture: str) -> Transformer:
    """The encoder or the decoder (``transformer``) of a model that has both, as a stack of layers of its own."""
    return _known_part(model, architecture)


@functools.lru_cache(maxsize=256)
def _known_part(model: Transformer, architecture: str) -> Transformer:
    layers = model.encoder_layers if architecture == "encoder" else model.decoder_layers
    return model.replace(architecture=architecture, layers=layers)


@functools.lru_cache(maxsize=256)
def as_transformer(model: StateSpace) -> Transformer:
    """A Mamba model as a stack whose layers are all Mamba and that has no other."""
    m = model.si
    inner = m.ssm_heads * m.ssm_head_dim if m.ssm_heads is not None else m.ssm_expand * m.hidden
    width = m.ssm_head_dim or min(64.0, inner)
    heads = inner / width
    return Transformer(
        id=model.id, name=model.name, architecture="transformer", parameters=m.parameters, layers=m.layers, hidden=m.hidden,
        heads=heads, kv_heads=heads, head_dim=width, vocab=m.vocab or 1.0, ffn=inner, tied_embeddings=True,
        attention_layers=0.0, mlp_layers=0.0, mamba_layers=m.layers, conv_kernel=m.conv_kernel, ssm_state=m.ssm_state,
        ssm_heads=m.ssm_heads, ssm_head_dim=m.ssm_head_dim, ssm_groups=m.ssm_groups, ssm_expand=m.ssm_expand, dt_rank=m.dt_rank,
    )  # fmt: skip


def _attention(m: Any) -> tuple[tuple[Attention, ...], tuple[Cache, ...]]:
    if m.compressed_layers is not None:
        return _compressed_attention(m)
    kinds = softmax_layers(m)
    value = m.v_head_dim or m.head_dim
    if m.kv_lora_rank is not None:
        rope = m.qk_rope_head_dim or 0.0
        latent = m.kv_lora_rank + rope
        # decoding attends in the latent space (absorbed form)
        widths = ((m.qk_nope_head_dim or 0.0) + rope, value, latent, m.kv_lora_rank)
        keys = (1.0, latent, 0.0)
    else:
        widths = (m.head_dim, value, m.head_dim, value)
        keys = (m.kv_heads, m.head_dim, value)
    attention: list[Attention] = []
    caches: list[Cache] = []
    if kinds.full:
        sparse = m.index_topk if m.index_topk is not None else eq.EVERYTHING
        attention.append(Attention(kinds.full, m.heads, *widths, window=sparse))
        # a token of an encoder-decoder leaves one key and value a decoder layer: crossed if read, its own if written
        cached = m.decoder_layers if m.architecture == "encoder_decoder" and m.decoder_layers else kinds.full
        caches.append(Cache(eq.cached_values(cached, *keys), read=sparse))
        if m.index_topk is not None:
            # the indexer scores every cached token with small keys of its own
            layers, width = m.index_layers or kinds.full, m.index_head_dim or 0.0
            attention.append(Attention(layers, m.index_heads or 1.0, width, 0.0, width, 0.0))
            caches.append(Cache(layers * width))
    if kinds.windowed:
        width, value = kinds.head_dim, kinds.value_dim
        attention.append(Attention(kinds.windowed, kinds.heads, width, value, width, value, window=kinds.window))
        values = eq.cached_values(kinds.windowed, kinds.kv_heads, width, value)
        caches.append(Cache(values, kept=kinds.window, read=kinds.window))
    return tuple(attention), tuple(caches)


def _compressed_attention(m: Any) -> tuple[tuple[Attention, ...], tuple[Cache, ...]]:
    """Layers that keep one shared vector for every few tokens, and each token of a short window.

    Lightly compressed layers pick the best vectors with an indexer; heavily compressed ones attend to all of them.
    """
    light, heavy = m.compressed_layers, m.heavy_compressed_layers or 0.0
    every, each = m.compress_ratio or 1.0, m.heavy_compress_ratio or 1.0
    chosen = (m.index_topk or 0.0) * every
    width, index = m.head_dim, m.index_head_dim or 0.0
    window = m.sliding_window if m.sliding_window is not None else eq.EVERYTHING

    def attend(layers: float, heads: float, ratio: float, size: float, values: float, window: float) -> Attention:
        return Attention(layers, heads, size / ratio, values / ratio, size / ratio, values / ratio, window=window)

    attention = [
        attend(m.layers, m.heads, 1.0, width, width, window),
        attend(light, m.heads, every, width, width, chosen),
    ]
    attention += [attend(light, m.index_heads or 1.0, every, index, 0.0, eq.EVERYTHING)]
    caches = [Cache(m.layers * width, kept=window, read=window), Cache(light * width / every, read=chosen)]
    caches += [Cache(light * index / every)]
    if heavy:
        attention += [attend(heavy, m.heads, each, width, width, eq.EVERYTHING)]
        caches += [Cache(heavy * width / each)]
    return tuple(attention), tuple(caches)


def state_values(model: Transformer) -> float:
    """Values of recurrent state that a sequence keeps in linear-attention and Mamba layers, whatever its length."""
    m = model.si
    values = 0.0
    if m.linear_layers:
        keys = (m.linear_key_heads or 0.0) * (m.linear_key_head_dim or 0.0)
        width = (m.linear_value_heads or 0.0) * (m.linear_value_head_dim or 0.0)
        state = ssm.linear_attention_state(
            m.linear_value_heads or 0.0, m.linear_key_head_dim or 0.0, m.linear_value_head_dim or 0.0
        )
        convolved = 2 * keys + width if m.conv_kernel else 0.0
        values += m.linear_layers * (state + ((m.conv_kernel or 1.0) - 1) * convolved)
    if m.mamba_layers:
        inner = _mamba_width(m)
        groups = 0.0 if m.ssm_heads is None else (m.ssm_groups or 1.0) * (m.ssm_state or 0.0)
        values += m.mamba_layers * (inner * (m.ssm_state or 0.0) + ((m.conv_kernel or 1.0) - 1) * (inner + 2 * groups))
    return float(values)


def _mamba_width(m: Any) -> float:
    if m.ssm_heads is not None:
        return float(m.ssm_heads * (m.ssm_head_dim or 0.0))
    return float((m.ssm_expand or 2.0) * m.hidden)


def parameter_count(model: Transformer) -> float:
    """Parameters summed from the architecture, to be held against the published count.

    Embeddings, attention (grouped, latent, compressed, windowed, linear, Mamba), indexers, MLPs, experts with their
    router, norms, biases and a vision tower. Encoder-decoder models add cross-attention in every decoder layer.
    Multi-token-prediction layers are not counted.
    """
    m = model.si
    matrices = 1.0 if m.tied_embeddings or m.architecture == "encoder" else 2.0
    width = m.embedding_dim or m.hidden
    count = eq.embedding_parameters(m.vocab, width, matrices) + (m.positions or 0.0) * m.hidden
    if m.embedding_dim is not None:
        count += 2 * m.embedding_dim * m.hidden
    kinds = softmax_layers(m)
    count += kinds.full * _softmax_attention(m, m.heads, m.kv_heads, m.head_dim)
    count += kinds.windowed * _softmax_attention(m, kinds.heads, kinds.kv_heads, kinds.head_dim)
    if m.architecture == "encoder_decoder":
        count += (m.decoder_layers or 0.0) * _softmax_attention(m, m.heads, m.kv_heads, m.head_dim)
    count += _linear_attention(m) + _mamba(m) + _indexer(m, kinds) + _mlps(m)
    norms = 2.0 * m.layers + 1
    count += norms * m.hidden * (2.0 if m.norm_bias else 1.0)
    return float(count + (m.vision_parameters or 0.0))


def _indexer(m: Any, kinds: Softmax) -> Any:
    if not m.index_heads:
        return 0.0
    query = (m.q_lora_rank or m.hidden) * m.index_heads * m.index_head_dim
    if m.compressed_layers is not None:
        # one compressor of keys and weights for the latent, one for the indexer; heavy layers have only the first
        both = m.compressed_layers * 4 * m.hidden * (m.head_dim + m.index_head_dim)
        heavy = (m.heavy_compressed_layers or 0.0) * 2 * m.hidden * m.head_dim
        return both + heavy + m.compressed_layers * (query + m.hidden * m.index_heads)
    return (m.index_layers or kinds.full) * (query + m.hidden * (m.index_head_dim + m.index_heads))


def _softmax_attention(m: Any, heads: float, kv_heads: float, head_dim: float) -> Any:
    value = m.v_head_dim or head_dim
    gate = m.hidden * heads * value if m.attention_gate else 0.0
    if m.kv_lora_rank is not None:
        count = eq.latent_attention_parameters(
            m.hidden, heads, m.q_lora_rank or 0.0, m.kv_lora_rank, m.qk_nope_head_dim, m.qk_rope_head_dim or 0.0, value
        )
        return count + (m.q_lora_rank or 0.0) + m.kv_lora_rank + gate
    if m.o_lora_rank is not None:
        query = m.q_lora_rank * (m.hidden + heads * head_dim)
        output = m.o_lora_rank * (heads * value + (m.o_groups or 1.0) * m.hidden)
        return query + m.hidden * kv_heads * head_dim + output
    # keys as wide as queries, values as wide as the output: half of each when both are equal
    count = (
        eq.attention_parameters(m.hidden, heads, kv_heads, head_dim)
        + eq.attention_parameters(m.hidden, heads, kv_heads, value)
    ) / 2
    if m.qkv_bias or m.bias:
        count += (heads + kv_heads) * head_dim + kv_heads * value
    if m.bias:
        count += m.hidden
    return count + gate + (2 * head_dim if m.qk_norm else 0.0)


def _linear_attention(m: Any) -> Any:
    if not m.linear_layers:
        return 0.0
    return m.linear_layers * ssm.gated_delta_parameters(
        m.hidden,
        m.linear_key_heads or 0.0,
        m.linear_value_heads or 0.0,
        m.linear_key_head_dim or 0.0,
        m.linear_value_head_dim or 0.0,
        m.conv_kernel or 0.0,
    )


def _mamba(m: Any) -> Any:
    if not m.mamba_layers:
        return 0.0
    inner, kernel = _mamba_width(m), m.conv_kernel or 0.0
    if m.ssm_heads is None:
        return m.mamba_layers * ssm.mamba_parameters(
            m.hidden, inner, m.ssm_state or 0.0, m.dt_rank or m.hidden / 16, kernel
        )
    groups = m.ssm_groups or 1.0
    return m.mamba_layers * ssm.mamba2_parameters(m.hidden, inner, m.ssm_state or 0.0, m.ssm_heads, groups, kernel)


def _mlps(m: Any) -> Any:
    moe_layers = _moe_layers(m)
    plain = dense_layers(m, moe_layers)
    count = plain * eq.mlp_parameters(m.hidden, m.ffn or 0.0, m.mlp_matrices)
    if m.bias:
        count += plain * ((m.mlp_matrices - 1) * (m.ffn or 0.0) + m.hidden)
    if moe_layers:
        width = m.expert_hidden or m.hidden
        expert = eq.mlp_parameters(width, m.expert_ffn, m.mlp_matrices)
        shared = m.shared_expert_ffn if m.shared_expert_ffn is not None else (m.shared_experts or 0.0) * m.expert_ffn
        router = m.hidden * m.experts
        if m.bias:
            expert += (m.mlp_matrices - 1) * m.expert_ffn + width
            router += m.experts
        if m.expert_hidden is not None:
            router += 2 * m.hidden * m.expert_hidden  # into the experts' narrower stream and back
        count += moe_layers * (m.experts * expert + router + eq.mlp_parameters(m.hidden, shared, m.mlp_matrices))
    return count
