"""Where each triangle of a mesh lies on its texture: views of the mesh in which no two triangles overlap, side by side on one image.

The first view is the camera's own, at the image's resolution, so that what the camera saw is copied as it is. Triangles that it does not
show, or shows edge-on, are taken by parallel views along six directions, and what hides behind others there by further such views.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, face_cross, vertex_normals
from renderers.rasterize import Rasterizer, make_rasterizer

LARGEST = 1024
"""Texels along the longer side of an atlas, at most."""
PADDING = 2
"""Empty texels around each view, at least."""
_LEAST_DENSITY = 1 / 64
"""Texels per pixel below which no smaller atlas is tried."""
_GUTTER = 1.5
"""Texels around triangles that are painted as if the triangles went on."""
_FURTHEST = 2.0
"""Weight of a corner beyond which a triangle is not continued."""
_SLIVER = 1e-6
"""Twice the area, texels, of triangles that count as lines."""
_EDGE_ON = 0.35
"""Cosine between a triangle and the view's direction from which on the view shows it well."""
_LAYERS = 4
"""Views along one direction, one behind the other."""
_STEPS = 4
"""A triangle is looked for at the points of a lattice with so many steps along each side."""
_NARROWEST_GAP = 2
"""Texels between a triangle and whatever hides it, or else another view takes it."""
_CLEARANCE = 0.001
"""Metres by which something must be nearer to hide a triangle, beside its own slope."""


