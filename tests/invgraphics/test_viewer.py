"""The viewer without a browser: what goes where, and what follows from what."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from invgraphics.cli import main
from invgraphics.errors import InputError
from invgraphics.grasp import load_grasps
from invgraphics.output import CHECKPOINT_FOLDER
from invgraphics.transforms import transform_points
from tests.invgraphics.export_scene import build_scene, write_output
from tests.invgraphics.tabletop import Tabletop

pytest.importorskip("viser", reason="viser is not installed")

from invgraphics.commands.figures import articulate_hands, articulate_robot
from invgraphics.commands.live import Session, find_motion, load_content
from invgraphics.commands.view import place_image
from invgraphics.viewer.box_panel import name_next, screen_to_pixels
from invgraphics.viewer.layers import BY_OBJECT, BY_SPREAD, PHOTOGRAPH_DEPTH
from invgraphics.viewer.page import ViewerPage
from optim.checkpoint import Checkpoint
from robot.assembly import UR5_URDF


@pytest.fixture
def page():
    page = ViewerPage(port=8301)
    yield page
    page.close()


def wait(question, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_places_on_the_screen_are_pixels_of_the_photograph_from_wherever_it_is_looked_at():
    camera = build_scene().camera
    pixels = np.array([[-0.5, -0.5], [63.5, 47.5], [10.0, 30.0]])
    K, T_world_camera = camera.K.double().numpy(), camera.T_world_camera.double().numpy()
    on_plane = PHOTOGRAPH_DEPTH * np.concatenate([(pixels - K[:2, 2]) / K[[0, 1], [0, 1]], np.ones((3, 1))], axis=1)
    world = on_plane @ T_world_camera[:3, :3].T + T_world_camera[:3, 3]
    for turn, shift in (((0, 0, 0), (0, 0, 0)), ((0.1, -0.2, 0.3), (0.02, -0.01, -0.05))):
        R_world_eye = T_world_camera[:3, :3] @ Rotation.from_rotvec(turn).as_matrix()
        position = T_world_camera[:3, 3] + T_world_camera[:3, :3] @ shift
        field_of_view, aspect = 0.9, 1.7
        seen = (world - position) @ R_world_eye
        half = np.tan(field_of_view / 2) * np.array([aspect, 1.0])
        screen = (seen[:, :2] / seen[:, 2:] / half + 1) / 2
        wxyz = Rotation.from_matrix(R_world_eye).as_quat()[[3, 0, 1, 2]]
        np.testing.assert_allclose(screen_to_pixels(screen, position, wxyz, field_of_view, aspect, camera), pixels, atol=1e-4)


def test_results_are_numbered_on():
    assert [name_next(name) for name in ("mine", "mine_2", "a/b_9", "run_x")] == ["mine_2", "mine_3", "a/b_10", "run_x_2"]


def test_what_is_known_is_what_can_be_chosen(page: ViewerPage, tmp_path: Path):
    write_output(tmp_path / "bare")
    write_output(tmp_path / "sampled", with_samples=True)
    page.show(load_content(tmp_path / "sampled"))
    assert page._paint.options == ("as seen", BY_OBJECT, BY_SPREAD)
    assert page._sample.visible
    page._paint.value, page._sample.value = BY_SPREAD, 1
    wait(lambda: page._look.paint == BY_SPREAD and page._look.sample == 1)
    page.show(load_content(tmp_path / "bare"))
    assert BY_SPREAD not in page._paint.options
    assert not page._sample.visible
    assert (page._look.paint, page._look.sample) == ("as seen", 0)
    assert not page._ticks["cages"].visible


def test_ticks_stay_when_another_scene_is_shown(page: ViewerPage, tmp_path: Path):
    write_output(tmp_path)
    page.show(load_content(tmp_path))
    page.tick("objects", False)
    wait(lambda: not page._frames["objects"].visible)
    page.show(load_content(tmp_path))
    assert not page._frames["objects"].visible
    assert page._frames["plane"].visible


def test_browsers_start_with_all_objects_in_view(page: ViewerPage, tmp_path: Path):
    scene = write_output(tmp_path)
    page.show(load_content(tmp_path))
    camera = page.server.initial_camera
    forward = (camera.look_at - camera.position) / np.linalg.norm(camera.look_at - camera.position)
    assert camera.position[2] > 0.1
    for item in scene.objects:
        offset = transform_points(item.T_world_object, item.mesh.vertices).double().numpy() - camera.position
        cosines = offset @ forward / np.linalg.norm(offset, axis=1)
        assert np.arccos(cosines).max() < camera.fov / 2


def test_objects_are_moved_and_brought_back(page: ViewerPage, tmp_path: Path):
    scene = write_output(tmp_path)
    page.show(load_content(tmp_path))
    T = np.eye(4)
    T[:3, 3] = 0.3, 0.2, 0.1
    node = page.server.scene.get_handle_by_name("/scene/objects/01")
    page.move_object(1, T)
    np.testing.assert_allclose(node.position, [0.3, 0.2, 0.1])
    page.move_object(1, None)
    np.testing.assert_allclose(node.position, scene.objects[1].T_world_object[:3, 3], atol=1e-6)


def test_hands_and_robots_are_drawn_where_their_links_are(tmp_path: Path):
    write_output(tmp_path)
    grasps = load_grasps(tmp_path / "grasps.json")
    hand = articulate_hands(grasps)["parallel_jaw"]
    open_links, closed_links = hand.link_poses(grasps[0].preshape), hand.link_poses(grasps[0].preshape | grasps[0].closed)
    assert hand.links.keys() <= open_links.keys()
    width = {name: abs(open_links[name][1, 3] - closed_links[name][1, 3]) for name in hand.links}
    assert sorted(width.values())[-2:] == pytest.approx([0.04, 0.04], abs=1e-6)
    robot = articulate_robot(UR5_URDF)
    turned = robot.link_poses({"shoulder_pan_joint": np.pi})
    still = robot.link_poses({})
    np.testing.assert_allclose(turned["wrist_3_link"][:2, 3], -still["wrist_3_link"][:2, 3], atol=1e-9)


def test_the_motion_shown_is_the_last_one(tmp_path: Path):
    assert find_motion(tmp_path) is None
    for name in ("20261121_120000", "20261121_120500", "20261121_120900"):
        (tmp_path / "execution" / name).mkdir(parents=True)
    (tmp_path / "execution" / "20261121_120000" / "trajectory.json").write_text("{}")
    (tmp_path / "execution" / "20261121_120500" / "trajectory.json").write_text("{}")
    assert find_motion(tmp_path) == tmp_path / "execution" / "20261121_120500"


def test_the_points_are_shown_until_there_are_meshes(page: ViewerPage, tmp_path: Path):
    content = place_image(Tabletop().observe())
    page.show(content)
    wait(lambda: page._frames["cloud"].visible)
    scene = build_scene()
    objects = tuple(replace(item, mesh=None) for item in scene.objects)
    page.show(replace(content, scene=replace(scene, objects=objects)))
    assert page._frames["cloud"].visible
    page.show(replace(content, scene=scene))
    wait(lambda: not page._frames["cloud"].visible)


def test_a_run_is_followed_to_its_end(page: ViewerPage, tmp_path: Path):
    """Waiting, then the image, then the scene; then the next run's."""
    session = Session(page)
    out = tmp_path / "out"
    session.follow(out)
    wait(lambda: "waiting" in page._run_text.content)
    checkpoint = Checkpoint(out / CHECKPOINT_FOLDER, "key")
    observation = Tabletop().observe().with_camera_pose(build_scene().camera.T_world_camera)
    checkpoint.save("support plane", {"outcome": (observation, True)})
    checkpoint.note("ellipsoids", 0.05)
    wait(lambda: page.content is not None and page.content.observation is not None)
    wait(lambda: "ellipsoids" in page._run_text.content)
    assert page._run_bar.value == pytest.approx(5.0)
    assert page.content.scene.objects == ()
    write_output(out)
    wait(lambda: page.content is not None and len(page.content.scene.objects) == 2)
    wait(lambda: page._run_text.content == f"finished: **{out}**")
    assert not page._run_bar.visible
    session.close()


def test_only_one_run_at_a_time_and_not_into_others_results(page: ViewerPage, tmp_path: Path):
    session = Session(page)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not empty"):
        session.start("nowhere", [(0.0, 0.0, 9.0, 9.0)], tmp_path)
    session.start(str(tmp_path / "nowhere"), [(0.0, 0.0, 9.0, 9.0)], tmp_path / "out")
    with pytest.raises(InputError, match="is running"):
        session.start("nowhere", [(0.0, 0.0, 9.0, 9.0)], tmp_path / "other")
    wait(lambda: "did not work" in page._run_text.content)
    assert "no such" in page._run_text.content
    session.close()


def test_an_image_is_placed_on_its_table():
    content = place_image(Tabletop().observe())
    assert content.scene.plane is not None
    points = content.observation.camera.unproject(content.observation.depth)[content.observation.valid]
    height = transform_points(content.observation.camera.T_world_camera, points)[:, 2]
    assert abs(float(height.median())) < 2e-3
    assert torch.equal(content.scene.camera.T_world_camera, content.observation.camera.T_world_camera)


def test_what_cannot_be_shown_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["view", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
