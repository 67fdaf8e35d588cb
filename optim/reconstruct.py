"""The whole way from an observation to a reconstruction: the stages in their order."""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.datasets.checks import find_masks_without_depth
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh
from invgraphics.observation import Observation
from invgraphics.plane import find_support_plane
from invgraphics.reconstruction import Reconstruction
from invgraphics.scene import AmbientLight, Material, Plane, Scene, SceneObject
from invgraphics.transforms import invert, rigid
from optim.completion import complete_objects
from optim.object_view import view_objects

Progress = Callable[[str, float], None]
"""Told the name of the stage and the fraction of the whole that is done, in [0, 1]."""


def reconstruct(observation: Observation, seed: int = 0, progress: Progress = lambda stage, fraction: None) -> Reconstruction:
    """Recovers the scene from one RGB-D image with masks.

    Deterministic given the seed and the number of threads.

    Raises:
        InputError: there is no mask, or none with enough depth.
    """
    left_out = find_masks_without_depth(observation)
    mask_indices = tuple(k for k in range(len(observation.masks)) if k not in left_out)
    if not mask_indices:
        reasons = "; ".join(f"mask {k}: {reason}" for k, reason in left_out.items()) or "it has no masks"
        raise InputError(f"{observation.name}: nothing to reconstruct: {reasons}; give at least one mask or box with depth readings in it")
    clock = _Clock(progress)
    generator = torch.Generator().manual_seed(seed)
    with clock.stage("support plane", 0.0):
        observation, has_plane = _place_camera(observation, generator)
    kept = observation.with_masks(observation.masks[list(mask_indices)], tuple(observation.object_names[k] for k in mask_indices))
    with clock.stage("completion", 0.1):
        views = view_objects(kept, has_plane)
        meshes = complete_objects(views, np.random.default_rng(seed))
    with clock.stage("scene", 0.9):
        scene = _assemble_scene(kept, meshes, has_plane)
    progress("done", 1.0)
    return Reconstruction(
        scene=scene,
        observation=observation,
        mask_indices=mask_indices,
        left_out=left_out,
        seconds=clock.seconds,
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


class _Clock:
    """Times the stages and tells the progress."""

    def __init__(self, progress: Progress):
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, fraction: float) -> Iterator[None]:
        self.progress(name, fraction)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def _place_camera(observation: Observation, generator: torch.Generator) -> tuple[Observation, bool]:
    """The observation in the world frame of its support plane; where none is found, with world z up the image."""
    plane = find_support_plane(observation, generator)
    if plane is not None:
        return observation.with_camera_pose(plane.T_world_camera), True
    upright = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]], dtype=observation.depth.dtype)
    return observation.with_camera_pose(rigid(upright, torch.zeros(3, dtype=upright.dtype))), False


def _assemble_scene(observation: Observation, meshes: list[tuple[np.ndarray, np.ndarray]], has_plane: bool) -> Scene:
    objects = []
    for name, mask, (vertices, faces) in zip(observation.object_names, observation.masks, meshes, strict=True):
        world = torch.as_tensor(vertices, dtype=torch.float32)
        T_world_object, radii = _principal_frame(world)
        colour = observation.colour[mask].mean(0)
        mesh = Mesh(world, torch.as_tensor(faces), colour.expand(len(world), 3)).transformed(invert(T_world_object))
        objects.append(SceneObject(name, T_world_object, radii, _matte(colour), mesh))
    background = observation.colour[~observation.masks.any(0) & observation.valid].median(0).values
    ambient = torch.zeros(9, 3)
    ambient[0] = 1 / 0.282095
    return Scene(tuple(objects), (AmbientLight(ambient),), Plane(_matte(background)) if has_plane else None, observation.camera)


def _matte(colour: Float[Tensor, "3"]) -> Material:
    return Material(colour, torch.tensor(0.0), torch.tensor(0.6))


def _principal_frame(points: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, "4 4"], Float[Tensor, "3"]]:
    centre = points.mean(0)
    axes = torch.linalg.eigh((points - centre).T @ (points - centre)).eigenvectors
    axes = axes * torch.linalg.det(axes).sign()
    local = (points - centre) @ axes
    middle, radii = (local.max(0).values + local.min(0).values) / 2, (local.max(0).values - local.min(0).values) / 2
    return rigid(axes, centre + axes @ middle), radii
