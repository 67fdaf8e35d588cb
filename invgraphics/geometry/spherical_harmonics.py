"""Real spherical harmonics of bands 0 to 2, in which ambient light is written down."""

import torch
from jaxtyping import Float
from torch import Tensor

CONSTANT = 0.282095
"""The harmonic of band 0, the same in all directions."""


def evaluate_spherical_harmonics(directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 9"]:
    """Real spherical harmonics of bands 0 to 2 at unit directions, in the order of `AmbientLight.sh` (no Condon-Shortley phase)."""
    x, y, z = directions.unbind(-1)
    columns = [
        torch.full_like(x, CONSTANT),
        0.488603 * y,
        0.488603 * z,
        0.488603 * x,
        1.092548 * x * y,
        1.092548 * y * z,
        0.315392 * (3 * z * z - 1),
        1.092548 * x * z,
        0.546274 * (x * x - y * y),
    ]
    return torch.stack(columns, dim=-1)


def mean_radiance(coefficients: Float[Tensor, "9 3"]) -> Float[Tensor, "3"]:
    """Mean over all directions of the radiance that the coefficients stand for, at least 0."""
    return (CONSTANT * coefficients[0]).clamp(min=0)
