"""Frame folders and BOP datasets, made here and as they come."""

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console

from invgraphics.camera import project
from invgraphics.commands.reconstruct import _relate_cameras
from invgraphics.datasets import find_masks_without_depth, list_images, load_frame, load_ground_truth, load_observation, load_pose_truth
from invgraphics.datasets.checks import make_disjoint
from invgraphics.datasets.frame_writer import write_frame_folder
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import icosphere, srgb_from_linear
from tests.helpers import SHARED_DATA, needs_shared_data
from tests.invgraphics.tabletop import HEIGHT, WIDTH, K, Tabletop, write_frame


def write_ply(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    header = f"ply\nformat ascii 1.0\nelement vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
    header += f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    rows = [" ".join(f"{x:.6f}" for x in row) for row in vertices] + [f"3 {a} {b} {c}" for a, b, c in faces]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header + "\n".join(rows) + "\n")


def write_bop(root: Path, split: str = "test", scenes: tuple[int, ...] = (1,), images: tuple[int, ...] = (0,), grey: bool = False) -> Path:
    """Two balls; depth in tenths of a millimetre; objects listed right one first."""
    scene = Tabletop(noise=0.0)
    rgb, depth, ids = scene.render()
    sphere, faces = icosphere(3)
    for object_id, (_, _, radius) in enumerate(scene.balls, start=1):
        write_ply(root / "models" / f"obj_{object_id:06d}.ply", 1000 * radius * sphere.numpy(), faces.numpy())
    centres = {number: centre for number, centre, _ in scene._place_balls()}
    for scene_id in scenes:
        folder = root / split / f"{scene_id:06d}"
        for name in ("gray" if grey else "rgb", "depth", "mask_visib"):
            (folder / name).mkdir(parents=True)
        for image in images:
            colour = rgb[..., 1] if grey else rgb[..., ::-1]
            cv2.imwrite(str(folder / ("gray" if grey else "rgb") / f"{image:06d}.png"), colour)
            cv2.imwrite(str(folder / "depth" / f"{image:06d}.png"), np.round(depth * 10_000).astype(np.uint16))
            for index, number in enumerate((2, 1)):
                cv2.imwrite(str(folder / "mask_visib" / f"{image:06d}_{index:06d}.png"), (ids == number).astype(np.uint8) * 255)
        pose = {"cam_R_m2c": np.eye(3).reshape(-1).tolist()}
        objects = [{"obj_id": number, "cam_t_m2c": (1000 * centres[number]).tolist(), **pose} for number in (2, 1)]
        (folder / "scene_camera.json").write_text(
            json.dumps({str(i): {"cam_K": K.reshape(-1).tolist(), "depth_scale": 0.1} for i in images})
        )
        (folder / "scene_gt.json").write_text(json.dumps({str(i): objects for i in images}))
    return root


def test_frame_folder_is_read_as_written(tmp_path: Path) -> None:
    folder = write_frame(tmp_path / "frame_3")
    rgb, depth, ids = Tabletop().render()
    frame = load_frame(folder)
    observation = frame.observation
    assert observation.name == "frame_3"
    assert len(frame.boxes) == 0
    np.testing.assert_allclose(observation.depth.numpy(), depth, atol=6e-5)
    np.testing.assert_array_equal(observation.valid.numpy(), depth > 0)
    np.testing.assert_array_equal(np.round(255 * srgb_from_linear(observation.colour).numpy()), rgb)
    np.testing.assert_array_equal(observation.masks.numpy(), [ids == 1, ids == 2])
    np.testing.assert_allclose(observation.camera.K.numpy(), K)
    assert (observation.camera.height, observation.camera.width) == (HEIGHT, WIDTH)
    assert observation.object_names == ("object_00", "object_01")


def test_objects_are_numbered_by_ascending_id(tmp_path: Path) -> None:
    folder = write_frame(tmp_path / "frame")
    _, _, ids = Tabletop().render()
    cv2.imwrite(str(folder / "mask.png"), np.array([0, 200, 7], np.uint8)[ids])
    np.testing.assert_array_equal(load_observation(folder).masks.numpy(), [ids == 2, ids == 1])


def test_boxes_are_read_in_their_order_where_there_are_no_masks(tmp_path: Path) -> None:
    folder = write_frame(tmp_path / "frame", masks=False)
    (folder / "boxes.json").write_text("[[90, 30, 140, 80], [10.5, 20, 60, 120.6]]")
    frame = load_frame(folder)
    assert frame.observation.masks.shape == (0, HEIGHT, WIDTH)
    torch.testing.assert_close(frame.boxes, torch.tensor([[90.0, 30, 140, 80], [10.5, 20, 60, 120]]))


