"""Groups of ranks on the links they really have, the best collective for a message, and shapes of networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..physics import collectives, hierarchical, memory, moe
from ..units import Bytes, Count, Seconds
from .textbook import Wiring

ALGORITHMS = {
    "ring": collectives.ring_all_reduce_time,
    "double tree": collectives.double_tree_all_reduce_time,
    "recursive doubling": collectives.recursive_doubling_all_reduce_time,
    "halving and doubling": collectives.rabenseifner_all_reduce_time,
    "tree": collectives.tree_all_reduce_time,
}
"""All-reduce algorithms that need nothing from switches; the best one depends on the size of the message."""

SWITCHED = {
    "direct": collectives.direct_all_reduce_time,
    "multicast": collectives.multicast_all_reduce_time,
    "in network": collectives.in_network_all_reduce_time,
}
"""What a switch adds: every pair one hop apart; reduction by a memory switch (NVLS); reduction on the way (SHARP)."""


@dataclass(frozen=True, slots=True)
class Group:
    """Ranks of one kind of parallelism: ``local`` of them share a scale-up domain, ``groups`` such sets make it up."""

    local: Count
    groups: Count
    inside: Any
    inside_latency: Any
    across: Any
    across_latency: Any

    @property
    def ranks(self) -> Count:
        """Members."""
        return self.local * self.groups


def group_of(wires: Wiring, ranks: Count, stride: Count = 1.0) -> Group:
    """Ranks that lie ``stride`` chips apart: inside a scale-up domain while they fit, and across domains beyond.

    Where no fabric is known the whole group stands in one domain.
    """
    across = wires.inside if wires.across is None else wires.across
    latency = wires.inside_latency if wires.across_latency is None else wires.across_latency
    if wires.across is None or wires.domain is None:
        return Group(ranks, 1.0 + 0.0 * ranks, wires.inside, wires.inside_latency, across, latency)
    room = np.maximum(np.floor(wires.domain / stride), 1.0)
    # As many as fit and divide the group evenly: 6 ranks in a domain that has room for 4 lie 3 and 3.
    sets = np.ceil(ranks / np.minimum(room, ranks))
    sets = np.where(ranks % sets == 0, sets, ranks)
    return Group(ranks / sets, sets, wires.inside, wires.inside_latency, across, latency)


def best_all_reduce(
    message: Bytes, ranks: Count, bandwidth: Any, latency: Any, *, switched: tuple[str, ...] = ()
) -> tuple[Seconds, Any]:
    """The fastest all-reduce for a message, and its name (an array of names in a sweep).

    Args:
        message: payload of each rank
        ranks: members
        bandwidth: one direction of one rank's link
        latency: of one message
        switched: what the switches can do, of :data:`SWITCHED`

    Examples:
        >>> [best_all_reduce(m, 8.0, 50e9, 5e-6)[1] for m in (1e3, 1e6, 1e10)]
        ['recursive doubling', 'halving and doubling', 'halving and doubling']
        >>> best_all_reduce(1e9, 8.0, 450e9, 2e-6, switched=("direct", "multicast"))[1]
        'multicast'
    """
    choices = ALGORITHMS | {name: SWITCHED[name] for name in switched}
    times = np.stack(np.broadcast_arrays(*(f(message, ranks, bandwidth, latency) for f in choices.values())))
    best = np.argmin(times, axis=0)
    named = np.array([*choices])[best]
    least = times.min(axis=0)
    return (least, named) if named.ndim else (float(least), str(named))


def all_reduce_time(message: Bytes, group: Group) -> Seconds:
    """All-reduce over a group: reduce-scatter and all-gather inside each domain, all-reduce of a shard across.

    Inside, ranks exchange directly through the switch; across, the better of a ring, halving and doubling, and two trees.
    """
    half = collectives.direct_all_gather_time(message, group.local, group.inside, group.inside_latency)
    if not np.any(np.asarray(group.groups) > 1):
        return hierarchical.two_phase_all_reduce_time(half, 0.0)
    link = (hierarchical.shard_size(message, group.local), group.groups, group.across, group.across_latency)
    across = np.minimum(
        collectives.ring_all_reduce_time(*link),
        np.minimum(collectives.rabenseifner_all_reduce_time(*link), collectives.double_tree_all_reduce_time(*link)),
    )
    return hierarchical.two_phase_all_reduce_time(half, across)


def all_gather_time(message: Bytes, group: Group) -> Seconds:
    """All-gather (or reduce-scatter) of a whole buffer over a group: half of an all-reduce."""
    return all_reduce_time(message, group) / 2


def all_to_all_time(message: Bytes, group: Group, copies: Count = 1.0) -> Seconds:
    """All-to-all over a group: to each node once, then on to the ranks there.

    Args:
        message: all blocks that one rank holds
        group: the ranks
        copies: blocks that carry the same token, as a mixture of experts sends; those bound for one node cross as one
    """
    inside = collectives.all_to_all_time(message, group.local, group.inside, group.inside_latency)
    if not np.any(np.asarray(group.groups) > 1):
        return inside
    once = message * moe.distinct_destinations(group.groups, copies) / copies
    across = collectives.all_to_all_time(once, group.groups, group.across, group.across_latency)
    return memory.sum_of_times(inside, across, 0.0)


def hop_time(message: Bytes, wires: Wiring, stride: Count) -> Seconds:
    """One message to the rank ``stride`` chips further on."""
    near = collectives.send_time(message, wires.inside, wires.inside_latency)
    if wires.across is None or wires.domain is None:
        return near
    far = collectives.send_time(message, wires.across, wires.across_latency)
    chosen: Any = np.where(np.asarray(stride) < wires.domain, near, far)
    return chosen[()]


def balanced_sides(nodes: int, dimensions: int) -> tuple[int, ...]:
    """Sides of the most cubic torus of exactly so many nodes, longest first.

    Examples:
        >>> balanced_sides(64, 3), balanced_sides(128, 3), balanced_sides(6, 2), balanced_sides(7, 3)
        ((4, 4, 4), (8, 4, 4), (3, 2), (7, 1, 1))
    """
    if dimensions == 1:
        return (nodes,)
    best: tuple[int, ...] | None = None
    for side in range(1, round(nodes ** (1.0 / dimensions)) + 2):
        if nodes % side:
            continue
        sides = tuple(sorted((*balanced_sides(nodes // side, dimensions - 1), side), reverse=True))
        if best is None or sides < best:
            best = sides
    return best if best is not None else (nodes, *([1] * (dimensions - 1)))


def twisted_torus_hops(width: int, long: int) -> float:
    """Mean distance in a twisted k x k x 2k torus: wrapping a short side moves half way along the long one.

    Counted by breadth-first search from one node; all nodes are alike.

    Examples:
        >>> twisted_torus_hops(4, 8) < 4 * 128 / 127  # the plain 4 x 4 x 8 torus
        True
    """
    start = (0, 0, 0)
    distance = {start: 0}
    frontier = [start]
    while frontier:
        following = []
        for x, y, z in frontier:
            for near in _neighbours(x, y, z, width, long):
                if near not in distance:
                    distance[near] = distance[(x, y, z)] + 1
                    following.append(near)
        frontier = following
    return sum(distance.values()) / max(len(distance) - 1, 1)


def _neighbours(x: int, y: int, z: int, width: int, long: int) -> list[tuple[int, int, int]]:
    found = [(x, y, (z + step) % long) for step in (1, -1)]
    for step in (1, -1):
        for moved, other, first in ((x + step, y, True), (y + step, x, False)):
            shift = z if 0 <= moved < width else (z + long // 2) % long
            wrapped = moved % width
            found.append((wrapped, other, shift) if first else (other, wrapped, shift))
    return found
