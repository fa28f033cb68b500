"""Commands about whole systems: eval, plans, compare, whatif, optimize, walls, pipeline, schema."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InvalidInputError, alternatives
from .app import (
    NOT_FITTING,
    Batch,
    Catalog,
    Efficiency,
    Explain,
    KvPrecision,
    Output,
    OutputOption,
    Precision,
    _chosen,
    _entry,
    _extend,
    _finish,
    app,
)

MISSED = 3
"""Exit code where something that was asserted does not hold."""


class SchemaOf(str, enum.Enum):
    """What a JSON Schema can describe."""

    plan = "plan"
    hardware = "hardware"
    model = "model"
    infra = "infra"
    system = "system"
    eval = "eval"
    serve = "serve"


optimize = typer.Typer(help="The best way to run a plan.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(optimize, name="optimize")

PlanFile = Annotated[Path, typer.Argument(help="A plan: a YAML file; see mlsysim schema.", show_default=False)]
Sequence = Annotated[int | None, typer.Option("--seq-len", "-s", help="Tokens of context of a language model.")]


@app.command("eval")
def evaluate(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="A plan (a YAML file), a model of the zoo, or a YAML file of one.")],
    hardware: Annotated[
        str | None,
        typer.Argument(help="A device of the zoo, or a YAML file of one; not for a plan.", show_default=False),
    ] = None,
    batch_size: Batch = 1,
    precision: Precision = "fp16",
    efficiency: Efficiency = 0.5,
    seq_len: Sequence = None,
    kv_precision: KvPrecision = None,
    junit: Annotated[
        Path | None, typer.Option(help="Write levels and assertions of a plan as a JUnit report.", show_default=False)
    ] = None,
    explain: Explain = False,
    catalog: Catalog = None,
    output: OutputOption = None,
) -> None:
    """Does it fit, what binds, how fast: one pass of a model on a device, or the scorecard of a plan.

    Exit codes: 0 done, 1 input that makes no sense, 2 usage, 3 an assertion does not hold, 4 it does not fit.
    """
    from ..solvers.node import SingleNodeModel
    from . import render
    from .commands_import import stored_precision

    chosen = _chosen(context, output)
    _extend(catalog)
    if hardware is None:
        _plan(context, target, junit, explain, chosen)
        return
    if junit is not None:
        raise InvalidInputError("--junit: reports on a plan; give a plan file and no hardware")
    model = _entry("models", target)
    precision = stored_precision(context, target, model, precision)
    answer = SingleNodeModel().solve(
        model, _entry("hardware", hardware), batch_size, precision, efficiency, seq_len=seq_len,
        kv_precision=kv_precision,
    )  # fmt: skip
    _finish(answer, render.evaluation(answer), chosen, explain)


def _plan(context: typer.Context, target: str, junit: Path | None, explain: bool, output: Output) -> None:
    from ..solvers.plan_run import evaluate_plan, verdicts
    from . import render_plan

    if not target.endswith((".yaml", ".yml")):
        raise typer.BadParameter(
            f"missing argument HARDWARE (or give a plan, a .yaml file, instead of {target!r})", context
        )
    options = ("batch_size", "precision", "efficiency", "seq_len", "kv_precision")
    said = [name for name in options if str(getattr(context.get_parameter_source(name), "name", "")) == "COMMANDLINE"]
    if said:
        flags = alternatives([f"--{name.replace('_', '-')}" for name in said]).replace(" or ", " and ")
        raise InvalidInputError(f"{flags}: a plan says that itself; change {target}")
    plan = _read(Path(target))
    card = evaluate_plan(plan)
    held = verdicts(plan, card)
    if junit is not None:
        _write(junit, render_plan.junit(card, held))
    _print(render_plan.scorecard(card, held), output, card.answers["performance"].explain() if explain else None)
    if not card.feasible and card.feasibility.status == "FAIL":
        raise typer.Exit(NOT_FITTING)
    if card.performance.status == "FAIL" or any(not verdict.held for verdict in held):
        raise typer.Exit(MISSED)


@app.command()
def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help="A device of the zoo, or a plan file.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="What runs on both devices.", show_default=False)
    ] = None,
    seq_len: Sequence = None,
    batch_size: Batch = 1,
    precision: Precision = "fp16",
    efficiency: Efficiency = 0.5,
    output: OutputOption = None,
) -> None:
    """Two devices or two plans: which is faster, by how much, and because of what."""
    from ..solvers.explainers import DifferentialExplainer
    from . import render_plan

    chosen = _chosen(context, output)
    if a.endswith((".yaml", ".yml")) and b.endswith((".yaml", ".yml")) and model is None:
        from ..solvers.plan_run import evaluate_plan

        cards = evaluate_plan(_read(Path(a))), evaluate_plan(_read(Path(b)))
        answers = [card.answers["performance"] for card in cards]
        told = DifferentialExplainer.compare_performance(*answers) if type(answers[0]) is type(answers[1]) else None
        _print(render_plan.plans_compared(cards, told), chosen)
        return
    if model is None:
        raise InvalidInputError("--model: expected what runs on both devices, as --model Llama3_8B (or two plan files)")
    first, second = (_answer(model, name, seq_len, batch_size, precision, efficiency) for name in (a, b))
    _print(render_plan.compared(DifferentialExplainer.compare_performance(first, second), first, second), chosen)


@app.command()
def whatif(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model of the zoo, or a YAML file of one.")],
    hardware: Annotated[str, typer.Argument(help="A device of the zoo, or a YAML file of one.")],
    changes: Annotated[
        list[str],
        typer.Argument(
            help="NAME=VALUE: an option (batch_size=32, precision=fp8, hardware=H200, tp_size=2) or a fact of the device "
            "(memory_bandwidth='4 TB/s'); VALUE may be a factor, as 2x.",
            show_default=False,
        ),
    ],
    seq_len: Sequence = None,
    batch_size: Batch = 1,
    precision: Precision = "fp16",
    efficiency: Efficiency = 0.5,
    output: OutputOption = None,
) -> None:
    """Change something, and see what it does and why."""
    from ..solvers.explainers import DifferentialExplainer
    from ..solvers.whatif import changed
    from . import render_plan

    chosen = _chosen(context, output)
    before = _answer(model, hardware, seq_len, batch_size, precision, efficiency)
    after = changed(before, changes)
    _print(render_plan.compared(DifferentialExplainer.compare_performance(before, after), before, after), chosen)
    if not after.feasible:
        raise typer.Exit(NOT_FITTING)


@optimize.command("parallelism")
def optimize_parallelism(
    context: typer.Context,
    plan: PlanFile,
    objective: Annotated[str, typer.Option(help="time, cost or carbon.")] = "time",
    output: OutputOption = None,
) -> None:
    """The best split of a training step over the fleet of a plan."""
    from ..catalog import Models
    from ..solvers.optimize_parallelism import ParallelismOptimizer
    from ..solvers.plan_run import machines
    from . import render_plan

    chosen, asked = _chosen(context, output), _read(plan)
    run = asked.hardware or asked.fleet
    _, fleet = machines(asked)
    if fleet is None:
        raise InvalidInputError(f"{plan}: one accelerator has nothing to split; set hardware.accelerators or a fleet")
    answer = ParallelismOptimizer().solve(
        Models[asked.workload.name], fleet, asked.workload.batch_size, run.precision, run.efficiency,
        seq_len=asked.workload.seq_len or 2048, zero_stage=run.zero, activation_recomputation=run.recompute,
        objective=objective,
    )  # fmt: skip
    _finish(answer, render_plan.split(answer), chosen, False)


@optimize.command("batching")
def optimize_batching(
    context: typer.Context,
    plan: PlanFile,
    sla_ms: Annotated[float, typer.Option("--sla-ms", help="Objective for p99 of a whole request, in milliseconds.")],
    qps: Annotated[float, typer.Option("--qps", help="Requests a second over all replicas.")],
    output_len: Annotated[
        int | None, typer.Option(help="Tokens of an answer; as many as the prompt unless said.")
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(help="Replicas that share the requests; as many as the plan holds unless said.")
    ] = None,
    output: OutputOption = None,
) -> None:
    """The largest batch of a serving plan that meets a latency objective."""
    from ..catalog import Models
    from ..solvers.optimize_batching import BatchingOptimizer
    from ..solvers.plan_run import machines
    from . import render_plan

    chosen, asked = _chosen(context, output), _read(plan)
    run = asked.hardware or asked.fleet
    device, fleet = machines(asked)
    ranks = (run.tp or 1) * (run.pp or 1)
    held = 1 if fleet is None else max(int(fleet.total_accelerators) // ranks, 1)
    answer = BatchingOptimizer().solve(
        Models[asked.workload.name], device if ranks == 1 or fleet is None else fleet, asked.workload.seq_len or 2048,
        sla_ms, qps, held if replicas is None else replicas, run.precision, run.efficiency, output_len=output_len, tp_size=run.tp or 1,
        pp_size=run.pp or 1, kv_precision=run.kv_precision,
    )  # fmt: skip
    _finish(answer, render_plan.batch(answer), chosen, False)


@optimize.command("placement")
def optimize_placement(
    context: typer.Context,
    plan: PlanFile,
    carbon_tax: Annotated[float, typer.Option("--carbon-tax", help="Price of a tonne of emissions in USD.")] = 100.0,
    regions: Annotated[
        list[str] | None,
        typer.Option("--region", help="A grid or data centre; may be repeated; all grids unless said."),
    ] = None,
    objective: Annotated[str, typer.Option(help="cost, carbon or water.")] = "cost",
    output: OutputOption = None,
) -> None:
    """The best region for the fleet of a plan."""
    from ..solvers.evaluation_macro import standalone
    from ..solvers.optimize_placement import PlacementOptimizer
    from ..solvers.plan_run import machines
    from . import render_plan

    chosen, asked = _chosen(context, output), _read(plan)
    device, fleet = machines(asked)
    ops = asked.ops
    answer = PlacementOptimizer().solve(
        standalone(device) if fleet is None else fleet, 30.0 if ops is None else ops.duration_days,
        list(regions) if regions else None, carbon_tax, objective=objective,
        unit_price_usd=None if ops is None else ops.unit_price_usd, kwh_price=None if ops is None else ops.kwh_price,
        host_share=0.0 if ops is None else ops.host_share,
    )  # fmt: skip
    _print(render_plan.region(answer), chosen)


@app.command()
def walls(
    context: typer.Context,
    which: Annotated[str | None, typer.Argument(help="A number, a name or a domain.", show_default=False)] = None,
    output: OutputOption = None,
) -> None:
    """The 22 walls: what can bind a system, and which resolver answers for it."""
    from ..catalog.walls import DOMAINS, all_walls, wall, walls_in_domain
    from . import render_plan

    chosen = _chosen(context, output)
    if which is None:
        found = list(all_walls())
    elif which.lower() in DOMAINS:
        found = walls_in_domain(which.lower())
    else:
        found = [wall(int(which) if which.isdigit() else which)]
    print(render_plan.walls(found, chosen.value))


@app.command()
def pipeline(
    context: typer.Context,
    resolvers: Annotated[
        list[str] | None,
        typer.Argument(help="Names of resolvers in order; all of them are listed without any.", show_default=False),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Check that resolvers fit together, and say what they need and give."""
    from ..solvers import list_available
    from ..solvers.pipeline import Pipeline

    chosen = _chosen(context, output)
    if not resolvers:
        names = list_available()
        print(json.dumps({"resolvers": names}, indent=2) if chosen is Output.json else "\n".join(names))
        return
    line = Pipeline(resolvers)
    stages = [
        {"name": stage.name, "resolver": type(stage.resolver).__name__, "takes": dict(stage.sources)}
        for stage in line.stages
    ]
    document = {"pipeline": repr(line), "inputs": list(line.inputs), "stages": stages}
    print(json.dumps(document, indent=2) if chosen is Output.json else line.explain())


