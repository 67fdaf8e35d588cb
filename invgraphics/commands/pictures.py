"""Renders that reports show: a reconstruction from its own camera and from around, meshes as clay."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.datasets import GroundTruth
from invgraphics.geometry.mesh import Mesh, vertex_normals
from invgraphics.observation import Observation
from invgraphics.reconstruction import Reconstruction
from invgraphics.report.fit import Pictures
from invgraphics.report.gallery import GalleryPictures
from invgraphics.report.images import (
    Image,
    colour_depth,
    colour_error,
    composite,
    crop_box,
    crop_square,
    encode_jpeg,
    outline_masks,
    to_srgb,
)
from invgraphics.report.sections import DEPTH_ERROR_LIMIT_M
from invgraphics.scene import AmbientLight, DirectionalLight, Light, Scene, SceneObject
from invgraphics.transforms import transform_points
from renderers.mesh_renderer import object_mesh
from renderers.protocol import Rendered, Renderer, make_renderer
from renderers.rasterize import Rasterizer, make_rasterizer

OBJECT_VIEW_PIXELS = 300
THUMBNAIL_PIXELS = 180
SCENE_VIEW_PIXELS = (480, 360)
SIDES = (("as the camera sees it", 0.0), ("from its right, turned by 120°", 120.0), ("from its left, turned by 120°", -120.0))
"""Caption of each view, and by how many degrees about the vertical it is turned from the camera's."""

_FIELD_OF_VIEW = math.radians(30)
_ELEVATIONS = (math.radians(15), math.radians(60))
_SUPERSAMPLING = 2
_CLAY, _RED_CLAY = (0.55, 0.55, 0.55), (0.62, 0.16, 0.10)
_AMBIENT, _LAMP = 0.25, 0.9
"""Share of light that a white surface reflects of the even light, and of the lamp when it faces it."""
_SH_CONSTANT = 0.282095
"""Y(0,0): radiance of a constant environment is its first coefficient times this."""


def render_pictures(reconstruction: Reconstruction, renderer: Renderer | None = None) -> Pictures:
    """Everything that a report shows of a reconstruction, by the fastest renderer here if none is given."""
    renderer = renderer or make_renderer("auto")
    scene, camera = reconstruction.scene, reconstruction.observation.camera
    rasterizer = make_rasterizer()
    with torch.no_grad():
        seen = renderer(scene, camera)
        around = render_scene_sides(renderer, scene, camera)
        alone = tuple(render_mesh_sides(rasterizer, _world_mesh(item), camera) for item in scene.objects)
    return Pictures(seen.colour, seen.depth, seen.object_ids, around, alone)


def render_mesh_sides(
    rasterizer: Rasterizer, mesh: Mesh, camera: Camera, framed: Mesh | None = None, size: int = OBJECT_VIEW_PIXELS
) -> tuple[tuple[str, Image], ...]:
    """A mesh (world frame) in plain clay from each of `SIDES`, `size` pixels square, framed to `framed` (to itself, if not given).

    Surfaces seen from behind (holes, inward faces) are red.
    """
    centre, radius = _bounding_sphere((framed or mesh).vertices)
    pixels = _SUPERSAMPLING * size
    views = [_look_from_around(camera, centre, radius, turn, pixels, pixels) for _, turn in SIDES]
    clip = torch.stack([_clip_coordinates(view, mesh.vertices) for view in views])
    drawn = rasterizer.rasterize(clip, mesh.faces, (pixels, pixels))
    normals = torch.nn.functional.normalize(rasterizer.interpolate(vertex_normals(mesh.vertices, mesh.faces), drawn, mesh.faces), dim=-1)
    covered = drawn.triangle_ids >= 0
    images = [_shade_clay(view, normals[k], covered[k]) for k, view in enumerate(views)]
    return tuple((caption, crop_square(image, (0, 0, pixels), size)) for (caption, _), image in zip(SIDES, images, strict=True))


def _clip_coordinates(view: Camera, vertices: Float[Tensor, "v 3"]) -> Float[Tensor, "v 4"]:
    points = transform_points(view.T_camera_world, vertices)
    return torch.cat([points, torch.ones_like(points[:, :1])], dim=-1) @ view.clip_from_camera().T


def _shade_clay(view: Camera, normals: Float[Tensor, "h w 3"], covered: Bool[Tensor, "h w"]) -> Image:
    """Lambert's law under even light and a lamp over the left shoulder of whoever looks."""
    rays = view.rays() @ view.T_world_camera[:3, :3].T
    behind = (normals * rays).sum(-1) > 0
    facing = torch.where(behind[..., None], -normals, normals)
    light = _AMBIENT + _LAMP * -(facing @ _lamp_direction(view)).clamp(max=0.0)
    clay = torch.where(behind[..., None], normals.new_tensor(_RED_CLAY), normals.new_tensor(_CLAY))
    return composite(torch.where(covered[..., None], clay * light[..., None], torch.zeros_like(clay)), covered.to(normals))


