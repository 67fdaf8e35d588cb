"""Depth images of simple solids on a table, for tests of reconstruction."""

import numpy as np
import torch
import trimesh

from invgraphics.camera import Camera
from invgraphics.observation import Observation
from invgraphics.transforms import transform_points
from renderers.rasterize import make_rasterizer

FOCAL, WIDTH, HEIGHT = 300.0, 160, 120


def look_at(eye: tuple[float, float, float], target: tuple[float, float, float]) -> torch.Tensor:
    """Camera pose (4, 4) at `eye` that looks at `target`, world z up."""
    forward = np.subtract(target, eye)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = eye
    return torch.as_tensor(pose, dtype=torch.float32)


def photograph(solids: list[trimesh.Trimesh], noise: float = 0.0, eye: tuple[float, float, float] = (0.0, -0.32, 0.28)) -> Observation:
    """Exact or noisy depth, masks and grey colours of solids that stand on the table z = 0; the camera is placed in the world."""
    K = torch.tensor([[FOCAL, 0.0, WIDTH / 2 - 0.5], [0.0, FOCAL, HEIGHT / 2 - 0.5], [0.0, 0.0, 1.0]])
    camera = Camera(K, HEIGHT, WIDTH, look_at(eye, (0.0, 0.0, 0.02)))
    pose = camera.T_world_camera.double()
    descent = camera.rays().double() @ pose[2, :3]
    depth = torch.where(descent < 0, -pose[2, 3] / descent.clamp(max=-1e-9), torch.inf)
    owner = torch.full(depth.shape, -1)
    for index, solid in enumerate(solids):
        own_depth = _draw_depth(solid, camera)
        nearer = own_depth < depth
        depth, owner = torch.where(nearer, own_depth, depth), torch.where(nearer, index, owner)
    generator = np.random.default_rng(0)
    noisy = (depth + noise * torch.as_tensor(generator.standard_normal(depth.shape))).float()
    valid = torch.isfinite(noisy)
    masks = owner[None] == torch.arange(len(solids))[:, None, None]
    colour = torch.full((HEIGHT, WIDTH, 3), 0.3)
    for index, mask in enumerate(masks):
        colour[mask] = torch.tensor([0.2 + 0.2 * index, 0.5, 0.1])
    names = tuple(f"object_{index:02d}" for index in range(len(solids)))
    return Observation(colour, torch.where(valid, noisy, 0.0), valid, masks, camera, "made", names)


def _draw_depth(solid: trimesh.Trimesh, camera: Camera) -> torch.Tensor:
    """(h, w) float64 depth of a solid, infinite beside it."""
    vertices, faces = torch.as_tensor(np.array(solid.vertices)), torch.as_tensor(np.array(solid.faces))
    in_camera = transform_points(camera.T_camera_world.double(), vertices)
    clip = torch.nn.functional.pad(in_camera, (0, 1), value=1.0) @ camera.to(dtype=torch.float64).clip_from_camera().T
    rasterizer = make_rasterizer("cpu")
    rasterized = rasterizer.rasterize(clip[None], faces, (camera.height, camera.width))
    depth = rasterizer.interpolate(in_camera[None, :, 2:], rasterized, faces)[0, ..., 0]
    return torch.where(rasterized.triangle_ids[0] >= 0, depth, torch.inf)


def box(size: tuple[float, float, float], x: float = 0.0, y: float = 0.0, turn: float = 0.0) -> trimesh.Trimesh:
    """A box that stands on the table, turned about the vertical by `turn` radians."""
    solid = trimesh.creation.box(size)
    solid.apply_transform(trimesh.transformations.rotation_matrix(turn, [0, 0, 1]))
    solid.apply_translation([x, y, size[2] / 2])
    return solid


def ball(radius: float, x: float = 0.0, y: float = 0.0) -> trimesh.Trimesh:
    """A sphere that stands on the table."""
    solid = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    solid.apply_translation([x, y, radius])
    return solid


def bowl(radius: float = 0.05, wall: float = 0.005) -> trimesh.Trimesh:
    """A hemispherical bowl, open upwards, that stands on the table."""
    angle = np.linspace(0, np.pi / 2, 24)
    outer = np.stack([radius * np.sin(angle), radius - radius * np.cos(angle)], axis=1)
    inner = np.stack([(radius - wall) * np.sin(angle), radius - (radius - wall) * np.cos(angle)], axis=1)[::-1]
    solid = trimesh.creation.revolve(np.concatenate([outer, inner]), sections=48)
    if solid.volume < 0:
        solid.invert()
    return solid
