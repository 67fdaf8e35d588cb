"""Shapes and scenes that the physics tests share."""

import numpy as np
import torch
import trimesh
from jaxtyping import Float

from grasp_sim.solids import PlacedSolid, build_solid
from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, mesh_from_trimesh


def make_box(x: float, y: float, z: float) -> Mesh:
    """A box about the origin, edge lengths in metres."""
    return mesh_from_trimesh(trimesh.creation.box((x, y, z)))


def make_bowl(radius: float = 0.06, wall: float = 0.004) -> Mesh:
    """Half a hollow sphere, open above, its rim at z = 0."""
    angle = np.linspace(0, np.pi / 2, 24)
    outer = np.stack([radius * np.sin(angle), -radius * np.cos(angle)], axis=1)
    inner = np.stack([(radius - wall) * np.sin(angle[::-1]), -(radius - wall) * np.cos(angle[::-1])], axis=1)
    profile = np.concatenate([outer, inner])
    bowl = trimesh.creation.revolve(profile, sections=48)
    bowl.merge_vertices()
    if bowl.volume < 0:
        bowl.invert()
    return mesh_from_trimesh(bowl)


def place(mesh: Mesh, x: float = 0.0, y: float = 0.0, name: str = "thing") -> PlacedSolid:
    """The mesh's solid standing on the plane z = 0."""
    T_world_body = translation(x, y, -float(mesh.vertices[:, 2].min()))
    return PlacedSolid(build_solid(mesh), T_world_body, name)


def translation(x: float, y: float, z: float) -> Float[np.ndarray, "4 4"]:
    """A pose without rotation, metres."""
    T = np.eye(4)
    T[:3, 3] = x, y, z
    return T


def look_at(
    eye: tuple[float, float, float], target: tuple[float, float, float], K: Float[torch.Tensor, "3 3"], size: tuple[int, int]
) -> Camera:
    """A camera at `eye` (m, world) that sees `target` at its principal point, upright; `size` is (height, width)."""
    forward = np.subtract(target, eye)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right = right / np.linalg.norm(right)
    T = np.eye(4)
    T[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    T[:3, 3] = eye
    return Camera(K, size[0], size[1], torch.tensor(T))
