"""A catalog entry with ``stages`` to its operators."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..catalog.models import Recommender, Workload
from ..errors import MissingFactError, alternatives, nearest
from ..units import Bytes, Count, Flop
from . import diffusion, vision  # noqa: F401  (they define words)
from .convnets import JOINING, LAYERS, Word
from .operators import Operator, total_flops
from .recommendation import recommend
from .stages import Stage, parse
from .trace import Shape, Trace


@dataclass(frozen=True, slots=True)
class Network:
    """A network written out: operators of one pass, and what it is made of."""

    operators: tuple[Operator, ...]
    parameters: Count
    flops: Flop
    output: Shape


def network(
    model: Workload,
    batch: Count = 1.0,
    resolution: Count | None = None,
    weight: Bytes = 2.0,
    value: Bytes = 2.0,
    precision: str = "fp16",
) -> Network:
    """The operators of one inference of a recommender, or of a model whose entry has ``stages``.

    Of a diffusion model, one pass of its denoiser.

    Args:
        model: the model
        batch: samples; may be an array
        resolution: pixels a side in place of the published ones; may be an array; ignored by a model with an input of its own
        weight: bytes of one weight
        value: bytes of one activation
        precision: number format of the arithmetic

    Raises:
        MissingFactError: the entry has no layers
        CatalogError: its layers cannot be read

    Examples:
        >>> from mlsysim.catalog import Models
        >>> one = network(Models.ResNet50)
        >>> print(f"{one.flops / 2e9:.2f} G multiply-adds, {one.parameters / 1e6:.2f} M parameters")
        4.09 G multiply-adds, 25.56 M parameters
    """
    text = getattr(model, "stages", None)
    if text is None and not isinstance(model, Recommender):
        raise MissingFactError(f"{model.id}: its layers are not in the catalog; models with a value `stages` have them")
    if resolution is None:
        resolution = model.si.input_resolution or getattr(model.si, "resolution", None) or 224.0
    trace = Trace(batch, weight, value, precision, Shape(3.0, (resolution, resolution)))
    if isinstance(model, Recommender):
        recommend(trace, model)
    else:
        walk(trace, parse(str(text)))
    return Network(tuple(trace.operators), trace.parameters, total_flops(trace.operators), trace.shape)


def walk(trace: Trace, stages: tuple[Stage, ...]) -> None:
    """Go through the lines of an architecture.

    Raises:
        CatalogError: a word or a reference that means nothing
    """
    for stage in stages:
        word = _word(stage)
        for name in stage.inputs:
            if name not in trace.saved:
                near = nearest(name, trace.saved)
                raise stage.fault(
                    f"no earlier output named {name!r}" + (f"; did you mean {alternatives(near)}?" if near else "")
                )
        if stage.inputs and stage.kind not in JOINING:
            trace.shape = trace.saved[stage.inputs[0]]
        trace.label = f"{stage.line}.{stage.kind}."
        word.build(trace, stage)
        if stage.repeats > 1:
            # from the second on, blocks are alike: no stride, as many channels in as out
            options = {name: value for name, value in stage.options.items() if name != "s"}
            trace.label = f"{stage.line}.{stage.kind}.again."
            with trace.times(stage.repeats - 1.0):
                word.build(trace, replace(stage, options=options))
        if any(np.any(np.less(size, 1)) for size in trace.shape.extent):
            raise stage.fault("no position is left; the input is too small for this network")
        if stage.output:
            trace.saved[stage.output] = trace.shape


def _word(stage: Stage) -> Word:
    """The meaning of a line's first word; its options and flags must be some that the word takes."""
    word = LAYERS.get(stage.kind)
    if word is None:
        near = nearest(stage.kind, LAYERS) or sorted(LAYERS)
        raise stage.fault(f"no such layer; did you mean {alternatives(near)}?")
    unknown = sorted({*stage.options} - word.options) + sorted(stage.flags - word.flags)
    if unknown:
        taken = alternatives(sorted(word.options) + sorted(word.flags))
        raise stage.fault(f"takes no {' and no '.join(map(repr, unknown))}; it takes {taken}")
    return word
