"""The page: a server, the layers of the scene, and a tab of controls for each thing that one can do with it."""

import io
import threading
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from invgraphics.errors import MissingDependencyError
from invgraphics.scene import SceneObject
from invgraphics.viewer.content import Content
from invgraphics.viewer.layers import (
    AS_SEEN,
    BY_OBJECT,
    BY_SPREAD,
    LAYERS,
    ROOT,
    Layer,
    Look,
    bounds_of,
    find_name_place,
    middle_of,
    pose_of,
    spread_limit,
)
from invgraphics.viewer.legends import describe_object, draw_scale

_PANEL_WIDTH = 380
"""Pixels."""
_FIELD_OF_VIEW = np.radians(45.0)
_STEP_BACK = 1.9
"""Distance of the start's eye from the middle of the objects, in diagonals of their bounding box."""
_ASIDE = np.radians(50.0)
"""Angle about the vertical by which the start's eye stands beside the camera, so that the photograph hides nothing."""
_SURROUNDINGS, _SURROUNDINGS_STRENGTH = "city", 0.6
_NEAREST = 0.35
"""Metres: of the start's eye."""


class ViewerPage:
    """One page; any number of browsers may look at it, and all see the same."""

    def __init__(self, host: str = "127.0.0.1", port: int = 8080):
        """Serves at once; a port that is taken is replaced by the next free one.

        Raises:
            MissingDependencyError: viser is not installed.
        """
        try:
            import viser
        except ImportError as error:
            raise MissingDependencyError("the viewer needs viser: pip install 'invgraphics[view]'") from error
        with _silent():
            self.server = viser.ViserServer(host=host, port=port, label="invgraphics", verbose=False)
        self.server.gui.configure_theme(show_logo=False, show_share_button=False)
        self.server.gui.main_panel.dock_right()
        self.server.gui.main_panel.set_width(_PANEL_WIDTH)
        self.server.scene.set_up_direction("+z")
        self._root = self.server.scene.add_frame(ROOT, show_axes=False)
        self._light_up(by_scene=False)
        self._run_text = self.server.gui.add_markdown("", visible=False)
        self._run_bar = self.server.gui.add_progress_bar(0.0, visible=False, animated=True)
        self.tabs = self.server.gui.add_tab_group()
        self._lock = threading.RLock()
        """Controls are answered in threads of their own."""
        self._look = Look()
        self._content: Content | None = None
        self._cloud_is_alone = False
        self._frames = {layer.name: self._add_layer_frame(layer, layer.shown) for layer in LAYERS}
        self._build_scene_tab()

    @property
    def url(self) -> str:
        """Where browsers on this machine find it."""
        host = self.server.get_host()
        return f"http://{'localhost' if host == '0.0.0.0' else host}:{self.server.get_port()}"

    def close(self) -> None:
        """Stops serving."""
        with _silent():
            self.server.stop()

    @property
    def content(self) -> Content | None:
        """What is shown."""
        return self._content

    def show(self, content: Content) -> None:
        """Shows a scene in place of the one before. Ticks and views stay; the first scene sets where browsers look from."""
        with self._lock:
            first, self._content = self._content is None, content
            if first:
                self._aim(content)
            self._tick_cloud(content)
            self._update_controls()
            self._draw()

    def move_object(self, index: int, T_world_object: Float[np.ndarray, "4 4"] | None) -> None:
        """Puts an object of the scene, and its name, somewhere else, or (None) back; only the picture of it."""
        item = self._content.scene.objects[index]
        T_before = item.T_world_object.detach().cpu().double().numpy()
        T_after = T_before if T_world_object is None else T_world_object
        scene = self.server.scene
        node, name = (scene.get_handle_by_name(f"{ROOT}/{layer}/{index:02d}") for layer in ("objects", "names"))
        pose, motion = pose_of(T_after), T_after @ np.linalg.inv(T_before)
        node.wxyz, node.position = pose["wxyz"], pose["position"]
        name.position = motion[:3, :3] @ find_name_place(item) + motion[:3, 3]

    def tell(self, text: str, fraction: float | None = None) -> None:
        """What a run is doing (Markdown; empty: nothing), above the tabs, and the fraction of it that is done where there is one."""
        self._run_text.content, self._run_text.visible = text, bool(text)
        self._run_bar.value, self._run_bar.visible = 100 * (fraction or 0.0), fraction is not None

    def hide_scene(self, hidden: bool) -> None:
        """Hides everything that is drawn in the world, or shows it again."""
        self._root.visible = not hidden

    def tick(self, layer: str, shown: bool) -> None:
        """Ticks or unticks a layer by its name."""
        self._ticks[layer].value = shown

    def _tick_cloud(self, content: Content) -> None:
        """While there are no meshes, the points are what there is to see."""
        alone = content.observation is not None and all(item.mesh is None for item in content.scene.objects)
        if alone != self._cloud_is_alone:
            self._cloud_is_alone = alone
            self.tick("cloud", alone)

    def _add_layer_frame(self, layer: Layer, shown: bool):
        return self.server.scene.add_frame(f"{ROOT}/{layer.name}", show_axes=False, visible=shown)

    def _build_scene_tab(self) -> None:
        gui = self.server.gui
        with self.tabs.add_tab("Scene"):
            self._title = gui.add_markdown("")
            with gui.add_folder("Show"):
                self._ticks = {layer.name: self._add_tick(layer) for layer in LAYERS}
            with gui.add_folder("Meshes"):
                self._paint = gui.add_dropdown("Colours", (AS_SEEN, BY_OBJECT), initial_value=AS_SEEN)
                self._scale = gui.add_html("", visible=False)
                self._sample = gui.add_slider("Possible shape", min=0, max=1, step=1, initial_value=0, visible=False)
                self._lights = gui.add_checkbox("Lit by the scene's lights", False)
            self._facts = gui.add_folder("Object", visible=False)
            with self._facts:
                self._chosen = gui.add_dropdown("Name", ("",))
                self._description = gui.add_markdown("")
        self._paint.on_update(lambda _: self._change_look(paint=self._paint.value))
        self._sample.on_update(lambda _: self._change_look(sample=int(self._sample.value)))
        self._lights.on_update(lambda _: self._change_look(scene_lights=self._lights.value))
        self._chosen.on_update(lambda _: self._describe())

    def _add_tick(self, layer: Layer):
        tick = self.server.gui.add_checkbox(layer.label, layer.shown)

        def update(_) -> None:
            self._frames[layer.name].visible = tick.value

        tick.on_update(update)
        return tick

    def _change_look(self, **changes) -> None:
        with self._lock:
            look = replace(self._look, **changes)
            if look == self._look:
                return
            self._look = look
            self._scale.visible = look.paint == BY_SPREAD
            self._light_up(look.scene_lights)
            self._draw()

    def _light_up(self, by_scene: bool) -> None:
        """The viewer's own lights and surroundings, or none of them."""
        self.server.scene.configure_default_lights(enabled=not by_scene)
        self.server.scene.configure_environment_map(None if by_scene else _SURROUNDINGS, environment_intensity=_SURROUNDINGS_STRENGTH)

    def _draw(self) -> None:
        """Draws all layers anew."""
        if self._content is None:
            return
        with self.server.atomic():
            for layer in LAYERS:
                shown = self._frames[layer.name].visible
                self._frames[layer.name].remove()
                self._frames[layer.name] = self._add_layer_frame(layer, shown)
                layer.draw(self.server.scene, f"{ROOT}/{layer.name}", self._content, self._look)

    def _update_controls(self) -> None:
        """What can be chosen follows from what is there."""
        content = self._content
        count = len(content.scene.objects)
        self._title.content = f"**{content.title}**" + (f", {count} object{'s' * (count != 1)}" if count else "")
        self._look = replace(self._look, sample=0)
        if self._look.paint == BY_SPREAD and not content.spread:
            self._look = replace(self._look, paint=AS_SEEN)
        self._paint.options = (AS_SEEN, BY_OBJECT, BY_SPREAD) if content.spread else (AS_SEEN, BY_OBJECT)
        self._paint.value = self._look.paint
        self._scale.visible = self._look.paint == BY_SPREAD
        self._sample.visible = bool(content.samples)
        self._sample.max = max((len(shapes) - 1 for shapes in content.samples), default=1)
        self._sample.value = 0
        self._scale.content = draw_scale(spread_limit(content))
        self._facts.visible = count > 0
        self._ticks["cages"].visible = bool(content.cages)
        self._ticks["cloud"].visible = content.observation is not None
        if count:
            self._chosen.options = tuple(_numbered(k, item) for k, item in enumerate(content.scene.objects))
            self._describe()

    def _describe(self) -> None:
        names = [_numbered(k, item) for k, item in enumerate(self._content.scene.objects)]
        if self._chosen.value in names:
            self._description.content = describe_object(self._content, names.index(self._chosen.value))

    def _aim(self, content: Content) -> None:
        """Browsers start beside the camera, all of the objects in view."""
        low, high = bounds_of(content.scene)
        middle = middle_of(content.scene)
        if not content.scene.objects and content.observation is not None:
            middle, size = _find_middle(content)
        else:
            size = float(np.linalg.norm(high - low))
        T_world_camera = content.scene.camera.T_world_camera.detach().cpu().double().numpy()
        towards = T_world_camera[:3, 3] - middle
        towards[:2] = np.array([[np.cos(_ASIDE), -np.sin(_ASIDE)], [np.sin(_ASIDE), np.cos(_ASIDE)]]) @ towards[:2]
        towards[2] = np.clip(towards[2], 0.5 * np.linalg.norm(towards[:2]), np.linalg.norm(towards[:2]))
        towards /= np.linalg.norm(towards)
        camera = self.server.initial_camera
        camera.fov = _FIELD_OF_VIEW
        camera.position = middle + max(_NEAREST, _STEP_BACK * size) * towards
        camera.look_at = middle


def _silent() -> redirect_stdout:
    """viser prints where it serves and when it stops; that is the command's to say."""
    return redirect_stdout(io.StringIO())


def _find_middle(content: Content) -> tuple[np.ndarray, float]:
    """Median of the measured points in the world frame, and how far half of them lie from it, metres."""
    observation = content.observation
    points = observation.camera.unproject(observation.depth)[observation.valid].double().cpu().numpy()
    T = observation.camera.T_world_camera.double().cpu().numpy()
    world = points @ T[:3, :3].T + T[:3, 3]
    middle = np.median(world, axis=0) if len(world) else T[:3, 3] + T[:3, 2]
    size = float(np.median(np.linalg.norm(world - middle, axis=1))) if len(world) else 0.5
    return middle, size


def _numbered(index: int, item: SceneObject) -> str:
    return f"{index}: {item.name}"
