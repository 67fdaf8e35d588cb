"""The renderers that this machine has, and scenes as they take them."""

from dataclasses import replace

import torch

from invgraphics.errors import MissingDependencyError
from invgraphics.scene import Scene
from renderers.protocol import RENDERERS, Renderer, make_renderer
from tests.renderers.scenes import moved


def available_renderers() -> dict[str, Renderer]:
    """Every renderer that can be had here, by name; once more as "<name>-cuda" where it draws on the CPU and there is a GPU."""
    found = {}
    for name in RENDERERS:
        try:
            renderer = make_renderer(name)
        except MissingDependencyError:
            continue
        found[name] = renderer
        if torch.cuda.is_available() and {"cpu", "cuda"} <= set(renderer.capabilities.devices):
            on_gpu = make_renderer(name)
            on_gpu.name, on_gpu.capabilities = f"{name}-cuda", replace(renderer.capabilities, devices=("cuda",))
            found[on_gpu.name] = on_gpu
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
