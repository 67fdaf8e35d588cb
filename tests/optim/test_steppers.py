"""Every stepper reaches the minimum of problems whose minimum is known; Levenberg-Marquardt's parts against independent computations."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch import Tensor

from optim.steppers import (
    LBFGS,
    Adam,
    Evaluation,
    LevenbergMarquardt,
    NormalEquations,
    Parameters,
    Stepper,
    accumulate_residuals,
    evaluate_loss,
    linearize_forward,
    quadratic,
    student_t,
)
from tests.helpers import finite_difference


def rosenbrock_residuals(parameters: Parameters) -> dict[str, Tensor]:
    """Two problems in two unknowns each, with minima at (1, 1) and (2, 4)."""
    x, y = parameters["x"][:, 0], parameters["y"][:, 0]
    goal = torch.tensor([1.0, 2.0], dtype=x.dtype)
    return {"valley": 10 * (y - x**2)[:, None], "floor": (goal - x)[:, None]}


def rosenbrock_loss(parameters: Parameters) -> dict[str, Tensor]:
    return {name: (residuals**2).sum() / 2 for name, residuals in rosenbrock_residuals(parameters).items()}


def rosenbrock_equations(parameters: Parameters) -> NormalEquations:
    return linearize_forward(rosenbrock_residuals, {}, parameters)


def start() -> Parameters:
    return {"x": torch.tensor([[-1.2], [0.5]], dtype=torch.float64), "y": torch.tensor([[1.0], [0.0]], dtype=torch.float64)}


def descend(stepper: Stepper, objective, steps: int) -> Evaluation:
    state = stepper.init(objective, start())
    for _ in range(steps):
        state = stepper.step(objective, state)
        if state.converged:
            break
    return state.evaluation


@pytest.mark.parametrize(
    ("stepper", "objective", "steps", "accuracy"),
    [
        (Adam(0.02), rosenbrock_loss, 3000, 2e-2),
        (LBFGS(), rosenbrock_loss, 80, 1e-5),
        (LevenbergMarquardt(tolerance=1e-12), rosenbrock_equations, 40, 1e-6),
    ],
    ids=["adam", "lbfgs", "levenberg_marquardt"],
)
def test_reaches_the_minimum(stepper: Stepper, objective, steps: int, accuracy: float) -> None:
    found = descend(stepper, objective, steps).parameters
    torch.testing.assert_close(found["x"][:, 0], torch.tensor([1.0, 2.0], dtype=torch.float64), atol=accuracy, rtol=0)
    torch.testing.assert_close(found["y"][:, 0], torch.tensor([1.0, 4.0], dtype=torch.float64), atol=5 * accuracy, rtol=0)


@pytest.mark.parametrize(
    ("stepper", "objective"), [(Adam(0.02), rosenbrock_loss), (LBFGS(), rosenbrock_loss), (LevenbergMarquardt(), rosenbrock_equations)]
)
def test_evaluates_where_it_stands(stepper: Stepper, objective) -> None:
    state = stepper.init(objective, start())
    for _ in range(5):
        state = stepper.step(objective, state)
        expected = evaluate_loss(rosenbrock_loss, state.evaluation.parameters)
        assert state.evaluation.total == pytest.approx(expected.total)
        for name, gradient in expected.gradient.items():
            torch.testing.assert_close(state.evaluation.gradient[name], gradient)


def test_adam_takes_a_first_step_of_its_rate_whatever_the_scale() -> None:
    rates = {"a": 0.1, "b": 0.01}
    values = {"a": torch.tensor([1.0, -3.0]), "b": torch.tensor([2.0])}
    stepper = Adam(rates)
    for scale in (1e-3, 1e3):
        objective = lambda p, scale=scale: {"bowl": scale * (p["a"].square().sum() + p["b"].square().sum())}  # noqa: E731 (one line each)
        moved = stepper.step(objective, stepper.init(objective, values)).evaluation.parameters
        torch.testing.assert_close(moved["a"], torch.tensor([0.9, -2.9]), atol=1e-4, rtol=0)
        torch.testing.assert_close(moved["b"], torch.tensor([1.99]), atol=1e-4, rtol=0)


def test_lbfgs_goes_downhill_over_a_kink_and_stops_at_it() -> None:
    objective = lambda p: {"kink": (p["x"] - 1).abs().sum() + 5 * (p["x"][:1] + p["x"][1:]).abs().sum()}  # noqa: E731
    stepper = LBFGS(first_step=0.1)
    state = stepper.init(objective, {"x": torch.tensor([3.0, -1.0], dtype=torch.float64)})
    totals = [state.evaluation.total]
    for _ in range(100):
        state = stepper.step(objective, state)
        totals.append(state.evaluation.total)
        if state.converged:
            break
    assert all(after <= before for before, after in itertools.pairwise(totals))
    assert totals[-1] == pytest.approx(2.0, abs=1e-3)


def test_does_not_edit_the_callers_tensors() -> None:
    values = start()
    for stepper, objective in ((Adam(0.1), rosenbrock_loss), (LBFGS(), rosenbrock_loss), (LevenbergMarquardt(), rosenbrock_equations)):
        stepper.step(objective, stepper.init(objective, values))
    assert all(torch.equal(values[name], start()[name]) for name in values)


@pytest.mark.parametrize("kernel", [quadratic, student_t(3.0)])
def test_robust_gradient_and_hessian(kernel) -> None:
    """The gradient is exact; the Hessian is positive semi-definite and, for small residuals, that of the cost."""
    residuals = lambda p: {"line": torch.sin(p["x"][:, :1]) * torch.arange(4) + p["x"][:, 1:] ** 2 - 1}  # noqa: E731
    at = torch.tensor([[0.4, 1.3], [-2.0, 0.1]], dtype=torch.float64)
    cost = lambda x: kernel(residuals({"x": x})["line"] ** 2)[0].sum()  # noqa: E731
    equations = linearize_forward(residuals, {"line": kernel}, {"x": at})
    assert float(equations.cost.sum()) == pytest.approx(float(cost(at)))
    torch.testing.assert_close(equations.gradient, finite_difference(cost, at), atol=1e-6, rtol=1e-6)
    assert torch.linalg.eigvalsh(equations.hessian).min() > -1e-12


def test_weights_count_residuals_several_times() -> None:
    generator = torch.Generator().manual_seed(0)
    residuals, jacobian = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((1, 3), (1, 3, 2)))
    repeated = torch.tensor([0, 0, 1, 2, 2, 2])
    once = accumulate_residuals(residuals, jacobian, student_t(4.0), torch.tensor([[2.0, 1.0, 3.0]]))
    many = accumulate_residuals(residuals[:, repeated], jacobian[:, repeated], student_t(4.0))
    for a, b in zip(once, many, strict=True):
        torch.testing.assert_close(a, b)


def test_robust_fit_agrees_with_scipy() -> None:
    """A line through points of which a fifth are far off, with the same Cauchy loss."""
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 40)
    y = 2 * x - 0.5 + 0.01 * rng.standard_normal(40)
    y[::5] += 3.0
    # Student-t with 1 degree of freedom is rho(q) = log(1 + q): scipy's "cauchy".
    expected = least_squares(lambda p: (p[0] * x + p[1] - y) / 0.02, [1.0, 0.0], loss="cauchy").x
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    residuals = lambda p: {"line": (p["p"][:, :1] * inputs + p["p"][:, 1:] - targets) / 0.02}  # noqa: E731
    objective = lambda p: linearize_forward(residuals, {"line": student_t(1.0)}, p)  # noqa: E731
    stepper = LevenbergMarquardt(tolerance=1e-12)
    state = stepper.init(objective, {"p": torch.tensor([[1.0, 0.0]], dtype=torch.float64)})
    for _ in range(60):
        state = stepper.step(objective, state)
    torch.testing.assert_close(state.parameters["p"][0], torch.from_numpy(expected), atol=1e-4, rtol=0)
    assert state.parameters["p"][0, 0] == pytest.approx(2.0, abs=0.02)


def test_problems_do_not_disturb_each_other() -> None:
    """Each of a batch moves as it would alone, and one that is done stays."""
    alone = []
    for k in range(2):
        single = {name: value[k : k + 1] for name, value in start().items()}
        goal = torch.tensor([1.0, 2.0])[k]

        def residuals(p: Parameters, goal: Tensor = goal) -> dict[str, Tensor]:
            return {"valley": 10 * (p["y"] - p["x"] ** 2), "floor": goal - p["x"]}

        stepper, objective = LevenbergMarquardt(), lambda p, residuals=residuals: linearize_forward(residuals, {}, p)
        state = stepper.init(objective, single)
        for _ in range(12):
            state = stepper.step(objective, state)
        alone.append(state.parameters["x"])
    stepper = LevenbergMarquardt()
    state = stepper.init(rosenbrock_equations, start())
    for _ in range(12):
        state = stepper.step(rosenbrock_equations, state)
    torch.testing.assert_close(state.parameters["x"], torch.cat(alone))
