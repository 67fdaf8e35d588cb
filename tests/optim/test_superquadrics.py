import numpy as np
import pytest

from optim.object_view import view_objects
from optim.superquadric_kernels import N_PARAMETERS, _rotate, build_normal_equations, measure_lengths
from optim.superquadrics import fit_superquadrics
from tests.optim.views import ball, box, photograph


def test_gradient_matches_finite_differences():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(50, 3)) * 0.05 + [0, 0, 0.05]
    directions = generator.normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    state = np.array([0.01, 0.02, 0.04, 0, 0, 0, -3, -2.8, -3.1, 0.3, -0.4])
    R = _rotate(np.eye(3), np.array([0.3, 0.2, -0.5]))
    R_camera = np.array([[1, 0, 0], [0, -0.8, -0.6], [0, 0.6, -0.8]])
    K = np.array([[600, 0, 320], [0, 600, 240], [0, 0, 1.0]])
    rows, columns = np.mgrid[:480, :640]
    outside_px = np.maximum(np.hypot(columns - 330, rows - 230) - 20, 0.0)
    lengths = np.empty(len(points))
    measure_lengths(points, state, R, lengths)
    scales, strengths = np.array([0.003, 0.004, 0.003, 0.004]), np.array([200.0, 400, 1, 400])

    def cost(state: np.ndarray, R: np.ndarray, gradient: np.ndarray) -> float:
        hessian = np.zeros((N_PARAMETERS, N_PARAMETERS))
        camera = (R_camera, np.array([0, 0, 0.5]), K, outside_px)
        return build_normal_equations(points, lengths, directions, state, R, *camera, scales, strengths, -3.0, gradient, hessian)

    gradient, unused, step = np.zeros(N_PARAMETERS), np.zeros(N_PARAMETERS), 1e-6
    cost(state, R, gradient)
    for k in range(N_PARAMETERS):
        d = np.zeros(N_PARAMETERS)
        d[k] = step
        numeric = (cost(state + d, _rotate(R, d[3:6]), unused) - cost(state - d, _rotate(R, -d[3:6]), unused)) / (2 * step)
        assert gradient[k] == pytest.approx(numeric, rel=1e-4, abs=1e-3)


def test_lengths_turn_the_residual_into_the_distance_from_the_surface():
    state = np.array([0, 0, 0, 0, 0, 0, np.log(0.1), np.log(0.02), np.log(0.05), -6.0, -6.0])
    off_a_face = np.array([[0.06, 0.021, 0.01], [0.06, 0.019, 0.01], [-0.03, -0.022, -0.02]])
    lengths = np.empty(3)
    measure_lengths(off_a_face, state, np.eye(3), lengths)
    residual = np.abs(off_a_face[:, 1]) / 0.02
    np.testing.assert_allclose((1 - 1 / residual) * lengths, [0.001, -0.001, 0.002], rtol=0.15)


def test_flat_box_on_edge_is_not_made_thicker():
    book = box((0.16, 0.025, 0.11), turn=0.3)
    view = view_objects(photograph([book], noise=1e-3, eye=(0.0, -0.4, 0.36)), has_plane=True)[0]
    best = fit_superquadrics(view, np.random.default_rng(0))[0]
    np.testing.assert_allclose(np.sort(2 * best.radii), [0.025, 0.11, 0.16], atol=0.005)


def test_box_is_found_whole_from_two_faces_and_its_top():
    size = np.array([0.07, 0.05, 0.06])
    view = view_objects(photograph([box(tuple(size), turn=0.6)], noise=5e-4), has_plane=True)[0]
    best = fit_superquadrics(view, np.random.default_rng(0))[0]
    assert (best.exponents < 0.35).all()
    np.testing.assert_allclose(np.sort(best.radii), np.sort(size / 2), atol=0.003)
    np.testing.assert_allclose(best.centre, [0, 0, 0.03], atol=0.003)


def test_ball_is_found_whole_from_its_near_half():
    view = view_objects(photograph([ball(0.035)], noise=5e-4), has_plane=True)[0]
    best = fit_superquadrics(view, np.random.default_rng(0))[0]
    np.testing.assert_allclose(best.radii, 0.035, atol=0.0025)
    np.testing.assert_allclose(best.centre, [0, 0, 0.035], atol=0.0025)
    assert np.abs(best.field(view.points)).mean() < 1.5e-3


def test_same_generator_same_fit():
    view = view_objects(photograph([ball(0.035)], noise=1e-3), has_plane=True)[0]
    first, second = (fit_superquadrics(view, np.random.default_rng(3))[0] for _ in range(2))
    np.testing.assert_array_equal(first.radii, second.radii)
    assert first.cost == second.cost
