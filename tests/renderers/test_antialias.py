"""Silhouette coverage and its gradient, against exact areas."""

import math

import pytest
import torch
from torch import Tensor

from renderers.rasterize import build_topology, make_rasterizer
from tests.helpers import finite_difference
from tests.renderers.rasterizer_scenes import clip_of, make_camera, sphere


def coverage(clip: Tensor, faces: Tensor, size: tuple[int, int]) -> Tensor:
    rasterizer = make_rasterizer("cpu")
    drawn = rasterizer.rasterize(clip, faces, size)
    mask = (drawn.triangle_ids >= 0).to(clip.dtype)[..., None]
    return rasterizer.antialias(mask, drawn, clip, build_topology(faces))[..., 0]


def polygon_area(pixels: Tensor) -> Tensor:
    following = pixels.roll(-1, 0)
    return (pixels[:, 0] * following[:, 1] - pixels[:, 1] * following[:, 0]).sum().abs() / 2


def clip_from_pixels(pixels: Tensor, size: tuple[int, int], w: Tensor) -> Tensor:
    ndc = (pixels + 0.5) * 2 / torch.tensor([size[1], size[0]], dtype=pixels.dtype) - 1
    return torch.cat([ndc * w, torch.zeros_like(w), w], dim=-1)


@pytest.mark.parametrize("angle", [0.0, 0.3, 0.9, 1.7, 2.9])
def test_covered_area_and_its_gradient_are_those_of_the_polygon(angle):
    size = (100, 120)
    corner_angles = angle + torch.arange(5, dtype=torch.float64) * 2 * math.pi / 5
    pixels = torch.stack([60.3 + 40.7 * corner_angles.cos(), 49.1 + 40.7 * corner_angles.sin()], dim=-1).requires_grad_()
    w = torch.tensor([[1.0], [2.0], [0.7], [1.3], [1.9]], dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 4]])
    area = coverage(clip_from_pixels(pixels, size, w)[None], faces, size).sum()
    expected = polygon_area(pixels)
    assert abs(area - expected) < 1.5
    gradient, expected_gradient = torch.autograd.grad(area, pixels)[0], torch.autograd.grad(expected, pixels)[0]
    assert (gradient - expected_gradient).norm() < 0.02 * expected_gradient.norm()


