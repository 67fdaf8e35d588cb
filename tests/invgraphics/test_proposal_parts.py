"""Parts that the plane's noise has cut apart are joined where they lie in one line and something low lies between them, and only there."""

import numpy as np
import pytest
import torch
import trimesh

from invgraphics.plane import find_support_plane
from invgraphics.segment import ProposalLimits, propose_masks
from invgraphics.transforms import rigid, so3_exp
from tests.benchmarks.proposals import Counts, compare
from tests.optim.views import box, photograph

BOWL, HANDLE = (-0.045, 0.0), (0.045, 0.0)
NECK = box((0.06, 0.01, 0.0018))


def count(solids: list[trimesh.Trimesh], smallest_area: float = ProposalLimits.smallest_area) -> int:
    observation = photograph(solids, noise=5e-4)
    bare = observation.with_masks(torch.zeros(0, *observation.depth.shape, dtype=torch.bool))
    return len(propose_masks(bare, find_support_plane(bare, torch.Generator().manual_seed(0)), ProposalLimits(smallest_area)))


def spoon(turn: float, neck: bool = True) -> trimesh.Trimesh:
    parts = [box((0.03, 0.02, 0.008), *BOWL), box((0.06, 0.012, 0.01), *HANDLE), *([NECK] if neck else [])]
    whole = trimesh.util.concatenate(parts)
    whole.apply_transform(rigid(so3_exp(torch.tensor([0.0, 0.0, turn])), torch.zeros(3)).numpy())
    return whole


@pytest.mark.parametrize("turn", [0.0, 0.8, 1.5])
def test_a_spoon_with_a_low_neck_is_one_object(turn: float) -> None:
    assert count([spoon(turn)]) == 1


def test_what_is_too_small_by_itself_becomes_no_object_in_company() -> None:
    assert count([spoon(0.0)], smallest_area=0.03) == 0


def test_two_things_in_one_line_with_bare_table_between_them_are_two() -> None:
    assert count([spoon(0.4, neck=False)]) == 2


def test_two_things_side_by_side_on_a_sheet_are_two() -> None:
    sheet = box((0.07, 0.06, 0.0017))
    pair = [box((0.06, 0.012, 0.01), y=-0.025), box((0.06, 0.012, 0.01), y=0.025)]
    assert count([trimesh.util.concatenate([*pair, sheet])]) == 2


def test_what_is_seen_apart_by_the_noise_alone_is_below_its_threshold() -> None:
    """The neck by itself does not rise enough to be an object: it is what lies beside it that makes it count."""
    assert count([NECK]) == 0
    assert np.ptp(NECK.vertices[:, 2]) < 0.002


def test_the_benchmark_counts_what_it_says() -> None:
    true = np.zeros((4, 10, 40), bool)
    for k in range(4):
        true[k, 2:8, 10 * k : 10 * k + 8] = True
    whole, left, right = true[0], true[1].copy(), true[1].copy()
    left[:, 15:], right[:, :15] = False, False
    nothing = np.zeros((10, 40), bool)
    nothing[9] = True
    counts = compare(np.stack([whole, left, right, true[2] | true[3], nothing]), true)
    assert counts == Counts(objects=4, found=1, cut=1, joined=1, of_nothing=1)
    counts.add(Counts(1, 1, 0, 0, 0))
    assert counts == Counts(5, 2, 1, 1, 1)
