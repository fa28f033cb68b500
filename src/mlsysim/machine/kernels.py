"""Forms of kernel time: from shapes, a chip's constants and a few fitted parameters to seconds. Arrays broadcast.

Every form takes ``p``, the parameters of one fit in SI, and ``c``, the chip. The parameters are described in
:mod:`mlsysim.catalog.efficiency`; the arithmetic is that of the equations in :mod:`mlsysim.physics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..physics import attention_kernels as attention
from ..physics import gemm as tiles
from ..physics import moe_kernels as experts
from .chip import Chip

Parameters = Mapping[str, float]

_SIDES = [
    (256, 256), (256, 192), (256, 128), (192, 128), (160, 128), (128, 128), (128, 96), (256, 64), (128, 64),
    (64, 64), (128, 32), (64, 32), (128, 16), (64, 16), (64, 8),
]  # fmt: skip
_TILES = np.array(sorted({side for a, b in _SIDES for side in ((a, b), (b, a))}, reverse=True), dtype=np.float64)
SPLITS = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
TILE_ROWS = np.repeat(_TILES[:, 0], len(SPLITS))
TILE_COLUMNS = np.repeat(_TILES[:, 1], len(SPLITS))
TILE_SPLITS = np.tile(SPLITS, len(_TILES))
LARGE = (TILE_SPLITS == 1) & (TILE_ROWS * TILE_COLUMNS >= 128 * 64)
WAVES_OF_LARGE = 8.0
"""Where tiles of 128 x 128 fill all cores so many times, a library neither splits nor takes small tiles."""
LEAST_DEPTH = 128.0
"""A slice of the inner dimension is not cut shorter than this."""
BLOCK = 1024
"""Shapes tried against all tiles at once."""
FEED = 64.0
"""Bytes a clock from the shared cache to one core, the unit of the fitted ``feed``."""


def distinct(columns: Sequence[Any], run: Callable[..., NDArray[np.float64]]) -> NDArray[np.float64]:
    """``run`` over columns of one shape, asked once for every distinct row and in blocks that fit the cache."""
    if all(type(column) is float for column in columns):
        return run(*columns)
    shape = np.broadcast_shapes(*(np.shape(column) for column in columns))
    if int(np.prod(shape)) <= BLOCK:
        return run(*columns)
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

    The library tries tiles and splits; the best of them counts. ``quantise`` is the number of passes that turn the
    bf16 activations into the operand's format before the product.
    """
    many = np.asarray(m) * n >= WAVES_OF_LARGE * c.cores * 128 * 128
    if many.ndim == 0:
        best = _best_tile(p, c, m, n, k, peak, operand, LARGE if many else slice(None))
    else:
        rows, columns, depth = np.broadcast_arrays(m, n, k)
        many = np.broadcast_to(many, rows.shape)
        best = np.empty(rows.shape)
        for mine, tried in ((many, LARGE), (~many, slice(None))):
            if mine.any():
                best[mine] = _best_tile(p, c, rows[mine], columns[mine], depth[mine], peak, operand, tried)
    if quantise:
        moved = np.multiply(m, k) * (2 + operand[0])
        best = best + quantise * p["quantise"] + moved / (p.get("quantise_memory", 0.5) * c.bandwidth)
    eager = p.get("eager", 0.0)
    return np.asarray(tiles.smooth_maximum(best, eager, 6.0) if eager else best)


