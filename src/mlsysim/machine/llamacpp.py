"""A pass of a language model under llama.cpp: its own kernels, launched one by one, on whatever device there is.

Decoding streams the weights through every core, which takes in so many bytes a clock at most; a prompt is taken in by
matrix products that add up in the format they multiply, before which narrow weights are expanded to 16 bits, and
attention writes and reads its scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog.efficiency import ANY, Family, Fit, family
from ..errors import normalised
from ..physics.gemm import smooth_maximum
from ..physics.memory import launch_time
from ..physics.memory_kernels import streaming_time
from ..physics.roofline import compute_time, memory_time
from ..units import Bytes, Count, Flop, FlopPerSecond, Seconds
from ..workloads.language import kernels
from ..workloads.operators import Operator
from .chip import Chip

FAMILY = "llamacpp"
PIECE = 512.0
"""Tokens of a prompt that are taken in at once (``n_ubatch``)."""
BATCH = 2048.0
"""Tokens of a prompt whose pieces may follow each other through devices that hold different layers (``n_batch``)."""
OVERLAP = 3.0
"""Sharpness of the smaller of two rates: that of the memory and that of all cores."""
WORDS = {"w8a16": "w4a16", "bf16": "fp16", "fp32": "fp16"}
"""Formats whose kernels were not measured, and those that stand in."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a pass costs before any efficiency; ``pairs`` are those of queries and keys of all heads and layers."""

    flops: Flop
    weights: Bytes
    cache: Bytes
    pairs: Count
    launches: Count


@dataclass(frozen=True, slots=True)
class LlamaTime:
    """Time of a pass, the standard deviation of its log error, and notes on what stood in."""

    time: Seconds
    sigma: float
    notes: tuple[str, ...]


def terms_of(operators: Sequence[Operator]) -> Terms:
    """The terms of a pass from its operators."""
    flops: Any = 0.0
    weights: Any = 0.0
    cache: Any = 0.0
    pairs: Any = 0.0
    launches: Any = 0.0
    for one in operators:
        launches = launches + kernels(one) * one.count
        if one.kind in ("gemm", "moe"):
            flops, weights = flops + one.flops * one.count, weights + one.weight_bytes * one.count
        elif one.kind.startswith("attention"):
            flops, cache = flops + one.flops * one.count, cache + one.read_bytes * one.count
            pairs = pairs + one.flops * one.count / (2.0 * (one.head_dim + one.value_dim))
    return Terms(flops, weights, cache, pairs, launches)


def peak_of(chip: Chip) -> FlopPerSecond:
    """Peak of 16-bit products that add up in 16 bits: half of the 8-bit rate where a chip adds up in 32 bits slowly."""
    return max(chip.peak("fp16")[0], chip.peaks.get("int8", 0.0) / 2)


def decode_time(p: Mapping[str, float], chip: Chip, t: Terms) -> Seconds:
    """One decoding step with some parameters."""
    memory = streaming_time(t.weights, chip.bandwidth, p["memory"], 0.0)
    cores = memory_time(t.weights, p["intake"] * chip.cores * chip.clock)
    read = streaming_time(t.cache, chip.bandwidth, p["cached"], 0.0)
    return smooth_maximum(memory, cores, OVERLAP) + read + launch_time(t.launches, p["gap"])


def prompt_time(p: Mapping[str, float], chip: Chip, t: Terms) -> Seconds:
    """One piece of a prompt with some parameters."""
    products = compute_time(t.flops, peak_of(chip), p["compute"])
    return products + memory_time(t.pairs * p["score"] + t.weights * p["expand"], chip.bandwidth)


TIMES = {"decode": decode_time, "prompt": prompt_time}


def rounds(tokens: Count, devices: Count) -> Count:
    """Pieces of a prompt over how many are in flight at once, where each device holds its share of the layers."""
    pieces = np.maximum(np.ceil(tokens / PIECE), 1.0)
    together = np.minimum(pieces, BATCH / PIECE)
    return pieces / together * (together + devices - 1) / devices


def fit_of(chip: Chip, precision: str, phase: str, library: Family | None = None) -> tuple[Fit, float]:
    """The fit of a device for weights in a format, and what to add to its sigma in quadrature."""
    word = WORDS.get(precision, precision)
    fit = (library or family(FAMILY)).choose(chip.names, (chip.generation, ANY), f"{word}/{phase}")
    if normalised(fit.scope) in chip.names:
        return fit, 0.0
    near = fit.scope == chip.generation and chip.architecture in fit.architectures
    return fit, fit.transfer if near else fit.far


def llama_time(
    chip: Chip, precision: str, phase: str, operators: Sequence[Operator], library: Family | None = None
) -> LlamaTime:
    """A pass of a model whose weights are in some format.

    Args:
        chip: the device
        precision: ``fp16`` or ``w4a16``; others take the nearer of the two
        phase: ``decode`` or ``prompt``
        operators: of one decoding step, or of one piece of a prompt
        library: fits in place of the catalog's
    """
    fit, extra = fit_of(chip, precision, phase, library)
    notes = (*chip.notes, f"{FAMILY}: fitted on {', '.join(fit.devices)}")
    return LlamaTime(TIMES[phase](fit.values, chip, terms_of(operators)), float(np.hypot(fit.sigma[2], extra)), notes)
