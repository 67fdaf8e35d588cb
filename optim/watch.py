"""What a run that is still going has come to, read from its checkpoint folder by another process, of which the run knows nothing.

Everything is read as the run leaves it; where a file vanishes meanwhile, because the run has finished or started afresh, nothing is read.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from invgraphics.geometry.mesh import Mesh
from invgraphics.observation import Observation
from invgraphics.scene import AmbientLight, Material, Plane, Scene
from invgraphics.transforms import invert
from optim.checkpoint import PROGRESS_FILE, has_kept, read_kept
from optim.reconstruct import build_ellipsoid_scene

STAGES = (
    "support plane",
    "ellipsoids",
    "ellipsoids to image",
    "ellipsoids' materials and lights",
    "completion",
    "cages",
    "materials and lights",
)
"""Stages whose outcome changes what there is to see, in the order in which they run."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    stage: str
    """The stage that runs."""
    fraction: float
    """Of the whole, done before it; in [0, 1]."""


@dataclass(frozen=True)
class Snapshot:
    """A scene in progress."""

    stage: str
    """The last stage that is in it."""
    observation: Observation
    """Its camera placed in the world."""
    scene: Scene
    """Without objects at first; then they are ellipsoids, then meshes, then in their colours."""
    cages: tuple[Mesh, ...]
    """World frame; empty until there are some."""


def read_progress(folder: Path) -> Progress | None:
    """Where the run of a checkpoint folder stands; None where there is no run."""
    try:
        content = json.loads((folder / PROGRESS_FILE).read_text())
    except FileNotFoundError:
        return None
    return Progress(content["stage"], content["fraction"])


def read_snapshot(folder: Path, after: str | None = None) -> Snapshot | None:
    """The scene as the last finished stage left it; None where there is nothing yet, or nothing later than the stage `after`.

    Raises:
        InputError: a file is damaged.
    """
    try:
        return _read_snapshot(folder, after)
    except FileNotFoundError:
        return None


def _read_snapshot(folder: Path, after: str | None) -> Snapshot | None:
    stage = _last_stage(folder)
    if stage is None or stage == after:
        return None
    last = STAGES.index(stage)
    observation, has_plane = _outcome(folder, "support plane")
    scene, cages = build_empty_scene(observation, has_plane), ()
    if last >= STAGES.index("ellipsoids"):
        refined = last >= STAGES.index("ellipsoids to image")
        posterior = _outcome(folder, "ellipsoids to image").posterior if refined else _outcome(folder, "ellipsoids")[1]
        scene = build_ellipsoid_scene(observation, posterior, has_plane)
    if last >= STAGES.index("ellipsoids' materials and lights"):
        scene = _outcome(folder, "ellipsoids' materials and lights")[0]
    if last >= STAGES.index("completion"):
        scene = _with_surfaces(scene, _outcome(folder, "completion"))
    if last >= STAGES.index("cages"):
        scene, cages, _ = _outcome(folder, "cages")
    if last >= STAGES.index("materials and lights"):
        scene, _ = _outcome(folder, "materials and lights")
    return Snapshot(stage, observation, scene, cages)


def _last_stage(folder: Path) -> str | None:
    finished = [stage for stage in STAGES if has_kept(folder, stage)]
    return finished[-1] if finished else None


def _outcome(folder: Path, stage: str):
    kept = read_kept(folder, stage)
    if kept is None:
        raise FileNotFoundError(stage)
    return kept["outcome"]


def build_empty_scene(observation: Observation, has_plane: bool) -> Scene:
    """The camera over a grey table under white light."""
    ambient = torch.zeros(9, 3)
    ambient[0] = 1.0
    grey = Material(torch.full((3,), 0.5), torch.tensor(0.0), torch.tensor(0.6))
    return Scene((), (AmbientLight(ambient),), Plane(grey) if has_plane else None, observation.camera)


def _with_surfaces(scene: Scene, completions: list) -> Scene:
    """The ellipsoids' completions (`Hypothesis`, world frame) as the objects' meshes."""
    objects = []
    for item, completion in zip(scene.objects, completions, strict=True):
        mesh = Mesh(torch.as_tensor(completion.vertices).to(item.radii), torch.as_tensor(completion.faces))
        objects.append(replace(item, mesh=mesh.transformed(invert(item.T_world_object))))
    return replace(scene, objects=tuple(objects))
