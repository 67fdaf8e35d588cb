"""Output folders: claimed before anything is computed, written so that an unfinished one cannot be taken for a finished one, read back.

A folder holds `meshes/object_KK.ply` (camera frame, metres, KK the number of the mask), `scene.glb` (world frame), `metrics.json`, and
`scene.json`, which is written last: where it is, everything is. A textured mesh has its texture's averages as vertex colours in the .ply,
and comes as `meshes/object_KK.obj` (with .mtl and .png) as well. Shape samples, where there are any, are `meshes/samples/object_KK_SS.ply`
(camera frame, metres, 00 the reconstruction's own surface), and `meshes/samples/spread.npz` holds how far they are from each vertex. The
cages are `meshes/cages/object_KK.ply` (camera frame, metres), and `frame/` is the image that all of it was made from, as a frame folder.
"""

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics import __version__
from invgraphics.camera import Camera
from invgraphics.datasets.files import read_json, read_mesh
from invgraphics.datasets.frame_writer import write_frame_folder
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh
from invgraphics.geometry.texture import load_textured_obj, save_textured_obj
from invgraphics.glb import encode_glb
from invgraphics.reconstruction import Reconstruction
from invgraphics.scene import (
    AmbientLight,
    DirectionalLight,
    Light,
    Material,
    PhongMaterial,
    Plane,
    PointLight,
    Scene,
    SceneObject,
    SurfaceMaterial,
)
from invgraphics.surfaces import build_surface, tint, without_texture
from invgraphics.transforms import invert

SCENE_FORMAT_VERSION = 1
CHECKPOINT_FOLDER = ".checkpoint"
"""In an output folder: what the stages of an unfinished run have come to."""
_SCENE_FILE, _MESH_FOLDER, _SETTINGS_FILE = "scene.json", "meshes", "settings.json"
FRAME_FOLDER = "frame"
"""In an output folder: the image that it was made from (the first of several)."""
_SAMPLE_FOLDER, _CAGE_FOLDER = f"{_MESH_FOLDER}/samples", f"{_MESH_FOLDER}/cages"
_SPREAD_FILE = f"{_SAMPLE_FOLDER}/spread.npz"
_MARKER = ".invgraphics-output"
_MARKER_TEXT = "This folder is written by invgraphics; `--overwrite` removes everything in it.\n"
_UNITS = {"length": "m", "angle": "rad", "colour": "linear RGB in [0, 1]", "K": "pixels, pixel centres at integer coordinates"}
_MATERIAL_MODELS: dict[str, type[SurfaceMaterial]] = {"metallic-roughness": Material, "phong": PhongMaterial}
_SMALLEST_BASE_COLOUR = 1e-3


