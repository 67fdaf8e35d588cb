"""Poses as Universal Robots write them, `[x, y, z, rx, ry, rz]` with a rotation vector, and as 4 x 4 matrices. Metres and radians."""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation


def pose_to_matrix(pose: Float[np.ndarray, "6"]) -> Float[np.ndarray, "4 4"]:
    """`T_base_tcp` of a pose vector."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(pose[3:]).as_matrix()
    T[:3, 3] = pose[:3]
    return T


def matrix_to_pose(T: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "6"]:
    """The pose vector whose rotation vector is at most pi long."""
    return np.concatenate([T[:3, 3], Rotation.from_matrix(T[:3, :3]).as_rotvec()])
