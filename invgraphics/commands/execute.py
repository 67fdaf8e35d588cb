"""`invgraphics execute OUT`: a grasp of a reconstructed scene planned, checked and rehearsed; with the flag, carried out by the arm."""

import argparse
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from invgraphics.commands.demo import show_progress
from invgraphics.demo.cell import HAND, PARKED
from invgraphics.demo.clear import SPOTS
from invgraphics.errors import InputError
from invgraphics.execution.plan import ExecutionPlan, describe_plan, leave_out, plan_execution
from invgraphics.execution.real import Machine, carry_out, connect_arm, connect_hand, describe_safe_state, stop_all
from invgraphics.execution.rehearse import Rehearsal, rehearse, save_rehearsal
from invgraphics.execution.replay import describe_records, film_log, load_log
from invgraphics.execution.setup import Setup, SetupOptions, load_setup
from invgraphics.output import write_json
from robot.assembly import MOUNTS
from robot.bin import Bin
from robot.execute import Outcome
from robot.guards import SpeedLimits, Workspace
from robot.log import RobotLog
from robot.stops import MotionStoppedError
from robot.ur5 import UR5

FLAG = "--yes-move-the-robot"
_HAND_PERCENT = {"ur5": 40, "sim": 99}
_WORKSPACE = (-0.95, 0.95, -0.95, 0.95, -0.05, 1.15)
"""Default of --workspace: the UR5's reach of 0.85 m and a margin, from just below the height of its base."""
_NEGATIVE_NUMBERS = re.compile(r"^-\.?\d")
"""Words that are values although they start with a dash: `--place -0.3,0.4`. argparse by itself knows single numbers only."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser._negative_number_matcher = _NEGATIVE_NUMBERS
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="folder of `invgraphics reconstruct` and `invgraphics grasp --hand mia_right` (or mia_left)"
    )
    parser.add_argument(
        "--robot", choices=("sim", "ur5"), default="sim", help="what carries the grasp out: a simulation or a UR5 (default sim)"
    )
    parser.add_argument(
        FLAG, action="store_true", dest="move", help="let the UR5 move; without it the plan is only made, checked and rehearsed"
    )
    parser.add_argument("--object", type=int, metavar="INDEX", help="only grasps of this object of the scene, from 0")
    parser.add_argument(
        "--place",
        type=_numbers(2),
        action="append",
        metavar="X,Y",
        help="where it may be put down, base frame, metres; several are tried in order (sim: places beside the scene)",
    )
    parser.add_argument(
        "--bin",
        type=_numbers(6),
        metavar="X,Y,LENGTH,WIDTH,HEIGHT,TURN",
        help="bin that it is to be put into, in place of --place: middle (base frame), sizes inside, height of the rim above the table, "
        "all in metres; turn about the vertical in degrees",
    )
    parser.add_argument("--bin-wall", type=float, default=5.0, metavar="MM", help="thickness of the bin's floor and walls (default 5)")
    parser.add_argument(
        "--speed", type=float, default=10.0, metavar="PERCENT", help="largest joint speed, as a share of 60 degrees/s (default 10)"
    )
    parser.add_argument(
        "--tool-speed", type=float, default=250.0, metavar="MM_S", help="largest speed of elbow, wrists and flange (default 250)"
    )
    parser.add_argument(
        "--workspace",
        type=_numbers(6),
        default=_WORKSPACE,
        metavar="X0,X1,Y0,Y1,Z0,Z1",
        help="box that flange and wrists stay in, base frame, metres",
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE", help="calibration of the camera by `invgraphics calibrate solve` (needed for ur5)"
    )
    parser.add_argument(
        "--picture-joints",
        type=_numbers(6),
        metavar="DEGREES",
        help="joint angles at which the picture was taken (camera on the flange)",
    )
    parser.add_argument(
        "--home", type=_numbers(6), metavar="DEGREES", help=f"joint angles at which the arm waits; with {FLAG}: those at which it stands"
    )
    parser.add_argument(
        "--rehearsals", type=int, default=3, metavar="N", help="plans that are rehearsed at most until one succeeds (default 3)"
    )
    _add_machine_arguments(parser)
    parser.add_argument("--replay", type=Path, metavar="LOG", help="print and film the log of an earlier run instead; nothing moves")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice (default 0)")


def _add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of arm and hand, and of how patient one is with them."""
    parser.add_argument("--host", metavar="ADDRESS", help="IP address or host name of the UR5's controller")
    parser.add_argument("--hand", choices=sorted(MOUNTS), default=HAND, help=f"what the arm carries (default {HAND})")
    parser.add_argument("--hand-port", default="/dev/ttyUSB0", metavar="PORT", help="serial port of the Mia hand (default /dev/ttyUSB0)")
    parser.add_argument(
        "--hand-percent",
        type=int,
        metavar="PERCENT",
        help="share of the hand's speed and force, 10 to 99, also in the rehearsal (default 40 with --robot ur5, else 99)",
    )
    parser.add_argument(
        "--hand-patience",
        type=float,
        default=0.5,
        metavar="S",
        help="seconds for which the hand may be silent, or take no command, before everything stops (default 0.5)",
    )
    parser.add_argument(
        "--stale-after",
        type=float,
        default=0.1,
        metavar="S",
        help="age of the arm's last state, in seconds, at which everything stops (default 0.1)",
    )
    parser.add_argument("--countdown", type=int, default=5, metavar="S", help="seconds between the last warning and the first motion")


