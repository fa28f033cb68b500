"""Questions to answers: one module a wall or two. Every resolver is found here by its name."""

from __future__ import annotations

import functools
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ..errors import UnknownEntryError, nearest

RESOLVERS = {
    "AgentLoopModel": "agents",
    "BatchingOptimizer": "optimize_batching",
    "CheckpointModel": "checkpoint",
    "CompressionModel": "compression",
    "ContinuousBatchingModel": "batching",
    "DataModel": "ingestion",
    "DistributedModel": "distributed",
    "EconomicsModel": "economics",
    "EfficiencyModel": "efficiency",
    "Engine": "node",
    "FineTuningModel": "finetuning",
    "GoodputModel": "reliability",
    "InferenceScalingModel": "reasoning",
    "KVCacheModel": "kv_cache",
    "MoERoutingModel": "moe",
    "NetworkRooflineModel": "network_roofline",
    "OrchestrationModel": "orchestration",
    "ParallelismOptimizer": "optimize_parallelism",
    "PlacementOptimizer": "optimize_placement",
    "PostTrainingModel": "post_training",
    "ReliabilityModel": "reliability",
    "ResponsibleEngineeringModel": "responsible",
    "RetrievalModel": "agents",
    "ScalingModel": "scaling",
    "SensitivitySolver": "sensitivity",
    "ServingCapacityModel": "capacity",
    "ServingLoadModel": "load",
    "ServingModel": "serving",
    "SingleNodeModel": "node",
    "SpeculativeDecodingModel": "kv_cache",
    "SustainabilityModel": "sustainability",
    "SynthesisSolver": "synthesis",
    "TailLatencyModel": "tail",
    "TopologyModel": "topology",
    "TrainingMemoryModel": "training_memory",
    "TrainingRunModel": "training_run",
    "TrainingStep": "training",
    "TrainingStepModel": "training_step",
    "TransformationModel": "ingestion",
    "WeightStreamingModel": "streaming",
}

GROUP = "mlsysim.solvers"
"""Entry points of this group are resolvers of other packages."""

__all__ = [*RESOLVERS]


@functools.cache
def _plugins() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in RESOLVERS}


def list_available() -> list[str]:
    """Names of every resolver, those of installed plugins included.

    Examples:
        >>> "ServingModel" in list_available()
        True
    """
    return sorted([*RESOLVERS, *_plugins()])


def resolver_named(name: str) -> Any:
    """The resolver class of that name; a package adds its own under the entry-point group ``mlsysim.solvers``.

    Examples:
        >>> resolver_named("ServingModel").__name__
        'ServingModel'
    """
    if name in RESOLVERS:
        return getattr(import_module(f".{RESOLVERS[name]}", __name__), name)
    if name in _plugins():
        return _plugins()[name].load()
    raise UnknownEntryError("resolver", name, nearest(name, list_available()))


def __getattr__(name: str) -> Any:
    if name in RESOLVERS:
        return resolver_named(name)
    raise AttributeError(f"module 'mlsysim.solvers' has no attribute {name!r}")
