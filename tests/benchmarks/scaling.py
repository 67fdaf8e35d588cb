"""How the time of a reconstruction grows with the number of objects: toys on a table, 1 to 30 of them, and a line through the times.

    python -m tests.benchmarks.scaling --out out/scaling [--counts 1 5 10] [--markdown docs/scaling.md]

The toys of the demo stand on the places of one grid under one camera, so an object is as large in the image whether it is alone or one of
thirty. Given are wall-clock and processor seconds of `reconstruct`, the peak memory of the process so far, and the least-squares line
`seconds = fixed + each * objects` with its share of explained variance.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from grasp_sim.records import DEFAULT_FRICTION
from grasp_sim.world import World
from invgraphics.commands.executors import describe_machine
from invgraphics.datasets.checks import make_disjoint
from invgraphics.demo.table import TABLE_COLOUR, Photograph, place_camera, take_photograph
from invgraphics.demo.toys import TOYS
from invgraphics.geometry.mesh import linear_from_srgb
from invgraphics.observation import Observation
from invgraphics.output import write_json
from optim.reconstruct import reconstruct
from tests.benchmarks.tables import format_table, write_markdown

ROWS, COLUMNS, SPACING = 5, 6, 0.155
"""The grid of places; metres between them."""
COUNTS = (1, 2, 5, 10, 15, 20, 25, 30)
_DROP = 0.003


def build_observation(count: int, seed: int = 0) -> Observation:
    """`count` toys on as many places of the grid, seen by the demo's noisy camera, with their true masks."""
    generator = np.random.default_rng(seed)
    places = np.array([(x, y) for x in range(ROWS) for y in range(COLUMNS)], dtype=np.float64)
    places = SPACING * (places - places.mean(0))[generator.permutation(len(places))]
    camera = place_camera((-0.85, 0.0, 0.85), (-0.06, 0.0, 0.0))
    with World() as world, tempfile.TemporaryDirectory() as folder:
        world.add_plane(colour=TABLE_COLOUR)
        bodies = [_put_down(world, Path(folder), index, place, generator) for index, place in enumerate(places[:count])]
        world.settle(bodies, max_seconds=4.0)
        photograph = take_photograph(world, tuple(bodies), camera, generator)
    return _observe(photograph, tuple(f"{TOYS[k % len(TOYS)].name}_{k}" for k in range(count)))


def _put_down(world: World, folder: Path, index: int, place: np.ndarray, generator: np.random.Generator) -> int:
    toy = TOYS[index % len(TOYS)]
    path = folder / f"{toy.name}.urdf"
    path.write_text(toy.urdf())
    T_world_toy = np.eye(4)
    yaw = Rotation.from_euler("z", generator.uniform(-np.pi, np.pi))
    T_world_toy[:3, :3] = (yaw * Rotation.from_euler("xyz", toy.upright)).as_matrix()
    lowest = (toy.load_surface().vertices @ T_world_toy[:3, :3].T)[:, 2].min()
    T_world_toy[:3, 3] = [*place, _DROP - lowest]
    return world.add_urdf(path, T_world_toy, friction=DEFAULT_FRICTION)


def _observe(photograph: Photograph, names: tuple[str, ...]) -> Observation:
    depth = torch.from_numpy(photograph.depth.astype(np.float32)) * photograph.depth_unit
    colour = linear_from_srgb(torch.from_numpy(photograph.colour.astype(np.float32)) / 255)
    masks = make_disjoint(torch.from_numpy(photograph.true_masks))
    camera = photograph.camera.to(dtype=torch.float32)
    observation = Observation(colour, depth, depth > 0, masks, camera, f"{len(names)} toys")
    return observation.with_masks(masks, names).with_camera_pose(torch.eye(4))


def measure(count: int, repeats: int, seed: int) -> dict[str, float]:
    """The least of several times of one reconstruction."""
    observation = build_observation(count, seed)
    wall, processor = [], []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        result = reconstruct(observation, seed=seed)
        wall.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"objects": len(result.scene.objects), "seconds": min(wall), "processor_seconds": min(processor), "peak_gib": peak}


def fit_line(objects: np.ndarray, seconds: np.ndarray) -> dict[str, float]:
    """Least squares: seconds with no object, seconds an object, share of the variance that the line explains."""
    each, fixed = np.polyfit(objects, seconds, 1)
    unexplained = ((seconds - fixed - each * objects) ** 2).sum() / ((seconds - seconds.mean()) ** 2).sum()
    return {"fixed": float(fixed), "each": float(each), "explained": float(1 - unexplained)}


def main() -> None:
    """Measures from few objects to many, writes `scaling.json` and the table."""
    arguments = _parse()
    reconstruct(build_observation(1, arguments.seed))  # compiles what is not compiled yet
    rows = []
    for count in sorted(arguments.counts):
        rows.append(measure(count, arguments.repeats, arguments.seed))
        print({key: round(value, 2) for key, value in rows[-1].items()}, flush=True)
    objects = np.array([row["objects"] for row in rows], dtype=np.float64)
    lines = {key: fit_line(objects, np.array([row[key] for row in rows])) for key in ("seconds", "processor_seconds")}
    write_json(arguments.out / "scaling.json", {"seed": arguments.seed, **describe_machine(), "rows": rows, "lines": lines})
    table = format_table(["objects", "wall s", "processor s", "peak GiB"], [list(row.values()) for row in rows])
    line = lines["processor_seconds"]
    said = f"Processor time: {line['fixed']:.2f} s + {line['each']:.2f} s an object; the line explains {100 * line['explained']:.1f} %."
    print(table, said, sep="\n")
    if arguments.markdown:
        where = describe_machine()["device"]
        lead = f"Toys of the demo on a table, 640x480, seed {arguments.seed}, {where}; the least of {arguments.repeats} runs each."
        write_markdown(arguments.markdown, "Time over the number of objects", [lead, said], table)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", type=Path, help="page to write the table to")
    arguments = parser.parse_args()
    if len(set(arguments.counts)) < 2 or not all(1 <= count <= ROWS * COLUMNS for count in arguments.counts):
        parser.error(f"--counts needs two or more different numbers from 1 to {ROWS * COLUMNS}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    main()
