"""Which masks of several images show the same object, and what all images say about each."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from optim.object_view import ObjectView, merge_views

_IN_FRONT = 0.01
"""Metres by which points of an object may stand before its own surface in another image: noise, and the error of the poses."""
_LEAST_AGREEMENT = 0.25
"""Below this share of its points on one another, two masks are of two objects."""


def merge_objects(views: Sequence[Sequence[ObjectView]]) -> list[ObjectView]:
    """The objects of the first image, each with what the others show of it. What only the others show is left out.

    Args:
        views: of each image its objects, the cameras placed in one world frame.
    """
    parts = [[view] for view in views[0]]
    for others in views[1:]:
        for k, j in associate_objects(parts, others):
            parts[k].append(others[j])
    return [merge_views(own) for own in parts]


def associate_objects(objects: Sequence[Sequence[ObjectView]], others: Sequence[ObjectView]) -> list[tuple[int, int]]:
    """Pairs (index in `objects`, index in `others`) that are the same thing, each index at most once.

    The assignment in which most of the visible points of each lie, seen by the other's camera, on the other or close behind what is
    visible of it.

    Args:
        objects: of each object its views in the images that are associated already.
        others: the objects of another image.
    """
    if not others:
        return []
    agreement = np.array([[max(_measure_agreement(view, other) for view in views) for other in others] for views in objects])
    pairs = zip(*linear_sum_assignment(agreement, maximize=True), strict=True)
    return [(int(k), int(j)) for k, j in pairs if agreement[k, j] >= _LEAST_AGREEMENT]


def _measure_agreement(a: ObjectView, b: ObjectView) -> float:
    return (_share_within(a.points, b) + _share_within(b.points, a)) / 2


def _share_within(points: np.ndarray, view: ObjectView) -> float:
    """Share of (n, 3) points that the view's object may hold: they project into its mask, and not far behind its surface."""
    pixels, depth = view.project(points)
    columns, rows = np.rint(pixels).T
    height, width = view.owned.shape
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height) & (depth > 0)
    at = rows[inside].astype(np.int64), columns[inside].astype(np.int64)
    behind = depth[inside] - view.barrier[at]
    reach = float(np.linalg.norm(np.ptp(view.points, axis=0)))
    return float((view.owned[at] & (behind > -_IN_FRONT) & (behind < reach)).sum() / len(points))
