"""A photograph of toys and its reconstruction in one folder: what notebooks and tutorials start from when nobody has brought an image."""

from pathlib import Path

import numpy as np
import torch

from grasp_sim.world import World
from invgraphics.datasets import GroundTruth, load_frame
from invgraphics.demo.run import CAMERA, describe_truth
from invgraphics.demo.table import place_camera, settle_toys, take_photograph, write_frame
from invgraphics.demo.toys import TOYS, Toy
from invgraphics.output import claim_output_folder, save_reconstruction
from invgraphics.segment import mask_objects
from optim.reconstruct import Progress, reconstruct
from optim.uncertainty import sample_shapes

FRAME_FOLDER, RECONSTRUCTION_FOLDER = "frame", "reconstruction"
"""Where the photograph and what was made of it lie in a sample's folder."""
SAMPLE_TOYS = TOYS[:2]
"""A duck and a mug."""
SHAPE_SAMPLES = 4
"""Shapes an object that the photograph allows."""


def photograph_toys(folder: Path, toys: tuple[Toy, ...] = SAMPLE_TOYS, seed: int = 0) -> list[GroundTruth]:
    """Lets toys fall onto a table, writes one noisy photograph of it to `folder`/frame, and returns the toys as they truly lie there.

    Their URDFs are left in `folder`. The truth is in the camera frame, metres; the same seed gives the same photograph.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    with World() as world:
        bodies = settle_toys(world, toys, folder, generator)
        camera = place_camera(*CAMERA)
        write_frame(take_photograph(world, bodies, camera, generator), folder / FRAME_FOLDER)
        return describe_truth(world, toys, bodies, camera)


def make_sample(folder: Path, seed: int = 0, progress: Progress = lambda stage, fraction: None) -> tuple[Path, Path]:
    """The frame folder and the reconstruction of two toys, with shape samples; what an earlier call left in `folder` is taken as it is.

    Raises:
        InputError: the folder holds something, but no finished sample.
    """
    frame, reconstruction = folder / FRAME_FOLDER, folder / RECONSTRUCTION_FOLDER
    if (reconstruction / "scene.json").is_file():
        return frame, reconstruction
    claim_output_folder(folder, overwrite=False)
    photograph_toys(folder, seed=seed)
    observation = mask_objects(load_frame(frame), torch.Generator().manual_seed(seed))
    found = reconstruct(observation, seed=seed, progress=progress)
    save_reconstruction(sample_shapes(found, SHAPE_SAMPLES, seed), reconstruction)
    return frame, reconstruction
