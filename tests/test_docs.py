"""What the documentation says can be done as it says."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from invgraphics.cli import _build_parser
from invgraphics.datasets import load_frame

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
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


def test_the_frame_that_the_readme_writes_is_read_back(tmp_path):
    (block,) = [block for block in _blocks(ROOT / "README.md", "python") if "def write_frame" in block]
    namespace: dict = {}
    exec(block, namespace)
    generator = np.random.default_rng(0)
    rgb, depth = generator.integers(0, 256, (48, 64, 3)).astype(np.uint8), generator.uniform(0.5, 1.5, (48, 64))
    ids = np.zeros((48, 64), int)
    ids[10:20, 10:20], ids[30:40, 30:50] = 1, 7
    K = np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])
    namespace["write_frame"](tmp_path / "mine", rgb, depth, K, ids)
    observation = load_frame(tmp_path / "mine").observation
    assert [int(mask.sum()) for mask in observation.masks] == [100, 200]
    np.testing.assert_allclose(observation.depth.numpy(), depth, atol=6e-5)
    torch.testing.assert_close(observation.camera.K, torch.tensor(K, dtype=torch.float32))
    brightest = np.unravel_index(rgb[..., 0].argmax(), (48, 64))
    assert observation.colour[brightest][0] == observation.colour[..., 0].max()
