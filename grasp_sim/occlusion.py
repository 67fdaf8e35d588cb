"""What a camera could not see: the space behind the surfaces that it measured, where shapes are guessed and things may be missing."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from invgraphics.observation import Observation

_MARGIN = 0.005
"""Metres that a point must lie behind a measured surface to count as hidden by it; above the noise of depth cameras at arm's length."""


@dataclass(frozen=True)
class Occlusion:
    """One depth image, asked what it hides."""

    depth: Float[np.ndarray, "h w"]
    """Metres along the camera's z axis; 0 where the sensor gave none."""
    K: Float[np.ndarray, "3 3"]
    """Intrinsics, pixels."""
    T_camera_world: Float[np.ndarray, "4 4"]
    """Metres."""

    @staticmethod
    def of(observation: Observation) -> "Occlusion":
        """What an image hides, in the world frame of its camera."""
        camera = observation.camera
        depth = (observation.depth * observation.valid).detach().cpu().double().numpy()
        return Occlusion(depth, camera.K.detach().cpu().double().numpy(), camera.T_camera_world.detach().cpu().double().numpy())

    def hides(self, points: Float[np.ndarray, "*n 3"]) -> Bool[np.ndarray, "*n"]:
        """Which world points (m) lie behind something that was measured. What no pixel with a depth shows does not count as hidden."""
        local = points @ self.T_camera_world[:3, :3].T + self.T_camera_world[:3, 3]
        z = local[..., 2]
        ahead = z > _MARGIN
        pixels = np.rint(local[..., :2] / np.where(ahead, z, 1.0)[..., None] * self.K[[0, 1], [0, 1]] + self.K[:2, 2])
        height, width = self.depth.shape
        inside = ahead & (pixels >= 0).all(-1) & (pixels[..., 0] < width) & (pixels[..., 1] < height)
        column, row = np.where(inside[..., None], pixels, 0).astype(np.int64).transpose(-1, *range(points.ndim - 1))
        measured = self.depth[row, column]
        return inside & (measured > 0) & (z > measured + _MARGIN)
