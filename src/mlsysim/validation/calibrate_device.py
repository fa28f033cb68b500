"""Fit a device of your own from a handful of measured points: a matrix-product table, decode or prefill attention,
experts, collectives (a table, or the output of nccl-tests), or whole passes (llama-bench, ``vllm bench serve``)."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog import Hardware
from ..catalog.efficiency import ANY, Family, Fit, family
from ..catalog.hardware import Device
from ..catalog.models import Transformer
from ..errors import InvalidInputError, alternatives
from ..machine.chip import Chip, chip_of
from ..machine.collectives import LIBRARIES, scope_of
from ..machine.operators import Operator, Operators
from .calibrate import Calibrated
from .calibrate_passes import pass_samples, passes_of
from .data import Table, read_table
from .efficiency_file import text_of
from .fitting import Sample, fit
from .rows import collective_operator

TIME = {"latency_us": 1e-6, "time_us": 1e-6, "latency_ms": 1e-3, "time_ms": 1e-3, "latency_s": 1.0, "time_s": 1.0}
"""Columns that may hold the measured time, and their unit in seconds."""
SHAPES: Mapping[str, tuple[str, ...]] = {
    "gemm": ("m", "n", "k"),
    "context_attention": ("batch", "new_tokens", "heads", "kv_heads", "head_dim"),
    "generation_attention": ("batch", "context", "heads", "kv_heads", "head_dim"),
    "moe": ("tokens", "hidden", "ffn", "experts", "topk"),
    "collective": ("message_bytes", "ranks"),
}
"""Columns by which a table is told."""
LEAST = 3
"""Fewer points than this say too little."""


def calibrate_device(
    csv: Path | str,
    device: Device | str,
    out: Path | None = None,
    *,
    kind: str = "all_reduce",
    ranks: float | None = None,
    model: Transformer | str | None = None,
    precision: str | None = None,
    title: str = "own measurements",
    date: str | None = None,
) -> dict[str, str]:
    """Fit a device from a file of measurements.

    The fit starts from what the catalog holds for the device and is drawn towards it, so that eight points already
    help and a wild one does no harm.

    Args:
        csv: a table with a header; its columns tell what was measured (see :data:`SHAPES`), with one column of times
            such as ``latency_us`` and, where it matters, ``precision``; or the printed output of nccl-tests; or
            passes of a model on one device (see :func:`~mlsysim.validation.calibrate_passes.passes_of`)
        device: the device that was measured, or its name
        out: folder to write the files to
        kind: collective of an nccl-tests output or of a table without a column ``op``
        ranks: devices in an nccl-tests run
        model: the model of a file of passes
        precision: format of its weights, where the file does not say or says it wrongly
        title: what to call the measurements in the file
        date: written in the file; today by default

    Returns:
        YAML by efficiency family; add a file with ``mlsysim.catalog.efficiency.add``.

    Raises:
        InvalidInputError: the file tells no kind of measurement, or holds too few points
    """
    path = Path(csv)
    chosen = Hardware[device] if isinstance(device, str) else device
    chip = chip_of(chosen)
    found = passes_of(path) if os.path.isfile(path) and path.suffix != ".gz" and not _is_nccl(path) else None
    if found is None:
        table = nccl_output(path, kind, ranks) if _is_nccl(path) else read_table(path)
    else:
        table = found[0]
    seconds = _seconds(table)
    if len(seconds) < LEAST:
        raise InvalidInputError(f"{path.name}: expected at least {LEAST} points, found {len(seconds)}")
    fits: list[tuple[str, str, list[Sample]]] = []
    if found is not None:
        if model is None:
            raise InvalidInputError(f"{path.name}: holds passes of a model; give model")
        fits = pass_samples(table, seconds, found[1], chosen, model, precision, path.name)
    else:
        for name, rows, build in _parts(table, path.name, kind):
            operator = build(Operators(chip), table.where(rows))
            fits.append((name, operator.precision, [Sample(chosen.id, ANY, operator, seconds[rows])]))
    written: dict[str, str] = {}
    for name, variant, samples in fits:
        entry = family(name)
        known = entry.choose(chip.names, chip.generations, _nearest_kernel(name, variant, chip))
        values = fit(samples, dict(known.values), DRAWN if name in COLLECTIVES else 0.4)
        own = Calibrated(chosen.id, known.kernel if name in COLLECTIVES else ANY, samples, values, transfer=0.1)
        own.architectures = (chip.architecture,)
        points = sum(len(sample.seconds) for sample in samples)
        document = {
            "id": name,
            "name": entry.name,
            "sources": {
                "tables": {
                    "kind": "derived",
                    "title": title,
                    "reason": f"fitted to {points} points of {path.name}, starting from the fit of {known.scope}",
                    "date": date or datetime.date.today().isoformat(),
                }
            },
            "fits": [_inflated(own, entry), *(stacks(entry, known, own, chip) if name == "all_reduce" else ())],
        }
        written[name] = text_of(document)
        if out is not None:
            Path(out).mkdir(parents=True, exist_ok=True)
            (Path(out) / f"{name}.yaml").write_text(written[name])
    return written


COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
DRAWN = 0.15
"""How far eight points draw a collective from what is known: best of 0.15, 0.25, 0.4 and 0.8 on calibration devices, each
left out in turn."""


MANY = 40
"""Points from which the residuals of a fit tell how far its form holds."""
SHARED = 0.15
"""How well a stack's kernels follow the library from one device to another, as a standard deviation of the log."""


