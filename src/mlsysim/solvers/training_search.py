"""The fastest training plans that fit: every plan of a grid is answered, those that fit are ranked."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ..catalog import textbook
from ..errors import InvalidInputError, InvalidPlanError
from ..machine.textbook import wiring
from .border import Border
from .plan_rules import fleet_of
from .training_step import TrainingStepModel

POWERS = (1, 2, 4, 8, 16, 32, 64)
MICRO = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Plans:
    """Plans that fit, the fastest first; how many were tried, and the least memory of all."""

    title: str
    plans: list[dict[str, Any]]
    tried: int
    chips: int
    least: float
    capacity: float


def best_plans(
    model: Any,
    fleet: Any,
    batch: Any,
    seq_len: Any = 4096,
    precision: Any = "bf16",
    stack: Any = "megatron",
    top: int = 5,
) -> Plans:
    """Search tensor, pipeline, context and expert ranks, micro-batches, recomputation and sharding.

    Args:
        model: an entry of ``Models`` or its name
        fleet: a fleet or a node, or its name
        batch: samples of a step
        seq_len: tokens of a sequence
        precision: format of the products
        stack: class of the stack
        top: how many plans to return

    Examples:
        >>> found = best_plans("Llama3_8B", "DGX_H100", 64, 8192, top=2)
        >>> found.plans[0]["step"] <= found.plans[1]["step"]
        True
    """
    border = Border()
    network, machine = border.model(model), fleet_of(border, fleet)
    size, length = border.count("batch_size", batch), border.count("seq_len", seq_len)
    border.close()
    if np.ndim(size) or np.ndim(length):
        raise InvalidInputError("best_plans: expected one batch and one length, found an array")
    links = wiring(machine, textbook().link_latency)
    chips = int(links.chips)
    domain = int(links.domain or chips)
    experts = int(getattr(network.si, "experts", None) or 1)
    inside, contexts = [n for n in POWERS if n <= domain], [n for n in POWERS if length // n >= 4096 or n == 1]
    spread = [n for n in POWERS if experts % n == 0 and (n == 1 or experts > 1)]
    found: list[dict[str, Any]] = []
    tried, least = 0, np.inf
    micro = np.array([m for m in MICRO if m <= size], dtype=np.float64)[:, None]
    level = ("none", "full")
    for tp, pp, cp, ep in product(inside, POWERS, contexts, spread):
        if chips % (tp * pp * cp) or size % (chips // (tp * pp * cp)):
            continue
        for again, zero in product(level, (1, 3)):
            if zero == 3 and pp > 1:
                continue
            try:
                answer = TrainingStepModel().solve(
                    network, machine, size, micro, precision, tp, pp, ep, cp, 1, zero, again, length, stack
                )
            except InvalidPlanError:  # ranks that do not divide this model: no plan of it
                continue
            i = answer.si
            steps, needed, fits = (
                np.ravel(np.broadcast_to(v, micro.shape))
                for v in (i.step_latency_total, i.memory_per_device, answer.feasible)
            )
            utilised = np.ravel(np.broadcast_to(i.mfu, micro.shape))
            dealt = np.ravel(size % (chips / (tp * pp * cp) * micro) == 0)
            tried += int(dealt.sum())
            if dealt.any():
                least = min(least, float(needed[dealt].min()))
            for place in np.flatnonzero(fits):
                found.append({"step": float(steps[place]), "tp": tp, "pp": pp, "cp": cp, "ep": ep, "microbatch": int(micro[place, 0]),
                              "recompute": again, "zero": zero, "mfu": float(utilised[place]), "memory": float(needed[place])})  # fmt: skip
    found.sort(key=lambda plan: plan["step"])
    title = f"{network.id} on {chips} chips, batch {size:g} of {length:g} tokens"
    return Plans(title, found[:top], tried, chips, least, float(links.chip.si.memory_capacity))
