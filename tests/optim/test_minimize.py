"""The loop: the best point kept, non-finite values noticed, endings told apart, callbacks heard."""

import pytest
import torch
from torch import Tensor

from optim.minimize import Limits, Outcome, Progress, minimize
from optim.steppers import LBFGS, Adam, Parameters


def bowl(parameters: Parameters) -> dict[str, Tensor]:
    return {"x": (parameters["x"] ** 2).sum(), "y": 3 * ((parameters["y"] - 1) ** 2).sum()}


START = {"x": torch.tensor([1.0, -2.0]), "y": torch.tensor([4.0])}


def test_history_has_every_term_at_the_start_and_after_every_step() -> None:
    found = minimize(bowl, START, Adam(0.1), Limits(iterations=20))
    assert set(found.loss) == {"x", "y", "total"}
    assert all(len(values) == 21 for values in found.loss.values())
    assert found.loss["x"][0] == pytest.approx(5.0)
    assert found.loss["y"][0] == pytest.approx(27.0)
    assert found.loss["total"] == pytest.approx([x + y for x, y in zip(found.loss["x"], found.loss["y"], strict=True)])
    history = found.history("bowl")
    assert history.stage == "bowl"
    assert history.outcome == Outcome.ITERATION_LIMIT.message


def test_keeps_the_best_point_not_the_last() -> None:
    """A rate far too large overshoots."""
    found = minimize(bowl, START, Adam(5.0), Limits(iterations=5))
    best = min(found.loss["total"])
    assert found.loss["total"][-1] > best
    assert float(sum(found.terms.values())) == pytest.approx(best)
    assert float(sum(bowl(found.parameters).values())) == pytest.approx(best)


def test_stops_at_what_is_not_finite_and_keeps_what_came_before() -> None:
    def cliff(parameters: Parameters) -> dict[str, Tensor]:
        return {"cliff": torch.log(parameters["x"]).sum()}

    found = minimize(cliff, {"x": torch.tensor([0.35])}, Adam(0.1), Limits(iterations=50))
    assert found.outcome is Outcome.NON_FINITE
    assert found.iterations < 50
    assert 0 < float(found.parameters["x"]) < 0.35
    assert torch.isfinite(found.terms["cliff"])


def test_a_gradient_that_is_not_finite_counts_too() -> None:
    found = minimize(lambda p: {"root": p["x"].sqrt().sum()}, {"x": torch.zeros(1)}, Adam(0.1), Limits(iterations=5))
    assert found.outcome is Outcome.NON_FINITE
    assert found.iterations == 0


def test_stops_when_the_loss_has_stopped_falling() -> None:
    found = minimize(bowl, START, Adam(0.05), Limits(iterations=5000, patience=50, tolerance=1e-3))
    assert found.outcome is Outcome.NO_PROGRESS
    assert 100 < found.iterations < 4000
    assert float(sum(found.terms.values())) < 1e-2


def test_says_when_it_has_converged() -> None:
    start = {name: value.double() for name, value in START.items()}
    found = minimize(bowl, start, LBFGS(), Limits(iterations=200))
    assert found.outcome is Outcome.CONVERGED
    assert found.iterations < 200
    torch.testing.assert_close(found.parameters["y"], torch.ones(1, dtype=torch.float64), atol=1e-6, rtol=0)


def test_callbacks_are_told_and_can_stop_it() -> None:
    seen: list[Progress] = []

    def stop_at_three(progress: Progress) -> bool:
        return progress.iteration == 3

    found = minimize(bowl, START, Adam(0.1), Limits(iterations=10), [stop_at_three, seen.append])
    assert found.outcome is Outcome.INTERRUPTED
    assert [progress.iteration for progress in seen] == [0, 1, 2, 3]
    assert seen[-1].limit == 10
    assert seen[-1].best_total == pytest.approx(min(found.loss["total"]))


def test_the_start_is_not_edited_and_no_steps_return_it() -> None:
    copy = {name: value.clone() for name, value in START.items()}
    found = minimize(bowl, START, Adam(0.1), Limits(iterations=0))
    assert all(torch.equal(found.parameters[name], copy[name]) for name in copy)
    minimize(bowl, START, Adam(0.1), Limits(iterations=5))
    assert all(torch.equal(START[name], copy[name]) for name in copy)
