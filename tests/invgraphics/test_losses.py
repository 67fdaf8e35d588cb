"""Terms of losses at points where their value is known, and where they must be silent."""

import pytest
import torch

from invgraphics.geometry.mesh import icosphere, uniform_laplacian
from invgraphics.losses import (
    bend,
    charbonnier,
    compare_colours,
    compare_depths,
    compare_silhouettes,
    miss_contact,
    penetrate_plane,
)


def test_charbonnier_is_quadratic_near_zero_and_linear_far_away() -> None:
    residuals = torch.tensor([1e-3, -1e-3, 1e4], dtype=torch.float64)
    torch.testing.assert_close(charbonnier(residuals), torch.tensor([5e-7, 5e-7, 1e4 - 1], dtype=torch.float64), rtol=1e-4, atol=0)


def test_terms_are_not_reduced() -> None:
    image = torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(0))
    assert compare_colours(image, image).shape == (4, 5)
    assert compare_colours(image, image).abs().max() == 0
    assert compare_colours(image, image + 0.05)[0, 0] == pytest.approx(3 * (2**0.5 - 1), rel=1e-3)


def test_depth_says_nothing_where_there_is_none() -> None:
    depth = torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64, requires_grad=True)
    measured = torch.tensor([0.0, 0.51, float("nan")], dtype=torch.float64)
    loss = compare_depths(depth, measured, torch.tensor([False, True, False]), 0.01)
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), torch.tensor([0.0, 2**0.5 - 1, 0.0], dtype=torch.float64))
    assert depth.grad[0] == 0
    assert depth.grad[1] < 0
    assert depth.grad[2] == 0


def test_silhouette_says_nothing_where_it_is_hidden() -> None:
    coverage = torch.tensor([0.2, 0.2, 0.2])
    loss = compare_silhouettes(coverage, torch.tensor([1.0, 0.5, 0.0]), torch.tensor([True, True, False]))
    torch.testing.assert_close(loss, torch.tensor([0.64, 0.09, 0.0]))


def test_plane_terms() -> None:
    torch.testing.assert_close(penetrate_plane(torch.tensor([-0.02, 0.0, 0.03])), torch.tensor([0.02, 0.0, 0.0]))
    heights = torch.tensor([[0.0, 0.05, 0.1], [0.03, 0.08, 0.13], [-0.02, 0.03, 0.08]], dtype=torch.float64)
    torch.testing.assert_close(miss_contact(heights), torch.tensor([0.0, 0.03, 0.02], dtype=torch.float64), atol=1e-4, rtol=0)


def test_contact_pulls_an_object_down_and_pushes_it_up() -> None:
    for lowest, sign in ((0.03, 1), (-0.03, -1)):
        shift = torch.tensor(lowest, dtype=torch.float64, requires_grad=True)
        miss_contact((torch.tensor([0.0, 0.05, 0.1], dtype=torch.float64) + shift)[None]).sum().backward()
        assert float(shift.grad) == pytest.approx(sign, abs=1e-6)


@pytest.mark.parametrize("dense", [True, False])
def test_bend_of_a_flat_patch_is_zero_inside_and_of_a_spike_is_not(dense: bool) -> None:
    vertices, faces = icosphere(2)
    laplacian = uniform_laplacian(faces, len(vertices), torch.float32)
    laplacian = laplacian.to_dense() if dense else laplacian
    smooth = bend(vertices, laplacian)
    spiked = vertices.clone()
    spiked[5] *= 1.3
    rough = bend(spiked, laplacian)
    assert rough.argmax() == 5
    assert rough[5] > 10 * smooth.max()
    torch.testing.assert_close(bend(vertices + 3.0, laplacian), smooth, atol=1e-5, rtol=0)
