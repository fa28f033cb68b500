"""One training step of a model on one device: forward, backward and update by the roofline (walls 1 and 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import textbook
from ..catalog.models import Transformer
from ..errors import InfeasibleError, InvalidInputError
from ..machine.textbook import peak_in, power_terms
from ..physics import energy, memory, roofline
from ..physics import training_memory as state
from ..physics import transformer as eq
from ..record import total
from ..units import Bytes, Count, Flop, Fraction
from ..workloads.passes import inference_pass, prefill_attention, weight_bytes
from ..workloads.transformer import shape
from .base import ForwardModel
from .border import Border, shape_of
from .node import PerformanceProfile
from .result import Question

BACKWARD = 2.0
"""FLOPs of the backward pass over those of the forward pass: gradients of inputs, and of weights."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingStepResult(PerformanceProfile):
    """How one training step runs on one device of a data-parallel group."""

    hardware_flops: Flop
    state_size: Bytes
    activation_size: Bytes

    @total
    def hfu(self) -> Fraction:
        """Hardware FLOPs utilisation: recomputed work counts."""
        return roofline.utilisation(self.hardware_flops, self.latency, self.peak)


class TrainingStep(ForwardModel):
    """Walls 1 and 2 for a training step on one device; :class:`DistributedModel` places one on a fleet."""

    walls = ((1, "Compute", "node"), (2, "Memory", "node"))
    requires = ("workload", "hardware")
    produces = TrainingStepResult
    misbeliefs = {
        "training needs as much memory as inference": "mixed-precision Adam keeps 16 bytes a parameter, and activations",
        "recomputation is free memory": "it repeats the forward pass: a third more work",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        batch_size: Any = 1,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        raise_errors: bool = False,
        *,
        seq_len: Any = 2048,
        zero_stage: Any = 0,
        dp_size: Any = 1,
        is_lora: bool = False,
        activation_recomputation: bool = False,
        lora_rank: Any = 16,
    ) -> TrainingStepResult:
        """Forward and backward pass of one device's batch, with Adam in mixed precision.

        Args:
            model: an entry of ``Models`` or its name
            hardware: an entry of ``Hardware``, a stack of them, or a name
            batch_size: sequences or samples of this device; may be an array
            precision: number format of arithmetic and of the working weights
            efficiency: share of the arithmetic peak that is reached, in (0, 1]
            raise_errors: raise :class:`~mlsysim.errors.InfeasibleError` when it does not fit
            seq_len: tokens of a sequence, for language models
            zero_stage: what the data-parallel ranks share: 1 optimizer states, 2 gradients too, 3 weights too
            dp_size: data-parallel ranks that share
            is_lora: train low-rank adapters of the attention projections only
            activation_recomputation: keep only the inputs of layers and repeat the forward pass
            lora_rank: rank of the adapters

        Examples:
            >>> step = TrainingStep().solve("Llama3_8B", "H100", seq_len=2048)
            >>> step.bottleneck, step.feasible
            ('Compute', False)
        """
        arguments = dict(model=model, hardware=hardware, batch_size=batch_size, precision=precision,
                         efficiency=efficiency, seq_len=seq_len, zero_stage=zero_stage, dp_size=dp_size,
                         is_lora=is_lora, activation_recomputation=activation_recomputation, lora_rank=lora_rank)  # fmt: skip
        border = Border()
        network, device = border.model(model), border.device(hardware)
        number = border.format(precision)
        batch = border.count("batch_size", batch_size)
        eta = border.fraction("efficiency", efficiency)
        tokens = border.count("seq_len", seq_len)
        stage = border.count("zero_stage", zero_stage, least=0, most=3)
        ranks = border.count("dp_size", dp_size)
        rank = border.count("lora_rank", lora_rank)
        lora, again = border.flag("is_lora", is_lora), border.flag("activation_recomputation", activation_recomputation)
        strict = border.flag("raise_errors", raise_errors)
        border.close()
        if lora and not isinstance(network, Transformer):
            raise InvalidInputError(f"is_lora: adapters sit on attention projections; {network.id} has none")
        arguments.update(model=network, hardware=device)
        assumed, chip = textbook(), device.si
        peak, notes = peak_in(device, number)
        value = number.si.activation_bits / 8
        forward, kept, layers = _forward(network, batch, tokens, value, again)
        passes = 1 + BACKWARD * (0.5 if lora else 1.0)  # frozen weights need no gradients of their own
        useful = forward * passes
        done = useful + forward if again else useful
        weights = weight_bytes(network, number.bytes_per_value())
        trained = _trained(network, rank) if lora else eq.linear_flops(weights / number.bytes_per_value(), 1.0, 1.0)
        held = state.zero_state_size(
            weights, state.training_state_size(trained, 0.0, value, 0.0, 0.0, 0.0), state.optimizer_state_size(trained), ranks, stage
        )  # fmt: skip
        # Weights are read forward and backward; gradients and optimizer states are read and written once in the update.
        traffic = memory.sum_of_bytes(
            weights * (3.0 if again else 2.0), 2 * (held - weights / np.where(stage >= 3, ranks, 1.0)), 2 * kept
        )
        used = memory.sum_of_bytes(held, kept, 0.0)
        compute = roofline.compute_time(done, peak, eta)
        moving = roofline.memory_time(traffic, chip.memory_bandwidth)
        overhead = memory.launch_time(layers * passes, assumed.layer_overhead, chip.dispatch_latency)
        feasible = used <= chip.memory_capacity
        idle, per_flop, tdp = power_terms(device, peak, chip.memory_bandwidth, assumed)
        time = roofline.roofline_time(compute, moving, overhead)
        answer = TrainingStepResult(
            question=Question(type(self), arguments),
            shape=shape_of(batch, eta, tokens, stage, ranks, rank, peak, chip.memory_bandwidth, chip.memory_capacity),
            notes=notes,
            latency_compute=compute,
            latency_memory=moving,
            latency_overhead=overhead,
            batch=batch,
            flops=useful,
            traffic=traffic,
            model_weights_size=weights,
            memory_footprint=used,
            memory_capacity=chip.memory_capacity,
            offload_spill_bytes=np.maximum(used - chip.memory_capacity, 0.0),
            peak=peak,
            peak_flops_actual=peak * eta,
            peak_bw_actual=chip.memory_bandwidth,
            energy=energy.chip_energy(time, idle, done, per_flop, traffic, assumed.memory_energy, tdp),
            feasible=feasible,
            hardware_flops=done,
            state_size=held,
            activation_size=kept,
        )
        if strict and not np.all(feasible):
            raise InfeasibleError(f"training {network.id} on {device.id}: {answer.limits[0]}")
        return answer


