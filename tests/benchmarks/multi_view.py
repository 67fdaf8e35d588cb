"""What more views of a scene are worth: the true meshes of a BOP set, seen by cameras around them, reconstructed from 1, 2 and 3 images.

    python -m tests.benchmarks.multi_view ../shared/data/tabletop_dev --out out/multi_view [--scenes 1 14] [--turn 120]

The first camera stands where the set's own stood; the others are turned about the vertical through the middle of the objects. All images
are drawn alike, in the set's size, with the depth noise of a stereo camera; poses are the true ones ("known") or found from the images.
Shapes are scored against the truth as `invgraphics evaluate` does.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.commands.executors import describe_machine
from invgraphics.datasets import GroundTruth, list_images, load_ground_truth, load_observation
from invgraphics.demo.sensor import StereoNoise, add_depth_noise
from invgraphics.errors import InputError
from invgraphics.evaluation import average, score_objects
from invgraphics.observation import Observation
from invgraphics.output import write_json
from invgraphics.plane import find_support_plane
from invgraphics.scene import AmbientLight, Material, Plane, Scene, SceneObject
from invgraphics.transforms import invert, rigid, so3_exp
from optim.reconstruct import reconstruct_views
from renderers.protocol import make_renderer
from tests.benchmarks.tables import format_table

_MOST_VIEWS = 3
_LEAST_PIXELS = 200
"""Of an object in the first image; smaller ones are left out of all conditions."""
_SHOWN = {"cd_l1_mm": "CD mm", "completeness_mm": "compl. mm", "f5": "F@5", "f10": "F@10", "nc": "NC"}
_TABLE_COLOUR = (0.35, 0.33, 0.3)


def photograph_around(image: str, turn: float) -> tuple[list[Observation], Tensor]:
    """Images of the true scene in their cameras' frames, and each camera's coordinates to the first one's; `turn` in radians."""
    first = load_observation(image)
    plane = find_support_plane(first, torch.Generator().manual_seed(0))
    if plane is None:
        raise InputError(f"{image} shows no support plane to turn the camera over")
    truths = load_ground_truth(image)
    poses = [_turn(turn * k) @ plane.T_world_camera for k in range(_MOST_VIEWS)]
    scene = _build_scene(truths, plane.T_world_camera, first.camera)
    images = [_photograph(scene, replace(first.camera, T_world_camera=pose), f"{first.name} view {k}", k) for k, pose in enumerate(poses)]
    return images, torch.stack([invert(poses[0]) @ pose for pose in poses])


def _turn(angle: float) -> Tensor:
    """About the world's z axis, which stands below the middle of the objects."""
    return rigid(so3_exp(torch.tensor([0.0, 0.0, angle])), torch.zeros(3))


def _build_scene(truths: Sequence[GroundTruth], T_world_camera: Tensor, camera: Camera) -> Scene:
    matte = Material(torch.ones(3), torch.tensor(0.0), torch.tensor(0.8))
    objects = tuple(
        SceneObject(
            truth.name,
            T_world_camera @ truth.T_camera_object,
            torch.full((3,), 0.05),
            matte,
            truth.mesh.transformed(invert(truth.T_camera_object)),
        )
        for truth in truths
    )
    ambient = torch.zeros(9, 3)
    ambient[0], ambient[2] = 2.2, 0.8
    return Scene(objects, (AmbientLight(ambient),), Plane(replace(matte, base_colour=torch.tensor(_TABLE_COLOUR))), camera)


def _photograph(scene: Scene, camera: Camera, name: str, seed: int) -> Observation:
    with torch.no_grad():
        rendered = make_renderer("auto")(replace(scene, camera=camera), camera)
    noise = StereoNoise()
    raw = add_depth_noise(rendered.depth.numpy().astype(np.float64), noise, np.random.default_rng(seed))
    depth = torch.from_numpy(raw.astype(np.float32) * noise.unit)
    masks = rendered.object_ids == torch.arange(len(scene.objects))[:, None, None]
    at_origin = replace(camera, T_world_camera=torch.eye(4))
    names = tuple(item.name for item in scene.objects)
    return Observation(rendered.colour.clamp(0, 1), depth, depth > 0, masks, at_origin, name, names)


def score_condition(image: str, images: list[Observation], poses: Tensor | None, chosen: Sequence[int]) -> dict[str, float]:
    """Mean scores of the chosen objects."""
    result = reconstruct_views(images, poses)
    T_camera_world = result.scene.camera.T_camera_world
    meshes = {
        index: item.mesh.transformed(T_camera_world @ item.T_world_object)
        for index, item in zip(result.mask_indices, result.scene.objects, strict=True)
        if index in chosen
    }
    truths = [truth for truth in load_ground_truth(image) if truth.mask_index in chosen]
    means = average(score_objects(image, truths, meshes, result.left_out, seed=0))["mean"]
    return {name: means[name] for name in _SHOWN}


def measure_image(image: str, turn: float) -> list[dict[str, object]]:
    """A row for each number of views and way to the poses; NaN where the images did not register."""
    images, T_first_camera = photograph_around(image, turn)
    chosen = [k for k, mask in enumerate(images[0].masks) if int(mask.sum()) >= _LEAST_PIXELS]
    rows: list[dict[str, object]] = []
    for count, known in ((1, True), (2, True), (3, True), (2, False), (3, False)):
        row: dict[str, object] = {"image": image, "views": count, "poses": "known" if known else "found", "objects": len(chosen)}
        try:
            scores = score_condition(image, images[:count], T_first_camera[:count] if known else None, chosen)
        except InputError as error:
            row["refused"] = str(error)
            scores = dict.fromkeys(_SHOWN, math.nan)
        rows.append(row | scores)
        print(row | scores, flush=True)
    return rows


def summarise(rows: Sequence[dict[str, object]]) -> str:
    """A table of means over objects; images that did not register count in none of their condition's means."""
    lines = []
    for views, poses in dict.fromkeys((row["views"], row["poses"]) for row in rows):
        own = [row for row in rows if (row["views"], row["poses"]) == (views, poses) and "refused" not in row]
        objects = sum(row["objects"] for row in own)
        means = [sum(row["objects"] * row[name] for row in own) / objects if objects else math.nan for name in _SHOWN]
        lines.append([f"{views}, poses {poses}", objects, *means])
    return format_table(["views", "objects", *_SHOWN.values()], lines)


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, nargs="+", help="numbers of the scenes (default: all)")
    parser.add_argument("--turn", type=float, default=120.0, help="degrees between cameras (default 120)")
    arguments = parser.parse_args()
    images = [name for name in list_images(arguments.dataset) if not arguments.scenes or _scene_number(name) in arguments.scenes]
    rows = [row for image in images for row in measure_image(image, math.radians(arguments.turn))]
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "results.json", {**describe_machine(), "turn_deg": arguments.turn, "rows": rows})
    print(summarise(rows))


def _scene_number(image: str) -> int:
    return int(image.rpartition(":")[2].partition("/")[0])


if __name__ == "__main__":
    main()
