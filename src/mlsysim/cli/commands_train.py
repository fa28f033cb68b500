"""Commands about training: train, memory, plan-training."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InvalidInputError, InvalidPlanError, MissingFactError
from .app import NOT_FITTING, Catalog, Explain, Output, OutputOption, _chosen, _entry, _extend, _finish, app

SUFFIX = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}

Model = Annotated[str, typer.Argument(help="A model of the zoo, or a YAML file of one.")]
Chip = Annotated[str, typer.Option("--hardware", help="Device of the zoo.")]
Gpus = Annotated[int, typer.Option("--gpus", "-n", help="Accelerators of the job.")]
Tp = Annotated[int, typer.Option("--tp", help="Tensor-parallel ranks.")]
Pp = Annotated[int, typer.Option("--pp", help="Pipeline stages.")]
Ep = Annotated[int, typer.Option("--ep", help="Expert-parallel ranks.")]
Cp = Annotated[int, typer.Option("--cp", help="Context-parallel ranks.")]
Vp = Annotated[int, typer.Option("--vp", help="Model chunks of a pipeline stage.")]
Batch = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        help="Sequences of a step; one micro-batch for each data rank unless said, with a pipeline two for each stage.",
    ),
]
Micro = Annotated[int, typer.Option("--micro-batch", help="Sequences of one pass of one rank.")]
Length = Annotated[int, typer.Option("--seq-len", "-s", help="Tokens of a sequence.")]
Numbers = Annotated[str, typer.Option("--precision", "-p", help="Format of the products: bf16, fp8, nvfp4.")]
Zero = Annotated[int | None, typer.Option("--zero", help="Stage of ZeRO, 3 for FSDP; that of the stack unless said.")]
Again = Annotated[str, typer.Option("--recompute", help="none, selective or full.")]
Stack = Annotated[
    str, typer.Option("--stack", help="megatron, megatron2021, megatron2022, nemo, fsdp, fsdp_eager, deepspeed or jax.")
]
ExpertTp = Annotated[
    int | None, typer.Option("--etp", help="Tensor-parallel ranks of an expert; experts lie over all ranks of a stage.")
]
Weights = Annotated[str, typer.Option("--offload-param", help="Where weights lie under ZeRO 3: none, cpu or nvme.")]
Late = Annotated[bool, typer.Option("--delayed-update", help="An offloaded update runs beside the next step.")]
Offload = Annotated[str, typer.Option("--offload", help="Where optimizer states lie: none, cpu or nvme.")]
Order = Annotated[str, typer.Option("--schedule", help="Pipeline: 1f1b, interleaved, gpipe, zero-bubble or dualpipe.")]
Contexts = Annotated[str, typer.Option("--cp-kind", help="Context ranks exchange by ring, all_gather or ulysses.")]
Update = Annotated[str, typer.Option("--optimizer", help="sgd, momentum, adam, adamw, adamw8bit, adafactor or muon.")]
Group = Annotated[
    int | None, typer.Option("--shard-group", help="Ranks that share weights under ZeRO 3 (HSDP); all unless said.")
]
Some = Annotated[
    int | None, typer.Option("--recompute-layers", help="Layers of a stage to recompute; all unless said.")
]
Gone = Annotated[
    int | None,
    typer.Option("--offload-layers", help="Layers of a stage whose activations wait on the host; none unless said."),
]
Padding = Annotated[float, typer.Option("--padding", help="Share of the tokens that only fill up sequences.")]
Straggler = Annotated[float, typer.Option("--straggler", help="Slowest over mean rank.")]
Lora = Annotated[int | None, typer.Option("--lora-rank", help="Train adapters of this rank only.")]
Fabric = Annotated[str, typer.Option("--fabric", help="Network between nodes.")]
Node = Annotated[str | None, typer.Option("--node", help="Node of the zoo; one with this device unless said.")]


def amount(text: str, name: str) -> float:
    """A count such as 15T or 300e9.

    Raises:
        InvalidInputError: no such count
    """
    found = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?\d+)?)\s*([kmbt]?)\s*", text.lower())
    try:
        value = float(found.group(1)) * SUFFIX[found.group(2)] if found else 0.0
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise InvalidInputError(f"{name}: expected a positive count such as 15T or 300e9, found {text!r}")
    return value


def _plan(
    hardware: Chip = "H100",
    gpus: Gpus = 8,
    tp: Tp = 1,
    pp: Pp = 1,
    ep: Ep = 1,
    cp: Cp = 1,
    vp: Vp = 1,
    batch_size: Batch = None,
    micro_batch: Micro = 1,
    seq_len: Length = 4096,
    precision: Numbers = "bf16",
    zero: Zero = None,
    recompute: Again = "none",
    stack: Stack = "megatron",
    lora_rank: Lora = None,
    optimizer: Update = "adam",
    etp: ExpertTp = None,
    offload: Offload = "none",
    offload_param: Weights = "none",
    delayed_update: Late = False,
    schedule: Order = "1f1b",
    cp_kind: Contexts = "ring",
    shard_group: Group = None,
    recompute_layers: Some = None,
    offload_layers: Gone = None,
    padding: Padding = 0.0,
    straggler: Straggler = 1.0,
    node: Node = None,
    fabric: Fabric = "InfiniBand_NDR",
) -> None:
    """Options of how a step is split and run, which several commands have."""


def _planned(command: Callable[..., None]) -> Callable[..., None]:
    """A command with those options after the model, in place of its ``**plan``."""
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
    shared = [*inspect.signature(_plan, eval_str=True).parameters.values()]
    every = [p.replace(kind=p.KEYWORD_ONLY) for p in (*own[:2], *shared, *own[2:])]
    command.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in every}
    return command


@app.command()
@_planned
def train(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Argument(help="A model of the zoo, or a YAML file of one; the file's with --config.")
    ] = None,
    tokens: Annotated[str | None, typer.Option("--tokens", help="Tokens of the whole run, such as 15T.")] = None,
    region: Annotated[str, typer.Option("--region", help="Grid or data centre, for energy and carbon.")] = "US_Avg",
    cloud_price: Annotated[
        float | None, typer.Option("--cloud-price", help="USD an hour of a chip; owning it unless said.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="A job's own file: Megatron-LM, NeMo, DeepSpeed or torchtitan.", show_default=False
        ),
    ] = None,
    vocab: Annotated[
        int | None, typer.Option("--vocab", help="Words of the tokenizer, where --config does not tell.")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option("--timeline", "--trace", help="Write the step as a trace for Perfetto.", show_default=False),
    ] = None,
    explain: Explain = False,
    catalog: Catalog = None,
    output: OutputOption = None,
    **plan: Any,
) -> None:
    """Training: time of a step kernel by kernel, memory of a chip, and the whole run where tokens are given."""
    from . import render_train

    chosen = _chosen(context, output)
    _extend(catalog)
    if config is not None:
        step, machine, asked = _configured(context, config)
    elif model is None:
        raise InvalidInputError("train: expected a model of the zoo, or --config FILE")
    else:
        step, machine, asked = _step(context)
    if trace is not None:
        from ..solvers.timeline import timeline

        timeline(step).write(trace)
    run = None
    if tokens is not None:
        from ..solvers.training_run import TrainingRunModel

        run = TrainingRunModel().solve(
            asked.pop("model"), machine, amount(tokens, "--tokens"), asked.pop("batch_size"), datacenter=region,
            cloud_usd_per_hour=cloud_price, **asked,
        )  # fmt: skip
    _finish(step, render_train.training(step, run), chosen, explain)


@app.command()
@_planned
def memory(
    context: typer.Context,
    model: Model,
    explain: Explain = False,
    catalog: Catalog = None,
    output: OutputOption = None,
    **plan: Any,
) -> None:
    """Memory of the fullest chip of a training job, by use."""
    from . import render_train

    chosen = _chosen(context, output)
    _extend(catalog)
    step, _, _ = _step(context)
    _finish(step, render_train.memory(step), chosen, explain)


@app.command("plan-training")
def plan_training(
    context: typer.Context,
    model: Model,
    hardware: Chip = "H100",
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus", "-n", help="Accelerators; 64 unless said, with --tokens doubled from 8 up to --max-gpus."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Sequences of a step.")] = 256,
    seq_len: Length = 4096,
    precision: Numbers = "bf16",
    stack: Stack = "megatron",
    tokens: Annotated[str | None, typer.Option("--tokens", help="Tokens of the whole run: ranks whole runs.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="Dollars at most, such as 2M; with --tokens.")] = None,
    deadline: Annotated[
        str | None, typer.Option("--deadline", help="Time at most, such as '30 day'; with --tokens.")
    ] = None,
    max_gpus: Annotated[int, typer.Option("--max-gpus", help="Largest fleet to try with --tokens.")] = 512,
    region: Annotated[str, typer.Option("--region", help="Grid or data centre, for energy and carbon.")] = "US_Avg",
    cloud_price: Annotated[
        float | None, typer.Option("--cloud-price", help="USD an hour of a chip; owning it unless said.")
    ] = None,
    node: Node = None,
    fabric: Fabric = "InfiniBand_NDR",
    schedule: Annotated[
        str | None,
        typer.Option("--schedule", help="1f1b, interleaved, zero-bubble or dualpipe; all are searched unless said."),
    ] = None,
    offload: Annotated[
        str,
        typer.Option("--offload", help="Where optimizer states lie: none, cpu, nvme, or any to search none and cpu."),
    ] = "none",
    top: Annotated[int, typer.Option("--top", help="How many plans to show.")] = 5,
    catalog: Catalog = None,
    output: OutputOption = None,
) -> None:
    """The fastest plans that fit; with tokens, whole runs on fleets of several sizes against a budget and a deadline."""
    from ..solvers.training_search import best_plans
    from . import render_train

    chosen = _chosen(context, output)
    _extend(catalog)
    entry = _entry("models", model)
    if tokens is None:
        alone = [name for name, value in (("--budget", budget), ("--deadline", deadline)) if value is not None]
        if alone:
            raise InvalidInputError(f"{' and '.join(alone)}: give the tokens of the run too, such as --tokens 1T")
        machine = _machine(hardware, 64 if gpus is None else gpus, node, fabric)
        found = best_plans(entry, machine, batch_size, seq_len, precision, stack, top, schedule=schedule,
                           offload=None if offload == "any" else offload)  # fmt: skip
        shown, fits = render_train.plans(found), bool(found.plans)
    else:
        from ..solvers.training_budget import ranked_runs

        if schedule is not None or offload != "none":
            raise InvalidInputError(
                "--schedule and --offload: whole runs search all schedules, with states on the chips; leave --tokens out"
            )

        runs = ranked_runs(
            entry, [_machine(hardware, size, node, fabric) for size in _sizes(gpus, max_gpus)], amount(tokens, "--tokens"),
            batch_size, seq_len, precision, stack, budget=None if budget is None else amount(budget, "--budget"),
            deadline=deadline, datacenter=region, cloud_usd_per_hour=cloud_price,
        )  # fmt: skip
        shown, fits = render_train.runs(runs, top), bool(runs.runs)
    if chosen is Output.json:
        import json

        print(json.dumps(shown.document(), indent=2, allow_nan=False))
    else:
        print({"text": shown.text, "markdown": shown.markdown, "csv": shown.csv}[chosen.value]())
    if not fits:
        raise typer.Exit(NOT_FITTING)


def _sizes(gpus: int | None, most: int) -> list[int]:
    """Sizes of fleets to try."""
    if gpus is not None:
        return [gpus]
    if most < 8:
        raise InvalidInputError(f"--max-gpus: expected at least 8, found {most}")
    return [8 << n for n in range(30) if 8 << n <= most]


def _machine(hardware: str, gpus: int, node: str | None, fabric: str) -> Any:
    from ..catalog import Systems
    from ..solvers.plan_run import accelerators

    device = _entry("hardware", hardware)
    if gpus < 1:
        raise InvalidInputError(f"--gpus: expected a whole number of at least 1, found {gpus}")
    try:
        found = accelerators(device, gpus, node, fabric)
    except (InvalidInputError, MissingFactError) as fault:  # in the words of the command
        named = str(fault).replace("hardware.accelerators", "--gpus").replace("hardware.node", "--node")
        raise type(fault)(named) from None
    if found is not None:
        return found
    home = accelerators(device, 2, node, fabric).node
    return home.replace(accelerators_per_node=1.0) if gpus == 1 else Systems[home.id]


FURTHER = {"optimizer": "optimizer", "etp": "expert_tp", "offload": "offload", "offload_param": "offload_param",
           "delayed_update": "delayed_update", "schedule": "schedule", "cp_kind": "context_parallel",
           "shard_group": "shard_group", "recompute_layers": "recompute_layers",
           "offload_layers": "offload_layers", "padding": "padding_share",
           "straggler": "straggler_factor"}  # fmt: skip
"""Options and the arguments of the step that they set."""


def _step(context: typer.Context) -> tuple[Any, Any, dict[str, Any]]:
    """The step that the options of a command describe."""
    from ..solvers.training_step import TrainingStepModel

    said = context.params
    machine = _machine(said["hardware"], said["gpus"], said["node"], said["fabric"])
    tp, pp, cp, micro = (said[name] for name in ("tp", "pp", "cp", "micro_batch"))
    data = max(said["gpus"] // max(tp * pp * cp, 1), 1)
    least = data * max(micro, 1) * (2 * pp if pp > 1 else 1)
    batch = said["batch_size"]
    plan = {"model": _entry("models", said["model"]), "batch_size": least if batch is None else batch,
            "microbatch_size": micro, "seq_len": said["seq_len"]}  # fmt: skip
    plan |= {argument: said[option] for option, argument in OVERRIDING.items()}
    return TrainingStepModel().solve(fleet=machine, **plan), machine, plan


OVERRIDING = {"tp": "tp_size", "pp": "pp_size", "ep": "ep_size", "cp": "cp_size", "vp": "v_stages", "precision": "precision",
              "zero": "zero_stage", "recompute": "activation_recomputation", "stack": "stack", "lora_rank": "lora_rank",
              **FURTHER}  # fmt: skip
"""Options of the command that count more than a job's file, and the arguments they set."""


