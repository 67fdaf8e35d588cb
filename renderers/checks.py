"""What every renderer asks of a scene and a camera before it draws."""

from collections.abc import Iterator

import torch
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh
from invgraphics.scene import Scene


def check_scene(scene: Scene, camera: Camera) -> None:
    """Refuse numbers that no image can be made of; meshes are left to `check_mesh` and to the rasterizer.

    Raises:
        InputError: with what is wrong and where: an image without pixels, a pose, material, light or camera that is not finite, a focal
            length or radius that is not positive.
    """
    if min(camera.height, camera.width) < 1:
        raise InputError(f"the camera's image is {camera.height} x {camera.width}; both sides must be at least 1 pixel")
    numbers = list(_name_numbers(scene, camera))
    if not torch.isfinite(torch.cat([value.detach().reshape(-1) for _, value in numbers])).all():
        name, value = next((name, value) for name, value in numbers if not torch.isfinite(value).all())
        raise InputError(f"{name} is {value.tolist()}; all numbers must be finite")
    focal = camera.K.detach().diagonal()[:2]
    if not (focal > 0).all():
        raise InputError(f"the camera's focal lengths are {focal.tolist()}; both must be positive")
    if scene.objects and not (torch.stack([item.radii.detach() for item in scene.objects]) > 0).all():
        item = next(item for item in scene.objects if not (item.radii > 0).all())
        raise InputError(f"the radii of object {item.name!r} are {item.radii.tolist()}; all must be positive")


def _name_numbers(scene: Scene, camera: Camera) -> Iterator[tuple[str, Tensor]]:
    """All small tensors, and what to call them."""
    yield "the camera's K", camera.K
    yield "the camera's pose T_world_camera", camera.T_world_camera
    for item in scene.objects:
        yield f"the pose of object {item.name!r}", item.T_world_object
        yield f"radii of object {item.name!r}", item.radii
        for name, value in vars(item.material).items():
            yield f"{name} of object {item.name!r}", value
    for index, light in enumerate(scene.lights):
        for name, value in vars(light).items():
            yield f"{name} of light {index}", value
    if scene.plane is not None:
        for name, value in vars(scene.plane.material).items():
            yield f"{name} of the support plane", value


def check_mesh(mesh: Mesh, owner: str) -> None:
    """Refuse a mesh that cannot be drawn.

    Raises:
        InputError: a vertex is not finite, or a triangle names one that is not there.
    """
    finite = torch.isfinite(mesh.vertices.detach())
    if not finite.all():
        bad = int((~finite.all(1)).nonzero()[0])
        raise InputError(f"vertex {bad} of object {owner!r} is {mesh.vertices[bad].tolist()}; all must be finite")
    count = len(mesh.vertices)
    if len(mesh.faces) and (int(mesh.faces.min()) < 0 or int(mesh.faces.max()) >= count):
        bad = int(((mesh.faces < 0) | (mesh.faces >= count)).any(1).nonzero()[0])
        raise InputError(f"triangle {bad} of object {owner!r} has vertex indices {mesh.faces[bad].tolist()}; it has {count} vertices")
