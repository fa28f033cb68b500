"""Networks: bisection and mean distance of the usual topologies, exact for few nodes as for many.

Bandwidths are one direction. A bisection fraction is the capacity between two halves over what half of the nodes can
send; distances count links from node to node, averaged over all pairs of different nodes.
"""

from __future__ import annotations

import numpy as np

from ..units import BytesPerSecond, Count, Fraction
from . import equation


@equation
def effective_bandwidth(link: BytesPerSecond, fraction: Fraction, oversubscription: Count = 1.0) -> BytesPerSecond:
    r"""Bandwidth that each node keeps when all nodes send across the network's middle at once.

    .. math:: B = \frac{B_l \min(\beta, 1)}{o}

    Args:
        link: one direction of a node's link, B_l [byte/second]
        fraction: bisection of the topology over full bisection, beta [1]
        oversubscription: capacity into the switches over capacity between them, o [1]

    Returns:
        Bandwidth of one node, one direction [byte/second].

    Source:
        W. J. Dally and B. Towles, Principles and Practices of Interconnection Networks, Morgan Kaufmann 2004,
        section 3.3.1.

    Examples:
        >>> float(effective_bandwidth(50e9, 0.5)) / 1e9
        25.0
    """
    return link * np.minimum(fraction, 1.0) / oversubscription


@equation
def bisection_bandwidth(effective: BytesPerSecond, nodes: Count) -> BytesPerSecond:
    r"""Capacity between two halves of the network, one direction.

    .. math:: B_b = \frac{N}{2} B

    Args:
        effective: bandwidth of one node across the middle, B [byte/second]
        nodes: nodes, N [1]

    Returns:
        Bandwidth, one direction [byte/second].

    Source:
        C. E. Leiserson, Fat-trees: universal networks for hardware-efficient supercomputing, IEEE Trans. Comput. 34
        (1985) 892-901.

    Examples:
        >>> bisection_bandwidth(50e9, 64.0) / 1e9
        1600.0
    """
    return effective * nodes / 2


@equation
def fat_tree_hops(nodes: Count, radix: Count) -> Count:
    r"""Mean distance in a full fat tree (folded Clos): two links below a common leaf switch, four in a pod, else six.

    One switch joins up to k nodes; two levels up to k^2 / 2, with k / 2 nodes a leaf; three levels up to k^3 / 4.

    .. math:: h = 6 - 2 \frac{\min(l, N) - 1}{N - 1} - 2 \frac{\min(q, N) - 1}{N - 1},
        \quad l = k\ (N \le k),\ \frac{k}{2};\quad q = \frac{k^2}{2}\ (N \le \frac{k^2}{2}),\ \frac{k^2}{4}

    Args:
        nodes: nodes with one port each, N [1]
        radix: ports of a switch, k [1]

    Returns:
        Links from node to node; 0 for one node [1].

    Source:
        M. Al-Fares, A. Loukissas and A. Vahdat, A scalable, commodity data center network architecture, SIGCOMM 2008,
        doi:10.1145/1402958.1402967, section 2.2.

    Examples:
        >>> fat_tree_hops(np.array([1.0, 64.0, 2048.0, 65536.0]), 64.0)
        array([0.        , 2.        , 3.9697..., 5.967...])
    """
    leaf = np.where(nodes <= radix, nodes, radix / 2)
    pod = np.where(nodes <= radix * radix / 2, nodes, radix * radix / 4)
    others = np.maximum(nodes - 1, 1e-300)
    return np.where(nodes > 1, 6 - 2 * (leaf - 1) / others - 2 * (pod - 1) / others, 0.0)


@equation
def dragonfly_bisection(groups: Count) -> Fraction:
    r"""Bisection of a dragonfly+ whose groups have as many global links as nodes, over full bisection.

    Each group spreads its links evenly over the others, so about half of them cross the middle.

    .. math:: \beta = \frac{g}{2 (g - 1)}\ (g > 2), \quad 1\ (g \le 2)

    Args:
        groups: groups, g [1]

    Returns:
        Fraction [1].

    Source:
        A. Shpiner et al., Dragonfly+: low cost topology for scaling datacenters, HiPINEB 2017,
        doi:10.1109/HiPINEB.2017.11 (groups are two-level fat trees, all to all between groups).

    Examples:
        >>> dragonfly_bisection(np.array([1.0, 2.0, 9.0]))
        array([1.    , 1.    , 0.5625])
    """
    return np.where(groups > 2, groups / (2 * np.maximum(groups - 1, 1.0)), 1.0)


