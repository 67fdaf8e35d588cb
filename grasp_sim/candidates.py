"""Grasp candidates from meshes: opposing pairs of surface points, seen from several sides, for every template of a hand.

1. Points on the object's surface shoot rays inward within the friction cone; where one leaves the solid again at a face whose normal
   also lies within the cone, the two points oppose each other (antipodal, Nguyen 1988).
2. A template's two sides are put on the two points; the angle about their axis and the depth along the approach are varied.
3. Poses whose hand would touch the plane or any object on its way in are dropped; the rest are scored, less where the hand would stand
   in space that the camera could not see, and thinned out.
4. What is left is refined on the mesh's signed distance, and stays where the hand would not be clear there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import Rotation

from grasp_sim.contact_kernels import BOX, CYLINDER, SPHERE, cast_rays, hand_touches, keep_distinct
from grasp_sim.hands import Closure, Hand, Template
from grasp_sim.occlusion import Occlusion
from grasp_sim.refine import Held, Surface, measure_squareness, refine
from grasp_sim.solids import PlacedSolid, Polyhedron
from invgraphics.grasp import Grasp, NoGrasp, Ungrasped

_KINDS = {"box": BOX, "cylinder": CYLINDER, "sphere": SPHERE}
_DEPTHS = (0.012, 0.004, -0.004, -0.008)
"""Metres by which the hand is pushed further than where its contact points meet the pair; the first that is clear counts."""

_LOOKS_DOWN = 3
"""How often on its way from open to touching a hand is looked at from below: fingertips move on arcs."""
_SQUARE = 0.45
"""Share of the score that antipodality makes up."""
_HIDDEN = 1.0
"""What a score loses where the hand would stand wholly in hidden space."""
_CELL = 0.0015
"""Metres: of several points in one cell of this size one is kept."""
_CELL_CODE = np.array([1, 1 << 20, 1 << 40])
"""Numbers a cell; for places within 1.5 km."""


@dataclass(frozen=True)
class CandidateSettings:
    """How candidates are looked for."""

    friction: float = 0.5
    """Coefficient whose cone contact normals must lie in; below the trials' 0.6, to leave a reserve."""
    narrowest: float = 0.002
    """Metres; thinner walls are left alone."""
    surface_points: int = 400
    """Points on the object that rays start from."""
    approach_angles: int = 12
    """Directions about each pair's axis."""
    steepest_rise: float = 0.1
    """Largest z of the unit approach direction: hands come from above or from the side."""
    approach_distance: float = 0.05
    """Metres over which the hand comes in straight."""
    opening_margins: tuple[float, ...] = (0.03, 0.012)
    """Metres by which the hand opens wider than the pair before it comes in; the first that is clear counts."""
    side_room: float = 0.004
    """Metres by which the hand opens wider than the pair at least, where it cannot open further."""
    clearance: float = 0.002
    """Metres that the hand keeps from objects on its way in."""
    plane_clearance: float = 5e-4
    """Metres that it keeps from the plane, on its way in and while it closes: fingertips all but touch it, for what is thin."""
    pairs_placed: int = 150
    """Best-scored pairs that a template is put on."""
    refined: bool = True
    """Whether the candidates that are left are moved to where they hold more squarely (`grasp_sim.refine`)."""
    distinct_position: float = 0.01
    """Metres; nearer poses of similar turn count as one."""
    distinct_turn: float = np.deg2rad(20)
    """Radians; less turned poses at about the same place count as one."""


@dataclass(frozen=True)
class Candidate:
    """A grasp worth trying."""

    grasp: Grasp
    """Its success rate is nan: nothing has been tried."""
    template: str
    """Which of the hand's templates."""
    score: float
    """In [0, 1], from geometry alone: antipodality, lever arm of the weight, approach from above, how much of the hand's place was seen."""
    hidden: float = 0.0
    """Share of the hand that would stand where the camera did not see whether something is there."""


@dataclass(frozen=True)
class Pairs:
    """Opposing surface points of one object, world frame."""

    centre: Float[np.ndarray, "n 3"]
    """Midway, metres."""
    axis: Float[np.ndarray, "n 3"]
    """Unit, from the first point to the second."""
    width: Float[np.ndarray, " n"]
    """Metres."""
    quality: Float[np.ndarray, " n"]
    """1 where both normals lie along the axis, 0 where one is on the friction cone's rim."""


