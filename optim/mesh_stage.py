"""Stage two: the chosen mesh inside a cage, whose vertices move until the rendered depth and silhouette match the images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.cage import mean_value_coordinates, sphere_cage
from invgraphics.geometry.mesh import Mesh, uniform_laplacian
from invgraphics.losses import bend, compare_depths, compare_silhouettes, miss_contact, penetrate_plane
from invgraphics.parameters import Diffused
from invgraphics.transforms import invert, transform_points
from optim.minimize import Limits
from optim.object_view import ObjectView
from optim.obstacles import Obstacle
from optim.stages import LossTerm, Stage, StageResult, Values, run_stage
from optim.standing import lay_flat, stands_on_plane
from optim.steppers import Adam
from renderers.rasterize import Rasterizer, build_topology

CROP_PIXELS = 96
"""Longer side of the crop that each object is rendered in."""
_CAGE_SUBDIVISIONS = 2
_CAGE_MARGIN = 1.95
"""Cage radii over the half extents of the mesh; the corners of its bounding box lie at the square root of 3."""
_NEIGHBOURHOOD = 4.0
"""Squared radius, in cage edges, of what moves together (see `Diffused`)."""
_LEARNING_RATE = 0.008
"""Of Adam, as a share of the object's largest half extent."""
_LIMITS = Limits(iterations=80, patience=12, tolerance=2e-3)


@dataclass(frozen=True)
class CageWeights:
    """Weights of the terms. Depth and support are in noise levels, silhouette in covered cells, each per measured cell; the others in
    squares of the object's largest half extent."""

    depth: float = 1.0
    silhouette: float = 20.0
    smoothness: float = 3000.0
    """Of the cage's displacement: its graph Laplacian."""
    rest: float = 5.0
    """Of the displacement itself: what nothing sees stays."""
    support: float = 1.0
    contact: float = 0.3
    """Of the gap between what stands on the plane and the plane."""
    separation: float = 60.0
    """Of the depth inside neighbours, over all vertices."""


@dataclass(frozen=True)
class CropTarget:
    """What the image shows in the window around one object, at the resolution at which it is rendered."""

    camera: Camera
    """Of the crop, in the world frame."""
    depth: Float[Tensor, "h w"]
    """Metres along z; the mean over the measured pixels of the object in each cell."""
    measured: Bool[Tensor, "h w"]
    """Where at least half of a cell belongs to the object and was measured."""
    share: Float[Tensor, "h w"]
    """Share of each cell that the object's mask covers."""
    informative: Bool[Tensor, "h w"]
    """False where something nearer hides the object, or beyond the image: there the mask says nothing."""
    noise: float
    """Standard deviation of the depth, metres."""


@dataclass(frozen=True)
class RenderedCrop:
    """The mesh as one image would show it."""

    depth: Float[Tensor, "h w"]
    """Metres along z; 0 where nothing is drawn."""
    drawn: Bool[Tensor, "h w"]
    coverage: Float[Tensor, "h w"]
    """In [0, 1], antialiased: its gradient moves the silhouette."""


@dataclass(frozen=True)
class DeformedMesh:
    """What the terms of this stage judge."""

    crops: tuple[RenderedCrop, ...]
    """One for each target."""
    cage_offset: Float[Tensor, "c 3"]
    """How far the cage has moved, metres."""
    vertices: Float[Tensor, "v 3"]
    """Of the mesh, world frame."""


def build_crop_targets(view: ObjectView, dtype: torch.dtype) -> list[CropTarget]:
    """What each image of the object shows."""
    return [build_crop_target(image, image.camera(dtype)) for image in view.images]


