"""Baked textures against the painted surface that the image was made of."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, Texture, icosphere, vertex_normals
from invgraphics.geometry.texture import average_at_vertices, sample_image
from invgraphics.scene import DirectionalLight, Material, PhongMaterial, Plane, Scene, SceneObject
from invgraphics.transforms import rigid, so3_exp
from optim.baking import bake_texture, spread_over_surface
from renderers.protocol import Rendered, make_renderer
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


def bake(mesh: Mesh, camera: Camera, image: Tensor, rendered: Rendered) -> Texture:
    inner = rendered.object_ids == 0
    inner = -torch.nn.functional.max_pool2d(-inner[None, None].float(), 3, 1, 1)[0, 0] > 0.5
    return bake_texture(mesh, camera, image, inner, rendered.depth)


def facing(mesh: Mesh, camera: Camera) -> Tensor:
    """Cosine between the vertices' normals and the directions to the camera."""
    towards = torch.nn.functional.normalize(camera.T_world_camera[:3, 3] - mesh.vertices, dim=-1)
    return (vertex_normals(mesh.vertices, mesh.faces) * towards).sum(-1)


def test_seen_points_take_the_paint_that_lies_on_them():
    mesh, camera, image, rendered = painted_scene()
    texture = bake(mesh, camera, image, rendered)
    seen = facing(mesh, camera) > 0.45
    error = (average_at_vertices(texture, mesh) - paint(mesh.vertices))[seen].abs()
    assert seen.sum() > 500
    assert error.max() < 0.04
    assert error.mean() < 0.006


def test_nothing_of_the_background_comes_in():
    mesh, camera, image, rendered = painted_scene()
    assert bake(mesh, camera, image, rendered).image[..., 0].max() < 1e-4


def test_what_another_object_hides_is_not_read_through_it():
    """The hiding ball has the background's colour."""
    mesh, camera, _, whole = painted_scene()
    _, _, image, rendered = painted_scene(blocked=True)
    assert ((whole.object_ids == 0) & (rendered.object_ids == 1)).sum() > 1000
    assert bake(mesh, camera, image, rendered).image[..., 0].max() < 1e-4


def test_no_seam_shows_where_charts_meet():
    """All triangles around a vertex, wherever they lie on the texture, agree on its colour; so do both at an edge on its middle."""
    mesh, camera, image, rendered = painted_scene()
    texture = bake(mesh, camera, image, rendered)
    for corners in (mesh.faces, mesh.faces.roll(-1, 1)):
        # A point's key: the two ends of the edge that it halves; a vertex is an edge from itself to itself.
        ends = torch.stack([mesh.faces, corners], -1).sort(-1).values.reshape(-1, 2)
        key = ends[:, 0] * len(mesh.vertices) + ends[:, 1]
        shift = 0 if corners is mesh.faces else -1
        middle = (texture.uv + texture.uv.roll(shift, 1)) / 2
        colours = sample_image(texture.image, middle.reshape(-1, 2))
        order = key.argsort()
        same = key[order][1:] == key[order][:-1]
        steps = (colours[order][1:] - colours[order][:-1]).abs().amax(-1)[same]
        assert len(steps) > len(mesh.faces)
        assert steps.max() < 0.03
        assert steps.mean() < 0.002


def test_the_far_side_looks_like_the_near_side():
    """Paint that is the same mirrored and turned: a harmonic fill alone would be flat there."""
    mesh, camera, image, rendered = painted_scene()
    points = camera.unproject(rendered.depth) @ camera.T_world_camera[:3, :3].T + camera.T_world_camera[:3, 3]
    stripes = 0.5 + 0.4 * torch.cos(70 * points[..., 0])
    image = torch.where((rendered.object_ids == 0)[..., None], stripes[..., None].expand(-1, -1, 3), BACKGROUND)
    colours = average_at_vertices(bake(mesh, camera, image, rendered), mesh)
    far = vertex_normals(mesh.vertices, mesh.faces)[:, 1] > 0.5
    truth = 0.5 + 0.4 * torch.cos(70 * mesh.vertices[far, 0])
    together = torch.corrcoef(torch.stack([colours[far, 1], truth]))[0, 1]
    assert far.sum() > 100
    assert together > 0.95


def test_highlights_are_not_copied_to_the_far_side():
    """The paint has no red; a white spot on the near side is a highlight, and stays where it is."""
    mesh, camera, image, rendered = painted_scene()
    image = image.clone()
    image[116:124, 156:164] = 1.0
    red = average_at_vertices(bake(mesh, camera, image, rendered), mesh)[:, 0]
    uv, _ = camera.project(mesh.vertices)
    spot = ((uv - uv.new_tensor([159.5, 119.5])).abs().amax(-1) < 2.5) & (facing(mesh, camera) > 0)
    assert red[spot].min() > 0.9
    assert red[vertex_normals(mesh.vertices, mesh.faces)[:, 1] > 0.3].max() < 0.1


