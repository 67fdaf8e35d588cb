"""Grasps for a robot's own program: JSON that says its frames, each grasp in the camera's, the world's and the object's coordinates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from invgraphics import __version__
from invgraphics.exports.bodies import quaternion_xyzw
from invgraphics.grasp import Grasp
from invgraphics.output import write_json
from invgraphics.scene import Scene

_VERSION = 1
_FRAMES = {
    "world": "z up, the support plane at z = 0",
    "camera": "x right, y down, z forward (OpenCV, ROS optical frame)",
    "object": "origin at the centre of the object's ellipsoid, axes along its radii",
}
_UNITS = {"position": "m", "quaternion_xyzw": "unit quaternion, scalar last", "matrix": "4x4, rows", "joints": "rad or m", "width": "m"}


def write_grasp_poses(scene: Scene, grasps: Sequence[Grasp], hand_frames: Mapping[str, str], path: Path) -> None:
    """Writes all grasps, best first.

    Args:
        scene: what `object_index` of the grasps counts.
        grasps: best first.
        hand_frames: for the name of each hand that occurs, what its frame is, in words.
        path: the JSON file.
    """
    T_world_camera = scene.camera.T_world_camera.detach().cpu().double().numpy()
    T_camera_world = np.linalg.inv(T_world_camera)
    objects = [item.T_world_object.detach().cpu().double().numpy() for item in scene.objects]
    content = {
        "format": "invgraphics grasp poses",
        "version": _VERSION,
        "generator": f"invgraphics {__version__}",
        "convention": "T_a_b takes coordinates in b to coordinates in a",
        "units": _UNITS,
        "frames": {**_FRAMES, "hand": dict(hand_frames)},
        "T_world_camera": _describe_pose(T_world_camera),
        "objects": [
            {"index": k, "name": item.name, "T_world_object": _describe_pose(T), "T_camera_object": _describe_pose(T_camera_world @ T)}
            for k, (item, T) in enumerate(zip(scene.objects, objects, strict=True))
        ],
        "grasps": [_describe_grasp(rank, grasp, objects[grasp.object_index], T_camera_world) for rank, grasp in enumerate(grasps)],
    }
    write_json(path, content)


def _describe_grasp(
    rank: int, grasp: Grasp, T_world_object: Float[np.ndarray, "4 4"], T_camera_world: Float[np.ndarray, "4 4"]
) -> dict[str, Any]:
    T_world_hand = np.asarray(grasp.T_world_hand)
    return {
        "rank": rank,
        "object_index": grasp.object_index,
        "hand": grasp.hand,
        "T_world_hand": _describe_pose(T_world_hand),
        "T_camera_hand": _describe_pose(T_camera_world @ T_world_hand),
        "T_object_hand": _describe_pose(np.linalg.inv(T_world_object) @ T_world_hand),
        "preshape": grasp.preshape,
        "closed": grasp.closed,
        "efforts": grasp.efforts,
        "width": grasp.width,
        "success_rate": grasp.success_rate,
        "success_interval_95": list(grasp.success_interval),
        "trials": grasp.trials,
    }


def _describe_pose(T_a_b: Float[np.ndarray, "4 4"]) -> dict[str, Any]:
    return {"position": T_a_b[:3, 3].tolist(), "quaternion_xyzw": quaternion_xyzw(T_a_b), "matrix": T_a_b.tolist()}
