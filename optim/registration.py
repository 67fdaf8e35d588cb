"""Where other cameras stood: images of the same scene brought into one world frame by their support planes and their objects.

The planes leave a turn about the vertical and a shift. Turns all around, with every object of one image over every object of the other,
are judged by what the depth images say of each other's points; the best are refined by iterated closest points, point to plane (Chen and
Medioni 1992), and then by that judgement itself, since images from opposite sides have few points but all outlines in common.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from invgraphics.errors import InputError
from invgraphics.observation import Observation
from invgraphics.plane import find_support_plane
from invgraphics.reconstruction import StageHistory
from optim.association import associate_objects
from optim.object_view import ObjectView, view_objects

_TURNS = np.linspace(0.0, 2 * np.pi, 36, endpoint=False)
_SCORED_POINTS = 300
_MATCHED_POINTS = 3000
_REFINED = 8
_COARSE, _FINE = 0.012, 0.004
"""Metres at which a depth difference counts as one, before and after the refinement."""
_COLOUR_DEVIATION = 0.15
"""Of linear RGB, between images of the same place."""
_CONTRADICTION = 3.0
"""So many depth deviations before what another image measured at the pixel and its neighbours, a point contradicts it in full."""
_CONTRADICTION_WEIGHT = 4.0
"""Of contradicted points over agreeing ones: where the poses are right there are hardly any."""
_ASSOCIATION_WEIGHT = 0.5
"""Of all objects finding one another over all points agreeing."""
_STEPS = np.array([np.radians(1.5), 0.004, 0.004])
"""Of the last refinement: a turn about the vertical, radians, and a shift, metres."""
_VISIBLE_SHIFT = 0.4
"""The middle of an object lies behind that of its visible points by this share of its visible width."""
_GATES = (0.03, 0.03, 0.02, 0.02, 0.015, 0.015, 0.01, 0.01, *([0.006] * 12))
"""Metres within which points are matched, one refinement step each."""
_LEAST_NORMAL_COSINE = 0.5
_WELL_MATCHED = 0.6
"""Share of matched points from which closest points say more than outlines."""
_PLANE_WEIGHT = 0.5
"""What staying on the support plane counts, as a share of all matched points."""
_PLANE_ARM = 0.2
"""Metres from the origin at which the plane is held."""
_DAMPING = 1e-3
_LEAST_AGREEING, _MOST_CONTRADICTED, _LEAST_ASSOCIATED = 0.1, 0.06, 0.3


@dataclass(frozen=True)
class Scan:
    """What registration takes of one image whose camera stands in a frame with z up from the support plane."""

    name: str
    K: np.ndarray
    """(3, 3) intrinsics, pixels."""
    depth: np.ndarray
    """(h, w) metres, 0 where there is none."""
    nearest: np.ndarray
    """(h, w) metres, the least depth of each pixel and its neighbours; 0 where one of them has none."""
    colour: np.ndarray
    """(h, w, 3) linear RGB."""
    views: tuple[ObjectView, ...]
    """Of each object."""
    T_world_camera: np.ndarray
    """(4, 4) metres."""
    points: np.ndarray
    """(n, 3) denoised surface points of all objects, world frame."""
    normals: np.ndarray
    """(n, 3) unit normals."""
    filled: np.ndarray
    """(m, 3) a point for every pixel of the masks, up to their borders; world frame."""
    colours: np.ndarray
    """(m, 3) linear RGB of those."""
    middles: np.ndarray
    """(o, 2) about where each object stands, metres."""


@dataclass(frozen=True)
class Agreement:
    """What two sets of images say of each other's points."""

    agreeing: float
    """Share of the points that lie on what the other image measured, in a like colour; the rest is hidden, out of view, or contradicted."""
    contradicted: float
    """Share of the points that lie in space that the other image saw through."""
    associated: float = 0.0
    """Share of the objects that find themselves in the other images, of as many as can."""

    @property
    def score(self) -> float:
        """What is to be greatest."""
        return self.agreeing - _CONTRADICTION_WEIGHT * self.contradicted + _ASSOCIATION_WEIGHT * self.associated


