"""Decoders in the line of GPT: plain MLPs, biases, learned positions or none."""

from __future__ import annotations

from .config import Config, Draft
from .decoders import CONTEXT, FFN, HEADS, basics, dense, norms


def gpt2(c: Config) -> Draft:
    """GPT-2 and GPT-BigCode: learned positions, biases; one key-value head where it says multi-query."""
    values = basics(c, tied=True, kv=1.0 if c.flag("multi_query") else None)
    values |= {
        "ffn": c.number(*FFN, default=4 * values["hidden"]), "mlp_matrices": 2.0, "bias": True, "norm_bias": True,
        "positions": c.number(*CONTEXT),
    }  # fmt: skip
    return Draft(values)


def gpt_neo(c: Config) -> Draft:
    """GPT-Neo: no bias on queries, keys and values; every other layer looks at a window."""
    found = gpt2(c)
    values = found.values
    found.extra -= values["layers"] * 3 * values["hidden"]
    kinds = c.sequence("attention_layers")
    local = float(sum(kind == "local" for kind in kinds))
    if local:
        values |= {"sliding_window": c.number("window_size", default=256.0), "window_layers": local}
    return found


def gpt_j(c: Config) -> Draft:
    """GPT-J and CodeGen: one norm a layer, biases in the MLP and the head only."""
    values = basics(c)
    layers, hidden = values["layers"], values["hidden"]
    values |= {"ffn": c.number(*FFN, default=4 * hidden), "mlp_matrices": 2.0, "norm_bias": True}
    return Draft(values, norms(values, 1.0, bias=True) + layers * (values["ffn"] + hidden) + values["vocab"])


def neox(c: Config) -> Draft:
    """GPT-NeoX and Pythia."""
    data = {"attention_bias": None, **c.data}
    biased = c.flag("attention_bias", default=True)
    found = dense(
        Config({**data, "attention_bias": None}, c.label, c.problems), bias=biased, norm_bias=True, matrices=2.0
    )
    return found


def opt(c: Config) -> Draft:
    """OPT: two rows of positions before the first; the smallest widths project from a narrower embedding."""
    values = basics(c, tied=True)
    hidden = values["hidden"]
    values |= {
        "ffn": c.number("ffn_dim", default=4 * hidden), "mlp_matrices": 2.0, "bias": c.flag("enable_bias", default=True),
        "norm_bias": True, "positions": c.number(*CONTEXT) + 2,
    }  # fmt: skip
    width = c.number("word_embed_proj_dim", default=hidden)
    if width != hidden:
        values["embedding_dim"] = width
    # with the norm behind each block there is none at the end
    before = c.flag("do_layer_norm_before", default=True)
    return Draft(values, 0.0 if before else -2 * hidden)


def bloom(c: Config) -> Draft:
    """BLOOM: ALiBi, and a norm behind the embedding."""
    values = basics(c, tied=True)
    values |= {"ffn": 4 * values["hidden"], "mlp_matrices": 2.0, "bias": True, "norm_bias": True}
    values["max_context"] = values["max_context"] or 2048.0
    return Draft(values, 2 * values["hidden"])


def falcon(c: Config) -> Draft:
    """Falcon: multi-query or grouped keys; one or two norms a layer."""
    new = c.flag("new_decoder_architecture")
    if new:
        kv = c.number("num_kv_heads", "n_head_kv", default=None) or c.number(*HEADS)
    else:
        kv = 1.0 if c.flag("multi_query", default=True) else c.number(*HEADS)
    values = basics(c, tied=True, kv=kv)
    biased = c.flag("bias")
    values |= {
        "ffn": c.number(*FFN, default=4 * values["hidden"]), "mlp_matrices": 2.0, "bias": biased, "norm_bias": True,
    }  # fmt: skip
    two = (new and c.number("num_ln_in_parallel_attn", default=2.0) == 2) or not c.flag("parallel_attn", default=True)
    values["max_context"] = values["max_context"] or 2048.0
    return Draft(values, norms(values, 2.0 if two else 1.0, bias=True))


def mpt(c: Config) -> Draft:
    """MPT: attention in a section of its own; positions unless ALiBi; grouped keys in some."""
    section = c.section("attn_config")
    kv = None if section is None else section.number("kv_n_heads", default=None)
    values = basics(c, tied=True, kv=kv)
    biased = not c.flag("no_bias", default=True)
    ratio = c.real("expansion_ratio", default=4.0)
    values |= {
        "ffn": ratio * values["hidden"], "mlp_matrices": 2.0, "bias": biased, "norm_bias": biased,
    }  # fmt: skip
    if not (section is not None and section.flag("alibi")) and c.flag("learned_pos_emb", default=True):
        values["positions"] = c.number(*CONTEXT)
    return Draft(values)


def phi(c: Config) -> Draft:
    """Phi-1 to Phi-2: attention and MLP side by side behind one norm, biases everywhere, in the head too."""
    return dense(c, bias=True, norm_bias=True, matrices=2.0, norms_a_layer=1.0, head_bias=True)


def grok(c: Config) -> Draft:
    """Grok-1: four norms a layer, eight experts, tied."""
    from .decoders import routed

    return routed(c, tied=True, norms_a_layer=4.0)


def phi_moe(c: Config) -> Draft:
    """Phi-3.5-MoE: biases in attention, norms and head, none in the experts."""
    from .decoders import routed

    return routed(c, norm_bias=True, head_bias=c.flag("lm_head_bias"))
