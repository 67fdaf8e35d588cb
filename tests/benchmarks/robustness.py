"""How the error grows when the input gets worse: masks too wide or too narrow, noisier depth, missing depth, a wrong focal length.

    python -m tests.benchmarks.robustness ../shared/data/tabletop_dev --out out/robustness [--scenes 1 14] [--markdown docs/robustness.md]

Noise is the set's own: `depth` less `depth_true`, scaled. Missing depth is 30 % of all readings, in blobs of about 12 pixels or pixel by
pixel. True shapes stay where they are, so a focal length that is 2 % too long moves what is reconstructed, too: that error is counted.
Every condition of every image gives a row even where it fails; a mask that leaves nothing to reconstruct counts as missing.
"""

import argparse
import math
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from invgraphics.commands.executors import describe_machine
from invgraphics.datasets import list_images, load_ground_truth, load_observation
from invgraphics.datasets.bop import find_bop_split
from invgraphics.datasets.checks import make_disjoint
from invgraphics.datasets.files import read_depth
from invgraphics.evaluation import ObjectResult, average, describe_result, mark_missing, parse_result, score_objects
from invgraphics.observation import Observation
from invgraphics.output import write_json
from optim.options import ReconstructionOptions
from optim.reconstruct import reconstruct
from optim.threads import one_thread
from tests.benchmarks.tables import format_table, write_markdown

TRUE_DEPTH_UNIT = 1e-4
MISSING_SHARE = 0.3
BLOB_PIXELS = 6.0
"""Standard deviation of the Gaussian that makes the blobs."""
_SHAPES_ONLY = ReconstructionOptions().without(["appearance"])
_FAILURES = (ArithmeticError, LookupError, RuntimeError, ValueError)
_SHOWN = {
    "cd_l1_mm": "CD mm",
    "accuracy_mm": "acc. mm",
    "completeness_mm": "compl. mm",
    "f5": "F@5",
    "f10": "F@10",
    "nc": "NC",
    "iou": "IoU",
}

Worsening = Callable[[Observation, Tensor, np.random.Generator], Observation]
"""An observation, its true depth (metres, 0 where unknown) and a source of randomness to a worse observation."""


def grow_masks(pixels: int) -> Worsening:
    """Masks dilated by so many pixels (eroded where negative), never into other objects' masks."""

    def worsen(observation: Observation, true_depth: Tensor, generator: np.random.Generator) -> Observation:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(pixels) + 1, 2 * abs(pixels) + 1))
        change = cv2.dilate if pixels > 0 else cv2.erode
        masks = observation.masks.numpy().astype(np.uint8)
        grown = torch.from_numpy(np.stack([change(np.pad(mask, abs(pixels)), kernel) for mask in masks])).bool()
        grown = grown[:, abs(pixels) : -abs(pixels), abs(pixels) : -abs(pixels)]
        others = observation.masks.any(0) & ~observation.masks
        return observation.with_masks(make_disjoint(grown & ~others), observation.object_names)

    return worsen


def scale_noise(factor: float) -> Worsening:
    """Depth with its error multiplied."""

    def worsen(observation: Observation, true_depth: Tensor, generator: np.random.Generator) -> Observation:
        known = observation.valid & (true_depth > 0)
        worse = true_depth + factor * (observation.depth - true_depth)
        return replace(observation, depth=torch.where(known, worse.clamp(min=1e-3), observation.depth))

    return worsen


def lose_blobs(observation: Observation, true_depth: Tensor, generator: np.random.Generator) -> Observation:
    """Depth missing in blobs."""
    field = gaussian_filter(generator.standard_normal(observation.depth.shape), BLOB_PIXELS)
    return _lose(observation, torch.from_numpy(field < np.quantile(field, MISSING_SHARE)))


def lose_pixels(observation: Observation, true_depth: Tensor, generator: np.random.Generator) -> Observation:
    """Depth missing pixel by pixel."""
    return _lose(observation, torch.from_numpy(generator.random(observation.depth.shape) < MISSING_SHARE))


def stretch_focal_length(factor: float) -> Worsening:
    """A camera that is said to have another focal length than it has."""

    def worsen(observation: Observation, true_depth: Tensor, generator: np.random.Generator) -> Observation:
        K = observation.camera.K.clone()
        K[0, 0], K[1, 1] = factor * K[0, 0], factor * K[1, 1]
        return replace(observation, camera=replace(observation.camera, K=K))

    return worsen


def _lose(observation: Observation, lost: Tensor) -> Observation:
    return replace(observation, depth=torch.where(lost, 0.0, observation.depth), valid=observation.valid & ~lost)


