"""Vertex colours from the one image: read where a vertex is seen, mirrored or spread over the surface where it is not."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, unique_edges, vertex_normals

DEPTH_TOLERANCE = 0.004
"""Metres by which a vertex may lie off the rendered depth and still be seen."""
GRAZING = (0.15, 0.5)
"""Cosines between normal and view at which a reading begins to count and at which it counts in full."""
FIDELITY = 20.0
"""Weight of a reading against that of one edge of the mesh."""
MIRROR_WEIGHT = 0.1
"""Weight of a mirrored reading against that of one of the vertex's own."""
MIRROR_REACH = 0.08
"""How far, in mesh extents, a mirrored vertex may lie from the surface that was seen."""


@dataclass(frozen=True)
class BakedColours:
    """Colours of the vertices of a mesh."""

    colours: Float[Tensor, "v 3"]
    """Linear RGB in [0, 1]."""
    seen: Float[Tensor, " v"]
    """Weight of each vertex's own reading: 0 for those that the image does not show, 1 for those seen face on."""


def bake_vertex_colours(
    mesh: Mesh, camera: Camera, image: Float[Tensor, "h w 3"], pixels: Bool[Tensor, "h w"], depth: Float[Tensor, "h w"]
) -> BakedColours:
    """Gives each vertex the colour at which the image shows it, to a fraction of a pixel.

    A vertex is read where all four pixels around it belong to the object and are no silhouette, where the rendered depth says that nothing
    is in front of it, and by how far it faces the camera. The others take, weakly, the reading of the vertex opposite them in the
    vertical plane through the object's middle across the view, where there is one; and all are then smoothed over the mesh's graph, which
    carries readings to where there are none.

    The image decides what the colours mean: `Appearance.albedo` gives base colours (then the material's base colour is to be white), the
    observed colour keeps the light in them.

    Args:
        mesh: world frame. Its own colours are not used.
        camera: of the image.
        image: linear RGB.
        pixels: those that show this object and nothing else.
        depth: metres along the camera's z of the whole rendered scene; 0 where nothing is.

    Raises:
        ValueError: no pixel shows the object.
    """
    if not pixels.any():
        raise ValueError("no pixel shows the object whose colours are to be read")
    normals = vertex_normals(mesh.vertices, mesh.faces)
    readings, weights = _read(mesh.vertices, normals, camera, image, pixels, depth)
    seen = weights
    mirrored = _mirror(mesh.vertices, normals, seen > 0.5, camera)
    unseen = (seen == 0) & (mirrored >= 0)
    readings = torch.where(unseen[:, None], readings[mirrored], readings)
    weights = torch.where(unseen, MIRROR_WEIGHT, weights)
    usual = image[pixels].median(0).values
    return BakedColours(spread_over_surface(readings, weights, mesh.faces, usual).clamp(0, 1), seen)


def _read(
    vertices: Tensor, normals: Tensor, camera: Camera, image: Tensor, pixels: Tensor, depth: Tensor
) -> tuple[Float[Tensor, "v 3"], Float[Tensor, " v"]]:
    """What the image shows at each vertex, and how much that is worth."""
    uv, z = camera.project(vertices)
    inside = (z > 0) & (uv >= 0).all(-1) & (uv[:, 0] < camera.width - 1) & (uv[:, 1] < camera.height - 1)
    uv = torch.where(inside[:, None], uv, 0.0)
    towards = torch.nn.functional.normalize(camera.T_world_camera[:3, 3] - vertices, dim=-1)
    cosine = (normals * towards).sum(-1)
    layers = torch.cat([image, depth[..., None], pixels[..., None].to(image)], dim=-1)
    sampled = _bilinear(layers, uv)
    slope = (1 - cosine**2).clamp(min=0).sqrt() / cosine.clamp(min=GRAZING[0])
    allowed = DEPTH_TOLERANCE + slope * z / camera.K[0, 0]
    visible = inside & (sampled[:, 4] > 1 - 1e-4) & ((sampled[:, 3] - z).abs() < allowed)
    facing = ((cosine - GRAZING[0]) / (GRAZING[1] - GRAZING[0])).clamp(0, 1)
    return sampled[:, :3], torch.where(visible, facing, 0.0)


def _bilinear(image: Float[Tensor, "h w c"], uv: Float[Tensor, "n 2"]) -> Float[Tensor, "n c"]:
    """Values between the pixels; uv lies within the centres of the outermost pixels."""
    corner = uv.floor().to(torch.int64)
    fraction = uv - corner
    u, v = corner.unbind(-1)
    a, b = fraction[:, :1], fraction[:, 1:]
    above = image[v, u] * (1 - a) + image[v, u + 1] * a
    below = image[v + 1, u] * (1 - a) + image[v + 1, u + 1] * a
    return above * (1 - b) + below * b


def _mirror(vertices: Tensor, normals: Tensor, seen: Bool[Tensor, " v"], camera: Camera) -> Int[Tensor, " v"]:
    """For each vertex the nearest seen one to its mirror image, -1 where there is none that is near and faces the same way."""
    nothing = torch.full((len(vertices),), -1, dtype=torch.int64, device=vertices.device)
    if not seen.any():
        return nothing
    low, high = vertices.min(0).values, vertices.max(0).values
    across = (low + high) / 2 - camera.T_world_camera[:3, 3]
    across = torch.nn.functional.normalize(across * across.new_tensor([1.0, 1.0, 0.0]), dim=0)
    images = vertices - 2 * ((vertices - (low + high) / 2) @ across)[:, None] * across
    turned = normals - 2 * (normals @ across)[:, None] * across
    candidates = seen.nonzero()[:, 0]
    distance, index = cKDTree(vertices[candidates].cpu().numpy()).query(images.cpu().numpy())
    nearest = candidates[torch.as_tensor(index, device=candidates.device)]
    near = torch.as_tensor(distance, device=vertices.device) < MIRROR_REACH * float((high - low).norm())
    alike = (turned * normals[nearest]).sum(-1) > 0.5
    return torch.where(near & alike, nearest, nothing)


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
