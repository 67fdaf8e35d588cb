"""The whole way from observations to a reconstruction: the stages in their order."""

import resource
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.datasets.checks import find_masks_without_depth
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh
from invgraphics.observation import Observation
from invgraphics.plane import find_support_plane
from invgraphics.reconstruction import Reconstruction, StageHistory
from invgraphics.scene import AmbientLight, Material, Plane, Scene, SceneObject
from invgraphics.transforms import invert, rigid
from optim.appearance import Appearance, estimate_appearance
from optim.association import merge_objects
from optim.baking import bake_texture
from optim.checkpoint import Checkpoint, StageRunner, compute_key
from optim.completion import complete_object
from optim.ellipsoids import EllipsoidPosterior, fit_ellipsoids
from optim.evidence import ObjectEvidence, gather_evidence
from optim.hidden_ends import extend_hidden_ends
from optim.hypotheses import Hypothesis
from optim.leaning import let_lean
from optim.mesh_stage import build_cage_surface, build_crop_targets, fit_cage
from optim.neighbours import separate
from optim.object_view import ObjectView, view_objects
from optim.obstacles import find_obstacles
from optim.options import ReconstructionOptions
from optim.registration import register_observations
from optim.scene_stage import SceneStageResult, fit_scene_shapes
from optim.threads import one_thread
from optim.trimming import trim_masks
from renderers.protocol import Rendered, make_renderer
from renderers.rasterize import make_rasterizer

_POSE_TOLERANCE = 0.01
"""By which a pose that should be the identity may differ from it, in metres and in entries of its rotation."""
Progress = Callable[[str, float], None]
"""Told the name of the stage and the fraction of the whole that is done, in [0, 1]."""


def reconstruct(
    observation: Observation,
    seed: int = 0,
    progress: Progress = lambda stage, fraction: None,
    options: ReconstructionOptions = ReconstructionOptions(),  # noqa: B008 (frozen)
    checkpoint: Path | None = None,
) -> Reconstruction:
    """Recovers the scene from one RGB-D image with masks: `reconstruct_views` of one."""
    return reconstruct_views([observation], None, seed, progress, options, checkpoint)


