"""Renders that reports show: a reconstruction from its own camera and from around, meshes as clay."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.datasets import GroundTruth
from invgraphics.geometry.distances import find_nearest_faces
from invgraphics.geometry.mesh import Mesh, linear_from_srgb, srgb_from_linear, vertex_normals
from invgraphics.geometry.spherical_harmonics import CONSTANT
from invgraphics.observation import Observation
from invgraphics.reconstruction import Reconstruction
from invgraphics.report.fit import Pictures
from invgraphics.report.gallery import GalleryPictures
from invgraphics.report.images import (
    Image,
    colour_depth,
    colour_error,
    compare_masks,
    composite,
    crop_box,
    crop_square,
    heat_colours,
    outline_masks,
    save_jpeg,
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
GALLERY_FOLDER = "gallery"
"""Folder of the gallery's pictures, beside its page."""
GALLERY_CAPTIONS = {
    "image": "image, with the mask's outline",
    "depth": "measured depth, near bright",
    "render": "render, with the mask's outline",
    "depth_error": "depth error, rendered less measured",
    "colour_error": "brightness error, rendered less seen",
    "silhouette": "mask and render",
}
COLOUR_ERROR_LIMIT = 0.25
"""Brightness (sRGB in [0, 1]) at which the map of its error saturates."""
DISTANCE_LIMIT_M = 0.01
"""Distance between surfaces, metres, at which their colour saturates."""
SCENE_VIEW_PIXELS = (480, 360)
SIDES = (("as the camera sees it", 0.0), ("from its right, turned by 120°", 120.0), ("from its left, turned by 120°", -120.0))
"""Caption of each view, and by how many degrees about the vertical it is turned from the camera's."""

_FIELD_OF_VIEW = math.radians(30)
_ELEVATIONS = (math.radians(15), math.radians(60))
_SUPERSAMPLING = 2
_CLAY, _RED_CLAY = (0.55, 0.55, 0.55), (0.62, 0.16, 0.10)
_AMBIENT, _LAMP = 0.25, 0.9
"""Share of light that a white surface reflects of the even light, and of the lamp when it faces it."""


def render_pictures(reconstruction: Reconstruction, renderer: Renderer | None = None) -> Pictures:
    """Everything that a report shows of a reconstruction, by the fastest renderer here if none is given."""
    renderer = renderer or make_renderer("auto")
    scene, camera = reconstruction.scene, reconstruction.observation.camera
    rasterizer = make_rasterizer()
    with torch.no_grad():
        seen = renderer(scene, camera)
        around = render_scene_sides(renderer, scene, camera)
        meshes = [_world_mesh(item) for item in scene.objects]
        alone = tuple(render_mesh_sides(rasterizer, mesh, camera) for mesh in meshes)
        spreads = tuple(
            render_mesh_sides(rasterizer, _heat(meshes[k], spread), camera, painted=True) for k, spread in enumerate(reconstruction.spread)
        )
    return Pictures(seen.colour, seen.depth, seen.object_ids, around, alone, spreads, DISTANCE_LIMIT_M)


def render_mesh_sides(
    rasterizer: Rasterizer,
    mesh: Mesh,
    camera: Camera,
    framed: Mesh | None = None,
    size: int = OBJECT_VIEW_PIXELS,
    painted: bool = False,
) -> tuple[tuple[str, Image], ...]:
    """A mesh (world frame) from each of `SIDES`, `size` pixels square, framed to `framed` (to itself, if not given).

    In plain clay, surfaces seen from behind (holes, inward faces) in red; in the colours of its vertices where `painted`.
    """
    centre, radius = _bounding_sphere((framed or mesh).vertices)
    pixels = _SUPERSAMPLING * size
    views = [_look_from_around(camera, centre, radius, turn, pixels, pixels) for _, turn in SIDES]
    clip = torch.stack([_clip_coordinates(view, mesh.vertices) for view in views])
    drawn = rasterizer.rasterize(clip, mesh.faces, (pixels, pixels))
    normals = torch.nn.functional.normalize(rasterizer.interpolate(vertex_normals(mesh.vertices, mesh.faces), drawn, mesh.faces), dim=-1)
    covered = drawn.triangle_ids >= 0
    paint = rasterizer.interpolate(mesh.colours, drawn, mesh.faces) if painted else [None] * len(views)
    images = [_shade_clay(view, normals[k], covered[k], paint[k]) for k, view in enumerate(views)]
    return tuple((caption, crop_square(image, (0, 0, pixels), size)) for (caption, _), image in zip(SIDES, images, strict=True))


def _clip_coordinates(view: Camera, vertices: Float[Tensor, "v 3"]) -> Float[Tensor, "v 4"]:
    points = transform_points(view.T_camera_world, vertices)
    return torch.cat([points, torch.ones_like(points[:, :1])], dim=-1) @ view.clip_from_camera().T


