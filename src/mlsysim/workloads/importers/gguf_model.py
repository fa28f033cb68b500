"""A GGUF header to a spec: the shape from its metadata, the parameters from its tensors."""

from __future__ import annotations

from typing import Any

from ...catalog.load import build
from ...catalog.models import StateSpace, Transformer, Workload
from ...catalog.source import Fact, Source
from ...errors import CatalogError, InvalidInputError, UnsupportedWorkloadError
from ..transformer import shape
from .checkpoint import Checkpoint
from .config import Config
from .huggingface import identifier

ENCODERS = {"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "neo-bert"}
ELSEWHERE = {"t5", "t5encoder", "clip", "whisper", "wavtokenizer-dec"}
"""Architectures that the metadata of a decoder does not describe."""


def from_header(header: Checkpoint, name: str, source: Source) -> Workload:
    """The model that a header describes.

    Raises:
        InvalidInputError: keys that are missing or make no sense, all of them at once
        UnsupportedWorkloadError: an architecture whose shape the metadata does not hold
    """
    kind = header.metadata.get("general.architecture")
    if not isinstance(kind, str) or not kind:
        raise InvalidInputError(f"{name}: expected the key 'general.architecture' in its metadata")
    prefix = f"{kind}."
    c = Config(
        {key.removeprefix(prefix): value for key, value in header.metadata.items() if key.startswith(prefix)}, name
    )
    recurrent = [key for key in c.data if key.startswith(("ssm.", "wkv."))]
    if kind in ("mamba", "falcon-mamba"):
        values = _state_space(c)
    elif kind in ELSEWHERE or recurrent:
        raise UnsupportedWorkloadError(
            f"{name}: the shape of a {kind!r:.40} is not read from GGUF; give its config.json"
        )
    else:
        values = _transformer(c, header, kind)
    values["vocab"] = header.side("token_embd.weight", 1) or c.number("vocab_size")
    c.close()
    stored = header.format
    values |= {"parameters": float(header.parameters or 0)} | ({"checkpoint_format": stored} if stored else {})
    values = {key: value for key, value in values.items() if value is not None}
    facts = {key: Fact(value=value, unit="", source=source) for key, value in values.items()}
    facts["weight_size"] = Fact(value=header.size, unit="byte", source=source)
    told = ", ".join(f"{key} {count:.3g}" for key, count in sorted(header.values.items(), key=lambda item: -item[1]))
    own = {"id": identifier(name), "name": name, "family": "user", "note": f"values by type: {told}"}
    try:
        if kind in ("mamba", "falcon-mamba"):
            recurrence: StateSpace = build(StateSpace, facts, name, None, **own)
            return recurrence
        model: Transformer = build(Transformer, facts, name, None, **own)
        if "experts" in values:
            idle = shape(model).routed * (1 - values["active_experts"] / values["experts"])
            why = Source(
                kind="derived", title="active parameters", reason="all but the experts that a token does not choose"
            )
            facts["active_parameters"] = Fact(value=max(values["parameters"] - idle, 1.0), unit="", source=why)
            model = build(Transformer, facts, name, None, **own)
    except (CatalogError, ZeroDivisionError) as error:
        raise InvalidInputError(f"{name}: its metadata does not describe a model: {error}") from None
    return model


def _state_space(c: Config) -> dict[str, Any]:
    hidden, inner = c.number("embedding_length"), c.number("ssm.inner_size")
    return {
        "architecture": "ssm", "layers": c.number("block_count"), "hidden": hidden, "ssm_state": c.number("ssm.state_size"),
        "ssm_expand": inner / hidden, "conv_kernel": c.number("ssm.conv_kernel"), "dt_rank": c.number("ssm.time_step_rank"),
    }  # fmt: skip


def _most(c: Config, key: str) -> None:
    """A list with one entry a layer becomes its largest."""
    value = c.data.get(key)
    if isinstance(value, (tuple, list)) and value and all(isinstance(entry, int) for entry in value):
        c.data[key] = max(value)


def _transformer(c: Config, header: Checkpoint, kind: str) -> dict[str, Any]:
    for key in ("attention.head_count", "attention.head_count_kv", "feed_forward_length"):
        _most(c, key)
    hidden, heads = c.number("embedding_length"), c.number("attention.head_count")
    width = c.number("attention.key_length_mla", "attention.key_length", default=hidden / heads)
    value = c.number("attention.value_length_mla", "attention.value_length", default=width)
    values: dict[str, Any] = {
        "architecture": "encoder" if kind in ENCODERS else "transformer",
        "layers": c.number("block_count"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": c.number("attention.head_count_kv", default=heads),
        "head_dim": width,
        "ffn": c.number("feed_forward_length", default=None),
        "max_context": c.number("context_length", default=None),
        "tied_embeddings": "output.weight" not in header.shapes,
        "mlp_matrices": _matrices(c, header),
        "sliding_window": c.number("attention.sliding_window", default=None)
        if c.get("attention.sliding_window")
        else None,
    }
    if value != width:
        values["v_head_dim"] = value
    if c.get("attention.kv_lora_rank"):
        rope = c.number("rope.dimension_count")
        values |= {
            "kv_heads": heads, "q_lora_rank": c.number("attention.q_lora_rank", default=None),
            "kv_lora_rank": c.number("attention.kv_lora_rank"), "qk_rope_head_dim": rope,
            "qk_nope_head_dim": max(width - rope, 1.0), "v_head_dim": value,
        }  # fmt: skip
    if c.get("expert_count"):
        values |= {
            "experts": c.number("expert_count"),
            "active_experts": c.number("expert_used_count"),
            "expert_ffn": c.number("expert_feed_forward_length", "feed_forward_length"),
            "shared_experts": c.count("expert_shared_count") or None,
            "first_dense_layers": c.count("leading_dense_block_count") or None,
        }
        if values["active_experts"] > values["experts"]:
            c.problems.append(f"{values['active_experts']:g} active of {values['experts']:g} experts")
    return values


def _matrices(c: Config, header: Checkpoint) -> float:
    gated = any(".ffn_gate" in name and "inp" not in name for name in header.shapes)
    fused = header.side("blk.0.ffn_up.weight", 1) == 2 * (c.get("feed_forward_length") or 0)
    return 3.0 if gated or fused else 2.0
