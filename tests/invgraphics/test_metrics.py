import json
import math

import cv2
import numpy as np
import pytest
import torch
import trimesh

from invgraphics.camera import project
from invgraphics.geometry.mesh import Mesh, icosphere, load_mesh, mesh_from_trimesh
from invgraphics.metrics import (
    average_recall,
    bop_thresholds,
    compute_add,
    compute_add_s,
    compute_auc,
    compute_iou,
    compute_mspd,
    compute_mssd,
    compute_vsd,
    score_mesh,
)
from invgraphics.transforms import rigid, so3_exp
from tests.helpers import SHARED_DATA, needs_shared_data


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _sphere(radius: float, subdivisions: int = 4) -> Mesh:
    vertices, faces = icosphere(subdivisions)
    return Mesh(radius * vertices, faces)


def _box(extents: list[float]) -> Mesh:
    return mesh_from_trimesh(trimesh.creation.box(extents))


def test_concentric_spheres_are_their_difference_of_radii_apart():
    scores = score_mesh(_sphere(0.050), _sphere(0.058), _generator())
    assert scores.accuracy_mm == pytest.approx(8.0, abs=0.05)
    assert scores.completeness_mm == pytest.approx(8.0, abs=0.05)
    assert 8.0 < scores.cd_l1_mm < 8.1
    assert scores.cd_l2_mm2 == pytest.approx(64.0, rel=0.02)
    assert (scores.f5, scores.f20, scores.f30) == (0.0, 100.0, 100.0)
    assert scores.f10 > 99.9
    assert scores.nc > 99.9


def test_a_surface_against_itself_scores_the_spacing_of_the_samples():
    """Mean distance to the nearest of n points spread at random over an area A: 0.5 sqrt(A / n)."""
    scores = score_mesh(_sphere(0.05), _sphere(0.05), _generator(), samples=5000)
    assert scores.cd_l1_mm == pytest.approx(500 * math.sqrt(4 * math.pi * 0.05**2 / 5000), rel=0.03)
    assert scores.accuracy_mm < 1e-4
    assert scores.f5 == 100.0


def test_a_missing_half_costs_completeness_and_recall_only():
    square = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2], [0, 2, 3]]))
    half = Mesh(square.vertices * torch.tensor([0.5, 1, 1]), square.faces)
    scores = score_mesh(half, square, _generator(), samples=20_000)
    assert scores.accuracy_mm < 1e-3
    assert scores.completeness_mm == pytest.approx(125.0, rel=0.03)
    recall = 0.5 + 0.030
    assert scores.f30 == pytest.approx(200 * recall / (1 + recall), abs=1.0)
    assert scores.nc > 99.99


def test_normal_consistency_sees_a_tilt_and_not_the_winding():
    tilt = torch.tensor(0.5)
    square = Mesh(torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]), torch.tensor([[0, 1, 2], [0, 2, 3]]))
    tilted = square.transformed(rigid(so3_exp(torch.tensor([0.5, 0.0, 0.0])), torch.zeros(3)))
    flipped = Mesh(tilted.vertices, tilted.faces.flip(1))
    assert score_mesh(flipped, square, _generator(), 2000).nc == pytest.approx(100 * float(tilt.cos()), abs=0.01)


def test_scores_depend_on_the_generator_alone_and_vary_little_with_it():
    spheres = _sphere(0.05), _sphere(0.052)
    assert score_mesh(*spheres, _generator()) == score_mesh(*spheres, _generator())
    repeated = [score_mesh(*spheres, torch.Generator().manual_seed(seed)).cd_l1_mm for seed in range(5)]
    assert 0 < np.ptp(repeated) < 0.05


def test_meshes_without_surface_are_refused():
    empty = Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))
    with pytest.raises(ValueError, match="predicted mesh has no surface"):
        score_mesh(empty, _sphere(0.1), _generator())
    with pytest.raises(ValueError, match="true mesh has vertices that are not finite"):
        score_mesh(_sphere(0.1), Mesh(torch.full((3, 3), torch.nan), torch.tensor([[0, 1, 2]])), _generator())


