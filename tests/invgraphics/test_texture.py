"""Textures of meshes: looked up, written to GLB and OBJ, read back by this program and by trimesh, seams and all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from invgraphics.camera import Camera
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh, Texture, is_closed, load_mesh, srgb_from_linear
from invgraphics.geometry.texture import average_at_vertices, load_textured_obj, sample_image, save_textured_obj
from invgraphics.glb import encode_glb
from invgraphics.scene import Material, Plane, Scene, SceneObject


def textured_box() -> Mesh:
    """A closed box of 8 vertices; every face shows a piece of the image of its own, so that every edge is a seam."""
    box = trimesh.creation.box((0.06, 0.08, 0.1))
    generator = torch.Generator().manual_seed(0)
    uv = torch.rand(len(box.faces), 3, 2, generator=generator)
    image = torch.rand(6, 9, 3, generator=generator)
    return Mesh(torch.tensor(box.vertices, dtype=torch.float32), torch.tensor(box.faces), None, Texture(uv, image))


def as_scene(mesh: Mesh) -> Scene:
    white = Material(torch.ones(3), torch.tensor(0.0), torch.tensor(0.5))
    camera = Camera(torch.tensor([[500.0, 0.0, 31.5], [0.0, 500.0, 23.5], [0.0, 0.0, 1.0]]), 48, 64, torch.eye(4))
    return Scene((SceneObject("box", torch.eye(4), torch.tensor([0.03, 0.04, 0.05]), white, mesh),), (), Plane(white), camera)


def assert_same_surface(found: Mesh, expected: Mesh) -> None:
    """The same triangles with the same colours at their corners, whatever the order of the vertices."""
    torch.testing.assert_close(found.vertices[found.faces], expected.vertices[expected.faces], atol=1e-7, rtol=0)
    torch.testing.assert_close(found.texture.uv, expected.texture.uv, atol=1e-6, rtol=0)
    torch.testing.assert_close(srgb_from_linear(found.texture.image), srgb_from_linear(expected.texture.image), atol=0.51 / 255, rtol=0)


def test_look_up_at_texel_centres_and_between_them():
    image = torch.arange(24.0).reshape(2, 4, 3)
    centres = torch.tensor([[0.125, 0.25], [0.875, 0.25], [0.125, 0.75], [1.125, -0.75]])
    torch.testing.assert_close(sample_image(image, centres), torch.stack([image[0, 0], image[0, 3], image[1, 0], image[0, 0]]))
    torch.testing.assert_close(sample_image(image, torch.tensor([[0.25, 0.25], [0.0, 0.25]]))[:, 0], torch.tensor([1.5, 4.5]))


def test_vertex_averages_are_those_of_the_corners():
    mesh = textured_box()
    found = average_at_vertices(mesh.texture, mesh)
    corners = sample_image(mesh.texture.image, mesh.texture.uv.reshape(-1, 2)).reshape(-1, 3, 3)
    for vertex in range(len(mesh.vertices)):
        torch.testing.assert_close(found[vertex], corners[mesh.faces == vertex].mean(0))
    loose = replace(mesh, vertices=torch.cat([mesh.vertices, torch.zeros(1, 3)]))
    torch.testing.assert_close(average_at_vertices(mesh.texture, loose)[-1], torch.ones(3))


def test_rigid_moves_keep_the_texture():
    mesh = textured_box()
    assert mesh.transformed(torch.eye(4)).texture is mesh.texture


def test_glb_embeds_the_texture(tmp_path: Path):
    pytest.importorskip("PIL", reason="trimesh reads images through Pillow")
    mesh = textured_box()
    (tmp_path / "box.glb").write_bytes(encode_glb(as_scene(mesh), [mesh]))
    loaded = trimesh.load(tmp_path / "box.glb").geometry["box"]
    assert len(loaded.vertices) == 36
    assert loaded.visual.material.baseColorTexture.size == (9, 6)
    trimesh.Trimesh(loaded.vertices, loaded.faces, visual=loaded.visual, process=False).export(tmp_path / "alone.glb")
    back = load_mesh(tmp_path / "alone.glb")
    assert is_closed(back.faces)
    assert len(back.vertices) == 8
    assert_same_surface(back, mesh)


def test_obj_keeps_seams_without_splitting_vertices(tmp_path: Path):
    mesh = textured_box()
    coloured = replace(mesh, colours=torch.rand(8, 3, generator=torch.Generator().manual_seed(1)))
    save_textured_obj(coloured, mesh.texture, tmp_path / "box.obj")
    back = load_textured_obj(tmp_path / "box.obj")
    assert torch.equal(back.faces, mesh.faces)
    torch.testing.assert_close(back.vertices, mesh.vertices, atol=1e-8, rtol=0)
    torch.testing.assert_close(back.colours, coloured.colours, atol=1e-6, rtol=1e-5)
    assert_same_surface(back, mesh)


def test_others_read_the_obj_as_we_do(tmp_path: Path):
    pytest.importorskip("PIL", reason="trimesh reads images through Pillow")
    mesh = textured_box()
    save_textured_obj(mesh, mesh.texture, tmp_path / "box.obj")
    loaded = load_mesh(tmp_path / "box.obj", unit_m=0.5)
    assert is_closed(loaded.faces)
    assert_same_surface(loaded, replace(mesh, vertices=0.5 * mesh.vertices))


def test_damaged_textured_meshes_are_named(tmp_path: Path):
    mesh = textured_box()
    save_textured_obj(mesh, mesh.texture, tmp_path / "box.obj")
    (tmp_path / "box.obj").write_text("v 0 0 zero\nvt 0 0\nf 1/1 1/1 1/1\n")
    with pytest.raises(InputError, match=r"box\.obj is not a textured mesh"):
        load_textured_obj(tmp_path / "box.obj")
    (tmp_path / "box.png").unlink()
    with pytest.raises(InputError, match="no such textured mesh"):
        load_textured_obj(tmp_path / "box.obj")


def test_nothing_is_changed_where_there_is_no_texture(tmp_path: Path):
    mesh = replace(textured_box(), texture=None)
    mesh.to_trimesh().export(tmp_path / "box.obj")
    loaded = load_mesh(tmp_path / "box.obj")
    assert loaded.texture is None
    np.testing.assert_allclose(loaded.vertices, mesh.vertices, atol=1e-7)