def _forward(model: Any, batch: Count, tokens: Count, value: Bytes, again: bool) -> tuple[Flop, Bytes, Count]:
    """FLOPs of the forward pass, activations kept for the backward pass, and layers."""
    m = model.si
    if isinstance(model, Transformer):
        s = shape(model)
        work = memory.sum_of_flops(
            eq.linear_flops(s.active, batch * tokens), prefill_attention(s, tokens, 0.0, batch)
        )  # fmt: skip
        layer = (
            state.full_recompute_activation_size(tokens, batch, m.hidden, 1.0, value)
            if again
            else state.gated_layer_activation_size(
                batch * tokens, m.hidden, m.heads, m.kv_heads, m.head_dim, s.widest, 1.0, 1.0, value
            )
        )
        head = state.head_activation_size(batch * tokens, m.hidden, m.vocab, 1.0, value)
        return work, memory.sum_of_bytes(m.layers * layer, head, 0.0), m.layers
    assumed = textbook()
    work = inference_pass(model, batch, tokens, value, value, assumed.activation_share, assumed.prefill_chunk)
    stored = m.activations * value * batch if m.activations is not None else work.traffic - work.weights
    return work.flops, stored / 2 if again else stored, work.launches


def _trained(model: Transformer, rank: Count) -> Count:
    """Parameters of adapters on queries, keys, values and the output of every layer."""
    m = model.si
    wide, narrow = m.heads * m.head_dim, m.kv_heads * m.head_dim
    return state.lora_parameters(m.hidden, wide, rank, 2 * m.layers) + state.lora_parameters(
        m.hidden, narrow, rank, 2 * m.layers
    )
