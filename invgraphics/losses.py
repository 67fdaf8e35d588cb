"""Terms of losses, unreduced: a value for each pixel, vertex or object. The caller masks, weighs and reduces."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def charbonnier(residuals: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`sqrt(1 + r^2) - 1`: half the square of small residuals, the absolute value of large ones less one; smooth."""
    return (1 + residuals**2).sqrt() - 1


def compare_colours(colour: Float[Tensor, "*shape 3"], observed: Float[Tensor, "*shape 3"], scale: float = 0.05) -> Float[Tensor, "*shape"]:
    """Robust difference of linear colours in units of `scale`, summed over channels."""
    return charbonnier((colour - observed) / scale).sum(-1)


def compare_depths(
    depth: Float[Tensor, "*shape"],
    measured: Float[Tensor, "*shape"],
    valid: Bool[Tensor, "*shape"],
    scale: Float[Tensor, "*#shape"] | float,
) -> Float[Tensor, "*shape"]:
    """Robust difference of depths in units of `scale` (metres, the noise); 0, and no gradient, where `valid` is false."""
    difference = torch.where(valid, depth - measured, 0.0)
    return charbonnier(difference / scale)


def compare_silhouettes(
    coverage: Float[Tensor, "*shape"], share: Float[Tensor, "*shape"], informative: Bool[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Squared difference of coverage and the share that the mask covers; 0 where the mask says nothing (an object in front, no image)."""
    return torch.where(informative, coverage - share, 0.0) ** 2


def penetrate_plane(heights: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Depth below the support plane in metres of points at given heights over it; 0 above."""
    return (-heights).clamp(min=0)


def miss_contact(heights: Float[Tensor, "*n v"], band: float = 2e-3) -> Float[Tensor, "*n"]:
    """Distance in metres between the support plane and each object's lowest vertices; 0 for objects that stand on it.

    `heights` of the vertices over the plane, metres. The minimum is softened over about `band` metres (a Boltzmann mean), so that all
    vertices that nearly touch share the gradient.
    """
    weights = torch.softmax(-heights / band, dim=-1)
    return (weights * heights).sum(-1).abs()


def bend(vertices: Float[Tensor, "v 3"], laplacian: Float[Tensor, "v v"]) -> Float[Tensor, " v"]:
    """Squared length (m^2) of each vertex's difference from the mean of its neighbours (see `mesh.uniform_laplacian`, sparse or dense)."""
    return ((laplacian @ vertices) ** 2).sum(-1)
