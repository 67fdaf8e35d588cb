"""The ranked grasps: a hand at the pose of the chosen one, and the way in of all others, in the colours of their success."""

from collections.abc import Mapping, Sequence

import numpy as np

from invgraphics.grasp import Grasp
from invgraphics.viewer.content import Articulation
from invgraphics.viewer.figures import Figure
from invgraphics.viewer.layers import ROOT
from invgraphics.viewer.legends import describe_grasp, draw_success_scale, success_colour
from invgraphics.viewer.page import ViewerPage

_PATH = f"{ROOT}/grasps"
_WAY_IN = 0.06
"""Metres of a grasp's approach that are drawn."""


class GraspPanel:
    """The tab "Grasps"."""

    def __init__(self, page: ViewerPage, grasps: Sequence[Grasp], hands: Mapping[str, Articulation]):
        """`grasps` best first, at least one; `hands` by the names that occur in them."""
        self._page, self._grasps = page, grasps
        scene, gui = page.server.scene, page.server.gui
        self._hands = {name: Figure(scene, f"{_PATH}/{name}", hand, (120, 120, 120)) for name, hand in hands.items()}
        self._draw_ways()
        self._tab = page.tabs.add_tab("Grasps")
        with self._tab:
            self._shown = gui.add_checkbox("Show the hand", False)
            self._rank = gui.add_slider("Rank", min=1, max=max(len(grasps), 2), step=1, initial_value=1, disabled=len(grasps) == 1)
            self._closed = gui.add_checkbox("Closed", False)
            self._all = gui.add_checkbox("Show all approaches", False)
            gui.add_html(draw_success_scale())
            self._facts = gui.add_markdown("")
        for control in (self._shown, self._rank, self._closed):
            control.on_update(lambda _: self.update())
        self._all.on_update(lambda _: setattr(self._ways, "visible", self._all.value))
        self.update()

    def choose(self, rank: int) -> None:
        """Shows the grasp of that rank, from 1."""
        self._shown.value, self._rank.value = True, rank

    def remove(self) -> None:
        """Takes the tab, and what it draws, from the page."""
        self._tab.remove()
        self._ways.remove()
        for hand in self._hands.values():
            hand.remove()

    def update(self) -> None:
        """Draws what the controls say."""
        rank = int(np.clip(self._rank.value, 1, len(self._grasps)))
        grasp = self._grasps[rank - 1]
        names = [item.name for item in self._page.content.scene.objects] if self._page.content else []
        name = names[grasp.object_index] if grasp.object_index < len(names) else str(grasp.object_index)
        self._facts.content = describe_grasp(grasp, rank, len(self._grasps), name)
        for hand in self._hands.values():
            hand.hide()
        if self._shown.value:
            hand = self._hands[grasp.hand]
            hand.paint(success_colour(grasp.success_rate if grasp.trials else 0.0))
            hand.place(np.asarray(grasp.T_world_hand), grasp.preshape | grasp.closed if self._closed.value else grasp.preshape)

    def _draw_ways(self) -> None:
        """A line along each grasp's approach, hidden at first."""
        poses = np.stack([np.asarray(grasp.T_world_hand) for grasp in self._grasps])
        tips = poses[:, :3, 3]
        lines = np.stack([tips - _WAY_IN * poses[:, :3, 2], tips], axis=1)
        colours = np.array([success_colour(grasp.success_rate if grasp.trials else 0.0) for grasp in self._grasps], dtype=np.uint8)
        self._ways = self._page.server.scene.add_line_segments(
            f"{_PATH}/approaches", lines, np.repeat(colours[:, None], 2, axis=1), thickness=0.0015, visible=False
        )
