"""The support plane z = 0 of the world, seen from above, by analytic ray casting."""

import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.camera import Camera

LEAST_FALL = 1e-3
"""Rays that fall less than this (metres per metre of depth) miss the plane: they meet it at the horizon, where nothing is told apart."""


def compute_plane_depth(camera: Camera, rays: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Depth in metres along the camera's z at which rays (camera frame, scaled to z = 1) meet the plane; 0 where they miss it.

    From below, and from the plane itself, nothing of it is seen.
    """
    fall = -(rays @ camera.T_world_camera[2, :3])
    height = camera.T_world_camera[2, 3]
    meets = (fall > LEAST_FALL) & (height > 0)
    return torch.where(meets, height / torch.where(meets, fall, 1.0), 0.0)
