"""What makes a training step fit, cheapest first: every change is asked before it is told."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InvalidPlanError, MissingFactError
from .ledger import shown

Change = tuple[str, dict[str, Any]]


def remedies_of(step: Any) -> list[str]:
    """Changes after which a step fits, with the memory and the time that it then takes; empty where it fits, and for sweeps.

    Where no change alone will do, the cheapest are put together, one after the other, until it fits.
    """
    if step.shape or step.feasible:
        return []
    changes = _changes(step)
    alone = [(text, _ask(step, change)) for text, change in changes]
    found = [_line(text, answer) for text, answer in alone if answer is not None and answer.feasible]
    if found:
        return found
    together: dict[str, Any] = {}
    words: dict[str, str] = {}
    for text, change in changes:
        together |= change
        words[next(iter(change))] = text  # a stronger form of the same change takes the place of the weaker one
        answer = _ask(step, together)
        if answer is not None and answer.feasible:
            return [_line(" and ".join(words.values()), answer)]
    return []


def _line(text: str, answer: Any) -> str:
    i = answer.si
    return f"{text}: {shown(i.memory_per_device, 'byte')}, a step of {shown(i.step_latency_total, 'second')}"


def _ask(step: Any, change: dict[str, Any]) -> Any:
    question = step.question
    try:
        return question.resolver().solve(**{**question.arguments, **change})
    except (InvalidPlanError, MissingFactError):  # ranks that do not divide, a host link nobody knows: no remedy
        return None


def _changes(step: Any) -> list[Change]:
    """Changes in the order of what they cost: nothing, little, a third more work, more traffic, slow updates."""
    asked, i = step.question.arguments, step.si
    level = str(asked["activation_recomputation"]).lower()
    data = i.chips / (i.tp * i.pp * i.cp)
    layout = getattr(step, "layout", None)
    zero = float(asked["zero_stage"] if layout is None else layout.zero)
    found: list[Change] = []
    if zero < 1 and data * i.cp > 1:
        found.append(("ZeRO stage 1 (no more traffic)", {"zero_stage": 1}))
    if layout is None:
        steps = i.batch / data / asked["gradient_accumulation_steps"]
        if steps > asked["microbatch_count"] and steps == int(steps):
            found.append(("micro-batches of one sequence", {"microbatch_count": int(steps)}))
    elif float(layout.samples) > 1:
        found.append(("micro-batches of one sequence", {"microbatch_size": 1}))
    if level in ("none", "false"):
        found.append(("selective recomputation (a few per cent more work)", {"activation_recomputation": "selective"}))
    if str(asked["optimizer"]).lower() in ("adam", "adamw"):
        found.append(("8-bit moments (adamw8bit)", {"optimizer": "adamw8bit"}))
    if level not in ("full", "true"):
        found.append(("full recomputation (a third more work)", {"activation_recomputation": "full"}))
    for ranks in (2, 4, 8):
        if ranks > i.tp:
            found.append((f"{ranks} tensor-parallel ranks", {"tp_size": ranks}))
    if zero < 3 and i.pp == 1:
        found.append(("ZeRO stage 3 (weights gathered in every pass)", {"zero_stage": 3}))
    for stages in (2, 4, 8, 16):
        if stages > i.pp:
            found.append((f"{stages} pipeline stages", {"pp_size": stages}))
    if asked["offload"] == "none":
        found.append(("optimizer states in the memory of the host (offload='cpu')", {"offload": "cpu"}))
    if layout is not None and asked["offload_layers"] is None and getattr(asked["model"].si, "layers", None):
        change = {"activation_recomputation": "full", "offload_layers": int(np.ceil(asked["model"].si.layers / i.pp))}
        found.append(("full recomputation, inputs of layers in the memory of the host (offload_layers)", change))
    if data * i.cp > 1 and i.pp == 1:
        both = {"zero_stage": 3, "offload": "cpu", "offload_param": "cpu"}
        found.append(("weights in the memory of the host too (ZeRO-3, offload_param='cpu')", both))
    return found
