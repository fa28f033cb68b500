"""Answers that rest on measured efficiency, as text and documents: expected latencies, load, room."""

from __future__ import annotations

from typing import Any

from ..errors import MLSysimError
from ..solvers.ledger import shown
from .render import Shown, _finite, _fit, _scalar


def between(answer: Any, name: str) -> str:
    """The 90 % interval of a number, as text."""
    low, high = answer.interval(0.9)[name]
    return f"{shown(low.to('s').magnitude, 'second')} to {shown(high.to('s').magnitude, 'second')}"


def expected(answer: Any, stack: str) -> tuple[list[tuple[str, str, str]], dict[str, Any]]:
    """Rows and keys of what measured kernels make of the question of a textbook answer; none where they cannot."""
    asked = answer.question.arguments
    if asked["draft_model"] is not None or asked["decode_hardware"] is not None:
        return [], {}
    try:
        other = answer.question.resolver().solve(**{**asked, "efficiency": "measured", "stack": stack})
    except MLSysimError as fault:
        return [("expected", "unknown", str(fault))], {"expected": None}
    inside = other.si
    rows = [
        (
            "expected TTFT",
            shown(inside.ttft, "second"),
            f"measured kernels, stack {stack}; 90 % within {between(other, 'ttft')}",
        ),
        ("expected ITL", shown(inside.itl, "second"), f"90 % within {between(other, 'itl')}"),
    ]
    return rows, {"expected": {**_intervals(other, ("ttft", "itl")), "stack": stack}}


