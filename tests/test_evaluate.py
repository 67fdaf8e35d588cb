import io
import json
import math
import os
import re
import shutil
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh

from invgraphics.camera import Camera
from invgraphics.cli import main
from invgraphics.commands.evaluate import evaluate_images
from invgraphics.commands.scoring import Job
from invgraphics.datasets import GroundTruth
from invgraphics.evaluation import (
    ObjectChecks,
    ObjectResult,
    average,
    average_by_category,
    average_by_name,
    categorize,
    compare_hypotheses,
    describe_result,
    measure_shares,
    parse_result,
    score_objects,
    worst_first,
)
from invgraphics.geometry.mesh import Mesh, icosphere
from invgraphics.metrics import ShapeScores
from invgraphics.spread import SpreadScores
from invgraphics.transforms import invert, rigid, so3_exp
from optim.options import ReconstructionOptions
from tests.helpers import SHARED_DATA, needs_shared_data

HEIGHT, WIDTH, FOCAL = 120, 160, 160.0
RADIUS = 0.04


def _scores(value: float) -> ShapeScores:
    return ShapeScores(value, value**2, value, value, 50.0, 60.0, 70.0, 80.0, 90.0, 55.0, value)


def test_missing_objects_lower_the_percentages_and_not_the_distances():
    results = [
        ObjectResult("a", 0, "cup", _scores(2.0)),
        ObjectResult("a", 1, "fork", _scores(6.0)),
        ObjectResult("b", 0, "fork", None, "no depth"),
    ]
    means = average(results)["mean"]
    assert means["cd_l1_mm"] == 4.0
    assert means["f10"] == pytest.approx(40.0)
    assert average(results)["median"]["f5"] == 50.0
    assert average_by_name(results)["fork"]["missing"] == 1
    assert average_by_name(results)["fork"]["nc"] == 45.0
    assert [result.name for result in worst_first(results)] == ["fork", "fork", "cup"]
    assert worst_first(results)[0].scores is None
    assert describe_result(results[2])["cd_l1_mm"] is None
    assert describe_result(results[2])["missing"] == "no depth"
    assert np.isnan(average([results[2]])["mean"]["cd_l1_mm"])


def _checks(moved: float = 1.0, turned: float = 1.0, closed: bool = True) -> ObjectChecks:
    return ObjectChecks(1.5, 95.0, 28.0, 0.2, 0.0, moved, turned, closed)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("round_plate_1", "plate"), ("cracker_box", "box"), ("large-cube", "cube"), ("obj_000012", "obj"), ("fork", "fork"), ("7", "7")],
)
def test_the_kind_of_a_thing_is_the_last_word_of_its_name(name, kind):
    assert categorize(name) == kind


def test_kinds_are_averaged_apart():
    results = [
        ObjectResult("a", k, name, _scores(value)) for k, (name, value) in enumerate([("a_cup", 1.0), ("b_cup_2", 3.0), ("fork", 9.0)])
    ]
    groups = average_by_category(results)
    assert (groups["cup"]["count"], groups["cup"]["cd_l1_mm"], groups["fork"]["cd_l1_mm"]) == (2, 2.0, 9.0)


def test_shares_count_only_what_could_be_asked():
    results = [
        ObjectResult("a", 0, "still", _scores(1.0), checks=_checks()),
        ObjectResult("a", 1, "rolls", _scores(50.0), checks=_checks(turned=6.0, closed=False)),
        ObjectResult("a", 2, "floats", _scores(150.0), checks=_checks(math.nan, math.nan)),
        ObjectResult("a", 3, "lost", None, "no depth"),
    ]
    shares = measure_shares(results)
    assert shares["stable"] == 50.0
    assert shares["closed"] == pytest.approx(200 / 3)
    assert shares["add_s_auc"] == pytest.approx(100 * (0.99 + 0.5 + 0 + 0) / 4)
    assert math.isnan(measure_shares([results[2]])["stable"])


