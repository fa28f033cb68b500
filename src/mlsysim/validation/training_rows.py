"""Published training runs as questions: rows of the table that name model, hardware, parallelism, batch and lengths.

What a row does not say and the stack does not fix is ``assumed``; rows that contradict themselves, or whose recipe is
unknown, are ``trouble`` and count only in the raw families.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog import Hardware, Models
from ..catalog.training_stacks import TrainingStacks
from ..errors import MLSysimError
from ..machine.measured import MeasuredMachine
from ..solvers.training_step_time import sustained
from .data import FOLDER, read_table
from .training_cases import Case, build, cut, device_of, gpt_flops, model_of, number, number_after, step_of
from .training_unrecorded import lightest

FILE = FOLDER / "training" / "training.csv.gz"


@functools.lru_cache(maxsize=4)
def cases(path: Path = FILE) -> tuple[Case, ...]:
    """Configurations of a file; several rows of one configuration become one, with the median of what they measured."""
    table = read_table(path)
    found: dict[tuple[Any, ...], list[Case]] = {}
    for place in range(len(table)):
        one = case_of({name: str(column[place]) for name, column in table.columns.items()})
        if one is not None:
            found.setdefault(one.key, []).append(one)
    return tuple(
        replace(same[0], value=float(np.median([one.value for one in same])), repeats=len(same))
        for same in found.values()
    )


def case_of(row: Mapping[str, str]) -> Case | None:
    """A row as a question, or None where it cannot be asked."""
    name = row["id"].split("-")[0].split("_")[0]
    reader = READERS.get(name)
    try:
        return None if reader is None else reader(row)
    except (MLSysimError, ZeroDivisionError):
        return None


def megatron2021(row: Mapping[str, str]) -> Case:
    """Narayanan et al., SC 2021, tables 1 and 2."""
    model, m = model_of(row["model"]), model_of(row["model"]).si
    batch, chips = number(row["batch_global"]) or 0.0, number(row["n_devices"]) or 1.0
    step = gpt_flops(m.layers, m.hidden, 2048.0, 51200.0, batch, 4.0) / (chips * float(row["value"]) * 1e12)
    zero3 = "ZeRO-3" in row["id"]
    pp = number(row["pp"], 1.0) or 1.0
    assumed: tuple[str, ...] = ()
    more: dict[str, Any] = {"activation_recomputation": "full", "sequence_parallel": False}
    if zero3:
        return build(row, "sc21", model, Hardware["A100"], step, TrainingStacks["deepspeed"],
                     trouble="ZeRO-3 of 2021, before its collectives overlapped",
                     regime="fsdp", zero_stage=3, **more)  # fmt: skip
    if (
        pp > 1
        and "interleaved" in row["parallelism_other"]
        and (m.layers / pp) % 2 == 0
        and batch % (number(row["dp"]) or 1) == 0
    ):
        more["v_stages"] = 2.0
        assumed = ("two chunks of each stage",)
        if (batch / (number(row["dp"]) or 1.0)) % pp:
            more.pop("v_stages")
    if not number(row["micro_batch"]):
        more["microbatch_size"] = 1.0 if pp > 1 else 4.0
        assumed += ("micro-batch",)
    return build(row, "sc21", model, Hardware["A100"], step, TrainingStacks["megatron2021"], assumed=assumed, **more)


def korthikanti(row: Mapping[str, str]) -> Case | None:
    """Korthikanti et al., 2022, table 5 and figure 1."""
    text = row["parallelism_other"]
    if row["metric"] == "train_MFU":
        name = row["model"]
        model = model_of(name)
        m, batch, chips = model.si, number(row["batch_global"]) or 0.0, number(row["n_devices"]) or 1.0
        step = 72 * batch * 2048.0 * m.layers * m.hidden**2 * (1 + 2048.0 / (6 * m.hidden) + 51200.0 / (12 * m.layers * m.hidden)) / (
            chips * float(row["value"]) / 100 * 312e12
        )  # fmt: skip
        recompute = "selective"
    elif row["metric"] == "train_iteration_time":
        model, step = model_of(row["model"]), float(row["value"])
        recompute = "full" if "recompute=full" in text else "selective"
    else:
        kind = {"activation_memory": "activations", "param_optimizer_memory": "states"}[row["metric"]]
        recompute = next((word for word in ("full", "selective") if f"recompute={word}" in text), "none")
        shared = "seq" in row["id"]
        return build(row, "korthikanti22", model_of(row["model"]), Hardware["A100"], float(row["value"]) * 2**30,
                     TrainingStacks["megatron2022"], family="training_memory", counter=kind,
                     v_stages=number_after(r"VP=(\d+)", text) or 1.0,
                     activation_recomputation=recompute, sequence_parallel=shared)  # fmt: skip
    return build(row, "korthikanti22", model, Hardware["A100"], step, TrainingStacks["megatron2022"],
                 v_stages=number_after(r"VP=(\d+)", text) or 1.0,
                 activation_recomputation=recompute, sequence_parallel=recompute == "selective")  # fmt: skip


def titan(row: Mapping[str, str]) -> Case:
    """torchtitan's tables; its H100 has slower memory and a limit of 500 W."""
    text = row["parallelism_other"]
    device = Hardware["H100"]
    if "500W" in row["hardware"]:
        device = device.replace(memory_bandwidth="2.4 TB/s", memory_capacity="96 GiB", tdp="500 W")
    elif "H200" in row["hardware"]:
        device = Hardware["H200"]
    stack = TrainingStacks["fsdp"]
    if "eager" in text:
        eager = TrainingStacks["fsdp_eager"].si
        stack = stack.replace(passes=float(eager.passes), launch="15 us")
    trouble = "row-wise scales were slower than bf16 in that release" if "rowwise" in row["precision"] else ""
    if "PP" in text:
        trouble = "number of micro-batches not given"
    if "async" in text.lower():
        stack = stack.replace(overlap_tensor=1.0)
    recompute = "full" if "full AC" in text else "selective" if re.search("AC|SAC", text) else "none"
    more: dict[str, Any] = {"activation_recomputation": recompute, "zero_stage": 3}
    if row["metric"] == "peak_memory_per_gpu":
        trouble = trouble or "reserved memory, which caches blocks up to the size of the card"
        return build(row, "torchtitan", model_of(row["model"]), device, float(row["value"]) * 2**30, stack, family="training_memory",
                     regime="fsdp", trouble=trouble, counter="reserved", **more)  # fmt: skip
    return build(
        row, "torchtitan", model_of(row["model"]), device, step_of(row), stack, regime="fsdp", trouble=trouble, **more
    )


