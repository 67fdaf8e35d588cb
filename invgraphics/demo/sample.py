"""A photograph of toys and its reconstruction in one folder: what notebooks and tutorials start from when nobody has brought an image."""

from pathlib import Path

import numpy as np
import torch

from grasp_sim.world import World
from invgraphics.datasets import GroundTruth, load_frame
from invgraphics.demo.run import CAMERA, describe_truth
from invgraphics.demo.table import place_camera, settle_toys, take_photograph, write_frame
from invgraphics.demo.toys import TOYS, Toy
from invgraphics.errors import InputError
from invgraphics.output import save_reconstruction
from invgraphics.segment import mask_objects
from optim.reconstruct import Progress, reconstruct

FRAME_FOLDER, RECONSTRUCTION_FOLDER = "frame", "reconstruction"
"""Where the photograph and what was made of it lie in a sample's folder."""
SAMPLE_TOYS = TOYS[:2]
"""A duck and a mug."""


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


def make_sample(folder: Path, seed: int = 0, progress: Progress = lambda stage, fraction: None) -> Path:
    """`folder`/reconstruction, a reconstructed scene; what is there already is taken as it is, else two toys are photographed for it.

    Notebook 00 writes the same two folders, perhaps of an image of your own: then this returns your scene.

    Raises:
        InputError: the folder has a frame without a finished reconstruction, which may be anyone's.
    """
    reconstruction = folder / RECONSTRUCTION_FOLDER
    if (reconstruction / "scene.json").is_file():
        return reconstruction
    if (folder / FRAME_FOLDER).exists():
        raise InputError(f"{folder} holds a frame without a finished reconstruction; remove it, or reconstruct {folder / FRAME_FOLDER}")
    photograph_toys(folder, seed=seed)
    observation = mask_objects(load_frame(folder / FRAME_FOLDER), torch.Generator().manual_seed(seed))
    save_reconstruction(reconstruct(observation, seed=seed, progress=progress), reconstruction)
    return reconstruction
