"""What a network's shape leaves of its links: bisection, effective bandwidth, distance (wall 10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Defaults, Systems
from ..catalog.systems import NetworkFabric
from ..machine.network import balanced_sides
from ..physics import topology as eq
from ..record import total
from ..units import BytesPerSecond, Count, Fraction, Seconds
from .base import ForwardModel
from .border import Border, shape_of
from .result import Question, Result

TOPOLOGIES = ("fat_tree", "rail_optimized", "dragonfly", "torus_3d", "torus_2d", "mesh_3d", "ring", "nvl72")
RACK = 72.0
"""Chips of the largest scale-up domain built from one stage of switches, NVL72."""


def bisection_of(topology: str, nodes: Count, radix: Count) -> Fraction:
    """Bisection of a topology over full bisection."""
    if topology in ("fat_tree", "rail_optimized", "nvl72"):
        return 1.0 + 0.0 * nodes
    if topology == "dragonfly":
        return eq.dragonfly_bisection(np.ceil(nodes / (radix * radix / 4)))
    longest = _sides(topology, nodes)[0]
    return eq.torus_bisection(nodes, longest, 0.0 if topology.startswith("mesh") else 1.0)


def hops_of(topology: str, nodes: Count, radix: Count, ports: Count) -> Count:
    """Mean number of links between two different nodes."""
    if topology == "nvl72":
        return eq.switch_hops(nodes)
    if topology == "dragonfly":
        return eq.dragonfly_hops(nodes, radix / ports)
    if topology in ("fat_tree", "rail_optimized"):
        # A node with several ports takes as many of a leaf switch, unless each port is on a rail of its own.
        return eq.fat_tree_hops(nodes, radix if topology == "rail_optimized" else radix / ports)
    along = eq.line_distance if topology.startswith("mesh") else eq.ring_distance
    return eq.grid_hops(nodes, *(along(side) for side in _sides(topology, nodes)))


def _sides(topology: str, nodes: Count) -> tuple[Any, ...]:
    dimensions = {"ring": 1, "torus_2d": 2}.get(topology, 3)
    if not np.ndim(nodes):
        return tuple(float(side) for side in balanced_sides(int(nodes), dimensions))
    table = {int(n): balanced_sides(int(n), dimensions) for n in np.unique(nodes)}
    flat = np.array([table[int(n)] for n in np.ravel(nodes)], dtype=np.float64)
    return tuple(flat[:, column].reshape(np.shape(nodes)) for column in range(dimensions))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TopologyResult(Result):
    """A network of some shape."""

    effective_bw: BytesPerSecond
    bisection_bw_fraction: Fraction
    hops_avg: Count
    link_bandwidth: BytesPerSecond
    hop_latency: Seconds
    num_nodes: Count
    topology: str

    @total
    def bisection_bw(self) -> BytesPerSecond:
        """Capacity between two halves, one direction."""
        return eq.bisection_bandwidth(self.effective_bw, self.num_nodes)

    @property
    def bottleneck(self) -> Any:
        """``"Link"`` where nodes keep their whole link across the middle, else ``"Bisection"``."""
        inside = self.si
        full = np.broadcast_to(inside.effective_bw >= inside.link_bandwidth, self.shape)
        named = np.where(full, "Link", "Bisection")
        return named if self.shape else str(named)

    @property
    def margin(self) -> Any:
        """Bandwidth of a link over what a node keeps of it."""
        inside = self.si
        return inside.link_bandwidth / inside.effective_bw


class TopologyModel(ForwardModel):
    """Wall 10: when all nodes talk across the middle, the bisection decides, not the link."""

    walls = ((10, "Locality", "data"),)
    requires = ("fabric",)
    produces = TopologyResult
    misbeliefs = {
        "a 400 Gbit/s port gives 400 Gbit/s to everybody": "oversubscription and the bisection share it out",
        "fewer hops are faster training": "long messages wait for bandwidth; hops matter to small ones",
        "a torus is a cheap fat tree": "it is as good for neighbours and much worse for all-to-all traffic",
    }

    def solve(
        self,
        fabric: Any,
        topology: Any = "fat_tree",
        num_nodes: Any = 64,
        *,
        switch_radix: Any = None,
        ports_per_node: Any = 1,
    ) -> TopologyResult:
        """Bandwidth that nodes keep across the middle of a network, and how far they are from each other.

        Args:
            fabric: an entry of ``Systems.Fabrics`` or its name: bandwidth of a link, one direction, and oversubscription
            topology: fat_tree, rail_optimized, dragonfly (dragonfly+), torus_3d, torus_2d, mesh_3d, ring or nvl72
            num_nodes: nodes; may be an array
            switch_radix: ports of a switch; 64 unless said
            ports_per_node: ports of a node; on a fat tree they share a leaf, rail-optimised they each have a rail

        Examples:
            >>> answer = TopologyModel().solve("InfiniBand_NDR", "torus_3d", 512)
            >>> print(f"{answer.effective_bw.to('GB/s'):.1f~P}", answer.bisection_bw_fraction, round(answer.hops_avg, 2))
            25.0 GB/s 0.5 6.01
        """
        arguments = dict(fabric=fabric, topology=topology, num_nodes=num_nodes, switch_radix=switch_radix,
                         ports_per_node=ports_per_node)  # fmt: skip
        border = Border()
        network = border.entry("fabric", fabric, NetworkFabric, Systems)
        shape = border.choice("topology", _word(topology), TOPOLOGIES)
        nodes = border.count("num_nodes", num_nodes, most=RACK if shape == "nvl72" else 1e7)
        assumed = Defaults["Training"].si.switch_radix
        radix = assumed if switch_radix is None else border.count("switch_radix", switch_radix, least=2)
        ports = border.count("ports_per_node", ports_per_node)
        border.close()
        arguments.update(fabric=network, topology=shape)
        inside = network.si
        fraction = bisection_of(shape, nodes, radix)
        notes = () if switch_radix is not None or shape not in ("fat_tree", "rail_optimized", "dragonfly") else (
            f"switches of {assumed:g} ports",
        )  # fmt: skip
        return TopologyResult(
            question=Question(type(self), arguments),
            shape=shape_of(nodes, radix, ports, inside.bandwidth),
            notes=notes,
            effective_bw=eq.effective_bandwidth(inside.bandwidth, fraction, inside.oversubscription_ratio),
            bisection_bw_fraction=np.minimum(fraction, 1.0) / inside.oversubscription_ratio,
            hops_avg=hops_of(shape, nodes, radix, ports),
            link_bandwidth=inside.bandwidth,
            hop_latency=inside.latency,
            num_nodes=nodes,
            topology=shape,
        )


def _word(value: Any) -> Any:
    """Names of topologies as people write them: hyphens, blanks, dragonfly+, British spelling."""
    if not isinstance(value, str):
        return value
    word = value.strip().lower().replace("-", "_").replace(" ", "_").rstrip("+")
    return {"rail_optimised": "rail_optimized", "dragonfly_plus": "dragonfly", "torus": "torus_3d"}.get(word, word)
