"""Writes an observation as a frame folder, which `load_frame` reads."""

import json
from pathlib import Path

import numpy as np

from invgraphics.datasets.files import write_image
from invgraphics.geometry.mesh import srgb_from_linear
from invgraphics.observation import Observation

_FINEST_M = 1e-4
"""Metres a step of the depth image, where the farthest reading allows it."""
_STEPS = 65_535


def write_frame_folder(observation: Observation, folder: Path, *, with_pose: bool = False) -> None:
    """Writes `rgb.png`, `depth.png` (16 bit), `mask.png` where there are masks, and `camera.json` to a new folder.

    Colours come back to 8-bit sRGB accuracy, depth to half a step: 0.05 mm up to 6.5 m. Masks keep their numbers, from 1.

    Args:
        observation: what is written.
        folder: the new folder.
        with_pose: whether `camera.json` says where the camera stood. Frames that do are taken to share one world frame, so that their poses
            are not looked for when they are reconstructed together.
    """
    folder.mkdir(parents=True)
    camera = observation.camera
    colour = np.round(255 * srgb_from_linear(observation.colour).cpu().numpy()).astype(np.uint8)
    depth = (observation.depth * observation.valid).cpu().double().numpy()
    scale = max(_FINEST_M, float(depth.max(initial=0.0)) / _STEPS)
    write_image(folder / "rgb.png", colour)
    write_image(folder / "depth.png", np.round(depth / scale).astype(np.uint16))
    if len(observation.masks):
        numbers = np.arange(1, len(observation.masks) + 1, dtype=np.uint16)[:, None, None]
        write_image(folder / "mask.png", (observation.masks.cpu().numpy() * numbers).max(0))
    description = {
        "K": camera.K.tolist(),
        "width": camera.width,
        "height": camera.height,
        "depth_scale_m": scale,
    }
    if with_pose:
        description["T_world_camera"] = camera.T_world_camera.tolist()
    (folder / "camera.json").write_text(json.dumps(description, indent=1) + "\n")
