"""The serve command: one group of devices, textbook or measured, alone or under load."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import InvalidInputError, told
from .app import Batch, Catalog, Explain, KvPrecision, OutputOption, Precision, _chosen, _entry, _extend, _finish, app

Efficiency = Annotated[
    str, typer.Option("--efficiency", "-e", help="Share of the arithmetic peak reached, in (0, 1], or measured.")
]


@app.command()
def serve(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A generative model of the zoo, or a YAML file of one.")],
    hardware: Annotated[str, typer.Argument(help="A device, node or fleet of the zoo, or a YAML file of a device.")],
    seq_len: Annotated[int, typer.Option("--seq-len", "--input-len", "-s", help="Tokens of each prompt.")] = 2048,
    batch_size: Batch = 1,
    precision: Precision = "fp16",
    efficiency: Efficiency = "0.5",
    stack: Annotated[
        str | None, typer.Option("--stack", help="Serving stack: ideal, vllm, sglang or trtllm.", show_default=False)
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            help="Image or version of the stack, under load; one it was not fitted on widens the interval.",
            show_default=False,
        ),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Requests always in flight: answers for the load.", show_default=False)
    ] = None,
    arrival_rate: Annotated[
        float | None, typer.Option(help="Requests a second: answers for the load.", show_default=False)
    ] = None,
    output_len: Annotated[int, typer.Option(help="Tokens of each reply, under load.")] = 256,
    prefix_hit: Annotated[float, typer.Option(help="Share of each prompt that is cached already, under load.")] = 0.0,
    prefill_workers: Annotated[
        int | None, typer.Option(help="Instances that only prefill, under load.", show_default=False)
    ] = None,
    decode_workers: Annotated[
        int | None, typer.Option(help="Instances that only decode, under load.", show_default=False)
    ] = None,
    tp: Annotated[int, typer.Option("--tp", help="Tensor-parallel ranks.")] = 1,
    pp: Annotated[int, typer.Option("--pp", help="Pipeline stages.")] = 1,
    ep: Annotated[int, typer.Option("--ep", help="Expert-parallel ranks.")] = 1,
    kv_precision: KvPrecision = None,
    cached_prefix: Annotated[int, typer.Option(help="Tokens of the prompt that are cached already.")] = 0,
    draft: Annotated[str | None, typer.Option(help="Draft model, for speculative decoding.")] = None,
    acceptance: Annotated[float, typer.Option(help="Probability that a drafted token is accepted.")] = 0.7,
    draft_tokens: Annotated[int | None, typer.Option(help="Tokens drafted for each verification.")] = None,
    decode_hardware: Annotated[str | None, typer.Option(help="Device that decodes, if another one prefills.")] = None,
    network_bandwidth: Annotated[str, typer.Option(help="Link from prefill to decode, one direction.")] = "100 GB/s",
    explain: Explain = False,
    catalog: Catalog = None,
    output: OutputOption = None,
) -> None:
    """Serving: time to first token, time between tokens, memory of the group; with a load, what users see of it."""
    from ..solvers.serving import ServingModel
    from . import render, render_measured
    from .commands_import import stored_precision

    chosen = _chosen(context, output)
    _extend(catalog)
    network, machine = _entry("models", model), _entry("hardware", hardware)
    precision = stored_precision(context, model, network, precision)
    plan = {"tp_size": tp, "pp_size": pp, "ep_size": ep, "kv_precision": kv_precision}
    if concurrency is not None or arrival_rate is not None:
        from ..solvers.load import ServingLoadModel

        answer: Any = ServingLoadModel().solve(
            network, machine, seq_len, output_len, concurrency, arrival_rate, precision, "vllm" if stack is None else stack,
            prefix_hit_ratio=prefix_hit, draft_tokens=draft_tokens or 0, draft_acceptance_rate=acceptance,
            prefill_workers=prefill_workers, decode_workers=decode_workers, image=image, **plan,
        )  # fmt: skip
        _finish(answer, render_measured.load(answer), chosen, explain)
        return
    if image is not None:
        raise InvalidInputError("image: counts under load alone; give --concurrency or --arrival-rate too")
    share = _share(efficiency)
    answer = ServingModel().solve(
        network, machine, seq_len, batch_size, precision, share, stack="ideal" if stack is None else stack,
        decode_hardware=None if decode_hardware is None else _entry("hardware", decode_hardware),
        network_bandwidth=network_bandwidth, draft_model=None if draft is None else _entry("models", draft),
        draft_acceptance_rate=acceptance, cached_prefix_len=cached_prefix, draft_tokens=draft_tokens, **plan,
    )  # fmt: skip
    if share == "measured":
        _finish(answer, render_measured.measured(answer), chosen, explain)
        return
    rows, data = render_measured.expected(answer, stack or "vllm") if answer.feasible else ([], {})
    _finish(answer, render.serving(answer, rows, data), chosen, explain)


def _share(text: str) -> float | str:
    if text.strip().lower() == "measured":
        return "measured"
    try:
        return float(text)
    except ValueError:
        raise InvalidInputError(f"efficiency: expected a number in (0, 1] or measured, found {told(text)}") from None
