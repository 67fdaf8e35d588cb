"""Cluttered tables of the VGN and GIGA experiments: packed (upright, side by side) and pile (poured), and their noisy side view.

Numbers from the GIGA paper (Jiang et al. 2021, section V) and the settings of its published experiment as `metrics.md` quotes them.
World frame: the table is z = 0, the workspace a cube of 0.3 m centred over the origin whose lowest 5 cm are the table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from grasp_sim.solids import PlacedSolid, Solid
from grasp_sim.world import World
from invgraphics.camera import Camera
from invgraphics.geometry.mesh import linear_from_srgb
from invgraphics.observation import Observation
from invgraphics.transforms import transform_points

WORKSPACE = 0.3
"""Edge of the cubic workspace, metres."""
VIEW_DISTANCE = 2 * WORKSPACE
"""From the camera to the middle of the workspace, metres."""
NOISE = 0.005
"""Standard deviation of a depth reading, metres."""
_TABLE = 0.05
"""Height of the table inside the cube, metres."""
_WALL = 0.01
"""Half the thickness of the walls that objects are poured between, metres."""
_ATTEMPTS = 12
"""Placements tried for a packed scene."""


Sensor = Callable[[Float[np.ndarray, "h w"], np.random.Generator], Float[np.ndarray, "h w"]]
"""From perfect depth (m, 0 = none) to what a camera makes of it. A module's function, for it runs in other processes."""


class Protocol(Enum):
    """How a table is set."""

    PACKED = "packed"
    PILE = "pile"


@dataclass(frozen=True)
class Model:
    """An object of the set."""

    name: str
    solid: Solid
    """Metres, upright in its own frame."""


@dataclass(frozen=True)
class View:
    """One picture of the table."""

    observation: Observation
    """Without masks; `camera.T_world_camera` is the true pose, as the protocol gives it."""
    truth: tuple[PlacedSolid, ...]
    """What stands on the table, for the upper bound and for scores; not for reconstruction."""
    seen: np.ndarray
    """(h, w) index in `truth` of what each pixel shows, -1 for none; for the lower bound, not for reconstruction."""


@dataclass
class Table:
    """A world with objects at rest on the plane z = 0."""

    world: World
    solids: dict[int, tuple[str, Solid]]
    """Name and shape by body."""

    def placed(self) -> tuple[PlacedSolid, ...]:
        """The objects where they are now."""
        return tuple(PlacedSolid(solid, self.world.pose(body), name) for body, (name, solid) in self.solids.items())

    def remove(self, body: int) -> None:
        """Takes an object away."""
        self.world.remove(body)
        del self.solids[body]

    def drop_outsiders(self) -> int:
        """Removes what left the workspace; how many."""
        limit = WORKSPACE / 2 + 0.02
        outside = [body for body in self.solids if not _inside(self.world.centre_of_mass(body), limit)]
        for body in outside:
            self.remove(body)
        return len(outside)


def set_table(world: World, models: Sequence[Model], protocol: Protocol, count: int, generator: np.random.Generator) -> Table:
    """Puts up to `count` randomly chosen and scaled objects on an empty world's table and waits until they rest."""
    world.add_plane()
    table = Table(world, {})
    if protocol is Protocol.PACKED:
        _pack(table, models, count, generator)
    else:
        _pour(table, models, count, generator)
    world.settle(table.solids, max_seconds=4.0)
    table.drop_outsiders()
    return table


def _pack(table: Table, models: Sequence[Model], count: int, generator: np.random.Generator) -> None:
    """Upright objects, scaled to 0.7 to 0.9, turned about the vertical, their origins 8 cm or more from the workspace's edge, apart."""
    reach = WORKSPACE / 2 - 0.08
    for _ in range(_ATTEMPTS):
        if len(table.solids) == count:
            return
        name, solid = _draw(models, (0.7, 0.9), generator)
        T = np.eye(4)
        T[:3, :3] = Rotation.from_euler("z", generator.uniform(0, 2 * np.pi)).as_matrix()
        T[:2, 3] = generator.uniform(-reach, reach, size=2)
        T[2, 3] = 0.002 - solid.vertices[:, 2].min()
        body = table.world.add_mesh(solid, T, colour=_colour(generator))
        if any(table.world.near(body, other, 0.0) for other in table.solids):
            table.world.remove(body)
            continue
        table.solids[body] = (name, solid)
        table.world.settle([body], max_seconds=1.5)


