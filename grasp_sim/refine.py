"""Grasps moved to where the mesh wants them: both contacts on the surface, the closing axis along the normals there.

Every candidate comes from two surface points; a small turn and shift of the hand often meets the surface more squarely. A step of
Gauss-Newton linearises the signed distance to the mesh at the two contacts (as point-to-plane registration does) and solves for a twist
of the hand and a change of its opening, all candidates at once; a prior keeps each near where it was.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from grasp_sim.hands import Closure
from grasp_sim.solids import Polyhedron
from invgraphics.geometry.distances import find_nearest_faces

_STEPS = 6
_PATCH = 0.006
"""Metres: a finger feels the mean normal of what lies so near."""
_SAME_SIDE = 0.5
"""Cosine between normals of faces on one side of a thin wall."""
_STRIDE = 0.003
"""Metres to either side over which normals are compared."""
_ON_SURFACE = 1e-3
"""Standard deviations: of a contact from the surface, metres;"""
_ALIGNED = 0.1
"""of the axis from the normals, radians;"""
_SHIFT, _TURN, _OPENING = 0.006, 0.15, 0.006
"""and of the change: of the hand's place (m), its turn (rad), its opening (m)."""


class Surface:
    """A closed mesh in the world frame, asked for signed distances and normals."""

    def __init__(self, mesh: Polyhedron):
        """Outward faces, metres."""
        self._corners = mesh.vertices[mesh.faces]
        self._vertices, self._faces = torch.as_tensor(mesh.vertices), torch.as_tensor(mesh.faces)
        cross = np.cross(self._corners[:, 1] - self._corners[:, 0], self._corners[:, 2] - self._corners[:, 0])
        self._normals = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-20)
        one, other = cKDTree(self._corners.mean(1)).query_pairs(_PATCH, output_type="ndarray").T
        alike = (self._normals[one] * self._normals[other]).sum(-1) > _SAME_SIDE
        felt = cross.copy()
        np.add.at(felt, one[alike], cross[other[alike]])
        np.add.at(felt, other[alike], cross[one[alike]])
        self._felt = felt / np.maximum(np.linalg.norm(felt, axis=1, keepdims=True), 1e-20)

    def measure(self, points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
        """Signed distances (m, negative inside) along the mean outward normals near the nearest faces, and these normals."""
        distances, faces = find_nearest_faces(torch.as_tensor(points), self._vertices, self._faces)
        nearest = faces.numpy()
        side = np.sign(((points - self._corners[nearest, 0]) * self._normals[nearest]).sum(-1))
        return side * distances.numpy(), self._felt[nearest]

    def bend(
        self, points: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3 3"]]:
        """What `measure` gives, and how the normals change with the points, 1/m, by central differences."""
        distance, normal = self.measure(points)
        steps = _STRIDE * np.eye(3)
        ahead, behind = (np.stack([self.measure(points + sign * step)[1] for step in steps], axis=-1) for sign in (1, -1))
        return distance, normal, (ahead - behind) / (2 * _STRIDE)


@dataclass(frozen=True)
class Held:
    """Where a template's two sides hold an object, for n hand poses; world frame, metres."""

    T_world_hand: Float[np.ndarray, "n 4 4"]
    width: Float[np.ndarray, " n"]
    """Opening between the sides."""

    def contacts(self, closure: Closure) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
        """The contact of side a, that of side b, and the unit axis from the one to the other."""
        shapes = [closure.at_width(float(width)) for width in self.width]
        rotation, origin = self.T_world_hand[:, :3, :3], self.T_world_hand[:, :3, 3]
        centre = origin + np.einsum("nij,nj->ni", rotation, np.stack([shape[1] for shape in shapes]))
        axis = np.einsum("nij,nj->ni", rotation, np.stack([shape[2] for shape in shapes]))
        half = 0.5 * self.width[:, None] * axis
        return centre - half, centre + half, axis


def refine(held: Held, closure: Closure, surface: Surface) -> Held:
    """The same grasps after Gauss-Newton on the signed distances and normals at their contacts."""
    if len(held.width) == 0:
        return held
    moved = np.zeros((len(held.width), 7))
    now = held
    for _ in range(_STEPS):
        step = _solve(now, closure, surface, moved)
        moved += step
        now = _move(now, closure, step)
    return now


def measure_squareness(held: Held, closure: Closure, surface: Surface) -> Float[np.ndarray, " n"]:
    """Cosine of the larger angle between the closing axis and the normals where the two sides touch: of what is nearest to the centres
    of round ones, even where these stand higher or lower than the surface would have them."""
    if len(held.width) == 0:
        return np.zeros(0)
    a, b, axis = held.contacts(closure)
    (_, normal_a), (_, normal_b) = surface.measure(a - closure.radii[0] * axis), surface.measure(b + closure.radii[1] * axis)
    return np.minimum(-(normal_a * axis).sum(-1), (normal_b * axis).sum(-1))


def _solve(held: Held, closure: Closure, surface: Surface, moved: Float[np.ndarray, "n 7"]) -> Float[np.ndarray, "n 7"]:
    """One step: shift (m), turn about the middle (rad), change of opening (m); `moved` is the sum of those before."""
    a, b, axis = held.contacts(closure)
    half = 0.5 * held.width[:, None] * axis
    rows, misses = [], []
    for point, arm, sign in ((a, -half, -1.0), (b, half, 1.0)):
        distance, normal, bending = surface.bend(point)
        motion = np.concatenate([np.broadcast_to(np.eye(3), bending.shape), -_cross_matrix(arm), 0.5 * sign * axis[:, :, None]], axis=2)
        rows += [np.einsum("ni,nij->nj", normal, motion)[:, None] / _ON_SURFACE, (bending @ motion) / _ALIGNED]
        rows[-1][:, :, 3:6] += sign * _cross_matrix(axis) / _ALIGNED
        misses += [distance[:, None] / _ON_SURFACE, (normal - sign * axis) / _ALIGNED]
    slopes, miss = np.concatenate(rows, axis=1), np.concatenate(misses, axis=1)
    prior = 1 / np.array([_SHIFT] * 3 + [_TURN] * 3 + [_OPENING]) ** 2
    normal_matrix = np.einsum("nri,nrj->nij", slopes, slopes) + np.diag(prior)
    return -np.linalg.solve(normal_matrix, (np.einsum("nri,nr->ni", slopes, miss) + prior * moved)[..., None])[..., 0]


def _cross_matrix(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3 3"]:
    """Matrices C with `C x = vector cross x`."""
    matrices = np.zeros((len(vectors), 3, 3))
    matrices[:, [0, 1, 2], [1, 2, 0]] = -vectors[:, [2, 0, 1]]
    matrices[:, [1, 2, 0], [0, 1, 2]] = vectors[:, [2, 0, 1]]
    return matrices


def _move(held: Held, closure: Closure, step: Float[np.ndarray, "n 7"]) -> Held:
    """The grasps turned about the middles between their contacts, shifted, and opened."""
    a, b, _ = held.contacts(closure)
    middle = 0.5 * (a + b)
    turn = Rotation.from_rotvec(step[:, 3:6]).as_matrix()
    width = np.clip(held.width + step[:, 6], closure.width[-1], closure.width[0])
    T = held.T_world_hand.copy()
    T[:, :3, :3] = turn @ held.T_world_hand[:, :3, :3]
    opened = Held(T, width)
    new_a, new_b, _ = opened.contacts(closure)
    T[:, :3, 3] += middle + step[:, :3] - 0.5 * (new_a + new_b)
    return Held(T, width)
