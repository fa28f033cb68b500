"""Decoders with latent attention (MLA), chosen or compressed keys, and hybrids with linear attention or Mamba."""

from __future__ import annotations

from typing import Any

from .config import Config, Draft
from .decoders import LINEAR, basics, mixture, moe_layers, norms, routed


def deepseek(c: Config, *, correction: bool = True) -> Draft:
    """DeepSeek V2 and V3, Kimi K2, GLM-5: latent attention, some with an indexer (DSA)."""
    nope, rope = c.number("qk_nope_head_dim"), c.number("qk_rope_head_dim")
    values = basics(Config({**c.data, "head_dim": nope + rope}, c.label, c.problems))
    values |= {
        "q_lora_rank": c.number("q_lora_rank", default=None),
        "kv_lora_rank": c.number("kv_lora_rank"),
        "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rope,
        "v_head_dim": c.number("v_head_dim"),
    }
    extra = 0.0
    if c.get("n_routed_experts", "num_experts"):
        mixture(c, values)
        if correction and c.get("topk_method") in (None, "noaux_tc"):
            extra += moe_layers(values) * values["experts"]
    else:
        values["ffn"] = c.number("intermediate_size")
    if c.count("index_n_heads"):
        values |= {
            "index_heads": c.number("index_n_heads"),
            "index_head_dim": c.number("index_head_dim"),
            "index_topk": c.number("index_topk"),
        }
        kinds = c.sequence("indexer_types")[: int(values["layers"])]
        if kinds:
            values["index_layers"] = float(sum(kind == "full" for kind in kinds))
        extra += values.get("index_layers", values["layers"]) * 2 * values["index_head_dim"]  # the norm of its keys
    return Draft(values | predicted(c), extra)


def predicted(c: Config) -> dict[str, Any]:
    """Multi-token-prediction layers: named, never counted."""
    layers = c.count("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules", "num_mtp_layers")
    return {"mtp_layers": layers} if layers else {}


def deepseek_v4(c: Config) -> Draft:
    """DeepSeek V4: one shared key-value vector, compressed in most layers, and a short window."""
    found = routed(c, correction=True)
    values = found.values
    ratios = [r for r in c.sequence("compress_ratios")[: int(values["layers"])] if isinstance(r, int) and r > 0]
    kinds = sorted(set(ratios))
    if not 1 <= len(kinds) <= 2:
        c.problems.append(f"compress_ratios: expected one or two ratios above 0, found {kinds[:5]}")
        return found
    values |= {
        "q_lora_rank": c.number("q_lora_rank"),
        "o_lora_rank": c.number("o_lora_rank"),
        "o_groups": c.number("o_groups"),
        "compress_ratio": float(kinds[0]),
        "compressed_layers": float(ratios.count(kinds[0])),
        "index_heads": c.number("index_n_heads"),
        "index_head_dim": c.number("index_head_dim"),
        "index_topk": c.number("index_topk"),
    }
    if len(kinds) == 2:
        values |= {"heavy_compress_ratio": float(kinds[1]), "heavy_compressed_layers": float(ratios.count(kinds[1]))}
    found.values = values | predicted(c)
    found.notes.append("hyper-connections and hashed routing are not described")
    return found


def kimi_linear(c: Config) -> Draft:
    """Kimi Linear and K3: most layers with gated delta attention, the rest with latent attention."""
    section = c.section("linear_attn_config")
    found = deepseek(c)
    values = found.values
    if section is None:
        c.problems.append("'linear_attn_config' is missing")
        return found
    linear, full = section.sequence("kda_layers"), section.sequence("full_attn_layers")
    heads, width = section.number("num_heads"), section.number("head_dim")
    values |= {
        "attention_layers": float(len(full)), "linear_layers": float(len(linear)),
        "linear_key_heads": heads, "linear_value_heads": heads,
        "linear_key_head_dim": width, "linear_value_head_dim": width,
        "conv_kernel": section.number("short_conv_kernel_size", default=4.0),
    }  # fmt: skip
    if len(linear) + len(full) != values["layers"]:
        c.problems.append(f"{len(linear)} linear and {len(full)} full layers are not {values['layers']:g}")
    narrow = c.number("moe_latent_size", "routed_expert_hidden_size", "expert_hidden_size", default=None)
    if narrow is not None:
        values["expert_hidden"] = narrow
    if c.flag("attention_gate", "use_attention_gate", "attn_output_gate", "use_output_gate"):
        values["attention_gate"] = True
    found.notes.append("low-rank decay projections are not described")
    return found


