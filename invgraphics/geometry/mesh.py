"""Triangle meshes as tensors, and what the optimizers and renderers ask of them."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float, Int
from torch import Tensor

from invgraphics.transforms import transform_points


@dataclass(frozen=True)
class Texture:
    """An image that is laid over a mesh, repeated beyond its borders. Triangles have their own coordinates, so that a closed mesh may have
    seams and stay closed."""

    uv: Float[Tensor, "f 3 2"]
    """Where each corner of each triangle lies on the image. (0, 0) is the outer corner of texel (0, 0), at the image's top left, u runs
    along its columns, and (1, 1) is the opposite corner: as glTF has it. (OBJ files count v from the bottom.)"""
    image: Float[Tensor, "ht wt 3"]
    """Linear RGB in [0, 1]; looked up bilinearly."""


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh; corners are counter-clockwise seen from outside."""

    vertices: Float[Tensor, "v 3"]
    """Metres, in the frame that its owner states."""
    faces: Int[Tensor, "f 3"]
    """Vertex indices (int64)."""
    colours: Float[Tensor, "v 3"] | None = None
    """Linear RGB in [0, 1] at each vertex."""
    texture: Texture | None = None
    """Multiplies the vertex colours, as these multiply the material's base colour."""

    def transformed(self, T_a_b: Float[Tensor, "4 4"]) -> "Mesh":
        """The mesh in the coordinates of a, given in b. Rigid transforms only: the faces keep their order."""
        return replace(self, vertices=transform_points(T_a_b, self.vertices))

    def to_trimesh(self) -> trimesh.Trimesh:
        """As a trimesh object (numpy, unmerged); vertex colours as 8-bit sRGB. The texture is left out: it would split the seams."""
        colours = None
        if self.colours is not None:
            colours = np.round(255 * srgb_from_linear(self.colours.detach()).cpu().numpy()).astype(np.uint8)
        return trimesh.Trimesh(
            self.vertices.detach().cpu().numpy(), self.faces.cpu().numpy(), vertex_colors=colours, process=False, validate=False
        )


def mesh_from_trimesh(mesh: trimesh.Trimesh, dtype: torch.dtype = torch.float32) -> Mesh:
    """A trimesh object as tensors; vertex colours, where it has some, become linear RGB.

    So does a texture. The vertices of a textured mesh that lie at the same point are joined: they were one before its seams were cut.
    """
    vertices, faces = np.array(mesh.vertices), np.array(mesh.faces, dtype=np.int64)
    colours = texture = None
    if mesh.visual.kind == "vertex":
        srgb = torch.as_tensor(np.asarray(mesh.visual.vertex_colors)[:, :3] / 255.0, dtype=dtype)
        colours = linear_from_srgb(srgb)
    elif mesh.visual.kind == "texture":
        texture = _texture_from_trimesh(mesh, dtype)
    if texture is not None:
        vertices, faces = _join_vertices(vertices, faces)
    return Mesh(torch.as_tensor(vertices, dtype=dtype), torch.as_tensor(faces), colours, texture)


def _texture_from_trimesh(mesh: trimesh.Trimesh, dtype: torch.dtype) -> Texture | None:
    """The base colour texture of a trimesh object; None where it names none or could not read it."""
    material = mesh.visual.material
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if mesh.visual.uv is None or image is None:
        return None
    uv = np.array(mesh.visual.uv)[np.asarray(mesh.faces)]
    uv[..., 1] = 1 - uv[..., 1]
    srgb = torch.as_tensor(np.asarray(image.convert("RGB")) / 255.0, dtype=dtype)
    return Texture(torch.as_tensor(uv, dtype=dtype), linear_from_srgb(srgb))


