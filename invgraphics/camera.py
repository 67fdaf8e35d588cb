"""The pinhole camera: projection, back-projection, crops and rescaling.

Camera frame: OpenCV (x right, y down, z forward). Pixel centres lie at integer coordinates, so the image covers
`[-0.5, width - 0.5] x [-0.5, height - 0.5]`.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.transforms import invert, transform_points


@dataclass(frozen=True)
class Camera:
    """An undistorted pinhole camera."""

    K: Float[Tensor, "3 3"]
    """Intrinsics in pixels; zero skew."""
    height: int
    """Image height in pixels."""
    width: int
    """Image width in pixels."""
    T_world_camera: Float[Tensor, "4 4"]
    """Camera pose: camera coordinates to world coordinates, metres."""

    @property
    def T_camera_world(self) -> Float[Tensor, "4 4"]:
        """World coordinates to camera coordinates, metres."""
        return invert(self.T_world_camera)

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> "Camera":
        """The same camera with tensors of another dtype or on another device."""
        return replace(self, K=self.K.to(dtype=dtype, device=device), T_world_camera=self.T_world_camera.to(dtype=dtype, device=device))

    def project(self, points_world: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
        """Pixels (u, v) and depth along z in metres of world points. Points at or behind the camera give non-finite or mirrored pixels."""
        points = transform_points(self.T_camera_world, points_world)
        return project(self.K, points), points[:, 2]

    def unproject(self, depth: Float[Tensor, "h w"]) -> Float[Tensor, "h w 3"]:
        """Camera-frame point of every pixel of a depth image (metres along z)."""
        return self.rays() * depth[..., None]

    def rays(self) -> Float[Tensor, "h w 3"]:
        """Direction through every pixel centre in the camera frame, scaled to z = 1."""
        v, u = torch.meshgrid(
            torch.arange(self.height, dtype=self.K.dtype, device=self.K.device),
            torch.arange(self.width, dtype=self.K.dtype, device=self.K.device),
            indexing="ij",
        )
        x = (u - self.K[0, 2]) / self.K[0, 0]
        y = (v - self.K[1, 2]) / self.K[1, 1]
        return torch.stack([x, y, torch.ones_like(x)], dim=-1)

    def crop(self, left: int, top: int, width: int, height: int) -> "Camera":
        """The camera of the sub-image whose first pixel is (left, top). It may reach outside the image."""
        shift = torch.zeros_like(self.K)
        shift[0, 2], shift[1, 2] = left, top
        return replace(self, K=self.K - shift, width=width, height=height)

    def resize(self, width: int, height: int) -> "Camera":
        """The camera of the same view sampled on another pixel grid."""
        sx, sy = width / self.width, height / self.height
        scale = self.K.new_tensor([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5], [0.0, 0.0, 1.0]])
        return replace(self, K=scale @ self.K, width=width, height=height)

    def clip_from_camera(self, near: float = 0.01, far: float = 100.0) -> Float[Tensor, "4 4"]:
        """Projection from the camera frame to homogeneous clip space, as the rasterizers take it.

        Clip x and y in [-w, w] span the image, y growing with the row (row 0 is y = -1); z in [-w, w] spans
        [near, far] metres; w is the depth along z in metres.
        """
        sx, sy = 2.0 / self.width, 2.0 / self.height
        K = self.K
        zero, one = torch.zeros_like(K[0, 0]), torch.ones_like(K[0, 0])
        a, b = (far + near) / (far - near), -2.0 * far * near / (far - near)
        rows = [
            torch.stack([sx * K[0, 0], zero, sx * (K[0, 2] + 0.5) - 1.0, zero]),
            torch.stack([zero, sy * K[1, 1], sy * (K[1, 2] + 0.5) - 1.0, zero]),
            torch.stack([zero, zero, a * one, b * one]),
            torch.stack([zero, zero, one, zero]),
        ]
        return torch.stack(rows)


def project(K: Float[Tensor, "3 3"], points_camera: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 2"]:
    """Pixels (u, v) of camera-frame points."""
    xy = points_camera[..., :2] / points_camera[..., 2:]
    return xy * torch.stack([K[0, 0], K[1, 1]]) + K[:2, 2]
