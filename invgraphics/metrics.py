"""How good a reconstruction is: scores of shapes against true meshes and of poses against true poses.

Scores carry the units in which the literature quotes them: millimetres for distances between surfaces, percent for fractions.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from invgraphics.camera import project
from invgraphics.geometry.distances import find_inside, find_nearest_faces, find_nearest_points
from invgraphics.geometry.mesh import Mesh, face_cross, sample_surface
from invgraphics.transforms import transform_points

SURFACE_SAMPLES = 10_000
"""Points drawn from each surface. Chamfer distances depend on it: see `ShapeScores.cd_l1_mm`."""
VOLUME_SAMPLES = 20_000
"""Points drawn from the box around two meshes whose volumes are compared."""
F_THRESHOLDS_MM = (5.0, 10.0, 20.0, 30.0)


@dataclass(frozen=True)
class ShapeScores:
    """One reconstructed surface against the true one, both sampled uniformly by area."""

    cd_l1_mm: float
    """Chamfer distance, millimetres: mean distance from points drawn from either surface to the nearest point drawn from the other,
    averaged over both ways. Surfaces that coincide score about 0.5 sqrt(area / samples): 0.9 mm for 300 cm^2 and 10,000 samples."""
    cd_l2_mm2: float
    """The same of squared distances, square millimetres."""
    accuracy_mm: float
    """Mean distance from the reconstructed surface to the true surface itself, millimetres; surfaces that coincide score 0."""
    completeness_mm: float
    """Mean distance from the true surface to the reconstructed surface itself, millimetres."""
    f5: float
    """F-score at 5 mm, percent: harmonic mean of the fractions of either surface within 5 mm of the other."""
    f10: float
    """At 10 mm."""
    f20: float
    """At 20 mm."""
    f30: float
    """At 30 mm."""
    nc: float
    """Normal consistency, percent: mean |cosine| between the normals of nearest points, both ways."""
    iou: float
    """Volume in both over volume in either, percent (`compute_iou`); nan where neither encloses a sample."""
    add_s_mm: float
    """ADD-S of a reconstruction, millimetres: mean distance from points of the true surface in its true pose to the nearest of the points
    of the reconstructed surface where it stands (`compute_add_s`, with the reconstruction for the posed model)."""


def score_mesh(predicted: Mesh, truth: Mesh, generator: torch.Generator, samples: int = SURFACE_SAMPLES) -> ShapeScores:
    """Chamfer distances, F-scores, normal consistency, IoU and ADD-S of a mesh against the true one, in the same frame in metres.

    The first three as in OctMAE (Iwase et al. 2024): nearest neighbours both ways between points drawn from both surfaces. The true mesh
    is taken as it is, inner surfaces and holes included. `generator` is a CPU generator. Raises ValueError for a mesh without area
    or with vertices that are not finite.
    """
    surface, true_surface = _as_surface(predicted, "predicted"), _as_surface(truth, "true")
    points, normals = sample_surface(surface[0], surface[1], samples, generator)
    true_points, true_normals = sample_surface(true_surface[0], true_surface[1], samples, generator)
    to_truth, nearest_true = find_nearest_points(points, true_points)
    to_predicted, nearest = find_nearest_points(true_points, points)
    cosine = (normals * true_normals[nearest_true]).sum(-1).abs().mean()
    true_cosine = (true_normals * normals[nearest]).sum(-1).abs().mean()
    f_scores = [_f_score(1e3 * to_truth, 1e3 * to_predicted, threshold) for threshold in F_THRESHOLDS_MM]
    return ShapeScores(
        1e3 * float(to_truth.mean() + to_predicted.mean()) / 2,
        1e6 * float((to_truth**2).mean() + (to_predicted**2).mean()) / 2,
        1e3 * float(find_nearest_faces(points, *true_surface)[0].mean()),
        1e3 * float(find_nearest_faces(true_points, *surface)[0].mean()),
        *f_scores,
        100 * float(cosine + true_cosine) / 2,
        100 * compute_iou(predicted, truth, generator),
        1e3 * float(to_predicted.mean()),
    )


def _as_surface(mesh: Mesh, which: str) -> tuple[Float[Tensor, "v 3"], Int[Tensor, "f 3"]]:
    """Vertices and those faces that have an area; float64 on the CPU."""
    vertices, faces = mesh.vertices.detach().cpu().double(), mesh.faces.cpu()
    if not torch.isfinite(vertices).all():
        raise ValueError(f"the {which} mesh has vertices that are not finite")
    faces = faces[(face_cross(vertices, faces) != 0).any(-1)]
    if len(faces) == 0:
        raise ValueError(f"the {which} mesh has no surface to sample")
    return vertices, faces


def _f_score(accuracy: Float[Tensor, " n"], completeness: Float[Tensor, " m"], threshold: float) -> float:
    precision, recall = float((accuracy < threshold).double().mean()), float((completeness < threshold).double().mean())
    return 0.0 if precision + recall == 0 else 200 * precision * recall / (precision + recall)


def compute_iou(predicted: Mesh, truth: Mesh, generator: torch.Generator, samples: int = VOLUME_SAMPLES) -> float:
    """Volume in both meshes over volume in either, in [0, 1]; nan where neither encloses a sample.

    Inside is where the winding number is over one half, so that scans with small holes count as solid. Points are drawn uniformly
    from the box around both meshes; the standard error is at most 0.5 / sqrt(number of points in either). Thin walls make it a severe
    measure: two bowls 1 mm apart hardly share a volume.
    """
    meshes = [(mesh.vertices.detach().cpu().double(), mesh.faces.cpu()) for mesh in (predicted, truth)]
    vertices = torch.cat([vertices for vertices, _ in meshes])
    low, high = vertices.min(0).values, vertices.max(0).values
    points = low + (high - low) * torch.rand(samples, 3, generator=generator, dtype=torch.float64)
    inside, truly_inside = (find_inside(points, vertices, faces) for vertices, faces in meshes)
    either = (inside | truly_inside).sum()
    return float((inside & truly_inside).sum() / either) if either > 0 else float("nan")


def compute_add(points: Float[Tensor, "n 3"], T_camera_object: Float[Tensor, "4 4"], true_T_camera_object: Float[Tensor, "4 4"]) -> float:
    """ADD: mean distance in metres between the model's points under the estimated and the true pose (Hinterstoisser et al. 2012)."""
    difference = transform_points(T_camera_object, points) - transform_points(true_T_camera_object, points)
    return float(difference.norm(dim=-1).mean())


