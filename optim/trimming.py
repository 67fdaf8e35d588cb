"""Masks less what they show of the table: a mask a few pixels too wide would make the table around an object a part of it."""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from invgraphics.datasets.checks import MIN_VALID_DEPTH_PIXELS
from invgraphics.observation import Observation
from invgraphics.transforms import transform_points

_BORDER_PIXELS = 10.0
"""How far from its border a mask may be wrong. Deeper inside, a low place belongs to the object: the bottom of a plate."""
_LOW = (0.004, 0.008)
"""Height over the plane, metres, below which a point is taken for the plane: at least, and at most where depth is noisy."""
_NOISE_LEVELS = 2.0
_TALL = 4.0
"""Only objects so many times as high are trimmed: a card or a spoon is as low as the plane's noise."""
_LEAST_SHARE = 0.5
"""A mask that would lose more is left alone: its object is not where the others are, or the plane is not where it seems."""


def trim_masks(observation: Observation) -> Observation:
    """The observation, its camera placed over the support plane z = 0, with masks that leave out the plane near their borders."""
    cloud = observation.camera.unproject(observation.depth).reshape(-1, 3)
    height = transform_points(observation.camera.T_world_camera, cloud)[:, 2].reshape(observation.depth.shape)
    limit = _find_limit(height[observation.valid & ~observation.masks.any(0)])
    masks = [_trim(mask, height, observation.valid, limit) for mask in observation.masks]
    return observation.with_masks(torch.stack(masks), observation.object_names)


def _trim(mask: Bool[Tensor, "h w"], height: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"], limit: float) -> Bool[Tensor, "h w"]:
    measured = mask & valid
    if not measured.any() or float(height[measured].quantile(0.9)) < _TALL * limit:
        return mask
    padded = np.pad(mask.cpu().numpy().astype(np.uint8), 1)
    inward = torch.from_numpy(cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]).to(mask.device)
    trimmed = mask & ~(valid & (height < limit) & (inward <= _BORDER_PIXELS))
    enough = trimmed.sum() >= _LEAST_SHARE * mask.sum() and (trimmed & valid).sum() >= MIN_VALID_DEPTH_PIXELS
    return trimmed if enough else mask


def _find_limit(heights: Float[Tensor, " n"]) -> float:
    """Height below which a point may be the plane, from the scatter of what lies about it."""
    near = heights[heights.abs() < 2 * _LOW[1]]
    deviation = 1.4826 * float(near.abs().median()) if len(near) else 0.0
    return min(max(_LOW[0], _NOISE_LEVELS * deviation), _LOW[1])
