"""MLSys·im: how fast, how big, how dear, how green, how reliable is an ML system, from first principles.

Importing does nothing: every public name is loaded when it is first used.

Examples:
    >>> import mlsysim
    >>> answer = mlsysim.Engine.solve(mlsysim.Models.ResNet50, mlsysim.Hardware.A100)
    >>> answer.bottleneck
    'Memory'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "catalog": "Formats Hardware Infra Models Systems",
    "catalog.hardware": "ComputeCore Device IOInterconnect MemoryHierarchy StorageHierarchy",
    "catalog.build": "CNNWorkload DiffusionWorkload HardwareNode SSMWorkload SparseTransformerWorkload TransformerWorkload",
    "catalog.models": "ConvNet Diffusion Recommender StateSpace Transformer Workload",
    "catalog.systems": "DeploymentTier Fleet NetworkFabric Node",
    "catalog.infra": "Datacenter GridProfile RackProfile",
    "solvers": "AgentLoopModel BatchingOptimizer CheckpointModel CompressionModel ContinuousBatchingModel DataModel "
    "DistributedModel EconomicsModel EfficiencyModel Engine FineTuningModel GoodputModel InferenceScalingModel KVCacheModel "
    "MoERoutingModel NetworkRooflineModel OrchestrationModel ParallelismOptimizer PlacementOptimizer PostTrainingModel ReliabilityModel "
    "ResponsibleEngineeringModel RetrievalModel ScalingModel SensitivitySolver ServingCapacityModel ServingLoadModel ServingModel "
    "SingleNodeModel SpeculativeDecodingModel SustainabilityModel SynthesisSolver TailLatencyModel TopologyModel "
    "TrainingMemoryModel TrainingRunModel TrainingStep TrainingStepModel TransformationModel WeightStreamingModel",
    "solvers.base": "BaseOptimizer BaseResolver BaseSolver ForwardModel",
    "catalog.plans": "Plan SimulationConfig",
    "solvers.evaluation": "EvaluationLevel SystemEvaluation SystemEvaluator",
    "solvers.explainers": "DifferentialExplainer",
    "solvers.node": "PerformanceProfile",
    "solvers.pipeline": "Pipeline ResolverFactory",
    "solvers.plan_run": "evaluate_config evaluate_plan",
    "solvers.scenarios": "Applications Archetypes Scenario Scenarios load_config",
    "solvers.serving": "ServingResult",
    "solvers.training_config": "TrainingConfig training_question",
    "solvers.fits": "FitResult fits",
    "solvers.result": "Result ask_again",
    "search": "Axis DSE OptimizationRegistry Space optimize pareto select sweep",
    "units": "with_units",
    "workloads.importers": "import_model",
    "errors": "CatalogError CompositionError InfeasibleError InvalidInputError InvalidPlanError MLSysimError MissingExtraError "
    "MissingFactError SLAViolation UnitError UnknownEntryError UnsupportedWorkloadError",
}
_WHERE = {name: module for module, names in _HOMES.items() for name in names.split()}
_MODULES = {
    **{name: name for name in ("catalog", "errors", "fmt", "physics", "show", "solvers", "units", "workloads")},
    "sim": "solvers.simulation",
    "search": "search",
    "viz": "report.viz",
    "learn": "learn",
    "walls": "catalog.walls",
}
_SPECIAL = {"ureg", "Tiers"}

__all__ = sorted([*_WHERE, *_MODULES, *_SPECIAL])

if TYPE_CHECKING:
    from . import fmt as fmt
    from . import show as show
    from .catalog import Formats as Formats
    from .catalog import Hardware as Hardware
    from .catalog import Infra as Infra
    from .catalog import Models as Models
    from .catalog import Systems as Systems
    from .catalog.build import CNNWorkload as CNNWorkload
    from .catalog.build import DiffusionWorkload as DiffusionWorkload
    from .catalog.build import HardwareNode as HardwareNode
    from .catalog.build import SparseTransformerWorkload as SparseTransformerWorkload
    from .catalog.build import SSMWorkload as SSMWorkload
    from .catalog.build import TransformerWorkload as TransformerWorkload
    from .catalog.hardware import Device as Device
    from .catalog.models import Workload as Workload
    from .catalog.systems import Fleet as Fleet
    from .catalog.systems import Node as Node
    from .solvers.node import Engine as Engine
    from .solvers.node import PerformanceProfile as PerformanceProfile
    from .solvers.node import SingleNodeModel as SingleNodeModel
    from .solvers.serving import ServingModel as ServingModel
    from .solvers.serving import ServingResult as ServingResult
    from .workloads.importers import import_model as import_model


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
    elif name in _MODULES:
        value = import_module(f".{_MODULES[name]}", __name__)
    elif name == "ureg":
        value = import_module(".units", __name__).registry()
    elif name == "Tiers":
        value = import_module(".catalog", __name__).Systems.Tiers
    else:
        from .errors import alternatives, nearest

        near = nearest(name, __all__)
        hint = f"; did you mean {alternatives(near)}?" if near else ""
        raise AttributeError(f"module 'mlsysim' has no attribute {name!r}{hint}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
