"""Shadows of meshes: against rays traced through every triangle, spheres in closed form, and finite differences."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import trimesh
from torch import Tensor

from invgraphics.errors import InputError, MissingDependencyError
from invgraphics.geometry.mesh import Mesh, icosphere
from invgraphics.scene import AmbientLight, DirectionalLight, PointLight, Scene, SceneObject
from invgraphics.transforms import rigid, so3_exp, transform_points
from renderers.mesh_renderer import MeshRenderer, build_layout
from renderers.mesh_shadows import look_past_meshes, look_with_tensors
from renderers.protocol import make_renderer
from renderers.rasterize import RASTERIZERS, Rasterizer, make_rasterizer
from renderers.rasterize.workers import Workers
from renderers.shadow_maps import ShadowMaps, draw_shadow_maps
from renderers.shadows import MeshShadows, see_past_meshes
from tests.helpers import finite_difference
from tests.renderers.scenes import material, two_objects, with_object

WHITE = torch.ones(3, dtype=torch.float64)
LIGHTS = {
    "point": PointLight(torch.tensor([0.3, -0.25, 0.45], dtype=torch.float64), WHITE),
    "close": PointLight(torch.tensor([0.0, 0.0, 0.125], dtype=torch.float64), WHITE),
    "inside": PointLight(torch.tensor([-0.09, 0.0, 0.05], dtype=torch.float64), WHITE),
    "directional": DirectionalLight(torch.tensor([0.5, 0.3, -0.7], dtype=torch.float64), WHITE),
}


def as_object(name: str, solid: trimesh.Trimesh, turn: tuple[float, ...], place: tuple[float, ...]) -> SceneObject:
    mesh = Mesh(torch.tensor(solid.vertices, dtype=torch.float64), torch.tensor(solid.faces))
    pose = rigid(so3_exp(torch.tensor(turn, dtype=torch.float64)), torch.tensor(place, dtype=torch.float64))
    return SceneObject(name, pose, torch.full((3,), 0.05).double(), material((0.8, 0.5, 0.3), 0.0, 0.6), mesh)


def make_scene(*lights: PointLight | DirectionalLight | AmbientLight) -> Scene:
    """A ring that shadows itself, an open tube that a light fits into, and a box, on a plane."""
    ring = trimesh.creation.torus(0.05, 0.012, major_sections=20, minor_sections=8)
    tube = trimesh.creation.annulus(0.03, 0.036, 0.09, sections=24)
    objects = (
        as_object("ring", ring, (1.2, 0.2, 0.0), (0.07, 0.05, 0.065)),
        as_object("tube", tube, (0.0, 0.0, 0.1), (-0.09, 0.0, 0.045)),
        as_object("box", trimesh.creation.box((0.05, 0.06, 0.04)), (0.0, 0.0, 0.4), (0.02, -0.08, 0.02)),
    )
    return replace(two_objects(height=96, width=128), objects=objects, lights=lights)


def draw_maps(scene: Scene, rasterizer: Rasterizer | None = None, size: int = 256) -> ShadowMaps:
    meshes = [item.mesh for item in scene.objects]
    return draw_shadow_maps(scene, scene.lights[0], meshes, build_layout(scene).topology, rasterizer or make_rasterizer("cpu"), size)


def surface_points(scene: Scene, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, face normals and owners of points in the middle of the objects' faces, and of points of the plane."""
    positions, normals, owners = [], [], []
    for k, item in enumerate(scene.objects):
        corners = transform_points(item.T_world_object, item.mesh.vertices)[item.mesh.faces]
        positions.append(corners.mean(1))
        cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals.append(torch.nn.functional.normalize(cross, dim=-1))
        owners.append(torch.full((len(corners),), k))
    ground = 0.5 * torch.rand(3000, 3, dtype=torch.float64, generator=generator) - 0.25
    positions.append(ground * torch.tensor([1.0, 1.0, 0.0]))
    normals.append(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(3000, 3))
    owners.append(torch.full((3000,), -1))
    return torch.cat(positions), torch.cat(normals), torch.cat(owners)


def trace(scene: Scene, points: Tensor) -> Tensor:
    """Whether each point sees the scene's first light: a ray against every triangle."""
    return torch.cat([trace_few(scene, few) for few in points.split(1000)]) if len(points) else torch.ones(0, dtype=torch.bool)


