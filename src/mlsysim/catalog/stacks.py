"""Serving stacks: what their host and scheduler cost, fitted to served load, as facts with a source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..units import Bytes, Count, Fraction, Seconds
from .registry import Registry
from .spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServingStack(Spec):
    """A serving stack: kernels it runs, time it adds to them, and how much of a device it gives to the cache."""

    kernels: str
    routing_evenness: Fraction
    gap: Seconds
    step_host: Seconds
    first_token_fixed: Seconds
    first_token_steps: Count
    burst: Fraction
    lock_step_burst: Fraction
    memory_share: Fraction
    share_of_free: Fraction
    reserve: Bytes
    cached_output: Fraction
    token_budget: Count
    max_sequences: Count
    cache: str
    cache_blackwell: str
    hand_over: Seconds
    hand_over_steps: Count
    disaggregated_burst: Fraction
    token_sigma: Fraction
    first_sigma: Fraction


Stacks = Registry("stacks", {"stacks": "All"}, lambda family, facts, label: ServingStack)
"""Every serving stack, by name."""

NAMES = ("ideal", "vllm", "sglang", "trtllm")


def stack_named(name: str) -> Any:
    """A stack of the catalog."""
    return Stacks[name]
