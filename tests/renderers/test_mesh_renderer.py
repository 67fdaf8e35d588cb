"""Whole scenes of meshes: against analytic ellipsoids, against finite differences, and at the edges of what a scene can be."""

from dataclasses import replace

import pytest
import torch

from invgraphics.errors import InputError, MissingDependencyError
from invgraphics.geometry.mesh import Mesh
from invgraphics.scene import Scene
from invgraphics.transforms import rigid
from renderers.mesh_renderer import build_layout
from renderers.protocol import BACKGROUND_ID, PLANE_ID, RENDERERS, Capabilities, Renderer, make_renderer
from tests.helpers import finite_difference
from tests.renderers.scenes import look_at, two_objects, with_object


def test_meshes_of_ellipsoids_look_like_the_ellipsoids():
    scene = two_objects(height=96, width=128)
    drawn, cast = make_renderer("cpu")(scene, scene.camera), make_renderer("raycast")(scene, scene.camera)
    same = drawn.object_ids == cast.object_ids
    assert same.double().mean() > 0.995
    assert set(drawn.object_ids.unique().tolist()) == {PLANE_ID, 0, 1}
    assert (drawn.depth - cast.depth)[same].abs().max() < 5e-3
    assert (drawn.depth - cast.depth)[same].abs().mean() < 1e-4
    inside = same & (cast.coverage > 0.999).any(0)
    assert inside.sum() > 500
    assert (drawn.normals * cast.normals).sum(-1)[inside].min() > 0.98
    assert (drawn.colour - cast.colour)[inside].abs().mean() < 2e-3
    assert (drawn.coverage - cast.coverage).abs().mean() < 4e-3
    torch.testing.assert_close(drawn.coverage.sum((1, 2)), cast.coverage.sum((1, 2)), rtol=0.01, atol=0.0)


def test_objects_without_a_mesh_are_drawn_as_ellipsoids():
    drawn, bare = (make_renderer("cpu")(scene, scene.camera) for scene in (two_objects(True), two_objects(False)))
    torch.testing.assert_close(bare.colour, drawn.colour, rtol=0, atol=1e-5)


def total_light(scene: Scene, layout) -> torch.Tensor:
    """A smooth function of everything in the images."""
    rendered = make_renderer("cpu")(scene, scene.camera, layout)
    ramp = torch.linspace(0.5, 1.5, rendered.depth.shape[1], dtype=rendered.depth.dtype)
    return ((rendered.colour.square() * ramp[:, None]).mean() + (rendered.normals[..., 0] * ramp).mean()) * 100


def _replaced(scene: Scene, which: str, value: torch.Tensor) -> Scene:
    item = scene.objects[1]
    if which == "light position":
        return replace(scene, lights=(replace(scene.lights[0], position=value), *scene.lights[1:]))
    if which == "environment":
        return replace(scene, lights=(*scene.lights[:2], replace(scene.lights[2], sh=value)))
    if which == "plane colour":
        return replace(scene, plane=replace(scene.plane, material=replace(scene.plane.material, base_colour=value)))
    if which == "vertex colours":
        return with_object(scene, 1, mesh=replace(item.mesh, colours=value.expand(len(item.mesh.vertices), 3)))
    return with_object(scene, 1, material=replace(item.material, **{which: value}))


