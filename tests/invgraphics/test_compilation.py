"""Compilation is announced when it happens, once, and not when kernels come from the cache."""

import importlib.util
import re
import sys
from pathlib import Path

import numba
import pytest

from invgraphics.cli import _watch_compilation, main
from invgraphics.compilation import NOTICE, CompilationWatch

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


def test_a_command_says_so_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with _watch_compilation("reconstruct"):
        numba.njit(lambda x: x + 4)(1)
    assert capsys.readouterr() == ("", f"invgraphics reconstruct: {NOTICE}\n")


def test_warmup_uses_everything_and_says_what_it_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warmup"]) == 0
    assert re.match(r"(compiled \d+ functions and tried them|everything is compiled already; tried it) in \d+ s\n", capsys.readouterr().out)
