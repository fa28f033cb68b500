"""Published training runs as questions: rows of the table that name model, hardware, parallelism, batch and lengths.

What a row does not say and the stack does not fix is ``assumed``; rows that contradict themselves, or whose recipe is
unknown, are ``trouble`` and count only in the raw families.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog import Hardware, Models, Systems
from ..catalog.models import Transformer
from ..catalog.systems import Fleet, Node
from ..catalog.training_stacks import TrainingStacks
from ..errors import MLSysimError
from ..workloads.transformer import shape
from .data import FOLDER, read_table

FILE = FOLDER / "training" / "training.csv.gz"
DOMAINS = {"GB200": 72, "GB300": 72}
FABRICS = {"A100": "InfiniBand_HDR", "A100_40GB": "InfiniBand_HDR", "TPUv6": "ICI_v6e", "TPUv5p": "ICI_v5p"}
DEVICES = {"GB300": "GB300", "GB200": "GB200", "B200": "B200", "H200-NVL": "", "H200": "H200", "H100": "H100",
           "A100 SXM 40": "A100_40GB", "A100": "A100", "MI300X": "MI300X", "MI325X": "MI325X", "TPU v6e": "TPUv6",
           "TPU v5p": "TPUv5p"}  # fmt: skip
OTHERS = {"gpt3-175B": "GPT3", "GPT 174.6B": "GPT3", "GPT 175B": "GPT3", "GPT 529.6B": "Megatron_530B", "GPT 530B": "Megatron_530B",
          "gpt3-1T": "Megatron_1T", "turing-530B": "Megatron_530B", "megatron-1T": "Megatron_1T", "llama2_70b_lora": "Llama2_70B",
          "llama31_405b": "Llama3_405B", "llama3-70b": "Llama3_70B", "llama3-405b": "Llama3_405B", "llama3-8b": "Llama3_8B",
          "deepseekv2": "DeepSeek_V2", "deepseekv3": "DeepSeek_V3", "mixtral-8x7b": "Mixtral_8x7B"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """One configuration with what was measured: ``value`` in seconds a step or bytes a chip."""

    row: str
    source: str
    family: str
    value: float
    hardware: str
    regime: str
    model: Any = field(repr=False)
    fleet: Any = field(repr=False)
    arguments: Mapping[str, Any] = field(repr=False)
    counter: str = "allocated"
    assumed: tuple[str, ...] = ()
    trouble: str = ""
    repeats: int = 1

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two rows the same configuration."""
        asked = {name: getattr(value, "id", value) for name, value in self.arguments.items()}
        stack = self.arguments["stack"]
        asked["stack"] = (stack.id, stack.si.gradient, stack.si.overlap_data)
        fleet = self.fleet
        chips = fleet.total_accelerators if isinstance(fleet, Fleet) else fleet.si.accelerators_per_node
        plan = tuple(sorted((name, str(value)) for name, value in asked.items()))
        kind = (self.source, self.family, self.counter, self.hardware)
        return (*kind, self.model.id, float(self.model.si.layers), chips, plan)


def number(text: Any, default: float | None = None) -> float | None:
    """A number in a column, or the default where there is none."""
    try:
        found = float(text)
    except (TypeError, ValueError):
        return default
    return default if np.isnan(found) else found


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


def fleet_of(device: Any, chips: float) -> Any:
    """So many chips in nodes (or racks) of the device, on the fabric such systems have."""
    size = float(min(DOMAINS.get(device.id.split("_x")[0], 8), chips))
    while chips % size:
        size -= 1
    link = device.si.link_bandwidth
    node = Node(id=f"{device.id}_node", name=f"{size:g} x {device.id}", accelerator=device, accelerators_per_node=size,
                link_bandwidth=link, link_latency=device.si.link_latency)  # fmt: skip
    if chips <= size:
        return node
    fabric = Systems[FABRICS.get(device.id.split("_x")[0], "InfiniBand_NDR")]
    return Fleet(
        id=f"{device.id}_x{chips:g}", name=f"{chips:g} x {device.id}", node=node, count=chips / size, fabric=fabric
    )


def device_of(text: str) -> Any:
    """The device that a row names."""
    for mark, name in DEVICES.items():
        if mark in text:
            return Hardware[name or text]
    return Hardware[text]


def model_of(text: str) -> Any:
    """The model that a row names."""
    name = re.sub(r"_\(w.*MTP\)| \(w.*MTP\)", "", text)
    found = Models[OTHERS.get(name, name)]
    return found.replace(mtp_layers=0.0) if "w/o" in text else found


