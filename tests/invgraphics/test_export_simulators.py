"""Worlds for simulators: loaded by the simulators, masses compared with trimesh's, and left alone, in which nothing moves."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from grasp_sim.silence import silenced
from invgraphics.cli import main
from invgraphics.scene import Scene
from invgraphics.transforms import transform_points
from tests.invgraphics.export_scene import DENSITY, NAMES, write_output

with silenced():
    import pybullet

SECONDS = 1.0
STAYS = 1e-3
"""Metres by which an object may move when the world is let go."""
POINTS = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.05, 0.02], [-0.05, 0.1, 0.1]])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scene]:
    out = tmp_path_factory.mktemp("export") / "out"
    return out, write_output(out)


def export(out: Path, kind: str, *options: str) -> Path:
    folder = out.parent / f"{kind}{''.join(options)}"
    assert main(["export", str(out), "--format", kind, "--to", str(folder), "--density", str(DENSITY), *options]) == 0
    return folder


def true_bodies(scene: Scene) -> list[trimesh.Trimesh]:
    """Solids in the body frame; trimesh integrates their mass properties."""
    solids = [trimesh.Trimesh(item.mesh.vertices.double().numpy(), item.mesh.faces.numpy()) for item in scene.objects]
    for solid in solids:
        solid.density = DENSITY
    return solids


def check_masses(mass: float, centre: np.ndarray, inertia: np.ndarray, body: trimesh.Trimesh) -> None:
    """kg, m, kg m^2 (3, 3) about the centre of mass, body axes."""
    assert mass == pytest.approx(body.mass, rel=1e-4)
    np.testing.assert_allclose(centre, body.center_mass, atol=1e-5)
    np.testing.assert_allclose(inertia, body.moment_inertia, atol=2e-3 * np.abs(body.moment_inertia).max())


@pytest.fixture
def client():
    client = pybullet.connect(pybullet.DIRECT)
    pybullet.setGravity(0, 0, -9.81, physicsClientId=client)
    yield client
    pybullet.disconnect(physicsClientId=client)


def settle(client: int, bodies: list[int]) -> list[float]:
    """How far each body's centre of mass moves, metres."""
    before = [pybullet.getBasePositionAndOrientation(body, physicsClientId=client)[0] for body in bodies]
    for _ in range(round(240 * SECONDS)):
        pybullet.stepSimulation(physicsClientId=client)
    after = [pybullet.getBasePositionAndOrientation(body, physicsClientId=client)[0] for body in bodies]
    return [float(np.linalg.norm(np.subtract(a, b))) for a, b in zip(after, before, strict=True)]


def matrix(quaternion_xyzw: tuple[float, ...]) -> np.ndarray:
    return np.array(pybullet.getMatrixFromQuaternion(quaternion_xyzw)).reshape(3, 3)


def test_urdf_stands_in_pybullet(written, client):
    out, scene = written
    folder = export(out, "urdf", "--margin", "0.001")
    placement = json.loads((folder / "placement.json").read_text())
    with silenced():
        for name in placement["fixed"]:
            pybullet.loadURDF(str(folder / name), useFixedBase=True, physicsClientId=client)
        flags = pybullet.URDF_USE_INERTIA_FROM_FILE
        bodies = [pybullet.loadURDF(str(folder / row["urdf"]), flags=flags, physicsClientId=client) for row in placement["bodies"]]
    for body, row, item, solid in zip(bodies, placement["bodies"], scene.objects, true_bodies(scene), strict=True):
        np.testing.assert_allclose(row["T_world_body"], item.T_world_object, atol=1e-6)
        mass, friction, moments, position, quaternion, *_ = pybullet.getDynamicsInfo(body, -1, physicsClientId=client)
        R = matrix(quaternion)
        check_masses(mass, np.array(position), R @ np.diag(moments) @ R.T, solid)
        assert friction == pytest.approx(0.6)
        T = pybullet.multiplyTransforms(row["position"], row["quaternion_xyzw"], position, quaternion)
        pybullet.resetBasePositionAndOrientation(body, *T, physicsClientId=client)
        assert len(pybullet.getVisualShapeData(body, physicsClientId=client)) == 1
    assert max(settle(client, bodies)) < STAYS


