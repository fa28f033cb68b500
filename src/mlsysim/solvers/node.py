"""One model on one device: the roofline of a pass (walls 1 and 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import textbook
from ..catalog.models import Transformer
from ..errors import InfeasibleError, InvalidInputError
from ..machine.textbook import peak_in, power_terms
from ..physics import energy, roofline
from ..physics import memory as memory_equations
from ..physics.choice import everywhere, maximum
from ..record import total
from ..units import (
    Bytes,
    BytesPerSecond,
    Flop,
    FlopPerByte,
    FlopPerSecond,
    Fraction,
    Joules,
    PerSecond,
    Seconds,
    Watts,
)
from ..workloads.passes import Pass, inference_pass
from .base import ForwardModel
from .border import Border, is_array, shape_of
from .limits import Limit, binding
from .result import Question, Result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PerformanceProfile(Result):
    """How one pass over a batch runs on one device."""

    latency_compute: Seconds
    latency_memory: Seconds
    latency_overhead: Seconds
    batch: Fraction
    flops: Flop
    traffic: Bytes
    model_weights_size: Bytes
    memory_footprint: Bytes
    memory_capacity: Bytes
    offload_spill_bytes: Bytes
    peak_flops_actual: FlopPerSecond
    peak_bw_actual: BytesPerSecond
    peak: FlopPerSecond
    energy: Joules
    feasible: bool

    @total
    def latency(self) -> Seconds:
        """Time of the pass: the slower of arithmetic and memory, and the launches."""
        return roofline.roofline_time(self.latency_compute, self.latency_memory, self.latency_overhead)

    @total
    def throughput(self) -> PerSecond:
        """Inferences (tokens of a language model, samples) a second."""
        return self.batch / self.latency

    @total
    def arithmetic_intensity(self) -> FlopPerByte:
        """FLOPs for each byte moved."""
        return roofline.arithmetic_intensity(self.flops, self.traffic)

    @total
    def mfu(self) -> Fraction:
        """Share of the peak that does useful work."""
        return roofline.utilisation(self.flops, self.latency, self.peak)

    @total
    def power(self) -> Watts:
        """Mean power of the chip during the pass."""
        return energy.average_power(self.energy, self.latency)

    @total
    def energy_per_inference(self) -> Joules:
        """Energy of one inference of the batch."""
        return self.energy / self.batch

    @total
    def memory_utilization(self) -> Fraction:
        """Memory needed over memory there is."""
        return self.memory_footprint / self.memory_capacity

    @total
    def overhead_share(self) -> Fraction:
        """Share of the latency that is launches."""
        return self.latency_overhead / self.latency

    @property
    def bottleneck(self) -> Any:
        """``"Memory"`` or ``"Compute"``: the slower of the two (an array of words in a sweep)."""
        return self._binding()[0]

    @property
    def binding_wall(self) -> Any:
        """Wall 1 (Compute) or 2 (Memory); their numbers in a sweep."""
        bound = self.bottleneck
        return (
            np.where(bound == "Compute", 1, 2)
            if self.shape
            else (1, "Compute")
            if bound == "Compute"
            else (2, "Memory")
        )

    @property
    def margin(self) -> Any:
        """How many times slower the bottleneck is than the other."""
        return self._binding()[1]

    def _binding(self) -> tuple[Any, Any]:
        inside = self.si
        full = np.broadcast_to(inside.latency_memory, self.shape) if self.shape else inside.latency_memory
        return binding(("Compute", "Memory"), (np.broadcast_to(inside.latency_compute, self.shape), full))

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit."""
        inside = self.si
        return (Limit("memory", inside.memory_footprint, inside.memory_capacity, "byte"),)