@pytest.mark.parametrize("suffix", [".npy", ".tiff"])
def test_floating_point_depth_in_metres(tmp_path: Path, suffix: str) -> None:
    folder = write_frame(tmp_path / "frame")
    depth = Tabletop().render()[1].astype(np.float32)
    (folder / "depth.png").unlink()
    np.save(folder / "depth.npy", depth) if suffix == ".npy" else cv2.imwrite(str(folder / "depth.tiff"), depth)
    camera = json.loads((folder / "camera.json").read_text())
    (folder / "camera.json").write_text(json.dumps({**camera, "depth_scale_m": 1.0}))
    np.testing.assert_allclose(load_observation(folder).depth.numpy(), depth, atol=1e-7)


def test_mask_without_depth_is_reported(tmp_path: Path) -> None:
    folder = write_frame(tmp_path / "frame")
    depth = cv2.imread(str(folder / "depth.png"), cv2.IMREAD_UNCHANGED)
    ids = Tabletop().render()[2]
    depth[(ids == 2) & (np.cumsum(ids == 2).reshape(ids.shape) > 49)] = 0
    cv2.imwrite(str(folder / "depth.png"), depth)
    left_out = find_masks_without_depth(load_observation(folder))
    assert list(left_out) == [1]
    assert left_out[1].startswith("49 of its ")


def test_disputed_pixels_go_to_the_smaller_mask() -> None:
    masks = torch.zeros(3, 4, 6, dtype=torch.bool)
    masks[0, :, :4] = True
    masks[1, :2, 2:] = True
    disjoint = make_disjoint(masks)
    assert torch.equal(disjoint[1], masks[1])
    assert torch.equal(disjoint[0], masks[0] & ~masks[1])
    assert not disjoint[2].any()


def test_bop_image_and_truth_agree(tmp_path: Path) -> None:
    image = f"{write_bop(tmp_path / 'balls')}:000001/0"
    observation, truths = load_observation(image), load_ground_truth(image)
    assert observation.name == "000001"
    assert observation.object_names == ("obj_000002", "obj_000001") == tuple(truth.name for truth in truths)
    assert [truth.mask_index for truth in truths] == [0, 1]
    for truth, mask, radius in zip(truths, observation.masks, (0.05, 0.04), strict=True):
        centre = truth.mesh.vertices.mean(0)
        torch.testing.assert_close((truth.mesh.vertices - centre).norm(dim=-1), torch.full((642,), radius), atol=1e-5, rtol=0)
        torch.testing.assert_close(truth.T_camera_object[:3, 3], centre, atol=1e-5, rtol=0)
        u, v = project(observation.camera.K, centre).round().long().tolist()
        assert mask[v, u]
        assert float(observation.depth[v, u]) == pytest.approx(float(centre.norm() - radius) * float(centre[2] / centre.norm()), abs=5e-4)


@pytest.mark.parametrize("name", ["1/0", "000001/000000", "000001/0"])
def test_bop_numbers_with_and_without_zeros(tmp_path: Path, name: str) -> None:
    assert load_observation(f"{write_bop(tmp_path)}:{name}").name == "000001"


def test_bop_images_of_a_split_are_listed(tmp_path: Path) -> None:
    root = write_bop(tmp_path / "set", split="val", scenes=(2, 10), images=(3, 12))
    names = list_images(root)
    assert names == [f"{root}:{scene:06d}/{image}" for scene in (2, 10) for image in (3, 12)]
    assert load_observation(names[-1]).name == "000010_000012"
    assert list_images(root / "val")[0] == f"{root / 'val'}:000002/3"
    write_bop(root, split="train")
    with pytest.raises(InputError, match=r"several splits.*train.*val"):
        list_images(root)
    write_bop(root, split="test")
    assert list_images(root) == [f"{root}:000001/0"]


def test_grey_bop_images_and_untold_truth(tmp_path: Path) -> None:
    root = write_bop(tmp_path, grey=True)
    observation = load_observation(f"{root}:1/0")
    torch.testing.assert_close(observation.colour[..., 0], observation.colour[..., 2])
    (root / "test" / "000001" / "scene_gt.json").unlink()
    assert len(load_observation(f"{root}:1/0").masks) == 0
    assert load_ground_truth(f"{root}:1/0") == []


