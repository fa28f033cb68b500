"""Thinking longer, or more than once: time, memory and energy of reasoning (wall 12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Defaults, textbook
from ..machine.textbook import peak_in, power_terms, wiring
from ..physics import agents, energy, memory
from ..record import total
from ..units import Count, Fraction, Joules, JoulesPerToken, Plain, Seconds
from .base import ForwardModel
from .border import Border, shape_of
from .limits import Limit
from .result import Question, Result
from .serving import ServingModel, ServingResult

POINTS = 17
"""Contexts at which the time between tokens is evaluated while it grows; exact where it grows linearly."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InferenceScalingResult(Result):
    """One query that is thought about in steps, once or in several samples."""

    ttft: Seconds
    itl: Seconds
    itl_mean: Seconds
    itl_end: Seconds
    reasoning_steps: Count
    tokens_per_step: Count
    samples: Count
    prefill_energy: Joules
    decode_energy: Joules
    success_of_any: Fraction
    success_of_majority: Fraction
    feasible: bool
    serving_detail: ServingResult

    @total
    def tokens_in_sequence(self) -> Count:
        """Tokens of one chain of thought."""
        return self.reasoning_steps * self.tokens_per_step

    @total
    def tokens_generated(self) -> Count:
        """Tokens of all samples."""
        return self.samples * self.reasoning_steps * self.tokens_per_step

    @total
    def time_per_step(self) -> Seconds:
        """Mean time of a step."""
        return self.tokens_per_step * self.itl_mean

    @total
    def total_reasoning_time(self) -> Seconds:
        """Prompt and all steps; samples decode together."""
        return memory.sum_of_times(self.ttft, self.reasoning_steps * self.tokens_per_step * self.itl_mean, 0.0)

    @total
    def energy_per_query(self) -> Joules:
        """Energy of prompt and all samples."""
        return self.prefill_energy + self.decode_energy

    @total
    def energy_per_token(self) -> JoulesPerToken:
        """Energy of the query over its generated tokens."""
        return self.energy_per_query / self.tokens_generated

    @total
    def prefill_share(self) -> Plain:
        """Share of the time that is the prompt."""
        return self.ttft / self.total_reasoning_time

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit, at the end of the chain."""
        return self.serving_detail.limits

    @property
    def bottleneck(self) -> Any:
        """What decoding waits for most, at the end of the chain."""
        return self.serving_detail.bottleneck


class InferenceScalingModel(ForwardModel):
    """Wall 12: each step of thought decodes tokens, over a context that grows as it thinks."""

    walls = ((12, "Reasoning", "algorithm"),)
    requires = ("workload", "hardware")
    produces = InferenceScalingResult
    misbeliefs = {
        "thinking is free compute": "every token of thought reads all weights once more, and a longer cache",
        "more samples help as much as more steps": "voting only helps where a sample is right more often than not",
        "samples cost as much as steps": "samples decode together and share the reading of weights; steps cannot",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        reasoning_steps: Any = 8,
        context_length: Any = 2048,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        *,
        tokens_per_step: Any = None,
        samples: Any = 1,
        success_rate: Any = None,
        kv_precision: Any = None,
        tp_size: Any = 1,
    ) -> InferenceScalingResult:
        """Time, energy and memory of a query that is reasoned about.

        Args:
            model: a decoder of ``Models`` or its name
            hardware: a device (or a stack of them), a node, or a name
            reasoning_steps: steps of one chain; may be an array
            context_length: tokens of the prompt
            precision: number format of the weights
            efficiency: share of the arithmetic peak that is reached, in (0, 1]
            tokens_per_step: tokens of a step; 50 unless said
            samples: chains that are drawn for the query, decoded as one batch
            success_rate: probability that one chain ends right, for voting and for a perfect verifier
            kv_precision: number format of the cache
            tp_size: tensor-parallel ranks

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once
            UnsupportedWorkloadError: the model does not generate tokens

        Examples:
            >>> answer = InferenceScalingModel().solve("Llama3_8B", "H100", reasoning_steps=8)
            >>> answer.tokens_generated, answer.feasible
            (400.0, True)
        """
        arguments = dict(model=model, hardware=hardware, reasoning_steps=reasoning_steps, context_length=context_length,
                         precision=precision, efficiency=efficiency, tokens_per_step=tokens_per_step, samples=samples,
                         success_rate=success_rate, kv_precision=kv_precision, tp_size=tp_size)  # fmt: skip
        border = Border()
        network, machine = border.model(model), border.machine(hardware)
        number = border.format(precision)
        steps = border.count("reasoning_steps", reasoning_steps)
        prompt = border.count("context_length", context_length)
        each = (
            Defaults["Reasoning"].si.tokens_per_step
            if tokens_per_step is None
            else border.count("tokens_per_step", tokens_per_step)
        )
        drawn = border.count("samples", samples)
        eta = border.fraction("efficiency", efficiency)
        chance = np.nan if success_rate is None else border.fraction("success_rate", success_rate, closed=True)
        ranks = border.count("tp_size", tp_size)
        border.close()
        arguments.update(model=network, hardware=machine, precision=number)
        same = dict(precision=number, efficiency=eta, kv_precision=kv_precision, tp_size=ranks)
        first = ServingModel().solve(network, machine, prompt, 1, **same)
        start = ServingModel().solve(network, machine, prompt, drawn, **same)
        length = steps * each
        final = ServingModel().solve(network, machine, prompt + length, drawn, **same)
        shape = shape_of(*(np.empty(x.shape) for x in (first, start, final)), np.asarray(chance))
        along = np.linspace(0.0, 1.0, POINTS).reshape(-1, *(1 for _ in shape))
        path = ServingModel().solve(network, machine, np.round(prompt + length * along), drawn, **same).si
        weights = np.full(along.shape, 1.0 / (POINTS - 1))
        weights[[0, -1]] /= 2
        mean = np.sum(path.itl * weights, axis=0)[()]
        joules = np.sum(path.energy_per_token * weights, axis=0)[()] * length * drawn
        inside = first.si
        return InferenceScalingResult(
            question=Question(type(self), arguments),
            shape=shape,
            notes=final.notes,
            ttft=inside.ttft,
            itl=start.si.itl,
            itl_mean=mean,
            itl_end=final.si.itl,
            reasoning_steps=steps,
            tokens_per_step=each,
            samples=drawn,
            prefill_energy=_prefill_energy(machine, number, inside, eta),
            decode_energy=joules,
            success_of_any=agents.success_of_any(chance, drawn),
            success_of_majority=np.nan if success_rate is None else agents.success_of_majority(chance, drawn),
            feasible=np.logical_and(first.si.feasible, final.si.feasible),
            serving_detail=final,
        )


def _prefill_energy(machine: Any, number: Any, prefill: Any, eta: Any) -> Any:
    """Energy of all chips while they read the prompt."""
    assumed = textbook()
    chip = wiring(machine, assumed.link_latency).chip
    peak, _ = peak_in(chip, number)
    bandwidth = chip.si.memory_bandwidth
    idle, per_flop, tdp = power_terms(chip, peak, bandwidth, assumed)
    flops, moved = prefill.prefill_compute * peak * eta, prefill.prefill_memory * bandwidth
    one = energy.chip_energy(prefill.ttft, idle, flops, per_flop, moved, assumed.memory_energy, tdp)
    return one * prefill.devices
