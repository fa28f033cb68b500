"""Where fits start: the parameters that a form has, and values that make physical sense for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

Values = dict[str, float]

GEMM: Values = {
    "compute": 0.8, "memory": 0.87, "launch": 1.5e-6, "overlap": 1.5, "feed": 1.0, "wave": 7.5e-7, "split": 2.7e-6, "reach": 0.3,
}  # fmt: skip
QUANTISED: Values = {**GEMM, "quantise": 2e-6, "quantise_memory": 0.5}
CONTEXT: Values = {
    "compute": 0.75, "memory": 0.33, "launch": 9e-6, "softmax": 1.0, "balance": 1.0, "diagonal": 1.1, "split": 4e-6,
    "wide": 1.0, "windowed": 1.0, "rows": 128.0, "pack": 0.0,
}  # fmt: skip
GENERATION: Values = {
    "memory": 0.9, "launch": 9e-6, "wave": 1.1e-6, "compute": 0.2, "split": 1.3e-6, "reach": 0.5, "cache_gain": 1.1,
    "overlap": 0.5, "stream": 2.0, "shares": 1e6, "windowed": 1.0,
}  # fmt: skip
MOE: Values = {
    "compute": 0.5, "memory": 0.85, "launch": 2.5e-5, "overlap": 0.5, "wave": 1e-6, "row": 2e-9, "token": 2.0, "slot": 0.2,
    "least": 16.0, "most": 128.0,
}  # fmt: skip
LIBRARY: Values = {
    "latency": 1e-5, "growth": 0.2, "low": 0.3, "bulk_latency": 4e-5, "bulk_growth": 0.2, "bulk": 0.6, "middle": 0.55,
}  # fmt: skip
ONE_KERNEL: Values = {
    "latency": 4e-6, "growth": 0.02, "low": 0.6, "bulk_latency": 3e-5, "bulk_growth": 0.02, "bulk": 0.6, "middle": 0.4,
}  # fmt: skip


def _same(values: Values) -> Callable[[str], Values]:
    return lambda kernel: dict(values)


def _block(kernel: str) -> Values:
    """vLLM's block-scaled rows were launched one by one from the host."""
    return {**QUANTISED, "eager": 5e-5} if kernel == "vllm_eager" else dict(QUANTISED)


def _all_reduce(kernel: str) -> Values:
    return dict(LIBRARY if kernel in ("nccl", "oneccl", "any") else ONE_KERNEL)


PRIORS: Mapping[str, Callable[[str], Values]] = {
    "gemm_bf16": _same(GEMM),
    "gemm_w4a16": _same(GEMM),
    "gemm_w8a16": _same(GEMM),
    "gemm_fp8": _same(QUANTISED),
    "gemm_int8": _same(QUANTISED),
    "gemm_nvfp4": _same(QUANTISED),
    "gemm_fp8_block": _block,
    "context_attention": _same(CONTEXT),
    "mla_context": _same(CONTEXT),
    "generation_attention": _same(GENERATION),
    "mla_generation": _same(GENERATION),
    "moe": _same(MOE),
    "all_reduce": _all_reduce,
    "all_gather": _same(LIBRARY),
    "reduce_scatter": _same(LIBRARY),
    "all_to_all": _same(LIBRARY),
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
_GROUPS: Sequence[Mapping[str, float]] = tuple(
    {"shares": shares, "windowed": windowed} for shares in (1e6, 32.0, 16.0, 8.0, 1.0) for windowed in (1.0, 0.0)
)
CHOICES: Mapping[str, Sequence[Mapping[str, float]]] = {
    "context_attention": _TILES,
    "mla_context": _TILES,
    "moe": _EXPERT_TILES,
    "generation_attention": _GROUPS,
    "mla_generation": _GROUPS[::2],
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
}
"""What the families are called."""
