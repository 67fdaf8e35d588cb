"""Geometry that several rasterizer tests draw."""

import torch
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.mesh import icosphere


def make_camera(height: int = 48, width: int = 64, focal: float = 60.0, dtype: torch.dtype = torch.float64) -> Camera:
    K = torch.tensor([[focal, 0.0, (width - 1) / 2 + 0.3], [0.0, focal * 1.1, (height - 1) / 2 - 0.2], [0.0, 0.0, 1.0]], dtype=dtype)
    return Camera(K, height, width, torch.eye(4, dtype=dtype))


def clip_of(camera: Camera, points: Tensor) -> Tensor:
    return torch.cat([points, torch.ones_like(points[..., :1])], dim=-1) @ camera.clip_from_camera().to(points).T


def triangle_soup(count: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Triangles of all sizes around 1 m in front of the camera; a few reach behind it."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 1, 3, generator=generator, dtype=dtype) * torch.tensor([1.4, 1.0, 1.6], dtype=dtype)
    centres = centres + torch.tensor([-0.7, -0.5, 0.1], dtype=dtype)
    sizes = 10 ** (torch.rand(count, 1, 1, generator=generator, dtype=dtype) * 2 - 2)
    corners = centres + sizes * torch.randn(count, 3, 3, generator=generator, dtype=dtype)
    return corners.reshape(-1, 3), torch.arange(3 * count).reshape(-1, 3)


def sphere(
    subdivisions: int, centre: tuple[float, float, float], radius: float, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    vertices, faces = icosphere(subdivisions)
    return vertices.to(dtype) * radius + torch.tensor(centre, dtype=dtype), faces
