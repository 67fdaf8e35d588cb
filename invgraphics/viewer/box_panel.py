"""Boxes drawn on the photograph, and the reconstruction that they start."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from invgraphics.camera import Camera
from invgraphics.errors import InputError
from invgraphics.observation import Observation
from invgraphics.report.images import colour_of
from invgraphics.viewer.layers import PHOTOGRAPH_DEPTH, draw_photograph, pose_of
from invgraphics.viewer.page import ViewerPage

if TYPE_CHECKING:
    import viser

_PATH = "/boxes"
_SMALLEST = 4.0
"""Pixels: a box that is narrower or lower was a slip of the hand."""
_MARGIN = 1.04
"""How much more than the photograph its view shows."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the photograph."""


class BoxPanel:
    """The tab "Boxes"."""

    def __init__(self, page: ViewerPage, observation: Observation, start: Callable[[list[Box], str], None], folder: str):
        """`start` is called with the boxes and the output folder, which is `folder` unless the user names another.

        It may raise `InputError`, which the panel shows.
        """
        self._page, self._observation, self._start = page, observation, start
        self.boxes: list[Box] = []
        self._drawing = False
        gui = page.server.gui
        with page.tabs.add_tab("Boxes"):
            gui.add_markdown("One box an object, drawn on the photograph by pressing, dragging and letting go.")
            self._draw = gui.add_button("Draw boxes")
            self._undo, self._clear = gui.add_button("Remove the last"), gui.add_button("Remove all")
            self._folder = gui.add_text("Output", folder)
            self._go = gui.add_button("Reconstruct", color="green")
            self._list = gui.add_markdown("")
        self._draw.on_click(lambda event: self._leave(event.client) if self._drawing else self._enter(event.client))
        self._undo.on_click(lambda _: self._change(self.boxes[:-1]))
        self._clear.on_click(lambda _: self._change([]))
        self._go.on_click(lambda event: self._begin(event.client))
        self._change([])

    def _change(self, boxes: list[Box]) -> None:
        self.boxes = boxes
        self._undo.disabled = self._clear.disabled = self._go.disabled = not boxes
        self._list.content = "\n\n".join(
            f"box {k}: {x0:.0f}, {y0:.0f} to {x1:.0f}, {y1:.0f} px" for k, (x0, y0, x1, y1) in enumerate(boxes)
        )
        self._page.server.scene.remove_by_name(f"{_PATH}/drawn")
        if self._drawing:
            self._draw_boxes()

    def _enter(self, client: "viser.ClientHandle") -> None:
        """Looks through the camera at nothing but the photograph, and takes what is dragged for boxes."""
        self._drawing = True
        self._draw.label = "Back to the scene"
        self._before = (client.camera.position, client.camera.look_at, client.camera.up_direction, client.camera.fov)
        scene = self._page.server.scene
        self._page.hide_scene(True)
        scene.add_frame(_PATH, show_axes=False, **pose_of(self._observation.camera.T_world_camera))
        draw_photograph(scene, f"{_PATH}/photograph", self._observation)
        look_through(client, self._observation.camera)
        self._draw_boxes()
        self._callback = scene.on_rect_select()(self._take)

    def _leave(self, client: "viser.ClientHandle") -> None:
        self._drawing = False
        self._draw.label = "Draw boxes"
        self._page.server.scene.remove_rect_select_callback(self._callback)
        self._page.server.scene.remove_by_name(_PATH)
        self._page.hide_scene(False)
        camera = client.camera
        camera.position, camera.look_at, camera.up_direction, camera.fov = self._before

    def _take(self, event: "viser.SceneRectSelectEvent") -> None:
        """A rectangle on the screen as a box on the photograph."""
        corners = np.array([event.screen_min, event.screen_max])
        seen = event.client.camera
        pixels = screen_to_pixels(corners, seen.position, seen.wxyz, seen.fov, seen.aspect, self._observation.camera)
        size = [self._observation.camera.width, self._observation.camera.height]
        (x0, y0), (x1, y1) = np.clip(np.sort(pixels, axis=0) + 0.5, 0, size)
        if min(x1 - x0, y1 - y0) >= _SMALLEST:
            self._change([*self.boxes, (float(x0), float(y0), float(x1), float(y1))])

    def _draw_boxes(self) -> None:
        """Slightly in front of the photograph, in the objects' colours."""
        if not self.boxes:
            return
        camera, depth = self._observation.camera, 0.995 * PHOTOGRAPH_DEPTH
        K = camera.K.detach().cpu().double().numpy()
        lines, colours = [], []
        for k, (x0, y0, x1, y1) in enumerate(self.boxes):
            pixels = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) - 0.5
            corners = depth * np.concatenate([(pixels - K[:2, 2]) / K[[0, 1], [0, 1]], np.ones((4, 1))], axis=1)
            lines += [(corners[j], corners[(j + 1) % 4]) for j in range(4)]
            colour = colour_of(k)
            colours += [[[int(colour[i : i + 2], 16) for i in (1, 3, 5)]] * 2] * 4
        self._page.server.scene.add_line_segments(
            f"{_PATH}/drawn", np.array(lines), np.array(colours, dtype=np.uint8), thickness=3, thickness_units="screen"
        )

    def _begin(self, client: "viser.ClientHandle") -> None:
        try:
            self._start(self.boxes, self._folder.value)
        except InputError as error:
            client.add_notification("That does not work", str(error), color="red", auto_close_seconds=10)
            return
        self._folder.value = name_next(self._folder.value)
        if self._drawing:
            self._leave(client)


