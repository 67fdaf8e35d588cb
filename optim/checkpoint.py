"""What the stages of a run have come to, on disk: a run that was killed goes on after the last stage that it finished.

Files are read without executing anything: tensors, arrays, and the data types listed here, nothing else (`weights_only` of torch).
"""

import _codecs
import hashlib
import io
import json
import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from invgraphics import __version__
from invgraphics.camera import Camera
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh, Texture
from invgraphics.observation import Observation
from invgraphics.reconstruction import StageHistory
from invgraphics.scene import AmbientLight, DirectionalLight, Material, PhongMaterial, Plane, PointLight, Scene, SceneObject
from optim.ellipsoids import EllipsoidPosterior
from optim.evidence import ObjectEvidence
from optim.hypotheses import Hypothesis
from optim.minimize import Outcome
from optim.options import ReconstructionOptions
from optim.scene_stage import SceneStageResult

Outcomes = TypeVar("Outcomes")

_DATA_TYPES = (
    Observation,
    Camera,
    ObjectEvidence,
    EllipsoidPosterior,
    SceneStageResult,
    Outcome,
    StageHistory,
    Hypothesis,
    Scene,
    SceneObject,
    Mesh,
    Texture,
    Material,
    PhongMaterial,
    Plane,
    PointLight,
    DirectionalLight,
    AmbientLight,
)
_ARRAYS = (
    np._core.multiarray._reconstruct,
    np.ndarray,
    np.dtype,
    _codecs.encode,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
)
"""What torch's reader must know to read numpy arrays."""
_KEY_FILE, _STAGE_SUFFIX, _PARTIAL = "key.json", ".pt", ".partial"
PROGRESS_FILE = "progress.json"
"""Name of the stage that runs, and the fraction of the whole that was done before it."""
_PROGRAM = ("invgraphics", "renderers", "optim")


class Checkpoint:
    """A folder that keeps the outcomes of stages. Those of another run (other input, options, seed or program) are removed.

    Raises:
        InputError: the folder holds something that no checkpoint keeps, or cannot be written to, here or later.
    """

    def __init__(self, folder: Path, key: str):
        self._folder = folder
        with _explain_failure(folder):
            if not _holds(folder, key):
                _remove_kept(folder)
                folder.mkdir(parents=True, exist_ok=True)
                _replace_file(folder / _KEY_FILE, (json.dumps({"key": key}) + "\n").encode())

    def load(self, name: str) -> dict[str, Any] | None:
        """What was saved under a name; None where nothing was. Raises `InputError` where the file is damaged."""
        return read_kept(self._folder, name)

    def save(self, name: str, content: Mapping[str, Any]) -> None:
        """Keeps `content` under a name; a reader sees the whole of it or nothing."""
        file = io.BytesIO()
        torch.save(dict(content), file)
        with _explain_failure(self._folder):
            _replace_file(_path(self._folder, name), file.getbuffer())

    def note(self, stage: str, fraction: float) -> None:
        """Writes down where the run stands, for those who watch it (`optim.watch`)."""
        text = json.dumps({"stage": stage, "fraction": fraction}) + "\n"
        with _explain_failure(self._folder):
            _replace_file(self._folder / PROGRESS_FILE, text.encode())


def read_kept(folder: Path, name: str) -> dict[str, Any] | None:
    """What a checkpoint folder keeps under a name, the folder being left as it is; None where it keeps nothing.

    Raises `InputError` where the file is damaged.
    """
    path = _path(folder, name)
    if not path.is_file():
        return None
    try:
        with torch.serialization.safe_globals([*_DATA_TYPES, *_ARRAYS]):
            return torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"checkpoint {path} is damaged; remove the folder {folder} to start from the beginning") from error


def has_kept(folder: Path, name: str) -> bool:
    """Whether a checkpoint folder keeps something under a name."""
    return _path(folder, name).is_file()


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name.replace(' ', '_').replace(chr(39), '')}{_STAGE_SUFFIX}"


