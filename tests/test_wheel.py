"""The wheel: built, installed into a clean environment, its command started there."""

import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import invgraphics
from tests.test_layers import MAY_IMPORT, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what would be committed, by the environment's own setuptools: no network."""
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    source.mkdir()
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and (name.split("/")[0] in MAY_IMPORT or name in ("pyproject.toml", "README.md")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that holds the wheel; its dependencies are lent by this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    site = next((folder / "lib").glob("python*/site-packages"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(command, check=True)
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def test_wheel_holds_every_module_and_what_they_read(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    suffixes = {".py"} | {
        pattern.removeprefix("*")
        for pattern in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    }
    files = {path for package in MAY_IMPORT for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path.suffix for path in files} <= suffixes, "a kind of file that package-data in pyproject.toml does not name"
    assert {path.relative_to(ROOT).as_posix() for path in files} <= held
    assert {name.split("/")[0] for name in held if not name.startswith("invgraphics-")} == set(MAY_IMPORT)


def test_installed_command_starts(python: Path, tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        code = "import sys; from invgraphics.cli import main; sys.exit(main(sys.argv[1:]))"
        return subprocess.run([str(python), "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False)

    where = subprocess.run(
        [str(python), "-c", "import invgraphics; print(invgraphics.__file__)"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert Path(where.strip()).is_relative_to(python.parents[1])
    assert run("--version").stdout == f"invgraphics {invgraphics.__version__}\n"
    missing = run("reconstruct", "nowhere", "--out", "out")
    assert missing.returncode == 2, missing.stderr
    assert missing.stderr == (
        "invgraphics reconstruct: no such frame folder: nowhere; it must be a folder with rgb.png, depth.png and camera.json\n"
    )
    script = next(python.parents[1].glob("lib/python*/site-packages/bin/invgraphics"))
    assert "invgraphics.cli" in script.read_text()