def reconstruct_views(
    observations: Sequence[Observation],
    T_first_camera: Float[Tensor, "k 4 4"] | None = None,
    seed: int = 0,
    progress: Progress = lambda stage, fraction: None,
    options: ReconstructionOptions = ReconstructionOptions(),  # noqa: B008 (frozen)
    checkpoint: Path | None = None,
) -> Reconstruction:
    """Recovers the scene from k RGB-D images of it, with masks: the objects of the first one, refined by what the others show of them.

    Completions and meshes follow all images; ellipsoids, materials, lights and colours follow the first.

    Args:
        observations: at least one. Each has its own masks; which show the same object is found out.
        T_first_camera: each camera's coordinates to the first one's, metres, so that the first is the identity; estimated where None
            (`optim.registration`).
        seed: the same gives the same result.
        progress: told of every stage.
        options: leave out ingredients, for ablations.
        checkpoint: a folder that keeps every stage's outcome: a run with the same arguments goes on after the last stage kept there, to the
            same result to the bit. The folder is the caller's to remove.

    Raises:
        InputError: an image has no mask, or none with enough depth; the images do not register, or the poses do not go with them; or the
            checkpoint cannot be read or written.
    """
    _check_poses(T_first_camera, len(observations))
    observation = observations[0]
    kept, mask_indices, left_out = _leave_out(observation)
    others = [_leave_out(other)[0] for other in observations[1:]]
    generator = torch.Generator().manual_seed(seed)
    key = compute_key(observations, T_first_camera, seed, options)
    stages = StageRunner(progress, generator, checkpoint and Checkpoint(checkpoint, key))
    with one_thread():
        kept, has_plane = stages.run("support plane", 0.0, lambda: _place_camera(kept, generator, options.support))
        rests = has_plane and options.support
        place = partial(_place_others, others, T_first_camera, kept, has_plane, rests, generator)
        others, registrations = stages.run("registration", 0.03, place) if others else ([], [])
        evidence, start = stages.run("ellipsoids", 0.05, lambda: _start_ellipsoids(kept, rests, options))
        ellipsoids = stages.run("ellipsoids to image", 0.15, lambda: _refine_ellipsoids(evidence, start, options))
        scene = build_ellipsoid_scene(kept, ellipsoids.posterior, has_plane)
        lit, light_history = stages.run("ellipsoids' materials and lights", 0.2, lambda: _start_appearance(kept, scene, generator, options))
        views = merge_objects([view_objects(item, rests) for item in (kept, *others)])
        completions = stages.run("completion", 0.3, lambda: _complete(views, np.random.default_rng(seed), options))
        scene, cages, cage_histories = stages.run("cages", 0.5, lambda: _fit_cages(lit, views, completions, rests, options))
        scene, final_history = stages.run("materials and lights", 0.85, lambda: _finish_appearance(kept, scene, generator, options))
    progress("done", 1.0)
    return Reconstruction(
        scene=scene,
        observation=observation.with_camera_pose(kept.camera.T_world_camera),
        mask_indices=mask_indices,
        left_out=left_out,
        hypotheses=tuple(completion.name for completion in completions),
        cages=cages,
        history=(*registrations, ellipsoids.history, *light_history, *cage_histories, *final_history),
        seconds=stages.seconds,
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _check_poses(T_first_camera: Float[Tensor, "k 4 4"] | None, images: int) -> None:
    if T_first_camera is None:
        return
    if len(T_first_camera) != images:
        raise InputError(f"the number of camera poses is {len(T_first_camera)}; {images} images need as many, the identity for the first")
    if not torch.allclose(T_first_camera[0], torch.eye(4).to(T_first_camera), atol=_POSE_TOLERANCE):
        raise InputError("the first of the camera poses is not the identity; all must be relative to the first: invert(T[0]) @ T")


def _leave_out(observation: Observation) -> tuple[Observation, tuple[int, ...], dict[int, str]]:
    """The observation with only the masks that have enough depth, their indices, and why the others are left out."""
    left_out = find_masks_without_depth(observation)
    kept = tuple(k for k in range(len(observation.masks)) if k not in left_out)
    if not kept:
        reasons = "; ".join(f"mask {k}: {reason}" for k, reason in left_out.items()) or "it has no masks"
        raise InputError(f"{observation.name}: nothing to reconstruct: {reasons}; give at least one mask or box with depth readings in it")
    return observation.with_masks(observation.masks[list(kept)], tuple(observation.object_names[k] for k in kept)), kept, left_out


def _place_camera(observation: Observation, generator: torch.Generator, support: bool) -> tuple[Observation, bool]:
    """The observation in the world frame of its support plane, masks trimmed; where none is found, with world z up the image."""
    plane = find_support_plane(observation, generator)
    if plane is not None:
        placed = observation.with_camera_pose(plane.T_world_camera)
        return trim_masks(placed) if support else placed, True
    upright = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]], dtype=observation.depth.dtype)
    return observation.with_camera_pose(rigid(upright, torch.zeros(3, dtype=upright.dtype))), False


def _place_others(
    others: Sequence[Observation],
    T_first_camera: Float[Tensor, "k 4 4"] | None,
    first: Observation,
    has_plane: bool,
    rests: bool,
    generator: torch.Generator,
) -> tuple[list[Observation], list[StageHistory]]:
    """The other observations in the world of the first one, by the poses given or by registration; masks trimmed."""
    history: list[StageHistory] = []
    if T_first_camera is not None:
        T_world_first = first.camera.T_world_camera
        placed = [other.with_camera_pose(T_world_first @ T.to(T_world_first)) for other, T in zip(others, T_first_camera[1:], strict=True)]
    elif has_plane:
        placed, history = register_observations(first, others, generator)
    else:
        raise InputError(f"{first.name} shows no support plane, which registers other images with it; give the camera's poses")
    return [trim_masks(item) if rests else item for item in placed], history


def _start_ellipsoids(observation: Observation, rests: bool, options: ReconstructionOptions) -> tuple[ObjectEvidence, EllipsoidPosterior]:
    evidence = gather_evidence(observation, rests)
    return evidence, fit_ellipsoids(evidence, options.ellipsoid_priors(), stepper=options.ellipsoid_stepper())


def _refine_ellipsoids(evidence: ObjectEvidence, start: EllipsoidPosterior, options: ReconstructionOptions) -> SceneStageResult:
    return fit_scene_shapes(evidence, start, options.ellipsoid_priors(), options.coverage_weights(), stepper=options.ellipsoid_stepper())


def build_ellipsoid_scene(observation: Observation, ellipsoids: EllipsoidPosterior, has_plane: bool) -> Scene:
    """Ellipsoids in the mean colours of their masks under white ambient light: where the appearance starts."""
    dtype = observation.depth.dtype
    objects = tuple(
        SceneObject(name, T_world_object.to(dtype), radii.to(dtype), _matte(observation.colour[mask].mean(0)))
        for name, mask, T_world_object, radii in zip(
            observation.object_names, observation.masks, ellipsoids.T_world_object, ellipsoids.radii, strict=True
        )
    )
    ground = _matte(torch.full((3,), 0.5, dtype=dtype))
    ambient = torch.zeros(9, 3, dtype=dtype)
    ambient[0] = 1.0
    return Scene(objects, (AmbientLight(ambient),), Plane(ground) if has_plane else None, observation.camera)


