"""`make bench` measures what it says it does; how long things take is not looked at here."""

from xml.etree import ElementTree

import pytest

from tests.benchmarks.rendering import describe_machine, fit_costs, measure, measure_case, measure_memory
from tests.benchmarks.rendering_plot import draw


def make_case(size: tuple[int, int], triangles: int, threads: int = 2) -> dict:
    seconds = 1e-3 + 2e-9 * size[0] * size[1] + 3e-8 * triangles
    times = {"median_s": seconds, "quartile_1_s": 0.9 * seconds, "quartile_3_s": 1.2 * seconds}
    return {"size": size, "triangles": triangles, "threads": threads, "rasterize": times, "forward": times, "step": times}


CASES = [make_case(size, triangles) for size in ((128, 128), (480, 640)) for triangles in (1600, 25600, 409600)]


def test_costs_are_fitted():
    fit = fit_costs(CASES, "step")
    assert fit["fixed_s"] == pytest.approx(1e-3)
    assert fit["per_pixel_s"] == pytest.approx(2e-9)
    assert fit["per_triangle_s"] == pytest.approx(3e-8)


def test_what_takes_long_is_done_once(monkeypatch):
    calls = []
    monkeypatch.setattr("tests.benchmarks.rendering.LONGEST", -1.0)
    assert measure(lambda: calls.append(1), 20)["repeats"] == 1
    assert len(calls) == 2, "a warm-up, and what is measured"
    monkeypatch.setattr("tests.benchmarks.rendering.TOO_LONG", -1.0)
    assert measure(lambda: calls.append(1), 20)["repeats"] == 1
    assert len(calls) == 3, "the warm-up is what is measured"
    monkeypatch.undo()
    monkeypatch.setattr("tests.benchmarks.rendering.LONGEST", 1e9)
    assert measure(lambda: calls.append(1), 3)["repeats"] == 3


def test_memory_grows_with_triangles():
    memory = measure_memory(6, (120, 160))
    vertices, triangles = memory["triangles"] / 2, memory["triangles"]
    assert triangles == 409600
    assert 12 * vertices + 24 * triangles < memory["bytes"] < 1000 * triangles


def test_a_case_covers_a_fifth_of_the_image():
    case = measure_case((96, 128), 2, threads=1, repeats=1)
    assert case["triangles"] == 1600
    assert 0.15 < case["covered"] < 0.25
    assert all(case[what]["repeats"] == 1 for what in ("rasterize", "forward", "step"))


def test_the_plot_is_well_formed_and_names_device_and_versions():
    times = CASES[0]["step"]
    peer = {"what": "gradient of 1600 triangles at 128x128", "version": "9.9", "theirs": times, "ours": times, "ratio": 1.0}
    cases = [*CASES, *(make_case(case["size"], case["triangles"], 1) for case in CASES)]
    svg = draw({"machine": describe_machine(), "cases": cases, "peers": {"<other>": peer, "broken": {"failed": "no"}}})
    text = " ".join(element.text or "" for element in ElementTree.fromstring(svg).iter())
    for part in ("640×480", "100 k", "<other>", "9.9", describe_machine()["torch"], describe_machine()["processor"]):
        assert part in text
    assert "broken" not in text
