"""Matrix products whose weights come again with other rows: what follows from the weights is worked out once.

A pass asks for the same products whatever its batch and lengths are; only the rows differ. The arithmetic is that of
:func:`mlsysim.machine.kernels.gemm`, which takes any shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..physics import gemm as tiles
from .chip import Chip
from .kernels import ALL, FEED, ROTATED, WAVES_OF_LARGE, WORTH_BOUNDING, Parameters, finished

Numbers = NDArray[np.float64]
Places = NDArray[np.intp]
Operand = tuple[float, float, float]
Shape = tuple[float, float, float]
"""Rows, columns and depth of a product."""


class Weights(NamedTuple):
    """Some weights under one kernel of a chip: ``columns``, ``depth`` and ``bytes`` of each product, then its tiles.

    The tiles and splits that are tried stand in one row, those of the first product first; ``product`` says whose they
    are, ``traffic`` which of the products' traffic, without a split or with one, and ``starts`` where each begins.
    ``across`` is how many tiles side by side there are, times splits; ``round_time`` the time of a core for one of them,
    its arithmetic or its operands from the cache; ``extra`` the time to sum the slices.
    """

    columns: tuple[float, ...]
    depth: tuple[float, ...]
    bytes: tuple[float, ...]
    product: Places
    traffic: Places
    starts: Places
    height: Numbers
    across: Numbers
    round_time: Numbers
    extra: Numbers


def repeats(p: Parameters, c: Chip) -> bool:
    """Whether the times of a kernel part so: not if its tiles follow from the rows, or rows are computed one by one."""
    return c.matrix and not p.get("columns")


def many_rows(c: Chip, m: float, n: float) -> bool:
    """Whether large tiles fill all cores so many times that a library tries no others."""
    return m * n >= WAVES_OF_LARGE * c.cores * 128 * 128


def weights_of(
    p: Parameters, c: Chip, products: Sequence[tuple[float, float, bool]], peak: float, operand: Operand
) -> Weights:
    """What the times of products have in common, whatever their rows: columns, depth and whether they have many rows."""
    x, w, _ = operand
    columns, depth, many = (np.array(values) for values in zip(*products, strict=True))
    tried = np.where(many[:, None], ALL.large, depth[:, None] >= ALL.least_depth)
    if p.get("splits", 16.0) == 1:
        tried = tried & (ALL.splits == 1)
    product, tile = np.nonzero(tried)
    height, width, split = ALL.rows[tile], ALL.columns[tile], ALL.split[tile]
    slice_depth = 64 * np.ceil(depth[product] / (64 * ALL.splits[tile]))
    math = tiles.tile_math_time(height, width, slice_depth, 1.0, c.cores, peak, p["compute"])
    feed = tiles.tile_feed_time(height, width, slice_depth, max(x, w), 1.0, p["feed"] * FEED * c.clock)
    return Weights(
        columns=tuple(columns.tolist()),
        depth=tuple(depth.tolist()),
        bytes=tuple((columns * depth * w).tolist()),
        product=product,
        traffic=product + len(products) * split.astype(np.intp),
        starts=product.searchsorted(np.arange(len(products))),
        height=height,
        across=tiles.tile_count(1.0, columns[product], 1.0, width, ALL.splits[tile]),
        round_time=np.maximum(math, feed),
        extra=split * p["split"],
    )


def product_times(
    p: Parameters, c: Chip, found: Weights, m: Sequence[float], operand: Operand, quantise: float
) -> Numbers:
    """Seconds of each product with so many rows."""
    rows = np.array(m)
    waves = tiles.wave_count(
        np.ceil(rows.take(found.product) / found.height) * found.across, c.cores, p.get("smooth", 0.3)
    )
    busy = waves * found.round_time
    memory = _memory_times(p, c, found, m, operand).take(found.traffic)
    sharpness, extra, starts = 1 + p["overlap"], found.extra, found.starts
    if len(busy) >= WORTH_BOUNDING:
        # What overlaps takes between its longer part and that with a share of the shorter one (the norm is convex), so
        # most tiles cannot be the best one; the powers, which cost most, are worked out for the few that can.
        least = np.maximum(busy, memory) + (waves * p["wave"] + extra)
        most = np.minimum.reduceat(least + (2 ** (1 / sharpness) - 1) * np.minimum(busy, memory), starts)
        able = (least <= (most * (1 + 1e-9)).take(found.product)).nonzero()[0]
        busy, memory, waves, extra = busy.take(able), memory.take(able), waves.take(able), extra.take(able)
        starts = able.searchsorted(starts)
    time = tiles.gemm_time(p["launch"], busy, busy, memory, sharpness, waves, p["wave"], extra)
    best = np.minimum.reduceat(time, starts)
    return finished(p, c, rows, np.array(found.depth), best, operand, quantise)


def _memory_times(p: Parameters, c: Chip, found: Weights, m: Sequence[float], operand: Operand) -> Numbers:
    """Seconds of the traffic of each product without a split, then with one; so few numbers are faster one by one."""
    x, _, y = operand
    whole, split = [], []
    for rows, columns, depth, weights in zip(m, found.columns, found.depth, found.bytes, strict=True):
        output, activations = rows * columns, rows * depth * x
        written = output * y
        missed = tiles.miss_share(ROTATED * weights + activations + written, c.cache, p["reach"])
        moved = (weights + activations) * missed + written
        whole.append(moved)
        split.append(moved + 4 * output)
    return np.array(whole + split) / (p["memory"] * c.bandwidth)
