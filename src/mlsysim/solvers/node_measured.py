"""One model on one device with measured efficiency: operator by operator, with an interval. Same answer, finer parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from ..catalog import textbook
from ..catalog.models import Diffusion, Recommender, Transformer
from ..catalog.stacks import Stacks
from ..errors import InvalidInputError, MissingFactError
from ..machine import llamacpp, vision_kernels
from ..machine.passes import PassTime, time_pass
from ..machine.power import draw_of
from ..machine.textbook import peak_in, wiring
from ..physics import memory
from ..physics.convolution_kernels import exposed_dispatch_time
from ..physics.roofline import memory_time
from ..record import total
from ..units import Bytes, Flop, Fraction, Joules, Seconds, quantity
from ..workloads import language
from ..workloads.network import network
from . import node
from .border import Border, shape_of
from .result import Question
from .serving_engine import scaled

LLAMA = "llamacpp"
"""Runtime of language models on whatever device there is, one sequence at a time."""
EDGE = ("edge", "mobile", "tiny")
"""Families of devices whose networks are built ahead unless said otherwise."""


class Part(NamedTuple):
    """One operator over all its runs: time, speed of light, how often it runs, and what bounds it."""

    name: str
    kind: str
    time: Any
    floor: Any
    runs: Any
    compute: Any


@dataclass(frozen=True, slots=True)
class Timed:
    """A pass in parts, before it becomes an answer."""

    parts: tuple[Part, ...]
    compute: Seconds
    memory: Seconds
    floor: Seconds
    overhead: Seconds
    sigma: Any
    flops: Flop
    traffic: Bytes
    at_peak: Seconds
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredProfile(node.PerformanceProfile):
    """A pass in parts that add up: kernels bound by arithmetic, by memory, and what the host adds.

    ``floor`` is the speed of light of the same operators; the sigmas are those of the log of measured over predicted.
    """

    floor: Seconds
    sigma: Fraction
    energy_sigma: Fraction
    parts: tuple[Part, ...] = field(repr=False)

    @total
    def latency(self) -> Seconds:
        """Time of the pass: all kernels one after the other, and the host where it is not hidden."""
        return memory.sum_of_times(self.latency_compute, self.latency_memory, self.latency_overhead)

    def breakdown(self) -> list[dict[str, Any]]:
        """Operators by time: ``operator``, ``kind``, ``time``, ``share`` of the latency, ``light_share`` (how near to
        the speed of light, per cent) and ``count``; the host is one of them where it costs anything."""
        inside = self.si
        rows = [(one.name, one.kind, one.time, one.floor, one.runs) for one in self.parts]
        if np.any(inside.latency_overhead):
            rows.append(("host", "host", inside.latency_overhead, 0.0, 1.0))
        rows.sort(key=lambda row: -float(np.mean(row[2])))
        return [
            {
                "operator": name,
                "kind": kind,
                "time": quantity(np.broadcast_to(time, self.shape) if self.shape else float(time), "second"),
                "share": time / inside.latency,
                "light_share": 100 * floor / np.maximum(time, 1e-30),
                "count": count,
            }
            for name, kind, time, floor, count in rows
        ]

    def interval(self, probability: float = 0.9) -> dict[str, Any]:
        """Low and high of ``latency`` and ``energy`` between which that share of measurements is expected."""
        if not 0 < probability < 1:
            raise InvalidInputError(f"probability: expected a number in (0, 1), found {probability}")
        inside, found = self.si, {}
        for name, sigma, unit in (("latency", inside.sigma, "second"), ("energy", inside.energy_sigma, "joule")):
            reach = np.exp(NormalDist().inv_cdf(0.5 + probability / 2) * np.asarray(sigma))
            value = getattr(inside, name)
            found[name] = tuple(
                quantity(np.broadcast_to(side, self.shape) if self.shape else float(side), unit)
                for side in (value / reach, value * reach)
            )
        return found


def measured_answer(resolver: type[Any], arguments: dict[str, Any], strict: bool = False) -> MeasuredProfile:
    """Answer a question of ``SingleNodeModel`` with measured efficiency."""
    border = Border()
    border.choice("efficiency", arguments["efficiency"], ("measured",))
    model, device = border.model(arguments["model"]), border.device(arguments["hardware"])
    number = border.format(arguments["precision"])
    batch = border.count("batch_size", arguments["batch_size"])
    runtime, given = arguments["runtime"], arguments["seq_len"]
    if runtime is not None:
        runtime = border.choice("runtime", runtime, (*vision_kernels.RUNTIMES, LLAMA))
        if runtime == LLAMA and getattr(model, "architecture", None) != "transformer":
            border.problems.append(f"runtime: expected {LLAMA} with a language model only, found {model.id}")
    context = None if given is None else border.count("seq_len", given)
    named = arguments["kv_precision"]
    stored = None if named is None else border.format(named, "kv_precision")
    border.close()
    if device.members:
        raise InvalidInputError(f"measured efficiency is asked of one device at a time, found the stack {device.id}")
    arguments = arguments | {"model": model, "hardware": device}
    if context is None and isinstance(model, Transformer):
        m = model.si
        context = min(2048.0, m.positions or 2048.0, m.max_context or 2048.0)
    question = Question(resolver, arguments)
    book = node.solve_textbook(question, model, device, number, batch, 1.0, context, stored, strict)
    if isinstance(model, Transformer):
        done = _language(model, device, number, batch, context, stored, runtime == LLAMA)
    else:
        built = device.family in EDGE or number.si.activation_bits < 16
        chosen = runtime or ("engine" if built else "eager")
        done = _network(model, device, number, batch, chosen)
    return _result(book, device, done)


def _network(model: Any, device: Any, number: Any, batch: Any, runtime: str) -> Timed:
    """A model whose layers the catalog has, under a runtime; of a diffusion model, all steps of its denoiser."""
    if getattr(model, "stages", None) is None and not isinstance(model, Recommender):
        raise MissingFactError(
            f"{model.id}: its layers are not in the catalog, so no operator can be timed; "
            "pass model.replace(stages=...) or import the model from its file, or give efficiency a number"
        )
    peak, told = peak_in(device, number)
    value = float(number.si.activation_bits / 8)
    on = vision_kernels.bench(device, runtime, "nchw", peak, value)
    operators, table = _table(model, batch, float(number.bytes_per_value()), value, number.id.lower())
    done = vision_kernels.time_network(on, operators, table)
    steps = float(model.si.denoising_steps) if isinstance(model, Diffusion) else 1.0
    bound, floors = done.compute_floor > done.memory_floor, np.maximum(done.compute_floor, done.memory_floor)
    columns = [done.times * steps, floors * steps, done.count * steps, bound]
    if done.times.ndim == 1:
        columns = [column.tolist() for column in columns]  # floats: plain and quick
    parts = tuple(Part(one.name, one.kind, *row) for one, *row in zip(done.operators, *columns, strict=True))
    arithmetic, streams = (np.where(mask, done.times, 0.0).sum(axis=0) * steps for mask in (bound, ~bound))
    overhead = exposed_dispatch_time(done.launches, on.host, done.kernels) * steps
    kernel = "a processor" if on.fit.kernel == "processor" else f"runtime {runtime}"
    notes = (*told, *on.notes, f"{kernel}; fitted on whole networks")
    if isinstance(model, Recommender):
        on_sigma = float(np.hypot(on.sigma, OUTSIDE))
        notes = (*notes, "no recommender was among the networks fitted")
    else:
        on_sigma = on.sigma
    return Timed(
        parts, _plain(arithmetic), _plain(streams), _plain(done.floor * steps), _plain(overhead), on_sigma,
        _plain(done.flops * steps), _plain(done.traffic * steps), _plain(done.compute_floor.sum(axis=0) * steps), notes,
    )  # fmt: skip


_TABLES: dict[Any, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {}


def _table(model: Any, batch: Any, weight: float, value: float, precision: str) -> tuple[Any, dict[str, Any]]:
    """The operators of a network and their columns, kept for the next question where the batch is one number."""
    key = None if np.ndim(batch) else (id(model), float(batch), weight, value, precision)
    found = None if key is None else _TABLES.get(key)
    if found is None or found[0] is not model:
        operators = network(model, batch, None, weight, value, precision).operators
        found = (model, operators, vision_kernels.table_of(operators))
        if key is not None:
            if len(_TABLES) > 256:
                _TABLES.clear()
            _TABLES[key] = found
    return found[1], found[2]


OUTSIDE = 0.3
"""Added in quadrature to sigma where a kind of network was not among those fitted; assumed."""


def _language(
    model: Any, device: Any, number: Any, batch: Any, context: Any, stored: Any, llama: bool = False
) -> Timed:
    """A decode step of a language model, or the whole pass of an encoder, by the kernels of serving or of llama.cpp."""
    from .serving_measured import engine_for, kernel_word

    group = wiring(device, textbook().link_latency)
    word = kernel_word(number.id)
    engine = engine_for(model, group, Stacks["ideal"], language.Layout(), word, stored)
    if model.architecture == "transformer":
        done = engine.decode(batch, context)
        if llama:
            return _llama(engine, done, batch, context, word)
        return _passed(done.kernels, done.overhead, engine.machine.chip.bandwidth)
    if model.architecture != "encoder":
        raise MissingFactError(
            f"{model.id}: operators of an {model.architecture} model are not in the catalog; give efficiency a number"
        )
    work = language.Work("prefill", batch, context, 0.0)
    run = language.operators(model, work, language.Layout(), engine.numerics)
    # Each token sees every other: twice the pairs of a causal pass.
    run = [one._replace(count=one.count * 2.0) if one.kind == "attention_context" else one for one in run]
    return _passed(time_pass(engine.machine, run), 0.0, engine.machine.chip.bandwidth)


def _llama(engine: Any, done: Any, batch: Any, context: Any, word: str) -> Timed:
    """A decode step under llama.cpp: its time as a whole, shared out over the operators as serving kernels would."""
    run = engine.operators(language.Work("decode", batch, 1.0, context))
    timed = llamacpp.llama_time(engine.machine.chip, word, "decode", run)
    kernels = scaled(done.kernels, timed.time / done.kernels.time)
    notes = (*timed.notes, "fitted on single sequences") if np.any(np.greater(batch, 1)) else timed.notes
    sigma = np.hypot(timed.sigma, np.where(np.greater(batch, 1), OUTSIDE, 0.0))[()]
    return replace(_passed(kernels, 0.0, engine.machine.chip.bandwidth), sigma=sigma, notes=notes)


def _passed(done: PassTime, overhead: Any, bandwidth: float) -> Timed:
    parts = tuple(
        Part(one.operator.name, one.operator.kind, one.time, one.floor, one.operator.count,
             np.greater(one.compute_floor, one.memory_floor))
        for one in done.timed
    )  # fmt: skip
    at_peak: Any = 0.0
    flops: Any = 0.0
    moved: Any = 0.0
    for one in done.timed:
        at_peak = at_peak + one.compute_floor * one.operator.count
        flops = flops + one.operator.flops * one.operator.count
        moved = moved + one.operator.bytes * one.operator.count
    return Timed(parts, done.compute, done.memory, done.floor, overhead, done.sigma, flops, moved, at_peak, done.notes)


def _result(book: Any, device: Any, done: Timed) -> MeasuredProfile:
    kept = {item.name: object.__getattribute__(book, item.name) for item in fields(book)}
    compute, stream = _plain(done.compute), _plain(done.memory)
    time = memory.sum_of_times(compute, stream, done.overhead)
    energy: Joules = np.nan
    spread: Any = np.nan
    notes: Sequence[str] = ()
    if device.si.tdp is None:
        notes = (f"{device.id}: no tdp in the catalog, so no energy; pass device.replace(tdp='... W')",)
    else:
        bandwidth = device.si.memory_bandwidth
        streamed = memory_time(done.traffic, bandwidth)
        draw = draw_of(device, time, done.at_peak, streamed, time_sigma=done.sigma)
        energy, spread, notes = _plain(draw.energy), draw.energy_sigma, draw.notes
    whole = _plain(book.si.peak * np.asarray(done.at_peak) / np.maximum(time, 1e-30))
    numbers = {
        "latency_compute": compute, "latency_memory": stream, "latency_overhead": _plain(done.overhead),
        "flops": done.flops, "traffic": done.traffic, "energy": energy, "floor": _plain(done.floor),
        "sigma": _plain(done.sigma), "energy_sigma": _plain(spread), "peak_flops_actual": whole,
    }  # fmt: skip
    shape = shape_of(np.empty(kept["shape"]), *(value for value in numbers.values() if isinstance(value, np.ndarray)))
    told = tuple(dict.fromkeys((*book.notes, *done.notes, *notes)))
    return MeasuredProfile(**(kept | numbers | {"shape": shape, "notes": told, "parts": done.parts}))


def _plain(value: Any) -> Any:
    """A float where there is one number, else the array."""
    return value if isinstance(value, float) or np.ndim(value) else float(value)
