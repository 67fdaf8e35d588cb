"""How well a render agrees with the image that it explains; needs no truth."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from invgraphics.reconstruction import Reconstruction
from invgraphics.report.images import Image


@dataclass(frozen=True)
class Pictures:
    """Renders of a reconstruction, made by whoever has a renderer."""

    colour: Float[Tensor, "h w 3"]
    """Linear RGB, from the observation's camera."""
    depth: Float[Tensor, "h w"]
    """Metres along z, objects and plane; 0 where neither is."""
    object_ids: Int[Tensor, "h w"]
    """Index into `scene.objects`; negative where no object is seen."""
    sides: tuple[tuple[str, Image], ...]
    """The whole scene from around it: caption and picture."""
    objects: tuple[tuple[tuple[str, Image], ...], ...]
    """For each object of the scene the same of it alone."""
    spreads: tuple[tuple[tuple[str, Image], ...], ...] = ()
    """For each object of the scene, where shape samples were drawn, the same in the colours of their spread (`heat_colours`)."""
    spread_limit: float = 0.01
    """Spread, metres, at which those colours saturate."""


@dataclass(frozen=True)
class Fit:
    """Agreement of one object's render with its mask and with the measured depth."""

    silhouette_iou: float
    """Pixels in both the mask and the render over pixels in either, [0, 1]."""
    bias_mm: float
    """Median of rendered minus measured depth, millimetres; nan where no pixel has both."""
    spread_mm: float
    """Median of the absolute difference, millimetres."""


def measure_fit(reconstruction: Reconstruction, pictures: Pictures) -> tuple[Fit, ...]:
    """The fit of each object of the scene. Pixels where another object's mask lies hide the object and count neither way."""
    observation = reconstruction.observation
    error, known = compute_depth_error(reconstruction, pictures)
    fits = []
    for index, mask_index in enumerate(reconstruction.mask_indices):
        mask, rendered = observation.masks[mask_index], pictures.object_ids == index
        others = observation.masks.any(0) & ~mask
        both, either = (mask & rendered).sum(), ((mask | rendered) & ~others).sum()
        inside = 1e3 * error[known & mask & rendered]
        bias, spread = (float(values.median()) if len(inside) else float("nan") for values in (inside, inside.abs()))
        fits.append(Fit(float(both / either) if either > 0 else 0.0, bias, spread))
    return tuple(fits)


def compute_depth_error(reconstruction: Reconstruction, pictures: Pictures) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """Rendered minus measured depth in metres, and where both are known."""
    observation = reconstruction.observation
    known = observation.valid & (pictures.depth > 0)
    return torch.where(known, pictures.depth - observation.depth, torch.zeros_like(observation.depth)), known
