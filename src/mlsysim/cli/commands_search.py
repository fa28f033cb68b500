"""Commands about many questions and about this machine: sweep, pareto, plot, audit."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InvalidInputError
from .app import Batch, Catalog, Efficiency, Output, OutputOption, Precision, _chosen, _entry, _extend, app

SHOWN = ("model", "hardware", "batch_size", "seq_len", "tp_size", "precision", "ttft", "itl", "throughput", "latency",
         "memory_utilization", "bottleneck", "feasible", "fault")  # fmt: skip
MOST = 40


class Kind(str, enum.Enum):
    """What a sweep asks."""

    serve = "serve"
    eval = "eval"


class Picture(str, enum.Enum):
    """What can be drawn."""

    roofline = "roofline"
    levels = "levels"
    waterfall = "waterfall"
    memory = "memory"
    scorecard = "scorecard"


class Backend(str, enum.Enum):
    """What draws."""

    matplotlib = "matplotlib"
    plotly = "plotly"


Model = Annotated[str, typer.Argument(help="A model of the zoo; several with commas.")]
Devices = Annotated[list[str], typer.Argument(help="Devices, nodes or fleets of the zoo.")]
Values = "values: 1,2,8 or 1:10:3 (steps) or 1:1024:*2 (a factor)"
BatchAxis = Annotated[str, typer.Option("--batch", "--batch-size", "-b", help=f"Batch {Values}.")]
LengthAxis = Annotated[str, typer.Option("--seq", "--seq-len", "-s", help=f"Tokens of the prompt; {Values}.")]
TpAxis = Annotated[str, typer.Option("--tp", help=f"Tensor-parallel ranks; {Values}.")]
PrecisionAxis = Annotated[str, typer.Option("--precision", "-p", help="Number formats, with commas.")]
KindOption = Annotated[Kind, typer.Option("--kind", help="serve (prefill and decode) or eval (one pass).")]
Where = Annotated[
    list[str] | None, typer.Option("--where", "-w", help="A condition such as 'itl <= 50 ms'; may be repeated.")
]
Fields = Annotated[str | None, typer.Option("--fields", help="Fields to keep, with commas; all unless said.")]
Out = Annotated[Path | None, typer.Option("--out", help="File to write: .parquet or .csv.", show_default=False)]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Processes of this machine.")]
DaskAt = Annotated[str | None, typer.Option("--dask", help="Address of a Dask scheduler.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", help="Most points.")]


@app.command()
def sweep(
    context: typer.Context,
    model: Model,
    hardware: Devices,
    batch: BatchAxis = "1",
    seq: LengthAxis = "2048",
    tp: TpAxis = "1",
    precision: PrecisionAxis = "fp16",
    efficiency: Efficiency = 0.5,
    kind: KindOption = Kind.serve,
    where: Where = None,
    fields: Fields = None,
    out: Out = None,
    jobs: Jobs = 1,
    dask: DaskAt = None,
    limit: Limit = 10_000_000,
    catalog: Catalog = None,
    output: OutputOption = None,
) -> None:
    """Every combination of devices, batches, lengths and formats, one row each."""
    chosen = _chosen(context, output)
    _extend(catalog)
    frame = _swept(model, hardware, batch, seq, tp, precision, efficiency, kind, where, fields, out, jobs, dask, limit)
    _print(frame, chosen, None if out is None else f"{frame.height:,} rows written to {out}")


@app.command()
def pareto(
    context: typer.Context,
    model: Model,
    hardware: Devices,
    objective: Annotated[
        list[str], typer.Option("--objective", help="Such as 'minimize: itl'; give one for each.", show_default=True)
    ] = ["minimize: itl", "maximize: throughput"],  # noqa: B006 (Typer copies it)
    batch: BatchAxis = "1:1024:*2",
    seq: LengthAxis = "2048",
    tp: TpAxis = "1",
    precision: PrecisionAxis = "fp16",
    efficiency: Efficiency = 0.5,
    kind: KindOption = Kind.serve,
    where: Where = None,
    out: Out = None,
    jobs: Jobs = 1,
    dask: DaskAt = None,
    limit: Limit = 10_000_000,
    catalog: Catalog = None,
    output: OutputOption = None,
) -> None:
    """The combinations that no other one beats in every objective."""
    from ..search import pareto as front
    from ..search import write_frame
    from ..search.frames import check_target
    from ..search.objective import objectives

    chosen = _chosen(context, output)
    _extend(catalog)
    wanted = objectives(objective)
    if out is not None:
        check_target(out)
    frame = _swept(model, hardware, batch, seq, tp, precision, efficiency, kind, where, None, None, jobs, dask, limit)
    best = front(frame, wanted)
    if out is not None:
        write_frame(best, out)
    _print(best, chosen, f"{best.height:,} of {frame.height:,} points are on the front")


def _swept(
    model: str, hardware: list[str], batch: str, seq: str, tp: str, precision: str, efficiency: float, kind: Kind,
    where: Any, fields: str | None, out: Any, jobs: int, dask: Any, limit: int,
) -> Any:  # fmt: skip
    from ..search import Axis
    from ..search import sweep as ask

    devices = [_entry("hardware", word) for text in hardware for word in text.split(",") if word]
    axes = [
        Axis("model", [_entry("models", word) for word in model.split(",") if word]),
        Axis("hardware", devices),
        Axis("precision", [word.strip() for word in precision.split(",")]),
    ]
    if kind is Kind.serve:
        axes.append(Axis.parse("tp_size", tp))
    elif tp != "1":
        raise InvalidInputError("--tp: one pass (--kind eval) runs on one device; use --kind serve")
    axes += [Axis.parse("seq_len", seq), Axis.parse("batch_size", batch)]
    outputs = None if fields is None else [word.strip() for word in fields.split(",")]
    return ask(
        "ServingModel" if kind is Kind.serve else "SingleNodeModel", axes, where=where, outputs=outputs, out=out, jobs=jobs,
        dask=dask, limit=limit, efficiency=efficiency,
    )  # fmt: skip


def _print(frame: Any, chosen: Output, told: str | None) -> None:
    if chosen is Output.json:
        # Numbers that are unknown are null: JSON has no NaN.
        rows = [
            {name: None if isinstance(value, float) and value - value != 0 else value for name, value in row.items()}
            for row in frame.iter_rows(named=True)
        ]
        print(json.dumps({"rows": rows, "count": frame.height}, allow_nan=False))
        return
    if chosen is Output.csv:
        print(frame.write_csv(), end="")
        return
    names = [label for label in frame.columns if label.split(" [")[0] in SHOWN] or frame.columns
    varying = [label for label in names if label != "fault" or any(frame["fault"].to_list())]
    rows = frame.head(MOST).select(varying)
    texts = [[_cell(value, label) for value, label in zip(row, varying, strict=True)] for row in rows.iter_rows()]
    _table([label.split(" [")[0] for label in varying], texts, chosen is Output.markdown)
    if frame.height > MOST:
        print(f"... {frame.height - MOST:,} more rows; --out FILE or -o csv gives all")
    if told:
        print(told)


def _cell(value: Any, label: str) -> str:
    from ..solvers.ledger import shown

    unit = label.partition(" [")[2].removesuffix("]") or None
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else shown(value, unit)


def _table(headers: list[str], texts: list[list[str]], markdown: bool) -> None:
    if markdown:
        for line in (headers, ["---"] * len(headers), *texts):
            print("| " + " | ".join(line) + " |")
        return
    widths = [max(len(line[i]) for line in [headers, *texts]) for i in range(len(headers))]
    for line in [headers, *texts]:
        print("  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip())


@app.command()
def plot(
    picture: Annotated[Picture, typer.Argument(help="What to draw.")],
    names: Annotated[
        list[str], typer.Argument(help="For roofline and levels: devices. Otherwise: a model, then devices.")
    ],
    out: Annotated[Path, typer.Option("--out", help="File: .png, .svg, .pdf; .html or .json with --backend plotly.")],
    models: Annotated[str | None, typer.Option("--models", help="Models on a roofline, with commas.")] = None,
    batch_size: Batch = 1,
    seq_len: Annotated[int, typer.Option("--seq-len", "-s", help="Tokens of each prompt.")] = 2048,
    precision: Precision = "fp16",
    efficiency: Efficiency = 0.5,
    tp: Annotated[int, typer.Option("--tp", help="Tensor-parallel ranks.")] = 1,
    backend: Annotated[Backend, typer.Option("--backend", help="matplotlib or plotly.")] = Backend.matplotlib,
    catalog: Catalog = None,
) -> None:
    """A picture: roofline, levels of one device, waterfall, memory or scorecard."""
    from ..report import viz

    _extend(catalog)
    face: dict[str, Any] = {"backend": backend.value, "out": out}
    if picture in (Picture.roofline, Picture.levels):
        devices = [_entry("hardware", name) for name in names]
        if picture is Picture.levels:
            if len(devices) != 1:
                raise InvalidInputError(f"levels: expected one device, found {len(devices)}")
            viz.plot_hierarchical_roofline(devices[0], precision=precision, **face)
        else:
            loads = [_entry("models", word) for word in (models or "").split(",") if word]
            viz.plot_roofline(devices, loads, precision=precision, batch_size=batch_size, efficiency=efficiency, **face)
    else:
        _plot_answers(picture, names, batch_size, seq_len, precision, efficiency, tp, face)
    print(f"written to {out}")


def _plot_answers(
    picture: Picture,
    names: list[str],
    batch: int,
    seq: int,
    precision: str,
    efficiency: float,
    tp: int,
    face: dict[str, Any],
) -> None:
    from ..catalog.models import Transformer
    from ..report import viz
    from ..solvers.evaluation import SystemEvaluator
    from ..solvers.node import SingleNodeModel
    from ..solvers.serving import ServingModel

    if len(names) < 2:
        raise InvalidInputError(f"{picture.value}: expected a model and at least one device")
    model, devices = _entry("models", names[0]), [_entry("hardware", name) for name in names[1:]]
    if picture is Picture.scorecard:
        found = SystemEvaluator.evaluate(
            f"{model.id} on {devices[0].id}", model, devices[0], batch, precision, efficiency
        )
        viz.plot_evaluation_scorecard(found, **face)
        return
    answers: list[Any] = [
        ServingModel().solve(model, device, seq, batch, precision, efficiency, tp_size=tp)
        if isinstance(model, Transformer) and model.architecture == "transformer"
        else SingleNodeModel().solve(model, device, batch, precision, efficiency)
        for device in devices
    ]
    if picture is Picture.memory:
        viz.plot_memory_stack(answers, **face)
    elif len(answers) > 2:
        raise InvalidInputError(f"waterfall: expected one device, or two to compare, found {len(answers)}")
    else:
        viz.plot_latency_waterfall(answers[0], answers[1] if len(answers) == 2 else None, **face)


@app.command()
def audit(
    context: typer.Context,
    workload: Annotated[
        str | None, typer.Option("--workload", "-w", help="A model: what a pass of it takes here.")
    ] = None,
    batch_size: Batch = 1,
    seconds: Annotated[float, typer.Option("--seconds", help="About how long to measure.", min=0.1, max=120.0)] = 2.0,
    output: OutputOption = None,
) -> None:
    """This machine: arithmetic and memory bandwidth that it reaches, and what a workload would take."""
    from ..machine.audit import profile
    from ..solvers.ledger import shown
    from ..solvers.node import SingleNodeModel
    from ..units import units_of

    chosen = _chosen(context, output)
    model = None if workload is None else _entry("models", workload)
    found = profile(seconds)
    inside, units = found.si, units_of(type(found))
    # The peak is what was measured, so nothing is taken off it again.
    answer: Any = None if model is None else SingleNodeModel().solve(model, found.device(), batch_size, "fp32", 1.0)
    if chosen is Output.json:
        document: dict[str, Any] = {
            name: {"value": getattr(inside, name), "unit": units[name]}
            if units.get(name, "1") != "1"
            else getattr(inside, name)
            for name in found.__dataclass_fields__
        }
        document["accelerators"] = list(found.accelerators)
        document["workload"] = None if answer is None else answer.to_dict()
        print(json.dumps(document, indent=2, allow_nan=False))
        return
    rows = [[name.replace("_", " "), shown(getattr(inside, name), units.get(name))] for name in found.__dataclass_fields__
            if name != "accelerators"]  # fmt: skip
    rows.append(["accelerators", "; ".join(found.accelerators) or "none reported by nvidia-smi or rocm-smi"])
    if answer is not None and model is not None:
        verdict = "fits" if answer.feasible else "does not fit"
        rows.append(
            [
                f"{model.id}, batch {batch_size}, fp32",
                f"{verdict}; {shown(answer.si.latency, 'second')} a pass, {answer.bottleneck}-bound",
            ]
        )
    if chosen is Output.csv:
        print("\n".join(["name,value", *(f'"{name}","{value}"' for name, value in rows)]))
    else:
        _table(["this machine", ""], rows, chosen is Output.markdown)
