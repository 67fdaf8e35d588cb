"""OpenGL's matrices of a pinhole camera, as PyBullet's renderer takes them."""

import numpy as np
from jaxtyping import Float

from invgraphics.camera import Camera


def view_matrix(camera: Camera) -> Float[np.ndarray, "4 4"]:
    """World to OpenGL's camera frame (x right, y up, z backward)."""
    return np.diag([1.0, -1.0, -1.0, 1.0]) @ camera.T_camera_world.detach().cpu().double().numpy()


def projection_matrix(camera: Camera, near: float, far: float) -> Float[np.ndarray, "4 4"]:
    """OpenGL's projection (clip y upward) of K with pixel centres at integers.

    TinyRenderer evaluates a pixel at its lower left corner, not at its centre (found by fitting the depth of a tilted plane), so
    that corner is placed where the centre belongs.
    """
    K = camera.K.detach().cpu().double().numpy()
    width, height = camera.width, camera.height
    return np.array(
        [
            [2 * K[0, 0] / width, 0, 1 - 2 * K[0, 2] / width, 0],
            [0, 2 * K[1, 1] / height, 2 * (K[1, 2] + 1) / height - 1, 0],
            [0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, -1, 0],
        ]
    )
