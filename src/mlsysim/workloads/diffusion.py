"""Layers of denoising networks, by the words that ``stages`` use for them.

Sources: U-Net with attention, arXiv:2112.10752 and SDXL, arXiv:2307.01952, with the layout of the published
configurations; DiT, arXiv:2212.09748; MM-DiT, arXiv:2403.03206; FLUX.1, the public model configuration.
"""

from __future__ import annotations

from dataclasses import replace

from ..units import Count
from .convnets import layer
from .stages import Stage
from .trace import Shape, Trace


@layer(options="f")
def latent(t: Trace, s: Stage) -> None:
    """``latent 4 f8``: the picture as an autoencoder compresses it, by ``f`` along each side."""
    t.shape = Shape(s.size(0), tuple(size / s.get("f", 8.0) for size in t.shape.extent))


def branch(t: Trace, name: str, inputs: Count, out: Count, positions: Count = 1.0, bias: bool = True) -> None:
    """A matrix product on other data: a condition, or the text."""
    data = t.shape
    t.shape = Shape(inputs, (positions,))
    t.linear(name, out, bias)
    t.shape = data


@layer(options="i")
def condition(t: Trace, s: Stage) -> None:
    """``condition 1280 i320``: two matrix products turn a step, a guidance or a pooled text into a vector."""
    branch(t, "first", s.get("i", 256.0), s.size(0))
    branch(t, "second", s.size(0), s.size(0))


@layer(options="i n")
def text(t: Trace, s: Stage) -> None:
    """``text 3072 i4096 n512``: project the text's tokens to the width of the model."""
    branch(t, "project", s.get("i", 4096.0), s.size(0), s.get("n", 77.0))


@layer(options="v")
def classes(t: Trace, s: Stage) -> None:
    """``classes 1152 v1001``: one learned vector a class."""
    data = t.shape
    t.embed("", s.get("v", 1000.0), s.size(0), 1.0, pooled=True)
    t.shape = data


@layer(options="c")
def resblock(t: Trace, s: Stage) -> None:
    """``resblock 320 c1280``: two normalised 3 x 3 convolutions, the condition added between them."""
    before, out = t.shape, s.size(0)
    t.norm("norm1")
    t.conv("conv1", out, 3.0, bias=True, norm=False)
    branch(t, "condition", s.get("c", 1280.0), out)
    t.norm("norm2")
    t.conv("conv2", out, 3.0, bias=True, norm=False)
    if before.channels != out:
        t.shape = before
        t.conv("shortcut", out, bias=True, norm=False)
    t.pointwise("add", inputs=2.0)


@layer(options="h n d b")
def spatial(t: Trace, s: Stage) -> None:
    """``spatial h8 n77 d768 b1``: ``b`` transformer blocks over all positions, each attending to itself and to the text."""
    data, width, heads = t.shape, t.shape.channels, s.get("h", 8.0)
    count = data.positions
    tokens, context_width = s.get("n", 77.0), s.get("d", 768.0)
    t.norm("norm")
    t.linear("in", width)
    with t.times(s.get("b", 1.0)):
        t.norm("norm1")
        t.linear("qkv", 3 * width, bias=False)
        t.attention("self", heads, width / heads, count, count)
        t.shape = data
        t.linear("out1", width)
        t.pointwise("add1", inputs=2.0)
        t.norm("norm2")
        t.linear("q", width, bias=False)
        branch(t, "kv", context_width, 2 * width, tokens, bias=False)
        t.attention("cross", heads, width / heads, count, tokens)
        t.linear("out2", width)
        t.pointwise("add2", inputs=2.0)
        t.norm("norm3")
        t.linear("widen", 8 * width)
        t.shape = replace(data, channels=4 * width)
        t.pointwise("gate", inputs=2.0)
        t.linear("narrow", width)
        t.pointwise("add3", inputs=2.0)
    t.linear("project", width)
    t.pointwise("add", inputs=2.0)


@layer(options="h f", flags="qk")
def dit(t: Trace, s: Stage) -> None:
    """``dit h16 f4608``: attention and an MLP whose normalisations are shifted, scaled and gated by the condition."""
    _stream(t, "", s, joint=0.0)


def _stream(t: Trace, name: str, s: Stage, joint: Count, first: bool = True, last: bool = False) -> None:
    """One stream of a block; ``joint`` tokens of the other stream are attended to with its own (counted in the first)."""
    data, width, heads = t.shape, t.shape.channels, s.get("h", 16.0)
    head = width / heads
    branch(t, f"{name}modulation", width, (2.0 if last else 6.0) * width)
    t.norm(f"{name}norm1", 0.0)
    t.linear(f"{name}qkv", 3 * width)
    if "qk" in s.flags:
        t.own(2 * head)  # a normalisation of queries and keys, fused with the rotary embedding
    if first:
        every = data.positions + joint
        t.attention(f"{name}attention", heads, head, every, every)
    t.shape = data
    if last:
        return
    t.linear(f"{name}out", width)
    t.pointwise(f"{name}gate1", inputs=2.0)
    t.norm(f"{name}norm2", 0.0)
    t.linear(f"{name}widen", s.get("f", 4 * width))
    t.linear(f"{name}narrow", width)
    t.pointwise(f"{name}gate2", inputs=2.0)


@layer(options="h f n", flags="qk last")
def mmdit(t: Trace, s: Stage) -> None:
    """``mmdit h24 f6144 n333``: picture and text in streams of their own that attend together; ``last`` drops the text.

    ``qk`` normalises queries and keys.
    """
    tokens = s.get("n", 77.0)
    picture = t.shape
    _stream(t, "picture.", s, joint=tokens)
    t.shape = Shape(picture.channels, (tokens,))
    _stream(t, "text.", s, joint=0.0, first=False, last="last" in s.flags)
    t.shape = picture


@layer(options="h f n")
def single(t: Trace, s: Stage) -> None:
    """``single h24 f12288 n512 qk``: picture and text in one stream, attention and MLP side by side."""
    picture, width, heads = t.shape, t.shape.channels, s.get("h", 24.0)
    hidden = s.get("f", 4 * width)
    every = picture.positions + s.get("n", 512.0)
    data = t.shape = Shape(width, (every,))
    branch(t, "modulation", width, 3 * width)
    t.norm("norm", 0.0)
    t.linear("in", 3 * width + hidden)
    t.own(2 * width / heads)
    t.attention("attention", heads, width / heads, every, every)
    t.shape = replace(data, channels=width + hidden)
    t.linear("out", width)
    t.pointwise("gate", inputs=2.0)
    t.shape = picture


@layer()
def unpatch(t: Trace, s: Stage) -> None:
    """``unpatch 32``: a normalisation shifted and scaled by the condition, then every token to its patch."""
    branch(t, "modulation", t.shape.channels, 2 * t.shape.channels)
    t.norm("norm", 0.0)
    t.linear("project", s.size(0))
