"""The notebooks run from top to bottom, one after the other in one folder as a person would, and end with what they promise."""

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
import PIL.Image
import pytest
import trimesh
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@dataclass(frozen=True)
class Shown:
    """What a notebook showed."""

    html: str
    text: str
    pictures: list[np.ndarray]
    """(h, w, 3) each."""
    folder: Path
    """Where it ran."""

    def find(self, pattern: str) -> tuple[str, ...]:
        """Groups of the first match of a pattern in the text."""
        match = re.search(pattern, self.text)
        assert match, f"{pattern!r} is not in: {self.text}"
        return match.groups()

    def rows(self, start: str) -> list[list[str]]:
        """Cells of the tables' rows whose first cell starts like that."""
        rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", self.html, flags=re.DOTALL)]
        return [row for row in rows if row and row[0].startswith(start)]


def check_one_frame_to_a_scene(shown: Shown) -> None:
    """Both toys came out closed and near the truth, and every part was shown."""
    assert shown.html.count("data:image/png") > 15
    assert "cage of object_01" in shown.html
    saved = shown.folder / "out" / "sample" / "reconstruction"
    surfaces = [trimesh.load(path) for path in sorted((saved / "meshes").glob("*.ply"))]
    assert len(surfaces) == 2
    assert all(surface.is_watertight and surface.volume > 1e-5 for surface in surfaces)
    scores = json.loads((saved / "metrics.json").read_text())["scores"]["objects"]
    assert [row["name"] for row in scores] == ["duck", "mug"]
    assert all(row["cd_l1_mm"] < 8 and row["f10"] > 70 for row in scores)
    assert "data:image/png" in (saved / "report.html").read_text()


def check_the_optimiser_opened(shown: Shown) -> None:
    """Weights pull the way that the text says, the term of one's own is obeyed, and second order needs fewer steps."""
    rows = [*shown.rows("completion,"), *shown.rows("ellipsoid,")]
    depth, silhouette, moved = ({row[0]: float(row[k]) for row in rows} for k in (1, 2, 3))
    assert depth["completion, usual weights"] < 1.5 < depth["ellipsoid, usual weights"]
    assert moved["ellipsoid, smoothness x 100"] < moved["ellipsoid, usual weights"] < moved["ellipsoid, smoothness x 0.01"]
    assert silhouette["ellipsoid, silhouette x 0"] < silhouette["ellipsoid, usual weights"] < silhouette["ellipsoid, silhouette x 10"]
    assert depth["ellipsoid, depth x 0"] > depth["ellipsoid, usual weights"]
    assert moved["ellipsoid, rest x 100"] < 2
    without, with_it, ruler = (float(value) for value in shown.find(r"height: ([\d.]+) mm without .*, ([\d.]+) mm with it, ([\d.]+)"))
    assert abs(with_it - ruler) < 1 < abs(without - ruler)
    second, second_loss = shown.find(r"Levenberg-Marquardt: (\d+) steps to ([\d.]+)")
    first, first_loss = shown.find(r"Adam: (\d+) steps to ([\d.]+)")
    assert int(second) < int(first)
    assert float(second_loss) <= float(first_loss)
    assert "data:image/webp" in shown.html


def check_masks_by_hand(shown: Shown) -> None:
    """One click finds what was proposed, a click beside parts two, the brush works, and the masks are read back."""
    assert float(shown.find(r"one click at .*, ([\d.]+) % as proposed")[0]) > 90
    clicked, erased, undone = (int(shown.find(p)[0]) for p in (r"\): (\d+) pixels", r"middle: (\d+) pixels", r"undone: (\d+) pixels"))
    assert erased < clicked == undone
    assert all(int(shown.find(pattern)[0]) > 90 for pattern in (r"around two: (\d+) %", r"on the second: (\d+) %"))
    ids = np.asarray(PIL.Image.open(shown.folder / "out" / "masks" / "frame" / "mask.png"))
    proposed = int(shown.find(r"(\d+) objects proposed")[0])
    assert proposed >= 5
    assert sorted(np.unique(ids)) == list(range(proposed + 1))
    outlined, struck = shown.pictures
    assert (outlined != struck).any()


