"""Steps after pre-training: preference optimisation, and reinforcement learning with rollouts from a server (wall 14)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..catalog import Defaults, textbook
from ..errors import InvalidPlanError
from ..machine.textbook import wiring
from ..physics import collectives, memory
from ..physics import transformer as eq
from ..record import total
from ..units import Count, Fraction, Seconds, TokensPerSecond
from . import plan_rules
from .base import ForwardModel
from .border import Border, shape_of
from .limits import Limit, binding
from .result import Question, Result
from .serving import ServingModel
from .training_step import TrainingStepModel

METHODS = ("sft", "dpo", "ppo", "grpo")
PLACEMENTS = ("colocated", "disaggregated")
PARTS = ("Rollout", "Reward", "Reference", "Update", "Weight transfer")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PostTrainingResult(Result):
    """One iteration in its phases. Where rollouts have chips of their own they run beside the rest, a step ahead."""

    method: str
    placement: str
    update: Any = field(repr=False)
    rollout: Seconds
    reward: Seconds
    reference: Seconds
    update_latency: Seconds
    weight_transfer: Seconds
    sequences: Count
    generated_tokens: Count
    rollout_chips: Count
    training_chips: Count
    feasible: bool

    @total
    def learning_latency(self) -> Seconds:
        """What the chips that train do in an iteration."""
        return memory.sum_of_times(self.reward, self.reference, self.update_latency)

    @total
    def iteration_latency(self) -> Seconds:
        """One iteration: phases in turn, or the longer of two sides and the hand-over of weights."""
        if self.placement == "colocated":
            return memory.sum_of_times(self.rollout, self.si.learning_latency, self.weight_transfer)
        return np.maximum(self.rollout, self.si.learning_latency) + self.weight_transfer

    @total
    def rollout_share(self) -> Fraction:
        """Rollout over the sum of all phases."""
        return self.rollout / memory.sum_of_times(self.rollout, self.si.learning_latency, self.weight_transfer)

    @total
    def rollout_rate(self) -> TokensPerSecond:
        """Tokens generated a second of an iteration."""
        return self.generated_tokens / self.si.iteration_latency

    @property
    def bottleneck(self) -> Any:
        """The longest phase."""
        return self._phases()[0]

    @property
    def margin(self) -> Any:
        """How many times longer it is than the next."""
        return self._phases()[1]

    def _phases(self) -> tuple[Any, Any]:
        i = self.si
        times = (i.rollout, i.reward, i.reference, i.update_latency, i.weight_transfer)
        return binding(PARTS, tuple(np.broadcast_to(t, self.shape) for t in times))

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit on the fullest chip that trains."""
        found: tuple[Limit, ...] = self.update.limits
        return found

    def values(self) -> dict[str, Any]:
        """Every number of the answer by name."""
        return {name: value for name, value in Result.values(self).items() if name != "update"}


