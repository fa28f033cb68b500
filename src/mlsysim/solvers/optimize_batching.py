"""The largest batch that still meets a latency objective (wall 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..physics import queueing
from ..units import Count, Fraction, PerSecond, Seconds
from .base import BaseOptimizer
from .batching import generator
from .border import Border
from .limits import Limit
from .result import Question, Result
from .slots import at, largest, latency, pace
from .tail import milliseconds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchingOptimizerResult(Result):
    """The best limit on active requests, and the service it gives."""

    best_batch_size: Count
    max_throughput: PerSecond
    served_throughput: PerSecond
    p99_latency: Seconds
    sla_latency: Seconds
    slo_violation_probability: Fraction
    mean_active: Count
    utilization: Fraction
    total_searched: Count
    is_feasible: bool

    @property
    def feasible(self) -> Any:
        """Whether some batch meets the objective and fits in memory."""
        return self.is_feasible

    @property
    def objective_value(self) -> Any:
        """What was made as large as possible: tokens a second that the replicas can generate."""
        return self.si.max_throughput

    @property
    def best_config(self) -> dict[str, Any]:
        """The configuration to run."""
        return {"max_batch_size": self.best_batch_size}

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to be met."""
        return (Limit("p99 latency", self.si.p99_latency, self.si.sla_latency, "second"),)


class BatchingOptimizer(BaseOptimizer):
    """Wall 5: a larger batch serves more requests a second, each of them slower."""

    walls = ((5, "Batching", "node"),)
    requires = ("workload", "hardware")
    produces = BatchingOptimizerResult
    misbeliefs = {
        "the largest batch that fits is best": "each step takes longer with more sequences; latency objectives bind first",
        "a queue needs the batch to fill": "continuous batching starts a request at the next step; light loads do not wait",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        seq_len: Any,
        sla_latency_ms: Any,
        arrival_rate_qps: Any,
        num_replicas: Any = 1,
        precision: Any = "fp16",
        efficiency: Any = 0.5,
        max_search_batch: Any = 256,
        *,
        output_len: Any = None,
        service_time_cv: Any = 1.0,
        tp_size: Any = 1,
        pp_size: Any = 1,
        kv_precision: Any = None,
    ) -> BatchingOptimizerResult:
        """The largest limit on active requests for which p99 from arrival to last token meets the objective.

        A replica batches continuously: a request enters at the next step if a slot is free and waits otherwise (M/G/c
        over the slots of all replicas). A limit is good if it fits in memory, if a request in a full replica is still
        done in time, and if the wait for a slot leaves p99 within the objective. All limits are searched.

        Args:
            model: a decoder of ``Models`` or its name
            hardware: a device, a node or a fleet, or a name
            seq_len: tokens of each prompt; may be an array
            sla_latency_ms: objective for p99 of the whole request, in milliseconds or with a unit
            arrival_rate_qps: requests a second, over all replicas
            num_replicas: replicas
            precision: number format of the weights
            efficiency: share of the arithmetic peak that is reached
            max_search_batch: largest limit to try
            output_len: tokens generated for each request; as many as the prompt has unless said
            service_time_cv: coefficient of variation of the time that the requests ahead hold their slots; 0: all alike
            tp_size: tensor-parallel ranks of a replica
            pp_size: pipeline stages of a replica
            kv_precision: number format of the cache

        Returns:
            The best limit (0 if there is none), throughput, p99 and the probability of missing the objective.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = BatchingOptimizer().solve("Llama3_8B", "H100", 1024, "20 s", 1)
            >>> answer.is_feasible, answer.best_batch_size > 1
            (True, True)
        """
        arguments = dict(model=model, hardware=hardware, seq_len=seq_len, sla_latency_ms=sla_latency_ms,
                         arrival_rate_qps=arrival_rate_qps, num_replicas=num_replicas, precision=precision,
                         efficiency=efficiency, max_search_batch=max_search_batch, output_len=output_len,
                         service_time_cv=service_time_cv, tp_size=tp_size, pp_size=pp_size,
                         kv_precision=kv_precision)  # fmt: skip
        border = Border()
        network, machine = border.model(model), border.machine(hardware)
        prompt = border.count("seq_len", seq_len)
        sla = milliseconds(border, "sla_latency_ms", sla_latency_ms)
        qps = border.number("arrival_rate_qps", arrival_rate_qps, most=1e12)
        replicas = border.count("num_replicas", num_replicas, most=1e7)
        most = border.count("max_search_batch", max_search_batch, most=65_536)
        output = prompt if output_len is None else border.count("output_len", output_len)
        cv = border.number("service_time_cv", service_time_cv, most=100.0)
        if not isinstance(efficiency, str):  # what is measured has a word, which the serving model checks
            border.fraction("efficiency", efficiency)
        if np.ndim(most):
            border.problems.append("max_search_batch: expected one whole number, found an array")
        border.close()
        generator(type(self).__name__, network)
        arguments.update(model=network, hardware=machine)
        running = pace(
            network, machine, prompt, output, int(most), precision, efficiency, sla, qps, replicas, cv,
            tp_size=tp_size, pp_size=pp_size, kv_precision=kv_precision,
        )  # fmt: skip
        shape = running.rates.shape[1:]
        # A request that finds all slots but one taken must still be done in time; below that, more slots only wait less.
        best, index = largest(running, running.stays <= sla)
        slots = np.maximum(best, 1.0)
        now, _, p99 = latency(running, qps, replicas, slots, cv)
        rate = at(running.rates, index)
        found = (best > 0) & (p99 <= sla) & (qps < replicas * rate)
        notes = running.notes
        if output_len is None:
            notes += ("output_len not given: as many tokens as the prompt has",)
        return BatchingOptimizerResult(
            question=Question(type(self), arguments),
            shape=shape,
            notes=notes,
            best_batch_size=np.where(found, best, 0.0)[()],
            max_throughput=np.where(found, replicas * rate * output, 0.0)[()],
            served_throughput=np.where(found, qps * output, 0.0)[()],
            p99_latency=p99,
            sla_latency=sla,
            slo_violation_probability=queueing.wait_tail(sla - now.late_stay, qps, now.stay, replicas * slots, cv),
            mean_active=now.active,
            utilization=queueing.server_utilisation(qps, now.stay, replicas * slots),
            total_searched=most,
            is_feasible=found,
        )
