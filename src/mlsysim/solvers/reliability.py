"""How often a fleet fails, how often to save, and how much of its time is useful (wall 15)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Defaults, Infra
from ..errors import MissingFactError
from ..physics import memory, queueing, reliability
from ..record import total
from ..units import Count, DollarsPerSecond, Fraction, Seconds
from .base import ForwardModel
from .border import Border, shape_of
from .result import Question, Result

LOSSES = ("Checkpoints", "Recovery", "Rework")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReliabilityResult(Result):
    """Failures of a fleet during a job, and what they cost when it saves as often as is best."""

    fleet_mtbf: Seconds
    job_duration: Seconds
    failure_probability: Fraction
    expected_failures: Count
    optimal_checkpoint_interval: Seconds
    young_interval: Seconds
    checkpoint_interval: Seconds
    checkpoint_time: Seconds
    recovery_time: Seconds
    goodput_ratio: Fraction
    checkpoint_loss: Fraction
    recovery_loss: Fraction
    rework_loss: Fraction
    failure_shares: Mapping[str, Any]
    node_mtbf: Seconds | None = None

    @total
    def useful_time(self) -> Seconds:
        """Part of the job's time that is progress kept."""
        return self.job_duration * self.goodput_ratio

    @property
    def bottleneck(self) -> Any:
        """What costs most time: checkpoints, recovery, or work done twice."""
        inside = self.si
        parts = np.stack(np.broadcast_arrays(inside.checkpoint_loss, inside.recovery_loss, inside.rework_loss))
        named = np.array(LOSSES)[np.argmax(parts, axis=0)]
        return str(named) if named.ndim == 0 else named


class ReliabilityModel(ForwardModel):
    """Wall 15: the mean time between failures of a fleet is that of a node over the number of nodes."""

    walls = ((15, "Fragility", "fleet"),)
    requires = ("fleet",)
    produces = ReliabilityResult
    misbeliefs = {
        "reliable parts make a reliable cluster": "50,000 hours for a GPU are three hours for 16,384 of them",
        "failures cost the restart": "the work since the last checkpoint is lost too, and recoveries can fail themselves",
        "saving more often is safer": "below the optimum interval, checkpoints cost more than the work they save",
    }

    def solve(
        self,
        fleet: Any,
        job_duration_hours: Any,
        checkpoint_time_s: Any = 60,
        avg_recovery_time_s: Any = 300,
        *,
        checkpoint_interval_s: Any = None,
        correlation: Any = 1.0,
        hot_spares: Any = None,
        repair_time: Any = None,
        spare_supplies: Any = None,
        parts: Any = None,
    ) -> ReliabilityResult:
        """Failures, the best checkpoint interval, and goodput by renewal theory, rework included.

        A fleet with an ``mtbf`` of its own keeps it. Otherwise a node fails when a GPU or a network adapter does, or
        when more power supplies fail at a time than it can spare (planning figures: ``Infra.Reliability``).

        Args:
            fleet: an entry of ``Systems`` or its name
            job_duration_hours: wall-clock time of the job, in hours or with a unit; may be an array
            checkpoint_time_s: time that a checkpoint stops the work, in seconds or with a unit
            avg_recovery_time_s: time from a failure until work goes on at the last checkpoint
            checkpoint_interval_s: start of one checkpoint to the start of the next; the optimum unless said
            correlation: parts that fail together in one event, on average
            hot_spares: nodes that stand by; unless said a healthy node is always at hand
            repair_time: mean time to repair a node, with a unit; a planning figure unless said
            spare_supplies: power supplies that a node can lose; a planning figure unless said
            parts: more parts of a node that stop it: a mapping of names in ``Infra.Reliability`` to a count in each node

        Returns:
            MTBF, failures, intervals (start to start), and the shares of the time, which add up to one.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = ReliabilityModel().solve("Frontier_8K", job_duration_hours=720)
            >>> print(f"{answer.fleet_mtbf.to('hour'):.2f~P}, {answer.goodput_ratio:.3f}")
            4.58 h, 0.901
        """
        arguments = dict(fleet=fleet, job_duration_hours=job_duration_hours, checkpoint_time_s=checkpoint_time_s,
                         avg_recovery_time_s=avg_recovery_time_s, checkpoint_interval_s=checkpoint_interval_s,
                         correlation=correlation, hot_spares=hot_spares, repair_time=repair_time,
                         spare_supplies=spare_supplies, parts=parts)  # fmt: skip
        border, assumed = Border(), Defaults["Operations"].si
        machine = border.fleet(fleet)
        duration = timed(border, "job_duration_hours", job_duration_hours, 3600.0)
        dump = timed(border, "checkpoint_time_s", checkpoint_time_s)
        recovery = timed(border, "avg_recovery_time_s", avg_recovery_time_s, zero=True)
        period = (
            None if checkpoint_interval_s is None else timed(border, "checkpoint_interval_s", checkpoint_interval_s)
        )
        together = border.number("correlation", correlation, least=1.0)
        spares = None if hot_spares is None else border.count("hot_spares", hot_spares, least=0)
        repair = assumed.repair_time if repair_time is None else border.quantity("repair_time", repair_time, "second")
        spare = (
            assumed.spare_supplies
            if spare_supplies is None
            else border.count("spare_supplies", spare_supplies, least=0)
        )
        more = _parts(border, parts)
        border.close()
        if period is not None and border.agree() and np.any(np.less_equal(period, dump)):
            border.problems.append("checkpoint_interval_s: expected more than checkpoint_time_s")
            border.close()
        arguments["fleet"] = machine
        node_mtbf, fleet_mtbf, shares, notes = _mtbf(machine, more, spare, repair, together)
        if spares is not None:
            busy = queueing.offered_load(1 / fleet_mtbf, repair)
            blocked = queueing.blocking_probability(busy, np.maximum(spares, 1e-6))
            recovery = memory.sum_of_times(recovery, reliability.spare_wait(blocked, spares, repair), 0.0)
        else:
            notes += ("a healthy node is always at hand; pass hot_spares= to count them",)
        work = reliability.optimal_interval(dump, fleet_mtbf)
        best = memory.sum_of_times(work, dump, 0.0)
        used = best if period is None else period
        work = work if period is None else period - dump
        good = reliability.goodput(work, dump, fleet_mtbf, recovery)
        saving = reliability.checkpoint_loss(good, work, dump)
        lost = reliability.recovery_loss(recovery, fleet_mtbf)
        return ReliabilityResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(v) for v in (duration, dump, recovery, used, fleet_mtbf))),
            notes=notes,
            node_mtbf=node_mtbf,
            fleet_mtbf=fleet_mtbf,
            job_duration=duration,
            failure_probability=reliability.failure_probability(duration, fleet_mtbf),
            expected_failures=reliability.expected_failures(duration, fleet_mtbf),
            optimal_checkpoint_interval=best,
            young_interval=reliability.young_interval(dump, fleet_mtbf),
            checkpoint_interval=used,
            checkpoint_time=dump,
            recovery_time=recovery,
            goodput_ratio=good,
            checkpoint_loss=saving,
            recovery_loss=lost,
            rework_loss=reliability.rework_loss(good, saving, lost),
            failure_shares=shares,
        )


