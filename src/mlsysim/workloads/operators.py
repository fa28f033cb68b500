"""Operators: what a pass runs, one by one, with the work and the bytes of each. Knows no device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..units import Bytes, Count, Flop

KINDS = (
    "gemm",
    "conv",
    "depthwise",
    "attention_context",
    "attention_decode",
    "mla",
    "moe",
    "norm",
    "elementwise",
    "softmax",
    "embedding",
    "scan",
    "collective",
    "pool",
    "quantise",
)
"""Every kind of operator."""


class Operator(NamedTuple):
    """One operator of a pass; every number may be an array over batches, lengths or plans.

    A matrix product is ``y[m, n] = x[m, k] w[k, n]``. A convolution is the product that its unrolled form (im2col)
    makes: ``m`` is batch times output positions, ``n`` is output channels over groups, ``k`` is input channels over
    groups times kernel positions; there are ``groups`` of them. FLOPs and bytes are those of one run; the pass runs it
    ``count`` times.

    Attention looks back at most ``window`` tokens. Experts: ``m`` tokens before top-k, width ``k``, ``n`` of one
    expert on one rank, ``ranks`` of them share the experts, ``active`` is how many of a rank's own have work.
    """

    name: str
    kind: str
    m: Count = 1.0
    n: Count = 1.0
    k: Count = 1.0
    heads: Count = 1.0
    kv_heads: Count = 1.0
    head_dim: Count = 1.0
    value_dim: Count = 1.0
    query_tokens: Count = 1.0
    context: Count = 1.0
    groups: Count = 1.0
    experts: Count = 1.0
    topk: Count = 1.0
    flops: Flop = 0.0
    weight_bytes: Bytes = 0.0
    read_bytes: Bytes = 0.0
    write_bytes: Bytes = 0.0
    precision: str = "fp16"
    count: Count = 1.0
    phase: str = "forward"
    collective: str = ""
    message: Bytes = 0.0
    ranks: Count = 1.0
    window: Count = math.inf
    active: Count = 0.0

    @property
    def bytes(self) -> Any:
        """Bytes that one run reads and writes: weights, activations in, activations out."""
        return self.weight_bytes + self.read_bytes + self.write_bytes


def several(ranks: Any) -> bool:
    """Whether there is more than one, anywhere."""
    return ranks > 1 if isinstance(ranks, float) else bool(np.any(np.greater(ranks, 1)))


TEXTS = frozenset({"name", "kind", "precision", "phase", "collective"})


def total_flops(operators: Iterable[Operator]) -> Flop:
    """FLOPs of all operators, each as often as it runs.

    Examples:
        >>> total_flops([Operator("a", "gemm", flops=2.0, count=3.0), Operator("b", "norm", flops=1.0)])
        7.0
    """
    total: Any = 0.0
    for operator in operators:
        total = total + operator.flops * operator.count
    return total


def total_bytes(operators: Iterable[Operator]) -> Bytes:
    """Bytes that all operators read and write, each as often as it runs; no reuse between operators.

    Examples:
        >>> total_bytes([Operator("a", "gemm", weight_bytes=4.0, read_bytes=2.0, write_bytes=1.0, count=2.0)])
        14.0
    """
    total: Any = 0.0
    for operator in operators:
        total = total + operator.bytes * operator.count
    return total


def columns(operators: Sequence[Operator]) -> dict[str, Any]:
    """Operators as columns: one array a field, operators first, then the shape that their numbers broadcast to.

    Examples:
        >>> table = columns([Operator("a", "gemm", m=np.array([1.0, 8.0])), Operator("b", "norm", m=5.0)])
        >>> table["kind"]
        array(['gemm', 'norm'], dtype='<U4')
        >>> table["m"]
        array([[1., 8.],
               [5., 5.]])
    """
    numeric = [name for name in Operator._fields if name not in TEXTS]
    shape = np.broadcast_shapes(*(np.shape(getattr(one, name)) for one in operators for name in numeric))
    table: dict[str, Any] = {}
    for name in Operator._fields:
        values = [getattr(one, name) for one in operators]
        if name in TEXTS:
            table[name] = np.array(values, dtype=np.str_)
        else:
            rows = [np.broadcast_to(np.asarray(value, dtype=np.float64), shape) for value in values]
            table[name] = np.stack(rows) if rows else np.empty((0, *shape))
    return table
