"""Infrastructure: grids, racks, data centres, prices, component reliability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..units import (
    Count,
    CubicMetersPerJoule,
    Dollars,
    DollarsPerByte,
    DollarsPerJoule,
    DollarsPerSecond,
    DollarsPerToken,
    Fraction,
    KilogramsPerJoule,
    Seconds,
    Watts,
)
from .spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GridProfile(Spec):
    """An electricity grid and the usual data centre on it."""

    carbon_intensity: KilogramsPerJoule
    pue: Fraction
    wue: CubicMetersPerJoule | None = None
    ewif: CubicMetersPerJoule | None = None
    primary_source: str | None = None
    basis: str | None = None
    latitude: Count | None = None
    longitude: Count | None = None
    renewable_fraction: Fraction | None = None
    electricity_price: DollarsPerJoule | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RackProfile(Spec):
    """A rack: the power it feeds and how it is cooled."""

    power: Watts
    cooling: str
    units_height: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Datacenter(Spec):
    """A site on a grid, with its own PUE and WUE where published."""

    grid: GridProfile
    pue: Fraction | None = None
    wue: CubicMetersPerJoule | None = None
    provider: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Price(Spec):
    """A price on a page: a cloud instance, an API, storage or traffic."""

    provider: str | None = None
    instance: str | None = None
    accelerator: Any | None = None
    accelerators: Count | None = None
    price: DollarsPerSecond | None = None
    purchase_price: Dollars | None = None
    price_input: DollarsPerToken | None = None
    price_output: DollarsPerToken | None = None
    price_cached: DollarsPerToken | None = None
    price_egress: DollarsPerByte | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reliability(Spec):
    """Failures: the planning MTBF of a component, or a published count over a fleet."""

    mtbf: Seconds | None = None
    accelerators: Count | None = None
    duration: Seconds | None = None
    failures: Count | None = None
    component: str | None = None
