"""Rigid transforms on numpy arrays, as PyBullet takes and gives them."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation


def split_pose(T_a_b: np.ndarray) -> tuple[list[float], list[float]]:
    """Position and quaternion (x, y, z, w), as PyBullet takes them. Shepperd's method on plain floats: it runs every time step."""
    (a, b, c, x), (d, e, f, y), (g, h, i, z), _ = T_a_b.tolist()
    trace = a + e + i
    if trace >= max(a, e, i):
        quaternion = [h - f, c - g, d - b, 1 + trace]
    elif a >= max(e, i):
        quaternion = [1 + a - e - i, b + d, c + g, h - f]
    elif e >= i:
        quaternion = [b + d, 1 - a + e - i, f + h, c - g]
    else:
        quaternion = [c + g, f + h, 1 - a - e + i, d - b]
    length = math.hypot(*quaternion)
    return [x, y, z], [part / length for part in quaternion]


def join_pose(position: Sequence[float], quaternion: Sequence[float]) -> Float[np.ndarray, "4 4"]:
    """What `split_pose` took apart."""
    T_a_b = np.eye(4)
    T_a_b[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    T_a_b[:3, 3] = position
    return T_a_b


def invert_pose(T_a_b: np.ndarray) -> Float[np.ndarray, "4 4"]:
    """`T_b_a` of a rigid `T_a_b`."""
    T_b_a = np.eye(4)
    T_b_a[:3, :3] = T_a_b[:3, :3].T
    T_b_a[:3, 3] = -T_a_b[:3, :3].T @ T_a_b[:3, 3]
    return T_b_a


def angle_between(T_world_a: np.ndarray, T_world_b: np.ndarray) -> float:
    """Angle of the rotation between two poses, radians; exact near 0 and near pi."""
    rotation = (T_world_a @ invert_pose(T_world_b))[:3, :3]
    sine = np.linalg.norm([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]) / 2
    return float(np.arctan2(sine, (np.trace(rotation) - 1) / 2))
