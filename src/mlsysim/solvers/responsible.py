"""What privacy and fairness cost in compute and data (wall 20)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import Defaults
from ..physics import privacy
from ..record import total
from ..units import Count, Fraction, Seconds
from .base import ForwardModel
from .border import Border, shape_of
from .result import Question, Result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResponsibleEngineeringResult(Result):
    """Private training of a model, and data enough to check it on its rarest group."""

    base_training_time: Seconds
    epsilon: Count
    delta: Fraction
    noise_multiplier: Count
    sampling_rate: Fraction
    steps: Count
    steps_factor: Fraction
    clipping_factor: Fraction
    min_subgroup_prevalence: Fraction
    subgroup_samples: Count
    samples_to_collect: Count
    subgroup_margin_now: Fraction
    additional_data_requirement: Count
    feasible: bool

    @total
    def dp_slowdown_factor(self) -> Fraction:
        """Work of private training over plain training: more steps, each of them clipped example by example."""
        return self.steps_factor * self.clipping_factor

    @total
    def effective_training_time(self) -> Seconds:
        """Time of private training."""
        return self.base_training_time * self.steps_factor * self.clipping_factor

    @total
    def privacy_cost_ratio(self) -> Fraction:
        """As :attr:`dp_slowdown_factor`."""
        return self.steps_factor * self.clipping_factor

    @total
    def fairness_data_ratio(self) -> Count:
        """As :attr:`additional_data_requirement`."""
        return self.additional_data_requirement


class ResponsibleEngineeringModel(ForwardModel):
    """Wall 20: differential privacy by noise, and verdicts on small groups by more data."""

    walls = ((20, "Safety", "operations"),)
    requires = ("base_training_time",)
    produces = ResponsibleEngineeringResult
    misbeliefs = {
        "privacy is a constant tax": "the noise that a budget needs depends on the data set, the batch and the steps",
        "a large test set checks every group": "the error of a group's accuracy follows the group's own size",
        "a bigger batch wastes privacy": "noise is added once a batch; larger batches drown it",
    }

    def solve(
        self,
        base_training_time: Any,
        epsilon: Any = 1.0,
        delta: Any = 1e-5,
        min_subgroup_prevalence: Any = 0.01,
        *,
        dataset_size: Any = None,
        batch_size: Any = None,
        epochs: Any = None,
        noise_multiplier: Any = None,
        gradient_noise_scale: Any = None,
        effective_dimension: Any = None,
        accuracy: Any = None,
        margin: Any = None,
    ) -> ResponsibleEngineeringResult:
        """The noise a privacy budget needs, the slowdown that follows, and the data that a small group needs.

        Args:
            base_training_time: time of training without privacy
            epsilon: privacy loss allowed
            delta: probability with which the guarantee may fail
            min_subgroup_prevalence: share of the rarest group in the data, in (0, 1]
            dataset_size: training examples
            batch_size: examples of a batch, drawn at random
            epochs: passes over the data
            noise_multiplier: noise over the clipping norm, where it is given and epsilon follows
            gradient_noise_scale: batch at which sampling noise equals the signal
            effective_dimension: dimensions of the curvature that noise in the gradient matters in
            accuracy: accuracy expected on the group
            margin: half-width of the 95 % interval wanted for it

        Returns:
            Epsilon and noise by the accountant of the sampled Gaussian mechanism, the slowdown, and sample sizes. Where
            an argument is not given, that of the catalog's ``PrivateTraining`` (an MNIST tutorial) stands in.

        Raises:
            InvalidInputError: arguments that make no sense, all of them at once

        Examples:
            >>> answer = ResponsibleEngineeringModel().solve("100 h", epsilon=1.0)
            >>> answer.additional_data_requirement, answer.feasible
            (100.0, True)
        """
        arguments = dict(base_training_time=base_training_time, epsilon=epsilon, delta=delta,
                         min_subgroup_prevalence=min_subgroup_prevalence, dataset_size=dataset_size,
                         batch_size=batch_size, epochs=epochs, noise_multiplier=noise_multiplier,
                         gradient_noise_scale=gradient_noise_scale, effective_dimension=effective_dimension,
                         accuracy=accuracy, margin=margin)  # fmt: skip
        border = Border()
        assumed = Defaults["PrivateTraining"].si
        time = border.quantity("base_training_time", base_training_time, "second")
        budget = border.positive("epsilon", epsilon)
        failing = border.fraction("delta", delta)
        share = border.fraction("min_subgroup_prevalence", min_subgroup_prevalence)
        examples = assumed.examples if dataset_size is None else border.count("dataset_size", dataset_size)
        batch = assumed.batch if batch_size is None else border.count("batch_size", batch_size)
        passes = assumed.epochs if epochs is None else border.positive("epochs", epochs)
        noise = None if noise_multiplier is None else border.positive("noise_multiplier", noise_multiplier)
        scale = (
            assumed.gradient_noise_scale
            if gradient_noise_scale is None
            else border.number("gradient_noise_scale", gradient_noise_scale)
        )
        dimension = (
            assumed.effective_dimension
            if effective_dimension is None
            else border.number("effective_dimension", effective_dimension)
        )
        right = assumed.accuracy if accuracy is None else border.fraction("accuracy", accuracy)
        wanted = assumed.margin if margin is None else border.fraction("margin", margin)
        if border.agree() and np.any(np.greater(batch, examples)):
            border.problems.append("batch_size: expected at most dataset_size")
        border.close()
        rate = batch / examples
        steps = np.ceil(passes * examples / batch)
        notes: tuple[str, ...] = ()
        if noise is None:
            noise = privacy.noise_for_privacy(budget, rate, steps, failing)
        else:
            budget = privacy.privacy_loss(noise, rate, steps, failing)
            notes += ("epsilon follows from the noise multiplier that was given",)
        if any(value is None for value in (dataset_size, batch_size, epochs)):
            notes += (f"the run is that of {Defaults['PrivateTraining'].id} where it was not given: "
                      f"{assumed.examples:g} examples, batch {assumed.batch:g}, {assumed.epochs:g} epochs",)  # fmt: skip
        slower = privacy.compounded_steps_factor(privacy.noisy_steps_factor(noise, batch, scale, dimension))
        needed = privacy.samples_for_margin(right, wanted)
        return ResponsibleEngineeringResult(
            question=Question(type(self), arguments),
            shape=shape_of(*(np.asarray(x) for x in (time, budget, failing, share, noise, slower, needed))),
            notes=notes,
            base_training_time=time,
            epsilon=budget,
            delta=failing,
            noise_multiplier=noise,
            sampling_rate=rate,
            steps=steps,
            steps_factor=slower,
            clipping_factor=privacy.ghost_clipping_factor(),
            min_subgroup_prevalence=share,
            subgroup_samples=needed,
            samples_to_collect=privacy.data_for_subgroup(needed, share),
            subgroup_margin_now=privacy.wilson_margin(right, examples * share),
            additional_data_requirement=privacy.data_for_subgroup(1.0, share),
            feasible=np.isfinite(slower),
        )
