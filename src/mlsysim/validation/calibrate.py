"""Calibration: kernel tables to the efficiency files of the catalog. Deterministic; needs SciPy."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog.efficiency import ANY
from ..machine.chip import Chip
from ..machine.collectives import LIBRARIES, PASSES, scope_of
from ..machine.measured import EDGES, STACKS
from ..machine.operators import Operators
from .data import KERNELS, kernel_table
from .efficiency_file import write
from .fitting import FIXED, Sample, best_of, fit, keep, pooled
from .priors import CHOICES, IDEAL, NAMES, PRIORS
from .rows import TABLES, Group

CALIBRATION = ("a100_sxm", "h100_sxm", "b200_sxm", "gb200", "rtx_pro_6000_server")
"""The only devices whose rows are fitted."""
LARGE = 100e-6
"""Time from which a matrix product is large."""
Z90 = 1.6449
LEAST_SIGMA = 0.02
LEAST_TRANSFER = 0.06
"""No device is taken to equal another of its architecture by more than this."""
SPECIAL = ("_eager", "_mnnvl", "_nongated", "_min_latency", "_fa4")
"""Kernels of special cases, which no stack runs by default."""
FAR = 0.3
"""Transfer to another architecture where only one generation was measured."""


@dataclass
class Calibrated:
    """One fit with its residuals."""

    scope: str
    kernel: str
    samples: Sequence[Sample]
    values: Mapping[str, float]
    transfer: float = LEAST_TRANSFER
    far: float = FAR
    architectures: tuple[str, ...] = ()
    noise: float = 0.0
    blind: Any = None
    errors: Any = field(init=False)
    times: Any = field(init=False)

    def __post_init__(self) -> None:
        """Residuals of the rows it was fitted to."""
        self.errors = np.concatenate([sample.errors(self.values) for sample in self.samples])
        self.times = np.concatenate([sample.operator.run(self.values) for sample in self.samples])

    def sigma(self) -> list[float]:
        """Standard deviation of a normal law with the 90 % interval of the residuals, for each domain of time.

        A domain of few rows leans on all rows. Residuals of rows that the parameters have not seen count, where known.
        """
        spread = np.abs(self.errors if self.blind is None else self.blind)
        whole = float(np.quantile(spread, 0.9))
        out = []
        for number in range(3):
            inside = spread[np.searchsorted(EDGES, self.times) == number]
            own = float(np.quantile(inside, 0.9)) if len(inside) >= 5 else whole
            weight = len(inside) / (len(inside) + 10)
            out.append(max(LEAST_SIGMA, float(np.hypot((weight * own + (1 - weight) * whole) / Z90, self.noise))))
        return [round(value, 4) for value in out]

    def entry(self) -> dict[str, Any]:
        """What the file says about this fit."""
        relative = np.abs(np.exp(-self.errors) - 1)
        return {
            "scope": self.scope,
            "kernel": self.kernel,
            "devices": sorted({sample.gpu for sample in self.samples}),
            "architectures": list(self.architectures),
            "n": len(self.errors),
            "source": "tables",
            "median": round(float(np.median(relative)), 4),
            "p90": round(float(np.quantile(relative, 0.9)), 4),
            "sigma": self.sigma(),
            "transfer": round(self.transfer, 4),
            "far": round(self.far, 4),
            "values": dict(self.values),
        }


def calibrate(
    tables: Path = KERNELS,
    out: Path | None = None,
    *,
    devices: Sequence[str] = CALIBRATION,
    families: Iterable[str] | None = None,
    chips: Callable[[str], Chip] | None = None,
    date: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Fit every family of kernels and write one efficiency file for each.

    Only rows of ``devices`` marked ``calibration`` in the tables are used. The fits form a ladder: all devices and
    kernels, one kernel on all devices, one kernel on one generation, one kernel on one device; each step starts from
    the one above and is drawn towards it.

    Args:
        tables: folder with the kernel tables
        out: folder for the files; None writes nothing
        devices: names of the devices to fit
        families: only these
        chips: the constants of a device by name; by default those of the catalog
        date: written in the files; today by default

    Returns:
        The documents by family.

    Raises:
        MLSysimError: SciPy is not installed, or a table is missing
    """
    chips = chips or catalog_chip
    wanted = set(families) if families is not None else None
    found: dict[str, list[Sample]] = {}
    for sample, family in samples(tables, devices, chips):
        if wanted is None or family in wanted:
            found.setdefault(family, []).append(sample)
    documents = {}
    for family in sorted(found):
        fits = ladder(family, found[family], chips)
        if family in PASSES:
            for item in fits:
                extra = version_noise(item.kernel, tables, devices)
                item.transfer, item.far = float(np.hypot(item.transfer, extra)), float(np.hypot(item.far, extra))
                if item.kernel in LIBRARIES:  # it changes with the container, on the same device too
                    item.noise = extra
        documents[family] = document(family, fits, date or datetime.date.today().isoformat())
        if out is not None:
            write(documents[family], Path(out) / f"{family}.yaml")
    return documents


