"""A motion that passes through a file, and is looked up between its samples."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from invgraphics.errors import InputError
from invgraphics.recorded_motion import RecordedMotion, load_motion, save_motion


@pytest.fixture
def motion(tmp_path: Path) -> RecordedMotion:
    (tmp_path / "source").mkdir()
    urdf = tmp_path / "source" / "robot.urdf"
    urdf.write_text("<robot name='r'><link name='base'/></robot>")
    T_world_base = np.eye(4)
    T_world_base[:3, 3] = 0.1, 0.2, 0.3
    times = np.array([0.0, 0.5, 2.0])
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec([[0, 0, 0], [0, 0, 0.4], [0, 0, 1.0]]).as_matrix()
    poses[:, 2, 3] = 0.0, 0.1, 0.4
    positions = np.array([[0.0, 1.0], [0.5, 1.0], [2.0, -2.0]])
    return RecordedMotion(urdf, T_world_base, ("elbow", "finger"), times, positions, {2: poses}, ((0.0, "start"), (0.5, "closed")), "held")


def test_it_comes_back_with_the_robot(motion: RecordedMotion, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    save_motion(motion, out)
    back = load_motion(out)
    assert back.urdf == out / "robot.urdf"
    assert back.urdf.read_text() == motion.urdf.read_text()
    for name in ("T_world_base", "times", "positions"):
        np.testing.assert_array_equal(getattr(back, name), getattr(motion, name))
    np.testing.assert_array_equal(back.T_world_objects[2], motion.T_world_objects[2])
    assert (back.joint_names, back.phases, back.outcome) == (motion.joint_names, motion.phases, motion.outcome)


def test_between_samples(motion: RecordedMotion):
    assert motion.duration == 2.0
    assert motion.joints_at(1.25) == pytest.approx({"elbow": 1.25, "finger": -0.5})
    T = motion.objects_at(1.25)[2]
    assert T[2, 3] == pytest.approx(0.25)
    np.testing.assert_allclose(Rotation.from_matrix(T[:3, :3]).as_rotvec(), [0, 0, 0.7], atol=1e-9)
    assert [motion.phase_at(time) for time in (0.0, 0.4, 0.5, 9.0)] == ["start", "start", "closed", "closed"]


def test_before_and_after_it_stands_still(motion: RecordedMotion):
    assert motion.joints_at(-1.0) == motion.joints_at(0.0)
    assert motion.joints_at(9.0) == motion.joints_at(2.0)
    np.testing.assert_allclose(motion.objects_at(9.0)[2], motion.T_world_objects[2][-1], atol=1e-12)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("times", [0.0, 0.5, 0.5], "times do not increase"),
        ("positions", [[0.0, 1.0]], "there are 3 times and 2 joints"),
        ("urdf", "other.urdf", "is not beside it"),
        ("version", 9, "this program reads .*, version 1"),
        ("phases", [{"time": "soon"}], "damaged"),
        ("T_world_base", [1.0], "T_world_base must be a 4x4 matrix"),
        ("T_world_objects", {"2": [[1.0]]}, "a 4x4 matrix for each of the 3 times"),
    ],
)
def test_what_is_wrong_is_named(motion: RecordedMotion, tmp_path: Path, key: str, value: object, message: str):
    save_motion(motion, tmp_path)
    path = tmp_path / "trajectory.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(InputError, match=message):
        load_motion(tmp_path)


def test_no_motion_is_no_motion(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        load_motion(tmp_path)