class StageRunner:
    """Runs the stages of a run one after the other: tells the progress, takes the time, keeps the outcomes."""

    def __init__(self, progress: Callable[[str, float], None], generator: torch.Generator, checkpoint: Checkpoint | None):
        self._progress = progress
        self._generator = generator
        self._checkpoint = checkpoint
        self.seconds: dict[str, float] = {}
        """Wall-clock time of each stage, in the order in which they ran; of one that was read, what it took when it ran."""

    def run(self, name: str, fraction: float, compute: Callable[[], Outcomes]) -> Outcomes:
        """The outcome of a stage: read where an earlier run kept it, and the generator with it, else computed and kept.

        Args:
            name: of the stage, different from the others'.
            fraction: of the whole that is done before it.
            compute: the stage. Its outcome is made of tensors, arrays, plain values and the data types listed in this module.
        """
        self._progress(name, fraction)
        if self._checkpoint is not None:
            self._checkpoint.note(name, fraction)
        kept = self._checkpoint.load(name) if self._checkpoint is not None else None
        if kept is not None:
            self._generator.set_state(kept["generator"])
            self.seconds[name] = kept["seconds"]
            return kept["outcome"]
        start = time.perf_counter()
        outcome = compute()
        self.seconds[name] = time.perf_counter() - start
        if self._checkpoint is not None:
            self._checkpoint.save(name, {"outcome": outcome, "generator": self._generator.get_state(), "seconds": self.seconds[name]})
        return outcome


def compute_key(observations: Sequence[Observation], poses: torch.Tensor | None, seed: int, options: ReconstructionOptions) -> str:
    """A digest of everything that a reconstruction depends on: the input, the options, the seed, the program and its libraries."""
    digest = hashlib.sha256(repr((__version__, torch.__version__, np.__version__, seed, options)).encode())
    for source in _list_sources():
        digest.update(source.read_bytes())
    for item in observations:
        digest.update(repr((item.name, item.object_names, item.masks.shape)).encode())
        for tensor in (item.colour, item.depth, item.valid, item.masks, item.camera.K, item.camera.T_world_camera):
            digest.update(tensor.contiguous().cpu().numpy())
    if poses is not None:
        digest.update(poses.contiguous().cpu().numpy())
    return digest.hexdigest()


def _list_sources() -> list[Path]:
    root = Path(__file__).parents[1]
    return [path for package in _PROGRAM for path in sorted((root / package).rglob("*.py"))]


def _holds(folder: Path, key: str) -> bool:
    try:
        return json.loads((folder / _KEY_FILE).read_text()) == {"key": key}
    except (FileNotFoundError, json.JSONDecodeError):
        return False


def _remove_kept(folder: Path) -> None:
    """Removes what another run kept, the key last. Raises `InputError`, and removes nothing, where anything else lies in the folder."""
    paths = sorted(folder.iterdir(), key=lambda path: path.name == _KEY_FILE) if folder.is_dir() else []
    key_files = (_KEY_FILE, _KEY_FILE + _PARTIAL)
    is_checkpoint = any(path.name == _KEY_FILE for path in paths)
    others = [path for path in paths if path.name not in key_files and not (is_checkpoint and _is_kept(path))]
    if others:
        raise InputError(f"checkpoint folder {folder} holds {others[0].name}, which is no checkpoint's; name a new or an empty folder")
    for path in paths:
        path.unlink()


def _is_kept(path: Path) -> bool:
    """Whether a file in a checkpoint folder is one that a run writes."""
    name = path.name.removesuffix(_PARTIAL)
    return name == PROGRESS_FILE or name.endswith(_STAGE_SUFFIX)


@contextmanager
def _explain_failure(folder: Path) -> Iterator[None]:
    """Turns what the operating system says of a folder into an `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"checkpoint folder {folder} cannot be written: {error.strerror}; name another output folder") from error


def _replace_file(path: Path, content: bytes | memoryview) -> None:
    """Writes a file in one step: a run killed meanwhile leaves the old one or none."""
    partial = path.with_name(path.name + _PARTIAL)
    partial.write_bytes(content)
    os.replace(partial, path)
