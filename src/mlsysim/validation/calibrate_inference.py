"""Fit the kernels of llama.cpp: one set of parameters a maker, then one a device, drawn towards it.

Only rows marked ``calibration`` are read: at most ten a device, of GeForce cards and Apple chips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Hardware
from ..machine import llamacpp
from ..machine.chip import Chip, chip_of
from .efficiency_file import write
from .fitting import drawn
from .inference import FILE, Case, cases, piece_of

PRIOR: Mapping[str, Mapping[str, float]] = {
    "decode": {"memory": 0.85, "intake": 8.0, "cached": 0.4, "gap": 5e-6},
    "prompt": {"compute": 0.4, "score": 20.0, "expand": 4.0},
}
BOUNDS: Mapping[str, tuple[float, float]] = {
    "memory": (0.2, 1.0), "intake": (0.5, 64.0), "cached": (0.02, 1.0), "gap": (1e-7, 1e-4), "compute": (0.05, 1.0),
    "score": (1.0, 400.0), "expand": (0.5, 40.0),
}  # fmt: skip
SCALE, SPREAD, OWN = 0.1, 1.0, 0.15
"""Log error beyond which a row counts by its size; how far parameters may go from the prior, and a device's from its
maker's, before it costs as much as a row."""
SCOPES = {"graphics": "nvidia", "other": "apple", "any": "nvidia"}
"""Generations of devices, and whose fit stands in for those that were not measured."""


def fit(
    rows: Sequence[tuple[Case, Chip, Any]], phase: str, prior: Mapping[str, float], spread: float
) -> dict[str, float]:
    """Parameters for some rows, drawn towards a prior.

    Raises:
        MissingExtraError: SciPy is not installed
    """
    return drawn(lambda values: errors(rows, phase, values), prior, spread, BOUNDS, SCALE, 3)


def errors(rows: Sequence[tuple[Case, Chip, Any]], phase: str, values: Mapping[str, float]) -> NDArray[np.float64]:
    """Log of measured over predicted time."""
    time = llamacpp.TIMES[phase]
    return np.array([np.log(piece_of(case) / time(values, chip, terms)) for case, chip, terms in rows])


def document(path: Path = FILE) -> dict[str, Any]:
    """The efficiency file that the calibration rows give."""
    from .inference import operators_of

    used = [case for case in cases(path) if case.split == "calibration" and case.source.startswith("llama")]
    rows = [(case, chip_of(Hardware[case.hardware]), llamacpp.terms_of(operators_of(case))) for case in used]
    fits: list[dict[str, Any]] = []
    for phase, prior in PRIOR.items():
        for word in ("fp16", "w4a16"):
            mine = [
                row
                for row in rows
                if row[0].kind == phase and llamacpp.WORDS.get(row[0].precision, row[0].precision) == word
            ]
            makers = {maker: _maker(mine, phase, prior, maker) for maker in ("nvidia", "apple")}
            kernel = f"{word}/{phase}"
            for maker, (shared, _) in makers.items():
                its = [row for row in mine if _of(row) == maker]
                for device in sorted({row[0].hardware for row in its}):
                    here = [row for row in its if row[0].hardware == device]
                    own = fit(here, phase, shared, OWN)
                    off = errors(here, phase, own)
                    fits.append(_entry(device, kernel, [device], off, own, float(np.std(errors(its, phase, shared)))))
            for scope, maker in SCOPES.items():
                shared, beyond = makers[maker]
                its = [row for row in mine if _of(row) == maker]
                devices = sorted({row[0].hardware for row in its})
                off = errors(its, phase, shared)
                entry = _entry(scope, kernel, devices, off, shared, 0.0)
                spread = entry["sigma"]
                entry["transfer"] = float(f"{max(beyond**2 - spread**2, 0.0) ** 0.5:.3g}")
                fits.append(entry | {"far": float(f"{max(beyond, FAR[phase]):.3g}")})
    return {
        "id": "llamacpp",
        "name": "Passes of language models under llama.cpp",
        "note": "weights in 16 bits, or Q4_K - Medium, whose bytes are taken as those of 4-bit groups of 128; batch 1",
        "sources": {
            "bench": {
                "kind": "fitted", "title": "llama-bench runs of XiongjieDai, commit aa72e0e, at most ten rows a device "
                "(marked calibration in inference.csv.gz)",
                "url": "https://github.com/XiongjieDai/GPU-Benchmarks-on-LLM-Inference", "date": "2026-11-24",
            },
        },
        "fits": fits,
    }  # fmt: skip


FAR = {"decode": 0.25, "prompt": 0.5}
"""Least log spread added for a device of another kind; assumed. How much of their larger matrix units kernels of graphics
cards keep busy is not known."""


def _of(row: tuple[Case, Chip, Any]) -> str:
    return str(Hardware[row[0].hardware].si.vendor).lower()


def _maker(rows: Sequence[Any], phase: str, prior: Mapping[str, float], maker: str) -> tuple[dict[str, float], float]:
    """Parameters of a maker, and the error on devices left out of them one at a time."""
    mine = [row for row in rows if _of(row) == maker]
    left = []
    for device in sorted({row[0].hardware for row in mine}):
        rest = fit([row for row in mine if row[0].hardware != device], phase, prior, SPREAD)
        left.append(errors([row for row in mine if row[0].hardware == device], phase, rest))
    return fit(mine, phase, prior, SPREAD), float(np.sqrt(np.mean(np.concatenate(left) ** 2)))


def _entry(
    scope: str, kernel: str, devices: list[str], off: NDArray[np.float64], values: dict[str, float], floor: float
) -> dict[str, Any]:
    error = np.abs(np.exp(-off) - 1)
    return {
        "scope": scope, "kernel": kernel, "devices": devices,
        "architectures": sorted({chip_of(Hardware[name]).architecture for name in devices}),
        "n": len(off), "source": "bench", "median": float(f"{np.median(error):.3g}"),
        "p90": float(f"{np.quantile(error, 0.9):.3g}"),
        "sigma": float(f"{max(float(np.sqrt(np.mean(off**2))), floor, 0.05):.3g}"), "transfer": 0.0, "far": 0.0,
        "values": values,
    }  # fmt: skip


def calibrate(out: Path, path: Path = FILE) -> None:
    """Fit and write the efficiency file into a folder."""
    write(document(path), out / "llamacpp.yaml")
