"""Samples of the shapes that an image allows: like the reconstruction where it was seen, different where the image is blind."""

import time
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.errors import InputError
from invgraphics.geometry.distances import find_nearest_faces
from invgraphics.geometry.mesh import Mesh, volume
from invgraphics.reconstruction import Reconstruction
from invgraphics.transforms import invert
from optim.alternatives import weigh_alternatives
from optim.hypotheses import Hypothesis
from optim.object_view import ObjectView, view_objects
from optim.threads import one_thread
from optim.trimming import trim_masks
from optim.warps import Warper


def sample_shapes(reconstruction: Reconstruction, count: int, seed: int = 0) -> Reconstruction:
    """The reconstruction with `count` shapes per object, closed meshes in its frame of which the first is its own, and their spread.

    A sample is drawn in two steps: which completion of the unseen side it is, by what speaks for each (`alternatives`), and how that
    varies within what the image leaves open (`warps`). Deterministic given the seed; an object's samples do not depend on the others'.
    Every object has a mesh, as `optim.reconstruct` gives it.

    Raises:
        InputError: `count` is less than 2.
    """
    check_sample_count(count)
    start = time.perf_counter()
    scene = reconstruction.scene
    with one_thread():
        samples, spreads = [], []
        for k, (view, item) in enumerate(zip(_view_again(reconstruction), scene.objects, strict=True)):
            generator = np.random.default_rng([seed, reconstruction.mask_indices[k]])
            drawn = _sample_object(view, item.mesh.transformed(item.T_world_object), reconstruction.hypotheses[k], count, generator)
            meshes = [item.mesh, *(mesh.transformed(invert(item.T_world_object)) for mesh in drawn)]
            samples.append(tuple(meshes))
            spreads.append(measure_spread(meshes[0], meshes[1:]))
    seconds = reconstruction.seconds | {"shape samples": time.perf_counter() - start}
    return replace(reconstruction, samples=tuple(samples), spread=tuple(spreads), seconds=seconds)


def check_sample_count(count: int) -> None:
    """Raises `InputError` where so many samples an object are too few to say anything."""
    if count < 2:
        raise InputError(f"{count} shape samples tell nothing of what is uncertain; ask for 2 at least, better 8")


def measure_spread(mesh: Mesh, samples: list[Mesh]) -> Float[Tensor, " v"]:
    """Root mean square, metres, of the distances from each vertex to the samples' surfaces."""
    squares = [find_nearest_faces(mesh.vertices, sample.vertices, sample.faces)[0] ** 2 for sample in samples]
    return torch.stack(squares).mean(0).sqrt()


def _view_again(reconstruction: Reconstruction) -> list[ObjectView]:
    """What the image says of each object of the scene."""
    observation, kept = reconstruction.observation, list(reconstruction.mask_indices)
    names = tuple(observation.object_names[k] for k in kept)
    observation = observation.with_masks(observation.masks[kept], names)
    has_plane = reconstruction.scene.plane is not None
    return view_objects(trim_masks(observation) if has_plane else observation, has_plane)


def _sample_object(view: ObjectView, mesh: Mesh, name: str, count: int, generator: np.random.Generator) -> list[Mesh]:
    """All but the first of `count` shapes (world frame) of an object that was reconstructed as `mesh` (world frame).

    Where a deformation would turn a sheet inside out, the completion stays as it is.
    """
    reconstructed = Hypothesis(name, mesh.vertices.detach().cpu().double().numpy(), mesh.faces.cpu().numpy())
    beliefs = weigh_alternatives(view, reconstructed, generator)
    warper = Warper(view, beliefs.primitive, beliefs.covariance)
    samples = []
    for index in _draw_systematically(beliefs.weights, count - 1, generator):
        shape = warper.warp(beliefs.shapes[index], float(beliefs.doubts[index]), is_primitive=bool(index == 0), generator=generator)
        if float(volume(torch.as_tensor(shape.vertices), torch.as_tensor(shape.faces))) <= 0:
            shape = beliefs.shapes[index]
        samples.append(Mesh(torch.as_tensor(shape.vertices).to(mesh.vertices), torch.as_tensor(shape.faces).to(mesh.faces.device)))
    return samples


def _draw_systematically(weights: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """(count,) indices, each as often as its weight says to within one (systematic resampling), in random order."""
    positions = (np.arange(count) + generator.uniform()) / count
    return generator.permutation(np.minimum(np.searchsorted(np.cumsum(weights), positions), len(weights) - 1))
