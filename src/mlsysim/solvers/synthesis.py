"""From a target of latency back to the machine it needs (wall 22)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Hardware, textbook
from ..catalog.models import Transformer
from ..errors import MissingFactError
from ..machine.textbook import peak_in
from ..physics import memory, roofline, synthesis
from ..physics import transformer as eq
from ..record import total
from ..units import Bytes, BytesPerSecond, Flop, FlopPerByte, FlopPerSecond, Seconds
from ..workloads.passes import inference_pass, prefill_attention
from ..workloads.transformer import shape
from .base import BaseSolver
from .border import Border, shape_of
from .result import Question, Result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SynthesisResult(Result):
    """The least machine that meets a target, if nothing but the roofline held it back."""

    target_latency: Seconds
    target_ttft: Seconds
    required_bw: BytesPerSecond
    required_decode_flops: FlopPerSecond
    required_prefill_flops: FlopPerSecond
    required_memory: Bytes
    model_size: Bytes
    total_ops: Flop
    traffic: Bytes

    @total
    def required_flops(self) -> FlopPerSecond:
        """Arithmetic peak that both phases ask for."""
        return np.fmax(self.required_decode_flops, self.required_prefill_flops)[()]

    @total
    def compute_memory_ratio(self) -> FlopPerByte:
        """Peak over bandwidth: the ridge point of the machine that fits best."""
        return roofline.arithmetic_intensity(self.required_flops, self.required_bw)

    @property
    def nearest_devices(self) -> list[dict[str, Any]]:
        """Devices of the catalog by how many of each the target takes (a lower bound), the fewest and cheapest first."""
        if self.shape:
            return []
        number = self.question.arguments["precision"]
        found = []
        for device in Hardware:
            try:
                peak, _ = peak_in(device, number)
            except MissingFactError:
                continue
            chip, need = device.si, self.si
            ratios = {
                "memory_bandwidth": need.required_bw / chip.memory_bandwidth,
                "peak_flops": need.required_flops / peak,
                "memory_capacity": need.required_memory / chip.memory_capacity,
            }
            found.append(
                {
                    "device": device.id,
                    "needed": int(synthesis.devices_for_needs(*ratios.values())),
                    "binding": max(ratios, key=lambda name: ratios[name]),
                    "price": chip.price,
                    "spare": 1 / max(ratios.values()),
                }
            )
        return sorted(
            found,
            key=lambda row: (row["needed"], np.inf if row["price"] is None else row["price"], row["spare"]),
        )

    @property
    def satisfying_devices(self) -> list[str]:
        """Devices of which a single one meets the target."""
        return [row["device"] for row in self.nearest_devices if row["needed"] == 1]


class SynthesisSolver(BaseSolver):
    """Wall 22: bandwidth, arithmetic and memory that a latency target needs."""

    walls = ((22, "Synthesis", "analysis"),)
    requires = ("workload", "target_latency")
    produces = SynthesisResult
    misbeliefs = {
        "a faster chip meets any target": "each target names three needs; the scarcest one decides",
        "n chips are n times faster": "their links take time too; the counts here are lower bounds",
    }

    def solve(
        self,
        model: Any,
        target_latency: Any,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        *,
        batch_size: Any = 1,
        seq_len: Any = None,
        target_ttft: Any = None,
        kv_precision: Any = None,
    ) -> SynthesisResult:
        """The least machine for a latency.

        Args:
            model: an entry of ``Models`` or its name
            target_latency: time of one pass (of a language model, between tokens), as ``"50 ms"``
            precision: number format of the weights
            efficiency: share of the arithmetic peak that is reached, in (0, 1]
            batch_size: sequences or samples
            seq_len: tokens of context; 2,048 or the model's limit unless said
            target_ttft: time to the first token, where the prompt has a target too
            kv_precision: number format of the KV cache; 16 bits unless said

        Raises:
            UnitError: a target that is no time
            InvalidInputError: arguments that make no sense, a target of zero or less among them

        Examples:
            >>> answer = SynthesisSolver().solve("Llama3_70B", "50 ms")
            >>> round(answer.required_bw.to("GB/s").magnitude)
            2836
        """
        arguments = dict(model=model, target_latency=target_latency, precision=precision, efficiency=efficiency,
                         batch_size=batch_size, seq_len=seq_len, target_ttft=target_ttft, kv_precision=kv_precision)  # fmt: skip
        border = Border()
        network, number = border.model(model), border.format(precision)
        time = border.quantity("target_latency", target_latency, "second")
        first = None if target_ttft is None else border.quantity("target_ttft", target_ttft, "second")
        eta, batch = border.fraction("efficiency", efficiency), border.count("batch_size", batch_size)
        context = None if seq_len is None else border.count("seq_len", seq_len)
        stored = None if kv_precision is None else border.format(kv_precision, "kv_precision")
        decoder = isinstance(network, Transformer) and network.architecture == "transformer"
        if first is not None and network is not None and not decoder:
            border.problems.append(f"target_ttft: {network.id} generates no tokens")
        border.close()
        arguments.update(model=network, precision=number)
        assumed = textbook()
        if context is None:
            limits = [getattr(network.si, name, None) for name in ("positions", "max_context")]
            context = float(min([2048.0, *(limit for limit in limits if limit is not None)]))
        value = number.si.activation_bits / 8 if stored is None else stored.bytes_per_value()
        work = inference_pass(
            network, batch, context, number.bytes_per_value(), value, assumed.activation_share, assumed.prefill_chunk
        )
        prefill = np.nan
        if first is not None:
            m = shape(network)
            flops = memory.sum_of_flops(
                eq.linear_flops(m.active, context * batch), prefill_attention(m, context, 0.0, batch)
            )
            prefill = synthesis.peak_for_time(flops, first, eta)
        notes = work.notes + ("software and links are left out: a bound that a real machine must exceed",)
        if decoder:
            notes += (f"one decode step at {context:g} tokens of context",) if np.ndim(context) == 0 else ()
        return SynthesisResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(x) for x in (time, eta, work.traffic, work.flops, prefill))),
            notes=notes,
            target_latency=time,
            target_ttft=np.nan if first is None else first,
            required_bw=synthesis.bandwidth_for_time(work.traffic, time),
            required_decode_flops=synthesis.peak_for_time(work.flops, time, eta),
            required_prefill_flops=prefill,
            required_memory=memory.sum_of_bytes(work.weights, work.cache, work.activations),
            model_size=work.weights,
            total_ops=work.flops,
            traffic=work.traffic,
        )
