"""Boxes and clicks on the command line: what belongs to which object, who segments, what is written."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from invgraphics.cli import OneLineParser, main
from invgraphics.commands.prompting import add_prompt_arguments, parse_prompts, segment_frame
from invgraphics.commands.segment import draw_masks
from invgraphics.datasets import FrameInput, load_frame
from invgraphics.errors import InputError
from invgraphics.segment import DepthColourSegmenter, Prompt
from tests.invgraphics.tabletop import Tabletop, find_box, write_frame


def _parse(*words: str) -> list[Prompt] | None:
    parser = OneLineParser(prog="segment")
    add_prompt_arguments(parser)
    frame = FrameInput(Tabletop().observe(with_masks=False), torch.zeros(0, 4))
    return parse_prompts(parser.parse_args(words).marks, [frame])


def test_points_belong_to_the_object_begun_last():
    words = "--box 10 20 60 80 --off 15 25 --click 100 40 110 50 --on 120 60 --off 90 30 91 31 --box 1 2 3 4"
    assert _parse(*words.split()) == [
        Prompt((10.0, 20.0, 60.0, 80.0), (), ((15.0, 25.0),)),
        Prompt(None, ((100.0, 40.0), (110.0, 50.0), (120.0, 60.0)), ((90.0, 30.0), (91.0, 31.0))),
        Prompt((1.0, 2.0, 3.0, 4.0)),
    ]
    assert _parse() is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--off 3 4", "belongs to an object"),
        ("--click 3 4 5", "pairs of x and y"),
        ("--click 3 b", "invalid float value"),
    ],
)
def test_words_that_do_not_fit_are_refused_in_one_line(words, said, capsys):
    with pytest.raises(SystemExit):
        _parse(*words.split())
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", ["--click 160 30", "--click 3 -1", "--box 10 20 60 80 --off 30 120"])
def test_points_outside_the_image_are_refused(words):
    with pytest.raises(InputError, match="lies outside the image of 160x120"):
        _parse(*words.split())


def test_boxes_alone_are_segmented_as_boxes_and_what_came_with_the_image_gives_way():
    scene = Tabletop()
    frame = FrameInput(scene.observe(), torch.zeros(0, 4))
    boxes = torch.tensor([find_box(mask.numpy()) for mask in frame.observation.masks]).flip(0)
    expected = DepthColourSegmenter().segment(frame.observation, boxes, torch.Generator().manual_seed(0))
    marked, source = segment_frame(frame, [Prompt(tuple(box)) for box in boxes.tolist()], None, seed=0)
    assert torch.equal(marked.masks, expected)
    assert source == "from what was marked, by depth and GrabCut"
    given, source = segment_frame(frame, None, None, seed=0)
    assert given is frame.observation
    assert source == "those that came with the image"
    found, source = segment_frame(FrameInput(scene.observe(with_masks=False), torch.zeros(0, 4)), None, None, seed=0)
    assert len(found.masks) == 2
    assert "support plane" in source


def test_segment_writes_masks_that_a_frame_folder_takes(tmp_path: Path, capsys):
    frame = write_frame(tmp_path / "frame", masks=False)
    out = tmp_path / "out"
    truth = Tabletop().observe().masks
    clicks = [[str(round(float(x.float().mean()))) for x in reversed(torch.nonzero(mask, as_tuple=True))] for mask in truth]
    words = [word for click in reversed(clicks) for word in ("--click", *click)]
    assert main(["segment", str(frame), *words, "--out", str(out)]) == 0
    assert "2 masks from what was marked, by depth and GrabCut" in capsys.readouterr().out
    (frame / "mask.png").write_bytes((out / "mask.png").read_bytes())
    masks = load_frame(frame).observation.masks
    for mask, true, index in zip(masks, truth.flip(0), range(2), strict=True):
        assert float((mask & true).sum() / (mask | true).sum()) > 0.85
        written = cv2.imread(str(out / "masks" / f"object_{index:02d}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(written > 0, mask.numpy())
    overlay = cv2.imread(str(out / "overlay.png"))
    plain = cv2.imread(str(frame / "rgb.png"))
    assert (overlay != plain).any(-1)[masks.any(0).numpy()].mean() > 0.95
    untouched = ~cv2.dilate(masks.any(0).numpy().astype(np.uint8), np.ones((5, 5))).astype(bool)
    np.testing.assert_array_equal(overlay[untouched], plain[untouched])
    assert main(["segment", str(frame), "--out", str(out)]) == 2


def test_objects_next_to_each_other_in_number_are_drawn_in_different_hues():
    observation = Tabletop().observe()
    picture = cv2.cvtColor(draw_masks(observation), cv2.COLOR_BGR2HSV)
    hues = [int(np.median(picture[mask.numpy()][:, 0])) for mask in observation.masks]
    assert abs(hues[0] - hues[1]) > 20


def test_boxes_that_come_with_a_frame_are_used(tmp_path: Path):
    folder = write_frame(tmp_path / "frame", masks=False)
    truth = Tabletop().observe().masks
    (folder / "boxes.json").write_text(json.dumps([find_box(truth[1].numpy())]))
    observation, source = segment_frame(load_frame(folder), None, None, seed=0)
    assert len(observation.masks) == 1
    assert source.startswith("from the boxes that came with the image")
