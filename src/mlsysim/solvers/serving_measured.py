"""Serving with measured efficiency: both phases operator by operator, with an interval. Same answer, finer parts."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from ..catalog import textbook
from ..catalog.efficiency import KEPT
from ..catalog.stacks import NAMES, Stacks
from ..errors import InvalidInputError, InvalidPlanError, MLSysimError
from ..machine.measured import MeasuredMachine
from ..machine.passes import Links, PassTime
from ..machine.textbook import Wiring, wiring
from ..physics import memory
from ..physics.choice import maximum
from ..record import total
from ..units import Fraction, Seconds, quantity
from ..workloads.language import Layout, Work
from . import serving
from .border import Border, shape_of
from .result import Question
from .serving_engine import Engine, Step, cache_format, numerics_of
from .serving_question import asked_of

TEXTBOOK = tuple(item.name for item in fields(serving.ServingResult))
"""What the textbook's answer holds, which the measured one keeps where it says nothing finer."""
WORDS = {"fp8block": "fp8_block", "int4": "w4a16", "mxfp8": "fp8_block"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredServingResult(serving.ServingResult):
    """Both phases in parts that add up: kernels bound by arithmetic, by memory, collectives, host.

    ``prefill_floor`` and ``decode_floor`` are the speed of light of the same operators; the sigmas are those of the
    log of measured over predicted.
    """

    prefill_floor: Seconds
    decode_floor: Seconds
    ttft_sigma: Fraction
    itl_sigma: Fraction
    passes: Mapping[str, PassTime] = field(repr=False)

    @total
    def ttft(self) -> Seconds:
        """Time to first token: kernels, collectives and host of prefill, and moving the cache to the decoder."""
        work = memory.sum_of_times(self.prefill_compute, self.prefill_memory, self.prefill_communication)
        return memory.sum_of_times(work, self.prefill_overhead, self.kv_transfer)

    @total
    def step_latency(self) -> Seconds:
        """One decode step: kernels, collectives and host."""
        work = memory.sum_of_times(self.decode_compute, self.decode_memory, self.decode_communication)
        return memory.sum_of_times(work, self.decode_overhead, 0.0)

    def values(self) -> dict[str, Any]:
        """Every number of the answer by name."""
        found: dict[str, Any] = {}
        names = [item.name for item in fields(self) if item.name not in ("question", "shape", "notes", "passes")]
        for base in type(self).__mro__:
            names += [name for name, member in vars(base).items() if isinstance(member, total)]
        for name in dict.fromkeys(names):
            found[name] = getattr(self, name)
        return found

    def breakdown(self, phase: str = "decode") -> list[dict[str, Any]]:
        """Every operator of a phase, the longest first.

        Returns:
            ``operator``, ``kind``, ``time`` (a quantity, of all its runs), ``share`` of the phase, ``light_share`` (its
            speed of light as per cent of its time) and ``count``; the host is one of them where it costs anything.
        """
        if phase not in self.passes:
            raise InvalidInputError(f"phase: expected prefill or decode, found {phase!r}")
        inside = self.si
        overhead = inside.prefill_overhead if phase == "prefill" else inside.decode_overhead
        done = self.passes[phase]
        whole = done.time + overhead
        rows = [(one.operator.name, one.operator.kind, one.time, one.floor, one.operator.count) for one in done.timed]
        if np.any(overhead):
            rows.append(("host", "host", overhead, 0.0, 1.0))
        rows.sort(key=lambda row: -float(np.mean(row[2])))
        return [
            {
                "operator": name,
                "kind": kind,
                "time": quantity(np.broadcast_to(time, self.shape) if self.shape else time, "second"),
                "share": time / whole,
                "light_share": 100 * floor / np.maximum(time, 1e-30),
                "count": count,
            }
            for name, kind, time, floor, count in rows
        ]

    def interval(self, probability: float = 0.9) -> dict[str, Any]:
        """Low and high of ``itl`` and ``ttft`` between which that share of measurements is expected."""
        if not 0 < probability < 1:
            raise InvalidInputError(f"probability: expected a number in (0, 1), found {probability}")
        inside = self.si
        found = {}
        for name, sigma in (("itl", inside.itl_sigma), ("ttft", inside.ttft_sigma)):
            reach = np.exp(NormalDist().inv_cdf(0.5 + probability / 2) * np.asarray(sigma))
            value = getattr(inside, name)
            found[name] = tuple(
                quantity(np.broadcast_to(side, self.shape) if self.shape else float(side), "second")
                for side in (value / reach, value * reach)
            )
        return found


def kernel_word(name: str) -> str:
    """A number format of the catalog as kernels name it."""
    word = name.lower()
    return WORDS.get(word.replace("_", "").replace("-", ""), word.replace("-", "_"))


def measured_answer(resolver: type[Any], arguments: dict[str, Any]) -> MeasuredServingResult:
    """Answer a question of ``ServingModel`` with measured efficiency."""
    border = Border()
    border.choice("efficiency", arguments["efficiency"], ("measured",))
    stack_name = border.choice("stack", arguments["stack"], NAMES)
    attention_dp = arguments["attention_dp"]
    if attention_dp is not None:
        attention_dp = border.count("attention_dp", attention_dp)
    given = {key: value for key, value in arguments.items() if key not in ("stack", "attention_dp")}
    try:
        asked, network, machine, decoder, draft = asked_of(given | {"efficiency": 1.0})
    except InvalidInputError as error:
        raise _together(border, error) from None
    border.close()
    stack = Stacks[stack_name]
    word = kernel_word(asked.number.id)
    here = wiring(machine, textbook().link_latency)
    there = here if decoder is machine else wiring(decoder, textbook().link_latency)
    layout = Layout.of(asked.plan.tp, asked.plan.pp, asked.plan.ep, attention_dp)
    if attention_dp is not None and np.any((asked.plan.tp * asked.plan.ep) % layout.data):
        raise InvalidPlanError(f"attention_dp {np.max(layout.data):g} does not divide the ranks of a stage, tp x ep")
    engine = engine_for(network, here, stack, layout, word, asked.stored)
    decoding = engine if there is here else engine_for(network, there, stack, layout, word, asked.stored)
    asked = replace(asked, stored=serving_format(engine.numerics.cache) if asked.stored is None else asked.stored)
    arguments = arguments | {
        "model": network, "hardware": machine, "decode_hardware": None if decoder is machine else decoder,
        "draft_model": draft,
    }  # fmt: skip
    book = serving.solve_textbook(Question(resolver, arguments), network, machine, decoder, draft, asked)

    new = maximum(asked.tokens - asked.cached, 1.0)
    drafted = book.si.tokens_per_step * 0.0
    if draft is not None:
        drafted = textbook().drafted_tokens if asked.drafted is None else asked.drafted
    prompt = Work("prefill", asked.batch, new, asked.cached)
    token = Work("decode", asked.batch, 1.0 + drafted if draft is not None else 1.0, asked.tokens)
    both = engine.steps(prompt, token) if decoding is engine else [engine.step(prompt), decoding.step(token)]
    prefill, decode = both
    draft_time = 0.0
    if draft is not None:
        small = engine_for(draft, there, stack, Layout.of(asked.plan.tp), word, asked.stored)
        draft_time = drafted * small.decode(asked.batch, asked.tokens).time
    return _result(book, stack, prefill, decode, draft_time)


def _together(border: Border, error: InvalidInputError) -> MLSysimError:
    if not border.problems:
        return error
    return InvalidInputError([*border.problems, *getattr(error, "problems", [str(error)])])


def _result(book: Any, stack: Any, prefill: Step, decode: Step, draft_time: Any) -> MeasuredServingResult:
    kept = {name: object.__getattribute__(book, name) for name in TEXTBOOK}
    s = stack.si
    kernels = {"prefill": prefill.kernels, "decode": decode.kernels}
    notes = dict.fromkeys((*book.notes, *prefill.kernels.notes, *decode.kernels.notes))
    if stack.id != "Ideal":
        notes[f"{stack.name}: {stack.note}"] = None
    numbers = {
        "prefill_compute": prefill.kernels.compute,
        "prefill_memory": prefill.kernels.memory,
        "prefill_communication": prefill.kernels.communication,
        "prefill_overhead": prefill.overhead + s.first_token_fixed,
        "decode_compute": decode.kernels.compute,
        "decode_memory": decode.kernels.memory,
        "decode_communication": decode.kernels.communication,
        "decode_overhead": decode.overhead,
        "draft_time": draft_time,
        "prefill_floor": prefill.kernels.floor,
        "decode_floor": decode.kernels.floor,
        "ttft_sigma": maximum(prefill.kernels.sigma, s.first_sigma),
        "itl_sigma": maximum(decode.kernels.sigma, s.token_sigma),
    }
    numbers = {name: _number(value) for name, value in numbers.items()}
    shape = shape_of(np.empty(kept["shape"]), *(value for value in numbers.values() if isinstance(value, np.ndarray)))
    return MeasuredServingResult(**(kept | numbers | {"shape": shape, "notes": tuple(notes), "passes": kernels}))


def _number(value: Any) -> Any:
    """A float, or an array with at least one axis."""
    return value if isinstance(value, float) or np.ndim(value) else float(value)


def links_of(group: Wiring) -> Links:
    """The links of a group."""
    measured = group.inside is None or group.chip.si.link_bandwidth == group.inside
    return Links(group.domain, None if measured else group.inside, None, group.across, group.across_latency)


def engine_for(
    model: Any,
    group: Wiring,
    stack: Any,
    layout: Layout,
    word: str,
    stored: Any,
    machine: MeasuredMachine | None = None,
) -> Engine:
    """An engine of a model on a group of chips; ``word`` is the checkpoint's format, ``stored`` that of the cache.

    It is kept for the next question about the same model, chips and layout.
    """
    machine = machine or machine_of(group.chip, stack.kernels)
    key = (machine, model, group, stack, layout, word, stored)
    try:
        found = _ENGINES.get(key)
    except TypeError:  # a sweep over layouts has no hash
        return _engine(machine, model, group, stack, layout, word, stored)
    if found is None:
        if len(_ENGINES) > 256:
            _ENGINES.clear()
        found = _ENGINES[key] = _engine(machine, model, group, stack, layout, word, stored)
    return found


def _engine(
    machine: MeasuredMachine, model: Any, group: Wiring, stack: Any, layout: Layout, word: str, stored: Any
) -> Engine:
    generation = machine.chip.generation
    cache = cache_format(stack, word, generation) if stored is None else kernel_word(stored.id)
    numerics = numerics_of(model, word, cache, generation)
    capacity = float(group.chip.si.memory_capacity)
    return Engine(machine, model, stack, layout, numerics, links_of(group), capacity)


_MACHINES: dict[tuple[int, str], tuple[Any, MeasuredMachine]] = {}
_ENGINES: dict[Any, Engine] = {}
KEPT.extend([_MACHINES, _ENGINES])


def machine_of(chip: Any, kernels: str) -> MeasuredMachine:
    """The measured machine of a device, kept for the next question."""
    key = (id(chip), kernels)
    found = _MACHINES.get(key)
    if found is None or found[0] is not chip:
        if len(_MACHINES) > 256:
            _MACHINES.clear()
        found = _MACHINES[key] = (chip, MeasuredMachine(chip, kernels))
    return found[1]


@functools.cache
def serving_format(cache: str) -> Any:
    """The number format of a cache."""
    from ..catalog import Formats

    return Formats[cache]
