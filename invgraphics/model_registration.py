"""A known model laid over a reconstructed surface: the rigid motion that brings them closest, found from starts all around.

This is how a reconstruction, which has no frame that anybody else knows, comes to say something about a pose. Nothing but the two surfaces
goes into it: no true pose, no colour. What their shapes leave open (a turn of a can about its axis) is left open here too.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from torch import Tensor

from invgraphics.geometry.mesh import Mesh, sample_surface

_STARTS = 360
_COARSE_POINTS, _FINE_POINTS = 200, 1500
_COARSE_KEPT, _COARSE_STEPS = 36, 12
_FINE_KEPT, _FINE_STEPS = 5, 40
_TOLERANCE = 0.03
"""Distance, as a share of the model's extent, from which a pair of points counts less and less (Cauchy): parts may not agree."""


@dataclass(frozen=True)
class ModelRegistration:
    """Where a model lies best over a surface."""

    T_camera_model: Float[Tensor, "4 4"]
    """The model's frame to the surface's, metres; float64."""
    residual_m: float
    """Mean distance from points of either surface to the nearest of the other, metres."""


@dataclass(frozen=True)
class _Clouds:
    """Points drawn from both surfaces, and what finds the nearest of them."""

    model: np.ndarray
    """(n, 3) in the model's frame."""
    surface: np.ndarray
    """(n, 3) in the surface's frame."""
    model_tree: cKDTree
    surface_tree: cKDTree


def register_model(model: Mesh, surface: Mesh, generator: torch.Generator) -> ModelRegistration:
    """The rigid motion that lays `model` over `surface`; scale is kept, for both are in metres.

    Turns spread evenly over all rotations (super-Fibonacci spirals, Alexa 2022) put the middles of both over one another; the best are
    refined by iterated closest points both ways (Besl and McKay 1992), distances counting by Cauchy's law. `generator` is a CPU generator.

    Raises:
        ValueError: one of the meshes has no surface.
    """
    coarse, fine = (_draw_clouds(model, surface, count, generator) for count in (_COARSE_POINTS, _FINE_POINTS))
    tolerance = _TOLERANCE * float(np.linalg.norm(np.ptp(fine.model, axis=0)))
    starts = [_start(rotation, fine) for rotation in _spread_rotations(_STARTS)]
    chosen = sorted(starts, key=lambda pose: _measure(pose, coarse, tolerance))[:_COARSE_KEPT]
    chosen = [_refine(pose, coarse, tolerance, _COARSE_STEPS) for pose in chosen]
    chosen = sorted(chosen, key=lambda pose: _measure(pose, fine, tolerance))[:_FINE_KEPT]
    chosen = [_refine(pose, fine, tolerance, _FINE_STEPS) for pose in chosen]
    best = min(chosen, key=lambda pose: _measure(pose, fine, tolerance))
    return ModelRegistration(torch.from_numpy(best), float(np.mean(np.concatenate(_find_distances(best, fine)))))


def _draw_clouds(model: Mesh, surface: Mesh, count: int, generator: torch.Generator) -> _Clouds:
    points = []
    for mesh in (model, surface):
        vertices = mesh.vertices.detach().cpu().double()
        if len(mesh.faces) == 0 or not torch.isfinite(vertices).all():
            raise ValueError("a mesh without faces, or with vertices that are not finite, cannot be registered")
        points.append(sample_surface(vertices, mesh.faces.cpu(), count, generator)[0].numpy())
    return _Clouds(*points, *(cKDTree(cloud) for cloud in points))


def _spread_rotations(count: int) -> np.ndarray:
    """(count, 3, 3) rotations, evenly spread."""
    place = np.arange(count) + 0.5
    share, turn = place / count, 2 * np.pi * place
    first, second = turn / np.sqrt(2), turn / 1.533751168755204288118041
    low, high = np.sqrt(share), np.sqrt(1 - share)
    quaternions = np.stack([low * np.sin(first), low * np.cos(first), high * np.sin(second), high * np.cos(second)], axis=1)
    return Rotation.from_quat(quaternions).as_matrix()


def _start(rotation: np.ndarray, clouds: _Clouds) -> np.ndarray:
    return _rigid(rotation, clouds.surface.mean(0) - rotation @ clouds.model.mean(0))


def _rigid(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, translation
    return pose


def _find_nearest(pose: np.ndarray, clouds: _Clouds) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Distances and indices of the nearest points: from the model to the surface, and back."""
    rotation, translation = pose[:3, :3], pose[:3, 3]
    forth = clouds.surface_tree.query(clouds.model @ rotation.T + translation)
    return forth, clouds.model_tree.query((clouds.surface - translation) @ rotation)


def _find_distances(pose: np.ndarray, clouds: _Clouds) -> tuple[np.ndarray, np.ndarray]:
    (forth, _), (back, _) = _find_nearest(pose, clouds)
    return forth, back


def _measure(pose: np.ndarray, clouds: _Clouds, tolerance: float) -> float:
    """What the registration makes small: Cauchy's law of the distances both ways."""
    return float(np.mean(np.log1p((np.concatenate(_find_distances(pose, clouds)) / tolerance) ** 2)))


def _refine(pose: np.ndarray, clouds: _Clouds, tolerance: float, steps: int) -> np.ndarray:
    for _ in range(steps):
        (forth, to_surface), (back, to_model) = _find_nearest(pose, clouds)
        source = np.concatenate([clouds.model, clouds.model[to_model]])
        target = np.concatenate([clouds.surface[to_surface], clouds.surface])
        weights = 1 / (1 + (np.concatenate([forth, back]) / tolerance) ** 2)
        pose = _align(source, target, weights / weights.sum())
    return pose


def _align(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The rigid motion that takes (n, 3) points to their partners with the least weighted sum of squares (Kabsch 1976)."""
    middle, target_middle = weights @ source, weights @ target
    u, _, vt = np.linalg.svd((source - middle).T @ (weights[:, None] * (target - target_middle)))
    handedness = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = vt.T @ handedness @ u.T
    return _rigid(rotation, target_middle - rotation @ middle)