def test_urdf_of_the_scene_has_everything_in_its_place(written, client):
    out, scene = written
    folder = export(out, "urdf")
    with silenced():
        tree = pybullet.loadURDF(str(folder / "scene.urdf"), useFixedBase=True, physicsClientId=client)
    links = [pybullet.getJointInfo(tree, k, physicsClientId=client)[12].decode() for k in range(3)]
    assert links == [*NAMES, "support_plane"]
    for k, item in enumerate(scene.objects):
        *_, position, quaternion = pybullet.getLinkState(tree, k, physicsClientId=client)[:6]
        np.testing.assert_allclose(position, item.T_world_object[:3, 3], atol=1e-6)
        np.testing.assert_allclose(matrix(quaternion), item.T_world_object[:3, :3], atol=1e-5)
    above, below = [0.12, 0.0, 0.5], [0.12, 0.0, -0.5]
    hit = pybullet.rayTest(above, below, physicsClientId=client)[0]
    assert hit[1] == links.index("object_00")
    assert hit[3][2] == pytest.approx(0.08, abs=2e-3)
    hit = pybullet.rayTest([0.5, 0.0, 0.5], [0.5, 0.0, -0.5], physicsClientId=client)[0]
    assert hit[1] == links.index("support_plane")
    assert hit[3][2] == pytest.approx(0.0, abs=2e-3)


def test_sdf_stands_in_pybullet(written, client):
    out, scene = written
    folder = export(out, "sdf", "--margin", "0.001")
    with silenced():
        loaded = pybullet.loadSDF(str(folder / "scene.sdf"), physicsClientId=client)
    by_name = {pybullet.getBodyInfo(body, physicsClientId=client)[1].decode(): body for body in loaded}
    assert set(by_name) == {*NAMES, "support_plane"}
    bodies = [by_name[name] for name in NAMES]
    for body, item, solid in zip(bodies, scene.objects, true_bodies(scene), strict=True):
        assert pybullet.getDynamicsInfo(body, -1, physicsClientId=client)[0] == pytest.approx(solid.mass, rel=1e-4)
        centre = transform_points(item.T_world_object, torch.tensor(solid.center_mass[None], dtype=torch.float32))[0]
        np.testing.assert_allclose(pybullet.getBasePositionAndOrientation(body, physicsClientId=client)[0], centre, atol=1e-5)
    assert max(settle(client, bodies)) < STAYS


def test_mjcf_stands_in_mujoco(written):
    mujoco = pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    out, scene = written
    model = mujoco.MjModel.from_xml_path(str(export(out, "mjcf") / "scene.xml"))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    for name, item, solid in zip(NAMES, scene.objects, true_bodies(scene), strict=True):
        body = model.body(name)
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, body.iquat)
        R = rotation.reshape(3, 3)
        check_masses(body.mass[0], body.ipos, R @ np.diag(body.inertia) @ R.T, solid)
        np.testing.assert_allclose(data.body(name).xpos, item.T_world_object[:3, 3], atol=1e-6)
        np.testing.assert_allclose(data.body(name).xmat.reshape(3, 3), item.T_world_object[:3, :3], atol=1e-5)
    start = data.xpos.copy()
    for _ in range(round(SECONDS / model.opt.timestep)):
        mujoco.mj_step(model, data)
    assert np.linalg.norm(data.xpos - start, axis=1).max() < STAYS
    pairs = {tuple(sorted(model.body(model.geom_bodyid[geom]).name for geom in contact.geom)) for contact in data.contact}
    assert pairs == {(name, "world") for name in NAMES}
    assert {float(contact.friction[0]) for contact in data.contact} == {0.6}


def test_mjcf_has_the_camera_of_the_photograph(written):
    """Through the frustum with which MuJoCo draws."""
    mujoco = pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    out, scene = written
    folder = out.parent / "mjcf"
    model = mujoco.MjModel.from_xml_path(str((folder if folder.exists() else export(out, "mjcf")) / "scene.xml"))
    data, drawn, view = mujoco.MjData(model), mujoco.MjvScene(model, 100), mujoco.MjvCamera()
    mujoco.mj_forward(model, data)
    view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, 0
    mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, view, mujoco.mjtCatBit.mjCAT_ALL, drawn)
    eye = drawn.camera[0]
    forward, up = np.array(eye.forward), np.array(eye.up)
    offset = POINTS.numpy() - np.mean([np.array(each.pos) for each in drawn.camera[:2]], axis=0)
    depth = offset @ forward
    right = (offset @ np.cross(forward, up)) / depth * eye.frustum_near
    high = (offset @ up) / depth * eye.frustum_near
    u = (right - eye.frustum_center + eye.frustum_width) / (2 * eye.frustum_width) * scene.camera.width - 0.5
    v = (eye.frustum_top - high) / (eye.frustum_top - eye.frustum_bottom) * scene.camera.height - 0.5
    expected, _ = scene.camera.project(POINTS)
    np.testing.assert_allclose(np.stack([u, v], axis=1), expected, atol=0.05)


def test_a_scene_without_plane_is_exported_with_a_warning(tmp_path, capsys):
    write_output(tmp_path / "out", with_plane=False)
    folder = export(tmp_path / "out", "sdf")
    assert "nothing holds the objects" in capsys.readouterr().out
    assert "support_plane" not in (folder / "scene.sdf").read_text()
    folder = export(tmp_path / "out", "urdf")
    assert json.loads((folder / "placement.json").read_text())["fixed"] == []