def build_crop_target(view: ObjectView, camera: Camera) -> CropTarget:
    """The window of an object's mask with a margin, averaged over cells so that its longer side has about `CROP_PIXELS`."""
    left, top, width, height, cell = _choose_window(view.owned)
    owned, measured, hidden, depth, inside = (
        _cut(image.astype(np.float32), left, top, width, height)
        for image in (view.owned, view.measured, view.excess_px == 0, view.barrier, np.ones(view.owned.shape))
    )

    def pool(image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, (width // cell, height // cell), interpolation=cv2.INTER_AREA)

    share, measured_share = pool(owned), pool(measured)
    mean_depth = pool(depth * measured) / np.maximum(measured_share, 1e-6)
    informative = (pool(np.maximum(hidden - owned, 0)) < 0.01) & (pool(inside) > 0.99)
    crop = camera.crop(left, top, width, height).resize(width // cell, height // cell)
    return CropTarget(
        crop,
        depth=torch.as_tensor(mean_depth).to(camera.K),
        measured=torch.as_tensor(measured_share >= 0.5),
        share=torch.as_tensor(share).to(camera.K),
        informative=torch.as_tensor(informative),
        noise=view.noise,
    )


def _choose_window(owned: np.ndarray) -> tuple[int, int, int, int, int]:
    """Left, top, width, height of the window, whole multiples of the cell's side, which comes last; pixels."""
    rows, columns = np.flatnonzero(owned.any(1)), np.flatnonzero(owned.any(0))
    sides = np.array([columns[-1] - columns[0], rows[-1] - rows[0]]) + 1
    margin = max(4, int(0.12 * sides.max()))
    cell = max(1, int(np.ceil((sides.max() + 2 * margin) / CROP_PIXELS)))
    width, height = (int(-(-(side + 2 * margin) // cell) * cell) for side in sides)
    return int(columns[0]) - margin, int(rows[0]) - margin, width, height, cell


def _cut(image: np.ndarray, left: int, top: int, width: int, height: int) -> np.ndarray:
    """A window of an image, zero where it reaches outside."""
    window = np.zeros((height, width), dtype=image.dtype)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, image.shape[1]), min(top + height, image.shape[0])
    window[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return window


@dataclass(frozen=True)
class CageProblem:
    """A mesh in its cage, ready to be fitted: `run_stage(problem.stage, problem.start)`."""

    stage: Stage
    """Its one free value is "cage", (c, 3) object frame, metres; it predicts a `DeformedMesh`."""
    start: Values
    """The cage at rest, in which the mesh has its own shape."""
    mesh: Mesh
    """As given, object frame."""
    weights: Float[Tensor, "v c"]
    """Mean value coordinates of the mesh's vertices in the cage."""

    def deform(self, values: Values) -> Mesh:
        """The mesh in the cage of these values, object frame."""
        return replace(self.mesh, vertices=self.weights @ values["cage"])


def build_cage_problem(
    mesh: Mesh,
    T_world_object: Float[Tensor, "4 4"],
    targets: Sequence[CropTarget],
    rasterizer: Rasterizer,
    has_plane: bool,
    loss_weights: CageWeights = CageWeights(),
    obstacles: Sequence[Obstacle] = (),
) -> CageProblem:
    """What `fit_cage` solves; its arguments are the same."""
    middle = (mesh.vertices.max(0).values + mesh.vertices.min(0).values) / 2
    radii = (mesh.vertices.max(0).values - mesh.vertices.min(0).values).clamp(min=1e-3) / 2
    rest, cage_faces = sphere_cage(_CAGE_SUBDIVISIONS, radii, _CAGE_MARGIN)
    rest = rest + middle
    weights = mean_value_coordinates(mesh.vertices, rest, cage_faces)
    size = float(radii.max())
    stage = Stage(
        "cage",
        free={"cage": Diffused.over(cage_faces, len(rest), _NEIGHBOURHOOD, unit=1.0, dtype=rest.dtype)},
        predict=_build_prediction(mesh.faces, weights, rest, T_world_object, targets, rasterizer),
        terms=(
            *(term for view, target in enumerate(targets) for term in _build_image_terms(view, target, loss_weights)),
            *_build_cage_terms(cage_faces, rest, size, loss_weights),
            *_build_contact_terms(transform_points(T_world_object, mesh.vertices), targets[0], loss_weights, has_plane, obstacles),
        ),
        stepper=Adam(_LEARNING_RATE * size),
        limits=_LIMITS,
    )
    return CageProblem(stage, {"cage": rest}, mesh, weights)


def fit_cage(
    mesh: Mesh,
    T_world_object: Float[Tensor, "4 4"],
    targets: Sequence[CropTarget],
    rasterizer: Rasterizer,
    has_plane: bool,
    loss_weights: CageWeights = CageWeights(),
    obstacles: Sequence[Obstacle] = (),
) -> tuple[Mesh, StageResult]:
    """Deforms a mesh through its cage until it matches the crops.

    Args:
        mesh: closed; object frame, metres.
        T_world_object: where the object stands; stays.
        targets: what each image shows; at least one. Noise is the first one's where it is asked for.
        rasterizer: draws the crops.
        has_plane: whether the support plane is known, which the mesh may not sink into.
        loss_weights: of the terms.
        obstacles: neighbours, which the mesh may not run into.

    Returns:
        The deformed mesh, object frame, and the stage's result; its values hold the cage's vertices under "cage".
    """
    problem = build_cage_problem(mesh, T_world_object, targets, rasterizer, has_plane, loss_weights, obstacles)
    result = run_stage(problem.stage, problem.start)
    deformed = problem.deform(result.values)
    if has_plane:
        world = transform_points(T_world_object, deformed.vertices)
        world = lay_flat(world, deformed.faces, _touches_any(obstacles, world))
        deformed = replace(deformed, vertices=transform_points(invert(T_world_object), world))
    return deformed, result


def build_cage_surface(values: Values) -> Mesh:
    """The cage of this stage's values, object frame."""
    _, faces = sphere_cage(_CAGE_SUBDIVISIONS, torch.ones(3), _CAGE_MARGIN)
    return Mesh(values["cage"].detach(), faces)


def _build_prediction(
    faces: Int[Tensor, "f 3"],
    weights: Float[Tensor, "v c"],
    rest: Float[Tensor, "c 3"],
    T_world_object: Float[Tensor, "4 4"],
    targets: Sequence[CropTarget],
    rasterizer: Rasterizer,
) -> Callable[[Values], DeformedMesh]:
    by_corner = weights.T.contiguous()
    draws = [_build_drawing(faces, target.camera, rasterizer) for target in targets]

    def predict(values: Values) -> DeformedMesh:
        # Lying down, the product takes a sixth of the time: BLAS is slow with matrices of three columns.
        world = transform_points(T_world_object, (values["cage"].T @ by_corner).T)
        return DeformedMesh(tuple(draw(world) for draw in draws), values["cage"] - rest, world)

    return predict


def _build_drawing(faces: Int[Tensor, "f 3"], camera: Camera, rasterizer: Rasterizer) -> Callable[[Tensor], RenderedCrop]:
    """Of world vertices (v, 3) by one camera."""
    topology = build_topology(faces)
    T_camera_world = invert(camera.T_world_camera)
    clip_from_camera = camera.clip_from_camera()

    def draw(world: Tensor) -> RenderedCrop:
        in_camera = transform_points(T_camera_world, world)
        clip = (torch.nn.functional.pad(in_camera, (0, 1), value=1.0) @ clip_from_camera.T)[None]
        rasterized = rasterizer.rasterize(clip, faces, (camera.height, camera.width))
        drawn = rasterized.triangle_ids >= 0
        depth = rasterizer.interpolate(in_camera[None, :, 2:], rasterized, faces)
        coverage = rasterizer.antialias(drawn[..., None].to(clip.dtype), rasterized, clip, topology)
        return RenderedCrop(depth[0, ..., 0], drawn[0], coverage[0, ..., 0])

    return draw


def _build_image_terms(view: int, target: CropTarget, weights: CageWeights) -> tuple[LossTerm, ...]:
    cells = target.measured.sum().clamp(min=1)
    scale = _residual_scale(target)
    suffix = f" in view {view}" if view else ""

    def depth(mesh: DeformedMesh) -> Tensor:
        crop = mesh.crops[view]
        both = target.measured & crop.drawn
        return compare_depths(crop.depth, target.depth, both, scale).sum() / cells

    def silhouette(mesh: DeformedMesh) -> Tensor:
        crop = mesh.crops[view]
        return compare_silhouettes(crop.coverage, target.share, target.informative).sum() / cells

    return LossTerm(f"depth{suffix}", weights.depth, depth), LossTerm(f"silhouette{suffix}", weights.silhouette, silhouette)


def _build_cage_terms(
    cage_faces: Int[Tensor, "t 3"], rest: Float[Tensor, "c 3"], size: float, weights: CageWeights
) -> tuple[LossTerm, ...]:
    laplacian = uniform_laplacian(cage_faces, len(rest), rest.dtype)
    return (
        LossTerm("smoothness", weights.smoothness / size**2, lambda mesh: bend(mesh.cage_offset, laplacian)),
        LossTerm("rest", weights.rest / size**2, lambda mesh: (mesh.cage_offset**2).sum(-1)),
    )


def _build_contact_terms(
    start: Float[Tensor, "v 3"], target: CropTarget, weights: CageWeights, has_plane: bool, obstacles: Sequence[Obstacle]
) -> tuple[LossTerm, ...]:
    """What the mesh touches: the plane, where it stands on it at the start (world vertices), and its neighbours, which it may not enter."""
    scale = _residual_scale(target)
    terms = []
    if has_plane:
        terms.append(LossTerm("support", weights.support, lambda mesh: penetrate_plane(mesh.vertices[:, 2]) / scale))
    if has_plane and stands_on_plane(start[:, 2], _touches_any(obstacles, start)):
        terms.append(LossTerm("contact", weights.contact, lambda mesh: miss_contact(mesh.vertices[:, 2]) / scale))
    if obstacles:
        terms.append(LossTerm("separation", weights.separation, lambda mesh: _measure_depth_in(obstacles, mesh.vertices) / scale))
    return tuple(terms)


def _touches_any(obstacles: Sequence[Obstacle], points: Float[Tensor, "v 3"]) -> bool:
    return any(obstacle.is_touched_by(points) for obstacle in obstacles)


def _measure_depth_in(obstacles: Sequence[Obstacle], points: Float[Tensor, "v 3"]) -> Float[Tensor, " v"]:
    """How deep, metres, each world point lies inside neighbours."""
    return torch.stack([obstacle.measure_depth(points) for obstacle in obstacles]).sum(0)


def _residual_scale(target: CropTarget) -> float:
    """Metres that count as one."""
    return max(2 * target.noise, 0.001)
