"""What the simulators' formats are written from: rigid bodies with convex pieces, masses, friction; and poses as the formats take them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from invgraphics.geometry.mesh import Mesh, srgb_from_linear
from invgraphics.scene import Scene

PLANE_NAME = "support_plane"
PLANE_HALF_SIZE = 2.0
"""Metres: half the side of the table, where a format wants a size."""
PLANE_THICKNESS = 0.05
"""Metres: of the table, where a format wants a box; its top is at z = 0."""
GRAVITY = 9.81
"""m/s^2, along -z."""


@dataclass(frozen=True)
class ConvexPiece:
    """A convex polyhedron."""

    vertices: Float[np.ndarray, "v 3"]
    """Metres, body frame."""
    faces: Int[np.ndarray, "f 3"]
    """Counter-clockwise from outside."""


@dataclass(frozen=True)
class RigidBody:
    """One object of the scene as a simulator takes it. The body frame is the object frame."""

    name: str
    """Unique, fit for file names and identifiers: "object_00", numbered as the mesh files of the reconstruction."""
    label: str
    """What people call it; neither unique nor fit for anything else."""
    T_world_body: Float[np.ndarray, "4 4"]
    """Metres."""
    surface: Mesh
    """Closed; metres, body frame; in the colours that it is seen in, a texture or vertex colours."""
    metallic: float
    """0 dielectric, 1 metal."""
    roughness: float
    """Perceptual roughness in (0, 1]."""
    pieces: tuple[ConvexPiece, ...]
    """What it collides as."""
    mass: float
    """Kilograms."""
    T_body_inertial: Float[np.ndarray, "4 4"]
    """Frame of the centre of mass and the principal axes of inertia."""
    moments: Float[np.ndarray, "3"]
    """Principal moments of inertia, kg m^2."""
    friction: float
    """Coefficient against a plane whose own is 1."""

    @property
    def plain_colour(self) -> list[float] | None:
        """Mean of the vertex colours, sRGB, for programs that do not read these; None where there is a texture."""
        colours = self.surface.colours
        return None if colours is None else srgb_from_linear(colours.detach().cpu().mean(0)).tolist()


@dataclass(frozen=True)
class SimulatedScene:
    """A scene with what physics has to know of it."""

    scene: Scene
    """For its plane, lights and camera."""
    bodies: tuple[RigidBody, ...]
    """As many as `scene.objects`, in their order."""
    plane_friction: float = 1.0
    """Of the support plane, where the scene has one."""


def quaternion_xyzw(T_a_b: Float[np.ndarray, "4 4"]) -> list[float]:
    """The rotation as a unit quaternion, scalar last (ROS, PyBullet)."""
    return Rotation.from_matrix(T_a_b[:3, :3]).as_quat().tolist()


def quaternion_wxyz(T_a_b: Float[np.ndarray, "4 4"]) -> list[float]:
    """The rotation as a unit quaternion, scalar first (MuJoCo, USD)."""
    x, y, z, w = quaternion_xyzw(T_a_b)
    return [w, x, y, z]


def roll_pitch_yaw(T_a_b: Float[np.ndarray, "4 4"]) -> list[float]:
    """URDF's and SDF's angles, `Rz(yaw) Ry(pitch) Rx(roll)`, radians; roll is 0 where pitch is a right angle and fixes only their sum."""
    R = T_a_b[:3, :3]
    pitch = np.arctan2(-R[2, 0], np.hypot(R[0, 0], R[1, 0]))
    if np.cos(pitch) < 1e-7:
        return [0.0, float(pitch), float(np.arctan2(-R[0, 1], R[1, 1]))]
    return [float(np.arctan2(R[2, 1], R[2, 2])), float(pitch), float(np.arctan2(R[1, 0], R[0, 0]))]


def spaced(values: Float[np.ndarray, " n"] | list[float]) -> str:
    """Numbers as the XML formats take them."""
    return " ".join(f"{value:.9g}" for value in values)