@dataclass(frozen=True)
class Atlas:
    """The layout of a texture."""

    places: Float[Tensor, "f 3 2"]
    """Column and row of each triangle's corners, in texels; a texel's centre is at integers."""
    height: int
    width: int

    def uv(self) -> Float[Tensor, "f 3 2"]:
        """The places as texture coordinates (see `Texture.uv`)."""
        return (self.places + 0.5) / self.places.new_tensor([self.width, self.height])

    def locate_texels(self) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Float[Tensor, "n 3"]]:
        """The texels that say how triangles look: their indices row by row, the triangles, and the weights of these triangles' corners.

        They are those that lie on triangles, and around them those that looking up bilinearly reaches; there the triangle is continued,
        so weights may be negative. Triangles that lie between the texels' centres have the texel nearest to their middle.
        """
        triangles = self._draw()
        column, row = self.places.mean(1).round().long().unbind(-1)
        middle = row * self.width + column
        small = (triangles[middle] < 0).nonzero()[:, 0]
        triangles[middle[small]] = small
        empty = (triangles < 0).reshape(self.height, self.width).cpu().numpy().astype(np.uint8)
        distance, labels = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
        nearest = np.zeros(labels.max() + 1, dtype=np.int64)
        nearest[labels[empty == 0]] = np.flatnonzero(empty == 0)
        texels = np.flatnonzero(distance < _GUTTER)
        triangles = triangles[torch.as_tensor(nearest[labels.reshape(-1)[texels]], device=triangles.device)]
        texels = torch.as_tensor(texels, device=triangles.device)
        return texels, triangles, self._weigh(texels, triangles)

    def _draw(self) -> Int[Tensor, " t"]:
        """The triangle that the centre of each texel lies in, row by row; -1 where there is none."""
        span = self.places.new_tensor([self.width, self.height])
        corners = (2 * (self.places + 0.5) / span - 1).reshape(-1, 2)
        clip = torch.cat([corners, torch.zeros_like(corners[:, :1]), torch.ones_like(corners[:, :1])], dim=-1)
        faces = torch.arange(len(corners), device=corners.device).reshape(-1, 3)
        return _rasterizer().rasterize(clip[None], faces, (self.height, self.width)).triangle_ids.reshape(-1).clone()

    def _weigh(self, texels: Int[Tensor, " n"], triangles: Int[Tensor, " n"]) -> Float[Tensor, "n 3"]:
        """Weights of the triangles' corners at the texels' centres; those far from a sliver are held near it."""
        corners = self.places[triangles]
        centres = torch.stack([texels % self.width, texels // self.width], dim=-1)
        along, aside, there = (corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], centres - corners[:, 0])
        area = _cross(along, aside)
        area = torch.where(area.abs() < _SLIVER, _SLIVER, area)
        second, third = (_cross(there, aside) / area, _cross(along, there) / area)
        weights = torch.stack([1 - second - third, second, third], dim=-1)
        over = (weights.amax(-1, keepdim=True) - _FURTHEST).clamp(min=0) / (weights.amax(-1, keepdim=True) - 1 / 3).clamp(min=1e-6)
        return weights.lerp(torch.full_like(weights, 1 / 3), over)


@dataclass(frozen=True)
class _View:
    """A mesh seen from somewhere, in texels."""

    places: Float[Tensor, "v 2"]
    """Column and row of each vertex."""
    depth: Float[Tensor, " v"]
    """Metres, larger further away."""
    towards: Float[Tensor, "f 3"]
    """From each triangle to the eye, unit length."""
    texel: float
    """Metres that a texel spans, about."""


@dataclass(frozen=True)
class _Chart:
    """Triangles that lie on the atlas as one view shows them."""

    triangles: Int[Tensor, " n"]
    places: Float[Tensor, "n 3 2"]
    """Column and row of their corners; the least of each is 0."""

    def size(self) -> tuple[int, int]:
        """Texels along columns and rows, with the padding on one side."""
        width, height = (int(np.ceil(extent)) + 1 + PADDING for extent in self.places.amax((0, 1)).tolist())
        return width, height


def build_atlas(mesh: Mesh, camera: Camera, largest: int = LARGEST) -> Atlas:
    """A place on one image for every triangle of a mesh (world frame), at the image's resolution or as near to it as `largest` allows.

    Deterministic. Triangles need not be connected, and may be hidden from every side. What the camera does not see gets half the
    resolution where the object is large.
    """
    span = _measure_span(mesh, camera)
    here = min(1.0, 0.8 * largest / span)
    elsewhere = here if 3 * here * span < largest else here / 2
    while True:
        charts = list(_build_charts(mesh, camera, here, elsewhere))
        corners, width, height = _pack([chart.size() for chart in charts])
        if max(width, height) <= largest or here < _LEAST_DENSITY:
            break
        here, elsewhere = (density * min(0.95 * largest / max(width, height), 0.9) for density in (here, elsewhere))
    places = mesh.vertices.new_zeros(len(mesh.faces), 3, 2)
    for chart, corner in zip(charts, corners, strict=True):
        places[chart.triangles] = chart.places + places.new_tensor(corner)
    return Atlas(places, height, width)


def _measure_span(mesh: Mesh, camera: Camera) -> float:
    """Pixels that the mesh would span on an image without borders, about; at least 1."""
    distance = (mesh.vertices.mean(0) - camera.T_world_camera[:3, 3]).norm()
    return max(float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max() / distance * camera.K[0, 0]), 1.0)


def _build_charts(mesh: Mesh, camera: Camera, here: float, elsewhere: float) -> Iterator[_Chart]:
    """Charts that hold every triangle once: the camera's, those of the directions, and of what is left a chart for each triangle."""
    own, smooth = _face_normals(mesh)
    remaining = torch.arange(len(mesh.faces), device=mesh.faces.device)
    view = _look_from_camera(mesh, camera, here)
    shown = _lies_in_image(mesh, camera) & ((smooth * view.towards).sum(-1) > _EDGE_ON)
    taken = _take(mesh, view, remaining[shown], own)
    if len(taken.triangles):
        yield taken
    remaining = _without(remaining, taken.triangles)
    distance = (mesh.vertices.mean(0) - camera.T_world_camera[:3, 3]).norm()
    texel = float(distance / camera.K[0, 0]) / elsewhere
    directions = _directions(mesh, camera)
    preferred = _prefer(directions, own, smooth)
    for _ in range(_LAYERS):
        for k, direction in enumerate(directions):
            taken = _take(mesh, _look_along(mesh, direction, texel), remaining[preferred[remaining] == k], own)
            if len(taken.triangles):
                yield taken
            remaining = _without(remaining, taken.triangles)
    for triangle in remaining:
        yield _lay_flat(mesh, triangle, texel)