def stacks(entry: Family, known: Fit, own: Calibrated, chip: Chip) -> list[dict[str, Any]]:
    """What measurements of the library say about the all-reduce kernels of serving stacks on the same device.

    They hand large messages to it, and their latencies are set by the same clocks and links as its own: they keep their
    proportion to it.
    """
    ratio = own.values["latency"] / known.values["latency"]
    found = []
    for kernel in sorted({item.kernel for item in entry.fits if item.kernel not in LIBRARIES}):
        theirs = entry.choose(chip.names, (scope_of(chip, kernel),), kernel)
        if theirs.kernel != kernel:
            continue
        scaled = {
            key: value * ratio for key, value in theirs.values.items() if key in ("once_latency", "twice_latency")
        }
        found.append(
            {
                "scope": own.scope,
                "kernel": kernel,
                "devices": [own.scope],
                "architectures": list(own.architectures),
                "n": 0,
                "source": "tables",
                "sigma": [round(float(np.hypot(value, SHARED)), 4) for value in theirs.sigma],
                "transfer": round(max(theirs.transfer, SHARED), 4),
                "far": round(max(theirs.far, SHARED), 4),
                "values": {**theirs.values, **{key: own.values[key] for key in known.values}, **scaled},
            }
        )
    return found


def _inflated(own: Calibrated, form: Family) -> dict[str, Any]:
    """The entry, its spread widened for the parameters that few points have to pay for.

    What the form misses by so much on hundreds of points is not hit better between a handful.
    """
    entry = own.entry()
    n, free = entry["n"], 4.0
    grow = float(np.sqrt(1 + free / max(n - free, 1.0)))
    missed = [item.sigma for item in form.fits if item.kernel == own.kernel and item.n >= MANY] or [(0.0, 0.0, 0.0)]
    least = np.min(missed, axis=0)
    entry["sigma"] = [
        round(float(np.hypot(value * grow, low)), 4) for value, low in zip(entry["sigma"], least, strict=True)
    ]
    return entry


def _nearest_kernel(name: str, variant: str, chip: Chip) -> str:
    return "nccl" if name in COLLECTIVES else family(name).kernel(chip.generation, "ideal", variant)


def _seconds(table: Table) -> Any:
    named = [name for name in TIME if name in table.columns]
    if not named:
        raise InvalidInputError(f"expected a column of times ({alternatives(TIME)}), found {', '.join(table.columns)}")
    seconds = np.asarray(table[named[0]], dtype=np.float64) * TIME[named[0]]
    if not (np.isfinite(seconds) & (seconds > 0)).all():
        raise InvalidInputError(f"{named[0]}: expected positive times")
    return seconds