@pytest.mark.parametrize(
    ("which", "start"),
    [
        ("base_colour", [0.4, 0.6, 0.8]),
        ("metallic", 0.7),
        ("roughness", 0.3),
        ("light position", [0.5, -0.4, 0.9]),
        ("environment", [[0.9, 1.0, 1.1]] + [[0.1, 0.2, 0.1]] * 8),
        ("plane colour", [0.5, 0.4, 0.3]),
        ("vertex colours", [0.9, 0.7, 0.8]),
    ],
)
def test_gradient_of_materials_and_lights(which, start):
    scene = two_objects(height=24, width=32, subdivisions=3)
    layout = build_layout(scene)
    value = torch.tensor(start, dtype=torch.float64)
    direction = torch.randn(value.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    along = torch.zeros(1, dtype=torch.float64, requires_grad=True)

    def light(t: torch.Tensor) -> torch.Tensor:
        return total_light(_replaced(scene, which, value + t[0] * direction), layout)

    (gradient,) = torch.autograd.grad(light(along), along)
    torch.testing.assert_close(gradient, finite_difference(light, along.detach(), step=1e-5), rtol=1e-5, atol=1e-7)
    assert gradient.abs().max() > 1e-3


@pytest.mark.parametrize(("direction", "what"), [((1.0, 0.0, 0.0), "column"), ((0.0, 1.0, 0.0), "row"), ((0.24, -0.66, 0.71), "area")])
def test_gradient_of_coverage_as_an_object_moves(direction, what):
    """The gradient, integrated along a path, against the change from end to end: single gradients differ by where pixels' centres lie."""
    scene = replace(two_objects(height=96, width=128, subdivisions=3), lights=())
    layout, renderer = build_layout(scene), make_renderer("cpu")
    pose, way = scene.objects[1].T_world_object, torch.tensor(direction, dtype=torch.float64)
    index = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    weight = {"row": index[0] / 100, "column": index[1] / 100, "area": torch.ones(96, 128)}[what].double()

    def measured(shift: torch.Tensor) -> torch.Tensor:
        moved = with_object(scene, 1, T_world_object=rigid(torch.eye(3, dtype=torch.float64), shift * way) @ pose)
        return (renderer(moved, scene.camera, layout).coverage[1] * weight).sum()

    shifts = ((torch.arange(12, dtype=torch.float64) + 0.5) / 12 * 0.04 - 0.02).requires_grad_()
    (gradient,) = torch.autograd.grad(sum(measured(shift) for shift in shifts), shifts)
    with torch.no_grad():
        expected = (measured(torch.tensor(0.02).double()) - measured(torch.tensor(-0.02).double())) / 0.04
    torch.testing.assert_close(gradient.mean(), expected, rtol=0.04, atol=0.0)


def test_the_plane_hides_what_lies_below_it():
    scene = two_objects()
    sunk = with_object(scene, 0, T_world_object=rigid(torch.eye(3, dtype=torch.float64), torch.tensor([-0.05, 0.0, 0.0]).double()))
    rendered = make_renderer("cpu")(sunk, scene.camera)
    points = scene.camera.unproject(rendered.depth) @ scene.camera.T_world_camera[:3, :3].T + scene.camera.T_world_camera[:3, 3]
    assert (rendered.object_ids == 0).sum() > 50
    assert points[..., 2].min() > -1e-9
    assert (rendered.coverage[0] > 0).sum() < (make_renderer("cpu")(replace(sunk, plane=None), scene.camera).coverage[0] > 0).sum()


def test_nothing_is_seen_where_nothing_is():
    scene = replace(two_objects(), plane=None)
    away = replace(scene.camera, T_world_camera=look_at((0.0, -0.5, 0.4), (0.0, -1.0, 0.4)))
    for rendered in (make_renderer("cpu")(scene, away), make_renderer("cpu")(replace(scene, objects=()), scene.camera)):
        assert (rendered.object_ids == BACKGROUND_ID).all()
        assert all((image == 0).all() for image in (rendered.colour, rendered.depth, rendered.coverage, rendered.normals))
    horizon = make_renderer("cpu")(replace(two_objects(), objects=()), replace(away, T_world_camera=look_at((0.0, 0, 0.2), (1.0, 0, 0.2))))
    assert (horizon.object_ids[:20] == BACKGROUND_ID).all()
    assert (horizon.object_ids[30:] == PLANE_ID).all()


def test_the_inside_of_an_open_mesh_is_lit_from_the_side_that_is_seen():
    scene = two_objects()
    square = torch.tensor([[-0.1, -0.1, 0.1], [0.1, -0.1, 0.1], [0.1, 0.1, 0.1], [-0.1, 0.1, 0.1]], dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    eye = torch.eye(4, dtype=torch.float64)
    for orientation in (faces, faces.flip(1)):
        card = with_object(replace(scene, objects=scene.objects[:1]), 0, T_world_object=eye, mesh=Mesh(square, orientation))
        rendered = make_renderer("cpu")(card, scene.camera)
        seen = rendered.object_ids == 0
        assert seen.sum() > 100
        torch.testing.assert_close(rendered.normals[seen], torch.tensor([0.0, 0.0, 1.0]).double().expand(int(seen.sum()), 3))


def test_broken_meshes_are_named():
    scene = two_objects()
    mesh = scene.objects[1].mesh
    broken = mesh.vertices.clone()
    broken[5, 0] = torch.inf
    with pytest.raises(InputError, match="finite"):
        make_renderer("cpu")(with_object(scene, 1, mesh=replace(mesh, vertices=broken)), scene.camera)


@pytest.mark.parametrize("name", RENDERERS)
def test_renderers_are_what_they_say(name):
    try:
        renderer = make_renderer(name)
    except MissingDependencyError as missing:
        pytest.skip(str(missing))
    if "cpu" not in renderer.capabilities.devices:
        pytest.skip("draws on a GPU only; see test_backends.py")
    assert isinstance(renderer, Renderer)
    assert renderer.name == name
    assert isinstance(renderer.capabilities, Capabilities)
    scene = two_objects(dtype=torch.float32)
    rendered = renderer(scene, scene.camera)
    assert rendered.colour.dtype == torch.float32
    assert rendered.coverage.shape == (2, 48, 64)
    torch.testing.assert_close(rendered.foreground, rendered.coverage[0] + rendered.coverage[1])


def test_unknown_renderers_are_answered_with_the_known_ones():
    with pytest.raises(InputError, match="auto, cpu, nvdiffrast, pytorch3d, raycast, warp"):
        make_renderer("metal")