class SingleNodeModel(ForwardModel):
    """Walls 1 and 2: is a pass bound by arithmetic or by memory?"""

    walls = ((1, "Compute", "node"), (2, "Memory", "node"))
    requires = ("workload", "hardware")
    produces = PerformanceProfile
    misbeliefs = {
        "a chip with more FLOP/s is faster": "a pass below the ridge point waits for memory; bandwidth decides",
        "batching is free": "it is until the ridge point; past it, latency grows in proportion",
        "the roofline is a prediction": "with a numeric efficiency it is a bound with one scalar; small passes wait for launches",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        batch_size: Any = 1,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        raise_errors: bool = False,
        seq_len: Any = None,
        kv_precision: Any = None,
        *,
        runtime: Any = None,
    ) -> PerformanceProfile:
        """One pass, by the roofline or by measured kernels: a decode step of a language model, else a whole inference.

        Args:
            model: an entry of ``Models`` or its name
            hardware: an entry of ``Hardware``, a stack of them, or a name
            batch_size: sequences or samples; may be an array
            precision: number format of the weights
            efficiency: share of the arithmetic peak that is reached, in (0, 1], which may be an array; or
                ``"measured"``, operator by operator
            raise_errors: raise :class:`~mlsysim.errors.InfeasibleError` when it does not fit
            seq_len: tokens of context; 2,048 or the model's own limit where that is less
            kv_precision: number format of the KV cache; 16 bits unless said
            runtime: where measured: ``llamacpp`` of a language model, else serving kernels; ``eager``, ``compiled`` or
                ``engine`` of another network, an engine on edge devices and in formats below 16 bits unless said

        Returns:
            Latency, throughput, memory, energy, with ``feasible``, ``bottleneck`` and ``margin``.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once
            MissingFactError: the catalog lacks a peak or a size that the answer needs

        Examples:
            >>> answer = SingleNodeModel().solve("ResNet50", "A100")
            >>> answer.bottleneck, round(answer.latency.to("ms").magnitude, 2)
            ('Memory', 0.54)
        """
        arguments = dict(model=model, hardware=hardware, batch_size=batch_size, precision=precision,
                         efficiency=efficiency, seq_len=seq_len, kv_precision=kv_precision)  # fmt: skip
        if isinstance(efficiency, str) and efficiency.lower() == "measured":
            from .node_measured import measured_answer

            return measured_answer(type(self), arguments | {"runtime": runtime}, raise_errors)
        if runtime is not None:
            raise InvalidInputError("runtime: expected with efficiency='measured' only")
        border = Border()
        network, device = border.model(model), border.device(hardware)
        number = border.format(precision)
        batch = border.count("batch_size", batch_size)
        eta = border.fraction("efficiency", efficiency)
        context = None if seq_len is None else border.count("seq_len", seq_len)
        stored = None if kv_precision is None else border.format(kv_precision, "kv_precision")
        strict = border.flag("raise_errors", raise_errors)
        border.close()
        arguments.update(model=network, hardware=device)
        return solve_textbook(
            Question(type(self), arguments), network, device, number, batch, eta, context, stored, strict
        )


def solve_textbook(
    question: Question,
    model: Any,
    device: Any,
    number: Any,
    batch: Any,
    eta: Any,
    context: Any,
    stored: Any,
    strict: bool,
) -> PerformanceProfile:
    """The answer of the roofline to a question whose arguments were checked."""
    assumed, chip = textbook(), device.si
    peak, notes = peak_in(device, number)
    if context is None:
        context = 2048.0
        if isinstance(model, Transformer):
            context = min(context, model.si.positions or context, model.si.max_context or context)
    value = number.si.activation_bits / 8 if stored is None else stored.bytes_per_value()
    work: Pass = inference_pass(
        model, batch, context, number.bytes_per_value(), value, assumed.activation_share, assumed.prefill_chunk
    )
    footprint = roofline_footprint(work)
    capacity, bandwidth, level = _level(chip, work, footprint)
    shape = shape_of(batch, eta, context, peak, capacity)
    feasible = footprint <= capacity
    memory = roofline.memory_time(work.traffic, bandwidth)
    notes = notes + work.notes + level
    if not everywhere(feasible) and chip.host_bandwidth is not None:
        spilled = roofline.spilled_memory_time(work.traffic, footprint, capacity, bandwidth, chip.host_bandwidth)
        memory = np.where(feasible, memory, spilled) if is_array(feasible, spilled) else spilled
        notes += ("what does not fit is streamed from host memory over the host link at each pass",)
    elif not everywhere(feasible):
        notes += ("where it does not fit, times are those of the same chip with enough memory",)
    compute = roofline.compute_time(work.flops, peak, eta)
    overhead = memory_equations.launch_time(work.launches, assumed.layer_overhead, chip.dispatch_latency)
    time = roofline.roofline_time(compute, memory, overhead)
    idle, per_flop, tdp = power_terms(device, peak, chip.memory_bandwidth, assumed)
    answer = PerformanceProfile(
        question=question,
        shape=shape,
        notes=notes,
        latency_compute=compute,
        latency_memory=memory,
        latency_overhead=overhead,
        batch=batch,
        flops=work.flops,
        traffic=work.traffic,
        model_weights_size=work.weights,
        memory_footprint=footprint,
        memory_capacity=capacity,
        offload_spill_bytes=maximum(footprint - capacity, 0.0),
        peak=peak,
        peak_flops_actual=peak * eta,
        peak_bw_actual=bandwidth,
        energy=energy.chip_energy(time, idle, work.flops, per_flop, work.traffic, assumed.memory_energy, tdp),
        feasible=feasible,
    )
    if strict and not everywhere(feasible):
        raise InfeasibleError(f"{model.id} on {device.id}: {answer.limits[0]}")
    return answer


