"""A robot's recorded motion on a timeline."""

import threading
import time

from invgraphics.recorded_motion import RecordedMotion
from invgraphics.viewer.content import Articulation
from invgraphics.viewer.figures import Figure
from invgraphics.viewer.layers import ROOT
from invgraphics.viewer.page import ViewerPage

_PERIOD = 1 / 20
"""Seconds between two pictures while it plays."""
_COLOUR = (150, 160, 175)
_STEP = 0.02
"""Seconds: the finest that the timeline is set."""


class MotionPanel:
    """The tab "Motion"."""

    def __init__(self, page: ViewerPage, motion: RecordedMotion, robot: Articulation):
        """Shows the robot where the motion starts."""
        self._page, self._motion = page, motion
        self._figure = Figure(page.server.scene, f"{ROOT}/robot", robot, _COLOUR)
        self._playing = threading.Event()
        gui = page.server.gui
        self._tab = page.tabs.add_tab("Motion")
        with self._tab:
            self._shown = gui.add_checkbox("Show the robot", True)
            self._time = gui.add_slider("Time (s)", min=0.0, max=max(round(motion.duration, 2), _STEP), step=_STEP, initial_value=0.0)
            self._button = gui.add_button("Play")
            self._speed = gui.add_dropdown("Speed", ("0.25", "0.5", "1", "2", "4"), initial_value="1")
            self._facts = gui.add_markdown("")
        self._shown.on_update(lambda _: self.update())
        self._time.on_update(lambda _: self.update())
        self._button.on_click(lambda _: self.pause() if self._playing.is_set() else self.play())
        self.update()

    @property
    def time(self) -> float:
        """Seconds: what the timeline shows."""
        return float(self._time.value)

    @time.setter
    def time(self, seconds: float) -> None:
        self._time.value = seconds

    def play(self) -> None:
        """From where the timeline stands, from the start where it stands at the end."""
        if self._playing.is_set():
            return
        if self.time >= self._motion.duration - _STEP:
            self.time = 0.0
        self._playing.set()
        self._button.label = "Pause"
        threading.Thread(target=self._run, daemon=True).start()

    def pause(self) -> None:
        """Stays where it is."""
        self._playing.clear()

    def _run(self) -> None:
        """Moves the timeline on by the clock."""
        before = time.monotonic()
        while self._playing.is_set() and self.time < self._motion.duration - _STEP / 2:
            time.sleep(_PERIOD)
            now = time.monotonic()
            self.time = min(self.time + float(self._speed.value) * (now - before), self._motion.duration)
            before = now
        self._playing.clear()
        self._button.label = "Play"

    def remove(self) -> None:
        """Takes the tab, and what it draws, from the page."""
        self.pause()
        self._tab.remove()
        self._figure.remove()

    def update(self) -> None:
        """Draws the robot, and the objects that it moves, as they are at the timeline's time."""
        moving = self._motion.objects_at(self.time)
        with self._page.server.atomic():
            if self._shown.value:
                self._figure.place(self._motion.T_world_base, self._motion.joints_at(self.time))
            else:
                self._figure.hide()
            for index, T_world_object in moving.items():
                self._page.move_object(index, T_world_object if self._shown.value else None)
        phase = self._motion.phase_at(self.time)
        lines = [f"**{phase}**" if phase else "", self._motion.outcome and f"It ended: {self._motion.outcome}"]
        self._facts.content = "\n\n".join(line for line in lines if line)
