"""The model that a Megatron-LM argument list describes by its sizes."""

from __future__ import annotations

import math
import re
from typing import Any

from ..catalog import Models
from ..catalog.models import Transformer
from ..errors import CatalogError, InvalidInputError, MissingFactError, alternatives
from ..workloads.transformer import parameter_count, shape
from .training_config_flags import Flags

PADDING = 128
"""Megatron-LM pads the vocabulary to a multiple of this times the tensor-parallel ranks, unless told otherwise."""
GPT2 = 50257
"""Words of the GPT-2 tokenizer: Brown et al. 2020 reuse it, Radford et al. 2019 name the number."""
PATTERN = re.compile(r"\(?\s*(?:\[[01,\s]+\](?:\s*\*\s*\d{1,4})?\s*\+?\s*)+\)?")
MOST_LAYERS = 10_000


def described(flags: Flags, tp: int, vocab: int | None, name: str) -> tuple[Any, list[str]]:
    """A model from its sizes, and remarks; the entry of the catalog with these sizes where the vocabulary is not told.

    Raises:
        InvalidInputError: sizes that are missing or make no sense
        MissingFactError: no vocabulary, and no entry of the catalog has these sizes
    """
    values = _sizes(flags)
    words, remarks = _vocabulary(flags, tp, vocab)
    flags.close()
    if words is None:
        return _known(flags.label, values), [
            "the vocabulary is not told; the entry of the catalog with these sizes is taken"
        ]
    values["vocab"] = words
    reason = f"sizes named by {flags.label}"
    try:
        first = Transformer.define(name, reason=reason, parameters=1.0, **values)
        total = parameter_count(first)
        if "experts" in values:
            idle = shape(first).routed * (1 - values["active_experts"] / values["experts"])
            values["active_parameters"] = total - idle
        return Transformer.define(name, reason=reason, parameters=total, **values), remarks
    except (CatalogError, ZeroDivisionError, OverflowError, TypeError) as error:
        raise InvalidInputError(f"{flags.label}: its sizes describe no transformer: {error}") from None


