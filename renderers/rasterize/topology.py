"""Which triangles meet at which edges: what silhouettes are found with. Computed once for a mesh's faces, passed where needed."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from invgraphics.errors import InputError
from renderers.rasterize import topology_kernels


@dataclass(frozen=True)
class EdgeTopology:
    """The edges of a list of triangles. Any mesh will do: open, closed, several pieces, edges with three triangles."""

    faces: Int[Tensor, "f 3"]
    """The triangles it was built from."""
    edges: Int[Tensor, "e 2"]
    """Vertex indices of each edge, lower first; each edge once."""
    starts: Int[Tensor, " e+1"]
    """Triangles of edge k are entries starts[k] to starts[k + 1] of `opposite` and `edge_faces`."""
    opposite: Int[Tensor, " n"]
    """The corner of each such triangle that is not on the edge."""
    edge_faces: Int[Tensor, " n"]
    """The triangle itself."""
    directions: Int[Tensor, " n"]
    """1 where the triangle's corners run from the edge's first vertex to its second, -1 where from its second to its first."""
    components: Int[Tensor, " f"]
    """Which connected piece of the mesh each triangle belongs to: the lowest vertex of the piece (pieces share no vertex)."""


def build_topology(faces: Int[Tensor, "f 3"]) -> EdgeTopology:
    """Find the edges of triangles, the triangles at each edge, and the connected pieces, in time linear in their number.

    Raises:
        InputError: a vertex index is negative.
    """
    corners = np.ascontiguousarray(faces.detach().cpu().numpy(), dtype=np.int64)
    if corners.size and corners.min() < 0:
        bad = int(np.flatnonzero((corners < 0).any(axis=1))[0])
        raise InputError(f"triangle {bad} has vertex indices {corners[bad].tolist()}; none may be negative")
    n_vertices = int(corners.max(initial=-1)) + 1
    tables = (*topology_kernels.collect_edges(corners, n_vertices), topology_kernels.label_components(corners, n_vertices))
    edges, starts, opposite, owners, directions, components = (torch.as_tensor(table, device=faces.device) for table in tables)
    return EdgeTopology(faces, edges, starts, opposite, owners, directions, components)