def test_completions_are_compared_with_the_best_there_was():
    results = [
        ObjectResult("a", 0, "red_cup", _scores(2.0), hypothesis="shadow", candidates={"shadow": 3.0, "revolution": 1.0}),
        ObjectResult("a", 1, "cup", _scores(4.0), hypothesis="revolution", candidates={"shadow": 3.0, "revolution": 2.0}),
        ObjectResult("a", 2, "fork", _scores(5.0), hypothesis="shadow"),
        ObjectResult("a", 3, "fork", None, "no depth"),
    ]
    rows = compare_hypotheses(results)
    assert rows["cup"]["chosen"] == {"shadow": 1, "revolution": 1}
    assert rows["cup"]["best"] == {"revolution": 2}
    assert (rows["cup"]["cd_chosen_mm"], rows["cup"]["cd_best_mm"], rows["cup"]["cd_l1_mm"]) == (2.5, 1.5, 3.0)
    assert rows["all"]["count"] == 3
    assert "best" not in rows["fork"]


def test_results_come_back_from_their_rows():
    whole = ObjectResult("a", 0, "cup", _scores(2.0), "", _checks(), "shadow", {"shadow": 2.5})
    spread = SpreadScores(1.0, 2.0, math.nan, (0.25, 0.75), 3.0, 2.0)
    described = json.loads(json.dumps(describe_result(replace(whole, spread=spread)), allow_nan=True))
    assert repr(parse_result(described).spread) == repr(spread)
    for result in (whole, ObjectResult("a", 1, "fork", None, "no depth"), ObjectResult("a", 2, "hat", None, checks=_checks())):
        assert parse_result(json.loads(json.dumps(describe_result(result)))) == result


def test_objects_are_matched_to_meshes_by_their_mask():
    sphere, faces = icosphere(3)
    small, large = Mesh(0.02 * sphere, faces), Mesh(0.05 * sphere, faces)
    truths = [GroundTruth(k, f"sphere {k}", mesh, torch.eye(4)) for k, mesh in ((0, small), (1, small), (3, large))]
    rows = score_objects("image", truths, {0: small, 3: large}, {1: "empty mask"}, seed=0)
    assert [row.scores is None for row in rows] == [False, True, False]
    assert rows[1].missing == "empty mask"
    assert rows[0].scores.completeness_mm < 0.01
    assert rows[2].scores.completeness_mm < 0.01


