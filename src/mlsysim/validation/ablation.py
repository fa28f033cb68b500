"""What each physical term buys: the error of a form with one term taken out and everything else fitted again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .calibrate import CALIBRATION, catalog_chip, samples
from .data import KERNELS
from .fitting import Sample, best_of, fit
from .priors import CHOICES, PRIORS

TERMS: dict[str, Mapping[str, Mapping[str, float]]] = {
    "gemm": {
        "launch constant": {"launch": 0.0, "quantise": 0.0},
        "launch constant and cost of a round": {"launch": 0.0, "quantise": 0.0, "wave": 0.0},
        "split of the inner dimension": {"split": 1.0},
        "rounding to whole rounds": {"smooth": 1.0},
        "cost of a round": {"wave": 0.0},
        "limit of the cache to a core": {"feed": 1e6},
        "imperfect overlap": {"overlap": 60.0},
        "reuse in the last cache": {"reach": 0.0},
    },
    "context_attention": {
        "launch constant": {"launch": 0.0},
        "limit of the exponentials": {"softmax": 0.0},
        "longest row": {"balance": 60.0},
        "prologue of a tile": {"wave": 0.0},
        "write of the cache": {"write": 1e6},
        "width of the head": {"wide": 1.0},
    },
    "generation_attention": {
        "launch constant": {"launch": 0.0},
        "cost of a round": {"wave": 0.0},
        "width of the head": {"wide": 1.0},
        "heads that share with none": {"alone": 1.0},
        "joining pieces": {"join": 0.0},
        "limit of one core's stream": {"stream": 1e6},
        "arithmetic": {"compute": 1e6},
        "reuse in the last cache": {"reach": 0.0},
        "imperfect overlap": {"overlap": 60.0},
    },
    "moe": {
        "launch constant": {"launch": 0.0},
        "cost of a round": {"wave": 0.0},
        "cost of a token-expert pair": {"row": 0.0},
        "every expert of the rank": {"empty": 0.0},
        "passes over all tokens": {"token": 0.0, "slot": 0.0},
        "imperfect overlap": {"overlap": 60.0},
    },
    "all_reduce": {
        "growth of the latency with ranks": {"growth": 0.0, "bulk_growth": 0.0},
        "bulk protocol": {"bulk_latency": 1.0},
        "share of the link": {"low": 1.0, "bulk": 1.0, "middle": 1.0},
        "bridges of the host": {"bridge": 1.0},
        "one step": {"once_latency": 1.0},
        "two steps": {"twice_latency": 1.0},
        "launches from the host": {"host": 1e-9},
    },
}
TERMS["narrow_gemm"] = {
    **TERMS["gemm"],
    "rows of the quantising kernel": {"quantise_row": 0.0},
    "tile that the rows decide": {"columns": 0.0},
}
"""Terms of each form, and the values of parameters that take them out."""


@dataclass(frozen=True, slots=True)
class Ablation:
    """Median error of a family's calibration rows with one term taken out; ``full`` is that of the whole form."""

    family: str
    term: str
    n: int
    full: float
    without: float


def form_of(family: str) -> str:
    """The form that a family's fits are of."""
    if family.startswith("gemm"):
        return "gemm" if family == "gemm_bf16" else "narrow_gemm"
    return family.replace("mla_", "") + ("_attention" if "mla_" in family else "")


def ablation(
    family: str = "gemm_bf16", kernels: Sequence[str] | None = None, tables: Path = KERNELS, most: int = 3
) -> list[Ablation]:
    """The ablation table of a family, from its calibration rows.

    Args:
        family: such as ``gemm_bf16``, ``context_attention``, ``generation_attention``, ``moe``, ``all_reduce``
        kernels: which kernels; by default the ``most`` with most rows
        tables: folder with the kernel tables
        most: how many kernels

    Returns:
        One line a term, the one that matters most first.
    """
    mine = [sample for sample, name in samples(tables, CALIBRATION, catalog_chip) if name == family]
    if kernels is None:
        sizes: dict[str, int] = {}
        for sample in mine:
            sizes[sample.kernel] = sizes.get(sample.kernel, 0) + len(sample.seconds)
        kernels = sorted(sizes, key=lambda kernel: (-sizes[kernel], kernel))[:most]
    cells: dict[tuple[str, str], list[Sample]] = {}
    for sample in mine:
        if sample.kernel in kernels:
            cells.setdefault((sample.gpu, sample.kernel), []).append(sample)
    fits = {
        cell: best_of(rows, PRIORS[family](cell[1]), CHOICES.get(family, ({},)), 1.0)
        for cell, rows in sorted(cells.items())
    }
    full = _median([_errors(cells[cell], values) for cell, values in fits.items()])
    n = sum(len(sample.seconds) for rows in cells.values() for sample in rows)
    found = []
    for term, pinned in TERMS[form_of(family)].items():
        errors = []
        for cell, values in fits.items():
            held = {name: value for name, value in pinned.items() if name in values or name == "smooth"}
            errors.append(_errors(cells[cell], fit(cells[cell], values, 1.0, pinned=held)))
        found.append(Ablation(family, term, n, full, _median(errors)))
    return sorted(found, key=lambda row: -row.without)


FAMILIES = ("gemm_bf16", "gemm_fp8", "context_attention", "generation_attention", "moe", "all_reduce")
"""Families of the published table."""


def write(path: Path | str) -> list[Ablation]:
    """Work the published table out again and write it as JSON; a minute or two.

    Args:
        path: the file, such as ``docs/accuracy/ablation.json``
    """
    rows = [row for name in FAMILIES for row in ablation(name)]
    Path(path).write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    return rows


def _errors(rows: Sequence[Sample], values: Mapping[str, float]) -> list[float]:
    logs = np.concatenate([sample.errors(values) for sample in rows])
    return [float(value) for value in np.abs(np.exp(-logs) - 1)]


def _median(parts: Sequence[Sequence[float]]) -> float:
    return round(float(np.median(np.concatenate([np.asarray(part) for part in parts]))), 4)
