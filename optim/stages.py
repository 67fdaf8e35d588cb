"""A stage of the optimization as data: which parameters are free, what is predicted from them, which terms judge it, how to go downhill.

stage = Stage(
    "cage", free={"cage": Diffused.over(faces, len(cage), strength=20.0, unit=0.05)}, predict=render_crop,
    terms=(LossTerm("depth", 100.0, lambda crop: compare_depths(crop.depth, measured, valid, noise)),),
    stepper=Adam(1e-2), limits=Limits(iterations=300, patience=40),
)
values = run_stage(stage, {"cage": cage, "colour": colour}).values
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from invgraphics.parameters import Bijection
from invgraphics.reconstruction import StageHistory
from optim.minimize import Callback, Limits, Minimum, minimize
from optim.steppers import (
    LevenbergMarquardt,
    NormalEquationsFunction,
    Parameters,
    RobustKernel,
    Stepper,
    linearize_forward,
    quadratic,
)

Values = dict[str, Tensor]
"""Constrained quantities by name: positions, radii, colours."""


@runtime_checkable
class Term(Protocol):
    """One weighted term of a loss."""

    @property
    def name(self) -> str:
        """What histories call it."""

    def evaluate(self, prediction: Any) -> Tensor:
        """Its weighted scalar value."""


@dataclass(frozen=True)
class LossTerm:
    """`weight` times the mean of what `compute` makes of the prediction."""

    name: str
    weight: float
    compute: Callable[[Any], Tensor]
    """Prediction to unreduced values, of any shape."""

    def evaluate(self, prediction: Any) -> Float[Tensor, ""]:
        """The weighted mean."""
        return self.weight * self.compute(prediction).mean()


@dataclass(frozen=True)
class ResidualTerm:
    """The weighted sum of the kernel's costs of standardised residuals: what Levenberg-Marquardt can use, and the others too."""

    name: str
    weight: float | Float[Tensor, "#b #m"]
    """One for all residuals, or one each."""
    compute: Callable[[Any], Tensor]
    """Prediction to residuals (b, m), in standard deviations; those of problem b depend on no other's parameters."""
    kernel: RobustKernel = quadratic

    def evaluate(self, prediction: Any) -> Float[Tensor, ""]:
        """The weighted sum of costs."""
        return self.weighted_kernel(self.compute(prediction) ** 2)[0].sum()

    def weighted_kernel(self, squared: Tensor) -> tuple[Tensor, Tensor]:
        """The kernel with the weight in it."""
        cost, pull = self.kernel(squared)
        return self.weight * cost, self.weight * pull


@dataclass(frozen=True)
class Stage:
    """One stage."""

    name: str
    free: Mapping[str, Bijection]
    """The values that move, and how they are made free; all others stay as they are."""
    predict: Callable[[Values], Any]
    """All values to what the terms judge: rendered crops, shapes. Computed once a step, for all terms."""
    terms: tuple[Term, ...]
    stepper: Stepper
    limits: Limits


@dataclass(frozen=True)
class StageResult:
    """What a stage returns."""

    values: Values
    """All values, those that moved and those that did not."""
    minimum: Minimum
    """In the free parameters."""
    history: StageHistory
    """For the record."""


def run_stage(stage: Stage, values: Values, callbacks: Sequence[Callback] = ()) -> StageResult:
    """Runs a stage from given values; they are not changed.

    Raises:
        KeyError: a free value is missing.
        TypeError: Levenberg-Marquardt was given terms without residuals.
    """
    minimum = minimize(_build_objective(stage, values), _free_values(stage, values), stage.stepper, stage.limits, callbacks)
    return StageResult(place_free(stage, values, minimum.parameters), minimum, minimum.history(stage.name))


def _free_values(stage: Stage, values: Values) -> Parameters:
    missing = sorted(set(stage.free) - set(values))
    if missing:
        raise KeyError(f"stage {stage.name} frees {', '.join(missing)}; the values are {', '.join(sorted(values))}")
    return {name: bijection.to_free(values[name]) for name, bijection in stage.free.items()}


def place_free(stage: Stage, values: Values, parameters: Parameters) -> Values:
    """All values, those that are free from their free parameters: what a callback is told under `evaluation.parameters`."""
    return values | {name: bijection.from_free(parameters[name]) for name, bijection in stage.free.items()}


def _build_objective(stage: Stage, values: Values) -> Callable[[Parameters], Any]:
    if isinstance(stage.stepper, LevenbergMarquardt):
        return _build_normal_equations(stage, values)

    def compute_terms(parameters: Parameters) -> dict[str, Tensor]:
        prediction = stage.predict(place_free(stage, values, parameters))
        return {term.name: term.evaluate(prediction) for term in stage.terms}

    return compute_terms


def _build_normal_equations(stage: Stage, values: Values) -> NormalEquationsFunction:
    terms = [term for term in stage.terms if isinstance(term, ResidualTerm)]
    if len(terms) < len(stage.terms):
        others = ", ".join(term.name for term in stage.terms if not isinstance(term, ResidualTerm))
        raise TypeError(f"normal equations need residuals; stage {stage.name} has terms without: {others}")

    def compute_residuals(parameters: Parameters) -> dict[str, Tensor]:
        prediction = stage.predict(place_free(stage, values, parameters))
        return {term.name: term.compute(prediction) for term in terms}

    kernels = {term.name: term.weighted_kernel for term in terms}
    return lambda parameters: linearize_forward(compute_residuals, kernels, parameters)
