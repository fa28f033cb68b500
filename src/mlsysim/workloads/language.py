"""A language model in one phase of serving, as the operators that one rank runs: what fused kernels compute and move.

Fusions of today's stacks are taken as done: one projection for queries, keys and values, one for gate and up, the
residual added in the norm, attention without its scores in memory, latent attention absorbed in decode and expanded
in prefill. Numbers broadcast, so a sweep over batches or contexts is one list of operators.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..catalog.models import Transformer
from ..physics import ssm
from ..physics import transformer as eq
from ..physics.choice import maximum, minimum
from ..units import Count
from .operators import Operator, several
from .transformer import Softmax, softmax_layers

VALUE_BYTES = {
    "bf16": 2.0, "fp16": 2.0, "fp32": 4.0, "tf32": 4.0, "fp8": 1.0, "fp8_static": 1.0, "fp8_block": 1.0, "int8": 1.0,
    "nvfp4": 0.5625, "mxfp4": 0.53125, "w4a16": 0.53125, "w8a16": 1.0, "w4a16_mxfp4": 0.53125, "w4a8": 0.53125,
}  # fmt: skip
"""Bytes of one weight, its share of the scales included."""
QUANTISED = {"fp8", "fp8_block", "nvfp4", "mxfp4", "int8"}
"""Formats whose activations a kernel of its own brings into the format of the product."""
ACTIVATION = 2.0
"""Bytes of an activation between kernels."""
STATE = 4.0
"""Bytes of a value of recurrent state."""
KERNELS = {
    "gemm": 1.0,
    "attention_context": 1.0,
    "attention_decode": 1.5,
    "mla": 1.5,
    "moe": 6.0,
    "norm": 1.0,
    "elementwise": 1.0,
    "embedding": 1.0,
    "softmax": 3.0,
    "scan": 2.0,
    "collective": 1.0,
}
"""Kernels that one operator launches: split-KV attention joins its parts; experts sort, permute, multiply, join."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How one instance is laid out: attention over ``attention`` ranks, the rest of each stage's ranks by data.

    A stage has ``attention * data`` ranks; the same ranks hold the experts, each split over ``expert_tensor`` ranks
    and spread over ``expert_parallel`` of them.
    """

    attention: Count = 1.0
    data: Count = 1.0
    expert_tensor: Count = 1.0
    expert_parallel: Count = 1.0
    stages: Count = 1.0

    @property
    def ranks(self) -> Count:
        """Ranks of one stage."""
        return self.attention * self.data

    @property
    def chips(self) -> Count:
        """Chips of the instance."""
        return self.ranks * self.stages

    @classmethod
    def of(cls, tp: Count, pp: Count = 1.0, ep: Count = 1.0, attention_dp: Any = None) -> Layout:
        """From the sizes that a user names: ``tp * ep`` ranks a stage, attention data-parallel over ``ep`` of them
        unless ``attention_dp`` says otherwise."""
        data = ep if attention_dp is None else attention_dp
        return cls(attention=tp * ep / data, data=data, expert_tensor=tp, expert_parallel=ep, stages=pp)


@dataclass(frozen=True, slots=True)
class Numerics:
    """Number formats of each part of a model as kernels name them."""

    linear: str = "bf16"
    attention: str = "bf16"
    expert: str = "bf16"
    cache: str = "bf16"
    head: str = "bf16"


class Work(NamedTuple):
    """What a pass is asked to do: ``batch`` sequences of the instance, ``new`` tokens each, ``context`` cached ones."""

    phase: str
    batch: Count
    new: Count
    context: Count

    @property
    def plain(self) -> bool:
        """Whether it is one pass, not a sweep of them."""
        _, batch, new, context = self
        return isinstance(batch, float) and isinstance(new, float) and isinstance(context, float)


def operators(
    model: Transformer, work: Work, layout: Layout, numerics: Numerics | None = None, evenness: Count = 1.0
) -> list[Operator]:
    """The operators of one pass on one rank, all layers of all stages.

    Args:
        model: a decoder
        work: ``prefill`` (``new`` tokens of a prompt after ``context`` cached ones) or ``decode`` (``new`` tokens, one
            unless some are speculated, with attention to ``context`` tokens)
        layout: how the instance is split
        numerics: number formats; 16 bits unless said
        evenness: how evenly tokens spread over experts: they reach as many as this share of them would, each drawn at
            random; 1 for even routing
    """
    return list(_Pass(model, work, layout, numerics or Numerics(), evenness).operators())


def recurrent_operators(model: Transformer, work: Work, layout: Layout) -> list[Operator]:
    """Those of the linear-attention and Mamba layers of a pass alone, without what joins them; in 16 bits."""
    one, m = _Pass(model, work, layout, Numerics(), 1.0), model.si
    found = list(one.delta_net(m.linear_layers)) if m.linear_layers else []
    return found + (list(one.mamba(m.mamba_layers)) if m.mamba_layers else [])


def index_operators(model: Transformer, work: Work, layout: Layout, layers: Count) -> list[Operator]:
    """Those of the indexers of sparse attention alone; in 16 bits, scores in 8."""
    return list(_Pass(model, work, layout, Numerics(), 1.0).index(layers))


@functools.lru_cache(maxsize=1024)
def _kinds(model: Transformer) -> Softmax:
    return softmax_layers(model.si)


class _Pass:
    """Numbers that all operators of a pass share."""

    def __init__(self, model: Transformer, work: Work, layout: Layout, numerics: Numerics, evenness: Count) -> None:
        self.m = model.si
        self.kinds = _kinds(model)
        self.work, self.layout, self.numerics = work, layout, numerics
        self.evenness = evenness
        self.decode = work.phase == "decode"
        # A rank that has any sequence has a whole one; an average below one stays what it is.
        self.sequences = maximum(work.batch / layout.data, minimum(work.batch, 1.0))
        self.tokens = self.sequences * work.new
        self.all_tokens = work.batch * work.new

    def operators(self) -> Iterator[Operator]:
        m = self.m
        width = m.embedding_dim or m.hidden
        yield self._move("embedding", self.tokens * width, kind="embedding", k=width)
        if m.embedding_dim is not None:
            yield self.gemm("embedding_projection", self.tokens, m.hidden, width, self.numerics.head, 2.0)
        kinds = self.kinds
        for name, layers, kind in (
            ("attention", kinds.full, (m.heads, m.kv_heads, m.head_dim, m.v_head_dim or m.head_dim, np.inf)),
            ("window_attention", kinds.windowed,
             (kinds.heads, kinds.kv_heads, kinds.head_dim, kinds.value_dim, kinds.window)),
        ):  # fmt: skip
            if layers:
                latent = m.kv_lora_rank is not None
                found = self.latent_attention(layers) if latent else self.attention(name, layers, *kind)
                yield from found
                yield from self.joined(name, layers)
        if m.linear_layers:
            yield from self.delta_net(m.linear_layers)
            yield from self.joined("linear_attention", m.linear_layers)
        if m.mamba_layers:
            yield from self.mamba(m.mamba_layers)
            yield from self.joined("mamba", m.mamba_layers)
        yield from self.feed_forward()
        yield from self.last()

    # -- attention -----------------------------------------------------------------------------------------------

    def attention(
        self, name: str, layers: float, heads: float, kv_heads: float, dim: float, value: float, window: float
    ) -> Iterator[Operator]:
        m, a, t, layout = self.m, self.layout.attention, self.tokens, self.numerics
        mine, kv = heads / a, maximum(kv_heads / a, 1.0)  # too few key heads are copied
        gate = mine * value if m.attention_gate else 0.0
        if m.o_lora_rank is not None:  # queries and outputs through narrow matrices, keys and values shared
            yield self.gemm(f"{name}_q_down", t, m.q_lora_rank, m.hidden, layout.attention, layers)
            yield self.gemm(f"{name}_q_up", t, mine * dim, m.q_lora_rank, layout.attention, layers)
            yield self.gemm(f"{name}_kv", t, kv * dim, m.hidden, layout.attention, layers)
        else:
            columns = mine * dim + kv * (dim + value) + gate
            yield self.gemm(f"{name}_qkv", t, columns, m.hidden, layout.attention, layers)
        if m.qk_norm:
            yield self._move(f"{name}_qk_norm", t * (mine + kv) * dim, layers, kind="norm")
        yield self._move(f"{name}_rope_cache", t * (mine * dim + kv * (dim + value)), layers)
        seen = np.inf if m.index_topk is None else m.index_topk
        yield self.softmax(name, layers, mine, kv, dim, value, minimum(window, seen))
        if m.attention_gate:
            yield self._move(f"{name}_gate", t * mine * value, layers)
        if m.o_lora_rank is not None:
            yield self.gemm(f"{name}_o_down", t, m.o_lora_rank, mine * value, layout.attention, layers)
            yield self.gemm(f"{name}_o", t, m.hidden, m.o_lora_rank, layout.attention, layers)
        else:
            yield self.gemm(f"{name}_o", t, m.hidden, mine * value, layout.attention, layers)

    def softmax(
        self, name: str, layers: float, heads: Any, kv_heads: Any, dim: Any, value: Any, window: Any
    ) -> Operator:
        """The fused kernel that attends. Drafted tokens of a sequence read its cache once, as more heads of a group."""
        w, cache = self.work, VALUE_BYTES[self.numerics.cache]
        if self.decode:
            read = minimum(w.context, window)
            pairs = read * w.new
            flops = 2 * self.sequences * heads * (dim + value) * pairs
            kv = self.sequences * kv_heads * (dim + value) * read * cache
            kind, head_count = "attention_decode", heads * w.new
        else:
            pairs = eq.attended_pairs(w.new, w.context, minimum(window, eq.EVERYTHING))
            flops = eq.attention_flops(pairs, self.sequences, 1.0, heads, dim, value)
            kv = self.sequences * kv_heads * (dim + value) * (w.context + w.new) * cache
            kind, head_count = "attention_context", heads
        return Operator(
            name, kind, m=self.sequences, heads=head_count, kv_heads=kv_heads, head_dim=dim, value_dim=value,
            query_tokens=w.new, context=w.context, flops=flops, read_bytes=kv + self.tokens * heads * dim * ACTIVATION,
            write_bytes=self.tokens * heads * value * ACTIVATION, precision=self.numerics.cache, count=layers,
            phase=w.phase, window=window,
        )  # fmt: skip

    def latent_attention(self, layers: float) -> Iterator[Operator]:
        m, w, t, number = self.m, self.work, self.tokens, self.numerics.attention
        heads = m.heads / self.layout.attention
        nope, rope, rank = m.qk_nope_head_dim or 0.0, m.qk_rope_head_dim or 0.0, m.kv_lora_rank
        value = m.v_head_dim or m.head_dim
        narrow = m.q_lora_rank
        first = (narrow or heads * (nope + rope)) + rank + rope
        yield self.gemm("latent_down", t, first, m.hidden, number, layers)
        yield self._move("latent_norm", t * first, layers, kind="norm")
        if narrow:
            yield self.gemm("latent_q_up", t, heads * (nope + rope), narrow, number, layers)
        yield self._move("latent_rope_cache", t * (heads * rope + rank + rope), layers)
        if m.index_topk is not None:
            yield from self.index(m.index_layers or layers)
        seen = np.inf if m.index_topk is None else m.index_topk
        if self.decode:
            yield self.gemm("latent_absorb_keys", t, heads * rank, nope, "bf16", layers)
            read = minimum(w.context, seen)
            wide = 2 * rank + rope
            yield Operator(
                "latent_attention", "mla", m=self.sequences, heads=heads * w.new, kv_heads=1.0, head_dim=rank,
                value_dim=rope, query_tokens=w.new, context=read, flops=2 * t * heads * wide * read,
                read_bytes=self.sequences * read * (rank + rope) * VALUE_BYTES[self.numerics.cache]
                + t * heads * (rank + rope) * ACTIVATION, write_bytes=t * heads * rank * ACTIVATION,
                precision=self.numerics.cache, count=layers, phase=w.phase, window=seen,
            )  # fmt: skip
            yield self.gemm("latent_absorb_values", t, heads * value, rank, "bf16", layers)
        else:
            yield self.gemm("latent_kv_up", t, heads * (nope + value), rank, number, layers)
            one = self.softmax("latent_attention", layers, heads, heads, nope + rope, value, seen)
            yield one._replace(kind="mla")
        yield self.gemm("latent_o", t, m.hidden, heads * value, number, layers)

    def index(self, layers: float) -> Iterator[Operator]:
        """Sparse attention: small keys score every cached token, and the best are kept."""
        m, w, t = self.m, self.work, self.tokens
        heads, dim = m.index_heads or 1.0, m.index_head_dim or 0.0
        yield self.gemm("index_q", t, heads * dim, m.q_lora_rank or m.hidden, self.numerics.attention, layers)
        yield self.gemm("index_k", t, dim + heads, m.hidden, self.numerics.attention, layers)
        pairs = self.sequences * (w.context * w.new if self.decode else eq.attended_pairs(w.new, w.context))
        keys = self.sequences * (w.context + (0.0 if self.decode else w.new)) * dim
        scores = Operator(
            "index_scores", "scan", m=t, heads=heads, head_dim=dim, flops=2 * pairs * heads * dim, read_bytes=keys,
            write_bytes=pairs * 4.0, precision="fp8", count=layers, phase=w.phase, context=w.context,
        )  # fmt: skip
        yield scores
        yield self._move("index_top", pairs * 2.0, layers, kind="softmax")

    def delta_net(self, layers: float) -> Iterator[Operator]:
        m, a, t = self.m, self.layout.attention, self.tokens
        keys = (m.linear_key_heads or 0.0) * (m.linear_key_head_dim or 0.0) / a
        heads = (m.linear_value_heads or 0.0) / a
        key_dim, dim = m.linear_key_head_dim or 0.0, m.linear_value_head_dim or 0.0
        values = heads * dim
        number = self.numerics.attention
        yield self.gemm("delta_in", t, 2 * keys + 2 * values + 2 * heads, m.hidden, number, layers)
        if m.conv_kernel:
            yield self._move("delta_convolution", t * (2 * keys + values), layers, flops=ssm.short_convolution_flops(
                2 * keys + values, m.conv_kernel, t))  # fmt: skip
        flops = ssm.linear_attention_flops(heads, key_dim, dim, t)
        yield self.scan("delta_rule", layers, flops, heads * key_dim * dim, t * (2 * keys + 2 * values))
        yield self._move("delta_norm", t * 2 * values, layers, kind="norm")
        yield self.gemm("delta_out", t, m.hidden, values, number, layers)

    def mamba(self, layers: float) -> Iterator[Operator]:
        m, a, t, number = self.m, self.layout.attention, self.tokens, self.numerics.attention
        state = m.ssm_state or 0.0
        if m.ssm_heads is not None:
            inner = m.ssm_heads * (m.ssm_head_dim or 0.0) / a
            shared = 2 * (m.ssm_groups or 1.0) * state
            yield self.gemm("mamba_in", t, 2 * inner + shared + m.ssm_heads / a, m.hidden, number, layers)
            flops = ssm.ssd_recurrent_flops(inner, state, t)
        else:
            inner, shared = (m.ssm_expand or 2.0) * m.hidden / a, 0.0
            rank = m.dt_rank or m.hidden / 16
            yield self.gemm("mamba_in", t, 2 * inner, m.hidden, number, layers)
            yield self.gemm("mamba_dt_b_c", t, rank + 2 * state, inner, number, layers)
            yield self.gemm("mamba_dt", t, inner, rank, number, layers)
            flops = ssm.selective_scan_flops(inner, state, t)
        kernel = m.conv_kernel or 0.0
        yield self._move("mamba_convolution", t * (inner + shared), layers,
                         flops=ssm.short_convolution_flops(inner + shared, kernel, t))  # fmt: skip
        yield self.scan("mamba_scan", layers, flops, inner * state, t * (3 * inner + shared))
        yield self.gemm("mamba_out", t, m.hidden, inner, number, layers)

    def scan(self, name: str, layers: float, flops: Any, state: Any, values: Any) -> Operator:
        """A recurrence: the state of each sequence is read and written once a pass."""
        moved = self.sequences * state * STATE
        return Operator(
            name, "scan", m=self.tokens, flops=flops, read_bytes=moved + values * ACTIVATION, write_bytes=moved,
            precision="fp32", count=layers, phase=self.work.phase,
        )  # fmt: skip

    # -- feed-forward --------------------------------------------------------------------------------------------

    def feed_forward(self) -> Iterator[Operator]:
        m = self.m
        moe = 0.0
        if m.experts is not None:
            moe = m.moe_layers if m.moe_layers is not None else m.layers - (m.first_dense_layers or 0.0)
        dense = m.mlp_layers if m.mlp_layers is not None else 0.0 if m.mamba_layers else m.layers - moe
        if dense and m.ffn:
            yield from self.mlp("mlp", dense, m.ffn, self.numerics.linear)
            yield from self.joined("mlp", dense)
        if moe:
            yield from self.experts(moe)

    def mlp(self, name: str, layers: float, ffn: float, number: str) -> Iterator[Operator]:
        m, t, mine = self.m, self.tokens, ffn / self.layout.attention
        yield self.gemm(f"{name}_up", t, (m.mlp_matrices - 1) * mine, m.hidden, number, layers)
        yield self._move(f"{name}_activation", t * m.mlp_matrices * mine / 2, layers)
        yield self.gemm(f"{name}_down", t, m.hidden, mine, number, layers)

    def experts(self, layers: float) -> Iterator[Operator]:
        m, o, t = self.m, self.layout, self.tokens
        top, number = m.active_experts or 1.0, self.numerics.expert
        width, inner = m.expert_hidden or m.hidden, m.expert_ffn / o.expert_tensor
        yield self.gemm("router", t, m.experts, m.hidden, "bf16", layers)
        yield self._move("router_top", t * m.experts, layers, kind="softmax")
        if m.expert_hidden is not None:
            yield self.gemm("experts_narrow", t, width, m.hidden, number, layers)
        spread = several(o.data)
        if spread:
            yield self.exchange("experts_dispatch", layers, width)
        local = m.experts / o.expert_parallel
        reaching = maximum(self.all_tokens * self.evenness, minimum(self.all_tokens, 1.0))
        active = local * eq.touched_experts(reaching, m.experts, top)
        rows = self.all_tokens * top / o.expert_parallel
        one = m.mlp_matrices * width * inner
        yield Operator(
            "experts", "moe", m=self.all_tokens, n=inner, k=width, experts=m.experts, topk=top,
            groups=m.mlp_matrices, flops=2 * rows * one, weight_bytes=minimum(active, rows) * one * VALUE_BYTES[number],
            read_bytes=rows * width * ACTIVATION, write_bytes=rows * width * ACTIVATION, precision=number, count=layers,
            phase=self.work.phase, ranks=o.expert_parallel, active=active,
        )  # fmt: skip
        if spread:
            yield self.exchange("experts_combine", layers, width)
        if m.expert_hidden is not None:
            yield self.gemm("experts_wide", t, m.hidden, width, number, layers)
        shared = m.shared_expert_ffn if m.shared_expert_ffn is not None else (m.shared_experts or 0.0) * m.expert_ffn
        if shared:
            yield from self.mlp("shared_expert", layers, shared, self.numerics.linear)
        yield from self.joined("experts", layers, reduced=not spread)

    def exchange(self, name: str, layers: float, width: float) -> Operator:
        """Tokens to the ranks of their experts, or back; a token goes once to each rank that wants it."""
        ranks = self.layout.ranks
        targets = minimum(self.m.active_experts or 1.0, ranks)
        message = self.tokens * targets * width * 1.5
        return Operator(name, "collective", m=self.tokens, k=width, experts=self.m.experts or 0.0,
                        topk=self.m.active_experts or 1.0, precision="bf16", count=layers, phase=self.work.phase,
                        collective="all_to_all", message=message, ranks=ranks, read_bytes=message,
                        write_bytes=message)  # fmt: skip

    # -- the rest ------------------------------------------------------------------------------------------------

    def joined(self, name: str, layers: float, reduced: bool = True) -> Iterator[Operator]:
        """What follows a block: the sum over tensor ranks, and the norm with the residual."""
        ranks = self.layout.attention
        if reduced and several(ranks):
            message = self.tokens * self.m.hidden * ACTIVATION
            yield self.collective(f"{name}_all_reduce", "all_reduce", layers, message, ranks)
        yield self._move(f"{name}_norm", 2 * self.tokens * self.m.hidden, layers, kind="norm")

    def last(self) -> Iterator[Operator]:
        m, o = self.m, self.layout
        rows = self.sequences * self.work.new if self.decode else self.sequences
        width = m.embedding_dim or m.hidden
        yield self.gemm("head", rows, m.vocab / o.attention, width, self.numerics.head, 1.0)
        if several(o.attention):
            yield self.collective("head_all_gather", "all_gather", 1.0, rows * m.vocab * ACTIVATION, o.attention)
        yield self._move("sampling", rows * m.vocab * 2.0, 1.0, kind="softmax")
        if several(o.stages):
            message = self.tokens * m.hidden * ACTIVATION / o.attention
            yield self.collective("stage_hand_over", "p2p", o.stages - 1, message, 2.0)

    def gemm(self, name: str, m: Any, n: Any, k: Any, number: str, count: Any) -> Operator:
        # Most operators are this one or the next: given all fields in their order they take a third of the time.
        return tuple.__new__(Operator, (
            name, "gemm", m, n, k, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
            2 * m * n * k, n * k * VALUE_BYTES[number], m * k * ACTIVATION, m * n * ACTIVATION,
            number, count, self.work.phase, "", 0.0, 1.0, np.inf, 0.0,
        ))  # fmt: skip

    def _move(
        self, name: str, values: Any, count: Any = 1.0, kind: str = "elementwise", flops: Any = 0.0, k: Any = 1.0
    ) -> Operator:
        """A kernel that reads and writes so many 16-bit values."""
        moved = values * ACTIVATION
        return tuple.__new__(Operator, (
            name, kind, self.tokens, 1.0, k, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
            flops, 0.0, moved, moved, "bf16", count, self.work.phase, "", 0.0, 1.0, np.inf, 0.0,
        ))  # fmt: skip

    def collective(self, name: str, kind: str, count: Any, message: Any, ranks: Count) -> Operator:
        return Operator(name, "collective", precision="bf16", count=count, phase=self.work.phase, collective=kind,
                        message=message, ranks=ranks, read_bytes=message, write_bytes=message)  # fmt: skip


def kernels(operator: Operator) -> float:
    """Kernels that one run of an operator launches, those that quantise its input included."""
    if operator.precision in QUANTISED and operator.kind in ("gemm", "moe"):
        return KERNELS[operator.kind] + 1.0
    return KERNELS[operator.kind]