def _matte(colour: Float[Tensor, "3"]) -> Material:
    return Material(colour, torch.zeros_like(colour[0]), torch.full_like(colour[0], 0.6))


def _render(scene: Scene, renderer: str) -> Rendered:
    with torch.no_grad():
        return make_renderer(renderer)(scene, scene.camera)


def _dress(scene: Scene, appearance: Appearance) -> Scene:
    """The scene with estimated materials and lights."""
    objects = tuple(replace(item, material=material) for item, material in zip(scene.objects, appearance.materials, strict=True))
    plane = scene.plane
    if plane is not None and appearance.plane_material is not None:
        plane = Plane(appearance.plane_material)
    return replace(scene, objects=objects, plane=plane, lights=appearance.lights)


def _complete(views: list[ObjectView], generator: np.random.Generator, options: ReconstructionOptions) -> list[Hypothesis]:
    completions = [complete_object(view, generator, options) for view in views]
    if options.hidden_ends:
        completions = [extend_hidden_ends(item, view, generator) for item, view in zip(completions, views, strict=True)]
    return separate(completions, views) if options.non_penetration else completions


def _fit_cages(
    scene: Scene, views: list[ObjectView], completions: list[Hypothesis], has_plane: bool, options: ReconstructionOptions
) -> tuple[Scene, tuple[Mesh, ...], list[StageHistory]]:
    """Every object's mesh: completed, fitted to the image through its cage out of the way of the others, held by them; and the cages."""
    rasterizer = make_rasterizer("auto", threads=1)
    meshes = [Mesh(torch.as_tensor(item.vertices, dtype=scene.camera.K.dtype), torch.as_tensor(item.faces)) for item in completions]
    histories, cages = [], []
    for k, item in enumerate(scene.objects if options.cages else ()):
        obstacles = find_obstacles(meshes[k], meshes[:k] + meshes[k + 1 :]) if options.non_penetration else []
        start, targets = meshes[k].transformed(invert(item.T_world_object)), build_crop_targets(views[k], scene.camera.K.dtype)
        mesh, result = fit_cage(start, item.T_world_object, targets, rasterizer, has_plane, options.cage_weights(), obstacles)
        meshes[k] = mesh.transformed(item.T_world_object)
        cages.append(build_cage_surface(result.values).transformed(item.T_world_object))
        histories.append(replace(result.history, stage=f"cage of {item.name}"))
    if has_plane and options.equilibrium:
        meshes = let_lean(meshes, views)
    objects = tuple(
        replace(item, mesh=mesh.transformed(invert(item.T_world_object))) for item, mesh in zip(scene.objects, meshes, strict=True)
    )
    return replace(scene, objects=objects), tuple(cages), histories


def _start_appearance(
    observation: Observation, scene: Scene, generator: torch.Generator, options: ReconstructionOptions
) -> tuple[Scene, list[StageHistory]]:
    """The scene with materials and lights for its ellipsoids."""
    if not options.appearance:
        return scene, []
    start = estimate_appearance(observation, _render(scene, "raycast"), scene, generator)
    return _dress(scene, start), [start.history]


def _finish_appearance(
    observation: Observation, scene: Scene, generator: torch.Generator, options: ReconstructionOptions
) -> tuple[Scene, list[StageHistory]]:
    """The scene with materials and lights for its meshes, and their colours."""
    if not options.appearance:
        return scene, []
    rendered = _render(scene, "auto")
    final = estimate_appearance(observation, rendered, scene, generator)
    dressed = _dress(scene, final)
    return _paint(dressed, final, rendered) if options.textures else dressed, [final.history]


def _paint(scene: Scene, appearance: Appearance, rendered: Rendered) -> Scene:
    """The scene with each mesh in the albedo that the image shows on it, and white base colours to multiply that."""
    objects = []
    for k, item in enumerate(scene.objects):
        pixels = appearance.labels == k
        if pixels.any():
            world = item.mesh.transformed(item.T_world_object)
            texture = bake_texture(world, scene.camera, appearance.albedo, pixels, rendered.depth)
            white = torch.ones_like(item.material.base_colour)
            item = replace(item, mesh=replace(item.mesh, texture=texture), material=replace(item.material, base_colour=white))
        objects.append(item)
    return replace(scene, objects=tuple(objects))