def compute_add_s(points: Float[Tensor, "n 3"], T_camera_object: Float[Tensor, "4 4"], true_T_camera_object: Float[Tensor, "4 4"]) -> float:
    """ADD-S: mean distance in metres from the truly posed points to the nearest estimated ones, for symmetric objects."""
    distances, _ = find_nearest_points(transform_points(true_T_camera_object, points), transform_points(T_camera_object, points))
    return float(distances.mean())


def compute_auc(errors: Float[Tensor, " n"], limit: float = 0.1) -> float:
    """Area under the curve of recall over threshold from 0 to `limit`, as a fraction of its greatest value. For ADD(-S), metres."""
    return float((1 - errors.nan_to_num(nan=float("inf")) / limit).clamp(min=0.0).mean())


def compute_vsd(
    depth: Float[Tensor, "h w"],
    true_depth: Float[Tensor, "h w"],
    measured_depth: Float[Tensor, "h w"],
    K: Float[Tensor, "3 3"],
    diameter: float,
    taus: Float[Tensor, " t"],
    delta: float = 0.015,
) -> Float[Tensor, " t"]:
    """Visible surface discrepancy in [0, 1] at each misalignment tolerance, as in BOP 2019 (Hodan et al. 2020).

    `depth` and `true_depth` are renders of the object alone under the estimated and the true pose (metres along z, 0 where
    it is not); `measured_depth` is the sensor's (0 = no reading, counted as not hiding anything). `taus` are fractions of the
    object's `diameter` (m); `delta` (m) is the tolerance of visibility.
    """
    distance, true_distance, measured = (_ray_distance(d, K) for d in (depth, true_depth, measured_depth))
    true_visible = _is_visible(true_distance, measured, delta)
    visible = _is_visible(distance, measured, delta) | (true_visible & (distance > 0))
    both, either = visible & true_visible, (visible | true_visible).sum()
    if either == 0:
        return torch.ones_like(taus)
    misalignment = (distance - true_distance).abs()[both] / diameter
    wrong = (misalignment[None] >= taus[:, None]).sum(1)
    return (wrong + either - both.sum()).to(taus.dtype) / either


def _ray_distance(depth: Float[Tensor, "h w"], K: Float[Tensor, "3 3"]) -> Float[Tensor, "h w"]:
    """Distance from the camera's centre in metres, of depth along z."""
    v, u = torch.meshgrid(torch.arange(depth.shape[0]).to(depth), torch.arange(depth.shape[1]).to(depth), indexing="ij")
    x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    return depth * (1 + x**2 + y**2).sqrt()


def _is_visible(distance: Float[Tensor, "h w"], measured: Float[Tensor, "h w"], delta: float) -> Bool[Tensor, "h w"]:
    return (distance > 0) & ((measured == 0) | (distance - measured <= delta))


def compute_mssd(
    vertices: Float[Tensor, "v 3"],
    T_camera_object: Float[Tensor, "4 4"],
    true_T_camera_object: Float[Tensor, "4 4"],
    symmetries: Float[Tensor, "s 4 4"],
) -> float:
    """Maximum symmetry-aware surface distance in metres (BOP 2019). `symmetries` holds the identity too."""
    estimated = transform_points(T_camera_object, vertices)
    equivalent = transform_points(true_T_camera_object @ symmetries, vertices.expand(len(symmetries), -1, -1))
    return float((estimated - equivalent).norm(dim=-1).amax(-1).min())


def compute_mspd(
    vertices: Float[Tensor, "v 3"],
    T_camera_object: Float[Tensor, "4 4"],
    true_T_camera_object: Float[Tensor, "4 4"],
    symmetries: Float[Tensor, "s 4 4"],
    K: Float[Tensor, "3 3"],
) -> float:
    """Maximum symmetry-aware projection distance in pixels (BOP 2019)."""
    estimated = project(K, transform_points(T_camera_object, vertices))
    equivalent = project(K, transform_points(true_T_camera_object @ symmetries, vertices.expand(len(symmetries), -1, -1)))
    return float((estimated - equivalent).norm(dim=-1).amax(-1).min())


def average_recall(errors: Float[Tensor, "n *t"], thresholds: Float[Tensor, " k"]) -> float:
    """Fraction of errors under the threshold, averaged over thresholds (and over the tolerances of VSD). nan counts as a miss."""
    return float((errors[..., None] < thresholds).double().mean())


def bop_thresholds(width: int) -> dict[str, Float[Tensor, "10"]]:
    """Thresholds of BOP's average recall: `vsd` (fractions; its tolerances tau are the same), `mssd` (diameters), `mspd` (pixels)."""
    steps = torch.arange(1, 11, dtype=torch.float64)
    return {"vsd": 0.05 * steps, "mssd": 0.05 * steps, "mspd": 5 * steps * width / 640}
