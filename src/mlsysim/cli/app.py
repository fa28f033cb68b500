"""Commands and their options."""

from __future__ import annotations

import enum
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from ..errors import MLSysimError

NOT_FITTING = 4


class Output(str, enum.Enum):
    """How to print an answer."""

    text = "text"
    json = "json"
    markdown = "markdown"
    csv = "csv"


class Zoo(str, enum.Enum):
    """What the catalog holds."""

    hardware = "hardware"
    models = "models"
    infra = "infra"
    systems = "systems"


app = typer.Typer(
    name="mlsysim",
    help="How fast, how big, how dear an ML system is, from first principles.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

OutputOption = Annotated[
    Output | None, typer.Option("--output", "-o", help="text, json, markdown or csv.", show_default="text")
]
Precision = Annotated[str, typer.Option("--precision", "-p", help="Number format of the weights.")]
Efficiency = Annotated[
    float, typer.Option("--efficiency", "-e", help="Share of the arithmetic peak reached, in (0, 1].")
]
Batch = Annotated[int, typer.Option("--batch-size", "-b", help="Requests or samples together.")]
Explain = Annotated[bool, typer.Option("--explain", help="Also print where every number comes from.")]
KvPrecision = Annotated[str | None, typer.Option(help="Number format of the KV cache; 16 bits unless said.")]
Catalog = Annotated[
    list[Path] | None,
    typer.Option("--catalog", help="Folder or file of your own entries; may be repeated.", show_default=False),
]


def _version(value: bool) -> None:
    if value:
        print(f"mlsysim {__version__}")
        raise typer.Exit


@app.callback()
def _globals(
    context: typer.Context,
    output: OutputOption = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = output


def _chosen(context: typer.Context, output: Output | None) -> Output:
    found: Output = output or context.obj or Output.text
    context.find_root().obj = found
    return found


@app.command("explain")
def explain_command(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model of the zoo.")],
    hardware: Annotated[str, typer.Argument(help="A device of the zoo.")],
    number: Annotated[
        str | None, typer.Argument(help="One number of the answer, such as itl or latency; all unless said.")
    ] = None,
    seq_len: Annotated[int, typer.Option("--seq-len", "-s", help="Tokens of each prompt.")] = 2048,
    batch_size: Batch = 1,
    precision: Precision = "fp16",
    efficiency: Efficiency = 0.5,
    tp: Annotated[int, typer.Option("--tp", help="Tensor-parallel ranks.")] = 1,
    output: OutputOption = None,
) -> None:
    """Where each number of an answer comes from: equations, inputs, sources."""
    from ..catalog.models import Transformer
    from ..solvers.node import SingleNodeModel
    from ..solvers.serving import ServingModel

    chosen = _chosen(context, output)
    network, device = _entry("models", model), _entry("hardware", hardware)
    answer: Any
    if isinstance(network, Transformer) and network.architecture == "transformer":
        answer = ServingModel().solve(network, device, seq_len, batch_size, precision, efficiency, tp_size=tp)
    else:
        answer = SingleNodeModel().solve(network, device, batch_size, precision, efficiency)
    told = answer.explain()
    if number is not None:
        from ..errors import UnknownEntryError, nearest

        names = [line.name for line in told.lines]
        if number not in names:
            raise UnknownEntryError("number in this answer", number, nearest(number, names))
        told.lines = [told[number]]
    print(json.dumps(told.to_dict(), indent=2) if chosen is Output.json else told)


@app.command()
def zoo(
    context: typer.Context,
    category: Annotated[Zoo, typer.Argument(help="hardware, models, infra or systems.")] = Zoo.hardware,
    name: Annotated[str | None, typer.Argument(help="One entry, with the source of every value.")] = None,
    sort_by: Annotated[str | None, typer.Option(help="A field to sort by, such as memory_bandwidth.")] = None,
    search: Annotated[str | None, typer.Option(help="Only entries whose id, name or alias contains this.")] = None,
    catalog: Catalog = None,
    output: OutputOption = None,
) -> None:
    """What the catalog knows, and from where."""
    from . import render

    chosen = _chosen(context, output)
    _extend(catalog)
    if name is not None:
        print(render.entry(_entry(category.value, name), chosen.value))
        return
    print(render.zoo(category.value, sort_by, search, chosen.value))


def _extend(catalog: list[Path] | None) -> None:
    """Add the user's entries: a folder with hardware/, models/, infra/, systems/ inside, or of devices only; or a file."""
    from ..catalog import add_entries

    for path in catalog or []:
        add_entries(path)


def _entry(category: str, name: str) -> Any:
    """An entry by name, the one in a YAML file, or a model from elsewhere."""
    from ..catalog import registry_of

    if category == "models":
        from .commands_import import imported, is_elsewhere

        if is_elsewhere(name):
            return imported(name)
    registry = registry_of(category)
    if name.endswith((".yaml", ".yml")) or ("/" in name and os.path.exists(name)):
        return registry.read(Path(name))
    if category == "hardware" and name not in registry:
        systems = registry_of("systems")
        if name in systems:
            return systems[name]
    return registry[name]


def _finish(answer: Any, shown: Any, output: Output, explain: bool) -> None:
    told = answer.explain() if explain else None
    if output is Output.json:
        document = shown.document()
        if told is not None:
            document["explain"] = told.to_dict()
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        print({"text": shown.text, "markdown": shown.markdown, "csv": shown.csv}[output.value]())
        if told is not None:
            print(f"\n{told}")
    if not answer.feasible:
        raise typer.Exit(NOT_FITTING)


def run() -> None:
    """Run a command; a fault of the user is one line on stderr and exit code 1."""
    wants_json = _asks_for_json(sys.argv[1:])
    try:
        app()
    except MLSysimError as fault:
        _refuse(type(fault).__name__, str(fault), wants_json)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as fault:  # a disk that is full, a folder that may not be read
        _refuse("OSError", f"{fault.filename or 'output'}: {fault.strerror or fault}", wants_json)


def _refuse(kind: str, message: str, wants_json: bool) -> None:
    line = " ".join(message.split())
    if wants_json:
        print(json.dumps({"status": "error", "error": kind, "message": line}))
    print(f"error: {line}", file=sys.stderr)
    sys.exit(1)


def _asks_for_json(arguments: list[str]) -> bool:
    joined = " ".join(arguments)
    return any(form in joined for form in ("--output json", "--output=json", "-o json", "-ojson"))


from . import commands_import as _import  # noqa: E402, F401  (registers its command)
from . import commands_learn as _learn  # noqa: E402, F401  (registers its command)
from . import commands_measured as _measured  # noqa: E402, F401  (registers its commands)
from . import commands_plan as _plan  # noqa: E402, F401  (registers its commands)
from . import commands_search as _search  # noqa: E402, F401  (registers its commands)
from . import commands_serve as _serve  # noqa: E402, F401  (registers its command)
from . import commands_train as _train  # noqa: E402, F401  (registers its commands)
