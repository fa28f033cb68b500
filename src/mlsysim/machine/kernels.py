"""Forms of kernel time: from shapes, a chip's constants and a few fitted parameters to seconds. Arrays broadcast.

Every form takes ``p``, the parameters of one fit in SI, and ``c``, the chip. The parameters are described in
:mod:`mlsysim.catalog.efficiency`; the arithmetic is that of the equations in :mod:`mlsysim.physics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..physics import attention_kernels as attention
from ..physics import gemm as tiles
from ..physics import moe_kernels as experts
from ..physics.choice import ceil, either
from ..physics.choice import maximum as larger
from ..physics.choice import minimum as smaller
from .chip import Chip

Parameters = Mapping[str, float]

_SIDES = [
    (256, 256), (256, 192), (256, 128), (192, 128), (160, 128), (128, 128), (128, 96), (256, 64), (128, 64),
    (64, 64), (128, 32), (64, 32), (128, 16), (64, 16), (64, 8),
]  # fmt: skip
_TILES = np.array(sorted({side for a, b in _SIDES for side in ((a, b), (b, a))}, reverse=True), dtype=np.float64)
SPLITS = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
LEAST_DEPTH = 128.0
"""A slice of the inner dimension is not cut shorter than this."""


class Tiles(NamedTuple):
    """Tiles and splits that a library tries, with what follows from them alone."""

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    splits: NDArray[np.float64]
    split: NDArray[np.float64]
    least_depth: NDArray[np.float64]
    large: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: NDArray[np.float64], columns: NDArray[np.float64], splits: NDArray[np.float64]) -> Tiles:
        """From sides and splits."""
        split = (splits > 1).astype(np.float64)
        return cls(
            rows, columns, splits, split, split * LEAST_DEPTH * splits, (splits == 1) & (rows * columns >= 128 * 64)
        )

    def where(self, chosen: NDArray[np.bool_]) -> Tiles:
        """Some of them."""
        return Tiles.of(self.rows[chosen], self.columns[chosen], self.splits[chosen])


ALL = Tiles.of(np.repeat(_TILES[:, 0], len(SPLITS)), np.repeat(_TILES[:, 1], len(SPLITS)), np.tile(SPLITS, len(_TILES)))
WHOLE = ALL.where(ALL.splits == 1)
"""What a library tries that never splits the inner dimension."""
LARGE = ALL.where(ALL.large)
WAVES_OF_LARGE = 8.0
"""Where tiles of 128 x 128 fill all cores so many times, a library neither splits nor takes small tiles."""
BLOCK = 1000
"""Shapes worked out at once."""
TRIED = 16_000
"""Shapes times tiles worked out at once: arrays of 128 KB stay in the cache, and need no new pages each time."""
WORTH_BOUNDING = 512
"""Shapes times tiles from which leaving tiles out by their bounds takes less time than it saves."""
LEVELLED = 0.5
"""Share of the rounding of a decode kernel's last round that is recovered: a core holds several sequences at a time."""
NO_WINDOW = 1e12
"""Windows from here on mean that none is set."""
UNBOUNDED = 1e18
"""A window wider than any context."""
ROTATED = 6.0
"""Products whose weights take turns before the same ones come again, as in the tables that were fitted to."""
FEED = 64.0
"""Bytes a clock from the shared cache to one core, the unit of the fitted ``feed``."""


def distinct(columns: Sequence[Any], run: Callable[..., NDArray[np.float64]]) -> NDArray[np.float64]:
    """``run`` over columns of one shape, asked once for every distinct row and in blocks that fit the cache."""
    if all(type(column) is float for column in columns):
        return run(*columns)
    together = np.broadcast(*columns)
    if together.size <= BLOCK:
        return run(*columns)
    shape = together.shape
    flat = [np.broadcast_to(column, shape).ravel() for column in columns]
    code = np.zeros(flat[0].shape, dtype=np.int64)
    for column in flat:
        values, place = np.unique(column, return_inverse=True)
        code = code * len(values) + place.reshape(-1)
    _, first, place = np.unique(code, return_index=True, return_inverse=True)
    rows = [column[first] for column in flat]
    parts = [run(*(row[i : i + BLOCK] for row in rows)) for i in range(0, len(first), BLOCK)]
    return np.asarray(np.concatenate(parts)[place.reshape(-1)].reshape(shape))


