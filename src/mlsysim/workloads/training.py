"""The work of training: FLOPs by kind, weights by stage, activations of a layer, bytes of an optimizer's state."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import textbook
from ..catalog.models import Recommender, StateSpace, Transformer, Workload
from ..errors import MissingFactError
from ..physics import is_recording
from ..physics import training_memory as state
from ..physics import transformer as eq
from ..units import Bytes, Count, Flop
from . import language
from .passes import prefill_attention
from .transformer import Shape, dense_layers, mixer_layers, shape, source_length

BACKWARD = 2.0
"""FLOPs of a backward pass over those of the forward pass: gradients of inputs, and of weights."""

NONE, SELECTIVE, FULL = 0.0, 1.0, 2.0
RECOMPUTE = {"none": NONE, "selective": SELECTIVE, "full": FULL}
"""What is computed again in the backward pass: nothing, attention scores, whole layers."""


@dataclass(frozen=True, slots=True)
class Optimizer:
    """Bytes an optimizer keeps for a parameter besides its full-precision copy, and where that is said."""

    first: float
    second: float
    source: str
    matrices_only: bool = False
    factored: bool = False


OPTIMIZERS = {
    "sgd": Optimizer(0.0, 0.0, "plain stochastic gradient descent keeps no state"),
    "momentum": Optimizer(4.0, 0.0, "Sutskever et al., ICML 2013: one velocity"),
    "adam": Optimizer(4.0, 4.0, "Kingma and Ba, arXiv:1412.6980: two moments"),
    "adamw": Optimizer(4.0, 4.0, "Loshchilov and Hutter, arXiv:1711.05101: two moments"),
    "adamw8bit": Optimizer(1.002, 1.002, "Dettmers et al., arXiv:2110.02861: 8-bit moments, a 32-bit scale for 2,048"),
    "adafactor": Optimizer(0.0, 4.0, "Shazeer and Stern, arXiv:1804.04235: a row and a column", factored=True),
    "muon": Optimizer(4.0, 4.0, "Jordan, Muon, 2024: momentum; Adam for embeddings", matrices_only=True),
}


@dataclass(frozen=True, slots=True)
class Work:
    """What training one sample of a model costs, and where its parameters sit."""

    model: Workload
    shape: Shape | None
    linear: Flop
    routed: Flop
    attention: Flop
    layers: Count
    layer_parameters: Count
    expert_parameters: Count
    embedding: Count
    tied: bool
    tokens: Count

    @property
    def parameters(self) -> Count:
        """All parameters, as the stages hold them together."""
        return self.layer_parameters + self.expert_parameters + self.embedding * (1.0 if self.tied else 2.0)


def work_of(model: Workload, tokens: Count) -> Work:
    """Cost of the forward pass over one sample of so many tokens (a sample of its own size for other models)."""
    plain = np.ndim(tokens) == 0
    return _known(model, float(tokens)) if plain and not is_recording() else _work(model, tokens)


def _work(model: Workload, tokens: Any) -> Work:
    if not isinstance(model, Transformer):
        return _other(model, tokens)
    m, s = model.si, shape(model)
    routed = s.routed * s.active_experts / s.experts
    reading: Any = 0.0
    if model.architecture == "encoder_decoder":
        attention, reading = _both(model, tokens)
    elif model.architecture == "encoder":
        attention = sum(
            eq.attention_flops(tokens * tokens, 1.0, kind.layers, kind.heads, kind.query_dim, kind.value_dim)
            for kind in s.attention
        )
    else:
        attention = prefill_attention(s, tokens, 0.0, 1.0)
    embedding = eq.embedding_parameters(m.vocab, m.hidden, 1.0)
    tied = bool(m.tied_embeddings) or model.architecture == "encoder"
    return Work(
        model=model,
        shape=s,
        linear=eq.linear_flops(s.active - routed, tokens) + reading,
        routed=eq.linear_flops(routed, tokens),
        attention=attention,
        layers=s.layers,
        layer_parameters=s.parameters - s.routed - embedding * (1.0 if tied else 2.0),
        expert_parameters=s.routed,
        embedding=embedding,
        tied=tied,
        tokens=tokens,
    )


def _both(model: Transformer, tokens: Any) -> tuple[Flop, Flop]:
    """Attention of an encoder and a decoder, and the FLOPs of products for tokens that are only read.

    An encoder without a length of its own reads as many tokens as the decoder writes.
    """
    m = model.si
    source = source_length(m, tokens)
    pairs = (
        (source * source, m.encoder_layers),
        (eq.attended_pairs(tokens, 0.0), m.decoder_layers),
        (tokens * source, m.decoder_layers),
    )
    attention = sum(eq.attention_flops(n, 1.0, layers, m.heads, m.head_dim, m.head_dim) for n, layers in pairs)
    projections = eq.attention_parameters(m.hidden, m.heads, m.kv_heads, m.head_dim)
    encoder = m.encoder_layers * (projections + eq.mlp_parameters(m.hidden, m.ffn, m.mlp_matrices))
    return attention, eq.linear_flops(encoder, source - tokens)


_known = functools.lru_cache(maxsize=1024)(_work)


def _other(model: Workload, tokens: Any) -> Work:
    """A model known by its published cost: one forward pass of a sample (one denoising step of a diffusion model)."""
    parameters = model.si.parameters
    if parameters is None:
        raise MissingFactError(f"{model.id}: training needs a parameter count; pass model.replace(parameters=...)")
    forward = model.flops() * (tokens if isinstance(model, StateSpace) else 1.0)
    tables: Any = 0.0
    if isinstance(model, Recommender):  # its tables are spread over ranks as experts are
        tables = (model.si.embedding_rows or 0.0) * (model.si.embedding_dim or 0.0)
    layers = model.si.layers or 1.0
    return Work(model, None, forward, 0.0, 0.0, layers, parameters - tables, tables, 0.0, True, tokens)


@dataclass(frozen=True, slots=True)
class Kept:
    """How what products and activation functions read waits for the backward pass.

    ``narrow`` are the bytes of an input kept for gradients of weights, where that is the copy in a narrow format: then the
    output of attention waits twice, since attention keeps its own. ``gate`` are the bytes of a value that an activation
    function keeps, and ``mask`` those of one element of a dropout mask. With adapters on some matrices (``adapted``) the
    others are frozen; they have no gradients, and so keep no inputs. ``dropped`` adapters read a copy with a mask of its own.
    """

    narrow: Bytes | None = None
    gate: Bytes | None = None
    mask: Bytes = 1.0
    adapted: str = ""
    dropped: bool = False

    def spared(self, hidden: Any, across: Any, ffn: Any, gates: float, value: Bytes) -> Any:
        """Bytes of a token that need not wait, of a layer with inputs of so many values on this rank.

        Examples:
            >>> Kept().spared(8192.0, 8192.0, 28672.0, 2.0, 2.0)
            0.0
            >>> Kept(narrow=1.0).spared(8192.0, 8192.0, 28672.0, 2.0, 2.0)
            36864.0
            >>> Kept(adapted="qkv").spared(8192.0, 8192.0, 28672.0, 2.0, 2.0)
            73728.0
        """
        gate = 0.0 if self.gate is None else (value - self.gate) * gates * ffn
        if self.adapted in ("attention", "qkv"):
            masks = self.dropped * (hidden + (value + 1.0) * across * (self.adapted == "attention"))
            return value * (hidden + ffn) + gate - masks
        if self.adapted or self.narrow is None or self.narrow >= value:
            return gate
        return (value - self.narrow) * (2 * hidden + ffn) - self.narrow * across + gate

    def sent(self, value: Bytes) -> Bytes:
        """Bytes of a value as experts keep what they are sent."""
        if self.adapted in ("attention", "qkv"):
            return 0.0
        return value if self.adapted or self.narrow is None else min(self.narrow, value)


PLAIN = Kept()


def layer_activations(
    work: Work, samples: Count, tp: Count, cp: Count, shards: Count, recompute: Any, value: Bytes, fused: bool,
    waiting: Kept = PLAIN,
) -> tuple[Bytes, Bytes]:  # fmt: skip
    """Activations that one layer keeps for the backward pass of a micro-batch, and those of a layer in full.

    Args:
        work: the model and its tokens
        samples: sequences of the micro-batch
        tp: tensor-parallel ranks
        cp: context-parallel ranks, which share the tokens
        shards: ranks that share what tensor parallelism leaves whole: ``tp`` with sequence parallelism, else 1
        recompute: :data:`NONE`, :data:`SELECTIVE` or :data:`FULL` (may be an array)
        value: bytes of a stored value
        fused: attention never stores its scores (FlashAttention)
        waiting: how inputs of products wait
    """
    m = work.model.si
    if work.shape is None:
        stored = _other_activations(work.model, value) * samples / work.layers
        return np.where(np.asarray(recompute) >= FULL, stored / 2, stored)[()], stored
    tokens = work.tokens / cp
    if work.model.architecture == "encoder_decoder":
        kept = _of_both(work, samples, tokens, tp, shards, value)
    else:
        kept = _without_scores(work, samples, tokens, tp, shards, value, waiting)
    whole = kept
    if not fused:
        dropout = waiting.mask if m.mlp_matrices == 2 else 0.0
        scores = state.layer_activation_size(work.tokens, samples, 0.0, m.heads, tp * cp, 1.0, value, dropout)
        kept = np.where(np.asarray(recompute) >= SELECTIVE, kept, kept + scores)
        whole = whole + scores
    full = state.full_recompute_activation_size(tokens, samples, m.hidden, shards, value)
    chosen: Any = np.where(np.asarray(recompute) >= FULL, full, kept)
    return chosen[()], whole


def _without_scores(
    work: Work, samples: Count, tokens: Count, tp: Count, shards: Count, value: Bytes, waiting: Kept = PLAIN
) -> Bytes:
    m, s = work.model.si, work.shape
    assert s is not None
    classic = m.mlp_matrices == 2 and m.kv_heads == m.heads and m.ffn == 4 * m.hidden
    if classic and not s.moe_layers:  # the layer of GPT
        spared = waiting.spared(m.hidden / shards, m.hidden / tp, m.ffn / tp, 1.0, value)
        whole = state.selective_activation_size(tokens, samples, m.hidden, tp, shards, value, waiting.mask)
        return whole - samples * tokens * spared
    heads, kv, width = m.heads, m.kv_heads, m.head_dim
    if m.kv_lora_rank is not None:  # keys and values are expanded from the latent while training
        kv, width = heads, ((m.qk_nope_head_dim or 0.0) + (m.qk_rope_head_dim or 0.0) + m.v_head_dim) / 2
    beside: Any = 0.0
    if m.kv_lora_rank is not None:
        # queries before and after their rotation, keys, the expanded latent and values; both latents before and after a norm
        nope, rope = m.qk_nope_head_dim or 0.0, m.qk_rope_head_dim or 0.0
        own = 3 * (nope + rope) + (nope + m.v_head_dim) + 2 * m.v_head_dim
        latent = 2 * ((m.q_lora_rank or 0.0) + m.kv_lora_rank + rope)
        beside = samples * tokens * value * ((own - 4 * width) * heads / tp + latent)
    # gate, up projection and product: one stored value for each of a plain MLP's two matrices, three of a gated one's
    scale = m.mlp_matrices / 3.0
    layers = np.maximum(s.layers, 1.0)
    shared = (
        m.shared_expert_ffn if m.shared_expert_ffn is not None else (m.shared_experts or 0.0) * (m.expert_ffn or 0.0)
    )
    experts = (m.active_experts or 0.0) * (m.expert_ffn or m.ffn or 0.0) + shared
    plain = dense_layers(m, s.moe_layers)
    ffn = ((m.ffn or 0.0) * plain + experts * s.moe_layers) / layers * scale
    hidden, recurrent = m.hidden, 0.0
    if m.linear_layers or m.mamba_layers:
        # fewer layers attend; a recurrence keeps what its products, convolution and scan write; a block is half a layer
        mixers = mixer_layers(m)
        others = (m.linear_layers or 0.0) + (m.mamba_layers or 0.0)
        share = (mixers - others) / layers
        heads, kv, beside = heads * share, kv * share, beside * share
        hidden = hidden * (mixers + plain + s.moe_layers) / (2 * layers)
        recurrent = _recurrent(work.model, samples, tokens, tp) * (value / 2) / layers
    held = recurrent + state.gated_layer_activation_size(
        samples * tokens, hidden, heads, kv, width, ffn, tp, shards, value
    )
    held = held + beside if m.kv_lora_rank is not None else held
    across, gates = heads * width / tp, m.mlp_matrices - 1.0
    held = held - samples * tokens * waiting.spared(hidden / shards, across, ffn / scale / tp, gates, value)
    if not s.moe_layers:
        return held
    copies = state.full_recompute_activation_size(tokens, samples, m.hidden, tp, waiting.sent(value))
    return held + copies * s.active_experts * s.moe_layers / layers  # tokens as sent to experts and as returned


def _recurrent(model: Any, samples: Count, tokens: Count, tp: Count) -> Bytes:
    """What the recurrent layers of a model write on the way forward, but for their last product, in 16 bits."""
    asked = language.Work("prefill", samples, tokens, 0.0)
    found = language.recurrent_operators(model, asked, language.Layout(attention=tp))
    return sum(o.write_bytes * o.count for o in found if not o.name.endswith("_out"))


def _of_both(work: Work, samples: Count, tokens: Count, tp: Count, shards: Count, value: Bytes) -> Bytes:
    """The mean over layers that read, and layers that write and attend twice."""
    m = work.model.si
    read = source_length(m, tokens)
    encoder = _without_scores(work, samples, read, tp, shards, value)
    decoder = _without_scores(work, samples, tokens, tp, shards, value)
    across = state.gated_layer_activation_size(
        samples * tokens, m.hidden / 2, m.heads, m.kv_heads, m.head_dim, 0.0, tp, shards, value
    )
    return (m.encoder_layers * encoder + m.decoder_layers * (decoder + across)) / work.layers


def _other_activations(model: Workload, value: Bytes) -> Any:
    m = model.si
    if m.activations is not None:
        return m.activations * value
    return textbook().activation_share * m.parameters * value


def optimizer_bytes(name: str, work: Work, master: Bytes) -> tuple[Bytes, Bytes, Bytes]:
    """Bytes for each parameter of the full-precision copy and of the two moments."""
    optimizer = OPTIMIZERS[name]
    second = optimizer.second
    if optimizer.factored:
        hidden = work.model.si.hidden if work.shape is not None else 1024.0
        second = second * 2.0 / hidden
    if optimizer.matrices_only:
        second = second * (work.embedding * (1.0 if work.tied else 2.0)) / work.parameters
    return master, optimizer.first, second


def adapter_parameters(model: Transformer, rank: Count) -> Count:
    """Parameters of low-rank adapters on queries, keys, values and the output of every layer."""
    m = model.si
    wide, narrow = m.heads * m.head_dim, m.kv_heads * m.head_dim
    return state.lora_parameters(m.hidden, wide, rank, 2 * m.layers) + state.lora_parameters(
        m.hidden, narrow, rank, 2 * m.layers
    )
