"""Symmetries of objects: the motions of an object's own frame after which nobody could tell that it has moved."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.transforms import rigid, so3_exp

LARGEST_STEP = 0.01
"""How far the outermost point moves between two of the turns that stand for a continuous symmetry, as a share of the diameter (BOP)."""


@dataclass(frozen=True)
class RotationalSymmetry:
    """Any turn about an axis leaves the object as it is."""

    axis: Float[Tensor, "3"]
    """Direction in the object's frame, of any length but 0."""
    offset: Float[Tensor, "3"]
    """A point on the axis, metres, object frame."""


def build_symmetries(
    discrete: Float[Tensor, "d 4 4"], continuous: Sequence[RotationalSymmetry] = (), largest_step: float = LARGEST_STEP
) -> Float[Tensor, "s 4 4"]:
    """Every motion `T_object_object` of an object's symmetries, the identity first; float64.

    Args:
        discrete: single motions, metres, without the identity.
        continuous: axes about which the object may turn by any angle; each is replaced by equal turns.
        largest_step: see `LARGEST_STEP`. A half turn moves the outermost point by at most pi/2 diameters, so pi / largest_step turns do.
    """
    single = torch.cat([torch.eye(4, dtype=torch.float64)[None], discrete.double()])
    if not continuous:
        return single
    turns = torch.cat([_discretize(symmetry, largest_step) for symmetry in continuous])
    return (turns[:, None] @ single[None]).transpose(0, 1).reshape(-1, 4, 4)


def _discretize(symmetry: RotationalSymmetry, largest_step: float) -> Float[Tensor, "t 4 4"]:
    count = int(torch.ceil(torch.tensor(torch.pi / largest_step)))
    angles = torch.arange(count, dtype=torch.float64) * (2 * torch.pi / count)
    axis, offset = torch.nn.functional.normalize(symmetry.axis.double(), dim=0), symmetry.offset.double()
    rotations = so3_exp(angles[:, None] * axis)
    return rigid(rotations, offset - rotations @ offset)
