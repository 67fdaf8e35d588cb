"""Scenes that several renderer tests draw."""

from dataclasses import fields, is_dataclass, replace

import torch
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, icosphere
from invgraphics.scene import AmbientLight, DirectionalLight, Material, Plane, PointLight, Scene, SceneObject
from invgraphics.transforms import rigid, so3_exp


def material(colour: tuple[float, float, float], metallic: float, roughness: float, dtype: torch.dtype = torch.float64) -> Material:
    return Material(*(torch.tensor(value, dtype=dtype) for value in (colour, metallic, roughness)))


def look_at(eye: tuple[float, float, float], target: tuple[float, float, float], dtype: torch.dtype = torch.float64) -> Tensor:
    """Pose of a camera at `eye`, world z up in its image."""
    origin, forward = torch.tensor(eye, dtype=dtype), torch.tensor(target, dtype=dtype)
    z = torch.nn.functional.normalize(forward - origin, dim=0)
    x = torch.nn.functional.normalize(torch.linalg.cross(z, torch.tensor([0.0, 0.0, 1.0], dtype=dtype)), dim=0)
    return rigid(torch.stack([x, torch.linalg.cross(z, x), z], dim=1), origin)


def make_camera(height: int = 48, width: int = 64, dtype: torch.dtype = torch.float64) -> Camera:
    K = torch.tensor([[0.95 * width, 0.0, width / 2 - 0.3], [0.0, 0.95 * width, height / 2 - 0.7], [0.0, 0.0, 1.0]], dtype=dtype)
    return Camera(K, height, width, look_at((0.1, -0.5, 0.4), (0.0, 0.0, 0.04), dtype))


def two_objects(
    with_mesh: bool = True, height: int = 48, width: int = 64, dtype: torch.dtype = torch.float64, subdivisions: int = 4
) -> Scene:
    """Two ellipsoids, one partly in front of the other, on a plane under three kinds of light."""
    sphere, faces = icosphere(subdivisions)
    objects = []
    for name, radii, turn, place, stuff in (
        ("egg", (0.06, 0.05, 0.08), (0.2, 0.1, 0.4), (-0.05, 0.0, 0.08), material((0.8, 0.3, 0.2), 0.0, 0.5, dtype)),
        ("pebble", (0.07, 0.05, 0.03), (0.0, 0.1, 0.9), (0.06, -0.11, 0.05), material((0.4, 0.6, 0.8), 0.7, 0.3, dtype)),
    ):
        size = torch.tensor(radii, dtype=dtype)
        pose = rigid(so3_exp(torch.tensor(turn, dtype=dtype)), torch.tensor(place, dtype=dtype))
        objects.append(SceneObject(name, pose, size, stuff, Mesh(sphere.to(dtype) * size, faces) if with_mesh else None))
    sh = torch.tensor([[1.0, 1.1, 1.2], [0.1, 0.0, 0.2], [0.3, 0.3, 0.3]] + [[0.05, -0.1, 0.02]] * 6, dtype=dtype)
    lights = (
        PointLight(torch.tensor([0.5, -0.4, 0.9], dtype=dtype), torch.tensor([1.0, 1.1, 0.9], dtype=dtype)),
        DirectionalLight(torch.tensor([0.6, 0.0, -0.8], dtype=dtype), torch.tensor([0.5, 0.5, 0.6], dtype=dtype)),
        AmbientLight(sh),
    )
    plane = Plane(material((0.5, 0.5, 0.45), 0.0, 0.9, dtype))
    return Scene(tuple(objects), lights, plane, make_camera(height, width, dtype))


def moved(value: object, device: str, dtype: torch.dtype | None = None) -> object:
    """A scene, camera, image, or anything that they hold: its tensors on a device, its floats as a dtype."""
    if isinstance(value, Tensor):
        return value.to(device, dtype if value.is_floating_point() else None)
    if isinstance(value, tuple):
        return tuple(moved(item, device, dtype) for item in value)
    if is_dataclass(value):
        return replace(value, **{field.name: moved(getattr(value, field.name), device, dtype) for field in fields(value)})
    return value


def with_object(scene: Scene, index: int, **changes: object) -> Scene:
    """The scene with one object changed."""
    objects = list(scene.objects)
    objects[index] = replace(objects[index], **changes)
    return replace(scene, objects=tuple(objects))
