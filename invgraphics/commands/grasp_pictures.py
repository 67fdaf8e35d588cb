"""Ranked grasps drawn on the scene: hands as they come in, in the colours of the objects that they grasp."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float

from grasp_sim.hands import Hand
from invgraphics.camera import Camera
from invgraphics.datasets.files import write_image
from invgraphics.grasp import Grasp
from invgraphics.report.images import Image, colour_of, composite
from invgraphics.scene import Scene
from renderers.protocol import make_renderer

_PER_OBJECT = 3
"""Grasps of an object that are drawn, the best solid."""
_BEST_FILL, _OTHER_FILL = 0.55, 0.12
_CORNERS = np.array(list(product((-1.0, 1.0), repeat=3)))
_NEAR = 0.02
"""Metres in front of the camera; hands that reach nearer are not drawn."""


def render_grasps(scene: Scene, grasps: Sequence[Grasp], hand: Hand) -> Image:
    """The scene from its own camera with the best grasps of every object, numbered by their rank."""
    with torch.no_grad():
        rendered = make_renderer("auto")(scene, scene.camera)
    covered = torch.maximum((rendered.depth > 0).to(rendered.colour), rendered.foreground)
    return draw_grasps(composite(rendered.colour, covered), scene.camera, grasps, hand)


def draw_grasps(image: Image, camera: Camera, grasps: Sequence[Grasp], hand: Hand) -> Image:
    """The image with the outlines of hands in their pre-shape; grasps best first, in the world frame of `camera`."""
    drawn: dict[int, list[int]] = {}
    for rank, grasp in enumerate(grasps):
        if len(drawn.setdefault(grasp.object_index, [])) < _PER_OBJECT:
            drawn[grasp.object_index].append(rank)
    result = image.copy()
    for ranks in drawn.values():
        for rank in reversed(ranks):
            _draw_hand(result, camera, grasps[rank], hand, str(rank + 1), rank == ranks[0])
    return result


def save_picture(image: Image, path: Path) -> None:
    """Writes it as a PNG."""
    write_image(path, image)


def _draw_hand(image: Image, camera: Camera, grasp: Grasp, hand: Hand, label: str, best: bool) -> None:
    """Draws a hand, shape by shape, into the image."""
    colour = tuple(int(colour_of(grasp.object_index)[k : k + 2], 16) for k in (1, 3, 5))
    silhouette = np.zeros(image.shape[:2], dtype=np.uint8)
    for corners in _shape_corners(grasp, hand):
        pixels, depth = camera.project(torch.as_tensor(corners).to(camera.K))
        if bool((depth > _NEAR).all()):
            hull = cv2.convexHull(np.round(pixels.cpu().numpy()).astype(np.int32))
            cv2.fillConvexPoly(silhouette, hull, 255)
    inside = silhouette > 0
    fill = _BEST_FILL if best else _OTHER_FILL
    image[inside] = np.round((1 - fill) * image[inside] + fill * np.array(colour)).astype(np.uint8)
    outlines, _ = cv2.findContours(silhouette, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, outlines, -1, colour, 2 if best else 1, cv2.LINE_AA)
    if best and inside.any():
        v, u = (int(values.mean()) for values in np.nonzero(inside))
        for shade, width in (((20, 20, 20), 4), ((255, 255, 255), 2)):
            cv2.putText(image, label, (u - 6, v + 6), cv2.FONT_HERSHEY_SIMPLEX, 0.6, shade, width, cv2.LINE_AA)


def _shape_corners(grasp: Grasp, hand: Hand) -> list[Float[np.ndarray, "8 3"]]:
    """Corners of the boxes about the hand's collision shapes, world frame, metres."""
    poses = hand.link_poses(grasp.preshape)
    corners = []
    for shape in hand.kinematics.shapes:
        size = np.full(3, shape.size[0]) if shape.kind == "sphere" else np.asarray(shape.size)
        T = grasp.T_world_hand @ poses[shape.link] @ shape.T_link_shape
        corners.append((_CORNERS * size) @ T[:3, :3].T + T[:3, 3])
    return corners