def cut(model: Transformer, layers: float, dense_first: float = 0.0) -> Transformer:
    """A model with fewer layers of the same kind."""
    m, s = model.si, shape(model)
    ends = m.vocab * m.hidden * (1.0 if m.tied_embeddings else 2.0)
    each = (m.expert_ffn or 0.0) * m.mlp_matrices * m.hidden
    shared = (m.shared_experts or 0.0) * each
    old_dense = (m.layers - s.moe_layers) if s.moe_layers else 0.0
    mlp = m.mlp_matrices * m.hidden * (m.ffn or 0.0)
    attention = (m.parameters - ends - s.routed - s.moe_layers * shared - old_dense * mlp) / m.layers
    if not s.moe_layers:
        parameters = ends + attention * layers
        return model.replace(layers=layers, parameters=parameters)
    moe = layers - dense_first
    own = ends + attention * layers + dense_first * mlp
    return model.replace(layers=layers, first_dense_layers=dense_first, parameters=own + moe * (m.experts * each + shared),
                         active_parameters=own + moe * (m.active_experts * each + shared), mtp_layers=0.0)  # fmt: skip


def gpt_flops(layers: float, hidden: float, length: float, vocab: float, batch: float, passes: float) -> float:
    """FLOPs of a step as Narayanan et al. (SC 2021, section 3) count: full attention, and recomputation if 4 passes."""
    return (
        24 * passes * batch * length * layers * hidden**2 * (1 + length / (6 * hidden) + vocab / (16 * layers * hidden))
    )


def build(row: Mapping[str, str], source: str, model: Any, device: Any, value: float, stack: Any, *, family: str = "training_step_time",
          regime: str = "dense", assumed: tuple[str, ...] = (), trouble: str = "", counter: str = "allocated",
          **more: Any) -> Case:  # fmt: skip
    """A case with the columns that all sources share."""
    chips = number(row["n_devices"]) or 1.0
    ep = number(row["ep"], 1.0)
    arguments: dict[str, Any] = {
        "batch_size": number(row["batch_global"]), "microbatch_size": number(row["micro_batch"], 1.0), "tp_size": number(row["tp"], 1.0),
        "pp_size": number(row["pp"], 1.0), "ep_size": ep, "cp_size": number(row["cp"], 1.0), "seq_len": number(row["input_len"]),
        "precision": precision_of(row["precision"]), "stack": stack,
    } | more  # fmt: skip
    if ep is not None and ep > 1:
        regime = "moe"
    if device.si.vendor.lower() != "nvidia":
        regime = "amd" if "AMD" in device.si.vendor.upper() else "tpu"
    elif arguments["seq_len"] >= 32768:
        regime = "long_context"
    return Case(
        row["id"],
        source,
        family,
        value,
        device.id.split("_x")[0],
        regime,
        model,
        fleet_of(device, chips),
        arguments,
        counter,
        assumed,
        trouble,
    )


def precision_of(text: str) -> str:
    """Format of the products of layers."""
    word = text.lower()
    if "nvfp4" in word:
        return "nvfp4"
    return "fp8" if "fp8" in word or "float8" in word else "bf16"


def step_of(row: Mapping[str, str]) -> float:
    """Seconds of a step from whatever a row states about speed."""
    value, metric = float(row["value"]), row["metric"]
    batch, length, chips = (
        number(row["batch_global"]) or 0.0,
        number(row["input_len"]) or 0.0,
        number(row["n_devices"]) or 1.0,
    )
    if metric in ("train_iteration_time", "train_step_time", "train_step_time_median"):
        return value
    if metric == "train_throughput_per_gpu":
        return batch * length / (chips * value)
    if metric == "train_throughput_median":
        return batch / value
    raise MLSysimError(f"{row['id']}: no time of a step in {metric}")


