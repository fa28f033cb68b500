"""The fastest training plans that fit, kernel by kernel: every plan of a grid is answered, those that fit are ranked."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import textbook
from ..catalog.models import Transformer
from ..errors import InvalidInputError, InvalidPlanError
from ..machine.textbook import wiring
from . import training_networks as networks
from . import training_offload as offloading
from .border import Border
from .plan_rules import fleet_of
from .training_step import TrainingStepModel

POWERS = (1, 2, 4, 8, 16, 32, 64)
MICRO, MICRO_IMAGES = (1, 2, 4), (4, 16, 64, 256)
CHUNKS = (1, 2, 4)
SCHEDULES = ("1f1b", "zero-bubble", "dualpipe")
"""Schedules that are searched; the first stands for interleaved too, which is that with several chunks."""


@dataclass(frozen=True, slots=True)
class Plans:
    """Plans that fit, the fastest first, why the first wins; how many were tried, and the least memory of all."""

    title: str
    plans: list[dict[str, Any]]
    tried: int
    chips: int
    least: float
    capacity: float
    why: tuple[str, ...] = ()


def best_plans(
    model: Any,
    fleet: Any,
    batch: Any,
    seq_len: Any = 4096,
    precision: Any = "bf16",
    stack: Any = "megatron",
    top: int = 5,
    *,
    schedule: Any = None,
    offload: Any = "none",
) -> Plans:
    """Search all ranks, micro-batches, schedules with their chunks, recomputation, sharding and places of states.

    Args:
        model: an entry of ``Models`` or its name
        fleet: a fleet or a node, or its name
        batch: samples of a step
        seq_len: tokens of a sequence
        precision: format of the products
        stack: class of the stack
        top: how many plans to return
        schedule: fix it to 1f1b, interleaved, zero-bubble or dualpipe; None to search all of them
        offload: where optimizer states lie: none, cpu or nvme; None to search none and cpu

    Examples:
        >>> found = best_plans("Llama3_8B", "DGX_H100", 64, 8192, top=2)
        >>> found.plans[0]["step"] <= found.plans[1]["step"]
        True
    """
    border = Border()
    network, machine = border.model(model), fleet_of(border, fleet)
    size, length = border.count("batch_size", batch), border.count("seq_len", seq_len)
    order = None if schedule is None else border.choice("schedule", schedule, ("interleaved", *SCHEDULES))
    place = None if offload is None else border.choice("offload", offload, offloading.PLACES)
    border.close()
    if np.ndim(size) or np.ndim(length):
        raise InvalidInputError("best_plans: expected one batch and one length, found an array")
    links = wiring(machine, textbook().link_latency)
    chips = int(links.chips)
    domain = int(links.domain or chips)
    experts = int(getattr(network.si, "experts", None) or 1)
    split = isinstance(networks.trainable(network), Transformer)  # others train data-parallel only
    inside = [n for n in POWERS if n <= domain] if split else [1]
    contexts = [n for n in POWERS if length // n >= 4096 or n == 1] if split else [1]
    spread = [n for n in POWERS if experts % n == 0 and (n == 1 or experts > 1)]
    orders = SCHEDULES if order is None else ("1f1b",) if order == "interleaved" else (order,)
    places = ("none", "cpu") if place is None else (place,)
    found: list[dict[str, Any]] = []
    tried, least = 0, np.inf
    for tp, cp, ep, again, way, where in product(inside, contexts, spread, ("none", "full"), orders, places):
        grid, good = _grid(chips / (tp * cp), size, way, split, order)
        if not good.any():
            continue
        try:
            answer = TrainingStepModel().solve(
                network, machine, size, grid["micro"], precision, tp, grid["pp"], ep, cp, grid["chunks"], grid["zero"], again,
                length, stack, schedule=way, offload=where,
            )  # fmt: skip
        except InvalidPlanError:  # ranks that do not divide this model: no plan of it
            continue
        i = answer.si
        shape = good.shape
        steps, needed, utilised, fits = (
            np.broadcast_to(v, shape) for v in (i.step_latency_total, i.memory_per_device, i.mfu, answer.feasible)
        )
        tried += int(good.sum())
        least = min(least, float(needed[good].min()))
        whole = {name: np.broadcast_to(column, shape) for name, column in grid.items()}
        for n in zip(*np.nonzero(good & fits), strict=True):
            one = {name: int(column[n]) for name, column in whole.items()}
            found.append({"step": float(steps[n]), "tp": tp, "pp": one["pp"], "cp": cp, "ep": ep, "microbatch": one["micro"],
                          "chunks": one["chunks"], "schedule": "interleaved" if one["chunks"] > 1 else way, "recompute": again,
                          "zero": one["zero"], "offload": where, "mfu": float(utilised[n]), "memory": float(needed[n])})  # fmt: skip
    found.sort(key=lambda plan: plan["step"])
    title = f"{network.id} on {chips} chips, batch {size:g} of {length:g} tokens"
    return Plans(title, found[:top], tried, chips, least, float(links.chip.si.memory_capacity), _why(found))


def _grid(
    ranks: float, batch: float, schedule: str, split: bool, asked: str | None
) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    """Micro-batch sizes, and stages with chunks and stages of ZeRO; where they divide the batch and suit the schedule."""
    micro = np.array(MICRO if split else MICRO_IMAGES, dtype=np.float64)[:, None]
    several = {"1f1b": (1,), "interleaved": CHUNKS[1:], None: CHUNKS}.get(asked, (1,)) if schedule == "1f1b" else (1,)
    options = [
        (pp, chunks, zero)
        for pp, chunks, zero in product(POWERS if split else (1,), several, (1, 3))
        if ranks % pp == 0 and (zero == 1 or pp == 1) and (pp > 1 or (chunks == 1 and schedule == "1f1b"))
    ]
    pp, chunks, zero = np.array(options, dtype=np.float64).reshape(-1, 3).T
    share = ranks / pp * micro
    steps = batch / share
    good = (batch % share == 0) & ((chunks == 1) | (steps % pp == 0))
    if schedule == "dualpipe":
        good &= (pp % 2 == 0) & (steps % 2 == 0) & (steps >= 2 * pp)
    return {"micro": micro, "pp": pp, "chunks": chunks, "zero": zero}, good


def _why(found: list[dict[str, Any]]) -> tuple[str, ...]:
    """How far the next plan is that takes longer, and where it differs."""
    if not found:
        return ()
    best = found[0]
    other = next((plan for plan in found[1:] if plan["step"] > best["step"] * (1 + 1e-9)), None)
    if other is None:
        return ()
    figures = ("step", "mfu", "memory")
    differs = ", ".join(
        f"{name} {other[name]} instead of {best[name]}"
        for name in best
        if name not in figures and other[name] != best[name]
    )
    return (f"the next plan takes {other['step'] / best['step'] - 1:.1%} longer: {differs}",)
