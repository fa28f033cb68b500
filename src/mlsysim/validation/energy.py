"""The scoreboard of energy: joules a token and an image, and the power of accelerators at work."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Formats, Hardware, Models
from ..catalog.efficiency import ANY, Family, family
from ..machine import power, sampling, vision_kernels
from ..machine.chip import chip_of
from ..machine.textbook import peak_in
from ..physics.convolution_kernels import exposed_dispatch_time
from ..solvers.serving import ServingModel
from ..workloads.network import network
from .data import FOLDER, read_table
from .statistics import Score, score

FILE = FOLDER / "measurements" / "energy.csv.gz"
PROMPT = 256.0
"""Tokens of a prompt; the lengths of prompts are not recorded."""
FAMILIES = ("energy", "energy_power")
GROUPS = ("hardware", "model", "source", "task", "devices")


@dataclass(frozen=True, slots=True)
class Case:
    """One measured run: energy of one token or image over all its chips, with power and time of a step or batch.

    Of a language model ``output`` is the mean length of an answer; of an image model, pixels a side.
    """

    id: str
    hardware: str
    devices: float
    model: str
    precision: str
    tp: float
    ep: float
    dp: float
    task: str
    batch: float
    output: float
    steps: float
    joules: float
    watts: float
    seconds: float
    split: str
    source: str = "mlenergy"

    @property
    def step(self) -> float:
        """Mean time of a step or batch, prompts and all: its energy over the mean power."""
        return self.joules * self.batch / self.watts


@dataclass(frozen=True, slots=True)
class Work:
    """What one chip does in a step or batch: predicted time, and the times at the peak and at the full bandwidth.

    ``drawn`` is what a step of a language model samples: sequences, logits of each, and layers.
    """

    time: float
    at_peak: float
    at_bandwidth: float
    sigma: float
    textbook: float
    drawn: tuple[float, float, float] | None = None


@functools.lru_cache(maxsize=4)
def cases(path: Path = FILE) -> tuple[Case, ...]:
    """The rows of a file."""
    table = read_table(path)
    found = []
    for number in range(len(table)):
        r = table.row(number)
        found.append(
            Case(
                id=r["id"], hardware=r["hardware"], devices=r["devices"], model=r["model"], precision=r["precision"],
                tp=r["tp"], ep=r["ep"], dp=r["dp"], task=r["task"], batch=r["batch"], output=r["output"],
                steps=r["steps"], joules=r["value"], watts=r["watts"], seconds=r["seconds"], split=r["split"],
            )
        )  # fmt: skip
    return tuple(found)


@functools.cache
def work_of(case: Case) -> Work:
    """The work of a case on one chip."""
    return work_from(kernels_of(case), case)


def work_from(done: Work, case: Case, library: Family | None = None) -> Work:
    """The work of a case with what sampling adds to its kernels."""
    if done.drawn is None:
        return done
    device = Hardware[case.hardware]
    extra = sampling.sampling_of(device, *done.drawn, library)
    moved = extra.traffic / device.si.memory_bandwidth
    spread = max(done.sigma, extra.sigma)
    return replace(done, time=done.time + extra.time, at_bandwidth=done.at_bandwidth + moved, sigma=spread)


@functools.cache
def kernels_of(case: Case) -> Work:
    """The kernels of a case, without what sampling adds."""
    return _image(case) if case.task == "text-to-image" else _token(case)


def _token(case: Case) -> Work:
    # The columns ``tp`` and ``ep`` tell how experts are split. Where one group serves all requests (``dp`` is 1), the
    # published settings ask for expert-parallel ranks alone, and attention is tensor-parallel over all of them.
    asked: dict[str, Any] = dict(
        model=case.model, hardware=case.hardware, seq_len=round(PROMPT + case.output / 2),
        batch_size=max(1, round(case.batch)), precision=case.precision, tp_size=int(case.devices / case.ep),
        ep_size=int(case.ep),
    )  # fmt: skip
    measured: dict[str, Any] = dict(efficiency="measured", stack="vllm", attention_dp=int(case.dp))
    answer, book = ServingModel().solve(**asked, **measured), ServingModel().solve(**asked)
    # While every sequence gains a token, prompts of those that take the place of finished ones are read, all in one pass.
    arrivals = case.batch / case.output
    together = max(1, round(arrivals))
    prompt = ServingModel().solve(**asked | {"seq_len": round(PROMPT), "batch_size": together}, **measured)
    share = arrivals / together
    bandwidth, model = Hardware[case.hardware].si.memory_bandwidth, Models[case.model].si
    parts = ((answer.passes["decode"], 1.0), (prompt.passes["prefill"], share))
    return Work(
        float(answer.si.itl + share * prompt.passes["prefill"].time),
        sum(part * float(one.compute_floor * one.operator.count) for done, part in parts for one in done.timed),
        sum(part * float(one.operator.bytes * one.operator.count) for done, part in parts for one in done.timed)
        / bandwidth,
        float(answer.si.itl_sigma),
        float(book.si.itl),
        (case.batch / case.dp, float(model.vocab), float(model.layers)),
    )


def _image(case: Case) -> Work:
    device, number = Hardware[case.hardware], Formats[case.precision]
    peak = peak_in(device, number)[0]
    on = vision_kernels.bench(device, "eager", "nchw", peak, float(number.bytes_per_value()))
    # Guidance is distilled into the model: one pass of the denoiser a step.
    done = vision_kernels.time_network(on, network(Models[case.model], case.batch, case.output).operators)
    time = done.kernels + exposed_dispatch_time(done.launches, on.host, done.kernels)
    at_peak, at_bandwidth = done.compute_floor.sum(), done.traffic / on.chip.bandwidth
    book = max(float(at_peak) / 0.5, float(at_bandwidth))
    scale = case.steps
    return Work(float(time) * scale, float(at_peak) * scale, float(at_bandwidth) * scale, on.sigma, book * scale)


def power_of(case: Case, work: Work, time: float, values: Mapping[str, float]) -> float:
    """Power of one chip that does the work of a case in some time."""
    return float(power.watts_over(values, Hardware[case.hardware].si.tdp, time, work.at_peak, work.at_bandwidth))


def _parameters(case: Case, library: Family) -> tuple[Mapping[str, float], float]:
    chip = chip_of(Hardware[case.hardware])
    fit = library.choose(chip.names, (*chip.generations, ANY), ANY)
    extra = 0.0 if case.hardware in fit.devices else fit.far
    return fit.values, float(np.hypot(fit.sigma[2], extra))


@dataclass(frozen=True, slots=True)
class Predictions:
    """Cases with what was predicted for them: joules of a token or image, and watts of one chip."""

    cases: tuple[Case, ...]
    predicted: dict[str, NDArray[np.float64]]
    measured: dict[str, NDArray[np.float64]]
    sigma: dict[str, NDArray[np.float64]]
    roofline: dict[str, NDArray[np.float64]]


def predict(path: Path = FILE, library: Family | None = None) -> Predictions:
    """Predict every row of a file; rows that cannot be answered are NaN.

    ``energy`` is predicted from nothing but the question; ``energy_power`` is told how long the step really took, and
    so tests the power alone.
    """
    every = cases(path)
    library = library or family(power.FAMILY)
    n = len(every)
    predicted, sigma, light = ({name: np.full(n, np.nan) for name in FAMILIES} for _ in range(3))
    for row, case in enumerate(every):
        work = work_of(case)
        values, spread = _parameters(case, library)
        images, full = case.batch, Hardware[case.hardware].si.tdp
        predicted["energy"][row] = power_of(case, work, work.time, values) * work.time * case.devices / images
        predicted["energy_power"][row] = power_of(case, work, case.step, values)
        late = power.energy_sigma(values, full, work.time, work.at_peak, work.at_bandwidth, work.sigma)
        sigma["energy"][row] = np.hypot(spread, late)
        sigma["energy_power"][row] = spread
        light["energy"][row] = full * work.textbook * case.devices / images
        light["energy_power"][row] = full
    measured = {
        "energy": np.array([case.joules for case in every]),
        "energy_power": np.array([case.watts / case.devices for case in every]),
    }
    return Predictions(every, predicted, measured, sigma, light)


@functools.cache
def predictions(path: Path = FILE) -> Predictions:
    """The predictions of a file that ships, kept for the next caller."""
    return predict(path)


def energy_scores(path: Path = FILE, grouped: bool = True) -> list[Score]:
    """The scoreboard of energy; the textbook beside it draws the design power for the time of its roofline.

    Args:
        path: measurements
        grouped: also by device, model, source, task, and number of devices
    """
    done = predictions(path)
    found: list[Score] = []
    for name in FAMILIES:
        for split in ("calibration", "validation"):
            mine = np.array([case.split == split for case in done.cases])
            found.append(_one(done, name, split, "all", mine))
            for column in GROUPS if grouped else ():
                values = np.array([getattr(case, column) for case in done.cases])
                for value in sorted(set(values[mine].tolist())):
                    text = f"{value:g}" if isinstance(value, float) else value
                    found.append(_one(done, name, split, f"{column}={text}", mine & (values == value)))
    return found


def rows(path: Path = FILE) -> list[dict[str, Any]]:
    """The same as plain rows, for JSON."""
    return [one.to_dict() for one in energy_scores(path)]


def _one(done: Predictions, name: str, split: str, group: str, mine: NDArray[np.bool_]) -> Score:
    places = np.flatnonzero(mine).tolist()

    def label(number: int) -> dict[str, Any]:
        case = done.cases[places[number]]
        return {"id": case.id, "model": case.model, "hardware": case.hardware, "devices": case.devices,
                "batch": case.batch, "precision": case.precision}  # fmt: skip

    sides = (side[name][mine] for side in (done.predicted, done.measured, done.sigma, done.roofline))
    predicted, measured, sigma, light = sides
    return score(name, split, group, predicted, measured, sigma, light, label)
