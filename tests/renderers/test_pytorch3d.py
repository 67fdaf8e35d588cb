"""What is PyTorch3D's own: cutting at the near plane, image shapes, and the rules in which it differs. `test_backends.py` has the rest."""

import pytest
import torch

from invgraphics.errors import MissingDependencyError
from renderers.rasterize import Rasterizer, make_rasterizer
from renderers.rasterize.pytorch3d import cut_at_near_plane
from tests.renderers.rasterizer_scenes import clip_of, make_camera, triangle_soup


@pytest.fixture(scope="module")
def pytorch3d() -> Rasterizer:
    try:
        return make_rasterizer("pytorch3d")
    except MissingDependencyError as missing:
        pytest.skip(str(missing))


def test_pieces_are_what_lies_in_front_of_the_plane():
    generator = torch.Generator().manual_seed(0)
    heights = torch.randn(200, 3, dtype=torch.float64, generator=generator)
    pieces, weights = cut_at_near_plane(heights)
    assert (pieces.diff() >= 0).all()
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(weights), 3, dtype=torch.float64))
    assert (weights @ heights[pieces][..., None]).min() > -1e-12
    inside = heights > 0
    expected = torch.tensor([0, 1, 2, 1])[inside.sum(1)]
    assert torch.equal(torch.bincount(pieces, minlength=200), expected)
    # Determinants of weights are areas as shares of the whole triangle's, and keep its orientation.
    area = torch.zeros(200, dtype=torch.float64).index_add(0, pieces, torch.linalg.det(weights))
    assert torch.linalg.det(weights).min() > 0
    samples = -torch.rand(20000, 3, dtype=torch.float64, generator=generator).log()
    in_front = (samples @ heights.T > 0).double().mean(0)
    assert (area - in_front).abs().max() < 0.02


@pytest.mark.parametrize("size", [(40, 40), (52, 31), (31, 52)])
def test_square_tall_and_wide_images(pytorch3d, size):
    points, faces = triangle_soup(60, seed=4, dtype=torch.float32)
    clip = clip_of(make_camera(*size, focal=40.0, dtype=torch.float32), points)[None]
    expected, found = (rasterizer.rasterize(clip, faces, size).buffer for rasterizer in (make_rasterizer("cpu"), pytorch3d))
    same = expected[..., 3] == found[..., 3]
    assert (expected[..., 3] > 0).float().mean() > 0.3
    assert same.float().mean() > 0.995
    assert (expected - found)[same].abs().max() < 2e-3


def test_edges_through_pixel_centres_and_tiny_triangles_stay_empty(pytorch3d):
    size = (8, 8)
    square = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    clip = torch.cat([square, torch.zeros(4, 1), torch.ones(4, 1)], dim=1)[None]
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    missed = pytorch3d.rasterize(clip, faces, size).triangle_ids[0] < 0
    assert torch.equal(missed, torch.eye(8, dtype=torch.bool))
    assert (make_rasterizer("cpu").rasterize(clip, faces, size).triangle_ids >= 0).all()
    around_a_centre = torch.tensor([[[0.125 - 5e-5, 0.125 - 5e-5], [0.125 + 5e-5, 0.125 - 5e-5], [0.125, 0.125 + 5e-5]]])
    tiny = torch.cat([around_a_centre, torch.zeros(1, 3, 1), torch.ones(1, 3, 1)], dim=2)
    assert (pytorch3d.rasterize(tiny, faces[:1], size).triangle_ids < 0).all()
    assert (make_rasterizer("cpu").rasterize(tiny, faces[:1], size).triangle_ids >= 0).sum() == 1
