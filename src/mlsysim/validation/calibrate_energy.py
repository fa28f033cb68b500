"""Fit the power of busy arithmetic and memory on the rows of H100."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MLSysimError
from .efficiency_file import write
from .energy import FILE, cases, power_of, work_of

START = (0.3, 1.0, 0.5)
BOUNDS = ((0.05, 0.05, 0.05), (0.5, 3.5, 1.5))
"""Idle share, arithmetic, traffic. A free idle share goes to 0.64 and leaves nothing to the memory: it is held."""
NAMES = ("idle", "arithmetic", "traffic")
FAR = 0.2
"""Log spread added for a chip that no row is of; assumed."""


def document(path: Path = FILE) -> dict[str, Any]:
    """The efficiency file that the calibration rows give; times of steps are the measured ones.

    Raises:
        MLSysimError: SciPy is not installed
    """
    try:
        from scipy.optimize import least_squares
    except ImportError:
        raise MLSysimError("calibration needs SciPy; install mlsysim[calibrate]") from None
    found = [(case, work_of(case)) for case in cases(path) if case.split == "calibration"]
    rows = [(case, work) for case, work in found if work is not None]

    def errors(x: NDArray[np.float64]) -> NDArray[np.float64]:
        values = dict(zip(NAMES, x.tolist(), strict=True))
        return np.array(
            [np.log(case.watts / case.devices / power_of(case, work, case.seconds, values)) for case, work in rows]
        )

    solved: Any = least_squares(errors, START, bounds=BOUNDS, loss="soft_l1", f_scale=0.1)
    left = errors(solved.x)
    off = np.abs(np.exp(-left) - 1)
    return {
        "id": "power",
        "name": "Power of busy arithmetic and memory",
        "note": "shares of the design power; the idle share is that of a chip at work, clocks up, and was held at 0.5 or less",
        "sources": {
            "mlenergy": {
                "kind": "fitted", "title": "ML.ENERGY leaderboard v3, commit 0cd52da, rows of H100: mean power and time of a step",
                "url": "https://github.com/ml-energy/leaderboard", "date": "2026-11-24",
            },
        },
        "fits": [
            {
                "scope": "any", "kernel": "any", "devices": ["H100"], "architectures": ["hopper"], "n": len(rows),
                "source": "mlenergy", "median": float(f"{np.median(off):.3g}"),
                "p90": float(f"{np.quantile(off, 0.9):.3g}"), "sigma": float(f"{np.sqrt(np.mean(left**2)):.3g}"),
                "transfer": 0.1, "far": FAR,
                "values": {name: float(f"{value:.3g}") for name, value in zip(NAMES, solved.x, strict=True)},
            },
        ],
    }  # fmt: skip


def calibrate(out: Path, path: Path = FILE) -> None:
    """Fit and write the efficiency file."""
    write(document(path), out)
