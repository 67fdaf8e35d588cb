"""Vertex colours against the painted surface that the image was made of."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, icosphere, vertex_normals
from invgraphics.scene import Material, Plane, Scene, SceneObject
from invgraphics.transforms import rigid, so3_exp
from optim.baking import BakedColours, bake_vertex_colours, spread_over_surface
from renderers.protocol import Rendered
from renderers.raycast.renderer import RaycastRenderer

BACKGROUND = torch.tensor([1.0, 0.0, 0.0])


def paint(points: Tensor) -> Tensor:
    """Smooth green and blue paint of a world point; no red, which is the background's."""
    green = 0.5 + 0.4 * torch.sin(40 * points[..., 0] + 20 * points[..., 2])
    blue = 0.5 + 0.4 * torch.cos(35 * points[..., 2] - 15 * points[..., 1])
    return torch.stack([torch.zeros_like(green), green, blue], dim=-1)


def painted_scene(blocked: bool = False) -> tuple[Mesh, Camera, Tensor, Rendered]:
    """An ellipsoid as a mesh (world frame), its camera, a painted image of it on red ground, and the rendered geometry."""
    radii, pose = torch.tensor([0.06, 0.05, 0.08]), rigid(torch.eye(3), torch.tensor([0.0, 0.0, 0.08]))
    stuff = Material(torch.ones(3), torch.tensor(0.0), torch.tensor(0.6))
    objects = [SceneObject("painted", pose, radii, stuff)]
    if blocked:
        # A ball that hides the left half from the camera.
        objects.append(SceneObject("ball", rigid(torch.eye(3), torch.tensor([-0.06, -0.2, 0.15])), torch.full((3,), 0.05), stuff))
    K = torch.tensor([[600.0, 0.0, 159.5], [0.0, 600.0, 119.5], [0.0, 0.0, 1.0]])
    camera = Camera(K, 240, 320, rigid(so3_exp(torch.tensor([math.radians(-110.0), 0.0, 0.0])), torch.tensor([0.0, -0.6, 0.3])))
    rendered = RaycastRenderer()(Scene(tuple(objects), (), Plane(stuff), camera), camera)
    points = camera.unproject(rendered.depth) @ camera.T_world_camera[:3, :3].T + camera.T_world_camera[:3, 3]
    image = torch.where((rendered.object_ids == 0)[..., None], paint(points), BACKGROUND)
    vertices, faces = icosphere(4)
    return Mesh(pose[:3, 3] + vertices * radii, faces), camera, image, rendered


def bake(mesh: Mesh, camera: Camera, image: Tensor, rendered: Rendered) -> BakedColours:
    inner = rendered.object_ids == 0
    inner = -torch.nn.functional.max_pool2d(-inner[None, None].float(), 3, 1, 1)[0, 0] > 0.5
    return bake_vertex_colours(mesh, camera, image, inner, rendered.depth)


def facing(mesh: Mesh, camera: Camera) -> Tensor:
    """Cosine between the vertices' normals and the directions to the camera."""
    towards = torch.nn.functional.normalize(camera.T_world_camera[:3, 3] - mesh.vertices, dim=-1)
    return (vertex_normals(mesh.vertices, mesh.faces) * towards).sum(-1)


def test_seen_vertices_take_the_paint_that_lies_on_them():
    mesh, camera, image, rendered = painted_scene()
    baked = bake(mesh, camera, image, rendered)
    seen = baked.seen == 1
    assert (facing(mesh, camera)[seen] > 0.45).all()
    assert seen.float().mean() > 0.2
    error = (baked.colours - paint(mesh.vertices))[seen].abs()
    assert error.max() < 0.05
    assert error.mean() < 0.012


def test_nothing_of_the_background_comes_in():
    mesh, camera, image, rendered = painted_scene()
    assert bake(mesh, camera, image, rendered).colours[:, 0].max() < 1e-4


def test_vertices_behind_the_surface_or_another_object_are_not_read():
    mesh, camera, image, rendered = painted_scene()
    baked = bake(mesh, camera, image, rendered)
    assert (baked.seen[facing(mesh, camera) < 0.1] == 0).all()
    blocked_mesh, _, blocked_image, blocked = painted_scene(blocked=True)
    hidden = bake(blocked_mesh, camera, blocked_image, blocked)
    newly_hidden = (baked.seen > 0) & (hidden.seen == 0)
    assert newly_hidden.sum() > 30
    uv, _ = camera.project(mesh.vertices[newly_hidden])
    pixel = uv.round().long()
    beside = torch.nn.functional.max_pool2d((blocked.object_ids == 1)[None, None].float(), 5, 1, 2)[0, 0] > 0
    assert beside[pixel[:, 1], pixel[:, 0]].all()
    assert hidden.colours[:, 0].max() < 1e-4


def test_the_far_side_looks_like_the_near_side_mirrored():
    """Paint that does not change along the view: its mirror image is the truth. A harmonic fill alone would be flat there."""
    mesh, camera, image, rendered = painted_scene()
    points = camera.unproject(rendered.depth) @ camera.T_world_camera[:3, :3].T + camera.T_world_camera[:3, 3]
    stripes = 0.5 + 0.4 * torch.sin(70 * points[..., 0])
    image = torch.where((rendered.object_ids == 0)[..., None], stripes[..., None].expand(-1, -1, 3), BACKGROUND)
    baked = bake(mesh, camera, image, rendered)
    far = (vertex_normals(mesh.vertices, mesh.faces)[:, 1] > 0.5) & (baked.seen == 0)
    truth = 0.5 + 0.4 * torch.sin(70 * mesh.vertices[far, 0])
    together = torch.corrcoef(torch.stack([baked.colours[far, 1], truth]))[0, 1]
    assert far.sum() > 100
    assert together > 0.9


def test_a_mesh_that_is_all_but_hidden_takes_the_objects_usual_colour():
    """Too thin to be read anywhere: the colour of the pixels, not black."""
    mesh, camera, image, rendered = painted_scene()
    away = replace(mesh, vertices=mesh.vertices + torch.tensor([0.0, 0.0, 0.05]))
    pixels = torch.zeros_like(rendered.object_ids, dtype=torch.bool)
    pixels[100, 160] = True
    baked = bake_vertex_colours(away, camera, image, pixels, rendered.depth)
    assert (baked.seen == 0).all()
    torch.testing.assert_close(baked.colours, image[100, 160].expand_as(baked.colours), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="no pixel"):
        bake_vertex_colours(mesh, camera, image, torch.zeros_like(pixels), rendered.depth)


def test_spreading_is_harmonic_between_readings():
    """On a strip of triangles read at its ends, values rise in equal steps."""
    count = 21
    top, bottom = torch.arange(count), torch.arange(count) + count
    faces = torch.cat([torch.stack([top[:-1], bottom[:-1], top[1:]], -1), torch.stack([top[1:], bottom[:-1], bottom[1:]], -1)])
    weights = torch.zeros(2 * count)
    weights[[0, count, count - 1, 2 * count - 1]] = 1e4
    values = torch.zeros(2 * count, 1)
    values[[count - 1, 2 * count - 1]] = 1.0
    spread = spread_over_surface(values, weights, faces, torch.tensor([0.3]))
    # The diagonals tilt the levels by a constant; the steps along each side stay equal away from the ends.
    steps = spread[:count, 0].diff()[3:-3]
    torch.testing.assert_close(steps, steps.mean().expand_as(steps), atol=2e-3, rtol=0)
    assert (spread >= 0).all()
    assert (spread <= 1).all()