def name_next(folder: str) -> str:
    """A name for the results after these: "mine", "mine_2", "mine_3", ..."""
    stem, number = re.fullmatch(r"(.*?)(?:_(\d+))?", folder, flags=re.DOTALL).groups()
    return f"{stem}_{int(number or 1) + 1}"


def look_through(client: "viser.ClientHandle", camera: Camera) -> None:
    """Puts a browser's eye where the camera was, all of its image in view."""
    T = camera.T_world_camera.detach().cpu().double().numpy()
    K = camera.K.detach().cpu().double().numpy()
    half_width = max(K[0, 2] + 0.5, camera.width - 0.5 - K[0, 2]) / K[0, 0]
    half_height = max(K[1, 2] + 0.5, camera.height - 0.5 - K[1, 2]) / K[1, 1]
    client.camera.fov = 2 * float(np.arctan(_MARGIN * max(half_height, half_width / client.camera.aspect)))
    client.camera.up_direction = -T[:3, 1]
    client.camera.position = T[:3, 3]
    client.camera.look_at = T[:3, 3] + PHOTOGRAPH_DEPTH * T[:3, 2]


def screen_to_pixels(
    screen: Float[np.ndarray, "n 2"],
    position: Float[np.ndarray, "3"],
    wxyz: Float[np.ndarray, "4"],
    field_of_view: float,
    aspect: float,
    camera: Camera,
) -> Float[np.ndarray, "n 2"]:
    """Pixels of the photograph that hangs before `camera` at places on the screen, (0, 0) its upper left corner and (1, 1) the lower right.

    The browser's eye may be anywhere: its `position` (m) and orientation `wxyz` in the world frame (x right, y down, z forward), its
    vertical `field_of_view` (rad), and `aspect`, its width over its height.
    """
    half = np.tan(field_of_view / 2) * np.array([aspect, 1.0])
    directions = np.concatenate([(2 * screen - 1) * half, np.ones((len(screen), 1))], axis=1)
    R_world_eye = Rotation.from_quat(np.asarray(wxyz)[[1, 2, 3, 0]]).as_matrix()
    T_camera_world = camera.T_camera_world.detach().cpu().double().numpy()
    origin = T_camera_world[:3, :3] @ position + T_camera_world[:3, 3]
    rays = directions @ (T_camera_world[:3, :3] @ R_world_eye).T
    along = (PHOTOGRAPH_DEPTH - origin[2]) / rays[:, 2:]
    points = origin + along * rays
    K = camera.K.detach().cpu().double().numpy()
    return points[:, :2] / points[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]