@pytest.mark.parametrize("handle", [False, True])
def test_lettering_on_the_far_side_of_a_box_can_be_read(handle):
    """Turned half around, a box shows what it showed before; mirrored, it would read backwards. A finely meshed handle does not matter."""
    crate, camera, rendered = checkered_box(turn=0.0)
    if handle:
        bar = trimesh.creation.box(extents=(0.04, 0.01, 0.01)).subdivide_to_size(0.003)
        vertices = torch.cat([crate.vertices, torch.tensor(np.array(bar.vertices), dtype=torch.float32) + torch.tensor([0.07, 0.0, 0.06])])
        crate = Mesh(vertices, torch.cat([crate.faces, torch.tensor(np.array(bar.faces)) + len(crate.vertices)]))
        rendered = make_renderer("auto")(flat_scene(crate, camera), camera)
    points = camera.unproject(rendered.depth) @ camera.T_world_camera[:3, :3].T + camera.T_world_camera[:3, 3]
    ramp = (points[..., :1] / 0.2 + 0.5).clamp(0, 1).expand(-1, -1, 3)
    texture = bake(crate, camera, torch.where((rendered.object_ids == 0)[..., None], ramp, BACKGROUND), rendered)
    colours = average_at_vertices(texture, crate)[:, 1]
    middle = (crate.vertices[:, 0].abs() < 0.035) & (crate.vertices[:, 2] > 0.02) & (crate.vertices[:, 2] < 0.1)
    near, far = (middle & (crate.vertices[:, 1] * side > 0.029) for side in (-1, 1))
    assert torch.corrcoef(torch.stack([colours[near], crate.vertices[near, 0]]))[0, 1] > 0.99
    assert torch.corrcoef(torch.stack([colours[far], crate.vertices[far, 0]]))[0, 1] < -0.95


@pytest.mark.parametrize("turn", [0.0, 0.6])
def test_a_texture_holds_what_vertex_colours_blur(turn):
    """Squares of 8 mm on a box whose vertices are 1 cm apart: rendered again, the texture shows them, its averages do not."""
    crate, camera, rendered = checkered_box(turn)
    texture = bake(replace(crate, texture=None), camera, rendered.colour, rendered)
    shown = rendered.object_ids == 0
    errors = []
    for mesh in (
        replace(crate, texture=texture),
        replace(crate, texture=None, colours=average_at_vertices(texture, crate)),
    ):
        again = make_renderer("auto")(flat_scene(mesh, camera), camera).colour
        errors.append(float((again - rendered.colour)[shown].abs().mean()))
    assert errors[0] < 0.035
    assert errors[0] < errors[1] / 8


def checkered_box(turn: float) -> tuple[Mesh, Camera, Rendered]:
    """A box of 10 x 6 x 12 cm with vertices 1 cm apart and squares of 8 mm on it (world frame), its camera and its image."""
    solid = trimesh.creation.box(extents=(0.1, 0.06, 0.12)).subdivide_to_size(0.0101)
    solid.merge_vertices()
    vertices = torch.tensor(np.array(solid.vertices), dtype=torch.float32)
    faces = torch.tensor(np.array(solid.faces), dtype=torch.int64)
    # Each side is painted along the two axes that it spans.
    corners = vertices[faces]
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).abs().argmax(-1)
    spanned = torch.tensor([[1, 2], [0, 2], [0, 1]])[across]
    uv = corners.gather(2, spanned[:, None].expand(-1, 3, -1)) / 0.016
    tile = torch.tensor([[0.1, 0.9], [0.9, 0.1]]).repeat_interleave(32, 0).repeat_interleave(32, 1)
    cosine, sine = math.cos(turn), math.sin(turn)
    spin = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    crate = Mesh(vertices @ spin.T + torch.tensor([0.0, 0.0, 0.06]), faces, texture=Texture(uv, tile[..., None].expand(-1, -1, 3)))
    K = torch.tensor([[900.0, 0.0, 159.5], [0.0, 900.0, 119.5], [0.0, 0.0, 1.0]])
    camera = Camera(K, 240, 320, rigid(so3_exp(torch.tensor([math.radians(-115.0), 0.0, 0.0])), torch.tensor([0.0, -0.6, 0.33])))
    return crate, camera, make_renderer("auto")(flat_scene(crate, camera), camera)


def flat_scene(mesh: Mesh, camera: Camera) -> Scene:
    """A scene that shows base colours as they are, whatever the normals."""
    plain = PhongMaterial(torch.ones(3), torch.tensor(1.0), torch.tensor(0.0), torch.tensor(0.0), torch.tensor(1.0))
    light = DirectionalLight(torch.tensor([0.0, 0.0, -1.0]), torch.ones(3))
    item = SceneObject("box", torch.eye(4), torch.full((3,), 0.05), plain, mesh)
    return Scene((item,), (light,), None, camera)


def test_a_mesh_that_is_all_but_hidden_takes_the_objects_usual_colour():
    """Nowhere read: the colour of the pixels, not black."""
    mesh, camera, image, rendered = painted_scene()
    away = replace(mesh, vertices=mesh.vertices + torch.tensor([0.0, 0.0, 0.05]))
    pixels = torch.zeros_like(rendered.object_ids, dtype=torch.bool)
    pixels[100, 160] = True
    texture = bake_texture(away, camera, image, pixels, rendered.depth)
    torch.testing.assert_close(texture.image, image[100, 160].expand_as(texture.image), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="no pixel"):
        bake_texture(mesh, camera, image, torch.zeros_like(pixels), rendered.depth)


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
