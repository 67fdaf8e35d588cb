import math

import torch

from invgraphics.transforms import transform_points
from tests.benchmarks.multi_view import photograph_around, summarise
from tests.helpers import SHARED_DATA, needs_shared_data


@needs_shared_data
def test_views_show_the_same_scene_from_the_poses_that_they_say():
    images, T_first_camera = photograph_around(f"{SHARED_DATA}/tabletop_dev:000014/0", math.radians(60))
    first, second = images[:2]
    torch.testing.assert_close(T_first_camera[0], torch.eye(4), atol=1e-5, rtol=0)
    points = transform_points(T_first_camera[1], second.camera.unproject(second.depth)[second.valid & second.masks.any(0)])
    pixels, depth = first.camera.project(points)
    columns, rows = pixels.round().long().T
    inside = (columns >= 0) & (columns < first.camera.width) & (rows >= 0) & (rows < first.camera.height)
    measured = first.depth[rows[inside], columns[inside]]
    behind = (depth[inside] - measured)[measured > 0]
    assert float((behind.abs() < 0.006).float().mean()) > 0.5
    assert float((behind < -0.02).float().mean()) < 0.03


def test_refused_images_count_in_no_mean():
    scores = {"cd_l1_mm": 2.0, "completeness_mm": 1.0, "f5": 90.0, "f10": 99.0, "nc": 88.0}
    rows = [{"views": 2, "poses": "found", "objects": 3} | scores]
    rows.append({"views": 2, "poses": "found", "objects": 5, "refused": "why"} | dict.fromkeys(scores, math.nan))
    assert "| 2, poses found | 3 | 2.00 | 1.00 | 90.00 | 99.00 | 88.00 |" in summarise(rows)
