"""Every rasterizer backend against the CPU's, which the other tests hold to ray casting and finite differences.

Only backends that are installed are drawn with; of the others, what they answer is read.
"""

import sys

import pytest
import torch
from torch import Tensor

from invgraphics.errors import InputError, MissingDependencyError
from renderers.mesh_renderer import MeshRenderer
from renderers.rasterize import RASTERIZERS, Rasterizer, build_topology, make_rasterizer
from renderers.rasterize.nvdiffrast import NvdiffrastRasterizer
from tests.renderers import nvdiffrast_stand_in
from tests.renderers.rasterizer_scenes import clip_of, make_camera, sphere, triangle_soup
from tests.renderers.scenes import moved, two_objects

SIZE = (48, 64)


def find_missing(name: str) -> str:
    """What a user would read on asking for the backend; empty where it can be had."""
    try:
        make_rasterizer(name)
    except MissingDependencyError as missing:
        return str(missing)
    return ""


MISSING = {name: find_missing(name) for name in RASTERIZERS if name != "cpu"}
STAND_IN = "nvdiffrast's interface"


ON_CUDA = ["warp-cuda"] if torch.cuda.is_available() and not MISSING["warp"] else []


@pytest.fixture(params=[*(name for name, message in MISSING.items() if not message), *ON_CUDA, STAND_IN])
def backend(request, monkeypatch) -> Rasterizer:
    if request.param == STAND_IN:
        return open_stand_in(monkeypatch)
    rasterizer = make_rasterizer(request.param.removesuffix("-cuda"))
    rasterizer.devices = ("cuda",) if request.param in ON_CUDA else rasterizer.devices
    return rasterizer


def open_stand_in(monkeypatch) -> NvdiffrastRasterizer:
    """Our nvdiffrast adapter, with `nvdiffrast_stand_in` in place of nvdiffrast, on the CPU."""
    for name, module in nvdiffrast_stand_in.build_modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    rasterizer = NvdiffrastRasterizer("cpu")
    rasterizer.devices = ("cpu",)
    return rasterizer


@pytest.mark.parametrize("message", [message for message in MISSING.values() if message])
def test_missing_backends_say_in_one_line_what_to_install(message):
    assert "\n" not in message
    assert "pip install" in message or "CUDA" in message


def settings(backend: Rasterizer) -> tuple[torch.dtype, str, float]:
    """Dtype, device and tolerance that a backend is compared with."""
    dtype = torch.float64 if backend.float64 else torch.float32
    device = "cpu" if "cpu" in backend.devices else "cuda"
    return dtype, device, 1e-9 if backend.float64 else 2e-3


def draw_all(backend: Rasterizer, points: Tensor, faces: Tensor, culls: bool) -> list[Tensor]:
    """Every image and gradient of one scene, on the CPU."""
    camera = make_camera(*SIZE)
    clip = clip_of(camera, points)[None].detach().requires_grad_()
    values = points.detach().clone().requires_grad_()
    drawn = backend.rasterize(clip, faces, SIZE, cull_back_faces=culls)
    image = backend.interpolate(values, drawn, faces)
    pixels, triangles, covered = backend.interpolate_covered(values, drawn, faces)
    assert torch.equal(drawn.triangle_ids.reshape(-1)[pixels], triangles)
    torch.testing.assert_close(image.flatten(0, 2)[pixels], covered)
    (image.sin().sum() + drawn.buffer[..., :3].cos().sum()).backward()
    return [tensor.detach().cpu().double() for tensor in (drawn.buffer, image, clip.grad, values.grad)]


