"""Encoders, encoder-decoders and state-space models."""

from __future__ import annotations

import math
from typing import Any

from .config import Config, Draft
from .decoders import CONTEXT, FFN, HIDDEN, LAYERS, basics


def bert(c: Config, *, pooler: bool = True, segments: float = 2.0) -> Draft:
    """BERT and its kin: token, position and segment embeddings with a norm, biases, a pooler; no task head."""
    data = {**c.data}
    for old, new in (
        ("n_heads", "num_attention_heads"),
        ("n_layers", "num_hidden_layers"),
        ("hidden_dim", "intermediate_size"),
    ):
        if new not in data and old in data:
            data[new] = data[old]
    c = Config(data, c.label, c.problems)
    values = basics(c, tied=True)
    hidden = values["hidden"]
    values |= {
        "architecture": "encoder", "ffn": c.number(*FFN, default=4 * hidden), "mlp_matrices": 2.0, "bias": True,
        "norm_bias": True, "tied_embeddings": True, "positions": c.number(*CONTEXT),
    }  # fmt: skip
    kinds = c.count("type_vocab_size", default=segments)
    extra = kinds * hidden + (hidden * hidden + hidden if pooler else 0.0)
    width = c.number("embedding_size", default=hidden)
    if width != hidden:
        # embeddings of another width and one projection; the general sum has a second one, back
        values["embedding_dim"] = width
        extra += (values["positions"] + kinds) * (width - hidden) - width * hidden + hidden
    return Draft(values, extra)


def t5(c: Config, *, tied: bool = True) -> Draft:
    """T5: no biases, norms without bias, learned relative positions a head."""
    layers = c.number("num_layers")
    decoder = c.number("num_decoder_layers", default=layers)
    merged = {**c.data, "num_hidden_layers": layers + decoder, "head_dim": c.get("d_kv")}
    values = basics(Config(merged, c.label, c.problems), tied=tied)
    gated = "gated" in str(c.get("feed_forward_proj") or "relu")
    values |= {
        "architecture": "encoder_decoder", "encoder_layers": layers, "decoder_layers": decoder,
        "ffn": c.number("d_ff"), "mlp_matrices": 3.0 if gated else 2.0,
    }  # fmt: skip
    buckets = c.number("relative_attention_num_buckets", default=32.0)
    # a norm before cross-attention in each decoder layer, one more at the end, a table of positions in each half
    return Draft(values, (decoder + 1) * values["hidden"] + 2 * buckets * values["heads"])


def bart(c: Config) -> Draft:
    """BART and its kin, Whisper: biases, norms with bias, learned positions (two rows before the first)."""
    encoder, decoder = c.number("encoder_layers"), c.number("decoder_layers")
    merged = {
        **c.data,
        "num_hidden_layers": encoder + decoder,
        "num_attention_heads": c.get("decoder_attention_heads", "encoder_attention_heads"),
    }
    values = basics(Config(merged, c.label, c.problems), tied=True)
    hidden = values["hidden"]
    ffn = {c.number("encoder_ffn_dim"), c.number("decoder_ffn_dim")}
    if len(ffn) > 1:
        c.problems.append("encoder_ffn_dim and decoder_ffn_dim: expected equal widths")
    values |= {
        "architecture": "encoder_decoder", "encoder_layers": encoder, "decoder_layers": decoder, "ffn": ffn.pop(),
        "mlp_matrices": 2.0, "bias": True, "norm_bias": True,
    }  # fmt: skip
    extra = (decoder + 1) * 2 * hidden  # norms before cross-attention and at the end of the other half
    if c.get("max_source_positions"):
        frames, bands = c.number("max_source_positions"), c.number("num_mel_bins")
        values |= {"encoder_context": frames, "positions": c.number("max_target_positions")}
        values["max_context"] = values["positions"]
        extra += frames * hidden + 3 * bands * hidden + hidden + 3 * hidden * hidden + hidden  # two convolutions
        extra -= (encoder + 2 * decoder) * hidden  # keys have no bias
    else:
        rows = c.number(*CONTEXT)
        fixed = c.flag("static_position_embeddings")
        values["positions"] = None if fixed else 2 * (rows + 2)
        extra += 4 * hidden if c.flag("normalize_embedding", default=True) else 0.0
        extra -= 0.0 if c.flag("add_final_layer_norm") else 4 * hidden
    return Draft(values, extra)


