"""A made-up tabletop whose depth is computed by hand: a textured plane, balls on it, and optionally a wall behind or a bin around."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch

from invgraphics.camera import Camera
from invgraphics.observation import Observation

HEIGHT, WIDTH = 120, 160
K = np.array([[150.0, 0.0, 79.5], [0.0, 150.0, 59.5], [0.0, 0.0, 1.0]])
BALL_COLOURS = ((200, 60, 50), (50, 90, 200), (230, 200, 60))


@dataclass(frozen=True)
class Tabletop:
    """What is seen, in the camera frame, metres."""

    tilt_degrees: float = 40.0
    """Of the camera from horizontal, downwards."""
    distance: float = 0.6
    """Along the optical axis to the table."""
    balls: tuple[tuple[float, float, float], ...] = ((-0.10, 0.0, 0.04), (0.08, 0.03, 0.05))
    """x, y on the table (from where the axis meets it), radius."""
    wall: float | None = None
    """Distance of an upright wall behind that point."""
    noise: float = 0.001
    """Standard deviation of the depth at 0.6 m, growing with its square."""
    seed: int = 0
    normal: np.ndarray = field(init=False)
    offset: float = field(init=False)

    def __post_init__(self):
        tilt = np.radians(self.tilt_degrees)
        normal = np.array([0.0, -np.cos(tilt), -np.sin(tilt)])
        object.__setattr__(self, "normal", normal)
        object.__setattr__(self, "offset", float(normal[2] * self.distance))

    def render(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(h, w, 3) uint8 RGB, (h, w) depth in metres with noise, (h, w) uint8 ids (0 table and wall, 1.. balls)."""
        v, u = np.mgrid[:HEIGHT, :WIDTH]
        rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], axis=-1)
        with np.errstate(divide="ignore"):
            depth = self.offset / (rays @ self.normal)
        depth[depth <= 0] = np.inf
        if self.wall is not None:
            back = np.cross([1.0, 0.0, 0.0], self.normal)
            back *= np.sign(back[2])
            to_wall = (back[2] * self.distance + self.wall) / (rays @ back)
            depth = np.minimum(depth, np.where(to_wall > 0, to_wall, np.inf))
        ids = np.zeros(u.shape, np.uint8)
        for number, centre, radius in self._place_balls():
            along, squared = rays @ centre, (rays**2).sum(-1)
            discriminant = along**2 - squared * (centre @ centre - radius**2)
            near = (along - np.sqrt(np.maximum(discriminant, 0))) / squared
            hit = (discriminant > 0) & (near < depth)
            depth[hit], ids[hit] = near[hit], number
        generator = np.random.default_rng(self.seed)
        depth[depth > 3] = 0
        noisy = depth + generator.normal(size=depth.shape) * self.noise * (depth / 0.6) ** 2
        colours = np.array([(120, 110, 100), *BALL_COLOURS])
        rgb = np.clip(colours[ids] + generator.normal(size=(*ids.shape, 3)) * 6, 0, 255).astype(np.uint8)
        return rgb, np.where(depth > 0, noisy, 0), ids

    def _place_balls(self):
        x, y = np.array([1.0, 0.0, 0.0]), np.cross(self.normal, [1.0, 0.0, 0.0])
        foot = np.array([0.0, 0.0, self.distance])
        for number, (along, across, radius) in enumerate(self.balls, start=1):
            yield number, foot + along * x + across * y + radius * self.normal, radius

    def observe(self, with_masks: bool = True) -> Observation:
        rgb, depth, ids = self.render()
        masks = np.stack([ids == k for k in range(1, len(self.balls) + 1)]) if with_masks else np.zeros((0, *ids.shape), bool)
        camera = Camera(torch.tensor(K, dtype=torch.float32), HEIGHT, WIDTH, torch.eye(4))
        colour = torch.tensor((rgb / 255.0) ** 2.2, dtype=torch.float32)
        observation = Observation(
            colour, torch.tensor(depth, dtype=torch.float32), torch.tensor(depth > 0), torch.zeros(0, HEIGHT, WIDTH) > 0, camera, "tabletop"
        )
        return observation.with_masks(torch.tensor(masks))


def find_box(mask: np.ndarray) -> list[float]:
    """x0, y0, x1, y1 of a mask in pixels."""
    v, u = np.nonzero(mask)
    return [float(u.min()), float(v.min()), float(u.max() + 1), float(v.max() + 1)]


def write_frame(folder: Path, scene: Tabletop | None = None, masks: bool = True) -> Path:
    """Writes a frame folder in the project's format."""
    rgb, depth, ids = (scene or Tabletop()).render()
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "rgb.png"), rgb[..., ::-1])
    cv2.imwrite(str(folder / "depth.png"), np.round(depth * 10_000).astype(np.uint16))
    if masks:
        cv2.imwrite(str(folder / "mask.png"), ids)
    (folder / "camera.json").write_text(json.dumps({"K": K.tolist(), "width": WIDTH, "height": HEIGHT, "depth_scale_m": 0.0001}))
    return folder
