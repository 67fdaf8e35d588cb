"""A simulation as an animated picture."""

from pathlib import Path

import cv2
import numpy as np

from grasp_sim.world import World
from invgraphics.camera import Camera
from invgraphics.demo.table import LIGHTING

_QUALITY = 60
"""Of the WebP frames, in percent."""


class Film:
    """Pictures of a world at even times. Call `step` after every time step."""

    def __init__(self, world: World, camera: Camera, *, seconds: float = 0.25):
        """A picture every `seconds` of simulated time."""
        self._world, self._camera, self._seconds = world, camera, seconds
        self._next = world.time
        self.frames: list[np.ndarray] = []
        """(h, w, 3) uint8 sRGB each."""

    def step(self) -> None:
        """Takes a picture if it is time for one."""
        if self._world.time >= self._next - 1e-9:
            self._next = self._world.time + self._seconds
            self.frames.append(self._world.render(self._camera, lighting=LIGHTING).colour)


def encode_film(frames: list[np.ndarray], seconds: float) -> bytes:
    """Frames, each shown for `seconds`, as an animated WebP that plays for ever."""
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]
    animation.durations = np.full(len(frames), round(1000 * seconds), dtype=np.int32)
    _, content = cv2.imencodeanimation(".webp", animation, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    return content.tobytes()


def save_film(frames: list[np.ndarray], seconds: float, path: Path) -> None:
    """The same to a file."""
    path.write_bytes(encode_film(frames, seconds))


def scale_camera(camera: Camera, scale: float) -> Camera:
    """The same view in pictures `scale` times as wide and high."""
    K = camera.K.clone()
    K[:2] *= scale
    K[:2, 2] += 0.5 * (scale - 1)
    return Camera(K, round(camera.height * scale), round(camera.width * scale), camera.T_world_camera)
