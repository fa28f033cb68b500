"""Answers about training as text, Markdown, CSV and JSON documents. Verdict first."""

from __future__ import annotations

from typing import Any

from ..solvers.ledger import shown
from .render import Shown

DAY = 86400.0


def training(step: Any, run: Any = None) -> Shown:
    """The answer of ``mlsysim train``."""
    i = step.si
    low, high = (side.magnitude for side in step.interval()["step_latency_total"])
    ranks = step.parallelism
    rows = [
        ("step", shown(i.step_latency_total, "second"), f"90 % interval {shown(low, 'second')} to {shown(high, 'second')}; "
         f"light {shown(i.ideal_latency, 'second')}"),
        _throughput(i),
        ("MFU", f"{float(i.mfu):.1%}", f"HFU {float(i.hfu):.1%} of the {shown(i.peak, 'flop/second')} peak"),
        *_memory_rows(i),
    ]  # fmt: skip
    rows += [
        (name, f"{float(share):.1%}", "of the step")
        for name, share in list(step.breakdown().items())[:7]
        if share > 0.001
    ]
    data: dict[str, Any] = {
        "scenario": f"{step.question.arguments['model'].id} on {float(i.chips):g} chips",
        "model": step.question.arguments["model"].id, "chips": float(i.chips), "feasible": bool(step.feasible),
        "bottleneck": step.bottleneck, "step_s": float(i.step_latency_total), "step_low_s": float(low), "step_high_s": float(high),
        "light_s": float(i.ideal_latency), "tokens_per_s": _finite(i.tokens_per_second),
        "samples_per_s": float(i.effective_throughput), "mfu": float(i.mfu), "hfu": float(i.hfu),
        "memory_gb": float(i.memory_per_device) / 1e9, "memory_available_gb": float(i.memory_capacity) / 1e9,
        **{f"{name}_ranks": value for name, value in ranks.items()}, "stack": step.stack,
        "breakdown": {name: float(share) for name, share in step.breakdown().items()}, "notes": list(step.notes),
        "remedies": step.remedies,
    }  # fmt: skip
    if run is not None:
        r = run.si
        rows += [
            ("run", f"{r.calendar_time / DAY:.1f} days", f"80 % between {r.earliest / DAY:.1f} and {r.latest / DAY:.1f} days; "
             f"{float(r.steps):,.0f} steps"),
            ("goodput", f"{float(r.goodput):.1%}", f"{float(r.expected_failures):.1f} failures expected, a checkpoint of "
             f"{shown(r.checkpoint_size, 'byte')} every {shown(r.checkpoint_interval, 'second')}"),
            ("chip hours", f"{float(r.chip_hours):,.0f}", f"loss {float(r.loss):.3f} nats a token; "
             f"{float(r.tokens_per_parameter_ratio):.1f} times the tokens that are best for the compute"),
            ("energy", shown(_known(r.facility_energy), "joule"), f"{shown(_known(r.operational_carbon), 'kilogram')} CO2e, "
             f"{'unknown' if r.water_usage_liters != r.water_usage_liters else f'{float(r.water_usage_liters):,.0f}'} litres of water"),
            ("cost", shown(_known(r.cost), "USD"), ""),
        ]  # fmt: skip
        data |= {"days": float(r.calendar_time) / DAY, "days_low": float(r.earliest) / DAY, "days_high": float(r.latest) / DAY,
                 "goodput": float(r.goodput), "chip_hours": float(r.chip_hours), "energy_kwh": _finite(r.facility_energy / 3.6e6),
                 "carbon_kg": _finite(r.operational_carbon), "cost_usd": _finite(r.cost)}  # fmt: skip
    return Shown(f"{data['model']} trained on {float(i.chips):g} chips ({step.stack})", _verdict(step, run), rows,
                 [*step.notes, *(() if run is None else run.notes)], _hint(step), data)  # fmt: skip


def _throughput(i: Any) -> tuple[str, str, str]:
    """Tokens a second; samples of a model that reads none."""
    rate, what, size = i.tokens_per_second, "token", f" of {float(i.tokens_per_sample):g} tokens"
    if i.tokens_per_sample != i.tokens_per_sample:
        rate, what, size = i.effective_throughput, "sample", ""
    return (
        "throughput",
        f"{shown(rate, '1')} {what}/s",
        f"{shown(rate / i.chips, '1')} a chip, batch {float(i.batch):g}{size}",
    )


def memory(step: Any) -> Shown:
    """The answer of ``mlsysim memory``."""
    i = step.si
    rows = _memory_rows(i)
    data = {"model": step.question.arguments["model"].id, "chips": float(i.chips), "feasible": bool(step.feasible),
            "memory_gb": float(i.memory_per_device) / 1e9, "memory_available_gb": float(i.memory_capacity) / 1e9,
            **{f"{name}_gb": float(getattr(i, name)) / 1e9 for name in PARTS}, "notes": list(step.notes),
            "remedies": step.remedies}  # fmt: skip
    return Shown(
        f"{data['model']} trained on {float(i.chips):g} chips: memory of the fullest",
        _verdict(step),
        rows,
        list(step.notes),
        _hint(step),
        data,
    )


PARTS = ("weights", "gradients", "optimizer_state", "activations", "logits", "communication_buffers")


