"""The command line, `invgraphics COMMAND ...`.

Each command is a module `invgraphics.commands.COMMAND` with two functions, imported only when the command is asked for:

    add_arguments(parser: argparse.ArgumentParser) -> None
    run(arguments: argparse.Namespace) -> int        the exit code; raises InputError for what the user can mend

Exit codes: 0 the thing asked for was done; 1 it was not; 2 bad input, with one line on stderr; 130 interrupted.
"""

import argparse
import errno
import importlib
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import NoReturn

from invgraphics import __version__
from invgraphics.errors import InputError, MissingDependencyError

COMMANDS = {
    "reconstruct": "one RGB-D image to closed meshes, poses, materials and lights",
    "segment": "masks of the objects in an image, from boxes, clicks or nothing, by depth and GrabCut or by SAM 2",
    "export": "a reconstructed scene as GLB, PLY, OBJ, USD, URDF, SDF or MJCF, its grasps as JSON",
    "view": "look at a scene or a run in progress, or draw boxes on an image, in the browser",
    "grasp": "search grasps for a reconstructed scene in simulation",
    "execute": "plan, check and rehearse a grasp with a UR5 and a Mia hand, and carry it out when told to",
    "evaluate": "reconstruct a dataset and score it against the truth",
    "benchmark": "clutter removal, lifts, forces on held objects, speed",
    "clear": "pick and place one object after the other until a simulated table is clear",
    "devices": "whether arm, hand and camera answer, and how they are; nothing moves",
    "capture": "a picture of a RealSense camera, or of a recording of one, as a frame folder",
    "calibrate": "where the camera is on the arm or beside it, from pictures of a printed board",
    "sam2": "one of Meta's SAM 2 checkpoints as the folder that --sam2 takes",
    "warmup": "compile everything that the first use would compile, and check that it works",
    "demo": "settle objects, photograph, reconstruct, grasp and execute, all simulated, with a report",
}

_EXIT_FAILED, _EXIT_BAD_INPUT, _EXIT_INTERRUPTED = 1, 2, 130
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What a full, read-only or foreign disk answers; any other `OSError` is a mistake of ours."""


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage in front."""

    def error(self, message: str) -> NoReturn:
        """Prints what is wrong and where to read more, and exits with 2."""
        self.exit(_EXIT_BAD_INPUT, f"{self.prog}: {_one_line(message)} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line (of the process, if none is given) and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _build_parser(words).parse_args(words)
    try:
        with _print_log(arguments.command):
            return _import_command(arguments.command).run(arguments)
    except InputError as error:
        return _complain(arguments.command, error, _EXIT_BAD_INPUT)
    except MissingDependencyError as error:
        return _complain(arguments.command, error, _EXIT_FAILED)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        return _complain(arguments.command, f"{error.filename or 'a file'}: {error.strerror}", _EXIT_FAILED)
    except KeyboardInterrupt:
        return _complain(arguments.command, "interrupted", _EXIT_INTERRUPTED)


def _build_parser(words: Sequence[str]) -> OneLineParser:
    """The parser of all commands; only the one that `words` ask for gets its arguments, for they need its module."""
    parser = OneLineParser(prog="invgraphics", description="One RGB-D image to closed meshes, poses, materials and lights, and to a grasp.")
    parser.add_argument("--version", action="version", version=f"invgraphics {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=OneLineParser)
    for name, description in COMMANDS.items():
        command = commands.add_parser(name, help=description, description=f"{description[0].upper()}{description[1:]}.")
        if name in words[:1]:
            _import_command(name).add_arguments(command)
    return parser


def _import_command(name: str) -> ModuleType:
    return importlib.import_module(f"invgraphics.commands.{name}")


class _Printed(logging.Handler):
    """Prints what is logged in the name of a command, on what is stderr by then: a progress bar puts something of its own there."""

    def __init__(self, command: str):
        super().__init__()
        self._command = command

    def emit(self, record: logging.LogRecord) -> None:
        """Prints it in one line."""
        print(f"invgraphics {self._command}: {_one_line(record.getMessage())}", file=sys.stderr)


@contextmanager
def _print_log(command: str) -> Iterator[None]:
    """Prints what the packages log, such as that kernels have to be compiled first."""
    log, printed = logging.getLogger("invgraphics"), _Printed(command)
    log.addHandler(printed)
    try:
        yield
    finally:
        log.removeHandler(printed)


def _complain(command: str, error: Exception | str, code: int) -> int:
    print(f"invgraphics {command}: {_one_line(str(error))}", file=sys.stderr)
    return code


def _one_line(message: str) -> str:
    return " ".join(message.split())
