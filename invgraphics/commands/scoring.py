"""One image of a set: reconstructed, written, scored, pictured; and the record of it, from which an interrupted evaluation goes on."""

import json
import math
import shutil
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from grasp_sim.stability import measure_stability
from invgraphics.agreement import measure_agreement, measure_penetration, measure_sinking
from invgraphics.commands.pictures import render_gallery_pictures
from invgraphics.commands.pose_scoring import mark_pose_missing, score_poses
from invgraphics.commands.prompting import load_segmenter, segment_frame
from invgraphics.datasets import FrameInput, GroundTruth, PoseTruth, load_frame, load_pose_truth, place_surfaces
from invgraphics.datasets.names import name_image
from invgraphics.errors import InputError
from invgraphics.evaluation import ObjectChecks, ObjectResult, describe_result, mark_missing, parse_result, score_objects, score_spreads
from invgraphics.geometry.mesh import Mesh, is_closed, load_mesh
from invgraphics.metrics import score_mesh
from invgraphics.observation import Observation
from invgraphics.output import save_reconstruction, write_json
from invgraphics.pose_metrics import PoseResult, describe_pose, parse_pose_result
from invgraphics.reconstruction import Reconstruction
from invgraphics.report.gallery import GalleryPictures
from invgraphics.segment import find_boxes
from invgraphics.spread import SpreadScores
from optim.completion import build_candidates
from optim.object_view import view_objects
from optim.options import ReconstructionOptions
from optim.reconstruct import reconstruct
from optim.threads import one_thread
from optim.uncertainty import sample_shapes
from renderers.protocol import Rendered, make_renderer

RECORD = "evaluation.json"
"""File in an image's folder that says what came of it; written last."""
FAILURES = (ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, ValueError)
"""What a frame may fail with and the others still be done. `InputError` is a ValueError."""


@dataclass(frozen=True)
class Job:
    """How every image of a set is treated."""

    out: Path
    seed: int
    options: ReconstructionOptions
    candidates: bool
    """Whether every completion that could have been chosen is scored, too."""
    samples: int = 0
    """Shape samples drawn of every object; 0 for none."""
    poses: bool = True
    """Whether models are laid over the reconstructions, and their poses scored."""
    from_boxes: bool = False
    """Whether objects are segmented inside the boxes of their masks, instead of taking the masks."""
    sam2: Path | None = None
    """Folder of the SAM 2 checkpoint that segments boxes; None for depth and GrabCut."""


@dataclass(frozen=True)
class ImageResult:
    """What came of one image."""

    image: str
    """As `load_frame` takes it."""
    objects: list[ObjectResult]
    """Those with a true shape first, then those without."""
    seconds: dict[str, float]
    """Of each stage of the reconstruction; empty where nothing was reconstructed."""
    peak_memory_bytes: int
    left_out: dict[int, str]
    pictures: dict[int, GalleryPictures]
    """By mask index."""
    poses: list[PoseResult] = field(default_factory=list)
    """Of the objects whose model the dataset publishes."""
    failure: str = ""
    """Empty, or how it failed: one line."""
    details: str = ""
    """The traceback of a failure."""


def evaluate_image(image: str, job: Job) -> ImageResult:
    """Reconstructs one image into its folder, scores what was written and records it. What fails is recorded, not raised.

    Runs on one thread, so that images can be spread over processes and the result is the same.
    """
    truths: list[PoseTruth] = []
    name = name_of(image)
    with one_thread():
        try:
            truths = load_pose_truth(image)
            frame = load_frame(image)
            name = frame.observation.name
            result = _evaluate(image, frame, truths, job)
        except FAILURES as error:
            result = fail(image, name, truths, describe_error(error), traceback.format_exc())
    _write_record(result, job.out / name)
    return result


def fail(image: str, name: str, truths: Sequence[PoseTruth], reason: str, details: str = "") -> ImageResult:
    """The result of an image that could not be done."""
    poses = [mark_pose_missing(name, truth, reason) for truth in truths if truth.model is not None]
    return ImageResult(image, mark_missing(name, place_surfaces(truths), reason), {}, 0, {}, {}, poses, reason, details)


