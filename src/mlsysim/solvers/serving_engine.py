"""A serving engine: one instance of a model on some chips under a software stack, and the time of its steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..catalog.models import Transformer
from ..catalog.stacks import ServingStack
from ..machine.measured import MeasuredMachine
from ..machine.passes import Links, PassTime, time_pass
from ..physics import is_recording
from ..physics.choice import minimum
from ..physics.serving_load import engine_step_time, side_by_side_time
from ..units import Bytes, Count, Seconds
from ..workloads.language import VALUE_BYTES, Layout, Numerics, Work, operators
from ..workloads.operators import Operator, several
from ..workloads.passes import cache_size
from ..workloads.transformer import Shape, shape

BLACKWELL = ("blackwell", "graphics")
FOUR_BIT = ("nvfp4", "mxfp4")
KNOWN = 256


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an engine: its kernels, and what the host adds."""

    kernels: PassTime
    overhead: Seconds
    time: Seconds


@dataclass(frozen=True, slots=True)
class Engine:
    """One instance of a model under a stack."""

    machine: MeasuredMachine
    model: Transformer
    stack: Any
    layout: Layout
    numerics: Numerics
    links: Links
    capacity: Bytes
    known: dict[Work, Step] = field(default_factory=dict, repr=False, compare=False)
    """Steps that were asked for before, where batch and lengths are single numbers."""

    @property
    def shape(self) -> Shape:
        """The numbers of the model."""
        return shape(self.model)

    def operators(self, work: Work) -> list[Operator]:
        """What one rank runs in a pass; pipeline stages work on different micro-batches of it."""
        micro = self._micro_batches(work)
        mine = work if micro is None else work._replace(batch=work.batch / micro)
        return operators(self.model, mine, self.layout, self.numerics, self.stack.si.routing_evenness)

    def step(self, work: Work, run: list[Operator] | None = None) -> Step:
        """The time of a pass, whose operators are given or listed."""
        return self.steps(work)[0] if run is None else self._step(work, run)

    def steps(self, *works: Work) -> list[Step]:
        """The times of some passes; the matrix products of all of them are worked out at once."""
        if is_recording() or not all([work.plain for work in works]):
            return [self._step(work, self.operators(work)) for work in works]
        if len(self.known) >= KNOWN:
            self.known.clear()
        runs = {work: self.operators(work) for work in works if work not in self.known}
        products = [(o.m, o.n, o.k, o.precision) for run in runs.values() for o in run if o.kind == "gemm"]
        self.machine.look_ahead(products)
        for work, run in runs.items():
            self.known[work] = self._step(work, run, ahead=False)
        return [self.known[work] for work in works]

    def _step(self, work: Work, run: list[Operator], ahead: bool = True) -> Step:
        passed, s = time_pass(self.machine, run, self.links, ahead), self.stack.si
        if s.shared_stream and work.phase == "decode":
            passed = overlapped(passed)
        stages, micro = self.layout.stages, self._micro_batches(work)
        # Decoding micro-batches fill all stages at once; a prompt's micro-batches fill and drain the pipeline.
        if micro is not None and work.phase == "prefill":
            passed = scaled(passed, (micro + stages - 1) / stages)
        time = engine_step_time(passed.time, passed.launches, s.gap, s.step_host)
        return Step(passed, time - passed.time, time)

    def _micro_batches(self, work: Work) -> Any:
        """Micro-batches that a pass is cut into; None where there is one stage."""
        return minimum(self.layout.stages, work.batch) if several(self.layout.stages) else None

    def decode(self, batch: Count, context: Count, tokens: Count = 1.0) -> Step:
        """A step in which each of ``batch`` sequences advances by ``tokens`` with ``context`` tokens cached."""
        return self.step(Work("decode", batch, tokens, context))

    def prefill(self, new: Count, cached: Count = 0.0, batch: Count = 1.0) -> Step:
        """A step that takes in ``new`` tokens of each of ``batch`` prompts."""
        return self.step(Work("prefill", batch, new, cached))

    def weights(self) -> Bytes:
        """Bytes of weights on one chip, each part in its format."""
        m, o, number = self.shape, self.layout, self.numerics
        si = self.model.si
        tables = si.vocab * (si.embedding_dim or si.hidden) * (1.0 if si.tied_embeddings else 2.0)
        routed = m.routed
        dense = m.parameters - routed - tables
        attention = min(dense, _attention_parameters(self.model))
        rest = dense - attention
        resident = attention * VALUE_BYTES[number.attention] + rest * VALUE_BYTES[number.linear]
        resident = (resident + tables * VALUE_BYTES[number.head]) / (o.attention * o.stages)
        spread = o.expert_tensor * o.expert_parallel * o.stages
        return resident + routed * VALUE_BYTES[number.expert] / spread

    def cache_of(self, tokens: Count) -> Bytes:
        """Bytes of cache of one sequence on the ranks that hold it: key heads split over tensor ranks, or copied."""
        m, o = self.shape, self.layout
        kept = cache_size(m, tokens, 1.0, VALUE_BYTES[self.numerics.cache])[0]
        return kept / (np.minimum(o.attention, m.kv_heads) * o.stages)