def roofline_footprint(work: Pass) -> Bytes:
    """Bytes that must stay in memory: weights, caches, working memory."""
    return memory_equations.sum_of_bytes(work.weights, work.cache, work.activations)


def _level(chip: Any, work: Pass, footprint: Bytes) -> tuple[Bytes, BytesPerSecond, tuple[str, ...]]:
    """Memory that holds the pass and the bandwidth it streams at: on-chip SRAM, flash, or main memory."""
    capacity, bandwidth = chip.memory_capacity, chip.memory_bandwidth
    if chip.flash_bandwidth is not None:
        capacity, bandwidth = _where(chip.flash_bandwidth, capacity, bandwidth, chip)
    if chip.sram_capacity is None or chip.sram_bandwidth is None:
        return capacity, bandwidth, ()
    inside = footprint <= chip.sram_capacity
    if np.all(inside):
        return (
            np.maximum(capacity, chip.sram_capacity),
            chip.sram_bandwidth,
            ("weights and activations stay in on-chip SRAM",),
        )
    return capacity, np.where(inside, chip.sram_bandwidth, bandwidth)[()], ()


def _where(flash: Any, capacity: Any, bandwidth: Any, chip: Any) -> tuple[Any, Any]:
    known = ~np.isnan(flash)
    size = chip.flash_capacity if chip.flash_capacity is not None else capacity
    return (np.where(known, np.maximum(capacity, size), capacity)[()], np.where(known, flash, bandwidth)[()])


IDLE = dict(zero_stage=0, dp_size=1, is_lora=False, activation_recomputation=False, kv_precision=None,
            runtime=None)  # fmt: skip
"""What :meth:`Engine.solve` is given where an option does not matter."""


class Engine:
    """The single-device engine under its textbook name."""

    @staticmethod
    def solve(
        model: Any,
        hardware: Any,
        batch_size: Any = 1,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        raise_errors: bool = False,
        is_training: bool = False,
        seq_len: Any = None,
        zero_stage: Any = 0,
        dp_size: Any = 1,
        is_lora: bool = False,
        activation_recomputation: bool = False,
        kv_precision: Any = None,
        *,
        runtime: Any = None,
    ) -> Any:
        """One pass of a model on a device; see :meth:`SingleNodeModel.solve`, or a training step if ``is_training``.

        Examples:
            >>> print(f"{Engine.solve('ResNet50', 'A100').throughput:.0f~P}")
            1843 1/s
        """
        border = Border()
        training = border.flag("is_training", is_training)
        of_training = dict(zero_stage=zero_stage, dp_size=dp_size, is_lora=is_lora,
                           activation_recomputation=activation_recomputation)  # fmt: skip
        for name, value in ({"kv_precision": kv_precision, "runtime": runtime} if training else of_training).items():
            if value is not IDLE[name]:
                kind = "inference; leave is_training out" if training else "a training step; set is_training=True"
                border.problems.append(f"{name}: is a matter of {kind}")
        border.close()
        if training:
            from .training import TrainingStep

            return TrainingStep().solve(
                model, hardware, batch_size, precision, efficiency, raise_errors,
                seq_len=2048 if seq_len is None else seq_len,
                **of_training,
            )  # fmt: skip
        return SingleNodeModel().solve(
            model, hardware, batch_size, precision, efficiency, raise_errors, seq_len, kv_precision, runtime=runtime
        )

    @staticmethod
    def sweep(
        model: Any,
        hardware_list: Sequence[Any],
        batch_sizes: Sequence[int] = (1,),
        precisions: Sequence[str] = ("fp16",),
        efficiency: float = 0.5,
    ) -> list[dict[str, Any]]:
        """Every combination, one dictionary each with ``hardware``, ``batch_size``, ``precision`` and ``profile``.

        Points that do not fit are kept, with ``profile.feasible`` False.
        """
        return [
            {"hardware": device, "batch_size": batch, "precision": precision,
             "profile": Engine.solve(model, device, batch, precision, efficiency)}
            for device in hardware_list
            for batch in batch_sizes
            for precision in precisions
        ]  # fmt: skip