def run(arguments: argparse.Namespace) -> int:
    """0 where the object came to its place (in simulation, or on the machine with the flag), else 1."""
    console = Console(highlight=False)
    if arguments.replay is not None:
        return _replay(arguments.replay, console)
    _check(arguments)
    folder = _claim_folder(arguments.out)
    with RobotLog(folder / "log.jsonl") as log:
        log.write("arguments", **{name: value for name, value in vars(arguments).items() if value is not None})
        try:
            return _execute(arguments, folder, log, console)
        except MotionStoppedError as stop:
            log.write("stop", reason=stop.reason, message=str(stop))
            console.print(f"nothing moves: {stop}", soft_wrap=True, style="bold red")
            return 1
        finally:
            console.print(f"log: {log.path}", soft_wrap=True)


def _execute(arguments: argparse.Namespace, folder: Path, log: RobotLog, console: Console) -> int:
    with ExitStack() as stack:
        home = PARKED if arguments.home is None else np.radians(arguments.home)
        setup = _load_setup(arguments, folder, home)
        arm: UR5 | None = None
        if arguments.move:
            arm = stack.enter_context(connect_arm(setup, arguments.host, arguments.stale_after, log))
            setup = _load_setup(arguments, folder, arm.joint_positions())
        plan = _prepare(setup, arguments, folder, log, console)
        if plan is None:
            console.print("no plan came through checks and rehearsal; nothing is carried out", style="bold red")
            return 1
        if arm is None:
            if arguments.robot == "ur5":
                console.print(f"dry run: nothing has moved; give {FLAG} to let the UR5 do this", style="bold")
            return 0
        hand = stack.enter_context(connect_hand(setup, plan, arguments.hand_port, arguments.hand_patience, log))
        return _move(setup, plan, Machine(arm, hand), arguments.countdown, log, console)