def register_observations(
    first: Observation, others: Sequence[Observation], generator: torch.Generator
) -> tuple[list[Observation], list[StageHistory]]:
    """The other images of a scene, their cameras placed in the world of the first one, and how well they fit.

    Each is registered with all those before it, so that a camera may go around a scene in steps.

    Args:
        first: its camera placed over the support plane z = 0.
        others: masks given, cameras not placed.
        generator: for finding the planes. The points that poses are judged by are chosen by a seed of their own, always the same.

    Raises:
        InputError: an image shows no support plane, or does not fit the ones before it.
    """
    scans = [scan_observation(first)]
    placed, history = [], []
    rng = np.random.default_rng(0)
    for observation in others:
        plane = find_support_plane(observation, generator)
        if plane is None:
            raise InputError(f"{observation.name} shows no support plane, which registers it with {first.name}; give the camera's poses")
        upright = observation.with_camera_pose(plane.T_world_camera)
        T_world_upright, agreement, residuals = register_scan(scan_observation(upright), scans, rng)
        _check_fit(observation.name, first.name, agreement)
        pose = T_world_upright @ upright.camera.T_world_camera.double().numpy()
        placed.append(observation.with_camera_pose(torch.as_tensor(pose, dtype=observation.depth.dtype)))
        scans.append(scan_observation(placed[-1]))
        matched = f"residual {1000 * residuals[-1]:.2f} mm" if np.isfinite(residuals[-1]) else "by outlines, for too few of them match"
        outcome = f"registered: {100 * agreement.agreeing:.0f} % of the points agree, {matched}"
        history.append(StageHistory(f"registration of {observation.name}", {"total": residuals}, outcome))
    return placed, history


def scan_observation(observation: Observation) -> Scan:
    """The objects' points of an observation whose camera stands over the plane z = 0."""
    views = view_objects(observation, has_plane=True)
    colour = observation.colour.double().numpy()
    depth = np.where(observation.valid.numpy(), observation.depth.double().numpy(), 0.0)
    return Scan(
        name=observation.name,
        K=observation.camera.K.double().numpy(),
        depth=depth,
        nearest=cv2.erode(depth, np.ones((3, 3), np.uint8)),
        colour=colour,
        views=tuple(views),
        T_world_camera=observation.camera.T_world_camera.double().numpy(),
        points=np.concatenate([view.points for view in views]),
        normals=np.concatenate([view.normals for view in views]),
        filled=np.concatenate([_fill_mask(view) for view in views]),
        colours=np.concatenate([colour[view.owned] for view in views]),
        middles=np.stack([_guess_middle(view) for view in views]),
    )


def register_scan(scan: Scan, others: Sequence[Scan], generator: np.random.Generator) -> tuple[np.ndarray, Agreement, list[float]]:
    """The (4, 4) transform from the scan's upright frame to the world of the others, the agreement, and the residuals of its refinement."""
    candidates = [T for middle in others[0].middles for own in scan.middles for T in _turn_over(own, middle)]
    chosen = generator.permutation(len(scan.filled))[:_SCORED_POINTS]
    rough = [_judge(scan, others, T, _COARSE, chosen).score for T in candidates]
    chosen = generator.permutation(len(scan.filled))[: 4 * _SCORED_POINTS]
    fits = []
    for k in np.argsort(rough)[: -_REFINED - 1 : -1]:
        T, residuals, matched = _refine(scan, others, candidates[k], generator)
        if matched < _WELL_MATCHED:
            T = max((T, candidates[k]), key=lambda start: _judge(scan, others, start, _FINE, chosen).score)
            T = _refine_outlines(scan, others, T, chosen)
        agreement = replace(_judge(scan, others, T, _FINE, chosen), associated=_measure_association(scan, others, T))
        fits.append((T, agreement, residuals))
    return max(fits, key=lambda fit: fit[1].score)


