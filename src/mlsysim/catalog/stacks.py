"""Serving stacks: what their host and scheduler cost, fitted to served load, as facts with a source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..units import Bytes, Count, Fraction, Seconds
from .registry import Registry
from .spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServingStack(Spec):
    """A serving stack: kernels it runs, time it adds to them, and how much of a device it gives to the cache.

    ``versions`` are those of the runs that its numbers were fitted to, ``image`` is the one that is meant unless said,
    and the two ``version`` sigmas widen the interval of any other.
    """

    kernels: str
    routing_evenness: Fraction
    shared_stream: Fraction
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
    disaggregated_token_sigma: Fraction
    disaggregated_first_sigma: Fraction
    image: str
    versions: str
    version_token_sigma: Fraction
    version_first_sigma: Fraction

    def fitted_on(self, image: str) -> bool:
        """Whether the numbers were fitted to runs of this image's version, or of one that begins like it.

        Args:
            image: a container image with a tag, or a version

        Examples:
            >>> Stacks["vllm"].fitted_on("vllm/vllm-openai:v0.19.1-cu130"), Stacks["vllm"].fitted_on("0.21")
            (True, False)
        """
        version = version_of(image)
        return any(re.fullmatch(rf"{re.escape(known)}(?!\d).*", version) for known in self.si.versions.split())


Stacks = Registry("stacks", {"stacks": "All"}, lambda family, facts, label: ServingStack)
"""Every serving stack, by name."""

NAMES = ("ideal", "vllm", "sglang", "trtllm")


def version_of(image: str) -> str:
    """The version that the tag of an image names; empty where it names none, as that of a nightly build.

    Examples:
        >>> version_of("nvcr.io/nvidia/tensorrt-llm/release:1.2.0rc6"), version_of("v0.19.0"), version_of("nightly-5b8c")
        ('1.2.0rc6', '0.19.0', '')
    """
    found = re.fullmatch(r"v?(\d+\.\d[\w.]*)(?:[-+].*)?", image.strip().split("@")[0].split(":")[-1])
    return found[1] if found else ""


def stack_named(name: str) -> Any:
    """A stack of the catalog."""
    return Stacks[name]
