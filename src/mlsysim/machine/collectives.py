"""Collectives on a fabric: the protocols of a library, inside a node or rack, and across nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError, MissingFactError
from ..physics import collective_kernels as wires
from .chip import Chip

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p")
PASSES: Mapping[str, float] = {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0, "all_to_all": 1.0}


LIBRARIES = ("nccl", "oneccl", "rccl", "any")
"""Kernels that are general libraries; the others are all-reduce kernels of a serving stack."""


def timer(kernel: str) -> Callable[..., NDArray[np.float64]]:
    """The form of a kernel."""
    return library if kernel in LIBRARIES else one_kernel


def link_of(chip: Chip, given: Any = None) -> tuple[float, bool]:
    """One direction of a device's link to its peers, and whether the switch can add up.

    Raises:
        MissingFactError: the link is unknown
    """
    # A switch that adds up in the network came with the fourth NVLink generation.
    switch = chip.generation in ("hopper", "blackwell")
    link = given if given is not None else chip.link if chip.link is not None else chip.host
    if link is None:
        raise MissingFactError(f"{chip.id} has no link in the catalog; give link_bandwidth")
    return float(link), switch


def wire_bytes(kind: str, message: Any, ranks: Any, switch: bool = False) -> Any:
    """Bytes that one rank puts on its link; ``message`` is the whole buffer of a rank.

    Raises:
        InvalidInputError: no such collective
    """
    if kind == "p2p":
        return np.asarray(message, dtype=np.float64)
    if kind not in PASSES:
        raise InvalidInputError(f"collective: expected one of {', '.join(KINDS)}, found {kind!r}")
    ring = wires.ring_wire_bytes(message, ranks, PASSES[kind])
    if kind == "all_reduce" and switch:
        return np.where(np.asarray(ranks) > 2, np.minimum(ring, wires.switch_wire_bytes(message, ranks)), ring)
    return ring


def library(
    p: Mapping[str, float], kind: str, message: Any, ranks: Any, link: float, switch: bool
) -> NDArray[np.float64]:
    """Seconds of a collective of a general library: low-latency, middle and bulk protocols, the best of them."""
    wire = wire_bytes(kind, message, ranks, switch)
    low = wires.protocol_time(p["latency"], p["growth"], ranks, wire, p["low"], link)
    bulk = wires.protocol_time(p["bulk_latency"], p["bulk_growth"], ranks, wire, p["bulk"], link)
    time = wires.smooth_minimum(low, bulk)
    if "middle" in p:
        latency = (p["latency"] + p["bulk_latency"]) / 2
        middle = wires.protocol_time(latency, (p["growth"] + p["bulk_growth"]) / 2, ranks, wire, p["middle"], link)
        time = wires.smooth_minimum(time, middle)
    return np.asarray(np.where(np.asarray(ranks) > 1, time, 0.0))


def one_kernel(
    p: Mapping[str, float], kind: str, message: Any, ranks: Any, link: float, switch: bool
) -> NDArray[np.float64]:
    """Seconds of an all-reduce in one kernel: every rank reads all others at once, or reduces and gathers in two steps."""
    once = wires.protocol_time(p["latency"], p["growth"], ranks, (ranks - 1) * message, p["low"], link)
    wire = wire_bytes(kind, message, ranks, switch)
    twice = wires.protocol_time(p["bulk_latency"], p["bulk_growth"], ranks, wire, p["bulk"], link)
    time = wires.smooth_minimum(once, twice)
    if "middle" in p:
        ring = wire_bytes(kind, message, ranks)
        latency = (p["latency"] + p["bulk_latency"]) / 2
        middle = wires.protocol_time(latency, (p["growth"] + p["bulk_growth"]) / 2, ranks, ring, p["middle"], link)
        time = wires.smooth_minimum(time, middle)
    return np.asarray(np.where(np.asarray(ranks) > 1, time, 0.0))
