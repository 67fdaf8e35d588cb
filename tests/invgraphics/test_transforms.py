"""Rotations and rigid transforms: axioms at random, near the identity and near half a turn; derivatives by finite differences."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from invgraphics.transforms import (
    invert,
    matrix_from_quaternion,
    quaternion_from_matrix,
    rigid,
    se3_exp,
    se3_log,
    skew,
    so3_exp,
    so3_left_jacobian,
    so3_log,
    transform_directions,
    transform_points,
)
from tests.invgraphics.properties import quick

unit = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: math.dist(v, (0, 0, 0)) > 0.1)
angle = st.one_of(
    st.floats(0, math.pi - 1e-3),
    st.floats(-12, -1).map(lambda exponent: 10**exponent),
    st.floats(-12, -1).map(lambda exponent: math.pi - 10**exponent),
)
small_vector = st.tuples(*[st.floats(-2, 2)] * 3).map(lambda v: torch.tensor(v, dtype=torch.float64))


def turn(axis: tuple[float, ...], angle: float) -> Tensor:
    return torch.nn.functional.normalize(torch.tensor(axis, dtype=torch.float64), dim=0) * angle


@quick
@given(unit, angle)
@example((1.0, 0.0, 0.0), 0.0)
def test_exp_agrees_with_scipy_and_log_undoes_it(axis: tuple[float, ...], angle: float) -> None:
    vector = turn(axis, angle)
    rotation = so3_exp(vector)
    torch.testing.assert_close(rotation, torch.tensor(Rotation.from_rotvec(vector.numpy()).as_matrix()), atol=1e-12, rtol=0)
    back = so3_log(rotation)
    assert float(back.norm()) <= math.pi + 1e-9
    torch.testing.assert_close(so3_exp(back), rotation, atol=1e-9, rtol=0)
    if angle < math.pi - 1e-6:
        torch.testing.assert_close(back, vector, atol=1e-8, rtol=1e-6)


@quick
@given(unit, angle)
def test_exp_in_single_precision(axis: tuple[float, ...], angle: float) -> None:
    vector = turn(axis, angle)
    rotation = so3_exp(vector.float())
    torch.testing.assert_close(rotation.double(), so3_exp(vector), atol=2e-6, rtol=0)
    torch.testing.assert_close(so3_exp(so3_log(rotation)), rotation, atol=1e-5, rtol=0)


@quick
@given(unit, st.floats(0.1, 3.0))
def test_turns_about_one_axis_add(axis: tuple[float, ...], angle: float) -> None:
    torch.testing.assert_close(so3_exp(turn(axis, angle)) @ so3_exp(turn(axis, 0.7)), so3_exp(turn(axis, angle + 0.7)), atol=1e-12, rtol=0)


@quick
@given(unit, angle, small_vector)
def test_twists_come_back(axis: tuple[float, ...], angle: float, translation: Tensor) -> None:
    twist = torch.cat([translation, turn(axis, min(angle, math.pi - 1e-4))])
    torch.testing.assert_close(se3_log(se3_exp(twist)), twist, atol=1e-6, rtol=1e-6)


@quick
@given(unit, angle, small_vector)
def test_twist_is_the_flow_of_its_velocity(axis: tuple[float, ...], angle: float, translation: Tensor) -> None:
    """The exponential of a 4x4 twist matrix, by its definition."""
    twist = torch.cat([translation, turn(axis, angle)])
    generator = torch.zeros(4, 4, dtype=torch.float64)
    generator[:3, :3], generator[:3, 3] = skew(twist[3:]), twist[:3]
    torch.testing.assert_close(se3_exp(twist), torch.linalg.matrix_exp(generator), atol=1e-9, rtol=0)


@quick
@given(unit, angle, small_vector, small_vector)
def test_inverse_undoes_and_names_chain(axis: tuple[float, ...], angle: float, translation: Tensor, point: Tensor) -> None:
    T_a_b = rigid(so3_exp(turn(axis, angle)), translation)
    T_b_c = rigid(so3_exp(turn((0.3, -0.2, 0.9), 1.1)), -2 * translation)
    torch.testing.assert_close(invert(T_a_b) @ T_a_b, torch.eye(4, dtype=torch.float64), atol=1e-12, rtol=0)
    stepwise = transform_points(T_a_b, transform_points(T_b_c, point[None]))
    torch.testing.assert_close(transform_points(T_a_b @ T_b_c, point[None]), stepwise, atol=1e-12, rtol=0)
    moved = transform_points(T_a_b, torch.stack([point, point + 1]))
    torch.testing.assert_close(moved[1] - moved[0], transform_directions(T_a_b, torch.ones(1, 3, dtype=torch.float64))[0])


@quick
@given(unit, angle)
def test_quaternions_come_back_by_every_branch(axis: tuple[float, ...], angle: float) -> None:
    rotation = so3_exp(turn(axis, angle))
    quaternion = quaternion_from_matrix(rotation)
    assert float(quaternion.norm()) == pytest.approx(1)
    torch.testing.assert_close(matrix_from_quaternion(-2.5 * quaternion), rotation, atol=1e-9, rtol=0)


@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 0.0), (-1.0, 2.0, 3.0)])
def test_exactly_half_a_turn(axis: tuple[float, ...]) -> None:
    vector = turn(axis, math.pi)
    back = so3_log(so3_exp(vector))
    assert float(back.norm()) == pytest.approx(math.pi)
    assert abs(float(back @ vector)) == pytest.approx(math.pi**2)


@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-5, 9e-5, 1.1e-4, 1e-2, 1.0, 3.0])
def test_derivatives(size: float) -> None:
    """Exactly at the identity, on both sides of where the Taylor series take over, and far from it."""
    vector = (size * torch.tensor([0.36, -0.48, 0.8], dtype=torch.float64)).requires_grad_()
    twist = torch.cat([torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64), vector.detach()]).requires_grad_()
    assert torch.autograd.gradcheck(so3_exp, vector, atol=1e-6)
    assert torch.autograd.gradcheck(so3_left_jacobian, vector, atol=1e-6)
    assert torch.autograd.gradcheck(se3_exp, twist, atol=1e-6)
    assert torch.autograd.gradcheck(lambda v: so3_log(so3_exp(v)), vector, atol=1e-5)


def test_batches_are_their_members() -> None:
    generator = torch.Generator().manual_seed(1)
    twists = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    batched = se3_exp(twists)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(batched[i, j], se3_exp(twists[i, j]))
    points = torch.randn(2, 3, 5, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(transform_points(batched, points)[1, 2], transform_points(batched[1, 2], points[1, 2]))
