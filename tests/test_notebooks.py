"""The notebooks run from top to bottom, anywhere, and end with what they promise."""

import json
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import trimesh
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def test_notebooks_are_kept_without_outputs() -> None:
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in cells), path.name


def _check_one_frame_to_a_scene(shown: str, folder: Path) -> None:
    """Both toys came out closed and near the truth, and every part was shown."""
    assert shown.count("data:image/png") > 15
    assert "cage of object_01" in shown
    saved = folder / "out" / "reconstruction"
    surfaces = [trimesh.load(path) for path in sorted((saved / "meshes").glob("*.ply"))]
    assert len(surfaces) == 2
    assert all(surface.is_watertight and surface.volume > 1e-5 for surface in surfaces)
    scores = json.loads((saved / "metrics.json").read_text())["scores"]["objects"]
    assert [row["name"] for row in scores] == ["duck", "mug"]
    assert all(row["cd_l1_mm"] < 8 and row["f10"] > 70 for row in scores)
    assert "data:image/png" in (saved / "report.html").read_text()


CHECKS: dict[str, Callable[[str, Path], None]] = {"00_one_frame_to_a_scene.ipynb": _check_one_frame_to_a_scene}
"""For each notebook, what must have come of it: from the HTML that it showed and the folder it ran in."""


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = "".join(output["data"].get("text/html", "") for output in outputs if "data" in output)
    CHECKS[path.name](shown, tmp_path)
