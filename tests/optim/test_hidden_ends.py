"""Long objects that run behind others: how far they are taken to go on, and when they are not."""

import numpy as np
import pytest
import torch
import trimesh

from invgraphics.geometry.mesh import is_closed
from optim.completion import choose_hypothesis
from optim.hidden_ends import extend_hidden_ends
from optim.hypotheses import Hypothesis
from optim.object_view import ObjectView, view_objects
from tests.optim.views import box, photograph

LENGTH, THICKNESS = 0.16, 0.02
BAR = box((LENGTH, THICKNESS, THICKNESS))
HIDDEN_FROM, HIDDEN_TO = 0.02, 0.085
"""Between which x (m) the block stands before the bar, whose end is at 0.08."""
BLOCK = box((HIDDEN_TO - HIDDEN_FROM, 0.02, 0.07), x=(HIDDEN_FROM + HIDDEN_TO) / 2, y=-0.04)


def complete(solids: list[trimesh.Trimesh]) -> tuple[ObjectView, Hypothesis]:
    """What an image shows of the first solid, and what is made of it."""
    view = view_objects(photograph(solids, noise=5e-4), has_plane=True)[0]
    return view, choose_hypothesis(view, np.random.default_rng(0))


@pytest.mark.parametrize("turn", [0.0, np.pi])
def test_a_bar_goes_on_behind_a_block_as_far_as_the_median_of_what_would_be_hidden(turn: float) -> None:
    about_vertical = trimesh.transformations.rotation_matrix(turn, [0, 0, 1])
    bar, block = (solid.copy() for solid in (BAR, BLOCK))
    bar.apply_transform(about_vertical)
    if turn:
        block.apply_translation([-(HIDDEN_FROM + HIDDEN_TO), 0, 0])
    sign = -1.0 if turn else 1.0
    view, completion = complete([bar, block])
    extended = extend_hidden_ends(completion, view, np.random.default_rng(0))
    before, after = (sign * each.vertices[:, 0] for each in (completion, extended))
    seen = np.ptp(before)
    # Seen past the block's edges, which are nearer than the bar, room begins and ends a little further in.
    expected = np.sqrt(seen * (seen + HIDDEN_TO - HIDDEN_FROM)) - seen
    assert before.max() == pytest.approx(HIDDEN_FROM, abs=0.008)
    assert after.max() - before.max() == pytest.approx(expected, abs=0.006)
    assert after.min() == pytest.approx(before.min(), abs=1e-9)
    assert is_closed(torch.as_tensor(extended.faces))
    np.testing.assert_allclose(extended.vertices[:, 1:], completion.vertices[:, 1:], atol=0.003)


def test_what_is_seen_to_end_ends_there() -> None:
    view, completion = complete([BAR])
    extended = extend_hidden_ends(completion, view, np.random.default_rng(0))
    np.testing.assert_array_equal(extended.vertices, completion.vertices)


def test_a_bar_that_ends_just_before_a_block_is_not_taken_to_reach_behind_it() -> None:
    """The same block with the bar drawn back: its end face is seen beside the block."""
    bar = BAR.copy()
    bar.apply_translation([HIDDEN_FROM - LENGTH / 2 - 0.02, 0, 0])
    view, completion = complete([bar, BLOCK])
    extended = extend_hidden_ends(completion, view, np.random.default_rng(0))
    np.testing.assert_array_equal(extended.vertices, completion.vertices)


def test_what_is_no_longer_than_wide_is_left_as_it_was_completed() -> None:
    view, completion = complete([box((0.09, 0.09, 0.03)), BLOCK])
    extended = extend_hidden_ends(completion, view, np.random.default_rng(0))
    wide = np.ptp(completion.vertices[:, 0]) < 1.15 * np.ptp(completion.vertices[:, 1])
    assert wide
    np.testing.assert_array_equal(extended.vertices, completion.vertices)