def _best_tile(
    p: Parameters, c: Chip, m: Any, n: Any, k: Any, peak: float, operand: tuple[float, float, float], tried: Any
) -> NDArray[np.float64]:
    """Seconds of the product with the best of some tiles and splits."""
    x, w, y = operand
    rows, columns, depth = (np.asarray(value, dtype=np.float64)[..., None] for value in (m, n, k))
    tall, broad, splits = TILE_ROWS[tried], TILE_COLUMNS[tried], TILE_SPLITS[tried]
    count = tiles.tile_count(rows, columns, tall, broad, splits)
    waves = tiles.wave_count(count, c.cores, p.get("smooth", 0.3))
    height = tall if c.matrix else np.minimum(tall, rows)  # vector units do not compute empty rows
    slice_depth = 64 * np.ceil(depth / (64 * splits))
    math = tiles.tile_math_time(height, broad, slice_depth, waves, c.cores, peak, p["compute"])
    feed = tiles.tile_feed_time(height, broad, slice_depth, max(x, w), waves, p["feed"] * FEED * c.clock)
    weights, activations, output = columns * depth * w, rows * depth * x, rows * columns * y
    missed = tiles.miss_share(weights + activations + output, c.cache, p["reach"])
    split = splits > 1
    traffic = weights * missed + activations + output + split * 4 * rows * columns
    memory = traffic / (p["memory"] * c.bandwidth)
    time = tiles.gemm_time(p["launch"], math, feed, memory, 1 + p["overlap"], waves, p["wave"], split * p["split"])
    best = np.where(depth / splits >= np.where(split, LEAST_DEPTH, 0.0), time, np.inf).min(axis=-1)
    return np.asarray(best)


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
    rows = new * np.where(packed > 0, group, 1.0)
    lanes = np.where(packed > 0, kv_heads, heads)
    length = np.maximum(np.ceil(rows / tile), 1.0)
    if not p.get("windowed", 1.0):  # the kernel masks what lies outside the window, but works through it
        window = np.full_like(np.asarray(window, dtype=np.float64), 1e18)
    whole = np.asarray(new * (cached + new), dtype=np.float64)
    area = attention.causal_pairs(new, cached, window) if causal else whole
    mean_keys = area / new
    longest_keys = np.minimum(cached + new, window)
    edges = 0.5 * tile / keys * np.where(window < cached + new, 2.0, 1.0)
    diagonal = np.where(rows <= tile, 0.0, edges) + p["diagonal"]
    blocks = length * (np.maximum(mean_keys / keys, 0.25) + diagonal)
    blocks = np.where(rows <= tile, length * (np.maximum(longest_keys / keys, 0.25) + p["diagonal"]), blocks)
    wide = (width / 128.0) ** (p.get("wide", 1.0) - 1)
    block = attention.attention_block_time(
        tile, keys, width, c.cores, peak, p["compute"] * wide, c.exponentials * c.clock, p["softmax"]
    )
    row = np.maximum(longest_keys / keys, 0.25)
    split = 1.0
    if p.get("split", 0.0) > 0:
        split = np.clip(c.cores / (batch * lanes * length), 1.0, np.maximum(row / 2, 1.0))
    shared = batch * lanes * blocks * block / c.cores
    longest = (row / split + p["diagonal"]) * block
    read = np.minimum(cached + new, window + new)
    moved = batch * (
        2 * new * heads * (head_dim + value_dim) + kv_heads * (head_dim + value_dim) * (read + new) * kv_bytes
    )
    memory = moved / (p["memory"] * c.bandwidth)
    extra = np.where(split > 1, p.get("split", 0.0), 0.0)
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
    # Beyond the largest group of heads that a kernel can serve together, every head reads the keys for itself.
    kv_heads = np.where(heads / kv_heads > p.get("shares", 1e9), heads, kv_heads)
    seen = np.minimum(context, window) if p.get("windowed", 1.0) else np.asarray(context, dtype=np.float64)
    work = batch * kv_heads
    blocks = np.ceil(seen / 128.0)
    split = attention.key_value_splits(work, c.cores, blocks)
    waves = np.ceil(work * split / c.cores)
    cache = work * seen * (head_dim + value_dim) * kv_bytes
    missed = tiles.miss_share(cache, c.cache, p["reach"], 6.0)
    slowed = missed + (1 - missed) / (1 + p["cache_gain"])
    memory = cache * slowed / (p["memory"] * c.bandwidth) + 4 * batch * heads * head_dim / c.bandwidth
    own = waves * np.ceil(blocks / split)
    stream = attention.core_stream_time(
        own, 128 * (head_dim + value_dim) * kv_bytes * slowed, c.cores, c.bandwidth, p["stream"]
    )
    padded = 16 * np.ceil(heads / kv_heads / 16) if c.matrix else heads / kv_heads
    math = 4 * work * padded * seen * (head_dim + value_dim) / 2 / (p["compute"] * peak)
    combine = np.where(split > 1, p["split"], 0.0)
    return np.asarray(
        attention.generation_attention_time(
            p["launch"], memory, stream, math, 1 + p["overlap"], waves, p["wave"], combine
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
    local = np.maximum(all_experts / ep, 1.0)
    rows = np.maximum(tokens * topk / ep * imbalance, 1.0)
    busy = experts.active_experts(rows, local) if active is None else np.minimum(active, rows)
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
    waves = up_waves + down_waves
    return np.asarray(
        experts.grouped_time(p["launch"], math, memory, 1 + p["overlap"], waves, p["wave"], rows, p["row"]) + passed
    )
