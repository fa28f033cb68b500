"""A question of ``DistributedModel`` with measured efficiency, asked of the measured step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..catalog import Defaults, textbook
from ..machine.textbook import wiring
from . import plan_rules
from .border import Border
from .training_step import TrainingStepModel, TrainingStepResult


def measured_step(arguments: Mapping[str, Any]) -> TrainingStepResult:
    """A question of ``DistributedModel`` with ``efficiency="measured"``.

    Raises:
        InvalidInputError: another word than measured, or an argument that has no meaning there
    """
    asked = dict(arguments)
    border = Border()
    border.choice("efficiency", asked.pop("efficiency"), ("measured",))
    count = border.count("microbatch_count", asked.pop("microbatch_count"))
    count = count * border.count("gradient_accumulation_steps", asked.pop("gradient_accumulation_steps"))
    for name, neutral in (("topology_override", None), ("congestion_factor", 1.0), ("moe_routing_imbalance_factor", 1.0)):  # fmt: skip
        if np.any(np.asarray(asked.pop(name) != neutral)):
            border.problems.append(
                f"{name}: has no meaning with efficiency='measured'; leave it out, or give an efficiency in (0, 1]"
            )
    border.flag("overlap_comm", asked.pop("overlap_comm"))
    asked.pop("overlap_efficiency")
    lora, rank = border.flag("is_lora", asked.pop("is_lora")), asked.pop("lora_rank")
    asked.pop("fused_attention")
    machine = plan_rules.fleet_of(border, asked["fleet"])
    batch = border.count("batch_size", asked["batch_size"])
    ranks = [border.count(name, asked[name]) for name in ("tp_size", "pp_size", "cp_size")]
    border.close()
    chips = wiring(machine, textbook().link_latency).chips
    data = np.maximum(np.floor(chips / (ranks[0] * ranks[1] * ranks[2])), 1.0)
    samples = np.maximum(np.ceil(batch / (data * count)), 1.0)[()]
    if lora:
        asked["lora_rank"] = Defaults["Training"].si.adapter_rank if rank is None else rank
    if asked["expert_tp"] is None and np.any(np.asarray(asked["ep_size"]) > 1):
        asked["expert_tp"] = asked["tp_size"]
    return TrainingStepModel().solve(microbatch_size=samples, **asked)
