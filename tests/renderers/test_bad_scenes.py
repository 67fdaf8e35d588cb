"""What cannot be drawn is answered with one line that says where; what is odd but drawable is drawn. On every renderer that is here."""

import math
from dataclasses import replace

import pytest
import torch

from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh
from invgraphics.scene import PointLight, Scene
from invgraphics.transforms import rigid
from renderers.protocol import BACKGROUND_ID, PLANE_ID, Rendered, Renderer
from tests.renderers.available import available_renderers, fit_scene
from tests.renderers.matrix_scenes import meshes
from tests.renderers.scenes import look_at, with_object

RENDERERS = available_renderers()


@pytest.fixture(params=RENDERERS, ids=str)
def renderer(request) -> Renderer:
    return RENDERERS[request.param]


def draw(renderer: Renderer, scene: Scene) -> Rendered:
    scene = fit_scene(scene, renderer)
    rendered = renderer(scene, scene.camera)
    assert all(torch.isfinite(image).all() for image in (rendered.colour, rendered.depth, rendered.coverage, rendered.normals))
    return rendered


def with_vertex(scene: Scene, value: float) -> Scene:
    mesh = scene.objects[1].mesh
    vertices = mesh.vertices.clone()
    vertices[5, 0] = value
    return with_object(scene, 1, mesh=replace(mesh, vertices=vertices))


def with_pose(scene: Scene, value: float) -> Scene:
    pose = scene.objects[1].T_world_object.clone()
    pose[0, 3] = value
    return with_object(scene, 1, T_world_object=pose)


def with_camera(scene: Scene, **changes: object) -> Scene:
    return replace(scene, camera=replace(scene.camera, **changes))


def with_focal_length(scene: Scene, value: float) -> Scene:
    K = scene.camera.K.clone()
    K[0, 0] = value
    return with_camera(scene, K=K)


def with_face(scene: Scene, index: int) -> Scene:
    mesh = scene.objects[0].mesh
    faces = mesh.faces.clone()
    faces[7, 2] = index
    return with_object(scene, 0, mesh=replace(mesh, faces=faces))


def with_dark_light(scene: Scene) -> Scene:
    return replace(scene, lights=(PointLight(scene.lights[0].position * math.nan, scene.lights[0].intensity), *scene.lights[1:]))


BROKEN = {
    "a pose that is not a number": (lambda scene: with_pose(scene, math.nan), "pose of object 'pebble'"),
    "a radius of 0": (lambda scene: with_object(scene, 0, radii=torch.tensor([0.1, 0.0, 0.1]).double()), "radii of object 'egg'"),
    "an infinite camera": (lambda scene: with_camera(scene, T_world_camera=scene.camera.T_world_camera * math.inf), "camera's pose"),
    "no focal length": (lambda scene: with_focal_length(scene, 0.0), "focal lengths"),
    "a focal length that is not a number": (lambda scene: with_focal_length(scene, math.nan), "camera's K"),
    "an image without rows": (lambda scene: with_camera(scene, height=0), "0 x 32"),
    "a light nowhere": (with_dark_light, "position of light 0"),
}
BROKEN_MESHES = {
    "a vertex that is not a number": (lambda scene: with_vertex(scene, math.nan), "vertex 5 of object 'pebble'"),
    "an infinite vertex": (lambda scene: with_vertex(scene, math.inf), "vertex 5 of object 'pebble'"),
    "an index of another object's vertex": (lambda scene: with_face(scene, 700), "triangle 7 of object 'egg'"),
    "an index beyond all": (lambda scene: with_face(scene, 10**6), "triangle 7 of object 'egg'"),
    "a negative index": (lambda scene: with_face(scene, -1), "triangle 7 of object 'egg'"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_drawn_is_named(renderer, what):
    change, message = BROKEN[what]
    scene = fit_scene(change(meshes()), renderer)
    with pytest.raises(InputError, match=message) as raised:
        renderer(scene, scene.camera)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("what", BROKEN_MESHES)
def test_broken_meshes_are_named(renderer, what):
    change, message = BROKEN_MESHES[what]
    scene = fit_scene(change(meshes()), renderer)
    if not renderer.capabilities.draws_meshes:
        assert (renderer(scene, scene.camera).object_ids == 0).any()
        return
    with pytest.raises(InputError, match=message) as raised:
        renderer(scene, scene.camera)
    assert "\n" not in str(raised.value)


def test_nothing_is_drawn_of_an_empty_scene(renderer):
    rendered = draw(renderer, replace(meshes(), objects=(), plane=None, lights=()))
    assert (rendered.object_ids == BACKGROUND_ID).all()
    assert rendered.coverage.shape[0] == 0
    assert (draw(renderer, replace(meshes(), objects=(), lights=())).object_ids == PLANE_ID).any()


def test_what_lies_behind_the_camera_is_not_drawn(renderer):
    away = with_camera(replace(meshes(), plane=None), T_world_camera=look_at((0.1, -0.5, 0.4), (0.2, -1.0, 0.4)))
    rendered = draw(renderer, away)
    assert (rendered.object_ids == BACKGROUND_ID).all()
    assert (rendered.coverage == 0).all()


def test_a_camera_inside_a_mesh_sees_its_inside(renderer):
    scene = replace(meshes(), plane=None)
    centre = scene.objects[0].T_world_object[:3, 3]
    inside = with_camera(scene, T_world_camera=rigid(scene.camera.T_world_camera[:3, :3], centre))
    rendered = draw(renderer, inside)
    if renderer.capabilities.draws_meshes:
        assert (rendered.object_ids == 0).all()
        assert rendered.depth.min() > 0.01
        assert rendered.depth.max() < 0.17


def test_triangles_without_area_and_empty_meshes_are_left_out(renderer):
    scene = meshes()
    mesh = scene.objects[0].mesh
    flat = torch.cat([mesh.faces, torch.tensor([[0, 0, 1], [2, 2, 2], [3, 4, 3]])])
    rendered = draw(renderer, with_object(scene, 0, mesh=replace(mesh, faces=flat)))
    expected = draw(renderer, scene)
    torch.testing.assert_close(rendered.colour, expected.colour, rtol=0, atol=1e-6 if renderer.capabilities.float64 else 1e-3)
    if renderer.capabilities.draws_meshes:
        nothing = Mesh(mesh.vertices[:0], mesh.faces[:0])
        assert not (draw(renderer, with_object(scene, 0, mesh=nothing)).object_ids == 0).any()


def test_one_pixel_is_an_image(renderer):
    scene = with_camera(meshes(), height=1, width=1)
    assert draw(renderer, scene).colour.shape == (1, 1, 3)
