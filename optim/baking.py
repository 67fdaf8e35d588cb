"""Textures from the one image: copied where the surface is seen, turned or mirrored to where it is not, spread over what is left.

Colour is one function of the place on the surface, continuous where the surface is, and a texture is that function at the points that its
texels lie on. So no seam shows between charts, nor between what was seen and what was not.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import scipy.sparse.linalg
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, Texture, unique_edges, vertex_normals
from optim.atlas import LARGEST, build_atlas

DEPTH_TOLERANCE = 0.004
"""Metres, across the surface, by which a point may lie off the rendered depth and still be the one that is seen."""
GRAZING = (0.1, 0.35)
"""Cosines between normal and view at which a reading begins to count and at which it counts in full."""
FEATHER = 3.0
"""Pixels over which readings lose their weight across the border of what shows the object; all of it is lost two pixels outside."""
FIDELITY = 20.0
"""Weight of a reading at a vertex against that of one edge of the mesh."""
TURNED_WEIGHT = 0.1
"""Weight of a reading that was mirrored or turned to a vertex against that of one of the vertex's own."""
TURNED_TOLERANCE = 0.04
"""How far, in mesh extents, a point that was mirrored or turned may lie off the surface that was seen."""
MIRROR_ADVANTAGE = 1.25
"""By how much more a mirror must explain than half a turn: it leaves lettering that nobody can read."""
TURNED_FROM = (0.02, 0.06)
"""How far along the surface, in mesh extents, from what is seen the readings that were mirrored or turned begin to count, and count in
full: between them and the image's own, colours are spread."""
SUPPORT_REACH = 12
"""Rounds of averaging between neighbouring vertices by which such readings fade out where they end."""
_WHITE, _FEW = 0.99, 0.05
"""Least channel of a highlight, and the share of an object that highlights may cover."""
_JUDGES, _MOVES = 1000, 6
"""Vertices by which symmetries are judged, and steps by which their middles are moved, at most."""
_STEEPEST = 4.0
"""Metres of depth per metre across, beyond which neighbouring pixels lie on different sheets of the surface."""


@dataclass(frozen=True)
class _Readings:
    """What an image says of points of a surface."""

    colours: Float[Tensor, "n 3"]
    """Linear RGB."""
    weights: Float[Tensor, " n"]
    """In [0, 1]: 0 where the point is hidden, edge-on or not in the image."""


