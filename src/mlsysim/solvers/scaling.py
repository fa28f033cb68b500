"""How big a model and how many tokens a budget of compute should buy (wall 11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Defaults
from ..catalog.assumptions import ScalingLaw
from ..catalog.hardware import native_peak
from ..errors import UnitError
from ..physics import scaling
from ..record import total
from ..units import NUMBER_AND_UNIT, Count, Flop, Fraction, Plain, factor
from .base import ForwardModel
from .border import Border, shape_of
from .result import Question, Result

REFERENCE_LAW = "Epoch"
"""The law that losses are read from where no law was asked for: the re-fit that agrees with the 20-token rule."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScalingResult(Result):
    """A model size and a number of tokens for a budget, and what serving does to the best choice."""

    compute_budget: Flop
    optimal_parameters: Count
    optimal_tokens: Count
    loss: Count
    best_parameters: Count
    best_tokens: Count
    best_loss: Count
    lifetime_parameters: Count
    lifetime_tokens: Count
    lifetime_flops: Flop
    lifetime_flops_here: Flop

    @total
    def compute_budget_flops(self) -> Plain:
        """The budget as a plain number of FLOPs."""
        return self.compute_budget

    @total
    def tokens_per_parameter(self) -> Count:
        """Training tokens for each parameter."""
        return self.optimal_tokens / self.optimal_parameters

    @total
    def overtraining(self) -> Fraction:
        """Tokens for each parameter over those of the compute-optimal model of the same budget."""
        return self.tokens_per_parameter / (self.best_tokens / self.best_parameters)

    @total
    def excess_loss(self) -> Count:
        """Loss above the best that the budget buys, in nats a token."""
        return self.loss - self.best_loss

    @total
    def lifetime_saving(self) -> Fraction:
        """Share of the FLOPs of training and serving that the best size for the same loss saves."""
        return 1 - self.lifetime_flops / self.lifetime_flops_here


class ScalingModel(ForwardModel):
    """Wall 11: compute-optimal training by the 20-token rule or a fitted law, and the optimum once serving counts."""

    walls = ((11, "Complexity", "algorithm"),)
    requires = ("compute_budget",)
    produces = ScalingResult
    misbeliefs = {
        "a bigger model is a better model": "at a given budget it sees fewer tokens; past the optimum the loss rises",
        "compute-optimal is cost-optimal": "a model that is served a lot should be smaller and trained for longer",
        "the exponents are known": "two fits of the same runs differ by a factor of two in the best size at 1e25 FLOPs",
    }

    def solve(
        self,
        compute_budget: Any,
        target_model_size: Any = None,
        *,
        law: Any = None,
        tokens_per_parameter: Any = 20.0,
        inference_tokens: Any = 0.0,
        hardware: Any = "H100",
        devices: Any = 1,
        mfu: Any = 0.4,
    ) -> ScalingResult:
        """Split a budget between parameters and tokens.

        Args:
            compute_budget: FLOPs, as ``"1e24 FLOP"``; or a time, as ``"1000 day"``, that ``devices`` run
            target_model_size: parameters, where the size is given and the budget buys tokens
            law: a fitted law (``"Chinchilla"``, ``"Epoch"``, or an entry); the rule of tokens for a parameter unless said
            tokens_per_parameter: tokens for each parameter under that rule
            inference_tokens: tokens that the model will serve over its life
            hardware: the device whose time is the budget
            devices: how many of them
            mfu: share of their dense peak that training reaches

        Returns:
            Parameters, tokens, losses by the law (the Epoch re-fit where the rule was used), and the size that
            would reach the same loss with the fewest FLOPs of training and serving together.

        Raises:
            UnitError: a budget that is neither FLOPs nor a time
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = ScalingModel().solve("1e24 FLOP")
            >>> print(f"{answer.optimal_parameters:.4g} {answer.optimal_tokens:.4g}")
            9.129e+10 1.826e+12
        """
        arguments = dict(compute_budget=compute_budget, target_model_size=target_model_size, law=law,
                         tokens_per_parameter=tokens_per_parameter, inference_tokens=inference_tokens,
                         hardware=hardware, devices=devices, mfu=mfu)  # fmt: skip
        border = Border()
        timed = _is_time(compute_budget)
        number = border.quantity("compute_budget", compute_budget, "second" if timed else "flop")
        size = None if target_model_size is None else border.count("target_model_size", target_model_size, most=1e18)
        fitted = None if law is None else border.entry("law", law, ScalingLaw, Defaults)
        ratio = border.positive("tokens_per_parameter", tokens_per_parameter)
        served = border.number("inference_tokens", inference_tokens)
        chip = border.device(hardware)
        many = border.count("devices", devices)
        share = border.fraction("mfu", mfu)
        border.close()
        notes: tuple[str, ...] = ()
        budget = number
        if timed:
            arguments.update(hardware=chip)
            budget = scaling.compute_in_time(number, many, native_peak(chip.si.peaks), share)
            notes += (f"the time is that of {devices} x {chip.id} at an MFU of {mfu}",)
        read = (fitted if fitted is not None else Defaults[REFERENCE_LAW]).si
        terms = (read.parameter_scale, read.token_scale, read.parameter_exponent, read.token_exponent)
        best = scaling.law_optimal_parameters(budget, *terms)
        best_tokens = scaling.affordable_tokens(budget, best)
        if size is not None:
            parameters = size
        elif fitted is not None:
            parameters = best
        else:
            parameters = scaling.ratio_optimal_parameters(budget, ratio)
            notes += (
                (f"{tokens_per_parameter:g} tokens a parameter; losses by the law {REFERENCE_LAW}",)
                if np.ndim(tokens_per_parameter) == 0
                else ()
            )
        tokens = scaling.affordable_tokens(budget, parameters)
        loss = scaling.fitted_loss(parameters, tokens, read.irreducible, *terms)
        lifelong = scaling.lifetime_optimal_parameters(loss, served, read.irreducible, *terms)
        lifelong_tokens = scaling.tokens_for_loss(lifelong, loss, read.irreducible, *terms)
        return ScalingResult(
            question=Question(type(self), arguments),
            shape=shape_of(np.asarray(parameters), np.asarray(tokens), np.asarray(lifelong), many, share),
            notes=notes,
            compute_budget=budget,
            optimal_parameters=parameters,
            optimal_tokens=tokens,
            loss=loss,
            best_parameters=best,
            best_tokens=best_tokens,
            best_loss=scaling.fitted_loss(best, best_tokens, read.irreducible, *terms),
            lifetime_parameters=lifelong,
            lifetime_tokens=lifelong_tokens,
            lifetime_flops=scaling.lifetime_flops(lifelong, lifelong_tokens, served),
            lifetime_flops_here=scaling.lifetime_flops(parameters, tokens, served),
        )


def _is_time(value: Any) -> bool:
    """Whether a budget is a time (and not FLOPs)."""
    if isinstance(value, str):
        match = NUMBER_AND_UNIT.match(value)
        text = match[2] if match else ""
    else:
        text = str(getattr(value, "units", ""))
    try:
        factor(text or "1", "second", "compute_budget")
    except UnitError:
        return False
    return True