def _found(pattern: str, text: str) -> float | None:
    hit = re.search(pattern, text)
    return None if hit is None else float(hit.group(1))


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
                     TrainingStacks["megatron2021"], family="training_memory", counter=kind,
                     v_stages=_found(r"VP=(\d+)", text) or 1.0, activation_recomputation=recompute, sequence_parallel=shared)  # fmt: skip
    return build(row, "korthikanti22", model, Hardware["A100"], step, TrainingStacks["megatron2021"],
                 v_stages=_found(r"VP=(\d+)", text) or 1.0,
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
    stack = TrainingStacks["fsdp_eager"].replace(gradient="2 B" if "PURE" in text else "4 B")
    recompute = "full" if "act_ckpt=True" in text else "none"
    model = model_of(row["model"])
    length = number(row["input_len"]) or 2048.0
    return build(row, "llm-foundry", model.replace(positions=float(max(length, 2048.0))), device_of(row["hardware"]),
                 step_of(row), stack, regime="fsdp",
                 activation_recomputation=recompute, zero_stage=3)  # fmt: skip


def bridge(row: Mapping[str, str]) -> Case:
    """NeMo's and Megatron-Bridge's tables."""
    text = row["parallelism_other"]
    chunks = _found(r"VP=(\d+)", text) or 1.0
    sharded = (_found(r"FSDP=(\d+)", text) or 0.0) > 1
    pp = number(row["pp"], 1.0) or 1.0
    more: dict[str, Any] = {"v_stages": chunks if pp > 1 else 1.0, "zero_stage": 3 if sharded else 1}
    regime, source = "dense", "bridge" if row["id"].startswith("mbridge") else "nemo2407"
    trouble = ""
    if "LoRA" in text or "LoRA" in row["id"]:
        more |= {"lora_rank": 32.0, "adapted": "attention" if source == "nemo2407" else "all"}
        regime = "lora"
    if "raw par" in row["notes"] and "_raw" in row["notes"]:
        trouble = "two configurations in one cell"
    if "VP=n/a" in text and pp > 1:
        trouble = "chunks of a stage not given"
    ep = number(row["ep"], 1.0) or 1.0
    if ep > 1 or sharded:
        regime = "fsdp" if sharded else "moe"
    assumed = ("recomputation",) if ep > 1 else ("adapted matrices",) if regime == "lora" else ()
    return build(row, source, model_of(row["model"]), device_of(row["hardware"]), step_of(row), TrainingStacks["nemo"], regime=regime,
                 trouble=trouble, assumed=assumed, **more)  # fmt: skip


def mlperf(row: Mapping[str, str]) -> Case | None:
    """MLPerf training logs of language models whose tensor and context ranks are known."""
    lora = row["model"] == "llama2_70b_lora"
    if row["model"] not in ("llama2_70b_lora", "llama31_405b") or not number(row["tp"]):
        return None
    text = row["parallelism_other"]
    more: dict[str, Any] = {"zero_stage": 1, "precision": "fp8"}
    assumed: tuple[str, ...] = ()
    if lora:
        more |= {"lora_rank": 16.0, "adapted": "attention"}
    else:
        more["v_stages"] = 8.0
        assumed = ("eight chunks of each stage",)
    ranks = (number(row["n_devices"]) or 1.0) / (
        (number(row["tp"]) or 1.0) * (number(row["pp"], 1.0) or 1.0) * (number(row["cp"], 1.0) or 1.0)
    )
    steps = (number(row["batch_global"]) or 1.0) / ranks
    more["microbatch_size"] = max(1.0, steps / (_found(r"grad_accum=(\d+)", text) or steps))
    return build(row, "mlperf-lora" if lora else "mlperf-405b", model_of(row["model"]), device_of(row["hardware"]), step_of(row),
                 TrainingStacks["nemo"], regime="lora" if lora else "dense", assumed=assumed, **more)  # fmt: skip


def simumax(row: Mapping[str, str]) -> Case:
    """Cut models on one 8-GPU node: nothing overlapped, nothing recomputed."""
    name, layers = re.match(r"(\S+) cut to (\d+) layers", row["model"]).groups()  # type: ignore[union-attr]
    model = cut(model_of(name), float(layers), 1.0 if "deepseek" in name else 0.0)
    stack = TrainingStacks["megatron"].replace(overlap_data=0.0, overlap_pipeline=0.0)
    memory = row["metric"] == "peak_memory_per_gpu"
    value = float(row["value"]) * 2**30 if memory else step_of(row)
    return build(row, "simumax", model, Hardware["B200"], value, stack, family="training_memory" if memory else "training_step_time",
                 zero_stage=1)  # fmt: skip


def bigscience(row: Mapping[str, str]) -> Case | None:
    """BigScience's notes on the way to BLOOM; 20 billion parameters with 80 layers contradict each other."""
    text = row["parallelism_other"]
    sizes = {name: _found(rf"{name}=(\d+)", text) for name in ("hidden", "layers", "heads")}
    if None in sizes.values() or "20B" in row["id"]:
        return None
    hidden, layers, heads = (float(size or 0) for size in sizes.values())
    parameters = 12 * layers * hidden**2 + 250880 * hidden
    model = Models["GPT3"].replace(hidden=hidden, layers=layers, heads=heads, kv_heads=heads, head_dim=hidden / heads, ffn=4 * hidden,
                                   vocab=250880.0, parameters=parameters)  # fmt: skip
    stack = TrainingStacks["deepspeed"]
    memory = row["metric"] == "peak_memory_per_gpu"
    more: dict[str, Any] = {"activation_recomputation": "full", "zero_stage": 1, "sequence_parallel": False}
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
    """MaxText recipes whose batch and length are in the row; what is recomputed is the recipe's own choice."""
    if (
        not number(row["batch_global"])
        or not number(row["input_len"])
        or "Mixtral" in row["model"]
        or "Maverick" in row["model"]
    ):
        return None
    model = model_of(row["model"].split("-MaxText")[0])
    return build(row, "maxtext", model, device_of(row["hardware"]), step_of(row), TrainingStacks["jax"], assumed=("recomputation",),
                 activation_recomputation="full" if "remat_policy=full" in row["parallelism_other"] else "selective",
                 zero_stage=3)  # fmt: skip


READERS: dict[str, Any] = {
    "megatron21": megatron2021, "korthikanti": korthikanti, "titan": titan, "foundry": foundry, "mbridge": bridge, "nemo2407": bridge,
    "mlperf": mlperf, "simumax": simumax, "bigsci": bigscience, "tpurec": tpu,
}  # fmt: skip