def _intervals(answer: Any, names: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (low, high) in answer.interval(0.9).items():
        if name in names:
            found[f"{name}_ms"] = _finite(getattr(answer.si, name) * 1e3)
            found[f"{name}_low90_ms"] = _finite(low.to("ms").magnitude)
            found[f"{name}_high90_ms"] = _finite(high.to("ms").magnitude)
    return found


def measured(answer: Any) -> Shown:
    """The answer of ``mlsysim serve --efficiency measured``: both phases, their intervals, where the time goes."""
    asked, inside = answer.question.arguments, answer.si
    model, machine, stack = asked["model"], asked["hardware"], asked["stack"]
    rows = [
        ("TTFT", shown(inside.ttft, "second"), f"90 % within {between(answer, 'ttft')}; {_most(answer, 'prefill')}"),
        ("ITL", shown(inside.itl, "second"), f"90 % within {between(answer, 'itl')}; {_most(answer, 'decode')}"),
        ("throughput", f"{shown(inside.tokens_per_sec, '1')} tokens/s", f"batch {asked['batch_size']}, context {asked['seq_len']}"),
        ("light TTFT", shown(inside.prefill_floor, "second"), "bound at the full peaks"),
        ("light ITL", shown(inside.decode_floor, "second"), "bound at the full peaks"),
        ("memory", f"{shown(inside.memory_per_device, 'byte')} per device", f"weights {shown(inside.model_weights_size, 'byte')}"),
    ]  # fmt: skip
    data = {
        "model": model.id, "hardware": machine.id, "devices": inside.devices, "seq_len": asked["seq_len"],
        "batch_size": asked["batch_size"], "precision": asked["precision"], "efficiency": "measured", "stack": stack,
        "feasible": answer.feasible, **_intervals(answer, ("ttft", "itl")), "tokens_per_sec": inside.tokens_per_sec,
        "ttft_floor_ms": inside.prefill_floor * 1e3, "itl_floor_ms": inside.decode_floor * 1e3,
        "memory_per_device_gb": inside.memory_per_device / 1e9, "memory_available_gb": inside.memory_capacity / 1e9,
        "breakdown": {phase: _operators(answer, phase) for phase in ("prefill", "decode")},
        "limits": [str(limit) for limit in answer.limits], "notes": list(answer.notes),
    }  # fmt: skip
    title = (
        f"{model.name} on {_group(inside.devices)}{machine.name}, {asked['precision']}, measured kernels, stack {stack}"
    )
    plain = {key: _scalar(value) for key, value in data.items()}
    return Shown(title, [_fit(answer)], rows, list(answer.notes), "", plain)


def _group(devices: Any) -> str:
    return f"{int(devices)} x " if devices > 1 else ""


def _operators(answer: Any, phase: str) -> list[dict[str, Any]]:
    return [
        {"operator": one["operator"], "kind": one["kind"], "time_ms": float(one["time"].to("ms").magnitude),
         "share": float(one["share"]), "light_share": float(one["light_share"])}
        for one in answer.breakdown(phase)
    ]  # fmt: skip


def _most(answer: Any, phase: str) -> str:
    told = [f"{one['operator']} {float(one['share']):.0%}" for one in answer.breakdown(phase)[:3]]
    return ", ".join(told)


def load(answer: Any) -> Shown:
    """The answer of ``mlsysim serve --concurrency`` or ``--arrival-rate``."""
    asked, inside = answer.question.arguments, answer.si
    model, machine = asked["model"], asked["hardware"]
    steady = _finite(inside.ttft) is not None
    if not answer.feasible:
        verdict = [_fit(answer)]
    elif answer.saturated:
        verdict = [
            f"SATURATED: {shown(inside.concurrency, '1')} in flight, room for {shown(inside.max_running_requests, '1')}"
        ]
    else:
        verdict = [
            f"fits: {shown(inside.running_requests, '1')} requests run, room for {shown(inside.max_running_requests, '1')}"
        ]
    rows = [
        ("TTFT", _known(inside.ttft), f"90 % within {between(answer, 'ttft')}; p99 {_known(inside.ttft_p99)}" if steady
         else "no steady value: requests wait for a place"),
        ("TPOT", _known(inside.tpot), f"90 % within {between(answer, 'tpot')}; of it prefills of others {_known(inside.prefill_stall)}"),
        ("gap p99", _known(inside.itl_p99), "a gap in which a prefill cuts in"),
        ("throughput", f"{shown(inside.throughput, '1')} tokens/s", f"{shown(inside.throughput_per_gpu, '1')} a chip, "
         f"{shown(inside.throughput_per_user, '1')} a user, {shown(inside.requests_per_second, '1')} requests/s"),
        ("cache", shown(inside.cache_per_request, "byte"), "a request, on one chip"),
    ]  # fmt: skip
    names = ("concurrency", "chips", "throughput", "throughput_per_gpu", "throughput_per_user", "requests_per_second",
             "running_requests", "max_running_requests")  # fmt: skip
    data = {
        "model": model.id, "hardware": machine.id, "stack": asked["stack"], "precision": asked["precision"],
        "input_len": asked["input_len"], "output_len": asked["output_len"], "feasible": answer.feasible,
        "saturated": answer.saturated, **_intervals(answer, ("ttft", "tpot")),
        "ttft_p99_ms": _finite(inside.ttft_p99 * 1e3), "itl_p99_ms": _finite(inside.itl_p99 * 1e3),
        **{name: _finite(getattr(inside, name)) for name in names}, "notes": list(answer.notes),
    }  # fmt: skip
    title = (
        f"{model.name} on {_group(inside.chips)}{machine.name}, {asked['precision']}, {asked['stack']}, "
        f"{asked['input_len']} tokens in, {asked['output_len']} out"
    )
    return Shown(title, verdict, rows, list(answer.notes), "", {key: _scalar(value) for key, value in data.items()})


def fit(answer: Any) -> Shown:
    """The answer of ``mlsysim fits``."""
    asked, inside = answer.question.arguments, answer.si
    model, machine = asked["model"], asked["hardware"]
    context = asked["context"]
    chips, capacity = shown(inside.chips, "1"), shown(inside.memory_capacity, "byte")
    rows = [
        ("weights", shown(inside.weights_per_device, "byte"), f"on one of {chips} devices of {capacity}"),
        ("on paper", f"{shown(inside.raw_batch, '1')} requests",
         f"of {context} tokens in {shown(inside.raw_room, 'byte')} beside the weights"),
        ("engine", f"{shown(inside.engine_batch, '1')} requests", f"in a pool of {shown(inside.engine_pool, 'byte')}: "
         f"{inside.gpu_memory_utilization:.0%} of the memory, less {shown(inside.reserve, 'byte')} of activations and graphs"),
        ("recommended", f"{shown(inside.recommended_batch, '1')} requests", "beyond that the wait for a place swings too far"),
        ("longest", f"{shown(inside.max_context, '1')} tokens", "of one request alone"),
    ]  # fmt: skip
    names = ("chips", "raw_batch", "engine_batch", "recommended_batch", "max_context")
    sizes = ("weights_per_device", "raw_room", "engine_pool", "cache_per_request", "cache_per_token")
    data = {
        "model": model.id, "hardware": machine.id, "stack": asked["stack"], "precision": asked["precision"],
        "context": context, "batch_size": asked["batch_size"], "feasible": answer.feasible,
        **{name: _finite(getattr(inside, name)) for name in names},
        **{f"{name}_bytes": _finite(getattr(inside, name)) for name in sizes}, "notes": list(answer.notes),
    }  # fmt: skip
    title = f"{model.name} on {_group(inside.chips)}{machine.name}, {asked['precision']}, {asked['stack']}"
    plain = {key: _scalar(value) for key, value in data.items()}
    return Shown(title, [_fit(answer)], rows, list(answer.notes), "", plain)


def _known(seconds: Any) -> str:
    return "unknown" if _finite(seconds) is None else shown(seconds, "second")
