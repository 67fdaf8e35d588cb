"""Poses without a model: an object's reconstruction from one image serves as the model in all other images of the same object.

Some datasets (FewSOL's real objects) say where an object stands in each image and publish no surface of it. The reconstruction from the
first image, put into the object's own frame by that image's true pose, is then laid over the reconstruction from each other image; where it
comes to lie is the estimated pose there. So both reconstructions, and the registration of one to the other, are judged together.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

from invgraphics.commands.executors import run_all
from invgraphics.commands.pose_scoring import mark_pose_missing, score_against
from invgraphics.commands.scoring import ImageResult, Job, find_folder, name_of
from invgraphics.datasets import PoseTruth, load_observation, load_pose_truth
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh, load_mesh
from invgraphics.pose_metrics import PoseResult
from invgraphics.transforms import invert
from optim.threads import one_thread

Pair = tuple[str, str, str]
"""The image whose reconstruction is the model, the image where it is laid over, the object's id."""


def score_between_images(done: Sequence[ImageResult], job: Job, workers: int | None, executor: str) -> list[PoseResult]:
    """The pose of every object without a published model in every image but the first in which it was reconstructed."""
    pairs = list(_pair_images(done, job.out))
    results = dict(run_all(functools.partial(_score_pair, job=job), pairs, functools.partial(_bury, out=job.out), workers, executor))
    return [results[pair] for pair in pairs]


def _pair_images(done: Sequence[ImageResult], out: Path) -> list[Pair]:
    references: dict[str, str] = {}
    pairs = []
    for result in done:
        for truth in _list_truths(result):
            if truth.object_id in references:
                pairs.append((references[truth.object_id], result.image, truth.object_id))
            elif _find_mesh(out, result.image, truth) is not None:
                references[truth.object_id] = result.image
    return pairs


def _list_truths(result: ImageResult) -> list[PoseTruth]:
    """The objects of an image whose pose is known and whose model is not. An image that failed because of its truth has none."""
    if result.poses:
        return []
    try:
        return [truth for truth in load_pose_truth(result.image) if truth.model is None]
    except InputError:
        if not result.failure:
            raise
        return []


def _score_pair(pair: Pair, job: Job) -> tuple[Pair, PoseResult]:
    reference, image, object_id = pair
    with one_thread():
        (model_truth, model), (truth, mesh) = (_load(name, object_id, job.out) for name in (reference, image))
        source = _name_folder(job.out, reference)
        if mesh is None or model is None:
            return pair, mark_pose_missing(_name_folder(job.out, image), truth, "not reconstructed", source)
        own = model.transformed(invert(model_truth.T_camera_object))
        return pair, score_against(load_observation(image), truth, own, source, mesh, job.seed)


def _bury(pair: Pair, out: Path) -> tuple[Pair, PoseResult]:
    reference, image, object_id = pair
    truth, _ = _load(image, object_id, out)
    names = _name_folder(out, image), _name_folder(out, reference)
    return pair, mark_pose_missing(names[0], truth, "its process died (out of memory?)", names[1])


def _name_folder(out: Path, image: str) -> str:
    """What an image that was recorded is called in the output."""
    folder = find_folder(out, image)
    return name_of(image, with_number=True) if folder is None else folder.name


def _load(image: str, object_id: str, out: Path) -> tuple[PoseTruth, Mesh | None]:
    truth = next(truth for truth in load_pose_truth(image) if truth.object_id == object_id)
    path = _find_mesh(out, image, truth)
    return truth, None if path is None else load_mesh(path)


def _find_mesh(out: Path, image: str, truth: PoseTruth) -> Path | None:
    folder = find_folder(out, image)
    path = None if folder is None else folder / "meshes" / f"object_{truth.mask_index:02d}.ply"
    return path if path is not None and path.is_file() else None