def _shade_clay(view: Camera, normals: Float[Tensor, "h w 3"], covered: Bool[Tensor, "h w"], paint: Float[Tensor, "h w 3"] | None) -> Image:
    """Lambert's law under even light and a lamp over the left shoulder of whoever looks; the paint, or clay."""
    rays = view.rays() @ view.T_world_camera[:3, :3].T
    behind = (normals * rays).sum(-1) > 0
    facing = torch.where(behind[..., None], -normals, normals)
    light = _AMBIENT + _LAMP * -(facing @ _lamp_direction(view)).clamp(max=0.0)
    clay = torch.where(behind[..., None], normals.new_tensor(_RED_CLAY), normals.new_tensor(_CLAY)) if paint is None else paint
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
    sh[0] = _AMBIENT / CONSTANT
    return AmbientLight(sh), DirectionalLight(_lamp_direction(camera), camera.K.new_full((3,), _LAMP * math.pi))


def render_gallery_pictures(
    reconstruction: Reconstruction, rendered: Rendered, truths: Sequence[GroundTruth], meshes: Mapping[int, Mesh], out: Path, name: str
) -> dict[int, GalleryPictures]:
    """What the gallery shows of the reconstructed objects of an image, by mask index; the files go to a folder in `out`.

    `rendered` is the scene from the observation's camera; truths and meshes are in the camera frame.
    """
    folder = out / GALLERY_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    rasterizer, camera = make_rasterizer(), reconstruction.observation.camera
    true_meshes = {truth.mask_index: truth.mesh for truth in truths}
    result = {}
    with torch.no_grad():
        for place, index in enumerate(reconstruction.mask_indices):
            crops = _crop_gallery_images(reconstruction.observation, rendered, place, index)
            beside = _render_beside(rasterizer, camera, meshes[index], true_meshes.get(index))
            files = {f"{name}_{index:02d}_{what}.jpg": image for what, image in (*crops.items(), *beside.items())}
            for file, image in files.items():
                save_jpeg(image, folder / file)
            uris = {what: quote(f"{GALLERY_FOLDER}/{name}_{index:02d}_{what}.jpg") for what in (*crops, *beside)}
            result[index] = GalleryPictures(
                [(GALLERY_CAPTIONS[what], uris[what]) for what in crops],
                [uris[what] for what in beside if what.startswith("mesh")],
                [uris[what] for what in beside if what.startswith("true")],
            )
    return result


def _crop_gallery_images(observation: Observation, seen: Rendered, place: int, index: int) -> dict[str, Image]:
    """Square pictures around an object's mask; `place` is its index in the scene, `index` that of its mask."""
    mask = observation.masks[index]
    box = crop_box(mask)
    outline = torch.from_numpy(crop_square(mask.cpu().numpy(), box, THUMBNAIL_PIXELS))[None]
    readings = observation.depth[mask & observation.valid]
    near, far = (float(readings.min()), float(readings.max())) if len(readings) else (0.0, 1.0)
    known = observation.valid & (seen.depth > 0)
    brightness = (srgb_from_linear(seen.colour) - srgb_from_linear(observation.colour)).mean(-1)
    others = observation.masks.any(0) & ~mask
    outlined = {
        "image": to_srgb(observation.colour),
        "depth": colour_depth(observation.depth, observation.valid, near, far),
        "render": to_srgb(seen.colour),
        "depth_error": colour_error(seen.depth - observation.depth, known, DEPTH_ERROR_LIMIT_M),
        "colour_error": colour_error(brightness, seen.depth > 0, COLOUR_ERROR_LIMIT),
    }
    crops = {what: outline_masks(crop_square(picture, box, THUMBNAIL_PIXELS), outline, (index,)) for what, picture in outlined.items()}
    silhouettes = compare_masks(mask, seen.object_ids == place, others)
    return crops | {"silhouette": crop_square(silhouettes, box, THUMBNAIL_PIXELS)}


def _render_beside(rasterizer: Rasterizer, camera: Camera, mesh: Mesh, truth: Mesh | None) -> dict[str, Image]:
    """A mesh and the true one (both camera frame), each from the three sides, framed alike, coloured by the distance to the other."""
    world = mesh.transformed(camera.T_world_camera)
    if truth is None:
        return {f"mesh_{k}": image for k, (_, image) in enumerate(render_mesh_sides(rasterizer, world, camera, size=THUMBNAIL_PIXELS))}
    true_world = truth.transformed(camera.T_world_camera)
    painted = {"mesh": _paint_distance(world, true_world), "true": _paint_distance(true_world, world)}
    return {
        f"{what}_{k}": image
        for what, each in painted.items()
        for k, (_, image) in enumerate(render_mesh_sides(rasterizer, each, camera, true_world, THUMBNAIL_PIXELS, painted=True))
    }


def _paint_distance(mesh: Mesh, other: Mesh) -> Mesh:
    """The mesh with its vertices coloured by their distance to the other surface."""
    distances = find_nearest_faces(mesh.vertices, other.vertices, other.faces)[0]
    return _heat(mesh, distances)


def _heat(mesh: Mesh, distances: Float[Tensor, " v"]) -> Mesh:
    """The mesh with its vertices in the colours of distances, metres."""
    colours = heat_colours((distances / DISTANCE_LIMIT_M).clamp(0, 1).cpu().numpy())
    return Mesh(mesh.vertices, mesh.faces, linear_from_srgb(torch.as_tensor(colours).to(mesh.vertices) / 255))
