"""Adapting a model: all weights, low-rank adapters, or adapters on quantised weights (wall 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Defaults
from ..catalog.models import Transformer
from ..machine.textbook import peak_in
from ..physics import memory, roofline
from ..physics import training_memory as state
from ..record import total
from ..units import Bytes, Count, Flop, Fraction, Seconds, TokensPerSecond
from .base import ForwardModel
from .border import Border, shape_of, unsupported
from .limits import Limit
from .result import Question, Result

METHODS = ("full", "lora", "qlora")
TARGETS = ("qv", "attention", "all")
FULL_STATE, NF4_BITS = 16.0, 4.127
"""Bytes of a trained parameter under Adam in mixed precision; bits of a frozen one in QLoRA's doubly quantised NF4."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FineTuningResult(Result):
    """Memory of one device and time of a fine-tuning run."""

    method: str
    trainable_parameters: Count
    parameters: Count
    frozen_weights_size: Bytes
    training_state_size: Bytes
    activation_size: Bytes
    memory_capacity: Bytes
    devices: Count
    tokens: Count
    flops: Flop
    full_flops: Flop
    training_time: Seconds
    feasible: bool

    @total
    def total_memory(self) -> Bytes:
        """Memory of one device."""
        return memory.sum_of_bytes(self.frozen_weights_size, self.training_state_size, self.activation_size)

    @total
    def memory_utilization(self) -> Fraction:
        """Memory needed over memory there is."""
        return self.total_memory / self.memory_capacity

    @total
    def trainable_share(self) -> Fraction:
        """Trained parameters over all."""
        return self.trainable_parameters / self.parameters

    @total
    def work_saving(self) -> Fraction:
        """Share of the work of training all weights that is spared."""
        return 1 - self.flops / self.full_flops

    @total
    def throughput(self) -> TokensPerSecond:
        """Training tokens a second of all devices."""
        return self.tokens / self.training_time

    @total
    def adapter_size(self) -> Bytes:
        """What is saved at the end: the trained parameters in 16 bits."""
        return 2.0 * self.trainable_parameters

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit."""
        return (Limit("memory per device", self.si.total_memory, self.si.memory_capacity, "byte"),)


class FineTuningModel(ForwardModel):
    """Wall 2: gradients and optimizer states are what adapters save; the work they save is a third at most."""

    walls = ((2, "Memory", "node"),)
    requires = ("workload", "hardware")
    produces = FineTuningResult
    misbeliefs = {
        "adapters make training cheap": "they save memory; the forward pass and the gradients of inputs remain: 4 of 6 parts",
        "a model that serves on a chip trains on it": "Adam in mixed precision takes eight times the 16-bit weights",
        "four-bit weights compute in four bits": "they are widened for every multiplication; QLoRA is not faster",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        method: Any = "lora",
        tokens: Any = 1e7,
        *,
        rank: Any = None,
        adapted: Any = "all",
        batch_size: Any = 1,
        seq_len: Any = 512,
        devices: Any = 1,
        sharded: Any = False,
        precision: Any = "bf16",
        efficiency: Any = None,
        recompute: Any = True,
    ) -> FineTuningResult:
        """Memory and time of a fine-tuning run.

        Args:
            model: a transformer of ``Models`` or its name
            hardware: a device (or a stack of them), or a name
            method: ``"full"``, ``"lora"`` or ``"qlora"``
            tokens: training tokens, all epochs together
            rank: rank of the adapters
            adapted: which matrices have adapters: queries and values (``"qv"``), ``"attention"``, or ``"all"``
            batch_size: sequences of one pass on one device
            seq_len: tokens of a sequence
            devices: data-parallel devices
            sharded: weights and states spread over the devices (ZeRO stage 3)
            precision: number format that is computed in
            efficiency: share of the arithmetic peak that training reaches
            recompute: activations inside a layer are computed twice instead of kept

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once
            UnsupportedWorkloadError: the model is no transformer

        Examples:
            >>> answer = FineTuningModel().solve("Llama1_65B", "A100", "qlora", rank=64)
            >>> answer.total_memory.to("GB").magnitude < 48
            True
        """
        arguments = dict(model=model, hardware=hardware, method=method, tokens=tokens, rank=rank, adapted=adapted,
                         batch_size=batch_size, seq_len=seq_len, devices=devices, sharded=sharded,
                         precision=precision, efficiency=efficiency, recompute=recompute)  # fmt: skip
        border = Border()
        assumed = Defaults["FineTuning"].si
        network, device, number = border.model(model), border.device(hardware), border.format(precision)
        how = border.choice("method", method, METHODS)
        which = border.choice("adapted", adapted, TARGETS)
        seen = border.count("tokens", tokens, most=1e18)
        order = assumed.rank if rank is None else border.count("rank", rank)
        batch, length = border.count("batch_size", batch_size), border.count("seq_len", seq_len)
        many = border.count("devices", devices)
        eta = assumed.training_efficiency if efficiency is None else border.fraction("efficiency", efficiency)
        border.flag("sharded", sharded)
        border.flag("recompute", recompute)
        border.close()
        if not isinstance(network, Transformer):
            raise unsupported("FineTuningModel", network, "transformers")
        arguments.update(model=network, hardware=device, method=how, adapted=which)
        m = network.si
        peak, notes = peak_in(device, number)
        active = m.active_parameters if m.active_parameters is not None else m.parameters
        adapters = 0.0 if how == "full" else _adapters(network, which, order)
        trained = m.parameters if how == "full" else adapters
        shards = many if sharded else 1.0
        bits = NF4_BITS if how == "qlora" else 8 * number.bytes_per_value()
        frozen = (0.0 if how == "full" else state.adapter_state_size(m.parameters, 0.0, bits / 8)) / shards
        states = state.training_state_size(trained) / shards
        activations = _activations(network, batch * length, length, batch, bool(recompute), order, which, how)
        again = 2.0 if recompute else 0.0
        full = (6.0 + again) * active * seen
        # Frozen weights need no gradient of their own: two of the six parts are spared.
        flops = full if how == "full" else (4.0 + again) * active * seen + 6.0 * adapters * seen
        capacity = device.si.memory_capacity
        used = memory.sum_of_bytes(frozen, states, activations)
        if sharded and not np.all(np.equal(many, 1)):
            notes += ("weights are gathered layer by layer; their traffic is taken to hide behind arithmetic",)
        return FineTuningResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(x) for x in (used, flops, capacity, peak, many, eta))),
            notes=notes,
            method=how,
            trainable_parameters=trained,
            parameters=m.parameters + adapters,
            frozen_weights_size=frozen,
            training_state_size=states,
            activation_size=activations,
            memory_capacity=capacity,
            devices=many,
            tokens=seen,
            flops=flops,
            full_flops=full,
            training_time=roofline.compute_time(flops, peak * many, eta),
            feasible=used <= capacity,
        )


def _adapters(model: Transformer, which: str, rank: Any) -> Any:
    """Trainable parameters of the adapters."""
    m = model.si
    layers = m.layers
    query, key = m.heads * m.head_dim, m.kv_heads * m.head_dim
    count = state.lora_parameters(m.hidden, query, rank, layers) + state.lora_parameters(m.hidden, key, rank, layers)
    if which == "qv":
        return count
    count = count + state.lora_parameters(m.hidden, key, rank, layers)
    count = count + state.lora_parameters(query, m.hidden, rank, layers)
    if which == "attention":
        return count
    routed = 0.0
    if m.experts is not None:
        routed = m.moe_layers if m.moe_layers is not None else layers - (m.first_dense_layers or 0.0)
        each = m.mlp_matrices * (m.experts + (m.shared_experts or 0.0)) * routed
        count = count + state.lora_parameters(m.hidden, m.expert_ffn or m.ffn, rank, each)
    return count + state.lora_parameters(m.hidden, m.ffn or 0.0, rank, m.mlp_matrices * (layers - routed))


def _activations(
    model: Transformer, tokens: Any, length: Any, batch: Any, recompute: bool, rank: Any, which: str, how: str
) -> Any:
    """Activations kept for the backward pass, the logits included."""
    m = model.si
    wide = m.ffn or (m.active_experts or 1.0) * (m.expert_ffn or m.hidden)
    layer = state.gated_layer_activation_size(tokens, m.hidden, m.heads, m.kv_heads, m.head_dim, wide)
    head = state.head_activation_size(tokens, m.hidden, m.vocab)
    if recompute:
        kept = m.layers * state.full_recompute_activation_size(length, batch, m.hidden) + layer
    else:
        kept = m.layers * layer
    return kept + head
