"""This machine, measured in seconds: arithmetic by a matrix product, memory by a triad, and what the system says of itself.

The figures are what NumPy reaches here and now, with everything else that runs; they are not a datasheet's peak.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog.hardware import Device
from ..errors import MissingFactError
from ..record import Record
from ..units import Bytes, BytesPerSecond, Count, FlopPerSecond, Seconds

SIDE = 1536
"""Side of the matrices: a product of 7 GFLOP, long enough that its start costs nothing."""

ARRAY = 64e6
"""Bytes of each array of the triad for each thread: several times any cache of its core."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HostProfile(Record):
    """What this machine is and what it reached."""

    system: str
    cpu: str
    python: str
    numpy: str
    blas: str
    cores: Count
    threads: Count
    memory_capacity: Bytes
    fp32_flops: FlopPerSecond
    fp64_flops: FlopPerSecond
    copy_bandwidth: BytesPerSecond
    triad_bandwidth: BytesPerSecond
    dispatch_latency: Seconds
    accelerators: tuple[str, ...] = field(default=())

    def device(self) -> Device:
        """This machine as a device of the catalog, so that any solver answers for it."""
        inside = self.si
        return Device.define(
            "This machine",
            reason=f"measured here with NumPy {self.numpy}",
            release_year=time.localtime().tm_year,
            vendor=self.cpu,
            peak_fp32=f"{inside.fp32_flops:.6e} FLOP/s",
            peak_fp64=f"{inside.fp64_flops:.6e} FLOP/s",
            memory_capacity=f"{inside.memory_capacity:.6e} B",
            memory_bandwidth=f"{inside.triad_bandwidth:.6e} B/s",
            dispatch_latency=f"{inside.dispatch_latency:.6e} s",
        )


def profile(seconds: float = 2.0) -> HostProfile:
    """Measure this machine.

    Args:
        seconds: about how long to measure; each figure is the best of what fits in a quarter of it
    """
    threads = available_cores()
    share = max(seconds, 0.1) / 4
    return HostProfile(
        system=f"{platform.system()} {platform.release()}",
        cpu=cpu_name(),
        python=platform.python_version(),
        numpy=np.__version__,
        blas=_blas(),
        cores=float(os.cpu_count() or 1),
        threads=float(threads),
        memory_capacity=memory_capacity(),
        fp32_flops=_product_rate(np.float32, share),
        fp64_flops=_product_rate(np.float64, share),
        copy_bandwidth=_bandwidth(threads, share, 2.0, _copy),
        triad_bandwidth=_bandwidth(threads, share, 5.0, _triad),
        dispatch_latency=_call_time(),
        accelerators=accelerators(),
    )


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _best(work: Callable[[], Any], seconds: float) -> float:
    """The shortest of as many runs as fit, after one to warm up."""
    work()
    shortest, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        work()
        stop = time.perf_counter()
        shortest = min(shortest, stop - start)
        if stop >= end:
            return shortest


def _product_rate(kind: Any, seconds: float) -> float:
    left, right = np.ones((SIDE, SIDE), dtype=kind), np.ones((SIDE, SIDE), dtype=kind)
    out = np.empty_like(left)
    return 2.0 * SIDE**3 / _best(lambda: np.matmul(left, right, out=out), seconds)


def _copy(arrays: Any) -> None:
    np.copyto(arrays[0], arrays[1])


def _triad(arrays: Any) -> None:
    """a = b + s c in two passes of NumPy: it moves 5 arrays, not the 3 of a fused loop."""
    np.multiply(arrays[2], 3.0, out=arrays[0])
    np.add(arrays[0], arrays[1], out=arrays[0])


def _bandwidth(threads: int, seconds: float, moved: float, work: Callable[[Any], None]) -> float:
    """Bytes a second of all threads together, counting each array once for each time it is read or written."""
    size = min(ARRAY, memory_capacity() / (16 * threads))
    length = int(size // 8)
    sets = [[np.full(length, float(value)) for value in range(3)] for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:  # NumPy lets go of the interpreter lock inside these loops
        shortest = _best(lambda: list(pool.map(work, sets)), seconds)
    return moved * 8 * length * threads / shortest


def _call_time() -> float:
    small = np.zeros(8)
    repeats = 2000
    return _best(lambda: [np.add(small, small, out=small) for _ in range(repeats)], 0.02) / repeats


def cpu_name() -> str:
    """The processor, as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Hardware", "cpu model"):
                return value.strip()
    except OSError:
        pass
    return _asked("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or platform.machine() or "unknown"


def memory_capacity() -> float:
    """Bytes of main memory, or of the limit that a container sets below it.

    Raises:
        MissingFactError: the system does not say
    """
    found = []
    try:
        found.append(float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    except (ValueError, OSError, AttributeError):
        text = _asked("sysctl", "-n", "hw.memsize")
        if text.isdigit():
            found.append(float(text))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit() and int(text) > 0:
            found.append(float(text))
    if not found:
        raise MissingFactError("this system does not say how much memory it has")
    return min(found)


def accelerators() -> tuple[str, ...]:
    """Accelerators that the vendors' tools report; none where there is no such tool."""
    lines = _asked("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader").splitlines()
    amd = _asked("rocm-smi", "--showproductname", "--csv").splitlines()[1:]
    return tuple(line.strip() for line in (*lines, *amd) if line.strip())


def _asked(*command: str) -> str:
    """What a tool prints; empty where it is missing, fails or hangs."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return out.stdout.strip() if out.returncode == 0 else ""


def _blas() -> str:
    try:
        config: Any = np.show_config(mode="dicts")
        found = config["Build Dependencies"]["blas"]
        return f"{found['name']} {found.get('version', '')}".strip()
    except (TypeError, KeyError):
        return "unknown"
