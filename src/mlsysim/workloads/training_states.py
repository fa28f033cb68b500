"""What a rank of a training job holds when memory is fullest: states, activations in flight, logits, work space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..physics import memory, pipeline
from ..units import Bytes, Count
from .training import FULL, SELECTIVE, Work, layer_activations


@dataclass(frozen=True, slots=True)
class Recipe:
    """Bytes of each state of a parameter, and of each stored activation.

    ``static`` are bytes that data-parallel ranks never share in ZeRO-1 (weights and gradients), ``shared`` those they do.
    """

    weight: Bytes = 2.0
    gradient: Bytes = 4.0
    states: Bytes = 12.0
    value: Bytes = 2.0
    logit: Bytes = 6.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes by use on the fullest rank."""

    weights: Bytes
    gradients: Bytes
    optimizer: Bytes
    activations: Bytes
    logits: Bytes
    workspace: Bytes

    @property
    def allocated(self) -> Bytes:
        """What the framework's allocator hands out at its peak."""
        states = memory.sum_of_bytes(self.weights, self.gradients, self.optimizer)
        return memory.sum_of_bytes(states, memory.sum_of_bytes(self.activations, self.logits, 0.0), self.workspace)


def footprint(
    work: Work, recipe: Recipe, *, samples: Count, tp: Count, pp: Count, cp: Count, ep: Count, etp: Count, data: Count,
    chunks: Count, microbatches: Count, zero: Count, recompute: Any, sequence_parallel: bool, fused: bool, selective: str,
    trained: Any = 1.0, schedule: str = "1f1b", recomputed: Any = 1.0, kept_on_chip: Any = 1.0,
) -> Footprint:  # fmt: skip
    """The fuller of the first stage, with its embedding and most micro-batches, and the last, with its logits."""
    m = work.model.si
    stage = np.ceil(work.layers / (pp * chunks)) * chunks
    dense = work.layer_parameters * (stage / work.layers) / tp
    moe_layers = work.shape.moe_layers if work.shape is not None and work.shape.moe_layers else work.layers
    # dense layers come first, so the last stage holds nothing but layers of experts
    experts = work.expert_parameters / moe_layers * np.minimum(stage, moe_layers) / (ep * etp)
    shards, expert_shards = data * cp, data * cp * tp / (ep * etp)
    staged = np.asarray(pp) > 1
    shared_s, shared_g, shared_w = (np.asarray(zero) >= n for n in (1, 2, 3))

    def held(embeddings: Any) -> tuple[Any, Any, Any]:
        own = dense + work.embedding * embeddings / tp
        parts = []
        for each, shared, share in (
            (recipe.weight, shared_w, 1.0),
            (recipe.gradient, shared_g, trained),
            (recipe.states * kept_on_chip, shared_s, trained),
        ):
            one = own * each * share / np.where(shared, shards, 1.0) + experts * each * share / np.where(
                shared, expert_shards, 1.0
            )
            parts.append(one)
        return parts[0], parts[1], parts[2]

    tokens = samples * work.tokens / cp
    kept, whole = layer_activations(
        work, samples, tp, cp, tp if sequence_parallel else 1.0, np.minimum(recompute, SELECTIVE) if selective == "scores" else 0.0,
        recipe.value, fused,
    )  # fmt: skip
    boundary = recipe.value * tokens * m.hidden / (tp if sequence_parallel else 1.0)
    level = np.asarray(recompute)
    half = kept / 2 + boundary / 2 if selective == "alternate" else kept
    each = np.where(level >= FULL, boundary, np.where(level >= SELECTIVE, half, kept))
    first, last = (
        f(pp, microbatches, chunks) for f in (pipeline.interleaved_first_in_flight, pipeline.interleaved_last_in_flight)
    )
    each = recomputed * each + (1 - recomputed) * kept
    if schedule == "gpipe":
        first = last = microbatches
    elif schedule == "dualpipe":  # both directions together (DeepSeek-V3, table 2)
        first = last = np.minimum(microbatches, pp + 1)
    elif schedule == "zero-bubble":  # every stage keeps as many, for gradients of weights put off (Qi et al., 2024)
        last = first
    at_work = np.where(level >= FULL, whole, 0.0)
    logits = tokens * m.vocab / tp * recipe.logit
    # the gradient of the largest matrix in 16 bits, and its copy in 32 before it is added up; shards gathered for use
    widest = (
        np.maximum((m.mlp_matrices - 1) * (m.ffn or m.expert_ffn), m.vocab * np.where(staged, 0.0, 1.0)) * m.hidden / tp
    )
    space = (2.0 + (4.0 if recipe.gradient >= 4 else 0.0) / 1.0) * widest * trained
    gathered = np.where(shared_w, 2 * 2.0 * (dense + experts) / stage, 0.0)
    ends = np.where(staged, 1.0, 1.0 if work.tied else 2.0)
    states = held(ends)
    if schedule == "dualpipe":
        states = (2.0 * states[0], *states[1:])
    at_first = each * stage * first + at_work
    at_last = each * stage * last + at_work + logits
    alone = ~staged
    fuller = at_last > at_first
    return Footprint(
        weights=states[0] + 0.0,
        gradients=states[1],
        optimizer=states[2],
        activations=np.where(alone | fuller, each * stage * last + at_work, at_first)[()],
        logits=np.where(alone | fuller, logits, 0.0)[()],
        workspace=(space + gathered)[()],
    )
