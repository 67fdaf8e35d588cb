"""Scene + Camera -> Rendered, whoever draws it; and which renderer can do what."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.errors import InputError
from invgraphics.scene import Scene

PLANE_ID = -1
"""What `Rendered.object_ids` says where the support plane is seen."""
BACKGROUND_ID = -2
"""What it says where nothing is seen."""

Shadows = Literal["none", "ellipsoids", "meshes"]
"""Nothing casts shadows, every object as its ellipsoid would, or as its mesh does."""


@dataclass(frozen=True)
class Rendered:
    """What a camera sees of a scene. Every float image carries gradients to the tensors of scene and camera."""

    colour: Float[Tensor, "h w 3"]
    """Linear RGB, not clipped: radiance, blended at silhouettes by coverage. 0 where nothing is seen."""
    depth: Float[Tensor, "h w"]
    """Metres along the camera's z, of what the pixel's centre sees: never blended. 0 where nothing is seen."""
    object_ids: Int[Tensor, "h w"]
    """What the pixel's centre sees: index into `scene.objects`, `PLANE_ID` or `BACKGROUND_ID`."""
    coverage: Float[Tensor, "n h w"]
    """Share of each pixel that shows object k, in [0, 1] and soft at the silhouettes: what pulls on them."""
    normals: Float[Tensor, "h w 3"]
    """Unit normals, world frame, of what the pixel's centre sees. 0 where nothing is seen."""

    @property
    def foreground(self) -> Float[Tensor, "h w"]:
        """Share of each pixel that shows any object."""
        return self.coverage.sum(0)


@dataclass(frozen=True)
class Capabilities:
    """What a renderer can do. What it cannot is left out of its images, never an error."""

    draws_meshes: bool
    """Draws an object's mesh where it has one; else always its ellipsoid."""
    vertex_colours: bool
    """Colours of the mesh's vertices multiply the material's base colour."""
    textures: bool
    """Textures of the meshes multiply it, too."""
    materials: tuple[str, ...]
    """Models of material that it shades, mixed in a scene or not: "metallic-roughness" and "phong" (see `invgraphics.scene`)."""
    silhouette_gradients: bool
    """Coverage and colour have gradients where a silhouette moves."""
    shadows: str
    """"none", or what casts them: "ellipsoids" or "meshes"."""
    deterministic: bool
    """The same input gives the same bits, forward and backward."""
    float64: bool
    """Takes float64 scenes, and computes in float64 then."""
    devices: tuple[str, ...]
    """Types of torch device that the scene may lie on."""


@runtime_checkable
class Renderer(Protocol):
    """Draws scenes. Differentiable with respect to everything that the scene and the camera hold, as far as `capabilities` go."""

    name: str
    """What `make_renderer` calls it."""
    capabilities: Capabilities
    """What it can do."""

    def __call__(self, scene: Scene, camera: Camera) -> Rendered:
        """The scene as the camera sees it; the camera need not be the scene's own."""
        ...


RENDERERS = ("cpu", "nvdiffrast", "pytorch3d", "raycast", "warp")


def make_renderer(name: str = "auto", shadows: Shadows = "ellipsoids", device: torch.device | str = "cpu") -> Renderer:
    """The renderer of a name; "auto" takes the fastest that draws meshes of scenes on a device.

    Args:
        name: "auto" or one of `RENDERERS`.
        shadows: what casts shadows on the plane and on the objects; see `Shadows`.
        device: where the scenes lie that will be drawn; counts for "auto" and "nvdiffrast".

    Raises:
        InputError: there is no renderer of that name, or it has no such shadows.
        MissingDependencyError: it needs a package that is not installed; the message says which.
    """
    if name not in ("auto", *RENDERERS):
        raise InputError(f"there is no renderer {name!r}; choose one of auto, {', '.join(RENDERERS)}")
    if name == "raycast":
        from renderers.raycast.renderer import RaycastRenderer

        return RaycastRenderer(shadows=shadows)
    from renderers.mesh_renderer import MeshRenderer
    from renderers.rasterize import make_rasterizer

    return MeshRenderer(make_rasterizer(name, device=device), shadows)
