"""Entries of your own in Python, under the names of the textbook."""

from __future__ import annotations

from typing import Any

from ..units import si
from .hardware import ComputeCore, Device, IOInterconnect, MemoryHierarchy, StorageHierarchy
from .load import from_values
from .models import ConvNet, Diffusion, StateSpace, Transformer

_REASON = "given in Python by the user"


def compute_core(peak_flops: Any, precision_flops: dict[str, Any] | None = None) -> ComputeCore:
    """Peaks from texts or quantities."""
    found = {
        name: si(value, "flop/second", f"precision_flops[{name!r}]") for name, value in (precision_flops or {}).items()
    }
    return ComputeCore(peak_flops=si(peak_flops, "flop/second", "peak_flops"), precision_flops=found)


def _given(record: Any, names: dict[str, str]) -> dict[str, Any]:
    """Known fields of a part of a device under the names of the whole."""
    return (
        {}
        if record is None
        else {whole: v for part, whole in names.items() if (v := getattr(record, part, None)) is not None}
    )


def HardwareNode(
    name: str,
    release_year: int = 0,
    compute: ComputeCore | dict[str, Any] | None = None,
    memory: MemoryHierarchy | dict[str, Any] | None = None,
    storage: StorageHierarchy | None = None,
    interconnect: IOInterconnect | None = None,
    vendor: str = "user",
    dispatch_tax: Any = "0.01 ms",
    tdp: Any = None,
    unit_cost: Any = None,
    **values: Any,
) -> Device:
    """A device of your own.

    Parts may be dictionaries of texts; every value is checked as a catalog file would be.

    Args:
        name: what to call it
        release_year: year of availability
        compute: ``peak_flops`` (16-bit, dense) and ``precision_flops``
        memory: ``capacity``, ``bandwidth``, and inner levels
        storage: ``capacity``, ``bandwidth``
        interconnect: the host link: ``name``, ``bandwidth``, ``latency``
        vendor: who makes it
        dispatch_tax: host cost of one launch
        tdp: power limit
        unit_cost: purchase price
        values: any other field of :class:`Device`, such as ``link_bandwidth="450 GB/s"``

    Raises:
        CatalogError: a value is missing, unknown, not positive, or of a wrong unit

    Examples:
        >>> chip = HardwareNode("Chip X", 2027, {"peak_flops": "500 TFLOP/s"}, {"capacity": "64 GB", "bandwidth": "2 TB/s"})
        >>> print(f"{chip.ridge_point():.0f~P}")
        250 FLOP/B
    """
    core = compute_core(**compute) if isinstance(compute, dict) else compute
    if core is not None:
        peaks = {"fp16": core.peak_flops, **core.precision_flops}
        values = {**{f"peak_{precision}": peak for precision, peak in peaks.items()}, **values}
    parts = {"capacity": "memory_capacity", "bandwidth": "memory_bandwidth"}
    inner = ("sram_capacity", "sram_bandwidth", "flash_capacity", "flash_bandwidth", "l2_capacity")
    if isinstance(memory, dict):
        values = {**{parts.get(key, key): value for key, value in memory.items()}, **values}
    else:
        values = {**_given(memory, {**parts, **{key: key for key in inner}}), **values}
    values = {**_given(storage, {"capacity": "storage_capacity", "bandwidth": "storage_bandwidth"}), **values}
    values = {**_given(interconnect, {"bandwidth": "host_bandwidth", "latency": "host_latency"}), **values}
    if interconnect is not None and interconnect.name:
        values["host_name"] = interconnect.name
    if tdp is not None:
        values["tdp"] = tdp
    if unit_cost is not None:
        values["price"] = unit_cost
    return from_values(
        Device,
        name,
        {"release_year": release_year, "vendor": vendor, "dispatch_latency": dispatch_tax, **values},
        _REASON,
    )


def TransformerWorkload(
    name: str,
    parameters: float,
    layers: float,
    hidden_dim: float,
    heads: float,
    kv_heads: float | None = None,
    vocab: float = 32000.0,
    architecture: str = "transformer",
    **values: Any,
) -> Transformer:
    """A decoder of your own; see :class:`Transformer` for further fields.

    Examples:
        >>> TransformerWorkload("Mine", 13e9, 40, 5120, 40).si.head_dim
        128.0
    """
    values = {"head_dim": hidden_dim / heads, **values}
    return from_values(
        Transformer,
        name,
        {"architecture": architecture.lower(), "parameters": parameters, "layers": layers, "hidden": hidden_dim,
         "heads": heads, "kv_heads": heads if kv_heads is None else kv_heads, "vocab": vocab, **values},
        _REASON,
    )  # fmt: skip


def SparseTransformerWorkload(
    name: str,
    parameters: float,
    active_parameters: float,
    experts: float,
    active_experts_per_token: float = 1,
    **values: Any,
) -> Transformer:
    """A mixture-of-experts decoder of your own."""
    moe = {"active_parameters": active_parameters, "experts": experts, "active_experts": active_experts_per_token}
    return TransformerWorkload(name, parameters, **{**moe, **values})


def CNNWorkload(name: str, parameters: float, inference_flops: Any, layers: float = 1, **values: Any) -> ConvNet:
    """A convolutional network of your own; two FLOPs a multiply-add."""
    return from_values(
        ConvNet,
        name,
        {
            "architecture": "cnn",
            "parameters": parameters,
            "inference_flops": inference_flops,
            "layers": layers,
            **values,
        },
        _REASON,
    )


def SSMWorkload(
    name: str, parameters: float, layers: float, state_size: float, hidden_dim: float, **values: Any
) -> StateSpace:
    """A state-space model of your own."""
    return from_values(
        StateSpace,
        name,
        {
            "architecture": "ssm",
            "parameters": parameters,
            "layers": layers,
            "ssm_state": state_size,
            "hidden": hidden_dim,
            **values,
        },
        _REASON,
    )


def DiffusionWorkload(
    name: str, parameters: float, denoising_steps: float, resolution: float, inference_flops: Any, **values: Any
) -> Diffusion:
    """A diffusion model of your own; the FLOPs are those of one step."""
    return from_values(
        Diffusion,
        name,
        {"architecture": "diffusion", "parameters": parameters, "denoising_steps": denoising_steps,
         "resolution": resolution, "inference_flops": inference_flops, **values},
        _REASON,
    )  # fmt: skip
