"""Images of ellipsoids on a table, drawn by plain root finding, with sensor noise: truth for the ellipsoid stages."""

import numpy as np
import torch
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.observation import Observation
from invgraphics.transforms import rigid, so3_exp

HEIGHT, WIDTH, FOCAL = 240, 320, 300.0


def look_down(height: float = 0.5, back: float = 0.5) -> Tensor:
    """Camera pose that looks at the origin from `height` over the plane and `back` behind it."""
    eye = np.array([0.0, -back, height])
    z = -eye / np.linalg.norm(eye)
    x = np.array([1.0, 0.0, 0.0])
    return rigid(torch.from_numpy(np.stack([x, np.cross(z, x), z], axis=1)), torch.from_numpy(eye)).float()


def pose(x: float, y: float, z: float, turn: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Tensor:
    return rigid(so3_exp(torch.tensor(turn)), torch.tensor([x, y, z]))


def photograph(poses: list[Tensor], radii: list[list[float]], seed: int = 0, noise: float = 1.0, outliers: float = 0.0) -> Observation:
    """Depth and masks of ellipsoids over the plane z = 0; `noise` times 1.5 mm, a share of `outliers` up to 10 cm behind."""
    T_world_camera = look_down()
    K = torch.tensor([[FOCAL, 0.0, WIDTH / 2], [0.0, FOCAL, HEIGHT / 2], [0.0, 0.0, 1.0]])
    camera = Camera(K, HEIGHT, WIDTH, T_world_camera)
    directions = camera.rays().numpy().astype(np.float64) @ T_world_camera[:3, :3].numpy().T.astype(np.float64)
    eye = T_world_camera[:3, 3].numpy().astype(np.float64)
    depth, owner = -eye[2] / directions[..., 2], np.full((HEIGHT, WIDTH), -1)
    for index, (T_world_object, sizes) in enumerate(zip(poses, radii, strict=True)):
        R, c = T_world_object[:3, :3].numpy().astype(np.float64), T_world_object[:3, 3].numpy().astype(np.float64)
        o, d = (eye - c) @ R / np.array(sizes), directions @ R / np.array(sizes)
        a, b, e = (d * d).sum(-1), (d * o).sum(-1), o @ o - 1
        discriminant = b * b - a * e
        t = np.where(discriminant > 0, (-b - np.sqrt(np.maximum(discriminant, 0))) / a, np.inf)
        nearer = (t > 0) & (t < depth)
        depth, owner = np.where(nearer, t, depth), np.where(nearer, index, owner)
    rng = np.random.default_rng(seed)
    depth = depth + 0.0015 * noise * rng.standard_normal(depth.shape)
    depth = depth + (rng.random(depth.shape) < outliers) * 0.1 * rng.random(depth.shape)
    masks = torch.from_numpy(np.stack([owner == k for k in range(len(poses))]))
    valid = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    observation = Observation(torch.zeros(HEIGHT, WIDTH, 3), torch.from_numpy(depth).float(), valid, masks, camera, "synthetic")
    return observation.with_masks(masks)
