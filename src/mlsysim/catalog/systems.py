"""Systems: nodes, fabrics, clusters, tiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..units import Bytes, BytesPerSecond, Count, Dollars, Seconds, Watts
from .hardware import Device
from .infra import Datacenter, GridProfile
from .spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkFabric(Spec):
    """A scale-out network; the bandwidth is one direction of one port."""

    topology: str
    bandwidth: BytesPerSecond
    latency: Seconds
    oversubscription_ratio: Count = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node(Spec):
    """A server, or a rack that is one scale-up domain; link bandwidth is one direction of one accelerator."""

    accelerator: Device
    accelerators_per_node: Count
    link_bandwidth: BytesPerSecond
    link_latency: Seconds | None = None
    nics_per_node: Count | None = None
    nic_bandwidth: BytesPerSecond | None = None
    psus_per_node: Count | None = None
    cpu: str | None = None
    host_memory: Bytes | None = None
    storage_capacity: Bytes | None = None
    storage_bandwidth: BytesPerSecond | None = None
    power: Watts | None = None
    price: Dollars | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fleet(Spec):
    """Many equal nodes on a fabric."""

    node: Node
    count: Count
    fabric: NetworkFabric
    region: GridProfile | None = None
    datacenter: Datacenter | None = None
    mtbf: Seconds | None = None

    @property
    def total_accelerators(self) -> Any:
        """Accelerators of all nodes."""
        inside = self.si
        return inside.count * inside.node.accelerators_per_node


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeploymentTier(Spec):
    """What a class of deployment usually offers."""

    ram: Bytes
    storage: Bytes
    latency_budget: Seconds