def _face_normals(mesh: Mesh) -> tuple[Float[Tensor, "f 3"], Float[Tensor, "f 3"]]:
    """Unit normals of the triangles, and the same smoothed over their neighbours, so that views take patches rather than crumbs."""
    own = torch.nn.functional.normalize(face_cross(mesh.vertices, mesh.faces), dim=-1, eps=1e-20)
    at_vertices = vertex_normals(mesh.vertices, mesh.faces)
    return own, torch.nn.functional.normalize(at_vertices[mesh.faces].sum(1), dim=-1, eps=1e-20)


def _directions(mesh: Mesh, camera: Camera) -> Float[Tensor, "6 3"]:
    """Towards six eyes: away from the camera and towards it on the level, to its right and left, below and above."""
    away = mesh.vertices.mean(0) - camera.T_world_camera[:3, 3]
    away = away * away.new_tensor([1.0, 1.0, 0.0])
    away = away / away.norm() if away.norm() > 1e-6 else away.new_tensor([0.0, 1.0, 0.0])
    up = away.new_tensor([0.0, 0.0, 1.0])
    right = torch.linalg.cross(away, up)
    return torch.stack([away, -away, right, -right, -up, up])


def _prefer(directions: Float[Tensor, "6 3"], own: Float[Tensor, "f 3"], smooth: Float[Tensor, "f 3"]) -> Int[Tensor, " f"]:
    """The direction that each triangle is taken from: the one that its surroundings face, unless it does not face that itself."""
    facing = own @ directions.T
    usual = (smooth @ directions.T).argmax(1)
    return torch.where(facing.gather(1, usual[:, None])[:, 0] > _EDGE_ON, usual, facing.argmax(1))


def _lies_in_image(mesh: Mesh, camera: Camera) -> Bool[Tensor, " f"]:
    uv, depth = camera.project(mesh.vertices)
    inside = (depth > 0) & (uv > -0.5).all(-1) & (uv < uv.new_tensor([camera.width, camera.height]) - 0.5).all(-1)
    return inside[mesh.faces].all(1)


def _look_from_camera(mesh: Mesh, camera: Camera, density: float) -> _View:
    uv, depth = camera.project(mesh.vertices)
    centres = mesh.vertices[mesh.faces].mean(1)
    towards = torch.nn.functional.normalize(camera.T_world_camera[:3, 3] - centres, dim=-1)
    return _View(uv * density, depth, towards, float(depth.mean() / camera.K[0, 0]) / density)


def _look_along(mesh: Mesh, towards: Float[Tensor, "3"], texel: float) -> _View:
    """A parallel view from far away in the given direction."""
    aside = torch.eye(3).to(towards)[int(towards.abs().argmin())]
    right = torch.nn.functional.normalize(torch.linalg.cross(aside, towards), dim=0)
    axes = torch.stack([right, torch.linalg.cross(towards, right)])
    return _View(mesh.vertices @ axes.T / texel, -mesh.vertices @ towards, towards.expand(len(mesh.faces), 3), texel)


def _take(mesh: Mesh, view: _View, candidates: Int[Tensor, " n"], normals: Float[Tensor, "f 3"]) -> _Chart:
    """Those of the candidates that face the view and that no other candidate hides or comes near on the image."""
    facing = (normals[candidates] * view.towards[candidates]).sum(-1)
    candidates, facing = candidates[facing > _EDGE_ON / 2], facing[facing > _EDGE_ON / 2]
    if len(candidates):
        candidates = candidates[_is_uncovered(mesh, view, candidates, facing)]
    return _crop(candidates, view.places[mesh.faces[candidates]])


