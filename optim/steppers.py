"""Adam, L-BFGS and Levenberg-Marquardt behind one interface: `init` evaluates the start, `step` moves once and evaluates there.

A stepper is a frozen description; what it remembers is in the state that it returns. The first two minimise a loss given as a function
from parameters to weighted scalar terms; the third takes normal equations, for many small independent problems at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Parameters = dict[str, Tensor]
"""Free (unconstrained) parameters by name."""

LossFunction = Callable[[Parameters], dict[str, Tensor]]
"""Weighted scalar terms of a loss, by name; the loss is their sum."""


@dataclass(frozen=True)
class Evaluation:
    """An objective at a point."""

    parameters: Parameters
    """Where."""
    terms: dict[str, Tensor]
    """Weighted scalar terms of the loss, detached."""
    gradient: Parameters
    """Of the sum of the terms."""

    @property
    def total(self) -> float:
        """The loss: the sum of the terms."""
        return float(sum(self.terms.values()))

    @property
    def is_finite(self) -> bool:
        """Whether the loss and its gradient are numbers."""
        return all(bool(torch.isfinite(value).all()) for value in (*self.terms.values(), *self.gradient.values()))


@runtime_checkable
class State(Protocol):
    """What a stepper remembers from step to step."""

    @property
    def evaluation(self) -> Evaluation:
        """The objective where the stepper now stands."""

    @property
    def converged(self) -> bool:
        """Whether the stepper can improve no further."""


@runtime_checkable
class Stepper(Protocol):
    """One way to go downhill. Objectives are `LossFunction`s, or `NormalEquationsFunction`s for `LevenbergMarquardt`."""

    def init(self, objective: Callable[[Parameters], Any], parameters: Parameters) -> State:
        """The state at the start."""

    def step(self, objective: Callable[[Parameters], Any], state: State) -> State:
        """The state one step further."""


def evaluate_loss(loss: LossFunction, parameters: Parameters) -> Evaluation:
    """The loss and its gradient by reverse-mode differentiation. Parameters that the loss does not use get a zero gradient."""
    leaves = {name: value.detach().clone().requires_grad_(True) for name, value in parameters.items()}
    terms = loss(leaves)
    gradients = torch.autograd.grad(sum(terms.values()), list(leaves.values()), allow_unused=True, materialize_grads=True)
    detached = {name: leaf.detach() for name, leaf in leaves.items()}
    return Evaluation(detached, {name: term.detach() for name, term in terms.items()}, dict(zip(leaves, gradients, strict=True)))


@dataclass(frozen=True)
class AdamState:
    """Moments of the gradient (Kingma and Ba 2015)."""

    evaluation: Evaluation
    first: Parameters
    second: Parameters
    steps: int
    converged: bool = False


@dataclass(frozen=True)
class Adam:
    """Adam. Robust to noise and to losses with kinks; its step length is the learning rate, whatever the loss's scale."""

    learning_rate: float | dict[str, float]
    """One for all parameters, or one by name."""
    decay: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def init(self, objective: LossFunction, parameters: Parameters) -> AdamState:
        """Evaluates the start."""
        zeros = {name: torch.zeros_like(value) for name, value in parameters.items()}
        return AdamState(evaluate_loss(objective, parameters), zeros, zeros, 0)

    def step(self, objective: LossFunction, state: AdamState) -> AdamState:
        """Moves against the mean gradient, each entry over its root mean square."""
        (keep_first, keep_second), steps = self.decay, state.steps + 1
        gradient = state.evaluation.gradient
        first = {name: keep_first * state.first[name] + (1 - keep_first) * g for name, g in gradient.items()}
        second = {name: keep_second * state.second[name] + (1 - keep_second) * g * g for name, g in gradient.items()}
        moved = {}
        for name, value in state.evaluation.parameters.items():
            rate = self.learning_rate[name] if isinstance(self.learning_rate, dict) else self.learning_rate
            spread = (second[name] / (1 - keep_second**steps)).sqrt() + self.epsilon
            moved[name] = value - rate * first[name] / (1 - keep_first**steps) / spread
        return AdamState(evaluate_loss(objective, moved), first, second, steps)


