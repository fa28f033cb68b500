"""Memory of a training step on one device: weights, gradients, optimizer, activations, buffers (wall 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..machine.textbook import peak_in
from ..physics import memory
from ..record import total
from ..units import Bytes, Fraction
from ..workloads.training import OPTIMIZERS, work_of
from . import plan_rules
from .base import ForwardModel
from .border import Border, shape_of
from .distributed import recomputation
from .ledger import shown
from .limits import Limit, binding
from .result import Question, Result
from .training_plan import SCHEDULES, Plan, memory_of, recipe_for

PARTS = ("Weights", "Gradients", "Optimizer", "Activations", "Logits", "Buffers")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingMemoryResult(Result):
    """Memory of the fullest device, in parts that add up."""

    weights: Bytes
    gradients: Bytes
    optimizer_state: Bytes
    activations: Bytes
    logits: Bytes
    communication_buffers: Bytes
    available_memory: Bytes
    feasible: bool

    @total
    def total_memory(self) -> Bytes:
        """All parts together."""
        states = memory.sum_of_bytes(self.weights, self.gradients, self.optimizer_state)
        return memory.sum_of_bytes(states, memory.sum_of_bytes(self.activations, self.logits, 0.0),
                                   self.communication_buffers)  # fmt: skip

    @total
    def memory_utilization(self) -> Fraction:
        """Memory needed over memory there is."""
        return self.total_memory / self.available_memory

    @property
    def breakdown(self) -> dict[str, Any]:
        """Parts by name, which add up to :attr:`total_memory`."""
        names = ("weights", "gradients", "optimizer_state", "activations", "logits", "communication_buffers")
        return {name: getattr(self, name) for name in names}

    @property
    def bottleneck(self) -> Any:
        """The largest part."""
        return self._parts()[0]

    @property
    def margin(self) -> Any:
        """How many times larger the largest part is than the next."""
        return self._parts()[1]

    def _parts(self) -> tuple[Any, Any]:
        i = self.si
        parts = (i.weights, i.gradients, i.optimizer_state, i.activations, i.logits, i.communication_buffers)
        return binding(PARTS, tuple(np.broadcast_to(part, self.shape) for part in parts))

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What has to fit."""
        inside = self.si
        return (Limit("memory per device", inside.total_memory, inside.available_memory, "byte"),)

    @property
    def remedies(self) -> list[str]:
        """Changes after which it fits, cheapest first, each checked by asking again; several together if none will do.

        Empty where it fits already, and for sweeps.
        """
        if self.shape or self.feasible:
            return []
        steps = _steps(self.question.arguments)
        alone = [(text, _ask(self.question, change)) for text, change in steps]
        found = [f"{text}: {shown(answer.si.total_memory, 'byte')}" for text, answer in alone if _fits(answer)]
        if found:
            return found
        together: dict[str, Any] = {}
        words: list[str] = []
        for text, change in steps:
            if any(name in together and name != "zero_stage" for name in change):
                continue
            together |= change
            words = [word for word in words if not (word.startswith("ZeRO") and text.startswith("ZeRO"))] + [text]
            answer = _ask(self.question, together)
            if answer is not None and answer.feasible:
                return [f"{' and '.join(words)}: {shown(answer.si.total_memory, 'byte')}"]
        return []


def _fits(answer: Any) -> bool:
    return answer is not None and bool(answer.feasible)


def _ask(question: Question, change: dict[str, Any]) -> Any:
    from ..errors import MLSysimError

    try:
        return question.resolver().solve(**{**question.arguments, **change})
    except MLSysimError:  # ranks that do not divide, say: no remedy
        return None


