"""The scoreboard of language models on many stacks and devices: single users, static batches, full load, memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Hardware, Models, textbook
from ..catalog.stacks import Stacks
from ..errors import MissingFactError
from ..machine import llamacpp, sampling
from ..machine.chip import chip_of
from ..machine.textbook import wiring
from ..solvers.load import ServingLoadModel
from ..solvers.load_parts import Load, parts_of
from ..solvers.serving_engine import Engine
from ..solvers.serving_measured import engine_for
from ..workloads.language import Layout, Work
from ..workloads.operators import Operator
from .data import FOLDER, read_table
from .energy import PROMPT
from .statistics import Score, score

FILE = FOLDER / "measurements" / "inference.csv.gz"
FAMILIES = {
    "decode": "inference_decode", "gap": "inference_decode", "served_gap": "inference_decode",
    "prompt": "inference_prefill", "first": "inference_prefill", "served_first": "inference_prefill",
    "static": "inference_throughput", "rate": "inference_throughput", "most": "inference_throughput",
    "served": "inference_throughput", "memory": "inference_memory", "other": "inference_throughput",
}  # fmt: skip
"""What a row measures, by its kind."""
UNITS = {
    "inference_decode": "1/s", "inference_prefill": "1/s", "inference_throughput": "1/s", "inference_memory": "byte",
}  # fmt: skip
IN_SECONDS = ("gap", "first", "served_gap", "served_first")
"""Kinds that are times; the others are tokens a second, or bytes."""
GROUPS = ("source", "vendor", "hardware", "model", "precision", "trouble")
LIGHT = 0.5
"""Efficiency of the textbook beside the predictions: its default."""


@dataclass(frozen=True, slots=True)
class Case:
    """One measured number, in seconds, bytes, or tokens a second of all devices.

    ``batch`` sequences run together; ``rate`` requests arrive a second; ``trouble`` says why nothing is predicted.
    """

    id: str
    source: str
    stack: str
    hardware: str
    devices: float
    model: str
    precision: str
    tp: float
    pp: float
    ep: float
    dp: float
    batch: float
    rate: float
    input: float
    output: float
    kind: str
    value: float
    version: str
    split: str
    trouble: str

    @property
    def family(self) -> str:
        """Family of the scoreboard."""
        return FAMILIES[self.kind]

    @property
    def vendor(self) -> str:
        """Maker of the device, with processors and graphics cards apart."""
        if self.hardware not in Hardware:
            return "unknown"
        device = Hardware[self.hardware]
        part = {"cpu": " processor", "workstation": " workstation", "edge": " edge"}.get(device.family, "")
        return f"{device.si.vendor}{part}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was predicted for a case: its number, the spread of its log, and the number of the textbook."""

    value: float
    sigma: float
    light: float


NOTHING = Answer(float("nan"), float("nan"), float("nan"))
"""A case that has no answer: it does not fit, or cannot be asked."""


@functools.lru_cache(maxsize=4)
def cases(path: Path = FILE) -> tuple[Case, ...]:
    """The rows of a file."""
    table = read_table(path)
    return tuple(Case(**{name: _plain(value) for name, value in table.row(n).items()}) for n in range(len(table)))


def _plain(value: Any) -> Any:
    return value if isinstance(value, float) else str(value)


def engine_of(case: Case, tp: float | None = None) -> Engine:
    """The engine that a case ran; llama.cpp puts layers on devices one after the other, as a pipeline does."""
    return _engine(case.hardware, case.model, case.stack, case.precision, _layout(case, tp))


def _layout(case: Case, tp: float | None) -> Layout:
    tp = case.tp if tp is None else tp
    if case.source.startswith("mlenergy"):  # columns tell how experts are split; attention is over all ranks but dp
        return Layout.of(case.devices / case.ep, 1.0, case.ep, case.dp)
    return Layout.of(tp, 1.0 if case.source.startswith("llama") else case.pp, case.ep, case.dp)


