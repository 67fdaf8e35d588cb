"""How many true objects at their true poses stand still where reconstructions are let go: what could be had by being accurate.

    python -m tests.benchmarks.stability shared/data/tabletop_dev

Prints one line. Images whose true meshes are not all closed are left out, as physics needs solids; so are those without a support plane.
"""

import argparse
import math

import torch

from grasp_sim.stability import Motion, measure_stability
from invgraphics.datasets import list_images, load_ground_truth, load_observation
from invgraphics.errors import InputError
from invgraphics.plane import find_support_plane
from invgraphics.scene import Material, Plane, Scene, SceneObject

_GREY = Material(torch.full((3,), 0.5), torch.tensor(0.0), torch.tensor(0.6))


def let_truth_go(image: str) -> tuple[Motion, ...] | None:
    """How far each true object of an image moves; None where that cannot be told."""
    observation = load_observation(image)
    plane = find_support_plane(observation, torch.Generator().manual_seed(0))
    if plane is None:
        return None
    objects = tuple(
        SceneObject(truth.name, torch.eye(4), torch.ones(3), _GREY, truth.mesh.transformed(plane.T_world_camera))
        for truth in load_ground_truth(image)
    )
    try:
        return measure_stability(Scene(objects, (), Plane(_GREY), observation.camera))
    except InputError:  # A mesh that is not closed.
        return None


def main() -> None:
    """Reads the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="a BOP dataset (its folder), or frames:DIR")
    images = list_images(parser.parse_args().dataset)
    told = [motions for image in images if (motions := let_truth_go(image)) is not None]
    motions = [motion for each in told for motion in each]
    stable = sum(motion.distance <= 0.005 and math.degrees(motion.angle) <= 5 for motion in motions)
    print(f"true meshes at true poses: {stable} of {len(motions)} objects stable, {len(told)} of {len(images)} images")


if __name__ == "__main__":
    main()
