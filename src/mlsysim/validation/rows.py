"""Rows of the kernel tables as operators: which family and kernel a row is, and its shape as arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..machine.chip import Chip
from ..machine.collectives import PASSES, link_of, timer, wire_bytes
from ..machine.exchange import FAMILY, exchange_operator
from ..machine.operators import Operator, Operators
from .data import Table

GEMM = {
    "bfloat16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8_block",
    "nvfp4": "nvfp4",
    "int8_wo": "w8a16",
    "int4_wo": "w4a16",
    "sq": "int8",
}
MOE = {
    "bfloat16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8_block",
    "nvfp4": "nvfp4",
    "int4_wo": "w4a16",
    "w4a16_mxfp4": "w4a16_mxfp4",
    "w4a8_mxfp4_mxfp8": "mxfp4",
    "w4afp8": "w4a8",
}
SHORT = {"bfloat16": "bf16", "fp8": "fp8"}
EAGER = {("gemm_fp8_block", "vllm")}
"""Families timed without a CUDA graph: the host's launches are part of the time."""
LAUNCHERS = ("deepgemm", "flashinfer")
"""Libraries that launch more, or less, than one kernel that quantises and one that multiplies."""
MLA_DIMS = (192.0, 128.0, 512.0, 64.0)
"""Widths of DeepSeek's latent attention, which the tables measured: query-key, value, latent, rotary."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one device and one kernel, in the order of ``rows``."""

    family: str
    kernel: str
    gpu: str
    rows: NDArray[np.int64]
    arguments: tuple[Any, ...]

    def operator(self, operators: Operators) -> Operator:
        """These rows on a chip."""
        if self.family == FAMILY:
            return exchange_operator(operators.chip, *self.arguments)
        if self.family in PASSES:
            return collective_operator(operators.chip, *self.arguments)
        method = {"gemm": "gemm", "mla_generation": "generation_attention", "mla_context": "context_attention"}
        name = method.get(self.family.split("_")[0] if self.family.startswith("gemm") else self.family, self.family)
        bound: Operator = getattr(operators, name)(*self.arguments)
        return bound


def collective_operator(chip: Chip, kind: str, message: Any, ranks: Any, kernel: str) -> Operator:
    """A collective inside a node as an operator."""
    link = link_of(chip)
    floor = wire_bytes(kind, message, ranks, link.switch) / link.bandwidth
    run = timer(kernel)
    return Operator(kind, lambda p: run(p, kind, message, ranks, link), floor, kernel)


def kernel_name(framework: str, source: str) -> str:
    """A short name of a kernel: the stack, and its kernel where it has several."""
    source = re.sub(r"_situ_as_silu$", "", source)
    for prefix in ("vllm_", "sglang_", "trtllm_", "moe_torch_flow_"):
        source = source.removeprefix(prefix)
    plain = {
        "torch_flow": "",
        "default": "",
        "moe_torch_flow": "",
        "flash_attn": "fa2",
        "flash_attention": "fa2",
        "flash_attn_fa2": "fa2",
    }
    source = plain.get(source, source).replace("flash_attn_", "").replace("flashinfer_", "fi_")
    return f"{framework}_{source}".rstrip("_").lower()


def gemm_groups(table: Table) -> Iterator[Group]:
    """Dense layers."""
    for (gpu, framework, dtype), rows in table.groups("gpu", "framework", "dtype"):
        part = table.where(rows)
        precision = GEMM[dtype]
        family = f"gemm_{precision}"
        if (family, framework) not in EAGER:
            yield Group(family, framework, gpu, rows, (part["m"], part["n"], part["k"], precision))
            continue
        for (source,), inner in part.groups("kernel_source"):  # each library has its own launches
            t = part.where(inner)
            library = next((f"_{name}" for name in LAUNCHERS if source.lower().startswith(name)), "")
            kernel = f"{framework}{library}_eager"
            yield Group(family, kernel, gpu, rows[inner], (t["m"], t["n"], t["k"], precision))


def context_groups(table: Table) -> Iterator[Group]:
    """Prefill attention."""
    for (gpu, framework, source, dtype, kv), rows in table.groups(
        "gpu", "framework", "kernel_source", "dtype", "kv_dtype"
    ):
        t = table.where(rows)
        shape = (t["batch_size"], t["isl"], 0.0, t["num_heads"], t["num_kv_heads"], t["head_dim"], t["window_size"])
        kernel = f"{kernel_name(framework, source)}/{SHORT[dtype]}/{SHORT[kv]}"
        yield Group("context_attention", kernel, gpu, rows, (*shape, SHORT[kv], SHORT[dtype]))


def generation_groups(table: Table) -> Iterator[Group]:
    """Decode attention."""
    for (gpu, framework, source, kv), rows in table.groups("gpu", "framework", "kernel_source", "kv_dtype"):
        t = table.where(rows)
        shape = (t["batch_size"], t["step"] + 1, t["num_heads"], t["num_kv_heads"], t["head_dim"], t["window_size"])
        yield Group(
            "generation_attention", f"{kernel_name(framework, source)}/{SHORT[kv]}", gpu, rows, (*shape, SHORT[kv])
        )