def foundry(row: Mapping[str, str]) -> Case:
    """llm-foundry's tables of MPT models."""
    text = row["parallelism_other"]
    # the loss is flash-attn's by default (loss_fn: fused_crossentropy of its MPT): a logit and its gradient in 16 bits
    stack = TrainingStacks["fsdp_eager"].replace(gradient="2 B" if "PURE" in text else "4 B", logit_kept="4 B")
    recompute = "full" if "act_ckpt=True" in text else "none"
    model = model_of(row["model"])
    length = number(row["input_len"]) or 2048.0
    return build(row, "llm-foundry", model.replace(positions=float(max(length, 2048.0))), device_of(row["hardware"]),
                 step_of(row), stack, regime="fsdp",
                 activation_recomputation=recompute, zero_stage=3)  # fmt: skip


def bridge(row: Mapping[str, str]) -> Case:
    """NeMo's and Megatron-Bridge's tables."""
    text = row["parallelism_other"]
    chunks = number_after(r"VP=(\d+)", text) or 1.0
    sharded = (number_after(r"FSDP=(\d+)", text) or 0.0) > 1
    pp = number(row["pp"], 1.0) or 1.0
    more: dict[str, Any] = {"v_stages": chunks if pp > 1 else 1.0, "zero_stage": 3 if sharded else 1}
    regime, source = "dense", "bridge" if row["id"].startswith("mbridge") else "nemo2407"
    trouble = ""
    if "LoRA" in text or "LoRA" in row["id"]:
        more |= {"lora_rank": 32.0, "adapted": "qkv"}  # as the performance recipes of both set target_modules
        regime = "lora"
    if "raw par" in row["notes"] and "_raw" in row["notes"]:
        trouble = "two configurations in one cell"
    if "VP=n/a" in text and pp > 1:
        trouble = "chunks of a stage not given"
    ep = number(row["ep"], 1.0) or 1.0
    if ep > 1 or sharded:
        regime = "fsdp" if sharded else "moe"
    sinks = ("kernel of attention with sinks",) if "GPT_OSS" in row["model"] else ()
    assumed = ("recomputation", *sinks) if ep > 1 else ("rank of the adapters",) if regime == "lora" else ()
    return lightest(build(row, source, model_of(row["model"]), device_of(row["hardware"]), step_of(row), TrainingStacks["nemo"],
                          regime=regime, trouble=trouble, assumed=assumed, **more))  # fmt: skip