CONDITIONS: dict[str, Worsening] = {
    "as given": lambda observation, true_depth, generator: observation,
    "masks dilated by 2 px": grow_masks(2),
    "masks dilated by 5 px": grow_masks(5),
    "masks eroded by 2 px": grow_masks(-2),
    "masks eroded by 5 px": grow_masks(-5),
    "depth noise x 2": scale_noise(2.0),
    "depth noise x 4": scale_noise(4.0),
    "30 % of depth missing, blobs": lose_blobs,
    "30 % of depth missing, pixels": lose_pixels,
    "focal length 2 % too long": stretch_focal_length(1.02),
    "focal length 2 % too short": stretch_focal_length(0.98),
}


def evaluate_condition(image: str, condition: str, seed: int) -> tuple[list[dict[str, Any]], str]:
    """Rows of `describe_result` of one image under one condition, and how it failed: empty where it did not."""
    truths = load_ground_truth(image)
    with one_thread():
        try:
            generator = np.random.default_rng(seed)
            observation = CONDITIONS[condition](load_observation(image), load_true_depth(image), generator)
            results = _reconstruct_and_score(image, observation, truths, seed)
        except _FAILURES as error:
            traceback.print_exc()
            return [describe_result(row) for row in mark_missing(image, truths, str(error))], f"{image}: {type(error).__name__}: {error}"
    return [describe_result(result) for result in results], ""


def _reconstruct_and_score(image: str, observation: Observation, truths: list, seed: int) -> list[ObjectResult]:
    result = reconstruct(observation, seed=seed, options=_SHAPES_ONLY)
    T_camera_world = result.scene.camera.T_camera_world
    meshes = {
        index: item.mesh.transformed(T_camera_world @ item.T_world_object)
        for index, item in zip(result.mask_indices, result.scene.objects, strict=True)
    }
    return score_objects(image, truths, meshes, result.left_out, seed)


def load_true_depth(image: str) -> Tensor:
    """The noise-free depth of a BOP image (`PATH:SCENE/IMAGE`) in metres, 0 where unknown."""
    dataset, place = image.rsplit(":", 1)
    scene, number = place.split("/")
    path = find_bop_split(Path(dataset)) / scene / "depth_true" / f"{int(number):06d}.png"
    if not path.is_file():
        raise SystemExit(f"{path} does not exist: the noise of a set is known only where it has depth_true/")
    return TRUE_DEPTH_UNIT * torch.from_numpy(read_depth(path).astype(np.float32))


def main() -> None:
    """Evaluates every condition of every image, writes `robustness.json` and the table."""
    arguments = _parse()
    images = [image for image in list_images(arguments.dataset) if not arguments.scenes or _scene(image) in map(int, arguments.scenes)]
    rows, failures = {}, []
    with ProcessPoolExecutor(arguments.workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        futures = {name: [pool.submit(evaluate_condition, image, name, arguments.seed) for image in images] for name in CONDITIONS}
        for name, pending in futures.items():
            done = [future.result() for future in pending]
            failures += [f"{name}: {failure}" for _, failure in done if failure]
            rows[name] = describe_condition([parse_result(row) for objects, _ in done for row in objects])
            print(name, {key: round(value, 2) for key, value in rows[name].items()}, flush=True)
    facts = {"dataset": arguments.dataset, "images": images, "seed": arguments.seed, **describe_machine()}
    write_json(arguments.out / "robustness.json", {**facts, "rows": rows, "failures": failures})
    table = build_table(rows)
    print(table, *failures, sep="\n")
    if arguments.markdown:
        count = rows["as given"]["count"]
        said = [
            f"`{Path(arguments.dataset).name}`, {len(images)} images, {count} objects, seed {arguments.seed}: means over all objects; "
            f"missing ones count as 0 in F, NC and IoU. {len(failures)} of {len(images) * len(CONDITIONS)} reconstructions failed.",
            "Growth: mean Chamfer distance over that of the images as given.",
        ]
        write_markdown(arguments.markdown, "Robustness", said, table)


def describe_condition(results: Sequence[ObjectResult]) -> dict[str, float]:
    """Means of all images under one condition."""
    means = average(results)["mean"]
    return {"count": len(results), "missing": sum(result.scores is None for result in results), **{key: means[key] for key in _SHOWN}}


def build_table(rows: dict[str, dict[str, float]]) -> str:
    """As Markdown, a row for each condition."""
    clean = rows["as given"]["cd_l1_mm"]
    growth = {name: row["cd_l1_mm"] / clean if clean else math.nan for name, row in rows.items()}
    cells = [[name, row["missing"], *(row[key] for key in _SHOWN), growth[name]] for name, row in rows.items()]
    return format_table(["", "missing", *_SHOWN.values(), "growth"], cells)


def _scene(image: str) -> int:
    return int(image.rsplit(":", 1)[1].split("/")[0])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="folder of a BOP dataset with depth_true/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", nargs="+", type=int, help="numbers of scenes; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--markdown", type=Path, help="page to write the table to")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    main()
