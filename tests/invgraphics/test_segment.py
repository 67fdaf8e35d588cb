"""Masks from boxes and without: against true masks of made-up, rendered and real images."""

import numpy as np
import pytest
import torch
from torch import Tensor

from invgraphics.datasets import FrameInput, list_images, load_observation
from invgraphics.errors import InputError
from invgraphics.plane import find_support_plane
from invgraphics.segment import DepthColourSegmenter, ProposalLimits, mask_objects, propose_masks
from invgraphics.segment.surface import label_connected
from tests.helpers import SHARED_DATA, needs_shared_data
from tests.invgraphics.tabletop import Tabletop, find_box

TWO_THAT_TOUCH = Tabletop(balls=((-0.05, 0.0, 0.05), (0.05, 0.0, 0.05)))
ONE_BEHIND_THE_OTHER = Tabletop(tilt_degrees=30, balls=((0.0, 0.10, 0.06), (0.02, -0.02, 0.04)))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def iou(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


def best_iou(mask: Tensor, candidates: Tensor) -> float:
    return max((iou(mask, other) for other in candidates), default=0.0)


def box_of(masks: Tensor) -> Tensor:
    return torch.tensor([find_box(mask.numpy()) for mask in masks])


def frame_of(scene: Tabletop, with_masks: bool = False, boxes: Tensor | None = None) -> FrameInput:
    return FrameInput(scene.observe(with_masks), torch.zeros(0, 4) if boxes is None else boxes)


@pytest.mark.parametrize("scene", [Tabletop(), TWO_THAT_TOUCH, ONE_BEHIND_THE_OTHER])
def test_boxes_give_the_balls_disjoint_and_in_order(scene: Tabletop) -> None:
    truth = scene.observe().masks
    boxes = box_of(truth).flip(0)
    masks = DepthColourSegmenter().segment(scene.observe(with_masks=False), boxes, generator())
    assert int(masks.sum(0).max()) == 1
    assert all(iou(mask, true) > 0.9 for mask, true in zip(masks, truth.flip(0), strict=True))


def test_box_that_covers_the_image_gives_the_ball_on_it() -> None:
    scene = Tabletop(balls=((0.0, 0.0, 0.06),))
    boxes = torch.tensor([[0.0, 0.0, 160.0, 120.0]])
    masks = DepthColourSegmenter().segment(scene.observe(with_masks=False), boxes, generator())
    assert iou(masks[0], scene.observe().masks[0]) > 0.8


@pytest.mark.parametrize("scene", [Tabletop(), ONE_BEHIND_THE_OTHER, Tabletop(wall=0.25, tilt_degrees=25)])
def test_proposals_are_the_balls_from_left_to_right(scene: Tabletop) -> None:
    observation = scene.observe(with_masks=False)
    masks = propose_masks(observation, find_support_plane(observation, generator()))
    truth = sorted(scene.observe().masks, key=lambda mask: np.nonzero(mask.numpy())[1].mean())
    assert len(masks) == len(truth)
    assert all(iou(mask, true) > 0.85 for mask, true in zip(masks, truth, strict=True))


def test_limits_are_kept() -> None:
    observation = Tabletop().observe(with_masks=False)
    plane = find_support_plane(observation, generator())
    assert len(propose_masks(observation, plane, ProposalLimits(largest_extent_m=0.07))) == 1
    assert len(propose_masks(observation, plane, ProposalLimits(smallest_height_m=0.099))) == 0


def test_connection_stops_at_steps_and_bridges_gaps() -> None:
    depth = np.ones((5, 9))
    depth[:, 5:] = 1.5
    mask = np.ones((5, 9), bool)
    mask[:, 2] = False
    labels = label_connected(mask, 1 / depth, largest_step=0.05, reach=2)
    assert (labels[:, 2] == 0).all()
    assert len(np.unique(labels[:, [0, 1, 3, 4]])) == 1
    assert len(np.unique(labels[:, 5:])) == 1
    assert labels[0, 0] != labels[0, 8]
    apart = label_connected(mask, 1 / depth, largest_step=0.05, reach=1)
    assert apart[0, 0] != apart[0, 4]


def test_boxes_asked_for_win_over_masks_and_masks_over_nothing() -> None:
    scene = Tabletop()
    truth = scene.observe().masks
    given = frame_of(scene, with_masks=True)
    assert mask_objects(given, generator()) is given.observation
    asked = mask_objects(given, generator(), box_of(truth)[1:])
    assert len(asked.masks) == 1
    assert iou(asked.masks[0], truth[1]) > 0.9
    from_file = mask_objects(frame_of(scene, boxes=box_of(truth)[:1]), generator())
    assert len(from_file.masks) == len(from_file.object_names) == 1
    assert len(mask_objects(frame_of(scene), generator()).masks) == 2


def test_other_segmenters_take_its_place() -> None:
    class Halves:
        def segment(self, observation, boxes, generator):
            masks = torch.zeros(len(boxes), *observation.depth.shape, dtype=torch.bool)
            masks[0, :, :80] = True
            return masks

    observation = mask_objects(frame_of(Tabletop()), generator(), torch.tensor([[0.0, 0.0, 80.0, 120.0]]), Halves())
    assert int(observation.masks.sum()) == 80 * 120


def test_empty_table_says_what_to_give() -> None:
    with pytest.raises(InputError, match=r"no objects found.*--box"):
        mask_objects(frame_of(Tabletop(balls=())), generator())


@needs_shared_data
def test_boxes_on_rendered_objects() -> None:
    scores = []
    for image in list_images(SHARED_DATA / "tabletop_dev")[::6]:
        observation = load_observation(image)
        masks = DepthColourSegmenter().segment(observation.with_masks(observation.masks[:0]), box_of(observation.masks), generator())
        scores += [iou(mask, true) for mask, true in zip(masks, observation.masks, strict=True)]
    assert np.mean(scores) > 0.85


@needs_shared_data
def test_proposals_on_real_objects() -> None:
    for name, expected in (("ycb_table_0", 5), ("single_red_mug", 1)):
        observation = load_observation(SHARED_DATA / "frames" / name)
        blank = observation.with_masks(observation.masks[:0])
        masks = propose_masks(blank, find_support_plane(blank, generator()))
        assert len(masks) == expected
        assert all(best_iou(true, masks) > 0.75 for true in observation.masks)
