"""An ONNX graph to a workload: parameters, and the FLOPs of its matrix products, convolutions and attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ...catalog.load import build
from ...catalog.models import ConvNet
from ...catalog.source import Fact, Source
from ...errors import InvalidInputError, MissingExtraError, UnsupportedWorkloadError
from ...physics import transformer as eq
from .huggingface import identifier

Shape = tuple[int, ...]
LARGEST_FILE = 2 << 30
"""Bytes that protocol buffers allow a file; larger graphs keep their weights beside it."""


class _Node:
    """A node with the shapes of its data and its attributes."""

    def __init__(self, node: Any, shapes: Mapping[str, Shape], attributes: dict[str, Any]) -> None:
        self.name = node.name or node.op_type
        self.attributes = attributes
        self.inputs = [shapes.get(name) for name in node.input]
        self.outputs = [shapes.get(name) for name in node.output]

    def input(self, index: int) -> Shape:
        found = self.inputs[index] if index < len(self.inputs) else None
        if found is None:
            raise LookupError
        return found

    def output(self) -> Shape:
        if not self.outputs or self.outputs[0] is None:
            raise LookupError
        return self.outputs[0]


def _matmul(node: _Node) -> float:
    return float(math.prod(node.output())) * node.input(0)[-1]


def _gemm(node: _Node) -> float:
    rows, columns = node.input(0)
    return float(math.prod(node.output())) * (rows if node.attributes.get("transA") else columns)


def _conv(node: _Node, weight: int = 1) -> float:
    # weights hold output channels, input channels of a group, taps
    return float(math.prod(node.output())) * math.prod(node.input(weight)[1:])


def _transposed(node: _Node) -> float:
    # each input position meets every weight of its channel
    return float(math.prod(node.input(0))) * math.prod(node.input(1)[1:])


def _recurrent(gates: int) -> Callable[[_Node], float]:
    def work(node: _Node) -> float:
        steps, batch, _ = node.input(0)
        directions, rows, width = node.input(1)
        hidden = rows // gates
        return float(steps * batch * directions * rows * (width + hidden))

    return work


def _attention(node: _Node) -> float:
    query, key, value = node.input(0), node.input(1), node.input(2)
    heads = int(node.attributes.get("q_num_heads") or node.attributes.get("num_heads") or 0)
    if len(query) == 4:
        batch, heads, new, width = query
        context, out = key[2], value[3]
    elif heads:
        batch, new, width = query[0], query[1], query[2] // heads
        others = int(node.attributes.get("kv_num_heads") or heads)
        context, out = key[1], value[2] // others
    else:
        raise LookupError
    past = node.inputs[4] if len(node.inputs) > 4 else None
    context += past[2] if past is not None and len(past) == 4 else 0
    pairs: Any = float(new * context)
    if node.attributes.get("is_causal") or node.attributes.get("unidirectional"):
        pairs = eq.attended_pairs(float(new), float(max(context - new, 0)))
    return float(eq.attention_flops(pairs, float(batch), 1.0, float(heads), float(width), float(out), 1.0))


def _einsum(node: _Node) -> float:
    equation = node.attributes.get("equation", b"").decode().replace(" ", "")
    terms = equation.split("->")[0].split(",")
    if "." in equation or len(terms) != len(node.inputs):
        raise LookupError
    sides: dict[str, int] = {}
    for index, term in enumerate(terms):
        sides |= dict(zip(term, node.input(index), strict=True))
    return float(math.prod(sides.values()))


WORK: dict[str, Callable[[_Node], float]] = {
    "MatMul": _matmul, "MatMulInteger": _matmul, "FusedMatMul": _matmul, "QLinearMatMul": lambda node: _matmul(node),
    "Gemm": _gemm, "FusedGemm": _gemm, "Conv": _conv, "FusedConv": _conv, "ConvInteger": _conv,
    "QLinearConv": lambda node: _conv(node, 3), "ConvTranspose": _transposed, "Attention": _attention,
    "MultiHeadAttention": _attention, "Einsum": _einsum, "LSTM": _recurrent(4), "GRU": _recurrent(3), "RNN": _recurrent(1),
}  # fmt: skip
"""Multiply-adds of each kind of node that has many."""
CONVOLUTIONS = {"Conv", "FusedConv", "ConvInteger", "QLinearConv", "ConvTranspose"}
BODIES = {"Loop", "If", "Scan"}


def from_graph(path: Path, *, name: str, source: Source, sizes: Mapping[str, int] | None = None) -> ConvNet:
    """The workload of a graph.

    Args:
        path: an ``.onnx`` file; weights kept beside it are not needed
        name: what to call the model
        source: where the graph comes from
        sizes: extents for the symbolic ones of the inputs, by name; 1 unless said

    Raises:
        MissingExtraError: the package onnx is not installed
        InvalidInputError: no graph, or one whose shapes cannot be worked out
        UnsupportedWorkloadError: nothing in it multiplies
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("importing a graph", "onnx") from None
    graph, assumed = _inferred(onnx, path, dict(sizes or {}))
    shapes = _shapes(graph)
    work, unknown, convolved, layers = 0.0, [], 0.0, 0
    for node in graph.node:
        count = WORK.get(node.op_type)
        if count is None:
            continue
        seen = _Node(node, shapes, {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute})
        try:
            one = count(seen)
        except (LookupError, ValueError, ZeroDivisionError, AttributeError):
            unknown.append(seen.name)
            continue
        work, layers = work + one, layers + 1
        convolved += one if node.op_type in CONVOLUTIONS else 0.0
    if unknown:
        raise InvalidInputError(
            f"{path}: the shapes of {len(unknown)} nodes cannot be worked out, the first is {unknown[0][:80]!r};"
            " export it with fixed shapes, or name its symbolic extents in sizes"
        )
    if not work:
        raise UnsupportedWorkloadError(f"{path}: no matrix product, convolution or attention in this graph")
    notes = [f"extents taken as 1: {', '.join(assumed)}"] if assumed else []
    if any(node.op_type in BODIES for node in graph.node):
        notes.append("bodies of loops and branches are not counted")
    values: dict[str, Any] = {
        "architecture": "cnn" if convolved > work / 2 else "mlp",
        "parameters": _parameters(onnx, graph),
        "layers": float(layers),
    }
    images = [shapes[item.name] for item in graph.input if len(shapes.get(item.name, ())) == 4]
    if images and images[0][2] == images[0][3] > 1:
        values["input_resolution"] = float(images[0][2])
    facts = {key: Fact(value=value, unit="", source=source) for key, value in values.items()}
    facts["inference_flops"] = Fact(value=float(eq.multiply_add_flops(work)), unit="flop", source=source)
    built: ConvNet = build(
        ConvNet, facts, name, None, id=identifier(name), name=name, family="user", note="; ".join(notes)
    )
    return built


