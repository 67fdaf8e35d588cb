"""Renders scenes of meshes on a support plane with any rasterizer: shading happens only where something is seen."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.ellipsoid import ellipsoid_mesh
from invgraphics.geometry.mesh import Mesh
from invgraphics.scene import Scene, SceneObject, SurfaceMaterial
from invgraphics.transforms import transform_points
from renderers.checks import check_mesh, check_scene
from renderers.compiled_surface import find_visible_surface
from renderers.composition import compose_images
from renderers.ground import find_ground, find_ground_compiled, measure_ground, measure_ground_compiled, spread
from renderers.materials import MATERIALS, shade_materials
from renderers.protocol import BACKGROUND_ID, PLANE_ID, Capabilities, Rendered, Shadows
from renderers.rasterize import EdgeTopology, Rasterizer, build_topology
from renderers.rasterize.cpu import CpuRasterizer
from renderers.rasterize.drawing import find_crossings
from renderers.rasterize.workers import Workers
from renderers.shadows import MeshShadows, Visibility, check_shadows, see_everything, see_past_ellipsoids, see_past_meshes
from renderers.textures import look_up_textures
from renderers.vertex_normals import compute_vertex_normals

_ELLIPSOID_SUBDIVISIONS = 4


@dataclass(frozen=True)
class SceneLayout:
    """How the meshes of a scene lie in one list of triangles: what stays the same while only vertices, poses and materials change."""

    topology: EdgeTopology
    """Triangles of all objects, in the order of the objects, and their edges."""
    face_owners: Int[Tensor, " f"]
    """Index of the object that each triangle belongs to."""


@dataclass(frozen=True)
class _Surface:
    """Points seen by the pixels `pixels`."""

    pixels: Int[Tensor, " n"]
    owners: Int[Tensor, " n"]
    positions: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]
    colours: Float[Tensor, "n 3"]
    depth: Float[Tensor, " n"]

    def in_front_of(self, depth: Tensor) -> "_Surface":
        """The points nearer than the depth (h w,) at their pixels, where that is not 0."""
        limit = depth[self.pixels]
        keep = (limit == 0) | (self.depth.detach() < limit)
        if keep.all():
            return self
        kept = keep.nonzero()[:, 0]
        return _Surface(*(value.index_select(0, kept) for value in vars(self).values()))


_Behind = tuple[Tensor, Tensor, Tensor, Tensor]
"""Colour (h w, 3), depth (h w,), ids (h w,) and world normals (h w, 3) of what is seen where no object is."""
_Compose = Callable[[_Behind, _Surface, Tensor], tuple[Tensor, ...]]


def build_layout(scene: Scene) -> SceneLayout:
    """The triangles of a scene's meshes (of an ellipsoid, where an object has no mesh), their edges and owners.

    Raises:
        InputError: a vertex is not finite, or a triangle names one that its mesh has not.
    """
    device = scene.camera.K.device
    faces, owners, shift = [torch.zeros(0, 3, dtype=torch.int64, device=device)], [torch.zeros(0, dtype=torch.int64, device=device)], 0
    for index, item in enumerate(scene.objects):
        mesh = object_mesh(item)
        check_mesh(mesh, item.name)
        faces.append(mesh.faces.to(device) + shift)
        owners.append(torch.full((len(mesh.faces),), index, dtype=torch.int64, device=device))
        shift += len(mesh.vertices)
    return SceneLayout(build_topology(torch.cat(faces)), torch.cat(owners))


def object_mesh(item: SceneObject) -> Mesh:
    """The object's mesh; where it has none, a sphere of 5120 triangles stretched to its ellipsoid. Object frame."""
    if item.mesh is not None:
        return item.mesh
    return ellipsoid_mesh(item.radii, _ELLIPSOID_SUBDIVISIONS)


