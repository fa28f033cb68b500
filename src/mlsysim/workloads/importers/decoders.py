"""Decoders with softmax attention in every layer: dense and mixture of experts."""

from __future__ import annotations

import math
from typing import Any

from .config import Config, Draft

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
FFN = ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim", "ffn_hidden_dim", "d_ff")
CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "seq_length")
EXPERTS = ("num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts", "num_experts_per_layer")
ACTIVE = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "top_k_experts",
    "moe_topk",
    "moe_top_k",
    "moe_k",
    "num_selected_experts",
)
EXPERT_FFN = ("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size")
SHARED = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")
SLIDING = {"sliding_attention", "chunked_attention", "sliding", "local"}
LINEAR = {"linear_attention", "kda", "lightning"}


def basics(c: Config, *, tied: bool = False, kv: Any = None) -> dict[str, Any]:
    """Depth, widths, heads and vocabulary."""
    hidden, heads = c.number(*HIDDEN), c.number(*HEADS)
    head_dim = c.number("head_dim", "kv_channels", "attention_head_dim", default=None)
    if head_dim is None:
        head_dim = hidden / heads
        if head_dim != math.floor(head_dim):
            c.problems.append(f"{heads:g} heads do not divide a width of {hidden:g}, and 'head_dim' is missing")
    values = {
        "architecture": "transformer",
        "layers": c.number(*LAYERS),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": kv if kv is not None else c.number("num_key_value_heads", "num_kv_heads", default=heads),
        "head_dim": head_dim,
        "vocab": c.number("padded_vocab_size", "vocab_size"),
        "tied_embeddings": c.flag("tie_word_embeddings", default=tied),
        "max_context": c.number(*CONTEXT, default=None),
    }
    if values["heads"] % values["kv_heads"]:
        c.problems.append(f"{values['kv_heads']:g} key-value heads do not divide {heads:g} heads")
    return values


def norms(values: dict[str, Any], a_layer: float, bias: bool = False) -> float:
    """Parameters of norms beyond (or short of) the two a layer that the general sum counts."""
    return float((a_layer - 2) * values["layers"] * values["hidden"] * (2 if bias else 1))


def windows(c: Config, values: dict[str, Any], every: float | None = None) -> None:
    """Layers that look at a window: named one by one, by a pattern, or all of them."""
    width = c.count("sliding_window", "sliding_window_size", "attention_chunk_size", "window_size")
    if not width or c.get("use_sliding_window") is False:
        return
    layers = values["layers"]
    named = c.sequence("layer_types")[: int(layers)]
    pattern = c.get("sliding_window_pattern", "_sliding_window_pattern")
    if named:
        windowed = float(sum(kind in SLIDING for kind in named))
    elif isinstance(pattern, str) and pattern:
        windowed = float(sum(pattern[i % len(pattern)] == "L" for i in range(int(min(layers, 1e5)))))
    elif every is not None or isinstance(pattern, int):
        period = float(pattern) if isinstance(pattern, int) and pattern > 0 else float(every or 1.0)
        windowed = layers - layers // period
    elif c.get("max_window_layers") is not None:
        windowed = max(layers - c.count("max_window_layers"), 0.0)
    else:
        windowed = layers
    if not windowed or width >= (values["max_context"] or math.inf):
        return
    values["sliding_window"] = width
    if windowed < layers:
        values["window_layers"] = windowed