def timed(border: Border, name: str, value: Any, unit: float = 1.0, *, zero: bool = False) -> Any:
    """A time in seconds, from a plain number of ``unit`` seconds or a quantity."""
    if isinstance(value, str) or hasattr(value, "units"):
        return border.quantity(name, value, "second", zero=zero)
    return border.number(name, value, least=0.0 if zero else 1e-9, most=1e12) * unit


def _parts(border: Border, parts: Any) -> dict[str, tuple[Any, Any]]:
    """MTBF and count of each further part, by name."""
    found: dict[str, tuple[Any, Any]] = {}
    if parts is None:
        return found
    if not isinstance(parts, Mapping):
        border.problems.append(f"parts: expected a mapping of names to counts, found {type(parts).__name__}")
        return found
    from ..catalog.infra import Reliability

    for name, count in parts.items():
        part = border.entry("parts", name, Reliability, Infra)
        number = border.number(f"parts[{name!r}]", count, most=1e6)
        if part is None:
            continue
        if not isinstance(part, Reliability) or part.si.mtbf is None:
            border.problems.append(f"parts: {name} has no MTBF in the catalog")
        else:
            found[part.id] = (part.si.mtbf, number)
    return found


def _mtbf(fleet: Any, more: Any, spare: Any, repair: Any, together: Any) -> tuple[Any, Any, Any, tuple[str, ...]]:
    """MTBF of a node and of the fleet, the shares of its parts, and notes."""
    inside = fleet.si
    if inside.mtbf is not None:
        own = reliability.mean_time_between(1 / inside.mtbf, together)
        return None, own, {"fleet": 1.0}, (f"{fleet.id} states its own MTBF",)
    node = fleet.node.si
    notes: tuple[str, ...] = ()
    known = {name: Infra[name].si.mtbf for name in ("GPU", "NIC", "PSU")}
    rates = {"GPU": reliability.failure_rate(known["GPU"], node.accelerators_per_node)}
    if node.nics_per_node is not None:
        rates["NIC"] = reliability.failure_rate(known["NIC"], node.nics_per_node)
    else:
        notes += (f"{fleet.node.id}: network adapters unknown, not counted",)
    if node.psus_per_node is not None:
        needed = np.maximum(node.psus_per_node - spare, 1.0)
        rates["PSU"] = reliability.redundant_failure_rate(known["PSU"], node.psus_per_node, needed, repair)
    else:
        notes += (f"{fleet.node.id}: power supplies unknown, not counted",)
    for name, (mtbf, count) in more.items():
        rates[name] = rates.get(name, 0.0) + reliability.failure_rate(mtbf, count)
    rate = sum(rates.values())
    if np.any(np.equal(rate, 0)):
        raise MissingFactError(f"{fleet.id}: no part that can fail is known; pass parts=")
    shares = {name: part / rate for name, part in rates.items()}
    node_mtbf = reliability.mean_time_between(rate, together)
    whole = reliability.failure_rate(node_mtbf / together, inside.count)
    return node_mtbf, reliability.mean_time_between(whole, together), shares, notes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoodputResult(Result):
    """Where the time of a machine goes: not given, not kept, not fast."""

    scheduling: Fraction
    runtime: Fraction
    program: Fraction
    mpg: Fraction
    scheduling_share: Fraction
    runtime_share: Fraction
    program_share: Fraction
    ceiling: Fraction
    device_rate: DollarsPerSecond | None = None
    runtime_simulated: Fraction | None = None
    runtime_standard_error: Fraction | None = None

    @total
    def after_scheduling(self) -> Fraction:
        """What is left when resources are missing some of the time."""
        return self.scheduling

    @total
    def after_runtime(self) -> Fraction:
        """What is left when failures and saves have taken their part."""
        return self.scheduling * self.runtime

    @total
    def ceiling_ratio(self) -> Fraction:
        """Goodput over what is thought reachable."""
        return self.mpg / self.ceiling

    @total
    def useful_device_rate(self) -> DollarsPerSecond:
        """What a useful second of a device costs."""
        return None if self.device_rate is None else self.device_rate / self.mpg