def _join_vertices(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each point once, in the order of first use."""
    _, first, inverse = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return vertices[first[order]], rank[inverse.reshape(-1)][faces]


def load_mesh(path: str | Path, unit_m: float = 1.0) -> Mesh:
    """A mesh file that trimesh reads (PLY, OBJ, STL, GLB), its vertices multiplied by `unit_m` (0.001 for millimetres).

    Textures come with it where Pillow is installed, through which trimesh reads images.
    """
    mesh = mesh_from_trimesh(trimesh.load(path, force="mesh", process=False))
    return replace(mesh, vertices=mesh.vertices * unit_m)


def linear_from_srgb(srgb: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Linear light of sRGB values in [0, 1] (IEC 61966-2-1)."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(linear: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """sRGB values in [0, 1] of linear light, clipped to [0, 1] (IEC 61966-2-1)."""
    linear = linear.clamp(0.0, 1.0)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def face_cross(vertices: Float[Tensor, "*batch v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "*batch f 3"]:
    """Outward face normals scaled to twice the face's area (m^2)."""
    a, b, c = (vertices[..., faces[:, k], :] for k in range(3))
    return torch.cross(b - a, c - a, dim=-1)


def vertex_normals(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "v 3"]:
    """Unit outward normals at the vertices: area-weighted means of their faces'. Zero where a vertex has no face."""
    cross = face_cross(vertices, faces)
    summed = torch.zeros_like(vertices).index_add(0, faces.reshape(-1), cross.repeat_interleave(3, dim=0))
    return torch.nn.functional.normalize(summed, dim=-1, eps=1e-20)


def volume(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, ""]:
    """Enclosed volume in m^3, positive for outward faces (divergence theorem; meaningful for closed meshes)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return (a * torch.cross(b, c, dim=-1)).sum() / 6


def unique_edges(faces: Int[Tensor, "f 3"]) -> Int[Tensor, "e 2"]:
    """Undirected edges in order, each once, lower index first."""
    if not len(faces):
        return faces.new_zeros(0, 2)
    low, high = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(dim=1).values.unbind(1)
    # As one number each: sorting rows takes ten times as long.
    count = high.max() + 1
    keys = torch.unique(low * count + high)
    return torch.stack([keys // count, keys % count], dim=1)


def is_closed(faces: Int[Tensor, "f 3"]) -> bool:
    """Whether every directed edge is met by exactly one opposite edge: closed, manifold at edges, consistently oriented."""
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).cpu().numpy()
    forward = np.unique(edges, axis=0)
    if len(forward) != len(edges):
        return False
    backward = np.unique(edges[:, ::-1], axis=0)
    return np.array_equal(forward, backward)


def uniform_laplacian(faces: Int[Tensor, "f 3"], n_vertices: int, dtype: torch.dtype) -> Float[Tensor, "v v"]:
    """Sparse graph Laplacian `L = I - D^-1 A`: each row takes a vertex minus the mean of its neighbours."""
    edges = unique_edges(faces)
    both = torch.cat([edges, edges.flip(1)])
    degree = torch.bincount(both[:, 0], minlength=n_vertices).clamp(min=1).to(dtype)
    diagonal = torch.arange(n_vertices, device=faces.device)
    indices = torch.cat([torch.stack([diagonal, diagonal]), both.T], dim=1)
    values = torch.cat([torch.ones(n_vertices, dtype=dtype, device=faces.device), -1.0 / degree[both[:, 0]]])
    return torch.sparse_coo_tensor(indices, values, (n_vertices, n_vertices), check_invariants=False).coalesce()


def sample_surface(
    vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], count: int, generator: torch.Generator
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Points spread uniformly over the surface, and the unit normals of the faces that they lie on."""
    cross = face_cross(vertices, faces)
    area = cross.norm(dim=-1)
    chosen = torch.multinomial(area, count, replacement=True, generator=generator)
    u, v = torch.rand(2, count, generator=generator, dtype=vertices.dtype, device=vertices.device)
    root = u.sqrt()[:, None]
    v = v[:, None]
    a, b, c = (vertices[faces[chosen, k]] for k in range(3))
    points = (1 - root) * a + root * (1 - v) * b + root * v * c
    return points, torch.nn.functional.normalize(cross[chosen], dim=-1, eps=1e-20)


@lru_cache(maxsize=8)
def icosphere(subdivisions: int) -> tuple[Float[Tensor, "v 3"], Int[Tensor, "f 3"]]:
    """Unit sphere from a subdivided icosahedron: 12, 42, 162, 642, 2562 vertices. Shared: do not edit in place."""
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions)
    return torch.as_tensor(np.array(sphere.vertices), dtype=torch.float32), torch.as_tensor(np.array(sphere.faces), dtype=torch.int64)