def gemm(
    p: Parameters,
    c: Chip,
    m: Any,
    n: Any,
    k: Any,
    peak: float,
    operand: tuple[float, float, float],
    quantise: float = 0.0,
) -> NDArray[np.float64]:
    """Seconds of y[m, n] = x[m, k] W[n, k]; ``operand`` holds the bytes of one value of x, W and y.

    The library tries tiles and splits; the best of them counts. A kernel with ``columns`` takes its tile from the rows
    alone, as many libraries of narrow formats do. ``quantise`` is the number of passes that turn the bf16 activations
    into the operand's format before the product.
    """
    if p.get("columns"):
        height = np.where(np.less_equal(m, p["turn"]), p["least"], p["most"])[..., None]
        width = np.where(np.less_equal(m, p["least"]), p["narrow"], p["columns"])[..., None]
        only = Tiles.of(height, width, np.ones(1))
        return finished(p, c, m, k, _best_tile(p, c, m, n, k, peak, operand, only), operand, quantise)
    every = WHOLE if p.get("splits", 16.0) == 1 else ALL
    many = np.asarray(m) * n >= WAVES_OF_LARGE * c.cores * 128 * 128
    if many.ndim == 0:
        best = _best_tile(p, c, m, n, k, peak, operand, LARGE if many else every)
    else:
        rows, columns, depth = m, n, k
        if not np.shape(m) == np.shape(n) == np.shape(k):
            rows, columns, depth, many = np.broadcast_arrays(m, n, k, many)
        if rows.size * len(every.rows) <= TRIED:
            tried, mixed = (LARGE, None) if many.all() else (every, many)
            best = _best_tile(p, c, rows, columns, depth, peak, operand, tried, mixed)
            return finished(p, c, m, k, best, operand, quantise)
        best = np.empty(rows.shape)
        for mine, tried in ((many, LARGE), (~many, every)):
            if not mine.any():
                continue
            a, b, d = rows[mine], columns[mine], depth[mine]
            size = TRIED // len(tried.rows)
            best[mine] = np.concatenate([
                _best_tile(p, c, a[i : i + size], b[i : i + size], d[i : i + size], peak, operand, tried)
                for i in range(0, len(a), size)
            ])  # fmt: skip
    return finished(p, c, m, k, best, operand, quantise)


def finished(
    p: Parameters, c: Chip, m: Any, k: Any, best: Any, operand: tuple[float, float, float], quantise: float
) -> NDArray[np.float64]:
    """The time of a product with that of quantising its operand, and no less than launches from the host allow."""
    if quantise and "quantise" in p:
        moved = np.multiply(m, k) * (2 + operand[0])
        rate = p.get("quantise_memory", 0.5) * c.bandwidth
        best = best + tiles.quantise_time(quantise * p["quantise"], moved, rate, m, p.get("quantise_row", 0.0))
    eager = p.get("eager", 0.0)
    if "unaligned" in p:  # scales of rows that are no multiple of 16 bytes are laid out anew, by launches of their own
        eager = eager + p["unaligned"] * ((np.asarray(m) % 4 != 0) & (np.asarray(k) > 128))
    return np.asarray(tiles.smooth_maximum(best, eager, 6.0) if p.get("eager") else best)


def _best_tile(
    p: Parameters, c: Chip, m: Any, n: Any, k: Any, peak: float, operand: tuple[float, float, float], tried: Tiles,
    large: Any = None,
) -> NDArray[np.float64]:  # fmt: skip
    """Seconds of the product with the best of some tiles and splits; shapes that are ``large`` take large tiles only."""
    x, w, y = operand
    rows, columns, depth = (np.asarray(value, dtype=np.float64)[..., None] for value in (m, n, k))
    waves = tiles.wave_count(
        tiles.tile_count(rows, columns, tried.rows, tried.columns, tried.splits), c.cores, p.get("smooth", 0.3)
    )
    height = tried.rows if c.matrix else np.minimum(tried.rows, rows)  # vector units do not compute empty rows
    slice_depth = 64 * np.ceil(depth / (64 * tried.splits))
    math = tiles.tile_math_time(height, tried.columns, slice_depth, waves, c.cores, peak, p["compute"])
    feed = tiles.tile_feed_time(height, tried.columns, slice_depth, max(x, w), waves, p["feed"] * FEED * c.clock)
    output = rows * columns
    weights, activations, written = columns * depth * w, rows * depth * x, output * y
    missed = tiles.miss_share(ROTATED * weights + activations + written, c.cache, p["reach"])
    traffic = ((weights + activations) * missed + written) + 4 * output * tried.split
    memory = traffic / (p["memory"] * c.bandwidth)
    sharpness, reduction = 1 + p["overlap"], tried.split * p["split"]
    deep = depth >= tried.least_depth
    if large is not None:
        deep = np.where(large[..., None], tried.large, deep)
    all_able = tried is LARGE or len(tried.splits) == 1
    if deep.size < WORTH_BOUNDING or all_able:
        time = tiles.gemm_time(p["launch"], math, feed, memory, sharpness, waves, p["wave"], reduction)
        return np.asarray((time if all_able else np.where(deep, time, np.inf)).min(axis=-1))
    # What overlaps takes between its longer part and that with a share of the shorter one (the norm is convex), so most
    # tiles cannot be the best one; the powers, which cost most, are worked out for the few that can.
    busy = np.maximum(math, feed)
    least = np.where(deep, np.maximum(busy, memory) + (waves * p["wave"] + reduction), np.inf)
    most = (least + (2 ** (1 / sharpness) - 1) * np.minimum(busy, memory)).min(axis=-1, keepdims=True)
    able = np.flatnonzero(least <= most * (1 + 1e-9))
    able_busy, able_memory, able_waves = (
        (part if part.shape == least.shape else np.broadcast_to(part, least.shape)).ravel()[able]
        for part in (busy, memory, waves)
    )
    least.fill(np.inf)
    least.ravel()[able] = tiles.gemm_time(
        p["launch"], able_busy, able_busy, able_memory, sharpness, able_waves, p["wave"],
        reduction[able % len(reduction)],
    )  # fmt: skip
    return np.asarray(least.min(axis=-1))


