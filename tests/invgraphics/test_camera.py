"""The pinhole camera: projection and back-projection undo each other, crops and resizing see the same points."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from invgraphics.camera import Camera, project
from invgraphics.transforms import rigid, so3_exp, transform_points
from tests.invgraphics.properties import quick


def make_camera(focal: float = 500.0, cx: float = 310.0, cy: float = 250.0, height: int = 480, width: int = 640) -> Camera:
    K = torch.tensor([[focal, 0.0, cx], [0.0, 1.1 * focal, cy], [0.0, 0.0, 1.0]], dtype=torch.float64)
    T_world_camera = rigid(
        so3_exp(torch.tensor([0.4, -2.0, 0.3], dtype=torch.float64)), torch.tensor([0.2, 0.1, -0.7], dtype=torch.float64)
    )
    return Camera(K, height, width, T_world_camera)


cameras = st.builds(make_camera, st.floats(50, 2000), st.floats(0, 60), st.floats(0, 40), st.integers(2, 40), st.integers(2, 60))


@quick
@given(cameras, st.integers(0, 10_000))
def test_every_pixel_comes_back_with_its_depth(camera: Camera, seed: int) -> None:
    depth = 0.2 + 3 * torch.rand(camera.height, camera.width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    world = transform_points(camera.T_world_camera, camera.unproject(depth).reshape(-1, 3))
    pixels, z = camera.project(world)
    v, u = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    torch.testing.assert_close(pixels, torch.stack([u, v], dim=-1).reshape(-1, 2).double(), atol=1e-8, rtol=0)
    torch.testing.assert_close(z, depth.reshape(-1))


@quick
@given(cameras, st.integers(-20, 20), st.integers(-20, 20))
def test_crop_shifts_pixels(camera: Camera, left: int, top: int) -> None:
    points = torch.tensor([[0.1, -0.2, 0.7], [0.3, 0.1, 2.0]], dtype=torch.float64)
    cropped = camera.crop(left, top, 12, 9)
    assert (cropped.width, cropped.height) == (12, 9)
    torch.testing.assert_close(project(cropped.K, points), project(camera.K, points) - torch.tensor([left, top]))


def test_resize_keeps_the_corners_of_the_image() -> None:
    """Pixel centres are at integers, so the image runs from -0.5 to size - 0.5 at every resolution."""
    camera, small = make_camera(), make_camera().resize(160, 96)
    for share_x, share_y in ((0.0, 0.0), (1.0, 0.0), (0.3, 0.8), (1.0, 1.0)):
        large_pixel = torch.tensor([share_x * 640 - 0.5, share_y * 480 - 0.5, 1.0], dtype=torch.float64)
        small_pixel = torch.tensor([share_x * 160 - 0.5, share_y * 96 - 0.5], dtype=torch.float64)
        ray = torch.linalg.inv(camera.K) @ large_pixel
        torch.testing.assert_close(project(small.K, ray[None])[0], small_pixel)


@quick
@given(st.floats(-0.5, 639.5), st.floats(-0.5, 479.5), st.floats(0.02, 50.0))
def test_clip_space_spans_the_image_and_the_depth_range(u: float, v: float, z: float) -> None:
    camera = make_camera()
    point = torch.linalg.inv(camera.K) @ torch.tensor([u, v, 1.0], dtype=torch.float64) * z
    clip = camera.clip_from_camera(0.02, 50.0) @ torch.cat([point, torch.ones(1, dtype=torch.float64)])
    x, y, depth = (clip[:3] / clip[3]).tolist()
    assert float(clip[3]) == pytest.approx(z)
    assert x == pytest.approx(2 * (u + 0.5) / 640 - 1, abs=1e-9)
    assert y == pytest.approx(2 * (v + 0.5) / 480 - 1, abs=1e-9)
    assert -1 - 1e-9 <= depth <= 1 + 1e-9


def test_another_dtype_is_a_new_camera() -> None:
    camera = make_camera()
    single = camera.to(dtype=torch.float32)
    assert single.K.dtype == single.T_world_camera.dtype == torch.float32
    assert camera.K.dtype == torch.float64