def _is_uncovered(mesh: Mesh, view: _View, candidates: Int[Tensor, " n"], facing: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Which candidates have nothing nearer within `_NARROWEST_GAP` texels, going by lattices of points on them."""
    nearest = _draw_nearest(mesh, view, candidates)
    reach = 2 * _NARROWEST_GAP + 1
    nearest = torch.as_tensor(cv2.erode(nearest.cpu().numpy(), np.ones((reach, reach), np.uint8)))
    lattice = [(a, b, _STEPS - a - b) for a in range(_STEPS + 1) for b in range(_STEPS + 1 - a)]
    weights = view.places.new_tensor(lattice) / _STEPS
    faces = mesh.faces[candidates]
    places = torch.einsum("sk,fkc->fsc", weights, view.places[faces]) - view.places[faces].amin((0, 1)).floor()
    depth = torch.einsum("sk,fk->fs", weights, view.depth[faces])
    column, row = places.round().long().unbind(-1)
    slope = (1 - facing**2).clamp(min=0).sqrt() / facing
    allowed = _CLEARANCE + 1.5 * (_NARROWEST_GAP + 0.5) * view.texel * slope
    return (depth - nearest.to(depth)[row, column] < allowed[:, None]).all(1)


def _draw_nearest(mesh: Mesh, view: _View, candidates: Int[Tensor, " n"]) -> Float[Tensor, "h w"]:
    """Depth of the nearest candidate at each texel of the smallest image that holds them, far away where there is none."""
    faces = mesh.faces[candidates]
    low, high = view.places[faces].amin((0, 1)).floor(), view.places[faces].amax((0, 1))
    width, height = (int(extent) + 2 for extent in (high - low).tolist())
    near, far = view.depth[faces].min(), view.depth[faces].max()
    middle = (2 * (view.places - low + 0.5) / view.places.new_tensor([width, height])) - 1
    behind = 1.8 * (view.depth - near) / (far - near + 1e-6) - 0.9
    clip = torch.cat([middle, behind[:, None], torch.ones_like(behind)[:, None]], dim=-1)
    buffer = _rasterizer().rasterize(clip[None], faces, (height, width)).buffer[0]
    depth = near + (buffer[..., 2] + 0.9) / 1.8 * (far - near + 1e-6)
    return torch.where(buffer[..., 3] > 0, depth, torch.full_like(depth, 1e6))


def _lay_flat(mesh: Mesh, triangle: Int[Tensor, ""], texel: float) -> _Chart:
    """A chart with one triangle, seen along its normal."""
    corners = mesh.vertices[mesh.faces[triangle]]
    along, aside = corners[1] - corners[0], corners[2] - corners[0]
    first = torch.nn.functional.normalize(along, dim=0)
    second = torch.nn.functional.normalize(aside - (aside @ first) * first, dim=0)
    return _crop(triangle[None], ((corners - corners[0]) @ torch.stack([first, second]).T / texel)[None])


def _crop(triangles: Int[Tensor, " n"], places: Float[Tensor, "n 3 2"]) -> _Chart:
    """A chart with the places moved by whole texels to the corner."""
    return _Chart(triangles, places - places.amin((0, 1)).floor() if len(triangles) else places)


def _without(indices: Int[Tensor, " n"], taken: Int[Tensor, " m"]) -> Int[Tensor, " r"]:
    return indices[~torch.isin(indices, taken)]


def _pack(sizes: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], int, int]:
    """Upper left corners of rectangles (columns, rows) on shelves, the highest first, and the width and height that hold all.

    Of a few shelf lengths the one with the smallest longer side is taken.
    """
    area = sum(width * height for width, height in sizes)
    widest = max(width for width, _ in sizes)
    lengths = [max(widest, int(np.ceil(factor * np.sqrt(area)))) for factor in (1.0, 1.15, 1.3, 1.5, 2.0)]
    options = [_fill_shelves(sizes, length) for length in lengths]
    return min(options, key=lambda option: max(option[1:]))


def _fill_shelves(sizes: list[tuple[int, int]], length: int) -> tuple[list[tuple[int, int]], int, int]:
    corners: list[tuple[int, int]] = [(0, 0)] * len(sizes)
    column, row, shelf, used = 0, PADDING, 0, 0
    for k in sorted(range(len(sizes)), key=lambda k: (-sizes[k][1], k)):
        width, height = sizes[k]
        if column + width > length:
            column, row, shelf = 0, row + shelf, 0
        corners[k] = (column + PADDING, row)
        column, shelf = column + width, max(shelf, height)
        used = max(used, column)
    return corners, used + PADDING, row + shelf


def _cross(a: Float[Tensor, "n 2"], b: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _rasterizer() -> Rasterizer:
    return make_rasterizer("auto", threads=1)
