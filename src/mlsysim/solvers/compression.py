"""Fewer bits or fewer weights: how small, how fast, and what it was seen to cost (wall 13)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Defaults, Formats
from ..catalog.assumptions import AccuracyLoss
from ..physics import compression, roofline
from ..physics import transformer as eq
from ..record import total
from ..units import Bytes, Count, Fraction, Plain, Seconds
from ..workloads.passes import weight_bytes
from .base import ForwardModel
from .border import Border, shape_of
from .node import SingleNodeModel
from .result import Question, Result

METHODS = ("quantization", "pruning")
PATTERNS = ("unstructured", "structured", "n_m")
BASELINE_BITS = 32.0
NATIVE = {32: "fp32", 16: "fp16", 8: "int8", 4: "int4"}
GROUP_SIZE, GROUP_SCALE = 128.0, 16.0
"""Below 8 bits weights share a 16-bit scale in groups of 128, as the catalog's INT4 does."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompressionResult(Result):
    """A compressed model beside the same model in 32 bits."""

    method: str
    bits_per_weight: Count
    kept_weights: Fraction
    original_size: Bytes
    compressed_size: Bytes
    latency_before: Seconds
    latency_after: Seconds
    accuracy_delta_best: Fraction
    accuracy_delta_worst: Fraction
    accuracy_source: str
    feasible: bool

    @total
    def compression_ratio(self) -> Fraction:
        """How many times smaller, scales and indices included."""
        return compression.compression_ratio(self.original_size, self.compressed_size)

    @total
    def memory_savings(self) -> Fraction:
        """Share of the memory that is freed."""
        return compression.memory_savings(self.original_size, self.compressed_size)

    @total
    def memory_savings_pct(self) -> Plain:
        """:attr:`memory_savings` in per cent."""
        return 100 * compression.memory_savings(self.original_size, self.compressed_size)

    @total
    def original_size_gb(self) -> Plain:
        """Size before, in GB."""
        return self.original_size / 1e9

    @total
    def compressed_size_gb(self) -> Plain:
        """Size after, in GB."""
        return self.compressed_size / 1e9

    @total
    def estimated_accuracy_delta(self) -> Fraction:
        """Middle of the losses that were measured, as a share of the score before; NaN where none is on record."""
        return (self.accuracy_delta_best + self.accuracy_delta_worst) / 2

    @total
    def inference_speedup(self) -> Fraction:
        """Latency of one pass before over after, by the rooflines of both."""
        return self.latency_before / self.latency_after