def trace_few(scene: Scene, points: Tensor) -> Tensor:
    """See `trace`; the intersection is that of Moeller and Trumbore 1997."""
    light, (start, stop) = scene.lights[0], (1e-6, 1.0)
    if isinstance(light, PointLight):
        step = light.position - points
    else:
        step, stop = -torch.nn.functional.normalize(light.direction, dim=0).expand_as(points), torch.inf
    free = torch.ones(len(points), dtype=torch.bool)
    for item in scene.objects:
        a, b, c = transform_points(item.T_world_object, item.mesh.vertices)[item.mesh.faces].unbind(1)
        first, second = b - a, c - a
        across = torch.linalg.cross(step[:, None].expand(-1, len(a), 3), second.expand(len(points), -1, 3))
        determinant = (across * first).sum(-1)
        offset = points[:, None] - a
        u = (offset * across).sum(-1) / determinant
        other = torch.linalg.cross(offset, first.expand_as(offset))
        v = (step[:, None] * other).sum(-1) / determinant
        t = (second * other).sum(-1) / determinant
        free &= ~((u >= 0) & (v >= 0) & (u + v <= 1) & (t > start) & (t < stop)).any(1)
    return free


def facing(scene: Scene, points: Tensor, normals: Tensor) -> Tensor:
    """Cosine between the points' normals and the first light."""
    light = scene.lights[0]
    towards = light.position - points if isinstance(light, PointLight) else -light.direction.expand_as(points)
    return (torch.nn.functional.normalize(towards, dim=-1) * normals).sum(-1)


