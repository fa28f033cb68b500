"""Models from elsewhere on the command line: a config, a checkpoint, a graph, or an id of the Hugging Face hub."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from ..errors import MissingFactError, nearest
from .app import OutputOption, _chosen, app


@app.command("import")
def import_command(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(help="config.json, its folder, hf://organisation/model, a .safetensors, .gguf or .onnx file."),
    ],
    name: Annotated[str | None, typer.Option(help="What to call the model.", show_default=False)] = None,
    output: OutputOption = None,
) -> None:
    """What a model from elsewhere is made of, with the source of every value."""
    from . import render

    print(render.entry(imported(source, name), _chosen(context, output).value))


def imported(source: str, name: str | None = None) -> Any:
    """The model behind a path or an id; where the hub is out of reach, the error names the catalog's nearest."""
    from ..catalog import Models
    from ..workloads.importers import import_model

    try:
        return import_model(source, name=name)
    except MissingFactError as fault:
        wanted = source.removeprefix("hf://").partition("@")[0]
        if wanted in Models:
            raise MissingFactError(f"{fault}; the catalog has it as {Models[wanted].id}") from None
        near = nearest(wanted.rpartition("/")[2], [entry.id for entry in Models])
        raise MissingFactError(f"{fault}; the catalog has {', '.join(near)}" if near else str(fault)) from None


def is_elsewhere(name: str) -> bool:
    """Whether a model's name on the command line is to be imported rather than looked up."""
    from ..catalog import Models
    from ..workloads.importers import hub, is_importable

    if is_importable(name):
        return True
    unknown = not name.endswith((".yaml", ".yml")) and not os.path.exists(name) and name not in Models
    return unknown and hub.NAME.fullmatch(name) is not None


def stored_precision(context: typer.Context, name: str, model: Any, precision: str) -> str:
    """The precision of an answer: as said, or as an imported checkpoint is quantised, or 16 bits."""
    from ..workloads.importers import default_precision

    said = str(getattr(context.get_parameter_source("precision"), "name", "")) != "DEFAULT"
    if said or not is_elsewhere(name):
        return precision
    return default_precision(model) or precision
