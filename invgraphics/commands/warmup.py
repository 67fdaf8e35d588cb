"""`invgraphics warmup`: everything once on a small scene, so that whatever must be compiled is compiled."""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console

from grasp_sim.hands import load_hand
from grasp_sim.pool import TrialPool
from grasp_sim.search import SearchSettings, search_grasps
from grasp_sim.solids import place_scene
from invgraphics.commands.grasp_pictures import render_grasps
from invgraphics.commands.pictures import render_pictures
from invgraphics.compilation import CompilationWatch
from invgraphics.datasets import load_frame
from invgraphics.demo.sample import photograph_toys
from invgraphics.evaluation import score_objects
from invgraphics.report import write_report
from invgraphics.segment import mask_objects
from optim.reconstruct import reconstruct
from optim.uncertainty import sample_shapes
from renderers.protocol import make_renderer

_FEW = SearchSettings(batch=1, batches=1, finalists=1, final_trials=1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has none."""


def run(arguments: argparse.Namespace) -> int:
    """Photographs two toys, reconstructs and scores them, renders them with each kind of shadow, tries a grasp of each."""
    start = time.perf_counter()
    console = Console(highlight=False, soft_wrap=True)
    with CompilationWatch(lambda notice: None) as watch, tempfile.TemporaryDirectory() as folder:
        _use_everything(Path(folder))
    seconds = time.perf_counter() - start
    if watch.count:
        console.print(f"compiled {watch.count} functions and tried them in {seconds:.0f} s")
    else:
        console.print(f"everything is compiled already; tried it in {seconds:.0f} s")
    return 0


def _use_everything(folder: Path) -> None:
    truths = photograph_toys(folder)
    frame = load_frame(folder / "frame")
    result = sample_shapes(reconstruct(mask_objects(frame, torch.Generator().manual_seed(0))), 2)
    scene = result.scene
    meshes = {k: item.mesh.transformed(scene.camera.T_camera_world @ item.T_world_object) for k, item in enumerate(scene.objects)}
    score_objects("warmup", truths, meshes, {}, seed=0)
    write_report(folder / "report.html", result, render_pictures(result), {})
    for shadows in ("none", "meshes"):
        make_renderer("auto", shadows=shadows)(scene, scene.camera)
    hand = load_hand("parallel_jaw")
    with TrialPool(1) as pool:
        found = search_grasps(place_scene(scene, result.samples), hand, settings=_FEW, pool=pool)
    render_grasps(scene, found.grasps, hand)
