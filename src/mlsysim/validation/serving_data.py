"""Measurements of served load as columns: codes put right, and which rows a clean score rests on.

What is done, and why, is told in ``docs/decisions/0008-measured-serving.md``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Hardware, Models
from ..errors import CatalogError
from ..workloads.language import Layout
from .data import FOLDER, Table, read_table
from .serving_recipes import Asked, Setting, settings_of

FILE = FOLDER / "serving" / "inferencex.csv.gz"
FITTED = ("h100_sxm", "b200_sxm")
"""Systems whose rows stack parameters may be fitted on."""
OPTIONAL = ("draft_tokens",)
"""What a file of one's own may tell beside: tokens that each step drafts, 0 where there is no speculation."""
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
PLAIN = "db-dump"
"""Sources that hold runs without speculation only: each of their disaggregated rows stands in a plain list."""
SPECULATIVE = (("trtllm", "1.2.0rc6.post3"),)
"""Versions that published lists use for runs with speculation only; one token is drafted with data-parallel attention."""
ORDINARY = (("trtllm", "1.2.0rc6.post2"),)
"""Versions that they use for runs without."""
DRAFTED = {"trtllm": 3.0, "sglang": 2.0, "vllm": 1.0}
"""Tokens that recipes of a stack draft where speculation is on."""
MOST_PLAIN = {("DeepSeek_V3", "b200_sxm", "sglang", "fp8", 8.0): 64.0}
"""Highest concurrency in the plain lists of some systems, where that of lists with speculation is higher."""
NO_WORKERS, TOTALS = "worker counts missing", "totals of disaggregated runs"
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
    drafted: float = 0.0
    settings: tuple[Setting, ...] = ()
    listed: bool = False

    @property
    def variants(self) -> tuple[Case, ...]:
        """The case under each setting that it may have been run with, the likeliest first."""
        return tuple(
            replace(self, prefill_layout=one.prefill_layout, layout=one.layout, workers=one.workers,
                    drafted=one.drafted, settings=(one,))
            for one in self.settings
        )  # fmt: skip

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
            bool(self.drafted),
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
    table = Table({name: column.astype(object) for name, column in table_of(path).columns.items()})  # of Python values
    found = [_case(table, number) for number in range(len(table))]
    plain = {_twin(table, case) for case in found if _source(table, case).startswith(PLAIN)}
    return tuple(_settled(table, case, plain) for case in found)


def _source(table: Table, case: Case) -> str:
    return str(table["source"][case.row]) if "source" in table.columns else ""


def _told_version(table: Table, case: Case) -> str:
    return str(table["version"][case.row]).strip() if "version" in table.columns else ""


def _twin(table: Table, case: Case) -> tuple[Any, ...]:
    """What two runs have in common that differ in speculation alone."""
    chips = case.layout.chips if case.mode == "agg" else 0.0
    return (case.model, case.system, case.stack, case.precision, case.mode, case.nominal, case.concurrency, chips,
            _told_version(table, case))  # fmt: skip


def _settled(table: Table, case: Case, plain: set[tuple[Any, ...]]) -> Case:
    """A case with every setting that it may have been run with."""
    own = Setting(case.prefill_layout, case.layout, case.workers)
    if not _model(case.model):
        return replace(case, settings=(own,))
    found, listed = _listed(table, case), True
    if not found:
        found, listed = _speculated(table, case, own), False
    exported = not _source(table, case).startswith(PLAIN)
    if not exported:
        found = tuple(one for one in found if not one.drafted) or found
    elif len({bool(one.drafted) for one in found}) > 1 and _twin(table, case) in plain:
        found = tuple(one for one in found if one.drafted)  # the plain run is the other row
    first = found[0]
    return replace(case, layout=first.layout, prefill_layout=first.prefill_layout, workers=first.workers,
                   drafted=first.drafted, settings=found, listed=listed)  # fmt: skip