def _steps(asked: dict[str, Any] | Any) -> list[tuple[str, dict[str, Any]]]:
    """Changes in the order of what they cost: nothing, little, a third more work, more traffic, more chips."""
    found: list[tuple[str, dict[str, Any]]] = []
    data, stage = float(asked["dp_size"]), float(asked["zero_stage"])
    if data > 1:
        found += [(f"ZeRO stage {n} (no more traffic)", {"zero_stage": n}) for n in (1, 2) if n > stage]
    if str(asked["activation_checkpointing"]).lower() in ("none", "false"):
        found.append(("selective recomputation (a few per cent more work)", {"activation_checkpointing": "selective"}))
    local = float(asked["batch_size"]) / (data * float(asked["gradient_accumulation_steps"]))
    if local > 1:
        steps = int(local) * int(asked["gradient_accumulation_steps"])
        found.append((f"{steps} micro-batches of one sequence", {"gradient_accumulation_steps": steps}))
    if str(asked["optimizer"]).lower() in ("adam", "adamw"):
        found.append(("8-bit moments (adamw8bit)", {"optimizer": "adamw8bit"}))
    if str(asked["activation_checkpointing"]).lower() not in ("full", "true"):
        found.append(("full recomputation (a third more work)", {"activation_checkpointing": "full"}))
    if data > 1 and stage < 3:
        found.append(("ZeRO stage 3 (half as much traffic again)", {"zero_stage": 3}))
    for ranks in (2, 4, 8):
        if ranks > float(asked["tp_size"]):
            found.append((f"{ranks} tensor-parallel ranks", {"tp_size": ranks}))
    for stages in (2, 4, 8, 16, 32):
        if stages > float(asked["pp_size"]):
            found.append((f"{stages} pipeline stages", {"pp_size": stages}))
    return found


