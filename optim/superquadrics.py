"""Boxes, cylinders, ellipsoids and what lies between them in one family, fitted to what was seen of an object."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from optim.field_kernels import superquadric_field
from optim.hypotheses import choose_points
from optim.object_view import ObjectView
from optim.superquadric_kernels import LOWEST_EXPONENT, N_PARAMETERS, build_normal_equations, exponent, fit_starts, measure_lengths

_POINTS = 400
_DIRECTIONS = 350
_ITERATIONS = 60
_EFFECTIVE_SHARE = 0.1
"""Neighbouring points share their errors (smoothing, a surface that is no superquadric): so much of them counts as independent."""
_EXPONENT_PRIOR = 0.1
"""Precision of the kernels' prior on the free numbers behind the exponents; that on the log radii has precision 1."""
_LEAST_INFORMATION = np.array([100.0] * 3 + [4.0] * 3 + [0.0] * 5)
"""Of a centre (10 cm) and a rotation (half a radian) that nothing tells: a turned cylinder is the same cylinder."""
_BOX, _CYLINDER, _ELLIPSOID, _BETWEEN = (0.2, 0.2), (0.2, 0.95), (0.95, 0.95), (0.5, 0.5)


@dataclass(frozen=True)
class Superquadric:
    """(|x/a|^(2/e2) + |y/b|^(2/e2))^(e2/e1) + |z/c|^(2/e1) = 1 in its own frame (Barr 1981)."""

    R: np.ndarray
    """(3, 3) its axes in the world frame."""
    centre: np.ndarray
    """(3,) world frame, metres."""
    radii: np.ndarray
    """(3,) a, b, c in metres."""
    exponents: np.ndarray
    """(2,) e1, e2 in [0.1, 1]: (0.1, 0.1) a box, (0.1, 1) a cylinder along z, (1, 1) an ellipsoid."""
    cost: float
    """The least value of the objective; comparable between fits to the same view."""

    def field(self, points: np.ndarray) -> np.ndarray:
        """(n,) radial signed distance of (n, 3) world points, metres, negative inside."""
        values = np.empty(len(points), dtype=np.float32)
        superquadric_field(points, self.R, self.centre, self.radii, self.exponents, values)
        return values


def fit_superquadrics(view: ObjectView, generator: np.random.Generator, silhouette: bool = True) -> list[Superquadric]:
    """Local optima from several starts, best first. Without `silhouette`, the second term of the objective is left out.

    The objective: robust distances of the measured points, to first order (`measure_lengths`); surface samples that project where the
    background was seen; surface below the support plane; contact with it, robustly, since objects also lie on others; weak priors on size
    and roundness.
    """
    points = choose_points(view.points, _POINTS, generator)
    rotations, exponents = _choose_starts(view.points)
    states = np.stack([_initial_state(points, R, e) for R, e in zip(rotations, exponents, strict=True)])
    rotations = rotations.copy()
    costs = fit_starts(
        points, _fibonacci_sphere(_DIRECTIONS), states, rotations, *_describe_objective(view, points, silhouette), _ITERATIONS
    )
    fits = [
        Superquadric(R, state[:3], np.exp(state[6:9]), np.array([exponent(state[9]), exponent(state[10])]), float(cost))
        for R, state, cost in zip(rotations, states, costs, strict=True)
    ]
    return sorted((fit for fit in fits if np.isfinite(fit.cost)), key=lambda fit: fit.cost)


