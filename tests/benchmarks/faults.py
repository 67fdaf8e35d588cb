"""Every fault of arm, hand and camera that the stand-ins can have: what the drivers said, how fast all stood still, what they sent then.

    python -m tests.benchmarks.faults --out out/faults [--markdown docs/faults.md]

The drivers are the real ones over the real client libraries; faults are injected while they work. Times are wall-clock times on a machine
that does other things, too: from the injection to the driver's error, to the last command that moves something, to standing still.
"""

import argparse
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from invgraphics.commands.executors import describe_machine
from invgraphics.errors import InputError
from invgraphics.output import write_json
from robot.interlock import InterlockedArm
from robot.mia_hand import MiaHand
from robot.realsense import RealSenseCamera, RealSenseSettings
from robot.standins.camera import CameraFault, CameraStandIn
from robot.standins.mia import MiaFault, MiaStandIn
from robot.stops import MotionStoppedError
from robot.ur5 import UR5
from tests.benchmarks.arm_faults import (
    ARM_FAULTS,
    SPEED,
    ArmFault,
    ArmOutcome,
    Bench,
    TooBusyError,
    open_bench,
    plan_motion,
    run_fault,
    settings_for,
    wait_for_motion,
)
from tests.benchmarks.tables import format_table, write_markdown

_AMOUNTS = {MiaFault.TRUNCATED: 0.6, MiaFault.CORRUPTED: 0.9, MiaFault.NOISE: 0.7}
_SECONDS_TO_FAIL = 6.0
_WATCHED_AFTER = 0.2
_TRIES = 4


@dataclass(frozen=True)
class Row:
    """One fault."""

    device: str
    fault: str
    reason: str
    """Of the stop; empty where the work went on."""
    message: str
    noticed_ms: float | None
    """From the injection to the driver's error; None for faults that are there before it connects, and where the work went on."""
    last_command_ms: float | None
    """From the injection to the last command that moves something, not later than at 0 where none came after; None where there was none."""
    still_ms: float | None
    """From the injection to standing still."""
    commands_after: int
    """Commands that move something after the driver's error, although it was asked to go on."""


def main() -> None:
    """Runs all faults, writes `faults.json`, prints the table."""
    parser = argparse.ArgumentParser(description="Injects every fault and tells what came of it.")
    parser.add_argument("--out", type=Path, required=True, help="folder for faults.json")
    parser.add_argument("--markdown", type=Path, help="page to write")
    parser.add_argument("--patient", action="store_true", help="on a busy machine: the arm's state counts as stale after 0.6 s, not 0.1 s")
    arguments = parser.parse_args()
    started, loads = datetime.now(UTC), [os.getloadavg()[0]]
    rows = [*_arm_rows(arguments.patient), *_hand_rows(), *_interlock_rows(arguments.patient), *_camera_rows()]
    loads.append(os.getloadavg()[0])
    seconds = (datetime.now(UTC) - started).total_seconds()
    conditions = f"One run of {seconds:.0f} s, {started:%Y-%m-%d %H:%M} UTC, load average {loads[0]:.1f} before and {loads[1]:.1f} after"
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "faults.json", {**describe_machine(), "conditions": conditions, "rows": [asdict(row) for row in rows]})
    table = build_table(rows)
    print(table)
    if arguments.markdown:
        write_markdown(arguments.markdown, "Faults", _explain(rows, arguments.patient, conditions), table)


def build_table(rows: list[Row]) -> str:
    """A line for each fault."""
    header = ["fault", "device", "what the driver said", "noticed ms", "last command ms", "still ms", "commands after"]
    cells = [
        [
            row.fault,
            row.device,
            row.message.replace("|", "/"),
            _milliseconds(row.noticed_ms),
            _milliseconds(row.last_command_ms),
            _milliseconds(row.still_ms),
            row.commands_after,
        ]
        for row in rows
    ]
    return format_table(header, cells)


def _explain(rows: list[Row], patient: bool, conditions: str) -> list[str]:
    stops = [row for row in rows if row.reason]
    counts = ", ".join(f"{sum(row.device == device for row in rows)} of {device}" for device in dict.fromkeys(row.device for row in rows))
    after = sum(row.commands_after for row in rows)
    return [
        f"{len(rows)} faults ({counts}) injected into the stand-ins of arm, hand and camera while the real drivers worked over the real "
        f"client libraries; {len(stops)} end in a stop. After the driver's error every driver was asked to go on: "
        f"{after} commands that move something were sent.",
        "Times are milliseconds from the injection: to the driver's error, to the last command that moves something (0 where none came "
        "after), to standing still. – is where there is nothing to measure: the fault was there before anything moved, or the device does "
        "not move. An arm whose connection is lost stands at its last setpoint; the controller's own watchdog then ends its program "
        f"after {'0.7' if patient else '0.1'} s. Wall-clock times; a cycle of the controller is 8 ms. {conditions} on {os.cpu_count()} "
        f"cores; where the driver stopped before the fault because the machine was too busy, that was tried again, up to {_TRIES} times."
        + (" So busy that the state counts as stale after 0.6 s here, in place of the driver's 0.1 s." if patient else ""),
        "Written by `python -m tests.benchmarks.faults --out out/faults --markdown docs/faults.md`; the same faults are tests "
        "(`tests/robot/test_faults.py`, `test_mia_hand.py`, `test_realsense.py`).",
    ]


