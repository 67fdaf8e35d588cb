"""From what was seen of each object to a closed mesh: hypotheses of its unseen side, the evidence for each, the choice.

A superquadric (box, cylinder, ellipsoid) says most about the unseen side, so it is taken where it explains all that was seen: the
measured points, and the space seen to be empty. Next comes a surface of revolution (bowls, cups, plates, upright or leaning), where
turning the visible surface does not contradict the image. Else the object is what lies between its visible surface and its shadow on the
table, no thicker than it is wide, less the space seen to be empty.
"""

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import ConvexHull, cKDTree

from invgraphics.geometry.mesh import sample_surface, volume
from invgraphics.geometry.remesh import simplify, smooth_taubin
from optim.hypotheses import (
    TRUNCATED_AWAY,
    Hypothesis,
    Workspace,
    bound_unseen,
    build_hypothesis,
    build_thinnest_shell,
    build_workspace,
    choose_points,
)
from optim.object_view import ObjectView
from optim.options import ReconstructionOptions
from optim.revolution import SymmetryAxis, bound_revolution, find_symmetry_axis, measure_radius, measure_span
from optim.superquadrics import Superquadric, fit_superquadrics

_RIPPLE_PASSES = 10
_FAIRING_PASSES = 10
"""Of the same smoothing over the few triangles that are left, where the surface has no edges to lose."""
_SHADOW_SMOOTHING = 1.4
"""Lattice steps: a surface that follows each pixel's depth is rougher than what it shows."""
_TOLERANCE = 0.002
"""By which simplification may move the surface, as a share of the object's extent."""
_EDGES_ACROSS = 20
_REACH = 0.7
"""How far, in visible extents, a completion may reach beyond what is visible."""
_EVIDENCE_SAMPLES = 3000
_MISFIT_CAP = 0.03
"""Metres: a part that a primitive leaves out must tell against it, a few wrong pixels must not."""
_FREE_TOLERANCE = 0.003
_ACCEPTED_MISFIT = 0.0008
_ACCEPTED_RELATIVE_MISFIT = 0.008
_ACCEPTED_OVER_REVOLUTION = 0.65
"""Share of the accepted misfit within which a primitive is taken even where a revolution is plausible."""
_ACCEPTED_NOISE_LEVELS = 1.3


def complete_object(view: ObjectView, generator: np.random.Generator, options: ReconstructionOptions | None = None) -> Hypothesis:
    """The best supported completion as a closed mesh of moderate size."""
    return coarsen(choose_hypothesis(view, generator, options))


def coarsen(hypothesis: Hypothesis) -> Hypothesis:
    """The same surface without the lattice's ripples, in as many triangles as it needs; what is no primitive, without its bumps, too."""
    smooth = smooth_taubin(hypothesis.vertices, hypothesis.faces, _RIPPLE_PASSES)
    thin = thin_out(Hypothesis(hypothesis.name, smooth, hypothesis.faces))
    return thin if thin.name == "superquadric" else replace(thin, vertices=smooth_taubin(thin.vertices, thin.faces, _FAIRING_PASSES))


def thin_out(hypothesis: Hypothesis) -> Hypothesis:
    """The same surface in as many triangles as it needs, none of them too long to bend."""
    extent = _extent(hypothesis.vertices)
    simple = simplify(hypothesis.vertices, hypothesis.faces, _TOLERANCE * extent, longest_edge=extent / _EDGES_ACROSS)
    return Hypothesis(hypothesis.name, *simple)


def choose_hypothesis(view: ObjectView, generator: np.random.Generator, options: ReconstructionOptions | None = None) -> Hypothesis:
    """The best supported completion, finely triangulated.

    Where the lattice is too coarse for what was seen (a few pixels, a sheet of paper), the hull of the visible points remains.
    """
    options = options or ReconstructionOptions()
    axis = find_symmetry_axis(view, generator) if options.symmetry else None
    workspace = build_workspace(view, *_bound_region(view, axis))
    wall, below = bound_unseen(workspace, generator)
    shadow = build_hypothesis("shadow", workspace, below, _SHADOW_SMOOTHING)
    if shadow is None:
        return build_hull(view.points)
    whole = _build_primitive(view, fit_superquadrics(view, generator, options.silhouette)[0]) if options.superquadrics else None
    unexplained = np.inf
    if whole is not None and not _is_thinner_than_seen(whole, workspace):
        unexplained = measure_unexplained(view, whole, shadow, generator)
    accepted = find_accepted_misfit(view)
    if unexplained < _ACCEPTED_OVER_REVOLUTION * accepted:
        return whole
    if axis is not None and axis.is_plausible:
        turned = build_hypothesis("revolution", workspace, np.minimum(bound_revolution(workspace, axis), wall))
        if turned is not None:
            return turned
    return whole if unexplained < accepted else shadow