def test_iou_of_boxes_that_overlap_by_half():
    box = _box([0.1, 0.2, 0.3])
    shifted = Mesh(box.vertices + torch.tensor([0.05, 0, 0]), box.faces)
    assert compute_iou(box, shifted, _generator(), samples=20_000) == pytest.approx(1 / 3, abs=0.015)
    assert compute_iou(box, Mesh(box.vertices, box.faces.flip(1)), _generator()) == 1.0


def test_a_moved_sphere_has_the_iou_of_its_lens_and_the_add_s_of_its_points():
    scores = score_mesh(_sphere(0.05), Mesh(_sphere(0.05).vertices + torch.tensor([0.02, 0, 0]), _sphere(0.05).faces), _generator())
    # Volume of the lens of two spheres of radius r at distance d: pi (4 r + d) (2 r - d)^2 / 12.
    lens, ball = (4 * 0.05 + 0.02) * 0.08**2 / 12, 4 / 3 * 0.05**3
    assert scores.iou == pytest.approx(100 * lens / (2 * ball - lens), abs=1.5)
    directions = torch.nn.functional.normalize(torch.randn(20_000, 3, generator=_generator(), dtype=torch.float64), dim=-1)
    away = (0.05 * directions + torch.tensor([0.02, 0, 0], dtype=torch.float64)).norm(dim=-1) - 0.05
    assert scores.add_s_mm == pytest.approx(1e3 * float(away.abs().mean()), rel=0.08)


def _pose(rotation: list[float], translation: list[float]) -> torch.Tensor:
    return rigid(so3_exp(torch.tensor(rotation, dtype=torch.float64)), torch.tensor(translation, dtype=torch.float64))


def test_add_is_the_mean_displacement_and_add_s_forgives_a_symmetry():
    circle = torch.linspace(0, 2 * math.pi, 361, dtype=torch.float64)[:-1]
    points = torch.stack([circle.cos(), circle.sin(), torch.zeros_like(circle)], dim=-1)
    true, turned = _pose([0, 0, 0], [0, 0, 2]), _pose([0, 0, math.pi / 2], [0, 0, 2])
    assert compute_add(points, turned, true) == pytest.approx(math.sqrt(2))
    assert compute_add_s(points, turned, true) == pytest.approx(0.0, abs=1e-9)
    shifted = _pose([0, 0, 0], [0, 0, 2.003])
    assert compute_add(points, shifted, true) == pytest.approx(0.003)
    assert compute_add_s(points, shifted, true) == pytest.approx(0.003)


def test_auc_is_the_integral_of_the_recall_curve():
    errors = torch.tensor([0.0, 0.02, 0.3, math.nan, 0.071], dtype=torch.float64)
    thresholds = torch.linspace(0, 0.1, 100_001, dtype=torch.float64)
    recall = (errors[None] <= thresholds[:, None]).double().mean(1)
    assert compute_auc(errors) == pytest.approx(float(torch.trapezoid(recall, thresholds)) / 0.1, abs=1e-4)


def test_mssd_and_mspd_take_the_best_of_the_symmetries():
    corners = torch.as_tensor(np.array(trimesh.creation.box([0.1, 0.1, 0.2]).vertices))
    true, turned = _pose([0.3, 0.1, 0], [0.05, 0, 0.8]), _pose([0.3, 0.1, 0], [0.05, 0, 0.8]) @ _pose([0, 0, math.pi / 2], [0, 0, 0])
    identity, quarter = _pose([0, 0, 0], [0, 0, 0])[None], _pose([0, 0, math.pi / 2], [0, 0, 0])[None]
    K = torch.tensor([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]], dtype=torch.float64)
    assert compute_mssd(corners, turned, true, identity) == pytest.approx(0.1)
    assert compute_mssd(corners, turned, true, torch.cat([identity, quarter])) == pytest.approx(0.0, abs=1e-12)
    assert compute_mspd(corners, turned, true, torch.cat([identity, quarter]), K) == pytest.approx(0.0, abs=1e-9)
    pixels = [project(K, (pose[:3, :3] @ corners.T).T + pose[:3, 3]) for pose in (turned, true)]
    assert compute_mspd(corners, turned, true, identity, K) == pytest.approx(float((pixels[0] - pixels[1]).norm(dim=-1).max()))


