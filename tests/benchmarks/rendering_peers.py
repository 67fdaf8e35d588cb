"""Other differentiable renderers on the same task, where they are installed (none is needed).

Each peer draws the five spheres and takes the gradient with respect to all vertices, as `rendering.measure_case` does here.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable

import torch

from renderers.rasterize import build_topology, make_rasterizer
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
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
        lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
        results[name] = (
            json.loads(lines[-1])
            if done.returncode == 0
            else {"failed": lines[0 if done.returncode < 0 else -1] if lines else f"exit code {done.returncode}"}
        )
    return results


def measure_peer(name: str, repeats: int) -> dict[str, object]:
    """One peer against ours on the same task."""
    from tests.benchmarks.rendering import measure

    build, subdivisions, size = PEERS[name]
    theirs, ours = measure(build(subdivisions, size), repeats), measure(_our_step(subdivisions, size), repeats)
    what = f"gradient of {5 * 20 * 4**subdivisions} triangles at {size[1]}x{size[0]}"
    return {"what": what, "theirs": theirs, "ours": ours, "ratio": theirs["median_s"] / ours["median_s"]}


def _our_step(subdivisions: int, size: tuple[int, int]) -> Callable[[], None]:
    vertices, faces = rendering_scenes.five_spheres(subdivisions)
    rasterizer, topology = make_rasterizer("cpu"), build_topology(faces)
    matrix, colours = rendering_scenes.clip_from_world(size), vertices.sin()

    def step() -> None:
        points = vertices.clone().requires_grad_()
        clip = rendering_scenes.to_clip(points, matrix)
        drawn = rasterizer.rasterize(clip, faces, size)
        image = rasterizer.antialias(rasterizer.interpolate(colours, drawn, faces), drawn, clip, topology)
        image.square().mean().backward()

    return step


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
    """Its own core in compiled C++, called for an image and for the gradient of the vertices in it."""
    from tests.renderers.deodr_scene import build_deodr_scene

    vertices, faces = rendering_scenes.five_spheres(subdivisions)
    scene = build_deodr_scene(vertices, faces, vertices.sin(), rendering_scenes.camera(size).K, size)

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


PEERS = {"mitsuba": (_mitsuba_step, 3, (128, 128)), "deodr": (_deodr_step, 4, (480, 640)), "pytorch3d": (_pytorch3d_step, 4, (480, 640))}

if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    print(json.dumps(measure_peer(sys.argv[1], int(sys.argv[2]))))
