"""A whole training run: steps, checkpoints, failures, calendar time with its spread, energy, money, carbon (wall 15)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Defaults
from ..catalog.models import StateSpace, Transformer
from ..catalog.systems import Fleet
from ..errors import MissingFactError
from ..physics import queueing, reliability, scaling
from ..record import total
from ..units import Bytes, BytesPerSecond, Count, Dollars, Fraction, Joules, Kilograms, Plain, Seconds, TokensPerSecond
from ..workloads.training import work_of
from . import plan_rules
from .base import ForwardModel
from .border import Border, shape_of
from .distributed import DistributedModel
from .economics import EconomicsModel
from .limits import Limit
from .reliability import ReliabilityModel
from .result import Question, Result
from .training_step import TrainingStepModel

CHECKPOINT_BYTES = 14.0
"""Bytes of a parameter in a checkpoint: a 32-bit copy and two moments, and the 16-bit weights."""
SHARES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingRunResult(Result):
    """A run from its first step to its last, in calendar time; ``step`` is the answer about one step."""

    step: Any = field(repr=False)
    tokens: Count
    steps: Count
    step_time: Seconds
    productive_time: Seconds
    goodput: Fraction
    mtbf: Seconds
    expected_failures: Count
    checkpoint_size: Bytes
    checkpoint_time: Seconds
    checkpoint_interval: Seconds
    data_rate: BytesPerSecond
    loss: Count
    compute_optimal_tokens: Count
    chips: Count
    mfu: Fraction
    facility_energy: Joules
    operational_carbon: Kilograms
    water_usage_liters: Plain
    cost: Dollars
    evaluation_time: Seconds
    checkpoint_stall: Seconds
    replacement_wait: Seconds
    loading_time: Seconds
    earliest: Seconds
    median: Seconds
    latest: Seconds
    feasible: bool

    @total
    def calendar_time(self) -> Seconds:
        """Expected time from start to end."""
        return self.productive_time / self.goodput

    @total
    def chip_hours(self) -> Count:
        """Chips times hours."""
        return self.chips * self.productive_time / self.goodput / 3600.0

    @total
    def tokens_per_second(self) -> TokensPerSecond:
        """Tokens a second of calendar time."""
        return self.tokens * self.goodput / self.productive_time

    @total
    def tokens_per_parameter_ratio(self) -> Fraction:
        """Tokens over those that would be best for the same compute with a smaller or larger model."""
        return self.tokens / self.compute_optimal_tokens

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit, for the fullest chip."""
        found: tuple[Limit, ...] = self.step.limits
        return found

    @property
    def bottleneck(self) -> Any:
        """The longest part of a step."""
        return self.step.bottleneck

    def values(self) -> dict[str, Any]:
        """Every number of the answer by name."""
        return {name: value for name, value in Result.values(self).items() if name != "step"}


