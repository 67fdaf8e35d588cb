"""What a stereo depth camera would have made of a perfect depth image."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter


@dataclass(frozen=True)
class StereoNoise:
    """How a stereo depth camera errs."""

    focal_length: float = 600.0
    """Pixels."""
    baseline: float = 0.05
    """Metres, between its two eyes."""
    disparity_sigma: float = 0.06
    """Pixels; depth then errs by `z^2 / (focal_length baseline)` times this."""
    correlation: float = 1.5
    """Pixels over which the error is alike, for matching compares patches."""
    edge_step: float = 0.015
    """Depth difference to a neighbouring pixel that makes an edge, metres."""
    edge_dropout: float = 0.5
    """Share of the pixels at an edge that get no depth."""
    dropout: float = 0.002
    """Share of all other pixels that get none."""
    unit: float = 0.001
    """Metres that one count of the depth image stands for."""
    colour_sigma: float = 1.5
    """8-bit counts."""


def add_depth_noise(depth: Float[np.ndarray, "h w"], noise: StereoNoise, generator: np.random.Generator) -> UInt16[np.ndarray, "h w"]:
    """The depth image as such a camera stores it: counts of `noise.unit`, 0 where there is no reading. `depth` in metres, 0 = nothing."""
    blurred = gaussian_filter(generator.standard_normal(depth.shape), noise.correlation)
    disparity_error = blurred * noise.disparity_sigma / blurred.std()
    noisy = depth + depth**2 / (noise.focal_length * noise.baseline) * disparity_error
    chance = np.where(_edges(depth, noise.edge_step), noise.edge_dropout, noise.dropout)
    lost = (depth <= 0) | (generator.random(depth.shape) < chance)
    return np.where(lost, 0, np.round(noisy / noise.unit)).astype(np.uint16)


def see_as_stereo(depth: Float[np.ndarray, "h w"], generator: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """The depth image (m, 0 = nothing) as a stereo camera of the usual make sees it, in metres: a `Sensor` for `grasp_sim.clutter`."""
    noise = StereoNoise()
    return add_depth_noise(depth, noise, generator) * noise.unit


def add_colour_noise(colour: UInt8[np.ndarray, "h w 3"], noise: StereoNoise, generator: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """The colour image with the sensor's read noise."""
    noisy = colour + noise.colour_sigma * generator.standard_normal(colour.shape)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)


def _edges(depth: np.ndarray, step: float) -> Bool[np.ndarray, "h w"]:
    return maximum_filter(depth, size=3) - minimum_filter(depth, size=3) > step