@functools.lru_cache(maxsize=1024)
def _engine(hardware: str, model: str, stack: str, precision: str, layout: Layout) -> Engine:
    group = wiring(Hardware[hardware], textbook().link_latency)
    return engine_for(Models[model], group, Stacks[stack], layout, precision, None)


def operators_of(case: Case) -> list[Operator]:
    """What llama.cpp runs in one decoding step, or for one piece of a prompt half way through it."""
    if case.kind == "decode":
        return engine_of(case).operators(Work("decode", 1.0, 1.0, case.input + case.output / 2))
    piece = case.input / max(np.ceil(case.input / llamacpp.PIECE), 1.0)
    return engine_of(case).operators(Work("prefill", 1.0, piece, (case.input - piece) / 2))


def piece_of(case: Case) -> float:
    """Measured time of what :func:`operators_of` lists."""
    if case.kind == "decode":
        return 1 / case.value
    return float(case.input / case.value / llamacpp.rounds(case.input, max(case.pp, 1.0)))


def _llama(case: Case) -> Answer:
    """Tokens a second under llama.cpp; where devices share the layers, they work one after the other."""
    run = operators_of(case)
    done = llamacpp.llama_time(chip_of(Hardware[case.hardware]), case.precision, case.kind, run)
    engine = engine_of(case)
    light = _f(engine.step(_work(case), run).kernels.floor / LIGHT)
    tokens = 1.0
    if case.kind == "prompt":
        tokens = case.input / float(llamacpp.rounds(case.input, max(case.pp, 1.0)))
    return Answer(tokens / _f(done.time), done.sigma, tokens / light)


def _work(case: Case) -> Work:
    return Work("decode" if case.kind == "decode" else "prefill", 1.0, 1.0, 0.0)


def _decode(case: Case) -> Answer:
    """Tokens a second of a batch that decodes, its context growing."""
    if case.source.startswith("llama"):
        return _llama(case)
    engine, batch = engine_of(case), max(case.batch, 1.0)
    step = engine.decode(batch, case.input + case.output / 2)
    return Answer(
        batch / _f(step.time), _sigma(case, engine, step.kernels.sigma), batch / _f(step.kernels.floor / LIGHT)
    )


def _first(case: Case) -> Answer:
    engine = engine_of(case)
    step = engine.prefill(case.input, 0.0, max(case.batch, 1.0))
    fixed = engine.stack.si.first_token_fixed if case.source == "other" else 0.0
    return Answer(_f(step.time) + fixed, _sigma(case, engine, step.kernels.sigma, True), _f(step.kernels.floor / LIGHT))


def _static(case: Case) -> Answer:
    """Tokens a second of a batch that starts and ends together."""
    engine = engine_of(case)
    first, step = engine.prefill(case.input, 0.0, case.batch), engine.decode(case.batch, case.input + case.output / 2)
    made = case.batch * case.output
    floor = (first.kernels.floor + case.output * step.kernels.floor) / LIGHT
    return Answer(
        made / _f(first.time + case.output * step.time), _sigma(case, engine, step.kernels.sigma), made / _f(floor)
    )


def _loaded(case: Case) -> Answer:
    """A server of ML.ENERGY that samples: the gap between tokens, or tokens a second of all that run."""
    engine = engine_of(case)
    step = engine.decode(case.batch, PROMPT + case.output / 2)
    model, device = Models[case.model].si, Hardware[case.hardware]
    drawn = sampling.sampling_of(device, case.batch / case.dp, float(model.vocab), float(model.layers))
    sigma = max(_sigma(case, engine, step.kernels.sigma), drawn.sigma)
    gap, light = _f(step.time + drawn.time), _f(step.kernels.floor / LIGHT)
    if case.kind == "gap":
        return Answer(gap, sigma, light)
    gathered = case.batch / case.output
    prompts = engine.prefill(PROMPT, 0.0, max(gathered, 1.0)).kernels.time * min(gathered, 1.0)
    return Answer(case.batch / _f(gap + prompts), sigma, case.batch / light)


