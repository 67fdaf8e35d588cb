"""Rotations and rigid transforms as plain tensors: exp, log, compose, invert, apply.

A rotation is (..., 3, 3), a rigid transform (..., 4, 4). `T_a_b` takes coordinates in b to coordinates in a, so names chain:
`T_a_c = T_a_b @ T_b_c`. Everything is differentiable, near the identity too, and batches over leading axes.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_SMALL_ANGLE_SQUARED = {torch.float32: 1e-4, torch.float64: 1e-8}


def skew(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Cross-product matrix: `skew(a) @ b == cross(a, b)`."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*vector.shape, 3)


def so3_exp(rotation_vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of an axis-angle vector in radians (Rodrigues' formula; Taylor series near zero)."""
    angle_squared = (rotation_vector**2).sum(-1)
    small = angle_squared < _SMALL_ANGLE_SQUARED[rotation_vector.dtype]
    safe = torch.where(small, torch.ones_like(angle_squared), angle_squared)
    angle = safe.sqrt()
    sine_term = torch.where(small, 1 - angle_squared / 6 + angle_squared**2 / 120, angle.sin() / angle)
    cosine_term = torch.where(small, 0.5 - angle_squared / 24 + angle_squared**2 / 720, (1 - angle.cos()) / safe)
    cross = skew(rotation_vector)
    identity = torch.eye(3, dtype=rotation_vector.dtype, device=rotation_vector.device)
    return identity + sine_term[..., None, None] * cross + cosine_term[..., None, None] * (cross @ cross)


def so3_log(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Axis-angle vector in radians, of length at most pi (through the quaternion, so stable near 0 and near pi)."""
    quaternion = quaternion_from_matrix(rotation)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, xyz = quaternion[..., 0], quaternion[..., 1:]
    sine_squared = (xyz**2).sum(-1)
    small = sine_squared < _SMALL_ANGLE_SQUARED[rotation.dtype] / 4
    sine = torch.where(small, torch.ones_like(sine_squared), sine_squared).sqrt()
    scale = torch.where(small, 2 / w.clamp(min=0.5) * (1 - sine_squared / (3 * w.clamp(min=0.5) ** 2)), 2 * torch.atan2(sine, w) / sine)
    return xyz * scale[..., None]


def quaternion_from_matrix(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion (w, x, y, z) of a rotation, by the best conditioned of Shepperd's four branches."""
    m = rotation
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squares = torch.stack([1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], dim=-1)
    off = torch.stack(
        [
            m[..., 2, 1] - m[..., 1, 2],
            m[..., 0, 2] - m[..., 2, 0],
            m[..., 1, 0] - m[..., 0, 1],
            m[..., 1, 0] + m[..., 0, 1],
            m[..., 0, 2] + m[..., 2, 0],
            m[..., 2, 1] + m[..., 1, 2],
        ],
        dim=-1,
    )
    wx, wy, wz, xy, xz, yz = off.unbind(-1)
    candidates = torch.stack(
        [
            torch.stack([squares[..., 0], wx, wy, wz], dim=-1),
            torch.stack([wx, squares[..., 1], xy, xz], dim=-1),
            torch.stack([wy, xy, squares[..., 2], yz], dim=-1),
            torch.stack([wz, xz, yz, squares[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    chosen = candidates.gather(-2, best).squeeze(-2)
    return chosen / chosen.norm(dim=-1, keepdim=True)


def matrix_from_quaternion(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation of a quaternion (w, x, y, z) of any non-zero length."""
    w, x, y, z = (quaternion / quaternion.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(*quaternion.shape[:-1], 3, 3)


def rigid(rotation: Float[Tensor, "*batch 3 3"], translation: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4 4"]:
    """Rigid transform `x -> rotation @ x + translation`."""
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=rotation.dtype, device=rotation.device)
    return torch.cat([top, bottom.expand(*rotation.shape[:-2], 1, 4)], dim=-2)


def invert(T_a_b: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """`T_b_a` of a rigid `T_a_b` (by transposing its rotation, not by a general inverse)."""
    rotation = T_a_b[..., :3, :3].transpose(-1, -2)
    return rigid(rotation, -(rotation @ T_a_b[..., :3, 3:]).squeeze(-1))


def transform_points(T_a_b: Float[Tensor, "*batch 4 4"], points_b: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n 3"]:
    """Points given in b, in the coordinates of a."""
    return points_b @ T_a_b[..., :3, :3].transpose(-1, -2) + T_a_b[..., None, :3, 3]


def transform_directions(T_a_b: Float[Tensor, "*batch 4 4"], directions_b: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n 3"]:
    """Directions (or normals) given in b, in the coordinates of a."""
    return directions_b @ T_a_b[..., :3, :3].transpose(-1, -2)


def se3_exp(twist: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 4 4"]:
    """Rigid transform of a twist (translational part first, metres; then rotational part, radians).

    Translation is `V @ v` with `V` the left Jacobian of SO(3) (Barfoot, State Estimation for Robotics, eq. 7.77b).
    """
    v, w = twist[..., :3], twist[..., 3:]
    return rigid(so3_exp(w), (so3_left_jacobian(w) @ v[..., None]).squeeze(-1))


def se3_log(T_a_b: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 6"]:
    """Twist (translational part first) whose `se3_exp` is the transform."""
    w = so3_log(T_a_b[..., :3, :3])
    v = torch.linalg.solve(so3_left_jacobian(w), T_a_b[..., :3, 3:]).squeeze(-1)
    return torch.cat([v, w], dim=-1)


def so3_left_jacobian(rotation_vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Left Jacobian of SO(3) (Barfoot, eq. 7.77b)."""
    angle_squared = (rotation_vector**2).sum(-1)
    small = angle_squared < _SMALL_ANGLE_SQUARED[rotation_vector.dtype]
    safe = torch.where(small, torch.ones_like(angle_squared), angle_squared)
    angle = safe.sqrt()
    first = torch.where(small, 0.5 - angle_squared / 24, (1 - angle.cos()) / safe)
    second = torch.where(small, 1 / 6 - angle_squared / 120, (angle - angle.sin()) / (safe * angle))
    cross = skew(rotation_vector)
    identity = torch.eye(3, dtype=rotation_vector.dtype, device=rotation_vector.device)
    return identity + first[..., None, None] * cross + second[..., None, None] * (cross @ cross)