def version_noise(kernel: str, tables: Path, devices: Sequence[str]) -> float:
    """Standard deviation between two versions of a collective library on the same device.

    A node that was not measured also runs another version, on another host, than those that were.
    """
    pairs = kernel_table("repeat_pairs", tables)
    framework = "nccl" if kernel in LIBRARIES else kernel.split("_")[0]
    chosen = (
        np.isin(pairs["op"], ["nccl", "custom_allreduce"])
        & (pairs["framework"] == framework)
        & np.isin(pairs["gpu"], list(devices))
    )
    one, other = (
        np.array([float(value or "nan") for value in pairs[name][chosen]]) for name in ("latency_a_us", "latency_b_us")
    )
    logs = np.abs(np.log(one / other))
    logs = logs[np.isfinite(logs)]
    return float(np.quantile(logs, 0.9)) / Z90 if len(logs) else 0.0


def catalog_chip(name: str) -> Chip:
    """A device of the catalog by the name it has in the tables."""
    from ..catalog import Hardware
    from ..machine.chip import chip_of

    return chip_of(Hardware[name])


def samples(tables: Path, devices: Sequence[str], chips: Callable[[str], Chip]) -> Iterable[tuple[Sample, str]]:
    """Calibration rows of the tables, bound to their chips."""
    for name, (file, split) in TABLES.items():
        del name
        table = kernel_table(file, tables)
        keep = np.isin(table["gpu"], list(devices)) & (table["split"] == "calibration")
        if not keep.any():
            continue
        table = table.where(keep)
        for group in split(table):
            yield bound(group, table["latency_us"][group.rows] * 1e-6, chips(group.gpu)), group.family


def bound(group: Group, seconds: Any, chip: Chip) -> Sample:
    """A group of rows as a sample."""
    return Sample(group.gpu, group.kernel, group.operator(Operators(chip)), seconds)


def ladder(family: str, rows: Sequence[Sample], chips: Callable[[str], Chip]) -> list[Calibrated]:
    """Fits of a family from the widest scope to the narrowest, with what each is off by on a device it has not seen."""
    generation = {sample.gpu: chips(sample.gpu).generation for sample in rows}
    general = [sample for sample in rows if "eager" not in sample.kernel] or list(rows)
    fits: list[Calibrated] = []
    prior = PRIORS[family]
    if family == "all_reduce":
        general = [sample for sample in general if sample.kernel in ("nccl",)] or general
    root = fit(pooled(general), prior(ANY), 1.5)
    fits.append(Calibrated(ANY, ANY, pooled(general), root, transfer=across(family, pooled(general), generation, root)))
    for name in sorted(set(generation.values())):
        part = pooled([sample for sample in general if generation[sample.gpu] == name])
        if part:
            fits.append(Calibrated(name, ANY, part, fit(part, root, 1.0)))
    done: dict[tuple[str, str], Mapping[str, float]] = {}
    usual = generation
    for kernel in sorted({sample.kernel for sample in rows}, key=lambda name: (name not in LIBRARIES, name)):
        mine = [sample for sample in rows if sample.kernel == kernel]
        if family in PASSES or kernel.endswith("_eager"):
            generation = {sample.gpu: scope_of(chips(sample.gpu), kernel) for sample in rows}
        else:
            generation = usual
        generations = sorted({generation[sample.gpu] for sample in mine})
        held = functools.partial(borrowed, family, kernel, done)
        start = {**prior(kernel), **{key: value for key, value in root.items() if key in prior(kernel)}}
        # Where the host's launches are most of the time, the tiles of a kernel do not show.
        choices = ({},) if kernel.endswith("_eager") else CHOICES.get(family, ({},))
        values = best_of(pooled(mine), start, choices, 1.0, held(ANY))
        wide = across(family, pooled(mine), generation, values, held(ANY))
        fits.append(Calibrated(ANY, kernel, pooled(mine), values, transfer=max(wide, 0.25)))
        done[kernel, ANY] = values
        for name in generations:
            inside = sound(family, [sample for sample in mine if generation[sample.gpu] == name])
            local = best_of(inside, values, choices, 1.0, held(name))
            transfer, alone = LEAST_TRANSFER, sorted({sample.gpu for sample in inside})
            if len(alone) > 1:
                own = []
                for gpu in alone:
                    part = [sample for sample in mine if sample.gpu == gpu]
                    done[kernel, gpu] = fit(part, local, 0.5, pinned=held(gpu))
                    blind = crossed(part, done[kernel, gpu], local, 0.5, held(gpu))
                    fits.append(Calibrated(gpu, kernel, part, done[kernel, gpu], blind=blind))
                for fitted in fits[-len(alone) :]:
                    gpu = fitted.scope
                    others = [sample for sample in inside if sample.gpu != gpu]
                    theirs = fit(others, local, 0.5, pinned=held(others[0].gpu if len(alone) == 2 else name))
                    own.append(off(fitted.samples, theirs, fitted))
                transfer = max(LEAST_TRANSFER, float(np.mean(own)))
            blind = crossed(inside, local, values, 1.0, held(name))
            fits.append(Calibrated(name, kernel, inside, local, transfer=transfer, blind=blind))
            done[kernel, name] = local
    generation = usual
    widen(fits, generation)
    for item in fits:
        item.architectures = tuple(sorted({chips(sample.gpu).architecture for sample in item.samples}))
    order = {ANY: 2, **{name: 1 for name in generation.values()}}
    return sorted(fits, key=lambda item: (item.kernel != ANY, item.kernel, order.get(item.scope, 0), item.scope))


