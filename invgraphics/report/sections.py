"""The sections of a reconstruction's report, each a function from data to HTML."""

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import torch

from invgraphics.geometry.mesh import volume
from invgraphics.grasp import Grasp
from invgraphics.metrics import ShapeScores
from invgraphics.reconstruction import Reconstruction, StageHistory
from invgraphics.report.charts import draw_curves
from invgraphics.report.fit import Fit, Pictures, compute_depth_error
from invgraphics.report.html import Html, colour_bar, count, details, figure, grid, message, object_label, section, share_bar, table
from invgraphics.report.images import (
    Image,
    colour_depth,
    colour_error,
    colour_of,
    crop_box,
    crop_square,
    depth_range,
    diverging_colours,
    encode_film,
    encode_png,
    heat_colours,
    label_masks,
    outline_masks,
    sequential_colours,
    to_srgb,
)
from invgraphics.scene import SceneObject

DEPTH_ERROR_LIMIT_M = 0.02
"""Depth errors are drawn from minus to plus this."""
_MOST_OPEN_CHARTS = 6
_MOST_GRASPS = 12
_CROP_PIXELS = 300


def describe_input(reconstruction: Reconstruction) -> str:
    """Colour, depth and masks as they came."""
    observation = reconstruction.observation
    colour = to_srgb(observation.colour)
    near, far = depth_range(observation.depth, observation.valid, observation.masks.any(0))
    overlay = label_masks(outline_masks(colour, observation.masks, fill=0.35), observation.masks)
    missing = 100 * (1 - float(observation.valid.float().mean()))
    figures = [
        figure(encode_png(colour), "Colour image"),
        figure(
            encode_png(colour_depth(observation.depth, observation.valid, near, far)),
            f"Measured depth; {missing:.1f} % of the pixels have no reading (grey)",
            _bar(sequential_colours(np.linspace(1, 0, 256)[None]), [f"{near:.2f} m", f"{(near + far) / 2:.2f} m", f"{far:.2f} m"]),
        ),
        figure(encode_png(overlay), f"{count(len(observation.masks), 'mask')}, numbered in the order asked for"),
    ]
    notes = [message(f"Mask {index} gave no object: {reason}.", "bad") for index, reason in sorted(reconstruction.left_out.items())]
    return section("Input", grid(figures, 3), *notes)


def describe_fit(reconstruction: Reconstruction, pictures: Pictures) -> str:
    """The render beside the image, and where its depth differs from the measured one."""
    observation = reconstruction.observation
    colour, render = to_srgb(observation.colour), to_srgb(pictures.colour)
    error, known = compute_depth_error(reconstruction, pictures)
    masks = observation.masks[list(reconstruction.mask_indices)]
    outlined = outline_masks(render, masks, reconstruction.mask_indices)
    limit = 1e3 * DEPTH_ERROR_LIMIT_M
    labels = [f"≤ −{limit:.0f} mm (too near)", "0", f"≥ {limit:.0f} mm (too far)"]
    figures = [
        figure(encode_png(colour), "Image"),
        figure(encode_png(render), "Render of the reconstructed scene from the same camera"),
        figure(encode_png(outlined), "The render with the outlines of the given masks"),
        figure(
            encode_png(colour_error(error, known, DEPTH_ERROR_LIMIT_M)),
            "Depth error: rendered minus measured (grey: nothing measured or nothing rendered)",
            _bar(diverging_colours(np.linspace(0, 1, 256)[None]), labels),
        ),
    ]
    return section("Render against image", grid(figures, 2))


