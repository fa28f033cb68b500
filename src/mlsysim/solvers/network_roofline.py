"""The roofline of the network: arithmetic of a chip against gradients through its share of the fabric (wall 14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import textbook
from ..errors import MissingFactError
from ..machine import network
from ..machine.textbook import peak_in, wiring
from ..physics import hierarchical, roofline
from ..physics import transformer as eq
from ..physics.collective_kernels import ring_wire_bytes
from ..record import total
from ..units import Bytes, BytesPerSecond, Count, Flop, FlopPerByte, FlopPerSecond, Fraction, Seconds
from .base import ForwardModel
from .border import Border, shape_of
from .limits import binding
from .plan_rules import fleet_of
from .result import Question, Result

TRAINING = 6.0
"""FLOPs of training for each parameter and token."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkRooflineResult(Result):
    """Data-parallel training seen from one chip and its share of the network."""

    flops: Flop
    traffic: Bytes
    peak_flops_actual: FlopPerSecond
    bandwidth: BytesPerSecond
    latency_compute: Seconds
    latency_network: Seconds
    all_reduce_latency: Seconds
    tokens_per_chip: Count
    chips: Count

    @total
    def communication_intensity(self) -> FlopPerByte:
        """FLOPs of a chip for each byte it hands to the fabric."""
        return roofline.arithmetic_intensity(self.flops, self.traffic)

    @total
    def ridge_point(self) -> FlopPerByte:
        """Communication intensity at which arithmetic and network take equally long."""
        return roofline.ridge_point(self.peak_flops_actual, self.bandwidth)

    @total
    def attainable(self) -> FlopPerSecond:
        """Rate of a chip under both roofs."""
        return roofline.attainable_flops(self.communication_intensity, self.peak_flops_actual, self.bandwidth)

    @total
    def latency(self) -> Seconds:
        """Time of a step when arithmetic and network overlap fully."""
        return roofline.roofline_time(self.latency_compute, self.latency_network, 0.0)

    @total
    def tokens_to_balance(self) -> Count:
        """Tokens of a chip in one step at which arithmetic hides the network."""
        return self.tokens_per_chip * self.ridge_point / self.communication_intensity

    @total
    def network_share(self) -> Fraction:
        """Network time over the step's; 1 where the network binds."""
        return self.latency_network / self.latency

    @property
    def bottleneck(self) -> Any:
        """``"Network"`` or ``"Compute"``."""
        return self._binding()[0]

    @property
    def margin(self) -> Any:
        """How many times slower the bottleneck is than the other."""
        return self._binding()[1]

    def _binding(self) -> tuple[Any, Any]:
        times = (self.si.latency_compute, self.si.latency_network)
        return binding(("Compute", "Network"), tuple(np.broadcast_to(time, self.shape) for time in times))


class NetworkRooflineModel(ForwardModel):
    """Wall 14 as a roofline: how many tokens a chip must see before its gradients hide."""

    walls = ((14, "Communication", "fleet"),)
    requires = ("workload", "fleet")
    produces = NetworkRooflineResult
    misbeliefs = {
        "the fabric's link is the cluster's bandwidth": "every chip has a share of its own; the cluster has them all",
        "faster chips train faster": "below the ridge point the network decides, and the ridge moves up with the chip",
        "larger models need faster networks": "work and gradients both grow with parameters; tokens per chip decide",
    }

    def solve(
        self,
        model: Any,
        fleet: Any,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        *,
        tokens_per_chip: Any = 1,
    ) -> NetworkRooflineResult:
        """One data-parallel step: 6 FLOPs a parameter and token against an all-reduce of the gradients.

        Gradients are first added up inside each node; a chip carries its shard of the sum over its share of the fabric.

        Args:
            model: an entry of ``Models`` or its name
            fleet: a fleet or its name
            precision: number format of gradients and arithmetic
            efficiency: share of the arithmetic peak that is reached, in (0, 1]
            tokens_per_chip: tokens (samples of 6 FLOPs a parameter) of one chip in a step; may be an array

        Examples:
            >>> answer = NetworkRooflineModel().solve("Llama3_70B", "Frontier_8K", tokens_per_chip=4096)
            >>> answer.bottleneck, round(answer.communication_intensity.magnitude)
            ('Compute', 49200)
        """
        arguments = dict(model=model, fleet=fleet, precision=precision, efficiency=efficiency,
                         tokens_per_chip=tokens_per_chip)  # fmt: skip
        border = Border()
        spec, machine = border.model(model), fleet_of(border, fleet)
        number = border.format(precision)
        eta, tokens = border.fraction("efficiency", efficiency), border.count("tokens_per_chip", tokens_per_chip)
        border.close()
        arguments.update(model=spec, fleet=machine)
        m = spec.si
        if m.parameters is None:
            raise MissingFactError(f"{spec.id}: no parameter count in the catalog; pass model.replace(parameters=...)")
        wires = wiring(machine, textbook().link_latency)
        peak, notes = peak_in(wires.chip, number)
        group = network.group_of(wires, wires.chips)
        gradients = eq.weight_size(
            m.parameters, np.maximum(number.bytes_per_value(), number.si.activation_bits / 8)[()]
        )
        if wires.across is None:
            bandwidth, traffic = wires.inside, ring_wire_bytes(gradients, wires.chips, 2.0)
        else:
            bandwidth = wires.across
            traffic = ring_wire_bytes(hierarchical.shard_size(gradients, group.local), group.groups, 2.0)
        work = eq.linear_flops(m.active_parameters or m.parameters, tokens, TRAINING)
        return NetworkRooflineResult(
            question=Question(type(self), arguments),
            shape=shape_of(eta, tokens),
            notes=(*wires.notes, *notes),
            flops=work,
            traffic=traffic,
            peak_flops_actual=peak * eta,
            bandwidth=bandwidth,
            latency_compute=roofline.compute_time(work, peak, eta),
            latency_network=roofline.memory_time(traffic, bandwidth),
            all_reduce_latency=network.all_reduce_time(gradients, group),
            tokens_per_chip=tokens,
            chips=wires.chips,
        )
