"""The scoreboard of collectives inside a node or rack."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Hardware
from ..errors import MissingFactError
from ..machine.exchange import FAMILY as EXCHANGE
from ..machine.exchange import LOW_LATENCY, NORMAL, WIDTH
from ..machine.measured import MeasuredMachine
from ..physics.moe import distinct_destinations
from .data import FOLDER, Table, read_table
from .kernels import BLACKWELL, FOREIGN, Predictions, foreign_library, one, predict, predictions, scores_of
from .statistics import Z90, Score, score

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
        if grouped:
            found += by_kernel(done, "all_reduce", split, rows)
    return found


def by_kernel(done: Predictions, family: str, split: str, rows: NDArray[np.bool_]) -> list[Score]:
    """Scores of each kernel of a family; rows that the host launched one by one are kernels of their own."""
    mine = rows & (done.family == family)
    kernels = sorted(set(done.kernel[mine].tolist()))
    return [one(done, family, split, f"kernel={kernel}", mine & (done.kernel == kernel)) for kernel in kernels]


def exchange_scores(splits: Iterable[str] = ("calibration", "holdout", FOREIGN), grouped: bool = True) -> list[Score]:
    """Dispatch and combine of experts, by kernels made for it."""
    found: list[Score] = []
    for split in splits:
        done = predict(EXCHANGE, library=foreign_library()) if split == FOREIGN else predictions(EXCHANGE)
        rows = np.isin(done.table["gpu"], BLACKWELL) if split == FOREIGN else done.table["split"] == split
        found += scores_of(done, split, rows, grouped)
        if grouped:
            found += by_kernel(done, EXCHANGE, split, rows)
    return found


H800_LINK, H800_NIC = 200e9, 50e9
"""One direction of NVLink and of the network of each device, as the makers of DeepEP state them."""
TOKENS, HIDDEN, TOPK, EXPERTS, MOST_NODES = (4096.0, 128.0), 7168.0, 8.0, 256.0, 4.0
"""Their test: tokens of a rank under normal and low-latency kernels, a layer of DeepSeek-V3, and nodes that a token visits."""


def deepep_score() -> Score:
    """DeepEP on H800, from its README: times of the low-latency kernels, bandwidths of the others; never fitted.

    Low-latency kernels went over the network alone, inside a node too. A bandwidth is that of the bottleneck, NVLink in a
    node and the network across: bytes of the tokens that each rank receives there, over the time.
    """
    table = read_table(FOLDER / "measurements" / "collectives.csv.gz")
    told = np.char.startswith(table["id"], "deepep1-")
    table = table.where(told & np.char.startswith(table["collective"], "moe_"))
    machine = MeasuredMachine(Hardware["H800"])
    predicted, sigma, light, measured = (np.full(len(table), np.nan) for _ in range(4))
    for row in range(len(table)):
        phase = str(table["collective"][row]).removeprefix("moe_")
        fast = "-ll-" in str(table["id"][row])
        ranks, nodes = float(table["n_devices"][row]), float(table["n_nodes"][row])
        tokens = TOKENS[fast]
        timing = machine.exchange(
            phase, tokens, HIDDEN, TOPK, EXPERTS, ranks, ranks if fast else nodes, network=H800_NIC,
            kernel=LOW_LATENCY if fast else NORMAL, link_bandwidth=H800_LINK, most_nodes=MOST_NODES,
        )  # fmt: skip
        value = float(table["value"][row])
        if fast:
            predicted[row], measured[row], light[row] = timing.time, value * 1e-6, timing.floor
        else:
            places = distinct_destinations(ranks if nodes == 1 else min(nodes, MOST_NODES), TOPK)
            received = tokens * places * HIDDEN * WIDTH[phase]
            predicted[row], measured[row], light[row] = timing.time, received / (value * 1e9), timing.floor
        sigma[row] = timing.sigma
    return score(EXCHANGE, "elsewhere", "all", predicted, measured, sigma, light)


def joined(parts: list[Predictions]) -> Predictions:
    """Predictions of several tables as one; columns that all have."""
    names = set.intersection(*(set(part.table.columns) for part in parts))
    table = Table({name: np.concatenate([part.table[name] for part in parts]) for name in sorted(names)})
    fields = ("family", "kernel", "predicted", "sigma", "roofline", "measured")
    return Predictions(table, *(np.concatenate([getattr(part, field) for part in parts]) for field in fields))


@dataclass(frozen=True, slots=True)
class Nodes:
    """What nodes of eight devices are sold with: bandwidth of one adapter and of a whole node, one direction."""

    device: str
    least: tuple[float, float] | None = None
    most: tuple[float, float] | None = None

    def share(self, ranks: Any) -> tuple[Any, Any]:
        """A device's part of the network with so many ranks on each node, and how uncertain it is (of the log).

        The middle of what is sold, and a sigma whose 90 % interval reaches from the least to the most.
        """
        if self.least is None or self.most is None:
            raise MissingFactError(f"nodes of {self.device}: network unknown")
        low, high = (np.minimum(adapter, node / ranks) for adapter, node in (self.least, self.most))
        return np.sqrt(low * high), np.log(high / low) / (2 * Z90)


SYSTEMS = {
    "A100 SXM 80GB DGX": Nodes("A100", (12.5e9, 12.5e9), (25e9, 200e9)),
    "H100 SXM 80GB DGX": Nodes("H100", (25e9, 100e9), (50e9, 400e9)),
    "A100 PCIe pairwise NVLink": Nodes("A100_PCIe"),
    "H100 PCIe/NVL pairwise NVLink": Nodes("H100_PCIe"),
}
"""Systems of other sources, whose network is not stated.

