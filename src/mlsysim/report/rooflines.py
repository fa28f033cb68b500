"""Rooflines: of devices, of the levels of memory and links of one device, of a device in a fleet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog import Systems, textbook
from ..catalog.systems import Fleet, Node
from ..errors import InvalidInputError
from ..machine.textbook import peak_in, wiring
from ..physics import roofline
from ..solvers.border import Border
from ..solvers.ledger import shown
from ..solvers.node import SingleNodeModel
from .chart import Chart, Line, Points, draw

INTENSITY = "arithmetic intensity [FLOP/byte]"
RATE = "attainable arithmetic [FLOP/s]"


def plot_roofline(
    hardware: Any,
    workloads: Any = None,
    *,
    operators: Sequence[Any] = (),
    precision: str = "fp16",
    batch_size: Any = 1,
    efficiency: float = 0.5,
    seq_len: Any = None,
    backend: str = "matplotlib",
    out: Path | str | None = None,
    ax: Any = None,
) -> Any:
    """The roofline of one or more devices, with workloads on it where they run.

    Args:
        hardware: a device, its name, or a list of them
        workloads: models or their names, each at every batch size
        operators: operators of a pass (``workloads.network.network(...).operators``), drawn under the first roof
        precision: number format; its dense peak is the flat part
        batch_size: one or several
        efficiency: share of the peak that the workloads reach
        seq_len: tokens of context of language models
        backend: ``matplotlib`` or ``plotly``
        out: file to write
        ax: Matplotlib axes to draw into
    """
    border = Border()
    devices = [border.device(one) for one in listed(hardware)]
    number = border.format(precision)
    border.close()
    answers = [
        (SingleNodeModel().solve(model, device, batch, precision, efficiency, seq_len=seq_len), device, batch)
        for device in devices
        for model in listed(workloads)
        for batch in np.atleast_1d(np.asarray(batch_size, dtype=float))
    ]
    notes: list[str] = []
    peaks = []
    for device in devices:
        peak, told = peak_in(device, number)
        peaks.append(float(peak))
        notes += told
    ridges = [roofline.ridge_point(p, d.si.memory_bandwidth) for p, d in zip(peaks, devices, strict=True)]
    groups = _grouped(operators)
    seen = [float(answer.si.arithmetic_intensity) for answer, _, _ in answers] + [x for x, _, _ in groups]
    x = np.geomspace(min([*seen, min(ridges) / 30]) / 2, max([*seen, max(ridges) * 10]) * 2, 300)
    marks: list[Any] = []
    for place, (device, peak, ridge) in enumerate(zip(devices, peaks, ridges, strict=True)):
        label = f"{device.id}: {shown(peak, 'flop/second')}, {shown(device.si.memory_bandwidth, 'byte/second')}, ridge {ridge:.3g}"
        marks.append(Line(x, roofline.attainable_flops(x, peak, device.si.memory_bandwidth), label, place))
    for place, device in enumerate(devices):
        mine = [(answer, batch) for answer, one, batch in answers if one is device]
        if mine:
            rates = [float(answer.si.flops / answer.si.latency) for answer, _ in mine]
            places = [float(answer.si.arithmetic_intensity) for answer, _ in mine]
            texts = [
                f"{a.question.arguments['model'].id} b={b:g}{'' if a.feasible else ' (does not fit)'}" for a, b in mine
            ]
            marks.append(Points(places, rates, f"passes on {device.id} (efficiency {efficiency:g})", place, texts))
    if groups:
        under = [float(roofline.attainable_flops(x, peaks[0], devices[0].si.memory_bandwidth)) for x, _, _ in groups]
        marks.append(Points([x for x, _, _ in groups], under, f"operators under the roof of {devices[0].id}", len(devices),
                            [name for _, _, name in groups]))  # fmt: skip
    title = f"Roofline of {', '.join(d.id for d in devices)} ({number.id})"
    chart = Chart(title, INTENSITY, RATE, log_x=True, log_y=True, marks=marks, notes=tuple(dict.fromkeys(notes)))
    return draw(chart, backend, out, ax)


def _grouped(operators: Sequence[Any]) -> list[tuple[float, float, str]]:
    """Intensity, FLOPs and kind of operators, joined by kind; those without FLOPs have no place on a roofline."""
    work: dict[str, tuple[float, float]] = {}
    for one in operators:
        flops, moved = work.get(one.kind, (0.0, 0.0))
        work[one.kind] = (flops + float(one.flops * one.count), moved + float(one.bytes * one.count))
    return [
        (float(roofline.arithmetic_intensity(flops, moved)), flops, kind)
        for kind, (flops, moved) in work.items()
        if flops > 0 and moved > 0
    ]


def plot_hierarchical_roofline(
    hardware: Any,
    *,
    precision: str = "fp16",
    backend: str = "matplotlib",
    out: Path | str | None = None,
    ax: Any = None,
) -> Any:
    """One roof for each level that data can come from: on-chip memory, main memory, peers, host, storage.

    Args:
        hardware: a device or its name
        precision: number format of the flat part
        backend: ``matplotlib`` or ``plotly``
        out: file to write
        ax: Matplotlib axes to draw into
    """
    border = Border()
    device, number = border.device(hardware), border.format(precision)
    border.close()
    chip = device.si
    levels = [
        ("on-chip SRAM", chip.sram_bandwidth),
        ("memory", chip.memory_bandwidth),
        ("peers, one direction", chip.link_bandwidth),
        ("host link, one direction", chip.host_bandwidth),
        ("flash", chip.flash_bandwidth),
        ("storage", chip.storage_bandwidth),
    ]
    return _roofs(f"Roofs of {device.id} ({number.id})", *_peak(device, number), levels, backend, out, ax)


def plot_distributed_roofline(
    fleet: Any, *, precision: str = "fp16", backend: str = "matplotlib", out: Path | str | None = None, ax: Any = None
) -> Any:
    """The roofs of one device of a fleet: its own memory, its peers in the node, and the fabric.

    Args:
        fleet: a fleet or a node, or its name
        precision: number format of the flat part
        backend: ``matplotlib`` or ``plotly``
        out: file to write
        ax: Matplotlib axes to draw into
    """
    border = Border()
    machine = Systems[fleet] if isinstance(fleet, str) else fleet
    number = border.format(precision)
    border.close()
    if not isinstance(machine, (Fleet, Node)):
        raise InvalidInputError(f"fleet: expected a fleet or a node of the catalog, found {type(fleet).__name__}")
    wires = wiring(machine, textbook().link_latency)
    levels = [("memory", wires.chip.si.memory_bandwidth), ("node, one direction", wires.inside),
              ("fabric, one direction", wires.across)]  # fmt: skip
    return _roofs(
        f"Roofs of a device in {machine.id} ({number.id})", *_peak(wires.chip, number), levels, backend, out, ax
    )


def _peak(device: Any, number: Any) -> tuple[float, tuple[str, ...]]:
    peak, notes = peak_in(device, number)
    return float(peak), tuple(notes)


def _roofs(title: str, peak: float, notes: tuple[str, ...], levels: Any, backend: str, out: Any, ax: Any) -> Any:
    known = [(name, float(bandwidth)) for name, bandwidth in levels if bandwidth is not None and np.isfinite(bandwidth)]
    ridges = [roofline.ridge_point(peak, bandwidth) for _, bandwidth in known]
    x = np.geomspace(min(ridges) / 30, max(ridges) * 5, 300)
    marks = [
        Line(
            x,
            roofline.attainable_flops(x, peak, bandwidth),
            f"{name}: {shown(bandwidth, 'byte/second')}, ridge {ridge:.3g}",
            place,
        )
        for place, ((name, bandwidth), ridge) in enumerate(zip(known, ridges, strict=True))
    ]
    notes = (f"flat part: {shown(peak, 'flop/second')}", *notes)
    chart = Chart(title, "FLOPs for each byte from that level", RATE, log_x=True, log_y=True, marks=marks, notes=notes)
    return draw(chart, backend, out, ax)


def listed(value: Any) -> list[Any]:
    """One thing, several, or a stack, as a list."""
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return list(value)
    return list(value.members) if getattr(value, "members", ()) else [value]
