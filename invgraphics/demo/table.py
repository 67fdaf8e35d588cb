"""The true scene: toys settled on a table by physics, and one photograph of them. World frame: the arm's base frame, table at z = 0."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8, UInt16
from scipy.spatial.transform import Rotation

from grasp_sim.records import DEFAULT_FRICTION, Lighting
from grasp_sim.world import World
from invgraphics.camera import Camera
from invgraphics.datasets.files import write_image
from invgraphics.demo.sensor import StereoNoise, add_colour_noise, add_depth_noise
from invgraphics.demo.toys import Toy
from invgraphics.geometry.mesh import Mesh

TABLE_COLOUR = (0.52, 0.47, 0.42)
LIGHTING = Lighting(direction=(0.1, 0.6, 1.0), ambient=0.55, diffuse=0.5, specular=0.05)
_AREA = np.array([[0.38, -0.22], [0.64, 0.22]])
"""Opposite corners of where toys are put down, metres."""
_SPACING = 0.15
"""Least distance between two toys, metres: room for a hand."""
_MOST_DRAWS = 200_000
"""Of all toys' places: five toys need some hundreds, six some ten thousands."""
_DROP = 0.01
"""Metres above the table from which they fall."""
_BOX_MARGIN = 3
"""Pixels by which a box is wider than the object in it, as one drawn by hand would be."""


@dataclass(frozen=True)
class Photograph:
    """One RGB-D image with what a person draws on it, and what only the simulation knows."""

    camera: Camera
    """Where the camera really is."""
    colour: UInt8[np.ndarray, "h w 3"]
    """8-bit sRGB."""
    depth: UInt16[np.ndarray, "h w"]
    """Counts of `depth_unit`, 0 = no reading."""
    depth_unit: float
    """Metres."""
    true_masks: Bool[np.ndarray, "n h w"]
    """Visible pixels of each toy."""
    boxes: Int[np.ndarray, "n 4"]
    """x0, y0, x1, y1 around each toy, pixels; zeros for one that is not seen."""


def settle_toys(world: World, toys: tuple[Toy, ...], folder: Path, generator: np.random.Generator) -> tuple[int, ...]:
    """Puts the table and the toys into the world and lets them come to rest; returns the toys' bodies. URDFs are written to `folder`."""
    world.add_plane(colour=TABLE_COLOUR)
    bodies = []
    for toy, position in zip(toys, _draw_positions(len(toys), generator), strict=True):
        path = folder / f"{toy.name}.urdf"
        path.write_text(toy.urdf())
        yaw = Rotation.from_euler("z", generator.uniform(-np.pi, np.pi))
        T_world_toy = np.eye(4)
        T_world_toy[:3, :3] = (yaw * Rotation.from_euler("xyz", toy.upright)).as_matrix()
        lowest = (toy.load_surface().vertices @ T_world_toy[:3, :3].T)[:, 2].min()
        T_world_toy[:3, 3] = [*position, _DROP - lowest]
        bodies.append(world.add_urdf(path, T_world_toy, friction=DEFAULT_FRICTION))
    world.settle(bodies, max_seconds=8.0)
    return tuple(bodies)


def place_camera(eye: tuple[float, float, float], target: tuple[float, float, float], *, focal_length: float = 600.0) -> Camera:
    """A 640x480 camera at `eye` that looks at `target` (world frame, metres), upright; focal length in pixels."""
    forward = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    T_world_camera = np.eye(4)
    T_world_camera[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    T_world_camera[:3, 3] = eye
    K = torch.tensor([[focal_length, 0.0, 319.5], [0.0, focal_length, 239.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return Camera(K, 480, 640, torch.as_tensor(T_world_camera))


def take_photograph(
    world: World, bodies: tuple[int, ...], camera: Camera, generator: np.random.Generator, noise: StereoNoise | None = None
) -> Photograph:
    """One image by PyBullet's renderer, with the noise of a stereo camera."""
    noise = noise or StereoNoise()
    picture = world.render(camera, lighting=LIGHTING)
    masks = picture.bodies == np.array(bodies, dtype=np.int64)[:, None, None]
    return Photograph(
        camera,
        add_colour_noise(picture.colour, noise, generator),
        add_depth_noise(picture.depth, noise, generator),
        noise.unit,
        masks,
        np.array([_box_around(mask) for mask in masks], dtype=np.int64).reshape(-1, 4),
    )


def write_frame(photograph: Photograph, folder: Path, boxes: bool = True) -> None:
    """As a frame folder, with boxes if wanted: what a user would bring."""
    folder.mkdir(parents=True)
    camera = photograph.camera
    write_image(folder / "rgb.png", photograph.colour)
    write_image(folder / "depth.png", photograph.depth)
    description = {"K": camera.K.tolist(), "width": camera.width, "height": camera.height, "depth_scale_m": photograph.depth_unit}
    (folder / "camera.json").write_text(json.dumps(description, indent=1) + "\n")
    if boxes:
        (folder / "boxes.json").write_text(json.dumps(photograph.boxes.tolist()) + "\n")


def true_meshes(world: World, toys: tuple[Toy, ...], bodies: tuple[int, ...]) -> list[Mesh]:
    """The toys' surfaces where they stand, world frame, metres."""
    return [toy.mesh().transformed(torch.tensor(world.pose(body), dtype=torch.float32)) for toy, body in zip(toys, bodies, strict=True)]


def _draw_positions(count: int, generator: np.random.Generator) -> Float[np.ndarray, "n 2"]:
    """Places on the table at least the spacing apart, by rejection; `ValueError` where so many do not fit."""
    for _ in range(_MOST_DRAWS):
        places = generator.uniform(_AREA[0], _AREA[1], (count, 2))
        distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
        if distances[~np.eye(count, dtype=bool)].min(initial=np.inf) >= _SPACING:
            return places
    raise ValueError(f"{count} toys do not fit on the table {100 * _SPACING:.0f} cm from each other")


def _box_around(mask: np.ndarray) -> Int[np.ndarray, "4"]:
    """x0, y0, x1, y1 with the margin, within the image; pixel k covers [k, k + 1]."""
    if not mask.any():
        return np.zeros(4, dtype=np.int64)
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    low = np.maximum([columns[0] - _BOX_MARGIN, rows[0] - _BOX_MARGIN], 0)
    high = np.minimum([columns[-1] + 1 + _BOX_MARGIN, rows[-1] + 1 + _BOX_MARGIN], [width, height])
    return np.concatenate([low, high])