def _write_frame(folder: Path, centre_x: float, model: str) -> None:
    """A sphere on a table, seen from above at an angle, its image computed ray by ray; masks, pose and mesh beside it."""
    folder.mkdir(parents=True)
    # The camera stands at (0, -0.45, 0.35) and looks at the origin: x right, y down, z forward.
    T_world_camera = rigid(so3_exp(torch.tensor([-(torch.pi / 2 + 0.661), 0.0, 0.0])), torch.tensor([0.0, -0.45, 0.35]))
    K = torch.tensor([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
    camera = Camera(K, HEIGHT, WIDTH, T_world_camera)
    rays = (camera.rays() @ T_world_camera[:3, :3].T).double().numpy()
    origin, centre = T_world_camera[:3, 3].double().numpy(), np.array([centre_x, 0.0, RADIUS])
    with np.errstate(invalid="ignore"):
        a, b, c = (rays**2).sum(-1), rays @ (origin - centre), ((origin - centre) ** 2).sum() - RADIUS**2
        to_sphere = (-b - np.sqrt(b**2 - a * c)) / a
    to_table = -origin[2] / rays[..., 2]
    mask = np.isfinite(to_sphere)
    depth = np.where(mask, to_sphere, np.where((to_table > 0) & (to_table < 2), to_table, 0))
    depth += 0.0005 * np.random.default_rng(0).standard_normal(depth.shape) * (depth > 0)
    cv2.imwrite(str(folder / "depth.png"), np.round(1e4 * depth).astype(np.uint16))
    cv2.imwrite(str(folder / "mask.png"), mask.astype(np.uint8))
    cv2.imwrite(str(folder / "rgb.png"), np.where(mask[..., None], (40, 60, 200), (180, 190, 185)).astype(np.uint8))
    description = {"K": K.tolist(), "width": WIDTH, "height": HEIGHT, "depth_scale_m": 1e-4}
    (folder / "camera.json").write_text(json.dumps(description))
    T_camera_object = invert(T_world_camera) @ rigid(torch.eye(3), torch.tensor(centre, dtype=torch.float32))
    pose = {"instance": 1, "name": "ball", "mesh": model, "R": T_camera_object[:3, :3].tolist(), "t_m": T_camera_object[:3, 3].tolist()}
    (folder / "poses.json").write_text(json.dumps([pose]))


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """Three frames: two good, one whose depth is missing; and one without masks."""
    root = tmp_path_factory.mktemp("data")
    (root / "objects").mkdir()
    trimesh.creation.icosphere(subdivisions=4, radius=RADIUS).export(root / "objects" / "ball.ply")
    for name, x in (("first", 0.0), ("second", 0.05), ("spoilt", 0.0), ("unmasked", 0.0)):
        _write_frame(root / "frames" / name, x, "objects/ball.ply")
    (root / "frames" / "spoilt" / "depth.png").unlink()
    (root / "frames" / "unmasked" / "mask.png").unlink()
    (root / "frames" / "unmasked" / "poses.json").unlink()
    return root / "frames"


@pytest.fixture(scope="module")
def evaluated(frames, tmp_path_factory) -> tuple[Path, str]:
    """The whole set evaluated by one process: the output folder, and what was printed."""
    out, printed = tmp_path_factory.mktemp("evaluated") / "out", io.StringIO()
    with redirect_stdout(printed):
        assert main(["evaluate", f"frames:{frames}", "--out", str(out), "--seed", "3"]) == 1
    return out, printed.getvalue()


def test_a_set_is_reconstructed_and_scored(evaluated):
    out, printed = evaluated
    results = json.loads((out / "results.json").read_text())
    assert (results["count"], results["missing"], results["seed"]) == (3, 1, 3)
    by_image = {row["image"]: row for row in results["objects"]}
    assert by_image["first"]["name"] == "ball"
    for name in ("first", "second"):
        assert trimesh.load(out / name / "meshes" / "object_00.ply").is_watertight
        assert by_image[name]["f20"] > 60
        assert by_image[name]["cd_l1_mm"] < 15
    expected = np.mean([by_image[name]["f10"] if name != "spoilt" else 0.0 for name in by_image])
    assert results["mean"]["f10"] == pytest.approx(expected)
    assert "reconstructed" in (out / "gallery.html").read_text()
    assert all(said in printed for said in ("3 objects", "mean", "median"))


def test_what_fails_is_recorded_and_the_rest_done(evaluated):
    out, printed = evaluated
    results = json.loads((out / "results.json").read_text())
    spoilt = next(row for row in results["objects"] if row["image"] == "spoilt")
    assert spoilt["cd_l1_mm"] is None
    assert "no such file" in spoilt["missing"]
    failures = {Path(row["image"]).name: row["failure"] for row in results["images"]}
    assert [name for name, failure in failures.items() if failure] == ["spoilt"]
    assert all(said in printed for said in ("1 image failed", "1 image passed over", "1 object missing"))


def test_every_object_is_checked_against_image_and_physics(evaluated):
    out, _ = evaluated
    results = json.loads((out / "results.json").read_text())
    for row in results["objects"]:
        if row["image"] != "spoilt":
            assert row["closed"] is True
            assert row["silhouette_iou"] > 85
            assert row["depth_mm"] < 3
            assert row["penetration_mm"] == 0.0
            assert row["moved_mm"] < 30
            assert row["hypothesis"] in ("superquadric", "revolution", "shadow")
            assert row["iou"] > 60
    assert results["shares"]["closed"] == 100.0
    assert results["by_category"]["ball"]["count"] == 3
    assert results["hypotheses_by_category"]["ball"]["count"] == 2


def test_the_gallery_refers_to_pictures_that_are_there(evaluated):
    out, _ = evaluated
    sources = re.findall(r'<img src="([^"]+)"', (out / "gallery.html").read_text())
    assert len(sources) == 2 * 12
    assert all(cv2.imread(str(out / source)) is not None for source in sources)


def test_several_processes_do_what_one_does_to_the_bit(evaluated, frames, tmp_path):
    words = ["evaluate", f"frames:{frames}", "--out", str(tmp_path / "out"), "--seed", "3", "--workers", "2"]
    assert main([*words, "--scenes", "unmasked", "spoilt", "second"]) == 1
    one, two = (json.loads((out / "results.json").read_text()) for out in (evaluated[0], tmp_path / "out"))
    assert [Path(row["image"]).name for row in two["images"]] == ["second", "spoilt", "unmasked"]
    expected = [row for row in one["objects"] if row["image"] != "first"]
    assert two["objects"] == expected


def test_samples_are_scored_and_drawn(frames, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["evaluate", f"frames:{frames}", "--scenes", "second", "--out", str(out), "--samples", "3"]) == 0
    content = json.loads((out / "results.json").read_text())
    assert content["spread"]["samples"] == 3
    assert 0 < content["spread"]["predicted_mm"] < 50
    assert [row["predicted"] for row in content["spread"]["reliability"]] == pytest.approx([1 / 3, 2 / 3])
    assert len(list((out / "second" / "meshes" / "samples").glob("object_00_*.ply"))) == 3
    assert "Reliability" in (out / "gallery.html").read_text()
    assert "3 shapes per object" in " ".join(capsys.readouterr().out.split())


class _Deadly(str):
    """The name of an image on which the process that is to read it dies."""

    __slots__ = ()

    def __reduce__(self):
        return os._exit, (1,)


def test_an_image_that_kills_its_process_takes_no_other_with_it(frames, tmp_path):
    images = [_Deadly(frames / "first"), str(frames / "spoilt")]
    job = Job(tmp_path, 3, ReconstructionOptions(), candidates=False)
    results = {Path(result.image).name: result for result in evaluate_images(images, job, workers=2)}
    assert "process died" in results["first"].failure
    assert results["first"].objects[0].missing == results["first"].failure
    assert "no such file" in results["spoilt"].failure


def test_a_run_goes_on_where_it_was_interrupted(evaluated, frames, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(evaluated[0], out)
    before = json.loads((out / "results.json").read_text())
    done_at = (out / "first" / "evaluation.json").stat().st_mtime_ns
    # As if the process had been killed while it wrote the second image.
    (out / "second" / "evaluation.json").unlink()
    (out / "second" / "scene.json").unlink()
    (out / "results.json").unlink()
    assert main(["evaluate", f"frames:{frames}", "--out", str(out), "--seed", "3"]) == 1
    assert "2 images already done" in capsys.readouterr().out
    assert (out / "first" / "evaluation.json").stat().st_mtime_ns == done_at
    assert json.loads((out / "results.json").read_text())["objects"] == before["objects"]


def test_other_settings_are_not_mixed_with_what_is_there(evaluated, frames, capsys):
    assert main(["evaluate", f"frames:{frames}", "--out", str(evaluated[0]), "--seed", "4"]) == 2
    assert "was begun with seed 3 and not 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--scenes", "third"], "--scenes names third"),
        (["--workers", "0"], "at least 1"),
        (["--without", "silhouette,luck"], "no ingredient luck"),
    ],
)
def test_bad_requests_exit_with_2_and_one_line(frames, tmp_path, capsys, words, said):
    assert main(["evaluate", f"frames:{frames}", "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_old_results_are_not_mixed_with_new_ones(frames, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["evaluate", f"frames:{frames}", "--out", str(tmp_path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


@needs_shared_data
def test_scenes_of_a_bop_dataset_by_their_number(tmp_path):
    assert main(["evaluate", str(SHARED_DATA / "clevr_dev"), "--out", str(tmp_path / "out"), "--scenes", "6"]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    truth = json.loads((SHARED_DATA / "clevr_dev" / "test" / "000006" / "scene_gt.json").read_text())["0"]
    assert results["count"] == len(truth)
    assert {row["image"] for row in results["objects"]} == {"000006"}
    assert len(list((tmp_path / "out" / "000006" / "meshes").glob("object_*.ply"))) == len(truth) - results["missing"]
