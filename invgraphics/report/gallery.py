"""A dataset's results as one page: every object's image, render, errors and mesh beside the truth, worst first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from invgraphics.evaluation import (
    STABLE_DEGREES,
    STABLE_MM,
    ObjectResult,
    average,
    average_by_category,
    average_by_name,
    compare_hypotheses,
    measure_shares,
    worst_first,
)
from invgraphics.report.charts import draw_against_diagonal
from invgraphics.report.html import build_page, count, details, grid, key_figures, message, section, table
from invgraphics.spread import compute_reliability, summarize_spread

SCORE_COLUMNS = {
    "cd_l1_mm": ("Chamfer", "mm"),
    "accuracy_mm": ("accuracy", "mm"),
    "completeness_mm": ("completeness", "mm"),
    "add_s_mm": ("ADD-S", "mm"),
    "f5": ("F@5", "%"),
    "f10": ("F@10", "%"),
    "nc": ("normals", "%"),
    "iou": ("IoU", "%"),
}
"""What the page shows of each score: name and unit."""
CHECK_COLUMNS = {
    "depth_mm": ("depth", "mm"),
    "silhouette_iou": ("silhouette", "%"),
    "colour_psnr_db": ("colour", "dB"),
    "penetration_mm": ("overlap", "mm"),
    "sinking_mm": ("sunk", "mm"),
    "moved_mm": ("moved", "mm"),
    "turned_degrees": ("turned", "°"),
}
"""The same of what needs no truth."""
_NOTE = (
    "Left: image, measured depth, render; depth error (blue too near, orange too far, saturated at 20 mm), brightness error (blue too "
    "dark, orange too bright), silhouettes (blue only in the mask, orange only in the render, grey in both). Right: the reconstructed "
    "mesh above the true one, from the camera and turned by 120° to either side, each coloured by its distance to the other: grey 0, "
    "orange 4 mm, dark red 10 mm and more."
)


@dataclass(frozen=True)
class GalleryPictures:
    """What the gallery shows of one object: data URIs, or paths relative to the page, which a page of many objects loads as it needs."""

    image: Sequence[tuple[str, str]]
    """Crops of the image, the depth, the render and their errors: caption and address."""
    predicted: Sequence[str]
    """The reconstructed mesh from three sides."""
    truth: Sequence[str]
    """The true mesh from the same sides; empty where none is known."""


def write_gallery(
    path: Path, title: str, subtitle: str, results: Sequence[ObjectResult], pictures: Mapping[tuple[str, int], GalleryPictures], footer: str
) -> None:
    """Writes the page. `pictures` are by image and mask index; objects without any are shown by their scores alone."""
    known = [result for result in results if result.scores or result.missing]
    body = _summarize(known, results) + _tabulate_averages(known, results)
    if known:
        body += _tabulate_groups("By kind", average_by_category(known)) + _tabulate_hypotheses(known)
        body += _describe_spread(known)
        body += _tabulate_groups("By name", average_by_name(known), folded=True)
    rows = [
        _show_object(rank, result, pictures.get((result.image, result.mask_index))) for rank, result in enumerate(worst_first(results), 1)
    ]
    body += section("Objects, worst first", *rows, note=_NOTE)
    path.write_text(build_page(title, subtitle, body, footer), encoding="utf-8")


def _summarize(known: Sequence[ObjectResult], results: Sequence[ObjectResult]) -> str:
    means, shares = average(results)["mean"], measure_shares(results)
    figures = [(str(len(results)), f"objects, {sum(bool(result.missing) for result in results)} of them missing")]
    if known:
        figures += [
            (f"{means['cd_l1_mm']:.2f} mm", "mean Chamfer distance"),
            (f"{means['f5']:.1f} %", "mean F-score at 5 mm"),
            (f"{means['f10']:.1f} %", "mean F-score at 10 mm"),
            (f"{means['nc']:.1f} %", "mean normal consistency"),
            (f"{means['iou']:.1f} %", "mean IoU of volumes"),
        ]
    if any(result.checks for result in results):
        figures += [
            (f"{means['silhouette_iou']:.1f} %", "mean silhouette IoU"),
            (f"{means['depth_mm']:.2f} mm", "mean depth residual"),
            (_format(shares["stable"], "%"), f"stand still: moved by at most {STABLE_MM:.0f} mm and {STABLE_DEGREES:.0f}°"),
        ]
    return key_figures(figures)


def _tabulate_averages(known: Sequence[ObjectResult], results: Sequence[ObjectResult]) -> str:
    """Mean and median of every score."""
    parts = [(SCORE_COLUMNS, known), (CHECK_COLUMNS, [result for result in results if result.checks])]
    tables = []
    for columns, rows in parts:
        if rows:
            header = ["", *(f"{label}, {unit}" for label, unit in columns.values())]
            tables.append(table(header, [[name, *(_format(values[key]) for key in columns)] for name, values in average(rows).items()]))
    return section("Over all objects", *tables)


def _tabulate_groups(title: str, groups: Mapping[str, Mapping[str, float | int]], folded: bool = False) -> str:
    shown = ("cd_l1_mm", "f5", "f10", "nc", "iou", "depth_mm", "silhouette_iou")
    columns = {name: (SCORE_COLUMNS | CHECK_COLUMNS)[name] for name in shown}
    ordered = sorted(groups.items(), key=lambda item: item[1]["f10"])
    rows = [
        [name, f"{group['count']}", f"{group['missing']}", *(_format(group[key]) for key in columns), _format(group["stable"])]
        for name, group in ordered
    ]
    header = ["", "Objects", "Missing", *(f"{label}, {unit}" for label, unit in columns.values()), "stable, %"]
    content = table(header, rows)
    return section(title, details(f"{count(len(rows), 'name')}, worst first", content) if folded else content)


def _tabulate_hypotheses(known: Sequence[ObjectResult]) -> str:
    groups = compare_hypotheses(known)
    if not groups:
        return ""
    weighed = any("best" in group for group in groups.values())
    header = ["", "Objects", "Chosen", *(["Best there was"] if weighed else []), "Chamfer, mm"]
    header += ["unrefined", "best unrefined"] if weighed else []
    rows = []
    for name, group in groups.items():
        row = [name, str(group["count"]), _list_counts(group["chosen"])]
        row += [_list_counts(group.get("best", {}))] if weighed else []
        row += [_format(group["cd_l1_mm"])]
        row += [_format(group.get(key, math.nan)) for key in ("cd_chosen_mm", "cd_best_mm")] if weighed else []
        rows.append(row)
    return section("The unseen side: completions chosen", table(header, rows, text_columns=3 + weighed))


def _describe_spread(known: Sequence[ObjectResult]) -> str:
    """Whether the shape samples know how wrong the reconstructions are."""
    scores = [result.spread for result in known if result.spread]
    if not scores:
        return ""
    facts = summarize_spread(scores)
    figures = [
        (_format(facts["predicted_mm"], "mm"), "mean error that the samples predict"),
        (_format(facts["actual_mm"], "mm"), "mean error, between surfaces, both ways"),
        (_format(facts["rank_correlation"], digits=2), "rank correlation of the two over objects"),
        (_format(facts["point_rank_correlation"], digits=2), "rank correlation over an object's points, mean"),
    ]
    reliability = [(100 * predicted, 100 * observed) for predicted, observed in compute_reliability(scores)]
    errors = [(score.predicted_mm, score.actual_mm) for score in scores]
    charts = [
        _chart(
            draw_against_diagonal(reliability, "predicted share of points, %", "observed share, %", joined=True),
            "Reliability: how often the truth is nearer than one, two, … of the samples. Above the line they differ too much",
        ),
        _chart(draw_against_diagonal(errors, "predicted error, mm", "actual error, mm", joined=False), "Every object"),
    ]
    note = f"{facts['samples']} shapes per object that the image allows; the first is the reconstruction."
    return section("Uncertainty", key_figures(figures), grid(charts, 2, "charts"), note=note)


def _chart(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _list_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())


def _show_object(rank: int, result: ObjectResult, pictures: GalleryPictures | None) -> str:
    heading = f'<div class="object"><h3><span>{rank}. {escape(result.name)}</span><small>{_describe_place(result)}</small></h3>'
    if result.missing:
        heading += message(f"Missing: {result.missing}", "bad")
    heading += _describe_numbers(result)
    if pictures is None:
        return heading + "</div>"
    cells = [_show_picture(uri, text) for text, uri in pictures.image]
    sides = [_show_picture(uri, kind) for kind, uris in (("reconstructed", pictures.predicted), ("true", pictures.truth)) for uri in uris]
    return f'{heading}<div class="gallery"><div>{"".join(cells)}</div><div>{"".join(sides)}</div></div></div>'


def _show_picture(uri: str, text: str) -> str:
    return f'<figure><img src="{escape(uri)}" alt="{escape(text)}" title="{escape(text)}" loading="lazy" width="180" height="180"></figure>'


def _describe_place(result: ObjectResult) -> str:
    hypothesis = f" · completed as {escape(result.hypothesis)}" if result.hypothesis else ""
    return f"{escape(result.image)} · mask {result.mask_index}{hypothesis}"


def _describe_numbers(result: ObjectResult) -> str:
    parts = [(result.scores, SCORE_COLUMNS), (result.checks, CHECK_COLUMNS)]
    lines = [_describe_part(part, columns) for part, columns in parts if part is not None]
    if result.checks is not None and not result.checks.closed:
        lines.append("the mesh is not closed")
    if result.candidates:
        ordered = sorted(result.candidates.items(), key=lambda item: item[1])
        lines.append("unrefined Chamfer: " + " · ".join(f"{escape(name)} <b>{value:.1f}</b> mm" for name, value in ordered))
    return "".join(f'<p class="scores">{line}</p>' for line in lines)


def _describe_part(part: Any, columns: Mapping[str, tuple[str, str]]) -> str:
    return " · ".join(f"{label} <b>{_format(getattr(part, key))}</b> {unit}" for key, (label, unit) in columns.items())


def _format(value: float, unit: str = "", digits: int = 1) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f} {unit}".rstrip()
