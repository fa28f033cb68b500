"""Missions: a workload, the system it runs on, and what it has to keep to; and who deploys how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import CatalogError, MLSysimError, alternatives, nearest
from ..units import BytesPerSecond, Count, Fraction, PerSecond, Seconds, Watts
from .infra import GridProfile
from .models import Workload
from .registry import Registry
from .spec import Spec

JOBS = ("inference", "serving", "training")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mission(Spec):
    """What a system is for. ``job`` says what is done: one pass (inference), requests (serving), or training.

    ``sla_latency`` limits the pass, the time to first token, or the step; ``rate`` is how often a pass is wanted, and
    ``power_budget`` limits the mean power at that rate (of a pass itself where no rate is given).
    """

    description: str = ""
    workload: Workload
    system: Any
    job: str = "inference"
    batch_size: Count = 1.0
    seq_len: Count | None = None
    precision: str = "fp16"
    efficiency: Fraction = 0.5
    adapters: bool = False
    recompute: str = "none"
    rate: PerSecond | None = None
    data_rate: BytesPerSecond | None = None
    sla_latency: Seconds | None = None
    power_budget: Watts | None = None
    target_accuracy: Fraction | None = None
    region: GridProfile | None = None

    def __post_init__(self) -> None:
        """The system by name, and values given in Python."""
        Spec.__post_init__(self)
        set_ = object.__setattr__
        if isinstance(self.workload, str):
            from . import Models

            set_(self, "workload", Models[self.workload])
        if not isinstance(self.system, Spec):
            set_(self, "system", _machine(str(self.system), self.id))
        if self.job not in JOBS:
            near = nearest(self.job, JOBS) or JOBS
            raise CatalogError(f"{self.id}: job: expected {alternatives(near)}, found {self.job!r}")

    @property
    def is_distributed(self) -> bool:
        """Whether the system is a fleet."""
        return hasattr(self.system, "node")

    @property
    def hardware(self) -> Any:
        """The device at work."""
        if self.is_distributed:
            return self.system.node.accelerator
        return getattr(self.system, "accelerator", self.system)

    @property
    def mission_goal(self) -> str:
        """What it is for."""
        return self.description

    @property
    def critical_constraint(self) -> str:
        """What it has to keep to."""
        found = []
        if self.sla_latency is not None:
            found.append(f"latency at most {self.si.sla_latency * 1e3:g} ms")
        if self.power_budget is not None:
            found.append(f"power at most {self.si.power_budget * 1e3:g} mW")
        return ", ".join(found) or "memory"

    @property
    def ram(self) -> Any:
        """Memory of the device."""
        return self.hardware.memory_capacity


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Persona(Spec):
    """Who deploys: how many devices, of which kind."""

    scale: Count
    description: str = ""


def _machine(name: str, owner: str) -> Any:
    """A device or a system by name."""
    from . import Hardware, Systems

    try:
        return Hardware[name] if name in Hardware or name not in Systems else Systems[name]
    except MLSysimError as error:
        raise CatalogError(f"{owner}: system: {error}") from None


MISSION_FAMILIES = {"tiny": "Tiny", "edge": "Edge", "mobile": "Mobile", "workstation": "Workstation", "cloud": "Cloud"}

Personas = Registry("personas", {"personas": "All"}, lambda family, facts, label: Persona)
