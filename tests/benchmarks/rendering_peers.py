"""Other differentiable renderers on the same task, where they are installed (none is needed).

Each peer draws the five spheres and takes the gradient with respect to all vertices, as `rendering.measure_case` does here.
"""

import glob
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from renderers.rasterize import make_rasterizer
from tests.benchmarks import rendering_scenes

LONGEST = 600


def measure_peers(repeats: int) -> dict[str, dict]:
    """For each installed peer: what was done, seconds theirs and ours, and their ratio; or the last line of what went wrong.

    Each runs in a process of its own: some end the process where a library that they look for is too old.
    """
    results = {}
    for name in PEERS:
        if importlib.util.find_spec(name) is None:
            continue
        command = [sys.executable, "-m", "tests.benchmarks.rendering_peers", name, str(repeats), str(torch.get_num_threads())]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False, env=os.environ | find_llvm())
        lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
        results[name] = (
            json.loads(lines[-1])
            if done.returncode == 0
            else {"failed": lines[0 if done.returncode < 0 else -1] if lines else f"exit code {done.returncode}"}
        )
    return results


def find_llvm() -> dict[str, str]:
    """Where Mitsuba finds the newest LLVM that is installed, unless it has been told."""
    found = [path for folder in ("/usr/lib/*", "/usr/lib/llvm-*/lib") for path in glob.glob(f"{folder}/libLLVM*.so*")]
    newest = max(found, key=lambda path: [int(number) for number in re.findall(r"\d+", Path(path).name)] or [0], default=None)
    return {} if newest is None or "DRJIT_LIBLLVM_PATH" in os.environ else {"DRJIT_LIBLLVM_PATH": newest}


def measure_peer(name: str, repeats: int) -> dict[str, object]:
    """One peer against the cpu backend on the same task."""
    from tests.benchmarks.rendering import measure

    build, subdivisions, size = PEERS[name]
    theirs = measure(build(subdivisions, size), repeats)
    ours = measure(rendering_scenes.build_steps(make_rasterizer("cpu"), subdivisions, size)[0], repeats)
    what = f"gradient of {100 * 4**subdivisions} triangles at {size[1]}x{size[0]}"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() and name in BACKENDS else "CPU"
    return {
        "what": what,
        "device": device,
        "version": version(DISTRIBUTIONS.get(name, name)),
        "theirs": theirs,
        "ours": ours,
        "ratio": theirs["median_s"] / ours["median_s"],
    }


def _backend_step(name: str, subdivisions: int, size: tuple[int, int]) -> Callable[[], Tensor]:
    """Another backend of ours, on the GPU where there is one."""
    rasterizer = make_rasterizer(name)
    device = "cuda" if torch.cuda.is_available() and "cuda" in rasterizer.devices else "cpu"
    return rendering_scenes.build_steps(rasterizer, subdivisions, size, device)[0]


def _mitsuba_step(subdivisions: int, size: tuple[int, int]) -> Callable[[], None]:
    """Direct lighting with reparameterised silhouettes ("prb_projective"), 16 samples a pixel, as its documentation advises for shape."""
    import drjit
    import mitsuba

    mitsuba.set_variant("llvm_ad_rgb")
    vertices, faces = rendering_scenes.five_spheres(subdivisions)
    mesh = mitsuba.Mesh("spheres", len(vertices), len(faces))
    parameters = mitsuba.traverse(mesh)
    parameters["vertex_positions"] = vertices.numpy().ravel()
    parameters["faces"] = faces.numpy().astype("uint32").ravel()
    parameters.update()
    angle = 2 * float(torch.atan(torch.tensor(size[1] / 2 / float(rendering_scenes.camera(size).K[0, 0]))) * 180 / torch.pi)
    view = mitsuba.ScalarTransform4f().look_at(origin=[0, 0, 0], target=[0, 0, 1], up=[0, -1, 0])
    film = {"type": "hdrfilm", "width": size[1], "height": size[0], "sample_border": True}
    sensor = {"type": "perspective", "fov": angle, "to_world": view, "film": film}
    light = {"type": "constant"}
    integrator = {"type": "direct_projective"}
    scene = mitsuba.load_dict({"type": "scene", "sensor": sensor, "light": light, "mesh": mesh, "integrator": integrator})
    free = mitsuba.traverse(scene)
    key = next(name for name in free.keys() if name.endswith("vertex_positions"))  # noqa: SIM118 - not a dict

    def step() -> None:
        drjit.enable_grad(free[key])
        image = mitsuba.render(scene, free, spp=16)
        drjit.backward(drjit.mean(image * image, axis=None))
        drjit.eval(drjit.grad(free[key]))
        drjit.sync_thread()

    return step


def _deodr_step(subdivisions: int, size: tuple[int, int]) -> Callable[[], None]:
    """Its own core in compiled C++, called for the same five channels and for their gradient with respect to the vertices' pixels.

    Less than is done here: projection and silhouette edges are found beforehand, and channels are linear in the image.
    """
    from tests.renderers.deodr_scene import build_deodr_scene

    vertices, faces = rendering_scenes.five_spheres(subdivisions)
    values = torch.cat([vertices.sin(), vertices[:, 2:], torch.ones_like(vertices[:, :1])], dim=1)
    scene = build_deodr_scene(vertices, faces, values, rendering_scenes.camera(size).K, size)

    def step() -> None:
        scene.clear_gradients()
        image = scene.render(1.0)[0]
        scene.render_backward(image * (2 / image.size))

    return step


def _pytorch3d_step(subdivisions: int, size: tuple[int, int]) -> Callable[[], None]:
    """Hard rasterization, one face a pixel, with depth and weights' gradients."""
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    vertices, faces = rendering_scenes.five_spheres(subdivisions)
    K = rendering_scenes.camera(size).K
    half = min(size) / 2

    def step() -> None:
        points = vertices.clone().requires_grad_()
        x = -points[:, 0] / points[:, 2] * K[0, 0] / half
        y = -points[:, 1] / points[:, 2] * K[1, 1] / half
        meshes = Meshes([torch.stack([x, y, points[:, 2]], dim=1)], [faces])
        _, depth, weights, _ = rasterize_meshes(meshes, size, faces_per_pixel=1, perspective_correct=True, bin_size=0)
        (depth.square().mean() + weights.square().mean()).backward()

    return step


BACKENDS = ("nvdiffrast", "warp")
DISTRIBUTIONS = {"warp": "warp-lang"}
PEERS: dict[str, tuple[Callable[[int, tuple[int, int]], Callable], int, tuple[int, int]]] = {
    "mitsuba": (_mitsuba_step, 4, (480, 640)),
    "deodr": (_deodr_step, 4, (480, 640)),
    "pytorch3d": (_pytorch3d_step, 4, (480, 640)),
    **{name: (partial(_backend_step, name), 4, (480, 640)) for name in BACKENDS},
}

if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    print(json.dumps(measure_peer(sys.argv[1], int(sys.argv[2]))))