class TrainingRunModel(ForwardModel):
    """Wall 15: a run takes the steps it needs, and what failures and checkpoints add."""

    walls = ((15, "Fragility", "fleet"),)
    requires = ("workload", "fleet")
    produces = TrainingRunResult
    misbeliefs = {
        "days of training are tokens over tokens a second": "checkpoints, restarts and work done twice add to them",
        "the expected end is when it will end": "failures come by chance; half of the runs end later",
        "more tokens are always better": "for a budget of compute there is a best size; beyond it tokens buy little",
    }

    def solve(
        self,
        model: Any,
        fleet: Any,
        tokens: Any,
        batch_size: Any,
        *,
        efficiency: Any = "measured",
        checkpoint_bandwidth: Any = "50 GB/s",
        checkpoint_interval: Any = None,
        recovery_time: Any = "600 s",
        mtbf: Any = None,
        loading_bandwidth: Any = None,
        bytes_per_token: Any = 4,
        loader_tokens_per_second: Any = None,
        evaluation_interval: Any = None,
        evaluation_tokens: Any = 1e7,
        asynchronous_checkpoint: Any = False,
        hot_spares: Any = None,
        repair_time: Any = None,
        cloud_usd_per_hour: Any = None,
        datacenter: Any = None,
        runs: Any = 2000,
        seed: Any = 0,
        **plan: Any,
    ) -> TrainingRunResult:
        """From tokens to a date.

        Args:
            model: a decoder or encoder of ``Models`` or its name
            fleet: a fleet or a node, or its name
            tokens: training tokens
            batch_size: samples of a step
            efficiency: ``"measured"``, or a share of the peak as in ``DistributedModel``
            checkpoint_bandwidth: what all writers of a checkpoint reach together
            checkpoint_interval: start of one checkpoint to the start of the next; the optimum if not given
            recovery_time: from a failure until work goes on
            mtbf: mean time between failures of the fleet; from its parts if not given
            loading_bandwidth: what the store of the training data delivers; no limit if not given
            bytes_per_token: of the training data, as read
            loader_tokens_per_second: tokens that the processors beside one chip prepare; no limit if not given
            evaluation_interval: steps from one evaluation to the next; none if not given
            evaluation_tokens: tokens of an evaluation, forward only
            asynchronous_checkpoint: chips copy their state to the memory of the host and go on while it is written
            hot_spares: nodes that stand by; one is always at hand if not given
            repair_time: until a broken node is back; that of ``ReliabilityModel`` if not given
            cloud_usd_per_hour: price of a chip; owning it if not given
            datacenter: a grid or data centre, or its name; the fleet's own if not given
            runs: simulated runs behind the spread of the end
            seed: where their random numbers start
            plan: further arguments of ``TrainingStepModel`` (or of ``DistributedModel`` where an efficiency is given)

        Examples:
            >>> run = TrainingRunModel().solve("Llama3_8B", "Research_256", 1e12, 512, seq_len=8192, zero_stage=1, tp_size=2,
            ...                                activation_recomputation="full", datacenter="US_Avg")
            >>> run.earliest <= run.median <= run.latest, 0.8 < run.goodput < 1
            (True, True)
        """
        arguments = dict(model=model, fleet=fleet, tokens=tokens, batch_size=batch_size, efficiency=efficiency,
                         checkpoint_bandwidth=checkpoint_bandwidth, checkpoint_interval=checkpoint_interval,
                         recovery_time=recovery_time, mtbf=mtbf, loading_bandwidth=loading_bandwidth,
                         bytes_per_token=bytes_per_token,
                         loader_tokens_per_second=loader_tokens_per_second, evaluation_interval=evaluation_interval,
                         evaluation_tokens=evaluation_tokens, asynchronous_checkpoint=asynchronous_checkpoint,
                         hot_spares=hot_spares, repair_time=repair_time, cloud_usd_per_hour=cloud_usd_per_hour, datacenter=datacenter,
                         runs=runs, seed=seed, **plan)  # fmt: skip
        border = Border()
        network, machine = border.model(model), plan_rules.fleet_of(border, fleet)
        seen = border.number("tokens", tokens, least=1.0, most=1e18)
        writing = border.quantity("checkpoint_bandwidth", checkpoint_bandwidth, "byte/second")
        recovery = border.quantity("recovery_time", recovery_time, "second", zero=True)
        period = (
            None
            if checkpoint_interval is None
            else border.quantity("checkpoint_interval", checkpoint_interval, "second")
        )
        between = None if mtbf is None else border.quantity("mtbf", mtbf, "second")
        loading = (
            np.inf
            if loading_bandwidth is None
            else border.quantity("loading_bandwidth", loading_bandwidth, "byte/second")
        )
        read = border.positive("bytes_per_token", bytes_per_token)
        prepared = (
            np.inf if loader_tokens_per_second is None
            else border.positive("loader_tokens_per_second", loader_tokens_per_second)
        )  # fmt: skip
        every = None if evaluation_interval is None else border.count("evaluation_interval", evaluation_interval)
        held_out = border.positive("evaluation_tokens", evaluation_tokens)
        aside = border.flag("asynchronous_checkpoint", asynchronous_checkpoint)
        spares = None if hot_spares is None else border.count("hot_spares", hot_spares, least=0)
        repair = None if repair_time is None else border.quantity("repair_time", repair_time, "second")
        if cloud_usd_per_hour is not None and border.one("cloud_usd_per_hour", cloud_usd_per_hour):
            cloud_usd_per_hour = border.number("cloud_usd_per_hour", cloud_usd_per_hour)
        draws, start = border.one_count("runs", runs, most=1e6), border.one_count("seed", seed, least=0)
        plan_rules.taken(border, TrainingStepModel if isinstance(efficiency, str) else DistributedModel, plan)
        if network is not None and not isinstance(network, (Transformer, StateSpace)):
            border.problems.append(f"tokens: {network.id} reads none, so a run of it cannot be counted in them")
        border.close()
        arguments.update(model=network, fleet=machine)
        step = self._step(network, machine, batch_size, efficiency, plan)
        inside = step.si
        shape_of(np.asarray(seen), np.empty(step.shape))
        batch_tokens = inside.batch * inside.tokens_per_sample
        padding = getattr(inside, "padding_share", 0.0)
        steps = np.ceil(seen / (batch_tokens * (1.0 - padding)))
        feeding = np.maximum(batch_tokens * read / loading, batch_tokens / (prepared * inside.chips))
        step_time = np.maximum(inside.step_latency_total, feeding)
        # a forward pass is a third of the work of a step
        one = inside.step_latency_total * held_out / batch_tokens / 3.0
        evaluating = 0.0 if every is None else np.floor(steps / every) * one
        productive = steps * step_time + evaluating
        work = work_of(network, inside.tokens_per_sample)
        size = CHECKPOINT_BYTES * work.parameters
        dump = size / writing
        rate = between
        told: tuple[str, ...] = ()
        if rate is None:
            rate, told = _mtbf(machine)
        stall, writing_time = dump, dump
        if aside:
            stall = np.minimum(_snapshot(machine, size, inside.chips), dump)
            recovery = recovery + (writing_time - stall)  # what was done while it was written is lost too
        waits: Any = 0.0
        if spares is not None:
            fixed = Defaults["Operations"].si.repair_time if repair is None else repair
            told = tuple(note for note in told if "hot_spares" not in note)
            blocked = queueing.blocking_probability(fixed / rate, np.maximum(spares, 1e-6))
            waits = reliability.spare_wait(blocked, spares, fixed)
            recovery = recovery + waits
        segment = reliability.optimal_interval(stall, rate) if period is None else np.maximum(period - stall, stall)
        segment = np.maximum(segment, writing_time - stall)  # the one before has to be written
        dump = stall
        kept = reliability.goodput(segment, dump, rate, recovery)
        law = Defaults["Epoch"].si
        budget = scaling.training_flops(network.si.active_parameters or network.si.parameters, seen)
        spread = ends(productive, segment, dump, rate, recovery, int(draws), int(start))
        bill = _bill(machine, productive / kept, inside, datacenter, cloud_usd_per_hour)
        notes = (*told, *(bill[4]))
        if np.any(step_time > inside.step_latency_total):
            slow = "reading" if np.any(batch_tokens * read / loading >= feeding) else "preparing"
            notes += (f"{slow} the training data takes longer than the step",)
        loss = scaling.fitted_loss(work.parameters, seen, law.irreducible, law.parameter_scale, law.token_scale,
                                   law.parameter_exponent, law.token_exponent)  # fmt: skip
        return TrainingRunResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(v) for v in (productive, kept, size))),
            notes=notes,
            step=step,
            tokens=seen,
            steps=steps,
            step_time=step_time,
            productive_time=productive,
            goodput=kept,
            mtbf=rate,
            expected_failures=reliability.expected_failures(productive / kept, rate),
            checkpoint_size=size,
            checkpoint_time=writing_time,
            checkpoint_stall=stall,
            replacement_wait=waits,
            evaluation_time=evaluating,
            loading_time=feeding,
            checkpoint_interval=segment + dump,
            data_rate=batch_tokens * read / step_time,
            loss=loss,
            compute_optimal_tokens=scaling.affordable_tokens(budget, scaling.ratio_optimal_parameters(budget)),
            chips=inside.chips,
            mfu=inside.mfu,
            facility_energy=bill[0],
            operational_carbon=bill[1],
            cost=bill[2],
            water_usage_liters=bill[3],
            earliest=spread[0],
            median=spread[1],
            latest=spread[2],
            feasible=inside.feasible,
        )

    @staticmethod
    def _step(network: Any, machine: Any, batch: Any, efficiency: Any, plan: dict[str, Any]) -> Any:
        if isinstance(efficiency, str):
            border = Border()
            border.choice("efficiency", efficiency, ("measured",))
            border.close()
            return TrainingStepModel().solve(network, machine, batch, **plan)
        return DistributedModel().solve(network, machine, batch, efficiency=efficiency, **plan)


