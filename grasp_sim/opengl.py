"""OpenGL's matrices of a pinhole camera, as PyBullet's renderer takes them, and its buffers, as it gives them."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from grasp_sim.records import BACKGROUND, Picture
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


def read_buffers(camera: Camera, near: float, far: float, colour: ArrayLike, depth: ArrayLike, bodies: ArrayLike) -> Picture:
    """The picture in the colour (RGBA), depth (0 at `near`, 1 at `far`, metres) and segmentation buffers of a camera."""
    size = (camera.height, camera.width)
    bodies = np.asarray(bodies, dtype=np.int64).reshape(size)
    buffer = np.asarray(depth, dtype=np.float64).reshape(size)
    metres = far * near / (far - (far - near) * buffer)
    rgb = np.asarray(colour, dtype=np.uint8).reshape(*size, 4)[..., :3]
    return Picture(np.ascontiguousarray(rgb), np.where(bodies == BACKGROUND, 0.0, metres), bodies)
