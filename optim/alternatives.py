"""Other completions that an object's view allows beside the one that was chosen, and how much speaks for each."""

from dataclasses import dataclass, replace

import numpy as np

from invgraphics.geometry.remesh import simplify, smooth_taubin
from optim.completion import find_accepted_misfit, measure_unexplained
from optim.hypotheses import TRUNCATED_AWAY, Hypothesis, Workspace, bound_unseen, build_hypothesis, build_workspace
from optim.object_view import ObjectView
from optim.revolution import SymmetryAxis, bound_revolution, find_symmetry_axis, measure_radius, measure_span
from optim.superquadrics import Superquadric, estimate_covariance, fit_superquadrics

_LATTICE_SAMPLES = 90_000
"""Fewer than a reconstruction's: a sample need not be finer than what it differs by."""
_REACH = 0.35
"""Of the visible extent: how far an alternative may reach beyond what is visible and what was reconstructed."""
_TOLERANCE = 0.003
_RIPPLE_PASSES = 6
_CONTRADICTED = 0.11
"""Share of a turned surface in space seen to be empty that counts as one."""
_DOUBTS = {"shadow": 2.5, "shell": 4.0}
"""What counts against completions that fit any view: nothing in the image can contradict them, so nothing speaks for them either."""
_TURNED_DOUBT = 1.0
"""Against a surface of revolution that nothing contradicts."""
_UNKNOWN = 2.0
"""Of a reconstruction that began as something else: the hull of a few points."""
_MOST_DOUBT = 6.0
"""From which a completion is left out."""


@dataclass(frozen=True)
class Beliefs:
    """What the unseen side of one object may be."""

    shapes: tuple[Hypothesis, ...]
    """World frame; the first is the reconstruction itself, under the name of the completion that it began as."""
    weights: np.ndarray
    """(s,) how probable each is; they add up to one."""
    doubts: np.ndarray
    """(s,) what counts against each."""
    primitive: Superquadric | None
    """The superquadric that fits what was seen, where the reconstruction is one, ..."""
    covariance: np.ndarray
    """(9, 9) ... and how firmly it is determined (`superquadrics.estimate_covariance`)."""


def weigh_alternatives(view: ObjectView, reconstructed: Hypothesis, generator: np.random.Generator) -> Beliefs:
    """The reconstruction beside the other completions, each with the weight `exp(-doubt)`, brought to a sum of one.

    The doubt of a superquadric is what it leaves unexplained over what would be accepted; that of a surface of revolution one, and the
    share of it that is contradicted over what would be; those of the shadow and the shell, which fit any view, are constants. The
    reconstruction, for which more speaks than these numbers, weighs as much as the least doubtful other at the least.
    """
    axis = find_symmetry_axis(view, generator)
    workspace = _lay_workspace(view, reconstructed, axis)
    bounds, doubts = _bound_carved(workspace, axis, generator)
    shapes = {name: build_hypothesis(name, workspace, bound) for name, bound in bounds.items() if name != reconstructed.name}
    primitive = next(iter(fit_superquadrics(view, generator)), None)
    if primitive is not None:
        field = primitive.field(workspace.points)
        doubts["superquadric"] = _doubt_primitive(view, workspace, field, shapes.get("shadow", reconstructed), generator)
        shapes["superquadric"] = build_hypothesis("superquadric", workspace, np.minimum(field, bounds["shell"]))
    others = [shape for name, shape in shapes.items() if shape is not None and name != reconstructed.name and doubts[name] < _MOST_DOUBT]
    own = doubts.get(reconstructed.name, _UNKNOWN)
    weights = np.exp([-min(doubts.values()), *(-doubts[shape.name] for shape in others)])
    is_primitive = primitive is not None and reconstructed.name == "superquadric"
    return Beliefs(
        shapes=(reconstructed, *(_thin_out(shape) for shape in others)),
        weights=weights / weights.sum(),
        doubts=np.array([own, *(doubts[shape.name] for shape in others)]),
        primitive=primitive if is_primitive else None,
        covariance=estimate_covariance(view, primitive, generator) if is_primitive else np.zeros((9, 9)),
    )


def _lay_workspace(view: ObjectView, reconstructed: Hypothesis, axis: SymmetryAxis | None) -> Workspace:
    """A lattice over what was seen and what was reconstructed, with a margin, and over the turned shape as far as the margin goes."""
    low = np.minimum(view.points.min(0), reconstructed.vertices.min(0))
    high = np.maximum(view.points.max(0), reconstructed.vertices.max(0))
    if axis is not None and axis.is_plausible:
        reach = _REACH * np.linalg.norm(high - low)
        half = measure_radius(view, axis) * np.sqrt(np.maximum(1 - axis.direction**2, 0.0))
        ends = axis.place + np.array(measure_span(view, axis))[:, None] * axis.direction
        low, high = np.clip((ends - half).min(0), low - reach, low), np.clip((ends + half).max(0), high, high + reach)
    if view.has_plane:
        low[2] = 0.0
    return build_workspace(view, low, np.maximum(high, low + 1e-3), _LATTICE_SAMPLES)


def _bound_carved(
    workspace: Workspace, axis: SymmetryAxis | None, generator: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Fields of the completions that the view's empty space bounds, and what counts against each."""
    wall, below = bound_unseen(workspace, generator)
    bounds, doubts = {"shell": wall, "shadow": below}, dict(_DOUBTS)
    if axis is not None and axis.is_plausible:
        bounds["revolution"] = np.minimum(bound_revolution(workspace, axis), wall)
        doubts["revolution"] = _TURNED_DOUBT + axis.contradicted / _CONTRADICTED
    return bounds, doubts


def _doubt_primitive(
    view: ObjectView, workspace: Workspace, field: np.ndarray, fitting: Hypothesis | None, generator: np.random.Generator
) -> float:
    """Misfit beyond that of a shape that fits, and violation, of what the field bounds, over what would be accepted."""
    below = -workspace.points[:, 2] if view.has_plane else np.full(len(field), -TRUNCATED_AWAY)
    whole = build_hypothesis("superquadric", replace(workspace, carved=below), field)
    if whole is None or fitting is None:
        return np.inf
    return measure_unexplained(view, whole, fitting, generator) / find_accepted_misfit(view)


def _thin_out(shape: Hypothesis) -> Hypothesis:
    extent = float(np.linalg.norm(np.ptp(shape.vertices, axis=0)))
    smooth = smooth_taubin(shape.vertices, shape.faces, _RIPPLE_PASSES)
    return Hypothesis(shape.name, *simplify(smooth, shape.faces, _TOLERANCE * extent, longest_edge=extent / 20))
