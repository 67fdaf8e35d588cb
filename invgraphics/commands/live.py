"""What the viewer shows of an output folder: a finished scene, or a run in progress."""

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from invgraphics.commands.figures import articulate_hands, articulate_robot
from invgraphics.datasets import load_frame
from invgraphics.errors import InputError
from invgraphics.grasp import load_grasps
from invgraphics.output import CHECKPOINT_FOLDER, FRAME_FOLDER, check_output_folder, load_cages, load_samples, load_scene
from invgraphics.recorded_motion import TRAJECTORY_FILE, load_motion
from invgraphics.viewer.box_panel import Box
from invgraphics.viewer.content import Content
from invgraphics.viewer.grasp_panel import GraspPanel
from invgraphics.viewer.motion_panel import MotionPanel
from invgraphics.viewer.page import ViewerPage
from optim.watch import read_progress, read_snapshot

EXECUTION_FOLDER = "execution"
"""In an output folder: what `invgraphics execute` wrote, a folder a run, by date."""
_PERIOD = 0.25
"""Seconds between two looks at a run."""
_PROMPT = "waiting for `invgraphics reconstruct … --out {out}`"


def load_content(out: Path) -> Content:
    """A finished scene with everything that lies beside it.

    Raises:
        InputError: there is no finished scene, or it is damaged.
    """
    scene = load_scene(out)
    samples, spread = load_samples(out, scene)
    frame = out / FRAME_FOLDER
    observation = load_frame(str(frame)).observation.with_camera_pose(scene.camera.T_world_camera) if frame.is_dir() else None
    return Content(out.name, scene, observation, samples, spread, load_cages(out, scene))


def find_motion(out: Path) -> Path | None:
    """Where the motion that belongs to a scene lies: beside it, or where the last `invgraphics execute` of it wrote; None where nowhere."""
    places = [out, *sorted((out / EXECUTION_FOLDER).glob("*"), reverse=True)]
    return next((place for place in places if (place / TRAJECTORY_FILE).is_file()), None)


class Session:
    """A page and what it shows; follows runs."""

    def __init__(self, page: ViewerPage):
        self.page = page
        self._panels: list[GraspPanel | MotionPanel] = []
        self._shown: dict[Path, int] = {}
        """For each folder, when the scene that was shown was written, nanoseconds."""
        self._seen: str | None = None
        """The last stage shown of the run that is followed."""
        self._process: subprocess.Popen | None = None
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def show(self, out: Path) -> None:
        """A finished scene, its grasps, and the motion that carried one out."""
        self._shown[out] = _written(out)
        for panel in self._panels:
            panel.remove()
        self._panels = []
        self.page.show(load_content(out))
        if (out / "grasps.json").is_file() and (grasps := load_grasps(out / "grasps.json")):
            self._panels.append(GraspPanel(self.page, grasps, articulate_hands(grasps)))
        folder = find_motion(out)
        if folder is not None:
            motion = load_motion(folder)
            self._panels.append(MotionPanel(self.page, motion, articulate_robot(motion.urdf)))

    def follow(self, out: Path) -> None:
        """From now on shows every run into a folder as it goes on; what is there already is shown first. Returns at once."""
        self._begin(self._follow, out)

    def _begin(self, work: Callable[..., None], *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _follow(self, out: Path) -> None:
        self.page.tell(_PROMPT.format(out=out))
        while not self._stop.is_set():
            self._look(out)
            self._stop.wait(_PERIOD)

    def start(self, frame: str, boxes: Sequence[Box], out: Path) -> None:
        """Reconstructs the objects in boxes of a frame in a process of its own, and follows it.

        Raises:
            InputError: the output folder will not do, or a reconstruction is running.
        """
        if self._process is not None:
            raise InputError("a reconstruction is running; wait until it has finished")
        check_output_folder(out, overwrite=False)
        words = [word for box in boxes for word in ("--box", *(f"{value:.2f}" for value in box))]
        command = [sys.executable, "-m", "invgraphics", "reconstruct", frame, *words, "--out", str(out)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.page.tell("starting")
        self._begin(self._follow_process, out, self._process)

    def close(self) -> None:
        """Stops following, and the run that was started here."""
        self._stop.set()
        process = self._process  # The thread that follows it forgets it when it ends.
        if process is not None:
            process.terminate()
        for thread in self._threads:
            thread.join()

    def _follow_process(self, out: Path, process: subprocess.Popen) -> None:
        while process.poll() is None and not self._stop.wait(_PERIOD):
            self._look(out)
        if process.wait() == 0:
            self._look(out)
        elif not self._stop.is_set():
            lines = process.stderr.read().strip().splitlines()
            self.page.tell(f"**It did not work.** {lines[-1] if lines else ''}")
        process.stderr.close()
        self._process = None

    def _look(self, out: Path) -> None:
        """Shows what is new, or why it cannot be read."""
        try:
            self._show_news(out)
        except InputError as error:
            self.page.tell(f"**{error}**")

    def _show_news(self, out: Path) -> None:
        if _written(out) and _written(out) != self._shown.get(out):
            watched, self._seen = self._seen is not None, None
            self.show(out)
            self.page.tell(f"finished: **{out}**" if watched else "")
            return
        checkpoint = out / CHECKPOINT_FOLDER
        progress = read_progress(checkpoint)
        if progress is None:
            return
        self.page.tell(f"reconstructing: **{progress.stage}**", progress.fraction)
        snapshot = read_snapshot(checkpoint, after=self._seen)
        if snapshot is not None:
            self._seen = snapshot.stage
            self.page.show(Content(out.name, snapshot.scene, snapshot.observation, cages=snapshot.cages))


def _written(out: Path) -> int:
    """When the finished scene of a folder was written, nanoseconds; 0 where there is none."""
    path = out / "scene.json"
    return path.stat().st_mtime_ns if path.is_file() else 0
