"""Fit what sampling adds to a step, and the power of busy arithmetic and memory, on the rows of H100."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Hardware
from ..catalog.efficiency import Family, read
from .efficiency_file import write
from .energy import FILE, cases, kernels_of, power_of, work_from
from .fitting import least_squares

START = (0.3, 1.0, 0.5)
BOUNDS = ((0.05, 0.05, 0.05), (0.5, 3.5, 1.5))
"""Idle share, arithmetic, traffic. A free idle share goes to 0.64 and leaves nothing to the memory: it is held."""
NAMES = ("idle", "arithmetic", "traffic")
SCALE = 0.1
"""Log error beyond which a row counts by its size rather than by its square."""
FAR, SAMPLING_FAR = 0.2, 0.25
"""Log spread added for a chip that no row is of, to power and to the time of a step; assumed."""
LOGIT, LAYER = 100.0, 1e-5
"""Scales of the two numbers of sampling: bytes a logit, and seconds a layer."""
SOURCE = {
    "kind": "fitted", "title": "ML.ENERGY leaderboard v3, commit 0cd52da, rows of H100",
    "url": "https://github.com/ml-energy/leaderboard", "date": "2026-11-24",
}  # fmt: skip


def sampling_document(path: Path = FILE) -> dict[str, Any]:
    """The efficiency file of what sampling adds to a step: two numbers, on mean times of steps.

    Raises:
        MLSysimError: SciPy is not installed
    """
    used = [case for case in cases(path) if case.split == "calibration" and case.task != "text-to-image"]
    rows = [(case, kernels_of(case)) for case in used]
    bandwidth = np.array([Hardware[case.hardware].si.memory_bandwidth for case, _ in rows])
    kernels, taken = np.array([work.time for _, work in rows]), np.array([case.step for case, _ in rows])
    sequences, logits, layers = np.array([work.drawn for _, work in rows]).T

    def errors(x: NDArray[np.float64]) -> NDArray[np.float64]:
        added = sequences * logits * x[0] * LOGIT / bandwidth + layers * x[1] * LAYER
        return np.asarray(np.log(taken / (kernels + added)))

    solved = least_squares(errors, (1.0, 1.0), ((0.0, 0.0), (np.inf, np.inf)), loss="soft_l1", f_scale=SCALE)
    left = errors(solved)
    entry = _entry(left, {"logit": solved[0] * LOGIT, "layer": solved[1] * LAYER})
    return {
        "id": "sampling",
        "name": "What a server that samples adds to the kernels of a step",
        "note": "logits are sorted in full for top-k and top-p; greedy decoding adds none of it",
        "sources": {"mlenergy": SOURCE | {"title": f"{SOURCE['title']}: mean time of a step"}},
        "fits": [entry | {"far": SAMPLING_FAR}],
    }


def document(path: Path = FILE, sampling: Family | None = None) -> dict[str, Any]:
    """The efficiency file of power that the calibration rows give; times of steps are the measured ones.

    Args:
        path: measurements
        sampling: what sampling adds, in place of the catalog's

    Raises:
        MLSysimError: SciPy is not installed
    """
    rows = [(case, work_from(kernels_of(case), case, sampling)) for case in cases(path) if case.split == "calibration"]

    def errors(x: NDArray[np.float64]) -> NDArray[np.float64]:
        values = dict(zip(NAMES, x.tolist(), strict=True))
        return np.array(
            [np.log(case.watts / case.devices / power_of(case, work, case.step, values)) for case, work in rows]
        )

    solved = least_squares(errors, START, BOUNDS, loss="soft_l1", f_scale=SCALE)
    return {
        "id": "power",
        "name": "Power of busy arithmetic and memory",
        "note": "shares of the design power; the idle share is that of a chip at work, clocks up, and was held at 0.5 or less",
        "sources": {"mlenergy": SOURCE | {"title": f"{SOURCE['title']}: mean power and time of a step"}},
        "fits": [_entry(errors(solved), dict(zip(NAMES, solved.tolist(), strict=True))) | {"far": FAR}],
    }


def _entry(left: NDArray[np.float64], values: dict[str, float]) -> dict[str, Any]:
    off = np.abs(np.exp(-left) - 1)
    return {
        "scope": "any", "kernel": "any", "devices": ["H100"], "architectures": ["hopper"], "n": len(left),
        "source": "mlenergy", "median": float(f"{np.median(off):.3g}"), "p90": float(f"{np.quantile(off, 0.9):.3g}"),
        "sigma": float(f"{np.sqrt(np.mean(left**2)):.3g}"), "transfer": 0.1, "far": 0.0,
        "values": {name: float(f"{value:.3g}") for name, value in values.items()},
    }  # fmt: skip


def calibrate(out: Path, path: Path = FILE) -> None:
    """Fit sampling, then power on its times, and write both efficiency files into a folder."""
    write(sampling_document(path), out / "sampling.yaml")
    write(document(path, read(out / "sampling.yaml")), out / "power.yaml")
