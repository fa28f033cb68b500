"""Measurements of served load as columns: codes put right, and which rows a clean score rests on.

What is done, and why, is told in ``docs/decisions/0008-measured-serving.md``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Hardware, Models
from ..errors import CatalogError, MLSysimError
from ..workloads.language import Layout
from .data import FOLDER, Table, read_table

FILE = FOLDER / "serving" / "inferencex.csv.gz"
FITTED = ("h100_sxm", "b200_sxm")
"""Systems whose rows stack parameters may be fitted on."""
NEEDED = (
    "framework", "model", "system", "precision", "mode", "isl", "osl", "concurrency", "tp_size", "ttft_ms", "tpot_ms",
)  # fmt: skip
DRAWN = 0.9
"""Mean length over the nominal one where lengths are drawn evenly between 0.8 and 1 times it."""
UNCLEAR = "source_file=h200_sxm/"
"""A sweep whose concurrency cannot be that of one replica: it holds weights of 235 GB on one H200 of 141 GB."""
CHECKPOINTS = {
    ("Qwen3_32B", "fp8"): "fp8_dynamic",
    ("GPT_OSS_120B", "fp4"): "mxfp4",
    ("GPT_OSS_120B", "fp8"): "mxfp4",
}
"""Formats that a label does not tell: scales found at run time, and the 4-bit experts that gpt-oss is published with."""
NARROW_CACHE = {"trtllm": ("h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "gb200", "gb300"),
                "sglang": ("b200_sxm", "b300_sxm", "gb200", "gb300")}  # fmt: skip
NARROW_MODELS = ("Llama3_70B", "GPT_OSS_120B", "MiniMax_M2")
"""Models whose published vLLM recipes on Blackwell ask for an 8-bit cache."""


@dataclass(frozen=True, slots=True)
class Case:
    """One measured point with everything about it that a prediction takes."""

    row: int
    model: str
    system: str
    stack: str
    precision: str
    cache: str
    mode: str
    input: float
    output: float
    nominal: tuple[float, float]
    concurrency: float
    spread: float
    layout: Layout
    prefill_layout: Layout | None
    workers: tuple[float, float]
    campaign: str
    trouble: str

    @property
    def key(self) -> tuple[Any, ...]:
        """Cases of one key differ in load and lengths only."""
        return (
            self.mode,
            self.model,
            self.system,
            self.stack,
            self.precision,
            self.cache,
            self.layout,
            self.prefill_layout,
        )


@functools.lru_cache(maxsize=8)
def table_of(path: Path = FILE) -> Table:
    """The file, its columns checked.

    Raises:
        CatalogError: no such file, or columns are missing
    """
    table = read_table(Path(path))
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise CatalogError(f"{Path(path).name}: columns are missing: {', '.join(missing)}")
    return table


@functools.lru_cache(maxsize=8)
def cases(path: Path = FILE) -> tuple[Case, ...]:
    """Every row of a file."""
    table = table_of(path)
    return tuple(_case(table, number) for number in range(len(table)))


def measured(table: Table, name: str) -> NDArray[np.float64]:
    """A column in seconds."""
    return np.array([_number(value) for value in table[f"{name}_ms"]], dtype=np.float64) / 1e3


def _number(value: Any, default: float = float("nan")) -> float:
    if isinstance(value, (float, np.floating)):
        return float(value)
    text = str(value).strip()
    return float(text) if text else default


def _case(table: Table, number: int) -> Case:
    def text(name: str) -> str:
        return str(table[name][number]).strip() if name in table.columns else ""

    def size(name: str, default: float = 0.0) -> float:
        return _number(table[name][number], default) if name in table.columns else default

    model = Models[text("model")].id if text("model") in Models else text("model")
    system, stack = text("system"), text("framework").lower()
    precision = text("precision").lower() or "bf16"
    checkpoint = CHECKPOINTS.get((model, precision), precision)
    nominal = (size("isl"), size("osl"))
    drawn = DRAWN if text("source").startswith(("db-dump", "source_file=202")) else 1.0
    apart = text("mode") == "disagg"
    concurrency = size("concurrency")
    trouble = ""
    if model not in Models:
        trouble = "model not in the catalog"
    elif system not in Hardware:
        trouble = "system not in the catalog"
    if apart:
        prefiller, decoder = _layout(size, "prefill_"), _layout(size, "decode_")
        workers = (size("prefill_num_workers"), size("decode_num_workers"))
        known = workers[0] > 0 and workers[1] > 0
        if not known:
            trouble = trouble or "worker counts missing"
            workers = (1.0, 1.0)
        if not concurrency > 0:
            trouble = trouble or "concurrency missing"
            concurrency = max(size("decode_batch_size", 1.0) * decoder.data * workers[1], 1.0)
    else:
        prefiller, workers = None, (1.0, 1.0)
        decoder = _layout(size, "")
        batch = size("batch_size") * decoder.data
        if not concurrency > 0:
            trouble = trouble or "concurrency missing"
            concurrency = max(batch, 1.0)
        elif batch > 0 and abs(batch / concurrency - 1) > 0.02:
            trouble = trouble or "concurrency and batch disagree"
        if decoder.ranks > 8:
            trouble = trouble or "totals of disaggregated runs"
        if text("source").startswith(UNCLEAR):
            trouble = trouble or "load of a replica unclear"
    return Case(
        row=number, model=model, system=system, stack=stack, precision=checkpoint,
        cache=_cache(model, system, stack, checkpoint), mode=text("mode") or "agg", input=round(nominal[0] * drawn),
        output=round(nominal[1] * drawn), nominal=nominal, concurrency=concurrency, spread=2 * (1 - drawn), layout=decoder,
        prefill_layout=prefiller, workers=workers,
        campaign="|".join((model, system, stack, precision, text("image") or text("version"), text("date"))),
        trouble=trouble,
    )  # fmt: skip


def _cache(model: str, system: str, stack: str, precision: str) -> str:
    if precision in ("bf16", "fp16"):
        return "bf16"
    narrow = system in NARROW_CACHE.get(stack, ())
    recipe = stack == "vllm" and model in NARROW_MODELS and system in NARROW_CACHE["sglang"]
    return "fp8" if narrow or recipe else "bf16"


def _layout(size: Any, prefix: str) -> Layout:
    """The layout behind the codes, some of which are products of themselves."""
    tp, dp = max(size(f"{prefix}tp_size", 1.0), 1.0), max(size(f"{prefix}attention_dp_size", 1.0), 1.0)
    width, spread = max(size(f"{prefix}moe_tp_size", 1.0), 1.0), max(size(f"{prefix}moe_ep_size", 1.0), 1.0)
    pp = max(size(f"{prefix}pp_size", 1.0), 1.0)
    if width == spread > 1 and tp == width * spread and dp == 1:  # tp 64 with experts 8 x 8: eight chips
        return Layout(spread, 1.0, 1.0, spread, pp)
    if width == spread > 1 and dp == width * spread and tp == 1:  # the same with data-parallel attention
        return Layout(1.0, spread, 1.0, spread, pp)
    if tp == dp > 1 and width * spread == tp * tp:  # tp 4, dp 4, ep 16: four chips with data-parallel attention
        return Layout(1.0, dp, 1.0, tp, pp)
    if dp > 1 and tp > 1 and width * spread == tp:  # data-parallel attention over the tensor ranks
        return Layout(tp / dp if tp >= dp else 1.0, min(dp, tp), tp / spread, spread, pp)
    ranks = tp * dp
    if width * spread > ranks:
        ranks = width * spread if dp == 1 else ranks
    spread = min(spread, ranks)
    return Layout(ranks / dp, dp, ranks / spread, spread, pp)


def known(case: Case) -> bool:
    """Whether model and system are in the catalog."""
    try:
        Models[case.model], Hardware[case.system]
    except MLSysimError:
        return False
    return True
