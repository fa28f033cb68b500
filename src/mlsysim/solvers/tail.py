"""How long requests wait and how long the unlucky ones take (wall 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Defaults
from ..physics import memory, queueing
from ..record import total
from ..units import Count, Fraction, PerSecond, Seconds
from .base import ForwardModel
from .border import Border, shape_of
from .result import Question, Result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TailLatencyResult(Result):
    """Latencies of a service: percentiles of waiting and service together."""

    p50_latency: Seconds
    p90_latency: Seconds
    p99_latency: Seconds
    p99_9_latency: Seconds
    mean_wait: Seconds
    service_time: Seconds
    wait_probability: Fraction
    arrival_rate: PerSecond
    queue_utilization: Fraction
    slo_latency: Seconds
    slo_violation_probability: Fraction
    is_stable: bool

    @total
    def mean_latency(self) -> Seconds:
        """Mean of waiting and service together."""
        return memory.sum_of_times(self.mean_wait, self.service_time, 0.0)

    @total
    def mean_in_system(self) -> Count:
        """Requests waiting or being served, by Little's law."""
        return queueing.number_in_system(self.arrival_rate, self.mean_latency)

    @total
    def mean_in_queue(self) -> Count:
        """Requests waiting, by Little's law."""
        return queueing.number_in_system(self.arrival_rate, self.mean_wait)

    @property
    def feasible(self) -> Any:
        """Whether the queue is stable."""
        return self.is_stable


class TailLatencyModel(ForwardModel):
    """Wall 7: waiting grows without bound before a server is full, and the tail first."""

    walls = ((7, "Tail Latency", "node"),)
    requires = ()
    produces = TailLatencyResult
    misbeliefs = {
        "a service at 90 % has 10 % to spare": "at 90 % of one server the mean latency is ten service times, p99 forty-six",
        "p99 is p99 of the wait plus a service time": "both vary; the percentile of the sum is neither sum of percentiles "
        "nor of a percentile and a mean",
        "twice the replicas halve the wait": "pooled replicas wait far less: at equal utilisation the wait falls faster than 1/c",
    }

    def solve(
        self,
        arrival_rate_qps: Any,
        service_latency_ms: Any,
        num_replicas: Any = 1,
        service_time_cv: Any = 1.0,
        *,
        slo_latency_ms: Any = None,
        arrival_cv: Any = 1.0,
    ) -> TailLatencyResult:
        """Percentiles of the latency of a queue with several equal replicas, first come first served.

        Args:
            arrival_rate_qps: requests a second; may be an array
            service_latency_ms: mean service time of one request in milliseconds, or a time with a unit
            num_replicas: replicas, each serving one request at a time
            service_time_cv: coefficient of variation of the service time: 1 exponential (exact), 0 constant
            slo_latency_ms: latency objective in milliseconds; five service times unless said
            arrival_cv: coefficient of variation of the times between arrivals; 1 for Poisson arrivals

        Returns:
            Percentiles, mean wait, utilisation, and the probability that a request misses the objective.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = TailLatencyModel().solve(arrival_rate_qps=80, service_latency_ms=10)
            >>> print(f"{answer.p99_latency.to('ms'):.1f~P}", answer.is_stable)
            230.3 ms True
        """
        arguments = dict(arrival_rate_qps=arrival_rate_qps, service_latency_ms=service_latency_ms,
                         num_replicas=num_replicas, service_time_cv=service_time_cv, slo_latency_ms=slo_latency_ms,
                         arrival_cv=arrival_cv)  # fmt: skip
        border = Border()
        rate = border.number("arrival_rate_qps", arrival_rate_qps, most=1e12)
        service = milliseconds(border, "service_latency_ms", service_latency_ms)
        servers = border.count("num_replicas", num_replicas, most=1e7)
        cv = border.number("service_time_cv", service_time_cv, most=100.0)
        bursts = border.number("arrival_cv", arrival_cv, most=100.0)
        asked = None if slo_latency_ms is None else milliseconds(border, "slo_latency_ms", slo_latency_ms)
        border.close()
        factor = Defaults["Operations"].si.slo_factor
        slo = service * factor if asked is None else asked
        load = queueing.offered_load(rate, service)
        utilisation = queueing.server_utilisation(rate, service, servers)
        wait = queueing.allen_cunneen_wait(queueing.mean_wait(rate, service, servers), cv, bursts)
        p50, p90, p99, p999 = (
            queueing.sojourn_quantile(q, rate, service, servers, cv, bursts) for q in (0.5, 0.9, 0.99, 0.999)
        )
        missed = queueing.sojourn_tail(slo, rate, service, servers, cv, bursts)
        notes: tuple[str, ...] = () if asked is not None else (f"objective: {factor:g} mean service times",)
        if not (np.all(np.equal(cv, 1)) and np.all(np.equal(bursts, 1))):
            notes += ("waits by the two-moment approximation of Allen and Cunneen",)
        return TailLatencyResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(v) for v in (rate, service, servers, cv, bursts, slo))),
            notes=notes,
            p50_latency=p50,
            p90_latency=p90,
            p99_latency=p99,
            p99_9_latency=p999,
            mean_wait=wait,
            service_time=service,
            wait_probability=queueing.wait_probability(load, servers),
            arrival_rate=rate,
            queue_utilization=utilisation,
            slo_latency=slo,
            slo_violation_probability=missed,
            is_stable=np.less(load, servers),
        )


def milliseconds(border: Border, name: str, value: Any) -> Any:
    """A positive time in seconds, from plain milliseconds or a quantity."""
    if isinstance(value, str) or hasattr(value, "units"):
        return border.quantity(name, value, "second")
    return border.number(name, value, least=1e-9, most=1e12) / 1e3
