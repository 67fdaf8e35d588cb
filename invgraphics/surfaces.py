"""The surface that files and viewers show of an object, in the colours that it is seen in."""

from dataclasses import replace

import torch

from invgraphics.geometry.ellipsoid import ellipsoid_mesh
from invgraphics.geometry.mesh import Mesh, is_closed, volume
from invgraphics.geometry.texture import average_at_vertices
from invgraphics.scene import Material, PhongMaterial, SceneObject, SurfaceMaterial


def build_surface(shape: SceneObject) -> Mesh:
    """The object's mesh, or its ellipsoid as one; object frame, metres.

    Raises:
        ValueError: the mesh is not closed or faces inwards.
    """
    if shape.mesh is None:
        return build_ellipsoid_surface(shape)
    if not is_closed(shape.mesh.faces) or float(volume(shape.mesh.vertices.detach(), shape.mesh.faces)) <= 0:
        raise ValueError(f"the mesh of {shape.name} is not a closed surface with outward faces")
    return shape.mesh


def build_ellipsoid_surface(shape: SceneObject) -> Mesh:
    """The object's ellipsoid as a mesh; object frame, metres."""
    return ellipsoid_mesh(shape.radii.detach())


def tint(mesh: Mesh, material: SurfaceMaterial) -> Mesh:
    """The mesh with the colours that it is seen in: the base colour goes into its texture, else into its vertex colours."""
    base, vertices = material.base_colour.detach(), mesh.vertices.detach()
    if mesh.texture is not None:
        return replace(mesh, vertices=vertices, texture=replace(mesh.texture, image=mesh.texture.image.detach() * base))
    colours = torch.ones_like(mesh.vertices) if mesh.colours is None else mesh.colours.detach()
    return replace(mesh, vertices=vertices, colours=colours * base)


def without_texture(mesh: Mesh) -> Mesh:
    """The mesh with its texture averaged into its vertex colours."""
    if mesh.texture is None:
        return mesh
    average = average_at_vertices(mesh.texture, mesh)
    return replace(mesh, colours=average if mesh.colours is None else average * mesh.colours.detach(), texture=None)


def with_one_paint(mesh: Mesh) -> Mesh:
    """The mesh with either a texture or vertex colours, for formats that cannot multiply the two: of both, vertex colours are left."""
    return without_texture(mesh) if mesh.texture is not None and mesh.colours is not None else mesh


def as_metallic_roughness(material: SurfaceMaterial) -> Material:
    """The material itself, or the metallic-roughness one nearest to a Phong one.

    A dielectric. Its base colour reflects as much diffuse light: `pi diffuse base`, at most 1, for only metallic-roughness divides by pi.
    Its facets' density falls off as fast about its peak: t from the normal it is `1 - 2 (1 / alpha^2 - 1) t^2` times it,
    and `cos(2 t)^s` is `1 - 2 s t^2`, so that `alpha^2 = 1 / (1 + s)`. How bright the highlight is, and the ambient term, have no place.
    """
    if not isinstance(material, PhongMaterial):
        return material
    base = (torch.pi * material.diffuse * material.base_colour).clamp(0, 1)
    return Material(base, torch.zeros_like(material.diffuse), (1 + material.shininess) ** -0.25)