def build_candidates(view: ObjectView, generator: np.random.Generator) -> list[Hypothesis]:
    """Every completion that could have been chosen, whatever the evidence says of it: what choosing is worth, once the truth is known."""
    axis = find_symmetry_axis(view, generator)
    workspace = build_workspace(view, *_bound_region(view, axis))
    wall, below = bound_unseen(workspace, generator)
    candidates = [build_hypothesis("shell", workspace, wall), build_hypothesis("shadow", workspace, below, _SHADOW_SMOOTHING)]
    if axis is not None:
        candidates.append(build_hypothesis("revolution", workspace, np.minimum(bound_revolution(workspace, axis), wall)))
    candidates += [_build_primitive(view, fit_superquadrics(view, generator)[0]), build_hull(view.points)]
    return [coarsen(candidate) for candidate in candidates if candidate is not None]


def measure_unexplained(view: ObjectView, whole: Hypothesis, fitting: Hypothesis, generator: np.random.Generator) -> float:
    """What a primitive leaves unexplained, metres: its misfit beyond that of a shape that follows the image, and its violation."""
    beyond = max(measure_misfit(view, whole, generator) - measure_misfit(view, fitting, generator), 0.0)
    return beyond + measure_violation(view, whole, generator)


def find_accepted_misfit(view: ObjectView) -> float:
    """Metres that a primitive may leave unexplained; the more is seen, the less its unseen side makes up for."""
    relative = _ACCEPTED_RELATIVE_MISFIT / len(view.images)
    return max(_ACCEPTED_MISFIT, relative * _extent(view.points), _ACCEPTED_NOISE_LEVELS * view.noise)


def measure_misfit(view: ObjectView, hypothesis: Hypothesis, generator: np.random.Generator) -> float:
    """Mean distance of visible points to the nearest of many points on the surface, metres, each at most `_MISFIT_CAP`."""
    samples = _sample_surface(hypothesis, generator)
    distances, _ = cKDTree(samples).query(choose_points(view.points, 600, generator))
    return float(np.minimum(distances, _MISFIT_CAP).mean())


def measure_violation(view: ObjectView, hypothesis: Hypothesis, generator: np.random.Generator) -> float:
    """Mean distance, metres, by which the surface stands in space that was seen to be empty, beyond `_FREE_TOLERANCE`."""
    return float(np.clip(view.free_space(_sample_surface(hypothesis, generator)) - _FREE_TOLERANCE, 0.0, None).mean())


def build_hull(points: np.ndarray) -> Hypothesis:
    """The convex hull of (n, 3) points."""
    hull = ConvexHull(points, qhull_options="QJ")
    used, faces = np.unique(hull.simplices.reshape(-1), return_inverse=True)
    faces = faces.reshape(-1, 3)
    a, b, c = (points[used][faces[:, k]] for k in range(3))
    inward = (np.cross(b - a, c - a) * hull.equations[:, :3]).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    return Hypothesis("hull", points[used], faces.astype(np.int64))


def _bound_region(view: ObjectView, axis: SymmetryAxis | None) -> tuple[np.ndarray, np.ndarray]:
    """Opposite corners of the box that holds what is visible, its shadow, and the turned shape as far as it is near."""
    low, high = view.points.min(0), view.points.max(0)
    if axis is not None and axis.is_plausible:
        radius = min(measure_radius(view, axis), _REACH * _extent(view.points))
        ends = axis.place + np.array(measure_span(view, axis))[:, None] * axis.direction
        half = radius * np.sqrt(np.maximum(1 - axis.direction**2, 0.0))
        low, high = np.minimum(low, (ends - half).min(0)), np.maximum(high, (ends + half).max(0))
    if view.has_plane:
        low[2] = 0.0
    return low, np.maximum(high, low + 1e-3)


def _build_primitive(view: ObjectView, primitive: Superquadric) -> Hypothesis | None:
    """The superquadric, cut off at the support plane and where it reaches far beyond what is visible."""
    half, reach = np.abs(primitive.R) @ primitive.radii, _REACH * _extent(view.points)
    low = np.maximum(primitive.centre - half, view.points.min(0) - reach)
    high = np.minimum(primitive.centre + half, view.points.max(0) + reach)
    if view.has_plane:
        low[2] = 0.0
    workspace = build_workspace(view, low, np.maximum(high, low + 1e-3))
    below = -workspace.points[:, 2] if view.has_plane else np.full(len(workspace.points), -TRUNCATED_AWAY)
    return build_hypothesis("superquadric", replace(workspace, carved=below), primitive.field(workspace.points))


def _is_thinner_than_seen(hypothesis: Hypothesis, workspace: Workspace) -> bool:
    """Whether a shape holds less than a thin shell behind the visible surface: a primitive that has collapsed onto an edge."""
    shell = build_thinnest_shell(workspace)
    return shell is not None and _enclosed(hypothesis) < _enclosed(shell)


def _enclosed(hypothesis: Hypothesis) -> float:
    return float(volume(torch.as_tensor(hypothesis.vertices), torch.as_tensor(hypothesis.faces)))


def _sample_surface(hypothesis: Hypothesis, generator: np.random.Generator) -> np.ndarray:
    seeded = torch.Generator().manual_seed(int(generator.integers(2**31)))
    vertices, faces = torch.as_tensor(hypothesis.vertices), torch.as_tensor(hypothesis.faces)
    return sample_surface(vertices, faces, _EVIDENCE_SAMPLES, seeded)[0].numpy()


def _extent(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.ptp(points, axis=0)))