def describe_objects(reconstruction: Reconstruction, pictures: Pictures, fits: Sequence[Fit]) -> str:
    """Every object: its part of the image, and its mesh from three sides."""
    colour = to_srgb(reconstruction.observation.colour)
    rows = []
    for index, item in enumerate(reconstruction.scene.objects):
        mask_index = reconstruction.mask_indices[index]
        mask = reconstruction.observation.masks[mask_index]
        box = crop_box(mask)
        outline = torch.from_numpy(crop_square(mask.cpu().numpy(), box, _CROP_PIXELS))
        crop = outline_masks(crop_square(colour, box, _CROP_PIXELS), outline[None], (mask_index,))
        figures = [figure(encode_png(crop), "Image, with the mask's outline")]
        figures += [figure(encode_png(view), caption) for caption, view in pictures.objects[index]]
        parts = grid(figures, 4) + (_show_spread(pictures, index) if pictures.spreads else "")
        rows.append(_object_heading(label_object(reconstruction, index), item, fits[index]) + parts + "</div>")
    around = [figure(encode_png(view), caption) for caption, view in pictures.sides]
    scene = "<h3>The scene from three sides</h3>" + grid(around, 3)
    return section("Meshes", scene, *rows)


def _show_spread(pictures: Pictures, index: int) -> str:
    """The object in the colours of how far its shape samples are from it."""
    most = 1e3 * pictures.spread_limit
    bar = _bar(heat_colours(np.linspace(0, 1, 256)[None]), ["0", f"{most / 2:.0f} mm", f"≥ {most:.0f} mm"])
    key = f"<figure>{bar}<figcaption>Spread: how far other shapes that the image allows are from each place</figcaption></figure>"
    return grid([key, *(figure(encode_png(view), f"Spread, {caption}") for caption, view in pictures.spreads[index])], 4)


def label_object(reconstruction: Reconstruction, index: int) -> Html:
    """The object of that index in the scene, called by the number of its mask and its name, in its colour."""
    mask_index = reconstruction.mask_indices[index]
    return object_label(f"{mask_index} · {reconstruction.scene.objects[index].name}", colour_of(mask_index))


def _object_heading(label: Html, item: SceneObject, fit: Fit) -> str:
    parts = [f"silhouette IoU {fit.silhouette_iou:.2f}", f"depth error {_number(fit.spread_mm, 1)} mm (median)"]
    if item.mesh is not None:
        vertices = item.mesh.vertices.detach()
        extent = 100 * (vertices.max(0).values - vertices.min(0).values)
        content = 1e6 * float(volume(vertices, item.mesh.faces))
        size = " × ".join(f"{side:.1f}" for side in sorted(extent.tolist(), reverse=True))
        parts = [f"{size} cm", f"{content:.0f} cm³", f"{len(item.mesh.faces)} triangles", *parts]
    return f'<div class="object"><h3><span>{label}</span><small>{" · ".join(parts)}</small></h3>'


def describe_scores(reconstruction: Reconstruction, fits: Sequence[Fit], scores: Mapping[int, ShapeScores] | None) -> str:
    """Per object: agreement with the image, and with the truth where `scores` (by index into the scene's objects) has it."""
    header = ["Object", "Silhouette IoU", "Depth bias, mm", "Depth error, mm"]
    if scores:
        header += ["Chamfer, mm", "F@5 mm, %", "F@10 mm, %", "Normals, %"]
    rows = []
    for index, fit in enumerate(fits):
        row = [
            label_object(reconstruction, index),
            f"{fit.silhouette_iou:.3f}",
            _number(fit.bias_mm, 1, signed=True),
            _number(fit.spread_mm, 1),
        ]
        if scores:
            row += _score_cells(scores.get(index))
        rows.append(row)
    note = "Depth bias and error are medians of rendered minus measured depth, signed and absolute, where mask and render agree."
    if scores:
        note += " Chamfer, F-scores and normal consistency compare the mesh with the true one, hidden side included."
    return section("Scores", table(header, rows), note=note)


def _score_cells(score: ShapeScores | None) -> list[str]:
    return ["–"] * 4 if score is None else [f"{score.cd_l1_mm:.2f}", f"{score.f5:.1f}", f"{score.f10:.1f}", f"{score.nc:.1f}"]


