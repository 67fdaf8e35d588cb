"""What a scene is: objects with shape, pose and material; a support plane; lights; the camera that saw it.

World frame: z up, the support plane at z = 0, metres. Colours are linear RGB. The object frame is the frame of the object's
ellipsoid: origin at its centre, axes along its radii.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh


@dataclass(frozen=True)
class Material:
    """Metallic-roughness material, as glTF 2.0 stores it."""

    base_colour: Float[Tensor, "3"]
    """Linear RGB in [0, 1]; multiplies the mesh's vertex colours where it has some."""
    metallic: Float[Tensor, ""]
    """0 dielectric, 1 metal."""
    roughness: Float[Tensor, ""]
    """Perceptual roughness in (0, 1]; GGX alpha is its square."""


@dataclass(frozen=True)
class PhongMaterial:
    """Phong's material (Phong 1975), as Differentiable Neuro-Graphics has it.

    A light of irradiance E at angle theta gives `E (ambient base + diffuse base cos(theta) + specular cos(mirrored, view)^shininess)`.
    """

    base_colour: Float[Tensor, "3"]
    """Linear RGB in [0, 1]; multiplies the mesh's vertex colours where it has some."""
    ambient: Float[Tensor, ""]
    """Share of every light that the surface sends back from everywhere, in shadow too; at least 0."""
    diffuse: Float[Tensor, ""]
    """Share of the light that it scatters; at least 0. There is no factor 1/pi: 1/pi is a perfectly white surface."""
    specular: Float[Tensor, ""]
    """Strength of the highlight, which has the light's colour; at least 0."""
    shininess: Float[Tensor, ""]
    """Exponent of the highlight; positive, the larger the narrower."""


SurfaceMaterial = Material | PhongMaterial


@dataclass(frozen=True)
class PointLight:
    """A light at a point; its irradiance falls with the squared distance."""

    position: Float[Tensor, "3"]
    """World frame, metres."""
    intensity: Float[Tensor, "3"]
    """Linear RGB radiant intensity: irradiance at 1 m distance."""


@dataclass(frozen=True)
class DirectionalLight:
    """A light at infinity."""

    direction: Float[Tensor, "3"]
    """World frame, unit length, the way the light travels."""
    irradiance: Float[Tensor, "3"]
    """Linear RGB, on a surface that faces the light."""


@dataclass(frozen=True)
class AmbientLight:
    """Distant light as 2nd-order real spherical harmonics of radiance (Ramamoorthi and Hanrahan 2001)."""

    sh: Float[Tensor, "9 3"]
    """Linear RGB coefficients in the order (0,0), (1,-1), (1,0), (1,1), (2,-2), (2,-1), (2,0), (2,1), (2,2), world frame."""


Light = PointLight | DirectionalLight | AmbientLight


@dataclass(frozen=True)
class Plane:
    """The support plane: z = 0 of the world frame, infinite, seen from above."""

    material: SurfaceMaterial


@dataclass(frozen=True)
class SceneObject:
    """One object: always an ellipsoid; a mesh as well once stage two has run."""

    name: str
    T_world_object: Float[Tensor, "4 4"]
    """Object frame to world frame, metres."""
    radii: Float[Tensor, "3"]
    """Semi-axes of the ellipsoid along the object's x, y, z, metres."""
    material: SurfaceMaterial
    mesh: Mesh | None = None
    """Closed surface in the object frame."""


@dataclass(frozen=True)
class Scene:
    """Everything that was recovered from an image."""

    objects: tuple[SceneObject, ...]
    lights: tuple[Light, ...]
    plane: Plane | None
    """None where no support plane was found."""
    camera: Camera
