"""What grasps of a benchmark are planned on: reconstructions of the noisy view, the truth, or hulls of what is visible."""

from collections.abc import Sequence

import numpy as np
import torch

from grasp_sim.benchmark import Perception, closed_or_hull, see_hulls, see_truth
from grasp_sim.clutter import NOISE, VIEW_DISTANCE, View, calibrate_depth
from grasp_sim.solids import PlacedSolid, build_solid, object_surface
from invgraphics.denoise import smooth_depth
from invgraphics.errors import InputError
from invgraphics.observation import Observation
from invgraphics.plane import find_support_plane
from invgraphics.segment.plain import propose_plain_masks
from optim.options import ReconstructionOptions
from optim.reconstruct import reconstruct


def see_reconstruction(view: View, seed: int) -> Sequence[PlacedSolid]:
    """Objects reconstructed from the noisy view alone, masks by colour; in the true world frame by the known camera pose."""
    observation = calibrate_depth(view.observation)
    plane = find_support_plane(observation, torch.Generator().manual_seed(seed))
    if plane is None:
        return []
    return _reconstruct(observation.with_masks(propose_plain_masks(observation, plane)), seed)


def see_reconstruction_with_masks(view: View, seed: int) -> Sequence[PlacedSolid]:
    """The same with the true masks."""
    masks = torch.tensor(np.stack([view.seen == k for k in range(len(view.truth))]))
    visible = [k for k in range(len(masks)) if bool(masks[k].any())]
    return _reconstruct(calibrate_depth(view.observation).with_masks(masks[visible]), seed)


PERCEPTIONS: dict[str, Perception] = {
    "reconstruction": see_reconstruction,
    "reconstruction-with-masks": see_reconstruction_with_masks,
    "truth": see_truth,
    "hull": see_hulls,
}


def _reconstruct(observation: Observation, seed: int) -> Sequence[PlacedSolid]:
    """Nothing where no mask holds enough depth. What comes out open is replaced by its convex hull."""
    T_world_camera = observation.camera.T_world_camera.double().numpy()
    in_camera_frame = observation.with_camera_pose(torch.eye(4, dtype=observation.depth.dtype))
    smooth = smooth_depth(in_camera_frame, NOISE / VIEW_DISTANCE**2, in_camera_frame.masks.any(0))
    try:
        scene = reconstruct(smooth, seed=seed, options=ReconstructionOptions(appearance=False)).scene
    except InputError:
        return []
    T_world_scene = T_world_camera @ np.linalg.inv(scene.camera.T_world_camera.detach().double().numpy())
    return [
        PlacedSolid(
            build_solid(closed_or_hull(object_surface(item))), T_world_scene @ item.T_world_object.detach().double().numpy(), item.name
        )
        for item in scene.objects
    ]