class PostTrainingModel(ForwardModel):
    """Wall 14: a step of preference or reinforcement learning is mostly inference."""

    walls = ((14, "Communication", "fleet"),)
    requires = ("workload", "fleet")
    produces = PostTrainingResult
    misbeliefs = {
        "reinforcement learning is training": "rollouts decode token by token and often take more than half of the time",
        "two fleets are twice as fast as one": "the slower side sets the pace, and weights have to be handed over",
        "a reference model is free": "it costs a forward pass over every sequence, a third of a training step",
    }

    def solve(
        self,
        model: Any,
        fleet: Any,
        method: Any = "grpo",
        prompts: Any = 256,
        samples: Any = 8,
        prompt_len: Any = 512,
        output_len: Any = 2048,
        *,
        placement: Any = "colocated",
        rollout_share: Any = 0.5,
        rollout_tp: Any = 1,
        rollout_stack: Any = "vllm",
        longest_over_mean: Any = None,
        reward_share: Any = 0.0,
        **plan: Any,
    ) -> PostTrainingResult:
        """One iteration on a fleet.

        Args:
            model: a decoder of ``Models`` or its name
            fleet: a fleet or a node, or its name
            method: ``"sft"``; ``"dpo"`` (pairs against a reference); ``"grpo"`` (groups of samples, a reference); ``"ppo"``
                (a value model that trains as well)
            prompts: prompts of an iteration (pairs for DPO, sequences for SFT)
            samples: answers sampled for a prompt
            prompt_len: tokens of a prompt
            output_len: tokens of an answer, on average
            placement: rollouts on the chips that train (``"colocated"``) or on chips of their own (``"disaggregated"``)
            rollout_share: share of the nodes for rollouts when disaggregated
            rollout_tp: tensor-parallel ranks of a rollout engine
            rollout_stack: serving stack of the rollouts
            longest_over_mean: longest answer over the mean, which the end of a rollout waits for; a planning figure unless said
            reward_share: FLOPs of the reward model over those of a forward pass of the model; 0 for rules
            plan: how the update is split, as in ``TrainingStepModel``

        Examples:
            >>> step = PostTrainingModel().solve("Llama3_8B", "DGX_H100", prompts=64, activation_recomputation="full", zero_stage=3)
            >>> step.rollout > step.reference
            True
        """
        arguments = dict(model=model, fleet=fleet, method=method, prompts=prompts, samples=samples, prompt_len=prompt_len,
                         output_len=output_len, placement=placement, rollout_share=rollout_share, rollout_tp=rollout_tp,
                         rollout_stack=rollout_stack, longest_over_mean=longest_over_mean, reward_share=reward_share, **plan)  # fmt: skip
        border = Border()
        network, machine = border.model(model), plan_rules.fleet_of(border, fleet)
        how, where = border.choice("method", method, METHODS), border.choice("placement", placement, PLACEMENTS)
        asked, each = border.count("prompts", prompts), border.count("samples", samples)
        before, after = border.count("prompt_len", prompt_len), border.count("output_len", output_len)
        share = border.fraction("rollout_share", rollout_share)
        engines = border.count("rollout_tp", rollout_tp)
        spread = Defaults["Operations"].si.length_spread
        tail = (
            1.0 + spread
            if longest_over_mean is None
            else border.number("longest_over_mean", longest_over_mean, least=1.0)
        )
        judge = border.number("reward_share", reward_share)
        if "seq_len" in plan or "batch_size" in plan:
            border.problems.append(
                "seq_len and batch_size follow from prompts, samples, prompt_len and output_len; leave them out"
            )
        plan_rules.taken(border, TrainingStepModel, plan)
        border.close()
        arguments.update(model=network, fleet=machine)
        learns = how in ("ppo", "grpo")
        links = wiring(machine, textbook().link_latency)
        trainer, generators = machine, links.chips
        if learns and where == "disaggregated":
            trainer, generators = _split(machine, share)
        sequences = asked * {"sft": 1.0, "dpo": 2.0}.get(how, each)
        length = before + after
        update = TrainingStepModel().solve(network, trainer, sequences, seq_len=length, **plan)
        inside = update.si
        passes = (
            (inside.step_latency_total - inside.update_latency)
            * inside.forward_stage
            / (inside.forward_stage + inside.backward_stage)
        )
        rollout: Any = 0.0
        transfer: Any = 0.0
        fits: Any = True
        notes: tuple[str, ...] = ()
        if learns:
            answer = _generate(network, links.chip, before, after, sequences, generators, engines, rollout_stack, tail)
            rollout, fits, notes = answer
            # every engine gets the new weights from the ranks that train, over a link of each of its chips
            size = eq.weight_size(network.si.parameters, 2.0) / engines
            link = links.inside if where == "colocated" or links.across is None else links.across
            transfer = collectives.send_time(size, link, links.inside_latency)
        critic = 2.0 if how == "ppo" else 1.0  # the value model runs and trains as the policy does
        return PostTrainingResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(v) for v in (inside.step_latency_total, rollout, sequences, tail, judge))),
            notes=tuple(dict.fromkeys((*update.notes, *notes))),
            method=how,
            placement=where if learns else "colocated",
            update=update,
            rollout=rollout,
            reward=judge * passes,
            reference=0.0 if how == "sft" else passes * (2.0 if how == "ppo" else 1.0),
            update_latency=inside.step_latency_total * critic,
            weight_transfer=transfer,
            sequences=sequences,
            generated_tokens=sequences * after if learns else 0.0,
            rollout_chips=generators if learns else 0.0,
            training_chips=inside.chips,
            feasible=np.logical_and(inside.feasible, fits)[()],
        )


def _split(machine: Any, share: Any) -> tuple[Any, Any]:
    """The nodes that train, and the chips that generate."""
    inside = machine.si
    nodes = getattr(inside, "count", 1.0)
    mine = np.round(nodes * (1.0 - share))
    if np.ndim(mine) or mine < 1 or mine >= nodes:
        raise InvalidPlanError(
            f"rollout_share: leaves no node to train or to generate of {nodes:g}; nearest: a fleet of 2 or more nodes, share 0.5"
        )
    return machine.replace(count=float(mine)), (nodes - mine) * inside.node.accelerators_per_node


def _generate(model: Any, chip: Any, before: Any, after: Any, sequences: Any, chips: Any, tp: Any, stack: Any,
              tail: Any) -> tuple[Any, Any, tuple[str, ...]]:  # fmt: skip
    """Time for all sequences, in as many rounds as memory asks for, with the mean context of decoding.

    A round lasts as long as its longest answer; over that time the mean number of sequences under way is the batch times
    the mean length over the longest.
    """
    groups = np.maximum(np.floor(chips / tp), 1.0)
    batch = np.ceil(sequences / groups)
    rounds: Any = 1.0
    serving = ServingModel()
    answer = serving.solve(model, chip, before + after, batch, "bf16", "measured", stack=stack, tp_size=tp)
    while np.ndim(batch) == 0 and np.ndim(answer.feasible) == 0 and not answer.feasible and batch > 1:
        batch, rounds = np.ceil(batch / 2), rounds * 2
        answer = serving.solve(model, chip, before + after, batch, "bf16", "measured", stack=stack, tp_size=tp)
    middle = serving.solve(
        model, chip, before + np.ceil(after / 2), np.ceil(batch / tail), "bf16", "measured", stack=stack, tp_size=tp
    ).si
    first = serving.solve(model, chip, before, batch, "bf16", "measured", stack=stack, tp_size=tp).si
    return rounds * (first.ttft + tail * after * middle.itl), answer.feasible, answer.notes
