"""Hands and robots in the page."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from invgraphics.viewer.content import Articulation
from invgraphics.viewer.layers import pose_of

if TYPE_CHECKING:
    import viser


class Figure:
    """An articulation that is drawn once and moved from then on: one node a link."""

    def __init__(
        self, scene: "viser.SceneApi", path: str, articulation: Articulation, colour: tuple[int, int, int], opacity: float | None = None
    ):
        """Drawn hidden; `place` shows it."""
        self._articulation = articulation
        self._root = scene.add_frame(path, show_axes=False, visible=False)
        self._links = {
            name: scene.add_mesh_simple(
                f"{path}/{name}", mesh.vertices.cpu().numpy(), mesh.faces.cpu().numpy(), color=colour, opacity=opacity, flat_shading=True
            )
            for name, mesh in articulation.links.items()
        }

    def place(self, T_world_figure: Float[np.ndarray, "4 4"], joints: Mapping[str, float]) -> None:
        """Shows it with its own frame at a pose and its joints at positions (rad, m)."""
        _set_pose(self._root, T_world_figure)
        poses = self._articulation.link_poses(joints)
        for name, node in self._links.items():
            _set_pose(node, poses[name])
        self._root.visible = True

    def paint(self, colour: tuple[int, int, int]) -> None:
        """Another colour for all links."""
        for node in self._links.values():
            node.color = colour

    def hide(self) -> None:
        """Until it is placed again."""
        self._root.visible = False

    def remove(self) -> None:
        """For good."""
        self._root.remove()


def _set_pose(node: "viser.SceneNodeHandle", T_parent_node: Float[np.ndarray, "4 4"]) -> None:
    pose = pose_of(T_parent_node)
    node.wxyz, node.position = pose["wxyz"], pose["position"]
