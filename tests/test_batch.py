"""Sets of images through the command line: each into its own folder, failures recorded, runs carried on; poses across images; Ray."""

import functools
import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest

from invgraphics.cli import main
from invgraphics.commands.batch import run_batch
from invgraphics.commands.executors import run_all
from invgraphics.commands.reconstruct import Settings
from invgraphics.errors import InputError
from invgraphics.output import load_scene
from tests.executor_work import leave_a_mark, measure_length
from tests.invgraphics.dataset_samples import BALL, write_fewsol, write_tum
from tests.invgraphics.tabletop import write_frame

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (pip install 'invgraphics[ray]', 250 MB): too heavy for [dev]"
)


@pytest.fixture(scope="module")
def batch(tmp_path_factory) -> tuple[Path, Path]:
    """Two frames, one of them without depth, reconstructed: the folder of frames, and the output."""
    root = tmp_path_factory.mktemp("batch")
    for name in ("good", "spoilt"):
        write_frame(root / "frames" / name, BALL)
    (root / "frames" / "spoilt" / "depth.png").rename(root / "away.png")
    out = root / "out"
    assert main(["reconstruct", f"frames:{root / 'frames'}", "--out", str(out), "--workers", "1"]) == 1
    return root / "frames", out


def test_every_image_gets_a_folder_and_failures_a_reason(batch):
    _, out = batch
    table = json.loads((out / "batch.json").read_text())
    rows = {row["folder"]: row for row in table["images"]}
    assert (rows["good"]["objects"], rows["good"]["failure"]) == (1, "")
    assert any("came with the image" in message for message in rows["good"]["messages"])
    assert "no such file" in rows["spoilt"]["failure"]
    assert len(load_scene(out / "good").objects) == 1
    assert (out / "good" / "report.html").is_file()
    assert not (out / "spoilt" / "scene.json").exists()


def test_the_same_command_does_what_is_missing(batch, tmp_path, capsys):
    frames, out = batch
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    written = (copy / "good" / "scene.json").stat().st_mtime_ns
    assert main(["reconstruct", f"frames:{frames}", "--out", str(copy), "--workers", "1"]) == 1
    printed = capsys.readouterr().out
    assert "1 image already done" in printed
    assert "failed spoilt" in printed
    assert (copy / "good" / "scene.json").stat().st_mtime_ns == written


def test_other_settings_and_other_folders_are_refused(batch, tmp_path, capsys):
    frames, out = batch
    for words, said in (
        ([f"frames:{frames}", "--out", str(out), "--seed", "5"], "was begun with seed 0 and not 5"),
        ([f"frames:{frames}", "--out", str(frames)], "not empty"),
        ([f"frames:{frames}", "--out", str(tmp_path / "o"), "--click", "3", "4"], "--box and --click hold pixels of one image"),
        ([str(frames / "good"), "--out", str(tmp_path / "o"), "--workers", "2"], "are for sets of images"),
        ([f"frames:{frames}", "--out", str(tmp_path / "o"), "--workers", "0"], "at least 1"),
        ([str(frames / "good"), str(frames / "good"), "--each", "--out", str(tmp_path / "o")], "would both be written to good"),
    ):
        assert main(["reconstruct", *words]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_an_object_without_a_model_is_posed_by_its_reconstruction_from_another_image(tmp_path, capsys):
    """FewSOL's real objects: the first image of an object is the reference, the second is scored against it."""
    root = write_fewsol(tmp_path / "fewsol")
    out = tmp_path / "out"
    assert main(["evaluate", f"fewsol:{root}", "--scenes", "real_objects_0320T173759", "--out", str(out), "--workers", "1"]) == 0
    poses = json.loads((out / "results.json").read_text())["poses"]
    assert poses["published_models"] is None
    assert (poses["other_images"]["count"], poses["other_images"]["missing"]) == (1, 0)
    (row,) = poses["objects"]
    assert (row["image"], row["model"]) == ("real_objects_0320T173759_000001", "real_objects_0320T173759_000000")
    # Both images are the same, so the reconstructions are; the ball leaves its turn open, which ADD-S does not mind.
    assert row["add_s_mm"] < 8
    assert row["mssd_mm"] is None
    assert "other images (1)" in " ".join(capsys.readouterr().out.split())
    assert json.loads((out / "results.json").read_text())["objects_without_truth"]["count"] == 2


def test_sequences_without_masks_have_nothing_to_evaluate(tmp_path, capsys):
    write_tum(tmp_path / "desk")
    assert main(["evaluate", f"tum:{tmp_path / 'desk'}", "--out", str(tmp_path / "out"), "--workers", "1"]) == 2
    assert "no masks and no boxes" in capsys.readouterr().err


def test_work_is_done_in_this_process_where_one_worker_does_it():
    results = dict(run_all(functools.partial(measure_length, base=10, parent=os.getpid()), ["a", "bb"], lambda item: (item, 0), workers=1))
    assert results == {"a": 11, "bb": 12}


def test_an_interruption_ends_what_has_begun_and_begins_nothing_else(tmp_path):
    results = run_all(functools.partial(leave_a_mark, folder=tmp_path), range(30), lambda item: -1, workers=2)
    assert next(results) == 0
    (tmp_path / "interrupted").touch()
    results.close()
    begun = len(list(tmp_path.iterdir())) - 1
    assert 1 <= begun < 15


def test_ray_is_asked_for_by_name_where_it_is_absent(tmp_path):
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("Ray is installed")
    with pytest.raises(InputError, match=r"invgraphics\[ray\]"):
        run_batch([str(tmp_path)], tmp_path / "out", Settings(), 1, "ray")


@needs_ray
def test_ray_does_what_processes_do_and_outlives_a_death(batch, tmp_path):
    results = dict(
        run_all(functools.partial(measure_length, base=10, parent=os.getpid()), ["a", "deadly", "bb"], lambda item: (item, 0), 2, "ray")
    )
    assert results == {"a": 11, "bb": 12, "deadly": 0}
    frames, out = batch
    assert main(["reconstruct", f"frames:{frames}", "--out", str(tmp_path / "out"), "--executor", "ray", "--workers", "2"]) == 1
    mesh = Path("good") / "meshes" / "object_00.ply"
    assert (tmp_path / "out" / mesh).read_bytes() == (out / mesh).read_bytes()
