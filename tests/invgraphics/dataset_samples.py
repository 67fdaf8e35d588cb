"""Tiny samples of the datasets that are read, each in the layout in which it is published, of one made-up table with balls."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import scipy.io
import trimesh
from scipy.spatial.transform import Rotation

from tests.invgraphics.tabletop import HEIGHT, WIDTH, K, Tabletop

BALL = Tabletop(balls=((0.0, 0.0, 0.05),), noise=0.0)
MARKER_CENTIMETRES = {0: (2.95, 2.95), 4: (54.45, 2.95), 8: (67.45, 36.20), 12: (28.70, 47.45)}


def place_ball(scene: Tabletop = BALL) -> np.ndarray:
    """Centre of the first ball in the camera frame, metres."""
    return next(scene._place_balls())[1]


def pose_matrix(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation, translation
    return T


def turn(axis: int, angle: float) -> np.ndarray:
    a, b = [k for k in range(3) if k != axis]
    R = np.eye(3)
    R[a, a] = R[b, b] = np.cos(angle)
    R[a, b], R[b, a] = -np.sin(angle), np.sin(angle)
    return R


def board_pose() -> np.ndarray:
    """The middle of FewSOL's marker board on the table below the ball, to the camera: x along it, z up from it."""
    foot = place_ball() - 0.05 * BALL.normal
    x = np.array([1.0, 0.0, 0.0])
    return pose_matrix(np.stack([x, np.cross(BALL.normal, x), BALL.normal], axis=1), foot)


def wxyz(rotation: np.ndarray) -> np.ndarray:
    return np.roll(Rotation.from_matrix(rotation).as_quat(), 1)


def write_fewsol(root: Path, images: int = 2, misread: tuple[int, ...] = (12,)) -> Path:
    """One real and one synthetic object; of the real one's markers, `misread` are seen 3 cm from where they are."""
    rgb, depth, ids = BALL.render()
    for part, name in (("real_objects", "0320T173759"), ("synthetic_objects", "a_ball")):
        folder = root / part / name
        folder.mkdir(parents=True)
        (folder / "name.txt").write_text("red ball\n")
        for number in range(images):
            cv2.imwrite(str(folder / f"{number:06d}-color.jpg"), rgb[..., ::-1])
            cv2.imwrite(str(folder / f"{number:06d}-depth.png"), np.round(1000 * depth).astype(np.uint16))
            cv2.imwrite(str(folder / f"{number:06d}-label-binary.png"), 255 * ids)
            meta = {"intrinsic_matrix": K} | (_marker_meta(misread) if part == "real_objects" else _synthetic_meta())
            scipy.io.savemat(folder / f"{number:06d}-meta.mat", meta, do_compression=True)
    return root


def _marker_meta(misread: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Marker poses: position, then quaternion w, x, y, z; the board's y runs against the rows of markers."""
    T_camera_board, meta = board_pose(), {}
    for index, (x, y) in MARKER_CENTIMETRES.items():
        offset = np.array([x - 35.2, 25.2 - y, 0.0]) / 100
        position = T_camera_board[:3, :3] @ offset + T_camera_board[:3, 3] + (0.03 if index in misread else 0.0)
        meta[f"ar_marker_{index:02d}"] = np.concatenate([position, wxyz(T_camera_board[:3, :3])]).astype(np.float32)
    meta["ar_marker_63"] = np.array([9.0, 9, 9, 1, 0, 0, 0], np.float32)
    return meta


def _synthetic_meta() -> dict[str, np.ndarray]:
    T_camera_world = pose_matrix(turn(2, 0.3), np.array([0.1, 0.2, 0.3]))
    T_camera_object = pose_matrix(turn(0, 0.5), place_ball())
    return {
        "camera_pose": T_camera_world,
        "object_poses": (np.linalg.inv(T_camera_world) @ T_camera_object)[..., None],
        "objects_in_camera": T_camera_object[..., None].astype(np.float32),
        "object_names": np.array(["a_ball"]),
    }


def write_moped(root: Path, numbers: tuple[int, ...] = (1, 3)) -> Path:
    """One object, one reference and one evaluation sequence of four images, of which `numbers` have masks."""
    T_camera_object = pose_matrix(turn(1, 0.4), place_ball())
    T_object_sequence = pose_matrix(turn(2, 0.7), np.array([0.02, -0.03, 0.04]))
    rgb, depth, ids = BALL.render()
    for part in ("reference", "evaluation"):
        folder = root / "black_drill" / part / "00"
        for name in ("color", "depth", "mask", "scene", "registration"):
            (folder / name).mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(folder / "color" / f"{number:06d}.jpg"), rgb[..., ::-1])
            cv2.imwrite(str(folder / "depth" / f"{number:06d}.png"), np.round(1000 * depth).astype(np.uint16))
            if number in numbers:
                cv2.imwrite(str(folder / "mask" / f"{number:06d}.png"), 255 * ids)
        content = {"width": WIDTH, "height": HEIGHT, "intrinsic_matrix": K.T.reshape(-1).tolist()}
        (folder / "intrinsics.json").write_text(json.dumps(content))
        T_sequence_camera = np.linalg.inv(T_object_sequence) @ np.linalg.inv(T_camera_object)
        others = pose_matrix(turn(0, 1.0), np.ones(3))
        rows = []
        for number in range(4):
            rows += [
                f"{number} {number} {number + 1}",
                *(" ".join(map(str, row)) for row in (T_sequence_camera if number == 3 else others)),
            ]
        (folder / "scene" / "trajectory.log").write_text("\n".join(rows) + "\n")
        (folder / "registration" / "registration.json").write_text(json.dumps({"transform": T_object_sequence.tolist()}))
    surface = trimesh.creation.icosphere(subdivisions=2, radius=0.05)
    surface.export(root / "black_drill" / "reference" / "integrated_raw.obj")
    trimesh.PointCloud(surface.vertices[::5]).export(root / "black_drill" / "reference" / "pointcloud_eval.ply")
    return root


