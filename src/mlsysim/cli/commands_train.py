"""Commands about training: train, memory, plan-training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InvalidInputError, MLSysimError
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
    str, typer.Option("--stack", help="megatron, megatron2021, nemo, fsdp, fsdp_eager, deepspeed or jax.")
]
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
    if value <= 0:
        raise InvalidInputError(f"{name}: expected a positive count such as 15T or 300e9, found {text!r}")
    return value


@app.command()
def train(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Argument(help="A model of the zoo, or a YAML file of one; the file's with --config.")
    ] = None,
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
    tokens: Annotated[str | None, typer.Option("--tokens", help="Tokens of the whole run, such as 15T.")] = None,
    region: Annotated[str, typer.Option("--region", help="Grid or data centre, for energy and carbon.")] = "US_Avg",
    cloud_price: Annotated[
        float | None, typer.Option("--cloud-price", help="USD an hour of a chip; owning it unless said.")
    ] = None,
    node: Node = None,
    fabric: Fabric = "InfiniBand_NDR",
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="A job's own file: Megatron-LM, NeMo, DeepSpeed or torchtitan.", show_default=False
        ),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Write the step as a trace for Perfetto.", show_default=False)
    ] = None,
    explain: Explain = False,
    catalog: Catalog = None,
    output: OutputOption = None,
) -> None:
    """Training: time of a step kernel by kernel, memory of a chip, and the whole run where tokens are given."""
    from . import render_train

    chosen = _chosen(context, output)
    _extend(catalog)
    if config is not None:
        step, machine, plan = _configured(context, config)
    elif model is None:
        raise InvalidInputError("train: expected a model of the zoo, or --config FILE")
    else:
        step, machine, plan = _step(model, hardware, gpus, node, fabric, tp, pp, ep, cp, vp, batch_size, micro_batch, seq_len,
                                    precision, zero, recompute, stack, lora_rank)  # fmt: skip
    if trace is not None:
        from ..solvers.timeline import timeline

        timeline(step).write(trace)
    run = None
    if tokens is not None:
        from ..solvers.training_run import TrainingRunModel

        asked = dict(plan)
        run = TrainingRunModel().solve(
            asked.pop("model"), machine, amount(tokens, "--tokens"), asked.pop("batch_size"), datacenter=region,
            cloud_usd_per_hour=cloud_price, **asked,
        )  # fmt: skip
    _finish(step, render_train.training(step, run), chosen, explain)


@app.command()
def memory(
    context: typer.Context,
    model: Model,
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
    node: Node = None,
    fabric: Fabric = "InfiniBand_NDR",
    explain: Explain = False,
    catalog: Catalog = None,
    output: OutputOption = None,
) -> None:
    """Memory of the fullest chip of a training job, by use."""
    from . import render_train

    chosen = _chosen(context, output)
    _extend(catalog)
    step, _, _ = _step(model, hardware, gpus, node, fabric, tp, pp, ep, cp, vp, batch_size, micro_batch, seq_len, precision,
                       zero, recompute, stack, lora_rank)  # fmt: skip
    _finish(step, render_train.memory(step), chosen, explain)


@app.command("plan-training")
def plan_training(
    context: typer.Context,
    model: Model,
    hardware: Chip = "H100",
    gpus: Gpus = 64,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Sequences of a step.")] = 256,
    seq_len: Length = 4096,
    precision: Numbers = "bf16",
    stack: Stack = "megatron",
    node: Node = None,
    fabric: Fabric = "InfiniBand_NDR",
    top: Annotated[int, typer.Option("--top", help="How many plans to show.")] = 5,
    catalog: Catalog = None,
    output: OutputOption = None,
) -> None:
    """The fastest plans that fit: ranks of each kind, micro-batch, recomputation, sharding."""
    from ..solvers.training_search import best_plans
    from . import render_train

    chosen = _chosen(context, output)
    _extend(catalog)
    machine = _machine(hardware, gpus, node, fabric)
    found = best_plans(_entry("models", model), machine, batch_size, seq_len, precision, stack, top)
    shown = render_train.plans(found)
    if chosen is Output.json:
        import json

        print(json.dumps(shown.document(), indent=2, allow_nan=False))
    else:
        print({"text": shown.text, "markdown": shown.markdown, "csv": shown.csv}[chosen.value]())
    if not found.plans:
        raise typer.Exit(NOT_FITTING)


def _machine(hardware: str, gpus: int, node: str | None, fabric: str) -> Any:
    from ..catalog import Systems
    from ..solvers.plan_run import accelerators

    device = _entry("hardware", hardware)
    if gpus < 1:
        raise InvalidInputError(f"--gpus: expected a whole number of at least 1, found {gpus}")
    try:
        found = accelerators(device, gpus, node, fabric)
    except MLSysimError as fault:
        raise type(fault)(str(fault).replace("hardware.accelerators", "--gpus")) from None
    if found is not None:
        return found
    home = accelerators(device, 2, node, fabric).node
    return home.replace(accelerators_per_node=1.0) if gpus == 1 else Systems[home.id]


def _step(model: str, hardware: str, gpus: int, node: str | None, fabric: str, tp: int, pp: int, ep: int, cp: int, vp: int,
          batch: int | None, micro: int, seq_len: int, precision: str, zero: int | None, recompute: str, stack: str,
          lora: int | None) -> tuple[Any, Any, dict[str, Any]]:  # fmt: skip
    from ..solvers.training_step import TrainingStepModel

    machine = _machine(hardware, gpus, node, fabric)
    data = max(gpus // max(tp * pp * cp, 1), 1)
    least = data * micro * (2 * pp if pp > 1 else 1)
    plan: dict[str, Any] = dict(
        model=_entry("models", model), batch_size=least if batch is None else batch,
        microbatch_size=micro, precision=precision, tp_size=tp, pp_size=pp, ep_size=ep, cp_size=cp, v_stages=vp, zero_stage=zero,
        activation_recomputation=recompute, seq_len=seq_len, stack=stack, lora_rank=lora,
    )  # fmt: skip
    return TrainingStepModel().solve(fleet=machine, **plan), machine, plan


OVERRIDING = {"tp": "tp_size", "pp": "pp_size", "ep": "ep_size", "cp": "cp_size", "vp": "v_stages", "precision": "precision",
              "zero": "zero_stage", "recompute": "activation_recomputation", "stack": "stack", "lora_rank": "lora_rank"}  # fmt: skip
"""Options of the command that count more than a job's file, and the arguments they set."""


def _configured(context: typer.Context, path: Path) -> tuple[Any, Any, dict[str, Any]]:
    """The step that a job's own file describes; options that were given count more than the file."""
    from ..solvers.training_config import training_question
    from ..solvers.training_step import TrainingStepModel

    said = {name: value for name, value in context.params.items()
            if (place := context.get_parameter_source(name)) is not None and place.name == "COMMANDLINE"}  # fmt: skip
    model = said.get("model")
    found = training_question(
        path, model=None if model is None else _entry("models", model), gpus=said.get("gpus"),
        seq_len=said.get("seq_len"), batch_size=said.get("batch_size"), microbatch_size=said.get("micro_batch"),
    )  # fmt: skip
    for entry in (*(f"not understood: {flag}" for flag in found.not_understood), *found.remarks):
        typer.echo(entry, err=True)
    machine = _machine(context.params["hardware"], found.gpus, context.params["node"], context.params["fabric"])
    plan = {"model": found.model, **found.step_arguments}
    plan |= {key: said[name] for name, key in OVERRIDING.items() if name in said}
    return TrainingStepModel().solve(fleet=machine, **plan), machine, plan
