"""A whole scene of ellipsoids on a support plane, rendered analytically: colours with shadows, depth, ids, soft silhouettes, normals."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.scene import Scene, SurfaceMaterial
from invgraphics.transforms import transform_directions, transform_points
from renderers.checks import check_scene
from renderers.materials import MATERIALS, shade_materials
from renderers.protocol import BACKGROUND_ID, PLANE_ID, Capabilities, Rendered, Shadows
from renderers.rasterize.workers import Workers
from renderers.raycast.ellipsoids import bounding_boxes, ellipsoid_coverage, ellipsoid_depth, ellipsoid_normals
from renderers.shadows import check_shadows, see_everything, see_past_ellipsoids
from renderers.support_plane import compute_plane_depth

_LEAST_COVERAGE = 1e-3
"""Fragments that cover less of their pixel are dropped: the silhouettes' reach ends about two widths out."""


@dataclass(frozen=True)
class Fragments:
    """What the f pieces of surface that pixels see look like, in no order. One object gives a pixel at most one fragment."""

    pixels: Int[Tensor, " f"]
    """Index of the pixel, row by row."""
    owners: Int[Tensor, " f"]
    """Index of the object; -1 for the plane."""
    depth: Float[Tensor, " f"]
    """Metres along the camera's z."""
    coverage: Float[Tensor, " f"]
    """Share of the pixel that the object covers, other objects left aside."""
    hit: Bool[Tensor, " f"]
    """Whether the ray through the pixel's centre meets the object."""
    normals: Float[Tensor, "f 3"]
    """Unit outward normals, world frame."""

    def select(self, keep: Bool[Tensor, " f"] | Int[Tensor, " k"]) -> "Fragments":
        """Those that a mask or index picks, in its order."""
        return Fragments(*(value[keep] for value in vars(self).values()))


class RaycastRenderer:
    """Renders each object as its ellipsoid, whether or not it has a mesh; exact depth and normals, silhouettes with a gradient, shadows.

    Args:
        softness: width of the silhouettes in pixels (see `ellipsoid_coverage`); about 1 looks like an anti-aliased image.
        shadows: what casts shadows on the plane and on the objects: "none" or "ellipsoids".
        light_radius: half angle in radians under which blockers see the lights; sets the width of the penumbrae.
    """

    name = "raycast"

    def __init__(self, softness: float = 1.0, shadows: Shadows = "ellipsoids", light_radius: float = 0.05):
        check_shadows(shadows, ("none", "ellipsoids"))
        self.softness = softness
        self.shadows = shadows
        self.light_radius = light_radius
        self._workers = Workers()
        self.capabilities = Capabilities(
            draws_meshes=False,
            vertex_colours=False,
            textures=False,
            materials=MATERIALS,
            silhouette_gradients=True,
            shadows=shadows,
            deterministic=True,
            float64=True,
            devices=("cpu", "cuda"),
        )

    def __call__(self, scene: Scene, camera: Camera) -> Rendered:
        """The scene seen by the camera. Differentiable in everything that the scene and the camera hold.

        Raises:
            InputError: what `renderers.checks.check_scene` refuses.
        """
        check_scene(scene, camera)
        rays = camera.rays()
        plane_depth = compute_plane_depth(camera, rays.reshape(-1, 3))
        flat_plane = torch.where((plane_depth > 0) & (scene.plane is not None), plane_depth, torch.inf)
        fragments = cast_fragments(scene, camera, rays, self.softness)
        fragments = _front_to_back(fragments.select(fragments.depth.detach() < flat_plane[fragments.pixels]))
        visible, remaining = _visible_shares(fragments, rays[..., 0].numel())
        buffers = _nearest_surface(fragments, flat_plane)
        colour = self._colour(scene, camera, rays, fragments, visible, flat_plane, remaining)
        return _assemble(scene, camera, fragments, visible, colour, *buffers)

    def _colour(
        self, scene: Scene, camera: Camera, rays: Tensor, fragments: Fragments, visible: Tensor, plane_depth: Tensor, remaining: Tensor
    ) -> Tensor:
        """Linear RGB (h w, 3): shares of the fragments' radiances and, behind them, of the plane's; black where there is nothing."""
        colour = rays.new_zeros(len(plane_depth), 3)
        if scene.objects:
            radiance = self._shade(scene, camera, rays, fragments, [item.material for item in scene.objects])
            colour = colour.index_add(0, fragments.pixels, visible[:, None] * radiance)
        if scene.plane is None:
            return colour
        ground = _plane_fragments(plane_depth, remaining)
        radiance = self._shade(scene, camera, rays, ground, [scene.plane.material])
        return colour.index_add(0, ground.pixels, ground.coverage[:, None] * radiance)

    def _shade(
        self, scene: Scene, camera: Camera, rays: Tensor, surface: Fragments, materials: list[SurfaceMaterial]
    ) -> Float[Tensor, "f 3"]:
        """Radiance of fragments, given the materials of their owners (one, where none owns them)."""
        positions = transform_points(camera.T_world_camera, rays.reshape(-1, 3)[surface.pixels] * surface.depth[:, None])
        look = see_past_ellipsoids(scene, self._workers, self.light_radius) if self.shadows == "ellipsoids" else see_everything
        visibility = look(positions, surface.normals, surface.owners)
        points = (positions, surface.normals, camera.T_world_camera[:3, 3], torch.ones_like(positions))
        return shade_materials(*points, surface.owners.clamp(min=0), materials, scene.lights, visibility, self._workers)


