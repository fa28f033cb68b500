"""What would make an answer fit, and what would change it most: the same question asked of near machines and formats."""

from __future__ import annotations

from typing import Any

from ..catalog import Hardware
from ..catalog.hardware import Device
from ..catalog.models import Transformer
from ..errors import MLSysimError
from .ledger import shown
from .result import Question, Result

LIGHTER = ("fp8", "int8", "nvfp4", "int4")


def remedies(answer: Result, most: int = 4) -> list[str]:
    """Changes under which the question would fit, each checked by asking again; fewest chips, then lighter formats."""
    asked = dict(answer.question.arguments)
    model, device = asked["model"], asked["hardware"]
    found = []
    if isinstance(model, Transformer) and model.architecture == "transformer":
        ranks = _fewest_chips(asked)
        if ranks is not None:
            found.append(f"{ranks} x {getattr(device, 'id', device)} (tensor parallel)")
    for precision in LIGHTER:
        lighter = _ask(answer.question, precision=precision)
        if lighter is not None and lighter.feasible and lighter.si.model_weights_size < answer.si.model_weights_size:
            found.append(f"{precision} weights ({shown(lighter.si.model_weights_size, 'byte')})")
    larger = _smallest_device(answer)
    if larger is not None:
        found.append(f"one {larger.id} ({shown(larger.si.memory_capacity, 'byte')})")
    return found[:most]


def levers(answer: Result) -> list[str]:
    """What would change a feasible answer: a lighter format, a larger batch, each with the figure it gives."""
    asked = answer.question.arguments
    found = []
    batch = asked["batch_size"]
    for precision in LIGHTER:
        if str(asked["precision"]).lower() in ("fp16", "bf16", "fp32"):
            lighter = _ask(answer.question, precision=precision)
            if lighter is not None and lighter.feasible:
                found.append(f"{precision}: {_headline(lighter)}")
                break
    if isinstance(batch, (int, float)):
        more = _ask(answer.question, batch_size=int(batch) * 8)
        if more is not None and more.feasible:
            found.append(f"batch {int(batch) * 8}: {_headline(more)}")
    return found


def speed_of_light(answer: Result) -> Any:
    """The same question at the full arithmetic peak."""
    return _ask(answer.question, efficiency=1.0)


def _headline(answer: Result) -> str:
    inside = answer.si
    if hasattr(type(answer), "itl"):
        return f"ITL {shown(inside.itl, 'second')}, {shown(inside.tokens_per_sec, '1')} tokens/s"
    return f"{shown(inside.latency, 'second')}, {shown(inside.throughput, '1')}/s"


def _ask(question: Question, **changes: Any) -> Any:
    try:
        return question.resolver().solve(**{**question.arguments, **changes})
    except MLSysimError:  # a change that cannot even be asked (no peak in that format, say) is no remedy
        return None


def _fewest_chips(asked: dict[str, Any]) -> int | None:
    from .serving import ServingModel

    model, device = asked["model"], asked["hardware"]
    for ranks in (n for n in (2, 4, 8, 16, 32, 64) if model.si.heads % n == 0):
        try:
            answer = ServingModel().solve(
                model=model, hardware=device, seq_len=asked.get("seq_len") or 2048, batch_size=asked["batch_size"],
                precision=asked["precision"], kv_precision=asked.get("kv_precision"), tp_size=ranks,
            )  # fmt: skip
        except MLSysimError:
            return None
        if answer.feasible:
            return ranks
    return None


def _smallest_device(answer: Result) -> Device | None:
    asked = answer.question.arguments
    device = asked["hardware"]
    if not isinstance(device, Device) or device.members:
        return None
    for other in Hardware.list("memory_capacity"):
        if other.si.memory_capacity <= device.si.memory_capacity or other.family != device.family:
            continue
        if other.vendor != device.vendor:
            continue
        trial = _ask(answer.question, hardware=other)
        if trial is not None and trial.feasible:
            return other  # type: ignore[no-any-return]
    return None
