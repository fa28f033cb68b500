"""Whole passes as measurements: the output of llama-bench and of ``vllm bench serve``, and tables of passes.

A pass says less than a kernel: its dense products are fitted, and all else in it keeps the time that it is predicted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog import Formats, Models, textbook
from ..catalog.hardware import Device
from ..catalog.models import Transformer
from ..catalog.stacks import Stacks
from ..errors import InvalidInputError
from ..machine.operators import Operator, Operators
from ..machine.passes import time_pass
from ..machine.textbook import wiring
from ..solvers.serving_measured import engine_for, kernel_word
from ..workloads.language import Layout, Work
from .data import Table, read_table
from .fitting import Sample

COLUMNS = ("phase", "batch", "tokens", "context")
"""Columns of a table of passes: ``prefill`` or ``decode``, sequences, new tokens of each, and tokens cached before."""
LLAMA = {"n_prompt", "n_gen", "avg_ns"}
VLLM = {"mean_tpot_ms", "output_throughput", "completed", "total_input_tokens", "total_output_tokens"}
QUANTS = ((r"Q4|IQ4", "w4a16"), (r"Q8_0", "w8a16"), (r"BF16", "bf16"), (r"F16", "fp16"), (r"all F32|\bF32", "fp32"))
"""Weights that llama.cpp names, and the kernels that come nearest; the fit takes up what is left between them."""


def passes_of(path: Path) -> tuple[Table, str] | None:
    """The passes in a file, with the stack that ran them; nothing where it holds something else.

    Args:
        path: CSV, JSON or JSONL of llama-bench; JSON of ``vllm bench serve --save-result``, several of them one after
            the other as ``--append-result`` leaves them; or a table with :data:`COLUMNS`

    Raises:
        InvalidInputError: rows that cannot be read as passes
    """
    if path.suffix in (".json", ".jsonl"):
        rows = _documents(path)
        names = set.intersection(*(set(row) for row in rows))
        if names >= LLAMA:
            return _llama(rows, path.name), "ideal"
        if names >= VLLM:
            return _vllm(rows, path.name), "vllm"
        wanted = f"llama-bench ({', '.join(sorted(LLAMA))}) or vllm bench serve ({', '.join(sorted(VLLM))})"
        raise InvalidInputError(f"{path.name}: expected the output of {wanted}")
    with path.open("rb") as file:
        header = file.readline().decode(errors="replace")
    named = {name.strip().strip('"') for name in header.split(",")}
    if named >= LLAMA:
        table = read_table(path)
        return _llama([table.row(number) for number in range(len(table))], path.name), "ideal"
    return (read_table(path), "ideal") if named >= set(COLUMNS) else None


def _documents(path: Path) -> list[Mapping[str, Any]]:
    """Every JSON object of a file, alone, in a list, or one after the other."""
    text, place, found = path.read_text(errors="replace"), 0, []
    decoder = json.JSONDecoder()
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise InvalidInputError(f"{path.name}: line {error.lineno}: cannot be read as JSON ({error.msg})") from None
        found += value if isinstance(value, list) else [value]
    if not found or not all(isinstance(row, dict) for row in found):
        raise InvalidInputError(f"{path.name}: expected JSON objects, one a run")
    return found


def _llama(rows: list[Mapping[str, Any]], label: str) -> Table:
    """Passes of llama-bench: a prompt is taken in by pieces of ``n_ubatch``; tests of both kinds together are left out."""
    found: list[tuple[Any, ...]] = []
    for number, row in enumerate(rows, 1):
        prompt, made, depth = (_number(row, name, label, number, 0.0) for name in ("n_prompt", "n_gen", "n_depth"))
        seconds = _number(row, "avg_ns", label, number) * 1e-9
        precision = _quant(str(row.get("model_type", "")), label, number)
        if prompt > 0 and made > 0:
            continue
        if prompt > 0:
            piece = min(prompt, _number(row, "n_ubatch", label, number, prompt))
            context = depth + (prompt - piece) / 2
            found.append(("prefill", 1.0, piece, context, seconds * piece / prompt, precision))
        elif made > 0:
            found.append(("decode", 1.0, 1.0, depth + made / 2, seconds / made, precision))
    if not found:
        raise InvalidInputError(f"{label}: no test of a prompt alone (-p) or of generation alone (-n)")
    return _table(found)


def _vllm(rows: list[Mapping[str, Any]], label: str) -> Table:
    """Decode steps of a served load; by Little's law ``output_throughput * mean_tpot`` requests decode in the mean."""
    found: list[tuple[Any, ...]] = []
    for number, row in enumerate(rows, 1):
        token = _number(row, "mean_tpot_ms", label, number) * 1e-3
        done, rate = (_number(row, name, label, number) for name in ("completed", "output_throughput"))
        prompt, made = (_number(row, f"total_{side}_tokens", label, number) / done for side in ("input", "output"))
        found.append(("decode", max(rate * token, 1.0), 1.0, prompt + made / 2, token, ""))
    return _table(found)