@dataclass(frozen=True)
class _Poses:
    """Hand poses of one template."""

    T_world_hand: Float[np.ndarray, "n 4 4"]
    width: Float[np.ndarray, " n"]
    score: Float[np.ndarray, " n"]

    def __getitem__(self, chosen: Int[np.ndarray, " m"] | np.ndarray) -> "_Poses":
        return _Poses(self.T_world_hand[chosen], self.width[chosen], self.score[chosen])


def find_candidates(
    objects: Sequence[PlacedSolid],
    index: int,
    hand: Hand,
    generator: np.random.Generator,
    *,
    count: int = 64,
    settings: CandidateSettings | None = None,
    occupied: Float[np.ndarray, "p 3"] | None = None,
    occlusion: Occlusion | None = None,
) -> tuple[list[Candidate], Ungrasped | None]:
    """At most `count` candidates for `objects[index]` among the others on the plane z = 0, best score first.

    The second value says why there is none, where there is none; it is None otherwise. `occupied` is what `occupied_points` gives for
    `objects`, for those who ask for several of them; `occlusion` is that of the image, where there is one.
    """
    settings = settings or CandidateSettings()
    surface = _world_surface(objects[index])
    pairs = find_pairs(surface, settings, generator)
    if len(pairs.width) == 0:
        return [], _nothing_opposes(settings)
    points = occupied_points(objects, generator) if occupied is None else occupied
    centre_of_mass = (objects[index].T_world_body @ objects[index].solid.T_body_inertial)[:3, 3]
    extent = float(np.ptp(surface.vertices, axis=0).max())
    felt = Surface(surface)
    found: list[Candidate] = []
    narrowest, poses_seen = float(pairs.width.min()), 0
    widest = 0.0
    for template in hand.templates:
        closure = hand.closure(template)
        widest = max(widest, float(closure.width[0]))
        poses = _place_template(pairs, closure, centre_of_mass, extent, settings)
        poses_seen += len(poses.width)
        found += _clear_candidates(poses, template, closure, hand, felt, points, index, settings, occlusion)
    if not found and poses_seen == 0 and narrowest < widest - settings.side_room:
        return [], Ungrasped(NoGrasp.NO_ROOM, f"{NoGrasp.NO_ROOM.value}: no finger fits between the plane and what it could press against")
    if not found and poses_seen == 0:
        why = f"its narrowest opposing pair is {1e3 * narrowest:.0f} mm apart, the hand opens to {1e3 * widest:.0f} mm"
        return [], Ungrasped(NoGrasp.HAND_TOO_SMALL, f"{NoGrasp.HAND_TOO_SMALL.value}: {why}")
    if not found:
        why = "in every pose the hand would touch the plane or an object on its way in"
        return [], Ungrasped(NoGrasp.NO_ROOM, f"{NoGrasp.NO_ROOM.value}: {why}")
    best = _thinned(found, count, settings)
    if settings.refined:
        best = _refined(best, hand, felt, points, settings)
    return best, None if best else _nothing_opposes(settings)


def _nothing_opposes(settings: CandidateSettings) -> Ungrasped:
    least = 1e3 * settings.narrowest
    why = f"no two points of its surface, {least:.0f} mm or more apart, oppose each other within the friction cone"
    return Ungrasped(NoGrasp.NOTHING_OPPOSES, why)