def write_clevr_pose(root: Path, label: object = None) -> Path:
    """Two cubes' worth of masks over a plane, blended at their edges as a renderer blends them."""
    folder = root / "scenes" / "030"
    folder.mkdir(parents=True)
    masks = np.zeros((480, 640), np.uint8)
    masks[100:200, 100:220] = 20
    masks[250:330, 400:520] = 40
    masks[200, 100:220], masks[249, 400:520] = 11, 20
    masks[280, 450] = 37
    cv2.imwrite(str(folder / "masks.png"), masks)
    rng = np.random.default_rng(0)
    cv2.imwrite(str(folder / "image.png"), rng.integers(0, 255, (480, 640, 3)).astype(np.uint8))
    depth = np.full((480, 640), 1.5, np.float32)
    depth[masks >= 20] = 1.2
    depth[:5] = np.inf
    np.save(folder / "depth.npy", depth)
    content = {"objects": [{"position": np.arange(3.0), "shape": "cube"}, {"position": np.ones(3), "shape": "sphere"}], "seed": 3}
    (folder / "label.pkl").write_bytes(pickle.dumps(content if label is None else label))
    return root


def write_tum(folder: Path, times: tuple[float, ...] = (10.0, 10.033, 10.066)) -> Path:
    """A sequence whose second colour image has no depth near it in time, with its camera in a camera.json."""
    rgb, depth, _ = BALL.render()
    (folder / "rgb").mkdir(parents=True)
    (folder / "depth").mkdir()
    lists: dict[str, list[str]] = {"rgb": ["# color images", "# timestamp filename"], "depth": ["# depth maps"]}
    for number, time in enumerate(times):
        cv2.imwrite(str(folder / "rgb" / f"{time:.6f}.png"), rgb[..., ::-1])
        lists["rgb"].append(f"{time:.6f} rgb/{time:.6f}.png")
        late = time + 0.004
        if number != 1:
            cv2.imwrite(str(folder / "depth" / f"{late:.6f}.png"), np.round(5000 * depth).astype(np.uint16))
            lists["depth"].append(f"{late:.6f} depth/{late:.6f}.png")
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    rows = ["# timestamp tx ty tz qx qy qz qw"]
    rows += [f"{time + 0.001:.4f} {0.1 * number} 0.2 0.3 0 0 {np.sin(0.25)} {np.cos(0.25)}" for number, time in enumerate(times)]
    (folder / "groundtruth.txt").write_text("\n".join(rows))
    content = {"K": K.tolist(), "width": WIDTH, "height": HEIGHT, "depth_scale_m": 1 / 5000}
    (folder / "camera.json").write_text(json.dumps(content))
    return folder


def write_recording(folder: Path, depth_as: str = "depth.mkv", frames: int = 3) -> Path:
    """A colour video whose green grows from frame to frame, and depth that grows by a millimetre a frame."""
    _, depth, ids = BALL.render()
    folder.mkdir(parents=True)
    size = (WIDTH, HEIGHT)
    colour = cv2.VideoWriter(str(folder / "colour.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"FFV1"), 30.0, size)
    raw = [np.round(1000 * depth).astype(np.uint16) + number for number in range(frames)]
    for number in range(frames):
        colour.write(np.where(ids[..., None] > 0, (200, 40 * number, 10), (90, 40 * number, 90)).astype(np.uint8))
    colour.release()
    if depth_as == "depth.mkv":
        options = [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U, cv2.VIDEOWRITER_PROP_IS_COLOR, 0]
        video = cv2.VideoWriter(str(folder / depth_as), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"FFV1"), 30.0, size, options)
        for image in raw:
            video.write(image)
        video.release()
    elif depth_as == "depth.npy":
        np.save(folder / depth_as, np.stack(raw))
    else:
        (folder / "depth").mkdir()
        for number, image in enumerate(raw):
            cv2.imwrite(str(folder / "depth" / f"{number:06d}.png"), image)
    content = {"K": K.tolist(), "width": WIDTH, "height": HEIGHT, "depth_scale_m": 0.001}
    (folder / "camera.json").write_text(json.dumps(content))
    return folder
