"""Layers and blocks of convolutional networks, by the words that ``stages`` use for them.

Sources: ResNet, arXiv:1512.03385; ResNeXt, arXiv:1611.05431; MobileNet V1-V3, arXiv:1704.04861, 1801.04381, 1905.02244;
EfficientNet V1-V2, arXiv:1905.11946, 2104.00298; squeeze-and-excitation, arXiv:1709.01507; ConvNeXt, arXiv:2201.03545.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..physics import convolution as equations
from ..units import Count, Flop
from .stages import Stage
from .trace import Shape, Trace

Layer = Callable[[Trace, Stage], None]


@dataclass(frozen=True, slots=True)
class Word:
    """What a word means, and the options and flags it takes."""

    build: Layer
    options: frozenset[str]
    flags: frozenset[str]


LAYERS: dict[str, Word] = {}
"""Every word."""

JOINING = {"add", "cat", "detect", "detect5", "heads"}
"""Words that take several inputs."""


def layer(options: str = "", flags: str = "") -> Callable[[Layer], Layer]:
    """Make a function the meaning of the word that is its name."""

    def define(function: Layer) -> Layer:
        known = frozenset(options.split()) | {"x"}
        LAYERS[function.__name__.strip("_")] = Word(function, known, frozenset(flags.split()))
        return function

    return define


@layer(flags="line")
def input_(t: Trace, s: Stage) -> None:
    """``input 3 224``: start from other data; ``49x10`` for two sides, a third for depth, ``line`` for one, none for a vector."""
    extent = s.dims(1) if len(s.sizes) > 1 else ()
    t.shape = Shape(s.size(0), extent * 2 if len(extent) == 1 and "line" not in s.flags else extent)


@layer(options="k s p g d", flags="bias bare dw up")
def conv(t: Trace, s: Stage) -> None:
    """``conv 64 k7 s2 p3 g1 d1``; ``bias`` or ``bare`` instead of a normalisation; ``dw`` for one filter a channel."""
    directions = len(t.shape.extent)
    plain = bool(s.flags & {"bias", "bare"})
    depthwise = "dw" in s.flags
    groups = s.get("g", 1.0)
    if t.shape.channels % groups or (not depthwise and s.size(0) % groups):
        raise s.fault(f"{groups:g} groups do not divide {t.shape.channels:g} channels in and {s.size(0):g} out")
    t.conv(
        "",
        t.shape.channels if depthwise else s.size(0),
        s.each("k", 1.0, directions),
        s.each("s", 1.0, directions),
        s.each("p", 0.0, directions) if "p" in s.options else None,
        t.shape.channels if depthwise else groups,
        s.get("d", 1.0),
        bias="bias" in s.flags,
        norm=not plain,
        transposed="up" in s.flags,
    )


@layer(options="k s p", flags="ceil")
def maxpool(t: Trace, s: Stage) -> None:
    """``maxpool k3 s2 p1``; ``ceil`` keeps windows that hang over the edge."""
    t.pool("", s.get("k", 2.0), s.get("s", s.get("k", 2.0)), s.get("p", 0.0), "ceil" in s.flags)


@layer()
def globalpool(t: Trace, s: Stage) -> None:
    """The mean over all positions."""
    t.move("", Shape(t.shape.channels, ()), "pool")


@layer()
def flatten(t: Trace, s: Stage) -> None:
    """All values as one vector; nothing moves."""
    t.shape = Shape(t.shape.values, ())


@layer()
def take(t: Trace, s: Stage) -> None:
    """Keep one token; nothing moves."""
    t.shape = Shape(t.shape.channels, ())


@layer(flags="bare norm")
def fc(t: Trace, s: Stage) -> None:
    """``fc 1000``: a matrix product at every position; ``bare`` without a bias; ``norm`` with a batch normalisation."""
    t.linear("", s.size(0), bias="bare" not in s.flags, norm="norm" in s.flags)


@layer(flags="bare rms")
def norm(t: Trace, s: Stage) -> None:
    """A normalisation of its own; ``bare`` without parameters, ``rms`` with one a channel."""
    t.norm("", 0.0 if "bare" in s.flags else 1.0 if "rms" in s.flags else 2.0)


@layer()
def up(t: Trace, s: Stage) -> None:
    """``up 2``: repeat every position in each direction."""
    t.move("", Shape(t.shape.channels, tuple(size * s.size(0) for size in t.shape.extent)))


@layer()
def add(t: Trace, s: Stage) -> None:
    """``add @a``: add an earlier output to the data."""
    t.pointwise("", inputs=1.0 + len(s.inputs))


@layer()
def cat(t: Trace, s: Stage) -> None:
    """``cat @a @b``: earlier outputs after the data, along the channels."""
    channels = t.shape.channels + sum(t.saved[name].channels for name in s.inputs)
    after = Shape(channels, t.shape.extent)
    t.move("", after, before=t.size(after))


@layer()
def start(t: Trace, s: Stage) -> None:
    """``start @a``: go on from an earlier output."""


@layer(options="s")
def basic(t: Trace, s: Stage) -> None:
    """``basic 64 s1``: two 3 x 3 convolutions around which the data are added (ResNet-18 and 34)."""
    before = t.shape
    t.conv("conv1", s.size(0), 3.0, s.get("s", 1.0))
    t.conv("conv2", s.size(0), 3.0)
    _residual(t, s, before)


@layer(options="w g s")
def bottleneck(t: Trace, s: Stage) -> None:
    """``bottleneck 256 w64 g1 s1``: 1 x 1 to the width, 3 x 3 in groups, 1 x 1 out, around which the data are added."""
    before = t.shape
    width = s.get("w", s.size(0) / 4)
    t.conv("conv1", width)
    t.conv("conv2", width, 3.0, s.get("s", 1.0), groups=s.get("g", 1.0))
    t.conv("conv3", s.size(0))
    _residual(t, s, before)


def _residual(t: Trace, s: Stage, before: Shape) -> None:
    stride = s.get("s", 1.0)
    after = t.shape
    if stride != 1.0 or before.channels != after.channels:
        t.shape = before
        t.conv("shortcut", after.channels, 1.0, stride)
    t.pointwise("add", inputs=2.0)


def squeeze(t: Trace, width: Count) -> None:
    """Squeeze and excitation: scale each channel by a small network's view of its mean."""
    data = t.shape
    t.move("squeeze", Shape(data.channels, ()), "pool")
    t.linear("reduce", width)
    t.linear("expand", data.channels)
    t.shape = data
    t.pointwise("scale")