class TrainingMemoryModel(ForwardModel):
    """Wall 2: training keeps eight times the weights of inference, and activations on top."""

    walls = ((2, "Memory", "node"),)
    requires = ("workload", "hardware")
    produces = TrainingMemoryResult
    misbeliefs = {
        "a model that can be served can be trained there": "mixed-precision Adam keeps 16 bytes a parameter, not 2",
        "ZeRO shares out everything": "activations stay; sequence length and micro-batch decide them",
        "pipeline stages share out activations": "the first stage holds as many micro-batches as there are stages",
    }

    def solve(
        self,
        model: Any,
        hardware: Any,
        batch_size: Any = 1,
        seq_len: Any = 2048,
        precision: Any = "fp16",
        optimizer: Any = "adam",
        activation_checkpointing: Any = "selective",
        tp_size: Any = 1,
        pp_size: Any = 1,
        dp_size: Any = 1,
        ep_size: Any = 1,
        zero_stage: Any = 0,
        gradient_accumulation_steps: Any = 1,
        trainable_fraction: Any = 1.0,
        communication_buffer_fraction: Any = 0.05,
        sequence_parallel: Any = True,
        *,
        cp_size: Any = 1,
        v_stages: Any = 1,
        schedule: Any = "1f1b",
        fused_attention: Any = True,
    ) -> TrainingMemoryResult:
        """What one device holds in the fullest moment of a training step, on the fullest pipeline stage.

        Args:
            model: an entry of ``Models`` or its name
            hardware: a device, a stack of them, or a name
            batch_size: samples of an optimizer step over all data-parallel and expert ranks; may be an array
            seq_len: tokens of a sequence
            precision: number format of the arithmetic; formats below 16 bits keep their weights in 16
            optimizer: sgd, momentum, adam, adamw, adamw8bit, adafactor or muon
            activation_checkpointing: ``"none"``, ``"selective"`` (attention scores are recomputed) or ``"full"``
            tp_size: tensor-parallel ranks
            pp_size: pipeline stages
            dp_size: data-parallel ranks
            ep_size: expert-parallel ranks
            zero_stage: what data-parallel ranks share: 1 optimizer states, 2 gradients too, 3 weights too
            gradient_accumulation_steps: micro-batches of a step
            trainable_fraction: share of the parameters that are trained
            communication_buffer_fraction: buffers, as a share of weights and gradients
            sequence_parallel: tensor-parallel ranks also share norms and residuals
            cp_size: context-parallel ranks
            v_stages: model chunks of each pipeline stage
            schedule: ``"1f1b"``, ``"interleaved"``, ``"gpipe"`` or ``"zero-bubble"``
            fused_attention: attention scores are never stored, whatever is recomputed

        Returns:
            Parts that add up, ``feasible``, and ``remedies`` where it does not fit.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once
            InvalidPlanError: ranks that do not divide heads, layers, experts or tokens

        Examples:
            >>> answer = TrainingMemoryModel().solve("Llama3_8B", "H100")
            >>> answer.feasible, answer.bottleneck
            (False, 'Optimizer')
        """
        arguments = dict(model=model, hardware=hardware, batch_size=batch_size, seq_len=seq_len, precision=precision,
                         optimizer=optimizer, activation_checkpointing=activation_checkpointing, tp_size=tp_size,
                         pp_size=pp_size, dp_size=dp_size, ep_size=ep_size, zero_stage=zero_stage,
                         gradient_accumulation_steps=gradient_accumulation_steps, trainable_fraction=trainable_fraction,
                         communication_buffer_fraction=communication_buffer_fraction, sequence_parallel=sequence_parallel,
                         cp_size=cp_size, v_stages=v_stages, schedule=schedule, fused_attention=fused_attention)  # fmt: skip
        border = Border()
        network, device = border.model(model), border.device(hardware)
        number = border.format(precision)
        batch, tokens = border.count("batch_size", batch_size), border.count("seq_len", seq_len)
        dp, tp, pp = (
            border.count("dp_size", dp_size),
            border.count("tp_size", tp_size),
            border.count("pp_size", pp_size),
        )
        ep, cp, chunks = (
            border.count("ep_size", ep_size),
            border.count("cp_size", cp_size),
            border.count("v_stages", v_stages),
        )
        zero = border.count("zero_stage", zero_stage, least=0, most=3)
        steps = border.count("gradient_accumulation_steps", gradient_accumulation_steps)
        trainable = border.fraction("trainable_fraction", trainable_fraction)
        buffers = border.fraction("communication_buffer_fraction", communication_buffer_fraction, closed=True)
        recompute = recomputation(border, activation_checkpointing, "activation_checkpointing")
        update = border.choice("optimizer", optimizer, tuple(OPTIMIZERS))
        order = border.choice("schedule", schedule, SCHEDULES)
        shared, fused = (
            border.flag("sequence_parallel", sequence_parallel),
            border.flag("fused_attention", fused_attention),
        )
        border.close()
        arguments.update(model=network, hardware=device)
        work = work_of(network, tokens)
        plan = Plan(dp=dp, tp=tp, pp=pp, ep=ep, cp=cp, chunks=chunks, microbatches=steps, zero=zero, recompute=recompute,
                    sequence_parallel=shared, schedule=order, fused_attention=fused)  # fmt: skip
        good, problems = plan_rules.layout(plan, work, plan.chips)
        plan_rules.refuse(problems)
        recipe, notes = recipe_for(number, work, update, trainable=trainable, buffers=buffers)
        peak_in(device, number)  # a chip that cannot compute in the format cannot train in it
        held = memory_of(work, plan, plan.samples(batch), recipe)
        capacity = device.si.memory_capacity
        return TrainingMemoryResult(
            question=Question(type(self), arguments),
            shape=shape_of(batch, tokens, dp, tp, pp, ep, cp, chunks, zero, steps, trainable, buffers, capacity),
            notes=notes,
            weights=held.weights,
            gradients=held.gradients,
            optimizer_state=held.optimizer,
            activations=held.activations,
            logits=held.logits,
            communication_buffers=held.buffers,
            available_memory=capacity,
            feasible=good & (held.total <= capacity),
        )  # fmt: skip