def crossed(
    rows: Sequence[Sample],
    values: Mapping[str, float],
    start: Mapping[str, float],
    spread: float,
    pinned: Mapping[str, float],
) -> Any:
    """Residuals of rows under a fit to the other half of them, its choices those of the fit to all."""
    start = {**start, **{name: value for name, value in values.items() if name in FIXED}}
    halves = [[keep(sample, slice(side, None, 2)) for sample in rows] for side in (0, 1)]
    found = [np.empty(len(sample.seconds)) for sample in rows]
    for side in (0, 1):
        other = fit(halves[1 - side], start, spread, 15, pinned)
        for errors, half in zip(found, halves[side], strict=True):
            errors[side::2] = half.errors(other)
    return np.concatenate(found)


def borrowed(
    family: str, kernel: str, done: Mapping[tuple[str, str], Mapping[str, float]], scope: str
) -> Mapping[str, float]:
    """Values that a stack's all-reduce shares with others: large messages go to the library on the same device.

    Launched one by one from the host it is the same kernel, and only the host's time is its own.
    """
    if family != "all_reduce" or kernel in LIBRARIES:
        return {}
    source = kernel.removesuffix("_eager") if kernel.endswith("_eager") else "nccl"
    scope = scope.removesuffix("_superchip")
    return done.get((source, scope)) or done.get((source, ANY)) or {}


def sound(family: str, rows: Sequence[Sample]) -> list[Sample]:
    """Rows fit to speak for their generation.

    Large bf16 products of GB200 reach 0.55 of the peak where those of its twin B200 reach 0.74: a known defect of that
    table. They stay in the fit of GB200 itself.
    """
    if family != "gemm_bf16":
        return list(rows)
    return [keep(s, s.seconds < LARGE) if s.gpu == "gb200" else s for s in rows]


def widen(fits: Sequence[Calibrated], generation: Mapping[str, str]) -> None:
    """What each fit adds to its sigma on devices that it has not seen.

    Another architecture: the error of the fit of one data-centre generation on the rows of another, in each direction.
    The same architecture: between that and the error from one twin (B200, GB200) to the other, for twins are closer than
    most relatives. A fit of several generations is wide already; it adds the error with one of them left out.
    """
    scopes = set(generation.values())
    local = {(item.kernel, item.scope): item for item in fits if item.scope in scopes}
    pairs: dict[str, list[float]] = {}
    for (kernel, scope), item in local.items():
        for (other_kernel, other_scope), other in local.items():
            if kernel == other_kernel and scope != other_scope and "graphics" not in (scope, other_scope):
                pairs.setdefault(kernel, []).append(off(other.samples, item.values, other))
    known = [value for kernel, values in pairs.items() if kernel != ANY for value in values]
    typical = float(np.sqrt(np.mean(np.square(known)))) if known else FAR
    twins = {kernel: item.transfer for (kernel, scope), item in local.items() if scope == generation.get("gb200")}
    near = float(np.median(list(twins.values()))) if twins else LEAST_TRANSFER
    for item in fits:
        if item.scope == ANY:
            item.far = item.transfer
            continue
        found = pairs.get(item.kernel)
        item.far = max(float(np.sqrt(np.mean(np.square(found)))) if found else typical, FAR / 2)
        own = max(twins.get(item.kernel, near), near)
        item.transfer = item.far if item.kernel == ANY else max(LEAST_TRANSFER, float(np.sqrt(own * item.far)))


