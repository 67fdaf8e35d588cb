"""Layouts of textures: every triangle has a place of its own, and what the camera saw is laid out as it saw it."""

import numpy as np
import torch
import trimesh
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, face_cross
from optim.atlas import PADDING, Atlas, build_atlas


def camera_at(distance: float, focal: float = 500.0, width: int = 320, height: int = 240) -> Camera:
    """Looks along world y from the side of negative y."""
    K = torch.tensor([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])
    pose = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, -distance], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    return Camera(K, height, width, pose)


def as_mesh(solid: trimesh.Trimesh) -> Mesh:
    return Mesh(torch.tensor(np.array(solid.vertices), dtype=torch.float32), torch.tensor(np.array(solid.faces), dtype=torch.int64))


def upright_ring() -> Mesh:
    """A torus seen at an angle: its far side shows through its hole, behind its near side."""
    ring = trimesh.creation.torus(0.06, 0.02, major_sections=40, minor_sections=20)
    ring.apply_transform(trimesh.transformations.euler_matrix(0.7, 0.4, 0.0))
    return as_mesh(ring)


def count_owners(atlas: Atlas) -> Tensor:
    """How many triangles the centre of each texel lies in, well inside, one triangle after the other."""
    counts = torch.zeros(atlas.height, atlas.width)
    rows, columns = torch.meshgrid(torch.arange(atlas.height), torch.arange(atlas.width), indexing="ij")
    for a, b, c in atlas.places.double():
        low, high = torch.stack([a, b, c]).amin(0).floor().long(), torch.stack([a, b, c]).amax(0).ceil().long() + 1
        part = (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))
        x, y = columns[part].double(), rows[part].double()
        sides = [(q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) for p, q in ((a, b), (b, c), (c, a))]
        inside = torch.stack(sides) * sides[0].new_tensor(float(torch.linalg.det(torch.stack([b - a, c - a])).sign()))
        counts[part] += (inside > 1e-3).all(0)
    return counts


def test_no_texel_belongs_to_two_triangles():
    atlas = build_atlas(upright_ring(), camera_at(0.5))
    counts = count_owners(atlas)
    assert counts.max() == 1
    assert counts.sum() > 10000


def test_all_lies_on_the_image_away_from_its_edge():
    atlas = build_atlas(upright_ring(), camera_at(0.5))
    assert atlas.places.min() >= PADDING - 0.5
    assert (atlas.places.amax((0, 1)) <= torch.tensor([atlas.width, atlas.height]) - 1).all()
    torch.testing.assert_close(atlas.uv() * torch.tensor([atlas.width, atlas.height]) - 0.5, atlas.places, atol=1e-3, rtol=0)


def test_what_the_camera_sees_lies_as_on_its_image():
    """Triangles that face the camera keep their projections, moved by whole pixels, so that texels are pixels."""
    mesh = as_mesh(trimesh.creation.icosphere(3, radius=0.05))
    camera = camera_at(0.4)
    atlas = build_atlas(mesh, camera)
    centres = mesh.vertices[mesh.faces].mean(1)
    towards = torch.nn.functional.normalize(camera.T_world_camera[:3, 3] - centres, dim=-1)
    facing = (torch.nn.functional.normalize(face_cross(mesh.vertices, mesh.faces), dim=-1) * towards).sum(-1) > 0.5
    shift = atlas.places[facing] - camera.project(mesh.vertices)[0][mesh.faces[facing]]
    assert facing.sum() > 200
    torch.testing.assert_close(shift, shift[0, 0].round().expand_as(shift), atol=1e-3, rtol=0)


def test_triangles_hidden_from_all_sides_have_places_too():
    shell, core = (trimesh.creation.icosphere(2, radius=radius) for radius in (0.05, 0.03))
    atlas = build_atlas(as_mesh(trimesh.util.concatenate([shell, core])), camera_at(0.5))
    assert count_owners(atlas).max() == 1
    _, triangles, weights = atlas.locate_texels()
    assert len(triangles.unique()) == len(shell.faces) + len(core.faces)
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(weights)))


def test_a_large_image_gives_an_atlas_that_is_bounded():
    mesh, near = upright_ring(), camera_at(0.3, focal=6000.0, width=4000, height=4000)
    atlas = build_atlas(mesh, near)
    assert 500 < max(atlas.width, atlas.height) <= 1024
    assert max(build_atlas(mesh, near, largest=300).uv().shape) == len(mesh.faces)
    assert build_atlas(mesh, near, largest=300).width <= 300


def test_an_object_beside_the_image_is_laid_out_without_the_camera():
    mesh = upright_ring()
    aside = Mesh(mesh.vertices + torch.tensor([2.0, 0.0, 0.0]), mesh.faces)
    atlas = build_atlas(aside, camera_at(0.5))
    assert torch.isfinite(atlas.places).all()
    assert count_owners(atlas).max() == 1