@dataclass(frozen=True)
class LBFGSState:
    """Recent steps and changes of the gradient, oldest first, as flat vectors."""

    evaluation: Evaluation
    steps: tuple[Tensor, ...] = ()
    changes: tuple[Tensor, ...] = ()
    converged: bool = False


@dataclass(frozen=True)
class LBFGS:
    """L-BFGS (Nocedal and Wright, algorithm 7.4) with a weak Wolfe bisection (Lewis and Overton 2013), which kinks do not defeat."""

    memory: int = 10
    first_step: float = 1e-2
    """Length of the first trial step, in the parameters' own units; later ones are scaled by the curvature met so far."""
    evaluations: int = 20
    """Trials of one line search, each with a gradient."""

    def init(self, objective: LossFunction, parameters: Parameters) -> LBFGSState:
        """Evaluates the start."""
        return LBFGSState(evaluate_loss(objective, parameters))

    def step(self, objective: LossFunction, state: LBFGSState) -> LBFGSState:
        """Moves along the quasi-Newton direction; along the gradient, without memory, where that fails."""
        gradient = _flatten(state.evaluation.gradient)
        direction = -_two_loop_recursion(gradient, state.steps, state.changes)
        if not state.steps:
            direction = direction * self.first_step / gradient.norm().clamp(min=1e-30)
        found = self._search(objective, state.evaluation, direction)
        if found is None:
            return LBFGSState(state.evaluation, converged=not state.steps)
        step = _flatten(found.parameters) - _flatten(state.evaluation.parameters)
        change = _flatten(found.gradient) - gradient
        if float(step @ change) <= 1e-10 * float(step.norm() * change.norm()):
            return LBFGSState(found, state.steps, state.changes)
        return LBFGSState(found, (*state.steps, step)[-self.memory :], (*state.changes, change)[-self.memory :])

    def _search(self, objective: LossFunction, start: Evaluation, direction: Tensor) -> Evaluation | None:
        """A point that satisfies the weak Wolfe conditions, or the lowest seen that is lower than the start, or None."""
        slope, total, origin = float(_flatten(start.gradient) @ direction), start.total, _flatten(start.parameters)
        low, high, length, best = 0.0, float("inf"), 1.0, None
        for _ in range(self.evaluations if slope < 0 else 0):
            trial = evaluate_loss(objective, _unflatten(origin + length * direction, start.parameters))
            sufficient = trial.is_finite and trial.total <= total + 1e-4 * length * slope
            if sufficient and (best is None or trial.total < best.total):
                best = trial
            if not sufficient:
                high = length
            elif float(_flatten(trial.gradient) @ direction) < 0.9 * slope:
                low = length
            else:
                return trial
            length = 2 * low if high == float("inf") else (low + high) / 2
        return best


