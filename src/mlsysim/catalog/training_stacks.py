"""Training stacks: how each class of them writes a layer and what it overlaps, as facts with a source or a reason."""

from __future__ import annotations

from dataclasses import dataclass

from ..units import Bytes, Count, Fraction, Seconds
from .registry import Registry
from .spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingStack(Spec):
    """A class of training stacks; none of its numbers was fitted to training runs."""

    attention: str
    attention_slowdown: Count
    attention_slowdown_backward: Count
    attention_slowdown_hopper: Count
    attention_slowdown_backward_hopper: Count
    attention_width: Count
    passes: Count
    dropout: Count
    adapter_dropout: Count
    products: Count
    selective: str
    gradient: Bytes
    gradient_kept: Bytes
    gradient_written: Bytes
    gradient_apart: Count
    gathered: Bytes
    loss: Bytes
    logit_kept: Bytes
    input_narrow: Count
    gate_kept: Bytes
    frozen: Bytes
    state_width: Count
    cast_late: Count
    overlap_tensor: Count
    overlap_pipeline: Count
    overlap_data: Count
    contention: Fraction
    launch: Seconds
    launch_experts: Seconds
    step_host: Seconds
    sharding: Count
    context_memory: Bytes
    fragmentation: Fraction
    sigma: Fraction
    sigma_experts: Fraction


TrainingStacks = Registry("training_stacks", {"stacks": "All"}, lambda family, facts, label: TrainingStack)
"""Every class of training stacks, by name."""
STACKS = ("megatron", "megatron2021", "megatron2022", "nemo", "fsdp", "fsdp_eager", "deepspeed", "jax")
