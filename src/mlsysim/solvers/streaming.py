"""Weights that do not stay on the chip but stream in, layer by layer (wall 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog.models import Transformer
from ..errors import UnsupportedWorkloadError
from ..machine.textbook import peak_in
from ..physics import memory, roofline, streaming
from ..physics import transformer as eq
from ..record import total
from ..units import Bytes, BytesPerSecond, Count, Fraction, Plain, Seconds, TokensPerSecond
from ..workloads.passes import cache_size, decode_attention, prefill_attention
from ..workloads.transformer import shape
from .base import ForwardModel
from .border import Border, shape_of, unsupported
from .limits import Limit
from .result import Question, Result

COMPUTE, LINK = "Compute-Bound", "Interconnect-Bandwidth-Bound"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightStreamingResult(Result):
    """One pass over all layers while their weights stream in."""

    batch: Count
    tokens: Count
    layers: Count
    layer_compute_time: Seconds
    layer_injection_time: Seconds
    layer_weights_size: Bytes
    injection_bandwidth: BytesPerSecond
    optimal_batch_size: Count
    state_size: Bytes
    memory_capacity: Bytes
    feasible: bool

    @total
    def layer_time(self) -> Seconds:
        """The slower of arithmetic and injection, which overlap."""
        return streaming.streamed_layer_time(self.layer_compute_time, self.layer_injection_time)

    @total
    def pass_time(self) -> Seconds:
        """All layers."""
        return self.layers * self.layer_time

    @total
    def throughput(self) -> TokensPerSecond:
        """Tokens a second (0 where the caches do not fit)."""
        return np.where(self.feasible, self.tokens / self.pass_time, 0.0)[()]

    @total
    def throughput_tokens_per_sec(self) -> Plain:
        """:attr:`throughput` as a plain number."""
        return np.where(self.feasible, self.tokens / self.pass_time, 0.0)[()]

    @total
    def wafer_memory_utilization(self) -> Fraction:
        """Caches and working memory over the memory of the chip."""
        return self.state_size / self.memory_capacity

    @property
    def bottleneck(self) -> Any:
        """``"Compute-Bound"`` or ``"Interconnect-Bandwidth-Bound"``."""
        inside = self.si
        bound = np.where(np.greater(inside.layer_compute_time, inside.layer_injection_time), COMPUTE, LINK)
        return np.broadcast_to(bound, self.shape) if self.shape else str(bound)

    @property
    def margin(self) -> Any:
        """How many times longer the bottleneck takes than the other."""
        inside = self.si
        ratio = inside.layer_compute_time / inside.layer_injection_time
        return np.maximum(ratio, 1 / ratio)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit."""
        return (Limit("on-chip memory", self.si.state_size, self.si.memory_capacity, "byte"),)


class WeightStreamingModel(ForwardModel):
    """Wall 6: a layer takes as long as the slower of its arithmetic and the injection of its weights."""

    walls = ((6, "Streaming", "node"),)
    requires = ("workload", "hardware")
    produces = WeightStreamingResult
    misbeliefs = {
        "a wafer has no memory wall": "the link that weights stream over becomes the wall; large batches hide it",
        "any batch hides the streaming": "the caches of the batch must stay on the chip, and often do not fit",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        seq_len: Any,
        batch_size: Any = 1,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        phase: Any = "decode",
        *,
        kv_precision: Any = None,
    ) -> WeightStreamingResult:
        """One decode step or one prefill with weights streamed from outside.

        Args:
            model: a decoder of ``Models`` or its name
            hardware: a device whose main memory is on-chip SRAM, fed by a link; or its name
            seq_len: tokens of each sequence
            batch_size: sequences
            precision: number format of the weights
            efficiency: share of the arithmetic peak that is reached, in (0, 1]
            phase: ``"decode"`` or ``"prefill"``
            kv_precision: number format of the cache; 16 bits unless said

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once
            UnsupportedWorkloadError: the model does not generate tokens, or the device does not stream weights

        Examples:
            >>> answer = WeightStreamingModel().solve("Llama3_70B", "Cerebras_CS3", 2048)
            >>> answer.bottleneck, answer.feasible
            ('Interconnect-Bandwidth-Bound', True)
        """
        arguments = dict(model=model, hardware=hardware, seq_len=seq_len, batch_size=batch_size, precision=precision,
                         efficiency=efficiency, phase=phase, kv_precision=kv_precision)  # fmt: skip
        border = Border()
        network, device = border.model(model), border.device(hardware)
        number = border.format(precision)
        tokens, batch = border.count("seq_len", seq_len), border.count("batch_size", batch_size)
        eta = border.fraction("efficiency", efficiency)
        which = border.choice("phase", phase, ("decode", "prefill"))
        stored = None if kv_precision is None else border.format(kv_precision, "kv_precision")
        border.close()
        if not isinstance(network, Transformer) or network.architecture != "transformer":
            raise unsupported("WeightStreamingModel", network, "models that generate tokens one by one")
        for chip in device.members or (device,):
            if chip.memory_kind != "SRAM" or chip.si.host_bandwidth is None:
                raise UnsupportedWorkloadError(
                    f"hardware: {chip.id} does not stream weights: expected a device whose main memory is on-chip SRAM "
                    f"fed by a link, such as Cerebras_CS3; try ServingModel"
                )
        arguments.update(model=network, hardware=device, phase=which)
        peak, notes = peak_in(device, number)
        m = shape(network)
        value = number.si.activation_bits / 8 if stored is None else stored.bytes_per_value()
        kept, _ = cache_size(m, tokens, batch, value)
        per_layer = eq.weight_size(m.parameters / m.layers, number.bytes_per_value())
        new = tokens if which == "prefill" else tokens / tokens
        attention = (
            prefill_attention(m, tokens, 0.0, 1.0) if which == "prefill" else decode_attention(m, tokens, 1.0)
        ) / m.layers
        one = memory.sum_of_flops(eq.linear_flops(m.active / m.layers, new), attention)
        launch = device.si.dispatch_latency
        arithmetic = roofline.compute_time(one * batch, peak, eta)
        injection = roofline.memory_time(per_layer, device.si.host_bandwidth)
        working = eq.prefill_activation_size(batch * new, m.hidden, m.widest, number.si.activation_bits / 8)
        state = memory.sum_of_bytes(kept, working, 0.0)
        capacity = device.si.memory_capacity
        return WeightStreamingResult(
            question=Question(type(self), arguments),
            shape=shape_of(tokens, batch, eta, peak, capacity),
            notes=notes + ("weights are used as they arrive and take no room on the chip",),
            batch=batch,
            tokens=batch * new,
            layers=m.layers,
            layer_compute_time=memory.sum_of_times(arithmetic, launch, 0.0),
            layer_injection_time=injection,
            layer_weights_size=per_layer,
            injection_bandwidth=device.si.host_bandwidth,
            optimal_batch_size=streaming.streaming_balance(injection, launch, peak, eta, one),
            state_size=state,
            memory_capacity=capacity,
            feasible=state <= capacity,
        )
