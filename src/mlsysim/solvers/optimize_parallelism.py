"""The best way to split a training step over a fleet, by enumeration of all of them (wall 14)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Defaults, Infra, textbook
from ..catalog.systems import Fleet
from ..errors import InvalidPlanError, MissingFactError
from ..machine.textbook import Wiring, peak_in, power_terms, wiring
from ..physics import carbon, cost, energy, roofline
from ..record import total
from ..units import Bytes, Count, Dollars, FlopPerSecond, Fraction, Joules, Kilograms, PerSecond, Seconds
from ..workloads.training import OPTIMIZERS, RECOMPUTE, Work, work_of
from . import plan_rules, plan_search
from . import training_offload as offloading
from .base import BaseOptimizer
from .border import Border
from .distributed import recomputation
from .limits import Limit
from .result import Question, Result
from .training_plan import Machine, Recipe, Times, recipe_for, sample_flops

OBJECTIVES = ("time", "cost", "carbon")
SEARCHED = ("1f1b", "interleaved", "zero-bubble", "dualpipe")
TERMS = ("compute", "tp", "ep", "cp", "pp", "dp", "bubble", "update")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ParallelismResult(Result):
    """The best plan, the ones after it, and why it wins."""

    best_config: Mapping[str, Any]
    best_mfu: Fraction
    best_step_time: Seconds
    best_memory: Bytes
    memory_capacity: Bytes
    batch: Count
    chips: Count
    peak: FlopPerSecond
    step_energy: Joules
    step_cost: Dollars
    step_carbon: Kilograms
    objective_value: Any
    search_space_size: Count
    total_searched: Count
    feasible_plans: Count
    terms: Mapping[str, Any]
    next_terms: Mapping[str, Any]
    next_config: Mapping[str, Any]
    next_value: Any
    top_candidates: tuple[Mapping[str, Any], ...]
    objective: str
    feasible: bool

    @total
    def best_throughput(self) -> PerSecond:
        """Samples a second of the whole fleet."""
        return self.batch / self.best_step_time

    @property
    def why(self) -> list[str]:
        """How far the next plan is and where it differs, then what the best one gains and loses by term, largest first."""
        if not self.next_terms:
            return []
        other = ", ".join(
            f"{name} {value}" for name, value in self.next_config.items() if value != self.best_config[name]
        )
        far = self.si.next_value / self.si.objective_value - 1
        change = {name: self.next_terms[name] - self.terms[name] for name in TERMS}
        order = sorted(change, key=lambda name: -abs(change[name]))
        return [f"the next plan ({other}) takes {far:.2%} more {self.objective}"] + [
            f"{name}: {abs(change[name]) * 1e3:.4g} ms {'less' if change[name] > 0 else 'more'} than the next plan"
            for name in order
            if abs(change[name]) > 1e-9
        ]

    @property
    def bottleneck(self) -> Any:
        """The longest part of the best plan's step."""
        return max(self.terms, key=lambda name: self.terms[name])

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit."""
        inside = self.si
        return (Limit("memory per device", inside.best_memory, inside.memory_capacity, "byte"),)


class ParallelismOptimizer(BaseOptimizer):
    """Wall 14 turned round: which plan makes chips wait least, among all that fit."""

    walls = ((14, "Communication", "fleet"),)
    requires = ("workload", "fleet")
    produces = ParallelismResult
    misbeliefs = {
        "more tensor parallelism is always faster": "it talks in every layer; past the node it talks over the network",
        "the plan with the least memory is the best": "spare memory is better spent on larger micro-batches",
        "the best plan of one cluster is the best of another": "links, memory and batch move the optimum",
    }

    def solve(
        self,
        model: Any,
        fleet: Any,
        batch_size: Any,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        max_tp: Any = None,
        max_pp: Any = None,
        overlap_comm: Any = True,
        *,
        seq_len: Any = 2048,
        activation_recomputation: Any = None,
        zero_stage: Any = None,
        max_cp: Any = None,
        max_microbatch: Any = None,
        overlap_efficiency: Any = 0.85,
        fused_attention: Any = True,
        optimizer: Any = "adam",
        schedule: Any = None,
        offload: Any = "none",
        objective: Any = "time",
        use_all: Any = None,
        top: Any = 5,
    ) -> ParallelismResult:
        """Enumerate every plan of data, tensor, pipeline, expert and context ranks, and keep the best that fits.

        Exact: every divisor of the fleet, micro-batch size, schedule with its chunks, ZeRO stage, recomputation and place of the
        optimizer's states is evaluated.

        Args:
            model: a transformer (or a model trained data-parallel only) of ``Models`` or its name
            fleet: a fleet or a node, or its name
            batch_size: samples of one optimizer step
            precision: number format of the arithmetic
            efficiency: share of the arithmetic peak that kernels reach, in (0, 1]
            max_tp: most tensor-parallel ranks; a node's chips unless said
            max_pp: most pipeline stages; the model's layers unless said
            overlap_comm: hide data-parallel traffic behind the backward pass
            seq_len: tokens of a sequence
            activation_recomputation: fix it to none, selective or full; None to search
            zero_stage: fix it; None to search 0, 1, 2 and 3
            max_cp: most context-parallel ranks; a node's chips unless said
            max_microbatch: most samples of a micro-batch; 8 unless said
            overlap_efficiency: the largest share of the traffic that can hide
            fused_attention: attention scores are never stored
            optimizer: whose states are kept
            schedule: fix it to 1f1b, interleaved, zero-bubble or dualpipe; None to search all of them
            offload: where the optimizer's states lie: none, cpu or nvme; None to search none and cpu
            objective: least ``"time"``, ``"cost"`` (chips and electricity) or ``"carbon"`` (electricity) of a step
            use_all: whether every chip must work; None: yes for time, while cost and carbon may leave some to others
            top: candidates to keep

        Returns:
            The best plan with its figures, the next ones, and ``why`` it wins; ``feasible`` False where none fits.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once
            InvalidPlanError: no plan divides the batch
            MissingFactError: a price, power or grid that the objective needs is unknown

        Examples:
            >>> answer = ParallelismOptimizer().solve("Llama3_8B", "Research_256", 1024)
            >>> answer.feasible, answer.best_config["tp"]
            (True, 1)
        """
        arguments = dict(model=model, fleet=fleet, batch_size=batch_size, precision=precision, efficiency=efficiency,
                         max_tp=max_tp, max_pp=max_pp, overlap_comm=overlap_comm, seq_len=seq_len,
                         activation_recomputation=activation_recomputation, zero_stage=zero_stage, max_cp=max_cp,
                         max_microbatch=max_microbatch, overlap_efficiency=overlap_efficiency,
                         fused_attention=fused_attention, optimizer=optimizer, schedule=schedule, offload=offload,
                         objective=objective, use_all=use_all, top=top)  # fmt: skip
        border = Border()
        spec, machine = border.model(model), plan_rules.fleet_of(border, fleet)
        number = border.format(precision)
        batch, tokens = _scalar(border, "batch_size", batch_size), _scalar(border, "seq_len", seq_len)
        eta = border.fraction("efficiency", efficiency)
        hidden = border.fraction("overlap_efficiency", overlap_efficiency, closed=True)
        limits = {name: None if value is None else _scalar(border, name, value) for name, value in (
            ("max_tp", max_tp), ("max_pp", max_pp), ("max_cp", max_cp), ("max_microbatch", max_microbatch))}  # fmt: skip
        stage = None if zero_stage is None else border.count("zero_stage", zero_stage, least=0, most=3)
        recompute = None if activation_recomputation is None else recomputation(border, activation_recomputation)
        overlap, fused = border.flag("overlap_comm", overlap_comm), border.flag("fused_attention", fused_attention)
        update = border.choice("optimizer", optimizer, tuple(OPTIMIZERS))
        order = None if schedule is None else border.choice("schedule", schedule, SEARCHED)
        place = None if offload is None else border.choice("offload", offload, offloading.PLACES)
        goal = border.choice("objective", objective, OBJECTIVES)
        everything = goal == "time" if use_all is None else border.flag("use_all", use_all)
        kept = border.one_count("top", top, most=1000)
        if any(value is not None and np.ndim(value) for value in (eta, hidden, stage)):
            border.problems.append("a search takes single numbers; ask it once for each point of a sweep")
        border.close()
        arguments.update(model=spec, fleet=machine)
        wires = wiring(machine, textbook().link_latency)
        peak, notes = peak_in(wires.chip, number)
        work = work_of(spec, tokens)
        recipe, more = recipe_for(number, work, update)
        assumed, chip = Defaults["Training"].si, wires.chip.si
        space = plan_search.Space(
            max_tp=limits["max_tp"] or wires.domain, max_pp=limits["max_pp"] or work.layers,
            max_cp=limits["max_cp"] or wires.domain, max_samples=limits["max_microbatch"] or assumed.search_microbatch,
            stages=(0.0, 1.0, 2.0, 3.0) if stage is None else (stage,),
            recompute=plan_search.recompute_choices(fused, recompute),
            ways=_ways(order, place, chip.host_bandwidth is not None),
        )  # fmt: skip
        host, room = None, np.inf
        if any(where != "none" for _, where in space.ways):
            states = recipe.master + recipe.first + recipe.second
            host = offloading.host_of(machine, wires.chip, place or "cpu", "none", states, recipe.weight)
            room, unknown = offloading.capacity(machine, place or "cpu")
            more += unknown
        bed = Machine(wires, peak, eta, chip.memory_bandwidth, hidden if overlap else 0.0, host=host)
        prices = _Prices.of(machine, wires, peak, goal)
        sizes = _sizes(wires, everything)
        parts = [(n, plan_search.grid(work, n, batch, space)) for n in sizes]
        plans = {name: np.concatenate([grid[name] for _, grid in parts]) for name in plan_search.COLUMNS}
        if not len(plans["dp"]):
            raise InvalidPlanError(
                f"batch_size {batch:g} does not divide over the data-parallel ranks of any plan on {wires.chips:g} chips; "
                f"try a multiple of {wires.chips / (space.max_tp * min(space.max_pp, work.layers)):g} or more"
            )
        step, size, timed = plan_search.figures(
            work, plans, batch, recipe, bed, chip.memory_capacity, fused, space.ways, room
        )
        worth = prices.value(work, plans, batch, step, goal, fused)
        ranked = np.lexsort((size, worth))
        feasible = bool(np.isfinite(step[ranked[0]]))
        chosen = ranked[:kept]
        later = ranked[np.isfinite(worth[ranked]) & (worth[ranked] > worth[ranked[0]] * (1 + 1e-12))][:1]
        if not feasible:
            chosen = np.argsort(size)[:1]
            more += ("no plan fits; shown is the one that needs least memory",)
        found, following = (
            [
                _Candidate.of(work, plan_search.one(plans, int(i)), batch, recipe, bed, prices, fused, space.ways)
                for i in some
            ]
            for some in (chosen, later)
        )
        best, second = found[0], following[0] if following and feasible else None
        return ParallelismResult(
            question=Question(type(self), arguments),
            notes=(*wires.notes, *notes, *more),
            best_config=best.config,
            best_mfu=best.mfu,
            best_step_time=best.step,
            best_memory=best.memory,
            memory_capacity=chip.memory_capacity,
            batch=batch,
            chips=best.chips,
            peak=peak,
            step_energy=best.energy,
            step_cost=best.cost,
            step_carbon=best.carbon,
            objective_value=best.worth(goal),
            search_space_size=float(len(step)),
            total_searched=float(len(step)),
            feasible_plans=float(timed),
            terms=best.terms,
            next_terms={} if second is None else second.terms,
            next_config={} if second is None else second.config,
            next_value=np.nan if second is None else second.worth(goal),
            top_candidates=tuple(c.summary() for c in found) if feasible else (),
            objective=goal,
            feasible=feasible,
        )


def _scalar(border: Border, name: str, value: Any) -> Any:
    number = border.count(name, value)
    if np.ndim(number):
        border.problems.append(f"{name}: expected one whole number, found an array of {np.size(number)}")
        return 1.0
    return number


def _ways(schedule: str | None, place: str | None, linked: bool) -> tuple[plan_search.Way, ...]:
    """Schedules and places to search."""
    orders = SEARCHED if schedule is None else (schedule,)
    places = (place,) if place is not None else ("none", "cpu") if linked else ("none",)
    return tuple((one, where) for where in places for one in orders)


def _sizes(wires: Wiring, everything: bool) -> list[float]:
    """Chips to work with: all, or also halves of them down to one scale-up domain."""
    sizes = [float(wires.chips)]
    while not everything and sizes[-1] % 2 == 0 and sizes[-1] / 2 >= wires.domain:
        sizes.append(sizes[-1] / 2)
    return sizes


@dataclass(frozen=True, slots=True)
class _Prices:
    """What a chip costs and emits while it works; NaN where the catalog does not say and nobody asked."""

    rate: float
    electricity: float
    intensity: float
    pue: float
    idle: float
    per_flop: float
    tdp: float

    @classmethod
    def of(cls, machine: Any, wires: Wiring, peak: Any, goal: str) -> _Prices:
        plan, chip = Defaults["Economics"].si, wires.chip.si
        idle, per_flop, tdp = power_terms(wires.chip, peak, chip.memory_bandwidth, textbook())
        rate = np.nan if chip.price is None else cost.straight_line_capital(chip.price, 1.0, plan.life)
        if goal == "cost" and np.isnan(rate):
            raise MissingFactError(
                f"{wires.chip.id} has no price in the catalog; pass a fleet whose chip has one: replace(price='... USD')"
            )
        if goal != "time" and np.isnan(tdp):
            raise MissingFactError(f"{wires.chip.id} has no TDP in the catalog; pass replace(tdp='... W')")
        region = None
        if isinstance(machine, Fleet):
            region = machine.region or (machine.datacenter.grid if machine.datacenter is not None else None)
        grid = (region or Infra[plan.baseline_region]).si
        return cls(rate, plan.electricity_price, grid.carbon_intensity, grid.pue, idle, per_flop, tdp)

    def energy(self, chips: Any, step: Any, flops: Any) -> Any:
        """Electricity of a step at the meter of the site."""
        each = energy.chip_energy(step, self.idle, flops / chips, self.per_flop, 0.0, 0.0, self.tdp)
        return energy.facility_energy(chips * each, self.pue)

    def money(self, chips: Any, step: Any, used: Any) -> Any:
        """Capital of the chips while they work, and electricity."""
        return chips * self.rate * step + cost.electricity_cost(used, self.electricity)

    def value(self, work: Work, plans: plan_search.Grid, batch: float, step: Any, goal: str, fused: bool) -> Any:
        """What is to be least."""
        if goal == "time":
            return step
        finite = np.where(np.isfinite(step), step, 1.0)
        chips = plans["dp"] * plans["tp"] * plans["pp"] * plans["ep"] * plans["cp"]
        done = batch * sample_flops(work, plans["recompute"], False, fused)[1]
        used = self.energy(chips, finite, done)
        worth = self.money(chips, finite, used) if goal == "cost" else carbon.operational_carbon(used, self.intensity)
        return np.where(np.isfinite(step), worth, np.inf)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One plan with all its figures."""

    config: dict[str, Any]
    chips: float
    step: Any
    memory: Any
    mfu: Any
    energy: Any
    cost: Any
    carbon: Any
    terms: dict[str, float]

    @classmethod
    def of(cls, work: Work, row: dict[str, float], batch: float, recipe: Recipe, bed: Machine, prices: _Prices,
           fused: bool, ways: tuple[plan_search.Way, ...]) -> _Candidate:  # fmt: skip
        held, times = plan_search.parts_of(work, row, batch, recipe, bed, fused, ways)
        chips = row["dp"] * row["tp"] * row["pp"] * row["ep"] * row["cp"]
        useful, done = sample_flops(work, row["recompute"], False, fused)
        used = prices.energy(chips, times.step, batch * done)
        return cls(
            config=_named(row, batch, ways[int(row["way"])]),
            chips=chips,
            step=times.step,
            memory=held.total,
            mfu=roofline.utilisation(batch * useful, times.step, bed.peak * chips),
            energy=used,
            cost=prices.money(chips, times.step, used),
            carbon=carbon.operational_carbon(used, prices.intensity),
            terms=_terms(times),
        )

    def worth(self, goal: str) -> Any:
        """What is to be least."""
        return {"time": self.step, "cost": self.cost, "carbon": self.carbon}[goal]

    def summary(self) -> dict[str, Any]:
        """Plain figures, SI, to list."""
        return {**self.config, "step_time": float(self.step), "mfu": float(self.mfu), "memory": float(self.memory)}


def _named(row: dict[str, float], batch: float, way: plan_search.Way) -> dict[str, Any]:
    words = {number: word for word, number in RECOMPUTE.items()}
    found: dict[str, Any] = {name: int(row[name]) for name in ("tp", "pp", "dp", "ep", "cp")}
    found |= {"v_stages": int(row["chunks"]), "microbatch_count": int(row["microbatches"])}
    found["microbatch_size"] = int(batch / (row["dp"] * row["ep"] * row["microbatches"]))
    found |= {"schedule": way[0], "offload": way[1]}
    return found | {"zero_stage": int(row["zero"]), "activation_recomputation": words[row["recompute"]]}


def _terms(times: Times) -> dict[str, float]:
    return {name: float(getattr(times, name)) for name in TERMS}