Least: one adapter of 100 Gbit/s a node (Google A2) and one of 200 Gbit/s for two devices (A3 High), Google Cloud, Networking
and GPU machines, https://cloud.google.com/compute/docs/gpus/gpu-network-bandwidth. Most: an adapter of 200 Gbit/s a device
(Azure ND A100 v4) and of 400 Gbit/s (the vendor's own H100 system).
"""


def elsewhere_scores() -> list[Score]:
    """All-reduce and point-to-point measured by others, in one node and across two; never fitted.

    Their network is not stated, so the interval of what crosses it spans what such nodes are sold with.
    """
    table = read_table(FOLDER / "measurements" / "collectives.csv.gz")
    known = np.isin(table["hardware"], list(SYSTEMS)) & np.isin(table["collective"], ["all_reduce", "send_recv"])
    # Between bridged cards the source times a message faster than the link can carry it: not the time of a transfer.
    known &= (table["collective"] == "all_reduce") | np.char.endswith(table["hardware"], "DGX")
    table = table.where(known & (table["metric"] == "latency") & (table["unit"] == "ms"))
    measured = np.array([float(value) for value in table["value"]]) * 1e-3
    sizes, ranks, nodes = (
        np.array([float(v) for v in table[name]]) for name in ("message_bytes", "n_devices", "n_nodes")
    )
    predicted, sigma, light = (np.full(len(table), np.nan) for _ in range(3))
    for (hardware, collective), rows in table.groups("hardware", "collective"):
        system = SYSTEMS[hardware]
        machine = MeasuredMachine(Hardware[system.device])
        kind = "p2p" if collective == "send_recv" else collective
        for across in (False, True):
            chosen = rows[(nodes[rows] > 1) == across]
            if not len(chosen):
                continue
            where: dict[str, Any] = {}
            unknown: Any = 0.0
            if across:
                share, unknown = system.share(ranks[chosen] / nodes[chosen])
                where = {"domain": "cross", "nodes": nodes[chosen], "link_bandwidth": share}
            timing = machine.collective(kind, sizes[chosen], ranks[chosen], algorithm="nccl", **where)
            predicted[chosen], light[chosen] = timing.time, timing.floor
            sigma[chosen] = np.hypot(timing.sigma, unknown)
    found = []
    for collective in ("all_reduce", "send_recv"):
        for group, inside in (("domain=node", nodes == 1), ("domain=cross", nodes > 1)):
            mask = inside & (table["collective"] == collective)
            found.append(
                score(collective, "elsewhere", group, predicted[mask], measured[mask], sigma[mask], light[mask])
            )
    return [*found, deepep_score()]
