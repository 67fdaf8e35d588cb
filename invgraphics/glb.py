"""A scene as one binary glTF 2.0 file, metres.

glTF takes y as up, the project's world frame z. The nodes are in the world frame, as `scene.glb` is promised to be; with `upright` they
hang from one root node that turns z up, so that viewers show the scene standing, and programs that undo glTF's axes (Blender) have the
world frame again.

Vertex colours and base colours are linear in glTF as they are here; textures go in as sRGB PNG images, their meshes split at the
seams. A Phong material is converted, see `as_metallic_roughness`. Point and directional lights go in through KHR_lights_punctual;
ambient light has no place in glTF and is left to `scene.json`.
"""

import json
import struct
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invgraphics import __version__
from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, Texture, vertex_normals
from invgraphics.geometry.texture import encode_png
from invgraphics.scene import DirectionalLight, PhongMaterial, PointLight, Scene, SceneObject, SurfaceMaterial
from invgraphics.surfaces import as_metallic_roughness
from invgraphics.transforms import rigid

_FLOAT, _UNSIGNED_INT = 5126, 5125
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
_MAGIC, _JSON_CHUNK, _BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
_PLANE_MARGIN = 0.2
"""Metres of support plane drawn around the objects."""
_ROOT_NODE = "world_frame"
_Y_UP_FROM_Z_UP = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
_FRAME = {False: "world: z up, metres", True: f"y up; below the node {_ROOT_NODE!r}: world, z up; metres"}
"""By whether the file is upright."""


def encode_glb(scene: Scene, meshes: list[Mesh], *, upright: bool = False) -> bytes:
    """The bytes of a `.glb` file.

    Args:
        scene: objects, lights, plane and camera, all of which get a node.
        meshes: the surface of each object in the object frame, metres.
        upright: hang the world from a root node that turns it to glTF's y up.
    """
    builder = _Builder(upright)
    for shape, mesh in zip(scene.objects, meshes, strict=True):
        builder.add_mesh(shape.name, mesh, shape.material, shape.T_world_object)
    if scene.plane is not None:
        builder.add_mesh("support_plane", build_plane_quad(scene, meshes), scene.plane.material, torch.eye(4))
    for light in scene.lights:
        if isinstance(light, PointLight):
            builder.add_light("point", light.intensity, _translate(light.position))
        elif isinstance(light, DirectionalLight):
            builder.add_light("directional", light.irradiance, turn_to(light.direction))
    builder.add_camera(scene.camera)
    return builder.encode()


def encode_surface_glb(name: str, surface: Mesh, material: SurfaceMaterial) -> bytes:
    """The bytes of a `.glb` file with one mesh, in the mesh's own frame."""
    builder = _Builder(upright=False)
    builder.add_mesh(name, surface, material, torch.eye(4))
    return builder.encode()


class _Builder:
    """Collects the JSON part and the binary part of a file."""

    def __init__(self, upright: bool):
        self.upright = upright
        self.binary = bytearray()
        self.lights: list[dict[str, Any]] = []
        self.content: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": f"invgraphics {__version__}", "extras": {"frame": _FRAME[upright]}},
            "scene": 0,
            "nodes": [],
            "meshes": [],
            "materials": [],
            "accessors": [],
            "bufferViews": [],
        }

    def add_mesh(self, name: str, mesh: Mesh, material: SurfaceMaterial, T_world_object: Tensor) -> None:
        vertices, faces = mesh.vertices.detach().cpu(), mesh.faces.cpu()
        columns = {"POSITION": vertices, "NORMAL": _complete_normals(vertices, faces)}
        if mesh.colours is not None:
            columns["COLOR_0"] = mesh.colours.detach().cpu().clamp(0, 1)
        description = _describe_material(name, material)
        if mesh.texture is not None:
            columns, faces = _split_at_seams(columns, faces, mesh.texture.uv.detach().cpu())
            description["pbrMetallicRoughness"]["baseColorTexture"] = {"index": self._add_texture(mesh.texture)}
        attributes = {key: self._add_array(values, f"VEC{values.shape[1]}", key == "POSITION") for key, values in columns.items()}
        primitive = {"attributes": attributes, "indices": self._add_indices(faces), "material": self._append("materials", description)}
        self._add_node(name, T_world_object, mesh=self._append("meshes", {"name": name, "primitives": [primitive]}))

    def _add_texture(self, texture: Texture) -> int:
        view = self._add_view(encode_png(texture.image))
        image = self._append("images", {"bufferView": view, "mimeType": "image/png"})
        return self._append("textures", {"source": image})

    def add_light(self, kind: str, strength: Tensor, T_world_light: Tensor) -> None:
        intensity = max(float(strength.max()), 1e-12)
        colour = (strength.detach().cpu() / intensity).clamp(0, 1).tolist()
        self.lights.append({"type": kind, "color": colour, "intensity": intensity})
        self._add_node(f"{kind}_light", T_world_light, extensions={"KHR_lights_punctual": {"light": len(self.lights) - 1}})

    def add_camera(self, camera: Camera) -> None:
        """The camera's node, looking along -z with y up as glTF has it; an off-centre principal point is not representable."""
        focal = float(camera.K[1, 1])
        perspective = {
            "yfov": 2 * float(np.arctan(0.5 * camera.height / focal)),
            "aspectRatio": camera.width / camera.height,
            "znear": 0.01,
        }
        flip = torch.diag(camera.T_world_camera.new_tensor([1.0, -1.0, -1.0, 1.0]))
        index = self._append("cameras", {"type": "perspective", "perspective": perspective})
        self._add_node("camera", camera.T_world_camera @ flip, camera=index)

    def encode(self) -> bytes:
        roots = list(range(len(self.content["nodes"])))
        if self.upright:
            roots = [self._append("nodes", {"name": _ROOT_NODE, "matrix": _Y_UP_FROM_Z_UP.T.reshape(-1).tolist(), "children": roots})]
        self.content["scenes"] = [{"nodes": roots}]
        self.content["buffers"] = [{"byteLength": len(self.binary)}]
        if self.lights:
            self.content["extensionsUsed"] = ["KHR_lights_punctual"]
            self.content["extensions"] = {"KHR_lights_punctual": {"lights": self.lights}}
        text = json.dumps({key: value for key, value in self.content.items() if value != []}, allow_nan=False).encode()
        chunks = [(_JSON_CHUNK, text + b" " * (-len(text) % 4)), (_BINARY_CHUNK, bytes(self.binary) + b"\0" * (-len(self.binary) % 4))]
        body = b"".join(struct.pack("<II", len(data), kind) + data for kind, data in chunks)
        return struct.pack("<III", _MAGIC, 2, 12 + len(body)) + body

    def _append(self, collection: str, item: dict[str, Any]) -> int:
        items = self.content.setdefault(collection, [])
        items.append(item)
        return len(items) - 1

    def _add_node(self, name: str, T_world_node: Tensor, **what: Any) -> None:
        self._append("nodes", {"name": name, "matrix": T_world_node.detach().cpu().T.reshape(-1).tolist(), **what})

    def _add_view(self, data: bytes, target: int | None = None) -> int:
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)} | ({} if target is None else {"target": target})
        self.binary += data + b"\0" * (-len(data) % 4)
        return self._append("bufferViews", view)

    def _add_array(self, values: Tensor, kind: str, with_bounds: bool = False) -> int:
        array = values.numpy().astype("<f4")
        bounds = {"min": array.min(0).tolist(), "max": array.max(0).tolist()} if with_bounds else {}
        view = self._add_view(array.tobytes(), _VERTEX_BUFFER)
        return self._append("accessors", {"bufferView": view, "componentType": _FLOAT, "count": len(array), "type": kind, **bounds})

    def _add_indices(self, faces: Tensor) -> int:
        array = faces.cpu().numpy().astype("<u4").reshape(-1)
        view = self._add_view(array.tobytes(), _INDEX_BUFFER)
        return self._append("accessors", {"bufferView": view, "componentType": _UNSIGNED_INT, "count": len(array), "type": "SCALAR"})


