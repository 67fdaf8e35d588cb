"""Compilation is announced when it happens, once, and not when kernels come from the cache."""

import functools
import importlib.util
import logging
import re
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from invgraphics.cli import _print_log, main
from invgraphics.commands.executors import run_all
from invgraphics.compilation import LOG, NOTICE, CompilationWatch
from tests.executor_work import compile_in_company

KERNELS = """
import numba

@numba.njit(cache=True)
def halve(x):
    return x / 2

@numba.njit(cache=True)
def quarter(x):
    return halve(halve(x))
"""


def load_kernels(path: Path):
    spec = importlib.util.spec_from_file_location("made_up_kernels", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_first_kernel_is_announced_and_all_are_counted() -> None:
    told: list[str] = []
    with CompilationWatch(told.append) as watch:
        assert numba.njit(lambda x: x + 1)(1) == 2
        assert told == [NOTICE]
        assert numba.njit(lambda x: x + 2)(1) == 3
    assert told == [NOTICE]
    assert watch.count >= 2
    counted = watch.count
    numba.njit(lambda x: x + 3)(1)
    assert watch.count == counted


def test_what_is_in_the_cache_is_not_announced(tmp_path, monkeypatch) -> None:
    path = tmp_path / "made_up_kernels.py"
    path.write_text(KERNELS)
    monkeypatch.setitem(sys.modules, "made_up_kernels", None)
    told: list[str] = []
    with CompilationWatch(told.append):
        assert load_kernels(path).quarter(8.0) == 2.0
    assert told == [NOTICE]
    with CompilationWatch(told.append) as watch:
        assert load_kernels(path).quarter(4.0) == 1.0
    assert told == [NOTICE]
    assert watch.count == 0


def test_a_command_prints_what_is_logged_as_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with _print_log("reconstruct"):
        logging.getLogger(LOG).warning(NOTICE)
    logging.getLogger(LOG).info("after it")
    assert capsys.readouterr() == ("", f"invgraphics reconstruct: {NOTICE}\n")


@pytest.mark.parametrize("package", ["renderers", "grasp_sim"])
def test_scripts_and_notebooks_are_told_once(package: str, tmp_path: Path) -> None:
    """In a fresh process in which nobody listens to the log."""
    code = f"import {package}, numba\nfor k in range(2): assert numba.njit(lambda x: x + k)(1) == 1 + k"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr == f"{NOTICE}\n"


def test_of_all_workers_of_a_pool_one_says_so(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    work = functools.partial(compile_in_company, folder=tmp_path, workers=2)
    assert sorted(run_all(work, [1, 2], lambda item: 0, workers=2)) == [2, 4]
    assert capfd.readouterr().err == f"{NOTICE}\n"


def test_warmup_uses_everything_and_says_what_it_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warmup"]) == 0
    assert re.match(r"(compiled \d+ functions and tried them|everything is compiled already; tried it) in \d+ s\n", capsys.readouterr().out)
