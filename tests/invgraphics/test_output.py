"""Output folders: what is written comes back, agrees between files, and is never mixed with older results."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from invgraphics.camera import Camera
from invgraphics.datasets import load_frame
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh, Texture, icosphere, srgb_from_linear, volume
from invgraphics.geometry.texture import average_at_vertices
from invgraphics.glb import encode_glb
from invgraphics.observation import Observation
from invgraphics.output import (
    CHECKPOINT_FOLDER,
    claim_output_folder,
    load_cages,
    load_samples,
    load_scene,
    save_reconstruction,
    write_json,
)
from invgraphics.reconstruction import Reconstruction, StageHistory
from invgraphics.scene import AmbientLight, DirectionalLight, Material, PhongMaterial, Plane, PointLight, Scene, SceneObject
from invgraphics.transforms import rigid, so3_exp, transform_points


def make_material(seed: int) -> Material:
    generator = torch.Generator().manual_seed(seed)
    return Material(0.2 + 0.7 * torch.rand(3, generator=generator), torch.tensor(0.25), torch.tensor(0.5))


def make_object(seed: int, with_mesh: bool) -> SceneObject:
    generator = torch.Generator().manual_seed(seed)
    pose = rigid(so3_exp(torch.randn(3, generator=generator)), torch.tensor([0.1 * seed, -0.05, 0.04]))
    radii = torch.tensor([0.03, 0.04, 0.05])
    sphere, faces = icosphere(2)
    mesh = Mesh(sphere * radii * 1.1, faces, torch.rand(len(sphere), 3, generator=generator)) if with_mesh else None
    return SceneObject(f"thing_{seed}", pose, radii, make_material(seed), mesh)


@pytest.fixture
def reconstruction() -> Reconstruction:
    K = torch.tensor([[500.0, 0.0, 31.0], [0.0, 510.0, 23.0], [0.0, 0.0, 1.0]])
    T_world_camera = rigid(so3_exp(torch.tensor([2.3, 0.2, -0.1])), torch.tensor([0.1, -0.4, 0.5]))
    camera = Camera(K, 48, 64, T_world_camera)
    lights = (
        PointLight(torch.tensor([0.5, 0.6, 0.7]), torch.tensor([1.0, 2.0, 3.0])),
        DirectionalLight(torch.tensor([0.0, 0.6, -0.8]), torch.tensor([0.5, 0.5, 0.4])),
        AmbientLight(torch.arange(27.0).reshape(9, 3)),
    )
    scene = Scene((make_object(1, True), make_object(2, False)), lights, Plane(make_material(3)), camera)
    blank = torch.zeros(48, 64)
    observation = Observation(torch.zeros(48, 64, 3), blank, blank > 0, torch.zeros(3, 48, 64, dtype=torch.bool), camera, "image_7")
    history = (StageHistory("stage one", {"total": [2.0, float("nan"), 1.0]}, "converged"),)
    return Reconstruction(scene, observation, (0, 2), {1: "too few depth readings"}, history, {"stage one": 1.5, "stage two": 2.0}, 12345)


def test_scene_comes_back(reconstruction: Reconstruction, tmp_path: Path) -> None:
    save_reconstruction(reconstruction, tmp_path / "out")
    scene, expected = load_scene(tmp_path / "out"), reconstruction.scene
    torch.testing.assert_close(scene.camera.K, expected.camera.K)
    torch.testing.assert_close(scene.camera.T_world_camera, expected.camera.T_world_camera)
    assert [shape.name for shape in scene.objects] == ["thing_1", "thing_2"]
    for shape, truth in zip(scene.objects, expected.objects, strict=True):
        torch.testing.assert_close(shape.T_world_object, truth.T_world_object)
        torch.testing.assert_close(shape.radii, truth.radii)
        torch.testing.assert_close(shape.material.base_colour, truth.material.base_colour)
    mesh, truth = scene.objects[0].mesh, expected.objects[0].mesh
    torch.testing.assert_close(mesh.vertices, truth.vertices, atol=1e-6, rtol=0)
    assert torch.equal(mesh.faces, truth.faces)
    torch.testing.assert_close(mesh.colours, truth.colours, atol=0.03, rtol=0)
    assert scene.objects[1].mesh is None
    for light, true_light in zip(scene.lights, expected.lights, strict=True):
        assert type(light) is type(true_light)
        for name in vars(true_light):
            torch.testing.assert_close(getattr(light, name), getattr(true_light, name))
    torch.testing.assert_close(scene.plane.material.roughness, expected.plane.material.roughness)


def make_phong() -> PhongMaterial:
    return PhongMaterial(torch.tensor([0.2, 0.4, 0.9]), *(torch.tensor(value) for value in (0.05, 0.25, 0.3, 30.0)))


def test_phong_materials_come_back(reconstruction: Reconstruction, tmp_path: Path) -> None:
    scene = reconstruction.scene
    objects = (replace(scene.objects[0], material=make_phong()), scene.objects[1])
    save_reconstruction(replace(reconstruction, scene=replace(scene, objects=objects, plane=Plane(make_phong()))), tmp_path)
    back = load_scene(tmp_path)
    assert isinstance(back.objects[1].material, Material)
    for found in (back.objects[0].material, back.plane.material):
        assert isinstance(found, PhongMaterial)
        for name, value in vars(make_phong()).items():
            torch.testing.assert_close(getattr(found, name), value)
    content = json.loads((tmp_path / "scene.json").read_text())
    del content["objects"][1]["material"]["model"]
    content["plane"]["material"]["model"] = "velvet"
    (tmp_path / "scene.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="'velvet' is unknown; the models are metallic-roughness, phong"):
        load_scene(tmp_path)
    content["plane"] = None
    (tmp_path / "scene.json").write_text(json.dumps(content))
    assert isinstance(load_scene(tmp_path).objects[1].material, Material)


def test_phong_becomes_a_dielectric_of_the_same_diffuse_colour_in_glb(reconstruction: Reconstruction) -> None:
    scene = reconstruction.scene
    bare = replace(scene, objects=(replace(scene.objects[0], material=make_phong()),))
    data = encode_glb(bare, [scene.objects[0].mesh])
    content = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    row = content["materials"][0]
    surface = row["pbrMetallicRoughness"]
    assert surface["metallicFactor"] == 0.0
    assert surface["baseColorFactor"][:3] == pytest.approx([np.pi * 0.25 * value for value in (0.2, 0.4, 0.9)])
    alpha_squared = surface["roughnessFactor"] ** 4
    density = [1 / (np.cos(angle) ** 2 * (alpha_squared - 1) + 1) ** 2 for angle in (0.0, 0.02)]
    assert 1 - density[1] / density[0] == pytest.approx(1 - np.cos(2 * 0.02) ** 30, rel=0.03)
    assert row["extras"]["phong"]["shininess"] == 30.0


def test_textures_come_back(reconstruction: Reconstruction, tmp_path: Path) -> None:
    scene = reconstruction.scene
    mesh = scene.objects[0].mesh
    generator = torch.Generator().manual_seed(5)
    texture = Texture(torch.rand(len(mesh.faces), 3, 2, generator=generator), 0.1 + 0.8 * torch.rand(16, 8, 3, generator=generator))
    textured = replace(scene.objects[0], mesh=replace(mesh, colours=None, texture=texture))
    save_reconstruction(replace(reconstruction, scene=replace(scene, objects=(textured, scene.objects[1]))), tmp_path)
    back = load_scene(tmp_path).objects[0].mesh
    assert back.colours is None
    assert torch.equal(back.faces, mesh.faces)
    torch.testing.assert_close(back.vertices, mesh.vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(back.texture.uv, texture.uv, atol=1e-6, rtol=0)
    torch.testing.assert_close(back.texture.image, texture.image, atol=0.03, rtol=0)
    plain = trimesh.load(tmp_path / "meshes/object_00.ply", process=False)
    assert plain.is_watertight
    expected = average_at_vertices(texture, mesh) * textured.material.base_colour
    np.testing.assert_allclose(plain.visual.vertex_colors[:, :3] / 255, srgb_from_linear(expected), atol=0.02)


def test_scene_without_plane_comes_back_without(reconstruction: Reconstruction, tmp_path: Path) -> None:
    save_reconstruction(replace(reconstruction, scene=replace(reconstruction.scene, plane=None)), tmp_path)
    assert load_scene(tmp_path).plane is None
    assert "support_plane" not in trimesh.load(tmp_path / "scene.glb").graph.nodes


def test_meshes_are_in_the_camera_frame_closed_coloured_and_numbered_by_mask(reconstruction: Reconstruction, tmp_path: Path) -> None:
    save_reconstruction(reconstruction, tmp_path)
    assert sorted(path.name for path in (tmp_path / "meshes").iterdir()) == ["object_00.ply", "object_02.ply"]
    camera, shape = reconstruction.scene.camera, reconstruction.scene.objects[0]
    expected = transform_points(camera.T_camera_world @ shape.T_world_object, shape.mesh.vertices)
    for index in (0, 2):
        mesh = trimesh.load(tmp_path / f"meshes/object_{index:02d}.ply", process=False)
        assert mesh.is_watertight
        assert mesh.volume > 0
        assert mesh.visual.kind == "vertex"
    first = trimesh.load(tmp_path / "meshes/object_00.ply", process=False)
    np.testing.assert_allclose(first.vertices, expected.numpy(), atol=1e-6)


def test_glb_shows_the_same_scene_in_the_world_frame(reconstruction: Reconstruction, tmp_path: Path) -> None:
    save_reconstruction(reconstruction, tmp_path)
    loaded = trimesh.load(tmp_path / "scene.glb")
    T_world_camera = reconstruction.scene.camera.T_world_camera.numpy().astype(np.float64)
    for index, name in ((0, "thing_1"), (2, "thing_2")):
        T_world_object, geometry = loaded.graph[name]
        in_glb = trimesh.transform_points(loaded.geometry[geometry].vertices, T_world_object)
        in_camera = trimesh.load(tmp_path / f"meshes/object_{index:02d}.ply", process=False).vertices
        np.testing.assert_allclose(in_glb, trimesh.transform_points(in_camera, T_world_camera), atol=1e-6)
    plane = loaded.geometry["support_plane"]
    assert np.abs(plane.vertices[:, 2]).max() == 0
    assert (plane.face_normals[:, 2] > 0).all()
    material = loaded.geometry["thing_1"].visual.material
    assert material.metallicFactor == pytest.approx(0.25)
    assert material.roughnessFactor == pytest.approx(0.5)


def test_scene_json_states_plane_and_poses_consistently(reconstruction: Reconstruction, tmp_path: Path) -> None:
    save_reconstruction(reconstruction, tmp_path)
    content = json.loads((tmp_path / "scene.json").read_text())
    T_world_camera = np.array(content["T_world_camera"])
    assert content["camera"]["T_world_camera"] == content["T_world_camera"]
    on_plane = np.linalg.inv(T_world_camera) @ [0.3, -0.2, 0.0, 1.0]
    assert np.dot(content["plane"]["normal_camera"], on_plane[:3]) == pytest.approx(content["plane"]["offset_camera_m"], abs=1e-6)
    for row in content["objects"]:
        np.testing.assert_allclose(T_world_camera @ row["T_camera_object"], row["T_world_object"], atol=1e-6)
    assert [row["mesh"] for row in content["objects"]] == ["meshes/object_00.ply", "meshes/object_02.ply"]


def test_metrics_say_why_a_mask_gave_no_object(reconstruction: Reconstruction, tmp_path: Path) -> None:
    save_reconstruction(reconstruction, tmp_path, scores={"cd_mm": float("inf"), "f10": 81.5})
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["left_out"] == {"1": "too few depth readings"}
    assert metrics["seconds_total"] == pytest.approx(3.5)
    assert metrics["peak_memory_bytes"] == 12345
    assert metrics["scores"] == {"cd_mm": None, "f10": 81.5}
    assert metrics["stages"][0]["loss"]["total"] == [2.0, None, 1.0]


def test_mesh_with_a_hole_or_inside_out_is_not_written(reconstruction: Reconstruction, tmp_path: Path) -> None:
    shape = reconstruction.scene.objects[0]
    assert float(volume(shape.mesh.vertices, shape.mesh.faces)) > 0
    for faces in (shape.mesh.faces[1:], shape.mesh.faces.flip(1)):
        broken = replace(shape, mesh=replace(shape.mesh, faces=faces))
        scene = replace(reconstruction.scene, objects=(broken, reconstruction.scene.objects[1]))
        with pytest.raises(ValueError, match="not a closed surface with outward faces"):
            save_reconstruction(replace(reconstruction, scene=scene), tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_results_are_not_mixed(reconstruction: Reconstruction, tmp_path: Path) -> None:
    save_reconstruction(reconstruction, tmp_path)
    with pytest.raises(InputError, match="holds a scene already"):
        save_reconstruction(reconstruction, tmp_path)


def test_claiming_refuses_a_folder_with_content(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not empty"):
        claim_output_folder(tmp_path, overwrite=False)
    with pytest.raises(InputError, match="did not write"):
        claim_output_folder(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_claiming_replaces_own_results_only_when_asked(reconstruction: Reconstruction, tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    claim_output_folder(out, overwrite=False)
    save_reconstruction(reconstruction, out)
    with pytest.raises(InputError, match="--overwrite"):
        claim_output_folder(out, overwrite=False)
    assert load_scene(out).objects
    claim_output_folder(out, overwrite=True)
    with pytest.raises(InputError, match="no finished reconstruction"):
        load_scene(out)
    save_reconstruction(replace(reconstruction, mask_indices=(4, 5)), out)
    assert sorted(path.name for path in (out / "meshes").iterdir()) == ["object_04.ply", "object_05.ply"]


def test_claiming_keeps_the_checkpoint_of_an_unfinished_run(reconstruction: Reconstruction, tmp_path: Path) -> None:
    kept = tmp_path / CHECKPOINT_FOLDER / "cages.pt"
    kept.parent.mkdir()
    kept.write_text("hours of work")
    claim_output_folder(tmp_path, overwrite=False)
    (tmp_path / "report.html").write_text("half of it")
    claim_output_folder(tmp_path, overwrite=False)
    assert not (tmp_path / "report.html").exists()
    save_reconstruction(reconstruction, tmp_path)
    with pytest.raises(InputError, match="not empty"):
        claim_output_folder(tmp_path, overwrite=False)
    claim_output_folder(tmp_path, overwrite=True)
    assert kept.read_text() == "hours of work"


def test_claiming_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file"):
        claim_output_folder(tmp_path / "out", overwrite=True)


def test_interrupted_writing_leaves_no_scene(reconstruction: Reconstruction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("invgraphics.output.encode_glb", stop)
    with pytest.raises(KeyboardInterrupt):
        save_reconstruction(reconstruction, tmp_path)
    with pytest.raises(InputError, match="no finished reconstruction"):
        load_scene(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:100], "damaged"),
        (lambda text: text.replace('"K": [', '"K": [[1.0],'), "damaged"),
        (lambda text: text.replace('"version": 1', '"version": 99'), "format version 99"),
    ],
)
def test_damaged_scene_is_named(reconstruction: Reconstruction, tmp_path: Path, damage, message: str) -> None:
    save_reconstruction(reconstruction, tmp_path)
    path = tmp_path / "scene.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(InputError, match=message):
        load_scene(tmp_path)


def test_damaged_mesh_is_named(reconstruction: Reconstruction, tmp_path: Path) -> None:
    save_reconstruction(reconstruction, tmp_path)
    row = next(row for row in json.loads((tmp_path / "scene.json").read_text())["objects"] if not row["mesh_is_ellipsoid"])
    path = tmp_path / row["mesh"]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=f"{path.name} is not a mesh that can be read"):
        load_scene(tmp_path)


def test_json_is_replaced_in_one_step(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1})
    write_json(tmp_path / "a.json", {"x": (float("nan"), 2.0)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [None, 2.0]}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_shape_samples_come_back(reconstruction: Reconstruction, tmp_path: Path) -> None:
    """In the object's frame, though the files are in the camera's; a scene without samples has none."""
    save_reconstruction(reconstruction, tmp_path / "bare")
    assert load_samples(tmp_path / "bare", load_scene(tmp_path / "bare")) == ((), ())
    shapes = [item.mesh or Mesh(icosphere(2)[0] * item.radii, icosphere(2)[1]) for item in reconstruction.scene.objects]
    samples = tuple((shape, Mesh(1.1 * shape.vertices, shape.faces)) for shape in shapes)
    spread = tuple(torch.linspace(0.0, 0.01, len(shape.vertices)) for shape in shapes)
    save_reconstruction(replace(reconstruction, samples=samples, spread=spread), tmp_path / "out")
    assert (tmp_path / "out" / "meshes" / "samples" / "object_02_01.ply").is_file()
    again, spread_again = load_samples(tmp_path / "out", load_scene(tmp_path / "out"))
    assert [len(meshes) for meshes in again] == [2, 2]
    for k in range(2):
        torch.testing.assert_close(again[k][1].vertices, samples[k][1].vertices, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(spread_again[k], spread[k])
    (tmp_path / "out" / "meshes" / "samples" / "object_02_00.ply").unlink()
    (tmp_path / "out" / "meshes" / "samples" / "object_02_01.ply").unlink()
    with pytest.raises(InputError, match="know nothing of object_02"):
        load_samples(tmp_path / "out", load_scene(tmp_path / "out"))


def test_the_image_lies_beside_what_was_made_of_it(reconstruction: Reconstruction, tmp_path: Path) -> None:
    """As a frame folder: colour, depth, masks by their numbers, the camera and where it stood; far readings included."""
    generator = torch.Generator().manual_seed(0)
    colour, depth = torch.rand(48, 64, 3, generator=generator), 0.3 + 9.0 * torch.rand(48, 64, generator=generator)
    masks = torch.zeros(3, 48, 64, dtype=torch.bool)
    for k in range(3):
        masks[k, 10 * k : 10 * k + 8, 20:40] = True
    valid = depth < 8.0
    observation = replace(reconstruction.observation, colour=colour, depth=depth * valid, valid=valid).with_masks(masks)
    save_reconstruction(replace(reconstruction, observation=observation), tmp_path)
    frame = load_frame(str(tmp_path / "frame"))
    back = frame.observation
    assert torch.equal(back.masks, masks)
    assert torch.equal(back.valid, valid)
    torch.testing.assert_close(back.depth, observation.depth, atol=8.0 / 65_535, rtol=0)
    torch.testing.assert_close(srgb_from_linear(back.colour), srgb_from_linear(colour), atol=0.5 / 255 + 1e-5, rtol=0)
    torch.testing.assert_close(back.camera.K, observation.camera.K)
    torch.testing.assert_close(frame.T_world_camera, observation.camera.T_world_camera)


def test_cages_come_back(reconstruction: Reconstruction, tmp_path: Path) -> None:
    """In the world frame, though the files are in the camera's."""
    save_reconstruction(reconstruction, tmp_path / "bare")
    assert load_cages(tmp_path / "bare", load_scene(tmp_path / "bare")) == ()
    cages = tuple(Mesh(0.1 * k + icosphere(1)[0], icosphere(1)[1]) for k in range(2))
    save_reconstruction(replace(reconstruction, cages=cages), tmp_path / "out")
    for found, expected in zip(load_cages(tmp_path / "out", load_scene(tmp_path / "out")), cages, strict=True):
        torch.testing.assert_close(found.vertices, expected.vertices, atol=1e-5, rtol=0)
        assert torch.equal(found.faces, expected.faces)