def _mtbf(machine: Any) -> tuple[Any, tuple[str, ...]]:
    fleet = machine
    if not isinstance(machine, Fleet):
        from ..catalog import Systems

        fleet = Fleet(
            id=f"{machine.id}_alone", name=machine.name, node=machine, count=1.0, fabric=Systems["InfiniBand_NDR"]
        )
    answer = ReliabilityModel().solve(fleet, 24)
    return answer.si.fleet_mtbf, tuple(answer.notes)


def _bill(
    machine: Any, time: Any, step: Any, datacenter: Any, hourly: Any
) -> tuple[Any, Any, Any, Any, tuple[str, ...]]:
    """Energy, carbon, money and water; what is unknown is NaN, with a note."""
    busy = np.clip(step.compute_latency / step.step_latency_total, 0.0, 1.0)
    fleet = machine
    if not isinstance(machine, Fleet):
        from ..catalog import Systems

        fleet = Fleet(
            id=f"{machine.id}_alone", name=machine.name, node=machine, count=1.0, fabric=Systems["InfiniBand_NDR"]
        )
    try:
        bill = EconomicsModel().solve(
            fleet, time / 86400.0, datacenter=datacenter, utilisation=busy, cloud_usd_per_hour=hourly
        )
    except MissingFactError as error:
        cost = np.nan if hourly is None else hourly * step.chips * time / 3600.0
        return np.nan, np.nan, cost, np.nan, (f"energy, carbon and cost of owning are unknown: {error}",)
    inside = bill.si
    cost = inside.tco_usd if hourly is None else hourly * step.chips * time / 3600.0
    return inside.facility_energy, inside.operational_carbon, cost, inside.water_usage_liters, ()


