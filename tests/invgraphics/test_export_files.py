"""Meshes, GLB and grasps for other programs: read back by trimesh, and by whoever knows nothing but the JSON."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from invgraphics.cli import main
from invgraphics.geometry.mesh import is_closed, load_mesh, srgb_from_linear
from invgraphics.geometry.spherical_harmonics import CONSTANT
from invgraphics.geometry.texture import sample_image
from invgraphics.scene import Scene
from invgraphics.transforms import transform_points
from tests.invgraphics.export_scene import NAMES, build_grasps, write_output

Y_UP_FROM_Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scene]:
    out = tmp_path_factory.mktemp("export") / "out"
    return out, write_output(out)


def export(out: Path, kind: str, folder: Path, *options: str) -> Path:
    assert main(["export", str(out), "--format", kind, "--to", str(folder), *options]) == 0
    return folder


def in_order(points: torch.Tensor) -> np.ndarray:
    """Points each once, sorted: files may split and order them otherwise."""
    return np.array(sorted({tuple(point) for point in np.round(points.double().numpy(), 4).tolist()}))


def test_glb_stands_upright_and_holds_the_world_below_its_root(written, tmp_path):
    out, scene = written
    loaded = trimesh.load(export(out, "glb", tmp_path / "glb") / "scene.glb")
    for item in scene.objects:
        T_gltf_object, geometry = loaded.graph[item.name]
        T_world_object = loaded.graph.get(item.name, "world_frame")[0]
        np.testing.assert_allclose(T_gltf_object, Y_UP_FROM_Z_UP @ item.T_world_object.numpy(), atol=1e-6)
        np.testing.assert_allclose(T_world_object, item.T_world_object.numpy(), atol=1e-6)
        vertices = torch.tensor(np.array(loaded.geometry[geometry].vertices))
        np.testing.assert_allclose(in_order(vertices), in_order(item.mesh.vertices), atol=1e-6)
    low, high = loaded.bounds
    assert high[1] - low[1] < 0.2 < high[2] - low[2]
    assert loaded.geometry["a box/1"].visual.material.baseColorTexture.size == (16, 8)


def test_the_contract_of_scene_glb_is_kept(written):
    """Other programs take `OUT/scene.glb` in the world frame."""
    out, scene = written
    loaded = trimesh.load(out / "scene.glb")
    np.testing.assert_allclose(loaded.graph["cup"][0], scene.objects[1].T_world_object.numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", ["ply", "obj"])
@pytest.mark.parametrize("frame", ["world", "camera", "object"])
def test_meshes_are_in_the_frame_asked_for(written, tmp_path, kind, frame):
    out, scene = written
    folder = export(out, kind, tmp_path / kind, "--frame", frame)
    T_frame_world = {"world": torch.eye(4), "camera": scene.camera.T_camera_world}
    for name, item in zip(NAMES, scene.objects, strict=True):
        back = load_mesh(folder / f"{name}.{kind}")
        T = torch.eye(4) if frame == "object" else T_frame_world[frame] @ item.T_world_object
        assert is_closed(back.faces)
        np.testing.assert_allclose(in_order(back.vertices), in_order(transform_points(T, item.mesh.vertices)), atol=2e-5)


def test_obj_shows_the_texture_where_it_was(written, tmp_path):
    out, scene = written
    box = load_mesh(export(out, "obj", tmp_path / "obj", "--frame", "object") / "object_00.obj")
    for mesh in (box, scene.objects[0].mesh):
        colour = sample_image(mesh.texture.image, mesh.texture.uv.mean(1))
        right = mesh.vertices[mesh.faces].mean(1)[:, 0] > 0
        torch.testing.assert_close(colour[right], torch.tensor([0.0, 0.6, 0.0]).expand_as(colour[right]), atol=0.01, rtol=0)
        torch.testing.assert_close(colour[~right], torch.tensor([0.8, 0.0, 0.0]).expand_as(colour[~right]), atol=0.01, rtol=0)


@pytest.mark.parametrize("kind", ["ply", "obj"])
def test_vertex_colours_are_what_is_seen(written, tmp_path, kind):
    """Base colour times vertex colours, as sRGB."""
    out, _ = written
    cup = trimesh.load(export(out, kind, tmp_path / kind, "--frame", "object") / f"object_02.{kind}", process=False)
    height = torch.as_tensor(np.array(cup.vertices)[:, 2] / 0.06)
    linear = torch.stack([torch.full_like(height, 0.9), torch.full_like(height, 0.9), height], dim=1) * torch.tensor([0.2, 0.5, 0.8])
    np.testing.assert_allclose(np.asarray(cup.visual.vertex_colors)[:, :3] / 255, srgb_from_linear(linear).numpy(), atol=0.01)


def test_grasps_say_their_frames(written, tmp_path):
    out, scene = written
    content = json.loads((export(out, "json", tmp_path / "json") / "grasps.json").read_text())
    assert "approach" in content["frames"]["hand"]["parallel_jaw"]

    def pose(row: dict) -> np.ndarray:
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = Rotation.from_quat(row["quaternion_xyzw"]).as_matrix(), row["position"]
        np.testing.assert_allclose(T, row["matrix"], atol=1e-9)
        return T

    T_world_camera = pose(content["T_world_camera"])
    np.testing.assert_allclose(T_world_camera, scene.camera.T_world_camera.numpy(), atol=1e-6)
    for row, grasp in zip(content["grasps"], build_grasps(), strict=True):
        item = content["objects"][row["object_index"]]
        np.testing.assert_allclose(pose(row["T_world_hand"]), grasp.T_world_hand, atol=1e-9)
        np.testing.assert_allclose(T_world_camera @ pose(row["T_camera_hand"]), grasp.T_world_hand, atol=1e-6)
        np.testing.assert_allclose(pose(item["T_world_object"]) @ pose(row["T_object_hand"]), grasp.T_world_hand, atol=1e-6)
        np.testing.assert_allclose(T_world_camera @ pose(item["T_camera_object"]), pose(item["T_world_object"]), atol=1e-6)
    assert [row["success_rate"] for row in content["grasps"]] == [0.75, 0.0]


def test_what_cannot_be_exported_is_said_in_one_line(written, tmp_path, capsys, monkeypatch):
    out, _ = written

    def complain(*options: str) -> tuple[int, str]:
        code = main(["export", *options])
        return code, capsys.readouterr().err.strip()

    assert complain(str(tmp_path), "--format", "glb") == (
        2,
        f"invgraphics export: {tmp_path} holds no finished reconstruction: it has no scene.json; make one with `invgraphics reconstruct`",
    )
    (tmp_path / "thesis.tex").write_text("years of work")
    code, message = complain(str(out), "--format", "glb", "--to", str(tmp_path), "--overwrite")
    assert (code, "did not write" in message) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    code, message = complain(str(out), "--format", "mjcf", "--to", str(tmp_path / "new"), "--density", "-1")
    assert (code, message) == (2, "invgraphics export: --density is -1.0; it must be positive")
    monkeypatch.setitem(sys.modules, "pxr", None)
    code, message = complain(str(out), "--format", "usd", "--to", str(tmp_path / "new"))
    assert (code, message) == (1, "invgraphics export: USD needs usd-core: pip install 'invgraphics[usd]'")
    assert not (tmp_path / "new").exists()


def test_grasps_that_were_not_searched_are_missed(tmp_path, capsys):
    write_output(tmp_path / "out")
    (tmp_path / "out" / "grasps.json").unlink()
    assert main(["export", str(tmp_path / "out"), "--format", "json"]) == 2
    assert "search grasps with `invgraphics grasp" in capsys.readouterr().err


def test_an_export_is_replaced_only_when_asked(written, tmp_path, capsys):
    out, _ = written
    folder = export(out, "ply", tmp_path / "ply")
    assert main(["export", str(out), "--format", "ply", "--to", str(folder)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    (folder / "object_99.ply").write_text("old")
    export(out, "ply", folder, "--overwrite")
    assert sorted(path.name for path in folder.glob("*.ply")) == ["object_00.ply", "object_02.ply"]


def test_the_sky_is_drawn_where_its_light_comes_from():
    """OpenEXR's latitude and longitude, the pole turned up: world +z on top, +x a quarter from the left, +y at the seam."""
    from invgraphics.exports.usd import draw_sky

    for band, (row, column) in {2: (0, 0), 3: (16, 16), 1: (16, 0)}.items():
        coefficients = torch.zeros(9, 3)
        coefficients[0], coefficients[band, 1] = 1.0, 0.5
        sky = draw_sky(coefficients, 32)
        brightest = sky[..., 1] == sky[..., 1].max()
        assert sky[row, column, 1] == pytest.approx(float(sky[..., 1].max()), rel=1e-3), band
        assert brightest.any()
        torch.testing.assert_close(sky[..., 0], torch.full_like(sky[..., 0], CONSTANT))
