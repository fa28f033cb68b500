"""Walk through a network layer by layer, keeping the shape of the data and writing down each operator.

Only multiply-adds count as FLOPs, two each. Normalisations, pools, activations and additions have bytes but no FLOPs:
they wait for memory. An activation function is part of the operator before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ..physics import convolution as conv
from ..physics import transformer as eq
from ..units import Bytes, Count
from .operators import Operator


@dataclass(frozen=True, slots=True)
class Shape:
    """Channels and extent of the data of one sample: positions in one, two or three directions, or tokens."""

    channels: Count
    extent: tuple[Count, ...]

    @property
    def positions(self) -> Count:
        """Positions of one sample."""
        return math.prod(self.extent[1:], start=self.extent[0]) if self.extent else 1.0

    @property
    def values(self) -> Count:
        """Values of one sample."""
        return self.channels * self.positions


@dataclass(slots=True)
class Trace:
    """A network as it is walked through."""

    batch: Count = 1.0
    weight: Bytes = 2.0
    value: Bytes = 2.0
    precision: str = "fp16"
    shape: Shape = field(default_factory=lambda: Shape(3.0, (224.0, 224.0)))
    operators: list[Operator] = field(default_factory=list)
    parameters: Count = 0.0
    saved: dict[str, Shape] = field(default_factory=dict)
    label: str = ""
    count: Count = 1.0

    @contextmanager
    def times(self, count: Count) -> Iterator[None]:
        """Everything inside runs so many times, each with weights of its own."""
        before = self.count
        self.count = before * count
        yield
        self.count = before

    def own(self, parameters: Count) -> Bytes:
        """Count parameters and return their size."""
        self.parameters = self.parameters + parameters * self.count
        return eq.weight_size(parameters, self.weight)

    def size(self, shape: Shape | None = None) -> Bytes:
        """Bytes of the data of the batch."""
        shape = shape or self.shape
        return self.batch * shape.values * self.value

    def emit(self, name: str, kind: str, **values: Any) -> None:
        """Write an operator down."""
        self.operators.append(
            Operator(f"{self.label}{name}", kind, precision=self.precision, count=self.count, **values)
        )

    def conv(
        self,
        name: str,
        out: Count,
        kernel: Sequence[float] | float = 1.0,
        stride: Sequence[float] | float = 1.0,
        padding: Sequence[float] | float | None = None,
        groups: Count = 1.0,
        dilation: float = 1.0,
        bias: bool = False,
        norm: bool = True,
        transposed: bool = False,
    ) -> None:
        """A convolution over all directions, with a bias or a normalisation folded into it (two parameters a channel).

        Without a padding the output has as many positions as the input, over the stride.
        """
        before = self.shape
        directions = len(before.extent)
        kernels, strides = _each(kernel, directions), _each(stride, directions)
        pads = _each(padding, directions) if padding is not None else tuple(dilation * (k - 1) / 2 for k in kernels)
        if padding is None and any(k % 2 == 0 for k in kernels):
            pads = tuple(math.floor(pad) for pad in pads)
        if transposed:
            extent = tuple(
                conv.transposed_output_size(i, k, s, p if padding is not None else (k - s) / 2)
                for i, k, s, p in zip(before.extent, kernels, strides, pads, strict=True)
            )
        else:
            extent = tuple(
                conv.output_size(i, k, s, p, dilation)
                for i, k, s, p in zip(before.extent, kernels, strides, pads, strict=True)
            )
        after = Shape(out, extent)
        taps = math.prod(kernels)
        weights = conv.conv2d_parameters(before.channels, out, taps, 1.0, groups, 1.0 if bias else 0.0)
        if norm:
            weights = weights + conv.batch_norm_parameters(out)
        # a transposed convolution multiplies once for each input position and kernel tap
        positions = before.positions if transposed else after.positions
        work = conv.conv2d_multiply_adds(positions, 1.0, before.channels, out, taps, 1.0, groups)
        self.emit(
            name,
            "depthwise" if groups > 1 and groups == before.channels else "conv",
            m=self.batch * positions,
            n=out / groups,
            k=before.channels / groups * taps,
            groups=groups,
            flops=conv.conv2d_flops(work, self.batch),
            weight_bytes=self.own(weights),
            read_bytes=self.size(before),
            write_bytes=self.size(after),
        )
        self.shape = after

    def linear(self, name: str, out: Count, bias: bool = True, norm: bool = False) -> None:
        """A matrix product at every position; a normalisation folds into it (two parameters a channel)."""
        before = self.shape
        weights = conv.dense_parameters(before.channels, out, 1.0 if bias else 0.0)
        if norm:
            weights = weights + conv.batch_norm_parameters(out)
        after = replace(before, channels=out)
        work = conv.dense_multiply_adds(before.channels, out) * before.positions
        self.emit(
            name,
            "gemm",
            m=self.batch * before.positions,
            n=out,
            k=before.channels,
            flops=conv.conv2d_flops(work, self.batch),
            weight_bytes=self.own(weights),
            read_bytes=self.size(before),
            write_bytes=self.size(after),
        )
        self.shape = after

    def attention(
        self,
        name: str,
        heads: Count,
        head_dim: Count,
        query: Count,
        context: Count,
        sequences: Count = 1.0,
        parameters: Count = 0.0,
    ) -> None:
        """Scores, softmax and weighted values, every query against its whole context; several sequences a sample."""
        rows = self.batch * sequences
        width = heads * head_dim
        self.emit(
            name,
            "attention_context",
            m=rows,
            heads=heads,
            kv_heads=heads,
            head_dim=head_dim,
            value_dim=head_dim,
            query_tokens=query,
            context=context,
            flops=eq.attention_flops(query * context, rows, 1.0, heads, head_dim, head_dim),
            weight_bytes=self.own(parameters) if type(parameters) is not float or parameters else 0.0,
            read_bytes=rows * (query + 2 * context) * width * self.value,
            write_bytes=rows * query * width * self.value,
        )

    def norm(self, name: str = "norm", parameters: float = 2.0) -> None:
        """A normalisation that is not folded into a convolution, with so many parameters a channel."""
        self.pointwise(name, "norm", weights=self.own(parameters * self.shape.channels))

    def pointwise(self, name: str, kind: str = "elementwise", inputs: float = 1.0, weights: Bytes = 0.0) -> None:
        """An operator on every value: so many inputs like the output, and perhaps weights."""
        size = self.size()
        self.emit(
            name,
            kind,
            m=self.batch * self.shape.positions,
            n=self.shape.channels,
            weight_bytes=weights,
            read_bytes=inputs * size,
            write_bytes=size,
        )

    def move(self, name: str, after: Shape, kind: str = "elementwise", before: Bytes | None = None) -> None:
        """Data take another shape: read once, written once."""
        self.emit(
            name,
            kind,
            m=self.batch * after.positions,
            n=after.channels,
            read_bytes=self.size() if before is None else before,
            write_bytes=self.size(after),
        )
        self.shape = after

    def pool(self, name: str, kernel: Any, stride: Any, padding: Any = 0.0, ceil: bool = False) -> None:
        """A pooling over windows; ``ceil`` keeps a window that hangs over the edge."""
        directions = len(self.shape.extent)
        extent = tuple(
            conv.output_size(i + (s - 1 if ceil else 0.0), k, s, p)
            for i, k, s, p in zip(
                self.shape.extent,
                _each(kernel, directions),
                _each(stride, directions),
                _each(padding, directions),
                strict=True,
            )
        )
        self.move(name, Shape(self.shape.channels, extent), "pool")

    def embed(
        self, name: str, rows: Count, width: Count, gathered: Count, positions: Count = 0.0, pooled: bool = False
    ) -> None:
        """Rows gathered from a table; ``pooled`` adds them up, otherwise each stays a token."""
        self.own(rows * width + positions * width)
        after = Shape(width, () if pooled else (gathered,))
        self.emit(
            name,
            "embedding",
            m=self.batch * gathered,
            n=width,
            k=rows,
            weight_bytes=self.batch * gathered * width * self.weight,
            read_bytes=0.0,
            write_bytes=self.size(after),
        )
        self.shape = after


def _each(value: Any, directions: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * directions
