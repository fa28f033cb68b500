"""Operators bound to a chip: shapes checked and formats resolved, waiting for the parameters of a kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import InvalidInputError, nearest
from ..physics.attention_kernels import causal_pairs
from ..physics.choice import either, maximum, minimum
from . import kernels
from .chip import Chip
from .products import Shape, Weights, many_rows, product_times, repeats, weights_of

KEPT = 256
"""Sets of weights, those of the products of a pass, that are kept."""
UNBOUNDED = 1e18
"""A window wider than any context."""


class Operator(NamedTuple):
    """One operator on one chip; ``run(parameters)`` gives seconds, ``floor`` is its speed of light.

    ``outside`` says where the shape lies beyond those that kernels were measured with.
    """

    family: str
    run: Callable[[Mapping[str, float]], Any]
    floor: Any
    precision: str
    notes: tuple[str, ...] = ()
    outside: Any = False


@dataclass(frozen=True, slots=True)
class Format:
    """How a product is stored and computed: the rate it runs at, bytes a value, passes to quantise activations."""

    family: str
    rate: str
    activation: float
    weight: float
    quantise: float = 0.0


FORMATS: Mapping[str, Format] = {
    "bf16": Format("gemm_bf16", "bf16", 2.0, 2.0),
    "fp16": Format("gemm_bf16", "fp16", 2.0, 2.0),
    "tf32": Format("gemm_bf16", "tf32", 4.0, 4.0),
    "fp32": Format("gemm_bf16", "fp32", 4.0, 4.0),
    "fp8": Format("gemm_fp8", "fp8", 1.0, 1.0, 1.0),
    "fp8_static": Format("gemm_fp8", "fp8", 1.0, 1.0, 0.0),
    "fp8_block": Format("gemm_fp8_block", "fp8", 1.0, 1.0, 1.0),
    "nvfp4": Format("gemm_nvfp4", "fp4", 0.5625, 0.5625, 1.0),
    "mxfp4": Format("gemm_nvfp4", "fp4", 0.53125, 0.53125, 1.0),
    "int8": Format("gemm_int8", "int8", 1.0, 1.0, 1.0),
    "w4a16": Format("gemm_w4a16", "bf16", 2.0, 0.53125),
    "w8a16": Format("gemm_w8a16", "bf16", 2.0, 1.0, 1.0),
}
MOE_FORMATS: Mapping[str, Format] = {
    "bf16": Format("moe", "bf16", 2.0, 2.0),
    "fp16": Format("moe", "fp16", 2.0, 2.0),
    "fp32": Format("moe", "fp32", 4.0, 4.0),
    "fp8": Format("moe", "fp8", 1.0, 1.0),
    "fp8_block": Format("moe", "fp8", 1.0, 1.0),
    "nvfp4": Format("moe", "fp4", 0.5625, 0.5625),
    "mxfp4": Format("moe", "fp8", 1.0, 0.53125),
    "w4a16": Format("moe", "bf16", 2.0, 0.53125),
    "w8a16": Format("moe", "bf16", 2.0, 1.0),
    "w4a16_mxfp4": Format("moe", "bf16", 2.0, 0.53125),
    "w4a8": Format("moe", "fp8", 1.0, 0.53125),
}
KV_BYTES: Mapping[str, float] = {
    "bf16": 2.0,
    "fp16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "fp32": 4.0,
    "fp4": 0.5625,
    "nvfp4": 0.5625,
}


def format_of(table: Mapping[str, Format], precision: str, weight: str | None = None) -> tuple[str, Format]:
    """The format of a product; a weight format narrower than the activations names a weight-only kernel.

    Raises:
        InvalidInputError: no such format
    """
    name = precision.lower().replace("-", "_")
    if weight is not None and weight != precision:
        narrow = weight.lower().replace("-", "_")
        if name in ("bf16", "fp16") and narrow in ("int4", "w4a16", "mxfp4", "nvfp4", "fp4"):
            name = "w4a16"
        elif name in ("bf16", "fp16") and narrow in ("int8", "fp8", "fp8_block"):
            name = "w8a16"
        elif name in ("fp8", "fp8_static", "fp8_block") and narrow in ("int4", "mxfp4", "nvfp4", "fp4"):
            name = "mxfp4"
    if name not in table:
        near = nearest(name, list(table))
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise InvalidInputError(f"precision: expected one of {', '.join(table)}, found {precision!r}{hint}")
    return name, table[name]


class Product(NamedTuple):
    """Products y[m, n] = x[m, k] W[n, k] in one format on one chip."""

    chip: Chip
    name: str
    number: Format
    peak: float
    notes: tuple[str, ...]

    def time(self, p: Mapping[str, float], m: Any, n: Any, k: Any) -> Any:
        """Seconds under the parameters of a kernel."""
        c, number = self.chip, self.number
        operand = (number.activation, number.weight, 2.0)
        return kernels.distinct(
            (m, n, k), lambda a, b, d: kernels.gemm(p, c, a, b, d, self.peak, operand, number.quantise)
        )

    def times(self, p: Mapping[str, float], shapes: Sequence[Shape], known: dict[Any, Weights]) -> list[float]:
        """Seconds of some products of plain numbers; ``known`` keeps what follows from their weights alone."""
        c, number = self.chip, self.number
        if not repeats(p, c):
            found: list[float] = self.time(p, *np.array(shapes).T).tolist()
            return found
        operand = (number.activation, number.weight, 2.0)
        products = tuple([(n, k, many_rows(c, m, n)) for m, n, k in shapes])
        key = (self.name, number.weight, products)  # weights of several formats may run as one where a rate lacks
        weights = known.get(key)
        if weights is None:
            if len(known) >= KEPT:
                known.clear()
            weights = known[key] = weights_of(p, c, products, self.peak, operand)
        return product_times(p, c, weights, [shape[0] for shape in shapes], operand, number.quantise).tolist()  # type: ignore[no-any-return]

    def floor(self, m: Any, n: Any, k: Any) -> Any:
        """Speed of light."""
        traffic = m * k * self.number.activation + n * k * self.number.weight + 2 * m * n
        return maximum(2 * m * n * k / self.peak, traffic / self.chip.bandwidth)

    def outside(self, m: Any, n: Any, k: Any) -> Any:
        """Where no kernel was measured."""
        return (m > 32768) | (n > 262144) | (k > 262144)


@dataclass(frozen=True, slots=True)
class Operators:
    """The operators of one chip."""

    chip: Chip

    def _peak(self, rate: str) -> tuple[float, tuple[str, ...]]:
        peak, used = self.chip.peak(rate)
        close = used == rate or {used, rate} == {"bf16", "fp16"}
        return peak, () if close else (f"{self.chip.id} has no {rate} peak; arithmetic runs in {used}",)

    def _native(self, table: Mapping[str, Format], name: str, number: Format) -> tuple[str, Format, tuple[str, ...]]:
        """The format as the chip runs it: narrow weights times 16-bit activations where it lacks the narrow rate."""
        needed = "fp4" if name == "mxfp4" else number.rate
        if needed not in ("fp8", "fp4", "int8") or needed in self.chip.peaks:
            return name, number, ()
        told = f"{self.chip.id} has no {needed} rate; {name} weights meet 16-bit activations"
        narrow = "w4a16_mxfp4" if name == "mxfp4" and "w4a16_mxfp4" in table else "w4a16"
        name = narrow if number.weight < 0.75 else "w8a16"
        standin = table.get(name, Format(number.family, "bf16", 2.0, number.weight))
        return name, Format(standin.family, "bf16", 2.0, number.weight), (told,)

    def gemm(self, m: Any, n: Any, k: Any, precision: str, weight: str | None = None) -> Operator:
        """y[m, n] = x[m, k] W[n, k], with the quantisation of x where the format needs it."""
        product = self.product(precision, weight)
        m, n, k = numbers(m), numbers(n), numbers(k)
        floor, outside = product.floor(m, n, k), product.outside(m, n, k)
        return Operator(
            product.number.family, lambda p: product.time(p, m, n, k), floor, product.name, product.notes, outside
        )

    def product(self, precision: str, weight: str | None = None) -> Product:
        """Products in a format on the chip."""
        name, number, told = self._native(FORMATS, *format_of(FORMATS, precision, weight))
        peak, notes = self._peak(number.rate)
        return Product(self.chip, name, number, peak, told + notes)

    def context_attention(
        self, batch: Any, new: Any, cached: Any, heads: Any, kv_heads: Any, head_dim: Any, window: Any,
        kv_precision: str, arithmetic: str = "bf16", causal: bool = True, value_dim: Any = None,
    ) -> Operator:  # fmt: skip
        """Prefill attention of ``new`` tokens after ``cached`` ones."""
        peak, notes = self._peak(arithmetic)
        c, size = self.chip, kv_bytes(kv_precision)
        value = head_dim if value_dim is None else value_dim
        seen = UNBOUNDED if window is None else either(window > 0, window, UNBOUNDED)
        pairs = causal_pairs(new, cached, seen) if causal else new * (cached + new)
        traffic = batch * (2 * new * heads * (head_dim + value) + 2 * kv_heads * (head_dim + value) * new * size)
        floor = maximum(2 * batch * heads * pairs * (head_dim + value) / peak, traffic / c.bandwidth)
        args = (batch, new, cached, heads, kv_heads, head_dim, seen, peak, size, causal, value_dim)
        family = "context_attention" if value_dim is None else "mla_context"
        return Operator(
            family, lambda p: kernels.context_attention(p, c, *args), floor, kv_precision, notes, new * batch > 2e6
        )

    def generation_attention(
        self, batch: Any, context: Any, heads: Any, kv_heads: Any, head_dim: Any, window: Any, kv_precision: str,
        value_dim: Any = None,
    ) -> Operator:  # fmt: skip
        """One token of every sequence against its ``context`` cached tokens."""
        peak, notes = self._peak("bf16")
        c, size = self.chip, kv_bytes(kv_precision)
        value = head_dim if value_dim is None else value_dim
        seen = UNBOUNDED if window is None else either(window > 0, window, UNBOUNDED)
        read = minimum(context, seen)
        floor = batch * kv_heads * read * (head_dim + value) * size / c.bandwidth
        args = (batch, context, heads, kv_heads, head_dim, seen, peak, size, value_dim)
        family = "generation_attention" if value_dim is None else "mla_generation"
        return Operator(
            family,
            lambda p: kernels.generation_attention(p, c, *args),
            floor,
            kv_precision,
            notes,
            context > 262144,
        )

    def moe(
        self, tokens: Any, hidden: Any, ffn: Any, experts: Any, topk: Any, tp: Any, ep: Any, precision: str,
        matrices: float = 3.0, imbalance: Any = 1.0, active: Any = None,
    ) -> Operator:  # fmt: skip
        """The experts of one rank, routing and permutation included."""
        name, number, told = self._native(MOE_FORMATS, *format_of(MOE_FORMATS, precision))
        peak, notes = self._peak(number.rate)
        c = self.chip
        operand = (number.activation, number.weight)
        rows = maximum(tokens * topk / ep, 1.0)
        busy = minimum(maximum(experts / ep, 1.0), rows)
        work = 2 * rows * matrices * hidden * ffn / tp
        traffic = busy * matrices * hidden * ffn / tp * number.weight
        floor = maximum(work / peak, traffic / c.bandwidth)
        args = (tokens, hidden, ffn, experts, topk, tp, ep, peak, operand, matrices, imbalance, active)
        return Operator("moe", lambda p: kernels.moe(p, c, *args), floor, name, told + notes)


def numbers(value: Any) -> Any:
    """A float where there is one number (plain arithmetic is several times faster than that of arrays), else an array."""
    return float(value) if isinstance(value, (int, float)) else np.asarray(value, dtype=np.float64)


def kv_bytes(precision: str) -> float:
    """Bytes of one cached value.

    Raises:
        InvalidInputError: no such format
    """
    if precision not in KV_BYTES:
        raise InvalidInputError(f"kv_precision: expected one of {', '.join(KV_BYTES)}, found {precision!r}")
    return KV_BYTES[precision]
