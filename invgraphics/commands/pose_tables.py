"""What `evaluate` says of poses: in `results.json`, and on the screen."""

import math
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from invgraphics.commands.pose_scoring import PUBLISHED
from invgraphics.pose_metrics import PoseResult, describe_pose, summarize_poses
from invgraphics.report.html import count

_GROUPS = {"published_models": "models", "other_images": "other images"}
"""Where the models came from that were laid over the reconstructions, in `results.json` and in words."""
_COLUMNS = {
    "add_auc": "ADD",
    "add_s_auc": "ADD-S",
    "add_or_s_recall": "< 0.1 d",
    "ar_vsd": "VSD",
    "ar_mssd": "MSSD",
    "ar_mspd": "MSPD",
    "ar": "AR",
}
"""All in percent."""
_TITLE = "areas of ADD and ADD-S, ADD(-S) under 0.1 d, recalls, %"
_UNKNOWN = (
    "symmetries are not known (BOP's models_info.json says them): MSSD, MSPD and their recalls are null, ADD(-S) is ADD for every object"
)


def describe_poses(poses: Sequence[PoseResult]) -> dict[str, Any] | None:
    """The `poses` of `results.json`: a summary for each way to come by a model, and every pose; None where there are none."""
    if not poses:
        return None
    groups = _group(poses)
    summaries = {name: summarize_poses(group) | {"unknown": _say_unknown(group)} for name, group in groups.items() if group}
    return {**dict.fromkeys(_GROUPS), **summaries, "objects": [describe_pose(pose) for pose in poses]}


def build_pose_table(poses: Sequence[PoseResult]) -> Table:
    """The summaries as a table, in percent."""
    table = Table(title=f"{count(len(poses), 'pose')}: {_TITLE}", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("by", no_wrap=True)
    for heading in _COLUMNS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for name, group in _group(poses).items():
        if group:
            summary = summarize_poses(group)
            table.add_row(f"{_GROUPS[name]} ({summary['count']})", *(_format(summary.get(key)) for key in _COLUMNS))
    return table


def _group(poses: Sequence[PoseResult]) -> dict[str, list[PoseResult]]:
    published = [pose for pose in poses if pose.model == PUBLISHED]
    return {"published_models": published, "other_images": [pose for pose in poses if pose.model != PUBLISHED]}


def _say_unknown(group: Sequence[PoseResult]) -> str | None:
    """Why some numbers are null; None where none is."""
    scores = [pose.scores for pose in group if pose.scores is not None]
    return _UNKNOWN if any(math.isnan(score.mssd_mm) for score in scores) else None


def _format(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