def _check_fit(name: str, first: str, agreement: Agreement) -> None:
    agrees = agreement.agreeing >= _LEAST_AGREEING and agreement.associated >= _LEAST_ASSOCIATED
    if not agrees or agreement.contradicted > _MOST_CONTRADICTED:
        raise InputError(
            f"{name} does not register with {first}: {100 * agreement.agreeing:.0f} % of the points agree, "
            f"{100 * agreement.contradicted:.0f} % lie in space seen to be empty, {100 * agreement.associated:.0f} % of the objects are in "
            "both; give images of the same scene with more in common, or the camera's poses"
        )


def _fill_mask(view: ObjectView) -> np.ndarray:
    """(n, 3) world points of the object's pixels at their denoised depth."""
    rays = view.camera(torch.float64).rays().numpy()[view.owned]
    return (rays * view.barrier[view.owned][:, None]) @ view.T_world_camera[:3, :3].T + view.camera_centre


def _guess_middle(view: ObjectView) -> np.ndarray:
    """(2,) where an object stands: its visible points' middle, moved away from the camera."""
    middle = view.points[:, :2].mean(0)
    away = middle - view.camera_centre[:2]
    away /= np.linalg.norm(away) + 1e-9
    across = (view.points[:, :2] - middle) @ np.array([-away[1], away[0]])
    low, high = np.quantile(across, [0.02, 0.98])
    return middle + _VISIBLE_SHIFT * (high - low) / 2 * away


def _turn_over(own: np.ndarray, middle: np.ndarray) -> list[np.ndarray]:
    """Transforms that turn about the vertical and bring one place (2,) over another."""
    transforms = []
    for angle in _TURNS:
        T = np.eye(4)
        T[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        T[:2, 3] = middle - T[:2, :2] @ own
        transforms.append(T)
    return transforms


def _judge(scan: Scan, others: Sequence[Scan], T: np.ndarray, deviation: float, chosen: np.ndarray) -> Agreement:
    """Agreement of some of the scan's points (indices), moved by T, with the others' images, and of theirs with the scan's image."""
    pose, R = T @ scan.T_world_camera, T[:3, :3]
    moved = scan.filled[chosen] @ R.T + T[:3, 3]
    pairs = []
    for other in others:
        pairs.append(_compare(moved, scan.colours[chosen], other, other.T_world_camera, deviation))
        some = np.linspace(0, len(other.filled) - 1, min(len(chosen), len(other.filled))).astype(np.int64)
        pairs.append(_compare(other.filled[some], other.colours[some], scan, pose, deviation))
    agreeing, contradicted = np.array(pairs).T
    return Agreement(float(agreeing.mean()), float(contradicted.mean()))


def _compare(points: np.ndarray, colours: np.ndarray, scan: Scan, T_world_camera: np.ndarray, deviation: float) -> tuple[float, float]:
    """Shares of (n, 3) world points that agree with an image, and that it contradicts."""
    camera = (points - T_world_camera[:3, 3]) @ T_world_camera[:3, :3]
    z = np.maximum(camera[:, 2], 1e-6)
    columns, rows = np.rint(camera[:, :2] / z[:, None] * scan.K[[0, 1], [0, 1]] + scan.K[:2, 2]).T
    height, width = scan.depth.shape
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height) & (camera[:, 2] > 0)
    at = rows[inside].astype(np.int64), columns[inside].astype(np.int64)
    measured = scan.depth[at] > 0
    behind = (z[inside] - scan.depth[at]) / deviation
    unlike = ((colours[inside] - scan.colour[at]) ** 2).sum(-1) / _COLOUR_DEVIATION**2
    agreeing = measured * np.exp(-0.5 * (behind**2 + unlike))
    before = (scan.nearest[at] - z[inside]) / deviation / _CONTRADICTION
    return float(agreeing.sum() / len(points)), float((np.clip(before, 0.0, 1.0) ** 2).sum() / len(points))


