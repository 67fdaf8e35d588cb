"""Objects as physics takes them: convex pieces, volume, centre of mass, inertia."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import trimesh
from jaxtyping import Float, Int
from manifold3d import Manifold
from scipy.spatial import ConvexHull, HalfspaceIntersection

from grasp_sim.convex import DEFAULT_BULGE, decompose, simplify, solid_from_surface
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh, icosphere
from invgraphics.scene import Scene, SceneObject

COLLISION_MARGIN = 1e-3
"""Metres by which Bullet rounds a convex piece outward; pieces are inset by as much, where they are thick enough."""
_THINNEST = 1e-6
"""Metres: thickness of what counts as flat."""
_MAX_PIECE_VERTICES = 100
_ROUNDED_OFF = 1e-4
"""Metres by which a piece may fall short of its hull for the sake of fewer corners."""
_JOINING = 12
"""Corners that join a piece at a time."""
_CORNERS = np.array([[1.0, 1, 1], [1, 1, -1], [1, -1, 1], [1, -1, -1]])


@dataclass(frozen=True)
class Polyhedron:
    """A closed polyhedron."""

    vertices: Float[np.ndarray, "v 3"]
    """Metres, body frame."""
    faces: Int[np.ndarray, "f 3"]
    """Counter-clockwise from outside."""

    def scaled(self, factor: float) -> "Polyhedron":
        """The same shape `factor` times as large about the origin."""
        return Polyhedron(factor * self.vertices, self.faces)


@dataclass(frozen=True)
class Solid:
    """A body of uniform density: its surface, its convex pieces, its mass properties. Built once, used in many worlds."""

    vertices: Float[np.ndarray, "v 3"]
    """The surface, metres, body frame."""
    faces: Int[np.ndarray, "f 3"]
    """Its triangles."""
    coarse: Polyhedron
    """The same surface with fewer triangles, for searching; closed, not convex."""
    pieces: tuple[Polyhedron, ...]
    """Convex pieces inset by the engine's margin, so that with the margin they fill the surface."""
    volume: float
    """Cubic metres."""
    T_body_inertial: Float[np.ndarray, "4 4"]
    """Frame of the centre of mass and the principal axes of inertia."""
    unit_inertia: Float[np.ndarray, "3"]
    """Principal moments at density 1 kg/m^3, m^5."""

    def scaled(self, factor: float) -> "Solid":
        """The same shape `factor` times as large about the body frame's origin, without cutting it into pieces again."""
        T_body_inertial = self.T_body_inertial.copy()
        T_body_inertial[:3, 3] *= factor
        return Solid(
            factor * self.vertices,
            self.faces,
            self.coarse.scaled(factor),
            tuple(piece.scaled(factor) for piece in self.pieces),
            factor**3 * self.volume,
            T_body_inertial,
            factor**5 * self.unit_inertia,
        )


@dataclass(frozen=True)
class PlacedSolid:
    """A solid somewhere in the world."""

    solid: Solid
    T_world_body: Float[np.ndarray, "4 4"]
    """Metres."""
    name: str
    """What messages call it."""
    samples: tuple[Solid, ...] = ()
    """Other shapes that it may have, in the same body frame, over which trials vary."""

    def with_sample(self, number: int) -> "PlacedSolid":
        """The object in one of its shapes: 0 is `solid`, then the samples, from the first again after the last."""
        shapes = (self.solid, *self.samples)
        return replace(self, solid=shapes[number % len(shapes)], samples=())

    def hulled(self) -> "PlacedSolid":
        """The object as its convex hull, without other shapes."""
        hull = find_hull(self.solid.coarse.vertices)
        faces = np.unique(_outward(hull), return_inverse=True)[1].reshape(-1, 3)
        mesh = Mesh(torch.tensor(hull.points[np.sort(hull.vertices)]), torch.tensor(faces))
        return replace(self, solid=build_solid(mesh), samples=())

    def without_detail(self) -> "PlacedSolid":
        """The object with its coarse surfaces for its fine ones, which trials do not need: cheaper to send."""
        slim = [replace(shape, vertices=shape.coarse.vertices, faces=shape.coarse.faces) for shape in (self.solid, *self.samples)]
        return replace(self, solid=slim[0], samples=tuple(slim[1:]))


def build_solid(mesh: Mesh, *, bulge: float = DEFAULT_BULGE, max_pieces: int = 32, margin: float = COLLISION_MARGIN) -> Solid:
    """The solid that a closed mesh bounds; see `grasp_sim.convex.decompose` for `bulge` (m) and `max_pieces`.

    `margin` is what the physics engine rounds pieces outward by, metres: Bullet's unless another is named, 0 for engines that do not.

    Raises `InputError` where the surface is not closed.
    """
    vertices, faces = mesh.vertices.detach().cpu().double().numpy(), mesh.faces.cpu().numpy()
    solid = solid_from_surface(vertices, faces)
    if solid is None:
        raise InputError(f"a mesh of {len(faces)} faces is not a closed surface with its faces outward: physics needs a solid")
    simple = simplify(solid)
    hulls = decompose(simple, bulge=bulge, max_pieces=max_pieces)
    largest = max(hulls, key=Manifold.volume)
    pieces = tuple(_collision_piece(hull, margin) for hull in hulls if hull is largest or not _is_sliver(hull))
    surface = trimesh.Trimesh(vertices, faces, process=False)
    moments, axes = np.linalg.eigh(surface.moment_inertia)
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    T_body_inertial = np.eye(4)
    T_body_inertial[:3, :3], T_body_inertial[:3, 3] = axes, surface.center_mass
    return Solid(vertices, faces, _polyhedron(simple), pieces, float(surface.volume), T_body_inertial, moments)


