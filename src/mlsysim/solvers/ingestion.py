"""Whether data keeps up: storage and links feed the chips (wall 8), host processors prepare samples (wall 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog.systems import Fleet, Node
from ..physics import storage
from ..record import total
from ..units import BytesPerSecond, Count, Fraction, Seconds
from .base import ForwardModel
from .border import Border, shape_of
from .limits import Limit
from .result import Question, Result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataResult(Result):
    """Bytes wanted and bytes that arrive. What the catalog does not know is NaN, and ``is_stalled`` is then None."""

    demand_bw: BytesPerSecond
    supply_bw: BytesPerSecond
    storage_bw: BytesPerSecond
    interconnect_bw: BytesPerSecond
    utilization: Fraction
    supply_known: bool
    is_stalled: Any

    @property
    def feasible(self) -> Any:
        """Whether data keeps up; None where that is unknown."""
        stalled = self.is_stalled
        return None if stalled is None else np.logical_not(stalled)[()]

    @property
    def bottleneck(self) -> Any:
        """``"Storage"`` or ``"Interconnect"``: the narrower of the two; ``"Unknown"`` where one is not known."""
        inside = self.si
        narrow = np.where(inside.storage_bw <= inside.interconnect_bw, "Storage", "Interconnect")
        named = np.broadcast_to(np.where(inside.supply_known, narrow, "Unknown"), self.shape)
        return named if self.shape else str(named)

    @total
    def margin(self) -> Fraction:
        """Bandwidth to spare over the bandwidth wanted; negative where data comes too slowly."""
        return self.supply_bw / self.demand_bw - 1

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to suffice."""
        inside = self.si
        return (Limit("data bandwidth", inside.demand_bw, inside.supply_bw, "byte/second"),)


class DataModel(ForwardModel):
    """Wall 8: data arrives no faster than the narrower of storage and host link."""

    walls = ((8, "Ingestion", "data"),)
    requires = ("hardware",)
    produces = DataResult
    misbeliefs = {
        "a faster chip trains faster": "past the point where storage keeps up it waits faster",
        "the link is fast, so data is": "the narrower of disk and link decides, and the disk usually is",
    }

    def solve(
        self,
        workload_data_rate: Any,
        hardware: Any,
        *,
        storage_bandwidth: Any = None,
        link_bandwidth: Any = None,
    ) -> DataResult:
        """Demand for data against the supply of storage and host link.

        Args:
            workload_data_rate: bytes a second that the work reads, with a unit; may be an array
            hardware: a device, a node or a fleet (all of its nodes together), or a name
            storage_bandwidth: bandwidth of the storage, where the catalog does not know it or another one is meant
            link_bandwidth: bandwidth of the host link, one direction, likewise

        Returns:
            Utilisation, whether work stalls, and which part is narrower. Unknown supply is said to be unknown.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = DataModel().solve("1 GB/s", "H100", storage_bandwidth="7 GB/s")
            >>> answer.is_stalled, answer.bottleneck, round(answer.utilization, 6)
            (False, 'Storage', 0.142857)
        """
        arguments = dict(workload_data_rate=workload_data_rate, hardware=hardware, storage_bandwidth=storage_bandwidth,
                         link_bandwidth=link_bandwidth)  # fmt: skip
        border = Border()
        demand = border.quantity("workload_data_rate", workload_data_rate, "byte/second")
        machine = border.machine(hardware)
        disk = link = None
        if storage_bandwidth is not None:
            disk = border.quantity("storage_bandwidth", storage_bandwidth, "byte/second")
        if link_bandwidth is not None:
            link = border.quantity("link_bandwidth", link_bandwidth, "byte/second")
        border.close()
        arguments["hardware"] = machine
        own_disk, own_link = _supply(machine)
        disk, link = own_disk if disk is None else disk, own_link if link is None else link
        supply = storage.narrowest_bandwidth(disk, link)
        known = ~np.isnan(supply)
        # Half of a supply can be enough to know that data does not keep up.
        most = np.fmin(disk, link)
        stalled: Any = np.where(known, demand > supply, demand > most)
        notes = tuple(
            f"the catalog does not know the {what} bandwidth of {machine.id}; pass {name}="
            for what, name, value in (
                ("storage", "storage_bandwidth", disk),
                ("host link", "link_bandwidth", link),
            )
            if np.any(np.isnan(value))
        )
        shape = shape_of(np.asarray(demand), np.asarray(supply))
        if not shape and not known:
            stalled = True if bool(demand > most) else None
        elif not np.all(known):
            notes += ("where supply_known is False, is_stalled False means unknown",)
        return DataResult(
            question=Question(type(self), arguments),
            shape=shape,
            notes=notes,
            demand_bw=demand,
            supply_bw=supply,
            storage_bw=disk,
            interconnect_bw=link,
            utilization=storage.supply_utilisation(demand, supply),
            supply_known=known,
            is_stalled=stalled if shape or stalled is None else bool(stalled),
        )


