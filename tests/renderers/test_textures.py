"""Textures in rendered scenes: against sampling by hand, one loop against the other, and gradients against finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh, Texture
from invgraphics.scene import AmbientLight, Scene
from renderers.mesh_renderer import MeshRenderer
from renderers.protocol import make_renderer
from renderers.rasterize import make_rasterizer
from renderers.rasterize.workers import Workers
from renderers.textures import look_up_texture, look_up_textures
from tests.helpers import finite_difference
from tests.renderers.scenes import material, two_objects, with_object

EYE = torch.eye(4, dtype=torch.float64)


def make_texture(n_faces: int, seed: int, rows: int = 5, columns: int = 7) -> Texture:
    generator = torch.Generator().manual_seed(seed)
    uv = 3 * torch.rand(n_faces, 3, 2, dtype=torch.float64, generator=generator) - 1
    return Texture(uv, torch.rand(rows, columns, 3, dtype=torch.float64, generator=generator))


def textured_card(image: Tensor) -> Scene:
    """A square of 20 cm that lies flat, its image's top left at (-x, +y), under light that shows its base colour as it is."""
    corners = torch.tensor([[-0.1, -0.1, 0.0], [0.1, -0.1, 0.0], [0.1, 0.1, 0.0], [-0.1, 0.1, 0.0]], dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    uv = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)[faces]
    scene = two_objects()
    scene = replace(scene, objects=scene.objects[:1], plane=None, lights=(AmbientLight(torch.zeros(9, 3).double()),))
    return with_object(scene, 0, T_world_object=EYE, mesh=Mesh(corners, faces, texture=Texture(uv, image)))


def shown_base_colour(scene: Scene, at: tuple[float, float]) -> Tensor:
    """Base colour (of a purely diffuse look) that the image shows at a point of the table, from two renders that differ in light."""
    camera = scene.camera.resize(640, 480)
    lit = replace(scene, lights=(AmbientLight(torch.eye(9, dtype=torch.float64)[:, :1].expand(9, 3).contiguous()),))
    white = with_object(lit, 0, mesh=replace(lit.objects[0].mesh, texture=None))
    black = with_object(white, 0, material=replace(white.objects[0].material, base_colour=torch.zeros(3).double()))
    x, y = camera.project(torch.tensor([[*at, 0.0]]).double())[0][0].round().long()
    textured, full, none = (make_renderer("cpu")(scene, camera).colour[y, x] for scene in (lit, white, black))
    return (textured - none) / (full - none)


def test_the_image_lies_on_the_mesh_the_way_its_coordinates_say():
    image = torch.zeros(2, 3, 3, dtype=torch.float64)
    image[0, 0], image[0, 2], image[1, 0] = (torch.tensor(row).double() for row in ([0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9]))
    scene = with_object(textured_card(image), 0, material=material((1.0, 1.0, 1.0), 0.0, 1.0))
    for at, texel in (((-0.0667, 0.05), image[0, 0]), ((0.0667, 0.05), image[0, 2]), ((-0.0667, -0.05), image[1, 0])):
        torch.testing.assert_close(shown_base_colour(scene, at), texel, atol=0.03, rtol=0)


def test_a_texture_multiplies_the_vertex_colours():
    scene = two_objects(subdivisions=2)
    mesh = scene.objects[0].mesh
    plain = torch.tensor([0.3, 0.6, 0.9]).double()
    texture = Texture(torch.rand(len(mesh.faces), 3, 2).double(), plain.expand(4, 4, 3).contiguous())
    tinted = torch.full_like(mesh.vertices, 0.5)
    renderer = make_renderer("cpu")
    both = renderer(with_object(scene, 0, mesh=replace(mesh, colours=tinted, texture=texture)), scene.camera)
    colours = renderer(with_object(scene, 0, mesh=replace(mesh, colours=tinted * plain)), scene.camera)
    torch.testing.assert_close(both.colour, colours.colour)


