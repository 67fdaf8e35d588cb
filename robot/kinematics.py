"""Kinematics of a UR arm: forward, every analytic inverse branch, Jacobian, joint limits.

Frames. `base` is the controller's base frame (z up, through the first joint); `flange` is the last Denavit-Hartenberg frame, which is also
the `tool0` frame of the ROS description and the controller's tool frame while the TCP offset is zero (z out of the flange). Joint order:
shoulder pan, shoulder lift, elbow, wrist 1, wrist 2, wrist 3. Metres and radians, float64.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Float

JOINT_NAMES = ("shoulder_pan_joint", "shoulder_lift_joint", "elbow_joint", "wrist_1_joint", "wrist_2_joint", "wrist_3_joint")

_TWISTS = np.array([np.pi / 2, 0.0, 0.0, np.pi / 2, -np.pi / 2, 0.0])
"""The six alpha of the Denavit-Hartenberg convention, radians."""
_LIMIT_TOLERANCE = 1e-9
"""Radians beyond a limit that count as rounding."""
_COSINE_TOLERANCE = 1e-7
"""What a cosine may exceed 1 by as rounding: the arm is then taken as fully stretched."""
_SINGULAR_SINE = 1e-7
"""Of the wrist's angle, below which the axes of wrist 1 and wrist 3 count as parallel."""


@dataclass(frozen=True)
class URGeometry:
    """Lengths of a UR arm in the classical Denavit-Hartenberg convention, metres."""

    d1: float
    """Base to shoulder, along z."""
    a2: float
    """Upper arm; negative."""
    a3: float
    """Forearm; negative."""
    d4: float
    """Sideways offset of the wrist from the plane of the arm."""
    d5: float
    """Wrist 1 to wrist 2."""
    d6: float
    """Wrist 2 to flange."""

    @property
    def offsets(self) -> Float[np.ndarray, "6"]:
        """The six d of the convention."""
        return np.array([self.d1, 0.0, 0.0, self.d4, self.d5, self.d6])

    @property
    def lengths(self) -> Float[np.ndarray, "6"]:
        """The six a of the convention."""
        return np.array([0.0, self.a2, self.a3, 0.0, 0.0, 0.0])


@dataclass(frozen=True)
class JointLimits:
    """What each joint may do."""

    lower: Float[np.ndarray, "6"]
    """Radians."""
    upper: Float[np.ndarray, "6"]
    """Radians."""
    velocity: Float[np.ndarray, "6"]
    """Largest speed, rad/s."""
    acceleration: Float[np.ndarray, "6"]
    """Largest acceleration, rad/s^2."""
    effort: Float[np.ndarray, "6"]
    """Largest torque, N m."""

    def contain(self, q: Float[np.ndarray, "*batch 6"]) -> bool:
        """Whether every joint of every configuration lies within its range."""
        return bool(np.all((q >= self.lower - _LIMIT_TOLERANCE) & (q <= self.upper + _LIMIT_TOLERANCE)))

    def slowed(self, share: float) -> "JointLimits":
        """The same ranges at a share of speed and acceleration."""
        return replace(self, velocity=share * self.velocity, acceleration=share * self.acceleration)


UR5_GEOMETRY = URGeometry(d1=0.089159, a2=-0.425, a3=-0.39225, d4=0.10915, d5=0.09465, d6=0.0823)
"""UR5 of the CB series (config/ur5 of Universal_Robots_ROS2_Description)."""

UR5_LIMITS = JointLimits(
    lower=np.array([-2 * np.pi, -2 * np.pi, -np.pi, -2 * np.pi, -2 * np.pi, -2 * np.pi]),
    upper=np.array([2 * np.pi, 2 * np.pi, np.pi, 2 * np.pi, 2 * np.pi, 2 * np.pi]),
    velocity=np.full(6, 1.05),
    acceleration=np.full(6, 1.4),
    effort=np.array([150.0, 150.0, 150.0, 28.0, 28.0, 28.0]),
)
"""Ranges and torques of the UR5 (the elbow kept to half a turn, as the public planning files do). The joints could turn at pi rad/s;
these are the gentler speed and acceleration that URScript's `movej` takes when none are given."""