def mlperf(row: Mapping[str, str]) -> Case | None:
    """MLPerf training logs of language models whose tensor and context ranks are known."""
    lora = row["model"] == "llama2_70b_lora"
    if row["model"] not in ("llama2_70b_lora", "llama31_405b") or not number(row["tp"]):
        return None
    text = row["parallelism_other"]
    more: dict[str, Any] = {"zero_stage": 1, "precision": "fp8"}
    assumed: tuple[str, ...] = ()
    stack = TrainingStacks["nemo"]
    if lora:  # rank and dropout of the benchmark's reference
        more |= {"lora_rank": 16.0, "adapted": "attention"}
        # fp8_params follows FP8 in NVIDIA's configuration of this benchmark, so frozen weights lie in eight bits alone; what the
        # activation function reads waits in eight bits too (FP8_ACT, FP8_ACTIVATION) in its scripts of one tensor rank and one
        # or two context ranks, not of eight
        stored = 1.0 if number(row["tp"]) == 1 and (number(row["cp"], 1.0) or 1.0) <= 2 else 2.0
        stack = stack.replace(adapter_dropout=1.0, frozen="1 B", gate_kept=f"{stored:g} B")
    else:
        more["v_stages"] = 8.0
        assumed = ("eight chunks of each stage",)
    ranks = (number(row["n_devices"]) or 1.0) / (
        (number(row["tp"]) or 1.0) * (number(row["pp"], 1.0) or 1.0) * (number(row["cp"], 1.0) or 1.0)
    )
    steps = (number(row["batch_global"]) or 1.0) / ranks
    more["microbatch_size"] = max(1.0, steps / (number_after(r"grad_accum=(\d+)", text) or steps))
    return lightest(build(row, "mlperf-lora" if lora else "mlperf-405b", model_of(row["model"]), device_of(row["hardware"]),
                          step_of(row), stack, regime="lora" if lora else "dense", assumed=assumed, **more))  # fmt: skip


SIMUMAX_PRODUCTS = 0.495
"""Share of the 16-bit peak that products of 4096 x 53248 x 16384 reach on SimuMax's own node, forward and for gradients of
inputs: MooreThreads/SimuMax, configs/system/b200_bf16_ceperm.json (0.489, 0.497 and 0.501)."""


@functools.lru_cache(maxsize=1)
def simumax_products() -> float:
    """How much slower products are on that node than the tables and a typical limit of power say."""
    machine = MeasuredMachine(Hardware["B200"])
    work, peak = 2 * 4096.0 * 53248.0 * 16384.0, machine.chip.peak("bf16")[0]
    expected = work / machine.gemm(4096.0, 53248.0, 16384.0).time / peak / sustained(machine, Hardware["B200"].si.tdp)
    return float(expected / SIMUMAX_PRODUCTS)