def check_output_folder(out: Path, overwrite: bool) -> None:
    """`InputError` if `claim_output_folder` would refuse the folder: so that it is known before anything is computed."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; the output must be a folder")
    if out.is_dir() and any(path.name != CHECKPOINT_FOLDER for path in out.iterdir()) and not _is_unfinished(out):
        if not overwrite:
            raise InputError(f"output folder {out} is not empty; name another one, or give --overwrite to replace old results")
        if not (out / _MARKER).is_file():
            raise InputError(f"output folder {out} holds files that invgraphics did not write, so it is not overwritten; name another one")
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"output folder {out} cannot be written: {existing} is not a folder that you may write to; name another one")


def claim_output_folder(out: Path, overwrite: bool) -> None:
    """Makes `out` an empty folder that is marked as this program's. What it held is removed, but for the checkpoint of an unfinished run.

    Raises:
        InputError: it holds something and `overwrite` is not set, or holds something that this program did not write.
    """
    check_output_folder(out, overwrite)
    try:
        if out.is_dir():
            _empty_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        (out / _MARKER).write_text(_MARKER_TEXT)
    except OSError as error:
        raise InputError(f"output folder {out} cannot be written: {error.strerror}") from error


def claim_or_carry_on(out: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
    """Leaves `out` as it is where a run with the same settings (JSON values) began it; else claims it, see `claim_output_folder`.

    Raises:
        InputError: other settings began it; or it holds something else.
    """
    path = out / _SETTINGS_FILE
    if overwrite or not path.is_file():
        claim_output_folder(out, overwrite)
        write_json(path, settings)
        return
    before = read_json(path)
    changed = [f"{key} {before.get(key)} and not {value}" for key, value in settings.items() if before.get(key) != value]
    if changed:
        raise InputError(f"{out} was begun with {', '.join(changed)}; name another folder, or give --overwrite to begin anew")


def save_reconstruction(reconstruction: Reconstruction, out: Path, scores: Mapping[str, Any] | None = None) -> None:
    """Writes a reconstruction to a folder (made where it does not exist) that holds no other.

    Args:
        reconstruction: every mesh of it closed, with outward faces.
        out: the folder.
        scores: what `metrics.json` is to say under "scores", JSON values; non-finite numbers become null.

    Raises:
        InputError: the folder holds a scene already.
        ValueError: a mesh is not closed or faces inwards.
    """
    if (out / _SCENE_FILE).exists() or (out / _MESH_FOLDER).exists():
        raise InputError(f"{out} holds a scene already; results are not mixed: name another folder, or give --overwrite")
    scene = reconstruction.scene
    surfaces = [build_surface(shape) for shape in scene.objects]
    (out / _MESH_FOLDER).mkdir(parents=True)
    for index, shape, surface in zip(reconstruction.mask_indices, scene.objects, surfaces, strict=True):
        T_camera_object = scene.camera.T_camera_world @ shape.T_world_object
        tinted = tint(surface, shape.material).transformed(T_camera_object)
        if tinted.texture is not None:
            save_textured_obj(tinted, tinted.texture, out / _textured_file(index))
        without_texture(tinted).to_trimesh().export(out / _mesh_file(index))
    if reconstruction.samples:
        _save_samples(reconstruction, out)
    if reconstruction.cages:
        _save_cages(reconstruction, out)
    write_frame_folder(reconstruction.observation, out / FRAME_FOLDER, with_pose=True)
    (out / "scene.glb").write_bytes(encode_glb(scene, surfaces))
    write_json(out / "metrics.json", _describe_metrics(reconstruction, scores))
    write_json(out / _SCENE_FILE, _describe_scene(reconstruction))


def load_scene(out: Path) -> Scene:
    """Reads the scene that `save_reconstruction` wrote; vertices come back to float32, colours to 8-bit sRGB accuracy.

    Raises:
        InputError: there is no finished scene, or it was written in another format.
    """
    path = out / _SCENE_FILE
    if not path.is_file():
        raise InputError(f"{out} holds no finished reconstruction: it has no {_SCENE_FILE}; make one with `invgraphics reconstruct`")
    try:
        content = json.loads(path.read_text())
        if content["version"] != SCENE_FORMAT_VERSION:
            raise InputError(f"{path} has format version {content['version']}; this program reads version {SCENE_FORMAT_VERSION}")
        camera = _parse_camera(content["camera"])
        objects = tuple(_load_object(row, out, camera) for row in content["objects"])
        plane = None if content["plane"] is None else Plane(_parse_material(content["plane"]["material"]))
        return Scene(objects, tuple(_parse_light(row) for row in content["lights"]), plane, camera)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}); reconstruct again") from error


def load_mask_indices(out: Path) -> tuple[int, ...]:
    """For each object of the scene that lies in a folder, the number of its mask: what its mesh files are numbered by."""
    return tuple(row["mask_index"] for row in json.loads((out / _SCENE_FILE).read_text())["objects"])


def load_samples(out: Path, scene: Scene) -> tuple[tuple[tuple[Mesh, ...], ...], tuple[Float[Tensor, " _"], ...]]:
    """The shape samples of each object of a scene that lies in a folder, object frame, and their spread (metres) at the object's vertices.

    Both empty where the reconstruction was made without samples.

    Raises:
        InputError: the files are not those of the scene.
    """
    spread_file = out / _SPREAD_FILE
    if not spread_file.is_file():
        return (), ()
    rows = json.loads((out / _SCENE_FILE).read_text())["objects"]
    samples, spreads = [], []
    with np.load(spread_file) as stored:
        for row, item in zip(rows, scene.objects, strict=True):
            name = _object_key(row["mask_index"])
            paths = sorted((out / _SAMPLE_FOLDER).glob(f"{name}_*.ply"))
            if name not in stored or not paths:
                raise InputError(f"{spread_file} and {out / _SAMPLE_FOLDER} know nothing of {name}; reconstruct again")
            T_object_camera = invert(item.T_world_object) @ scene.camera.T_world_camera
            samples.append(tuple(replace(read_mesh(path), colours=None).transformed(T_object_camera) for path in paths))
            spreads.append(torch.as_tensor(stored[name]))
    return tuple(samples), tuple(spreads)


def load_cages(out: Path, scene: Scene) -> tuple[Mesh, ...]:
    """The cage of each object of a scene that lies in a folder, world frame; empty where it was made without cages."""
    paths = [out / _CAGE_FOLDER / f"{_object_key(index)}.ply" for index in load_mask_indices(out)]
    if not all(path.is_file() for path in paths):
        return ()
    return tuple(replace(read_mesh(path), colours=None).transformed(scene.camera.T_world_camera) for path in paths)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON in one step (a reader sees the old file or the new one); non-finite numbers become null."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(_replace_non_finite(content), indent=1, allow_nan=False) + "\n")
    os.replace(partial, path)


def _is_unfinished(out: Path) -> bool:
    """Whether a run was interrupted while it wrote its results: the scene, which is written last, is not there."""
    return (out / CHECKPOINT_FOLDER).is_dir() and (out / _MARKER).is_file() and not (out / _SCENE_FILE).exists()


def _empty_folder(folder: Path) -> None:
    """Removes what a folder holds, the scene first (so that an interruption leaves nothing that looks finished), the marker last.

    The checkpoint stays.
    """
    rest = (path for path in folder.iterdir() if path.name != CHECKPOINT_FOLDER)
    for path in sorted(rest, key=lambda path: (path.name != _SCENE_FILE, path.name == _MARKER)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _mesh_file(mask_index: int) -> str:
    return f"{_MESH_FOLDER}/{_object_key(mask_index)}.ply"


def _object_key(mask_index: int) -> str:
    return f"object_{mask_index:02d}"


def _save_samples(reconstruction: Reconstruction, out: Path) -> None:
    (out / _SAMPLE_FOLDER).mkdir()
    scene = reconstruction.scene
    for index, shape, meshes in zip(reconstruction.mask_indices, scene.objects, reconstruction.samples, strict=True):
        T_camera_object = scene.camera.T_camera_world @ shape.T_world_object
        for k, mesh in enumerate(meshes):
            bare = Mesh(mesh.vertices.detach(), mesh.faces).transformed(T_camera_object)
            bare.to_trimesh().export(out / _SAMPLE_FOLDER / f"{_object_key(index)}_{k:02d}.ply")
    pairs = zip(reconstruction.mask_indices, reconstruction.spread, strict=True)
    np.savez_compressed(out / _SPREAD_FILE, **{_object_key(index): spread.cpu().numpy() for index, spread in pairs})


def _save_cages(reconstruction: Reconstruction, out: Path) -> None:
    (out / _CAGE_FOLDER).mkdir()
    for index, cage in zip(reconstruction.mask_indices, reconstruction.cages, strict=True):
        in_camera = cage.transformed(reconstruction.scene.camera.T_camera_world)
        in_camera.to_trimesh().export(out / _CAGE_FOLDER / f"{_object_key(index)}.ply")


def _textured_file(mask_index: int) -> str:
    return f"{_MESH_FOLDER}/{_object_key(mask_index)}.obj"


def _untint(mesh: Mesh, material: SurfaceMaterial) -> Mesh:
    base = material.base_colour.clamp(min=_SMALLEST_BASE_COLOUR)
    if mesh.texture is not None:
        return replace(mesh, texture=replace(mesh.texture, image=mesh.texture.image / base))
    return replace(mesh, colours=mesh.colours / base)


def _describe_scene(reconstruction: Reconstruction) -> dict[str, Any]:
    scene = reconstruction.scene
    pairs = zip(reconstruction.mask_indices, scene.objects, strict=True)
    return {
        "format": "invgraphics scene",
        "version": SCENE_FORMAT_VERSION,
        "generator": f"invgraphics {__version__}",
        "image": reconstruction.observation.name,
        "units": _UNITS,
        "T_world_camera": _list(scene.camera.T_world_camera),
        "camera": {
            "K": _list(scene.camera.K),
            "width": scene.camera.width,
            "height": scene.camera.height,
            "T_world_camera": _list(scene.camera.T_world_camera),
        },
        "plane": None if scene.plane is None else _describe_plane(scene.plane, scene.camera),
        "objects": [_describe_object(index, shape, scene.camera) for index, shape in pairs],
        "left_out": {str(index): reason for index, reason in sorted(reconstruction.left_out.items())},
        "lights": [_describe_light(light) for light in scene.lights],
    }


def _describe_object(mask_index: int, shape: SceneObject, camera: Camera) -> dict[str, Any]:
    return {
        "name": shape.name,
        "mask_index": mask_index,
        "T_world_object": _list(shape.T_world_object),
        "T_camera_object": _list(camera.T_camera_world @ shape.T_world_object),
        "ellipsoid": {"radii_m": _list(shape.radii)},
        "material": _describe_material(shape.material),
        "mesh": _mesh_file(mask_index),
        "mesh_is_ellipsoid": shape.mesh is None,
        "textured_mesh": None if shape.mesh is None or shape.mesh.texture is None else _textured_file(mask_index),
        "mesh_has_vertex_colours": shape.mesh is not None and shape.mesh.colours is not None,
    }


def _describe_plane(plane: Plane, camera: Camera) -> dict[str, Any]:
    """The plane z = 0 of the world frame; its equation in the camera frame too: `normal_camera . x = offset_camera_m`."""
    T_camera_world = camera.T_camera_world
    normal = T_camera_world[:3, 2]
    return {
        "normal_world": [0.0, 0.0, 1.0],
        "offset_world_m": 0.0,
        "normal_camera": _list(normal),
        "offset_camera_m": float(normal @ T_camera_world[:3, 3]),
        "material": _describe_material(plane.material),
    }


def _describe_material(material: SurfaceMaterial) -> dict[str, Any]:
    """The model's name, "metallic-roughness" or "phong", and its parameters."""
    model = next(name for name, kind in _MATERIAL_MODELS.items() if isinstance(material, kind))
    return {"model": model} | {name: value.detach().cpu().tolist() for name, value in vars(material).items()}