class MeshRenderer:
    """Draws each object's mesh (its ellipsoid, where it has none), smoothly shaded, on the support plane.

    Args:
        rasterizer: the backend.
        shadows: what casts shadows on the plane and on the objects: "none", "ellipsoids" (the objects' own; see
            `renderers.shading.compute_ellipsoid_shadows`) or "meshes" (see `renderers.shadow_maps`). All differentiable.
        mesh_shadows: how fine and how soft the shadows of meshes are; their defaults, unless given.
    """

    def __init__(self, rasterizer: Rasterizer, shadows: Shadows = "ellipsoids", mesh_shadows: MeshShadows | None = None):
        check_shadows(shadows, ("none", "ellipsoids", "meshes"))
        self.mesh_shadows = mesh_shadows or MeshShadows()
        self.rasterizer = rasterizer
        self.shadows = shadows
        self.name = rasterizer.name
        self._workers = Workers()
        self.capabilities = Capabilities(
            draws_meshes=True,
            vertex_colours=True,
            textures=True,
            materials=MATERIALS,
            silhouette_gradients=True,
            shadows=shadows,
            deterministic=rasterizer.deterministic,
            float64=rasterizer.float64,
            devices=rasterizer.devices,
        )

    def __call__(self, scene: Scene, camera: Camera, layout: SceneLayout | None = None) -> Rendered:
        """The scene as the camera sees it. Pass `build_layout(scene)` where many renders share the scene's triangles: it saves time.

        Raises:
            InputError: what `renderers.checks.check_scene` refuses, a vertex that is not finite, or a triangle that names one that its mesh
                has not.
        """
        check_scene(scene, camera)
        layout = layout or build_layout(scene)
        is_compiled = isinstance(self.rasterizer, CpuRasterizer)
        surface, compose = (self._find_surface_compiled if is_compiled else self._find_surface)(scene, camera, layout)
        look = self._prepare_shadows(scene, layout)
        if scene.plane is None:
            behind = _see_nothing(camera)
        else:
            plane_depth = measure_ground_compiled(camera, self._workers) if is_compiled else measure_ground(camera)
            surface = surface.in_front_of(plane_depth.detach())
            behind = self._look_behind(scene, camera, plane_depth, surface, look, is_compiled)
        materials = [item.material for item in scene.objects]
        points = (surface.positions, surface.normals, surface.colours, surface.owners)
        radiance = self._shade(scene, camera, *points, materials, look) if materials else surface.positions
        colour, depth, ids, normals, coverage = compose(behind, surface, radiance)
        size = (camera.height, camera.width)
        images = (colour.reshape(*size, 3), depth.reshape(size), ids.reshape(size), coverage.reshape(-1, *size), normals.reshape(*size, 3))
        return Rendered(*images)

    def _prepare_shadows(self, scene: Scene, layout: SceneLayout) -> Visibility:
        """What tells how much of the lights points see."""
        if self.shadows == "ellipsoids":
            return see_past_ellipsoids(scene, self._workers)
        if self.shadows == "meshes":
            meshes = [object_mesh(item) for item in scene.objects]
            return see_past_meshes(scene, meshes, layout.topology, self.rasterizer, self._workers, self.mesh_shadows)
        return see_everything

    def _find_surface_compiled(self, scene: Scene, camera: Camera, layout: SceneLayout) -> tuple[_Surface, _Compose]:
        """As `_find_surface`, for the CPU backend."""
        meshes = [object_mesh(item) for item in scene.objects]
        if not meshes:
            return self._find_surface(scene, camera, layout)
        vertices, counts = torch.cat([mesh.vertices for mesh in meshes]), [len(mesh.vertices) for mesh in meshes]
        coloured = any(mesh.colours is not None for mesh in meshes)
        colours = torch.cat([_vertex_colours(mesh) for mesh in meshes]) if coloured else vertices.new_zeros(len(vertices), 0)
        poses = torch.stack([item.T_world_object for item in scene.objects])
        clip_from_world = camera.clip_from_camera() @ camera.T_camera_world
        workers, size = self.rasterizer.workers, (camera.height, camera.width)
        seen = find_visible_surface(vertices, counts, poses, clip_from_world, colours, layout.topology.faces, size, workers)
        tints = seen.attributes if coloured else torch.ones_like(seen.positions)
        owners = layout.face_owners.index_select(0, seen.triangles)
        textures = look_up_textures(meshes, seen.weights, seen.triangles, owners, self._workers)
        tints = tints if textures is None else tints * textures
        crossings = find_crossings(seen.geometry.clip, seen.geometry.sides, seen.geometry.depths, seen.geometry.drawing, layout.topology)

        def compose(behind: _Behind, surface: _Surface, radiance: Tensor) -> tuple[Tensor, ...]:
            points = (surface.pixels, surface.owners, radiance, surface.depth, surface.normals)
            return compose_images(behind, *points, seen.clip, crossings, len(meshes), workers)

        return _Surface(seen.pixels, owners, seen.positions, seen.normals, tints, seen.depth), compose

    def _find_surface(self, scene: Scene, camera: Camera, layout: SceneLayout) -> tuple[_Surface, _Compose]:
        """The surface points that pixels see, and what puts them, once shaded, before what is behind them.

        That returns colour (h w, 3), depth, ids, normals and coverage (n, h w) of all pixels.
        """
        vertices, colours = _world_vertices(scene)
        faces = layout.topology.faces
        points = transform_points(camera.T_camera_world, vertices)
        clip = torch.nn.functional.pad(points, (0, 1), value=1.0)[None] @ camera.clip_from_camera().T
        drawn = self.rasterizer.rasterize(clip, faces, (camera.height, camera.width))
        attributes = torch.cat([vertices, compute_vertex_normals(vertices, faces), points[:, 2:], colours], dim=1)
        pixels, triangles, values = self.rasterizer.interpolate_covered(attributes, drawn, faces)
        positions, normals, depth, colours = values.split([3, 3, 1, 3], dim=1)
        weights = drawn.buffer.flatten(0, 2)[:, :2].index_select(0, pixels)
        textures = look_up_textures(
            [object_mesh(item) for item in scene.objects], weights, triangles, layout.face_owners[triangles], self._workers
        )
        colours = colours if textures is None else colours * textures
        towards = torch.where(_shows_its_back(points.detach(), faces)[triangles], -1.0, 1.0)[:, None]
        normals = torch.nn.functional.normalize(normals * towards, dim=-1, eps=1e-20)

        def compose(behind: _Behind, surface: _Surface, radiance: Tensor) -> tuple[Tensor, ...]:
            colour, depth, ids, normal_image = behind
            shares = depth.new_zeros(len(depth), len(scene.objects))
            shares[surface.pixels, surface.owners] = 1.0
            images = (colour.index_copy(0, surface.pixels, radiance), shares)
            shape = (1, camera.height, camera.width, -1)
            blended = (self.rasterizer.antialias(image.reshape(shape), drawn, clip, layout.topology) for image in images)
            colour, coverage = (image.flatten(0, 2) for image in blended)
            depth, ids = depth.index_copy(0, surface.pixels, surface.depth), ids.index_copy(0, surface.pixels, surface.owners)
            return colour, depth, ids, normal_image.index_copy(0, surface.pixels, surface.normals), coverage.T

        return _Surface(pixels, layout.face_owners[triangles], positions, normals, colours, depth[:, 0]), compose

    def _look_behind(
        self, scene: Scene, camera: Camera, plane_depth: Tensor, surface: _Surface, look: Visibility, is_compiled: bool
    ) -> _Behind:
        """What the pixels' centres see where no object is: the plane, or nothing."""
        if is_compiled:
            ground = find_ground_compiled(camera, plane_depth, surface.pixels, self._workers)
        else:
            ground = find_ground(camera, plane_depth, surface.pixels)
        up = torch.zeros_like(ground.positions)
        up[:, 2] = 1
        points = (ground.positions, up, torch.ones_like(up), torch.full_like(ground.pixels, PLANE_ID))
        radiance = self._shade(scene, camera, *points, [scene.plane.material], look)
        if is_compiled:
            colour = spread(radiance, ground.pixels, len(plane_depth), self._workers)
        else:
            colour = plane_depth.new_zeros(len(plane_depth), 3).index_copy(0, ground.pixels, radiance)
        return colour, ground.depth, ground.ids, ground.normals

    def _shade(
        self,
        scene: Scene,
        camera: Camera,
        positions: Tensor,
        normals: Tensor,
        colours: Tensor,
        owners: Tensor,
        materials: list[SurfaceMaterial],
        look: Visibility,
    ) -> Tensor:
        """Radiance (n, 3) that surface points send to the camera; `colours` tint their owners' materials."""
        points = (positions, normals, camera.T_world_camera[:3, 3], colours)
        return shade_materials(*points, owners.clamp(min=0), materials, scene.lights, look(positions, normals, owners), self._workers)