def qwen_next(c: Config) -> Draft:
    """Qwen3-Next and Qwen3.5: three of four layers with a gated delta rule, the rest with gated attention."""
    if c.get("num_experts"):
        found = routed(c, qk_norm=True, shared_gate=True)
    else:
        values = basics(c)
        found = Draft(values | {"ffn": c.number("intermediate_size"), "qk_norm": True})
    values = found.values
    kinds = c.sequence("layer_types")[: int(values["layers"])]
    period = c.number("full_attention_interval", default=4.0)
    linear = float(sum(kind in LINEAR for kind in kinds)) if kinds else values["layers"] - values["layers"] // period
    values |= {
        "attention_gate": c.flag("attn_output_gate", default=True),
        "attention_layers": values["layers"] - linear,
        "linear_layers": linear,
        "linear_key_heads": c.number("linear_num_key_heads"),
        "linear_value_heads": c.number("linear_num_value_heads"),
        "linear_key_head_dim": c.number("linear_key_head_dim"),
        "linear_value_head_dim": c.number("linear_value_head_dim"),
        "conv_kernel": c.number("linear_conv_kernel_dim", default=4.0),
    }
    found.values = values | predicted(c)
    return found


def minimax_text(c: Config) -> Draft:
    """MiniMax-Text-01 and M1: seven of eight layers with lightning attention."""
    found = routed(c)
    values = found.values
    kinds = c.sequence("attn_type_list", "layer_types")[: int(values["layers"])]
    full = float(sum(kind in (1, "full_attention") for kind in kinds)) if kinds else values["layers"] // 8
    heads, width = values["heads"], values["head_dim"]
    values |= {
        "attention_layers": full, "linear_layers": values["layers"] - full,
        "linear_key_heads": heads, "linear_value_heads": heads,
        "linear_key_head_dim": width, "linear_value_head_dim": width,
    }  # fmt: skip
    return found


def nemotron_h(c: Config) -> Draft:
    """Nemotron-H: each layer is one of Mamba-2, attention, an MLP or experts, by a pattern of letters."""
    pattern = c.get("hybrid_override_pattern")
    names = {"mamba": "M", "attention": "*", "mlp": "-", "moe": "E"}
    if not isinstance(pattern, str):
        pattern = "".join(names.get(str(kind), "?") for kind in c.sequence("layers_block_type", "layer_types"))
    unknown = sorted(set(pattern) - set("M*-E"))
    if not pattern or unknown:
        c.problems.append(f"hybrid_override_pattern: expected letters M * - E, found {''.join(unknown) or 'none'}")
        return Draft({})
    values = basics(Config({**c.data, "num_hidden_layers": len(pattern)}, c.label, c.problems))
    values |= {
        "mlp_matrices": 2.0,
        "attention_layers": float(pattern.count("*")),
        "mamba_layers": float(pattern.count("M")),
        "ssm_state": c.number("ssm_state_size"),
        "ssm_heads": c.number("mamba_num_heads"),
        "ssm_head_dim": c.number("mamba_head_dim"),
        "ssm_groups": c.number("n_groups", default=1.0),
        "conv_kernel": c.number("conv_kernel", default=4.0),
    }
    if "-" in pattern:
        values |= {"ffn": c.number("intermediate_size"), "mlp_layers": float(pattern.count("-"))}
    extra = norms(values, 1.0)
    if "E" in pattern:
        values |= {
            "experts": c.number("n_routed_experts"),
            "active_experts": c.number("num_experts_per_tok"),
            "expert_ffn": c.number("moe_intermediate_size"),
            "shared_expert_ffn": c.count("moe_shared_expert_intermediate_size") * (c.count("n_shared_experts") or 1.0),
            "moe_layers": float(pattern.count("E")),
            "expert_hidden": c.number("moe_latent_size", default=None),
        }
    return Draft(values | predicted(c), extra)


def jamba(c: Config) -> Draft:
    """Jamba: Mamba in most layers, attention and experts in every so many."""
    values = basics(c)
    layers = values["layers"]
    depth = range(int(min(layers, 1e5)))
    attend = _every(c, "attn_layer", depth)
    experts = _every(c, "expert_layer", depth)
    inner = c.number("mamba_expand", default=2.0)
    values |= {
        "ffn": c.number("intermediate_size"),
        "attention_layers": attend,
        "mamba_layers": layers - attend,
        "mlp_layers": layers - experts,
        "moe_layers": experts,
        "experts": c.number("num_experts"),
        "active_experts": c.number("num_experts_per_tok"),
        "expert_ffn": c.number("intermediate_size"),
        "ssm_state": c.number("mamba_d_state"),
        "ssm_expand": inner,
        "dt_rank": c.number("mamba_dt_rank"),
        "conv_kernel": c.number("mamba_d_conv", default=4.0),
    }
    # step, B and C are normalised
    return Draft(values, values["mamba_layers"] * (values["dt_rank"] + 2 * values["ssm_state"]))


def _every(c: Config, name: str, depth: range) -> float:
    period, offset = c.number(f"{name}_period"), c.count(f"{name}_offset")
    return float(sum(i % period == offset for i in depth))
