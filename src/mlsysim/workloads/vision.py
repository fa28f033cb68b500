"""Layers of vision transformers and heads of detectors, by the words that ``stages`` use for them.

Sources: ViT, arXiv:2010.11929; Swin, arXiv:2103.14030; CLIP, arXiv:2103.00020; SAM, arXiv:2304.02643; CSP blocks,
arXiv:1911.11929; YOLOv5, YOLOv8 and YOLO11 as their public model files describe them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..units import Count
from .convnets import layer
from .stages import Stage
from .trace import Shape, Trace


@layer(options="k", flags="class pos grid bare")
def patch(t: Trace, s: Stage) -> None:
    """``patch 768 k16``: cut into patches and project; ``class`` adds a token, ``pos`` learned positions, ``grid`` stays 2-D."""
    side = s.get("k", 16.0)
    t.conv("project", s.size(0), side, side, 0.0, bias="bare" not in s.flags, norm=False)
    extra = 1.0 if "class" in s.flags else 0.0
    if "grid" not in s.flags:
        t.shape = Shape(s.size(0), (t.shape.positions + extra,))
    learned = t.shape.values if "pos" in s.flags else 0.0
    if extra or "pos" in s.flags:
        t.pointwise("positions", weights=t.own(learned + extra * s.size(0)))


@layer(options="n v", flags="pos")
def tokens(t: Trace, s: Stage) -> None:
    """``tokens 512 n77 v49408``: rows of a vocabulary; ``pos`` adds learned positions."""
    count = s.get("n", 1.0)
    t.embed("", s.get("v", 1.0), s.size(0), count, count if "pos" in s.flags else 0.0)


@layer(options="h f w", flags="table axes scale")
def encoder(t: Trace, s: Stage) -> None:
    """``encoder h12 f3072``: attention and an MLP, each with a normalisation before it and the data added after it.

    ``w7`` attends inside windows of 7 x 7 positions; ``table`` (Swin) and ``axes`` (SAM) learn relative positions;
    ``scale`` learns a scale of each branch.
    """
    width, heads = t.shape.channels, s.get("h", 1.0)
    if width % heads:
        raise s.fault(f"{heads:g} heads do not divide a width of {width:g}")
    data = t.shape
    head = width / heads
    t.norm("norm1")
    if "w" in s.options:
        side = s.get("w", 7.0)
        windows = math.prod(np.ceil(size / side) for size in data.extent)
        query, sequences = side * side, windows
        t.shape = Shape(width, (windows * query,))  # windows that hang over the edge are padded
    else:
        query, sequences = data.positions, 1.0
        side = math.sqrt(query) if type(query) is float else np.sqrt(query)
    t.linear("qkv", 3 * width)
    learned: Count = 0.0
    if "table" in s.flags:
        learned = (2 * side - 1) ** 2 * heads
    elif "axes" in s.flags:
        learned = 2 * (2 * side - 1) * head
    t.attention("attention", heads, head, query, query, sequences, learned)
    t.shape = replace(t.shape, channels=width)
    t.linear("out", width)
    t.shape = data
    t.pointwise("add1", inputs=2.0, weights=t.own(width) if "scale" in s.flags else 0.0)
    t.norm("norm2")
    t.linear("widen", s.get("f", 4 * width))
    t.linear("narrow", width)
    t.pointwise("add2", inputs=2.0, weights=t.own(width) if "scale" in s.flags else 0.0)


@layer()
def merge(t: Trace, s: Stage) -> None:
    """Two by two positions become one of twice the channels (Swin)."""
    width = t.shape.channels
    t.shape = Shape(4 * width, tuple(np.ceil(size / 2) for size in t.shape.extent))
    t.norm()
    t.linear("project", 2 * width, bias=False)


def _bottleneck(
    t: Trace, width: float, kernels: tuple[float, float] = (3.0, 3.0), ratio: float = 1.0, skip: bool = True
) -> None:
    out = t.shape.channels
    t.conv("b1", width * ratio, kernels[0])
    t.conv("b2", out, kernels[1])
    if skip:
        t.pointwise("badd", inputs=2.0)


@layer(options="n", flags="flat")
def c3(t: Trace, s: Stage) -> None:
    """``c3 128 n3``: one half of the channels through bottlenecks, the other past them (YOLOv5); ``flat`` adds nothing."""
    _c3(t, s.size(0), s.get("n", 1.0), (1.0, 3.0), "flat" not in s.flags)


def _c3(t: Trace, out: float, depth: float, kernels: tuple[float, float], skip: bool) -> None:
    before, width = t.shape, out / 2
    t.conv("past", width)
    t.shape = before
    t.conv("through", width)
    with t.times(depth):
        _bottleneck(t, width, kernels, 1.0, skip)
    t.shape = replace(t.shape, channels=2 * width)
    t.conv("join", out)


@layer(options="n u", flags="flat nested half")
def c2f(t: Trace, s: Stage) -> None:
    """``c2f 128 n3``: as C3, with the output of every bottleneck kept (YOLOv8); ``flat`` adds nothing.

    ``u16`` sets the width of the branch; ``nested`` puts a C3 of two bottlenecks in place of each (YOLO11, C3k2), and
    ``half`` narrows the bottlenecks (C3k2 without C3).
    """
    out, depth = s.size(0), s.get("n", 1.0)
    width = s.get("u", out / 2)
    t.conv("split", 2 * width)
    t.shape = replace(t.shape, channels=width)
    with t.times(depth):
        if "nested" in s.flags:
            _c3(t, width, 2.0, (3.0, 3.0), "flat" not in s.flags)
        else:
            _bottleneck(t, width, (3.0, 3.0), 0.5 if "half" in s.flags else 1.0, "flat" not in s.flags)
    t.shape = replace(t.shape, channels=(2 + depth) * width)
    t.conv("join", out)


@layer()
def sppf(t: Trace, s: Stage) -> None:
    """``sppf 256``: three 5 x 5 pools in a row, all kept (YOLOv5 and later)."""
    half = t.shape.channels / 2
    t.conv("narrow", half)
    with t.times(3.0):
        t.pool("pool", 5.0, 1.0, 2.0)
    t.shape = replace(t.shape, channels=4 * half)
    t.conv("join", s.size(0))


@layer(options="n")
def c2psa(t: Trace, s: Stage) -> None:
    """``c2psa 256 n1``: half of the channels through attention over all positions (YOLO11); keys half as wide as values."""
    out = s.size(0)
    width = out / 2
    heads = max(1.0, width // 64)
    head = width / heads
    key = head / 2
    t.conv("split", 2 * width)
    t.shape = data = replace(t.shape, channels=width)
    with t.times(s.get("n", 1.0)):
        t.conv("qkv", width + 2 * key * heads)
        t.shape = data
        count = data.positions
        # scores with narrow keys, then values: half of each, as one attention of the mean width
        t.attention("attention", heads, (key + head) / 2, count, count)
        t.conv("positions", width, 3.0, groups=width)
        t.conv("out", width)
        t.pointwise("add1", inputs=2.0)
        t.conv("widen", 2 * width)
        t.conv("narrow", width)
        t.pointwise("add2", inputs=2.0)
    t.shape = replace(data, channels=2 * width)
    t.conv("join", out)


@layer(flags="light")
def detect(t: Trace, s: Stage) -> None:
    """``detect 80 @p3 @p4 @p5``: boxes as 4 x 16 bins and class scores at each level (YOLOv8); ``light`` for YOLO11."""
    classes = s.size(0)
    levels = [t.saved[name] for name in s.inputs]
    first = levels[0].channels
    boxes, scores = max(16.0, first // 4, 64.0), max(first, min(classes, 100.0))
    for index, level in enumerate(levels):
        name = f"{s.inputs[index]}."
        t.shape = level
        t.conv(f"{name}box1", boxes, 3.0)
        t.conv(f"{name}box2", boxes, 3.0)
        t.conv(f"{name}box", 64.0, bias=True, norm=False)
        t.shape = level
        for step in (1, 2):
            if "light" in s.flags:
                t.conv(f"{name}depthwise{step}", t.shape.channels, 3.0, groups=t.shape.channels)
                t.conv(f"{name}class{step}", scores)
            else:
                t.conv(f"{name}class{step}", scores, 3.0)
        t.conv(f"{name}class", classes, bias=True, norm=False)
    anchors = sum((level.positions for level in levels), 0.0)
    t.shape = Shape(16.0, (4 * anchors,))
    t.conv("bins", 1.0, norm=False)


@layer()
def detect5(t: Trace, s: Stage) -> None:
    """``detect5 80 @p3 @p4 @p5``: one 1 x 1 convolution a level, three anchors each (YOLOv3 and v5)."""
    for name in s.inputs:
        t.shape = t.saved[name]
        t.conv(name, 3 * (5 + s.size(0)), bias=True, norm=False)


@layer(options="w n")
def heads(t: Trace, s: Stage) -> None:
    """``heads 819 36 w256 n4 @p3 @p4``: two towers of 3 x 3 convolutions shared by all levels (RetinaNet)."""
    for index, name in enumerate(s.inputs):
        counted = t.parameters
        for branch, out in enumerate(size[0] for size in s.sizes):
            t.shape = t.saved[name]
            with t.times(s.get("n", 4.0)):
                t.conv(f"{name}.tower{branch}", s.get("w", 256.0), 3.0, bias=True, norm=False)
            t.conv(f"{name}.out{branch}", out, 3.0, bias=True, norm=False)
        if index:
            t.parameters = counted  # the same weights at every level