@pytest.mark.parametrize("culls", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_draws_and_differentiates_as_the_cpu_does(backend, seed, culls):
    dtype, device, tolerance = settings(backend)
    soup, soup_faces = triangle_soup(60, seed)
    ball, ball_faces = sphere(3, (0.05, 0.0, 1.0), 0.2)
    points, faces = torch.cat([soup, ball]), torch.cat([soup_faces, ball_faces + len(soup)])
    expected = draw_all(make_rasterizer("cpu"), points.to(dtype), faces, culls)
    found = draw_all(backend, points.to(device, dtype), faces.to(device), culls)
    same = (found[0][..., 3] == expected[0][..., 3]).double().mean()
    assert same == 1.0 if backend.float64 else same > 0.995
    for one, other in zip(found, expected, strict=True):
        limit = tolerance * other.abs().max()
        assert ((one - other).abs() < limit).double().mean() >= (1.0 if backend.float64 else 0.98)


def test_an_old_nvdiffrast_is_answered_with_the_version_that_is_needed(monkeypatch):
    open_stand_in(monkeypatch)
    sys.modules["nvdiffrast"].__version__ = "0.3.1"
    with pytest.raises(MissingDependencyError, match=r"0\.3\.1 is too old; 0\.3\.4"):
        NvdiffrastRasterizer("cpu")


def test_antialiases_as_the_cpu_does(backend):
    dtype, device, tolerance = settings(backend)
    camera = make_camera(*SIZE)
    ball, faces = sphere(1, (0.05, 0.0, 1.0), 0.2, dtype)
    back, _ = sphere(1, (-0.05, 0.05, 1.5), 0.4, dtype)
    points, faces = torch.cat([ball, back]), torch.cat([faces, faces + len(ball)])
    shade = torch.cat([torch.full((len(ball), 1), 2.0, dtype=dtype), torch.ones(len(back), 1, dtype=dtype)])
    results = []
    for rasterizer, where in ((make_rasterizer("cpu"), "cpu"), (backend, device)):
        clip = clip_of(camera, points)[None].to(where).detach().requires_grad_()
        values, triangles = shade.to(where).requires_grad_(), faces.to(where)
        drawn = rasterizer.rasterize(clip, triangles, SIZE)
        image = rasterizer.antialias(rasterizer.interpolate(values, drawn, triangles), drawn, clip, build_topology(triangles))
        image.square().sum().backward()
        results.append([tensor.detach().cpu() for tensor in (image, clip.grad, values.grad)])
    (image, of_clip, of_values), (other_image, other_of_clip, other_of_values) = results
    assert (image != image.round()).sum() > 50
    if backend.name == "nvdiffrast":
        assert abs(image.sum() - other_image.sum()) < 0.01 * image.sum()
        assert torch.nn.functional.cosine_similarity(of_clip.flatten(), other_of_clip.flatten(), dim=0) > 0.9
        return
    torch.testing.assert_close(other_image, image, rtol=0, atol=tolerance)
    torch.testing.assert_close(other_of_clip, of_clip, rtol=0, atol=tolerance * float(of_clip.abs().max()))
    torch.testing.assert_close(other_of_values, of_values, rtol=0, atol=tolerance * float(of_values.abs().max()))


def test_items_with_their_own_meshes(backend):
    dtype, device, tolerance = settings(backend)
    pieces = [sphere(1, (-0.1, 0.0, 1.0), 0.2, dtype), sphere(2, (0.1, 0.1, 0.8), 0.15, dtype)]
    points = torch.cat([piece[0] for piece in pieces])
    faces = torch.cat([pieces[0][1], pieces[1][1] + len(pieces[0][0])])
    ranges = torch.tensor([[0, len(pieces[0][1])], [len(pieces[0][1]), len(pieces[1][1])]])
    clip = clip_of(make_camera(*SIZE), points)
    expected = make_rasterizer("cpu").rasterize(clip, faces, SIZE, ranges=ranges).buffer
    found = backend.rasterize(clip.to(device), faces.to(device), SIZE, ranges=ranges).buffer.cpu()
    assert ((found - expected).abs() < tolerance).double().mean() > 0.99


@pytest.mark.parametrize("boundary", ["wrap", "clamp"])
def test_looks_textures_up_as_the_cpu_does(backend, boundary):
    dtype, device, tolerance = settings(backend)
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(1, 4, 8, 3, dtype=dtype, generator=generator)
    uv = torch.rand(2, 8, 8, 2, dtype=dtype, generator=generator) * 3 - 1
    results = []
    for rasterizer, where in ((make_rasterizer("cpu"), "cpu"), (backend, device)):
        texels, places = (tensor.to(where).detach().requires_grad_() for tensor in (texture, uv))
        image = rasterizer.texture(texels, places, boundary)
        image.square().sum().backward()
        results.append([tensor.detach().cpu() for tensor in (image, texels.grad, places.grad)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=tolerance * max(1.0, float(one.abs().max())))


@pytest.mark.parametrize("shape", [(1, 0, 4, 3), (3, 4, 4, 3)])
def test_refuses_textures_that_cannot_be_looked_up(backend, shape):
    dtype, device, _ = settings(backend)
    with pytest.raises(InputError, match="texture has shape"):
        backend.texture(torch.zeros(shape, dtype=dtype, device=device), torch.zeros(2, 8, 8, 2, dtype=dtype, device=device))


def test_refuses_what_cannot_be_drawn(backend):
    dtype, device, _ = settings(backend)
    vertices, faces = sphere(1, (0.0, 0.0, 1.0), 0.3, dtype)
    clip, faces = clip_of(make_camera(*SIZE), vertices)[None].to(device), faces.to(device)
    broken, wrong = clip.clone(), faces.clone()
    broken[0, 7, 1], wrong[3, 1] = torch.nan, 42
    for points, triangles, size, message in (
        (broken, faces, SIZE, "vertex 7"),
        (clip, wrong, SIZE, "triangle 3"),
        (clip, faces, (0, 64), "0 x 64"),
    ):
        with pytest.raises(InputError, match=message):
            backend.rasterize(points, triangles, size)
    assert (backend.rasterize(clip, faces[:0], SIZE).buffer == 0).all()


def test_refuses_attributes_and_drawings_that_do_not_go_together(backend):
    dtype, device, _ = settings(backend)
    vertices, faces = sphere(1, (0.0, 0.0, 1.0), 0.3, dtype)
    clip = clip_of(make_camera(*SIZE), vertices)[None]
    drawn = backend.rasterize(clip.to(device), faces.to(device), SIZE)
    for values in (vertices[:-1], vertices.expand(2, -1, -1)):
        with pytest.raises(InputError, match="attributes have shape"):
            backend.interpolate(values.to(device), drawn, faces.to(device))
    by_another = make_rasterizer("cpu").rasterize(clip, faces, SIZE)
    with pytest.raises(InputError, match="made by another backend"):
        backend.interpolate(vertices, by_another, faces)


def test_renders_the_same_scene(backend):
    dtype, device, _ = settings(backend)
    scene = two_objects(dtype=dtype, subdivisions=3)
    there = moved(scene, device)
    expected = MeshRenderer(make_rasterizer("cpu"))(scene, scene.camera)
    found = moved(MeshRenderer(backend)(there, there.camera), "cpu")
    tolerance = 1e-9 if backend.float64 else 1e-3
    for name in ("colour", "depth", "coverage", "normals"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=tolerance, atol=tolerance)
    assert torch.equal(found.object_ids, expected.object_ids)