def _run_patiently(fault: ArmFault, patient: bool) -> ArmOutcome:
    """Once more where the machine was too busy."""
    for _ in range(_TRIES - 1):
        try:
            return run_fault(fault, patient)
        except TooBusyError as error:
            print(error, flush=True)
    return run_fault(fault, patient)


def _arm_rows(patient: bool) -> Iterator[Row]:
    for fault in ARM_FAULTS:
        outcome = _run_patiently(fault, patient)
        stopped = outcome.reason is not None
        last = None if outcome.last_command is None or not stopped else max(outcome.last_command, 0.0)
        yield Row(
            "arm",
            fault.name,
            outcome.reason.name if outcome.reason else "",
            outcome.message,
            _in_ms(outcome.noticed) if stopped else None,
            _in_ms(last),
            _in_ms(outcome.still) if stopped else None,
            outcome.commands_after_stop,
        )


def _hand_rows() -> Iterator[Row]:
    for fault in MiaFault:
        with MiaStandIn() as stand_in, MiaHand(stand_in.port) as hand:
            hand.move_to({"j_mrl_fle": 0.3})
            injected = stand_in.inject(fault, _AMOUNTS.get(fault, 1.0))
            stop = _work(hand, injected + _SECONDS_TO_FAIL)
            noticed = time.monotonic()
            _go_on(hand)
            motions = [when for when, text in stand_in.received if text in stand_in.motion_commands(injected)]
            told = stand_in.stop_time(injected)
            last = max([when - injected for when in motions if when > injected], default=0.0)
            yield Row(
                "hand",
                fault.value.replace("`amount`", f"{_AMOUNTS.get(fault, 1.0):g}"),
                stop.reason.name if stop else "",
                str(stop).replace(stand_in.port, "PORT") if stop else "the work went on",
                _in_ms(noticed - injected) if stop else None,
                _in_ms(last) if stop else None,
                _in_ms(None if told is None else told - injected),
                len(stand_in.motion_commands(noticed)) if stop else 0,
            )


def _interlock_rows(patient: bool) -> Iterator[Row]:
    """The hand fails while the arm moves: the arm brakes on its path, and is then refused everything, too."""
    for fault in (MiaFault.SILENT, MiaFault.UNPLUGGED):
        with open_bench() as bench, MiaStandIn() as stand_in, MiaHand(stand_in.port) as hand:
            bench.driver = UR5(settings_for(bench.stand_in.address, patient))
            injected: list[float] = []
            threading.Thread(target=_inject_moving, args=(bench, stand_in, fault, injected), daemon=True).start()
            stop = _move_to_and_fro(InterlockedArm(bench.driver, SPEED, (hand.check,)))
            noticed = time.monotonic()
            bench.driver.stop("the hand failed")
            stopped = time.monotonic()
            time.sleep(_WATCHED_AFTER)
            motions = [record.clock for record in bench.controller.records if record.kind == "motion"]
            moving = [moment.clock for moment in bench.controller.moments if abs(moment.qd).max() > 0.01]
            times = [_in_ms(when - injected[0]) for when in (noticed, max(motions), max(moving))]
            message, reason = (str(stop).replace(stand_in.port, "PORT"), stop.reason.name) if stop else ("the work went on", "")
            after = sum(clock > stopped for clock in motions)
            yield Row("arm and hand", f"while the arm moves, the hand {fault.value}", reason, message, *times, after)


def _inject_moving(bench: Bench, stand_in: MiaStandIn, fault: MiaFault, injected: list[float]) -> None:
    wait_for_motion(bench)
    injected.append(stand_in.inject(fault))


def _move_to_and_fro(arm: InterlockedArm) -> MotionStoppedError | None:
    """For a few seconds; the stop."""
    try:
        for trajectory in (plan_motion(), plan_motion().reversed(), plan_motion()):
            arm.follow(trajectory)
    except MotionStoppedError as stop:
        return stop
    return None


def _camera_rows() -> Iterator[Row]:
    rgb, depth = np.full((90, 120, 3), 128, dtype=np.uint8), np.full((90, 120), 0.3)
    K = np.array([[100.0, 0.0, 59.5], [0.0, 100.0, 44.5], [0.0, 0.0, 1.0]])
    settings = RealSenseSettings(width=120, height=90, rate=60, frames=3, settling_frames=1, timeout=0.5)
    for fault in CameraFault:
        with CameraStandIn(rgb, depth, K, rate=60) as stand_in, RealSenseCamera(stand_in.device, settings) as camera:
            camera.capture()
            stand_in.inject(fault)
            injected = time.monotonic()
            reason, message = "", "the work went on"
            try:
                camera.capture()
            except MotionStoppedError as stop:
                reason, message = stop.reason.name, str(stop)
            except InputError as error:
                reason, message = "InputError", str(error)
            yield Row("camera", fault.value, reason, message, _in_ms(time.monotonic() - injected), None, None, 0)


def _work(hand: MiaHand, until: float) -> MotionStoppedError | None:
    """Moves to and fro; the stop."""
    try:
        while time.monotonic() < until:
            for target in (1.2, 0.3):
                hand.move_to({"j_mrl_fle": target, "j_thumb_fle": target / 2})
    except MotionStoppedError as stop:
        return stop
    return None


def _go_on(hand: MiaHand) -> None:
    """A program that does not understand that it is over."""
    for _ in range(2):
        try:
            hand.move_to({"j_mrl_fle": 0.0})
        except MotionStoppedError:
            time.sleep(_WATCHED_AFTER / 2)


def _in_ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    main()
