"""Collectives on a fabric: the protocols of a library, the all-reduce kernels of serving stacks, and single messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidInputError, MissingFactError
from ..physics import collective_kernels as wires
from ..physics.choice import either, minimum
from ..physics.collectives import send_time
from ..physics.gemm import smooth_maximum
from .chip import Chip
from .operators import numbers

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p")
PASSES: Mapping[str, float] = {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0, "all_to_all": 1.0}

LIBRARIES = ("nccl", "oneccl", "rccl", "any")
"""Kernels that are general libraries; the others are all-reduce kernels of a serving stack."""

MIB = float(1 << 20)
KIB = float(1 << 10)
STACK_LIMIT: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    "vllm": {
        "ampere": (8 * MIB - 1, 8 * MIB - 1, 8 * MIB - 1),
        "hopper": (64 * MIB, 32 * MIB, 64 * MIB),
        "blackwell": (8 * MIB, 32 * MIB, 128 * MIB),
        "graphics": (8 * MIB - 1, 0.0, 0.0),
    },
    "sglang": {
        "ampere": (8 * MIB, 8 * MIB, 8 * MIB),
        "hopper": (16 * MIB, 16 * MIB, 16 * MIB),
        "blackwell": (16 * MIB, 16 * MIB, 16 * MIB),
        "graphics": (8 * MIB, 0.0, 0.0),
    },
}
"""Largest message of a stack's own kernels with at most 2, 4 and 8 ranks; the library takes over beyond.

vLLM's are the tables of its all_reduce_utils (custom kernels, symmetric memory) and the 8 MiB buffer that older chips
have; without NVLink its kernels, which SGLang shares, serve two devices only. SGLang's 16 MiB are read off the tables of
calibration devices, where the times of the library begin.
"""
ONE_STEP_LIMIT: Mapping[str, tuple[float, float, float]] = {
    "ampere": (8 * MIB, 512 * KIB - 1, 256 * KIB - 1),
    "hopper": (64 * MIB, 512 * KIB - 1, 256 * KIB - 1),
    "blackwell": (2 * MIB - 1, 512 * KIB - 1, 256 * KIB - 1),
    "graphics": (8 * MIB, 0.0, 0.0),
}
"""Largest message that vLLM reduces in one step, with at most 2, 4 and 8 ranks (its custom_all_reduce kernel)."""
MULTICAST_RANKS = 4
"""More ranks than these let vLLM's symmetric memory reduce in the switch."""
TRAY = 4.0
"""Devices of one host in a rack-scale system: a compute tray of an NVL72 holds four."""
PAIR = 2.0
"""Devices below one PCIe switch or root port; more of them talk through the host's bridges or its second socket."""
FASTEST_BUS = 130e9
"""A faster link to the host than PCIe 6.0 joins processor and accelerator in a superchip."""
COPY = 0.87
"""Share of the memory bandwidth that a copy reaches."""


@dataclass(frozen=True, slots=True)
class Link:
    """What joins the devices of a collective.

    ``bandwidth`` is one direction of one device; ``beyond`` the same for more devices than a bridge joins, infinite where
    all are joined; ``switch`` says whether the switch can add up; ``bus`` that there is no scale-up link but the host's
    PCIe; ``memory`` is the bandwidth of a device's memory and ``host`` the devices of one host.
    """

    bandwidth: float
    beyond: float
    switch: bool
    bus: bool
    memory: float
    host: float
    generation: str


def link_of(chip: Chip, given: Any = None) -> Link:
    """The link of a device to its peers, or one of a given bandwidth.

    Raises:
        MissingFactError: the link is unknown
    """
    bandwidth = given if given is not None else chip.link if chip.link is not None else chip.host
    if bandwidth is None:
        raise MissingFactError(f"{chip.id} has no link in the catalog; give link_bandwidth")
    domain = math.inf if chip.link_domain is None else chip.link_domain
    bridged = given is None and chip.link is not None and domain <= PAIR and chip.host is not None
    return Link(
        bandwidth=float(bandwidth),
        beyond=float(chip.host) if bridged and chip.host is not None else math.inf,
        # A switch that adds up in the network came with the fourth NVLink generation; a bridge of two cards has none.
        switch=chip.generation in ("hopper", "blackwell") and domain > PAIR,
        bus=chip.link is None,
        memory=chip.bandwidth,
        host=TRAY if chip.link is not None and math.isfinite(domain) and domain > 16 else math.inf,
        generation=chip.generation,
    )


def scope_of(chip: Chip, kernel: str) -> str:
    """The class of devices whose fits stand in: a generation, and for kernels launched one by one also its host.

    Launches cost what the host's processor makes of them, so superchips stand apart from cards in servers.
    """
    superchip = chip.host is not None and chip.host > FASTEST_BUS
    return f"{chip.generation}_superchip" if kernel.endswith("_eager") and superchip else chip.generation


def timer(kernel: str) -> Callable[..., Any]:
    """The form of a kernel: ``f(values, kind, message, ranks, link)``."""
    if kernel in LIBRARIES:
        return library
    stack, eager = kernel.removesuffix("_eager"), kernel.endswith("_eager")

    def run(p: Mapping[str, float], kind: str, message: Any, ranks: Any, link: Link) -> Any:
        time = stack_kernel(p, stack, message, ranks, link)
        return launched(p, time, message, ranks, link) if eager else time

    return run


