"""Neighbours as obstacles: how deep a point lies inside of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.geometry.distances import find_inside, find_nearest_faces
from invgraphics.geometry.isosurface import build_lattice
from invgraphics.geometry.mesh import Mesh

_SAMPLES = 12_000
_FINEST = 0.002
"""Metres: least spacing of the samples."""
_MARGIN = 0.004
"""Metres around an obstacle within which its distance is known; beyond, nothing is felt of it."""
_TOUCHES = 0.003
"""Metres between surfaces that touch as far as one can tell."""


@dataclass(frozen=True)
class Obstacle:
    """Signed distances from a neighbour's surface on a lattice around it."""

    origin: Float[Tensor, "3"]
    """World position of the first sample, metres."""
    spacing: float
    """Metres from sample to sample."""
    distances: Float[Tensor, "x y z"]
    """Metres, negative inside."""

    def measure_depth(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """How deep, metres, each world point lies inside the neighbour; 0 outside. Differentiable with respect to the points."""
        return (-self._interpolate(points, outside=0.0)).clamp(min=0)

    def is_touched_by(self, points: Float[Tensor, "n 3"]) -> bool:
        """Whether any of the world points lies inside the neighbour or touches it."""
        return bool((self._interpolate(points, outside=torch.inf) < _TOUCHES).any())

    def _interpolate(self, points: Float[Tensor, "n 3"], outside: float) -> Float[Tensor, " n"]:
        """Signed distances, and `outside` beyond the lattice."""
        sizes = torch.tensor(self.distances.shape, dtype=points.dtype)
        unit = 2 * (points - self.origin) / (self.spacing * (sizes - 1)) - 1
        values = torch.nn.functional.grid_sample(
            self.distances[None, None], unit.flip(-1)[None, None, None], padding_mode="border", align_corners=True
        )
        within = (unit.detach().abs() <= 1).all(-1)
        return torch.where(within, values.reshape(-1), outside)


def find_obstacles(mesh: Mesh, others: Sequence[Mesh]) -> list[Obstacle]:
    """The meshes (world frame) that a mesh may run into, as distance fields where both are."""
    low, high = mesh.vertices.min(0).values - _MARGIN, mesh.vertices.max(0).values + _MARGIN
    near = [other for other in others if (other.vertices.max(0).values >= low).all() and (other.vertices.min(0).values <= high).all()]
    return [build_obstacle(other, low, high) for other in near]


def build_obstacle(mesh: Mesh, low: Float[Tensor, "3"] | None = None, high: Float[Tensor, "3"] | None = None) -> Obstacle:
    """The distance field of a closed mesh in the world frame; where bounds are given, of its part between them, with a margin."""
    least, most = mesh.vertices.min(0).values, mesh.vertices.max(0).values
    least = least if low is None else torch.maximum(least, low)
    most = most if high is None else torch.maximum(torch.minimum(most, high), least)
    corners = (least.double().numpy() - _MARGIN, most.double().numpy() + _MARGIN)
    lattice = build_lattice(*corners, _SAMPLES, _FINEST)
    points = torch.as_tensor(lattice.points())
    vertices = mesh.vertices.double()
    distances, _ = find_nearest_faces(points, vertices, mesh.faces)
    signed = torch.where(find_inside(points, vertices, mesh.faces), -distances, distances)
    dtype = mesh.vertices.dtype
    return Obstacle(torch.as_tensor(lattice.origin).to(dtype), float(lattice.spacing), signed.reshape(lattice.shape).to(dtype))