def _memory_rows(i: Any) -> list[tuple[str, str, str]]:
    parts = ", ".join(f"{name.replace('_', ' ')} {shown(getattr(i, name), 'byte')}" for name in PARTS[:4])
    when = "last stage, at the loss" if float(i.logits) > 0 else "first stage, when its warm-up is in flight"
    rest = f"logits {shown(i.logits, 'byte')}, work space and libraries {shown(i.communication_buffers, 'byte')}"
    away = (
        [("", "", f"on the host, for each chip: {shown(i.optimizer_on_host, 'byte')}")]
        if i.optimizer_on_host > 0
        else []
    )
    return [
        ("memory", shown(i.memory_per_device, "byte"), f"of {shown(i.memory_capacity, 'byte')}; fullest: {when}"),
        ("", "", parts),
        ("", "", rest),
        *away,
    ]


def described(plan: Any) -> str:
    """A plan in words."""
    words = [f"{name} {plan[name]}" for name in ("tp", "pp", "cp", "ep")]
    if plan["pp"] > 1:
        words.append(plan["schedule"] + (f" of {plan['chunks']} chunks" if plan["chunks"] > 1 else ""))
    words += [f"micro-batch {plan['microbatch']}", f"recompute {plan['recompute']}", f"ZeRO {plan['zero']}"]
    if plan["offload"] != "none":
        words.append(f"offload {plan['offload']}")
    return " ".join(words)


def plans(found: Any) -> Shown:
    """The answer of ``mlsysim plan-training``."""
    rows = [
        (f"{place}.", shown(plan["step"], "second"),
         f"{described(plan)}; MFU {plan['mfu']:.1%}, {shown(plan['memory'], 'byte')}")
        for place, plan in enumerate(found.plans, 1)
    ]  # fmt: skip
    verdict = ["FITS: the fastest plans that fit are below."] if found.plans else ["DOES NOT FIT: no plan fits."]
    if not rows:
        rows = [
            (
                "tried",
                str(found.tried),
                f"the least memory is {shown(found.least, 'byte')} of {shown(found.capacity, 'byte')}",
            )
        ]
    hint = "" if found.plans else "more chips, a longer pipeline, or a shorter sequence would help"
    return Shown(
        found.title,
        verdict,
        rows,
        [*found.why, f"{found.tried} plans tried"],
        hint,
        {"plans": found.plans, "why": list(found.why), "tried": found.tried, "feasible": bool(found.plans)},
    )


def runs(found: Any, top: int) -> Shown:
    """The answer of ``mlsysim plan-training`` with the tokens of a run."""
    best = found.runs[:top]
    listed = best or found.others[:top]
    rows = []
    for place, run in enumerate(listed, 1):
        plan = run["plan"]
        over = f"; {run['over']:.0%} beyond" if run["over"] > 0 else ""
        rows.append((f"{place}.", f"{run['chips']} chips", f"{run['days']:.1f} days, nine in ten within {run['days_late']:.1f}; "
                     f"{shown(_known(run['cost_usd']), 'USD')}, {_tonnes(run['carbon_kg'])}{over}"))  # fmt: skip
        rows.append(("", "", f"{described(plan)}; MFU {plan['mfu']:.1%}"))
    if best:
        verdict = [f"DONE in {best[0]['days']:.1f} days on {best[0]['chips']} chips; the {found.order} first."]
    elif listed:
        verdict = ["OUT OF REACH: no fleet that was tried keeps the budget and the deadline; the nearest first."]
    else:
        verdict = ["DOES NOT FIT: no plan fits on any fleet that was tried."]
    notes = [f"no plan fits on {', '.join(map(str, found.too_small))} chips"] if found.too_small else []
    hint = "" if best else "more time, more money, a larger --max-gpus, a larger batch, or fewer tokens would help"

    def plain(run: dict[str, Any]) -> dict[str, Any]:
        return {name: _finite(value) if isinstance(value, float) else value for name, value in run.items()}

    data = {"runs": [plain(run) for run in best], "others": [plain(run) for run in found.others[:top]],
            "too_small": found.too_small, "feasible": bool(best)}  # fmt: skip
    return Shown(found.title, verdict, rows, notes, hint, data)


def _tonnes(kilograms: float) -> str:
    return f"{shown(_known(kilograms), 'kilogram')} CO2e"


def _verdict(step: Any, run: Any = None) -> list[str]:
    i = step.si
    if not step.feasible and float(i.optimizer_on_host) > float(i.host_capacity):
        return [
            f"DOES NOT FIT: {shown(i.optimizer_on_host, 'byte')} on the host for each chip, {shown(i.host_capacity, 'byte')} of its host"
        ]
    if not step.feasible:
        return [f"DOES NOT FIT: {shown(i.memory_per_device, 'byte')} needed, {shown(i.memory_capacity, 'byte')} there"]
    took = f"a step takes {shown(i.step_latency_total, 'second')}, {step.bottleneck.lower()} takes most"
    line = f"FITS: {float(i.memory_utilization):.0%} of the memory; {took}"
    return [line] if run is None else [line, f"DONE in {float(run.si.calendar_time) / DAY:.1f} days"]


def _hint(step: Any) -> str:
    if step.feasible:
        return ""
    found = step.remedies
    if found:
        return "try " + "; or ".join(found[:3])
    i, asked = step.si, step.question.arguments
    advice = []
    if float(i.activations) > float(i.weights) + float(i.optimizer_state):
        advice.append("--recompute full" if asked["activation_recomputation"] != "full" else "a smaller --micro-batch")
    if float(i.optimizer_state) > float(i.memory_capacity) / 4:
        advice.append("--zero 3" if float(step.layout.zero) < 3 else "more --gpus")
    advice.append("more --tp or --pp")
    return "try " + ", or ".join(advice)


def _known(value: Any) -> Any:
    return None if value is None or value != value else value


def _finite(value: Any) -> float | None:
    return None if value is None or value != value else float(value)
