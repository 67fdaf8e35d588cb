import base64
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from invgraphics.camera import Camera
from invgraphics.evaluation import ObjectChecks, ObjectResult
from invgraphics.geometry.mesh import Mesh, icosphere
from invgraphics.grasp import Grasp
from invgraphics.metrics import ShapeScores
from invgraphics.observation import Observation
from invgraphics.reconstruction import Reconstruction, StageHistory
from invgraphics.report import GraspReport, Pictures, measure_fit, write_report
from invgraphics.report.charts import draw_curves, format_value
from invgraphics.report.gallery import GalleryPictures, write_gallery
from invgraphics.report.images import (
    colour_depth,
    colour_error,
    composite,
    crop_box,
    crop_square,
    depth_range,
    encode_jpeg,
    encode_png,
    outline_masks,
    to_srgb,
)
from invgraphics.scene import AmbientLight, Material, Scene, SceneObject

HEIGHT, WIDTH = 48, 64
EVIL_NAME = "cup <b>&\"'"
VOID_TAGS = {"img", "meta", "line", "circle", "polyline", "br"}


class _PageReader(HTMLParser):
    """Collects what a page refers to and says, and whether its tags are balanced."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data if self.open and self.open[-1] != "style" else ""


def _read_page(path: Path) -> _PageReader:
    reader = _PageReader()
    reader.feed(path.read_text())
    reader.close()
    assert reader.open == []
    return reader


def _decode(uri: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(",", 1)[1]), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def _reconstruction() -> Reconstruction:
    """Two masks, 10 and 20 columns wide; the first gave an object, the second none."""
    masks = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    masks[0, 10:30, 10:20], masks[1, 10:30, 40:60] = True, True
    camera = Camera(torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]), HEIGHT, WIDTH, torch.eye(4))
    generator = torch.Generator().manual_seed(0)
    depth = torch.full((HEIGHT, WIDTH), 0.8)
    depth[0] = 0.0
    observation = Observation(torch.rand(HEIGHT, WIDTH, 3, generator=generator), depth, depth > 0, masks, camera, "kitchen <1>")
    sphere, faces = icosphere(2)
    material = Material(torch.full((3,), 0.5), torch.tensor(0.0), torch.tensor(0.5))
    item = SceneObject(EVIL_NAME, torch.eye(4), torch.full((3,), 0.05), material, Mesh(0.05 * sphere, faces))
    scene = Scene((item,), (AmbientLight(torch.zeros(9, 3)),), None, camera)
    history = (StageHistory("stage one", {"total": [100.0, 10.0, 1.0], "depth": [60.0, 5.0, 0.5]}, "converged"),)
    return Reconstruction(scene, observation, (0,), {1: "only 12 pixels have depth"}, history, {"ellipsoids": 1.5, "meshes": 4.5}, 2**30)


def _pictures(offset: float = 0.004) -> Pictures:
    """The object as seen 10 columns too far right, its depth too far by `offset`."""
    ids = torch.full((HEIGHT, WIDTH), -1)
    ids[10:30, 15:25] = 0
    view = np.full((30, 30, 3), 128, np.uint8)
    depth = torch.full((HEIGHT, WIDTH), 0.8 + offset)
    return Pictures(torch.full((HEIGHT, WIDTH, 3), 0.2), depth, ids, (("from the side", view),), ((("from the side", view),),))


def _scores(cd: float) -> ShapeScores:
    return ShapeScores(cd, cd**2, cd, cd, 61.5, 82.5, 90.0, 95.0, 77.25, 66.0, cd)


def test_the_report_is_one_well_formed_file_that_needs_no_other(tmp_path):
    grasp = Grasp("mia <right>", 0, np.eye(4), {}, {}, 0.043, 0.75, 20)
    strip = [(np.zeros((20, 30, 3), np.uint8), f"{k} s") for k in range(3)]
    report = GraspReport([grasp], strip, "the object was lifted & held", succeeded=True)
    write_report(tmp_path / "report.html", _reconstruction(), _pictures(), {0: _scores(3.21)}, report)
    page = _read_page(tmp_path / "report.html")
    assert all(source.startswith("data:image/") for source in page.sources)
    assert not {"script", "link", "iframe"} & set(page.tags)
    for said in (EVIL_NAME, "kitchen <1>", "mia <right>", "3.21", "77.2", "75 %", "the object was lifted & held", "2 s"):
        assert said in page.text
    assert "Mask 1 gave no object: only 12 pixels have depth." in page.text
    assert "6.00" in page.text
    assert "url(" not in (tmp_path / "report.html").read_text()
    assert all(_decode(source).size > 0 for source in page.sources)


def test_a_report_without_truth_grasp_or_history_leaves_their_parts_out(tmp_path):
    bare = Reconstruction(_reconstruction().scene, _reconstruction().observation, (0,))
    write_report(tmp_path / "report.html", bare, _pictures())
    headings = re.findall("<h2>(.*?)</h2>", (tmp_path / "report.html").read_text())
    assert "Grasp" not in headings
    assert "Convergence" not in headings
    assert "Chamfer" not in _read_page(tmp_path / "report.html").text


def test_fit_measures_overlap_and_depth_where_mask_and_render_agree():
    (fit,) = measure_fit(_reconstruction(), _pictures(offset=-0.004))
    assert fit.silhouette_iou == pytest.approx(5 / 15)
    assert fit.bias_mm == pytest.approx(-4.0, abs=1e-3)
    assert fit.spread_mm == pytest.approx(4.0, abs=1e-3)


def test_what_another_mask_hides_does_not_lower_the_overlap():
    reconstruction, pictures = _reconstruction(), _pictures()
    pictures.object_ids[10:30, 10:20] = 0
    pictures.object_ids[10:30, 20:25] = -1
    pictures.object_ids[10:30, 45:50] = 0
    (fit,) = measure_fit(reconstruction, pictures)
    assert fit.silhouette_iou == 1.0


def _curve_points(svg: str) -> list[list[tuple[float, float]]]:
    lines = re.findall(r'points="([^"]+)"', svg)
    return [[tuple(map(float, point.split(","))) for point in line.split()] for line in lines]


def test_a_loss_that_falls_by_decades_is_a_straight_line_on_its_log_axis():
    (points,) = _curve_points(draw_curves({"total": [1000.0, 100.0, 10.0, 1.0]}, "iteration", "loss"))
    x, y = np.array(points).T
    np.testing.assert_allclose(np.diff(x), np.diff(x)[0], atol=0.11)
    np.testing.assert_allclose(np.diff(y), np.diff(y)[0], atol=0.11)
    assert y[0] < y[-1]


def test_negative_losses_get_a_linear_axis_and_nan_a_gap():
    svg = draw_curves({"total": [-3.0, -5.0, math.nan, -6.0, -6.5]}, "iteration", "loss")
    first, second = _curve_points(svg)
    assert (len(first), len(second)) == (2, 2)
    assert (first[1][1] - first[0][1]) / 2 == pytest.approx((second[1][1] - second[0][1]) / 0.5, rel=0.02)
    assert "(log)" not in svg


def test_curves_with_nothing_to_draw_and_with_one_point():
    assert "<svg" not in draw_curves({"total": []}, "iteration", "loss")
    assert "<circle" in draw_curves({"total": [2.0]}, "iteration", "loss")
    assert "NaN" not in draw_curves({"total": [0.0, 0.0]}, "iteration", "loss")


def test_tick_values_are_short():
    assert [format_value(value) for value in (0.0, 0.25, 1500.0, 1e-6, 3e7)] == ["0", "0.25", "1500", "1e-6", "3e7"]


def test_error_colours_tell_sign_and_size():
    error = torch.tensor([[-1.0, 0.0, 1.0, 5.0, 0.3]])
    colours = colour_error(error, torch.tensor([[True, True, True, True, False]]), limit=1.0).astype(int)[0]
    assert colours[0][2] > colours[0][0] + 30
    assert colours[2][0] > colours[2][2] + 30
    assert colours[1].min() > 235
    assert (colours[3] == colours[2]).all()
    assert np.ptp(colours[4]) < 6


def test_near_depth_is_bright():
    colours = colour_depth(torch.tensor([[0.5, 1.0]]), torch.tensor([[True, True]]), 0.5, 1.0).astype(int)[0]
    assert colours[0].sum() > colours[1].sum() + 200


def test_the_depth_range_is_that_of_the_objects():
    depth = torch.cat([torch.linspace(0.5, 0.6, 200), torch.full((800,), 3.0)])[None]
    near, far = depth_range(depth, depth > 0, depth < 1)
    assert 0.44 < near <= 0.51
    assert 0.59 <= far < 0.7
    assert depth_range(depth, depth < 0, depth < 1) == (0.0, 1.0)


def test_crops_are_square_whole_and_reach_over_the_border():
    mask = torch.zeros(40, 60, dtype=torch.bool)
    mask[0:20, 50:60] = True
    left, top, side = crop_box(mask, margin=0.1)
    assert (side, left + side // 2, top + side // 2) == (24, 55, 10)
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 50:] = 255
    crop = crop_square(image, (left, top, side), 48)
    assert crop.shape == (48, 48, 3)
    assert (crop[10:30, 20:28] == 255).all()
    inside = crop_square(mask.numpy(), (left, top, side), 24)
    assert inside.sum() == 200


def test_composites_and_srgb_follow_the_standard_curve():
    half = torch.full((2, 2, 3), 0.2140)
    assert (to_srgb(half) == 127).all() or (to_srgb(half) == 128).all()
    blank = composite(torch.zeros(2, 2, 3), torch.zeros(2, 2))
    assert (blank > 240).all()


def test_outlines_run_along_the_mask_and_leave_the_rest():
    mask = torch.zeros(1, 40, 40, dtype=torch.bool)
    mask[0, 10:30, 10:30] = True
    outlined = outline_masks(np.zeros((40, 40, 3), np.uint8), mask)
    assert outlined[10, 20].sum() > 0
    assert outlined[20, 20].sum() == 0
    assert outlined[2, 2].sum() == 0


def test_images_come_back_from_their_data_uris():
    image = np.random.default_rng(0).integers(0, 255, (16, 24, 3)).astype(np.uint8)
    np.testing.assert_array_equal(_decode(encode_png(image)), image)
    smooth = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    assert np.abs(_decode(encode_jpeg(smooth)).astype(int) - smooth).mean() < 2


def test_the_gallery_shows_the_worst_first_and_says_what_is_missing(tmp_path):
    checks = ObjectChecks(1.75, 93.5, 28.5, 0.0, 0.0, math.nan, math.nan, closed=False)
    results = [
        ObjectResult("000001", 0, "good", _scores(1.0), checks=checks, hypothesis="shell", candidates={"shell": 2.5, "hull": 1.5}),
        ObjectResult("000001", 1, "bad", _scores(9.0)),
        ObjectResult("000002", 0, "lost <x>", None, "no depth"),
        ObjectResult("000002", 1, "unknown", None, checks=checks),
    ]
    uri = encode_png(np.zeros((4, 4, 3), np.uint8))
    pictures = {("000001", k): GalleryPictures([("image", uri)] * 4, [uri] * 3, [uri] * 3) for k in range(2)}
    write_gallery(tmp_path / "gallery.html", "set", "2 images", results, pictures, "footer")
    page = _read_page(tmp_path / "gallery.html")
    assert page.text.index("1. lost <x>") < page.text.index("2. bad") < page.text.index("3. good") < page.text.index("4. unknown")
    assert "Missing: no depth" in page.text
    assert "5.00 mm" in page.text
    assert f"{2 * 82.5 / 3:.1f} %" in page.text
    assert len(page.sources) == 20
    for said in ("median", "silhouette 93.5 %", "moved –", "the mesh is not closed", "completed as shell", "hull 1.5 mm · shell 2.5 mm"):
        assert said in page.text
