"""Masks by hand: every gesture, by program and as the browser sends it."""

import base64

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from invgraphics.datasets import load_frame
from invgraphics.errors import InputError
from invgraphics.report.images import colour_of
from invgraphics.segment import DepthColourPrompts, MaskEditor
from invgraphics.widgets import MaskCanvas, Picture
from tests.invgraphics.tabletop import Tabletop, find_box, write_frame

TRUTH = Tabletop().observe().masks


def make_editor(with_masks: bool = False) -> MaskEditor:
    observation = Tabletop().observe(with_masks)
    return MaskEditor(observation, DepthColourPrompts(observation, torch.Generator().manual_seed(0)))


def iou(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


def centre(mask: Tensor) -> tuple[float, float]:
    y, x = torch.nonzero(mask).double().mean(0).tolist()
    return x, y


def test_boxes_and_clicks_make_the_masks_of_their_objects() -> None:
    editor = make_editor()
    editor.click(editor.add_object(), *centre(TRUTH[0]))
    x0, y0, x1, y1 = find_box(TRUTH[1].numpy())
    editor.set_box(editor.add_object(), (x1, y1, x0, y0))
    assert editor.objects[1].prompt.box == (x0, y0, x1, y1)
    assert all(iou(mask, truth) > 0.9 for mask, truth in zip(editor.masks(), TRUTH, strict=True))


def test_the_brush_has_the_last_word_and_steps_are_undone_one_by_one() -> None:
    editor = make_editor(with_masks=True)
    before = editor.masks()
    x, y = centre(TRUTH[0])
    editor.paint(0, [(x - 5, y), (x + 5, y)], radius=2, erase=True)
    ball, (row, column) = editor.masks()[0], (round(y), round(x))
    assert not ball[row - 1 : row + 2, column - 5 : column + 6].any()
    assert int(before[0].sum() - ball.sum()) < 16 * 7
    editor.click(0, x, y - 4)
    assert not editor.masks()[0][row, column], "segmenting anew must leave what was erased"
    editor.paint(0, [(3.0, 3.0)], radius=1)
    assert editor.masks()[0][3, 3]
    for _ in range(3):
        editor.undo()
    assert (editor.masks() == before).all()
    editor.undo()
    assert (editor.masks() == before).all()


def test_masks_are_disjoint_and_the_last_object_wins() -> None:
    editor = make_editor(with_masks=True)
    editor.paint(1, [centre(TRUTH[0])], radius=3)
    x, y = (round(value) for value in centre(TRUTH[0]))
    assert editor.masks()[1][y, x]
    assert int(editor.masks().sum(0).max()) == 1


def test_a_mask_that_came_along_takes_clicks_beside_it() -> None:
    editor = make_editor()
    both = MaskEditor(editor.observation.with_masks((TRUTH[0] | TRUTH[1])[None]), editor.segmenter)
    both.click(0, *centre(TRUTH[1]), inside=False)
    assert iou(both.masks()[0], TRUTH[0]) > 0.9


def test_what_is_saved_is_read_back_without_the_empty_ones(tmp_path) -> None:
    frame = write_frame(tmp_path / "frame", masks=False)
    editor = make_editor(with_masks=True)
    editor.add_object()
    editor.save(frame / "mask.png")
    assert (load_frame(frame).observation.masks == TRUTH).all()
    editor.remove_object(0)
    editor.save(frame / "mask.png")
    assert (load_frame(frame).observation.masks == TRUTH[1:]).all()


def test_what_cannot_be_done_changes_nothing(tmp_path) -> None:
    editor = make_editor()
    index = editor.add_object()
    with pytest.raises(InputError, match="less than a pixel"):
        editor.set_box(index, (10, 10, 10, 40))
    with pytest.raises(InputError, match="nothing is marked yet"):
        editor.click(index, 5, 5, inside=False)
    with pytest.raises(InputError, match="no object is marked"):
        editor.save(tmp_path / "mask.png")
    assert not editor.masks().any()
    assert list(tmp_path.iterdir()) == []


def decode(address: str) -> np.ndarray:
    content = np.frombuffer(base64.b64decode(address.partition(",")[2]), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def test_the_canvas_does_what_the_browser_asks_and_shows_it() -> None:
    canvas = MaskCanvas(make_editor())
    x, y = centre(TRUTH[0])
    canvas.obey({"kind": "point", "x": x + 0.5, "y": y + 0.5, "inside": True})
    assert iou(canvas.editor.masks()[0], TRUTH[0]) > 0.9
    assert canvas.objects[0]["inside"] == [[x + 0.5, y + 0.5]]
    colour = np.array([int(colour_of(0)[k : k + 2], 16) for k in (1, 3, 5)])
    row, column = round(y), round(x)
    plain, marked = decode(canvas.plain)[row, column], decode(canvas.marked)[row, column]
    assert np.abs(marked - colour).sum() < np.abs(plain - colour).sum()

    canvas.obey({"kind": "add"})
    assert canvas.selected == 1
    canvas.obey({"kind": "box", "box": find_box(TRUTH[1].numpy())})
    assert iou(canvas.editor.masks()[1], TRUTH[1]) > 0.9
    canvas.obey({"kind": "stroke", "path": [[4.5, 4.5], [8.5, 4.5]], "radius": 1, "erase": False})
    assert canvas.editor.masks()[1][4, 4:9].all()
    canvas.obey({"kind": "undo"})
    assert not canvas.editor.masks()[1][4, 6]
    canvas.obey({"kind": "remove"})
    assert (len(canvas.objects), canvas.selected) == (1, 0)
    canvas.obey({"kind": "box", "box": [3, 3, 3, 9]})
    assert "less than a pixel" in canvas.status
    canvas.obey({"kind": "remove"})
    canvas.obey({"kind": "remove"})
    canvas.obey({"kind": "box", "box": find_box(TRUTH[0].numpy())})
    assert iou(canvas.editor.masks()[0], TRUTH[0]) > 0.9


def test_a_picture_changes_in_place_and_shows_without_a_kernel() -> None:
    dark, bright = np.zeros((8, 12, 3), np.uint8), np.full((8, 12, 3), 250, np.uint8)
    picture = Picture(dark)
    first = picture.value
    picture.show(bright)
    shown = cv2.imdecode(np.frombuffer(picture.value, np.uint8), cv2.IMREAD_COLOR)
    assert picture.value != first
    assert shown.shape == (8, 12, 3)
    assert shown.min() > 240
    assert base64.b64decode(picture._repr_mimebundle_()["image/jpeg"]) == picture.value