def check_materials_and_lights(shown: Shown) -> None:
    """The render is near the photograph; what the bear changes in it are its pixels and a shadow, which is darker."""
    both, turned, inserted = (picture.astype(float) for picture in shown.pictures)
    half = (both.shape[1] - 6) // 2
    assert np.abs(both[:, :half] - both[:, -half:]).mean() < 8
    before, after = inserted[:, :half], inserted[:, -half:]
    changed = np.abs(after - before).max(-1) > 12
    assert 0.002 < changed.mean() < 0.1
    assert np.median(after[changed] - before[changed]) < 0
    third = (turned.shape[1] - 12) // 3
    warm, cold = turned[:, :third].mean((0, 1)), turned[:, -third:].mean((0, 1))
    assert warm[0] - warm[2] > cold[0] - cold[2] + 10


def check_grasp_search(shown: Shown) -> None:
    """Both toys can be grasped; every outcome was shown, with shapes that the image allows."""
    grasps = json.loads((shown.folder / "out" / "grasps" / "grasps.json").read_text())
    assert {grasp["object_index"] for grasp in grasps} == {0, 1}
    assert grasps[0]["trials"] == 6
    assert grasps[0]["success_rate"] > 0.5
    assert shown.html.count("width: 110px; font-size: 11px") == 25
    assert "shape 3" in shown.text
    assert [row[4] for row in shown.rows("object_")][:2] == ["3", "3"]


def check_execute_in_simulation(shown: Shown) -> None:
    """The mug is lifted, and not when it is slippery."""
    assert shown.find(r"as it is: (\w+), rose")[0] == "HELD"
    assert shown.find(r"slippery: (\w+):")[0] != "HELD"
    assert shown.html.count("data:image/webp") == 2


def check_your_own_hand(shown: Shown) -> None:
    """The hand is read, its mistakes are told in a line each, and it grasps."""
    assert "tripod: motors thumb_joint; joints left_joint, right_joint, thumb_joint" in shown.text
    for mistake in ("contact tip: no link index", "no motor motor_7", "no such URDF file"):
        assert mistake in shown.text
    (tripod, _), (jaw, _) = shown.rows("tripod"), shown.rows("parallel_jaw")
    assert all(re.match(r"\d+ % of 5", row[3]) for row in (tripod, jaw))
    widest, narrowest = shown.find(r"opening (\d+) mm down to (\d+) mm")
    assert int(widest) == 100 > int(narrowest)


CHECKS: dict[str, Callable[[Shown], None]] = {
    "00_one_frame_to_a_scene": check_one_frame_to_a_scene,
    "01_the_optimiser_opened": check_the_optimiser_opened,
    "02_masks_by_hand": check_masks_by_hand,
    "03_materials_and_lights": check_materials_and_lights,
    "04_grasp_search": check_grasp_search,
    "05_execute_in_simulation": check_execute_in_simulation,
    "06_your_own_hand": check_your_own_hand,
}
"""For each notebook, what must have come of it."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all notebooks run: the first one that needs it makes the sample scene, the others find it, as for a person."""
    return tmp_path_factory.mktemp("notebooks")


def test_every_notebook_is_checked_and_kept_without_outputs() -> None:
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    assert [path.stem for path in paths] == sorted(CHECKS)
    for path in paths:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in cells), path.name


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_a_notebook_runs_from_top_to_bottom(name: str, workplace: Path) -> None:
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(workplace)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    bundles = [output["data"] for output in outputs if "data" in output]
    pictures = [np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"])))) for data in bundles if "image/jpeg" in data]
    text = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    CHECKS[name](Shown("".join(data.get("text/html", "") for data in bundles), text, pictures, workplace))
