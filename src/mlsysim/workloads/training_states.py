"""What a rank of a training job holds when memory is fullest: states, activations in flight, logits, work space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..physics import memory, pipeline
from ..units import Bytes, Count
from .training import FULL, PLAIN, SELECTIVE, Kept, Work, layer_activations


@dataclass(frozen=True, slots=True)
class Recipe:
    """Bytes of each state of a parameter, and of each stored activation.

    ``cast_late`` stacks widen a gradient after ranks have shared it out, so that no whole matrix is held in 32 bits.
    """

    weight: Bytes = 2.0
    gradient: Bytes = 4.0
    states: Bytes = 12.0
    value: Bytes = 2.0
    logit: Bytes = 6.0
    waiting: Kept = PLAIN
    cast_late: bool = False


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes by use on the fullest rank.

    ``away`` are activations that the first stage has on its host, ``sent`` those of one micro-batch.
    """

    weights: Bytes
    gradients: Bytes
    optimizer: Bytes
    activations: Bytes
    logits: Bytes
    workspace: Bytes
    away: Bytes = 0.0
    sent: Bytes = 0.0

    @property
    def allocated(self) -> Bytes:
        """What the framework's allocator hands out at its peak."""
        states = memory.sum_of_bytes(self.weights, self.gradients, self.optimizer)
        return memory.sum_of_bytes(states, memory.sum_of_bytes(self.activations, self.logits, 0.0), self.workspace)


def footprint(
    work: Work, recipe: Recipe, *, samples: Count, tp: Count, pp: Count, cp: Count, ep: Count, etp: Count, data: Count,
    chunks: Count, microbatches: Count, zero: Count, recompute: Any, sequence_parallel: bool, fused: bool, selective: str,
    trained: Any = 1.0, schedule: str = "1f1b", recomputed: Any = 1.0, kept_on_chip: Any = 1.0,
    outside: Any = None,
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
        recipe.value, fused, recipe.waiting,
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
    # A gradient in 16 bits, and its copy in 32 before it is added up, unless ranks share it out first; weights gathered for use.
    # The loss comes when no layer is at work, and its logits are gone when one is.
    copy = (2.0 + (4.0 if recipe.gradient >= 4 and not recipe.cast_late else 0.0)) * trained
    head = m.vocab * np.where(staged, 0.0, 1.0) * m.hidden / tp
    in_layer = copy * (m.mlp_matrices - 1) * (m.ffn or m.expert_ffn) * m.hidden / tp
    in_layer = in_layer + np.where(shared_w, 2 * 2.0 * (dense + experts) / stage, 0.0)
    at_loss = (copy + np.where(shared_w, 2.0, 0.0)) * head
    ends = np.where(staged, 1.0, 1.0 if work.tied else 2.0)
    states = held(ends)
    if schedule == "dualpipe":
        states = (2.0 * states[0], *states[1:])
    # layers whose activations go to the host leave one that is being sent and one that is at work
    gone = 0.0 if outside is None else np.minimum(outside, stage)
    near = stage - gone
    here = np.minimum(2.0, gone) * each
    at_first = each * near * first + here + at_work
    waiting = each * near * last + here
    loss = logits + at_loss >= at_work + in_layer
    ending = ~staged | (waiting + np.where(loss, logits + at_loss, at_work + in_layer) > at_first + in_layer)
    by_loss = ending & loss
    return Footprint(
        weights=states[0] + 0.0,
        gradients=states[1],
        optimizer=states[2],
        activations=np.where(by_loss, waiting, np.where(ending, waiting + at_work, at_first))[()],
        logits=np.where(by_loss, logits, 0.0)[()],
        workspace=np.where(by_loss, at_loss, in_layer)[()],
        away=each * gone * first,
        sent=each * gone,
    )
