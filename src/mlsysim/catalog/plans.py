"""A plan in a YAML file: what runs where, for how long, and what has to hold. Read, checked, and as a JSON Schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import CatalogError, InvalidInputError, MLSysimError, alternatives, nearest
from ..units import si
from . import Formats, Hardware, Infra, Models, Systems, yaml_file
from .metrics import METRICS, known_metric

Whole = Annotated[int, Field(ge=1, le=10**12)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=200)]


class Part(BaseModel):
    """A part of a plan; a key that it does not know is a fault."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True, protected_namespaces=())


class PlanWorkload(Part):
    """What runs."""

    name: Text = Field(description="a model of the zoo")
    job: Literal["inference", "serving", "training"] | None = Field(
        None, description="one pass, requests, or training; training where several accelerators work, else inference"
    )
    batch_size: Whole = Field(1, description="samples or requests together; of the whole fleet in training")
    seq_len: Whole | None = Field(None, description="tokens of context; 2,048 unless said")
    sla_latency: str | None = Field(None, description='limit of the pass, the TTFT or the step, as "200 ms"')
    rate: Positive | None = Field(None, description="passes wanted each second")
    data_rate: str | None = Field(None, description='data read, as "1 GB/s"')

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        return _named(Models, value)

    @field_validator("sla_latency", "data_rate")
    @classmethod
    def _quantity(cls, value: str | None, info: Any) -> str | None:
        units = {"sla_latency": "second", "data_rate": "byte/second"}
        return _checked(value, units[info.field_name], info.field_name)


class PlanRun(Part):
    """How the work is split and done."""

    precision: Text = Field("fp16", description="number format")
    efficiency: Annotated[float, Field(gt=0, le=1)] | Literal["measured"] = Field(
        0.5, description="share of the arithmetic peak reached, or measured: operator by operator (serving)"
    )
    tp: Whole | None = Field(None, description="tensor-parallel ranks; with no split given the best one is searched")
    pp: Whole | None = Field(None, description="pipeline stages")
    ep: Whole | None = Field(None, description="expert-parallel ranks")
    cp: Whole | None = Field(None, description="context-parallel ranks")
    microbatches: Whole | None = Field(None, description="micro-batches of a step")
    zero: Annotated[int, Field(ge=0, le=3)] | None = Field(None, description="ZeRO stage")
    recompute: Literal["none", "selective", "full"] | None = Field(None, description="activation recomputation")
    adapters: bool = Field(False, description="train low-rank adapters only")
    kv_precision: Text | None = Field(None, description="number format of the KV cache")
    power_budget: str | None = Field(None, description='most mean power of a device, as "100 mW"')

    @field_validator("efficiency", mode="before")
    @classmethod
    def _share(cls, value: Any) -> Any:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value != "measured" and not (number and 0 < value <= 1):
            raise ValueError(f"expected a number in (0, 1] or measured, found {value!r}")
        return value

    @field_validator("precision", "kv_precision")
    @classmethod
    def _format(cls, value: str | None) -> str | None:
        if value is not None:
            _named(Formats, value)
        return value

    @field_validator("power_budget")
    @classmethod
    def _watts(cls, value: str | None) -> str | None:
        return _checked(value, "watt", "power_budget")


