"""Which triangles meet at which edges: what silhouettes are found with. Computed once for a mesh's faces, passed where needed."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor


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
    components: Int[Tensor, " f"]
    """Which connected piece of the mesh each triangle belongs to (triangles that share a vertex are connected)."""


def build_topology(faces: Int[Tensor, "f 3"]) -> EdgeTopology:
    """Find the edges of triangles, the triangles at each edge, and the connected pieces."""
    corners = faces.detach().cpu().numpy().astype(np.int64)
    n_faces = len(corners)
    ends = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    ends.sort(axis=1)
    opposite = np.concatenate([corners[:, 2], corners[:, 0], corners[:, 1]])
    owners = np.tile(np.arange(n_faces), 3)
    order = np.lexsort((owners, ends[:, 1], ends[:, 0]))
    ends, opposite, owners = ends[order], opposite[order], owners[order]
    is_first = np.ones(len(ends), dtype=bool)
    is_first[1:] = (ends[1:] != ends[:-1]).any(axis=1)
    starts = np.append(np.flatnonzero(is_first), len(ends))
    device = faces.device
    return EdgeTopology(
        faces=faces,
        edges=torch.as_tensor(ends[is_first], device=device),
        starts=torch.as_tensor(starts, device=device),
        opposite=torch.as_tensor(opposite, device=device),
        edge_faces=torch.as_tensor(owners, device=device),
        components=torch.as_tensor(_face_components(corners), device=device),
    )


def _face_components(corners: np.ndarray) -> np.ndarray:
    if len(corners) == 0:
        return np.zeros(0, dtype=np.int64)
    rows, columns = corners[:, [0, 1]].reshape(-1), corners[:, [1, 2]].reshape(-1)
    size = int(corners.max()) + 1
    links = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(size, size))
    labels = connected_components(links, directed=False)[1]
    return labels[corners[:, 0]].astype(np.int64)