def _plane_fragments(plane_depth: Tensor, remaining: Tensor) -> Fragments:
    """The plane where the objects leave `remaining` of a pixel open; owned by none of them."""
    pixels = (plane_depth.isfinite() & (remaining.detach() > _LEAST_COVERAGE)).nonzero()[:, 0]
    up = plane_depth.new_tensor([0.0, 0.0, 1.0]).expand(len(pixels), 3)
    hit = torch.ones_like(pixels, dtype=torch.bool)
    return Fragments(pixels, torch.full_like(pixels, -1), plane_depth[pixels], remaining[pixels], hit, up)


def stack_ellipsoids(scene: Scene) -> tuple[Float[Tensor, "n 4 4"], Float[Tensor, "n 3"]]:
    """Poses (object to world) and radii of all objects. There must be one at least."""
    return torch.stack([item.T_world_object for item in scene.objects]), torch.stack([item.radii for item in scene.objects])


def cast_fragments(scene: Scene, camera: Camera, rays: Float[Tensor, "h w 3"], softness: float) -> Fragments:
    """All fragments of all objects, each cast in its own bounding box."""
    if not scene.objects:
        index, value = torch.zeros(0, dtype=torch.int64, device=rays.device), rays.new_zeros(0)
        return Fragments(index, index, value, value, index.bool(), rays.new_zeros(0, 3))
    poses, radii = stack_ellipsoids(scene)
    poses = camera.T_camera_world @ poses
    boxes = bounding_boxes(poses, radii, camera.K, camera.height, camera.width, margin=2 * softness + 1)
    parts = [_cast_in_box(k, poses[k : k + 1], radii[k : k + 1], camera, rays, boxes[k], softness) for k in range(len(radii))]
    return Fragments(*(torch.cat(values) for values in zip(*(vars(part).values() for part in parts), strict=True)))


def _cast_in_box(index: int, pose: Tensor, radii: Tensor, camera: Camera, rays: Tensor, box: Tensor, softness: float) -> Fragments:
    left, top, right, bottom = box.tolist()
    crop = rays[top:bottom, left:right].reshape(1, -1, 3)
    rows = torch.arange(top, bottom, device=rays.device)[:, None]
    pixels = (rows * camera.width + torch.arange(left, right, device=rays.device)).reshape(-1)
    focal = torch.stack([camera.K[0, 0], camera.K[1, 1]])[None]
    coverage = ellipsoid_coverage(pose, radii, crop, focal, softness)[0]
    found = ellipsoid_depth(pose, radii, crop)
    normals = ellipsoid_normals(pose, radii, crop, found.depth)[0]
    normals = transform_directions(camera.T_world_camera, normals)
    keep = (coverage.detach() > _LEAST_COVERAGE) & (found.depth[0].detach() > 0)
    owners = torch.full_like(pixels, index)
    return Fragments(pixels, owners, found.depth[0], coverage, found.hit[0], normals).select(keep)


def _front_to_back(fragments: Fragments) -> Fragments:
    """Sorted by pixel and, within a pixel, by depth."""
    by_depth = fragments.depth.detach().argsort()
    by_pixel = fragments.pixels[by_depth].argsort(stable=True)
    return fragments.select(by_depth[by_pixel])


def _visible_shares(fragments: Fragments, n_pixels: int) -> tuple[Tensor, Tensor]:
    """How much of its pixel each sorted fragment shows (f,), and how much of each pixel nothing covers (h w,).

    Nearer fragments hide farther ones in proportion to their coverage, as if silhouettes of different objects were independent.
    """
    _, slot, counts = torch.unique_consecutive(fragments.pixels, return_inverse=True, return_counts=True)
    first = counts.cumsum(0) - counts
    rank = torch.arange(len(slot), device=slot.device) - first[slot]
    layers = int(counts.max()) if len(counts) else 0
    open_share = fragments.coverage.new_ones(len(counts), layers + 1)
    open_share = open_share.index_put((slot, rank + 1), 1 - fragments.coverage).cumprod(dim=1)
    visible = fragments.coverage * open_share[slot, rank]
    remaining = fragments.coverage.new_ones(n_pixels)
    return visible, remaining.index_put((fragments.pixels[first],), open_share[:, -1])


def _nearest_surface(fragments: Fragments, plane_depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Depth (h w,), owner (h w,) and world normal (h w, 3) of what the rays through the pixels' centres meet first."""
    on_plane = plane_depth.isfinite()
    depth = torch.where(on_plane, plane_depth, 0.0)
    ids = torch.where(on_plane, PLANE_ID, BACKGROUND_ID)
    normals = torch.zeros(len(ids), 3, dtype=depth.dtype, device=depth.device)
    normals[:, 2] = on_plane.to(depth.dtype)
    hits = fragments.select(fragments.hit)
    nearest = torch.ones_like(hits.pixels, dtype=torch.bool)
    nearest[1:] = hits.pixels[1:] != hits.pixels[:-1]
    hits = hits.select(nearest)
    index = (hits.pixels,)
    return depth.index_put(index, hits.depth), ids.index_put(index, hits.owners), normals.index_put(index, hits.normals)


def _assemble(
    scene: Scene, camera: Camera, fragments: Fragments, visible: Tensor, colour: Tensor, depth: Tensor, ids: Tensor, normals: Tensor
) -> Rendered:
    size = (camera.height, camera.width)
    coverage = visible.new_zeros(len(scene.objects), len(depth)).index_put((fragments.owners, fragments.pixels), visible)
    return Rendered(
        colour=colour.reshape(*size, 3),
        depth=depth.reshape(size),
        object_ids=ids.reshape(size),
        coverage=coverage.reshape(-1, *size),
        normals=normals.reshape(*size, 3),
    )
