"""The renderers that this machine has, and scenes as they take them."""

import torch

from invgraphics.errors import MissingDependencyError
from invgraphics.scene import Scene
from renderers.protocol import RENDERERS, Renderer, make_renderer
from tests.renderers.scenes import moved


def available_renderers() -> dict[str, Renderer]:
    """Every renderer that can be had here, by name."""
    found = {}
    for name in RENDERERS:
        try:
            found[name] = make_renderer(name)
        except MissingDependencyError:
            continue
    return found


def dtype_of(renderer: Renderer) -> torch.dtype:
    """The most exact numbers that it takes."""
    return torch.float64 if renderer.capabilities.float64 else torch.float32


def device_of(renderer: Renderer) -> str:
    """The CPU, where it draws there."""
    return "cpu" if "cpu" in renderer.capabilities.devices else "cuda"


def fit_scene(scene: Scene, renderer: Renderer) -> Scene:
    """The scene in the numbers and on the device that a renderer takes."""
    return moved(scene, device_of(renderer), dtype_of(renderer))