@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_and_plain_look_up_agree(threads):
    meshes = [Mesh(torch.zeros(3, 3).double(), torch.zeros(count, 3, dtype=torch.int64)) for count in (4, 3, 6)]
    textures = {0: make_texture(4, 0), 2: make_texture(6, 1, rows=1)}
    owners = torch.tensor([0] * 4 + [1] * 3 + [2] * 6)
    generator = torch.Generator().manual_seed(0)
    triangles = torch.randint(13, (9000,), generator=generator)
    weights = torch.rand(9000, 2, dtype=torch.float64, generator=generator) / 2
    leaves = [weights.requires_grad_()]
    for k, texture in textures.items():
        meshes[k] = replace(meshes[k], texture=texture)
        leaves += [texture.uv.requires_grad_(), texture.image.requires_grad_()]
    compiled = look_up_textures(meshes, weights, triangles, owners[triangles], Workers(threads))
    plain = torch.ones_like(compiled)
    for k, first in ((0, 0), (2, 7)):
        chosen = (owners[triangles] == k).nonzero()[:, 0]
        plain = plain.index_copy(0, chosen, look_up_texture(meshes[k].texture, weights[chosen], triangles[chosen] - first))
    torch.testing.assert_close(compiled, plain)
    ramp = torch.linspace(0.1, 1.0, 27000).double().reshape(-1, 3)
    found, expected = (torch.autograd.grad((values.square() * ramp).sum(), leaves) for values in (compiled, plain))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def textured_scene() -> Scene:
    scene = two_objects(height=24, width=32, subdivisions=2)
    mesh = scene.objects[0].mesh
    smooth = torch.linspace(0, 1, 60, dtype=torch.float64).reshape(4, 5, 3).sin().abs()
    uv = mesh.vertices[mesh.faces][..., :2] * 4 + 0.6
    return with_object(scene, 0, mesh=replace(mesh, texture=Texture(uv, smooth)))


@pytest.mark.parametrize("which", ["texels", "coordinates", "vertices"])
def test_gradient_against_finite_differences(which):
    """Vertices move within the surface's silhouette: that of the silhouette itself is tested elsewhere."""
    scene = textured_scene()
    mesh, renderer = scene.objects[0].mesh, make_renderer("cpu")
    value = {"texels": mesh.texture.image, "coordinates": mesh.texture.uv, "vertices": mesh.vertices}[which]
    direction = torch.randn(value.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def light(t: Tensor) -> Tensor:
        moved = value + t[0] * direction
        if which == "vertices":
            changed = replace(mesh, vertices=moved)
        else:
            changed = replace(mesh, texture=replace(mesh.texture, **{"image" if which == "texels" else "uv": moved}))
        rendered = renderer(with_object(scene, 0, mesh=changed), scene.camera)
        inside = (rendered.coverage.detach()[0] > 0.999)[..., None]
        return (rendered.colour.square() * inside).sum()

    along = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(light(along), along)
    torch.testing.assert_close(gradient, finite_difference(light, along.detach(), step=1e-6), rtol=1e-4, atol=1e-6)
    assert gradient.abs().max() > 1e-3


def test_the_same_bits_with_one_thread_and_with_many():
    scene = textured_scene()
    results = []
    for threads in (1, 2):
        renderer = MeshRenderer(make_rasterizer("cpu", threads))
        renderer._workers = Workers(threads)
        image = scene.objects[0].mesh.texture.image.clone().requires_grad_()
        changed = replace(scene.objects[0].mesh, texture=replace(scene.objects[0].mesh.texture, image=image))
        colour = renderer(with_object(scene, 0, mesh=changed), scene.camera).colour
        results.append((colour.detach().numpy(), torch.autograd.grad(colour.square().sum(), image)[0].numpy()))
    assert all(np.array_equal(one, other) for one, other in zip(*results, strict=True))


def test_textures_that_do_not_fit_are_named():
    scene = textured_scene()
    mesh = scene.objects[0].mesh
    short, empty = replace(mesh.texture, uv=mesh.texture.uv[:3]), replace(mesh.texture, image=torch.zeros(0, 3, 3).double())
    lost = replace(mesh.texture, uv=mesh.texture.uv * torch.nan)
    for texture, message in ((short, "coordinates for 3 triangles"), (empty, "one texel"), (lost, "not finite")):
        broken = with_object(scene, 0, mesh=replace(mesh, texture=texture))
        with pytest.raises(InputError, match=message):
            make_renderer("cpu")(broken, scene.camera)
