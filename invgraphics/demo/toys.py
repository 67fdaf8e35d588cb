"""Objects that ship inside the pybullet wheel (`pybullet_data`), scaled to what stands on a table and fits the Mia hand."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pybullet_data
import torch
import trimesh
from jaxtyping import Float

from invgraphics.geometry.mesh import Mesh

DATA = Path(pybullet_data.getDataPath())
_ROLLING_FRICTION = 0.0005
"""Metres: enough that a ball comes to rest."""


@dataclass(frozen=True)
class Toy:
    """One object. Its frame is that of its files, after scaling."""

    name: str
    surface: str
    """Mesh that is drawn and that counts as the truth, relative to `pybullet_data`."""
    scale: tuple[float, float, float]
    """From the files' unit to metres."""
    collision: str
    """Convex parts it collides as: a mesh file relative to `pybullet_data`, or "box" or "sphere" of the surface's extent."""
    mass: float
    """Kilograms."""
    colour: tuple[float, float, float]
    """sRGB; multiplies the texture where the file has one."""
    upright: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Roll, pitch, yaw (radians) that set it on its feet."""

    def load_surface(self) -> trimesh.Trimesh:
        """The drawn surface in metres, vertices merged."""
        mesh = trimesh.load(DATA / self.surface, force="mesh", process=False)
        surface = trimesh.Trimesh(mesh.vertices * np.array(self.scale), mesh.faces)
        surface.merge_vertices(merge_tex=True, merge_norm=True)
        return surface

    def mesh(self) -> Mesh:
        """The true surface, metres, object frame."""
        surface = self.load_surface()
        return Mesh(torch.tensor(surface.vertices, dtype=torch.float32), torch.tensor(surface.faces, dtype=torch.int64))

    def urdf(self) -> str:
        """As a URDF: the surface with its texture, its convex parts, its mass spread evenly over its volume."""
        surface = self.load_surface()
        centre = surface.center_mass
        inertia = surface.moment_inertia * self.mass / surface.volume
        scale = _spaced(np.array(self.scale))
        return f"""<robot name="{self.name}">
  <link name="{self.name}">
    <contact><rolling_friction value="{_ROLLING_FRICTION}"/></contact>
    <inertial>
      <origin xyz="{_spaced(centre)}"/><mass value="{self.mass}"/>
      <inertia ixx="{inertia[0, 0]:.6g}" ixy="{inertia[0, 1]:.6g}" ixz="{inertia[0, 2]:.6g}"
               iyy="{inertia[1, 1]:.6g}" iyz="{inertia[1, 2]:.6g}" izz="{inertia[2, 2]:.6g}"/>
    </inertial>
    <visual>
      <geometry><mesh filename="{DATA / self.surface}" scale="{scale}"/></geometry>
      <material name="paint"><color rgba="{_spaced(np.array(self.colour))} 1"/></material>
    </visual>
    <collision>{self._collision_xml(surface, scale)}</collision>
  </link>
</robot>
"""

    def _collision_xml(self, surface: trimesh.Trimesh, scale: str) -> str:
        middle = f'<origin xyz="{_spaced(surface.bounds.mean(axis=0))}"/>'
        if self.collision == "box":
            return f'{middle}<geometry><box size="{_spaced(surface.extents)}"/></geometry>'
        if self.collision == "sphere":
            return f'{middle}<geometry><sphere radius="{surface.extents.mean() / 2:.6g}"/></geometry>'
        return f'<geometry><mesh filename="{DATA / self.collision}" scale="{scale}"/></geometry>'


TOYS = (
    Toy("duck", "duck.obj", (0.06, 0.06, 0.06), "duck_vhacd.obj", 0.08, (1.0, 1.0, 1.0), upright=(np.pi / 2, 0.0, 0.0)),
    Toy("mug", "objects/mug.obj", (0.85, 0.85, 0.85), "objects/mug_col.obj", 0.2, (0.8, 0.15, 0.12)),
    Toy("ball", "soccerball.obj", (0.07, 0.07, 0.07), "sphere", 0.08, (1.0, 1.0, 1.0)),
    Toy("block", "jenga/jenga.obj", (0.12, 0.045, 0.045), "box", 0.1, (1.0, 1.0, 1.0)),
    Toy("teddy", "teddy2_VHACD_CHs.obj", (0.105, 0.105, 0.105), "teddy2_VHACD_CHs.obj", 0.06, (0.55, 0.36, 0.25)),
)
"""A rubber duck of 10 cm, a mug, a small ball, a wooden block, a teddy bear of 10 cm."""


def _spaced(vector: Float[np.ndarray, " n"]) -> str:
    return " ".join(f"{value:.9g}" for value in vector)