def _gap(case: Case) -> Answer:
    return _loaded(case) if case.source.startswith("mlenergy") else _served(case)


def _most(case: Case) -> Answer:
    """Tokens a second when every place is taken; where the split was not recorded, that which is fastest."""
    if case.tp:
        return _full(case, case.tp)
    found = []
    for tp in (1.0, 2.0, 4.0, 8.0):
        if case.devices % tp:
            continue
        try:
            one = _full(case, tp)
        except MissingFactError:  # more ranks than one device of this kind is joined to
            continue
        if np.isfinite(one.value):
            found.append(Answer(one.value * case.devices / tp, one.sigma, one.light * case.devices / tp))
    return max(found, key=lambda one: one.value) if found else NOTHING


def _full(case: Case, tp: float) -> Answer:
    prompt = case.input or case.output  # lengths of the prompts of MLPerf are not in the files; taken as the answers'
    layout = _layout(case, tp)
    value, kernels, light = _busiest(case.hardware, case.model, case.stack, case.precision, layout, prompt, case.output)
    engine = engine_of(case, tp)
    return Answer(value, _sigma(case, engine, kernels), light)


@functools.lru_cache(maxsize=2048)
def _busiest(
    hardware: str, model: str, stack: str, precision: str, layout: Layout, prompt: float, output: float
) -> tuple[float, float, float]:
    """Tokens a second with every place taken, the spread of its kernels, and tokens a second of the textbook."""
    engine = _engine(hardware, model, stack, precision, layout)
    s = engine.stack.si
    load = Load(np.asarray(s.max_sequences), np.asarray(prompt), np.asarray(output))
    parts = parts_of(engine, load, s.token_budget)
    places = parts.places(engine.stack, engine.capacity)
    if not places >= 1:
        return NOTHING.value, NOTHING.sigma, NOTHING.light
    # In the steady state each step ends a share 1 / output of the requests, and the prompts of as many others are read in it.
    gathered, stages = _f(places) / output, layout.stages
    decode = engine.decode(places, prompt + output / 2)
    read = engine.prefill(prompt, 0.0, max(gathered, 1.0))
    micro = min(stages, max(gathered, 1.0))
    full = micro / (micro + stages - 1)  # prompts follow each other through the stages, which never drain
    floor = decode.kernels.floor + min(gathered, 1.0) * read.kernels.floor * full
    step = _f(decode.time) + min(gathered, 1.0) * _f(read.time) * full
    return _f(places) / step, _f(decode.kernels.sigma), _f(places * LIGHT / _f(floor))


def _served(case: Case) -> Answer:
    """Requests that arrive at random: mean gap, mean time to the first token, or tokens a second of all."""
    done = _open(case.hardware, case.model, case.stack, case.precision, case.tp, case.input, case.output, case.rate,
                 case.version or None)  # fmt: skip
    engine = engine_of(case)
    step = engine.decode(max(1.0, done.decoding_requests), case.input + case.output / 2)
    if case.kind == "served_first":
        light = _f(engine.prefill(case.input).kernels.floor / LIGHT)
        return Answer(done.ttft, done.ttft_sigma, light)
    light = _f(step.kernels.floor / LIGHT)
    if case.kind == "served_gap":
        return Answer(done.tpot, done.tpot_sigma, light)
    # What arrives is what leaves, unless the server cannot keep up.
    most = _full(replace(case, kind="most"), case.tp)
    offered = case.rate * case.output
    return Answer(min(offered, most.value), most.sigma, min(offered, most.light))


@functools.lru_cache(maxsize=1024)
def _open(
    hardware: str, model: str, stack: str, precision: str, tp: float, prompt: float, output: float, rate: float,
    image: str | None,
) -> Any:  # fmt: skip
    """A server at which requests arrive, in SI."""
    done = ServingLoadModel().solve(model, hardware, prompt, output, arrival_rate=rate, precision=precision, stack=stack,
                                    tp_size=int(tp), image=image)  # fmt: skip
    return done.si