def wire_bytes(kind: str, message: Any, ranks: Any, switch: bool = False) -> Any:
    """Bytes that one rank puts on its link; ``message`` is the whole buffer of a rank.

    Raises:
        InvalidInputError: no such collective
    """
    if kind == "p2p":
        return numbers(message)
    if kind not in PASSES:
        raise InvalidInputError(f"collective: expected one of {', '.join(KINDS)}, found {kind!r}")
    ring = wires.ring_wire_bytes(message, ranks, PASSES[kind])
    if kind == "all_reduce" and switch:
        return either(ranks > 2, minimum(ring, wires.switch_wire_bytes(message, ranks)), ring)
    return ring


def reached(p: Mapping[str, float], ranks: Any, link: Link) -> Any:
    """Bandwidth of a rank's link: over PCIe more than a pair of devices share the bridges of the host.

    A ring through pairs that are joined by NVLink leaves each pair once, and has the PCIe links of both its cards to do so.
    """
    if not link.bus and math.isinf(link.beyond):
        return link.bandwidth
    share = p.get("bridge", 1.0)
    shared = share * link.bandwidth if link.bus else min(2 * share, 1.0) * min(link.bandwidth, link.beyond)
    return either(ranks > PAIR, shared, link.bandwidth)


def library(p: Mapping[str, float], kind: str, message: Any, ranks: Any, link: Link) -> Any:
    """Seconds of a collective of a general library: low-latency, middle and bulk protocols, the best of them."""
    wire = wire_bytes(kind, message, ranks, link.switch)
    bandwidth = reached(p, ranks, link)
    low = wires.protocol_time(p["latency"], p["growth"], ranks, wire, p["low"], bandwidth)
    bulk = wires.protocol_time(p["bulk_latency"], p["bulk_growth"], ranks, wire, p["bulk"], bandwidth)
    time = wires.smooth_minimum(low, bulk)
    if "middle" in p:
        latency = (p["latency"] + p["bulk_latency"]) / 2
        middle = wires.protocol_time(latency, (p["growth"] + p["bulk_growth"]) / 2, ranks, wire, p["middle"], bandwidth)
        time = wires.smooth_minimum(time, middle)
    return either(ranks > 1, time, 0.0)


def stack_kernel(p: Mapping[str, float], stack: str, message: Any, ranks: Any, link: Link) -> Any:
    """Seconds of a serving stack's all-reduce: every rank reads all others at once, or reduces and gathers in two steps.

    Each stack hands large messages, groups of several hosts and devices without NVLink to the library.
    """
    message, ranks = numbers(message), numbers(ranks)
    plain = library(p, "all_reduce", message, ranks, link)
    once = wires.protocol_time(
        p["once_latency"], p["once_growth"], ranks, wires.one_step_wire_bytes(message, ranks), p["once"], link.bandwidth
    )
    ring = wire_bytes("all_reduce", message, ranks)
    multicast = wire_bytes("all_reduce", message, ranks, link.switch)
    wire = either(ranks > MULTICAST_RANKS, multicast, ring) if stack == "vllm" else ring
    if stack == "trtllm":
        wire = multicast
    twice = wires.protocol_time(p["twice_latency"], p["twice_growth"], ranks, wire, p["twice"], link.bandwidth)
    time: Any = plain
    if stack == "trtllm":  # it picks by a table of times measured beforehand
        alone = link.bus or math.isfinite(link.beyond)
        time = plain if alone else minimum(minimum(once, twice), plain)
    else:
        least = ONE_STEP_LIMIT.get(link.generation, ONE_STEP_LIMIT["blackwell"])
        own = either(message <= _of(least, ranks), once, twice) if stack == "vllm" else minimum(once, twice)
        table = STACK_LIMIT.get(stack, STACK_LIMIT["vllm"])
        room = min(link.host, PAIR if math.isfinite(link.beyond) else math.inf)
        most = either(ranks > room, 0.0, _of(table.get(link.generation, table["blackwell"]), ranks))
        time = either(message <= most, own, plain)
    return either(ranks > 1, time, 0.0)


def launched(p: Mapping[str, float], time: Any, message: Any, ranks: Any, link: Link) -> Any:
    """Seconds when the host launches each call: it copies the message to a shared buffer, and launches take their time."""
    copied = wires.staged_time(time, message, COPY, link.memory)
    return either(ranks > 1, smooth_maximum(p["host"], copied, 6.0), 0.0)


def _of(limits: tuple[float, float, float], ranks: Any) -> Any:
    """The limit for a number of ranks; beyond eight there is none."""
    if isinstance(ranks, float):
        return next((limit for most, limit in zip((2, 4, 8), limits, strict=True) if ranks <= most), 0.0)
    return np.select([ranks <= 2, ranks <= 4, ranks <= 8], limits, 0.0)


def message_time(latency: float, share: float, message: Any, link: Link) -> Any:
    """Seconds of one message to another device: a library's latency, then its channels' share of the link."""
    return send_time(numbers(message), share * link.bandwidth, latency)
