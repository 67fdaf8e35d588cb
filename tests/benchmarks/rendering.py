"""How long rendering takes, forward and with gradients, over image sizes and triangles, beside peers where they are installed.

    python -m tests.benchmarks.rendering --out rendering.json --plot rendering.svg [--quick]

Times are medians with quartiles over repetitions after a warm-up; beside them the least processor time of all threads together, which other
programs on the machine hardly change. The table is printed, everything goes into the JSON file: device, versions, every time, and the
fit `seconds = fixed + pixel * pixels + triangle * triangles`.
"""

import argparse
import datetime
import json
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numba
import numpy as np
import torch

from renderers.mesh_renderer import build_layout
from renderers.protocol import make_renderer
from renderers.rasterize import make_rasterizer
from tests.benchmarks import rendering_peers, rendering_plot, rendering_scenes
from tests.benchmarks.rendering_limits import compute_least_bytes, compute_memory_limit

SIZES = ((128, 128), (240, 320), (480, 640), (720, 1280))
SUBDIVISIONS = (2, 3, 4, 5, 6, 7)
LONGEST = 4.0
"""Seconds after which a case is not repeated any more."""
TOO_LONG = 20.0
"""What takes so many seconds at its warm-up is not done again: the warm-up is the measurement."""


def measure(function: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median and quartiles of the seconds that a call takes, and the least processor time that one took."""
    first = _time_once(function)
    runs = [first] if first[0] > TOO_LONG else []
    while not runs or (len(runs) < repeats and sum(wall for wall, _ in runs) < LONGEST):
        runs.append(_time_once(function))
    times, processor = zip(*runs, strict=True)
    low, middle, high = (float(value) for value in np.quantile(times, [0.25, 0.5, 0.75]))
    return {"median_s": middle, "quartile_1_s": low, "quartile_3_s": high, "least_processor_s": min(processor), "repeats": len(times)}


def _time_once(function: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of the processor; until the GPU is done, where there is one."""
    start, busy = time.perf_counter(), time.process_time()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - busy


def measure_case(size: tuple[int, int], subdivisions: int, threads: int, repeats: int) -> dict[str, object]:
    """Rasterization alone; an image of colour, depth and silhouette, antialiased; the same with the gradient of all vertices."""
    rasterizer = make_rasterizer("cpu", threads=threads)
    step, forward = rendering_scenes.build_steps(rasterizer, subdivisions, size)
    vertices, faces = rendering_scenes.five_spheres(subdivisions)
    clip = rendering_scenes.to_clip(vertices, rendering_scenes.clip_from_world(size))
    drawn = rasterizer.rasterize(clip, faces, size)
    return {
        "size": size,
        "triangles": len(faces),
        "threads": threads,
        "covered": float((drawn.triangle_ids >= 0).double().mean()),
        "rasterize": measure(lambda: rasterizer.rasterize(clip, faces, size), repeats),
        "forward": measure(forward, repeats),
        "step": measure(step, repeats),
    }


def measure_memory(subdivisions: int, size: tuple[int, int]) -> dict[str, float]:
    """Bytes that a step with gradients takes at its peak, and how many of them a process holds before it; in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        before, peak = pool.submit(_peak_memory, subdivisions, size).result()
    return {"triangles": 100 * 4**subdivisions, "size": size, "bytes": peak - before, "bytes_with_all_libraries": peak}


def _peak_memory(subdivisions: int, size: tuple[int, int]) -> tuple[int, int]:
    rasterizer = make_rasterizer("cpu")
    rendering_scenes.build_steps(rasterizer, 0, size)[0]()
    before = _read_memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is from now on.
    rendering_scenes.build_steps(rasterizer, subdivisions, size)[0]()
    return before, _read_memory("VmHWM")


def _read_memory(name: str) -> int:
    """Bytes that this process holds ("VmRSS"), or held at most ("VmHWM")."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def measure_scene(threads: int, repeats: int) -> dict[str, object]:
    """Forward and gradient of colour (metallic-roughness, two lights), depth and silhouettes of five objects, 640 x 480."""
    scene = rendering_scenes.five_objects((480, 640))
    layout, renderer = build_layout(scene), make_renderer("cpu", shadows="none")

    def step() -> None:
        free, leaves = rendering_scenes.with_free_vertices(scene)
        rendered = renderer(free, free.camera, layout)
        loss = sum(_mean_square(image) for image in (rendered.colour, rendered.depth, rendered.coverage))
        torch.autograd.grad(loss, leaves)

    def forward() -> None:
        with torch.no_grad():
            renderer(scene, scene.camera, layout)

    return {"threads": threads, "triangles": len(layout.face_owners), "forward": measure(forward, repeats), "step": measure(step, repeats)}


def _mean_square(image: torch.Tensor) -> torch.Tensor:
    """As a scalar product, which makes half as many temporary images as `square().mean()`: the renderer is to be timed, not the loss."""
    flat = image.flatten()
    return flat.dot(flat) / len(flat)


def fit_costs(cases: list[dict], what: str) -> dict[str, float]:
    """Least squares, each case weighted by its time: seconds = fixed + pixel * pixels + triangle * triangles; all at least 0."""
    from scipy.optimize import nnls

    times = np.array([case[what]["median_s"] for case in cases])
    columns = np.array([[1.0, case["size"][0] * case["size"][1], case["triangles"]] for case in cases])
    coefficients, _ = nnls(columns / times[:, None], np.ones(len(times)))
    error = np.abs(columns @ coefficients / times - 1)
    names = ("fixed_s", "per_pixel_s", "per_triangle_s")
    return dict(zip(names, coefficients.tolist(), strict=True)) | {"median_relative_error": float(np.median(error))}


def compare_with_memory(step_s: float, bytes_per_s: float) -> dict[str, float]:
    """How far the step of the five shaded objects is from the time that memory alone would take."""
    scene = rendering_scenes.five_objects((480, 640))
    return asdict(compute_memory_limit(compute_least_bytes(scene, scene.camera), bytes_per_s, step_s))


def measure_bandwidth() -> float:
    """Bytes a second of a copy that fits no cache (read and written bytes counted)."""
    source = torch.zeros(64 * 2**20, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * source.numel() / measure(lambda: target.copy_(source), 10)["median_s"]


def describe_machine() -> dict[str, object]:
    """What the numbers were measured on."""
    model = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0] if model else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numba": numba.__version__,
        "date": datetime.date.today().isoformat(),
    }


