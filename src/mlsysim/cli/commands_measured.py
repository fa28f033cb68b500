"""Commands about measured efficiency: validate, calibrate, fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import CatalogError, InvalidInputError, MissingExtraError
from .app import Batch, Catalog, KvPrecision, Output, OutputOption, Precision, _chosen, _entry, _extend, _finish, app


@app.command()
def validate(
    context: typer.Context,
    subject: Annotated[
        str, typer.Argument(help="kernels, collectives, serving, training, vision, energy, inference, or all.")
    ] = "all",
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Serving only: a file of your own, one measurement a row.", show_default=False),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="With --data: write predictions beside the measurements here.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for board.json, board.md, plots.", show_default=False)
    ] = None,
    groups: Annotated[bool, typer.Option("--groups", help="Also by device, model, stack in the text answer.")] = False,
    output: OutputOption = None,
) -> None:
    """Predictions against public measurements: the scoreboard, offline."""
    from ..validation import board
    from . import render

    chosen = _chosen(context, output)
    if data is not None:
        if subject not in ("serving", "all"):
            raise InvalidInputError(f"--data: expected the subject serving, found {subject!r}")
        from ..validation.serving import validate_file

        scores = validate_file(data, predictions)
    else:
        scores = board.board(subject)
    document = board.document(scores)
    shown = scores if groups or chosen is not Output.text else [row for row in scores if row.group == "all"]
    rows = board.table(shown)
    if out is not None:
        _write(out / "board.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
        _write(out / "board.md", render._markdown(board.HEADER, board.table(scores)) + "\n")
        typer.echo(_pictures(out / "plots", scores, "serving" if data is not None else subject, data), err=True)
    if chosen is Output.json:
        print(json.dumps(document, indent=2, allow_nan=False))
    elif chosen is Output.csv:
        print(render._csv(list(board.HEADER), rows))
    elif chosen is Output.markdown:
        print(render._markdown(board.HEADER, rows))
    else:
        print(render.columns(board.HEADER, rows))
        print(
            "\nErrors in per cent: median and 90th percentile of |predicted / measured - 1|, median signed error, share"
        )
        print("of the measurements inside the 90 % interval, and the median error of the textbook roofline.")
        print("\nworst cases")
        print("\n".join(f"  {line}" for line in board.worst(shown)))


@app.command()
def calibrate(
    context: typer.Context,
    tables: Annotated[
        Path | None, typer.Argument(help="Folder of kernel tables; those that ship unless given.", show_default=False)
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Fit one device of the zoo from a file of your own instead.", show_default=False)
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            help="With --device: a table of kernels, or output of nccl-tests, llama-bench, vllm bench serve.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="With llama-bench or vllm bench: the model that ran.", show_default=False)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="With a model: format of its weights, if not as told.", show_default=False)
    ] = None,
    ranks: Annotated[
        int | None, typer.Option(help="With nccl-tests: devices, if the output does not list them.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the efficiency files.", show_default=False)
    ] = None,
    output: OutputOption = None,
) -> None:
    """Fit the efficiencies: of the catalog from the kernel tables, or of a device from your own measurements."""
    from ..validation.calibrate import calibrate as fit
    from ..validation.calibrate import calibrate_device
    from ..validation.data import KERNELS

    chosen = _chosen(context, output)
    found: dict[str, Any]
    if (device is None) != (csv is None):
        raise InvalidInputError("calibrate: --device and --csv go together")
    if device is not None and csv is not None:
        written = calibrate_device(
            csv, _entry("hardware", device), out, ranks=ranks, precision=precision,
            model=None if model is None else _entry("models", model),
        )  # fmt: skip
        found = dict(written)
        if chosen is not Output.json:
            print("\n".join(written.values()))
            return
    else:
        found = fit(KERNELS if tables is None else tables, out)
        if chosen is not Output.json:
            for family, document in sorted(found.items()):
                best = document["fits"][0] if document.get("fits") else {}
                print(
                    f"{family:<24} {len(document.get('fits', []))} fits, n {best.get('n', '')}, median error {best.get('median', '')}"
                )
            return
    print(json.dumps(found, indent=2, default=str))


Stack = Annotated[str, typer.Option("--stack", help="Serving stack: ideal, vllm, sglang or trtllm.")]
Tensor = Annotated[int, typer.Option("--tp", help="Tensor-parallel ranks.")]
Stages = Annotated[int, typer.Option("--pp", help="Pipeline stages.")]
Experts = Annotated[int, typer.Option("--ep", help="Expert-parallel ranks.")]


@app.command()
def fits(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A generative model of the zoo, or a YAML file of one.")],
    hardware: Annotated[str, typer.Argument(help="A device, node or fleet of the zoo.")],
    tokens: Annotated[int, typer.Option("--context", "-s", help="Tokens of each request, prompt and reply.")] = 8192,
    batch_size: Batch = 1,
    precision: Precision = "fp16",
    kv_precision: KvPrecision = None,
    stack: Stack = "vllm",
    tp: Tensor = 1,
    pp: Stages = 1,
    ep: Experts = 1,
    catalog: Catalog = None,
    output: OutputOption = None,
) -> None:
    """Does it fit, with what context and batch: on paper, in an engine's pool, and with sense."""
    from ..solvers.fits import fits as room
    from . import render_measured

    chosen = _chosen(context, output)
    _extend(catalog)
    answer = room(
        _entry("models", model), _entry("hardware", hardware), tokens, batch_size, precision=precision,
        kv_precision=kv_precision, stack=stack, tp_size=tp, pp_size=pp, ep_size=ep,
    )  # fmt: skip
    _finish(answer, render_measured.fit(answer), chosen, False)


def _pictures(folder: Path, scores: Any, subject: str, data: Path | None) -> str:
    """Draw the scoreboard where Matplotlib is installed; what became of it."""
    from ..report import scoreboard
    from ..report.chart import PictureError
    from ..validation.points import points

    try:
        return f"{len(scoreboard.write(folder, scores, points(subject, data)))} pictures in {folder}"
    except MissingExtraError as error:
        return f"note: no pictures: {error}"
    except PictureError as error:
        raise CatalogError(str(error)) from None


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CatalogError(f"{path}: cannot be written ({error.strerror})") from None