class GoodputModel(ForwardModel):
    """Wall 15: productivity is scheduling times runtime times program goodput."""

    walls = ((15, "Fragility", "fleet"),)
    requires = ()
    produces = GoodputResult
    misbeliefs = {
        "utilisation is productivity": "a device busy with work that is thrown away is used, not productive",
        "the worst factor is the one to mend": "the factors multiply: a tenth gained is a tenth, wherever it is gained",
    }

    def solve(
        self,
        scheduling: Any = 1.0,
        runtime: Any = None,
        program: Any = 1.0,
        ceilings: Any = None,
        device_hour_rate: Any = None,
        *,
        mtbf: Any = None,
        checkpoint_time: Any = "60 s",
        recovery_time: Any = "300 s",
        checkpoint_interval: Any = None,
        simulated_failures: int = 0,
        failure_shape: Any = 1.0,
        seed: int = 0,
    ) -> GoodputResult:
        """The product of the three goodputs; that of the runtime from failures where it is not given.

        Args:
            scheduling: share of the time that the job has all of its resources
            runtime: share of that time that is progress kept; from ``mtbf`` and what follows unless said
            program: progress over what the hardware could ideally do
            ceilings: mapping of ``scheduling``, ``runtime``, ``program`` to what is thought reachable; 1 unless said
            device_hour_rate: price of a device, in USD an hour or with a unit
            mtbf: mean time between failures of the job, with a unit
            checkpoint_time: time that a checkpoint stops the work, with a unit
            recovery_time: time from a failure until work goes on, with a unit
            checkpoint_interval: start of one checkpoint to the start of the next; the optimum unless said
            simulated_failures: failures of a simulation that checks the theory; none unless said
            failure_shape: shape of the Weibull times between simulated failures; 1 is the theory's constant rate
            seed: where the random numbers of the simulation start

        Returns:
            Goodput, what is left after each factor, and each factor's share of the loss.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> print(f"{GoodputModel().solve(0.95, 0.9, 0.45).mpg:.4f}")
            0.3848
        """
        arguments = dict(scheduling=scheduling, runtime=runtime, program=program, ceilings=ceilings,
                         device_hour_rate=device_hour_rate, mtbf=mtbf, checkpoint_time=checkpoint_time,
                         recovery_time=recovery_time, checkpoint_interval=checkpoint_interval,
                         simulated_failures=simulated_failures, failure_shape=failure_shape, seed=seed)  # fmt: skip
        border = Border()
        given = [border.fraction("scheduling", scheduling), border.fraction("program", program)]
        kept = None if runtime is None else border.fraction("runtime", runtime)
        between = None if mtbf is None else border.quantity("mtbf", mtbf, "second")
        dump = border.quantity("checkpoint_time", checkpoint_time, "second")
        recovery = border.quantity("recovery_time", recovery_time, "second", zero=True)
        period = None
        if checkpoint_interval is not None:
            period = border.quantity("checkpoint_interval", checkpoint_interval, "second")
        draws = border.one_count("simulated_failures", simulated_failures, least=0, most=1e7)
        shape = border.number("failure_shape", failure_shape, least=0.1, most=100.0)
        start = border.one_count("seed", seed, least=0)
        tops = _ceilings(border, ceilings)
        rate = None
        if device_hour_rate is not None:
            plain = not (isinstance(device_hour_rate, str) or hasattr(device_hour_rate, "units"))
            rate = (
                border.number("device_hour_rate", device_hour_rate) / 3600.0
                if plain
                else border.quantity("device_hour_rate", device_hour_rate, "USD/second")
            )
        if runtime is None and mtbf is None:
            border.problems.append("runtime: expected a number in (0, 1], or mtbf= to compute it from")
        if mtbf is None and draws:
            border.problems.append("simulated_failures: expected mtbf= to simulate with")
        if period is not None and border.agree() and np.any(np.less_equal(period, dump)):
            border.problems.append("checkpoint_interval: expected more than checkpoint_time")
        border.close()
        simulated = error = None
        if between is not None:
            work = reliability.optimal_interval(dump, between) if period is None else period - dump
            kept = reliability.goodput(work, dump, between, recovery) if kept is None else kept
            if draws:
                simulated, error = simulate(work, dump, between, recovery, draws, shape, start)
        mpg = reliability.multiplied_goodput(given[0], kept, given[1])
        whole = np.log(np.maximum(mpg, 1e-300))
        shares = [np.where(whole < 0, np.log(part) / np.minimum(whole, -1e-300), 0.0)[()] for part in (*given, kept)]
        return GoodputResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(v) for v in (mpg, tops, rate if rate is not None else 1.0))),
            scheduling=given[0],
            runtime=kept,
            program=given[1],
            mpg=mpg,
            scheduling_share=shares[0],
            program_share=shares[1],
            runtime_share=shares[2],
            ceiling=tops,
            device_rate=rate,
            runtime_simulated=simulated,
            runtime_standard_error=error,
        )


