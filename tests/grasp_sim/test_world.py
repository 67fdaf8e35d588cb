"""The physics world: masses, rest heights, friction, joints, contacts and pictures against what mechanics and optics say."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from grasp_sim.drives import Coupling
from grasp_sim.records import GRAVITY
from grasp_sim.solids import build_solid
from grasp_sim.world import World
from invgraphics.geometry.mesh import Mesh
from tests.grasp_sim.shapes import look_at, make_bowl, make_box, place, translation


def shifted(mesh: Mesh, offset: list[float]) -> Mesh:
    return Mesh(mesh.vertices + torch.tensor(offset), mesh.faces)


def test_box_away_from_its_frames_origin_has_the_right_mass_and_stays_where_it_is_put() -> None:
    solid = build_solid(shifted(make_box(0.06, 0.08, 0.1), [0.02, 0.03, 0.01]))
    T_world_body = translation(0.1, -0.2, 0.3)
    T_world_body[:3, :3] = Rotation.from_rotvec([0.3, -0.4, 0.5]).as_matrix()
    with World(gravity=0.0) as world:
        body = world.add_mesh(solid, T_world_body, density=500.0)
        assert world.mass(body) == pytest.approx(500 * 0.06 * 0.08 * 0.1, rel=1e-5)
        world.step(100)
        np.testing.assert_allclose(world.pose(body), T_world_body, atol=1e-6)
        np.testing.assert_allclose(world.centre_of_mass(body), (T_world_body @ [0.02, 0.03, 0.01, 1])[:3], atol=1e-6)
    sides = np.array([0.06, 0.08, 0.1])
    expected = 0.06 * 0.08 * 0.1 * (np.sum(sides**2) - sides**2) / 12
    np.testing.assert_allclose(np.sort(solid.unit_inertia), np.sort(expected), rtol=1e-4)


def test_free_fall_takes_the_time_that_it_takes() -> None:
    with World() as world:
        body = world.add_box((0.02, 0.02, 0.02), translation(0, 0, 1.0), mass=0.1)
        world.step(192)
        fallen = 1.0 - world.pose(body)[2, 3]
    assert world.time == pytest.approx(0.4)
    assert fallen == pytest.approx(0.5 * GRAVITY * 0.4**2, rel=0.02)


@pytest.mark.parametrize("mesh", [make_box(0.05, 0.06, 0.04), make_bowl()], ids=["box", "bowl"])
def test_bodies_rest_on_their_surface_not_on_a_margin(mesh: Mesh) -> None:
    item = place(mesh)
    with World() as world:
        world.add_plane()
        body = world.add_mesh(item.solid, item.T_world_body)
        assert world.settle([body])
        pose = world.pose(body)
    lowest = (item.solid.vertices @ pose[:3, :3].T + pose[:3, 3])[:, 2].min()
    assert abs(lowest) < 3e-4


@pytest.mark.parametrize(("friction", "slides"), [(0.3, True), (0.6, False)])
def test_a_box_slides_down_a_ramp_only_where_the_slope_exceeds_friction(friction: float, slides: bool) -> None:
    tilt = Rotation.from_euler("x", 25, degrees=True).as_matrix()
    ramp, block = translation(0, 0, 0), translation(0, 0, 0)
    ramp[:3, :3] = block[:3, :3] = tilt
    block[:3, 3] = tilt @ [0, 0, 0.0351]
    with World() as world:
        world.add_box((0.3, 0.3, 0.02), ramp, friction=1.0)
        body = world.add_mesh(make_box(0.05, 0.05, 0.03), block, friction=friction)
        world.step(480)
        moved = np.linalg.norm(world.pose(body)[:3, 3] - block[:3, 3])
    assert (moved > 0.05) == slides
    assert slides or moved < 0.003


def test_a_ball_falls_into_a_bowl() -> None:
    bowl = place(make_bowl())
    with World() as world:
        world.add_plane()
        world.add_mesh(bowl.solid, bowl.T_world_body)
        marble = world.add_box((0.008, 0.008, 0.008), translation(0, 0, 0.1), mass=0.02)
        world.step(720)
        height = world.pose(marble)[2, 3]
    assert height < 0.025


def test_overlapping_bodies_are_parted_gently() -> None:
    with World() as world:
        world.add_plane()
        first = world.add_mesh(make_box(0.05, 0.05, 0.05), translation(0, 0, 0.02))
        second = world.add_mesh(make_box(0.05, 0.05, 0.05), translation(0.04, 0, 0.025))
        assert world.push_apart([first, second])
        gap = np.abs(world.pose(first)[:3, 3] - world.pose(second)[:3, 3])
        assert 0.048 < gap[0] < 0.06
        assert world.pose(first)[2, 3] == pytest.approx(0.025, abs=2e-3)


def test_same_calls_give_the_same_motion_in_worlds_side_by_side() -> None:
    poses = []
    with World() as one, World() as other:
        for world in (one, other):
            world.add_plane()
            tilted = translation(0, 0, 0.2)
            tilted[:3, :3] = Rotation.from_rotvec([0.4, 0.2, 0.1]).as_matrix()
            body = world.add_mesh(make_bowl(), tilted)
            world.step(400)
            poses.append(world.pose(body))
    np.testing.assert_array_equal(poses[0], poses[1])


def test_a_closed_world_says_so() -> None:
    world = World()
    world.close()
    world.close()
    with pytest.raises(RuntimeError, match="closed"):
        world.step()


BASE = """<link name="base">
<inertial><mass value="0.5"/><inertia ixx="1e-3" ixy="0" ixz="0" iyy="1e-3" iyz="0" izz="1e-3"/></inertial>
<collision><geometry><box size="0.08 0.05 0.02"/></geometry></collision></link>"""
FINGER = """<link name="f{k}">
<inertial><origin xyz="0 0 0.03"/><mass value="0.02"/><inertia ixx="5e-6" ixy="0" ixz="0" iyy="5e-6" iyz="0" izz="1e-6"/></inertial>
<collision><origin xyz="0 0 0.035"/><geometry><cylinder radius="0.007" length="0.07"/></geometry></collision></link>
<joint name="j{k}" type="revolute"><parent link="base"/><child link="f{k}"/><origin xyz="{x} 0 0.02"/><axis xyz="1 0 0"/>
<limit lower="0" upper="1.4" effort="1.5" velocity="3"/></joint>"""


def test_coupled_joints_stop_together_and_share_one_effort(tmp_path) -> None:
    path = tmp_path / "hand.urdf"
    fingers = "".join(FINGER.format(k=k, x=x) for k, x in enumerate((-0.03, 0.03)))
    path.write_text(f'<robot name="two">{BASE}{fingers}</robot>')
    with World() as world:
        body = world.add_urdf(path, translation(0, 0, 0.3), fixed=True)
        world.couple_joints(body, [Coupling("j1", "j0")])
        world.add_box((0.01, 0.01, 0.01), translation(0.03, -0.045, 0.37))
        world.set_joint_targets(body, {"j0": 1.2})
        world.step(800)
        states = world.joint_states(body)
        blocked = states["j1"].position
        assert 0.3 < blocked < 0.6
        assert states["j0"].position == pytest.approx(blocked, abs=0.06)
        assert 1.0 < abs(states["j1"].effort) <= 1.5 + 1e-6
        with pytest.raises(ValueError, match="j1 is driven"):
            world.set_joint_targets(body, {"j1": 0.2})


def test_mount_moves_a_free_body_and_carries_its_weight() -> None:
    with World() as world:
        body = world.add_box((0.02, 0.02, 0.02), translation(0, 0, 0.5), mass=0.5)
        start = translation(0, 0, 0.5)
        mount = world.attach(body, start)
        for k in range(240):
            start[2, 3] = 0.5 + 0.1 * (k + 1) / 240
            world.move_mount(mount, start)
            world.step()
        world.step(120)
        np.testing.assert_allclose(world.pose(body), start, atol=2e-4)


K_OFF_CENTRE = torch.tensor([[500.0, 0.0, 310.0], [0.0, 520.0, 250.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def test_rendered_depth_is_that_of_the_plane_at_pixel_centres() -> None:
    camera = look_at((0.1, -0.7, 0.6), (0.0, 0.0, 0.0), K_OFF_CENTRE, (480, 640))
    with World() as world:
        plane = world.add_plane()
        picture = world.render(camera)
    downward = (camera.rays() @ camera.T_world_camera[:3, :3].T)[..., 2].numpy()
    expected = -0.6 / downward
    seen = picture.bodies == plane
    assert seen.mean() > 0.9
    np.testing.assert_allclose(picture.depth[seen], expected[seen], atol=2e-4)
    assert (picture.depth[~picture.valid] == 0).all()


def test_rendered_outline_of_a_box_is_where_its_corners_project() -> None:
    camera = look_at((0.2, -0.5, 0.4), (0.0, 0.0, 0.05), K_OFF_CENTRE, (480, 640))
    item = place(make_box(0.06, 0.08, 0.1))
    with World() as world:
        world.add_plane()
        body = world.add_mesh(item.solid, item.T_world_body)
        bodies = world.render(camera).bodies
    pixels, _ = camera.project(torch.tensor(item.solid.vertices + item.T_world_body[:3, 3]))
    rows, columns = np.nonzero(bodies == body)
    low, high = pixels.min(0).values.numpy(), pixels.max(0).values.numpy()
    np.testing.assert_allclose([columns.min(), rows.min()], np.ceil(low), atol=1.01)
    np.testing.assert_allclose([columns.max(), rows.max()], np.floor(high), atol=1.01)
    assert abs((columns.min() + columns.max()) / 2 - (low[0] + high[0]) / 2) <= 0.75
    assert abs((rows.min() + rows.max()) / 2 - (low[1] + high[1]) / 2) <= 0.75


def test_nothing_of_pybullet_is_printed() -> None:
    code = "from grasp_sim.world import World\nfrom grasp_sim.hands import load_hand\nimport numpy as np\n"
    code += "with World() as world:\n    world.add_urdf(load_hand('mia_right').urdf, np.eye(4)); world.step(5)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