@pytest.mark.parametrize("name", LIGHTS)
def test_traced_rays_find_the_same_shadows(name):
    """Both ways differ at few points, and those lie at a shadow's edge: within 1.5 mm, traced rays say what the map says."""
    scene = make_scene(LIGHTS[name])
    positions, normals, owners = surface_points(scene, torch.Generator().manual_seed(0))
    lit_side = facing(scene, positions, normals) > 0.15
    positions, normals, owners = positions[lit_side], normals[lit_side], owners[lit_side]
    found = look_past_meshes(draw_maps(scene), positions, normals, owners, Workers())
    truth = trace(scene, positions)
    wrong = ((found > 0.5) != truth).nonzero()[:, 0]
    assert 0.02 < truth.double().mean() < 0.98
    assert len(wrong) < 0.003 * len(truth)
    ways = torch.randn(24, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    along = ways - (ways @ normals[wrong].T).T[..., None] * normals[wrong, None]
    around = positions[wrong, None] + 1.5e-3 * torch.nn.functional.normalize(along, dim=-1)
    agrees = trace(scene, around.reshape(-1, 3)).reshape(-1, 24) == (found[wrong] > 0.5)[:, None]
    assert agrees.any(1).all()


def test_a_sphere_casts_the_ellipse_that_geometry_says():
    sphere, faces = icosphere(5)
    ball = as_object("ball", trimesh.Trimesh(0.04 * sphere.numpy(), faces.numpy(), process=False), (0.0, 0.0, 0.0), (0.0, 0.0, 0.07))
    place = torch.tensor([0.1, -0.05, 0.4], dtype=torch.float64)
    scene = replace(make_scene(PointLight(place, WHITE)), objects=(ball,))
    points = 0.3 * torch.rand(20000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.15
    points = points * torch.tensor([1.0, 1.0, 0.0])
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand_as(points)
    found = look_past_meshes(draw_maps(scene), points, up, torch.full((20000,), -1), Workers())
    ray = torch.nn.functional.normalize(points - place, dim=-1)
    offset = torch.tensor([0.0, 0.0, 0.07], dtype=torch.float64) - place
    distance = torch.linalg.cross(ray, offset.expand_as(ray)).norm(dim=-1) - 0.04
    assert (found[distance > 8e-4] == 1).all()
    assert (found[distance < -8e-4] < 1e-9).all()
    assert found[distance.abs() < 1e-4].mean() == pytest.approx(0.5, abs=0.1)


def test_a_light_in_the_middle_of_a_closed_box_lights_nothing_outside():
    box = as_object("box", trimesh.creation.box((0.05, 0.06, 0.04)), (0.0, 0.0, 0.4), (0.0, 0.0, 0.05))
    place = box.T_world_object[:3, 3].clone().requires_grad_()
    scene = replace(make_scene(PointLight(place, WHITE)), objects=(box,))
    points = 0.4 * torch.rand(2000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.2
    points[:, 2] = points[:, 2].sign() * 0.2
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand_as(points)
    found = look_past_meshes(draw_maps(scene), points, up, torch.full((2000,), -1), Workers())
    assert found.max() < 1e-9
    (gradient,) = torch.autograd.grad(found.sum(), place)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", LIGHTS)
def test_compiled_and_plain_look_up_agree(name):
    scene = make_scene(LIGHTS[name])
    leaves = [scene.objects[0].mesh.vertices.clone().requires_grad_(), scene.objects[1].T_world_object.clone().requires_grad_()]
    scene = with_object(scene, 0, mesh=replace(scene.objects[0].mesh, vertices=leaves[0]))
    scene = with_object(scene, 1, T_world_object=leaves[1])
    light = {key: value.clone().requires_grad_() for key, value in vars(scene.lights[0]).items()}
    leaves.append(next(iter(light.values())))
    scene = replace(scene, lights=(type(scene.lights[0])(**light),))
    positions, normals, owners = surface_points(scene, torch.Generator().manual_seed(0))
    leaves.append(positions.detach().clone().requires_grad_())
    maps = draw_maps(scene, size=128)
    found = look_past_meshes(maps, leaves[-1], normals.detach(), owners, Workers(2))
    expected = look_with_tensors(maps, leaves[-1], normals.detach(), owners)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weights = torch.randn(len(found), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    gradients = [torch.autograd.grad((seen * weights).sum(), leaves, retain_graph=True) for seen in (found, expected)]
    assert sum(bool(other.any()) for other in gradients[1]) >= 3
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(other.abs().max()))


def test_same_bits_with_any_number_of_threads():
    scene = make_scene(LIGHTS["point"])
    positions, normals, owners = surface_points(scene, torch.Generator().manual_seed(0))
    results = []
    for threads in (1, 2, 3):
        vertices = scene.objects[0].mesh.vertices.clone().requires_grad_()
        moved = with_object(scene, 0, mesh=replace(scene.objects[0].mesh, vertices=vertices))
        maps = draw_maps(moved, make_rasterizer("cpu", threads))
        where = positions.repeat(4, 1).requires_grad_()
        found = look_past_meshes(maps, where, normals.repeat(4, 1), owners.repeat(4), Workers(threads))
        results.append((found, *torch.autograd.grad(found.square().sum(), [vertices, where])))
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def moved_scenes() -> dict[str, Callable[[Scene, Tensor], Scene]]:
    """Ways to move something of a scene along a line, by a length in metres."""
    way = torch.tensor([0.6, 0.64, 0.48], dtype=torch.float64)

    def light(scene: Scene, t: Tensor) -> Scene:
        return replace(scene, lights=(replace(scene.lights[0], position=scene.lights[0].position + 3 * t * way),))

    def direction(scene: Scene, t: Tensor) -> Scene:
        return replace(
            scene, lights=(replace(scene.lights[0], direction=scene.lights[0].direction + 6 * t * way * torch.tensor([1.0, 0.5, 0.0])),)
        )

    def pose(scene: Scene, t: Tensor) -> Scene:
        return with_object(scene, 0, T_world_object=rigid(so3_exp(5 * t * way), t * way) @ scene.objects[0].T_world_object)

    def vertices(scene: Scene, t: Tensor) -> Scene:
        mesh = scene.objects[0].mesh
        return with_object(scene, 0, mesh=replace(mesh, vertices=mesh.vertices * (1 + 10 * t * way)))

    return {"light": light, "direction": direction, "pose": pose, "vertices": vertices}


@pytest.mark.parametrize("what", moved_scenes())
def test_gradient_of_the_lit_area_as_something_moves(what):
    """The gradient, averaged along a path, against the change of traced shadows from end to end: no map has a part in that."""
    scene = make_scene(LIGHTS["directional" if what == "direction" else "point"])
    scene = replace(scene, objects=scene.objects[:1])
    move = moved_scenes()[what]
    grid = torch.stack(torch.meshgrid(torch.arange(140.0), torch.arange(140.0), torch.zeros(1), indexing="ij"), dim=-1).reshape(-1, 3)
    points = grid.double() * 0.0025 - torch.tensor([0.2, 0.12, 0.0])
    weight = 1 + 8 * (points[:, 0] + points[:, 1])
    up, nobody = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand_as(points), torch.full((len(points),), -1)

    def measured(t: Tensor) -> Tensor:
        return (look_past_meshes(draw_maps(move(scene, t), size=64), points, up, nobody, Workers()) * weight).mean()

    steps = ((torch.arange(16, dtype=torch.float64) + 0.5) / 16 * 0.04 - 0.02).requires_grad_()
    (gradient,) = torch.autograd.grad(sum(measured(t) for t in steps), steps)
    ends = [(trace(move(scene, torch.tensor(t).double()), points) * weight).mean() for t in (-0.02, 0.02)]
    torch.testing.assert_close(gradient.mean(), (ends[1] - ends[0]) / 0.04, rtol=0.1, atol=0.0)


def test_gradient_of_points_against_finite_differences():
    """Of the plane's, far behind the ring: where a point comes to lie behind a surface has no gradient."""
    scene = make_scene(LIGHTS["point"])
    scene = replace(scene, objects=scene.objects[:1])
    positions, normals, owners = surface_points(scene, torch.Generator().manual_seed(0))
    weights = torch.randn(len(positions), dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    maps, way = draw_maps(scene), torch.tensor([0.6, 0.64, 0.48], dtype=torch.float64)

    def seen(t: Tensor) -> Tensor:
        return (look_past_meshes(maps, positions + t[0] * way, normals, owners, Workers()) * weights * (owners < 0)).sum()

    start = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(seen(start), start)
    torch.testing.assert_close(gradient, finite_difference(seen, start.detach(), step=1e-8), rtol=1e-4, atol=1e-4)
    assert gradient.abs() > 1


def available_rasterizers() -> list[str]:
    found = []
    for name in RASTERIZERS:
        try:
            found += [name] if "cpu" in make_rasterizer(name).devices else []
        except MissingDependencyError:
            continue
    return found


@pytest.mark.parametrize("name", available_rasterizers())
def test_every_backend_draws_the_same_shadows(name):
    backend = make_rasterizer(name)
    scene = make_scene(*LIGHTS.values())
    expected = MeshRenderer(make_rasterizer("cpu"), "meshes")(scene, scene.camera)
    dtype = torch.float64 if backend.float64 else torch.float32
    camera = scene.camera.to(dtype=dtype)
    cast = lambda item: replace(item, **{key: value.to(dtype) for key, value in vars(item).items() if isinstance(value, Tensor)})  # noqa: E731
    objects = tuple(
        replace(cast(item), material=cast(item.material), mesh=replace(item.mesh, vertices=item.mesh.vertices.to(dtype)))
        for item in scene.objects
    )
    plane = replace(scene.plane, material=cast(scene.plane.material))
    same = Scene(objects, tuple(cast(light) for light in scene.lights), plane, camera)
    found = MeshRenderer(backend, "meshes")(same, camera)
    assert ((found.colour.double() - expected.colour).abs().amax(-1) < 2e-3).double().mean() > 0.99


def test_renderers_say_what_casts_their_shadows():
    scene = make_scene(LIGHTS["point"])
    images = {}
    for kind in ("none", "ellipsoids", "meshes"):
        renderer = make_renderer("cpu", shadows=kind)
        assert renderer.capabilities.shadows == kind
        images[kind] = renderer(scene, scene.camera)
    darker = images["meshes"].colour.sum(-1) < 0.5 * images["none"].colour.sum(-1)
    assert 0.01 < darker.double().mean() < 0.5
    assert (images["ellipsoids"].colour != images["meshes"].colour).any()
    unlit = replace(scene, lights=(AmbientLight(torch.ones(9, 3).double()),))
    bare = replace(scene, objects=())
    for other in (unlit, bare):
        pictures = [make_renderer("cpu", shadows=kind)(other, scene.camera).colour for kind in ("none", "meshes")]
        assert torch.equal(*pictures)


def test_shadows_that_a_renderer_has_not_are_answered_with_those_it_has():
    with pytest.raises(InputError, match="'meshes'; choose one of none, ellipsoids"):
        make_renderer("raycast", shadows="meshes")
    with pytest.raises(InputError, match="16 at least"):
        MeshShadows(size=4)
    with pytest.raises(InputError, match="1 is the least"):
        MeshShadows(samples=0)


@pytest.mark.parametrize("name", ["point", "directional"])
def test_penumbrae_show_as_much_of_the_lights_disc_as_is_free(name):
    """A wall's edge at two heights above the plane; the share of a disc behind a straight edge is known in closed form."""
    half_angle, light = 0.1, PointLight(torch.tensor([0.0, 0.0, 2.0]).double(), WHITE)
    if name == "directional":
        light = DirectionalLight(torch.tensor([0.0, 0.0, -1.0]).double(), WHITE)
    for height in (0.05, 0.2):
        wall = as_object("wall", trimesh.creation.box((0.3, 0.6, 1e-3)), (0.0, 0.0, 0.0), (-0.15, 0.0, height))
        scene = replace(make_scene(light), objects=(wall,))
        meshes, topology = [wall.mesh], build_layout(scene).topology
        look = see_past_meshes(scene, meshes, topology, make_rasterizer("cpu"), Workers(), MeshShadows(256, 64, half_angle))
        x = torch.linspace(-0.04, 0.04, 81, dtype=torch.float64)
        points = torch.stack([x, torch.zeros_like(x), torch.zeros_like(x)], dim=1)
        found = look(points, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand_as(points), torch.full((81,), -1))[0]
        # Where the disc's part begins that the wall leaves free, in radii of the disc from its centre.
        radius = half_angle * (light.position - wall.T_world_object[:3, 3]).norm() if name == "point" else half_angle
        begin = ((x - 2.0 * x / height if name == "point" else -x / height) / radius).clamp(-1, 1)
        expected = (begin.acos() - begin * (1 - begin**2).sqrt()) / torch.pi
        torch.testing.assert_close(found, expected, atol=0.05, rtol=0)