def _snapshot(machine: Any, size: Any, chips: Any) -> Any:
    """Time in which all chips copy a checkpoint to the memory of their hosts."""
    device = (machine.node if isinstance(machine, Fleet) else machine).accelerator
    if device.si.host_bandwidth is None:
        raise MissingFactError(
            f"{device.id}: asynchronous_checkpoint needs a host_bandwidth; pass hardware.replace(host_bandwidth=...)"
        )
    return size / chips / device.si.host_bandwidth


def ends(
    productive: Any, segment: Any, dump: Any, mtbf: Any, recovery: Any, runs: int = 2000, seed: int = 0
) -> tuple[Any, Any, Any]:
    """When one, five and nine in ten simulated runs have ended.

    Failures come at exponential times. Each takes the recovery and the segment under way; work goes on from the last
    checkpoint. The mean agrees with the closed form of :func:`mlsysim.physics.reliability.goodput`.

    Examples:
        >>> early, middle, late = ends(1e6, 3600.0, 60.0, 1e5, 600.0)
        >>> bool(early < middle < late)
        True
    """
    points = np.broadcast_arrays(
        *(np.asarray(v, dtype=np.float64) for v in (productive, segment, dump, mtbf, recovery))
    )
    found = np.empty((len(SHARES), *points[0].shape))
    for index in np.ndindex(points[0].shape):
        work, piece, saving, between, down = (float(point[index]) for point in points)
        times = simulated_runs(work, piece, saving, between, down, runs, seed)
        found[(slice(None), *index)] = np.quantile(times, SHARES)
    return found[0][()], found[1][()], found[2][()]


def simulated_runs(
    productive: float, segment: float, dump: float, mtbf: float, recovery: float, runs: int = 2000, seed: int = 0
) -> NDArray[np.float64]:
    """Calendar times of simulated runs.

    A segment with its checkpoint survives with probability exp(-l / mtbf); the failures before it does are geometric, and
    each costs the recovery (which may itself fail) and the time to the failure. Sums over many segments are drawn from
    their normal limit with the exact mean and variance of one segment, few are drawn one by one.
    """
    generator = np.random.default_rng(seed)
    length, pieces = segment + dump, int(np.ceil(productive / segment))
    whole = 400
    failed = min(pieces, whole)
    times = np.zeros(runs)
    sample = _segments(generator, length, mtbf, recovery, runs * failed).reshape(runs, failed)
    times += sample.sum(axis=1)
    rest = pieces - failed
    if rest:
        times += generator.normal(rest * sample.mean(), np.sqrt(rest * sample.var()), runs)
    return np.asarray(times - (pieces * segment - productive))


def _segments(generator: Any, length: float, mtbf: float, recovery: float, count: int) -> NDArray[np.float64]:
    """Times of segments: each starts anew after a failure and a recovery, until one is done without."""
    times = np.zeros(count)
    going = np.arange(count)
    ahead = length
    for _ in range(10_000):
        left = generator.exponential(mtbf, going.size)
        lost = left < ahead
        times[going] += np.where(lost, left, ahead)
        going = going[lost]
        if not going.size:
            break
        ahead = recovery + length  # the recovery comes first, and may be cut short too
    return times