def context_attention(
    p: Parameters,
    c: Chip,
    batch: Any,
    new: Any,
    cached: Any,
    heads: Any,
    kv_heads: Any,
    head_dim: Any,
    window: Any,
    peak: float,
    kv_bytes: float,
    causal: bool = True,
    value_dim: Any = None,
) -> NDArray[np.float64]:
    """Seconds of fused prefill attention and of writing the new keys and values."""
    keys = 128.0
    value_dim = head_dim if value_dim is None else value_dim
    width = (head_dim + value_dim) / 2
    group = heads / kv_heads
    pack = p.get("pack", 0.0)
    tile = p.get("rows", 128.0)
    # A kernel that packs a group of heads fills a tile of few queries with the heads that share keys.
    packed = (new < tile) * pack
    rows = new * either(packed > 0, group, 1.0)
    lanes = either(packed > 0, kv_heads, heads)
    length = larger(ceil(rows / tile), 1.0)
    if not p.get("windowed", 1.0):  # the kernel masks what lies outside the window, but works through it
        window = 1e18
    area = attention.causal_pairs(new, cached, window) if causal else new * (cached + new)
    mean_keys = area / new
    longest_keys = smaller(cached + new, window)
    # Keys come in whole blocks: those that the diagonal or the window cuts are worked through in full.
    edges = 0.5 * max(tile, keys) / keys * either(window < cached + new, 2.0, 1.0)
    extra_blocks = p.get("diagonal", 0.0)
    diagonal = either(rows <= tile, 0.0, edges) + extra_blocks
    blocks = length * (larger(mean_keys / keys, 0.25) + diagonal)
    blocks = either(rows <= tile, length * (larger(longest_keys / keys, 0.25) + extra_blocks), blocks)
    wide = (width / 128.0) ** (p.get("wide", 1.0) - 1)
    block = attention.attention_block_time(
        tile, keys, width, c.cores, peak, p["compute"] * wide, c.exponentials * c.clock, p["softmax"]
    )
    row = larger(longest_keys / keys, 0.25)
    split = 1.0
    if p.get("split", 0.0) > 0:
        split = smaller(larger(c.cores / (batch * lanes * length), 1.0), larger(row / 2, 1.0))
    prologue = p.get("wave", 0.0)
    shared = batch * lanes * (blocks * block + length * prologue) / c.cores
    longest = (row / split + extra_blocks) * block + prologue
    read = smaller(cached + new, window + new)
    moved = batch * (
        2 * new * heads * (head_dim + value_dim) + kv_heads * (head_dim + value_dim) * (read + new) * kv_bytes
    )
    memory = moved / (p["memory"] * c.bandwidth)
    extra = either(split > 1, p.get("split", 0.0), 0.0)
    if "write" in p:
        values = kv_heads * (head_dim + value_dim) / 2
        extra = extra + attention.cache_write_time(batch * new, values, p["write"] * c.cores * c.clock)
    return np.asarray(attention.context_attention_time(p["launch"], shared, longest, memory, 1 + p["balance"], extra))


