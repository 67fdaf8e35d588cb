"""The demo: its toys, its camera, its robot cell, and the whole path on a small table."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from grasp_sim.search import SearchSettings
from grasp_sim.solids import PlacedSolid, build_solid
from grasp_sim.world import World
from invgraphics.datasets import load_frame
from invgraphics.demo.cell import base_in_scene, build_cell, select_grasp
from invgraphics.demo.run import run_demo
from invgraphics.demo.sensor import StereoNoise, add_colour_noise, add_depth_noise
from invgraphics.demo.table import place_camera, settle_toys, take_photograph, true_meshes, write_frame
from invgraphics.demo.toys import TOYS, Toy
from invgraphics.geometry.mesh import Mesh, load_mesh
from invgraphics.grasp import Grasp, load_grasps
from invgraphics.output import load_scene
from invgraphics.recorded_motion import load_motion
from robot.execute import Outcome
from robot.motion import Reason

BLOCK = next(toy for toy in TOYS if toy.name == "block")
MUG = next(toy for toy in TOYS if toy.name == "mug")


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)
def test_a_toy_weighs_what_it_says_and_collides_as_it_looks(toy: Toy, tmp_path: Path) -> None:
    surface = toy.load_surface()
    assert 0.03 < min(surface.extents) < 0.1
    assert max(surface.extents) < 0.13
    path = tmp_path / "toy.urdf"
    path.write_text(toy.urdf())
    with World() as world:
        body = world.add_urdf(path, np.eye(4))
        assert world.mass(body) == pytest.approx(toy.mass)
        np.testing.assert_allclose(world.centre_of_mass(body), surface.center_mass, atol=1e-6)
        for axis in range(3):
            for end, sign in ((surface.bounds[0], -1), (surface.bounds[1], 1)):
                wall = np.eye(4)
                wall[:3, 3] = surface.bounds.mean(axis=0)
                wall[axis, 3] = end[axis] + sign * 0.106
                probe = world.add_box([0.1, 0.1, 0.1], wall)
                gap = min(point.distance for point in world.near(body, probe, 0.05))
                assert gap == pytest.approx(0.006, abs=0.003), f"{toy.name} along axis {axis}"
                world.remove(probe)


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("table")
    with World() as world:
        bodies = settle_toys(world, TOYS, folder, np.random.default_rng(3))
        camera = place_camera((0.1, -0.15, 0.5), (0.5, 0.0, 0.02))
        photograph = take_photograph(world, bodies, camera, np.random.default_rng(0))
        yield world, bodies, photograph


def test_toys_come_to_rest_on_the_table_apart_from_each_other(settled) -> None:
    world, bodies, _ = settled
    for body, mesh in zip(bodies, true_meshes(world, TOYS, bodies), strict=True):
        linear, angular = world.velocity(body)
        assert np.linalg.norm(linear) < 0.02
        assert np.linalg.norm(angular) < 0.2
        assert abs(float(mesh.vertices[:, 2].min())) < 0.005
    for k, body in enumerate(bodies):
        assert all(not world.near(body, other, 0.0) for other in bodies[:k])


def test_the_photograph_sees_every_toy_where_the_true_mesh_projects(settled) -> None:
    world, bodies, photograph = settled
    for mesh, mask, box in zip(true_meshes(world, TOYS, bodies), photograph.true_masks, photograph.boxes, strict=True):
        assert mask.sum() > 800
        pixels, depth = photograph.camera.project(mesh.vertices.double())
        assert (depth > 0).all()
        low, high = pixels.min(0).values.numpy(), pixels.max(0).values.numpy()
        rows, columns = np.nonzero(mask)
        # visible pixels lie within the projection; they fill it where nothing stands in front, which holds for most of each toy
        assert (low - 1 <= [columns.min(), rows.min()]).all()
        assert (high + 1 >= [columns.max(), rows.max()]).all()
        assert (np.array([np.ptp(columns), np.ptp(rows)]) > 0.6 * (high - low)).all()
        x0, y0, x1, y1 = box
        assert x0 <= columns.min()
        assert columns.max() < x1
        assert y0 <= rows.min()
        assert rows.max() < y1


def test_the_frame_folder_is_what_the_program_reads(settled, tmp_path: Path) -> None:
    _, _, photograph = settled
    write_frame(photograph, tmp_path / "frame")
    frame = load_frame(str(tmp_path / "frame"))
    assert len(frame.observation.masks) == 0
    np.testing.assert_array_equal(frame.boxes.numpy(), photograph.boxes)
    np.testing.assert_allclose(frame.observation.depth.numpy(), photograph.depth * photograph.depth_unit, atol=1e-6)
    np.testing.assert_allclose(frame.observation.camera.K.numpy(), photograph.camera.K.numpy())
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "frame" / "rgb.png"))[..., ::-1], photograph.colour)


def test_depth_noise_grows_with_the_square_of_depth_and_drops_readings_at_edges() -> None:
    noise = StereoNoise(unit=1e-5, dropout=0.01)
    generator = np.random.default_rng(0)
    for depth in (0.4, 0.8):
        counts = add_depth_noise(np.full((200, 200), depth), noise, generator)
        error = counts[counts > 0] * noise.unit - depth
        expected = depth**2 / (noise.focal_length * noise.baseline) * noise.disparity_sigma
        assert error.std() == pytest.approx(expected, rel=0.05)
        assert (counts == 0).mean() == pytest.approx(0.01, abs=0.004)
    step = np.full((200, 200), 0.5)
    step[:, 100:] = 0.7
    counts = add_depth_noise(step, noise, generator)
    assert (counts[:, 99:101] == 0).mean() == pytest.approx(0.5, abs=0.1)
    assert (counts[:, 110:] == 0).mean() < 0.03
    assert (add_depth_noise(np.zeros((5, 5)), noise, generator) == 0).all()


def test_depth_is_stored_in_whole_units_and_colour_noise_is_small() -> None:
    noise = StereoNoise(disparity_sigma=1e-9, dropout=0.0)
    counts = add_depth_noise(np.full((4, 4), 0.6123), noise, np.random.default_rng(0))
    assert (counts == 612).all()
    colour = np.full((100, 100, 3), 128, np.uint8)
    noisy = add_colour_noise(colour, noise, np.random.default_rng(0))
    assert noisy.astype(float).std() == pytest.approx(noise.colour_sigma, rel=0.1)


def test_the_base_is_found_through_the_camera() -> None:
    camera = place_camera((0.3, -0.2, 0.6), (0.5, 0.0, 0.0))
    from invgraphics.scene import Scene

    elsewhere = torch.eye(4, dtype=torch.float64)
    elsewhere[:3, 3] = torch.tensor([1.0, 2.0, 0.0])
    scene = Scene((), (), None, place_camera((1.0, 2.0, 0.6), (1.5, 2.0, 0.0)))
    T_world_base = base_in_scene(scene, camera.T_world_camera)
    np.testing.assert_allclose(T_world_base @ camera.T_world_camera.numpy(), scene.camera.T_world_camera.numpy(), atol=1e-12)


def test_a_grasp_out_of_reach_is_skipped_with_the_reason_and_the_next_one_taken(tmp_path: Path) -> None:
    cell = build_cell(tmp_path)
    template = cell.hand.template("tridigital")
    _, centre, _ = cell.hand.closure(template).at_width(0.06)
    surface = BLOCK.load_surface()
    solid = build_solid(Mesh(torch.tensor(surface.vertices), torch.tensor(surface.faces)))
    placed, grasps = [], []
    for index, x in enumerate((1.4, 0.5)):
        T_world_body = np.eye(4)
        T_world_body[:3, :3] = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        T_world_body[:3, 3] = [x, 0.1, 0.0225 - surface.bounds.mean(axis=0)[2]]
        placed.append(PlacedSolid(solid, T_world_body, f"block_{index}"))
        T_world_hand = np.eye(4)
        T_world_hand[:3, :3] = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
        T_world_hand[:3, 3] = np.array([x, 0.1, 0.03]) - T_world_hand[:3, :3] @ centre
        grasps.append(Grasp(cell.hand.name, index, T_world_hand, template.motors_at(0.15), template.closed, 0.06, 1.0, 1))
    selection = select_grasp(placed, grasps, cell, np.eye(4), np.random.default_rng(0), lambda fraction: None)
    assert selection.grasp is grasps[1]
    assert [unreachable.reason for _, unreachable in selection.skipped] == [Reason.OUT_OF_REACH]
    none = select_grasp(placed, grasps[:1], cell, np.eye(4), np.random.default_rng(0), lambda fraction: None)
    assert none.grasp is None
    assert "does not reach" in none.skipped[0][1].message


def test_the_whole_path_on_a_small_table(tmp_path: Path) -> None:
    told: list[str] = []
    settings = SearchSettings(batch=5, batches=2, finalists=1, final_trials=2)
    result = run_demo(tmp_path, 1, lambda stage, fraction: told.append(stage), toys=(BLOCK, MUG), search_settings=settings)
    assert [item.name for item in result.objects] == ["block", "mug"]
    assert all(item.scores is not None and item.scores.cd_l1_mm < 8 for item in result.objects)
    assert set(told) >= {"settle and photograph", "masks from boxes", "reconstruct", "grasp search", "execute", "report"}

    scene = load_scene(tmp_path / "reconstruction")
    assert len(scene.objects) == 2
    for index in range(2):
        mesh = load_mesh(tmp_path / "reconstruction" / "meshes" / f"object_{index:02d}.ply")
        truth = load_mesh(tmp_path / "truth" / f"object_{index:02d}.ply")
        np.testing.assert_allclose(mesh.vertices.mean(0), truth.vertices.mean(0), atol=0.03)
    assert load_grasps(tmp_path / "reconstruction" / "grasps.json")[0].success_rate == result.search.grasps[0].success_rate

    content = json.loads((tmp_path / "demo.json").read_text())
    assert content["outcome"] == result.execution.outcome.name.lower()
    assert result.execution.outcome in (Outcome.HELD, Outcome.SLIPPED, Outcome.NEVER_LIFTED, Outcome.PUSHED_AWAY)
    assert content["target"] in ("block", "mug")
    motion = load_motion(tmp_path / "reconstruction")
    assert motion.outcome == result.execution.message
    assert motion.phases[0] == (0.0, "start")
    assert motion.phases[-1][0] == motion.duration
    target = content["target"] == "mug"
    if result.execution.outcome is Outcome.HELD:
        path = motion.T_world_objects[int(target)]
        np.testing.assert_allclose(path[0], scene.objects[int(target)].T_world_object, atol=1e-5)
        assert path[-1, 2, 3] - path[0, 2, 3] == pytest.approx(result.execution.rise, abs=0.02)

    report = (tmp_path / "report.html").read_text()
    assert result.execution.message in report
    assert "http://" not in report
    assert 'src="http' not in report