ASKED = {"seq_len": "--seq-len", "gpus": "--gpus", "vocab": "--vocab", "batch_size": "--batch-size",
         "microbatch_size": "--micro-batch"}  # fmt: skip
"""Arguments that a reader of files asks for, and options that give them."""


def _own_words(text: str) -> str:
    """What to pass, as the command line names it.

    Examples:
        >>> _own_words("the size is not told; pass vocab= or model=")
        'the size is not told; pass --vocab or name a model of the zoo before --config'
    """
    text = re.sub(r"\b(seq_len|gpus|vocab|batch_size|microbatch_size)=", lambda found: ASKED[found[1]] + " ", text)
    text = re.sub(r"(?:pass )?\bmodel=", "name a model of the zoo before --config", text)
    return re.sub(r" +(?=[;,.]|$| )", "", text)


def _configured(context: typer.Context, path: Path) -> tuple[Any, Any, dict[str, Any]]:
    """The step that a job's own file describes; options that were given count more than the file."""
    from ..solvers.training_config import training_question
    from ..solvers.training_step import TrainingStepModel

    said = {name: value for name, value in context.params.items()
            if (place := context.get_parameter_source(name)) is not None and place.name == "COMMANDLINE"}  # fmt: skip
    model = said.get("model")
    try:
        found = training_question(
            path, model=None if model is None else _entry("models", model), gpus=said.get("gpus"), vocab=said.get("vocab"),
            seq_len=said.get("seq_len"), batch_size=said.get("batch_size"), microbatch_size=said.get("micro_batch"),
        )  # fmt: skip
    except (InvalidInputError, InvalidPlanError, MissingFactError) as fault:
        raise type(fault)(_own_words(str(fault))) from None
    for entry in (*(f"not understood: {flag}" for flag in found.not_understood), *found.remarks):
        typer.echo(entry, err=True)
    machine = _machine(context.params["hardware"], found.gpus, context.params["node"], context.params["fabric"])
    plan = {"model": found.model, **found.step_arguments}
    plan |= {key: said[name] for name, key in OVERRIDING.items() if name in said}
    return TrainingStepModel().solve(fleet=machine, **plan), machine, plan
