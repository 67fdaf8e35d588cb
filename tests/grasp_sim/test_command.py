"""`invgraphics grasp`: from an output folder to grasps.json; bad input in one line."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from grasp_sim.hands import ASSETS, load_hand
from invgraphics.camera import Camera
from invgraphics.cli import main
from invgraphics.commands.grasp_pictures import draw_grasps
from invgraphics.grasp import Grasp, load_grasps
from invgraphics.observation import Observation
from invgraphics.output import save_reconstruction
from invgraphics.reconstruction import Reconstruction
from invgraphics.scene import Material, Plane, Scene, SceneObject
from tests.grasp_sim.shapes import look_at, make_box

GREY = Material(torch.full((3,), 0.5), torch.tensor(0.0), torch.tensor(0.5))


def write_scene(out: Path, plane: Plane | None = None, size: tuple[float, float, float] = (0.04, 0.05, 0.08)) -> None:
    """A box, 4 x 5 x 8 cm, at (0.1, 0.2) on the plane and nothing else."""
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([0.1, 0.2, size[2] / 2])
    item = SceneObject("box", pose, torch.tensor(size) / 2, GREY, make_box(*size))
    camera = Camera(torch.tensor([[50.0, 0.0, 3.0], [0.0, 50.0, 2.0], [0.0, 0.0, 1.0]]), 4, 6, torch.eye(4))
    scene = Scene((item,), (), plane, camera)
    far = torch.full((4, 6), 5.0)
    observation = Observation(torch.zeros(4, 6, 3), far, far > 0, torch.ones(1, 4, 6, dtype=torch.bool), camera, "image")
    save_reconstruction(Reconstruction(scene, observation, (0,)), out)


def test_grasps_are_written_best_first(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_scene(tmp_path / "out", Plane(GREY))
    assert main(["grasp", str(tmp_path / "out"), "--max-trials", "12", "--processes", "1"]) == 0
    assert json.loads((tmp_path / "out" / "grasp_search.json").read_text()) == {"outcome": "found", "objects_without_grasp": []}
    rows = json.loads((tmp_path / "out" / "grasps.json").read_text())
    names = {"hand", "object_index", "T_world_hand", "preshape", "closed", "width", "success_rate", "trials", "success_interval", "efforts"}
    assert names == rows[0].keys()
    grasps = load_grasps(tmp_path / "out" / "grasps.json")
    assert grasps[0].hand == "parallel_jaw"
    assert 0.035 < grasps[0].width < 0.06
    assert np.linalg.norm(grasps[0].T_world_hand[:2, 3] - [0.1, 0.2]) < 0.06
    printed = capsys.readouterr().out
    assert "grasps, best first" in printed
    best, row = grasps[0], next(line for line in printed.splitlines() if line.split()[:1] == ["box"])
    place = " ".join(f"{1000 * value:.0f}" for value in best.T_world_hand[:3, 3])
    tilt = np.degrees(np.arccos(-best.T_world_hand[2, 2]))
    assert re.split(r"\s{2,}", row.strip())[3:] == [f"{1000 * best.width:.0f}", place, f"{tilt:.0f}°"]
    assert f"{100 * best.success_rate:.0f} % of {best.trials} (" in row


def test_a_hand_from_a_users_folder_grasps(tmp_path: Path) -> None:
    """A URDF and a description, no code: the shipped jaw under another name, opened less."""
    folder = tmp_path / "my_hand"
    folder.mkdir()
    shutil.copy(ASSETS / "parallel_jaw.urdf", folder / "fingers.urdf")
    entries = json.loads((ASSETS / "parallel_jaw.json").read_text()) | {"name": "my_hand", "urdf": "fingers.urdf"}
    entries["templates"][0]["open"]["left_finger_joint"] = 0.035
    (folder / "hand.json").write_text(json.dumps(entries))
    write_scene(tmp_path / "out", Plane(GREY))
    assert main(["grasp", str(tmp_path / "out"), "--hand", str(folder), "--max-trials", "4", "--processes", "1"]) == 0
    grasps = load_grasps(tmp_path / "out" / "grasps.json")
    assert grasps[0].hand == "my_hand"
    assert all(grasp.preshape["left_finger_joint"] <= 0.035 for grasp in grasps)


@pytest.mark.parametrize(
    ("hand", "size", "reason", "words"),
    [
        ("parallel_jaw", (0.2, 0.2, 0.2), "hand_too_small", "the hand opens to 80 mm"),
        ("mia_right", (0.3, 0.3, 0.3), "hand_too_small", "its narrowest opposing pair is 300 mm apart"),
        ("parallel_jaw", (0.15, 0.15, 0.006), "no_room", "no finger fits between the plane and"),
    ],
)
def test_nothing_graspable_is_told_by_name(hand: str, size: tuple, reason: str, words: str, tmp_path: Path, capsys) -> None:
    write_scene(tmp_path, Plane(GREY), size)
    assert main(["grasp", str(tmp_path), "--hand", hand, "--processes", "1"]) == 1
    assert json.loads((tmp_path / "grasps.json").read_text()) == []
    content = json.loads((tmp_path / "grasp_search.json").read_text())
    assert content["outcome"] == "nothing_graspable"
    (missing,) = content["objects_without_grasp"]
    assert (missing["object_index"], missing["reason"]) == (0, reason)
    assert words in missing["message"]
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("nothing graspable: 1 x ")]
    assert len(told) == 1


def complaint(arguments: list[str], capsys: pytest.CaptureFixture) -> str:
    assert main(["grasp", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    assert "no finished reconstruction" in complaint([str(out)], capsys)
    write_scene(out, Plane(GREY))
    assert "no hand 'claw'" in complaint([str(out), "--hand", "claw"], capsys)
    assert "--object 3: the scene has 1 objects" in complaint([str(out), "--object", "3"], capsys)
    assert "--max-trials is 0" in complaint([str(out), "--max-trials", "0"], capsys)
    assert "--over-table is -1.0" in complaint([str(out), "--over-table", "-1"], capsys)
    (out / "grasps.json").write_text("[]")
    assert "give --overwrite" in complaint([str(out)], capsys)


def test_a_scene_without_a_plane_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_scene(tmp_path / "out")
    assert "no support plane" in complaint([str(tmp_path / "out")], capsys)


def test_the_best_grasps_are_drawn_where_their_hands_are() -> None:
    """Seen from above, the drawn hand covers the pixel of its palm and little of the rest."""
    hand = load_hand("parallel_jaw")
    K = torch.tensor([[300.0, 0.0, 159.5], [0.0, 300.0, 119.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    camera = look_at((0.0, -0.4, 0.8), (0.0, 0.0, 0.0), K, (240, 320))
    T_world_hand = np.diag([1.0, -1.0, -1.0, 1.0])
    T_world_hand[:3, 3] = 0.05, 0.0, 0.05
    template = hand.templates[0]
    grasp = Grasp(hand.name, 0, T_world_hand, template.opened, template.closed, 0.05, 1.0, 4)
    image = np.full((240, 320, 3), 128, dtype=np.uint8)
    drawn = draw_grasps(image, camera, [grasp], hand)
    changed = (drawn != image).any(-1)
    palm = torch.as_tensor(T_world_hand[:3, 3] - 0.06 * T_world_hand[:3, 2])[None]
    ((u, v),) = camera.project(palm)[0].round().int().tolist()
    assert changed[v, u]
    assert 0.005 < changed.mean() < 0.2
    assert (image == 128).all()