@app.command()
def schema(
    kind: Annotated[SchemaOf, typer.Option("--type", "-t", help="What to describe.")] = SchemaOf.plan,
) -> None:
    """JSON Schema of a plan, of a catalog file, or of a command's JSON answer."""
    if kind is SchemaOf.plan:
        from ..catalog.plans import plan_schema

        print(json.dumps(plan_schema(), indent=2))
        return
    from ..catalog.schema import json_schema

    print(json.dumps(json_schema(kind.value), indent=2))


def _read(path: Path) -> Any:
    from ..catalog import yaml_file
    from ..catalog.plans import Plan, is_plan
    from ..errors import CatalogError

    values = yaml_file.read(path)
    if not is_plan(values):
        raise CatalogError(f"{path}: is no plan (a plan has workload, and hardware or fleet); see mlsysim schema")
    return Plan.of(values, str(path))


def _answer(model: str, hardware: str, seq_len: int | None, batch: int, precision: str, efficiency: float) -> Any:
    """Serving for a model that generates, one pass for any other."""
    from ..catalog.models import Transformer
    from ..solvers.node import SingleNodeModel
    from ..solvers.serving import ServingModel

    network, device = _entry("models", model), _entry("hardware", hardware)
    if isinstance(network, Transformer) and network.architecture == "transformer":
        return ServingModel().solve(network, device, seq_len or 2048, batch, precision, efficiency)
    return SingleNodeModel().solve(network, device, batch, precision, efficiency, seq_len=seq_len)


def _print(shown: Any, output: Output, told: Any = None) -> None:
    if output is Output.json:
        document = shown.document()
        if told is not None:
            document["explain"] = told.to_dict()
        print(json.dumps(document, indent=2, allow_nan=False))
        return
    print({"text": shown.text, "markdown": shown.markdown, "csv": shown.csv}[output.value]())
    if told is not None:
        print(f"\n{told}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written ({error.strerror})") from None
