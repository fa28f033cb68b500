"""Number format of the weights, from the quantisation section of a config."""

from __future__ import annotations

from typing import Any

from .config import Config

PLAIN = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32"}
FLOATS = {8: "fp8", 4: "nvfp4"}
INTEGERS = {8: "int8", 4: "int4", 3: "int4", 2: "int4"}
METHODS = {
    "fbgemm_fp8": "fp8", "modelopt_fp8": "fp8", "nvfp4": "nvfp4", "modelopt_fp4": "nvfp4", "mxfp4": "mxfp4",
    "mxfp8": "mxfp8", "eetq": "int8", "quanto_int8": "int8", "quip": "int4", "aqlm": "int4", "spqr": "int4",
    "vptq": "int4", "higgs": "int4", "bitnet": "int4",
}  # fmt: skip
"""Methods whose name alone says the format."""
ALGORITHMS = {
    "FP8": "fp8", "FP8_PB_WO": "fp8_block", "FP8_PER_CHANNEL_PER_TOKEN": "fp8", "NVFP4": "nvfp4", "NVFP4_AWQ": "nvfp4",
    "W4A8_NVFP4_FP8": "nvfp4", "W4A16_AWQ": "int4", "W4A16": "int4", "W4A8_AWQ": "int4", "W4A8_MXFP4_FP8": "mxfp4",
    "W8A16": "int8", "INT8_SQ": "int8", "W8A8_SQ_PER_CHANNEL": "int8", "MXFP8": "mxfp8", "MXFP4": "mxfp4",
}  # fmt: skip
"""Algorithms of NVIDIA ModelOpt."""
WIDTH = {"nvfp4": 4.5, "mxfp4": 4.25, "int4": 4.0, "int8": 8.0, "fp8": 8.0, "fp8_block": 8.0, "mxfp8": 8.25}


def weight_format(config: Config) -> tuple[str | None, list[str]]:
    """The format of most weights, and remarks; None where the config says nothing.

    Where parts differ, the narrowest counts: it is that of the experts or MLPs, which hold most weights.
    """
    text = config.section("text_config", "llm_config", "language_config") or config
    quantised = config.section("quantization_config", "quantization") or text.section("quantization_config")
    if quantised is not None and quantised.data:
        found, notes = _quantised(quantised)
    else:
        found, notes = None, []
    if text.get("expert_dtype") == "fp4" and (found is None or WIDTH.get(found, 16.0) > 4.5):
        found, notes = "mxfp4", ["the experts are in MXFP4, the rest is wider"]
    if found is not None or notes:
        return found, notes
    plain = text.get("dtype", "torch_dtype") or config.get("dtype", "torch_dtype")
    return PLAIN.get(str(plain).removeprefix("torch.")), []


def _quantised(section: Config) -> tuple[str | None, list[str]]:
    method = str(section.get("quant_method", "quant_library", "producer") or "").lower()
    algorithm = str(section.get("quant_algo") or "").upper()
    if algorithm in ALGORITHMS:
        return ALGORITHMS[algorithm], []
    groups = section.section("config_groups")
    if groups is not None:
        return _groups(groups)
    if method in ("fp8", "finegrained_fp8", "modelopt") and (method != "modelopt" or not algorithm):
        return ("fp8_block" if section.get("weight_block_size") else "fp8"), []
    if method in METHODS:
        return METHODS[method], []
    if section.flag("load_in_8bit") or section.flag("_load_in_8bit"):
        return "int8", []
    if section.flag("load_in_4bit") or section.flag("_load_in_4bit"):
        return "int4", ["4-bit weights of bitsandbytes are taken as int4"]
    bits = section.get("bits", "w_bit", "nbits", "num_bits", "weights_bits")
    if bits in INTEGERS:
        narrow = [f"{bits}-bit weights are taken as int4, the narrowest format known"] if bits < 4 else []
        return INTEGERS[bits], narrow
    told = method or algorithm or "of an unnamed method"
    return None, [f"its quantisation ({told[:40]}) is not known; say the precision"]


def _groups(groups: Config) -> tuple[str | None, list[str]]:
    found: dict[str, None] = {}
    for name in groups.data:
        group = groups.section(name)
        weights = None if group is None else group.section("weights")
        if weights is None:
            continue
        known = _group_format(weights, str(group.get("format") or "") if group else "")
        if known is not None:
            found[known] = None
    if not found:
        return None, ["its quantisation groups name no known format; say the precision"]
    narrowest = min(found, key=lambda name: WIDTH[name])
    mixed = [f"weights are in {' and '.join(sorted(found))}; {narrowest} is taken for all"] if len(found) > 1 else []
    return narrowest, mixed


def _group_format(weights: Config, packing: str) -> str | None:
    bits: Any = weights.get("num_bits")
    if weights.get("type") == "float":
        if bits == 4:
            return "mxfp4" if weights.get("group_size") == 32 or packing.startswith("mxfp4") else "nvfp4"
        if bits == 8 and weights.get("group_size") == 32:
            return "mxfp8"
        if bits == 8 and weights.get("strategy") == "block":
            return "fp8_block"
        return FLOATS.get(bits)
    return INTEGERS.get(bits)