@equation
def dragonfly_hops(nodes: Count, radix: Count) -> Count:
    r"""Mean shortest distance in a dragonfly+: two links below a leaf, four in a group, five between groups.

    A group is a two-level fat tree of (k / 2)^2 nodes whose upper switches also carry the global links.

    .. math:: h = 5 - 2 \frac{\min(l, N) - 1}{N - 1} - \frac{\min(q, N) - 1}{N - 1}, \quad l = \frac{k}{2},\
        q = \frac{k^2}{4}

    Args:
        nodes: nodes, N [1]
        radix: ports of a switch, k [1]

    Returns:
        Links from node to node; 0 for one node [1].

    Source:
        A. Shpiner et al., Dragonfly+, HiPINEB 2017, doi:10.1109/HiPINEB.2017.11, section II.

    Examples:
        >>> dragonfly_hops(np.array([1.0, 32.0, 16384.0]), 64.0)
        array([0.        , 2.        , 4.9337...])
    """
    others = np.maximum(nodes - 1, 1e-300)
    leaf, group = np.minimum(radix / 2, nodes), np.minimum(radix * radix / 4, nodes)
    return np.where(nodes > 1, 5 - 2 * (leaf - 1) / others - (group - 1) / others, 0.0)


@equation
def torus_bisection(nodes: Count, longest: Count, wraps: Fraction = 1.0) -> Fraction:
    r"""Bisection of a torus or mesh, cut across its longest side, over full bisection; a ring is the case of one side.

    Each row along the longest side is cut once, and a second time where it wraps around (a row of two has one link).

    .. math:: \beta = \frac{2}{k} (1 + w [k > 2])

    Args:
        nodes: nodes, N; one node has full bisection [1]
        longest: nodes along the longest side, k [1]
        wraps: 1 for a torus, 0 for a mesh, w [1]

    Returns:
        Fraction; above 1 where the links outnumber the nodes' own [1].

    Source:
        W. J. Dally and B. Towles, Principles and Practices of Interconnection Networks, Morgan Kaufmann 2004,
        section 5.2.1: a k-ary n-cube torus has 4 N / k bisection channels, both directions counted.

    Examples:
        >>> torus_bisection(np.array([1.0, 64.0, 64.0]), np.array([1.0, 64.0, 4.0]))  # one node, a ring, 4 x 4 x 4
        array([1.    , 0.0625, 1.    ])
    """
    return np.where(nodes > 1, 2 / longest * (1 + wraps * np.minimum(np.maximum(longest - 2, 0.0), 1.0)), 1.0)


@equation
def ring_distance(side: Count) -> Count:
    r"""Mean distance from a node of a ring to any node of it, itself included.

    .. math:: \bar d = \frac{\lfloor k^2 / 4 \rfloor}{k}

    Args:
        side: nodes of the ring, k [1]

    Returns:
        Links [1].

    Source:
        W. J. Dally and B. Towles, Principles and Practices of Interconnection Networks, Morgan Kaufmann 2004,
        section 5.2.2: k / 4 for even k, k / 4 - 1 / (4 k) for odd.

    Examples:
        >>> ring_distance(np.array([1.0, 2.0, 3.0, 4.0]))
        array([0.        , 0.5       , 0.66666667, 1.        ])
    """
    return np.floor(side * side / 4) / side


@equation
def line_distance(side: Count) -> Count:
    r"""Mean distance between nodes of a line, a pair of equal ones included.

    .. math:: \bar d = \frac{k^2 - 1}{3 k}

    Args:
        side: nodes of the line, k [1]

    Returns:
        Links [1].

    Source:
        W. J. Dally and B. Towles, Principles and Practices of Interconnection Networks, Morgan Kaufmann 2004,
        section 5.2.2.

    Examples:
        >>> line_distance(np.array([1.0, 2.0, 4.0]))
        array([0.  , 0.5 , 1.25])
    """
    return (side * side - 1) / (3 * side)


@equation
def grid_hops(nodes: Count, first: Count, second: Count = 0.0, third: Count = 0.0) -> Count:
    r"""Mean distance between different nodes of a torus or mesh, from the mean distances along its sides.

    .. math:: h = \frac{N}{N - 1} (\bar d_1 + \bar d_2 + \bar d_3)

    Args:
        nodes: nodes, N [1]
        first: mean distance along the first side, equal nodes included, d_1 [1]
        second: along the second side, d_2 [1]
        third: along the third side, d_3 [1]

    Returns:
        Links from node to node; 0 for one node [1].

    Source:
        W. J. Dally and B. Towles, Principles and Practices of Interconnection Networks, Morgan Kaufmann 2004,
        section 5.2.2.

    Examples:
        >>> grid_hops(np.array([1.0, 64.0]), np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([0.0, 1.0]))
        array([0.        , 3.04761905])
    """
    return np.where(nodes > 1, (first + second + third) * nodes / np.maximum(nodes - 1, 1.0), 0.0)


@equation
def switch_hops(nodes: Count, links: Count = 2.0) -> Count:
    r"""Distance through one switch: a link in and a link out.

    .. math:: h = 2\ (N > 1)

    Args:
        nodes: nodes at the switch, N [1]
        links: links of a path, 2 [1]

    Returns:
        Links from node to node; 0 for one node [1].

    Source:
        C. Clos, A study of non-blocking switching networks, Bell Syst. Tech. J. 32 (1953) 406-424.

    Examples:
        >>> switch_hops(np.array([1.0, 72.0]))
        array([0., 2.])
    """
    return np.where(nodes > 1, links, 0.0)
