"""Where fits start: the parameters that a form has, and values that make physical sense for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..catalog.efficiency import ANY

Values = dict[str, float]

GEMM: Values = {
    "compute": 0.8, "memory": 0.87, "launch": 1.5e-6, "overlap": 1.5, "feed": 1.0, "wave": 7.5e-7, "split": 2.7e-6, "reach": 0.3,
}  # fmt: skip
QUANTISED: Values = {**GEMM, "quantise": 2e-6, "quantise_memory": 0.5, "quantise_row": 1e-9}
CONTEXT: Values = {
    "compute": 0.75, "memory": 0.33, "launch": 9e-6, "softmax": 1.0, "balance": 1.0, "wave": 2.5e-6, "split": 4e-6,
    "write": 1.5, "wide": 1.0, "windowed": 1.0, "rows": 128.0, "pack": 0.0,
}  # fmt: skip
GENERATION: Values = {
    "memory": 0.9, "launch": 9e-6, "wave": 1.1e-6, "compute": 0.2, "split": 1.3e-6, "join": 3e-8, "reach": 0.6,
    "cache_gain": 1.1, "overlap": 0.5, "stream": 5.0, "wide": 1.0, "alone": 1.0, "shares": 1e6, "windowed": 1.0, "swaps": 0.0,
}  # fmt: skip
MOE: Values = {
    "compute": 0.5, "memory": 0.85, "launch": 2.5e-5, "overlap": 0.5, "wave": 1e-6, "row": 2e-9, "token": 2.0, "slot": 0.2,
    "empty": 1e-8, "least": 16.0, "most": 128.0,
}  # fmt: skip
LATENT: Values = {name: value for name, value in GENERATION.items() if name not in ("wide", "alone", "swaps")}
LIBRARY: Values = {
    "latency": 1e-5, "growth": 0.2, "low": 0.3, "bulk_latency": 4e-5, "bulk_growth": 0.2, "bulk": 0.6, "middle": 0.55,
    "bridge": 0.5,
}  # fmt: skip
STACK: Values = {
    "once_latency": 4e-6, "once_growth": 0.02, "once": 0.6, "twice_latency": 1e-5, "twice_growth": 0.02, "twice": 0.6,
}  # fmt: skip
HOST: Values = {"host": 4e-5}


EXCHANGE: Values = {"latency": 2e-5, "far_latency": 1e-5, "bulk": 0.6, "across": 0.9}
FEW_CORES: Values = {"row": 5e-9, "channel": 4e11}
EACH_EXPERT: Values = {"each": 3e9}


def _same(values: Values) -> Callable[[str], Values]:
    return lambda kernel: dict(values)


def _block(kernel: str) -> Values:
    """vLLM's block-scaled rows were launched one by one from the host."""
    if not kernel.endswith("_eager"):
        return dict(QUANTISED)
    return {**QUANTISED, "eager": 5e-5, **({"unaligned": 1e-5} if "deepgemm" in kernel else {})}


def _weight_only(kernel: str) -> Values:
    """SGLang's 8-bit path quantises the activations as well."""
    return dict(QUANTISED if kernel == "sglang" else GEMM)


def _all_reduce(kernel: str) -> Values:
    if kernel in ("nccl", "oneccl", "any"):
        return dict(LIBRARY)
    return {**LIBRARY, **STACK, **(HOST if kernel.endswith("_eager") else {})}


def _exchange(kernel: str) -> Values:
    """Low-latency kernels deal their cores out to experts; the others copy with a few."""
    if kernel == ANY:
        return {**EXCHANGE, **FEW_CORES, **EACH_EXPERT}
    return {**EXCHANGE, **(EACH_EXPERT if "low_latency" in kernel else FEW_CORES)}