def _describe_light(light: Light) -> dict[str, Any]:
    if isinstance(light, PointLight):
        return {"type": "point", "position": _list(light.position), "intensity": _list(light.intensity)}
    if isinstance(light, DirectionalLight):
        return {"type": "directional", "direction": _list(light.direction), "irradiance": _list(light.irradiance)}
    return {"type": "ambient", "sh": _list(light.sh)}


def _describe_metrics(reconstruction: Reconstruction, scores: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "image": reconstruction.observation.name,
        "seconds": reconstruction.seconds,
        "seconds_total": sum(reconstruction.seconds.values()),
        "peak_memory_bytes": reconstruction.peak_memory_bytes,
        "stages": [{"stage": stage.stage, "outcome": stage.outcome, "loss": stage.loss} for stage in reconstruction.history],
        "left_out": {str(index): reason for index, reason in sorted(reconstruction.left_out.items())},
        "scores": None if scores is None else dict(scores),
    }


def _parse_camera(row: Mapping[str, Any]) -> Camera:
    return Camera(torch.tensor(row["K"]), row["height"], row["width"], torch.tensor(row["T_world_camera"]))


def _parse_material(row: Mapping[str, Any]) -> SurfaceMaterial:
    """Files written before there were two models name none: theirs is metallic-roughness."""
    name = row.get("model", "metallic-roughness")
    if name not in _MATERIAL_MODELS:
        raise InputError(f"material model {name!r} is unknown; the models are {', '.join(_MATERIAL_MODELS)}")
    kind = _MATERIAL_MODELS[name]
    return kind(**{field.name: torch.tensor(row[field.name]) for field in fields(kind)})


