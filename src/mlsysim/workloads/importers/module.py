"""A PyTorch module to a workload: its parameters, and the FLOPs of one forward pass counted without running it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...catalog.load import build
from ...catalog.models import ConvNet
from ...catalog.source import Fact, Source
from ...errors import InvalidInputError, MissingExtraError, UnsupportedWorkloadError
from .huggingface import identifier


def from_module(module: Any, *inputs: Any, name: str | None = None) -> ConvNet:
    """The workload of a module.

    The pass runs on PyTorch's meta device: shapes only, no memory, no arithmetic. Matrix products, convolutions and
    attention are counted, two FLOPs a multiply-add; causal attention as if it were full.

    Args:
        module: a ``torch.nn.Module``
        inputs: example tensors, or shapes of floating-point ones such as ``(1, 3, 224, 224)``
        name: what to call the model; the name of its class unless said

    Raises:
        MissingExtraError: PyTorch is not installed
        InvalidInputError: no inputs, or some that the module does not take
        UnsupportedWorkloadError: a forward pass that depends on the values of the data
    """
    try:
        import torch
        from torch.func import functional_call
        from torch.utils.flop_counter import FlopCounterMode
    except ImportError:
        raise MissingExtraError("importing a module", "torch") from None
    if not isinstance(module, torch.nn.Module):
        raise InvalidInputError(f"source: expected a torch.nn.Module, found {type(module).__name__}")
    called = name or type(module).__name__
    if not inputs:
        raise InvalidInputError(f"{called}: expected example inputs or their shapes, such as (1, 3, 224, 224)")
    weights = dict(module.named_parameters())
    kind = next((weight.dtype for weight in weights.values() if weight.is_floating_point()), torch.float32)
    given = tuple(_meta(torch, value, kind, called) for value in inputs)
    state = {key: torch.empty_like(value, device="meta") for key, value in [*weights.items(), *module.named_buffers()]}
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad(), torch.device("meta"), FlopCounterMode(display=False) as counter:
            functional_call(module, state, given)
    except NotImplementedError as error:  # an operation whose result has a shape that only values tell
        told = f"{called}: its forward pass depends on values, not only on shapes: {_line(error)}"
        raise UnsupportedWorkloadError(told) from None
    except Exception as error:  # the module's own code: whatever it raises; the line says what it was
        told = f"{called}: its forward pass does not run on the shapes of these inputs alone: {_line(error)}"
        raise InvalidInputError(told) from None
    finally:
        for part, training in modes:
            part.training = training
    flops = float(counter.get_total_flops())
    if not flops:
        raise UnsupportedWorkloadError(f"{called}: no matrix product, convolution or attention in its forward pass")
    layers = [part for part in module.modules() if not list(part.children()) and list(part.parameters(recurse=False))]
    convolutional = any(isinstance(part, torch.nn.modules.conv._ConvNd) for part in layers)
    count = float(sum(weight.numel() for weight in weights.values()))
    source = Source(
        kind="derived",
        title=f"the module {called}",
        reason=f"counted by PyTorch {torch.__version__} on its meta device",
    )
    values: dict[str, Any] = {
        "architecture": "cnn" if convolutional else "mlp",
        "parameters": count,
        "layers": float(max(len(layers), 1)),
    }
    first = given[0]
    if first.ndim == 4 and first.shape[2] == first.shape[3]:
        values["input_resolution"] = float(first.shape[2])
    facts = {key: Fact(value=value, unit="", source=source) for key, value in values.items()}
    facts["inference_flops"] = Fact(value=flops, unit="flop", source=source)
    shapes = ", ".join(str(tuple(value.shape)) for value in given)
    note = f"FLOPs of one forward pass of inputs {shapes}"
    built: ConvNet = build(ConvNet, facts, called, None, id=identifier(called), name=called, family="user", note=note)
    return built


def _meta(torch: Any, value: Any, kind: Any, called: str) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.empty_like(value, device="meta")
    if isinstance(value, Sequence) and all(type(side) is int and 0 < side <= 1 << 40 for side in value):
        return torch.empty(tuple(value), device="meta", dtype=kind)
    raise InvalidInputError(
        f"{called}: expected a tensor or a shape such as (1, 3, 224, 224), found {str(value)[:60]!r}"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