def _state_space(c: Config, tied: bool) -> dict[str, Any]:
    return {
        "architecture": "ssm",
        "layers": c.number(*LAYERS),
        "hidden": c.number(*HIDDEN),
        "vocab": c.number("vocab_size"),
        "tied": c.flag("tie_word_embeddings", "tie_embeddings", default=tied),
    }


def mamba(c: Config, *, tied: bool = True) -> Draft:
    """Mamba and Falcon Mamba."""
    values = _state_space(c, tied)
    options = c.section("ssm_cfg")
    if options is not None and options.get("layer") == "Mamba2":
        return mamba2(c)
    hidden = values["hidden"]
    rank = c.get("time_step_rank")
    inner = c.number("intermediate_size", "d_inner", default=None)
    values |= {
        "ssm_state": c.number("state_size", "d_state", default=16.0),
        "ssm_expand": inner / hidden if inner else c.number("expand", default=2.0),
        "conv_kernel": c.number("conv_kernel", "d_conv", default=4.0),
        "dt_rank": float(math.ceil(hidden / 16)) if rank in (None, "auto") else c.number("time_step_rank"),
    }
    values["vocab"] = _padded(c, values["vocab"])
    return Draft(values)


def mamba2(c: Config) -> Draft:
    """Mamba-2."""
    values = _state_space(c, True)
    width = c.number("head_dim", "headdim", default=64.0)
    expand = c.number("expand", default=2.0)
    values |= {
        "ssm_state": c.number("state_size", "d_state", default=128.0),
        "ssm_expand": expand,
        "ssm_head_dim": width,
        "ssm_heads": c.number("num_heads", default=expand * values["hidden"] / width),
        "ssm_groups": c.number("n_groups", "ngroups", default=1.0),
        "conv_kernel": c.number("conv_kernel", "d_conv", default=4.0),
    }
    values["vocab"] = _padded(c, values["vocab"])
    return Draft(values)


def _padded(c: Config, vocab: float) -> float:
    multiple = c.number("pad_vocab_size_multiple", default=1.0)
    return float(math.ceil(vocab / multiple) * multiple)


def vision_tower(section: Config) -> float:
    """Parameters of a vision transformer from its config, to a few percent: blocks, patches, positions, merger."""
    depth = section.count("depth", "num_hidden_layers", "layers")
    width = section.count("embed_dim", "width", "hidden_size")
    if not depth or not width:
        return 0.0
    ratio = section.real("mlp_ratio", default=4.0)
    ffn = section.count("intermediate_size", default=ratio * width)
    gated = section.get("hidden_act") == "silu" and section.get("depth") is not None
    patch = section.get("patch_size")
    side = float(patch) if isinstance(patch, int) and 0 < patch < 1e4 else 14.0
    frames = section.number("temporal_patch_size", default=1.0)
    count = depth * (4 * width * width + 4 * width + (3 if gated else 2) * width * ffn + ffn + 5 * width)
    count += 3 * side * side * frames * width
    image = section.get("image_size")
    rows = section.count("num_position_embeddings", default=0.0)
    if not rows and isinstance(image, int) and 0 < image < 1e5:
        rows = (image // side) ** 2
    count += rows * width
    merge = section.number("spatial_merge_size", default=1.0) ** 2 * width
    out = section.count("out_hidden_size", default=section.count("hidden_size") if section.get("embed_dim") else 0.0)
    return float(count + (merge * merge + merge * out if out else 0.0))