def link_transforms(q: Float[np.ndarray, "*batch 6"], geometry: URGeometry = UR5_GEOMETRY) -> Float[np.ndarray, "*batch 7 4 4"]:
    """`T_base_k` of the Denavit-Hartenberg frames k = 0 (base) to 6 (flange)."""
    frames = [np.broadcast_to(np.eye(4), (*q.shape[:-1], 4, 4))]
    for joint in range(6):
        step = _joint_transform(q[..., joint], geometry.offsets[joint], geometry.lengths[joint], _TWISTS[joint])
        frames.append(frames[-1] @ step)
    return np.stack(frames, axis=-3)


def forward_kinematics(q: Float[np.ndarray, "*batch 6"], geometry: URGeometry = UR5_GEOMETRY) -> Float[np.ndarray, "*batch 4 4"]:
    """`T_base_flange` of joint positions."""
    return link_transforms(q, geometry)[..., 6, :, :]


def jacobian(q: Float[np.ndarray, "6"], geometry: URGeometry = UR5_GEOMETRY) -> Float[np.ndarray, "6 6"]:
    """Joint speeds to the flange's velocity in the base frame: three rows of m/s of its origin, three of rad/s."""
    frames = link_transforms(q, geometry)
    axes, origins = frames[:6, :3, 2], frames[:6, :3, 3]
    return np.concatenate([np.cross(axes, frames[6, :3, 3] - origins).T, axes.T])


def manipulability(q: Float[np.ndarray, "6"], geometry: URGeometry = UR5_GEOMETRY) -> float:
    """Yoshikawa's measure |det J|: 0 at a singularity (stretched elbow, wrist axes aligned, wrist above the shoulder)."""
    return float(abs(np.linalg.det(jacobian(q, geometry))))


def inverse_kinematics(
    T_base_flange: Float[np.ndarray, "4 4"], geometry: URGeometry = UR5_GEOMETRY, free_wrist_3: float = 0.0
) -> Float[np.ndarray, "n 6"]:
    """Every joint configuration (at most 8, angles in (-pi, pi]) that puts the flange there; none where it is out of reach.

    The axes of joints 2, 3 and 4 are parallel, along y1 = (sin q1, -cos q1, 0). The wrist centre p - d6 z lies d4 along y1, which
    gives q1. Seen from the flange, y1 is (sin q5 cos q6, -sin q5 sin q6, cos q5), which gives q5 and q6. What is left, seen from
    frame 1, is a planar arm of two links with a given end direction: q2, q3, q4. Where sin q5 = 0 only the sum of q6 and the planar
    angles is fixed: q6 is then `free_wrist_3` if the arm reaches so, else the value that brings wrist 1 nearest to or farthest from
    the shoulder.
    """
    solutions = []
    for q1 in _shoulder_angles(T_base_flange, geometry):
        for q5, candidates in _wrist_angles(T_base_flange, q1, free_wrist_3, geometry):
            reached = ((q6, _planar_angles(T_base_flange, q1, q5, q6, geometry)) for q6 in candidates)
            q6, planar = next(((q6, planar) for q6, planar in reached if planar), (0.0, []))
            solutions += [[q1, *angles, q5, q6] for angles in planar]
    return wrap_angle(np.array(solutions).reshape(-1, 6))


def configurations_near(
    q: Float[np.ndarray, "6"], reference: Float[np.ndarray, "6"], limits: JointLimits = UR5_LIMITS
) -> Float[np.ndarray, "n 6"]:
    """The same posture with whole turns added, as far as the limits allow: the nearest to `reference` first."""
    turns = 2 * np.pi * np.array([-2, -1, 0, 1, 2])
    choices = []
    for joint in range(6):
        candidates = q[joint] + turns
        candidates = candidates[
            (candidates >= limits.lower[joint] - _LIMIT_TOLERANCE) & (candidates <= limits.upper[joint] + _LIMIT_TOLERANCE)
        ]
        choices.append(candidates[np.argsort(abs(candidates - reference[joint]), kind="stable")][:2])
    all_turns = np.array(list(product(*choices))).reshape(-1, 6)
    return all_turns[np.argsort(np.linalg.norm(all_turns - reference, axis=1), kind="stable")]