def _pour(table: Table, models: Sequence[Model], count: int, generator: np.random.Generator) -> None:
    """Objects scaled to 0.8 to 1, dropped from 20 cm at any turn between four walls that are then taken away."""
    world, half = table.world, WORKSPACE / 2
    walls = []
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        T = np.eye(4)
        T[:3, 3] = x * (half + _WALL), y * (half + _WALL), half
        size = [_WALL if x else half + 2 * _WALL, _WALL if y else half + 2 * _WALL, half]
        walls.append(world.add_box(size, T))
    for _ in range(count):
        name, solid = _draw(models, (0.8, 1.0), generator)
        T = np.eye(4)
        T[:3, :3] = Rotation.random(rng=generator).as_matrix()
        T[:2, 3] = generator.uniform(-WORKSPACE / 6, WORKSPACE / 6, size=2)
        T[2, 3] = 0.2 - (solid.vertices @ T[2, :3]).min()
        body = world.add_mesh(solid, T, colour=_colour(generator))
        table.solids[body] = (name, solid)
        world.settle([body], max_seconds=2.0)
    for wall in walls:
        world.remove(wall)


def _draw(models: Sequence[Model], scales: tuple[float, float], generator: np.random.Generator) -> tuple[str, Solid]:
    model = models[int(generator.integers(len(models)))]
    scale = float(generator.uniform(*scales))
    return model.name, model.solid.scaled(scale)


def _colour(generator: np.random.Generator) -> list[float]:
    return generator.uniform(0.2, 0.9, size=3).tolist()


def _inside(point: Float[np.ndarray, "3"], limit: float) -> bool:
    return bool(np.isfinite(point).all() and np.abs(point[:2]).max() <= limit and -0.05 <= point[2] <= WORKSPACE)


def side_camera(middle: tuple[float, float] = (0.0, 0.0)) -> Camera:
    """The fixed side view: 2 workspace lengths away, 60 degrees from the vertical, 640 x 480, f = 540 pixels.

    `middle` is the workspace's, x and y in the world frame, metres.
    """
    target = np.array([*middle, WORKSPACE / 3 - _TABLE])
    polar = np.pi / 3
    eye = target + VIEW_DISTANCE * np.array([np.sin(polar), 0.0, np.cos(polar)])
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = np.stack([right, np.cross(forward, right), forward], axis=1), eye
    K = torch.tensor([[540.0, 0.0, 319.5], [0.0, 540.0, 239.5], [0.0, 0.0, 1.0]])
    return Camera(K, 480, 640, torch.tensor(T, dtype=torch.float32))


def photograph(
    table: Table, generator: np.random.Generator, name: str, middle: tuple[float, float] = (0.0, 0.0), sensor: Sensor | None = None
) -> View:
    """The side view (`side_camera`) as a sensor sees it: with the protocol's noise where none is given."""
    camera = side_camera(middle)
    picture = table.world.render(camera)
    depth = (sensor or add_protocol_noise)(picture.depth, generator)
    order = {body: k for k, body in enumerate(table.solids)}
    seen = np.vectorize(lambda body: order.get(body, -1), otypes=[np.int64])(picture.bodies)
    colour = linear_from_srgb(torch.tensor(picture.colour / 255.0, dtype=torch.float32))
    valid = torch.tensor(picture.valid & (depth > 0))
    masks = torch.zeros(0, *depth.shape, dtype=torch.bool)
    observation = Observation(colour, torch.tensor(depth, dtype=torch.float32), valid, masks, camera, name)
    return View(observation, table.placed(), seen)


def add_protocol_noise(depth: Float[np.ndarray, "h w"], generator: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """The depth (m, 0 = none) with the noise `a d + e`: a ~ Gamma(1000, 0.001) for the image, e 5 mm, correlated over sqrt 2 pixels."""
    scale = generator.gamma(1000.0, 0.001)
    error = gaussian_filter(generator.standard_normal(depth.shape), np.sqrt(2))
    return np.where(depth > 0, scale * depth + NOISE * error / error.std(), 0.0)


def calibrate_depth(observation: Observation) -> Observation:
    """The image with its depth scaled so that the table lies where the known camera pose says, which takes off the noise's factor a.

    The ratio of measured to expected table depth is most frequent at a; objects, nearer than the table, only give smaller ones.
    """
    camera = observation.camera
    downward = -(camera.rays() @ camera.T_world_camera[:3, :3].T)[..., 2].double().numpy()
    expected = np.where(downward > 1e-3, float(camera.T_world_camera[2, 3]) / np.maximum(downward, 1e-3), np.inf)
    ratios = (observation.depth.double().numpy() / expected)[observation.valid.numpy()]
    counts, edges = np.histogram(ratios, bins=200, range=(0.8, 1.2))
    peak = edges[counts.argmax()] + 0.5 * (edges[1] - edges[0])
    scale = float(np.median(ratios[np.abs(ratios - peak) < 0.015]))
    return replace(observation, depth=observation.depth / scale)


def world_points(observation: Observation) -> Float[np.ndarray, "h w 3"]:
    """World-frame point of every pixel, metres."""
    camera = observation.camera
    points = transform_points(camera.T_world_camera, camera.unproject(observation.depth).reshape(-1, 3))
    return points.reshape(*observation.depth.shape, 3).double().numpy()