def _parse_light(row: Mapping[str, Any]) -> Light:
    if row["type"] == "point":
        return PointLight(torch.tensor(row["position"]), torch.tensor(row["intensity"]))
    if row["type"] == "directional":
        return DirectionalLight(torch.tensor(row["direction"]), torch.tensor(row["irradiance"]))
    if row["type"] == "ambient":
        return AmbientLight(torch.tensor(row["sh"]))
    raise InputError(f"light type {row['type']!r} is unknown; the types are point, directional, ambient")


def _load_object(row: Mapping[str, Any], out: Path, camera: Camera) -> SceneObject:
    T_world_object, material = torch.tensor(row["T_world_object"]), _parse_material(row["material"])
    shape = SceneObject(row["name"], T_world_object, torch.tensor(row["ellipsoid"]["radii_m"]), material)
    if row["mesh_is_ellipsoid"]:
        return shape
    T_object_camera = invert(T_world_object) @ camera.T_world_camera
    if row.get("textured_mesh"):
        mesh = load_textured_obj(out / row["textured_mesh"]).transformed(T_object_camera)
        return replace(shape, mesh=_untint(mesh, material))
    path = out / row["mesh"]
    if not path.is_file():
        raise InputError(f"no such mesh: {path}, which {out / _SCENE_FILE} names; reconstruct again")
    mesh = read_mesh(path).transformed(T_object_camera)
    return replace(shape, mesh=_untint(mesh, material) if row["mesh_has_vertex_colours"] else replace(mesh, colours=None))


def _list(values: Tensor) -> list[Any]:
    return values.detach().cpu().tolist()


def _replace_non_finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _replace_non_finite(item) for key, item in value.items()}
    return [_replace_non_finite(item) for item in value] if isinstance(value, list | tuple) else value