def read_record(out: Path, image: str) -> ImageResult | None:
    """What an earlier run recorded of an image, if it was done and nothing failed."""
    folder = find_folder(out, image)
    if folder is None:
        return None
    row = json.loads((folder / RECORD).read_text())
    return None if row["failure"] else _parse_record(row)


def find_folder(out: Path, image: str) -> Path | None:
    """Where an image was recorded; None if it was not."""
    for folder in (out / name_of(image), out / name_of(image, with_number=True)):
        if (folder / RECORD).is_file() and json.loads((folder / RECORD).read_text())["image"] == image:
            return folder
    return None


def name_of(image: str, with_number: bool = False) -> str:
    """The folder's name of a frame, the scene's of an image of a set (`PATH:SCENE/IMAGE`); `with_number`, the image's number behind it."""
    if Path(image).is_dir():
        return Path(image).resolve().name
    scene, _, number = image.rsplit(":", 1)[-1].rpartition("/")
    return name_image(scene, int(number), alone=not with_number) if scene and number.isdigit() else number


def _evaluate(image: str, frame: FrameInput, pose_truths: list[PoseTruth], job: Job) -> ImageResult:
    name = frame.observation.name
    if len(frame.observation.masks) + len(frame.boxes) == 0:
        return ImageResult(image, [], {}, 0, {}, {})
    truths, observation = place_surfaces(pose_truths), _segment(frame, job)
    reconstruction = reconstruct(observation, seed=job.seed, options=job.options)
    if job.samples:
        reconstruction = sample_shapes(reconstruction, job.samples, job.seed)
    folder = job.out / name
    if folder.exists():
        shutil.rmtree(folder)
    save_reconstruction(reconstruction, folder)
    meshes = {index: load_mesh(folder / "meshes" / f"object_{index:02d}.ply") for index in reconstruction.mask_indices}
    with torch.no_grad():
        rendered = make_renderer("auto")(reconstruction.scene, reconstruction.observation.camera)
    objects = score_objects(name, truths, meshes, reconstruction.left_out, job.seed)
    objects += _list_unknown(name, reconstruction, {truth.mask_index for truth in truths})
    checks = check_objects(reconstruction, rendered, meshes)
    hypotheses = dict(zip(reconstruction.mask_indices, reconstruction.hypotheses, strict=True))
    candidates = _score_candidates(reconstruction, truths, job.seed) if job.candidates else {}
    spreads = _score_spreads(reconstruction, truths, job.seed)
    objects = [
        replace(
            result,
            spread=spreads.get(result.mask_index),
            checks=checks.get(result.mask_index),
            hypothesis=hypotheses.get(result.mask_index, ""),
            candidates=candidates.get(result.mask_index, {}),
        )
        for result in objects
    ]
    pictures = render_gallery_pictures(reconstruction, rendered, truths, meshes, job.out, name)
    poses = score_poses(frame.observation, pose_truths, meshes, reconstruction.left_out, job.seed) if job.poses else []
    seconds, memory = reconstruction.seconds, reconstruction.peak_memory_bytes
    return ImageResult(image, objects, seconds, memory, reconstruction.left_out, pictures, poses)


def _segment(frame: FrameInput, job: Job) -> Observation:
    """The image with its masks, or with what is found in their boxes. A mask without a pixel keeps its place in the count, empty."""
    observation = frame.observation
    if not job.from_boxes or len(observation.masks) == 0:
        return segment_frame(frame, None, job.sam2, job.seed)[0]
    seen = observation.masks.any(-1).any(-1)
    masks = torch.zeros_like(observation.masks)
    generator = torch.Generator().manual_seed(job.seed)
    masks[seen] = load_segmenter(job.sam2).segment(observation, find_boxes(observation.masks[seen]), generator)
    return observation.with_masks(masks, observation.object_names)


def _list_unknown(name: str, reconstruction: Reconstruction, known: set[int]) -> list[ObjectResult]:
    """The reconstructed objects whose true shape is not known."""
    names = reconstruction.observation.object_names
    return [ObjectResult(name, index, names[index], None) for index in reconstruction.mask_indices if index not in known]


