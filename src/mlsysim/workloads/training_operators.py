"""A transformer in training as the operators that one rank runs for a micro-batch: forward, and both halves of backward.

Every product has three forms: the output, the gradient of its input, the gradient of its weights. Counts are over all
layers of the model; a pipeline stage runs its share of them. Knows no device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..catalog.models import Transformer
from ..physics import transformer as eq
from ..units import Bytes, Count
from .operators import Operator
from .training_mixers import compressed, mixed
from .transformer import dense_layers, mixer_layers, part_of, shape, softmax_layers, source_length

FORWARD, BACKWARD, WEIGHTS = "forward", "backward", "weights"
"""Phases: the pass, gradients of inputs (with recurrences of attention), gradients of weights."""
VALUE = 2.0
"""Bytes of an activation."""
BYTES = {"bf16": 2.0, "fp16": 2.0, "fp32": 4.0, "tf32": 4.0, "fp8": 1.0, "fp8_static": 1.0, "fp8_block": 1.0,
         "nvfp4": 0.5625}  # fmt: skip
"""Bytes of an operand in the formats that training multiplies in."""
TILE = 128.0
"""Rows of a tile of a grouped product."""
FUSED, UNFUSED = "fused", "unfused"
ADAPTED = {"attention": ("qkv", "out"), "qkv": ("qkv",)}
"""Products that have adapters, by name; all of them otherwise."""
CONTEXTS = ("ring", "all_gather", "ulysses")
"""How context ranks exchange: blocks of keys and values round a ring (Liu et al., arXiv:2310.01889), all of them gathered
before attention (Llama 3, arXiv:2407.21783, section 3.3.2), or heads for tokens and back (Ulysses, arXiv:2309.14509)."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a stack writes a layer, and in which format it multiplies."""

    linear: str = "bf16"
    attention: str = FUSED
    passes: float = 1.0
    dropout: bool = False
    loss: Bytes = 12.0
    adapter_rank: Any = None
    adapters: str = "all"
    adapter_dropout: bool = True


@dataclass(frozen=True, slots=True)
class Share:
    """What one rank has of a micro-batch: ``samples`` sequences of ``length`` tokens over context and tensor ranks.

    Experts are spread over ``ep`` ranks, each split over ``etp``.
    """

    samples: Count
    length: Count
    tp: Count = 1.0
    cp: Count = 1.0
    ep: Count = 1.0
    etp: Count = 1.0
    sequence_parallel: bool = True
    contexts: str = "ring"

    @property
    def tokens(self) -> Count:
        """Tokens of the rank."""
        return self.samples * self.length / self.cp

    @property
    def whole(self) -> Count:
        """Ranks that share what tensor parallelism leaves whole."""
        return self.tp if self.sequence_parallel else 1.0


def layer_operators(model: Transformer, share: Share, style: Style) -> list[Operator]:
    """Operators of all layers, without embedding and logits."""
    return list(_Layers(model, share, style).every())


def head_operators(model: Transformer, share: Share, style: Style) -> list[Operator]:
    """The logits and the loss, in 16 bits whatever the layers use; predicted tokens of a later one cost another pass."""
    return list(_Layers(model, share, style).head())


