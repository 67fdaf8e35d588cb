"""What grasps of a benchmark are planned on: reconstructions of the noisy view, the truth, or hulls of what is visible."""

import numpy as np
import torch

from grasp_sim.benchmark import Percept, Perception, closed_or_hull, see_hulls, see_truth
from grasp_sim.clutter import View, calibrate_depth
from grasp_sim.occlusion import Occlusion
from grasp_sim.solids import PlacedSolid, build_solid, object_surface
from invgraphics.denoise import smooth_depth
from invgraphics.errors import InputError
from invgraphics.observation import Observation
from invgraphics.plane import SupportPlane, find_support_plane
from invgraphics.segment.plain import propose_plain_masks
from optim.options import ReconstructionOptions
from optim.reconstruct import reconstruct

_LOW = 0.03
"""Metres from the plane up to which a depth is taken for that of the plane, to tell its noise."""
_ROUGH = 0.005
"""Noise of the inverse depth, 1/m, above which depth is smoothed first: 2 mm at 0.6 m, twice a stereo camera's."""


def see_reconstruction(view: View, seed: int) -> Percept:
    """Objects reconstructed from the noisy view alone, masks by colour; in the true world frame by the known camera pose."""
    observation = calibrate_depth(view.observation)
    plane = find_support_plane(observation, torch.Generator().manual_seed(seed))
    if plane is None:
        return Percept(())
    return _reconstruct(observation.with_masks(propose_plain_masks(observation, plane)), plane, seed)


def see_reconstruction_with_masks(view: View, seed: int) -> Percept:
    """As `see_reconstruction`, with the true masks."""
    masks = torch.tensor(np.stack([view.seen == k for k in range(len(view.truth))]))
    visible = [k for k in range(len(masks)) if bool(masks[k].any())]
    observation = calibrate_depth(view.observation).with_masks(masks[visible])
    plane = find_support_plane(observation, torch.Generator().manual_seed(seed))
    return Percept(()) if plane is None else _reconstruct(observation, plane, seed)


PERCEPTIONS: dict[str, Perception] = {
    "reconstruction": see_reconstruction,
    "reconstruction-with-masks": see_reconstruction_with_masks,
    "truth": see_truth,
    "hull": see_hulls,
}


def _reconstruct(observation: Observation, plane: SupportPlane, seed: int) -> Percept:
    """Nothing where no mask holds enough depth. What comes out open is replaced by its convex hull."""
    T_world_camera = observation.camera.T_world_camera.double().numpy()
    in_camera_frame = observation.with_camera_pose(torch.eye(4, dtype=observation.depth.dtype))
    if not bool((observation.masks.any(0) & observation.valid).any()):
        return Percept(())
    noise = _measure_noise(observation, plane)
    if noise > _ROUGH:
        in_camera_frame = smooth_depth(in_camera_frame, noise, in_camera_frame.masks.any(0))
    try:
        scene = reconstruct(in_camera_frame, seed=seed, options=ReconstructionOptions(appearance=False)).scene
    except InputError:
        return Percept(())
    T_world_scene = T_world_camera @ np.linalg.inv(scene.camera.T_world_camera.detach().double().numpy())
    solids = [
        PlacedSolid(
            build_solid(closed_or_hull(object_surface(item))), T_world_scene @ item.T_world_object.detach().double().numpy(), item.name
        )
        for item in scene.objects
    ]
    return Percept(solids, Occlusion.of(observation))


def _measure_noise(observation: Observation, plane: SupportPlane) -> float:
    """Standard deviation of the objects' inverse depth, 1/m: that of the depth near the plane, taken to be the same at the objects."""
    low = observation.valid & (plane.height(observation.camera.unproject(observation.depth)).abs() < _LOW)
    expected = 1 / (observation.camera.rays() @ (plane.normal / plane.offset_m))
    scatter = 1.4826 * (observation.depth[low] - expected[low]).abs().median()
    return float(scatter / observation.depth[observation.masks.any(0) & observation.valid].median() ** 2)
