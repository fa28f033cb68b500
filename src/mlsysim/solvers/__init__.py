"""Questions to answers: one module a wall or two. Every resolver is found here by its name."""

from __future__ import annotations

from importlib import import_module
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
    "ReliabilityModel": "reliability",
    "ResponsibleEngineeringModel": "responsible",
    "RetrievalModel": "agents",
    "ScalingModel": "scaling",
    "SensitivitySolver": "sensitivity",
    "ServingCapacityModel": "capacity",
    "ServingModel": "serving",
    "SingleNodeModel": "node",
    "SpeculativeDecodingModel": "kv_cache",
    "SustainabilityModel": "sustainability",
    "SynthesisSolver": "synthesis",
    "TailLatencyModel": "tail",
    "TopologyModel": "topology",
    "TrainingMemoryModel": "training_memory",
    "TrainingStep": "training",
    "TransformationModel": "ingestion",
    "WeightStreamingModel": "streaming",
}

__all__ = [*RESOLVERS]


def resolver_named(name: str) -> Any:
    """The resolver class of that name.

    Examples:
        >>> resolver_named("ServingModel").__name__
        'ServingModel'
    """
    if name not in RESOLVERS:
        raise UnknownEntryError("resolver", name, nearest(name, RESOLVERS))
    return getattr(import_module(f".{RESOLVERS[name]}", __name__), name)


def __getattr__(name: str) -> Any:
    if name in RESOLVERS:
        return resolver_named(name)
    raise AttributeError(f"module 'mlsysim.solvers' has no attribute {name!r}")