def _describe_material(name: str, material: SurfaceMaterial) -> dict[str, Any]:
    if isinstance(material, PhongMaterial):
        return _describe_phong(name, material)
    return {
        "name": name,
        "pbrMetallicRoughness": {
            "baseColorFactor": [*material.base_colour.detach().cpu().clamp(0, 1).tolist(), 1.0],
            "metallicFactor": min(max(float(material.metallic), 0.0), 1.0),
            "roughnessFactor": min(max(float(material.roughness), 0.0), 1.0),
        },
    }


def _describe_phong(name: str, material: PhongMaterial) -> dict[str, Any]:
    """The metallic-roughness material nearest to a Phong one; what it was stands in `extras`."""
    phong = {key: value.detach().cpu().tolist() for key, value in vars(material).items()}
    return _describe_material(name, as_metallic_roughness(material)) | {"extras": {"phong": phong}}


def _split_at_seams(columns: dict[str, Tensor], faces: Tensor, uv: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Vertex attributes and triangles of a mesh whose vertices are as many as they have texture coordinates, which join the attributes."""
    corners = np.concatenate([faces.reshape(-1, 1).numpy(), uv.reshape(-1, 2).double().numpy()], axis=1)
    split, index = np.unique(corners, axis=0, return_inverse=True)
    source = torch.from_numpy(split[:, 0].astype(np.int64))
    columns = {key: values[source] for key, values in columns.items()} | {"TEXCOORD_0": torch.from_numpy(split[:, 1:])}
    return columns, torch.from_numpy(index.reshape(-1, 3))


def _complete_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Vertex normals, of unit length at vertices without faces too, as glTF demands."""
    normals = vertex_normals(vertices, faces)
    return torch.where(normals.norm(dim=-1, keepdim=True) > 0.5, normals, normals.new_tensor([0.0, 0.0, 1.0]))


def build_plane_quad(scene: Scene, meshes: list[Mesh]) -> Mesh:
    """The part of the plane z = 0 (world frame) under the objects and around them."""
    corners = torch.cat([_footprint(shape, mesh) for shape, mesh in zip(scene.objects, meshes, strict=True)])
    (x0, y0), (x1, y1) = (corners.min(0).values - _PLANE_MARGIN).tolist(), (corners.max(0).values + _PLANE_MARGIN).tolist()
    vertices = torch.tensor([[x0, y0, 0.0], [x1, y0, 0.0], [x1, y1, 0.0], [x0, y1, 0.0]])
    return Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]))


def _footprint(shape: SceneObject, mesh: Mesh) -> Tensor:
    return mesh.transformed(shape.T_world_object).vertices.detach().cpu()[:, :2]


def _translate(position: Tensor) -> Tensor:
    return rigid(torch.eye(3), position.detach().cpu().float())


def turn_to(direction: Tensor) -> Tensor:
    """A rotation that takes -z, along which glTF's lights shine, to the given unit direction."""
    z = -direction.detach().cpu().float()
    helper = torch.eye(3)[int(z.abs().argmin())]
    x = torch.nn.functional.normalize(torch.linalg.cross(helper, z), dim=0)
    return rigid(torch.stack([x, torch.linalg.cross(z, x), z], dim=-1), torch.zeros(3))