class CompressionModel(ForwardModel):
    """Wall 13: what quantising and pruning save, by size and by roofline; what they cost, by measurement only."""

    walls = ((13, "Fidelity", "algorithm"),)
    requires = ("workload", "hardware")
    produces = CompressionResult
    misbeliefs = {
        "half the weights, twice the speed": "scattered zeros are multiplied all the same, unless the hardware skips them",
        "four bits are eight times faster than 32": "only what waits for weights gains; caches and launches stay",
        "accuracy falls along a curve": "it depends on the method, the model and the task; only measurements tell",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        method: Any = "quantization",
        target_bitwidth: Any = 8,
        sparsity: Any = 0.0,
        sparsity_type: Any = "unstructured",
        *,
        batch_size: Any = 1,
        seq_len: Any = None,
        efficiency: Any = 0.5,
        sparse_arithmetic: Any = True,
    ) -> CompressionResult:
        """Size, speed and measured loss of a compressed model, against 32-bit weights.

        Args:
            model: an entry of ``Models`` or its name
            hardware: a device (or a stack of them), or a name
            method: ``"quantization"`` or ``"pruning"``
            target_bitwidth: bits of a weight, from 1 to 32
            sparsity: share of the weights that are removed, in [0, 1)
            sparsity_type: ``"unstructured"``, ``"structured"`` (whole channels) or ``"n_m"`` (2 of every 4 and the like)
            batch_size: sequences or samples of the pass that is timed
            seq_len: tokens of context
            efficiency: share of the arithmetic peak that is reached, in (0, 1]
            sparse_arithmetic: whether the chip skips the zeros of an n:m pattern

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = CompressionModel().solve("Llama3_8B", "H100", target_bitwidth=4)
            >>> round(answer.compression_ratio, 2)
            7.76
        """
        arguments = dict(model=model, hardware=hardware, method=method, target_bitwidth=target_bitwidth,
                         sparsity=sparsity, sparsity_type=sparsity_type, batch_size=batch_size, seq_len=seq_len,
                         efficiency=efficiency, sparse_arithmetic=sparse_arithmetic)  # fmt: skip
        border = Border()
        network, device = border.model(model), border.device(hardware)
        how = border.choice("method", method, METHODS)
        bits = border.count("target_bitwidth", target_bitwidth, most=32)
        share = border.number("sparsity", sparsity, most=np.nextafter(1.0, 0.0))
        pattern = border.choice("sparsity_type", sparsity_type, PATTERNS)
        border.flag("sparse_arithmetic", sparse_arithmetic)
        border.close()
        arguments.update(model=network, hardware=device, method=how, sparsity_type=pattern)
        same = dict(batch_size=batch_size, efficiency=efficiency, seq_len=seq_len)
        before = SingleNodeModel().solve(network, device, precision="fp32", **same)
        original = weight_bytes(network, BASELINE_BITS / 8)
        if how == "quantization":
            if np.any(np.not_equal(share, 0)):
                border.problems.append("sparsity: expected 0 where the method is quantization")
                border.close()
            return self._quantised(arguments, network, device, bits, before, original, same)
        return self._pruned(arguments, network, share, pattern, before, original, bool(sparse_arithmetic))

    def _quantised(
        self, arguments: Any, model: Any, device: Any, bits: Any, before: Any, original: Any, same: Any
    ) -> CompressionResult:
        grouped = np.less(bits, 8)
        scale = np.where(grouped, GROUP_SCALE, 0.0)[()]
        values = original / (BASELINE_BITS / 8)
        size = compression.quantised_size(values, bits, scale, GROUP_SIZE)
        every = np.unique(bits)
        answers = [SingleNodeModel().solve(model, device, precision=_format(float(b)), **same) for b in every]
        shape = shape_of(np.asarray(bits), *(np.empty(a.shape) for a in answers))
        after, best, worst = (np.zeros(shape) for _ in range(3))
        fits: Any = np.zeros(shape, dtype=bool)
        told = []
        for b, answer in zip(every, answers, strict=True):
            here = np.broadcast_to(bits == b, shape)
            found = _measured("quantization", float(b), 0.0, "")
            told.append(found[2])
            after = np.where(here, answer.si.latency, after)
            fits = np.where(here, answer.si.feasible, fits)
            best, worst = np.where(here, found[0], best), np.where(here, found[1], worst)
        notes = tuple(dict.fromkeys(note for answer in answers for note in answer.notes))
        return CompressionResult(
            question=Question(type(self), arguments),
            shape=shape,
            notes=notes + ("losses are against the same model in 16 bits",),
            method="quantization",
            bits_per_weight=8 * size / values,
            kept_weights=1.0,
            original_size=original,
            compressed_size=size,
            latency_before=before.si.latency,
            latency_after=after[()],
            accuracy_delta_best=best[()],
            accuracy_delta_worst=worst[()],
            accuracy_source="; ".join(dict.fromkeys(told)),
            feasible=fits[()],
        )

    def _pruned(
        self, arguments: Any, model: Any, sparsity: Any, pattern: str, before: Any, original: Any, skips: bool
    ) -> CompressionResult:
        kept = 1 - sparsity
        values = original / (BASELINE_BITS / 8)
        inside = before.si
        compute: Any = 1.0
        notes: tuple[str, ...] = ()
        if pattern == "structured":
            size, compute = eq.weight_size(values * kept, BASELINE_BITS / 8), kept
        elif pattern == "n_m":
            size = np.minimum(compression.structured_sparse_size(values, 4 * kept, 4.0, BASELINE_BITS / 8), original)
            compute = kept if skips else 1.0
            notes = ("a pattern such as 2:4; chips that skip its zeros do so for sparsity 0.5 only",)
        else:
            size = np.minimum(compression.bitmap_sparse_size(values, sparsity, BASELINE_BITS / 8), original)
            notes = ("stored with one bit a position; read back dense, so that neither traffic nor arithmetic shrinks",)
        # Scattered zeros are stored compactly but multiplied densely; the other patterns are read as they are stored.
        saved = 0.0 if pattern == "unstructured" else original - size
        memory = inside.latency_memory * np.maximum(inside.traffic - saved, 0.0) / inside.traffic
        after = roofline.roofline_time(inside.latency_compute * compute, memory, inside.latency_overhead)
        shape = shape_of(np.asarray(sparsity), np.empty(before.shape))
        found = [_measured("pruning", 0.0, float(s), pattern) for s in np.atleast_1d(sparsity).ravel()]
        best, worst = (np.array([f[i] for f in found]).reshape(np.shape(sparsity))[()] for i in (0, 1))
        return CompressionResult(
            question=Question(type(self), arguments),
            shape=shape,
            notes=before.notes + notes,
            method="pruning",
            bits_per_weight=8 * size / (values * kept),
            kept_weights=kept,
            original_size=original,
            compressed_size=size,
            latency_before=inside.latency,
            latency_after=after,
            accuracy_delta_best=best,
            accuracy_delta_worst=worst,
            accuracy_source="; ".join(dict.fromkeys(f[2] for f in found)),
            feasible=inside.memory_footprint - saved <= inside.memory_capacity,
        )


def _format(bits: float) -> Any:
    """The number format of that many bits: a native one, or groups of integers that are widened to compute."""
    if bits in NATIVE:
        return Formats[NATIVE[int(bits)]]
    near = Formats["int4" if bits < 8 else "int8" if bits < 16 else "fp16" if bits == 16 else "fp32"]
    stored = {item.name: object.__getattribute__(near, item.name) for item in dataclasses.fields(near)}
    if bits > 8:
        stored["compute"] = Formats["fp32" if bits > 16 else "fp16"].compute
    return type(near)(**{**stored, "id": f"int{bits:g}", "bits": bits})


def _measured(method: str, bits: float, sparsity: float, pattern: str) -> tuple[float, float, str]:
    """Smallest and largest measured loss (as a negative share of the score), and where it was measured."""
    if (method == "quantization" and bits >= 16) or (method == "pruning" and sparsity == 0):
        return 0.0, 0.0, "the baseline of the measurements"
    for fact in Defaults:
        if not isinstance(fact, AccuracyLoss) or fact.method != method:
            continue
        inside = fact.si
        if method == "quantization" and inside.bits == bits and fact.pattern == f"int{bits:g}":
            return -inside.smallest, -inside.largest, f"{fact.id}: {fact.name} ({fact.benchmark})"
        if method == "pruning" and inside.sparsity == sparsity and fact.pattern == pattern:
            return -inside.smallest, -inside.largest, f"{fact.id}: {fact.name} ({fact.benchmark})"
    return np.nan, np.nan, "unknown: no measurement on record"