def _world_vertices(scene: Scene) -> tuple[Tensor, Tensor]:
    """Vertices of all objects in the world frame, metres, and their colours (white where a mesh has none)."""
    empty = scene.camera.K.new_zeros(0, 3)
    meshes = [object_mesh(item) for item in scene.objects]
    vertices = [transform_points(item.T_world_object, mesh.vertices) for item, mesh in zip(scene.objects, meshes, strict=True)]
    return torch.cat([empty, *vertices]), torch.cat([empty, *(_vertex_colours(mesh) for mesh in meshes)])


def _vertex_colours(mesh: Mesh) -> Tensor:
    return torch.ones_like(mesh.vertices) if mesh.colours is None else mesh.colours


def _shows_its_back(points: Tensor, faces: Tensor) -> Tensor:
    """Whether the camera (at the origin of the points' frame) sees each triangle from behind."""
    a, b, c = points.index_select(0, faces.reshape(-1)).reshape(-1, 3, 3).unbind(1)
    return (torch.linalg.cross(b, c) * a).sum(-1) > 0


def _see_nothing(camera: Camera) -> _Behind:
    """What is behind the objects where there is no plane."""
    nothing = camera.K.new_zeros(camera.height * camera.width, 3)
    ids = torch.full_like(nothing[:, 0], BACKGROUND_ID, dtype=torch.int64)
    return nothing, torch.zeros_like(nothing[:, 0]), ids, torch.zeros_like(nothing)