PRIORS: Mapping[str, Callable[[str], Values]] = {
    "gemm_bf16": _same(GEMM),
    "gemm_w4a16": _same(GEMM),
    "gemm_w8a16": _weight_only,
    "gemm_fp8": _same(QUANTISED),
    "gemm_int8": _same(QUANTISED),
    "gemm_nvfp4": _same(QUANTISED),
    "gemm_fp8_block": _block,
    "context_attention": _same(CONTEXT),
    "mla_context": _same(CONTEXT),
    "generation_attention": _same(GENERATION),
    "mla_generation": _same({**LATENT, "splits": 1e6}),
    "moe": _same(MOE),
    "all_reduce": _all_reduce,
    "all_gather": _same(LIBRARY),
    "reduce_scatter": _same(LIBRARY),
    "all_to_all": _same(LIBRARY),
    "moe_exchange": _exchange,
}
"""Starting values by family and kernel."""
_TILES: Sequence[Mapping[str, float]] = tuple(
    {"rows": rows, "pack": pack, "split": split}
    for rows in (64.0, 128.0, 256.0)
    for pack in (0.0, 1.0)
    for split in (0.0, 4e-6)
)
_EXPERT_TILES: Sequence[Mapping[str, float]] = tuple(
    {"least": least, "most": most}
    for least, most in ((8.0, 128.0), (16.0, 64.0), (16.0, 128.0), (64.0, 128.0), (128.0, 128.0))
)
_LATENTS: Sequence[Mapping[str, float]] = tuple(
    {"shares": shares, "splits": splits} for shares in (1e6, 64.0, 32.0, 16.0) for splits in (1e6, 1.0)
)
_GROUPS: Sequence[Mapping[str, float]] = (
    *({"shares": shares, "windowed": windowed} for shares in (1e6, 32.0, 16.0, 8.0, 1.0) for windowed in (1.0, 0.0)),
    {"shares": 1e6, "windowed": 1.0, "swaps": 1.0},
)
_PRODUCT_TILES: Sequence[Mapping[str, float]] = (
    {"splits": 16.0, "columns": 0.0},
    {"splits": 1.0, "columns": 0.0},
    *(
        {"splits": 1.0, "columns": columns, "narrow": narrow, "least": least, "most": most, "turn": turn}
        for least, most, turn, narrow, columns in (
            (16.0, 64.0, 16.0, 64.0, 64.0),  # 16-bit tensor cores fed with narrow weights
            (64.0, 128.0, 128.0, 64.0, 128.0),  # Hopper
            (
                64.0,
                128.0,
                256.0,
                128.0,
                128.0,
            ),  # Blackwell, where a pair of cores shares 128 rows, and beyond 256 rows 256
            (128.0, 128.0, 128.0, 128.0, 128.0),  # Blackwell without stacked memory
            (128.0, 128.0, 128.0, 256.0, 256.0),
        )
    ),
)
"""Any tile, with or without a split of the inner dimension; or one tile that the rows decide.

Open libraries of fp8 and fp4 products dispatch by the rows: vLLM's files ``scaled_mm_sm90_fp8_dispatch.cuh`` and
``scaled_mm_sm100_fp8_dispatch.cuh`` tell the tiles of Hopper and Blackwell (64 x 128 up to 128 rows, then 128 x 128; 128 x 128
shared by two cores up to 256 rows, then 256 x 128).
"""
CHOICES: Mapping[str, Sequence[Mapping[str, float]]] = {
    "gemm_fp8": _PRODUCT_TILES,
    "gemm_fp8_block": _PRODUCT_TILES,
    "gemm_nvfp4": _PRODUCT_TILES,
    "gemm_int8": _PRODUCT_TILES,
    "gemm_w4a16": _PRODUCT_TILES,
    "gemm_w8a16": _PRODUCT_TILES,
    "context_attention": _TILES,
    "mla_context": _TILES,
    "moe": _EXPERT_TILES,
    "generation_attention": _GROUPS,
    "mla_generation": _LATENTS,
}
"""Choices that are tried in turn rather than fitted."""
IDEAL: Mapping[str, tuple[str, ...]] = {
    "gemm_bf16": ("vllm", "trtllm", "sglang"),
    "context_attention": ("vllm", "trtllm", "sglang"),
    "generation_attention": ("vllm", "trtllm", "sglang"),
}
"""Whose kernels the stack ``ideal`` runs, first choice first; elsewhere TensorRT-LLM's."""
NAMES: Mapping[str, str] = {
    "gemm_bf16": "Dense matrix product in bf16 or fp16",
    "gemm_fp8": "Dense matrix product in fp8 with one scale a tensor, activations quantised on the fly",
    "gemm_fp8_block": "Dense matrix product in fp8 with block scales, activations quantised on the fly",
    "gemm_nvfp4": "Dense matrix product in 4-bit blocks, activations quantised on the fly",
    "gemm_int8": "Dense matrix product in int8, activations quantised on the fly",
    "gemm_w4a16": "Dense matrix product of 16-bit activations and 4-bit weights",
    "gemm_w8a16": "Dense matrix product of 16-bit activations and 8-bit weights",
    "context_attention": "Prefill attention with the write of keys and values",
    "generation_attention": "Decode attention",
    "mla_context": "Prefill of multi-head latent attention, expanded",
    "mla_generation": "Decode of multi-head latent attention, absorbed",
    "moe": "Experts of one rank, with routing and permutation",
    "all_reduce": "All-reduce inside a node or rack",
    "all_gather": "All-gather inside a node or rack",
    "reduce_scatter": "Reduce-scatter inside a node or rack",
    "all_to_all": "All-to-all inside a node or rack",
    "moe_exchange": "Tokens to the ranks of their experts and back, by kernels made for it",
}
"""What the families are called."""