def _table(rows: list[tuple[Any, ...]]) -> Table:
    names = (*COLUMNS, "time_s", "precision")
    return Table({name: np.array([row[place] for row in rows]) for place, name in enumerate(names)})


def _number(row: Mapping[str, Any], name: str, label: str, number: int, standin: float | None = None) -> float:
    value = row.get(name, standin)
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if not np.isfinite(found) or (standin is None and found <= 0) or found < 0:
        raise InvalidInputError(f"{label}: run {number}: {name}: expected a positive number, found {value!r}")
    return found


def _quant(told: str, label: str, number: int) -> str:
    """Kernels of the weights that a model type names, such as ``qwen2 7B Q4_K - Medium``."""
    for pattern, kernel in QUANTS:
        if re.search(pattern, told):
            return kernel
    raise InvalidInputError(
        f"{label}: run {number}: model_type {told!r}: expected weights in Q4, IQ4, Q8_0, F16, BF16 or F32"
    )


def pass_samples(
    table: Table,
    seconds: Any,
    stack: str,
    device: Device,
    model: Transformer | str,
    precision: str | None,
    label: str,
) -> list[tuple[str, str, list[Sample]]]:
    """The passes as samples of the dense products in them: family, format and samples, by format.

    Raises:
        InvalidInputError: a model without passes, a phase or format that does not exist
    """
    chosen = Models[model] if isinstance(model, str) else model
    if not isinstance(chosen, Transformer):
        raise InvalidInputError(f"model: expected a language model, found {chosen.id}")
    phases = np.asarray(table["phase"], dtype=str)
    wrong = sorted(set(phases.tolist()) - {"prefill", "decode"})
    if wrong:
        raise InvalidInputError(f"{label}: phase: expected prefill or decode, found {wrong[0]!r}")
    words = np.asarray(table.columns.get("precision", np.full(len(table), "")), dtype=str)
    words = np.where(words == "", precision or "bf16", words) if precision is None else np.full(len(table), precision)
    found = []
    for word in sorted(set(words.tolist())):
        if word not in ("w4a16", "w8a16"):
            word = kernel_word(Formats[word].id)
        samples: list[Sample] = []
        family = ""
        for phase in ("prefill", "decode"):
            rows = np.flatnonzero((phases == phase) & (words == word))
            if len(rows):
                numbers = [np.asarray(table[name], dtype=np.float64)[rows] for name in COLUMNS[1:]]
                operator = _pass(device, chosen, stack, word, Work(phase, *numbers))
                family = operator.family
                samples.append(Sample(device.id, "any", operator, np.asarray(seconds)[rows]))
        found.append((family, word, samples))
    return found


def _pass(device: Device, model: Transformer, stack: str, word: str, work: Work) -> Operator:
    """A pass as one operator whose parameters are those of its dense products."""
    engine = engine_for(model, wiring(device, textbook().link_latency), Stacks[stack], Layout(), word, None)
    bound = Operators(engine.machine.chip)
    products, others = [], []
    family = bound.gemm(1.0, 64.0, 64.0, engine.numerics.linear).family
    for one in engine.operators(work):
        product = bound.gemm(one.m, one.n, one.k, one.precision) if one.kind == "gemm" else None
        if product is not None and product.family == family:
            products.append((product.run, one.count))
        else:
            others.append(one)
    step = engine.step(work)
    rest: Any = time_pass(engine.machine, others, engine.links).time if others else 0.0
    rest = rest + step.overhead
    runs: list[tuple[Callable[[Mapping[str, float]], Any], Any]] = products

    def run(values: Mapping[str, float]) -> Any:
        total: Any = rest
        for product, count in runs:
            total = total + product(values) * count
        return total

    return Operator(family, run, step.kernels.floor, engine.numerics.linear)
