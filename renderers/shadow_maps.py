"""What objects' meshes cover, seen from a light: one map an object, drawn by a rasterizer, for points to find out whether they are lit.

Every object has a view of its own, as narrow as it is, so that a map's texels are spent on it and shadows need no comparison of what lies
in front of what: a point is hidden as far as an object covers it and is nearer to the light. A light inside an object, or near it, takes
six views, one a face of a cube.

A view follows its object: it looks at the mean of its vertices, and narrows as the light draws back. Only where the maps are sampled
depends on it, but gradients then see how a shadow moves, and not the difference of how object and shadow move across the map. They pass
through covered shares (antialiased silhouettes) and through where points project to; depths only decide what is in front.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.geometry.mesh import Mesh
from invgraphics.scene import DirectionalLight, PointLight, Scene
from invgraphics.transforms import transform_points
from renderers.rasterize import EdgeTopology, Rasterizer
from renderers.shading import build_light_vector

_MARGIN = 3.0
"""Texels that stay empty along a map's border."""
_WIDEST = 2.0
"""Tangent of half the angle of the widest view; a cube's six views are taken where an object needs more."""


@dataclass(frozen=True)
class ShadowMaps:
    """The m views of one light."""

    shares: Float[Tensor, "m s s"]
    """How much of a texel the view's object covers."""
    depths: Float[Tensor, "m s s"]
    """Metres along the view's axis to the object, at texels that it covers and at those that its silhouette cuts; no gradient."""
    projections: Float[Tensor, "m 4 4"]
    """World points (x, y, z, 1) to (x, y, depth along the axis, w): x / w and y / w in [-1, 1] span the map."""
    owners: Int[Tensor, " m"]
    """Index of the object."""
    limits: Float[Tensor, " m"]
    """Greatest x / w and y / w that the view is asked about: 1, or the face of the cube."""
    texels: Float[Tensor, " m"]
    """A texel's width where w = 1, metres."""
    light: Float[Tensor, "4"]
    """The light's position and 1, or the unit vector towards it and 0; no gradient."""


@dataclass(frozen=True)
class _View:
    """A camera at a light, or far away against its direction; differentiable in the light and in what it follows."""

    projection: Float[Tensor, "4 4"]
    """See `ShadowMaps.projections`."""
    depth_range: tuple[float, float]
    """(scale, shift) that take a depth to clip z."""
    limit: float
    """See `ShadowMaps.limits`."""
    texel: Float[Tensor, ""]
    """See `ShadowMaps.texels`; no gradient."""


def spread_light(
    light: PointLight | DirectionalLight, target: Tensor, samples: int, half_angle: float
) -> list[PointLight | DirectionalLight]:
    """The light as `samples` lights on a disc that `target` (world frame) sees under a half angle (radians); the light itself for one.

    They lie on Vogel's spiral (1979), which fills a disc evenly. Each stands for the whole light: take the mean of what they give.
    """
    if samples == 1:
        return [light]
    is_point = isinstance(light, PointLight)
    away = light.position - target if is_point else -light.direction
    across = _look_along(torch.nn.functional.normalize(away.detach(), dim=0))[:2]
    number = torch.arange(samples, dtype=away.dtype, device=away.device)
    radius, turn = ((number + 0.5) / samples).sqrt(), number * (torch.pi * (3 - 5**0.5))
    offsets = half_angle * away.detach().norm() * torch.stack([radius * turn.cos(), radius * turn.sin()], dim=1) @ across
    if is_point:
        return [replace(light, position=light.position + offset) for offset in offsets]
    return [replace(light, direction=light.direction + offset) for offset in offsets]


def draw_shadow_maps(
    scene: Scene,
    light: PointLight | DirectionalLight,
    meshes: Sequence[Mesh],
    topology: EdgeTopology,
    rasterizer: Rasterizer,
    size: int,
) -> ShadowMaps | None:
    """What one light sees of each object, in maps of `size` x `size` texels; None where there is nothing to see.

    `meshes` are the objects', in their frames, and `topology` holds all their triangles in this order. Objects without triangles are
    passed over.
    """
    world = [transform_points(item.T_world_object, mesh.vertices) for item, mesh in zip(scene.objects, meshes, strict=True)]
    counts = [len(mesh.faces) for mesh in meshes]
    views = [_choose_views(light, points, size) if count else [] for points, count in zip(world, counts, strict=True)]
    drawn = []
    for turn in range(max((len(own) for own in views), default=0)):
        chosen = [own[min(turn, len(own) - 1)] if own else None for own in views]
        turns = [k for k, own in enumerate(views) if turn < len(own)]
        drawn.append(_draw(world, chosen, turns, counts, topology, rasterizer, size))
    if not drawn:
        return None
    return ShadowMaps(*(torch.cat(parts) for parts in zip(*drawn, strict=True)), build_light_vector(light).detach())


