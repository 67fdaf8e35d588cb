"""What lets meshes stand: flat undersides below the centre of mass."""

import math

import pytest
import torch

from invgraphics.geometry.mesh import icosphere
from optim.standing import find_centre_of_mass, lay_flat, measure_firmness, stands_on_plane


def ellipsoid(radii: tuple[float, float, float], centre: tuple[float, float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    vertices, faces = icosphere(4)
    return vertices.double() * torch.tensor(radii).double() + torch.tensor(centre).double(), faces


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    corners = torch.cartesian_prod(*(torch.tensor(pair, dtype=torch.float64) for pair in zip(low, high, strict=True)))
    faces = [
        [0, 1, 3],
        [0, 3, 2],
        [4, 6, 7],
        [4, 7, 5],
        [0, 4, 5],
        [0, 5, 1],
        [2, 3, 7],
        [2, 7, 6],
        [0, 2, 6],
        [0, 6, 4],
        [1, 5, 7],
        [1, 7, 3],
    ]
    return corners, torch.tensor(faces)


def test_the_centre_of_mass_is_that_of_the_volume_and_not_of_the_vertices():
    vertices, faces = box((1, 2, 3), (2, 4, 7))
    vertices = torch.cat([vertices, torch.tensor([[1.5, 3.0, 7.0]], dtype=torch.float64)])
    faces = torch.cat([faces[:-2], torch.tensor([[1, 5, 8], [5, 7, 8], [7, 3, 8], [3, 1, 8]])])
    assert find_centre_of_mass(vertices, faces).tolist() == pytest.approx([1.5, 3.0, 5.0])


def test_a_box_is_as_firm_as_half_its_base_over_the_height_of_its_centre():
    assert measure_firmness(*box((-0.02, -0.03, 0.0), (0.02, 0.03, 0.1))) == pytest.approx(math.atan2(0.02, 0.05))


def test_what_overhangs_falls():
    vertices, faces = box((-0.02, -0.03, 0.0), (0.02, 0.03, 0.1))
    leaning = vertices + torch.stack([0.9 * vertices[:, 2], 0 * vertices[:, 2], 0 * vertices[:, 2]], dim=1)
    assert measure_firmness(leaning, faces) == pytest.approx(math.atan2(-0.025, 0.05))


def test_nothing_stands_on_a_point():
    assert measure_firmness(*ellipsoid((0.03, 0.03, 0.03), (0, 0, 0.03))) == pytest.approx(-math.pi / 2)


def test_a_tall_round_bottom_is_laid_down_until_it_stands_firmly():
    vertices, faces = ellipsoid((0.04, 0.04, 0.1), (0, 0, 0.1))
    laid = lay_flat(vertices, faces, touches_others=False)
    assert measure_firmness(laid, faces) > 0.1
    moved = (laid - vertices).norm(dim=1)
    assert moved.max() < 0.01
    assert moved[vertices[:, 2] > 0.01].max() == 0


def test_a_flat_bottom_stays_where_it_is():
    vertices, faces = box((-0.02, -0.02, 0.0), (0.02, 0.02, 0.05))
    assert torch.equal(lay_flat(vertices, faces, touches_others=False), vertices)


def test_what_sinks_is_raised_onto_the_plane():
    vertices, faces = ellipsoid((0.03, 0.03, 0.03), (0, 0, 0.025))
    assert lay_flat(vertices, faces, touches_others=True)[:, 2].min() == 0


@pytest.mark.parametrize(
    ("gap", "touches", "stands"), [(0.005, True, True), (0.009, True, False), (0.009, False, True), (0.02, False, False)]
)
def test_what_hovers_a_little_over_the_plane_stands_on_it_unless_something_else_carries_it(gap: float, touches: bool, stands: bool):
    vertices, faces = ellipsoid((0.04, 0.04, 0.04), (0, 0, 0.04 + gap))
    assert stands_on_plane(vertices[:, 2], touches) is stands
    lowest = lay_flat(vertices, faces, touches)[:, 2].min()
    assert (lowest == 0) if stands else (lowest == vertices[:, 2].min())
