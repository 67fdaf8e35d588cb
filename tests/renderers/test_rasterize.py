"""The CPU rasterizer's drawing against ray casting, and its gradients against finite differences."""

import pytest
import torch
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.errors import InputError
from renderers.rasterize import Rasterized, make_rasterizer
from tests.renderers.rasterizer_scenes import clip_of, make_camera, sphere, triangle_soup

NEAR = 0.01


def cast_rays(camera: Camera, vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(h, w) nearest triangle or -1, its depth, and how far the ray keeps from any triangle's outline (in weights), by solving
    [corner0 corner1 corner2] weights = ray for every pixel and triangle."""
    inverse = torch.linalg.inv(vertices[faces].transpose(1, 2))
    weights = torch.einsum("fij,hwj->hwfi", inverse, camera.rays())
    total = weights.sum(-1)
    depth = 1 / total
    relative = weights / total[..., None]
    hit = (relative >= 0).all(-1) & (depth >= NEAR)
    nearest = torch.where(hit, depth, torch.inf).min(-1)
    clearance = torch.where(total[..., None] > 0, relative, torch.inf).abs().flatten(2).min(-1).values
    return torch.where(hit.any(-1), nearest.indices, -1), nearest.values, clearance


@pytest.mark.parametrize("seed", range(4))
def test_draws_what_ray_casting_sees(seed):
    camera = make_camera()
    vertices, faces = triangle_soup(60, seed)
    drawn = make_rasterizer("cpu").rasterize(clip_of(camera, vertices)[None], faces, (camera.height, camera.width))
    expected, depth, clearance = cast_rays(camera, vertices, faces)
    sure = clearance > 1e-9
    assert sure.double().mean() > 0.99
    assert (expected >= 0).double().mean() > 0.3
    assert torch.equal(drawn.triangle_ids[0][sure], expected[sure])
    covered = sure & (expected >= 0)
    u, v, zw = drawn.buffer[0, covered, :3].unbind(-1)
    corners = vertices[faces[expected[covered]]]
    points = u[:, None] * corners[:, 0] + v[:, None] * corners[:, 1] + (1 - u - v)[:, None] * corners[:, 2]
    torch.testing.assert_close(points, camera.rays()[covered] * depth[covered, None], rtol=1e-9, atol=1e-9)
    row = camera.clip_from_camera()[2]
    torch.testing.assert_close(zw, (row[2] * depth[covered] + row[3]) / depth[covered], rtol=1e-9, atol=1e-9)


def test_adjacent_triangles_leave_no_crack():
    generator = torch.Generator().manual_seed(5)
    grid = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 40), torch.linspace(-1, 1, 40), indexing="ij"), dim=-1).reshape(-1, 2)
    inner = (grid.abs() < 0.99).all(-1, keepdim=True)
    xy = (grid + inner * 0.02 * torch.randn(grid.shape, generator=generator)) * 1.01
    clip = torch.cat([xy, torch.zeros_like(xy[:, :1]), torch.ones_like(xy[:, :1])], dim=-1)
    corner = (torch.arange(39)[:, None] * 40 + torch.arange(39)).reshape(-1)
    faces = torch.cat([torch.stack([corner, corner + 1, corner + 40], 1), torch.stack([corner + 41, corner + 40, corner + 1], 1)])
    drawn = make_rasterizer("cpu").rasterize(clip[None], faces, (333, 257))
    assert (drawn.triangle_ids >= 0).all()


def test_lower_index_wins_at_equal_depth():
    clip = torch.tensor([[[-1.0, -1.0, 0.0, 1.0], [3.0, -1.0, 0.0, 1.0], [-1.0, 3.0, 0.0, 1.0]]])
    drawn = make_rasterizer("cpu").rasterize(clip, torch.tensor([[1, 2, 0], [0, 1, 2]]), (8, 8))
    assert (drawn.triangle_ids == 0).all()


def test_culls_back_faces_only_when_asked():
    camera = make_camera()
    vertices, faces = sphere(2, (0.0, 0.0, 1.0), 0.3)
    rasterizer = make_rasterizer("cpu")
    clip = clip_of(camera, vertices)[None]
    drawn, culled = (rasterizer.rasterize(clip, faces, (48, 64), cull_back_faces=cull) for cull in (False, True))
    assert torch.equal(drawn.buffer, culled.buffer)
    inside_out = faces.flip(1)
    culled = rasterizer.rasterize(clip, inside_out, (48, 64), cull_back_faces=True)
    far_side = culled.triangle_ids[culled.triangle_ids >= 0]
    assert (vertices[faces[far_side]].mean(1)[:, 2] > 0.9).all()


def _same(a: Rasterized, b: Rasterized) -> bool:
    return torch.equal(a.buffer, b.buffer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_bits_with_any_number_of_threads(dtype):
    camera = make_camera(240, 320, 250.0, dtype)
    soups = [triangle_soup(9000, seed, dtype)[0] for seed in (0, 1)]
    faces = triangle_soup(9000, 0)[1]
    attributes = torch.randn(len(soups[0]), 5, dtype=dtype, generator=torch.Generator().manual_seed(3))
    results = []
    for threads in (1, 2, 5):
        rasterizer = make_rasterizer("cpu", threads=threads)
        clip = clip_of(camera, torch.stack(soups)).requires_grad_()
        values = attributes.clone().requires_grad_()
        drawn = rasterizer.rasterize(clip, faces, (camera.height, camera.width))
        image = rasterizer.interpolate(values, drawn, faces)
        (image.sin().sum() + drawn.buffer[..., :3].cos().sum()).backward()
        results.append((drawn.buffer, image, clip.grad, values.grad))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_items_with_their_own_meshes_equal_single_drawings():
    camera = make_camera()
    pieces = [sphere(1, (-0.1, 0.0, 1.0), 0.2), sphere(2, (0.1, 0.1, 0.8), 0.15)]
    shift = len(pieces[0][0])
    vertices = torch.cat([piece[0] for piece in pieces])
    faces = torch.cat([pieces[0][1], pieces[1][1] + shift])
    counts = [len(piece[1]) for piece in pieces]
    rasterizer = make_rasterizer("cpu")
    clip = clip_of(camera, vertices).requires_grad_()
    values = vertices.clone().requires_grad_()
    drawn = rasterizer.rasterize(clip, faces, (48, 64), ranges=torch.tensor([[0, counts[0]], [counts[0], counts[1]]]))
    image = rasterizer.interpolate(values, drawn, faces)
    image.square().sum().backward()
    start = 0
    for item, (points, own_faces) in enumerate(pieces):
        own_clip, own_values = clip_of(camera, points)[None].requires_grad_(), points.clone().requires_grad_()
        own = rasterizer.rasterize(own_clip, own_faces, (48, 64))
        own_image = rasterizer.interpolate(own_values, own, own_faces)
        own_image.square().sum().backward()
        torch.testing.assert_close(image[item], own_image[0])
        torch.testing.assert_close(clip.grad[start : start + len(points)], own_clip.grad[0])
        torch.testing.assert_close(values.grad[start : start + len(points)], own_values.grad)
        start += len(points)


def test_gradient_of_weights_and_depth():
    camera = make_camera(12, 16, 14.0)
    vertices, faces = triangle_soup(20, 4)
    rasterizer = make_rasterizer("cpu")
    clip = clip_of(camera, vertices)[None].requires_grad_()
    drawn = rasterizer.rasterize(clip, faces, (12, 16))
    assert len(drawn.triangle_ids.unique()) > 4
    settled = _away_from_outlines(rasterizer, clip.detach(), faces, (12, 16))

    def buffer(clip):
        return rasterizer.rasterize(clip, faces, (12, 16)).buffer[settled][:, :3]

    assert torch.autograd.gradcheck(buffer, clip, eps=1e-7, atol=1e-6)


def _away_from_outlines(rasterizer, clip: Tensor, faces: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels that show the same triangle for small changes of the vertices."""
    generator = torch.Generator().manual_seed(9)
    ids = [
        rasterizer.rasterize(clip + 1e-4 * torch.randn(clip.shape, generator=generator, dtype=clip.dtype), faces, size).triangle_ids
        for _ in range(20)
    ]
    stacked = torch.stack(ids)
    return (stacked == stacked[0]).all(0) & (stacked[0] >= 0)


@pytest.mark.parametrize("shared", [True, False])
def test_gradient_of_interpolation(shared):
    camera = make_camera(5, 7, 7.0)
    vertices, faces = triangle_soup(12, 4)
    rasterizer = make_rasterizer("cpu")
    clip = clip_of(camera, torch.stack([vertices, vertices.flip(0)]))
    drawn = rasterizer.rasterize(clip, faces, (5, 7))
    assert len(drawn.triangle_ids.unique()) > 4
    shape = (len(vertices), 3) if shared else (2, len(vertices), 3)
    attributes = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = drawn.buffer.clone().requires_grad_()

    def interpolate(attributes, weights):
        same = Rasterized(weights, None, drawn.private)
        return rasterizer.interpolate(attributes, same, faces), rasterizer.interpolate_covered(attributes, same, faces)[2]

    assert torch.autograd.gradcheck(interpolate, (attributes, weights))
    image = rasterizer.interpolate(attributes, drawn, faces)
    pixels, triangles, values = rasterizer.interpolate_covered(attributes, drawn, faces)
    assert torch.equal(drawn.triangle_ids.reshape(-1)[pixels], triangles)
    assert torch.equal(pixels.sort().values, (drawn.triangle_ids.reshape(-1) >= 0).nonzero()[:, 0])
    assert torch.equal(image.reshape(-1, 3)[pixels], values)


@pytest.mark.parametrize("boundary", ["wrap", "clamp"])
def test_texture_look_up_and_its_gradient(boundary):
    generator = torch.Generator().manual_seed(0)
    rasterizer = make_rasterizer("cpu")
    texture = torch.rand(1, 4, 5, 2, dtype=torch.float64, generator=generator).requires_grad_()
    centres = torch.stack(torch.meshgrid((torch.arange(5) + 0.5) / 5, (torch.arange(4) + 0.5) / 4, indexing="xy"), dim=-1).double()
    torch.testing.assert_close(rasterizer.texture(texture, centres[None], boundary), texture)
    halfway = torch.tensor([[[[0.0, 0.125]]]], dtype=torch.float64)
    outside = texture[0, 0, 0] if boundary == "clamp" else (texture[0, 0, 0] + texture[0, 0, 4]) / 2
    torch.testing.assert_close(rasterizer.texture(texture, halfway, boundary)[0, 0, 0], outside)
    uv = (torch.rand(2, 3, 4, 2, dtype=torch.float64, generator=generator) * 3 - 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda *inputs: rasterizer.texture(*inputs, boundary), (texture, uv))


def test_nothing_in_view_gives_an_empty_image():
    camera = make_camera()
    vertices, faces = sphere(1, (0.0, 0.0, -1.0), 0.3)
    rasterizer = make_rasterizer("cpu")
    for points in (vertices, vertices * 0.0, vertices + torch.tensor([50.0, 0.0, 3.0])):
        clip = clip_of(camera, points)[None].requires_grad_()
        drawn = rasterizer.rasterize(clip, faces, (48, 64))
        assert (drawn.buffer == 0).all()
        drawn.buffer.sum().backward()
        assert (clip.grad == 0).all()
    no_faces = rasterizer.rasterize(clip_of(camera, vertices)[None], faces[:0], (48, 64))
    assert (no_faces.buffer == 0).all()
    assert rasterizer.rasterize(clip_of(camera, vertices)[None][:0], faces, (48, 64)).buffer.shape == (0, 48, 64, 4)


def test_camera_inside_a_mesh_sees_its_inner_side_everywhere():
    camera = make_camera()
    vertices, faces = sphere(2, (0.02, -0.01, 0.03), 0.5)
    drawn = make_rasterizer("cpu").rasterize(clip_of(camera, vertices)[None], faces, (48, 64))
    assert (drawn.triangle_ids >= 0).all()
    assert torch.isfinite(drawn.buffer).all()


def test_bad_input_is_named():
    rasterizer = make_rasterizer("cpu")
    vertices, faces = sphere(1, (0.0, 0.0, 1.0), 0.3)
    clip = clip_of(make_camera(), vertices)[None]
    broken = clip.clone()
    broken[0, 7, 1] = torch.nan
    with pytest.raises(InputError, match="vertex 7"):
        rasterizer.rasterize(broken, faces, (48, 64))
    wrong = faces.clone()
    wrong[3, 1] = 42
    with pytest.raises(InputError, match=r"triangle 3 .* there are 42 vertices"):
        rasterizer.rasterize(clip, wrong, (48, 64))
    with pytest.raises(InputError, match="0 x 64"):
        rasterizer.rasterize(clip, faces, (0, 64))
    with pytest.raises(InputError, match="ranges"):
        rasterizer.rasterize(clip[0], faces, (48, 64), ranges=torch.tensor([[60, 40]]))
    with pytest.raises(InputError, match="attributes"):
        rasterizer.interpolate(vertices[:5], rasterizer.rasterize(clip, faces, (48, 64)), faces)
    with pytest.raises(InputError, match="choose one of"):
        make_rasterizer("metal")


def test_a_million_triangles_in_one_image():
    side = 708
    x, y = torch.meshgrid(torch.linspace(-0.4, 0.4, side), torch.linspace(-0.3, 0.3, side), indexing="xy")
    vertices = torch.stack([x, y, 1 + 0.3 * x - 0.2 * y], dim=-1).reshape(-1, 3)
    corner = (torch.arange(side - 1)[:, None] * side + torch.arange(side - 1)).reshape(-1)
    faces = torch.cat([torch.stack([corner, corner + 1, corner + side], 1), torch.stack([corner + side + 1, corner + side, corner + 1], 1)])
    camera = make_camera(120, 160, 150.0, torch.float32)
    rasterizer = make_rasterizer("cpu")
    clip = clip_of(camera, vertices)[None].requires_grad_()
    drawn = rasterizer.rasterize(clip, faces, (120, 160))
    points = rasterizer.interpolate(vertices, drawn, faces)[0]
    seen = drawn.triangle_ids[0] >= 0
    assert len(faces) > 999_000
    assert seen.double().mean() > 0.4
    rays = camera.rays()
    expected = rays / (rays @ torch.tensor([-0.3, 0.2, 1.0]))[..., None]
    torch.testing.assert_close(points[seen], expected[seen], rtol=1e-5, atol=1e-5)
    points.sum().backward()
    assert torch.isfinite(clip.grad).all()
    assert clip.grad.any()
