"""Layers other than plain softmax attention in training: recurrences, compressed and indexed attention.

Their forward pass is that of serving; the backward pass is written from it, operator by operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..physics import transformer as eq
from . import language
from .operators import Operator

if TYPE_CHECKING:
    from .training_operators import _Layers

STREAMS_AGAIN = 1.5
"""Bytes of the backward pass of a kernel that streams over those forward: it reads what the forward pass read and the
gradient of what it wrote, and writes one."""
SCAN_AGAIN = 3.0
"""Arithmetic of the backward pass of a recurrence over that forward: states are computed again, then both gradients of each
product (Gu and Dao, Mamba, arXiv:2312.00752, section 3.3.2)."""
SCAN_BYTES = 2.0
"""Bytes of that pass: inputs and their gradients."""


def mixed(layers: _Layers) -> Iterator[Operator]:
    """Linear attention, Mamba, and the indexers of sparse attention."""
    m = layers.m
    if m.linear_layers or m.mamba_layers:
        yield from trained(layers, language.recurrent_operators(layers.model, *_asked(layers)))
    if m.index_topk is not None and m.compressed_layers is None:
        count = (m.index_layers or m.layers) + layers.extra
        yield from trained(layers, language.index_operators(layers.model, *_asked(layers), count))


def _asked(layers: _Layers) -> tuple[language.Work, language.Layout]:
    """One rank's part of a micro-batch as a prompt: a balanced share of the causal triangle."""
    s = layers.share
    new = s.length / s.cp
    return language.Work("prefill", s.samples, new, (s.length - new) / 2), language.Layout(attention=s.tp)


def trained(layers: _Layers, operators: list[Operator]) -> Iterator[Operator]:
    """The forward pass of some operators, and the backward pass that follows from each."""
    for o in operators:
        if o.kind == "gemm":
            yield from layers.linear(o.name, o.m, o.n, o.k, o.count, adapters=False)
        elif o.kind == "scan":
            yield o._replace(phase="forward")
            yield o._replace(
                phase="backward", flops=SCAN_AGAIN * o.flops, read_bytes=SCAN_BYTES * o.read_bytes,
                write_bytes=SCAN_BYTES * o.write_bytes,
            )  # fmt: skip
        else:
            yield layers.moved(o.name, o.bytes, o.count, "forward")
            yield layers.moved(o.name, STREAMS_AGAIN * o.bytes, o.count, "backward")


def compressed(layers: _Layers) -> Iterator[Operator]:
    """Layers that keep one shared vector for every few tokens: a short window, and the vectors that a token may see.

    Lightly compressed layers see the best vectors that an indexer picks, heavily compressed ones all of them; queries and
    outputs go through narrow matrices.
    """
    m, s = layers.m, layers.share
    t, heads, width, count = s.tokens, m.heads / s.tp, m.head_dim, layers.layers
    light, heavy = m.compressed_layers, m.heavy_compressed_layers or 0.0
    every, each = m.compress_ratio or 1.0, m.heavy_compress_ratio or 1.0
    index = m.index_head_dim or 0.0
    yield from layers.linear("q_down", t, m.q_lora_rank, m.hidden, count)
    yield from layers.linear("q_up", t, heads * width, m.q_lora_rank, count)
    yield from layers.linear("kv", t, width, m.hidden, count)
    yield from layers.linear("compress", t, 4 * (width + index), m.hidden, light)
    if heavy:
        yield from layers.linear("compress", t, 2 * width, m.hidden, heavy)
    yield from layers.linear("out_down", t, m.o_lora_rank, heads * width, count)
    yield from layers.linear("out", t, m.hidden, (m.o_groups or 1.0) * m.o_lora_rank / s.tp, count)
    # a causal token sees half of the vectors on average, or the best of them
    half = s.length / 2
    seen = [(count, m.sliding_window or eq.EVERYTHING), (light, np.minimum(m.index_topk or half, half / every)[()])]
    if heavy:
        seen.append((heavy, half / each))
    for number, window in seen:
        yield from layers.scores(number, np.maximum(window, 1.0)[()], heads, 1.0, width, width)
    moved = 4.0 * t * (heads + 1) * width
    yield layers.moved("rope", moved, count, "forward")
    yield layers.moved("rope", moved, count, "backward")
    found = language.index_operators(layers.model, *_asked(layers), light)
    yield from trained(layers, [_fewer(o, every) for o in found])


def _fewer(o: Operator, ratio: Any) -> Operator:
    """Scores of an indexer over one vector for so many tokens."""
    return o._replace(count=o.count / ratio) if o.name in ("index_scores", "index_top") else o
