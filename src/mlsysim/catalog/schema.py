"""JSON Schema of catalog files and of the command line's answers, from the same annotations that the loader reads."""

from __future__ import annotations

from typing import Any

from ..units import EXAMPLES
from .hardware import Device
from .infra import Datacenter, GridProfile, Price, RackProfile, Reliability
from .load import MAPPINGS, fields_of
from .models import CLASSES
from .source import KINDS
from .spec import Spec
from .systems import DeploymentTier, Fleet, NetworkFabric, Node

PRECISIONS = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "fp6", "fp4", "int8", "int4")
FILES: dict[str, tuple[type[Spec], ...]] = {
    "hardware": (Device,),
    "model": tuple(dict.fromkeys(CLASSES.values())),
    "infra": (GridProfile, RackProfile, Datacenter, Price, Reliability),
    "system": (Node, NetworkFabric, Fleet, DeploymentTier),
}


def json_schema(kind: str) -> dict[str, Any]:
    """The schema of ``hardware``, ``model``, ``infra`` or ``system`` files, or of the JSON of ``eval`` or ``serve``.

    Examples:
        >>> json_schema("hardware")["required"]
        ['id', 'name', 'values']
    """
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    if kind in ANSWERS:
        properties = {name: {"type": types, "description": text} for name, (types, text) in ANSWERS[kind].items()}
        return {
            **dialect,
            "title": f"answer of mlsysim {kind}",
            "type": "object",
            "required": list(properties),
            "properties": properties,
        }
    values = [_values(cls) for cls in FILES[kind]]
    source = {
        "type": "object",
        "required": ["kind", "title"],
        "additionalProperties": False,
        "properties": {
            "kind": {"enum": list(KINDS)},
            **{k: {"type": "string"} for k in ("title", "url", "date", "reason")},
        },
    }
    return {
        **dialect,
        "title": f"{kind} entry of mlsysim",
        "type": "object",
        "required": ["id", "name", "values"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
            "name": {"type": "string"},
            "aliases": {"type": "array", "items": {"type": "string"}},
            "note": {"type": "string"},
            "sources": {"type": "object", "additionalProperties": source},
            "default_source": {"type": "string", "description": "source of values written in short form"},
            "values": values[0] if len(values) == 1 else {"anyOf": values},
        },
    }


def _values(cls: type[Spec]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    for name, (unit, python, needed) in fields_of(cls).items():
        keys = [MAPPINGS[name] + precision for precision in PRECISIONS] if name in MAPPINGS else [name]
        for key in keys:
            properties[key] = _value(unit, python)
        if needed and name not in MAPPINGS:
            required.append(name)
    return {
        "title": cls.__name__,
        "type": "object",
        "required": required,
        "additionalProperties": False,
        "properties": properties,
    }


def _value(unit: str | None, python: type) -> dict[str, Any]:
    kind = "boolean" if python is bool else "string" if unit is None else ["number", "string"]
    near = EXAMPLES.get(unit or "", unit)
    told = f"in a unit like {near}" if unit not in (None, "1") else "a plain number" if unit == "1" else "text"
    full = {
        "type": "object",
        "required": ["value"],
        "additionalProperties": False,
        "properties": {"value": {"type": kind}, **{k: {"type": "string"} for k in ("unit", "source", "note")}},
    }
    return {"description": told, "anyOf": [{"type": kind}, full]}


_N, _S, _B, _L = ["number", "null"], "string", "boolean", "array"
ANSWERS: dict[str, dict[str, tuple[Any, str]]] = {
    "eval": {
        "scenario": (_S, "model on hardware"),
        "model": (_S, "id"),
        "hardware": (_S, "id"),
        "batch_size": (_N, "requests or samples together"),
        "precision": (_S, "number format of the weights"),
        "efficiency": (_N, "share of the arithmetic peak reached"),
        "feasible": (_B, "whether it fits"),
        "bottleneck": (_S, "Memory or Compute"),
        "margin": (_N, "times over the other"),
        "f_status": (_S, "feasibility: PASS or FAIL"),
        "p_status": (_S, "performance: PASS, or SKIPPED when it does not fit"),
        "m_status": (_S, "macro level: SKIPPED for a single device"),
        "f_memory_used_gb": (_N, "memory needed [GB]"),
        "memory_available_gb": (_N, "memory there is [GB]"),
        "p_latency": (_N, "latency of the pass [ms]"),
        "p_throughput": (_N, "inferences a second"),
        "p_mfu": (_N, "model FLOPs utilisation, 0 to 1"),
        "latency_compute_ms": (_N, "time of the arithmetic [ms]"),
        "latency_memory_ms": (_N, "time of the memory traffic [ms]"),
        "latency_overhead_ms": (_N, "time of launches [ms]"),
        "arithmetic_intensity": (_N, "FLOP per byte"),
        "energy_per_inference_j": (_N, "energy of one inference [J]"),
        "limits": (_L, "what has to fit"),
        "would_fit": (_L, "changes under which it would fit"),
        "notes": (_L, "what was assumed or replaced"),
    },
    "serve": {
        "model": (_S, "id"),
        "hardware": (_S, "id"),
        "devices": (_N, "devices of the group"),
        "seq_len": (_N, "tokens of each prompt"),
        "batch_size": (_N, "requests served together"),
        "precision": (_S, "number format of the weights"),
        "efficiency": (_N, "share of the arithmetic peak reached"),
        "tp": (_N, "tensor-parallel ranks"),
        "pp": (_N, "pipeline stages"),
        "ep": (_N, "expert-parallel ranks"),
        "feasible": (_B, "whether it fits"),
        "ttft_ms": (_N, "time to first token [ms]"),
        "itl_ms": (_N, "inter-token latency [ms]"),
        "tokens_per_sec": (_N, "generated tokens a second of the group"),
        "prefill_bottleneck": (_S, "Compute, Memory, Network or Overhead"),
        "decode_bottleneck": (_S, "Compute, Memory, Network or Overhead"),
        "margin": (_N, "times that the bottleneck of decoding is over the next part"),
        "expected": (
            ["object", "null"],
            "TTFT and ITL with measured kernels and a stack, and their 90 % intervals [ms]",
        ),
        "weights_gb": (_N, "weights of the model [GB]"),
        "kv_cache_gb": (_N, "key-value cache of the batch [GB]"),
        "memory_per_device_gb": (_N, "memory needed on one device [GB]"),
        "memory_available_gb": (_N, "memory of one device [GB]"),
        "memory_utilization": (_N, "needed over available, 0 to 1 where it fits"),
        "max_batch_size": (_N, "requests of this context that fit"),
        "energy_per_token_j": (_N, "energy of a generated token [J]"),
        "limits": (_L, "what has to fit"),
        "would_fit": (_L, "changes under which it would fit"),
        "notes": (_L, "what was assumed or replaced"),
    },
}