def off(rows: Sequence[Sample], foreign: Mapping[str, float], own: Calibrated) -> float:
    """What to add in quadrature to the sigma of a fit so that its interval holds on a device it has not seen."""
    theirs = np.abs(np.concatenate([sample.errors(foreign) for sample in rows]))
    extra = float(np.quantile(theirs, 0.9)) ** 2 - float(np.quantile(np.abs(own.errors), 0.9)) ** 2
    return float(np.sqrt(max(extra, 0.0))) / Z90


def across(
    family: str,
    rows: Sequence[Sample],
    generation: Mapping[str, str],
    values: Mapping[str, float],
    pinned: Mapping[str, float] | None = None,
) -> float:
    """The same for a fit of several generations: each is left out in turn."""
    names = sorted({generation[sample.gpu] for sample in rows})
    if len(names) < 2:
        return 0.3
    found = []
    for name in names:
        inside = [sample for sample in rows if generation[sample.gpu] == name]
        others = [sample for sample in rows if generation[sample.gpu] != name]
        found.append(off(inside, fit(others, values, 0.7, 12, pinned), Calibrated(ANY, ANY, inside, values)))
    return float(np.sqrt(np.mean(np.square(found))))


def document(family: str, fits: Sequence[Calibrated], date: str) -> dict[str, Any]:
    """The efficiency file of a family."""
    kernels: dict[str, dict[str, str]] = {}
    for scope in sorted({item.scope for item in fits if not any(item.scope == s.gpu for s in item.samples)}):
        named = {item.kernel: len(item.errors) for item in fits if item.scope == scope and item.kernel != ANY}
        kernels[scope] = defaults(family, named)
    return {
        "id": family,
        "name": NAMES[family],
        "sources": {
            "tables": {
                "kind": "fitted",
                "title": "fit by mlsysim.validation.calibrate to kernel tables of aiconfigurator-core 0.12.0",
                "url": "https://github.com/ai-dynamo/aiconfigurator",
                "date": date,
            }
        },
        "kernels": {scope: named for scope, named in kernels.items() if named},
        "fits": [item.entry() for item in fits],
    }


def defaults(family: str, named: Mapping[str, int]) -> dict[str, str]:
    """The kernel of each stack and variant: the one with most rows; ``ideal`` takes the first stack that has one."""
    out: dict[str, str] = {}
    variants = sorted({variant_of(family, kernel) for kernel in named})
    for variant in variants:
        for stack in STACKS[1:]:
            mine = [
                kernel
                for kernel in named
                if kernel.split("/")[0].split("_")[0] == stack
                and variant_of(family, kernel) == variant
                and not any(word in kernel for word in SPECIAL)
            ]
            if family == "context_attention":  # arithmetic in bf16 unless the caller names a kernel
                mine = [kernel for kernel in mine if kernel.split("/")[1] == "bf16"] or mine
            if mine:
                out[f"{stack}/{variant}"] = max(mine, key=lambda kernel: (named[kernel], kernel))
        for stack in STACKS[1:]:  # a stack without a kernel of its own takes the next best
            for other in IDEAL.get(family, ("trtllm", "vllm", "sglang")):
                if f"{other}/{variant}" in out:
                    out.setdefault(f"{stack}/{variant}", out[f"{other}/{variant}"])
                    out.setdefault(f"ideal/{variant}", out[f"{other}/{variant}"])
    if "nccl" in named and not out:
        out = {f"{stack}/{ANY}": "nccl" for stack in STACKS}
    return out


def variant_of(family: str, kernel: str) -> str:
    """The precision that a kernel is for."""
    return kernel.rsplit("/", 1)[1] if "/" in kernel else ANY


def calibrate_device(csv: Path | str, device: Any, out: Path | None = None, **options: Any) -> dict[str, str]:
    """Fit a device of your own from a few measured points; see :mod:`mlsysim.validation.calibrate_device`."""
    from .calibrate_device import calibrate_device as run

    return run(csv, device, out, **options)