def object_surface(item: SceneObject) -> Mesh:
    """Closed surface of a scene's object in its own frame: its mesh, or its ellipsoid where it has none."""
    if item.mesh is not None:
        return item.mesh
    vertices, faces = icosphere(3)
    return Mesh(vertices.to(item.radii) * item.radii, faces.to(item.radii.device))


def place_scene(scene: Scene, samples: Sequence[Sequence[Mesh]] = ()) -> tuple[PlacedSolid, ...]:
    """Every object of a scene as a solid where it is. Raises `InputError` where an object's surface is not closed.

    `samples`, for each object or for none, are shapes that it may have (object frame), the first its own (`Reconstruction.samples`).
    """
    others = [shapes[1:] for shapes in samples] if samples else [()] * len(scene.objects)
    return tuple(
        PlacedSolid(
            build_solid(object_surface(item)),
            item.T_world_object.detach().cpu().double().numpy(),
            item.name,
            tuple(build_solid(shape) for shape in shapes),
        )
        for item, shapes in zip(scene.objects, others, strict=True)
    )


def describe_obj(parts: Sequence[Polyhedron], T_a_b: Float[np.ndarray, "4 4"]) -> str:
    """Parts in frame b as the objects of one Wavefront OBJ text in frame a: PyBullet makes each a convex hull of one compound."""
    lines, first = [], 1
    for k, part in enumerate(parts):
        moved = part.vertices @ T_a_b[:3, :3].T + T_a_b[:3, 3]
        lines.append(f"o part_{k}")
        lines += [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in moved.tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in (part.faces + first).tolist()]
        first += len(part.vertices)
    return "\n".join(lines) + "\n"


def _polyhedron(solid: Manifold) -> Polyhedron:
    mesh = solid.to_mesh()
    return Polyhedron(np.array(mesh.vert_properties, dtype=np.float64)[:, :3], np.array(mesh.tri_verts, dtype=np.int64))


def _is_sliver(hull: Manifold) -> bool:
    """Whether a hull is as good as flat: where a surface folds onto itself, cuts leave such, and nothing can lie inside them."""
    return hull.volume() < _THINNEST / 2 * hull.surface_area()


def _collision_piece(hull: Manifold, margin: float) -> Polyhedron:
    """A hull as an engine shall have it: few corners, none of which with the engine's margin (m) around it leaves the hull."""
    points = _thinned(_inset(_polyhedron(hull).vertices, margin))
    found = find_hull(points)
    order = np.full(len(points), -1)
    order[found.vertices] = np.arange(len(found.vertices))
    return Polyhedron(points[found.vertices], order[_outward(found)])


def find_hull(points: Float[np.ndarray, "n 3"]) -> ConvexHull:
    """The convex hull of points, metres.

    Where many lie nearly in one plane, faces come out wider than rounding explains, by 1e-12 m or so: too little to mind, but Qhull fails
    unless it is told so (Q12).
    """
    return ConvexHull(points, qhull_options="Qt Q12")


def _outward(hull: ConvexHull) -> Int[np.ndarray, "f 3"]:
    """Simplices of a hull, turned counter-clockwise seen from outside."""
    corners = hull.points[hull.simplices]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inward = (normals * hull.equations[:, :3]).sum(-1) < 0
    return np.where(inward[:, None], hull.simplices[:, ::-1], hull.simplices)


def _thinned(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "m 3"]:
    """At most `_MAX_PIECE_VERTICES` of the points, all where there are fewer, whose hull is as large as that of all of them to within
    `_ROUNDED_OFF`, or as near as so many can make it: those that stick out furthest from the hull so far join it in turn.

    (Points that are extreme in evenly spread directions would leave wide, nearly flat faces 2 mm short.)
    """
    if len(points) <= _MAX_PIECE_VERTICES:
        return points
    directions = np.concatenate([np.eye(3), -np.eye(3), _CORNERS, -_CORNERS])
    chosen = list(dict.fromkeys((points @ directions.T).argmax(0).tolist()))
    while len(chosen) < _MAX_PIECE_VERTICES:
        equations = find_hull(points[chosen]).equations
        outside = points @ equations[:, :3].T + equations[:, 3]
        furthest = outside.argmax(0)
        furthest = furthest[np.argsort(-outside.max(0), kind="stable")]
        joining = [k for k in dict.fromkeys(furthest.tolist()) if outside[k].max() > _ROUNDED_OFF]
        if not joining:
            break
        chosen += joining[: min(_JOINING, _MAX_PIECE_VERTICES - len(chosen))]
    return points[chosen]


def _inset(points: Float[np.ndarray, "n 3"], margin: float) -> Float[np.ndarray, "m 3"]:
    """Corners of the polyhedron whose faces lie `margin` further in; less, where the polyhedron is too thin for that."""
    equations = find_hull(points).equations
    centre = points.mean(0)
    depth = float(-(equations[:, :3] @ centre + equations[:, 3]).max())
    if depth < _THINNEST:
        return points
    shifted = np.unique(np.round(equations, 9), axis=0)
    shifted[:, 3] += min(margin, 0.6 * depth)
    return HalfspaceIntersection(shifted, centre).intersections
