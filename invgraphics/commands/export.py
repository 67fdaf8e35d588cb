"""`invgraphics export OUT --format FORMAT`: a reconstructed scene for other programs."""

import argparse
from collections.abc import Callable
from pathlib import Path

from grasp_sim.hands import load_hand
from grasp_sim.records import DEFAULT_DENSITY, DEFAULT_FRICTION
from grasp_sim.solids import build_solid
from invgraphics.errors import InputError
from invgraphics.exports.bodies import ConvexPiece, RigidBody, SimulatedScene
from invgraphics.exports.grasp_poses import write_grasp_poses
from invgraphics.exports.mesh_files import write_obj, write_ply
from invgraphics.exports.mjcf import write_mjcf
from invgraphics.exports.sdf import write_sdf
from invgraphics.exports.urdf import write_urdf
from invgraphics.exports.usd import import_pxr, write_usd
from invgraphics.geometry.mesh import Mesh
from invgraphics.glb import encode_glb
from invgraphics.grasp import load_grasps
from invgraphics.output import check_output_folder, claim_output_folder, load_mask_indices, load_scene
from invgraphics.scene import Scene, SceneObject
from invgraphics.surfaces import as_metallic_roughness, build_surface, tint, with_one_paint

FRAMES = ("world", "camera", "object")
_SIMULATORS = {"usd": write_usd, "urdf": write_urdf, "sdf": write_sdf, "mjcf": write_mjcf}
_MESH_FILES = {"ply": write_ply, "obj": write_obj}
FORMATS = ("glb", *_MESH_FILES, *_SIMULATORS, "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder that `invgraphics reconstruct` wrote")
    parser.add_argument(
        "--format",
        required=True,
        choices=FORMATS,
        help="glb: the scene, upright in viewers; ply, obj: each object's mesh; usd, sdf, mjcf: the scene for a simulator, with convex "
        "pieces, masses and friction; urdf: each object for a simulator, and the scene for a planner; json: the grasps with their frames",
    )
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="an empty or new folder (default OUT/exports/FORMAT)")
    parser.add_argument("--frame", choices=FRAMES, default="world", help="coordinates of ply and obj (default world)")
    parser.add_argument(
        "--density", type=float, default=DEFAULT_DENSITY, metavar="D", help=f"kg/m^3, for a simulator (default {DEFAULT_DENSITY:g})"
    )
    parser.add_argument(
        "--friction",
        type=float,
        default=DEFAULT_FRICTION,
        metavar="F",
        help=f"of the objects, for a simulator (default {DEFAULT_FRICTION})",
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=0.0,
        metavar="M",
        help="metres by which the simulator rounds convex pieces outward, by which they are made smaller: 0.001 for PyBullet (default 0)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier export wrote to FOLDER")


def run(arguments: argparse.Namespace) -> int:
    """Reads the scene, writes the files, names them."""
    _check(arguments)
    scene = load_scene(arguments.out)
    folder = arguments.to or arguments.out / "exports" / arguments.format
    check_output_folder(folder, arguments.overwrite)
    write = _prepare(arguments, scene)
    claim_output_folder(folder, arguments.overwrite)
    write(folder)
    if arguments.format in _SIMULATORS and scene.plane is None:
        print("the scene has no support plane: nothing holds the objects in a simulator")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.iterdir() if not path.name.startswith("."))
    print(f"wrote {folder}: {', '.join(files)}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    for name, least in (("density", 1e-6), ("friction", 0.0), ("margin", 0.0)):
        if not least <= getattr(arguments, name) < float("inf"):
            raise InputError(f"--{name} is {getattr(arguments, name)}; it must be {'positive' if least else 'at least 0'}")


def _prepare(arguments: argparse.Namespace, scene: Scene) -> Callable[[Path], None]:
    """What writes the export to a folder; all that can be wrong with the input is found out before."""
    names = [f"object_{index:02d}" for index in load_mask_indices(arguments.out)]
    if arguments.format == "glb":
        content = encode_glb(scene, [build_surface(item) for item in scene.objects], upright=True)
        return lambda folder: _write_bytes(folder / "scene.glb", content)
    if arguments.format == "json":
        return _prepare_grasps(arguments.out, scene)
    if arguments.format in _MESH_FILES:
        surfaces = {name: _surface_in(arguments.frame, item, scene) for name, item in zip(names, scene.objects, strict=True)}
        return lambda folder: _write_meshes(arguments.format, surfaces, folder)
    if arguments.format == "usd":
        import_pxr()
    simulated = simulate_scene(scene, names, arguments.density, arguments.friction, arguments.margin)
    return lambda folder: _SIMULATORS[arguments.format](simulated, folder)


def simulate_scene(scene: Scene, names: list[str], density: float, friction: float, margin: float = 0.0) -> SimulatedScene:
    """The scene with convex pieces and masses, computed as for grasp trials. kg/m^3; `margin` as `build_solid` takes it."""
    bodies = [_build_body(item, name, density, friction, margin) for item, name in zip(scene.objects, names, strict=True)]
    return SimulatedScene(scene, tuple(bodies))


def _build_body(item: SceneObject, name: str, density: float, friction: float, margin: float) -> RigidBody:
    surface, look = build_surface(item), as_metallic_roughness(item.material)
    solid = build_solid(surface, margin=margin)
    return RigidBody(
        name,
        item.name,
        item.T_world_object.detach().cpu().double().numpy(),
        tint(with_one_paint(surface), look),
        float(look.metallic),
        float(look.roughness),
        tuple(ConvexPiece(piece.vertices, piece.faces) for piece in solid.pieces),
        density * solid.volume,
        solid.T_body_inertial,
        density * solid.unit_inertia,
        friction,
    )


def _surface_in(frame: str, item: SceneObject, scene: Scene) -> Mesh:
    """The object's surface, coloured, in the coordinates that were asked for."""
    surface = tint(build_surface(item), as_metallic_roughness(item.material))
    if frame == "object":
        return surface
    in_world = surface.transformed(item.T_world_object)
    return in_world if frame == "world" else in_world.transformed(scene.camera.T_camera_world)


def _write_meshes(kind: str, surfaces: dict[str, Mesh], folder: Path) -> None:
    for name, surface in surfaces.items():
        _MESH_FILES[kind](with_one_paint(surface), folder / f"{name}.{kind}")


def _prepare_grasps(out: Path, scene: Scene) -> Callable[[Path], None]:
    path = out / "grasps.json"
    if not path.is_file():
        raise InputError(f"{out} holds no grasps.json; search grasps with `invgraphics grasp {out}` first")
    grasps = load_grasps(path)
    hands = {name: load_hand(name).frame for name in dict.fromkeys(grasp.hand for grasp in grasps)}
    return lambda folder: write_grasp_poses(scene, grasps, hands, folder / "grasps.json")


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