def find_pairs(surface: Polyhedron, settings: CandidateSettings, generator: np.random.Generator) -> Pairs:
    """Opposing pairs of a closed surface in the world frame: across single walls and across the whole object."""
    corners = surface.vertices[surface.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    normals = cross / np.maximum(area, 1e-20)[:, None]
    chosen = generator.choice(len(area), size=settings.surface_points, p=area / area.sum())
    origins = _points_on_faces(corners[chosen], generator)
    inward = -normals[chosen]
    tilted = inward + 0.5 * settings.friction * generator.uniform(-1, 1, inward.shape)
    origins = np.concatenate([origins, origins])
    directions = np.concatenate([inward, tilted / np.linalg.norm(tilted, axis=1, keepdims=True)])
    first, first_distance, last, last_distance = cast_rays(origins, directions, corners, cross, 1e-4)
    hit = np.concatenate([first, np.where(last != first, last, -1)])
    distance = np.concatenate([first_distance, last_distance])
    origins, directions, inward = np.tile(origins, (2, 1)), np.tile(directions, (2, 1)), np.tile(inward, (4, 1))
    start_cosine = (directions * inward).sum(-1)
    end_cosine = np.where(hit >= 0, (directions * normals[hit]).sum(-1), -1.0)
    rim = 1 / np.sqrt(1 + settings.friction**2)
    cosine = np.minimum(start_cosine, end_cosine)
    kept = (cosine >= rim) & (distance > settings.narrowest)
    origins, directions, distance = origins[kept], directions[kept], distance[kept]
    quality = (cosine[kept] - rim) / (1 - rim)
    return Pairs(origins + 0.5 * distance[:, None] * directions, directions, distance, quality)


def _place_template(pairs: Pairs, closure: Closure, centre_of_mass: np.ndarray, extent: float, settings: CandidateSettings) -> _Poses:
    """The best pairs that fit between the template's sides, from every approach angle."""
    lever = np.linalg.norm(np.cross(pairs.centre - centre_of_mass, pairs.axis), axis=1) / (0.5 * extent)
    pair_score = _SQUARE * pairs.quality + 0.35 * np.exp(-2 * lever)
    fits = (pairs.width < closure.width[0] - settings.side_room) & _leaves_room_below(pairs)
    chosen = _distinct_pairs(pairs, np.where(fits, pair_score, -np.inf))[: settings.pairs_placed]
    centre, axis, width = pairs.centre[chosen], pairs.axis[chosen], pairs.width[chosen]
    angles = np.arange(settings.approach_angles) * 2 * np.pi / settings.approach_angles
    rotations, hand_centres = [], []
    for pair_axis, pair_width in zip(axis, width, strict=True):
        _, hand_centre, hand_axis = closure.at_width(pair_width)
        hand_side = _side_frame(hand_axis, np.array([0.0, 0.0, 1.0]))
        world_side = _side_frame(pair_axis, np.array([0.0, 0.0, -1.0]))
        turns = Rotation.from_rotvec(angles[:, None] * pair_axis).as_matrix()
        rotations.append(turns @ (world_side @ hand_side.T))
        hand_centres.append(hand_centre)
    if not rotations:
        return _Poses(np.zeros((0, 4, 4)), np.zeros(0), np.zeros(0))
    rotation = np.stack(rotations)
    approach = rotation[..., 2]
    position = centre[:, None] - np.einsum("naij,nj->nai", rotation, np.stack(hand_centres))
    score = (pair_score - _SQUARE * pairs.quality)[chosen][:, None] + 0.2 * np.clip(-approach[..., 2], 0, 1)
    T = np.zeros((*score.shape, 4, 4))
    T[..., :3, :3], T[..., :3, 3], T[..., 3, 3] = rotation, position, 1
    reachable = approach[..., 2] <= settings.steepest_rise
    return _Poses(T[reachable], np.broadcast_to(width[:, None], score.shape)[reachable], score[reachable])


def _leaves_room_below(pairs: Pairs, finger: float = 0.01) -> Bool[np.ndarray, " n"]:
    """Whether a finger `finger` metres thick fits between a pair's lower point and the plane, along the pair's axis."""
    slope = np.abs(pairs.axis[:, 2])
    lower = pairs.centre[:, 2] - 0.5 * slope * pairs.width
    return lower > finger * slope


def _distinct_pairs(pairs: Pairs, score: Float[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """Indices of the best pair of each cell of place (8 mm) and axis (either way round), best first; scores of -inf stay out."""
    along = pairs.axis * np.sign(pairs.axis[np.arange(len(score)), np.abs(pairs.axis).argmax(1)])[:, None]
    cells = np.concatenate([np.round(pairs.centre / 0.008), np.round(along / 0.35)], axis=1)
    order = np.argsort(-score, kind="stable")
    order = order[np.isfinite(score[order])]
    _, firsts = np.unique(cells[order], axis=0, return_index=True)
    return order[np.sort(firsts)]


def _clear_candidates(
    poses: _Poses,
    template: Template,
    closure: Closure,
    hand: Hand,
    surface: Surface,
    points: np.ndarray,
    index: int,
    settings: CandidateSettings,
    occlusion: Occlusion | None,
) -> list[Candidate]:
    """Of each pose the first opening and depth, if any, at which the hand touches nothing on its way in."""
    found: list[Candidate] = []
    rim = 1 / np.sqrt(1 + settings.friction**2)
    for margin in settings.opening_margins:
        shares = np.round(np.interp(-(poses.width + margin), -closure.width, closure.share), 2)
        for depth in _DEPTHS:
            if len(poses.width) == 0:
                return found
            openings, which = np.unique(shares, return_inverse=True)
            touching = np.interp(margin - np.interp(openings, closure.share, closure.width), -closure.width, closure.share)
            times = np.linspace(openings, touching, _LOOKS_DOWN)
            closing = np.stack([[_shape_poses(hand, template, float(share)) for share in each] for each in times])
            shapes = closing[0]
            pushed, above, raised = _push(poses.T_world_hand, closing[:, which], hand, depth, settings.plane_clearance)
            tested = np.flatnonzero(above)
            clear = np.zeros(len(above), dtype=bool)
            clear[tested] = _is_clear(pushed[tested], shapes[which[tested]], hand, points, settings)
            chosen = np.flatnonzero(clear)
            hidden = _hidden_share(pushed[chosen], shapes[which[chosen]], hand, occlusion)
            square = measure_squareness(Held(raised[chosen], poses.width[chosen]), closure, surface)
            scores = poses.score[chosen] + _SQUARE * np.clip((square - rim) / (1 - rim), -1, 1) - _HIDDEN * hidden
            for k, score, unseen in zip(chosen, scores, hidden, strict=True):
                width = float(poses.width[k])
                preshape, closed = template.motors_at(float(shares[k])), template.targets_at(closure.at_width(width)[0])
                grasp = Grasp(hand.name, index, pushed[k], preshape, closed, width, float("nan"), 0, template.efforts)
                found.append(Candidate(grasp, template.name, max(0.0, float(score)), float(unseen)))
            poses, shares = poses[~clear], shares[~clear]
    return found


def _refined(found: list[Candidate], hand: Hand, surface: Surface, points: np.ndarray, settings: CandidateSettings) -> list[Candidate]:
    """The candidates, best score first, each moved to where it holds more squarely if the hand is clear there too.

    What turns out too thin between the fingers is left out.
    """
    moved: list[Candidate] = []
    rim = 1 / np.sqrt(1 + settings.friction**2)
    for template in hand.templates:
        mine = [candidate for candidate in found if candidate.template == template.name]
        if not mine:
            continue
        closure = hand.closure(template)
        held = Held(np.stack([each.grasp.T_world_hand for each in mine]), np.array([each.grasp.width for each in mine]))
        better = refine(held, closure, surface)
        gain = measure_squareness(better, closure, surface) - measure_squareness(held, closure, surface)
        shapes = np.stack([_shapes_at(hand, each.grasp.preshape) for each in mine])
        touching = np.stack([_shape_poses(hand, template, closure.at_width(float(width))[0]) for width in better.width])
        above = _height_over_plane(better.T_world_hand, np.stack([shapes, touching]), hand) > 0.99 * settings.plane_clearance
        accepted = (gain > 0) & above & _is_clear(better.T_world_hand, shapes, hand, points, settings)
        for k, candidate in enumerate(mine):
            if better.width[k] < settings.narrowest:
                continue
            if accepted[k]:
                width = float(better.width[k])
                closed = template.targets_at(closure.at_width(width)[0])
                grasp = replace(candidate.grasp, T_world_hand=better.T_world_hand[k], closed=closed, width=width)
                candidate = replace(candidate, grasp=grasp, score=min(1.0, candidate.score + _SQUARE * float(gain[k]) / (1 - rim)))
            moved.append(candidate)
    return sorted(moved, key=lambda candidate: -candidate.score)


def _push(
    T_world_hand: np.ndarray, T_hand_shape: Float[np.ndarray, "t n s 4 4"], hand: Hand, depth: float, clearance: float
) -> tuple[Float[np.ndarray, "n 4 4"], Bool[np.ndarray, " n"], Float[np.ndarray, "n 4 4"]]:
    """Hands moved on along their z by `depth`, or less where the plane is nearer at any of t times; and whether they are above it then.

    The third value is where their contact points touch: those that were pushed further touch the same places higher up on the fingers.
    """
    sink = -T_world_hand[:, 2, 2]
    room = _height_over_plane(T_world_hand, T_hand_shape, hand) - clearance
    depths = np.where(sink > 0.1, np.minimum(depth, room / np.maximum(sink, 0.1)), depth)
    pushed, raised = T_world_hand.copy(), T_world_hand.copy()
    pushed[:, :3, 3] += depths[:, None] * T_world_hand[:, :3, 2]
    raised[:, :3, 3] += np.minimum(depths, 0)[:, None] * T_world_hand[:, :3, 2]
    return pushed, (room - depths * sink > -1e-9) & (depths >= min(_DEPTHS)), raised


def _is_clear(
    T_world_hand: np.ndarray, T_hand_shape: np.ndarray, hand: Hand, points: np.ndarray, settings: CandidateSettings
) -> np.ndarray:
    """Whether no point comes nearer to the hand than the clearance, on the whole way in."""
    if len(T_world_hand) == 0:
        return np.zeros(0, dtype=bool)
    shapes = hand.kinematics.shapes
    kinds = np.array([_KINDS[shape.kind] for shape in shapes])
    sizes = np.stack([shape.size for shape in shapes])
    retreats = np.linspace(0, settings.approach_distance, 4)
    reach = float(
        np.linalg.norm(T_hand_shape[..., :3, 3], axis=-1).max() + np.linalg.norm(sizes, axis=1).max() + settings.approach_distance
    )
    return ~hand_touches(
        np.linalg.inv(T_world_hand),
        T_hand_shape,
        np.linalg.inv(T_hand_shape),
        kinds,
        sizes,
        points,
        retreats,
        reach,
        settings.clearance,
    )


def _hidden_share(
    T_world_hand: Float[np.ndarray, "n 4 4"], T_hand_shape: Float[np.ndarray, "n s 4 4"], hand: Hand, occlusion: Occlusion | None
) -> Float[np.ndarray, " n"]:
    """Share of the hand, its collision shapes counting alike, that stands in space which the camera did not see; 0 without a camera."""
    if occlusion is None or len(T_world_hand) == 0:
        return np.zeros(len(T_world_hand))
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    sizes = np.stack([shape.size for shape in hand.kinematics.shapes])
    T = T_world_hand[:, None] @ T_hand_shape
    points = np.einsum("nsij,spj->nspi", T[..., :3, :3], grid * sizes[:, None]) + T[..., None, :3, 3]
    return occlusion.hides(points).mean(axis=(1, 2))


def _shape_poses(hand: Hand, template: Template, share: float) -> Float[np.ndarray, "s 4 4"]:
    """`T_hand_shape` of the hand's collision shapes at a share of the template's way."""
    return _shapes_at(hand, template.motors_at(share))


def _shapes_at(hand: Hand, motors: Mapping[str, float]) -> Float[np.ndarray, "s 4 4"]:
    """`T_hand_shape` of the hand's collision shapes with the motors there."""
    poses = hand.link_poses(motors)
    return np.stack([poses[shape.link] @ shape.T_link_shape for shape in hand.kinematics.shapes])


def _height_over_plane(T_world_hand: np.ndarray, T_hand_shape: Float[np.ndarray, "t n s 4 4"], hand: Hand) -> Float[np.ndarray, " n"]:
    """Lowest z of the hand's shapes at each pose at any of t times, metres."""
    up = np.einsum("ni,tnsij->tnsj", T_world_hand[:, 2], T_hand_shape)
    lowest = np.full(len(T_world_hand), np.inf)
    for k, shape in enumerate(hand.kinematics.shapes):
        direction, height = up[:, :, k, :3], up[:, :, k, 3]
        if shape.kind == "box":
            extent = np.abs(direction) @ shape.size
        elif shape.kind == "cylinder":
            extent = shape.size[0] * np.linalg.norm(direction[..., :2], axis=-1) + shape.size[2] * np.abs(direction[..., 2])
        else:
            extent = shape.size[0]
        lowest = np.minimum(lowest, (height - extent).min(0))
    return lowest


def _thinned(found: list[Candidate], count: int, settings: CandidateSettings) -> list[Candidate]:
    """The best of those that are near one another, best first."""
    found = sorted(found, key=lambda candidate: -candidate.score)
    poses = np.stack([candidate.grasp.T_world_hand for candidate in found])
    cosine = float(np.cos(settings.distinct_turn))
    positions, rotations = np.ascontiguousarray(poses[:, :3, 3]), np.ascontiguousarray(poses[:, :3, :3])
    return [found[k] for k in keep_distinct(positions, rotations, settings.distinct_position, cosine, count)]


def _side_frame(axis: np.ndarray, forward: np.ndarray) -> Float[np.ndarray, "3 3"]:
    """Columns: the axis, forward made orthogonal to it (any direction where the two are parallel), and the third."""
    across = forward - (forward @ axis) * axis
    if np.linalg.norm(across) < 1e-6:
        across = np.eye(3)[np.abs(axis).argmin()] - axis[np.abs(axis).argmin()] * axis
    across = across / np.linalg.norm(across)
    return np.stack([axis, across, np.cross(axis, across)], axis=1)


def _world_surface(item: PlacedSolid) -> Polyhedron:
    T = item.T_world_body
    return Polyhedron(item.solid.coarse.vertices @ T[:3, :3].T + T[:3, 3], item.solid.coarse.faces)


def occupied_points(objects: Sequence[PlacedSolid], generator: np.random.Generator) -> Float[np.ndarray, "p 3"]:
    """Points spread over objects, and over their convex pieces, which bulge over their hollows: what trials collide with. World frame."""
    points = np.concatenate([_spread_points(item, generator) for item in objects])
    _, firsts = np.unique(np.floor(points / _CELL).astype(np.int64) @ _CELL_CODE, return_index=True)
    return points[np.sort(firsts)]


def _spread_points(item: PlacedSolid, generator: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    samples = [_sample_points(item.solid.coarse, generator)]
    samples += [_sample_points(piece, generator, 0.007, 50) for piece in item.solid.pieces if len(item.solid.pieces) > 1]
    return np.concatenate(samples) @ item.T_world_body[:3, :3].T + item.T_world_body[:3, 3]


def _sample_points(
    surface: Polyhedron, generator: np.random.Generator, spacing: float = 0.005, fewest: int = 500
) -> Float[np.ndarray, "n 3"]:
    """The corners, and points about `spacing` metres apart along sharp edges and spread over the surface (`fewest` to 4000)."""
    corners = surface.vertices[surface.faces]
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    count = int(np.clip(area.sum() / spacing**2, fewest, 4000))
    chosen = generator.choice(len(area), size=count, p=area / area.sum())
    return np.concatenate([surface.vertices, _points_on_sharp_edges(surface, spacing), _points_on_faces(corners[chosen], generator)])


def _points_on_sharp_edges(surface: Polyhedron, spacing: float) -> Float[np.ndarray, "n 3"]:
    """Points at most `spacing` metres apart along convex edges that turn by more than 30 degrees."""
    mesh = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
    sharp = mesh.face_adjacency_convex & (mesh.face_adjacency_angles > np.deg2rad(30))
    start, end = surface.vertices[mesh.face_adjacency_edges[sharp].T]
    counts = np.ceil(np.linalg.norm(end - start, axis=1) / spacing).astype(int)
    along = np.concatenate([np.arange(1, count) / count for count in counts], dtype=float) if len(counts) else np.zeros(0)
    edge = np.repeat(np.arange(len(counts)), np.maximum(counts - 1, 0))
    return start[edge] + along[:, None] * (end - start)[edge]


def _points_on_faces(corners: Float[np.ndarray, "n 3 3"], generator: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    """One point on each triangle, uniform over its area."""
    root, along = np.sqrt(generator.random(len(corners)))[:, None], generator.random(len(corners))[:, None]
    return (1 - root) * corners[:, 0] + root * (1 - along) * corners[:, 1] + root * along * corners[:, 2]