def _attention_parameters(model: Transformer) -> float:
    """Weights of the operators of attention and linear attention of all layers."""
    total = 0.0
    for one in operators(model, Work("prefill", 1.0, 1.0, 0.0), Layout()):
        if one.kind == "gemm" and not one.name.startswith(("mlp", "shared", "router", "head", "experts", "embedding")):
            total += float(one.n * one.k * one.count)
    return total


def overlapped(passed: PassTime) -> PassTime:
    """A pass whose shared experts run beside the routed ones, on a stream of their own."""
    side = [one.operator.name.startswith("shared_expert") for one in passed.timed]
    main = [one.operator.name == "experts" for one in passed.timed]
    if not any(side) or not any(main):
        return passed

    def total(chosen: list[bool], name: str) -> Any:
        return sum(getattr(one, name) for one, taken in zip(passed.timed, chosen, strict=True) if taken)

    shared, routed = total(side, "time"), total(main, "time")
    floors = total(main, "floor"), total(side, "floor")
    together = side_by_side_time(routed, shared, *floors)
    # Each keeps its time at the speed of light; what is above it shrinks alike.
    above = np.maximum(routed + shared - sum(floors), 1e-30)
    factor = np.clip((together - sum(floors)) / above, 0.0, 1.0)
    timed, compute, memory = list(passed.timed), passed.compute, passed.memory
    for place, one in enumerate(passed.timed):
        if side[place] or main[place]:
            saved = (one.time - one.floor) * (1.0 - factor)
            timed[place], bound = one._replace(time=one.time - saved), one.compute_floor > one.memory_floor
            compute, memory = compute - np.where(bound, saved, 0.0), memory - np.where(bound, 0.0, saved)
    return replace(passed, timed=tuple(timed), compute=compute, memory=memory)


def scaled(passed: PassTime, factor: Any) -> PassTime:
    """A pass that takes ``factor`` times as long."""
    timed = tuple(one._replace(time=one.time * factor, floor=one.floor * factor) for one in passed.timed)
    return replace(passed, timed=timed, compute=passed.compute * factor, memory=passed.memory * factor,
                   communication=passed.communication * factor, floor=passed.floor * factor)  # fmt: skip


def numerics_of(model: Transformer, precision: str, cache: str, generation: str) -> Numerics:
    """The formats of a checkpoint as servers run it.

    Experts alone are narrow in 4-bit checkpoints of mixtures, and attention stays in 16 bits; 8-bit checkpoints are
    narrow throughout, the head excepted. 4-bit weights on a chip without 4-bit arithmetic are expanded on the way.
    """
    word = {"int4": "w4a16", "fp4": "nvfp4", "mxfp8": "fp8_block"}.get(precision, precision)
    mixture = model.si.experts is not None
    fast = generation in BLACKWELL
    if word in FOUR_BIT and not fast:
        word = "w4a16_mxfp4" if word == "mxfp4" and mixture else "w4a16"
    if word == "fp8":  # experts are published with scales of blocks; elsewhere scales are fixed and their kernels fused
        word = "fp8_block" if mixture else "fp8_static"
    word = {"fp8_dynamic": "fp8"}.get(word, word)
    if word in ("bf16", "fp16", "fp32", "tf32"):
        return Numerics(word, word, word, cache, word)
    if mixture and word in (*FOUR_BIT, "w4a16", "w4a16_mxfp4"):
        dense = word if word == "nvfp4" else "bf16"
        return Numerics(linear=dense, attention="bf16", expert=word, cache=cache)
    dense = {"w4a16_mxfp4": "w4a16"}.get(word, word)
    expert = "bf16" if word in ("int8", "w8a16") and mixture else word
    return Numerics(linear=dense, attention=dense, expert=expert, cache=cache)


def cache_format(stack: ServingStack, precision: str, generation: str) -> str:
    """The format a stack keeps its cache in unless told; 16-bit checkpoints keep 16 bits."""
    if precision in ("bf16", "fp16", "fp32", "tf32"):
        return "bf16" if precision == "tf32" else precision
    return stack.cache_blackwell if generation in BLACKWELL else stack.cache
