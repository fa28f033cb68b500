"""Models that are no stacks of transformer layers in a measured training step: vision, diffusion, recommenders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..catalog.models import Recommender, StateSpace, Transformer, Workload
from ..catalog.training_stacks import TrainingStack
from ..errors import InvalidInputError, UnsupportedWorkloadError
from ..machine import vision_kernels
from ..machine.measured import MeasuredMachine
from ..machine.training_measured import Sums, Wires, collective
from ..units import Count
from ..workloads.network import network
from ..workloads.training import FULL, Work
from ..workloads.training_states import Footprint, Recipe, footprint
from ..workloads.transformer import as_transformer
from .training_step_time import Layout

BACKWARD = {"gemm": 2.0, "attention": 2.5, "elementwise": 1.5}
"""Backward over forward pass: two products for one, five for two in fused attention, and the bytes of what streams (it reads
the gradient of what was written and what was read, and writes one)."""
UNSEEN = 0.2
"""Added in quadrature to sigma: the fits are of networks that run forward; assumed."""
WORDS = {True: "attention", False: "gemm"}


def trainable(model: Workload, adapters: Any = None) -> Any:
    """The model as training sees it: a Mamba model as a stack of such layers; others as they are.

    Raises:
        InvalidInputError: adapters beside a model without attention
        UnsupportedWorkloadError: the layers of the model are not in the catalog
    """
    if isinstance(model, StateSpace):
        model = as_transformer(model)
    if isinstance(model, Transformer):
        if adapters is not None and model.attention_layers == 0:
            raise InvalidInputError(f"lora_rank: adapters sit on attention projections; {model.id} has none")
        return model
    if adapters is not None:
        raise InvalidInputError(f"lora_rank: adapters sit on attention projections; {model.id} has none")
    if getattr(model, "stages", None) is None and not isinstance(model, Recommender):
        raise UnsupportedWorkloadError(
            f"{model.id}: its layers are not in the catalog, so no kernel can be timed; pass an efficiency such as 0.4 "
            "or model.replace(stages=...)"
        )
    return model


def timed(
    machine: MeasuredMachine, device: Any, model: Any, work: Work, layout: Layout, stack: TrainingStack, number: Any,
    peak: Any, wires: Wires,
) -> tuple[Sums, Work]:  # fmt: skip
    """Times of all layers for a micro-batch, and the model with the parameters that a step touches.

    Tables of a recommender lie over all ranks and only the rows that were looked up are updated; their vectors are exchanged
    (Naumov et al., arXiv:1906.00091, section 4).
    """
    value = float(number.si.activation_bits / 8)
    runtime = "eager" if float(stack.si.launch) > 0 else "compiled"
    on = vision_kernels.bench(device, runtime, "nchw", peak, value)
    done = vision_kernels.time_network(
        on, network(model, layout.samples, None, value, value, number.id.lower()).operators
    )
    sums = Sums(kernels=done.launches, floor=3.0 * done.floor)
    for one, time in zip(done.operators, done.times, strict=True):
        kind = "elementwise"
        if one.kind in vision_kernels.ATTENTION or one.kind in vision_kernels.MATRIX:
            kind = WORDS[one.kind in vision_kernels.ATTENTION]
        sums.forward[kind] = sums.forward.get(kind, 0.0) + time
        sums.backward[kind] = sums.backward.get(kind, 0.0) + BACKWARD[kind] * time
    sums.weights = sums.forward.get("gemm", 0.0)
    own = sums.of("forward") + sums.of("backward")
    sums.spread = float(np.hypot(on.sigma, UNSEEN)) * own
    sums.variance = sums.spread**2
    sums.notes.update(
        dict.fromkeys((*on.notes, f"runtime {runtime}; fitted on networks that run forward, backward derived"))
    )
    if not isinstance(model, Recommender):
        return sums, work
    m = model.si
    sent = layout.samples * m.embedding_tables * m.embedding_dim * value
    time = collective(machine, "all_to_all", sent, layout.data, 1.0, wires).time
    sums.forward["expert"] = sums.backward["expert"] = time
    rows = layout.samples * layout.microbatches * layout.data * (m.embedding_lookups or m.embedding_tables)
    return sums, replace(work, expert_parameters=np.minimum(work.expert_parameters, rows * m.embedding_dim)[()])


def footprint_of(work: Work, recipe: Recipe, **plan: Any) -> Footprint:
    """Memory of the fullest rank; of other models, what every layer writes is kept until the backward pass."""
    if work.shape is not None:
        return footprint(work, recipe, **plan)
    data, samples = plan["data"], plan["samples"]
    zero, trained = np.asarray(plan["zero"]), plan["trained"]
    mine, tables = work.layer_parameters, work.expert_parameters / plan["ep"]

    def held(each: Any, level: float, share: Any = 1.0) -> Any:
        return (each * share * (mine / np.where(zero >= level, data, 1.0) + tables))[()]

    value = recipe.value
    stored: Count = sum(o.write_bytes * o.count for o in network(work.model, samples, None, value, value).operators)
    # full recomputation in segments keeps the outputs of as many layers as a segment has (Chen et al., arXiv:1604.06174)
    kept = np.where(np.asarray(plan["recompute"]) >= FULL, 2 * stored / np.sqrt(np.maximum(work.layers, 4.0)), stored)
    return Footprint(
        weights=held(recipe.weight, 3.0),
        gradients=held(recipe.gradient, 2.0, trained),
        optimizer=held(recipe.states * plan["kept_on_chip"], 1.0, trained),
        activations=kept[()],
        logits=0.0,
        workspace=0.0,
    )
