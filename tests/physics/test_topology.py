"""Topologies: distances counted on real graphs, textbook bisections, small networks."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim.machine.network import balanced_sides
from mlsysim.physics import topology as t
from mlsysim.solvers.topology import bisection_of, hops_of


def mean_distance(sides, wraps):
    """Mean distance between different nodes of a grid, counted pair by pair."""
    nodes = list(itertools.product(*(range(side) for side in sides)))
    total = 0
    for a in nodes:
        for b in nodes:
            for x, y, side in zip(a, b, sides, strict=True):
                total += min(abs(x - y), side - abs(x - y)) if wraps else abs(x - y)
    return total / (len(nodes) * (len(nodes) - 1)) if len(nodes) > 1 else 0.0


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 27, 36, 64])
def test_distances_are_those_of_the_graph_also_for_few_nodes(nodes):
    for name, dimensions, wraps in (
        ("ring", 1, True),
        ("torus_2d", 2, True),
        ("torus_3d", 3, True),
        ("mesh_3d", 3, False),
    ):
        counted = mean_distance(balanced_sides(nodes, dimensions), wraps)
        assert hops_of(name, float(nodes), 64.0, 1.0) == pytest.approx(counted), (name, nodes)


def counted_cut(side, others, wraps):
    """Links between the two halves of a grid cut across its longest side."""
    half = side // 2
    along = {tuple(sorted((x, (x + 1) % side))) for x in range(side if wraps else side - 1)} if side > 1 else set()
    return others * sum((x < half) != (y < half) for x, y in along)


@pytest.mark.parametrize("sides", [(2,), (4,), (8,), (2, 2), (4, 4), (4, 4, 4), (8, 4, 4), (2, 2, 2)])
@pytest.mark.parametrize("wraps", [True, False])
def test_bisections_are_those_of_the_graph(sides, wraps):
    nodes = float(np.prod(sides))
    links = counted_cut(sides[0], nodes / sides[0], wraps)
    assert t.torus_bisection(nodes, float(sides[0]), float(wraps)) == pytest.approx(links / (nodes / 2))


def test_bisection_of_dally_and_towles_section_5_2():
    """An 8-ary 3-cube has 4 N / k = 256 bisection channels, half of them each way; mean distance n k / 4 = 6."""
    assert float(t.torus_bisection(512.0, 8.0)) * 512 / 2 == 128
    assert 3 * t.ring_distance(8.0) == 6.0


def test_fat_tree_sizes_of_al_fares_2008():
    """Section 2.2: switches of k ports join k^3 / 4 hosts; with k = 48, 27,648. Nobody is further than six links."""
    hosts = 48**3 / 4
    assert hosts == 27_648
    assert 5.9 < t.fat_tree_hops(hosts, 48.0) < 6
    assert t.fat_tree_hops(24.0, 48.0) == 2


@given(st.integers(1, 100_000), st.sampled_from([32.0, 40.0, 64.0, 128.0]))
def test_distances_rise_from_none_to_the_height_of_the_tree(nodes, radix):
    for hops, most in ((t.fat_tree_hops, 6.0), (t.dragonfly_hops, 5.0)):
        here = float(hops(float(nodes), radix))
        assert (here == 0) if nodes == 1 else (2 - 1e-9 <= here <= most)


@given(st.integers(1, 4096))
def test_no_topology_gives_a_node_more_than_its_link(nodes):
    for name in ("fat_tree", "dragonfly", "torus_3d", "torus_2d", "mesh_3d", "ring"):
        fraction = bisection_of(name, float(nodes), 64.0)
        kept = float(t.effective_bandwidth(50e9, fraction))
        assert 0 < kept <= 50e9
        assert float(t.effective_bandwidth(50e9, fraction, 2.0)) == pytest.approx(kept / 2)
