"""Jobs that share a cluster wait for each other (wall 16)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..physics import memory, queueing
from ..record import total
from ..units import Count, Fraction, Plain, Seconds
from .base import ForwardModel
from .border import Border, shape_of
from .result import Question, Result

DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OrchestrationResult(Result):
    """A cluster as a queue of slots, each as large as one job."""

    cluster_utilization: Fraction
    slots: Count
    accelerators_per_job: Count
    avg_wait_time: Seconds
    p90_time_in_system: Seconds
    avg_job_duration: Seconds
    avg_queue_length: Count
    wait_probability: Fraction
    is_stable: bool

    @total
    def avg_wait_time_days(self) -> Plain:
        """Mean wait in days."""
        return self.avg_wait_time / DAY

    @total
    def avg_time_in_system(self) -> Seconds:
        """From handing in a job to its end."""
        return memory.sum_of_times(self.avg_wait_time, self.avg_job_duration, 0.0)

    @property
    def feasible(self) -> Any:
        """Whether jobs leave as fast as they come."""
        return self.is_stable


class OrchestrationModel(ForwardModel):
    """Wall 16: a shared cluster is a queue; the wait depends on how many jobs fit side by side."""

    walls = ((16, "Multi-tenant", "fleet"),)
    requires = ("fleet",)
    produces = OrchestrationResult
    misbeliefs = {
        "a busy cluster is a well-used one": "near full, waits grow without bound and people wait, not chips",
        "the wait depends on utilisation alone": "a cluster with a hundred slots hardly queues at a load that paralyses one",
    }

    def solve(
        self,
        fleet: Any,
        arrival_rate_jobs_per_day: Any,
        avg_job_duration_days: Any,
        *,
        accelerators_per_job: Any = None,
        job_duration_cv: Any = 1.0,
        arrival_cv: Any = 1.0,
    ) -> OrchestrationResult:
        """The wait of equally large jobs that come at random to a fleet, first come first served.

        Args:
            fleet: an entry of ``Systems`` or its name
            arrival_rate_jobs_per_day: jobs a day; may be an array
            avg_job_duration_days: mean duration of a job in days, or a time with a unit
            accelerators_per_job: accelerators of one job; one node unless said
            job_duration_cv: coefficient of variation of the durations: 1 exponential, 0 all alike, more for heavy tails
            arrival_cv: coefficient of variation of the times between arrivals; 1 for Poisson arrivals

        Returns:
            Utilisation, wait, queue length. Accelerators that are left over, too few for a job, stay idle.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = OrchestrationModel().solve("Research_256", 0.5, 1.6, accelerators_per_job=256, job_duration_cv=0)
            >>> print(f"{answer.cluster_utilization:.2f} {answer.avg_wait_time.to('day'):.1f~P}")  # M/D/1
            0.80 3.2 d
        """
        arguments = dict(fleet=fleet, arrival_rate_jobs_per_day=arrival_rate_jobs_per_day,
                         avg_job_duration_days=avg_job_duration_days, accelerators_per_job=accelerators_per_job,
                         job_duration_cv=job_duration_cv, arrival_cv=arrival_cv)  # fmt: skip
        border = Border()
        machine = border.fleet(fleet)
        rate = border.number("arrival_rate_jobs_per_day", arrival_rate_jobs_per_day, most=1e12) / DAY
        if isinstance(avg_job_duration_days, str) or hasattr(avg_job_duration_days, "units"):
            duration = border.quantity("avg_job_duration_days", avg_job_duration_days, "second")
        else:
            duration = border.number("avg_job_duration_days", avg_job_duration_days, least=1e-9, most=1e9) * DAY
        size = None if accelerators_per_job is None else border.count("accelerators_per_job", accelerators_per_job)
        cv = border.number("job_duration_cv", job_duration_cv, most=100.0)
        bursts = border.number("arrival_cv", arrival_cv, most=100.0)
        border.close()
        arguments["fleet"] = machine
        there = machine.total_accelerators
        notes: tuple[str, ...] = ()
        if size is None:
            size = machine.node.si.accelerators_per_node
            notes = (f"a job takes one node, {size:g} accelerators" if np.ndim(size) == 0 else "a job takes one node",)
        slots = np.floor(there / size)
        fits = slots >= 1
        if not np.all(fits):
            notes += ("a job larger than the fleet never starts",)
        servers = np.maximum(slots, 1.0)
        wait = queueing.allen_cunneen_wait(queueing.mean_wait(rate, duration, servers), cv, bursts)
        wait = np.where(fits, wait, np.inf)[()] if np.ndim(fits) or not fits else wait
        load = queueing.offered_load(rate, duration)
        quantile = queueing.sojourn_quantile(0.9, rate, duration, servers, cv, bursts)
        with np.errstate(invalid="ignore"):
            waiting = np.where(np.equal(rate, 0), 0.0, queueing.number_in_system(rate, wait))[()]
        return OrchestrationResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(v) for v in (rate, duration, servers, cv, bursts))),
            notes=notes,
            cluster_utilization=queueing.server_utilisation(rate, duration, there / size),
            slots=slots,
            accelerators_per_job=size,
            avg_wait_time=wait,
            p90_time_in_system=np.where(fits, quantile, np.inf)[()],
            avg_job_duration=duration,
            avg_queue_length=waiting,
            wait_probability=queueing.wait_probability(load, servers),
            is_stable=np.logical_and(np.less(load, servers), fits),
        )