@layer(options="k s e m se sq")
def inverted(t: Trace, s: Stage) -> None:
    """``inverted 24 k3 s2 e6``: widen (by ``e``, or to ``m``), depthwise, narrow (MobileNetV2, V3, EfficientNet).

    ``se4`` squeezes to a quarter of the input channels, ``sq64`` to 64.
    """
    before = t.shape
    hidden = s.get("m", before.channels * s.get("e", 1.0))
    if hidden != before.channels:
        t.conv("expand", hidden)
    t.conv("depthwise", hidden, s.get("k", 3.0), s.get("s", 1.0), groups=hidden)
    if "sq" in s.options:
        squeeze(t, s.get("sq", 1.0))
    elif "se" in s.options:
        squeeze(t, max(1.0, before.channels // s.get("se", 4.0)))
    t.conv("project", s.size(0))
    _skip(t, s, before)


@layer(options="k s e")
def fused(t: Trace, s: Stage) -> None:
    """``fused 48 k3 s2 e4``: a full convolution in place of the widening and the depthwise one (EfficientNetV2)."""
    before = t.shape
    hidden = before.channels * s.get("e", 1.0)
    if hidden == before.channels:
        t.conv("conv", s.size(0), s.get("k", 3.0), s.get("s", 1.0))
    else:
        t.conv("expand", hidden, s.get("k", 3.0), s.get("s", 1.0))
        t.conv("project", s.size(0))
    _skip(t, s, before)


def _skip(t: Trace, s: Stage, before: Shape) -> None:
    if s.get("s", 1.0) == 1.0 and before.channels == t.shape.channels:
        t.pointwise("add", inputs=2.0)


@layer(options="k s")
def separable(t: Trace, s: Stage) -> None:
    """``separable 128 k3 s2``: depthwise, then 1 x 1 (MobileNetV1)."""
    directions = len(t.shape.extent)
    t.conv(
        "depthwise",
        t.shape.channels,
        s.each("k", 3.0, directions),
        s.each("s", 1.0, directions),
        groups=t.shape.channels,
    )
    t.conv("pointwise", s.size(0))


@layer(options="k")
def convnext(t: Trace, s: Stage) -> None:
    """``convnext 96``: depthwise 7 x 7, a normalisation, an MLP four times as wide, a learned scale."""
    width = t.shape.channels
    t.conv("depthwise", width, s.get("k", 7.0), groups=width, bias=True, norm=False)
    t.norm()
    t.linear("widen", 4 * width)
    t.linear("narrow", width)
    t.pointwise("add", inputs=2.0, weights=t.own(width))


@layer(options="s")
def double(t: Trace, s: Stage) -> None:
    """``double 64 s2``: two 3 x 3 convolutions in a row, the stride in the first (U-Net)."""
    t.conv("conv1", s.size(0), 3.0, s.get("s", 1.0))
    t.conv("conv2", s.size(0), 3.0)


@layer()
def darknet(t: Trace, s: Stage) -> None:
    """``darknet 256``: 1 x 1 to half the channels, 3 x 3 back, around which the data are added (YOLOv3)."""
    t.conv("conv1", t.shape.channels / 2)
    t.conv("conv2", s.size(0), 3.0)
    t.pointwise("add", inputs=2.0)


@layer()
def fold(t: Trace, s: Stage) -> None:
    """``fold 2``: consecutive steps become one of as many times the channels; nothing moves."""
    t.shape = Shape(t.shape.channels * s.size(0), tuple(np.floor(size / s.size(0)) for size in t.shape.extent))


@layer()
def lstm(t: Trace, s: Stage) -> None:
    """``lstm 1024``: four gates from the input and the state before, one time step after the other."""
    width, before = s.size(0), t.shape
    t.linear("input", 4 * width)
    weights = t.own(4 * width * (width + 1))
    with t.times(before.positions):
        t.emit(
            "recurrent",
            "gemm",
            m=t.batch,
            n=4 * width,
            k=width,
            flops=dense_flops(width, 4 * width, t.batch),
            weight_bytes=weights,  # read again at each step
            read_bytes=t.size(Shape(width, ())),
            write_bytes=t.size(Shape(4 * width, ())),
        )
    t.shape = Shape(width, before.extent)
    t.pointwise("gates")


def dense_flops(inputs: Count, outputs: Count, rows: Count) -> Flop:
    """FLOPs of a matrix product."""
    return equations.conv2d_flops(equations.dense_multiply_adds(inputs, outputs), rows)