def test_gradient_of_the_blend_is_that_of_finite_differences():
    size = (20, 24)
    pixels = torch.tensor([[4.3, 3.1], [19.2, 6.4], [9.7, 16.8]], dtype=torch.float64)
    w = torch.tensor([[1.0], [2.0], [0.7]], dtype=torch.float64)
    clip = clip_from_pixels(pixels, size, w)[None]
    faces = torch.tensor([[0, 1, 2]])
    topology = build_topology(faces)
    rasterizer = make_rasterizer("cpu")
    drawn = rasterizer.rasterize(clip, faces, size)
    image = torch.rand(1, *size, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def blended(image, clip):
        return rasterizer.antialias(image, drawn, clip, topology)

    assert torch.autograd.gradcheck(blended, (image, clip.requires_grad_()))


@pytest.mark.parametrize("subdivisions", [2, 3, 5])
def test_silhouette_gradient_holds_for_triangles_smaller_than_pixels(subdivisions):
    camera = make_camera(64, 64, 80.0)
    vertices, faces = sphere(subdivisions, (0.0, 0.0, 1.0), 0.25)

    def area(radius: Tensor) -> Tensor:
        points = torch.tensor([0.01, -0.02, 1.0], dtype=torch.float64) + radius * (vertices - torch.tensor([0.0, 0.0, 1.0])) / 0.25
        return coverage(clip_of(camera, points)[None], faces, (64, 64)).sum()

    radius = torch.tensor(0.25, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(area(radius), radius)
    expected = finite_difference(area, radius.detach(), step=0.02)
    assert abs(gradient - expected) < 0.02 * expected


def test_hidden_and_interior_edges_do_not_blend():
    camera = make_camera(64, 64, 80.0)
    front, faces = sphere(3, (0.0, 0.0, 0.8), 0.25)
    back, _ = sphere(3, (0.0, 0.0, 1.5), 0.2)
    rasterizer = make_rasterizer("cpu")
    both = torch.cat([faces, faces + len(front)])
    image = torch.rand(1, 64, 64, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    clip, alone = clip_of(camera, torch.cat([front, back]))[None], clip_of(camera, front)[None]
    blended = rasterizer.antialias(image, rasterizer.rasterize(clip, both, (64, 64)), clip, build_topology(both))
    drawn = rasterizer.rasterize(alone, faces, (64, 64))
    assert torch.equal(blended, rasterizer.antialias(image, drawn, alone, build_topology(faces)))
    shown = drawn.triangle_ids[0] >= 0
    inside = -torch.nn.functional.max_pool2d(-shown[None, None].double(), 5, 1, 2)[0, 0] > 0
    assert inside.sum() > 500
    assert torch.equal(blended[0, inside], image[0, inside])


def test_an_object_in_front_of_another_pulls_on_its_own_silhouette():
    camera = make_camera(64, 64, 80.0)
    front, faces = sphere(2, (0.05, 0.0, 0.8), 0.1)
    back, _ = sphere(2, (0.0, 0.0, 1.5), 0.4)
    rasterizer = make_rasterizer("cpu")
    both = torch.cat([faces, faces + len(front)])
    topology = build_topology(both)
    points = torch.cat([front, back])
    is_front = torch.cat([torch.ones(len(front), 1), torch.zeros(len(back), 1)]).double()

    def front_area(shift: Tensor) -> Tensor:
        moved = torch.cat([front * torch.cat([shift, shift, shift.new_ones(1)]), back])
        clip = clip_of(camera, moved)[None]
        drawn = rasterizer.rasterize(clip, both, (64, 64))
        return rasterizer.antialias(rasterizer.interpolate(is_front, drawn, both), drawn, clip, topology).sum()

    assert len(points) == len(is_front)
    stretch = torch.ones(1, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(front_area(stretch), stretch)
    expected = finite_difference(front_area, stretch.detach(), step=0.05)
    torch.testing.assert_close(gradient, expected, rtol=0.04, atol=0.0)


def test_same_bits_with_any_number_of_threads():
    camera = make_camera(120, 160, 150.0, torch.float32)
    vertices, faces = sphere(5, (0.05, 0.0, 0.8), 0.2, torch.float32)
    topology = build_topology(faces)
    image = torch.rand(1, 120, 160, 3, generator=torch.Generator().manual_seed(0))
    results = []
    for threads in (1, 2, 4):
        rasterizer = make_rasterizer("cpu", threads=threads)
        clip = clip_of(camera, vertices)[None].requires_grad_()
        blended = rasterizer.antialias(image, rasterizer.rasterize(clip, faces, (120, 160)), clip, topology)
        blended.sin().sum().backward()
        results.append((blended, clip.grad))
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_topology_of_open_closed_and_branching_meshes():
    _, closed = sphere(1, (0.0, 0.0, 1.0), 0.3)
    topology = build_topology(closed)
    assert len(topology.edges) == 3 * len(closed) // 2
    assert (topology.starts.diff() == 2).all()
    assert (topology.components == 0).all()
    book = torch.tensor([[0, 1, 2], [0, 1, 3], [0, 1, 4], [5, 6, 7]])
    topology = build_topology(book)
    assert topology.edges[0].tolist() == [0, 1]
    assert sorted(topology.opposite[: topology.starts[1]].tolist()) == [2, 3, 4]
    assert topology.components[:3].unique().numel() == 1
    assert topology.components[3] != topology.components[0]


def test_topology_of_a_hub_and_of_triangles_that_disagree():
    spokes = 60
    rim = torch.arange(1, spokes + 1)
    fan = torch.stack([torch.zeros_like(rim), rim, rim.roll(-1)], dim=1)
    fan[7] = fan[7].flip(0)
    topology = build_topology(fan)
    assert len(topology.edges) == 2 * spokes
    assert topology.edges[:spokes].tolist() == [[0, k] for k in range(1, spokes + 1)]
    for edge, (start, stop) in zip(topology.edges.tolist(), topology.starts.unfold(0, 2, 1).tolist(), strict=True):
        for slot in range(start, stop):
            corners = fan[topology.edge_faces[slot]].tolist()
            follows = corners[(corners.index(edge[0]) + 1) % 3] == edge[1]
            assert topology.directions[slot] == (1 if follows else -1)
            assert set(corners) == {*edge, int(topology.opposite[slot])}
