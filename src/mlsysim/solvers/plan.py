"""How a model is split over the chips of one serving group: tensor, pipeline and expert parallel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog.models import Transformer
from ..errors import InvalidPlanError, MissingFactError, alternatives
from ..machine.textbook import Wiring
from ..physics import collectives, memory
from ..physics.choice import minimum
from ..units import Bytes, Count, Seconds
from ..workloads.transformer import Shape


@dataclass(frozen=True, slots=True)
class Plan:
    """Ranks of each kind of parallelism; a group has ``tp * pp * ep`` chips."""

    tp: Count
    pp: Count
    ep: Count

    @property
    def chips(self) -> Count:
        """Chips of the group."""
        return self.tp * self.pp * self.ep


def check(plan: Plan, model: Transformer, group: Wiring) -> Any:
    """Whether the plan can be laid out: a mask in a sweep, an error that names near plans otherwise.

    Raises:
        InvalidPlanError: heads do not divide, more stages than layers, experts to split in a dense model, or more
            chips than there are
    """
    if alone(plan):
        return True
    m = model.si
    experts = m.experts or 1.0
    rules = [
        ((m.heads % plan.tp) == 0, "tp_size", plan.tp, f"{m.heads:g} attention heads", _divisors(m.heads)),
        (plan.pp <= m.layers, "pp_size", plan.pp, f"{m.layers:g} layers", []),
        ((experts % plan.ep) == 0, "ep_size", plan.ep, f"{experts:g} routed experts", _divisors(experts)),
    ]
    good: Any = True
    problems = []
    for fine, name, value, what, near in rules:
        good = np.logical_and(good, fine)
        if not np.ndim(fine) and not fine:
            close = (
                alternatives([str(n) for n in sorted(near, key=lambda n: abs(n - value))[:3]])
                if near
                else f"at most {what}"
            )
            problems.append(f"{name} {value:g} does not divide {what}; try {close}" if near
                            else f"{name} {value:g} is more than {what}")  # fmt: skip
    if group.chips is not None:
        fine = plan.chips <= group.chips
        good = np.logical_and(good, fine)
        if not np.ndim(fine) and not fine:
            problems.append(
                f"tp {plan.tp:g} x pp {plan.pp:g} x ep {plan.ep:g} needs {plan.chips:g} chips; there are {group.chips:g}"
            )
    if problems:
        raise InvalidPlanError(problems)
    return good if np.ndim(good) else bool(good)


def _divisors(number: float) -> list[int]:
    return [n for n in range(1, int(number) + 1) if number % n == 0]


def alone(plan: Plan) -> bool:
    """Whether every group is a single chip."""
    ranks = plan.tp * plan.pp * plan.ep
    return ranks == 1.0 if type(ranks) is float else bool(np.all(ranks == 1))


def kv_share(plan: Plan, model: Shape) -> Any:
    """Share of the KV cache on one chip: key-value heads split over tensor ranks, copied where there are too few."""
    return 1.0 / (minimum(plan.tp, model.kv_heads) * plan.pp * plan.ep)


def weight_share(plan: Plan, model: Shape, weights: Bytes) -> Bytes:
    """Bytes of weights on one chip: dense weights split over tensor and pipeline ranks, experts over all."""
    if not model.routed:
        return weights / (plan.tp * plan.pp)
    routed = weights * (model.routed / model.parameters)
    return (weights - routed) / (plan.tp * plan.pp) + routed / plan.chips


def communication(plan: Plan, model: Shape, group: Wiring, tokens: Count, value: Bytes) -> Seconds:
    """Time that one pass over ``tokens`` spends in collectives, none of it hidden.

    Two all-reduces a layer over the tensor ranks (after attention and after the MLP), a dispatch and a combine
    all-to-all a mixture-of-experts layer over the expert ranks, and a send at every pipeline boundary.

    Raises:
        MissingFactError: a group of several chips whose links the catalog does not know
    """
    if group.inside is None or np.any(np.isnan(group.inside)):
        raise MissingFactError(
            f"{group.chip.id} has no known link or host bandwidth, which {_largest(plan)} chips need; pass a node or fleet, "
            f"or hardware.replace(link_bandwidth='... GB/s')"
        )
    rank_tokens = tokens / plan.ep
    bandwidth, latency = _link(group, plan.tp)
    message = memory.activation_size(rank_tokens, model.hidden, value)
    time = 2 * model.layers * collectives.direct_all_reduce_time(message, plan.tp, bandwidth, latency)
    if model.moe_layers:
        bandwidth, latency = _link(group, plan.tp * plan.ep)
        routed = memory.activation_size(rank_tokens * model.active_experts / plan.tp, model.hidden, value)
        time = time + 2 * model.moe_layers * collectives.all_to_all_time(routed, plan.ep, bandwidth, latency)
    bandwidth, latency = _link(group, plan.chips)
    hand_over = memory.activation_size(rank_tokens / plan.tp, model.hidden, value)
    return time + (plan.pp - 1) * collectives.send_time(hand_over, bandwidth, latency)


def _largest(plan: Plan) -> str:
    return f"{np.max(plan.chips):g}"


def _link(group: Wiring, ranks: Count) -> tuple[Any, Any]:
    """Bandwidth and latency between ranks: those of the scale-up domain while they fit in it, else those across."""
    if group.across is None or group.domain is None:
        return group.inside, group.inside_latency
    near = ranks <= group.domain
    if not np.ndim(near):
        return (group.inside, group.inside_latency) if near else (group.across, group.across_latency)
    return np.where(near, group.inside, group.across), np.where(near, group.inside_latency, group.across_latency)