class PlanHardware(PlanRun):
    """Accelerators of one kind: one, or as many as said, in nodes."""

    name: Text = Field(description="a device of the zoo")
    accelerators: Whole = Field(1, description="how many; `nodes` is read as the same number")
    node: Text | None = Field(None, description="the node they sit in; one of the zoo that has this device unless said")
    fabric: Text = Field("InfiniBand_NDR", description="the network between nodes")

    @model_validator(mode="before")
    @classmethod
    def _nodes(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "nodes" in values:
            if "accelerators" in values:
                raise ValueError("give accelerators or nodes, not both (both count accelerators)")
            return {("accelerators" if key == "nodes" else key): value for key, value in values.items()}
        return values

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        return _named(Hardware, value)

    @field_validator("node", "fabric")
    @classmethod
    def _system(cls, value: str | None) -> str | None:
        return None if value is None else _named(Systems, value)


class PlanFleet(PlanRun):
    """A cluster of the zoo, or nodes of one kind."""

    name: Text | None = Field(None, description="a cluster of the zoo")
    node: Text | None = Field(None, description="a node of the zoo, where no cluster is named")
    count: Whole | None = Field(None, description="nodes; all of the cluster unless said")
    fabric: Text = Field("InfiniBand_NDR", description="the network between nodes, where no cluster is named")

    @field_validator("name", "node", "fabric")
    @classmethod
    def _system(cls, value: str | None) -> str | None:
        return None if value is None else _named(Systems, value)

    @model_validator(mode="after")
    def _one(self) -> PlanFleet:
        if (self.name is None) == (self.node is None):
            raise ValueError("give either the name of a cluster, or a node and a count")
        if self.node is not None and self.count is None:
            raise ValueError("count is missing: how many nodes")
        return self


class PlanOps(Part):
    """Where it stands, for how long, at which prices."""

    region: Text | None = Field(None, description="a grid or a data centre of the zoo")
    duration_days: Positive = Field(30.0, description="span of costs and emissions, in days")
    kwh_price: Annotated[float, Field(ge=0)] | None = Field(None, description="USD/kWh; the grid's own unless said")
    unit_price_usd: Annotated[float, Field(ge=0)] | None = Field(None, description="price of one accelerator")
    carbon_price_per_ton: Annotated[float, Field(ge=0)] = Field(0.0, description="USD a tonne")
    host_share: Annotated[float, Field(ge=0)] = Field(0.0, description="power of hosts over that of accelerators")

    @field_validator("region")
    @classmethod
    def _region(cls, value: str | None) -> str | None:
        return None if value is None else _named(Infra, value)


class PlanAssertion(Part):
    """A number that has to hold."""

    metric: Text = Field(
        description="path of a number, as performance.step_latency", json_schema_extra={"enum": list(METRICS)}
    )
    max: float | str | None = Field(None, description='most, in the unit of the metric, or a text such as "2 s"')
    min: float | str | None = Field(None, description="least, likewise")
    unit: str | None = Field(None, description="unit of max and min where it is not that of the metric")

    @field_validator("metric")
    @classmethod
    def _known(cls, value: str) -> str:
        return _metric(value)

    @model_validator(mode="after")
    def _bounds(self) -> PlanAssertion:
        if self.max is None and self.min is None:
            raise ValueError("give max or min")
        self.limits()
        return self

    def limits(self) -> tuple[float | None, float | None]:
        """Least and most, in the unit of the metric."""
        return self._in_unit(self.min), self._in_unit(self.max)

    def _in_unit(self, bound: float | str | None) -> float | None:
        if bound is None:
            return None
        own = METRICS[self.metric][0]
        if isinstance(bound, str) or self.unit is not None:
            text = bound if isinstance(bound, str) else f"{bound!r} {self.unit}"
            value = float(si(text, own or "1", self.metric)) / float(si(f"1 {own}", own or "1", self.metric))
        else:
            value = float(bound)
        if not math.isfinite(value):
            raise ValueError(f"expected a finite bound, found {bound}")
        return value


class PlanConstraints(Part):
    """What has to hold."""

    asserted: list[PlanAssertion] = Field(default_factory=list, alias="assert", description="numbers with bounds")


class Plan(Part):
    """A whole plan."""

    version: str = Field(description="of the format; 1")
    name: Text = Field(description="what to call it")
    workload: PlanWorkload
    hardware: PlanHardware | None = None
    fleet: PlanFleet | None = None
    ops: PlanOps | None = Field(None, description="costs and emissions are skipped without it")
    constraints: PlanConstraints = Field(default_factory=PlanConstraints)

    @field_validator("version", mode="before")
    @classmethod
    def _version(cls, value: Any) -> str:
        text = str(value)
        if text.split(".")[0] not in ("0", "1"):
            raise ValueError(f"expected version 1, found {text}")
        return text

    @model_validator(mode="after")
    def _machine(self) -> Plan:
        if (self.hardware is None) == (self.fleet is None):
            raise ValueError("give either hardware or fleet")
        return self

    @classmethod
    def read(cls, path: Path | str) -> Plan:
        """The plan in a YAML file.

        Raises:
            CatalogError: the file does not fit: every fault in one line, with the nearest known name
        """
        return cls.of(yaml_file.read(Path(path)), str(path))

    @classmethod
    def of(cls, values: Mapping[str, Any], label: str = "plan") -> Plan:
        """The plan of plain data."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise CatalogError(f"{label}: " + "; ".join(_faults(cls, error))) from None


class SimulationConfig(Part):
    """One device, or as many as said, and a model on it."""

    model: Text
    hardware: Text
    batch_size: Whole = 1
    precision: Text = "fp16"
    efficiency: Annotated[float, Field(gt=0, le=1)] = 0.5
    fleet_size: Whole = 1
    fabric: Text = "100GbE"
    region: Text = "US_Avg"
    duration_days: Positive = 30.0

    @field_validator("model", "hardware", "precision", "fabric", "region")
    @classmethod
    def _known(cls, value: str, info: Any) -> str:
        homes = {"model": Models, "hardware": Hardware, "precision": Formats, "fabric": Systems, "region": Infra}
        _named(homes[info.field_name], value)
        return value

    @classmethod
    def load(cls, values: Mapping[str, Any]) -> SimulationConfig:
        """The configuration of plain data, checked."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise InvalidInputError(_faults(cls, error)) from None


def plan_schema() -> dict[str, Any]:
    """The JSON Schema of a plan.

    Examples:
        >>> plan_schema()["required"]
        ['version', 'name', 'workload']
    """
    found = Plan.model_json_schema(by_alias=True)
    count = found["$defs"]["PlanHardware"]["properties"]["accelerators"]
    found["$defs"]["PlanHardware"]["properties"]["nodes"] = {**count, "description": "the same as accelerators"}
    found["properties"]["version"]["type"] = ["string", "number"]
    one = [{"required": ["hardware"]}, {"required": ["fleet"]}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "oneOf": one}


def is_plan(values: Mapping[str, Any]) -> bool:
    """Whether a YAML document is meant as a plan rather than as an entry of the catalog."""
    return "workload" in values or ("values" not in values and bool({"constraints", "ops", "fleet"} & set(values)))


def _named(registry: Any, name: str) -> str:
    """The id of an entry; an unknown name is a fault like any other, told with the rest."""
    try:
        return str(registry[name].id)
    except MLSysimError as error:
        raise ValueError(str(error)) from None


def _metric(path: str) -> str:
    try:
        return known_metric(path)
    except MLSysimError as error:
        raise ValueError(str(error)) from None


def _checked(value: str | None, unit: str, name: str) -> str | None:
    if value is not None and not 0 < float(si(value, unit, name)) < math.inf:
        raise ValueError(f"expected a positive quantity, found {value}")
    return value


def _faults(model: type[BaseModel], error: ValidationError) -> list[str]:
    """Every fault as where, what was wanted, what was found, and the nearest name."""
    found = []
    for fault in error.errors():
        where = ".".join(str(step) for step in fault["loc"])
        inner = fault.get("ctx", {}).get("error")
        if fault["type"] == "extra_forbidden":
            known = _keys(model, fault["loc"][:-1])
            near = nearest(str(fault["loc"][-1]), known)
            hint = f"did you mean {alternatives(near)}?" if near else f"known are {', '.join(known)}"
            found.append(f"{where}: unknown key; {hint}")
        elif isinstance(inner, (ValueError, MLSysimError)):
            found.append(f"{where}: {inner}" if where else str(inner))
        elif fault["type"] == "missing":
            found.append(f"{where}: is missing")
        else:
            told = fault["msg"][0].lower() + fault["msg"][1:]
            shown = repr(fault["input"])
            found.append(f"{where}: {told}, found {shown if len(shown) <= 60 else type(fault['input']).__name__}")
    return list(dict.fromkeys(found))


def _keys(model: type[BaseModel], steps: tuple[Any, ...]) -> list[str]:
    """Keys that a part of a plan may have."""
    place: Any = model
    for step in steps:
        if isinstance(step, int):
            continue
        for name, field in place.model_fields.items():
            if step in (name, field.alias):
                place = _model_in(field.annotation)
    return [field.alias or name for name, field in place.model_fields.items()]


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_model_in(part) for part in getattr(annotation, "__args__", ())]
    return next((part for part in inner if part is not None), None)