def test_frame_sets_are_listed_by_name(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_frame(tmp_path / name)
    assert list_images(f"frames:{tmp_path}") == [str(tmp_path / "a"), str(tmp_path / "b")]
    with pytest.raises(InputError, match=f"frames:{tmp_path}"):
        list_images(tmp_path)


def test_frame_truth_keeps_to_accepted_poses(tmp_path: Path) -> None:
    folder = write_frame(tmp_path / "data" / "frames" / "f")
    sphere, faces = icosphere(2)
    write_ply(tmp_path / "data" / "objects" / "ball.ply", 0.05 * sphere.numpy(), faces.numpy())
    row = {"name": "ball", "mesh": "objects/ball.ply", "R": np.eye(3).tolist(), "t_m": [0.1, 0.2, 0.6]}
    (folder / "poses.json").write_text(json.dumps([{**row, "instance": 2, "accepted": True}, {**row, "instance": 1, "accepted": False}]))
    (truth,) = load_ground_truth(folder)
    assert (truth.mask_index, truth.name) == (1, "ball")
    torch.testing.assert_close(truth.mesh.vertices.mean(0), torch.tensor([0.1, 0.2, 0.6]), atol=1e-5, rtol=0)


@needs_shared_data
def test_every_image_of_the_shared_data_is_read() -> None:
    frames = [load_observation(name) for name in list_images(f"frames:{SHARED_DATA / 'frames'}")]
    assert len(frames) == 23
    assert sum(len(frame.masks) for frame in frames) == 22
    assert len(list_images(SHARED_DATA / "tabletop_dev")) == 24
    truths = [truth for name in list_images(SHARED_DATA / "clevr_dev") for truth in load_ground_truth(name)]
    assert len(truths) == 40


@needs_shared_data
def test_true_meshes_lie_where_the_camera_sees_them() -> None:
    image = f"{SHARED_DATA / 'tabletop_dev'}:000002/0"
    observation = load_observation(image)
    for truth in load_ground_truth(image):
        pixels = project(observation.camera.K, truth.mesh.vertices).round().long()
        inside = (pixels >= 0).all(1) & (pixels[:, 0] < observation.camera.width) & (pixels[:, 1] < observation.camera.height)
        u, v = pixels[inside].T
        seen = observation.masks[truth.mask_index][v, u] & observation.valid[v, u]
        behind = (truth.mesh.vertices[inside][:, 2] - observation.depth[v, u])[seen]
        assert float(behind.quantile(0.1)) == pytest.approx(0, abs=3e-3)


def turn_about_z(angle: float) -> np.ndarray:
    T = np.eye(4)
    T[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    T[:3, 3] = [0.1, -0.2, 0.3]
    return T


def test_frame_folder_may_say_where_its_camera_stood(tmp_path: Path) -> None:
    folder = write_frame(tmp_path / "frame")
    assert load_frame(folder).T_world_camera is None
    path, pose = folder / "camera.json", turn_about_z(0.4)
    description = json.loads(path.read_text())
    path.write_text(json.dumps(description | {"T_world_camera": pose.tolist()}))
    np.testing.assert_allclose(load_frame(folder).T_world_camera, pose, atol=1e-6)
    for wrong, message in (
        (pose[:3].tolist(), "not a pose"),
        ((2 * pose).tolist(), "not a pose"),
        (np.diag([1, 1, -1, 1]).tolist(), "rotation"),
    ):
        path.write_text(json.dumps(description | {"T_world_camera": wrong}))
        with pytest.raises(InputError, match=message):
            load_frame(folder)


def test_bop_camera_poses_are_turned_round_and_scaled(tmp_path: Path) -> None:
    path = write_bop(tmp_path) / "test" / "000001" / "scene_camera.json"
    T_camera_world = turn_about_z(0.4)
    description = json.loads(path.read_text())
    translation = (1000 * T_camera_world[:3, 3]).tolist()
    description["0"] |= {"cam_R_w2c": T_camera_world[:3, :3].reshape(-1).tolist(), "cam_t_w2c": translation}
    path.write_text(json.dumps(description))
    np.testing.assert_allclose(load_frame(f"{tmp_path}:1/0").T_world_camera, np.linalg.inv(T_camera_world), atol=1e-6)


def write_information(root: Path, shares: tuple[float, float] = (1.0, 1.0), images: tuple[int, ...] = (0,)) -> None:
    """models_info.json (object 1 turns about z through (10, 0, 0) mm, object 2 has a half turn about x) and scene_gt_info.json."""
    half_turn = [1.0, 0, 0, 0, 0, -1, 0, 20, 0, 0, -1, 0, 0, 0, 0, 1]
    models = {
        "1": {"diameter": 80.0, "symmetries_continuous": [{"axis": [0, 0, 2], "offset": [10, 0, 0]}]},
        "2": {"diameter": 100.0, "symmetries_discrete": [half_turn]},
    }
    (root / "models" / "models_info.json").write_text(json.dumps(models))
    rows = {str(image): [{"visib_fract": share} for share in shares] for image in images}
    (root / "test" / "000001" / "scene_gt_info.json").write_text(json.dumps(rows))


def test_bop_symmetries_are_motions_in_metres(tmp_path: Path) -> None:
    root = write_bop(tmp_path)
    assert [truth.symmetries for truth in load_pose_truth(f"{root}:1/0")] == [None, None]
    write_information(root)
    second, first = load_pose_truth(f"{root}:1/0")
    assert (first.diameter_m, second.diameter_m) == (pytest.approx(0.08), pytest.approx(0.1))
    np.testing.assert_allclose(second.symmetries[1] @ torch.tensor([0.3, 0.01, 0.0, 1.0]).double(), [0.3, 0.01, 0.0, 1.0], atol=1e-9)
    turned = first.symmetries @ torch.tensor([0.04, 0.0, 0.0, 1.0]).double()
    np.testing.assert_allclose((turned[:, :3] - torch.tensor([0.01, 0, 0])).norm(dim=-1), 0.03, atol=1e-9)
    steps = (turned[:, :3] - turned[:, :3].roll(1, 0)).norm(dim=-1)
    assert float(steps.max()) <= 0.01 * 0.08
    assert len(second.symmetries) == 2
    torch.testing.assert_close(second.symmetries[0], torch.eye(4, dtype=torch.float64))


def test_bop_counts_what_is_visible_and_what_the_targets_name(tmp_path: Path) -> None:
    root = write_bop(tmp_path, images=(0, 4))
    write_information(root, (0.09, 0.5), (0, 4))
    assert [truth.counted for truth in load_pose_truth(f"{root}:1/0")] == [False, True]
    targets = [{"scene_id": 1, "im_id": 4, "obj_id": 2, "inst_count": 1}]
    (root / "test_targets_bop19.json").write_text(json.dumps(targets))
    assert list_images(root) == [f"{root}:000001/4"]
    write_information(root, (0.2, 0.5), (0, 4))
    assert [truth.counted for truth in load_pose_truth(f"{root}:1/4")] == [True, False]
    assert [truth.counted for truth in load_pose_truth(f"{root}:1/0")] == [False, False]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("test_targets_bop19.json", [{"scene_id": 1}], "whole numbers scene_id"),
        ("models/models_info.json", {"1": {"diameter": -1}}, "positive number of millimetres"),
        ("models/models_info.json", {"1": {"diameter": 1, "symmetries_discrete": [[1, 2]]}}, "lists of 16 numbers"),
        (
            "models/models_info.json",
            {"1": {"diameter": 1, "symmetries_continuous": [{"axis": [0, 0, 0], "offset": [0, 0, 0]}]}},
            "axis not 0",
        ),
        ("test/000001/scene_gt_info.json", {"0": [{}]}, "a visib_fract"),
        ("test/000001/scene_gt.json", {"0": [{"obj_id": 1, "cam_R_m2c": [1] * 9, "cam_t_m2c": [0] * 3}]}, "does not hold a rotation"),
        ("test/000001/scene_gt.json", {"0": [{"obj_id": "a", "cam_R_m2c": [1] * 9, "cam_t_m2c": [0] * 3}]}, "obj_id of"),
        ("test/000001/scene_gt.json", {"0": 3}, "is not a list"),
        ("models/obj_000001.ply", "ply\nformat ascii 1.0\n", "not a mesh"),
    ],
)
def test_bop_files_that_are_wrong_are_named(tmp_path: Path, name: str, content: object, said: str) -> None:
    root = write_bop(tmp_path)
    (root / name).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=said) as raised:
        load_pose_truth(f"{root}:1/0")
    assert "\n" not in str(raised.value)


def test_a_written_frame_says_where_its_camera_stood_only_if_asked(tmp_path):
    """An unplaced camera's identity would be taken for a pose: several such frames for images from one and the same place."""
    observation = load_frame(write_frame(tmp_path / "frame")).observation
    for name, with_pose in (("bare", False), ("placed", True)):
        write_frame_folder(observation, tmp_path / name, with_pose=with_pose)
        assert (load_frame(tmp_path / name).T_world_camera is not None) is with_pose


def test_poses_of_some_images_are_not_used_and_that_is_said(tmp_path):
    observation = load_frame(write_frame(tmp_path / "frame")).observation
    for name in ("bare", "placed"):
        write_frame_folder(observation, tmp_path / name, with_pose=name == "placed")
    frames, said = {name: load_frame(tmp_path / name) for name in ("bare", "placed")}, io.StringIO()
    messages = Console(file=said, width=200)
    assert _relate_cameras([frames["placed"], frames["bare"]], messages) is None
    assert "1 of 2 images say where their camera stood" in said.getvalue()
    torch.testing.assert_close(_relate_cameras([frames["placed"]] * 2, messages), torch.eye(4).repeat(2, 1, 1))