def _memory(case: Case) -> Answer:
    engine = engine_of(case)
    chips = engine.layout.chips
    held = (engine.weights() + engine.cache_of(case.input + case.output)) * chips
    book = Models[case.model].si.parameters * 2.0
    return Answer(_f(held), 0.15, _f(book))


MAKERS: Mapping[str, Callable[[Case], Answer]] = {
    "decode": _decode, "prompt": _llama, "first": _first, "static": _static, "gap": _gap, "rate": _loaded,
    "most": _most, "served": _served, "served_gap": _served, "served_first": _served, "memory": _memory,
}  # fmt: skip


def _f(value: Any) -> float:
    return float(np.asarray(value).reshape(-1)[-1])


def _sigma(case: Case, engine: Engine, kernels: Any, first: bool = False) -> float:
    """Spread of kernels or stack, wider for versions of the stack that it was not fitted on."""
    s = engine.stack.si
    told = max(_f(kernels), float(s.first_sigma if first else s.token_sigma))
    if engine.stack.id == "Ideal" or (case.version and engine.stack.fitted_on(case.version)):
        return told
    return float(np.hypot(told, s.version_first_sigma if first else s.version_token_sigma))


def answer_of(case: Case) -> Answer | None:
    """The prediction for a case; nothing where it cannot be asked."""
    if case.trouble:
        return None
    try:
        return MAKERS[case.kind](case)
    except MissingFactError:  # cards whose path to one another the source does not tell
        return None


@dataclass(frozen=True, slots=True)
class Predictions:
    """Cases with what was predicted for them; rows without an answer are NaN."""

    cases: tuple[Case, ...]
    predicted: NDArray[np.float64]
    measured: NDArray[np.float64]
    sigma: NDArray[np.float64]
    roofline: NDArray[np.float64]


def predict(every: tuple[Case, ...]) -> Predictions:
    """Predict some cases."""
    found = [answer_of(case) or NOTHING for case in every]
    columns = (np.array([getattr(one, name) for one in found]) for name in ("value", "sigma", "light"))
    predicted, sigma, light = columns
    return Predictions(every, predicted, np.array([case.value for case in every]), sigma, light)


@functools.cache
def predictions(path: Path = FILE) -> Predictions:
    """The predictions of a file that ships, kept for the next caller."""
    return predict(cases(path))


def inference_scores(path: Path = FILE, grouped: bool = True) -> list[Score]:
    """The scoreboard of language models on many stacks; rows without an answer count, and are told by their reason.

    Args:
        path: measurements
        grouped: also by source, maker, device, model, format, and why there is no answer
    """
    done = predictions(path)
    kinds = np.array([case.family for case in done.cases])
    splits = np.array([case.split for case in done.cases])
    found: list[Score] = []
    for name in dict.fromkeys(FAMILIES.values()):
        for split in ("calibration", "validation"):
            mine = (kinds == name) & (splits == split)
            if not mine.any():
                continue
            found.append(_one(done, name, split, "all", mine))
            for column in GROUPS if grouped else ():
                values = np.array([getattr(case, column) for case in done.cases])
                found += [
                    _one(done, name, split, f"{column}={value}", mine & (values == value))
                    for value in sorted(set(values[mine].tolist()))
                    if value
                ]
    return found


def rows(path: Path = FILE) -> list[dict[str, Any]]:
    """The same as plain rows, for JSON."""
    return [one.to_dict() for one in inference_scores(path)]


def _one(done: Predictions, name: str, split: str, group: str, mine: NDArray[np.bool_]) -> Score:
    places = np.flatnonzero(mine).tolist()

    def label(number: int) -> dict[str, Any]:
        case = done.cases[places[number]]
        return {"id": case.id, "model": case.model, "hardware": case.hardware, "devices": case.devices,
                "precision": case.precision, "batch": case.batch}  # fmt: skip

    sides = (side[mine] for side in (done.predicted, done.measured, done.sigma, done.roofline))
    predicted, measured, sigma, light = sides
    return score(name, split, group, predicted, measured, sigma, light, label)