def wrap_angle(angle: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The same angles in (-pi, pi]."""
    return np.pi - np.mod(np.pi - angle, 2 * np.pi)


def _joint_transform(q: np.ndarray, d: float, a: float, alpha: float) -> np.ndarray:
    """Rotation q about z, d along z, a along x, rotation alpha about x."""
    c, s, ca, sa = np.cos(q), np.sin(q), np.cos(alpha), np.sin(alpha)
    zero, one = np.zeros_like(c), np.ones_like(c)
    rows = [[c, -s * ca, s * sa, a * c], [s, c * ca, -c * sa, a * s], [zero, sa * one, ca * one, d * one], [zero, zero, zero, one]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _both_signs(cosine: float) -> list[float]:
    """The angles of a cosine: two, one where they coincide, none where it is no cosine."""
    if abs(cosine) > 1 + _COSINE_TOLERANCE:
        return []
    angle = float(np.arccos(np.clip(cosine, -1.0, 1.0)))
    return [angle, -angle] if angle > 0 else [angle]


def _shoulder_angles(T: np.ndarray, g: URGeometry) -> list[float]:
    """q1: the wrist centre lies d4 beside the vertical plane through the upper arm."""
    x, y, _ = T[:3, 3] - g.d6 * T[:3, 2]
    distance = float(np.hypot(x, y))
    if distance == 0:
        return []
    return [np.arctan2(y, x) + np.pi / 2 + angle for angle in _both_signs(g.d4 / distance)]


def _wrist_angles(T: np.ndarray, q1: float, free: float, g: URGeometry) -> list[tuple[float, list[float]]]:
    """q5 and the q6 to try with it, from the direction of the parallel axes seen from the flange."""
    x, y, z = T[:3, :3].T @ [np.sin(q1), -np.cos(q1), 0.0]
    sine = float(np.hypot(x, y))
    if sine < _SINGULAR_SINE:
        outward_x, outward_y, _ = T[:3, :3].T @ (T[:3, 3] - [0.0, 0.0, g.d1])
        farthest = float(np.arctan2(outward_x, outward_y))
        return [(0.0 if z > 0 else np.pi, [free, farthest + np.pi, farthest])]
    q5 = float(np.arctan2(sine, z))
    return [(q5, [float(np.arctan2(-y, x))]), (-q5, [float(np.arctan2(y, -x))])]


def _planar_angles(T: np.ndarray, q1: float, q5: float, q6: float, g: URGeometry) -> list[tuple[float, float, float]]:
    """(q2, q3, q4): the two-link arm in the plane of frame 1 that carries wrist 1."""
    T_0_1 = _joint_transform(np.asarray(q1), g.d1, 0.0, np.pi / 2)
    T_4_6 = _joint_transform(np.asarray(q5), g.d5, 0.0, -np.pi / 2) @ _joint_transform(np.asarray(q6), g.d6, 0.0, 0.0)
    T_1_4 = np.linalg.solve(T_0_1, T @ np.linalg.inv(T_4_6))
    x, y = T_1_4[:2, 3] - g.d4 * T_1_4[:2, 1]
    total = np.arctan2(T_1_4[1, 0], T_1_4[0, 0])
    angles = []
    for q3 in _both_signs((x * x + y * y - g.a2**2 - g.a3**2) / (2 * g.a2 * g.a3)):
        q2 = np.arctan2(y, x) - np.arctan2(g.a3 * np.sin(q3), g.a2 + g.a3 * np.cos(q3))
        angles.append((q2, q3, total - q2 - q3))
    return angles