def _prepare(setup: Setup, arguments: argparse.Namespace, folder: Path, log: RobotLog, console: Console) -> ExecutionPlan | None:
    """The first plan that passes the checks and the rehearsal; None where none of the first few does."""
    for attempt in range(arguments.rehearsals):
        with show_progress(Console(stderr=True)) as progress:
            plan = plan_execution(setup, arguments.seed, lambda fraction: progress("plan", fraction))
            progress("plan", 1.0)
            rehearsal = rehearse(setup, plan, log, lambda fraction: progress("rehearse", min(fraction, 1.0)))
            progress("rehearse", 1.0)
        description = describe_plan(plan, setup) | {"rehearsal": rehearsal.report.outcome.name.lower(), "message": rehearsal.report.message}
        log.write("plan", attempt=attempt + 1, **description)
        write_json(folder / "plan.json", description)
        save_rehearsal(rehearsal, folder)
        _print_plan(console, setup, plan, rehearsal, folder)
        if plan.passed and rehearsal.succeeded:
            return plan
        setup = leave_out(setup, plan)
        if not setup.grasps:
            break
    return None


def _move(setup: Setup, plan: ExecutionPlan, machine: Machine, countdown: int, log: RobotLog, console: Console) -> int:
    """After a countdown, the real thing."""
    seconds = sum(each.duration for _, each in plan.motions)
    speed = f"{100 * setup.speed.joint_share:.0f} % and {1000 * setup.speed.tool:.0f} mm/s"
    console.print(
        f"THE ARM WILL MOVE for about {seconds:.0f} s, at most at {speed}. Keep a hand at the emergency stop. Ctrl-C stops it.",
        style="bold yellow",
        soft_wrap=True,
    )
    try:
        for left in range(countdown, 0, -1):
            console.print(f"  {left}")
            time.sleep(1.0)
        report = carry_out(setup, plan, machine, log, lambda phase: console.print(f"  {phase}"))
    except KeyboardInterrupt:
        stop_all(machine, "stopped by a person (Ctrl-C)")
        console.print(f"stopped: {describe_safe_state(machine)}", style="bold red", soft_wrap=True)
        return 1
    console.print(report.message, soft_wrap=True, style="bold")
    console.print(describe_safe_state(machine), soft_wrap=True)
    return 0 if report.outcome is Outcome.PLACED else 1


def _load_setup(arguments: argparse.Namespace, folder: Path, q_home: Float[np.ndarray, "6"]) -> Setup:
    x0, x1, y0, y1, z0, z1 = arguments.workspace
    options = SetupOptions(
        SpeedLimits(arguments.speed / 100, arguments.tool_speed / 1000),
        Workspace(np.array([x0, y0, z0]), np.array([x1, y1, z1])),
        calibration=arguments.calibration,
        q_picture=None if arguments.picture_joints is None else np.radians(arguments.picture_joints),
        hand=arguments.hand,
        hand_percent=arguments.hand_percent or _HAND_PERCENT[arguments.robot],
        object_index=arguments.object,
        spots=SPOTS if arguments.place is None else tuple(np.array(place) for place in arguments.place),
        bin=_read_bin(arguments),
    )
    return load_setup(arguments.out, folder, q_home, options)


def _read_bin(arguments: argparse.Namespace) -> Bin | None:
    """The bin that was asked for, on a table at height 0."""
    if arguments.bin is None:
        return None
    x, y, length, width, height, turn = arguments.bin
    return Bin(x, y, length, width, height, float(np.radians(turn)), arguments.bin_wall / 1000)


