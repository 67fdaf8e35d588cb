"""Clicks and boxes on a made-up tabletop whose masks are known."""

import pytest
import torch
from torch import Tensor

from invgraphics.errors import InputError
from invgraphics.segment import DepthColourPrompts, Prompt, PromptSegmenter
from tests.invgraphics.tabletop import Tabletop, find_box

TOUCHING = Tabletop(balls=((-0.05, 0.0, 0.05), (0.05, 0.0, 0.05)))


def segment(scene: Tabletop, prompt: Prompt) -> Tensor:
    observation = scene.observe(with_masks=False)
    segmenter = DepthColourPrompts(observation, torch.Generator().manual_seed(0))
    assert isinstance(segmenter, PromptSegmenter)
    return segmenter.segment_prompt(observation, prompt)


def iou(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


def centre(mask: Tensor) -> tuple[float, float]:
    y, x = torch.nonzero(mask).double().mean(0).tolist()
    return x, y


def test_one_click_gives_the_ball_that_it_hits() -> None:
    truth = Tabletop().observe().masks
    for mask in truth:
        assert iou(segment(Tabletop(), Prompt(inside=(centre(mask),))), mask) > 0.9


def test_a_box_gives_the_ball_in_it() -> None:
    mask = Tabletop().observe().masks[1]
    assert iou(segment(Tabletop(), Prompt(box=tuple(find_box(mask.numpy())))), mask) > 0.9


def test_a_click_beside_the_box_widens_it() -> None:
    first, second = Tabletop().observe().masks
    box = tuple(find_box(first.numpy()))
    assert not (segment(Tabletop(), Prompt(box=box)) & second).any()
    both = segment(Tabletop(), Prompt(box=box, inside=(centre(second),)))
    assert (both & second).sum() > 0.85 * second.sum()


def test_a_click_outside_takes_away_what_hangs_on() -> None:
    first, second = TOUCHING.observe().masks
    both = segment(TOUCHING, Prompt(inside=(centre(first), centre(second))))
    assert iou(both, first | second) > 0.85
    kept = segment(TOUCHING, Prompt(inside=(centre(first),), outside=(centre(second),)))
    assert iou(kept, first) > 0.8
    x, y = (round(value) for value in centre(second))
    assert not kept[y, x]


def test_a_click_on_the_bare_table_gives_no_ball() -> None:
    truth = Tabletop().observe().masks
    assert not (segment(Tabletop(), Prompt(inside=((80.0, 110.0),))) & truth).any()


def test_a_prompt_without_anything_on_the_object_is_refused() -> None:
    with pytest.raises(InputError, match="nothing is marked"):
        segment(Tabletop(), Prompt(outside=((5.0, 5.0),)))
    assert not Prompt(outside=((5.0, 5.0),))
    assert Prompt(inside=((0.0, 0.0),))
