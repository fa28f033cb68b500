"""What published training runs have in common: a case, the machines and models that rows name, the columns they share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..catalog import Hardware, Models, Systems
from ..catalog.models import Transformer
from ..catalog.systems import Fleet, Node
from ..errors import MLSysimError
from ..workloads.transformer import shape

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


def fleet_of(device: Any, chips: float, fabric: str | None = None, ports: float | None = None) -> Any:
    """So many chips in nodes (or racks) of the device, on the fabric such systems have, or on one with so many ports a node."""
    size = float(min(DOMAINS.get(device.id.split("_x")[0], 8), chips))
    while chips % size:
        size -= 1
    link = device.si.link_bandwidth
    node = Node(id=f"{device.id}_node", name=f"{size:g} x {device.id}", accelerator=device, accelerators_per_node=size,
                link_bandwidth=link, link_latency=device.si.link_latency, nics_per_node=ports)  # fmt: skip
    if chips <= size:
        return node
    network = Systems[fabric or FABRICS.get(device.id.split("_x")[0], "InfiniBand_NDR")]
    return Fleet(
        id=f"{device.id}_x{chips:g}", name=f"{chips:g} x {device.id}", node=node, count=chips / size, fabric=network
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
          fabric: str | None = None, ports: float | None = None, **more: Any) -> Case:  # fmt: skip
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
        fleet_of(device, chips, fabric, ports),
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


def number_after(pattern: str, text: str) -> float | None:
    """The number in the first group of a pattern, or None where the text has none."""
    hit = re.search(pattern, text)
    return None if hit is None else float(hit.group(1))