def simumax(row: Mapping[str, str]) -> Case:
    """Cut models on one 8-GPU node: nothing overlapped, nothing recomputed, context ranks exchange heads (Ulysses).

    The source measured the products of this node as well: large ones reach :data:`SIMUMAX_PRODUCTS` of the peak.
    """
    name, layers = re.match(r"(\S+) cut to (\d+) layers", row["model"]).groups()  # type: ignore[union-attr]
    model = cut(model_of(name), float(layers), 1.0 if "deepseek" in name else 0.0)
    stack = TrainingStacks["megatron"].replace(overlap_data=0.0, overlap_pipeline=0.0, products=simumax_products())
    memory = row["metric"] == "peak_memory_per_gpu"
    value = float(row["value"]) * 2**30 if memory else step_of(row)
    return build(row, "simumax", model, Hardware["B200"], value, stack, family="training_memory" if memory else "training_step_time",
                 zero_stage=1, context_parallel="ulysses")  # fmt: skip


def bigscience(row: Mapping[str, str]) -> Case | None:
    """BigScience's notes on the way to BLOOM; 20 billion parameters with 80 layers contradict each other."""
    text = row["parallelism_other"]
    sizes = {name: number_after(rf"{name}=(\d+)", text) for name in ("hidden", "layers", "heads")}
    if None in sizes.values() or "20B" in row["id"]:
        return None
    hidden, layers, heads = (float(size or 0) for size in sizes.values())
    parameters = 12 * layers * hidden**2 + 250880 * hidden
    model = Models["GPT3"].replace(hidden=hidden, layers=layers, heads=heads, kv_heads=heads, head_dim=hidden / heads, ffn=4 * hidden,
                                   vocab=250880.0, parameters=parameters)  # fmt: skip
    stack = TrainingStacks["deepspeed"]
    if (
        "bf16" in row["precision"]
    ):  # DeepSpeed's optimizer for bf16 keeps gradients of a micro-batch, and their sum in 32 bits
        stack = stack.replace(gradient_kept="6 B")
    memory = row["metric"] == "peak_memory_per_gpu"
    # Jean Zay: four ports of 100 Gbit/s a node of eight
    more: dict[str, Any] = {"activation_recomputation": "full", "zero_stage": 1, "sequence_parallel": False,
                            "fabric": "OmniPath_100", "ports": 4.0}  # fmt: skip
    if memory:
        return build(
            row,
            "bigscience",
            model,
            Hardware["A100"],
            float(row["value"]) * 1e9,
            stack,
            family="training_memory",
            counter="device",
            **more,
        )
    if row["metric"] != "train_iteration_time":
        return None
    return build(row, "bigscience", model, Hardware["A100"], step_of(row), stack, **more)


def tpu(row: Mapping[str, str]) -> Case | None:
    """MaxText recipes whose batch and length are in the row.

    Their ``custom`` policies keep the input of a layer, and most of them queries, keys and values; the rest is computed again.
    All but those of Gemma 3 keep them on the host (``decoder_layer_input: offload``); Gemma's cut the logits in 16
    (``num_vocab_tiling``). Llama 3.1 70B on 32 chips holds weights, and so gradients and moments, in 16 bits
    (``weight_dtype``): tpu-recipes, training/trillium, workload details.
    """
    if (
        not number(row["batch_global"])
        or not number(row["input_len"])
        or "Mixtral" in row["model"]
        or "Maverick" in row["model"]
    ):
        return None
    model = model_of(row["model"].split("-MaxText")[0])
    stack, more = TrainingStacks["jax"], dict[str, Any]()
    if model.id.startswith("Gemma"):
        stack = stack.replace(logit_kept="0.25 B")
    else:
        more["offload_layers"] = float(model.si.layers)
    if "bfloat16" in row["parallelism_other"]:
        stack = stack.replace(state_width=0.5, gradient="2 B", gradient_kept="2 B")
    return build(row, "maxtext", model, device_of(row["hardware"]), step_of(row), stack,
                 assumed=("queries, keys and values computed again",), activation_recomputation="full", zero_stage=3,
                 **more)  # fmt: skip


READERS: dict[str, Any] = {
    "megatron21": megatron2021, "korthikanti": korthikanti, "titan": titan, "foundry": foundry, "mbridge": bridge, "nemo2407": bridge,
    "mlperf": mlperf, "simumax": simumax, "bigsci": bigscience, "tpurec": tpu,
}  # fmt: skip
