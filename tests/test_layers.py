"""The direction of the dependencies between the packages, read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "invgraphics": set(),
    "renderers": {"invgraphics"},
    "optim": {"invgraphics", "renderers"},
    "grasp_sim": {"invgraphics"},
    "robot": {"invgraphics"},
}
KNOWS_ALL = ("invgraphics/cli.py", "invgraphics/commands", "invgraphics/demo", "invgraphics/execution")
"""The command line, and what only it calls."""
ENGINES = {"pybullet": "grasp_sim/world.py", "mujoco": "grasp_sim/mujoco_world.py"}
"""Of each physics engine, the one file that knows it."""


def find_files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def find_imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, anywhere in it, and of the names taken from them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def is_exempt(path: Path) -> bool:
    return any(path.relative_to(ROOT).as_posix().startswith(prefix) for prefix in KNOWS_ALL)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_downwards_only(package: str) -> None:
    forbidden = set(MAY_IMPORT) - MAY_IMPORT[package] - {package}
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in find_files(package)
        if not is_exempt(path)
        for name in find_imports(path)
        if name.split(".")[0] in forbidden
    }
    assert not found


def test_nothing_below_the_command_line_imports_it() -> None:
    prefixes = tuple(prefix.removesuffix(".py").replace("/", ".") for prefix in KNOWS_ALL)
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for package in MAY_IMPORT
        for path in find_files(package)
        if not is_exempt(path) and path.name != "__main__.py"
        for name in find_imports(path)
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
    }
    assert not found


@pytest.mark.parametrize("engine", ENGINES)
def test_one_file_imports_a_physics_engine(engine: str) -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for package in MAY_IMPORT
        for path in find_files(package)
        if any(name.split(".")[0] == engine for name in find_imports(path))
    }
    assert users == {ENGINES[engine]}


def test_tests_mirror_the_packages() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.rglob("test_*.py"))}
    assert folders <= {*MAY_IMPORT, "benchmarks"}
