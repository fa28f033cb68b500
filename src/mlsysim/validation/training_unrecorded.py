"""What tables of training runs leave out: offloaded layers as the recipes set them, and the lightest plan that fits.

Every run of a table did run, so it fitted. Where a table records neither recomputation nor offloading, and the recipe names
none that is known here, the run takes the lightest recomputation with which it fits: none, else whole layers of a stage, as few
as will do (Megatron-Core's ``block`` method), up to all of them. A run of one tensor rank and one stage that fits with none of
these is taken as fully sharded. Only memory decides; the measured time is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import MLSysimError
from ..solvers.training_step import TrainingStepModel
from .training_cases import Case

OFFLOADED = {
    ("Llama3_70B", "GB300", "bf16"): 30.0, ("Llama3_70B", "GB300", "fp8"): 20.0, ("Llama3_70B", "GB200", "bf16"): 20.0,
    ("Llama3_70B", "GB200", "fp8"): 40.0, ("Llama3_70B", "B200", "fp8"): 5.0, ("Llama3_405B", "GB300", "bf16"): 40.0,
    ("Llama3_405B", "GB300", "fp8"): 10.0, ("Llama3_405B", "GB200", "fp8"): 92.0,
}  # fmt: skip
"""Layers whose activations wait on the host in fully sharded runs: ``cpu_offloading_num_layers`` of Megatron-Bridge,
scripts/performance/configs/llama, llama3_workload_base_configs.py and llama31_workload_base_configs.py."""


def lightest(case: Case) -> Case:
    """The case with what its recipe offloads, and with the least recomputation that makes it fit.

    Examples:
        >>> from mlsysim.validation.training_rows import cases
        >>> one = next(case for case in cases() if "LLAMA2-70B-SFT" in case.row)
        >>> one.arguments["activation_recomputation"], one.arguments["recompute_layers"] <= 20
        ('full', True)
    """
    if case.trouble:
        return case
    asked = dict(case.arguments)
    if asked.get("zero_stage") == 3:
        known = OFFLOADED.get((case.model.id, case.hardware, asked["precision"]))
        if known is not None:
            case = replace(case, arguments={**asked, "offload_layers": known})
    found = _fitting(case, case.arguments)
    if found is None and case.arguments["tp_size"] == 1 and case.arguments["pp_size"] == 1:
        found = _fitting(case, {**case.arguments, "zero_stage": 3})
    if found is None or found == case.arguments:
        return case
    told = [] if found.get("activation_recomputation") is None else ["recomputation"]
    if found["zero_stage"] != case.arguments["zero_stage"]:
        told.append("fully sharded")
    return replace(case, arguments=found, assumed=tuple(dict.fromkeys((*case.assumed, *told))))


def _fitting(case: Case, asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The arguments as they are where they fit, else with as few layers computed again as will do; None where none will."""
    if _fits(case, asked):
        return asked
    layers = int(np.ceil(case.model.si.layers / asked["pp_size"]))
    if not _fits(case, _again(asked, layers)):
        return None
    few, enough = 0, layers
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if _fits(case, _again(asked, middle)) else (middle, enough)
    return _again(asked, enough)


def _again(asked: Mapping[str, Any], layers: int) -> dict[str, Any]:
    return {**asked, "activation_recomputation": "full", "recompute_layers": float(layers)}


def _fits(case: Case, asked: Mapping[str, Any]) -> bool:
    try:
        return bool(TrainingStepModel().solve(case.model, case.fleet, **asked).feasible)
    except MLSysimError:  # a row that cannot be asked is told apart where it is predicted
        return True