def render_scene_sides(renderer: Renderer, scene: Scene, camera: Camera) -> tuple[tuple[str, Image], ...]:
    """The whole scene with its own materials under plain light, from each of `SIDES`."""
    if not scene.objects:
        return ()
    centre, radius = _bounding_sphere(torch.cat([_world_mesh(item).vertices for item in scene.objects]))
    views = []
    for caption, turn in SIDES:
        view = _look_from_around(camera, centre, radius, turn, *SCENE_VIEW_PIXELS)
        rendered = renderer(replace(scene, lights=_studio_lights(view)), view)
        covered = (rendered.depth > 0).to(rendered.colour)
        views.append((caption, composite(rendered.colour, torch.maximum(covered, rendered.foreground))))
    return tuple(views)


def _world_mesh(item: SceneObject) -> Mesh:
    mesh = object_mesh(item)
    return replace(mesh, vertices=mesh.vertices.detach()).transformed(item.T_world_object.detach())


def _bounding_sphere(points: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, "3"], float]:
    centre = (points.min(0).values + points.max(0).values) / 2
    return centre, max(float((points - centre).norm(dim=-1).max()), 1e-6)


def _look_from_around(camera: Camera, centre: Float[Tensor, "3"], radius: float, turn: float, width: int, height: int) -> Camera:
    """A camera that sees the sphere (world frame) from the side of `camera`, turned by degrees about the vertical through its centre."""
    toward = camera.T_world_camera[:3, 3] - centre
    azimuth = math.atan2(float(toward[1]), float(toward[0])) + math.radians(turn)
    level = math.hypot(float(toward[0]), float(toward[1]))
    elevation = min(max(math.atan2(float(toward[2]), level), _ELEVATIONS[0]), _ELEVATIONS[1])
    outward = centre.new_tensor([math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)])
    right = centre.new_tensor([-math.sin(azimuth), math.cos(azimuth), 0.0])
    T_world_camera = torch.eye(4).to(centre)
    T_world_camera[:3, :3] = torch.stack([right, torch.linalg.cross(-outward, right), -outward], dim=1)
    T_world_camera[:3, 3] = centre + outward * (1.05 * radius / math.sin(_FIELD_OF_VIEW / 2))
    focal = 0.5 * min(width, height) / math.tan(_FIELD_OF_VIEW / 2)
    K = centre.new_tensor([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])
    return Camera(K, height, width, T_world_camera)


def _lamp_direction(camera: Camera) -> Float[Tensor, "3"]:
    return torch.nn.functional.normalize(camera.T_world_camera[:3, :3] @ camera.K.new_tensor([0.5, 0.6, 0.75]), dim=0)


def _studio_lights(camera: Camera) -> tuple[Light, ...]:
    """The light under which clay is shown, for a renderer."""
    sh = camera.K.new_zeros(9, 3)
    sh[0] = _AMBIENT / _SH_CONSTANT
    return AmbientLight(sh), DirectionalLight(_lamp_direction(camera), camera.K.new_full((3,), _LAMP * math.pi))


def render_gallery_pictures(
    reconstruction: Reconstruction, truths: Sequence[GroundTruth], meshes: Mapping[int, Mesh], renderer: Renderer | None = None
) -> dict[int, GalleryPictures]:
    """What the gallery shows of the objects of an image that have both a mesh and a truth (both camera frame), by mask index."""
    renderer = renderer or make_renderer("auto")
    rasterizer = make_rasterizer()
    observation = reconstruction.observation
    camera = observation.camera
    with torch.no_grad():
        seen = renderer(reconstruction.scene, camera)
        return {
            truth.mask_index: GalleryPictures(
                _crop_gallery_images(observation, seen, truth.mask_index),
                *_render_beside(rasterizer, camera, meshes[truth.mask_index], truth.mesh),
            )
            for truth in truths
            if truth.mask_index in meshes
        }


def _crop_gallery_images(observation: Observation, seen: Rendered, index: int) -> list[tuple[str, str]]:
    mask = observation.masks[index]
    box = crop_box(mask)
    outline = torch.from_numpy(crop_square(mask.cpu().numpy(), box, THUMBNAIL_PIXELS))[None]
    readings = observation.depth[mask & observation.valid]
    near, far = (float(readings.min()), float(readings.max())) if len(readings) else (0.0, 1.0)
    known = observation.valid & (seen.depth > 0)
    pictures = {
        "image, with the mask's outline": to_srgb(observation.colour),
        f"measured depth, {near:.2f} m (bright) to {far:.2f} m (dark)": colour_depth(observation.depth, observation.valid, near, far),
        "render, with the mask's outline": to_srgb(seen.colour),
        "depth error": colour_error(seen.depth - observation.depth, known, DEPTH_ERROR_LIMIT_M),
    }
    crops = {caption: crop_square(picture, box, THUMBNAIL_PIXELS) for caption, picture in pictures.items()}
    return [(caption, encode_jpeg(outline_masks(crop, outline, (index,)))) for caption, crop in crops.items()]


def _render_beside(rasterizer: Rasterizer, camera: Camera, mesh: Mesh, truth: Mesh) -> tuple[list[str], list[str]]:
    """A mesh and the true one (both camera frame), each from the three sides, framed alike."""
    world, true_world = (each.transformed(camera.T_world_camera) for each in (mesh, truth))
    views = [render_mesh_sides(rasterizer, each, camera, true_world, THUMBNAIL_PIXELS) for each in (world, true_world)]
    predicted, true = ([encode_jpeg(image) for _, image in sides] for sides in views)
    return predicted, true
