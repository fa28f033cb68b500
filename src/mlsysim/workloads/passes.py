"""The work of one pass through a model: FLOPs, bytes that must move, bytes that stay, launches. Knows no device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..catalog.models import Diffusion, Recommender, StateSpace, Transformer, Workload
from ..errors import MissingFactError
from ..physics import memory
from ..physics import transformer as eq
from ..units import Bytes, Count, Flop, Fraction
from .network import network
from .operators import total_bytes
from .transformer import Shape, shape


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass: what it computes, moves and holds."""

    flops: Flop
    weights: Bytes
    traffic: Bytes
    cache: Bytes
    activations: Bytes
    launches: Count
    notes: tuple[str, ...] = ()


def cache_size(model: Shape, tokens: Count, sequences: Count, value: Bytes) -> tuple[Bytes, Bytes]:
    """Bytes of cached keys, values and states: kept in memory, and read by one decode step."""
    kept = read = None
    for cache in model.caches:
        size = eq.kv_cache_size(cache.values, _at_most(tokens, cache.kept), sequences, value)
        seen = size if cache.read == cache.kept else eq.kv_cache_size(
            cache.values, _at_most(tokens, cache.read), sequences, value
        )  # fmt: skip
        kept = size if kept is None else kept + size
        read = seen if read is None else read + seen
    if model.state_values:
        state = eq.kv_cache_size(model.state_values, 1.0, sequences, value)
        kept = state if kept is None else kept + state
        read = 2 * state if read is None else read + 2 * state  # read and written back
    return (0.0, 0.0) if kept is None else (kept, read)


def _at_most(tokens: Count, window: float) -> Count:
    return tokens if window >= eq.EVERYTHING else np.minimum(tokens, window)


def prefill_attention(model: Shape, new: Count, cached: Count, sequences: Count) -> Flop:
    """FLOPs of causal attention over a prompt."""
    work: Flop = None
    for kind in model.attention:
        pairs = eq.attended_pairs(new, cached, kind.window)
        one = eq.attention_flops(pairs, sequences, kind.layers, kind.heads, kind.query_dim, kind.value_dim)
        work = one if work is None else work + one
    return 0.0 if work is None else work


def decode_attention(model: Shape, context: Count, sequences: Count, tokens: Count = 1.0) -> Flop:
    """FLOPs of attention when each sequence adds ``tokens`` to a cache of ``context`` tokens."""
    work: Flop = None
    for kind in model.attention:
        pairs = (
            _at_most(context, kind.window)
            if type(tokens) is float and tokens == 1.0
            else _at_most(context, kind.window) * tokens
        )
        one = eq.attention_flops(
            pairs, sequences, kind.layers, kind.heads, kind.decode_query_dim, kind.decode_value_dim
        )
        work = one if work is None else work + one
    return 0.0 if work is None else work


def weight_bytes(model: Workload, value: Bytes) -> Bytes:
    """Size of the weights; the catalog's own size where no parameter count is known."""
    inside = model.si
    if inside.parameters is not None:
        return eq.weight_size(inside.parameters, value)
    if inside.weight_size is not None:
        return inside.weight_size
    raise MissingFactError(f"{model.id}: neither a parameter count nor a weight size is in the catalog")


def inference_pass(
    model: Workload, batch: Count, context: Count, weight: Bytes, value: Bytes, share: Fraction, chunk: Count
) -> Pass:
    """One inference of a batch: a decode step of a language model, a whole forward pass of any other.

    Args:
        model: the model
        batch: sequences or samples
        context: tokens of each sequence
        weight: bytes of one weight
        value: bytes of one cached or activation value
        share: activation traffic of a sample over the weights, for convolutional networks
        chunk: most tokens in one pass, which bounds working memory
    """
    if isinstance(model, Transformer):
        whole = model.architecture != "transformer"
        return _encoder(model, batch, context, weight, value, chunk) if whole else _decoder(
            model, batch, context, weight, value
        )  # fmt: skip
    weights = weight_bytes(model, weight)
    launches = model.si.layers if model.si.layers is not None else 1.0
    if isinstance(model, StateSpace):
        m = model.si
        state = eq.kv_cache_size(m.layers * m.hidden * m.ssm_expand, m.ssm_state + m.conv_kernel - 1, batch, value)
        flops = eq.linear_flops(m.parameters, batch)
        return Pass(flops, weights, memory.sum_of_bytes(weights, state, state), state, 0.0, launches)
    operations = model.si.textbook_operations
    notes: tuple[str, ...] = ()
    if operations is not None:
        notes = (f"{model.id}: the published multiply-adds are counted as one operation each, as the textbook does",)
    else:
        operations = model.flops()
    if isinstance(model, Recommender) and model.si.embedding_lookups is not None:
        ran = network(model, batch, None, weight, value).operators  # a sample reads a few rows of the tables, not all
        moved = total_bytes(ran)
        return Pass(operations * batch, weights, moved, 0.0, moved, float(len(ran)), notes)
    if isinstance(model, Diffusion):
        steps = model.si.denoising_steps
        flops = operations * steps * batch
        traffic = memory.activation_traffic(weights, batch, share) * steps
        return Pass(flops, weights, traffic, 0.0, weights * share * batch, launches * steps, notes)
    traffic = memory.activation_traffic(weights, batch, share)
    return Pass(operations * batch, weights, traffic, 0.0, weights * share * batch, launches, notes)


def _decoder(model: Transformer, batch: Count, context: Count, weight: Bytes, value: Bytes) -> Pass:
    m = shape(model)
    weights = eq.weight_size(m.parameters, weight)
    kept, read = cache_size(m, context, batch, value)
    flops = memory.sum_of_flops(eq.linear_flops(m.active, batch), decode_attention(m, context, batch))
    activations = eq.prefill_activation_size(batch, m.hidden, m.widest, value)
    return Pass(
        flops, weights, memory.sum_of_bytes(read_weights(m, weight, batch), read, 0.0), kept, activations, m.layers
    )


def read_weights(model: Shape, weight: Bytes, tokens: Count) -> Bytes:
    """Bytes of weights that one pass over some tokens reads."""
    if not model.routed:
        return eq.weight_size(model.parameters, weight)
    touched = eq.touched_experts(tokens, model.experts, model.active_experts)
    always = eq.weight_size(model.parameters - model.routed, weight)
    return memory.moe_weight_traffic(always, eq.weight_size(model.routed, weight), touched)


def _encoder(model: Transformer, batch: Count, context: Count, weight: Bytes, value: Bytes, chunk: Count) -> Pass:
    m = shape(model)
    weights = eq.weight_size(m.parameters, weight)
    tokens = batch * context
    flops = eq.linear_flops(m.active, tokens)
    for kind in m.attention:  # every token sees every other
        flops = flops + eq.attention_flops(
            context * context, batch, kind.layers, kind.heads, kind.query_dim, kind.value_dim
        )
    working = eq.prefill_activation_size(np.minimum(tokens, chunk), m.hidden, m.widest, value)
    moved = eq.prefill_activation_size(tokens, m.hidden, m.widest, value) * m.layers
    return Pass(flops, weights, memory.sum_of_bytes(weights, moved, 0.0), 0.0, working, m.layers)