def _ceilings(border: Border, ceilings: Any) -> Any:
    if ceilings is None:
        return 1.0
    if not isinstance(ceilings, Mapping):
        border.problems.append(f"ceilings: expected a mapping, found {type(ceilings).__name__}")
        return 1.0
    product: Any = 1.0
    for name, value in ceilings.items():
        border.choice("ceilings", name, ("scheduling", "runtime", "program"))
        product = product * border.fraction(f"ceilings[{name!r}]", value)
    return product


def simulate(
    work: Any, dump: Any, mtbf: Any, recovery: Any, failures: int, shape: Any = 1.0, seed: int = 0
) -> tuple[Any, Any]:
    """Goodput of a simulated run, and its standard error.

    Failures come at Weibull times of a mean; after each one follows a recovery, then segments of work and checkpoint.
    What a failure cuts short is lost.

    Examples:
        >>> print("{:.3f} {:.4f}".format(*simulate(1000.0, 60.0, 10_000.0, 300.0, 100_000)))
        0.868 0.0003
    """
    import math

    points = np.broadcast_arrays(*(np.asarray(v, float) for v in (work, dump, mtbf, recovery, shape)))
    draws = np.random.default_rng(seed).random(failures)
    means, errors = np.empty(points[0].shape), np.empty(points[0].shape)
    for index in np.ndindex(points[0].shape):
        tau, delta, mean, down, k = (float(point[index]) for point in points)
        up = mean / math.gamma(1 + 1 / k) * (-np.log1p(-draws)) ** (1 / k)
        useful = tau * np.floor(np.maximum(up - down, 0.0) / (tau + delta))
        means[index] = useful.sum() / up.sum()
        errors[index] = np.std(useful - means[index] * up) / (np.mean(up) * math.sqrt(failures))
    return means[()], errors[()]