@dataclass(frozen=True)
class _Motion:
    """A reflection or rotation of the world that leaves a point where it is."""

    linear: Float[Tensor, "3 3"]
    middle: Float[Tensor, "3"]
    """The point, metres."""

    def move(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        return (points - self.middle) @ self.linear.T + self.middle


@dataclass(frozen=True)
class _Sighting:
    """What one image shows of one object, ready to be read between its pixels."""

    camera: Camera
    """Of the part of the image that shows the object."""
    layers: Float[Tensor, "h w 5"]
    """Linear RGB, depth in metres, and trust in [0, 1], which falls to 0 towards the border of what shows the object. Beyond the border,
    colour and depth are those of the nearest pixel that shows it."""

    def read(self, points: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"], tolerance: float) -> _Readings:
        """Colours at points of a surface (world frame) that lies within `tolerance` metres of the one that the image shows."""
        uv, z = self.camera.project(points)
        inside = (z > 0) & (uv >= 0).all(-1) & (uv[:, 0] < self.camera.width - 1) & (uv[:, 1] < self.camera.height - 1)
        sampled = _bilinear(self.layers, torch.where(inside[:, None], uv, 0.0))
        towards = torch.nn.functional.normalize(self.camera.T_world_camera[:3, 3] - points, dim=-1)
        cosine = (normals * towards).sum(-1)
        slope = (1 - cosine**2).clamp(min=0).sqrt() / cosine.clamp(min=GRAZING[0])
        allowed = tolerance / cosine.clamp(min=GRAZING[1]) + slope * z / self.camera.K[0, 0]
        agrees = (2 - 2 * (sampled[:, 3] - z).abs() / allowed).clamp(0, 1)
        facing = ((cosine - GRAZING[0]) / (GRAZING[1] - GRAZING[0])).clamp(0, 1)
        return _Readings(sampled[:, :3], torch.where(inside, agrees * facing * sampled[:, 4], 0.0))


def bake_texture(
    mesh: Mesh,
    camera: Camera,
    image: Float[Tensor, "h w 3"],
    pixels: Bool[Tensor, "h w"],
    depth: Float[Tensor, "h w"],
    largest: int = LARGEST,
) -> Texture:
    """Gives a mesh the colours that the image shows on it, at the image's resolution.

    A point of the surface takes the image's colour by how far it faces the camera, where the rendered depth says that nothing is in front
    of it, and less towards the border of what shows the object. What is missing is taken from where the surface's counterpart is seen,
    mirrored in the vertical plane through the object's middle across the view or turned half around, whichever explains more; and what
    is still missing then, from colours that are spread over the surface from where there are some.

    The image decides what the colours mean: `Appearance.albedo` gives base colours (then the material's base colour is to be white), the
    observed colour keeps the light in them.

    Args:
        mesh: world frame. Its own colours are not used.
        camera: of the image.
        image: linear RGB.
        pixels: those that show this object and nothing else.
        depth: metres along the camera's z of the whole rendered scene; 0 where nothing is.
        largest: texels along the texture's longer side, at most, if any layout is that small.

    Raises:
        ValueError: no pixel shows the object.
    """
    if not pixels.any():
        raise ValueError("no pixel shows the object whose colours are to be read")
    normals = vertex_normals(mesh.vertices, mesh.faces)
    sighting = _prepare(camera, image, pixels, depth)
    matte = _prepare(camera, image, pixels & ~_find_highlights(image, pixels), depth)
    own = sighting.read(mesh.vertices, normals, DEPTH_TOLERANCE)
    remoteness = _measure_remoteness(mesh, own.weights)
    motion = _choose_motion(mesh, normals, remoteness, matte)
    moved = _read_moved(mesh.vertices, normals, matte, motion, _tolerance(mesh))
    fill = _fill(mesh, own, moved, remoteness, image[pixels].median(0).values)
    atlas = build_atlas(mesh, camera, largest)
    texels, triangles, weights = atlas.locate_texels()
    support = _measure_support(remoteness * moved.weights, mesh.faces)
    layers = torch.cat([mesh.vertices, normals, fill, support[:, None]], dim=-1)
    there = sum(layers[mesh.faces[triangles, k]] * weights[:, k, None] for k in range(3))
    colours = _compose(there, sighting, matte, motion, _tolerance(mesh))
    return Texture(atlas.uv(), _paint_texels(texels, colours.clamp(0, 1), atlas.height, atlas.width))


def _prepare(camera: Camera, image: Tensor, pixels: Tensor, depth: Tensor) -> _Sighting:
    """The part of the image with the object, continued beyond its border, without pixels between sheets of its surface."""
    rows, columns = (pixels.any(axis).nonzero()[:, 0] for axis in (1, 0))
    top, left = (max(int(line[0]) - 2, 0) for line in (rows, columns))
    part = (slice(top, int(rows[-1]) + 3), slice(left, int(columns[-1]) + 3))
    image, depth, shown = image[part], depth[part], pixels[part].cpu().numpy()
    shown = shown & ~_is_torn(depth, shown, float(camera.K[0, 0])) if shown.sum() > 1 else shown
    inside = cv2.distanceTransform(np.pad(shown, 1).astype(np.uint8), cv2.DIST_C, 3)[1:-1, 1:-1]
    outside, nearest = cv2.distanceTransformWithLabels((~shown).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    sources = np.zeros(nearest.max() + 1, dtype=np.int64)
    sources[nearest[shown]] = shown.reshape(-1).nonzero()[0]
    index = torch.as_tensor(sources[nearest], device=image.device)
    trust = torch.as_tensor(np.clip((inside - outside + 2) / FEATHER, 0, 1)).to(image)
    layers = torch.cat([image.reshape(-1, 3)[index], depth.reshape(-1)[index][..., None], trust[..., None]], dim=-1)
    return _Sighting(camera.crop(left, top, shown.shape[1], shown.shape[0]), layers)


def _find_highlights(image: Float[Tensor, "h w 3"], pixels: Bool[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """Pixels that are as white as can be, and those next to them, where these are few: light that stays behind when the surface turns."""
    white = pixels & (image.amin(-1) > _WHITE)
    if white.sum() > _FEW * pixels.sum():
        return torch.zeros_like(pixels)
    return torch.nn.functional.max_pool2d(white[None, None].to(image), 3, 1, 1)[0, 0] > 0


def _is_torn(depth: Tensor, shown: np.ndarray, focal: float) -> np.ndarray:
    """Pixels next to which the object's depth jumps: a handle in front of its mug. Not all of them."""
    z = depth.detach().cpu().numpy().astype(np.float32)
    window = np.ones((3, 3), np.uint8)
    highest = cv2.dilate(np.where(shown, z, 0), window)
    lowest = cv2.erode(np.where(shown, z, z[shown].max()), window)
    torn = shown & (highest - lowest > 2 * DEPTH_TOLERANCE + 2 * _STEEPEST * z / focal)
    return torn if (shown & ~torn).any() else np.zeros_like(torn)


def _bilinear(image: Float[Tensor, "h w c"], uv: Float[Tensor, "n 2"]) -> Float[Tensor, "n c"]:
    """Values between the pixels; uv lies within the centres of the outermost pixels."""
    corner = uv.floor().to(torch.int64)
    fraction = uv - corner
    u, v = corner.unbind(-1)
    a, b = fraction[:, :1], fraction[:, 1:]
    above = image[v, u] * (1 - a) + image[v, u + 1] * a
    below = image[v + 1, u] * (1 - a) + image[v + 1, u + 1] * a
    return above * (1 - b) + below * b


def _measure_remoteness(mesh: Mesh, weights: Float[Tensor, " v"]) -> Float[Tensor, " v"]:
    """0 at vertices near what is seen, 1 far from it along the mesh's edges: how much the readings at their counterparts count."""
    near, far = (share * _extent(mesh.vertices) for share in TURNED_FROM)
    seen = (weights > 0.5).nonzero()[:, 0].cpu().numpy()
    if not len(seen):
        return torch.ones_like(weights)
    edges = unique_edges(mesh.faces)
    lengths = (mesh.vertices[edges[:, 0]] - mesh.vertices[edges[:, 1]]).norm(dim=-1).clamp(min=1e-9).cpu().numpy()
    graph = scipy.sparse.csr_matrix((lengths, edges.T.cpu().numpy()), shape=(len(weights), len(weights)))
    distance = scipy.sparse.csgraph.dijkstra(graph, directed=False, indices=seen, min_only=True, limit=far)
    return torch.as_tensor(np.clip((distance - near) / (far - near), 0, 1)).to(weights)


def _choose_motion(mesh: Mesh, normals: Float[Tensor, "v 3"], remoteness: Float[Tensor, " v"], sighting: _Sighting) -> _Motion:
    """Where unseen points are moved to be seen: mirrored across the view, or half around the vertical, whichever explains more.

    Both pass through the middle of the mesh's bounds, or its vertices' mean, or near one of these: a mug's middle is not its bounds'.
    """
    vertices = mesh.vertices
    centres = (vertices.amin(0) + vertices.amax(0)) / 2, vertices.mean(0)
    across = (centres[0] - sighting.camera.T_world_camera[:3, 3]) * vertices.new_tensor([1.0, 1.0, 0.0])
    across = torch.nn.functional.normalize(across, dim=0)
    mirror = torch.eye(3).to(vertices) - 2 * torch.outer(across, across)
    turn = torch.diag(vertices.new_tensor([-1.0, -1.0, 1.0]))
    some = slice(None, None, max(len(vertices) // _JUDGES, 1))

    def explain(motion: _Motion) -> float:
        readings = _read_moved(vertices[some], normals[some], sighting, motion, _tolerance(mesh))
        return float((remoteness[some] * readings.weights).sum())

    def settle(linear: Float[Tensor, "3 3"]) -> _Motion:
        best = max((_Motion(linear, centre) for centre in centres), key=explain)
        shifts = _tolerance(mesh) / 2 * vertices.new_tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
        for _ in range(_MOVES):
            around = max((_Motion(linear, best.middle + shift) for shift in shifts), key=explain)
            if explain(around) <= explain(best):
                break
            best = around
        return best

    mirrored, turned = settle(mirror), settle(turn)
    return mirrored if explain(mirrored) > MIRROR_ADVANTAGE * explain(turned) else turned


def _read_moved(points: Tensor, normals: Tensor, sighting: _Sighting, motion: _Motion, tolerance: float) -> _Readings:
    """Readings at the counterparts of points."""
    return sighting.read(motion.move(points), normals @ motion.linear.T, tolerance)


def _fill(mesh: Mesh, own: _Readings, moved: _Readings, remoteness: Float[Tensor, " v"], usual: Float[Tensor, "3"]) -> Float[Tensor, "v 3"]:
    """Smooth colours of the vertices, for where neither they nor their counterparts are seen."""
    unseen = own.weights == 0
    readings = torch.where(unseen[:, None], moved.colours, own.colours)
    weights = torch.where(unseen, TURNED_WEIGHT * remoteness * moved.weights, own.weights)
    return spread_over_surface(readings, weights, mesh.faces, usual)


def _measure_support(weights: Float[Tensor, " v"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, " v"]:
    """How far most of a vertex's surroundings have such weights, from 0 (half of them) to 1: it fades out before they end."""
    edges = unique_edges(faces)
    a, b = torch.cat([edges, edges.flip(1)]).unbind(-1)
    degree = torch.bincount(a, minlength=len(weights)).clamp(min=1)
    for _ in range(SUPPORT_REACH):
        weights = (weights + torch.zeros_like(weights).index_add(0, a, weights[b]) / degree) / 2
    return (2 * weights - 1).clamp(0, 1)


def _compose(
    layers: Float[Tensor, "n 10"], sighting: _Sighting, matte: _Sighting, motion: _Motion, tolerance: float
) -> Float[Tensor, "n 3"]:
    """What is seen, over what is seen of the counterparts but for highlights, over the fill. Layers: points, normals, fill, support."""
    points, normals, fill, support = layers.split([3, 3, 3, 1], dim=-1)
    normals = torch.nn.functional.normalize(normals, dim=-1)
    own = sighting.read(points, normals, DEPTH_TOLERANCE)
    rest = (own.weights < 1).nonzero()[:, 0]
    moved = _read_moved(points[rest], normals[rest], matte, motion, tolerance)
    beneath = fill[rest].lerp(moved.colours, support[rest] * moved.weights[:, None])
    return own.colours.index_copy(0, rest, beneath.lerp(own.colours[rest], own.weights[rest, None]))


def _tolerance(mesh: Mesh) -> float:
    """Metres by which counterparts may lie off the surface that is seen."""
    return TURNED_TOLERANCE * _extent(mesh.vertices)


def _extent(vertices: Float[Tensor, "v 3"]) -> float:
    return float((vertices.max(0).values - vertices.min(0).values).norm())


def _paint_texels(texels: Int[Tensor, " n"], colours: Float[Tensor, "n 3"], height: int, width: int) -> Float[Tensor, "h w 3"]:
    """An image with the texels in their colours, and every other one in that of the nearest: nothing else bleeds into a triangle."""
    empty = np.ones(height * width, dtype=np.uint8)
    empty[texels.cpu().numpy()] = 0
    _, labels = cv2.distanceTransformWithLabels(empty.reshape(height, width), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    order = np.zeros(labels.max() + 1, dtype=np.int64)
    order[labels.reshape(-1)[texels.cpu().numpy()]] = np.arange(len(texels))
    return colours[torch.as_tensor(order[labels], device=colours.device)]


def spread_over_surface(
    values: Float[Tensor, "v c"], weights: Float[Tensor, " v"], faces: Int[Tensor, "f 3"], usual: Float[Tensor, " c"]
) -> Float[Tensor, "v c"]:
    """Smooth values over a mesh's graph from weighted readings at some vertices: harmonic where there are none.

    Minimises `FIDELITY sum_i w_i |x_i - values_i|^2 + sum_edges |x_i - x_j|^2`; pieces of the mesh without readings become `usual`.
    """
    n = len(values)
    edges = unique_edges(faces).cpu().numpy()
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    adjacency = scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    degree = np.asarray(adjacency.sum(axis=1))[:, 0]
    fidelity = FIDELITY * weights.double().cpu().numpy()
    anchor = 1e-6
    system = scipy.sparse.diags(degree + fidelity + anchor) - adjacency
    wanted = fidelity[:, None] * values.double().cpu().numpy() + anchor * usual.double().cpu().numpy()
    solution = scipy.sparse.linalg.splu(system.tocsc()).solve(wanted)
    return torch.as_tensor(solution).to(values)
