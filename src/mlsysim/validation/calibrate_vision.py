"""Fit the efficiencies of vision networks: one set of parameters a runtime, then one a device, drawn towards it.

Only rows marked ``calibration`` are read: at most ten a device, of workstations, processors and edge devices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Hardware
from ..machine.chip import chip_of
from .efficiency_file import write
from .fitting import drawn
from .vision import FILE, Case, cases, seconds

BOUNDS: Mapping[str, tuple[float, float]] = {
    "compute": (0.02, 0.95), "products": (0.02, 0.95), "memory": (0.1, 1.1), "partial": (0.01, 2.0),
    "launch": (1e-7, 1e-4), "tail": (0.001, 8.0), "passes": (0.05, 6.0), "depthwise": (0.02, 1.2),
    "attention": (0.01, 1.2), "vector": (0.01, 1.2), "cache_gain": (0.01, 6.0),
}  # fmt: skip
PRIOR: Mapping[str, float] = {
    "compute": 0.5, "products": 0.65, "memory": 0.75, "partial": 0.5, "launch": 3e-6, "tail": 3.0, "passes": 1.0,
    "depthwise": 0.4, "attention": 0.3, "vector": 0.3, "cache_gain": 1.0,
}  # fmt: skip
PRIORS: Mapping[str, Mapping[str, float]] = {
    "eager_nchw": {"tail": 4.0, "passes": 1.5},
    "eager_nhwc": {"tail": 4.0, "passes": 1.5},
    "compiled_nchw": {"tail": 2.0, "passes": 1.0},
    "engine": {"tail": 0.01, "passes": 0.33, "launch": 2.5e-6, "compute": 0.6, "cache_gain": 2.0},
    "processor": {"tail": 1.0, "launch": 5e-6, "compute": 0.6, "memory": 0.6},
}
"""Where the parameters of a runtime start: unfused normalisation and activation read and write twice, fused once less."""
FULL_RATE = ("ampere", "hopper", "blackwell", "volta", "other")
"""Generations whose peak is that of the multiprocessor, unlike that of GeForce parts."""
MARKED = "at most ten rows a device (marked calibration in vision.csv.gz)"
SCALE = 0.1
"""Log error beyond which a row counts by its size rather than by its square."""
SPREAD, OWN = 0.5, 0.12
"""How far a parameter may go from the prior, and that of a device from its runtime's, before it costs as much as a row."""


def errors(rows: Sequence[Case], values: Mapping[str, float]) -> NDArray[np.float64]:
    """Log of measured over predicted."""
    return np.array([np.log(case.seconds / seconds(case, values)) for case in rows])


def fit(rows: Sequence[Case], prior: Mapping[str, float], spread: float) -> dict[str, float]:
    """Parameters for some rows, drawn towards a prior.

    Raises:
        MissingExtraError: SciPy is not installed
    """
    return drawn(lambda values: errors(rows, values), prior, spread, BOUNDS, SCALE, 3, max_nfev=40)


def document(path: Path = FILE) -> dict[str, Any]:
    """The efficiency file that the calibration rows give."""
    rows = [case for case in cases(path) if case.split == "calibration"]
    fits: list[dict[str, Any]] = []
    for kernel, start in PRIORS.items():
        mine = [case for case in rows if case.kernel == kernel]
        devices = sorted({case.hardware for case in mine})
        prior = {**PRIOR, **start}
        shared = fit(mine, prior, SPREAD)
        left = [
            errors([case for case in mine if case.hardware == out],
                   fit([case for case in mine if case.hardware != out], prior, SPREAD))
            for out in devices
        ]  # fmt: skip
        off = errors(mine, shared)
        beyond = float(np.sqrt(np.mean(np.concatenate(left) ** 2)))
        for device in devices:
            its = [case for case in mine if case.hardware == device]
            own = fit(its, shared, OWN)
            fits.append(_entry(device, kernel, [device], errors(its, own), own, float(np.sqrt(np.mean(off**2))), 0.0))
        if kernel not in ("engine", "processor"):
            halved = {**shared, "compute": float(f"{shared['compute'] / 2:.3g}")}
            fits += [
                {"scope": scope, "kernel": kernel, "source": "half", "sigma": 0.4, "transfer": 0.0, "values": halved}
                for scope in FULL_RATE
            ]
        fits.append(_entry("any", kernel, devices, off, shared, float(np.sqrt(np.mean(off**2))), beyond))
    return {
        "id": "convolution",
        "name": "Networks of convolutions and products, by runtime",
        "note": "a kernel is a runtime: PyTorch eager or compiled (channels first or last), an engine built ahead, a processor",
        "sources": {
            "timm": {
                "kind": "fitted", "title": f"Inference results of pytorch-image-models, commit aa4b5850, {MARKED}",
                "url": "https://github.com/huggingface/pytorch-image-models/tree/main/results", "date": "2026-11-24",
            },
            "half": {
                "kind": "assumed", "title": "The share of the peak that convolutions reach on chips of the data centre",
                "reason": "GeForce parts add up in FP32 at half the rate of the same multiprocessor in a data-centre "
                "part, so the kernels that keep one busy reach about half the share of the other's peak; no run of "
                "PyTorch on such a part is among the rows", "date": "2026-11-24",
            },
            "mlperf": {
                "kind": "fitted", "title": f"MLPerf inference 2.1 and 5.1, closed division, three devices, {MARKED}",
                "url": "https://github.com/mlcommons/inference_results_v5.1", "date": "2026-11-24",
            },
        },
        "fits": fits,
    }  # fmt: skip


def _entry(
    scope: str, kernel: str, devices: list[str], off: NDArray[np.float64], values: dict[str, float], floor: float,
    beyond: float,
) -> dict[str, Any]:  # fmt: skip
    """One fit; a device's own few rows cannot claim less spread than half of what its runtime shows."""
    spread = float(f"{max(float(np.sqrt(np.mean(off**2))), floor / 2, 0.1):.3g}")
    error = np.abs(np.exp(-off) - 1)
    return {
        "scope": scope, "kernel": kernel, "devices": devices,
        "architectures": sorted({chip_of(Hardware[name]).architecture for name in devices}),
        "n": len(off), "source": "mlperf" if kernel == "engine" else "timm",
        "median": float(f"{np.median(error):.3g}"), "p90": float(f"{np.quantile(error, 0.9):.3g}"), "sigma": spread,
        "transfer": float(f"{max(beyond**2 - spread**2, 0.0) ** 0.5:.3g}"),
        "far": float(f"{max(beyond, 0.35):.3g}"), "values": values,
    }  # fmt: skip


def calibrate(out: Path, path: Path = FILE) -> None:
    """Fit and write the efficiency file."""
    write(document(path), out)