def _refine_outlines(scan: Scan, others: Sequence[Scan], T: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The turn about the vertical and the shift near T at which the images agree best."""
    middle = scan.points.mean(0) @ T[:3, :3].T + T[:3, 3]

    def move(change: np.ndarray) -> np.ndarray:
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_rotvec([0.0, 0.0, change[0]]).as_matrix()
        turn[:3, 3] = middle + np.array([change[1], change[2], 0.0]) - turn[:3, :3] @ middle
        return turn @ T

    simplex = np.vstack([np.zeros(3), np.diag(_STEPS)])
    options = {"initial_simplex": simplex, "xatol": 1e-4, "fatol": 1e-4, "maxiter": 80}
    best = minimize(
        lambda change: -_judge(scan, others, move(change), _FINE, chosen).score, simplex[0], method="Nelder-Mead", options=options
    )
    return move(best.x)


def _measure_association(scan: Scan, others: Sequence[Scan], T: np.ndarray) -> float:
    """Share of the objects that find themselves in the images of the others, of as many as can."""
    moved = [
        replace(
            view, T_world_camera=T @ view.T_world_camera, points=view.points @ T[:3, :3].T + T[:3, 3], normals=view.normals @ T[:3, :3].T
        )
        for view in scan.views
    ]
    shares = [len(associate_objects([[view] for view in other.views], moved)) / min(len(other.views), len(moved)) for other in others]
    return max(shares)


def _refine(scan: Scan, others: Sequence[Scan], T: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, list[float], float]:
    """Iterated closest points from T, the root mean square residual at each step, metres, and the share of the points matched at last."""
    targets, normals = np.concatenate([item.points for item in others]), np.concatenate([item.normals for item in others])
    tree = cKDTree(targets)
    chosen = generator.permutation(len(scan.points))[:_MATCHED_POINTS]
    points, own_normals = scan.points[chosen], scan.normals[chosen]
    residuals = []
    for gate in _GATES:
        moved = points @ T[:3, :3].T + T[:3, 3]
        distance, nearest = tree.query(moved, distance_upper_bound=gate)
        met = np.flatnonzero(np.isfinite(distance))
        alike = ((own_normals[met] @ T[:3, :3].T) * normals[nearest[met]]).sum(1) > _LEAST_NORMAL_COSINE
        met = met[alike]
        if len(met) < 10:
            return T, [*residuals, np.inf], 0.0
        normal = normals[nearest[met]]
        residual = ((moved[met] - targets[nearest[met]]) * normal).sum(1)
        weight = (1 - (distance[met] / gate) ** 2) ** 2
        residuals.append(float(np.sqrt((weight * residual**2).sum() / weight.sum())))
        T = _step(T, moved[met], normal, residual, weight)
    return T, residuals, len(met) / len(points)


def _step(T: np.ndarray, points: np.ndarray, normals: np.ndarray, residual: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """One Gauss-Newton step of point-to-plane distances, and of the support planes' distance, by a turn about the points' middle."""
    middle = points.mean(0)
    plane = np.array([[x, y, 0.0] for x in (-_PLANE_ARM, _PLANE_ARM) for y in (-_PLANE_ARM, _PLANE_ARM)]) @ T[:3, :3].T + T[:3, 3]
    up = np.tile([0.0, 0.0, 1.0], (len(plane), 1))
    held = np.full(len(plane), _PLANE_WEIGHT * weight.sum() / len(plane))
    at, along = np.concatenate([points, plane]) - middle, np.concatenate([normals, up])
    error, weights = np.concatenate([residual, plane[:, 2]]), np.concatenate([weight, held])
    jacobian = np.concatenate([np.cross(at, along), along], axis=1)
    hessian = (jacobian * weights[:, None]).T @ jacobian
    hessian += _DAMPING * np.diag(np.diag(hessian))
    change = -np.linalg.solve(hessian, (jacobian * weights[:, None]).T @ error)
    move = np.eye(4)
    move[:3, :3] = Rotation.from_rotvec(change[:3]).as_matrix()
    move[:3, 3] = middle + change[3:] - move[:3, :3] @ middle
    return move @ T
