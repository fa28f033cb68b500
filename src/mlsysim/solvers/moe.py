"""Mixture of experts on several ranks: uneven routing, and tokens that travel to their experts (wall 14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import textbook
from ..catalog.models import Transformer
from ..errors import InvalidPlanError, alternatives
from ..machine import network
from ..machine.textbook import wiring
from ..physics import moe as eq
from ..record import total
from ..units import Bytes, Count, Fraction, Seconds
from ..workloads.transformer import shape as shape_of_model
from .base import ForwardModel
from .border import Border, shape_of, unsupported
from .plan_rules import fleet_of, near_divisors
from .result import Question, Result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MoERoutingResult(Result):
    """How routing loads the slowest rank, and what it sends."""

    routing_imbalance_factor: Fraction
    expected_imbalance: Fraction
    expected_expert_imbalance: Fraction
    effective_active_experts: Count
    active_parameters: Count
    effective_active_parameters: Count
    token_dispatch_bytes: Bytes
    layer_all_to_all_latency: Seconds | None
    moe_layers: Count
    ep_size: Count
    dropped_share: Fraction | None

    @total
    def active_parameter_multiplier(self) -> Fraction:
        """Parameters that the slowest rank computes with, over those of even routing."""
        return self.effective_active_parameters / self.active_parameters

    @total
    def all_to_all_latency(self) -> Seconds:
        """Dispatch and combine of one forward pass over all layers with experts; NaN without a fleet."""
        each = self.layer_all_to_all_latency
        return np.nan if each is None else each * self.moe_layers


class MoERoutingModel(ForwardModel):
    """Wall 14 for experts: every token goes to its experts and back, and the fullest rank sets the pace."""

    walls = ((14, "Communication", "fleet"),)
    requires = ("workload",)
    produces = MoERoutingResult
    misbeliefs = {
        "a mixture costs what its active parameters cost": "the fullest rank computes more, and tokens travel twice a layer",
        "a balanced router loads experts evenly": "chance alone fills some more than others, above all at small batches",
        "a capacity factor is free": "what finds its expert full is dropped",
    }

    def solve(
        self,
        model: Any,
        batch_size: Any,
        seq_len: Any,
        precision: Any = "fp16",
        ep_size: Any = 1,
        routing_imbalance_factor: Any = 1.0,
        fleet: Any = None,
        *,
        capacity_factor: Any = None,
    ) -> MoERoutingResult:
        """Load and traffic of one pass of a batch through the experts.

        Args:
            model: a mixture of experts of ``Models`` or its name
            batch_size: sequences over all expert ranks; may be an array
            seq_len: tokens of a sequence that pass through; 1 for a decode step
            precision: number format in which tokens travel
            ep_size: ranks that the experts are spread over
            routing_imbalance_factor: load of the fullest rank over the mean, at least 1; None for what chance gives
            fleet: a fleet or a node whose links carry the tokens
            capacity_factor: room of an expert over the mean load; tokens beyond it are dropped

        Examples:
            >>> answer = MoERoutingModel().solve("Mixtral_8x7B", 8, 2048, ep_size=8, fleet="DGX_H100")
            >>> print(f"{answer.token_dispatch_bytes.to('MB'):.1f~P}", round(answer.expected_imbalance, 2))
            33.6 MB 1.03
        """
        arguments = dict(model=model, batch_size=batch_size, seq_len=seq_len, precision=precision, ep_size=ep_size,
                         routing_imbalance_factor=routing_imbalance_factor, fleet=fleet,
                         capacity_factor=capacity_factor)  # fmt: skip
        border = Border()
        spec, number = border.model(model), border.format(precision)
        batch, tokens = border.count("batch_size", batch_size), border.count("seq_len", seq_len)
        ranks = border.count("ep_size", ep_size)
        given = None if routing_imbalance_factor is None else border.number(
            "routing_imbalance_factor", routing_imbalance_factor, least=1.0
        )  # fmt: skip
        room = None if capacity_factor is None else border.number("capacity_factor", capacity_factor, least=0.0)
        machine = None if fleet is None else fleet_of(border, fleet)
        border.close()
        if not isinstance(spec, Transformer) or spec.si.experts is None:
            raise unsupported("MoERoutingModel", spec, "mixtures of experts")
        arguments.update(model=spec, fleet=machine)
        s = shape_of_model(spec)
        if not np.ndim(ranks) and s.experts % ranks:
            near = alternatives([str(n) for n in near_divisors(s.experts, ranks)])
            raise InvalidPlanError(f"ep_size {ranks:g} does not divide {s.experts:g} routed experts; try {near}")
        assignments = batch * tokens * s.active_experts
        by_rank, by_expert = eq.routing_imbalance(assignments, ranks), eq.routing_imbalance(assignments, s.experts)
        factor = by_rank if given is None else given
        routed = s.routed * s.active_experts / s.experts
        dispatch = eq.dispatch_size(batch * tokens / ranks, s.active_experts, s.hidden, number.bytes_per_value())
        latency: Any = None
        notes: tuple[str, ...] = ("no fleet is given; the time of the exchange is unknown",)
        if machine is not None:
            wires = wiring(machine, textbook().link_latency)
            group = network.group_of(wires, ranks)
            sent = eq.dispatch_size(
                batch * tokens / ranks, s.active_experts, s.hidden, number.bytes_per_value(), factor
            )
            latency, notes = 2 * network.all_to_all_time(sent, group, s.active_experts), wires.notes
            if np.any(ranks > wires.chips):
                raise InvalidPlanError(f"ep_size {np.max(ranks):g} needs more chips than the {wires.chips:g} there are")
        return MoERoutingResult(
            question=Question(type(self), arguments),
            shape=shape_of(batch, tokens, ranks, factor, *(() if room is None else (room,))),
            notes=notes,
            routing_imbalance_factor=factor,
            expected_imbalance=by_rank,
            expected_expert_imbalance=by_expert,
            effective_active_experts=s.active_experts * factor,
            active_parameters=s.active,
            effective_active_parameters=eq.effective_parameters(s.active - routed, routed, factor),
            token_dispatch_bytes=dispatch,
            layer_all_to_all_latency=latency,
            moe_layers=s.moe_layers,
            ep_size=ranks,
            dropped_share=None if room is None else eq.dropped_share(assignments, s.experts, room),
        )
