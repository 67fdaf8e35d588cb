"""FewSOL, MOPED, CLEVR-POSE, TUM sequences and recordings, as they are published, and damaged."""

import contextlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invgraphics.datasets import is_set, list_images, load_frame, load_ground_truth, load_pose_truth
from invgraphics.datasets.clevr_pose import load_clevr_pose_label
from invgraphics.datasets.pickles import load_plain_pickle
from invgraphics.errors import InputError
from tests.invgraphics.dataset_samples import (
    BALL,
    board_pose,
    place_ball,
    pose_matrix,
    turn,
    write_clevr_pose,
    write_fewsol,
    write_moped,
    write_recording,
    write_tum,
)
from tests.invgraphics.properties import quick

WRITERS: dict[str, Callable[[Path], Path]] = {
    "fewsol": write_fewsol,
    "moped": write_moped,
    "clevr-pose": write_clevr_pose,
    "tum": write_tum,
    "video": write_recording,
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("samples")
    return {kind: writer(root / kind) for kind, writer in WRITERS.items()}


def test_fewsol_is_read_as_published(samples):
    names = list_images(f"fewsol:{samples['fewsol']}")
    scenes = [name.rsplit(":", 1)[1] for name in names]
    assert scenes == [f"{scene}/{k}" for scene in ("real_objects/0320T173759", "synthetic_objects/a_ball") for k in (0, 1)]
    frame = load_frame(names[1])
    _, depth, ids = BALL.render()
    assert frame.observation.name == "real_objects_0320T173759_000001"
    assert frame.observation.object_names == ("red_ball",)
    np.testing.assert_array_equal(frame.observation.masks[0], ids > 0)
    np.testing.assert_allclose(frame.observation.depth, depth, atol=6e-4)
    assert list_images(f"fewsol:{samples['fewsol'] / 'real_objects'}")[0].endswith(":0320T173759/0")


def test_fewsol_poses_are_the_middle_of_the_marker_board_and_one_misread_marker_does_not_move_it(samples):
    real, synthetic = (f"fewsol:{samples['fewsol']}:{scene}/0" for scene in ("real_objects/0320T173759", "synthetic_objects/a_ball"))
    (truth,) = load_pose_truth(real)
    np.testing.assert_allclose(truth.T_camera_object, board_pose(), atol=1e-5)
    assert (truth.object_id, truth.name, truth.model) == ("0320T173759", "red_ball", None)
    np.testing.assert_allclose(load_frame(real).T_world_camera, np.linalg.inv(board_pose()), atol=1e-5)
    (truth,) = load_pose_truth(synthetic)
    np.testing.assert_allclose(truth.T_camera_object, pose_matrix(turn(0, 0.5), place_ball()), atol=1e-6)
    T_camera_world = pose_matrix(turn(2, 0.3), np.array([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(load_frame(synthetic).T_world_camera, np.linalg.inv(T_camera_world), atol=1e-6)
    assert load_ground_truth(real) == []


def test_moped_is_read_as_published(samples):
    names = list_images(f"moped:{samples['moped']}")
    assert [name.rsplit(":", 1)[1] for name in names] == ["black_drill/evaluation/00/1", "black_drill/evaluation/00/3"]
    frame, (truth,) = load_frame(names[1]), load_pose_truth(names[1])
    T_camera_object = pose_matrix(turn(1, 0.4), place_ball())
    np.testing.assert_allclose(truth.T_camera_object, T_camera_object, atol=1e-5)
    np.testing.assert_allclose(frame.T_world_camera, np.linalg.inv(T_camera_object), atol=1e-5)
    assert (frame.observation.name, truth.object_id) == ("black_drill_evaluation_00_000003", "black_drill")
    np.testing.assert_allclose(truth.points.norm(dim=-1), 0.05, atol=1e-5)
    (surface,) = load_ground_truth(names[1])
    np.testing.assert_allclose(surface.mesh.vertices.mean(0), place_ball(), atol=1e-5)
    assert list_images(f"moped:{samples['moped'] / 'black_drill'}")[0].endswith(":evaluation/00/1")
    assert load_frame(f"moped:{samples['moped']}:black_drill/reference/00/1").observation.masks.any()


def test_clevr_pose_is_read_as_published(samples):
    (name,) = list_images(f"clevr-pose:{samples['clevr-pose']}")
    observation = load_frame(name).observation
    assert [int(mask.sum()) for mask in observation.masks] == [100 * 120, 80 * 120]
    assert observation.masks[1, 280, 450]
    assert observation.name == "030"
    assert float(observation.camera.K[0, 0]) == pytest.approx(616.94434)
    assert not observation.valid[:5].any()
    assert load_pose_truth(name) == []
    label = load_clevr_pose_label(samples["clevr-pose"], "030")
    np.testing.assert_array_equal(label["objects"][0]["position"], [0, 1, 2])


def test_tum_sequences_are_associated_by_time(samples):
    names = list_images(f"tum:{samples['tum']}")
    assert [name.rsplit(":", 1)[1] for name in names] == ["tum/0", "tum/2"]
    frame = load_frame(names[1])
    assert (frame.observation.name, len(frame.observation.masks)) == ("tum_000002", 0)
    np.testing.assert_allclose(frame.observation.depth, BALL.render()[1], atol=1.1e-4)
    np.testing.assert_allclose(frame.T_world_camera, pose_matrix(turn(2, 0.5), np.array([0.2, 0.2, 0.3])), atol=1e-5)
    assert list_images(f"tum:{samples['tum'].parent}") == [f"tum:{samples['tum'].parent}:tum/{k}" for k in (0, 2)]


def test_tum_sequences_without_a_camera_take_the_recommended_one(tmp_path):
    folder = write_tum(tmp_path / "fr1")
    (folder / "camera.json").unlink()
    with pytest.raises(InputError, match="640x480"):
        load_frame(f"tum:{folder}:fr1/0")
    for path in [*folder.glob("rgb/*.png"), *folder.glob("depth/*.png")]:
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), (640, 480), interpolation=cv2.INTER_NEAREST))
    camera = load_frame(f"tum:{folder}:fr1/0").observation.camera
    assert (float(camera.K[0, 0]), float(camera.K[0, 2]), float(camera.K[1, 2])) == (525.0, 319.5, 239.5)


@pytest.mark.parametrize("depth_as", ["depth.mkv", "depth.npy", "depth"])
def test_recordings_keep_colour_and_depth_together(tmp_path, depth_as):
    folder = write_recording(tmp_path / "run", depth_as)
    assert list_images(f"video:{folder}") == [f"video:{folder}:run/{k}" for k in range(3)]
    observation = load_frame(f"video:{tmp_path}:run/2").observation
    expected = (np.round(1000 * BALL.render()[1]) + 2) / 1000
    np.testing.assert_allclose(observation.depth, expected, atol=1e-6)
    assert observation.name == "run_000002"
    green = load_frame(f"video:{folder}:run/1").observation.colour[..., 1]
    assert float(green.mean()) < float(observation.colour[..., 1].mean())


def test_sets_are_told_from_images(samples):
    for kind, path in samples.items():
        assert is_set(f"{kind}:{path}")
        assert not is_set(list_images(f"{kind}:{path}")[0])
        with pytest.raises(InputError, match=rf"set of images; name one of them, e\.g\. {kind}:"):
            load_frame(f"{kind}:{path}")
        with pytest.raises(InputError, match=f"looks like {kind}: name it {kind}:"):
            list_images(path)


class _Command:
    def __reduce__(self):
        return os.system, ("touch /tmp/invgraphics-was-here",)


@pytest.mark.parametrize("content", [_Command(), [1, {"a": _Command()}], Path("x"), np.array([_Command], dtype=object), eval])
def test_pickles_that_ask_for_more_than_data_are_refused_and_not_run(tmp_path, content):
    path = tmp_path / "label.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=r"label\.pkl"):
        load_plain_pickle(path)
    assert not Path("/tmp/invgraphics-was-here").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_come_back(tmp_path, protocol):
    content = {
        "R": np.eye(3),
        "t": (1.5, None, True),
        "name": "a",
        "ids": np.arange(4, dtype=np.uint8),
        "x": np.float32(2.5),
        "b": b"\x00\xff",
    }
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    read = load_plain_pickle(tmp_path / "x.pkl")
    assert repr(read) == repr(content)


@quick
@given(data=st.data())
def test_damaged_pickles_are_data_or_an_input_error(tmp_path_factory, data):
    whole = pickle.dumps({"R": np.eye(3), "names": ["a", "b"], "n": {1, 2}}, protocol=data.draw(st.sampled_from([0, 2, 4])))
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("p") / "x.pkl"
    path.write_bytes(bytes(damaged[: data.draw(st.integers(0, len(whole)))]))
    with contextlib.suppress(InputError):
        load_plain_pickle(path)


def _damage(path: Path, rng: np.random.Generator) -> None:
    """Bytes changed, cut off, or all gone: what happens to files."""
    content = bytearray(path.read_bytes())
    kind = rng.integers(4)
    if kind == 0 or not content:
        path.unlink()
    elif kind == 1:
        path.write_bytes(bytes(content[: rng.integers(len(content))]))
    elif kind == 2:
        for index in rng.integers(len(content), size=6):
            content[index] = rng.integers(256)
        path.write_bytes(bytes(content))
    else:
        path.write_bytes(rng.bytes(40))


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_datasets_are_read_or_refused_in_words(samples, tmp_path, kind):
    """Forty random damages of a file each: nothing but `InputError` comes out, and it names what is wrong."""
    (name, *_) = list_images(f"{kind}:{samples[kind]}")
    item = name.rsplit(":", 1)[1]
    files = [path.relative_to(samples[kind]) for path in sorted(samples[kind].rglob("*")) if path.is_file()]
    rng, refused = np.random.default_rng(0), 0
    for round_ in range(40):
        copy = tmp_path / str(round_) / samples[kind].name
        shutil.copytree(samples[kind], copy)
        _damage(copy / files[rng.integers(len(files))], rng)
        try:
            _load_all(f"{kind}:{copy}:{item}")
        except InputError:
            refused += 1
        shutil.rmtree(tmp_path / str(round_))
    assert refused > 3


def _load_all(name: str) -> None:
    load_frame(name)
    load_pose_truth(name)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("kind", "damage", "said"),
    [
        ("fewsol", lambda root: (root / "real_objects/0320T173759/000000-label-binary.png").unlink(), "no such file"),
        ("fewsol", lambda root: (root / "real_objects/0320T173759/000000-meta.mat").write_bytes(b"MATLAB 7.3"), "not a MATLAB 5 file"),
        ("moped", lambda root: (root / "black_drill/evaluation/00/scene/trajectory.log").write_text("0 0 1\n1 0\n"), "camera of image 1"),
        ("moped", lambda root: _write_json(root / "black_drill/evaluation/00/intrinsics.json", {}), "lacks intrinsic_matrix"),
        (
            "moped",
            lambda root: _write_json(root / "black_drill/evaluation/00/registration/manual.json", {"transform": [[1]]}),
            "transform of",
        ),
        ("clevr-pose", lambda root: cv2.imwrite(str(root / "scenes/030/masks.png"), np.zeros((480, 640), np.uint8)), "marks no object"),
        ("clevr-pose", lambda root: np.save(root / "scenes/030/depth.npy", np.ones((48, 64), np.float32)), "sizes differ"),
        ("tum", lambda root: (root / "depth.txt").write_text("ten depth/a.png\n"), "line 1 of"),
        ("tum", lambda root: (root / "groundtruth.txt").write_text("10.0 1 2 3\n"), "tx ty tz qx qy qz qw"),
        ("video", lambda root: (root / "camera.json").unlink(), "camera.json"),
        ("video", lambda root: shutil.copy(root / "colour.avi", root / "depth.mkv"), "16-bit"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(samples, tmp_path, kind, damage, said):
    root = tmp_path / samples[kind].name
    shutil.copytree(samples[kind], root)
    name = list_images(f"{kind}:{root}")[0]
    damage(root)
    with pytest.raises(InputError, match=said) as raised:
        _load_all(name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", [*WRITERS, "bop"])
def test_absent_sets_are_refused_in_one_line(kind):
    with pytest.raises(InputError, match="/nowhere") as raised:
        list_images(f"{kind}:/nowhere")
    assert "\n" not in str(raised.value)
