"""Stages as data: what is free moves within its bounds, what is not stays, and any stepper will do."""

import pytest
import torch
from torch import Tensor

from invgraphics.geometry.mesh import icosphere, uniform_laplacian
from invgraphics.losses import bend
from invgraphics.parameters import Diffused, Interval, Positive, Scaled
from optim.minimize import Limits, Outcome
from optim.stages import LossTerm, ResidualTerm, Stage, Values, run_stage
from optim.steppers import LBFGS, Adam, LevenbergMarquardt, Stepper, student_t

VALUES = {"size": torch.full((2, 1), 0.5, dtype=torch.float64), "albedo": torch.full((2, 1), 0.2, dtype=torch.float64)}
OBSERVED = torch.tensor([[0.06, 0.12, 0.18], [0.7, 1.4, 2.1]], dtype=torch.float64)


def shade(values: Values) -> Tensor:
    """Two objects, each seen three times."""
    return values["size"] * values["albedo"] * torch.arange(1, 4)


def build(free: dict, stepper: Stepper) -> Stage:
    data = ResidualTerm("data", 1.0, lambda shaded: (shaded - OBSERVED) / 0.1)
    return Stage("shade", free, shade, (data,), stepper, Limits(iterations=400))


@pytest.mark.parametrize("stepper", [Adam(0.05), LBFGS(), LevenbergMarquardt(tolerance=1e-10)], ids=["adam", "lbfgs", "lm"])
def test_any_stepper_finds_what_is_free(stepper: Stepper) -> None:
    result = run_stage(build({"size": Positive()}, stepper), VALUES)
    torch.testing.assert_close(result.values["size"], torch.tensor([[0.3], [3.5]], dtype=torch.float64), rtol=1e-2, atol=0)
    assert torch.equal(result.values["albedo"], VALUES["albedo"])
    assert float(VALUES["size"][0]) == 0.5
    assert result.history.stage == "shade"
    assert set(result.history.loss) == {"data", "total"}
    assert result.history.loss["total"][-1] < 1e-2 * result.history.loss["total"][0]


@pytest.mark.parametrize("stepper", [Adam(0.05), LevenbergMarquardt(tolerance=1e-10)], ids=["adam", "lm"])
def test_bounds_hold(stepper: Stepper) -> None:
    """The second object would need an albedo over one."""
    result = run_stage(build({"albedo": Interval()}, stepper), VALUES)
    assert float(result.values["albedo"][0]) == pytest.approx(0.12, rel=1e-2)
    assert 0.95 < float(result.values["albedo"][1]) <= 1.0


def test_weights_and_kernels_mean_the_same_to_all_steppers() -> None:
    weight = torch.tensor([[1.0, 0.0, 3.0]], dtype=torch.float64)
    term = ResidualTerm("data", weight, lambda shaded: (shaded - OBSERVED) / 0.1, student_t(2.0))
    totals = []
    for stepper in (Adam(0.01), LevenbergMarquardt()):
        stage = Stage("shade", {"size": Positive()}, shade, (term,), stepper, Limits(iterations=0))
        totals.append(run_stage(stage, VALUES).history.loss["total"][0])
    residuals = (shade(VALUES) - OBSERVED) / 0.1
    expected = float((weight * 1.5 * torch.log1p(residuals**2 / 2)).sum())
    assert totals == pytest.approx([expected, expected])


def test_terms_are_means_and_share_one_prediction() -> None:
    calls = []

    def predict(values: Values) -> Tensor:
        calls.append(1)
        return values["size"]

    terms = (LossTerm("half", 0.5, lambda size: size**2), LossTerm("twice", 2.0, lambda size: size))
    stage = Stage("means", {"size": Scaled(2.0)}, predict, terms, Adam(0.01), Limits(iterations=3))
    result = run_stage(stage, VALUES)
    assert result.history.loss["half"][0] == pytest.approx(0.125)
    assert result.history.loss["twice"][0] == pytest.approx(1.0)
    assert len(calls) == 4


def test_a_mesh_stage_takes_a_few_lines() -> None:
    """A sphere to a bump, positions diffused, against a bending term."""
    vertices, faces = icosphere(2)
    target = vertices * (1 + 0.3 * (vertices[:, 2:] > 0.5))
    laplacian = uniform_laplacian(faces, len(vertices), torch.float32)
    stage = Stage(
        "mesh",
        {"vertices": Diffused.over(faces, len(vertices), strength=5.0, unit=1.0)},
        lambda values: values["vertices"],
        (LossTerm("data", 1.0, lambda v: (v - target) ** 2), LossTerm("bend", 1e-3, lambda v: bend(v, laplacian))),
        Adam(0.05),
        Limits(iterations=300, patience=30, tolerance=1e-3),
    )
    result = run_stage(stage, {"vertices": vertices})
    assert result.minimum.outcome in (Outcome.NO_PROGRESS, Outcome.ITERATION_LIMIT)
    assert (result.values["vertices"] - target).abs().max() < 0.1


def test_says_what_is_missing() -> None:
    with pytest.raises(KeyError, match="radius"):
        run_stage(build({"radius": Positive()}, Adam(0.1)), VALUES)
    stage = Stage("s", {"size": Positive()}, shade, (LossTerm("plain", 1.0, torch.abs),), LevenbergMarquardt(), Limits(3))
    with pytest.raises(TypeError, match="plain"):
        run_stage(stage, VALUES)
