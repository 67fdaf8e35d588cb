"""Many cameras, or many scenes, in one call."""

from collections.abc import Sequence

from invgraphics.camera import Camera
from invgraphics.errors import InputError
from invgraphics.scene import Scene
from renderers.mesh_renderer import MeshRenderer, build_layout
from renderers.protocol import Rendered, Renderer


def render_batch(renderer: Renderer, scenes: Sequence[Scene], cameras: Sequence[Camera]) -> list[Rendered]:
    """Scene k as camera k sees it. A single scene is seen by all cameras, a single camera sees all scenes; image sizes may differ.

    Equal to drawing them one by one; what a scene's triangles need is found once for all its cameras.

    Raises:
        InputError: there are neither as many cameras as scenes, nor one of either.
    """
    count = max(len(scenes), len(cameras))
    if len(scenes) not in (1, count) or len(cameras) not in (1, count):
        raise InputError(f"{len(scenes)} scenes and {len(cameras)} cameras cannot be paired; give as many of both, or one of either")
    many = [scenes[0]] * count if len(scenes) == 1 else scenes
    seen_by = [cameras[0]] * count if len(cameras) == 1 else cameras
    if len(scenes) == 1 and isinstance(renderer, MeshRenderer):
        layout = build_layout(scenes[0])
        return [renderer(scenes[0], camera, layout) for camera in seen_by]
    return [renderer(scene, camera) for scene, camera in zip(many, seen_by, strict=True)]