def check_objects(reconstruction: Reconstruction, rendered: Rendered, meshes: Mapping[int, Mesh]) -> dict[int, ObjectChecks]:
    """What can be said without a truth of each object of a scene, by mask index; `meshes` are those in the files."""
    scene, indices = reconstruction.scene, reconstruction.mask_indices
    agreements = measure_agreement(reconstruction.observation, indices, rendered.colour, rendered.depth, rendered.object_ids)
    standing = [meshes[index].transformed(scene.camera.T_world_camera) for index in indices]
    penetrations = measure_penetration(standing)
    has_plane = scene.plane is not None
    motions = [(1e3 * motion.distance, math.degrees(motion.angle)) for motion in measure_stability(scene)] if has_plane else []
    unknown = (math.nan, math.nan)
    return {
        index: ObjectChecks(
            agreement.depth_mm,
            agreement.silhouette_iou,
            agreement.colour_psnr_db,
            1e3 * penetrations[k],
            1e3 * measure_sinking(standing[k]) if has_plane else math.nan,
            *(motions[k] if has_plane else unknown),
            is_closed(meshes[index].faces),
        )
        for k, (index, agreement) in enumerate(zip(indices, agreements, strict=True))
    }


def _score_candidates(reconstruction: Reconstruction, truths: Sequence[GroundTruth], seed: int) -> dict[int, dict[str, float]]:
    """Chamfer distance, mm, of every completion that could have been chosen for each object with a truth, by mask index and name."""
    scene, observation = reconstruction.scene, reconstruction.observation
    T_camera_world = scene.camera.T_camera_world
    scores = {}
    for truth in truths:
        if truth.mask_index not in reconstruction.mask_indices:
            continue
        mask = observation.masks[truth.mask_index : truth.mask_index + 1]
        (view,) = view_objects(observation.with_masks(mask), scene.plane is not None)
        scores[truth.mask_index] = {
            candidate.name: score_mesh(
                Mesh(torch.as_tensor(candidate.vertices).float(), torch.as_tensor(candidate.faces)).transformed(T_camera_world),
                truth.mesh,
                torch.Generator().manual_seed(seed),
            ).cd_l1_mm
            for candidate in build_candidates(view, np.random.default_rng(seed))
        }
    return scores


def _score_spreads(reconstruction: Reconstruction, truths: Sequence[GroundTruth], seed: int) -> dict[int, SpreadScores]:
    """The shape samples against the truth, by mask index; empty where none were drawn."""
    if not reconstruction.samples:
        return {}
    scene = reconstruction.scene
    drawn = zip(reconstruction.mask_indices, scene.objects, reconstruction.samples, strict=True)
    samples = {index: [mesh.transformed(item.T_world_object) for mesh in meshes] for index, item, meshes in drawn}
    return score_spreads(truths, samples, scene.camera.T_camera_world, seed)


def describe_error(error: Exception) -> str:
    """A failure in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def describe_image(result: ImageResult) -> dict[str, Any]:
    """The image's row of `results.json`."""
    return {
        "image": result.image,
        "seconds": result.seconds,
        "peak_memory_bytes": result.peak_memory_bytes,
        "left_out": {str(index): reason for index, reason in result.left_out.items()},
        "failure": result.failure or None,
        "details": result.details or None,
    }


def _write_record(result: ImageResult, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {str(index): [picture.image, picture.predicted, picture.truth] for index, picture in result.pictures.items()}
    objects, poses = [describe_result(row) for row in result.objects], [describe_pose(row) for row in result.poses]
    write_json(folder / RECORD, describe_image(result) | {"objects": objects, "poses": poses, "pictures": pictures})


def _parse_record(row: Mapping[str, Any]) -> ImageResult:
    pictures = {
        int(index): GalleryPictures([(caption, path) for caption, path in image], predicted, truth)
        for index, (image, predicted, truth) in row["pictures"].items()
    }
    left_out = {int(index): reason for index, reason in row["left_out"].items()}
    objects = [parse_result(entry) for entry in row["objects"]]
    poses = [parse_pose_result(entry) for entry in row["poses"]]
    return ImageResult(row["image"], objects, row["seconds"], row["peak_memory_bytes"], left_out, pictures, poses)