def _listed(table: Table, case: Case) -> tuple[Setting, ...]:
    """What published lists say of a row whose own columns do not tell its workers."""
    if case.trouble not in (NO_WORKERS, TOTALS):
        return ()
    names = ("tp_size", "tp_size", "moe_ep_size") if case.mode == "agg" else (
        "prefill_tp_size", "decode_tp_size", "prefill_moe_ep_size")  # fmt: skip
    prefill, decode, spread = (_number(table[name][case.row], 0.0) for name in names)
    lengths = f"{case.nominal[0]:g}/{case.nominal[1]:g}"
    return settings_of(Asked(case.model, case.system, case.stack, case.precision, _told_version(table, case), lengths,
                             case.concurrency, (prefill, decode), spread))  # fmt: skip


def _speculated(table: Table, case: Case, own: Setting) -> tuple[Setting, ...]:
    """With and without speculation where a model has draft layers of its own and nothing tells whether they were used."""
    told = _number(table["draft_tokens"][case.row]) if "draft_tokens" in table.columns else np.nan
    if np.isfinite(told):
        return (replace(own, drafted=float(told)),)
    if not Models[case.model].si.mtp_layers or case.stack not in DRAFTED:
        return (own,)
    version = (case.stack, _told_version(table, case))
    depth = DRAFTED[case.stack] if case.layout.data == 1 or case.mode == "disagg" else 1.0
    on = replace(own, drafted=depth)
    limit = MOST_PLAIN.get((case.model, case.system, case.stack, case.precision, float(case.layout.chips)), np.inf)
    if version in SPECULATIVE or case.concurrency > limit:
        return (on,)
    return (own,) if version in ORDINARY else (own, on)


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

    model = _model(text("model")) or text("model")
    system, stack = text("system"), text("framework").lower()
    precision = text("precision").lower() or "bf16"
    checkpoint = CHECKPOINTS.get((model, precision), precision)
    nominal = (size("isl"), size("osl"))
    drawn = DRAWN if text("source").startswith(("db-dump", "source_file=202")) else 1.0
    apart = text("mode") == "disagg"
    concurrency = size("concurrency")
    trouble = ""
    if not _model(model):
        trouble = "model not in the catalog"
    elif not _device(system):
        trouble = "system not in the catalog"
    if apart:
        prefiller, decoder = (_layout(*_codes(size, prefix)) for prefix in ("prefill_", "decode_"))
        workers = (size("prefill_num_workers"), size("decode_num_workers"))
        known = workers[0] > 0 and workers[1] > 0
        if not known:
            trouble = trouble or NO_WORKERS
            workers = (1.0, 1.0)
        if not concurrency > 0:
            trouble = trouble or "concurrency missing"
            concurrency = max(size("decode_batch_size", 1.0) * decoder.data * workers[1], 1.0)
    else:
        prefiller, workers = None, (1.0, 1.0)
        decoder = _layout(*_codes(size, ""))
        batches = [size("batch_size") * ranks for ranks in (decoder.data, max(size("attention_dp_size", 1.0), 1.0))]
        if not concurrency > 0:
            trouble = trouble or "concurrency missing"
            concurrency = max(batches[0], 1.0)
        elif batches[0] > 0 and min(abs(batch / concurrency - 1) for batch in batches) > 0.02:
            trouble = trouble or "concurrency and batch disagree"
        if decoder.ranks > 8:
            trouble = trouble or TOTALS
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


@functools.lru_cache(maxsize=4096)
def _model(name: str) -> str:
    """The catalog's id of a model; empty where there is none."""
    return Models[name].id if name in Models else ""


@functools.lru_cache(maxsize=4096)
def _device(name: str) -> bool:
    """Whether the catalog has a system."""
    return name in Hardware


CODES = ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size", "pp_size")


def _codes(size: Any, prefix: str) -> tuple[float, ...]:
    return tuple(max(size(prefix + name, 1.0), 1.0) for name in CODES)


@functools.lru_cache(maxsize=4096)
def _layout(tp: float, dp: float, width: float, spread: float, pp: float) -> Layout:
    """The layout behind the codes, some of which are products of themselves."""
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
    return bool(_model(case.model)) and _device(case.system)