def describe_convergence(history: Sequence[StageHistory]) -> str:
    """The loss of every stage over its iterations, and how the stage ended."""
    if not history:
        return ""
    figures = [
        f"<figure>{draw_curves(stage.loss, 'iteration', 'weighted loss')}<figcaption>{_stage_caption(stage)}</figcaption></figure>"
        for stage in history
    ]
    shown = [grid(figures[:_MOST_OPEN_CHARTS], 3, "charts")]
    if len(figures) > _MOST_OPEN_CHARTS:
        rest = grid(figures[_MOST_OPEN_CHARTS:], 3, "charts")
        shown.append(details(count(len(figures) - _MOST_OPEN_CHARTS, "more stage"), rest))
    return section("Convergence", *shown)


def _stage_caption(stage: StageHistory) -> str:
    return f"<b>{escape(stage.stage)}</b> · {escape(stage.outcome)}"


def describe_timings(seconds: Mapping[str, float], peak_memory_bytes: int = 0) -> str:
    """What each stage cost."""
    total = sum(seconds.values())
    rows = [
        [name, share_bar(value / max(total, 1e-9)), f"{value:.2f}", f"{100 * value / max(total, 1e-9):.0f} %"]
        for name, value in seconds.items()
    ]
    memory = f"Peak memory of the process: {peak_memory_bytes / 2**30:.2f} GiB." if peak_memory_bytes else ""
    return section(
        "Time", table(["Stage", "", "Seconds", "Share"], rows, text_columns=2, footer=[["Total", "", f"{total:.2f}", ""]]), note=memory
    )


def describe_grasps(
    labels: Sequence[Html],
    grasps: Sequence[Grasp],
    filmstrip: Sequence[tuple[Image, str]] = (),
    outcome: str = "",
    succeeded: bool | None = None,
    film: bytes = b"",
    drawn: Image | None = None,
) -> str:
    """Ranked grasps (best first), in a table and `drawn` on the scene; the execution as a film (WebP) and a strip of pictures (image,
    caption); how it ended, in words.

    `labels` are those of the scene's objects; `succeeded` colours the outcome.
    """
    parts = []
    if outcome:
        parts.append(message(outcome, {None: "info", True: "good", False: "bad"}[succeeded]))
    large = []
    if drawn is not None:
        large.append(figure(encode_png(drawn), "up to three grasps of each object, the best filled, with its rank"))
    if film:
        large.append(figure(encode_film(film), "the execution, faster than it was"))
    if large:
        parts.append(grid(large, 2))
    if filmstrip:
        parts.append(grid([figure(encode_png(image), caption) for image, caption in filmstrip], _strip_columns(len(filmstrip))))
    if grasps:
        parts.append(f"<h3>Ranked grasps</h3>{_grasp_table(labels, grasps)}")
    return section("Grasp", *parts)


def _strip_columns(pictures: int) -> int:
    """Three or four, whichever leaves the last row fuller; fewer where there are fewer pictures."""
    return min(pictures, max((4, 3), key=lambda columns: (pictures - 1) % columns / (columns - 1)))


def _grasp_table(labels: Sequence[Html], grasps: Sequence[Grasp]) -> str:
    header = ["Rank", "Object", "Hand", "Success in trials", "Trials", "Opening, mm", "Approach (world x, y, z)"]
    rows = []
    for rank, grasp in enumerate(grasps[:_MOST_GRASPS], start=1):
        success = "untried" if math.isnan(grasp.success_rate) else f"{100 * grasp.success_rate:.0f} %"
        approach = ", ".join(f"{value:+.2f}" for value in np.asarray(grasp.T_world_hand)[:3, 2])
        opening = f"{1e3 * grasp.width:.0f}"
        rows.append([str(rank), labels[grasp.object_index], grasp.hand, success, str(grasp.trials), opening, approach])
    more = f'<p class="note">and {len(grasps) - _MOST_GRASPS} more</p>' if len(grasps) > _MOST_GRASPS else ""
    return table(header, rows, text_columns=3) + more


def _bar(gradient: Image, labels: Sequence[str]) -> str:
    return colour_bar(encode_png(np.repeat(gradient, 4, axis=0)), labels)


def _number(value: float, digits: int, signed: bool = False) -> str:
    rounded = round(value, digits) + 0.0
    return "–" if math.isnan(value) else f"{rounded:{'+' if signed else ''}.{digits}f}"