def test_vsd_counts_disagreeing_and_unmatched_visible_pixels():
    """On the optical axis of a long lens distance equals depth; 10 x 10 squares shifted by 4 columns, one pixel deep apart."""
    K = torch.tensor([[1e6, 0, 15], [0, 1e6, 15], [0, 0, 1]], dtype=torch.float64)
    true, estimate = torch.zeros(32, 32, dtype=torch.float64), torch.zeros(32, 32, dtype=torch.float64)
    true[10:20, 10:20] = 1.0
    estimate[10:20, 14:24] = 1.02
    taus = torch.tensor([0.05, 0.15], dtype=torch.float64)
    unseen = torch.zeros_like(true)
    errors = compute_vsd(estimate, true, unseen, K, diameter=0.2, taus=taus)
    torch.testing.assert_close(errors, torch.tensor([1.0, 80 / 140], dtype=torch.float64))
    hidden = torch.full_like(true, 2.0)
    hidden[:, :14] = 0.5
    errors = compute_vsd(estimate, true, hidden, K, diameter=0.2, taus=taus)
    torch.testing.assert_close(errors, torch.tensor([1.0, 40 / 100], dtype=torch.float64))
    assert compute_vsd(unseen, unseen, unseen, K, 0.2, taus).tolist() == [1.0, 1.0]


def test_average_recall_over_bop_thresholds():
    thresholds = bop_thresholds(width=1280)
    assert thresholds["mspd"].tolist() == [10.0 * k for k in range(1, 11)]
    assert average_recall(torch.tensor([0.12, math.nan], dtype=torch.float64), thresholds["mssd"]) == pytest.approx(0.4)
    two_tolerances = torch.tensor([[0.02, 0.48]], dtype=torch.float64)
    assert average_recall(two_tolerances, thresholds["vsd"]) == pytest.approx((1.0 + 0.1) / 2)


@needs_shared_data
def test_definitions_reproduce_a_published_row():
    """Convex hulls of the visible points of clevr_dev: `shared/notes/hidden_side.md` has 8.43 mm / 59.5 / 69.8 / 78.9 for them.

    It does not say how stray points were left out; here by their depth's median absolute deviation.
    """
    root = SHARED_DATA / "clevr_dev"
    scores = [score for scene in sorted((root / "test").iterdir()) for score in _score_hulls(scene, root / "models")]
    means = np.mean(scores, axis=0)
    assert len(scores) == 40
    np.testing.assert_allclose(means, [8.43, 59.5, 69.8, 78.9], rtol=0.025)


def _score_hulls(scene, models) -> list[list[float]]:
    camera = json.loads((scene / "scene_camera.json").read_text())["0"]
    depth = cv2.imread(str(scene / "depth/000000.png"), cv2.IMREAD_UNCHANGED) * camera["depth_scale"] / 1000
    K = np.array(camera["cam_K"]).reshape(3, 3)
    rows = []
    for k, truth in enumerate(json.loads((scene / "scene_gt.json").read_text())["0"]):
        mask = cv2.erode(cv2.imread(str(scene / f"mask_visib/000000_{k:06d}.png"), 0), np.ones((3, 3), np.uint8))
        v, u = np.nonzero((mask > 0) & (depth > 0))
        z = depth[v, u]
        deviation = np.abs(z - np.median(z))
        kept = deviation < 3.5 * 1.4826 * np.median(deviation)
        points = np.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z], axis=1)[kept]
        mesh = load_mesh(models / f"obj_{truth['obj_id']:06d}.ply", unit_m=0.001)
        R, t = torch.tensor(truth["cam_R_m2c"]).reshape(3, 3), torch.tensor(truth["cam_t_m2c"]) / 1000
        hull = mesh_from_trimesh(trimesh.convex.convex_hull(points))
        scores = score_mesh(hull, mesh.transformed(rigid(R, t)), _generator())
        rows.append([scores.cd_l1_mm, scores.f5, scores.f10, scores.nc])
    return rows
