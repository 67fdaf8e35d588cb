"""Constrained quantities as free tensors that any optimizer may move: one bijection a kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.geometry.mesh import uniform_laplacian
from invgraphics.scene import Material, PhongMaterial, SurfaceMaterial
from invgraphics.transforms import so3_exp, so3_log


@runtime_checkable
class Bijection(Protocol):
    """A smooth one-to-one map between the values of a quantity and free tensors."""

    def to_free(self, value: Tensor) -> Tensor:
        """The free tensor of a value."""

    def from_free(self, free: Tensor) -> Tensor:
        """The value of a free tensor; differentiable."""


@dataclass(frozen=True)
class Scaled:
    """Any real number, in a unit that makes a step of one reasonable."""

    unit: float = 1.0

    def to_free(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """In units."""
        return value / self.unit

    def from_free(self, free: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """From units."""
        return free * self.unit


@dataclass(frozen=True)
class Positive:
    """Positive numbers by their logarithm."""

    def to_free(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Logarithm. Raises ValueError for what is not positive."""
        if not bool((value > 0).all()):
            raise ValueError(f"values must be positive; the least is {float(value.min()):g}")
        return value.log()

    def from_free(self, free: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Exponential."""
        return free.exp()


@dataclass(frozen=True)
class Interval:
    """Numbers between two bounds by the logit of where they stand between them; the unit interval unless told otherwise."""

    low: float = 0.0
    high: float = 1.0
    margin: float = 1e-4
    """Values nearer to a bound than this share of the interval start at this distance, where the map still has a slope."""

    def to_free(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Logit. Raises ValueError outside the interval."""
        if not bool(((value >= self.low) & (value <= self.high)).all()):
            raise ValueError(
                f"values must lie in [{self.low:g}, {self.high:g}]; they span [{float(value.min()):g}, {float(value.max()):g}]"
            )
        return torch.logit((value - self.low) / (self.high - self.low), eps=self.margin)

    def from_free(self, free: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Logistic function."""
        return self.low + (self.high - self.low) * torch.sigmoid(free)


@dataclass(frozen=True)
class RotationAbout:
    """Rotations by the axis-angle vector (radians) that turns from a base rotation to them, about the body's axes."""

    base: Float[Tensor, "*n 3 3"]

    def to_free(self, value: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 3"]:
        """Logarithm of the turn from the base."""
        return so3_log(self.base.transpose(-1, -2) @ value)

    def from_free(self, free: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3 3"]:
        """The base, turned."""
        return self.base @ so3_exp(free)


@dataclass(frozen=True)
class Diffused:
    """Vertex positions `v` by `(I + strength L) v`, L the graph Laplacian: a gradient step in it moves a neighbourhood, not a vertex.

    Nicolet, Jacobson and Jakob, Large steps in inverse rendering of geometry (SIGGRAPH Asia 2021). The matrix is inverted once, densely:
    meant for cages and meshes of up to a few thousand vertices.
    """

    matrix: Float[Tensor, "v v"]
    inverse: Float[Tensor, "v v"]
    unit: float
    """Metres that a free tensor's one stands for."""

    @staticmethod
    def over(faces: Int[Tensor, "f 3"], n_vertices: int, strength: float, unit: float, dtype: torch.dtype = torch.float32) -> "Diffused":
        """For a mesh's faces. `strength` is about the squared radius, in edges, of the neighbourhood that moves together."""
        laplacian = uniform_laplacian(faces, n_vertices, torch.float64).to_dense()
        matrix = torch.eye(n_vertices, dtype=torch.float64, device=faces.device) + strength * laplacian
        return Diffused(matrix.to(dtype), torch.linalg.inv(matrix).to(dtype), unit)

    def to_free(self, value: Float[Tensor, "*n v 3"]) -> Float[Tensor, "*n v 3"]:
        """The matrix times the positions."""
        return self.matrix @ value / self.unit

    def from_free(self, free: Float[Tensor, "*n v 3"]) -> Float[Tensor, "*n v 3"]:
        """Its inverse times the free tensor."""
        return self.inverse @ free * self.unit


MATERIAL_BIJECTIONS: dict[type[SurfaceMaterial], dict[str, Bijection]] = {
    Material: {"base_colour": Interval(), "metallic": Interval(), "roughness": Interval()},
    PhongMaterial: {
        "base_colour": Interval(),
        "ambient": Positive(),
        "diffuse": Positive(),
        "specular": Positive(),
        "shininess": Positive(),
    },
}
"""How each parameter of each kind of material becomes free."""


def free_material(material: SurfaceMaterial) -> dict[str, Tensor]:
    """The material's parameters by name, as free tensors. Raises ValueError for one that is out of its bounds (or, if positive, 0)."""
    return {name: bijection.to_free(getattr(material, name)) for name, bijection in MATERIAL_BIJECTIONS[type(material)].items()}


def bound_material(kind: type[SurfaceMaterial], free: Mapping[str, Tensor]) -> SurfaceMaterial:
    """The material of a kind that free tensors stand for; differentiable."""
    return kind(**{name: bijection.from_free(free[name]) for name, bijection in MATERIAL_BIJECTIONS[kind].items()})
