"""Records what a backend draws, for every other backend on every other machine to be compared with (`test_matrix.py`).

python -m tests.renderers.record_reference cpu
python -m tests.renderers.record_reference nvdiffrast      # on a machine with a GPU: then send in reference/nvdiffrast.npz
python -m tests.renderers.record_reference warp cuda
"""

import argparse
import json
import platform
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch

from renderers.protocol import RENDERERS, Renderer, make_renderer
from tests.renderers.available import dtype_of
from tests.renderers.matrix_scenes import SCENES, is_drawable
from tests.renderers.references import FOLDER, draw_triangles, encode
from tests.renderers.scenes import moved

PACKAGES = ("torch", "numba", "warp-lang", "nvdiffrast", "pytorch3d")


def record(renderer: Renderer, device: str) -> dict[str, np.ndarray]:
    """All arrays of one file."""
    dtype, arrays = dtype_of(renderer), {}
    for name, build in SCENES.items():
        scene = moved(build(), device, dtype)
        if is_drawable(scene, renderer.capabilities):
            arrays |= {f"{name}/{what}": array for what, array in encode(renderer(scene, scene.camera)).items()}
    if renderer.capabilities.draws_meshes:
        arrays |= {f"rasterizer/{what}": array for what, array in draw_triangles(renderer.rasterizer, dtype, device).items()}
    return arrays


def describe(renderer: Renderer, device: str) -> dict[str, object]:
    """What drew, in which numbers, where."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    return {"renderer": renderer.name, "float64": renderer.capabilities.float64, "device": f"{device}: {name}", "versions": versions}


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renderer", choices=RENDERERS)
    parser.add_argument("device", nargs="?", choices=("cpu", "cuda"), help="where it can draw on both; cpu if not given")
    options = parser.parse_args()
    renderer = make_renderer(options.renderer)
    device = options.device or renderer.capabilities.devices[0]
    arrays = record(renderer, device)
    name = options.renderer + ("-cuda" if device == "cuda" and "cpu" in renderer.capabilities.devices else "")
    path = FOLDER / f"{name}.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, about=np.array(json.dumps(describe(renderer, device))), **arrays)
    print(f"written to {path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
