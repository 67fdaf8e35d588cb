"""A scene that the tests of exports and viewer share: a textured box and a cup on the table, a camera with its axis off the middle."""

from pathlib import Path

import numpy as np
import torch
import trimesh

from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, Texture, mesh_from_trimesh
from invgraphics.grasp import Grasp, save_grasps
from invgraphics.observation import Observation
from invgraphics.output import save_reconstruction
from invgraphics.reconstruction import Reconstruction
from invgraphics.scene import AmbientLight, DirectionalLight, Material, Plane, PointLight, Scene, SceneObject
from invgraphics.transforms import rigid, so3_exp

NAMES = ("object_00", "object_02")
"""Of the objects in files: the second mask gave no object."""
DENSITY = 500.0
"""kg/m^3, other than the default."""


def build_scene(with_plane: bool = True) -> Scene:
    """The box's body frame is turned about the vertical and off its centre; the cup's is turned upside down."""
    K = torch.tensor([[500.0, 0.0, 31.0], [0.0, 510.0, 20.0], [0.0, 0.0, 1.0]])
    lights = (
        PointLight(torch.tensor([0.5, 0.6, 0.7]), torch.tensor([1.0, 2.0, 3.0])),
        DirectionalLight(torch.tensor([0.0, 0.6, -0.8]), torch.tensor([0.5, 0.5, 0.4])),
        AmbientLight(torch.cat([torch.ones(1, 3), 0.1 * torch.arange(24.0).reshape(8, 3)])),
    )
    plane = Plane(make_material((0.5, 0.4, 0.3))) if with_plane else None
    box = SceneObject(
        "a box/1", place(torch.tensor([0.0, 0.0, 0.7]), 0.12, 0.0, 0.03), torch.tensor([0.04, 0.03, 0.04]), white(), make_box()
    )
    upside_down = rigid(torch.diag(torch.tensor([1.0, -1.0, -1.0])), torch.tensor([-0.1, 0.05, 0.06]))
    cup = SceneObject("cup", upside_down, torch.tensor([0.04, 0.04, 0.03]), make_material((0.2, 0.5, 0.8)), make_cup())
    return Scene((box, cup), lights, plane, Camera(K, 48, 64, look_down()))


def make_material(colour: tuple[float, float, float]) -> Material:
    return Material(torch.tensor(colour), torch.tensor(0.25), torch.tensor(0.5))


def white() -> Material:
    return make_material((1.0, 1.0, 1.0))


def place(turn: torch.Tensor, x: float, y: float, z: float) -> torch.Tensor:
    return rigid(so3_exp(turn), torch.tensor([x, y, z]))


def look_down() -> torch.Tensor:
    """`T_world_camera` of a camera half a metre over the table that sees both objects."""
    T = torch.eye(4)
    forward = torch.nn.functional.normalize(torch.tensor([0.0, 0.4, -0.5]), dim=0)
    right = torch.tensor([1.0, 0.0, 0.0])
    T[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)
    T[:3, 3] = torch.tensor([0.0, -0.4, 0.5])
    return T


def make_box() -> Mesh:
    """8 x 6 x 8 cm, its lower face at z = -3 cm, each triangle with a texture place of its own: red left half, green right half."""
    box = mesh_from_trimesh(trimesh.creation.box((0.08, 0.06, 0.08)).subdivide())
    image = torch.zeros(8, 16, 3)
    image[:, :8, 0], image[:, 8:, 1] = 0.8, 0.6
    uv = torch.rand(len(box.faces), 3, 2, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.1
    uv[box.vertices[box.faces].mean(1)[:, 0] > 0, :, 0] += 0.5
    return Mesh(box.vertices + torch.tensor([0.0, 0.0, 0.01]), box.faces, None, Texture(uv, image))


def make_cup() -> Mesh:
    """Standing on its rim (its body frame's z points down): 8 cm wide, 6 cm high, 5 mm thick; bluer towards the bottom."""
    profile = np.array([[0.0, 0.06], [0.04, 0.06], [0.04, 0.0], [0.035, 0.0], [0.035, 0.055], [0.0, 0.055]])
    cup = trimesh.creation.revolve(profile[::-1], sections=24)
    cup.merge_vertices()
    if cup.volume < 0:
        cup.invert()
    mesh = mesh_from_trimesh(cup)
    colours = torch.ones_like(mesh.vertices) * 0.9
    colours[:, 2] = mesh.vertices[:, 2] / 0.06
    return Mesh(mesh.vertices, mesh.faces, colours)


def build_grasps() -> list[Grasp]:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = np.diag([1.0, -1.0, -1.0]), [0.12, 0.0, 0.05]
    jaws = {"left_finger_joint": 0.04, "right_finger_joint": 0.04}
    return [
        Grasp("parallel_jaw", 0, T, jaws, dict.fromkeys(jaws, 0.0), 0.07, 0.75, 8),
        Grasp("parallel_jaw", 1, T @ np.diag([-1.0, -1.0, 1.0, 1.0]), jaws, dict.fromkeys(jaws, 0.0), 0.08, 0.0, 2),
    ]


def write_output(out: Path, with_plane: bool = True, with_samples: bool = False) -> Scene:
    """Writes an output folder, grasps included, as `reconstruct` and `grasp` do."""
    scene = build_scene(with_plane)
    depth, grey = torch.full((48, 64), 0.6), torch.full((48, 64, 3), 0.3)
    observation = Observation(grey, depth, depth > 0, torch.zeros(0, 48, 64, dtype=torch.bool), scene.camera, "made up")
    meshes = [item.mesh for item in scene.objects]
    samples = tuple((Mesh(mesh.vertices, mesh.faces), Mesh(1.1 * mesh.vertices, mesh.faces)) for mesh in meshes) if with_samples else ()
    spread = tuple(torch.linspace(0.0, 0.01, len(mesh.vertices)) for mesh in meshes) if with_samples else ()
    save_reconstruction(Reconstruction(scene, observation, (0, 2), {1: "too few depth readings"}, samples=samples, spread=spread), out)
    save_grasps(build_grasps(), out / "grasps.json")
    return scene