def generation_attention(
    p: Parameters,
    c: Chip,
    batch: Any,
    context: Any,
    heads: Any,
    kv_heads: Any,
    head_dim: Any,
    window: Any,
    peak: float,
    kv_bytes: float,
    value_dim: Any = None,
) -> NDArray[np.float64]:
    """Seconds of one decode step: every sequence's new token against its cached keys and values.

    ``head_dim`` and ``value_dim`` are the widths read from the cache for a key and for a value; a latent cache has
    a value width of 0, because keys and values are one.
    """
    value_dim = head_dim if value_dim is None else value_dim
    width, group = head_dim + value_dim, heads / kv_heads
    seen = smaller(context, window) if p.get("windowed", 1.0) else context
    kept = batch * kv_heads * seen * width * kv_bytes
    # Beyond the largest group of heads that a kernel can serve together, every head reads the keys for itself.
    lone = group > p.get("shares", 1e9)
    whole = False
    if p.get("swaps", 0.0):
        lone = lone | (window < NO_WINDOW)
        whole = lone | (group <= 1)
    work = batch * either(lone, heads, kv_heads)
    blocks = ceil(seen / 128.0)
    split = smaller(attention.key_value_splits(work, c.cores, blocks), p.get("splits", 1e9))
    split = either(whole, 1.0, split)
    # Pieces that fill the cores take one round, whatever the rounding of the division says.
    waves = tiles.wave_count(smaller(work * split, larger(work, c.cores)), c.cores, LEVELLED)
    again = work * seen * width * kv_bytes
    missed = kept * tiles.miss_share(kept, c.cache, p["reach"], 6.0)
    moved = missed + (again - missed) / (1 + p["cache_gain"])
    memory = moved / (p["memory"] * c.bandwidth) + 4 * batch * heads * head_dim / c.bandwidth
    own = waves * smaller(128 * ceil(blocks / split), seen) / 128.0
    stream = attention.core_stream_time(own, 128 * width * kv_bytes, c.cores, c.bandwidth, p["stream"])
    padded = 16 * ceil(heads * batch / work / 16) if c.matrix else heads * batch / work
    # Keys come in whole blocks, and a window that ends inside a block touches one more.
    touched = 128.0 * (blocks + either(seen < context, 1.0, 0.0))
    math = 2 * work * padded * touched * width / (p["compute"] * peak)
    round_time = p["wave"] * either(lone | (group <= 1), p.get("alone", 1.0), 1.0)
    if p.get("wide", 1.0) != 1:
        round_time = round_time * (width / 256.0) ** (p["wide"] - 1)
    combine = either(split > 1, p["split"] + p.get("join", 0.0) * split, 0.0)
    return np.asarray(
        attention.generation_attention_time(
            p["launch"], memory, stream, math, 1 + p["overlap"], waves, round_time, combine
        )
    )


def moe(
    p: Parameters,
    c: Chip,
    tokens: Any,
    hidden: Any,
    ffn: Any,
    all_experts: Any,
    topk: Any,
    tp: Any,
    ep: Any,
    peak: float,
    operand: tuple[float, float],
    matrices: float = 3.0,
    imbalance: Any = 1.0,
    active: Any = None,
) -> NDArray[np.float64]:
    """Seconds of one rank's experts; ``tokens`` are those of all expert-parallel ranks before top-k.

    ``operand`` holds the bytes of one activation and of one weight; ``active`` overrides the number of busy experts.
    """
    x, w = operand
    local = larger(all_experts / ep, 1.0)
    rows = larger(tokens * topk / ep * imbalance, 1.0)
    busy = experts.active_experts(rows, local) if active is None else smaller(active, rows)
    mean = rows / busy
    inner = ffn / tp
    tile = experts.expert_tile_rows(mean, p.get("least", 16.0), p.get("most", 128.0))
    up = tiles.tile_count(mean, (matrices - 1) * inner, tile, 128.0) * busy
    down = tiles.tile_count(mean, hidden, tile, 128.0) * busy
    up_waves, down_waves = tiles.wave_count(up, c.cores), tiles.wave_count(down, c.cores)
    math = tiles.tile_math_time(tile, 128.0, hidden, up_waves, c.cores, peak, p["compute"])
    math = math + tiles.tile_math_time(tile, 128.0, inner, down_waves, c.cores, peak, p["compute"])
    weights = busy * matrices * hidden * inner * w
    activations = rows * (2 * hidden * x + (matrices + 1) * inner * x + 2 * hidden)
    memory = (weights + activations) / (p["memory"] * c.bandwidth)
    # Buffers of all tokens, and in some kernels of all token-expert pairs, are passed over even where few are local.
    passed = (p.get("token", 0.0) + p.get("slot", 0.0) * topk) * tokens * hidden * 2 / c.bandwidth
    # A grouped kernel walks through every expert of the rank, also those without tokens.
    passed = passed + p.get("empty", 0.0) * local
    waves = up_waves + down_waves
    return np.asarray(
        experts.grouped_time(p["launch"], math, memory, 1 + p["overlap"], waves, p["wave"], rows, p["row"]) + passed
    )
