"""Facts: hardware, models, infrastructure and systems, one YAML file an entry, a source for every value."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CatalogError, alternatives, nearest
from .assumptions import ASSUMED
from .formats import NumberFormat
from .hardware import Device
from .infra import Datacenter, GridProfile, Price, RackProfile, Reliability
from .models import CLASSES, Workload
from .registry import Registry
from .spec import Spec
from .systems import DeploymentTier, Fleet, NetworkFabric, Node

__all__ = [
    "Defaults",
    "Formats",
    "Hardware",
    "Infra",
    "Models",
    "Systems",
    "add_entries",
    "registry_for",
    "registry_of",
    "textbook",
]


def _model_class(family: str, facts: Mapping[str, Any], label: str) -> type[Workload]:
    if "architecture" not in facts:
        raise CatalogError(f"{label}: values.architecture is missing; expected {alternatives(CLASSES)}")
    kind = str(facts["architecture"].value)
    if kind not in CLASSES:
        near = nearest(kind, CLASSES) or list(CLASSES)
        raise CatalogError(f"{label}: values.architecture: expected {alternatives(near)}, found {kind!r}")
    return CLASSES[kind]


def _by_family(classes: Mapping[str, type[Spec]]) -> Any:
    return lambda family, facts, label: classes[family]


Hardware = Registry(
    "hardware",
    {
        "cloud": "Cloud",
        "workstation": "Workstation",
        "cpu": "CPU",
        "mobile": "Mobile",
        "edge": "Edge",
        "tiny": "Tiny",
    },
    lambda family, facts, label: Device,
)
Models = Registry(
    "models",
    {
        "language": "Language",
        "multimodal": "Multimodal",
        "vision": "Vision",
        "speech": "Speech",
        "diffusion": "GenerativeVision",
        "recommendation": "Recommendation",
        "statespace": "StateSpace",
        "tiny": "Tiny",
    },
    _model_class,
)
_INFRA: dict[str, type[Spec]] = {
    "grids": GridProfile,
    "racks": RackProfile,
    "datacenters": Datacenter,
    "prices": Price,
    "reliability": Reliability,
}
Infra = Registry(
    "infra",
    dict(zip(_INFRA, ["Grids", "Racks", "Datacenters", "Pricing", "Reliability"], strict=True)),
    _by_family(_INFRA),
)
_SYSTEMS: dict[str, type[Spec]] = {"nodes": Node, "fabrics": NetworkFabric, "clusters": Fleet, "tiers": DeploymentTier}
Systems = Registry(
    "systems",
    dict(zip(_SYSTEMS, ["Nodes", "Fabrics", "Clusters", "Tiers"], strict=True)),
    _by_family(_SYSTEMS),
)


def _assumed_class(family: str, facts: Mapping[str, Any], label: str) -> type[Spec]:
    kind = Path(label).stem if family == "assumptions" else family
    if kind not in ASSUMED:
        raise CatalogError(f"{label}: no class of assumptions for {kind!r}; there are {alternatives(ASSUMED)}")
    return ASSUMED[kind]


Defaults = Registry(
    "assumptions",
    {
        "assumptions": "All",
        "scaling": "Scaling",
        "fidelity": "Fidelity",
        "utilisation": "Utilisation",
        "sustained": "Sustained",
    },
    _assumed_class,
)


@functools.cache
def textbook() -> Any:
    """What the textbook model takes for granted, as SI numbers."""
    return Defaults["Textbook"].si


Formats = Registry("formats", {"formats": "All"}, lambda family, facts, label: NumberFormat)


def registry_for(cls: type[Any]) -> Registry:
    """The registry that holds entries of a class."""
    if issubclass(cls, Workload):
        return Models
    if issubclass(cls, (GridProfile, RackProfile, Datacenter, Price, Reliability)):
        return Infra
    if issubclass(cls, (Node, NetworkFabric, Fleet, DeploymentTier)):
        return Systems
    return Formats if issubclass(cls, NumberFormat) else Hardware


def registry_of(kind: str) -> Registry:
    """The registry named ``hardware``, ``models``, ``infra``, ``systems`` or ``formats``."""
    return {"hardware": Hardware, "models": Models, "infra": Infra, "systems": Systems, "formats": Formats}[kind]


def add_entries(path: Path | str) -> list[Spec]:
    """Add a folder of your own entries, or one file.

    The folder holds ``hardware/``, ``models/``, ``infra/`` and ``systems/``, each with family folders as in the
    catalog, and ``efficiency/`` with files of ``mlsysim calibrate``; a folder without these holds devices. Nothing is
    added unless every file is sound.

    Raises:
        CatalogError: a file does not fit the schema, or there is none
    """
    root = Path(path)
    if not os.path.exists(root):  # also where the name is too long to exist
        raise CatalogError(f"{root}: no such file or folder")
    kinds = [kind for kind in ("hardware", "models", "infra", "systems") if (root / kind).is_dir()]
    fits = sorted((root / "efficiency").glob("*.yaml"))
    if not kinds and not fits:
        added = Hardware.add(root)
        return added if isinstance(added, list) else [added]
    from . import efficiency

    for file in fits:
        efficiency.read(file)
    found: list[Spec] = []
    for kind in kinds:
        found += registry_of(kind).add(root / kind)
    for file in fits:
        efficiency.add(file)
    return found
