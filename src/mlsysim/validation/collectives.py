"""The scoreboard of collectives inside a node or rack."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..catalog import Hardware
from ..machine.measured import MeasuredMachine
from .data import FOLDER, Table, read_table
from .kernels import BLACKWELL, FOREIGN, Predictions, foreign_library, predict, scores_of
from .statistics import Score, score

COLLECTIVE_TABLES = ("nccl", "custom_allreduce")


def collective_scores(splits: Iterable[str] = ("calibration", "holdout", FOREIGN), grouped: bool = True) -> list[Score]:
    """All-reduce (of general libraries and of serving stacks), all-gather, reduce-scatter and all-to-all.

    Args:
        splits: ``calibration``, ``holdout``, or ``ampere_hopper_to_blackwell``
        grouped: also by device, library and number of ranks
    """
    found: list[Score] = []
    kept = joined([predict(name) for name in COLLECTIVE_TABLES])
    for split in splits:
        done = kept
        rows = done.table["split"] == split
        if split == FOREIGN:
            done = joined([predict(name, library=foreign_library()) for name in COLLECTIVE_TABLES])
            rows = np.isin(done.table["gpu"], BLACKWELL)
        found += scores_of(done, split, rows, grouped)
    return found


def joined(parts: list[Predictions]) -> Predictions:
    """Predictions of several tables as one; columns that all have."""
    names = set.intersection(*(set(part.table.columns) for part in parts))
    table = Table({name: np.concatenate([part.table[name] for part in parts]) for name in sorted(names)})
    fields = ("family", "kernel", "predicted", "sigma", "roofline", "measured")
    return Predictions(table, *(np.concatenate([getattr(part, field) for part in parts]) for field in fields))


NICS = {"A100 SXM 80GB DGX": ("A100", 25e9), "H100 SXM 80GB DGX": ("H100", 50e9)}
"""Systems of other sources: the device, and one device's share of the network, one direction, of the vendor's DGX."""


def elsewhere_scores() -> list[Score]:
    """All-reduce and point-to-point measured by others on DGX systems, in one node and across two; never fitted.

    Their network is not stated; it is taken as that of the vendor's system, one adapter a device.
    """
    table = read_table(FOLDER / "measurements" / "collectives.csv.gz")
    known = np.isin(table["hardware"], list(NICS)) & np.isin(table["collective"], ["all_reduce", "send_recv"])
    table = table.where(known & (table["metric"] == "latency") & (table["unit"] == "ms"))
    measured = np.array([float(value) for value in table["value"]]) * 1e-3
    sizes, ranks, nodes = (
        np.array([float(v) for v in table[name]]) for name in ("message_bytes", "n_devices", "n_nodes")
    )
    predicted, sigma, light = (np.full(len(table), np.nan) for _ in range(3))
    for (hardware, collective), rows in table.groups("hardware", "collective"):
        device, network = NICS[hardware]
        machine = MeasuredMachine(Hardware[device])
        kind = "p2p" if collective == "send_recv" else collective
        for across in (False, True):
            chosen = rows[(nodes[rows] > 1) == across]
            if not len(chosen):
                continue
            where: dict[str, Any] = (
                {"domain": "cross", "nodes": nodes[chosen], "link_bandwidth": network} if across else {}
            )
            timing = machine.collective(kind, sizes[chosen], ranks[chosen], algorithm="nccl", **where)
            predicted[chosen], sigma[chosen], light[chosen] = timing.time, timing.sigma, timing.floor
    found = []
    for collective in ("all_reduce", "send_recv"):
        for group, inside in (("domain=node", nodes == 1), ("domain=cross", nodes > 1)):
            mask = inside & (table["collective"] == collective)
            found.append(
                score(collective, "elsewhere", group, predicted[mask], measured[mask], sigma[mask], light[mask])
            )
    return found