def _two_loop_recursion(gradient: Tensor, steps: tuple[Tensor, ...], changes: tuple[Tensor, ...]) -> Tensor:
    """The inverse Hessian's estimate times the gradient (Nocedal and Wright, algorithm 7.4)."""
    if not steps:
        return gradient
    factors, result = [], gradient
    for step, change in zip(reversed(steps), reversed(changes), strict=True):
        factors.append((step @ result) / (step @ change))
        result = result - factors[-1] * change
    result = result * (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for step, change, factor in zip(steps, changes, reversed(factors), strict=True):
        result = result + step * (factor - (change @ result) / (step @ change))
    return result


def _flatten(parameters: Parameters) -> Tensor:
    return torch.cat([value.reshape(-1) for value in parameters.values()])


def _unflatten(flat: Tensor, like: Parameters) -> Parameters:
    parts = flat.split([value.numel() for value in like.values()])
    return {name: part.reshape(value.shape) for (name, value), part in zip(like.items(), parts, strict=True)}


@dataclass(frozen=True)
class NormalEquations:
    """b independent least-squares problems, linearised: each in d unknowns, all parameters of the problem one after the other."""

    terms: dict[str, Float[Tensor, " b"]]
    """Cost of each problem by term."""
    gradient: Float[Tensor, "b d"]
    """Of the sum of the terms."""
    hessian: Float[Tensor, "b d d"]
    """Its Gauss-Newton approximation, positive semi-definite."""

    @property
    def cost(self) -> Float[Tensor, " b"]:
        """Sum of the terms."""
        return torch.stack(list(self.terms.values())).sum(0)


NormalEquationsFunction = Callable[[Parameters], NormalEquations]
"""Parameters, each (b, d_k), to the normal equations of b problems in d = sum of d_k unknowns, in the order of the parameters."""

RobustKernel = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Squared residuals q to their costs rho(q) and weights 2 rho'(q); `quadratic` is q / 2 and 1."""


def quadratic(squared: Float[Tensor, "*shape"]) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """The Gaussian's kernel."""
    return squared / 2, torch.ones_like(squared)


def student_t(degrees: float) -> RobustKernel:
    """The kernel of Student's t distribution with so many degrees of freedom: heavy tails, so that outliers weigh little."""

    def kernel(squared: Tensor) -> tuple[Tensor, Tensor]:
        return (degrees + 1) / 2 * torch.log1p(squared / degrees), (degrees + 1) / (degrees + squared)

    return kernel


def accumulate_residuals(
    residuals: Float[Tensor, "b m"], jacobian: Float[Tensor, "b m d"], kernel: RobustKernel, weights: Float[Tensor, "#b #m"] | None = None
) -> tuple[Float[Tensor, " b"], Float[Tensor, "b d"], Float[Tensor, "b d d"]]:
    """Cost, gradient and iteratively reweighted Gauss-Newton Hessian of one term. `weights` multiply each residual's cost."""
    cost, pull = kernel(residuals**2)
    if weights is not None:
        cost, pull = cost * weights, pull * weights
    weighted = jacobian * pull[..., None]
    return cost.sum(-1), (weighted * residuals[..., None]).sum(-2), weighted.transpose(-1, -2) @ jacobian


def linearize_forward(
    residuals: Callable[[Parameters], dict[str, Tensor]], kernels: dict[str, RobustKernel], parameters: Parameters
) -> NormalEquations:
    """Normal equations by forward-mode differentiation.

    Args:
        residuals: parameters, each (b, d_k), to residuals by term, each (b, m); those of a problem depend on its own parameters alone.
        kernels: the robust kernel of each term; `quadratic` for terms without one.
        parameters: where to linearise.
    """
    flat = torch.cat(list(parameters.values()), dim=-1)
    widths = [value.shape[-1] for value in parameters.values()]

    def of_flat(x: Tensor) -> dict[str, Tensor]:
        return residuals(dict(zip(parameters, x.split(widths, dim=-1), strict=True)))

    def push(tangent: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return torch.func.jvp(of_flat, (flat,), (tangent.expand_as(flat),))

    basis = torch.eye(flat.shape[-1], dtype=flat.dtype, device=flat.device)
    values, pushed = torch.func.vmap(push, out_dims=(None, -1))(basis)
    parts = {name: accumulate_residuals(values[name], pushed[name], kernels.get(name, quadratic)) for name in values}
    return combine_terms(parts)


def combine_terms(parts: dict[str, tuple[Tensor, Tensor, Tensor]]) -> NormalEquations:
    """Normal equations of a sum of terms, each as `accumulate_residuals` gives it."""
    gradient, hessian = (sum(part[k] for part in parts.values()) for k in (1, 2))
    return NormalEquations({name: part[0] for name, part in parts.items()}, gradient, hessian)


@dataclass(frozen=True)
class LevenbergMarquardtState:
    """Each problem's damping, and whether it still moves."""

    parameters: Parameters
    equations: NormalEquations
    damping: Float[Tensor, " b"]
    active: Bool[Tensor, " b"]

    @property
    def evaluation(self) -> Evaluation:
        """All problems together."""
        widths = [value.shape[-1] for value in self.parameters.values()]
        gradient = dict(zip(self.parameters, self.equations.gradient.split(widths, dim=-1), strict=True))
        return Evaluation(self.parameters, {name: term.sum() for name, term in self.equations.terms.items()}, gradient)

    @property
    def converged(self) -> bool:
        """Whether no problem moves any more."""
        return not bool(self.active.any())


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Levenberg-Marquardt on b independent problems at once, each with its own damping, acceptance and end."""

    damping: float = 1e-3
    """At the start, as a share of the Hessian's diagonal."""
    tolerance: float = 1e-6
    """A problem ends when an accepted step lowers its cost by less than this share."""
    greatest_damping: float = 1e8
    """A problem ends when even so short a step does not lower its cost."""

    def init(self, objective: NormalEquationsFunction, parameters: Parameters) -> LevenbergMarquardtState:
        """Linearises the start."""
        equations = objective(parameters)
        cost = equations.cost
        return LevenbergMarquardtState(parameters, equations, torch.full_like(cost, self.damping), torch.isfinite(cost))

    def step(self, objective: NormalEquationsFunction, state: LevenbergMarquardtState) -> LevenbergMarquardtState:
        """Tries one damped Gauss-Newton step in every problem; keeps it where it lowers the cost."""
        old, cost = state.equations, state.equations.cost
        moves = self._solve(old, state.damping) * state.active[:, None]
        widths = [value.shape[-1] for value in state.parameters.values()]
        trial = {name: value + move for (name, value), move in zip(state.parameters.items(), moves.split(widths, dim=-1), strict=True)}
        new = objective(trial)
        accepted = state.active & (new.cost < cost)
        settled = accepted & (cost - new.cost <= self.tolerance * cost.abs())
        damping = torch.where(accepted, (state.damping / 5).clamp(min=1e-9), state.damping * 5)
        active = state.active & ~settled & (damping < self.greatest_damping)
        parameters = {name: _choose(accepted, trial[name], value) for name, value in state.parameters.items()}
        terms = {name: _choose(accepted, new.terms[name], term) for name, term in old.terms.items()}
        chosen = NormalEquations(terms, _choose(accepted, new.gradient, old.gradient), _choose(accepted, new.hessian, old.hessian))
        return LevenbergMarquardtState(parameters, chosen, damping, active)

    @staticmethod
    def _solve(equations: NormalEquations, damping: Float[Tensor, " b"]) -> Float[Tensor, "b d"]:
        diagonal = equations.hessian.diagonal(dim1=-2, dim2=-1)
        floor = 1e-9 * diagonal.amax(-1, keepdim=True).clamp(min=1e-30)
        factor, _ = torch.linalg.cholesky_ex(equations.hessian + torch.diag_embed(damping[:, None] * diagonal + floor))
        return -torch.cholesky_solve(equations.gradient[..., None], factor)[..., 0]


def _choose(which: Bool[Tensor, " b"], yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(which.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


@dataclass(frozen=True)
class FirstOrder:
    """Adam on what Levenberg-Marquardt takes: the gradients of the normal equations without their Hessians."""

    learning_rate: float | dict[str, float]
    """As `Adam` takes it."""

    def init(self, objective: NormalEquationsFunction, parameters: Parameters) -> AdamState:
        """Evaluates the start."""
        return Adam(self.learning_rate).init(_forget_hessian(objective), parameters)

    def step(self, objective: NormalEquationsFunction, state: AdamState) -> AdamState:
        """One step of Adam for all problems together: its entries do not mix."""
        return Adam(self.learning_rate).step(_forget_hessian(objective), state)


def _forget_hessian(objective: NormalEquationsFunction) -> LossFunction:
    """A loss with the objective's terms, and under "slope" a zero that carries its gradient."""

    def loss(parameters: Parameters) -> dict[str, Tensor]:
        equations = objective({name: value.detach() for name, value in parameters.items()})
        flat = torch.cat(list(parameters.values()), dim=-1)
        slope = (equations.gradient.detach() * (flat - flat.detach())).sum()
        return {name: term.sum().detach() for name, term in equations.terms.items()} | {"slope": slope}

    return loss