def _supply(machine: Any) -> tuple[Any, Any]:
    """Bandwidth of the storage and of the host links of a machine; NaN where unknown."""
    if isinstance(machine, Fleet):
        disk, link = _supply(machine.node)
        return disk * machine.si.count, link * machine.si.count
    if isinstance(machine, Node):
        disk, link = _supply(machine.accelerator)
        count, own = machine.si.accelerators_per_node, machine.si.storage_bandwidth
        return (own if own is not None else disk * count), link * count
    chip = machine.si
    return (
        np.nan if chip.storage_bandwidth is None else chip.storage_bandwidth,
        np.nan if chip.host_bandwidth is None else chip.host_bandwidth,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TransformationResult(Result):
    """Preparing a batch on the host against computing it on the accelerator."""

    transform_time: Seconds
    accelerator_time: Seconds
    step_time: Seconds
    accelerator_utilization: Fraction
    workers_needed: Count
    is_bottleneck: bool

    @total
    def slowdown_factor(self) -> Count:
        """How many times longer a step takes than the accelerator alone would."""
        return self.step_time / self.accelerator_time

    @property
    def feasible(self) -> Any:
        """Whether the host keeps up."""
        return np.logical_not(self.is_bottleneck)[()]

    @property
    def bottleneck(self) -> Any:
        """``"Transformation"`` or ``"Accelerator"``."""
        named = np.where(self.is_bottleneck, "Transformation", "Accelerator")
        return named if self.shape else str(named)


class TransformationModel(ForwardModel):
    """Wall 9: samples are decoded, augmented and packed on host processors."""

    walls = ((9, "Transformation", "data"),)
    requires = ()
    produces = TransformationResult
    misbeliefs = {
        "a loader hides its work": "it overlaps with the step; what is longer than the step still shows",
        "more workers always help": "until they feed the accelerator; past that they only take memory",
    }

    def solve(
        self,
        batch_size: Any,
        sample_size_bytes: Any,
        cpu_throughput: Any,
        accelerator_step_time: Any,
        *,
        cpu_workers: Any = 1,
        pipelined: bool = True,
    ) -> TransformationResult:
        """Time to prepare a batch against the time to compute it.

        Args:
            batch_size: samples of the batch; may be an array
            sample_size_bytes: size of a sample, with a unit
            cpu_throughput: bytes a second that one worker prepares, with a unit
            accelerator_step_time: time of a step on the accelerator, with a unit
            cpu_workers: workers that prepare samples side by side
            pipelined: whether the next batch is prepared while this one is computed

        Returns:
            Times, utilisation of the accelerator, slowdown, and the workers that would keep up.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = TransformationModel().solve(256, "500 kB", "2 GB/s", "50 ms")
            >>> answer.is_bottleneck, answer.accelerator_utilization, answer.workers_needed
            (True, 0.78125, 2.0)
        """
        arguments = dict(batch_size=batch_size, sample_size_bytes=sample_size_bytes, cpu_throughput=cpu_throughput,
                         accelerator_step_time=accelerator_step_time, cpu_workers=cpu_workers,
                         pipelined=pipelined)  # fmt: skip
        border = Border()
        samples = border.count("batch_size", batch_size)
        size = border.quantity("sample_size_bytes", sample_size_bytes, "byte")
        rate = border.quantity("cpu_throughput", cpu_throughput, "byte/second")
        step = border.quantity("accelerator_step_time", accelerator_step_time, "second")
        workers = border.count("cpu_workers", cpu_workers)
        overlapped = border.flag("pipelined", pipelined)
        border.close()
        each = storage.transform_time(samples, size, rate)
        preparing = storage.transform_time(samples, size, rate * workers)
        whole = np.maximum(step, preparing) if overlapped else step + preparing
        return TransformationResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(v) for v in (preparing, step))),
            transform_time=preparing,
            accelerator_time=step,
            step_time=whole,
            accelerator_utilization=storage.stalled_utilisation(step, whole),
            workers_needed=np.ceil(each / step),
            is_bottleneck=np.greater(preparing, step),
        )
