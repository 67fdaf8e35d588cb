"""A dataset's results as one page: every object's image, render, error and mesh beside the truth, worst first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from invgraphics.evaluation import ObjectResult, average, average_by_name, worst_first
from invgraphics.report.html import build_page, count, key_figures, message, section, table

SCORE_COLUMNS = {
    "cd_l1_mm": ("Chamfer", "mm"),
    "accuracy_mm": ("accuracy", "mm"),
    "completeness_mm": ("completeness", "mm"),
    "f5": ("F@5", "%"),
    "f10": ("F@10", "%"),
    "nc": ("normals", "%"),
}
"""What the page shows of each score: name and unit."""


@dataclass(frozen=True)
class GalleryPictures:
    """What the gallery shows of one object; data URIs, so that a page of many objects can be put together from several processes."""

    image: Sequence[tuple[str, str]]
    """Crops of the image, the depth, the render and its error: caption and data URI."""
    predicted: Sequence[str]
    """The reconstructed mesh from three sides."""
    truth: Sequence[str]
    """The true mesh from the same sides."""


def write_gallery(
    path: Path, title: str, subtitle: str, results: Sequence[ObjectResult], pictures: Mapping[tuple[str, int], GalleryPictures], footer: str
) -> None:
    """Writes the page. `pictures` are by image and mask index; objects without any are shown by their scores alone."""
    body = _summarize(results) + _tabulate_names(results)
    rows = [
        _show_object(rank, result, pictures.get((result.image, result.mask_index))) for rank, result in enumerate(worst_first(results), 1)
    ]
    note = "Left the image, its depth, the render and its depth error (blue too near, orange too far, saturated at 20 mm). "
    note += "Right the reconstructed mesh above the true one, from the camera and turned by 120° to either side."
    body += section("Objects, worst first", *rows, note=note)
    path.write_text(build_page(title, subtitle, body, footer), encoding="utf-8")


def _summarize(results: Sequence[ObjectResult]) -> str:
    means, missing = average(results)["mean"], sum(result.scores is None for result in results)
    return key_figures(
        [
            (str(len(results)), f"objects, {missing} of them missing"),
            (f"{means['cd_l1_mm']:.2f} mm", "mean Chamfer distance"),
            (f"{means['f5']:.1f} %", "mean F-score at 5 mm"),
            (f"{means['f10']:.1f} %", "mean F-score at 10 mm"),
            (f"{means['nc']:.1f} %", "mean normal consistency"),
        ]
    )


def _tabulate_names(results: Sequence[ObjectResult]) -> str:
    groups = sorted(average_by_name(results).items(), key=lambda item: item[1]["f10"])
    rows = [[name, f"{group['count']}", f"{group['missing']}", *(f"{group[key]:.1f}" for key in SCORE_COLUMNS)] for name, group in groups]
    table_html = table(["Name", "Objects", "Missing", *(f"{label}, {unit}" for label, unit in SCORE_COLUMNS.values())], rows)
    return section("By name", f"<details><summary>{count(len(rows), 'name')}, worst first</summary>{table_html}</details>")


def _show_object(rank: int, result: ObjectResult, pictures: GalleryPictures | None) -> str:
    heading = f'<div class="object"><h3><span>{rank}. {escape(result.name)}</span><small>{_describe(result)}</small></h3>'
    if pictures is None:
        return heading + message(f"Missing: {result.missing}", "bad") + "</div>"
    cells = [
        f'<figure><img src="{uri}" alt="{escape(text)}" title="{escape(text)}" loading="lazy"></figure>' for text, uri in pictures.image
    ]
    sides = [
        f'<figure><img src="{uri}" alt="{kind}" title="{kind}" loading="lazy"></figure>'
        for kind, uris in (("reconstructed", pictures.predicted), ("true", pictures.truth))
        for uri in uris
    ]
    return f'{heading}<div class="gallery"><div>{"".join(cells)}</div><div>{"".join(sides)}</div></div></div>'


def _describe(result: ObjectResult) -> str:
    place = f"{escape(result.image)} · mask {result.mask_index}"
    if result.scores is None:
        return place
    values = [f"{label} <b>{getattr(result.scores, key):.1f}</b> {unit}" for key, (label, unit) in SCORE_COLUMNS.items()]
    return f'<span class="scores">{place} · {" · ".join(values)}</span>'
