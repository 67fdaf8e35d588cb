"""What the documentation says can be done as it says."""

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from invgraphics.cli import _build_parser
from invgraphics.datasets import load_frame
from invgraphics.demo.sample import make_sample
from tests.invgraphics.tabletop import write_frame

ROOT = Path(__file__).parents[1]
ROOT_PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES = [*ROOT_PAGES, *sorted((ROOT / "docs").rglob("*.md"))]
RUNNABLE = ["README.md", "docs/tutorial.md", "docs/howto/camera.md", "docs/howto/loss.md", "docs/howto/renderer.md"]
"""Pages whose Python runs as it stands, block after block, in a folder that holds what the page has made so far."""


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ROOT_PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_arguments_that_are_shown(page):
    makefile = (ROOT / "Makefile").read_text()
    for line in "".join(_blocks(page, "console")).splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, flags=re.MULTILINE), line
        elif words[0].endswith("invgraphics") and words[1:] != ["--version"]:
            assert _build_parser(words[1:]).parse_args(words[1:]).command == words[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_imports_that_are_shown_exist(page):
    for block in _blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_extras_that_are_named_exist(page):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {extra for names in re.findall(r"(?:invgraphics|\.)\[([a-z0-9,]+)\]", page.read_text()) for extra in names.split(",")}
    assert named <= set(extras)
    if page.name == "install.md":
        assert set(re.findall(r"^\| `(\w+)` \|", page.read_text(), flags=re.MULTILINE)) == set(extras)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """Where pages are tried: the sample that some of them make, and a small frame where the demo would leave one."""
    folder = tmp_path_factory.mktemp("pages")
    make_sample(folder / "sample")
    write_frame(folder / "demo_out" / "frame")
    return folder


@pytest.mark.parametrize("name", RUNNABLE)
def test_code_that_is_shown_runs(name, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    namespace: dict = {"__name__": "__main__"}
    for block in _blocks(ROOT / name, "python"):
        exec(compile(block, name, "exec"), namespace)


def test_the_site_is_built_without_a_warning_and_has_every_docstring(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(ROOT / "mkdocs.yml"), "--site-dir", str(tmp_path)]
    # The theme announces its own end of life on every build unless it is told not to.
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    reference = {path.stem: path.read_text() for path in (tmp_path / "reference").glob("*.html")}
    for name in ("invgraphics.camera.Camera.project", "optim.reconstruct.reconstruct", "grasp_sim.search.search_grasps", "robot.ur5"):
        page = max((stem for stem in reference if name.startswith(stem)), key=len)
        assert f'id="{name}"' in reference[page]
    assert "https://" not in re.sub(r'<a [^>]*href="https://', "", (tmp_path / "index.html").read_text()), "the site needs the network"


def test_the_frame_that_the_readme_writes_is_read_back(tmp_path):
    (block,) = [block for block in _blocks(ROOT / "README.md", "python") if "def write_frame" in block]
    namespace: dict = {}
    exec(block, namespace)
    generator = np.random.default_rng(0)
    rgb, depth = generator.integers(0, 256, (48, 64, 3)).astype(np.uint8), generator.uniform(0.5, 1.5, (48, 64))
    depth[0, :2] = 9.0, np.nan
    ids = np.zeros((48, 64), int)
    ids[10:20, 10:20], ids[30:40, 30:50] = 1, 700
    K = np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])
    namespace["write_frame"](tmp_path / "mine", rgb, depth, K, ids)
    observation = load_frame(tmp_path / "mine").observation
    assert [int(mask.sum()) for mask in observation.masks] == [100, 200]
    depth[0, :2] = 0.0  # Beyond what 16 bits hold, and no number: no reading.
    np.testing.assert_allclose(observation.depth.numpy(), depth, atol=6e-5)
    torch.testing.assert_close(observation.camera.K, torch.tensor(K, dtype=torch.float32))
    brightest = np.unravel_index(rgb[..., 0].argmax(), (48, 64))
    assert observation.colour[brightest][0] == observation.colour[..., 0].max()