def _print_results(result: dict) -> None:
    print(f"{'size':>10} {'triangles':>10} {'threads':>8} {'rasterize':>12} {'image':>13} {'with gradient':>13} {'(processor)':>14}")
    for case in result["cases"]:
        (height, width), raster, step = case["size"], case["rasterize"], case["step"]
        forward = case["forward"]
        times = f"{1e3 * raster['median_s']:>9.2f} ms {1e3 * forward['median_s']:>10.2f} ms {1e3 * step['median_s']:>10.2f} ms"
        times += f" {1e3 * step['least_processor_s']:>11.2f} ms"
        print(f"{width:>5}x{height:<4} {case['triangles']:>10} {case['threads']:>8} {times}")
    for scene in result["scenes"]:
        forward, step = (f"{1e3 * scene[what]['median_s']:.1f} ms" for what in ("forward", "step"))
        busy = f"{1e3 * scene['step']['least_processor_s']:.1f} ms"
        print(f"five shaded objects, 640x480, {scene['threads']} threads: forward {forward}, with gradient {step} (processor {busy})")
    limit = result["memory_limit"]
    touched = f"{limit['least_bytes'] / 1e6:.1f} MB that must be touched take {1e3 * limit['limit_s']:.1f} ms at a copy's bandwidth"
    print(f"{touched}; the step with gradient takes {limit['ratio']:.1f} times as long")
    for name, peer in result["peers"].items():
        if "failed" in peer:
            print(f"{name}: could not run here: {peer['failed']}")
            continue
        theirs, ours = (f"{1e3 * peer[whose]['median_s']:.2f} ms" for whose in ("theirs", "ours"))
        print(f"{name}, {peer['what']}: {theirs}, here {ours}: {peer['ratio']:.1f} times as long")
    memory, (height, width) = result["memory"], result["memory"]["size"]
    print(f"{memory['triangles']} triangles at {width}x{height}, with gradient: {memory['bytes'] / 1e6:.0f} MB more at the peak")
    for what, fit in result["fits"].items():
        parts = f"{1e9 * fit['per_pixel_s']:.2f} ns a pixel + {1e9 * fit['per_triangle_s']:.1f} ns a triangle"
        print(f"{what}: {1e3 * fit['fixed_s']:.3f} ms + {parts} (median error {100 * fit['median_relative_error']:.0f} %)")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/rendering.json"))
    parser.add_argument("--plot", type=Path, help="an SVG file")
    parser.add_argument("--quick", action="store_true", help="few sizes, few repetitions")
    options = parser.parse_args()
    repeats = 5 if options.quick else 25
    sizes, subdivisions = (SIZES[::2], SUBDIVISIONS[1:3]) if options.quick else (SIZES, SUBDIVISIONS)
    all_cores = torch.get_num_threads()
    machine, cases, scenes = describe_machine(), [], []
    for threads in sorted({1, all_cores}):
        torch.set_num_threads(threads)
        cases += [measure_case(size, level, threads, repeats) for size in sizes for level in subdivisions]
        scenes.append(measure_scene(threads, repeats))
    fits = {what: fit_costs([case for case in cases if case["threads"] == all_cores], what) for what in ("rasterize", "forward", "step")}
    peers = rendering_peers.measure_peers(repeats)
    memory = measure_memory(SUBDIVISIONS[-1], (480, 640))
    result = {"machine": machine, "cases": cases, "scenes": scenes, "fits": fits, "peers": peers, "memory": memory}
    result["copy_bytes_per_s"] = measure_bandwidth()
    result["memory_limit"] = compare_with_memory(scenes[-1]["step"]["median_s"], result["copy_bytes_per_s"])
    _print_results(result)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1))
    print(f"written to {options.out}")
    if options.plot:
        options.plot.write_text(rendering_plot.draw(result))
        print(f"drawn in {options.plot}")


if __name__ == "__main__":
    main()
