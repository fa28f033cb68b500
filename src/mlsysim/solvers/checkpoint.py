"""What a checkpoint weighs, how long it takes to write, and what that costs (wall 19)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog.systems import Fleet, Node
from ..errors import MissingFactError
from ..physics import storage
from ..record import total
from ..units import Bytes, BytesPerSecond, Fraction, Plain, Seconds
from .base import ForwardModel
from .border import Border, shape_of
from .reliability import timed
from .result import Question, Result

OPTIMIZERS: dict[str, tuple[float, float, float, float]] = {
    "adam": (2.0, 4.0, 4.0, 4.0),
    "adamw": (2.0, 4.0, 4.0, 4.0),
    "adam8bit": (2.0, 4.0, 1.0, 1.0),
    "lion": (2.0, 4.0, 4.0, 0.0),
    "momentum": (0.0, 4.0, 4.0, 0.0),
    "sgd": (0.0, 4.0, 0.0, 0.0),
}
"""Bytes for each parameter of the working copy, the master copy and two moments. SGD is saved in full precision only."""

LONG = 60.0
"""A write longer than this, in seconds, is called a bottleneck (the specification's mark)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckpointResult(Result):
    """A training checkpoint: size, time, and the share of the machine's time it takes."""

    checkpoint_size: Bytes
    write_bandwidth: BytesPerSecond
    write_time: Seconds
    stall_time: Seconds
    checkpoint_interval: Seconds
    mfu_penalty: Fraction
    max_bandwidth_required: BytesPerSecond
    writer_bandwidth: BytesPerSecond
    filesystem_bandwidth: BytesPerSecond
    storage_bottleneck: Any
    feasible: Any

    @total
    def write_time_seconds(self) -> Plain:
        """The time to write, in seconds."""
        return self.write_time

    @total
    def mfu_penalty_pct(self) -> Plain:
        """Time lost to checkpoints, in per cent."""
        return self.mfu_penalty * 100

    @property
    def bottleneck(self) -> Any:
        """``"Writers"`` or ``"Filesystem"``: the narrower; ``"Unknown"`` where the writers' storage is not known."""
        inside = self.si
        named = np.where(inside.writer_bandwidth <= inside.filesystem_bandwidth, "Writers", "Filesystem")
        named = np.where(np.isnan(inside.writer_bandwidth), "Unknown", named)
        return np.broadcast_to(named, self.shape) if self.shape else str(named)


class CheckpointModel(ForwardModel):
    """Wall 19: the state of training must reach storage in a small part of the time between two checkpoints."""

    walls = ((19, "Checkpoint", "operations"),)
    requires = ("workload", "hardware")
    produces = CheckpointResult
    misbeliefs = {
        "a checkpoint is as large as the model": "the optimizer's state is saved too: seven times the 16-bit weights for Adam",
        "asynchronous checkpoints are free": "the copy to host memory stalls, and the write must end before the next begins",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        optimizer: str = "adam",
        checkpoint_interval_hours: Any = 4,
        n_writers: Any = 1,
        filesystem_limit_gbs: Any = 500,
        *,
        storage_bandwidth: Any = None,
        asynchronous: bool = False,
        snapshot_bandwidth: Any = None,
    ) -> CheckpointResult:
        """Size of a checkpoint, the time to write it, and the share of time lost.

        Args:
            model: an entry of ``Models`` or its name
            hardware: what each writer runs on: a device, a node or a fleet, or a name
            optimizer: ``adam``, ``adamw``, ``adam8bit``, ``lion``, ``momentum`` or ``sgd``
            checkpoint_interval_hours: time between checkpoints, in hours or with a unit; may be an array
            n_writers: writers of a part each
            filesystem_limit_gbs: bandwidth of the shared file system in GB/s, or with a unit
            storage_bandwidth: write bandwidth of one writer, where the catalog does not know it or another is meant
            asynchronous: copy to host memory, go on, and write in the background
            snapshot_bandwidth: bandwidth of that copy for each writer; the host link of its hardware unless said

        Returns:
            Size, time to write, time that training stalls, and the share of time lost. Where the storage is not known,
            the size stands and the times are NaN; not feasible where a write does not end before the next begins.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once
            MissingFactError: the model's parameters are not in the catalog

        Examples:
            >>> answer = CheckpointModel().solve("Llama3_70B", "H100", storage_bandwidth="7 GB/s")
            >>> print(f"{answer.checkpoint_size.to('GB'):.0f~P} {answer.write_time.to('s'):.0f~P}")
            988 GB 141 s
        """
        arguments = dict(model=model, hardware=hardware, optimizer=optimizer,
                         checkpoint_interval_hours=checkpoint_interval_hours, n_writers=n_writers,
                         filesystem_limit_gbs=filesystem_limit_gbs, storage_bandwidth=storage_bandwidth,
                         asynchronous=asynchronous, snapshot_bandwidth=snapshot_bandwidth)  # fmt: skip
        border = Border()
        network, machine = border.model(model), border.machine(hardware)
        kind = border.choice("optimizer", optimizer, tuple(OPTIMIZERS))
        interval = timed(border, "checkpoint_interval_hours", checkpoint_interval_hours, 3600.0)
        writers = border.count("n_writers", n_writers)
        if isinstance(filesystem_limit_gbs, str) or hasattr(filesystem_limit_gbs, "units"):
            shared = border.quantity("filesystem_limit_gbs", filesystem_limit_gbs, "byte/second")
        else:
            shared = border.number("filesystem_limit_gbs", filesystem_limit_gbs, least=1e-9) * 1e9
        disk = link = None
        if storage_bandwidth is not None:
            disk = border.quantity("storage_bandwidth", storage_bandwidth, "byte/second")
        if snapshot_bandwidth is not None:
            link = border.quantity("snapshot_bandwidth", snapshot_bandwidth, "byte/second")
        background = border.flag("asynchronous", asynchronous)
        border.close()
        arguments.update(model=network, hardware=machine)
        parameters = network.si.parameters
        if parameters is None:
            raise MissingFactError(
                f"{network.id}: no parameter count in the catalog; pass model.replace(parameters=...)"
            )
        own_disk, own_link = _bandwidths(machine)
        disk, link = own_disk if disk is None else disk, own_link if link is None else link
        notes: tuple[str, ...] = ()
        if np.any(np.isnan(disk)):
            notes = (f"the catalog does not know the storage bandwidth of {machine.id}; pass storage_bandwidth=",)
        size = storage.checkpoint_size(parameters, *OPTIMIZERS[kind])
        time = storage.checkpoint_write_time(size, writers, disk, shared)
        stall = time
        if background:
            stall = storage.checkpoint_write_time(size, writers, link)
            if np.any(np.isnan(link)):
                notes += (f"the catalog does not know the host link of {machine.id}; pass snapshot_bandwidth=",)
        unknown = np.isnan(time)
        done = time <= interval
        slow = time > LONG
        shape = shape_of(*(np.asarray(v) for v in (time, stall, interval, size)))
        if not np.all(done | unknown):
            notes += ("a write takes longer than the time between checkpoints",)
        return CheckpointResult(
            question=Question(type(self), arguments),
            shape=shape,
            notes=notes,
            checkpoint_size=size,
            write_bandwidth=storage.narrowest_bandwidth(writers * disk, shared),
            write_time=time,
            stall_time=stall,
            checkpoint_interval=interval,
            mfu_penalty=storage.checkpoint_overhead(stall, interval),
            max_bandwidth_required=size / interval,
            writer_bandwidth=writers * disk,
            filesystem_bandwidth=shared,
            storage_bottleneck=None if not shape and unknown else slow,
            feasible=None if not shape and unknown else done,
        )


def _bandwidths(machine: Any) -> tuple[Any, Any]:
    """Storage and host-link bandwidth of one writer: a device, or a node of accelerators that share its storage."""
    if isinstance(machine, Fleet):
        return _bandwidths(machine.node)
    if isinstance(machine, Node):
        disk, link = _bandwidths(machine.accelerator)
        count, own = machine.si.accelerators_per_node, machine.si.storage_bandwidth
        return (own if own is not None else np.nan * disk), link * count
    chip = machine.si
    return (
        np.nan if chip.storage_bandwidth is None else chip.storage_bandwidth,
        np.nan if chip.host_bandwidth is None else chip.host_bandwidth,
    )
