"""Cage deformation by three-dimensional mean value coordinates."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.geometry.cage_kernels import compute_weights
from invgraphics.geometry.mesh import icosphere

_AT_VERTEX = 1e-9
"""Distance, as a share of the cage's extent, within which a point counts as being at a vertex."""


def mean_value_coordinates(
    points: Float[Tensor, "n 3"], cage_vertices: Float[Tensor, "c 3"], cage_faces: Int[Tensor, "t 3"]
) -> Float[Tensor, "n c"]:
    """Weights `W` such that `W @ cage_vertices` gives the points back, and deforms them smoothly when the cage moves.

    Ju, Schaefer and Warren, Mean value coordinates for closed triangular meshes (SIGGRAPH 2005), fig. 4. The rows add up to
    one and reproduce every affine function. The cage must be closed with outward faces; the points may lie inside, outside or
    on it. Outside, the cage's front and back cancel and digits are lost with distance: points come back to 1e-9 of theirs at twice
    the cage's size, to 1e-6 at ten times. Computed in float64 on the CPU, returned in the points' dtype; without gradient.
    """
    extent = (cage_vertices.max(0).values - cage_vertices.min(0).values).max()
    arrays = (tensor.detach().double().cpu().contiguous().numpy() for tensor in (points, cage_vertices))
    weights = np.zeros((len(points), len(cage_vertices)))
    faces = cage_faces.cpu().contiguous().numpy()
    # Edge k of a face lies opposite its corner k; the two faces at an edge share it.
    edges, face_edges = np.unique(np.sort(faces[:, [[1, 2], [2, 0], [0, 1]]].reshape(-1, 2), axis=1), axis=0, return_inverse=True)
    compute_weights(*arrays, faces, edges, face_edges.reshape(-1, 3), _AT_VERTEX * float(extent), weights)
    return torch.from_numpy(weights).to(points)


def sphere_cage(subdivisions: int, radii: Float[Tensor, "3"], margin: float) -> tuple[Float[Tensor, "c 3"], Int[Tensor, "t 3"]]:
    """A cage around an ellipsoid in its own frame: an icosphere scaled to `margin` times the radii (metres)."""
    vertices, faces = icosphere(subdivisions)
    return vertices.to(radii) * radii * margin, faces
