"""The one loop that every stage runs in: a stepper moves, the loop keeps the best point, the history, and knows when to stop."""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from invgraphics.reconstruction import StageHistory
from optim.steppers import Evaluation, Parameters, Stepper


class Outcome(enum.Enum):
    """How a minimisation ended."""

    CONVERGED = "converged: no step lowers the loss any further"
    NO_PROGRESS = "no progress: the loss has stopped falling"
    ITERATION_LIMIT = "iteration limit reached while the loss was still falling"
    NON_FINITE = "stopped at a loss or gradient that is not finite; the best point before it is kept"
    INTERRUPTED = "stopped by a callback"

    @property
    def message(self) -> str:
        """In words."""
        return self.value


@dataclass(frozen=True)
class Limits:
    """When to stop."""

    iterations: int
    """Steps at most."""
    patience: int | None = None
    """Stop when the best loss has fallen by less than `tolerance` of itself over so many steps; None: never for that reason."""
    tolerance: float = 1e-4


@dataclass(frozen=True)
class Progress:
    """What callbacks are told after every step."""

    iteration: int
    """Steps made so far; 0 at the start."""
    limit: int
    """Steps at most."""
    evaluation: Evaluation
    """Where the stepper now stands."""
    best_total: float
    """The lowest loss so far."""


Callback = Callable[[Progress], bool | None]
"""Called at the start and after every step; True stops the minimisation."""


@dataclass(frozen=True)
class Minimum:
    """What a minimisation returns."""

    parameters: Parameters
    """The best point met."""
    terms: dict[str, Tensor]
    """Weighted scalar terms of the loss there."""
    outcome: Outcome
    iterations: int
    """Steps made."""
    loss: dict[str, list[float]]
    """Each term at the start and after every step, and their sum under "total"."""

    def history(self, stage: str) -> StageHistory:
        """For the record."""
        return StageHistory(stage, self.loss, self.outcome.message)


def minimize(
    objective: Callable[[Parameters], Any], parameters: Parameters, stepper: Stepper, limits: Limits, callbacks: Sequence[Callback] = ()
) -> Minimum:
    """Goes downhill from `parameters`.

    The result is the best point met, not the last. A point whose loss or gradient is not finite ends the minimisation and is never the
    result, unless it is the start.

    Args:
        objective: what the stepper takes: a `LossFunction`, or a `NormalEquationsFunction` for Levenberg-Marquardt.
        parameters: the start; not changed.
        stepper: how to move.
        limits: when to stop.
        callbacks: called at the start and after every step.
    """
    state = stepper.init(objective, parameters)
    best, best_totals = state.evaluation, []
    loss: dict[str, list[float]] = {name: [] for name in (*best.terms, "total")}
    for iteration in range(limits.iterations + 1):
        if iteration:
            state = stepper.step(objective, state)
        evaluation = state.evaluation
        for name, value in (*evaluation.terms.items(), ("total", evaluation.total)):
            loss[name].append(float(value))
        if not evaluation.is_finite:
            return Minimum(best.parameters, best.terms, Outcome.NON_FINITE, iteration, loss)
        if evaluation.total < best.total:
            best = evaluation
        best_totals.append(best.total)
        progress = Progress(iteration, limits.iterations, evaluation, best.total)
        # Every callback is told, so no short circuit.
        interrupted = any([callback(progress) for callback in callbacks])
        outcome = _find_outcome(state.converged, interrupted, best_totals, limits)
        if outcome is not None:
            break
    return Minimum(best.parameters, best.terms, outcome or Outcome.ITERATION_LIMIT, iteration, loss)


def _find_outcome(converged: bool, interrupted: bool, best_totals: list[float], limits: Limits) -> Outcome | None:
    if interrupted:
        return Outcome.INTERRUPTED
    if converged:
        return Outcome.CONVERGED
    if limits.patience is not None and len(best_totals) > limits.patience:
        before, now = best_totals[-1 - limits.patience], best_totals[-1]
        if before - now < limits.tolerance * abs(before):
            return Outcome.NO_PROGRESS
    return None