def _choose_views(light: PointLight | DirectionalLight, points: Tensor, size: int) -> list[_View]:
    """One view that holds an object's vertices (world frame), or the six of a cube round the light."""
    border = size / (size - 2 * _MARGIN)
    middle = points.mean(0)
    if isinstance(light, DirectionalLight):
        axes = _look_along(torch.nn.functional.normalize(light.direction, dim=0))
        seen = (points - middle).detach() @ axes.detach().T
        half_width, reach = seen[:, :2].abs().amax(0).clamp(min=1e-9) * border, 1.1 * float(seen[:, 2].abs().max()) + 1e-6
        rows = torch.stack([axes[0] / half_width[0], axes[1] / half_width[1], axes[2]])
        affine = torch.cat([rows, -(rows @ middle)[:, None]], dim=1)
        projection = torch.cat([affine, affine.new_tensor([[0.0, 0.0, 0.0, 1.0]])])
        return [_View(projection, (1 / reach, 0.0), 1.0, 2 * half_width.amax() / size)]
    towards = middle - light.position
    distance = towards.norm().clamp(min=1e-9)
    axes = _look_along(towards / distance)
    offset = (points - light.position).detach()
    seen = offset @ axes.detach().T
    nearest, furthest = float(seen[:, 2].min()), float(offset.norm(dim=-1).max())
    if nearest > 0:
        half_width = (seen[:, :2] / seen[:, 2:]).abs().amax(0).clamp(min=1e-9) * border
        if float(half_width.max()) <= _WIDEST:
            return [_look_from(light.position, axes, half_width * (distance.detach() / distance), 0.5 * nearest, furthest, 1.0, size)]
    eye = torch.eye(3, dtype=points.dtype, device=points.device)
    faces = [_look_along(sign * eye[axis]) for axis in range(3) for sign in (1.0, -1.0)]
    corner = points.new_full((2,), border)
    return [_look_from(light.position, face, corner, 1e-3 * furthest, furthest, 1 / border, size) for face in faces]


def _look_from(position: Tensor, axes: Tensor, half_width: Tensor, near: float, far: float, limit: float, size: int) -> _View:
    """A perspective view; `half_width` are the tangents of half its angles along x and y."""
    rows = torch.stack([axes[0] / half_width[0], axes[1] / half_width[1], axes[2], axes[2]])
    projection = torch.cat([rows, -(rows @ position)[:, None]], dim=1)
    far = 1.1 * far
    depth_range = ((far + near) / (far - near), -2 * far * near / (far - near))
    return _View(projection, depth_range, limit, 2 * half_width.detach().amax() / size)


def _look_along(forward: Tensor) -> Tensor:
    """Unit row vectors x, y, z of a view along a unit vector."""
    helper = torch.eye(3, dtype=forward.dtype, device=forward.device)[int(forward.detach().abs().argmin())]
    x = torch.nn.functional.normalize(torch.linalg.cross(helper, forward), dim=0)
    return torch.stack([x, torch.linalg.cross(forward, x), forward])


def _draw(
    world: list[Tensor],
    views: list[_View | None],
    turns: list[int],
    counts: list[int],
    topology: EdgeTopology,
    rasterizer: Rasterizer,
    size: int,
) -> tuple[Tensor, ...]:
    """Maps of the objects `turns`, each in its view; the first six entries of `ShadowMaps`."""
    clip, depths = [], []
    for points, view in zip(world, views, strict=True):
        if view is None:
            seen, (scale, shift) = points.new_zeros(len(points), 4), (1.0, 0.0)
        else:
            seen, (scale, shift) = torch.nn.functional.pad(points, (0, 1), value=1.0) @ view.projection.T, view.depth_range
        depths.append(seen[:, 2:3])
        clip.append(torch.stack([seen[:, 0], seen[:, 1], scale * seen[:, 2] + shift, seen[:, 3]], dim=-1))
    vertices, depths = torch.cat(clip), torch.cat(depths)
    ranges = torch.tensor([[sum(counts[:k]), counts[k]] for k in turns], device=vertices.device)
    drawn = rasterizer.rasterize(vertices, topology.faces, (size, size), ranges)
    covered = drawn.triangle_ids >= 0
    shares = rasterizer.antialias(covered[..., None].to(vertices.dtype), drawn, vertices, topology)[..., 0]
    with torch.no_grad():
        filled = _fill_rims(rasterizer.interpolate(depths, drawn, topology.faces)[..., 0], covered, shares > 0)
    projections, texels = (torch.stack([getattr(views[k], name) for k in turns]) for name in ("projection", "texel"))
    owners = torch.tensor(turns, device=vertices.device)
    return shares, filled, projections, owners, texels.new_tensor([views[k].limit for k in turns]), texels


def _fill_rims(depths: Tensor, covered: Tensor, touched: Tensor) -> Tensor:
    """Depths (m, s, s), with the nearest of a neighbour's at texels that the object touches though it misses their centres."""
    size = depths.shape[-1]
    view, row, column = (touched & ~covered).nonzero().unbind(-1)
    steps = torch.tensor([[-1, 0], [1, 0], [0, -1], [0, 1], [-1, -1], [-1, 1], [1, -1], [1, 1]], device=depths.device)
    rows, columns = ((axis[:, None] + step).clamp(0, size - 1) for axis, step in ((row, steps[:, 0]), (column, steps[:, 1])))
    around = torch.where(covered[view[:, None], rows, columns], depths[view[:, None], rows, columns], torch.inf)
    best = around.argmin(dim=1, keepdim=True)
    source = (view[:, None] * size + rows.gather(1, best)) * size + columns.gather(1, best)
    flat = depths.flatten()
    return flat.index_copy(0, (view * size + row) * size + column, flat[source[:, 0]]).reshape(depths.shape)