def _inferred(onnx: Any, path: Path, sizes: dict[str, int]) -> tuple[Any, list[str]]:
    """The graph with all shapes, and the extents that nobody named."""
    bad = {key: size for key, size in sizes.items() if type(size) is not int or not 0 < size < 1 << 40}
    if bad:
        raise InvalidInputError(f"sizes: expected whole numbers of at least 1, found {str(bad)[:80]}")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InvalidInputError(
                f"{path}: expected at most 2 GiB; keep the weights beside the graph (external data)"
            )
        model = onnx.load(str(path), load_external_data=False)
        if model.functions:
            model = import_module("onnx.inliner").inline_local_functions(model)
    except InvalidInputError:
        raise
    except Exception as error:
        raise InvalidInputError(f"{path}: expected an ONNX graph, found {_line(error)}") from None
    graph = model.graph
    if not graph.node:
        raise InvalidInputError(f"{path}: expected an ONNX graph, found one without nodes")
    names = {item.name for item in graph.initializer}
    assumed: list[str] = []
    used = set()
    for item in graph.input:
        if item.name in names:
            continue
        for axis, extent in enumerate(item.type.tensor_type.shape.dim):
            if extent.HasField("dim_value") and extent.dim_value > 0:
                continue
            told = extent.dim_param or f"{item.name}[{axis}]"
            if told in sizes:
                used.add(told)
            elif told not in assumed:
                assumed.append(told)
            extent.dim_value = sizes.get(told, 1)
    if set(sizes) - used:
        known = ", ".join(sorted(used | set(assumed))) or "none"
        raise InvalidInputError(f"{path}: no symbolic extent named {sorted(set(sizes) - used)[0]!r}; there are {known}")
    del graph.value_info[:]
    for item in graph.output:
        item.type.tensor_type.ClearField("shape")
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True).graph, assumed
    except Exception as error:
        raise InvalidInputError(f"{path}: its shapes cannot be worked out: {_line(error)}") from None


def _shapes(graph: Any) -> dict[str, Shape]:
    found: dict[str, Shape] = {item.name: tuple(item.dims) for item in graph.initializer}
    for item in [*graph.input, *graph.value_info, *graph.output]:
        tensor = item.type.tensor_type
        sides = [extent.dim_value if extent.HasField("dim_value") else 0 for extent in tensor.shape.dim]
        if tensor.HasField("shape") and all(side > 0 for side in sides):
            found.setdefault(item.name, tuple(sides))
    return found


def _parameters(onnx: Any, graph: Any) -> float:
    """Values of weights; whole numbers of 32 and 64 bits are shapes and indices, not weights."""
    kind = onnx.TensorProto
    indices = {kind.INT64, kind.INT32, kind.BOOL, kind.STRING, kind.UINT64, kind.UINT32}
    constants = [
        item.t for node in graph.node if node.op_type == "Constant" for item in node.attribute if item.name == "value"
    ]
    held = [item for item in [*graph.initializer, *constants] if item.data_type not in indices]
    return float(sum(math.prod(item.dims) for item in held))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
