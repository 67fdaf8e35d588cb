"""From what was seen of each object to a closed mesh: hypotheses, the evidence for each, the choice."""

import numpy as np

from optim.hypotheses import bound_shadow, build_hypothesis, build_workspace
from optim.object_view import ObjectView


def complete_objects(views: list[ObjectView], generator: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Vertices (v, 3) and faces (f, 3) of a closed mesh for each object, world frame, metres."""
    return [_complete_object(view, generator) for view in views]


def _complete_object(view: ObjectView, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    low, high = view.points.min(0), view.points.max(0)
    floor = 0.0 if view.has_plane else low[2]
    low[2] = min(low[2], floor)
    workspace = build_workspace(view, low, high)
    hypothesis = build_hypothesis("shadow", workspace, bound_shadow(workspace, generator, floor))
    return hypothesis.vertices, hypothesis.faces