def _check(arguments: argparse.Namespace) -> None:
    """What can be known to be wrong before anything is computed."""
    for name, highest in (("speed", 100.0), ("tool_speed", 1000.0), ("rehearsals", 100)):
        if not 0 < getattr(arguments, name) <= highest:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(arguments, name):g}; it must lie above 0 and at most at {highest:g}")
    if arguments.hand_percent is not None and not 10 <= arguments.hand_percent <= 99:
        raise InputError(f"--hand-percent is {arguments.hand_percent}; it must lie between 10 and 99")
    for name, lowest, highest in (("stale_after", 0.02, 2.0), ("hand_patience", 0.1, 5.0)):
        if not lowest <= getattr(arguments, name) <= highest:
            what = f"--{name.replace('_', '-')} is {getattr(arguments, name):g}"
            raise InputError(f"{what}; it must lie between {lowest:g} and {highest:g} seconds")
    x0, x1, y0, y1, z0, z1 = arguments.workspace
    if not (x0 < x1 and y0 < y1 and z0 < z1):
        raise InputError("--workspace must have its lower bounds below its upper ones: X0,X1,Y0,Y1,Z0,Z1")
    if arguments.robot == "ur5" and arguments.calibration is None:
        raise InputError("--robot ur5 needs --calibration FILE: where the camera is to the arm; make it with `invgraphics calibrate`")
    if arguments.place is not None and arguments.bin is not None:
        raise InputError("--place and --bin are two places for one object; give one of them")
    if arguments.robot == "ur5" and arguments.place is None and arguments.bin is None:
        raise InputError("--robot ur5 needs --place X,Y or --bin: where the object is to be put, in the arm's base frame")
    if arguments.move and arguments.robot != "ur5":
        raise InputError(f"{FLAG} is for --robot ur5; a simulation needs no permission")
    if arguments.move and arguments.host is None:
        raise InputError(f"{FLAG} needs --host: the address of the UR5's controller")


def _claim_folder(out: Path) -> Path:
    """A new folder for this run, for a log is never overwritten."""
    if not (out / "scene.json").is_file():
        raise InputError(f"{out} holds no finished reconstruction; make one with `invgraphics reconstruct`")
    stamp = datetime.now(UTC).strftime("%Y%m%d_%H%M%S")
    folder = next(path for k in range(1000) if not (path := out / "execution" / (stamp if k == 0 else f"{stamp}_{k}")).exists())
    folder.mkdir(parents=True)
    return folder


def _print_plan(console: Console, setup: Setup, plan: ExecutionPlan, rehearsal: Rehearsal, folder: Path) -> None:
    for remark in setup.remarks:
        console.print(f"note: {remark}", soft_wrap=True)
    grasp, goal = plan.grasp, plan.place.goal
    where = "put it down at" if plan.place.bin is None else "put it into the bin at"
    console.print(
        f"pick {plan.target.name} ({100 * grasp.success_rate:.0f} % of {grasp.trials} trials), {where} "
        f"x {goal[0]:.2f} y {goal[1]:.2f} m; {len(plan.skipped)} better grasps cannot be done",
        soft_wrap=True,
    )
    motions = Table(title="the arm would", title_justify="left")
    for heading in ("motion", "s", "to joints (degrees)"):
        motions.add_column(heading, justify="right" if heading == "s" else "left")
    for name, each in plan.motions:
        motions.add_row(name, f"{each.duration:.1f}", " ".join(f"{angle:.0f}" for angle in np.degrees(each.positions[-1])))
    checks = Table(title="checks", title_justify="left")
    for heading in ("check", "", "found"):
        checks.add_column(heading)
    for check in plan.checks:
        checks.add_row(check.name, "passed" if check.passed else "[bold red]FAILED[/]", check.words)
    console.print(motions, checks)
    console.print(f"rehearsal in simulation: {rehearsal.report.message}", soft_wrap=True)
    console.print(f"wrote {folder}/plan.json, filmstrip.png and rehearsal.webp", soft_wrap=True)


def _replay(path: Path, console: Console) -> int:
    records = load_log(path)
    for line in describe_records(records):
        console.print(line, soft_wrap=True, markup=False)
    film = film_log(records, path.parent)
    console.print("the log holds no joint positions to film" if film is None else f"wrote {film}", soft_wrap=True)
    return 0


def _numbers(count: int) -> Callable[[str], tuple[float, ...]]:
    """A parser of `count` numbers separated by commas."""

    def parse(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = ()
        if len(values) != count or not np.isfinite(values).all():
            raise argparse.ArgumentTypeError(f"{text!r} is not {count} numbers separated by commas")
        return values

    return parse