def estimate_covariance(view: ObjectView, fit: Superquadric, generator: np.random.Generator) -> np.ndarray:
    """(9, 9) Laplace approximation around a fit: covariance of centre (metres, world), rotation (radians, a right perturbation
    `R exp([w]x)`) and log radii, whatever the exponents; from the Gauss-Newton Hessian of the objective.
    """
    points = choose_points(view.points, _POINTS, generator)
    state = np.zeros(N_PARAMETERS)
    state[:3], state[6:9] = fit.centre, np.log(fit.radii)
    state[9:] = _free_exponents(fit.exponents)
    lengths, gradient, hessian = np.empty(len(points)), np.zeros(N_PARAMETERS), np.zeros((N_PARAMETERS, N_PARAMETERS))
    measure_lengths(points, state, fit.R, lengths)
    objective = _describe_objective(view, points, silhouette=True)
    build_normal_equations(points, lengths, _fibonacci_sphere(_DIRECTIONS), state, fit.R, *objective, gradient, hessian)
    prior = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, _EXPONENT_PRIOR**2, _EXPONENT_PRIOR**2])
    information = _EFFECTIVE_SHARE * (hessian - np.diag(prior)) + np.diag(prior) + np.diag(_LEAST_INFORMATION)
    return np.linalg.inv(information)[:9, :9]


def _describe_objective(view: ObjectView, points: np.ndarray, silhouette: bool) -> tuple:
    """What the kernels are told of the view: camera, image, scales, weights, prior."""
    size = float(np.linalg.norm(np.quantile(points, 0.98, axis=0) - np.quantile(points, 0.02, axis=0)))
    scale = float(np.hypot(2 * view.noise, np.clip(0.015 * size, 0.001, 0.0025)))
    R_camera = np.ascontiguousarray(view.T_world_camera[:3, :3].T)
    plane = 1.0 if view.has_plane else 0.0
    return (
        R_camera,
        -R_camera @ view.camera_centre,
        view.K,
        view.excess_px,
        np.array([scale, 0.6 * scale, scale, 1.3 * scale]),
        np.array([200.0 * silhouette, 400.0 * plane, plane, 400.0]),
        float(np.log(size / 2.5)),
    )


def _choose_starts(points: np.ndarray) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Frames upright along the footprint's principal axis and its smallest rectangle, lying down both ways, and principal in 3-D."""
    footprint = points[:, :2] - points[:, :2].mean(0)
    main = np.linalg.eigh(footprint.T @ footprint).eigenvectors[:, 1]
    rectangle = cv2.minAreaRect((footprint * 1000).astype(np.float32))[2]
    principal = Rotation.from_euler("z", np.arctan2(main[1], main[0]))
    aligned = Rotation.from_euler("z", rectangle, degrees=True)
    lying = [principal * Rotation.from_euler(axis, 90, degrees=True) for axis in "yx"]
    axes = np.linalg.eigh(np.cov(points.T)).eigenvectors
    axes = axes * np.sign(np.linalg.det(axes))
    rotations = [principal, aligned, principal, principal, *lying, Rotation.from_matrix(axes)]
    exponents = [_BOX, _BOX, _CYLINDER, _ELLIPSOID, _CYLINDER, _CYLINDER, _BETWEEN]
    return np.stack([rotation.as_matrix() for rotation in rotations]), exponents


def _initial_state(points: np.ndarray, R: np.ndarray, exponents: tuple[float, float]) -> np.ndarray:
    """Parameters of the box around the points in the frame R."""
    local = points @ R
    low, high = np.quantile(local, 0.02, axis=0), np.quantile(local, 0.98, axis=0)
    state = np.zeros(N_PARAMETERS)
    state[:3] = R @ (low + high) / 2
    state[6:9] = np.log(np.maximum((high - low) / 2, 0.005))
    state[9:] = _free_exponents(np.array(exponents))
    return state


def _free_exponents(exponents: np.ndarray) -> np.ndarray:
    """The free numbers behind exponents: the inverse of `superquadric_kernels.exponent`, finite at the bounds."""
    fraction = np.clip((exponents - LOWEST_EXPONENT) / (1 - LOWEST_EXPONENT), 1e-3, 1 - 1e-3)
    return np.log(fraction / (1 - fraction))


def _fibonacci_sphere(count: int) -> np.ndarray:
    """(n, 3) unit vectors, nearly evenly spread."""
    z = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    return np.stack([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z], axis=1)