def _sizes(flags: Flags) -> dict[str, Any]:
    needed = {key: flags.count(flag, default=0) for key, flag in
              (("layers", "num-layers"), ("hidden", "hidden-size"), ("heads", "num-attention-heads"))}  # fmt: skip
    missing = [flags.shown(flag) for key, flag in
               (("layers", "num-layers"), ("hidden", "hidden-size"), ("heads", "num-attention-heads"))
               if not needed[key]]  # fmt: skip
    if missing and not flags.problems:
        flags.problems.append(f"{alternatives(missing)} is missing; name the sizes, or pass model=")
    layers, hidden, heads = (max(value, 1) for value in needed.values())
    if layers > MOST_LAYERS:
        flags.problems.append(f"{flags.shown('num-layers')}: expected at most {MOST_LAYERS} layers, found {layers}")
    swiglu = flags.flag("swiglu")
    ffn = flags.count("ffn-hidden-size", default=(4 * hidden * 2 // 3) // 64 * 64 if swiglu else 4 * hidden)
    grouped = flags.flag("group-query-attention", default="num-query-groups" in flags.data)
    kv_heads = flags.count("num-query-groups", default=1) if grouped else heads
    rotary = (
        flags.flag("use-rotary-position-embeddings")
        or flags.flag("no-position-embedding")
        or flags.word("position-embedding-type", default="learned_absolute") not in ("learned_absolute", "learned")
    )
    plain = flags.flag("disable-bias-linear")
    positions = flags.count("max-position-embeddings", "seq-length")
    values: dict[str, Any] = dict(
        architecture="transformer", layers=layers, hidden=hidden, heads=heads, kv_heads=kv_heads, ffn=ffn,
        head_dim=flags.count("kv-channels", default=max(hidden // heads, 1)), mlp_matrices=3 if swiglu else 2,
        tied_embeddings=not flags.flag("untie-embeddings-and-output-weights"), bias=not plain,
        norm_bias=flags.word("normalization", default="layernorm") == "layernorm",
        qkv_bias=flags.flag("add-qkv-bias") or not plain, qk_norm=flags.flag("qk-layernorm"),
    )  # fmt: skip
    if positions is not None:
        values["max_context"] = positions
        if not rotary:
            values["positions"] = positions
    window = flags.count("window-size")
    if window is not None:
        values["sliding_window"] = window
    values |= _experts(flags, layers, ffn) | _latent(flags)
    return values


def _experts(flags: Flags, layers: int, ffn: int) -> dict[str, Any]:
    experts = flags.count("num-experts")
    if experts is None:
        return {}
    width = flags.count("moe-ffn-hidden-size", default=ffn)
    values: dict[str, Any] = dict(
        experts=experts, active_experts=min(flags.count("moe-router-topk", default=2), experts), expert_ffn=width
    )
    shared = flags.count("moe-shared-expert-intermediate-size")
    if shared is not None:
        values["shared_expert_ffn"] = shared
    frequency = flags.whole("moe-layer-freq")
    text = "".join(map(str, frequency)) if len(frequency) < 2 or isinstance(frequency[0], str) else str(frequency)
    with_experts = expert_layers(text, layers) if frequency else layers
    if not 0 < with_experts <= layers:
        flags.problems.append(
            f"{flags.shown('moe-layer-freq')}: expected a number or a list of {layers} zeros and ones"
        )
        with_experts = layers
    return values | {"moe_layers": with_experts}


def expert_layers(text: str, layers: int) -> int:
    """How many of the layers have experts; -1 where the text says nothing of the kind.

    Examples:
        >>> expert_layers("2", 24), expert_layers("([0]*3+[1]*58)", 61), expert_layers("[1, 0]", 61)
        (12, 58, -1)
    """
    text = text.strip()
    if re.fullmatch(r"\d{1,5}", text):
        return math.ceil(layers / int(text)) if int(text) else -1
    if len(text) > 20_000 or not PATTERN.fullmatch(text):
        return -1
    ones = total = 0
    for entries, times in re.findall(r"\[([01,\s]+)\](?:\s*\*\s*(\d+))?", text):
        digits = re.findall(r"[01]", entries)
        ones += digits.count("1") * int(times or 1)
        total += len(digits) * int(times or 1)
    return ones if total == layers else -1


def _latent(flags: Flags) -> dict[str, Any]:
    if not flags.flag("multi-latent-attention"):
        return {}
    values = dict(kv_lora_rank=flags.count("kv-lora-rank", default=32), kv_heads=1,
                  qk_nope_head_dim=flags.count("qk-head-dim", default=128),
                  qk_rope_head_dim=flags.count("qk-pos-emb-head-dim", default=64),
                  v_head_dim=flags.count("v-head-dim", default=128))  # fmt: skip
    query = flags.count("q-lora-rank")
    values["head_dim"] = values["qk_nope_head_dim"] + values["qk_rope_head_dim"]
    values["kv_heads"] = flags.count("num-attention-heads", default=1)
    return values if query is None else values | {"q_lora_rank": query}


def _vocabulary(flags: Flags, tp: int, given: int | None) -> tuple[int | None, list[str]]:
    whole = flags.count("padded-vocab-size")
    if whole is not None and given is None:
        return whole, []
    words = given if given is not None else flags.count("vocab-size")
    files = " ".join(str(flags.get(name) or "") for name in ("vocab-file", "merge-file")).lower()
    kind = flags.word("tokenizer-type", default="") or ""
    if words is None and (kind == "gpt2bpetokenizer" or "gpt2" in files):
        words = GPT2
    step = flags.count("make-vocab-size-divisible-by", default=PADDING) * tp
    if words is None:
        return None, []
    padded = -(-words // step) * step
    return padded, [f"a vocabulary of {words} is padded to {padded}"] if padded != words else []


def _known(label: str, values: dict[str, Any]) -> Any:
    keys = ("layers", "hidden", "heads", "kv_heads", "ffn", "mlp_matrices", "experts", "tied_embeddings")
    found = [
        model
        for model in Models.Language
        if isinstance(model, Transformer)
        and all(getattr(model.si, key) == values.get(key) for key in keys if key in values)
        and (model.si.experts is None) == ("experts" not in values)
    ]
    if len(found) == 1:
        return found[0]
    hint = f" or model={alternatives([model.id for model in found[:4]])}" if found else " or model="
    raise MissingFactError(f"{label}: the size of the vocabulary is not told; pass vocab={hint}")