def dense(
    c: Config,
    *,
    tied: bool = False,
    qkv_bias: bool = False,
    bias: bool = False,
    norm_bias: bool = False,
    qk_norm: bool = False,
    matrices: float = 3.0,
    norms_a_layer: float = 2.0,
    window_every: float | None = None,
    head_bias: bool = False,
) -> Draft:
    """A decoder of the kind of Llama, with what its family does otherwise."""
    values = basics(c, tied=tied)
    hidden, layers = values["hidden"], values["layers"]
    values |= {"ffn": c.number(*FFN, default=4 * hidden), "mlp_matrices": matrices}
    attention = c.flag("attention_bias", "use_qkv_bias", "add_qkv_bias", "qkv_bias", default=qkv_bias)
    out = c.flag("attention_out_bias", "add_bias_linear", default=bool(c.get("attention_bias")) and not qkv_bias)
    mlp = c.flag("mlp_bias", "use_mlp_bias")
    extra = norms(values, norms_a_layer, norm_bias)
    if c.flag("use_bias", "bias", default=bias) or (attention and out and mlp):
        values["bias"] = True
    else:
        values["qkv_bias"] = attention
        extra += layers * hidden if attention and out else 0.0
        extra += layers * ((matrices - 1) * values["ffn"] + hidden) if mlp else 0.0
    values["norm_bias"] = norm_bias
    values["qk_norm"] = c.flag("use_qk_norm", "qk_layernorm", default=qk_norm)
    extra += values["vocab"] if head_bias else 0.0
    windows(c, values, window_every)
    return Draft(values, extra)


def full_width_norms(values: dict[str, Any]) -> float:
    """Norms of queries and keys over all heads together, beyond those of one head."""
    return float(values["layers"] * values["head_dim"] * (values["heads"] + values["kv_heads"] - 2))


def olmo2(c: Config) -> Draft:
    """OLMo 2 and 3, OLMoE: norms of all queries and keys."""
    found = routed(c, qk_norm=True) if c.get(*EXPERTS) else dense(c, qk_norm=True)
    found.extra += full_width_norms(found.values)
    return found


def olmo(c: Config) -> Draft:
    """The first OLMo: norms without parameters."""
    found = dense(c)
    found.extra -= (2 * found.values["layers"] + 1) * found.values["hidden"]
    return found


def qwen1(c: Config) -> Draft:
    """The first Qwen names twice the width of its gated MLP."""
    found = dense(c, qkv_bias=True)
    found.values["ffn"] /= 2
    return found


def cohere(c: Config) -> Draft:
    """Command: attention and MLP side by side behind one norm; tied."""
    found = dense(c, tied=True, norms_a_layer=1.0, window_every=4.0)
    if found.values["qk_norm"]:
        found.extra += full_width_norms(found.values)
    return found


def chatglm(c: Config) -> Draft:
    """ChatGLM 2 and 3, GLM-4: key-value heads are groups of multi-query attention."""
    kv = c.number("multi_query_group_num") if c.flag("multi_query_attention") else None
    found = dense(Config({**c.data, "attention_bias": None}, c.label, c.problems))
    found.values["kv_heads"] = kv or found.values["heads"]
    return found


def decilm(c: Config) -> Draft:
    """Layers of different widths, some without attention: the MLP of the mean width stands for all."""
    blocks = [block for block in c.sequence("block_configs") if isinstance(block, dict)]
    found = dense(c)
    values, hidden = found.values, found.values["hidden"]
    if not blocks:
        c.problems.append("'block_configs' is missing")
        return found
    attend = [b for b in blocks if (b.get("attention") or {}).get("n_heads_in_group") is not None]
    groups = {(b["attention"])["n_heads_in_group"] for b in attend}
    if len(groups) != 1 or not all(isinstance(group, int) and group > 0 for group in groups):
        c.problems.append("block_configs: expected attention with one size of head group")
        return found
    widths = []
    for block in blocks:
        ffn = block.get("ffn") or {}
        scale = ffn.get("ffn_mult")
        if isinstance(scale, (int, float)) and 0 < scale < 100:
            widths.append(math.ceil(2 * scale * hidden / 3 / 256) * 256)
    values |= {
        "layers": float(len(blocks)),
        "kv_heads": values["heads"] / next(iter(groups)),
        "attention_layers": float(len(attend)),
        "ffn": sum(widths) / len(blocks),
    }
    found.extra -= (2 * len(blocks) - len(attend) - len(widths)) * hidden
    found.notes.append("the width of the MLP is the mean over layers")
    return found


