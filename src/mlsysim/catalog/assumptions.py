"""What the textbook model takes for granted, as facts with a reason."""

from __future__ import annotations

from dataclasses import dataclass

from ..units import (
    Bytes,
    BytesPerSecond,
    Count,
    DollarsPerJoule,
    DollarsPerKilogram,
    Fraction,
    JoulesPerByte,
    Plain,
    Seconds,
)
from .spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assumptions(Spec):
    """Defaults of the whole-model roofline."""

    layer_overhead: Seconds
    link_latency: Seconds
    prefill_chunk: Count
    drafted_tokens: Count
    idle_share: Fraction
    memory_energy: JoulesPerByte
    activation_share: Fraction


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Economics(Spec):
    """Planning figures of owning and running machines."""

    life: Seconds
    maintenance_share: Fraction
    electricity_price: DollarsPerJoule
    pue: Fraction
    carbon_price: DollarsPerKilogram
    baseline_region: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reasoning(Spec):
    """How much a model thinks."""

    tokens_per_step: Count


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FineTuning(Spec):
    """How adapters are usually made."""

    rank: Count
    tokens_per_pass: Count
    training_efficiency: Fraction


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrivateTraining(Spec):
    """A training run to add privacy to, and what its gradients are like."""

    examples: Count
    batch: Count
    epochs: Count
    gradient_noise_scale: Count
    effective_dimension: Count
    accuracy: Fraction
    margin: Fraction


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScalingLaw(Spec):
    """A fitted law of the loss: E + A / N^alpha + B / D^beta, in nats a token."""

    irreducible: Count
    parameter_scale: Count
    token_scale: Count
    parameter_exponent: Count
    token_exponent: Count


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AccuracyLoss(Spec):
    """What a compression cost one model on one benchmark, as a share of the score before; from best to worst seen."""

    method: str
    model: str
    benchmark: str
    smallest: Fraction
    largest: Fraction
    bits: Count | None = None
    sparsity: Fraction | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredUtilisation(Spec):
    """Share of a device's dense peak that published runs of one kind of work reached, from lowest to highest."""

    work: str
    lowest: Fraction
    highest: Fraction
    conditions: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operations(Spec):
    """Planning figures of running machines and services."""

    repair_time: Seconds
    spare_supplies: Count
    slo_factor: Count
    length_spread: Fraction


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Training(Spec):
    """What a planned training run takes for granted where nothing is said."""

    master_weight: Bytes
    logit: Bytes
    buffer_share: Fraction
    gathered_layers: Count
    adapter_rank: Count
    switch_radix: Count
    weight_reads: Count
    search_microbatch: Count
    host_update_bandwidth: BytesPerSecond


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SustainedRate(Spec):
    """How much slower products run for hours, on random data at the limit of power, than in a short benchmark.

    ``watts`` is the limit of power of the part that was measured for a TFLOP/s of its 16-bit peak; a part with less slows
    down by the power of the ratio to ``power_exponent``. ``spread`` is the standard deviation of that among equal chips.
    """

    generation: str
    slowdown: Count
    watts: Plain | None = None
    power_exponent: Fraction = 0.5
    spread: Fraction = 0.0


ASSUMED: dict[str, type[Spec]] = {
    "textbook": Assumptions,
    "training": Training,
    "economics": Economics,
    "operations": Operations,
    "reasoning": Reasoning,
    "finetuning": FineTuning,
    "privatetraining": PrivateTraining,
    "scaling": ScalingLaw,
    "fidelity": AccuracyLoss,
    "utilisation": MeasuredUtilisation,
    "sustained": SustainedRate,
}
"""The class of each file of assumptions (by its name), or of each folder of alike ones."""
