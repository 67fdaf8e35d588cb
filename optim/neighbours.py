"""What completions say of each other: no two objects are in the same place."""

from collections.abc import Sequence

import manifold3d
import numpy as np
from scipy.spatial import cKDTree

from optim.completion import thin_out
from optim.hypotheses import Hypothesis
from optim.object_view import ObjectView

_FIRMLY_FOUNDED = ("superquadric", "revolution")
_TOUCHING = 0.05
"""Share of a firmly founded completion's volume that may lie in another's: their walls are not known better, cages part them."""
_SEEN_WITHIN = 0.005
"""Metres from a piece within which a visible point belongs to it."""
_SEEN_SHARE = 0.02
"""Pieces near less than this share of the visible points are dropped."""
_LEAST_KEPT = 0.8
"""Share of the visible points that must stay near what is left; else the object keeps its room."""


def separate(completions: Sequence[Hypothesis], views: Sequence[ObjectView]) -> list[Hypothesis]:
    """The completions less what others take of them.

    What a primitive or a symmetry says of an object's unseen side outweighs a shadow; among equals the object that lies lower keeps the
    room, as the other lies on it.
    """
    heights = [float(view.points[:, 2].mean()) for view in views]
    result = list(completions)
    taken: list[int] = []
    for k in sorted(range(len(result)), key=lambda k: (result[k].name not in _FIRMLY_FOUNDED, heights[k])):
        firm = result[k].name in _FIRMLY_FOUNDED
        others = [result[j] for j in taken if _boxes_meet(result[k].vertices, result[j].vertices)]
        others = [other for other in others if not firm or _measure_overlap(result[k], other) > _TOUCHING]
        if others:
            result[k] = _subtract(result[k], others, views[k].points)
        taken.append(k)
    return result


def _boxes_meet(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a.min(0) <= b.max(0)).all() and (b.min(0) <= a.max(0)).all())


def _measure_overlap(completion: Hypothesis, other: Hypothesis) -> float:
    """Share of a completion's volume that lies in the other's."""
    solid = _to_solid(completion)
    return (solid ^ _to_solid(other)).volume() / max(solid.volume(), 1e-12)


def _subtract(completion: Hypothesis, others: Sequence[Hypothesis], seen: np.ndarray) -> Hypothesis:
    """What is left of a completion, in the pieces that are seen; the whole of it where too little of that is left."""
    solid = _to_solid(completion)
    for other in others:
        solid = solid - _to_solid(other)
    pieces = []
    nearby = np.zeros(len(seen), dtype=bool)
    for piece in solid.decompose():
        mesh = piece.refine_to_length(_SEEN_WITHIN).to_mesh()
        near = cKDTree(mesh.vert_properties[:, :3]).query(seen, distance_upper_bound=_SEEN_WITHIN)[0] < np.inf
        if near.mean() >= _SEEN_SHARE:
            pieces.append(piece)
            nearby |= near
    if not pieces or nearby.mean() < _LEAST_KEPT:
        return completion
    mesh = manifold3d.Manifold.compose(pieces).to_mesh()
    vertices, faces = np.asarray(mesh.vert_properties[:, :3], dtype=np.float64), np.asarray(mesh.tri_verts, dtype=np.int64)
    return thin_out(Hypothesis(completion.name, vertices, faces))


def _to_solid(completion: Hypothesis) -> manifold3d.Manifold:
    return manifold3d.Manifold(manifold3d.Mesh(completion.vertices.astype(np.float32), completion.faces.astype(np.uint32)))
