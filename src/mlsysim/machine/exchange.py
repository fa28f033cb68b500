"""Tokens on their way to the ranks of their experts and back, as kernels made for it move them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInputError
from ..physics import collective_kernels as wires
from ..physics.choice import either, maximum, minimum
from ..physics.moe import distinct_destinations
from .chip import Chip
from .collectives import link_of
from .operators import Operator, numbers

FAMILY = "moe_exchange"
WIDTH: Mapping[str, float] = {"dispatch": 1.0 + 4.0 / 128.0, "combine": 2.0}
"""Bytes of an element: tokens leave in 8 bits with a scale of four bytes for 128 of them, and return in 16 bits."""
LOW_LATENCY = "deepep_low_latency"
NORMAL = "deepep"
NIC = 50e9
"""One direction of the adapter of 400 Gbit/s that each device of the measured nodes has."""


def exchange_operator(
    chip: Chip, phase: str, tokens: Any, hidden: Any, topk: Any, experts: Any, ranks: Any, nodes: Any = 1.0,
    network: Any = None, kernel: str = NORMAL, link_bandwidth: Any = None, most_nodes: Any = math.inf,
) -> Operator:  # fmt: skip
    """Dispatch or combine as an operator.

    Args:
        chip: the device
        phase: ``dispatch`` or ``combine``
        tokens: tokens of one rank
        hidden: elements of a token
        topk: experts of a token
        experts: experts of a layer
        ranks: ranks that hold experts
        nodes: scale-up domains that they lie in
        network: one direction of a device's share of the network; that of the measured nodes by default
        kernel: ``deepep_low_latency`` sends a token once for each expert; ``deepep`` once to each rank, over few cores
        link_bandwidth: one direction of a device's link, in place of the catalog's
        most_nodes: domains that the router lets one token visit

    Raises:
        InvalidInputError: no such phase or kernel
        MissingFactError: the link of the device is unknown
    """
    if phase not in WIDTH:
        raise InvalidInputError(f"phase: expected dispatch or combine, found {phase!r}")
    if kernel not in (NORMAL, LOW_LATENCY):
        raise InvalidInputError(f"kernel: expected {NORMAL} or {LOW_LATENCY}, found {kernel!r}")
    link = link_of(chip, link_bandwidth).bandwidth
    tokens, hidden, topk, experts, ranks, nodes = (
        numbers(value) for value in (tokens, hidden, topk, experts, ranks, nodes)
    )
    far = NIC if network is None else network
    token = hidden * WIDTH[phase]
    local = maximum(ranks / nodes, 1.0)
    if kernel == LOW_LATENCY:
        copies = tokens * topk
        moved = copies * token
        inside, outside = moved * (local - 1) / ranks, moved * (ranks - local) / ranks
    else:
        copies = tokens * distinct_destinations(ranks, topk)
        moved = copies * token
        inside = moved * (local - 1) / local
        outside = tokens * distinct_destinations(minimum(nodes, most_nodes), topk) * token * (nodes - 1) / nodes

    def run(p: Mapping[str, float]) -> Any:
        start = p["latency"] + p["far_latency"] * either(nodes > 1, 1.0, 0.0)
        slowest = maximum(inside / (p["bulk"] * link), outside / (p["across"] * far))
        if kernel == NORMAL:  # each core reads a token once and hands it on to every rank that wants it
            cores = (tokens + copies) * (p["row"] + token / p["channel"])
        else:  # cores are dealt out to experts: few experts keep few cores busy
            cores = moved / (experts * p["each"])
        slowest = maximum(slowest, cores)
        return wires.exchange_time(start, slowest)

    floor = maximum(inside / link, outside / far)
    return Operator(FAMILY, run, floor, f"{kernel}/{phase}")