def mixture(c: Config, values: dict[str, Any]) -> None:
    """Routed and shared experts, and the layers that have them."""
    layers = values["layers"]
    values |= {
        "experts": c.number(*EXPERTS),
        "active_experts": c.number(*ACTIVE),
        "expert_ffn": c.number(*EXPERT_FFN),
    }
    if values["active_experts"] > values["experts"]:
        c.problems.append(f"{values['active_experts']:g} active of {values['experts']:g} experts")
    shared = c.count("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "share_expert_dim")
    number = c.count(*SHARED)
    if number:
        values["shared_experts"] = number
        if shared and shared != number * values["expert_ffn"]:
            values["shared_expert_ffn"] = shared
    elif shared:
        values["shared_expert_ffn"] = shared
    sparse = _sparse_layers(c, layers)
    if not all(sparse):
        values["ffn"] = c.number("dense_intermediate_size", "intermediate_size_mlp", *FFN)
        first = sparse.index(True) if any(sparse) else 0
        if all(sparse[first:]):
            values["first_dense_layers"] = float(first)
        else:
            values["moe_layers"] = float(sum(sparse))


def _sparse_layers(c: Config, layers: float) -> list[bool]:
    """Whether each layer has experts."""
    depth = int(min(layers, 1e4))
    every = c.get("moe_layer_freq", "moe_layers_freq")
    named = c.get("moe_layers_enum")
    if isinstance(named, str):
        chosen = {part.strip() for part in named.split(",")}
        return [str(i) in chosen for i in range(depth)]
    if isinstance(every, list):
        if len(every) < depth:
            c.problems.append(f"moe_layer_freq: expected an entry for each of {depth} layers, found {len(every)}")
        return [bool(entry) for entry in every[:depth]]
    step = (
        every if every is not None else c.get("interleave_moe_layer_step", "decoder_sparse_step", "moe_layer_interval")
    )
    if step is not None and (not isinstance(step, int) or isinstance(step, bool) or step < 1):
        c.problems.append(f"layers with experts: expected every so many, found {step!r:.40}")
        step = 1
    step = int(step or 1)
    first = int(c.count("first_k_dense_replace", "moe_layer_start_index"))
    without = {entry for entry in c.sequence("mlp_only_layers") if isinstance(entry, int)}
    offset = 0 if every is not None else 1
    return [i >= first and i not in without and (i + offset) % step == 0 for i in range(depth)]


def routed(c: Config, *, correction: bool = False, shared_gate: bool = False, **family: Any) -> Draft:
    """A decoder whose MLPs are mixtures of experts.

    ``correction`` adds a bias an expert to the router; ``shared_gate`` a gate on the shared expert.
    """
    found = dense(c, **family)
    values = found.values
    values["ffn"] = None
    mixture(c, values)
    sparse = moe_layers(values)
    found.extra += sparse * values["experts"] if correction else 0.0
    found.extra += sparse * values["hidden"] if shared_gate else 0.0
    return found


def moe_layers(values: dict[str, Any]) -> float:
    """Layers with experts of a draft."""
    return float(values.get("moe_layers", values["layers"] - values.get("first_dense_layers", 0.0)))


def dbrx(c: Config) -> Draft:
    """DBRX keeps attention and MLP in sections of their own."""
    attention, experts = c.section("attn_config"), c.section("ffn_config")
    if attention is None or experts is None:
        c.problems.append("'attn_config' or 'ffn_config' is missing")
        return dense(c)
    merged = {
        **c.data,
        "num_key_value_heads": attention.get("kv_n_heads"),
        "num_local_experts": experts.get("moe_num_experts"),
        "num_experts_per_tok": experts.get("moe_top_k"),
        "intermediate_size": experts.get("ffn_hidden_size"),
    }
    return routed(Config(merged, c.label, c.problems))


def gpt_oss(c: Config) -> Draft:
    """gpt-oss: biases everywhere and a learned sink a head."""
    found = routed(Config({**c.data, "attention_bias": None}, c.label, c.problems), bias=True)
    found.extra += found.values["layers"] * found.values["heads"]
    return found


def minimax_m2(c: Config) -> Draft:
    """MiniMax-M2 and M3: norms of all queries and keys; M3 attends to chosen blocks."""
    found = routed(c, correction=True, qk_norm=True)
    values, sparse = found.values, c.section("sparse_attention_config")
    if sparse is not None:
        blocks = sparse.number("sparse_topk_blocks", "topk_blocks", "block_topk")
        chosen = sparse.get("sparse_attention_freq", "layers", "sparse_layers")
        values |= {
            "index_heads": sparse.number(
                "sparse_num_index_heads", "num_index_heads", "index_n_heads", default=values["kv_heads"]
            ),
            "index_head_dim": sparse.number("sparse_index_dim", "index_dim", "index_head_dim"),
            "index_topk": blocks * sparse.number("sparse_block_size", "block_size"),
        }
        if isinstance(chosen, list):
            values["index_layers"] = float(sum(bool(entry) for entry in chosen))
        found.notes.append("all layers are taken as sparse")
    elif values["qk_norm"] and c.get("qk_norm_type") != "per_head":
        found.extra += full_width_norms(values)
    return found


def llama4(c: Config) -> Draft:
    """Llama 4: experts in every so many layers, three of four layers attend within chunks."""
    # queries and keys are normalised without parameters
    found = routed(Config({**c.data, "use_qk_norm": False}, c.label, c.problems), window_every=4.0)
    values = found.values
    values["shared_experts"] = 1.0
    return found


def mimo_v2(c: Config) -> Draft:
    """MiMo-V2: windowed layers with key-value heads of their own, narrower values."""
    found = routed(c, correction=True)
    values = found.values
    values["v_head_dim"] = c.number("v_head_dim", default=values["head_dim"])
    pattern = c.sequence("hybrid_layer_pattern")
    if pattern:
        values["window_layers"] = float(sum(entry == 1 for entry in pattern))
        values["sliding_window"] = c.number("sliding_window", "sliding_window_size")
        values["window_kv_heads"] = c.number("swa_num_key_value_heads", default=values["kv_heads"])
        width = c.number("swa_head_dim", default=values["head_dim"])
        if width != values["head_dim"]:
            values["window_head_dim"] = width
    return found


def step3(c: Config) -> Draft:
    """Step 3.5 and 3.7: windowed layers may have more heads."""
    found = routed(c, qk_norm=True, correction=True)
    other = c.section("attention_other_setting")
    if other is not None:
        found.values["window_heads"] = other.number(*HEADS, default=found.values["heads"])
        found.values["window_kv_heads"] = other.number("num_attention_groups", default=found.values["kv_heads"])
    elif found.values.get("window_layers"):
        found.notes.append(
            "the config does not name the heads of the windowed layers; those of the full ones are taken"
        )
    return found


def gemma4(c: Config) -> Draft:
    """Gemma 4: full-attention layers with wide heads of their own, keys that are values, experts beside the MLP."""
    family: dict[str, Any] = {"tied": True, "qk_norm": True, "norms_a_layer": 4.0}
    mixed = c.flag("enable_moe_block") or bool(c.get("num_experts"))
    found = routed(c, **family) if mixed else dense(c, **family)
    values = found.values
    window_kv, window_dim = values["kv_heads"], values["head_dim"]
    values["kv_heads"] = c.number("num_global_key_value_heads", default=window_kv)
    values["head_dim"] = c.number("global_head_dim", default=window_dim)
    if values.get("window_layers"):
        values |= {"window_kv_heads": window_kv, "window_head_dim": window_dim}
    if mixed:
        values["shared_expert_ffn"] = c.number("intermediate_size")
        found.extra += 3 * values["layers"] * values["hidden"]  # norms of the experts' branch
    if c.flag("attention_k_eq_v"):
        full = values["layers"] - values.get("window_layers", 0.0)
        found.extra -= full * values["hidden"] * values["kv_heads"] * values["head_dim"]
    if c.count("hidden_size_per_layer_input"):
        width = c.count("hidden_size_per_layer_input") * values["layers"]
        found.extra += (
            c.count("vocab_size_per_layer_input", default=values["vocab"]) * width + 3 * values["hidden"] * width
        )
        found.notes.append("embeddings of each layer are counted as parameters and never read")
    return found
