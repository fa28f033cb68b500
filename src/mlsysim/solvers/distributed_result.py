"""What a training step on a fleet is answered with: time by cause, memory by use, and what is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..physics import memory, roofline
from ..record import total
from ..units import Bytes, Count, Flop, FlopPerSecond, Fraction, PerSecond, Seconds, TokensPerSecond
from .limits import Limit, binding
from .result import Result
from .training_remedies import remedies_of

PARTS = ("Compute", "Tensor parallel", "Expert parallel", "Context parallel", "Pipeline sends", "Data parallel",
         "Pipeline bubble", "Optimizer update", "Stragglers")  # fmt: skip
WALLS = {"Compute": (1, "Compute"), "Memory": (2, "Memory"), "Optimizer update": (2, "Memory")}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DistributedResult(Result):
    """A step in parts that add up, the memory of the fullest chip in parts that add up, and what is reached."""

    compute_latency: Seconds
    tp_communication_latency: Seconds
    ep_communication_latency: Seconds
    cp_communication_latency: Seconds
    pp_communication_latency: Seconds
    dp_communication_latency: Seconds
    pipeline_bubble_latency: Seconds
    update_latency: Seconds
    straggler_latency: Seconds
    dp_communication_hidden: Seconds
    ideal_latency: Seconds
    bubble_fraction: Fraction
    weights: Bytes
    gradients: Bytes
    optimizer_state: Bytes
    activations: Bytes
    logits: Bytes
    communication_buffers: Bytes
    memory_capacity: Bytes
    batch: Count
    tokens_per_sample: Count
    chips: Count
    flops: Flop
    hardware_flops: Flop
    peak: FlopPerSecond
    dp: Count
    tp: Count
    pp: Count
    ep: Count
    cp: Count
    memory_bound: Any
    optimizer_on_host: Bytes
    host_capacity: Bytes
    feasible: bool

    @total
    def communication_latency(self) -> Seconds:
        """All communication that the step waits for."""
        inner = memory.sum_of_times(
            self.tp_communication_latency, self.ep_communication_latency, self.cp_communication_latency
        )
        return memory.sum_of_times(inner, self.pp_communication_latency, self.dp_communication_latency)

    @total
    def step_latency_total(self) -> Seconds:
        """Time of one optimizer step."""
        own = memory.sum_of_times(self.compute_latency, self.pipeline_bubble_latency, self.update_latency)
        return memory.sum_of_times(own, self.communication_latency, self.straggler_latency)

    @total
    def scaling_efficiency(self) -> Fraction:
        """Arithmetic dealt evenly, at the given efficiency, over the step."""
        return self.ideal_latency / self.step_latency_total

    @total
    def effective_throughput(self) -> PerSecond:
        """Samples a second of the whole fleet."""
        return self.batch / self.step_latency_total

    @total
    def tokens_per_second(self) -> TokensPerSecond:
        """Tokens a second of the whole fleet; NaN for models that read none."""
        return self.batch * self.tokens_per_sample / self.step_latency_total

    @total
    def mfu(self) -> Fraction:
        """FLOPs that the model needs (causal attention, nothing recomputed) over what the peak does in that time."""
        return roofline.utilisation(self.flops, self.step_latency_total, self.peak * self.chips)

    @total
    def hfu(self) -> Fraction:
        """FLOPs done, recomputed ones included, over what the peak does in that time."""
        return roofline.utilisation(self.hardware_flops, self.step_latency_total, self.peak * self.chips)

    @total
    def flops_per_second_per_chip(self) -> FlopPerSecond:
        """Rate that a chip sustains, recomputation included, as Megatron-LM reports it."""
        return self.hardware_flops / (self.step_latency_total * self.chips)

    @total
    def memory_per_device(self) -> Bytes:
        """Memory of the fullest chip."""
        states = memory.sum_of_bytes(self.weights, self.gradients, self.optimizer_state)
        return memory.sum_of_bytes(states, memory.sum_of_bytes(self.activations, self.logits, 0.0),
                                   self.communication_buffers)  # fmt: skip

    @total
    def memory_utilization(self) -> Fraction:
        """Memory needed on the fullest chip over memory there is."""
        return self.memory_per_device / self.memory_capacity

    @property
    def memory_peak(self) -> Any:
        """Which stage is fullest, and when."""
        i = self.si
        late = np.broadcast_to(np.asarray(i.logits) > 0, self.shape)
        named = np.where(
            late, "last stage, at the loss", "first stage, when the last micro-batch of its warm-up is in flight"
        )
        return named if self.shape else str(named)

    @property
    def parallelism(self) -> dict[str, Any]:
        """Ranks of each kind; their product is the number of chips, and the batch is dealt over ``dp * ep`` ranks.

        Where experts are folded over more than the data-parallel ranks, ``ep`` is no factor and the batch is dealt over ``dp``.
        """
        inside = self.si
        names = ("dp", "tp", "pp", "ep", "cp")
        found = {name: getattr(inside, name) for name in names}
        return {name: value if np.ndim(value) else int(value) for name, value in found.items()}

    @property
    def node_profile(self) -> dict[str, Any]:
        """What one chip does in a step: arithmetic, and memory by use."""
        names = ("compute_latency", "weights", "gradients", "optimizer_state", "activations", "logits",
                 "communication_buffers", "memory_per_device", "memory_capacity")  # fmt: skip
        return {name: getattr(self, name) for name in names}

    @property
    def bottleneck(self) -> Any:
        """The longest part of the step."""
        return self._parts()[0]

    @property
    def margin(self) -> Any:
        """How many times longer the longest part is than the next."""
        return self._parts()[1]

    def _parts(self) -> tuple[Any, Any]:
        i = self.si
        times = (i.compute_latency, i.tp_communication_latency, i.ep_communication_latency, i.cp_communication_latency,
                 i.pp_communication_latency, i.dp_communication_latency, i.pipeline_bubble_latency, i.update_latency,
                 i.straggler_latency)  # fmt: skip
        named, margin = binding(PARTS, tuple(np.broadcast_to(t, self.shape) for t in times))
        memory_bound = np.broadcast_to(i.memory_bound, self.shape)
        named = np.where((np.asarray(named) == "Compute") & memory_bound, "Memory", named)
        return (named if self.shape else str(named)), margin

    @property
    def binding_wall(self) -> Any:
        """The wall of the bottleneck: arithmetic (1), memory (2) or communication (14); numbers in a sweep."""
        bound = self.bottleneck
        if not self.shape:
            return WALLS.get(bound, (14, "Communication"))
        return np.where(bound == "Compute", 1, np.where(np.isin(bound, ("Memory", "Optimizer update")), 2, 14))

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit: the fullest chip, and a chip's share of its host where states, weights or activations lie there."""
        inside = self.si
        found = (Limit("memory per device", inside.memory_per_device, inside.memory_capacity, "byte"),)
        asked = self.question.arguments
        if asked["offload"] == asked["offload_param"] == "none" and asked.get("offload_layers") is None:
            return found
        return (*found, Limit("states on the host, per device", inside.optimizer_on_host, inside.host_capacity, "byte"))

    @property
    def remedies(self) -> list[str]:
        """Changes after which the step fits, cheapest first, each checked by asking again; empty where it fits."""
        return remedies_of(self)
