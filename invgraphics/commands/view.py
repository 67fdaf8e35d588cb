"""`invgraphics view PATH`: a reconstructed scene, a run in progress, or an image to draw boxes on, in the browser."""

import argparse
import threading
import webbrowser
from pathlib import Path

import torch

from invgraphics.commands.live import Session
from invgraphics.datasets import load_frame
from invgraphics.errors import InputError
from invgraphics.observation import Observation
from invgraphics.output import FRAME_FOLDER
from invgraphics.plane import find_support_plane
from invgraphics.viewer.box_panel import BoxPanel
from invgraphics.viewer.content import Content
from invgraphics.viewer.page import ViewerPage
from optim.watch import build_empty_scene


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "path",
        metavar="PATH",
        help="folder that `invgraphics reconstruct` wrote or, with --live, will write; or an image as `reconstruct` takes it",
    )
    parser.add_argument("--live", action="store_true", help="show runs into the folder as they go on")
    parser.add_argument(
        "--out", type=Path, metavar="OUT", help="folder for what is reconstructed from boxes drawn here (default PATH_boxes)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at; 0.0.0.0 lets other machines look (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="the next free one is taken where it is in use (default 8080)")
    parser.add_argument("--open", action="store_true", help="open the page in this machine's browser")


def run(arguments: argparse.Namespace) -> int:
    """Serves until it is interrupted."""
    out = Path(arguments.path)
    finished = (out / "scene.json").is_file()
    observation = None if finished or arguments.live else load_frame(arguments.path).observation
    page = ViewerPage(arguments.host, arguments.port)
    session = Session(page)
    try:
        if arguments.live:
            session.follow(out)
        elif finished:
            session.show(out)
        else:
            page.show(place_image(observation))
        if not arguments.live:
            _add_boxes(session, arguments, finished)
        print(f"look at {page.url} (Ctrl-C ends it)", flush=True)
        if arguments.open:
            webbrowser.open(page.url)
        threading.Event().wait()
    finally:
        session.close()
        page.close()
    return 0


def _add_boxes(session: Session, arguments: argparse.Namespace, finished: bool) -> None:
    """Boxes are drawn on the image that was given, or on the one that lies beside the scene."""
    content = session.page.content
    if content.observation is None:
        return
    frame = str(Path(arguments.path) / FRAME_FOLDER) if finished else arguments.path
    folder = arguments.out or _name_output(arguments.path)
    BoxPanel(session.page, content.observation, lambda boxes, out: session.start(frame, boxes, Path(out)), str(folder))


def _name_output(path: str) -> Path:
    """Beside the image, or here where it is an image of a dataset; the first such name that is free."""
    place = Path(path)
    base = place.with_name(f"{place.resolve().name}_boxes") if place.is_dir() else Path("boxes")
    candidates = [base, *(base.with_name(f"{base.name}_{k}") for k in range(2, 100))]
    free = next((candidate for candidate in candidates if not candidate.exists()), None)
    if free is None:
        raise InputError(f"{base} and 98 more like it exist already; name a folder with --out")
    return free


def place_image(observation: Observation) -> Content:
    """An image without objects, over its support plane where it shows one."""
    found = find_support_plane(observation, torch.Generator().manual_seed(0))
    placed = observation if found is None else observation.with_camera_pose(found.T_world_camera)
    return Content(observation.name, build_empty_scene(placed, found is not None), placed)
