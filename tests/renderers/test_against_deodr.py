"""Silhouettes and their gradients against DEODR, which others wrote and which differentiates otherwise.

Both spread an edge over about a pixel. DEODR draws it onto the pixels outside, as a band of one pixel: its shapes reach half a pixel
further; here it is spread to both sides. So images differ by that half pixel along the outline (and nowhere else), and gradients in the
pixels that they sample. Found: gradients of all vertices have cosines of 0.973 to 0.994, their lengths ratios of 0.965 to 1.064.
"""

import pytest
import torch
from torch import Tensor

from renderers.rasterize import build_topology, make_rasterizer
from tests.renderers.deodr_scene import build_deodr_scene
from tests.renderers.rasterizer_scenes import clip_of, make_camera, sphere

pytest.importorskip("deodr")

SIZE = (96, 128)
CAMERA = make_camera(*SIZE, focal=110.0)


def make_points(subdivisions: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two spheres of different grey, one partly before the other, in camera coordinates."""
    front, faces = sphere(subdivisions, (0.06, 0.02, 0.9), 0.17)
    back, _ = sphere(subdivisions, (-0.08, -0.04, 1.4), 0.3)
    grey = torch.cat([torch.full((len(front), 1), 1.0), torch.full((len(back), 1), 0.4)]).double()
    return torch.cat([front, back]), torch.cat([faces, faces + len(front)]), grey


def weights() -> Tensor:
    """What each pixel counts: something smooth."""
    row, column = torch.meshgrid(*(torch.linspace(0.0, 3.0, side, dtype=torch.float64) for side in SIZE), indexing="ij")
    return (torch.sin(row) + torch.cos(1.3 * column) + 2.0)[..., None]


def draw_here(points: Tensor, faces: Tensor, grey: Tensor) -> tuple[Tensor, Tensor]:
    """The image, and the gradient of its weighted sum with respect to the vertices' pixels."""
    K = CAMERA.K
    focal, centre = torch.stack([K[0, 0], K[1, 1]]), K[:2, 2]
    pixels = (points[:, :2] / points[:, 2:] * focal + centre).requires_grad_()
    moved = torch.cat([(pixels - centre) / focal * points[:, 2:], points[:, 2:]], dim=1)
    rasterizer, clip = make_rasterizer("cpu"), clip_of(CAMERA, moved)[None]
    drawn = rasterizer.rasterize(clip, faces, SIZE)
    image = rasterizer.antialias(rasterizer.interpolate(grey, drawn, faces), drawn, clip, build_topology(faces))[0]
    (gradient,) = torch.autograd.grad((image * weights()).sum(), pixels)
    return image.detach(), gradient


def draw_there(points: Tensor, faces: Tensor, grey: Tensor) -> tuple[Tensor, Tensor]:
    scene = build_deodr_scene(points, faces, grey, CAMERA.K, SIZE)
    scene.clear_gradients()
    image = scene.render(1.0)[0]
    scene.render_backward(weights().numpy().copy())
    return torch.from_numpy(image.copy()).reshape(*SIZE, 1), torch.from_numpy(scene.ij_b.copy())


@pytest.mark.parametrize("subdivisions", [1, 2, 3])
def test_silhouettes_and_their_gradients_are_those_of_deodr(subdivisions):
    points, faces, grey = make_points(subdivisions)
    (ours, our_gradient), (theirs, their_gradient) = draw_here(points, faces, grey), draw_there(points, faces, grey)
    seen = torch.nn.functional.max_pool2d(ours[None, ..., 0], 5, 1, 2) == -torch.nn.functional.max_pool2d(-ours[None, ..., 0], 5, 1, 2)
    assert seen.double().mean() > 0.5
    assert (ours - theirs)[seen[0]].abs().max() < 1e-9
    front = torch.arange(len(points)) < len(points) // 2
    for chosen in (front, ~front):
        here, there = our_gradient[chosen], their_gradient[chosen]
        assert torch.nn.functional.cosine_similarity(here.flatten(), there.flatten(), dim=0) > 0.96
        assert float(here.norm() / there.norm()) == pytest.approx(1.0, abs=0.08)
        spread = points[chosen, :2] / points[chosen, 2:]
        spread = spread - spread.mean(0)
        assert float((here * spread).sum()) == pytest.approx(float((there * spread).sum()), rel=0.12), "as the shape grows"
