"""Flags of a training job, each read once: what was used, what was not, and what is wrong, told together."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidInputError, InvalidPlanError, alternatives, nearest, told

LARGEST = 1e15
"""A count above this is a slip of the pen; runs of today read some 1e13 tokens."""
FALSE = ("false", "no", "off", "0")
OFF = (*FALSE, "none", "null", "0.0", "[]", "{}", "")
DEEPEST = 24


class Flags:
    """Values by canonical name, each with the name that the file calls it; reading a value marks it as read."""

    __slots__ = ("_seen", "data", "label", "names", "problems", "read")

    def __init__(self, label: str, data: Mapping[str, Any], names: Mapping[str, str] | None = None) -> None:
        self.label, self.data = label, dict(data)
        self.names = dict(names or {})
        self.problems: list[str] = []
        self.read: list[str] = []
        self._seen: set[str] = set()

    def shown(self, name: str) -> str:
        """What the file calls a flag."""
        return self.names.get(name, name)

    def get(self, *names: str) -> Any:
        """The first value that is given, as it stands; None where there is none or where it is null."""
        for name in names:
            if self.data.get(name) is not None:
                value: Any = self.data[name]
                if name not in self._seen:
                    self._seen.add(name)
                    self.read.append(f"{self.shown(name)} = {_short(value)}")
                return value[0] if isinstance(value, list) and value else value
        return None

    def whole(self, *names: str) -> list[Any]:
        """The value that is given as a list, whatever it holds."""
        self.get(*names)
        value: Any = next((self.data[name] for name in names if self.data.get(name) is not None), [])
        return value if isinstance(value, list) else [value]

    def count(self, *names: str, default: Any = None, least: int = 1) -> Any:
        """A whole number; a value that only the launcher knows (``"auto"``, ``-1``) counts as not given."""
        value = self.get(*names)
        if value is None or value == "auto" or (value in (-1, "-1") and least >= 0):
            return default
        try:
            if isinstance(value, bool) or len(str(value)) > 40:
                raise ValueError
            number = float(value)
            if not (least <= number <= LARGEST and number == int(number)):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            name = next(name for name in names if self.data.get(name) is not None)
            wanted = f"{self.shown(name)}: expected a whole number of at least {least}, found {told(value)}"
            if isinstance(value, str) and "$" in value:
                wanted += ", which the file does not define"
            self.problems.append(wanted)
            return default
        return int(number)

    def flag(self, *names: str, default: bool = False) -> bool:
        """True or false; a flag without a value is true."""
        value = self.get(*names)
        if value is None or value == "auto":
            return default
        if isinstance(value, bool):
            return value
        word = str(value).lower()
        return word not in FALSE

    def word(self, *names: str, default: str | None = None) -> str | None:
        """A word in lower case."""
        value = self.get(*names)
        return default if value is None or value == "auto" else str(value).lower()

    def choice(self, allowed: Mapping[str, Any], *names: str, default: Any = None) -> Any:
        """What one of a few words stands for."""
        word = self.word(*names)
        if word is None:
            return default
        if word not in allowed:
            name = next(name for name in names if self.data.get(name) is not None)
            near = nearest(word, allowed) or list(allowed)[:4]
            self.problems.append(
                f"{self.shown(name)}: expected {alternatives(list(allowed))}, found {told(word)}; "
                f"did you mean {alternatives(near)}?"
            )
            return default
        return allowed[word]

    def unread(self, harmless: re.Pattern[str]) -> list[str]:
        """Flags that nobody read, less those that are switched off and those that change neither time nor memory."""
        left = [name for name in self.data if name not in self._seen and str(self.data[name]).lower() not in OFF]
        return [f"{self.shown(name)} = {_short(self.data[name])}" for name in left if not harmless.search(name)]

    def close(self) -> None:
        """Raise every fault found.

        Raises:
            InvalidInputError: values that are missing or make no sense
        """
        if self.problems:
            raise InvalidInputError([f"{self.label}: {problem}" for problem in dict.fromkeys(self.problems)])


def _short(value: Any) -> str:
    text = "yes" if value is True else "no" if value is False else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def flattened(tree: Mapping[Any, Any], before: str = "", deep: int = 0) -> dict[str, Any]:
    """Leaves of nested mappings by dotted path.

    Raises:
        InvalidInputError: nested too deep

    Examples:
        >>> flattened({"model": {"num_layers": 12, "optim": {"name": "adam"}}})
        {'model.num_layers': 12, 'model.optim.name': 'adam'}
    """
    if deep > DEEPEST:
        raise InvalidInputError(f"a configuration of at most {DEEPEST} levels was expected, found more")
    found: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{before}{key}"
        found.update(flattened(value, f"{path}.", deep + 1) if isinstance(value, Mapping) else {path: value})
    return found


@dataclass(frozen=True, slots=True)
class Given:
    """What the caller says besides the file; it counts more than the file."""

    model: Any = None
    gpus: int | None = None
    seq_len: int | None = None
    batch_size: int | None = None
    microbatch_size: int | None = None
    vocab: int | None = None

    def over(self, names: Mapping[str, str]) -> dict[str, Any]:
        """Values by the names that a kind of file has for them."""
        return {name: getattr(self, key) for key, name in names.items() if getattr(self, key) is not None}


@dataclass(slots=True)
class Job:
    """What a reader found, before it is dealt over GPUs."""

    model: Any = None
    gpus: int | None = None
    tp: int = 1
    pp: int = 1
    cp: int = 1
    ep: int = 1
    chunks: int = 1
    micro: int = 1
    passes: int | None = None
    """Micro-batches of one accumulation, where the file says how many."""
    accumulation: int | None = None
    batch: int | None = None
    seq_len: int = 1
    precision: str = "bf16"
    zero: int = 0
    recompute: str = "none"
    schedule: str = "1f1b"
    optimizer: str = "adam"
    sequence_parallel: bool = True
    fused_attention: bool = True
    overlap: bool = False
    lora_rank: int | None = None
    stack: str = "megatron"
    expert_tp: int | None = None
    shard_group: int | None = None
    offload: str = "none"
    offload_param: str = "none"
    offload_layers: int | None = None
    steps: int | None = None
    samples: int | None = None
    remarks: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    """Flags that are understood and not modelled."""


def dealt(label: str, job: Job, gpus: int | None) -> tuple[int, int, int, int]:
    """GPUs, data-parallel ranks, the batch of a step, and micro-batches of a rank in it.

    Raises:
        InvalidInputError: no number of GPUs
        InvalidPlanError: ranks that do not divide GPUs, or a batch that does not divide over ranks
    """
    parts = job.tp * job.pp * job.cp
    kinds = f"tensor {job.tp} x pipeline {job.pp} x context {job.cp}"
    total = gpus if gpus is not None else job.gpus
    if total is None:
        raise InvalidInputError(f"{label}: the number of GPUs is not told; pass gpus={parts} or a multiple")
    if total % parts:
        near = [n for n in (total // parts * parts, (total // parts + 1) * parts) if n]
        raise InvalidPlanError(
            f"{label}: {kinds} does not divide {total} GPUs; pass gpus={' or '.join(map(str, near))}"
        )
    data = total // parts
    # experts lie over all ranks of a stage (Megatron-Core): expert ranks x tensor ranks of an expert x copies
    split = job.tp if job.expert_tp is None else job.expert_tp
    ranks = data * job.cp * job.tp
    if ranks % (job.ep * split):
        near = sorted(
            {n for n in range(1, min(ranks, 4096) + 1) if ranks % (n * split) == 0}, key=lambda n: (abs(n - job.ep), n)
        )
        more = math.lcm(parts, job.pp * job.ep * split)
        raise InvalidPlanError(
            f"{label}: {job.ep} expert ranks of {split} tensor-parallel ranks do not divide the {ranks} ranks of a stage; "
            + (f"nearby: {alternatives([str(n) for n in sorted(near[:3])])} expert ranks, or " if near else "pass ")
            + f"gpus={more}"
        )
    share = data * job.micro
    accumulation = job.accumulation if job.accumulation is not None else 1
    batch = job.batch
    if batch is None:
        batch = share * (job.passes or 1) * accumulation
    if batch % share:
        near = [n for n in (batch // share * share, (batch // share + 1) * share) if n]
        raise InvalidPlanError(
            f"{label}: a global batch of {batch} does not divide over {data} data-parallel ranks x micro-batches of "
            f"{job.micro}; nearby: {alternatives([str(n) for n in near])}"
        )
    count = batch // share
    asked = (job.passes or 1) * accumulation
    if (job.passes or job.accumulation) and job.batch is not None and count != asked:
        raise InvalidPlanError(
            f"{label}: a global batch of {batch} over {data} data-parallel ranks x micro-batches of {job.micro} is "
            f"{count} micro-batches, not {asked}; nearby: a global batch of {share * asked}"
        )
    return total, data, batch, count
