import math

import pytest
import torch
import trimesh

from invgraphics.agreement import measure_agreement, measure_penetration, measure_sinking
from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, linear_from_srgb, mesh_from_trimesh
from invgraphics.observation import Observation

SIZE = 40


def _observe(depth: float, srgb: float) -> Observation:
    """Two masks of 20 x 10 pixels side by side, all of one depth and one grey."""
    masks = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    masks[0, 10:30, 10:20] = masks[1, 10:30, 20:30] = True
    image = linear_from_srgb(torch.full((SIZE, SIZE, 3), srgb))
    camera = Camera(torch.tensor([[60.0, 0, 20], [0, 60, 20], [0, 0, 1]]), SIZE, SIZE, torch.eye(4))
    readings = torch.full((SIZE, SIZE), depth)
    return Observation(image, readings, readings > 0, masks, camera, "two")


def test_agreement_is_that_of_the_pixels_that_show_the_object():
    ids = torch.full((SIZE, SIZE), -1)
    ids[10:30, 5:15] = 0
    depth = torch.full((SIZE, SIZE), 0.803)
    depth[ids != 0] = 5.0
    colour = linear_from_srgb(torch.full((SIZE, SIZE, 3), 0.6))
    first, second = measure_agreement(_observe(0.8, 0.5), (0, 1), colour, depth, ids)
    assert first.depth_mm == pytest.approx(3.0, abs=1e-3)
    assert first.silhouette_iou == pytest.approx(100 * 5 / 15)
    assert first.colour_psnr_db == pytest.approx(20.0, abs=0.01)
    assert second.silhouette_iou == 0.0
    assert math.isnan(second.depth_mm)
    assert math.isnan(second.colour_psnr_db)


def test_a_render_behind_another_mask_does_not_lower_the_silhouette():
    ids = torch.full((SIZE, SIZE), -1)
    ids[10:30, 10:30] = 0
    (first,) = measure_agreement(_observe(0.8, 0.5), (0,), torch.zeros(SIZE, SIZE, 3), torch.ones(SIZE, SIZE), ids)
    assert first.silhouette_iou == 100.0


def _cube(x: float, z: float = 0.05) -> Mesh:
    mesh = mesh_from_trimesh(trimesh.creation.box((0.1, 0.1, 0.1)).subdivide().subdivide())
    return Mesh(mesh.vertices + torch.tensor([x, 0.0, z]), mesh.faces)


def test_penetration_is_the_depth_of_the_deepest_corner():
    overlaps = measure_penetration([_cube(0.0), _cube(0.09), _cube(0.3)])
    assert overlaps == pytest.approx([0.01, 0.01, 0.0], abs=1e-6)


def test_a_small_thing_inside_a_large_one_is_as_deep_as_its_deepest_point():
    inner = Mesh(0.1 * (_cube(0.0).vertices - torch.tensor([0, 0, 0.05])) + torch.tensor([0.0, 0.0, 0.05]), _cube(0.0).faces)
    overlaps = measure_penetration([_cube(0.0), inner])
    assert overlaps[0] == overlaps[1] == pytest.approx(0.045, abs=1e-6)


def test_sinking_is_the_depth_below_the_plane():
    assert measure_sinking(_cube(0.0, z=0.046)) == pytest.approx(0.004, abs=1e-6)
    assert measure_sinking(_cube(0.0, z=0.06)) == 0.0