def mla_groups(table: Table) -> Iterator[Group]:
    """Latent attention: expanded for prefill, absorbed for decode."""
    qk, value, latent, rotary = MLA_DIMS
    for (op, gpu, framework, source, kv), rows in table.groups("op", "gpu", "framework", "kernel_source", "kv_dtype"):
        t = table.where(rows)
        kernel = f"{kernel_name(framework, source)}/{SHORT[kv]}"
        heads = t["num_heads"]
        if op == "context_mla":
            shape: tuple[Any, ...] = (
                t["batch_size"],
                t["isl"],
                0.0,
                heads,
                heads,
                qk,
                None,
                SHORT[kv],
                "bf16",
                True,
                value,
            )
            yield Group("mla_context", kernel, gpu, rows, shape)
        else:
            shape = (t["batch_size"], t["step"] + 1, heads, 1.0, latent + rotary, None, SHORT[kv], 0.0)
            yield Group("mla_generation", kernel, gpu, rows, shape)


def moe_groups(table: Table) -> Iterator[Group]:
    """Experts of one rank."""
    for (gpu, framework, source, dtype), rows in table.groups("gpu", "framework", "kernel_source", "dtype"):
        t = table.where(rows)
        tokens, experts, topk, ep = t["num_tokens"], t["num_experts"], t["topk"], t["moe_ep_size"]
        imbalance, active = routing(tokens, experts, topk, ep, t["distribution"])
        matrices = 2.0 if "nongated" in source else 3.0
        shape = (tokens, t["hidden_size"], t["inter_size"], experts, topk, t["moe_tp_size"], ep, MOE[dtype], matrices)
        yield Group("moe", f"{kernel_name(framework, source)}/{MOE[dtype]}", gpu, rows, (*shape, imbalance, active))


def routing(tokens: Any, experts: Any, topk: Any, ep: Any, distribution: NDArray[Any]) -> tuple[Any, Any]:
    """Load of the busiest rank over the mean, and its busy experts, under even or power-law routing.

    Power-law rows drew each expert's share from a bounded power law and timed the busiest rank; here the shares are
    the quantiles of that law.
    """
    imbalance, active = np.ones_like(tokens), np.empty_like(tokens)
    for i in range(len(tokens)):
        local, rows = max(experts[i] / ep[i], 1.0), max(tokens[i] * topk[i] / ep[i], 1.0)
        active[i] = min(local, rows)
        if distribution[i] == "balanced":
            continue
        alpha = float(str(distribution[i]).rsplit("_", 1)[1])
        u = (np.arange(experts[i]) + 0.5) / experts[i]
        most = max(0.8 * tokens[i], 2.0)
        share = (1 + u * (most ** (1 - alpha) - 1)) ** (1 / (1 - alpha))
        share = share / share.mean()
        spread = share.std() / np.sqrt(local)
        imbalance[i] = min(1 + spread * np.sqrt(2 * np.log(ep[i])), ep[i]) if ep[i] > 1 else 1.0
        pairs = share * tokens[i] * topk[i] / experts[i] * imbalance[i]
        active[i] = max(1.0, local * (1 - np.exp(-pairs)).mean())
    return imbalance, active


def nccl_groups(table: Table) -> Iterator[Group]:
    """Collectives of a general library; timed eagerly."""
    for (gpu, op), rows in table.groups("gpu", "op"):
        library, kind = op.split("_", 1)
        kind = "all_to_all" if kind == "alltoall" else kind
        t = table.where(rows)
        yield Group(kind, library, gpu, rows, (kind, t["message_bytes"], t["num_gpus"], library))


def custom_groups(table: Table) -> Iterator[Group]:
    """All-reduce kernels of serving stacks."""
    for (gpu, framework, source), rows in table.groups("gpu", "framework", "kernel_source"):
        t = table.where(rows)
        kernel = framework + ("_eager" if source.endswith("eager") else "")
        yield Group("all_reduce", kernel, gpu, rows, ("all_reduce", t["message_bytes"], t["num_gpus"], kernel))


def exchange_groups(table: Table) -> Iterator[Group]:
    """Dispatch and combine of experts."""
    for (gpu, kernel, phase), rows in table.groups("gpu", "kernel_source", "phase"):
        t = table.where(rows)
        shape = (t["num_tokens"], t["hidden_size"], t["topk"], t["num_experts"], t["num_gpus"], t["num_nodes"])
        yield Group(FAMILY, f"{kernel}/{phase}", gpu, rows, (phase, *shape, None, kernel))


TABLES: dict[str, tuple[str, Callable[[Table], Iterator[Group]]]] = {
    "gemm": ("gemm", gemm_groups),
    "context_attention": ("context_attention", context_groups),
    "generation_attention": ("generation_attention", generation_groups),
    "mla": ("mla", mla_groups),
    "moe": ("moe", moe_groups),
    "nccl": ("nccl", nccl_groups),
    "custom_allreduce": ("custom_allreduce", custom_groups),
    "moe_exchange": ("moe_exchange", exchange_groups),
}
"""Tables by name, and how each splits into groups."""
