"""Depth with less noise: every reading becomes that of the plane through its like neighbours; slopes stay, and steps stay sharp."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from invgraphics.denoise_kernels import fit_local_planes
from invgraphics.observation import Observation

_RADIUS, _SPREAD = 13, 6.0
"""Neighbours that count, pixels."""
_COLOUR_SPREAD = 0.06
"""Of the square root of linear RGB, about what an eye calls another shade."""
_FIRST_SPREAD, _SECOND_SPREAD = 4.0, 2.0
"""Differences in depth between neighbours on one surface, in standard deviations of the noise: of single readings, of smoothed ones."""


def smooth_depth(observation: Observation, noise: float, where: Bool[Tensor, "h w"]) -> Observation:
    """The observation with its depth smoothed along surfaces at the pixels `where`.

    Planes are fitted in inverse depth, in which they are linear in pixels, to neighbours weighted by their distance, their likeness in
    colour and in depth (a bilateral filter of first order); twice, the second time trusting the first in what is alike in depth.

    Args:
        observation: with depth in metres.
        noise: standard deviation of its inverse depth, 1/m.
        where: pixels to smooth; the others are neighbours only.
    """
    valid, wanted = observation.valid.cpu().numpy(), (observation.valid & where.to(observation.valid.device)).cpu().numpy()
    inverse = np.where(valid, 1 / np.where(valid, observation.depth.double().cpu().numpy(), 1.0), 0.0)
    alike = np.sqrt(observation.colour.clamp(min=0).double().cpu().numpy()), valid, wanted, _RADIUS, _SPREAD, _COLOUR_SPREAD
    guide = fit_local_planes(inverse, inverse, *alike, _FIRST_SPREAD * noise)
    smooth = fit_local_planes(inverse, guide, *alike, _SECOND_SPREAD * noise)
    depth = np.where(valid, 1 / np.maximum(smooth, 1e-6), 0.0)
    return replace(observation, depth=torch.as_tensor(depth).to(observation.depth))
