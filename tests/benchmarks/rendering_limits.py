"""How near a rendering step comes to what memory allows: the bytes that it has to touch at least, over the bandwidth of a copy.

scene = rendering_scenes.five_objects((480, 640))
limit = compute_memory_limit(compute_least_bytes(scene, scene.camera), bytes_per_s=measure_bandwidth(), step_s=measured)
"""

from dataclasses import dataclass

from invgraphics.camera import Camera
from invgraphics.scene import Scene
from renderers.mesh_renderer import object_mesh

_FLOAT, _INDEX = 4, 8
_COLOUR, _DEPTH, _IDS, _NORMALS = 3 * _FLOAT, _FLOAT, _INDEX, 3 * _FLOAT


@dataclass(frozen=True)
class LeastBytes:
    """What forward and backward of colour, depth and silhouettes of a scene must read or write, each once, in float32."""

    inputs: int
    """Vertices and triangles."""
    images: int
    """Colour, depth, ids, normals, and the coverage of each object: written."""
    image_gradients: int
    """Of colour, depth and coverage: read."""
    gradients: int
    """Of vertices and poses: written."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.inputs + self.images + self.image_gradients + self.gradients


@dataclass(frozen=True)
class MemoryLimit:
    """A step beside the time that memory alone would take."""

    least_bytes: int
    limit_s: float
    """Least bytes over the bandwidth."""
    ratio: float
    """The step's time over that limit."""


def compute_least_bytes(scene: Scene, camera: Camera) -> LeastBytes:
    """Count what must be touched; everything else that a renderer reads or writes is its own doing."""
    meshes = [object_mesh(item) for item in scene.objects]
    vertices, triangles = sum(len(mesh.vertices) for mesh in meshes), sum(len(mesh.faces) for mesh in meshes)
    pixels, coverage = camera.height * camera.width, _FLOAT * len(meshes)
    return LeastBytes(
        inputs=vertices * 3 * _FLOAT + triangles * 3 * _INDEX,
        images=pixels * (_COLOUR + _DEPTH + _IDS + _NORMALS + coverage),
        image_gradients=pixels * (_COLOUR + _DEPTH + coverage),
        gradients=vertices * 3 * _FLOAT + len(meshes) * 16 * _FLOAT,
    )


def compute_memory_limit(least: LeastBytes, bytes_per_s: float, step_s: float) -> MemoryLimit:
    """How far a step of `step_s` seconds is from the time that a copy at `bytes_per_s` (read and written bytes counted) would take."""
    limit = least.total / bytes_per_s
    return MemoryLimit(least.total, limit, step_s / limit)
