"""How well a reconstruction agrees with its image and with itself; none of it needs a truth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from invgraphics.geometry.distances import find_inside, find_nearest_faces
from invgraphics.geometry.mesh import Mesh, srgb_from_linear
from invgraphics.observation import Observation


@dataclass(frozen=True)
class ImageAgreement:
    """One object's render beside what the image shows of it."""

    depth_mm: float
    """Mean absolute difference of rendered and measured depth, millimetres, over the pixels of the mask that were measured and where the
    render shows the object; nan where there are none."""
    silhouette_iou: float
    """Pixels in both the mask and the render over pixels in either, percent; pixels of other masks hide the object and do not count."""
    colour_psnr_db: float
    """Peak signal-to-noise ratio of the rendered colour, 8-bit-style sRGB in [0, 1], over the mask's pixels where the render shows the
    object, decibels; nan where there are none."""


def measure_agreement(
    observation: Observation,
    mask_indices: Sequence[int],
    colour: Float[Tensor, "h w 3"],
    depth: Float[Tensor, "h w"],
    object_ids: Int[Tensor, "h w"],
) -> list[ImageAgreement]:
    """The agreement of each object of a scene with the image.

    Args:
        observation: the image.
        mask_indices: for each object the index of its mask.
        colour: rendered linear RGB from the observation's camera.
        depth: rendered metres along z.
        object_ids: which object each pixel of the render shows, by its place in `mask_indices`; negative where none.
    """
    anything = observation.masks.any(0)
    difference = (srgb_from_linear(colour) - srgb_from_linear(observation.colour)) ** 2
    rows = []
    for index, mask_index in enumerate(mask_indices):
        mask, rendered = observation.masks[mask_index], object_ids == index
        both = mask & rendered
        either = (mask | rendered) & ~(anything & ~mask)
        measured = both & observation.valid
        residual = float((depth - observation.depth)[measured].abs().mean()) if measured.any() else math.nan
        iou = 100 * float(both.sum() / either.sum()) if either.any() else 0.0
        rows.append(ImageAgreement(1e3 * residual, iou, _signal_to_noise(difference, both)))
    return rows


def _signal_to_noise(squared: Float[Tensor, "h w 3"], pixels: Bool[Tensor, "h w"]) -> float:
    if not pixels.any():
        return math.nan
    return -10 * math.log10(max(float(squared[pixels].mean()), 1e-10))


def measure_penetration(meshes: Sequence[Mesh]) -> list[float]:
    """For each closed mesh (all in one frame) how deep it and another reach into one another, at the deepest, metres; 0 where apart.

    The depth of a vertex inside another mesh is its distance to that mesh's surface.
    """
    deepest = [0.0] * len(meshes)
    for first in range(len(meshes)):
        for second in range(first):
            depth = max(_reach_into(meshes[first], meshes[second]), _reach_into(meshes[second], meshes[first]))
            deepest[first], deepest[second] = max(deepest[first], depth), max(deepest[second], depth)
    return deepest


def _reach_into(mesh: Mesh, other: Mesh) -> float:
    """Greatest depth, metres, of the mesh's vertices below the other's surface."""
    low, high = other.vertices.min(0).values, other.vertices.max(0).values
    near = mesh.vertices[((mesh.vertices >= low) & (mesh.vertices <= high)).all(-1)]
    inside = near[find_inside(near, other.vertices, other.faces)] if len(near) else near
    return float(find_nearest_faces(inside, other.vertices, other.faces)[0].max()) if len(inside) else 0.0


def measure_sinking(mesh: Mesh) -> float:
    """How far a mesh (world frame) reaches below the support plane z = 0, metres; 0 where it does not."""
    return max(0.0, -float(mesh.vertices[:, 2].min()))