class _Layers:
    def __init__(self, model: Transformer, share: Share, style: Style) -> None:
        self.m: Any = model.si
        self.model, self.share, self.style = model, share, style
        self.frozen = style.adapter_rank is not None
        self.extra = self.m.mtp_layers or 0.0
        self.layers = self.m.layers + self.extra
        moe = shape(model).moe_layers
        self.moe_layers = moe + (self.extra if moe else 0.0)
        plain = dense_layers(self.m, moe)
        self.dense_layers = plain + (0.0 if moe else self.extra)
        # a Mamba hybrid counts its MLPs as layers of their own, so a layer may be one block instead of two
        self.mixers = mixer_layers(self.m) + self.extra
        self.blocks = self.mixers + self.dense_layers + self.moe_layers

    def every(self) -> Iterator[Operator]:
        if self.model.architecture == "encoder_decoder":
            yield from self.both()
            return
        yield from self.attention()
        yield from self.around()
        if self.dense_layers and self.m.ffn:
            yield from self.mlp("mlp", self.m.ffn, self.dense_layers)
        if self.moe_layers:
            yield from self.experts()

    def both(self) -> Iterator[Operator]:
        """An encoder that reads, and a decoder that attends to what it writes and to what was read."""
        m, s = self.m, self.share
        read = replace(s, length=source_length(m, s.length))
        yield from _Layers(part_of(self.model, "encoder"), read, self.style).every()
        decoder = _Layers(part_of(self.model, "transformer"), s, self.style)
        yield from decoder.every()
        count, mine, keys = m.decoder_layers, m.heads / s.tp, np.maximum(m.kv_heads / s.tp, 1.0)[()]
        yield from self.linear("q", s.tokens, mine * m.head_dim, m.hidden, count)
        yield from self.linear("kv", read.tokens, 2 * keys * m.head_dim, m.hidden, count)
        yield from decoder.crossed(count, read, mine, keys)
        yield from self.linear("out", s.tokens, m.hidden, mine * m.head_dim, count)
        yield from decoder.wrapped(count, count)

    def head(self) -> Iterator[Operator]:
        m, s = self.m, self.share
        count = 1.0 + (m.mtp_layers or 0.0)
        yield from self.linear(
            "logits", s.tokens, m.vocab / s.tp, m.hidden, count, "bf16", frozen=self.frozen, adapters=False
        )
        logits = s.tokens * m.vocab / s.tp
        yield self.moved("loss", self.style.loss / 2 * logits, count, FORWARD, 1.0)
        yield self.moved("loss", self.style.loss / 2 * logits, count, BACKWARD, 1.0)

    # -- parts of a layer ------------------------------------------------------------------------------------------

    def attention(self) -> Iterator[Operator]:
        m, s = self.m, self.share
        t = s.tokens
        kinds = softmax_layers(m)
        full = kinds.full + self.extra
        yield from mixed(self)
        if m.compressed_layers is not None:
            yield from compressed(self)
            return
        if m.kv_lora_rank is not None:
            yield from self.latent(full)
            return
        chosen = eq.EVERYTHING if m.index_topk is None else m.index_topk
        for count, window, heads, kv, dim in (
            (full, chosen, m.heads, m.kv_heads, m.head_dim),
            (kinds.windowed, kinds.window, kinds.heads, kinds.kv_heads, kinds.head_dim),
        ):
            if not count:
                continue
            mine, keys = heads / s.tp, np.maximum(kv / s.tp, 1.0)[()]
            gate = mine * dim if m.attention_gate else 0.0
            yield from self.linear("qkv", t, (mine + 2 * keys) * dim + gate, m.hidden, count)
            yield from self.scores(count, window, mine, keys, dim, dim)
            yield from self.linear("out", t, m.hidden, mine * dim, count)
            if m.positions is None:  # rotary positions
                moved = 2 * VALUE * t * (mine + keys) * dim
                yield self.moved("rope", moved, count, FORWARD)
                yield self.moved("rope", moved, count, BACKWARD)

    def latent(self, layers: Count) -> Iterator[Operator]:
        m, s = self.m, self.share
        t, heads = s.tokens, m.heads / s.tp
        nope, rope, value = m.qk_nope_head_dim, m.qk_rope_head_dim, m.v_head_dim
        dim = nope + rope
        if m.q_lora_rank:
            yield from self.linear("q_down", t, m.q_lora_rank, m.hidden, layers)
            yield from self.linear("q_up", t, heads * dim, m.q_lora_rank, layers)
        else:
            yield from self.linear("q", t, heads * dim, m.hidden, layers)
        yield from self.linear("kv_down", t, m.kv_lora_rank + rope, m.hidden, layers)
        yield from self.linear("kv_up", t, heads * (nope + value), m.kv_lora_rank, layers)
        yield from self.scores(layers, m.index_topk or eq.EVERYTHING, heads, heads, dim, value)
        yield from self.linear("out", t, m.hidden, heads * value, layers)
        moved = 2 * VALUE * t * (2 * heads * dim + m.kv_lora_rank + (m.q_lora_rank or 0.0))
        for phase in (FORWARD, BACKWARD):
            yield self.moved("rope", moved, layers, phase)

    def scores(self, count: Count, window: Any, heads: Any, keys: Any, dim: Any, value: Any) -> Iterator[Operator]:
        s = self.share
        new = s.length / s.cp
        cached = (s.length - new) / 2  # a balanced share of a causal triangle
        fused = self.style.attention == FUSED
        if fused:
            latent = self.m.kv_lora_rank is not None
            pairs = eq.attended_pairs(new, cached, window)
            # in an encoder a token sees those after it too; kernels of latent attention were timed without a window
            times = 2.0 if self.model.architecture == "encoder" else 1.0
            if latent and window < eq.EVERYTHING:
                times = pairs / eq.attended_pairs(new, cached)
            yield from self.attended("mla" if latent else "attention_context", count * times, pairs, heads, keys, dim, value,
                                     new, cached, window)  # fmt: skip
        else:
            rows = s.samples * heads * new
            scores = rows * s.length
            for name, n, k in (("scores", s.length, dim), ("values", value, s.length)):
                yield self.product(name, rows, n, k, count, FORWARD, "bf16", 0.0)
                yield self.product(name, rows, k, n, count, BACKWARD, "bf16", 0.0)
                yield self.product(name, rows, n, k, count, BACKWARD, "bf16", 0.0)
            # softmax reads and writes; dropout reads, writes and keeps a mask of a byte; backward reads both outputs
            drop = 5.0 if self.style.dropout else 0.0
            yield self.moved("softmax", scores * (4.0 + drop), count, FORWARD, 1.0, 2.0)
            yield self.moved("softmax", scores * (6.0 + drop), count, BACKWARD, 1.0, 2.0)
        if np.any(np.asarray(s.cp) > 1):  # partial results of the ring are rescaled and added in 32 bits
            yield from self.exchanged(count, heads, keys, dim, value)

    def crossed(self, count: Count, read: Share, heads: Any, keys: Any) -> Iterator[Operator]:
        """Attention of a decoder to all that its encoder read."""
        new, dim = self.share.length / self.share.cp, self.m.head_dim
        yield from self.attended("attention_context", count, new * read.length, heads, keys, dim, dim, new,
                                 np.maximum(read.length - new / 2, 0.0)[()], eq.EVERYTHING)  # fmt: skip

    def attended(
        self, kind: str, count: Any, pairs: Any, heads: Any, keys: Any, dim: Any, value: Any, new: Any, cached: Any,
        window: Any,
    ) -> Iterator[Operator]:  # fmt: skip
        """A fused kernel, and its backward pass of five products where it has two."""
        work = eq.attention_flops(pairs, self.share.samples, 1.0, heads, dim, value)
        for phase, times in ((FORWARD, 1.0), (BACKWARD, 2.5)):
            yield Operator("attention", kind, m=self.share.samples, heads=heads, kv_heads=keys, head_dim=dim,
                           value_dim=value, query_tokens=new, context=cached, window=window, precision="bf16", count=count,
                           flops=work * times, phase=phase)  # fmt: skip

    def exchanged(self, count: Count, heads: Any, keys: Any, dim: Any, value: Any) -> Iterator[Operator]:
        """What context ranks hand each other for attention."""
        s = self.share
        block = s.tokens * keys * (dim + value) * VALUE
        if s.contexts == "ulysses":  # queries, keys and values go out by heads, the output comes back; so do gradients
            moved = block + s.tokens * heads * (dim + value) * VALUE
            for phase in (FORWARD, BACKWARD):
                yield self.collective("ring", "all_to_all", count, moved, s.cp, phase)
        elif s.contexts == "all_gather":
            for phase, kind in ((FORWARD, "all_gather"), (BACKWARD, "all_gather"), (BACKWARD, "reduce_scatter")):
                yield self.collective("ring", kind, count, block * s.cp, s.cp, phase)
        else:  # partial results are rescaled and added in 32 bits
            yield self.moved("join", (s.cp - 1) * s.tokens * heads * value * 8.0, count, FORWARD, 1.0)
            # latent attention hands on expanded keys and values unless a stack keeps the latent
            block = s.tokens * keys * (dim + value) * VALUE
            for phase, times in ((FORWARD, 1.0), (BACKWARD, 2.0)):
                yield self.collective("ring", "p2p", (s.cp - 1) * count * times, block, s.cp, phase)

    def around(self) -> Iterator[Operator]:
        """Norms, residual additions, dropout, and the collectives around the blocks of all layers."""
        s = self.share
        yield from self.wrapped(self.blocks, self.blocks - self.moe_layers * np.where(np.asarray(s.etp) > 1, 0.0, 1.0))

    def wrapped(self, blocks: Count, exchanging: Count) -> Iterator[Operator]:
        """What stands around so many blocks; experts that tensor ranks do not split exchange tokens instead."""
        m, s = self.m, self.share
        values = s.tokens * m.hidden / s.whole
        drop = 2.0 if self.style.dropout else 0.0
        # a norm: read and write; an addition: two reads and a write
        yield self.moved("norm", 2 * VALUE * values, blocks, FORWARD)
        yield self.moved("residual", (3 * VALUE + drop / 2) * values, blocks, FORWARD)
        yield self.moved("norm", 3 * VALUE * values, blocks, BACKWARD)
        yield self.moved("residual", (3 * VALUE + drop / 2) * values, blocks, BACKWARD)
        if not np.any(np.asarray(s.tp) > 1):
            return
        message = s.tokens * m.hidden * VALUE
        for phase in (FORWARD, BACKWARD):
            for kind in ("all_gather", "reduce_scatter") if s.sequence_parallel else ("all_reduce",):
                yield self.collective("tensor", kind, exchanging, message, s.tp, phase)

    def mlp(self, name: str, ffn: Any, count: Count) -> Iterator[Operator]:
        m, s = self.m, self.share
        t, wide = s.tokens, ffn / s.tp
        gated = m.mlp_matrices == 3
        yield from self.linear(f"{name}_up", t, wide * (2.0 if gated else 1.0), m.hidden, count)
        yield from self.linear(f"{name}_down", t, m.hidden, wide, count)
        # gated: read gate and up, write their product; backward reads those and the gradient, writes two
        yield self.moved("activation", t * wide * VALUE * (3 if gated else 2), count, FORWARD)
        yield self.moved("activation", t * wide * VALUE * (5 if gated else 3), count, BACKWARD)

    def experts(self) -> Iterator[Operator]:
        m, s = self.m, self.share
        ffn, count = m.expert_ffn or m.ffn, self.moe_layers
        shared = m.shared_expert_ffn if m.shared_expert_ffn is not None else (m.shared_experts or 0.0) * ffn
        if shared:
            yield from self.mlp("shared", shared, count)
        mine = s.tokens / np.where(np.asarray(s.etp) > 1, 1.0, s.tp)[()]  # a rank sends its share of the sequence
        yield self.product("router", mine, m.experts, m.hidden, count, FORWARD, "bf16", 0.0)
        width = m.expert_hidden or m.hidden
        if m.expert_hidden is not None:  # experts work on a narrower stream
            yield from self.linear("experts_narrow", mine, width, m.hidden, count, adapters=False)
            yield from self.linear("experts_wide", mine, m.hidden, width, count, adapters=False)
        pairs = mine * m.active_experts
        # Balanced experts as grouped products: each expert's rows fill whole tiles; weights are read by every expert.
        local = np.maximum(m.experts / s.ep, 1.0)[()]
        rows_each = np.ceil(np.maximum(pairs / local, 1.0) / TILE) * TILE
        form = self.style.linear
        still = {"fp8": "fp8_static"}.get(form, form)
        for n, k in (((m.mlp_matrices - 1) * ffn / s.etp, width), (width, ffn / s.etp)):
            yield self.grouped(local, rows_each, n, k, count, FORWARD, form)
            yield self.grouped(local, rows_each, k, n, count, BACKWARD, form)
            if not self.frozen:
                yield Operator("experts", "gemm", m=n * local, n=k, k=rows_each, flops=2 * local * rows_each * n * k,
                               precision=still, count=count, phase=WEIGHTS, experts=local)  # fmt: skip
        # stored activations of the gate, and tokens permuted and joined in 16 bits
        rows = pairs * VALUE
        for phase, gate in ((FORWARD, 3.0), (BACKWARD, 5.0)):
            yield self.moved("activation", rows * ffn / s.etp * gate, count, phase)
            yield self.moved("permute", rows * width * 4.0, count, phase, 1.0, 4.0)
        if np.any(np.asarray(s.ep) > 1):  # the all-to-all dispatcher sends a token once for each of its experts
            for phase in (FORWARD, BACKWARD):
                yield self.collective("expert", "all_to_all", 2 * count, pairs * width * VALUE, s.ep, phase)

    # -- operators -------------------------------------------------------------------------------------------------

    def linear(
        self, name: str, m: Any, n: Any, k: Any, count: Any, number: str | None = None, *, frozen: Any = None,
        adapters: bool = True,
    ) -> Iterator[Operator]:  # fmt: skip
        """A product, the gradient of its input and that of its weights; adapters beside frozen weights."""
        form = number or self.style.linear
        still = {"fp8": "fp8_static"}.get(form, form)  # both operands were brought into the format before
        yield self.product(name, m, n, k, count, FORWARD, form, 1.0)
        yield self.product(name, m, k, n, count, BACKWARD, form, 1.0)
        if not self.frozen:
            yield self.product(name, n, k, m, count, WEIGHTS, still, 0.0)
            if BYTES.get(form, 2.0) < VALUE:
                # narrow formats scale or store both operands once more, the other way round
                yield self.moved(name, BYTES[form] * (m * k + m * n), count, WEIGHTS, 1.0)
        elif adapters and name in ADAPTED.get(self.style.adapters, (name,)):
            rank = self.style.adapter_rank
            for phase in (FORWARD, BACKWARD, WEIGHTS):
                yield self.product("adapter", m, rank, k, count, phase, "bf16", 0.0)
                yield self.product("adapter", m, n, rank, count, phase, "bf16", 0.0)
            # the input dropped out; outputs added forward, gradients of the input backward
            drop = 5.0 * m * k if self.style.adapter_dropout else 0.0
            yield self.moved("adapter", drop + 6.0 * m * n, count, FORWARD, 1.0, 2.0)
            yield self.moved("adapter", drop + 6.0 * m * k, count, BACKWARD, 1.0, 2.0)

    def product(
        self, name: str, m: Any, n: Any, k: Any, count: Any, phase: str, number: str, weights: float
    ) -> Operator:
        size = BYTES.get(number, 2.0)
        return Operator(name, "gemm", m=m, n=n, k=k, flops=2 * m * n * k, weight_bytes=n * k * size,
                        read_bytes=m * k * size, write_bytes=m * n * VALUE, precision=number, count=count, phase=phase)  # fmt: skip

    def grouped(self, local: Any, rows: Any, n: Any, k: Any, count: Any, phase: str, number: str) -> Operator:
        """The products of all local experts at once."""
        size = BYTES.get(number, 2.0)
        return Operator("experts", "gemm", m=local * rows, n=n, k=k, flops=2 * local * rows * n * k,
                        weight_bytes=local * n * k * size, read_bytes=local * rows * k * size, write_bytes=local * rows * n * VALUE,
                        precision=number, count=count, phase=phase, experts=local)  # fmt: skip

    def moved(
        self, name: str, traffic: Any, count: Any, phase: str, passes: Any = None, kernels: float = 1.0
    ) -> Operator:
        """Kernels that stream bytes; a stack that does not fuse them makes more passes."""
        times = self.style.passes if passes is None else passes
        return Operator(name, "elementwise", read_bytes=traffic * times / 2 / kernels, write_bytes=traffic * times / 2 / kernels,
                        count=count * kernels, phase=phase)  # fmt: skip

    def collective(self, name: str, kind: str, count: Any, message: Any, ranks: Any, phase: str) -> Operator:
        return Operator(name, "collective", collective=kind, message=message, ranks=ranks, count=count, phase=phase)