Build = Callable[[Operators, Table], Operator]


def _parts(table: Table, label: str, kind: str) -> list[tuple[str, Any, Build]]:
    """The families of a table: name, rows, and how its rows become an operator."""
    told = [name for name, columns in SHAPES.items() if set(columns) <= set(table.columns)]
    if not told:
        wanted = "; ".join(f"{name}: {', '.join(columns)}" for name, columns in SHAPES.items())
        raise InvalidInputError(
            f"{label}: columns {', '.join(table.columns)} tell no kind of measurement; expected {wanted}"
        )
    shape = told[-1] if "collective" in told else told[0]
    column = "op" if shape == "collective" else "precision"
    default = kind if shape == "collective" else "bf16"
    values = np.asarray(table.columns.get(column, np.full(len(table), default)), dtype=str)
    found: list[tuple[str, Any, Build]] = []
    for value in sorted(set(values.tolist())):
        build = _builder(shape, value)
        rows = np.flatnonzero(values == value)
        probe = build(Operators(_any_chip()), table.where(rows[:1]))
        found.append((probe.family, rows, build))
    return found


def _any_chip() -> Chip:
    return chip_of(Hardware["H100"])


def _builder(shape: str, value: str) -> Build:
    def column(t: Table, name: str, standin: float) -> Any:
        return t.columns.get(name, np.full(len(t), standin))

    if shape == "gemm":
        return lambda o, t: o.gemm(t["m"], t["n"], t["k"], value)
    if shape == "context_attention":
        return lambda o, t: o.context_attention(
            t["batch"], t["new_tokens"], column(t, "cached_tokens", 0.0), t["heads"], t["kv_heads"], t["head_dim"],
            column(t, "window", 0.0), value,
        )  # fmt: skip
    if shape == "generation_attention":
        return lambda o, t: o.generation_attention(
            t["batch"], t["context"], t["heads"], t["kv_heads"], t["head_dim"], column(t, "window", 0.0), value
        )
    if shape == "moe":
        return lambda o, t: o.moe(
            t["tokens"],
            t["hidden"],
            t["ffn"],
            t["experts"],
            t["topk"],
            column(t, "tp", 1.0),
            column(t, "ep", 1.0),
            value,
        )
    return lambda o, t: collective_operator(o.chip, value, t["message_bytes"], t["ranks"], "nccl")


_NCCL = re.compile(r"^\s*(\d+)\s+\d+\s+\w+\s+(?:\w+\s+)?(?:-?\d+\s+)?([\d.]+)\s+[\d.]+\s+[\d.]+")


def _is_nccl(path: Path) -> bool:
    if not os.path.isfile(path) or path.suffix == ".gz":
        return False
    with path.open(errors="replace") as file:
        return any("busbw" in line and line.lstrip().startswith("#") for line, _ in zip(file, range(200), strict=False))


def nccl_output(path: Path, kind: str, ranks: float | None) -> Table:
    """The out-of-place times of an nccl-tests run.

    Raises:
        InvalidInputError: the number of ranks is not given, or no line holds a result
    """
    text = path.read_text(errors="replace")
    counted = len(re.findall(r"^#\s+Rank\s+\d+", text, re.MULTILINE))
    number = ranks or counted
    if not number:
        raise InvalidInputError(f"{path.name}: the output lists no ranks; give ranks")
    found = [(float(m[1]), float(m[2])) for line in text.splitlines() if (m := _NCCL.match(line))]
    found = [(size, time) for size, time in found if size > 0 and time > 0]
    if not found:
        raise InvalidInputError(f"{path.name}: no line of results such as '1048576 262144 float sum -1 25.3 41.4 72.5'")
    sizes, times = np.array(found).T
    return Table(
        {
            "message_bytes": sizes,
            "ranks": np.full(len(sizes), float(number)),
            "latency_us": times,
            "op": np.full(len(sizes), kind),
        }
    )
