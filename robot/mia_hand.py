"""The Mia hand: motors to positions, at speeds and with forces, grasps by name, and whether the hand holds something.

    with MiaHand("/dev/ttyUSB0") as hand:
        hand.move_to({"j_mrl_fle": 1.2})
        print(hand.detect_grasp({"j_mrl_fle": 1.2}))

It is a `Hand` of `robot.execute`. Positions are radians of the joints that the motors drive, under the names of the hand's description;
the index motor's sign says whether the thumb is opposed. Strain gauges and currents are the hand's own raw readings: no conversion to
newtons or amperes is published.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from invgraphics.errors import InputError
from robot.mia_conversion import counts_from_radians, describe_counts, joint_speed, joints_from_motors, motor_speed, radians_from_counts
from robot.mia_link import LinkLimits, MiaLink, Sample
from robot.mia_protocol import (
    COUNT_LIMITS,
    FINGERS,
    GAUGES,
    INDEX,
    MOTORS,
    SPEED_LIMIT,
    THUMB,
    Stream,
    close_grasp_command,
    force_command,
    grasp_reference_command,
    open_grasp_command,
    part_grasp_command,
    position_command,
    speed_command,
)
from robot.stops import MotionStoppedError, StopReason

_FINGER_GAUGES = {THUMB: ("thumb_a", "thumb_b"), FINGERS: ("mrl_a", "mrl_b"), INDEX: ("index_a", "index_b")}
_STILL_COUNTS = 2
"""A motor that has moved by less stands still: encoders flicker by one."""
_WRONG_WAY_COUNTS = 30
"""So far a stronger thumb may push a closing finger back through what is between them; an encoder that counts backwards goes further."""
_LEAST_MOTION_COUNTS = 3
"""A motor that has moved by so much has begun to move."""
_OPEN_END_COUNTS = 5
"""So near to its open end a motor stands at it."""
_HEARD_SHARE = 0.1
"""Of the silence that a patient driver allows, in which a motor must begin to obey."""


@dataclass(frozen=True)
class MiaSettings:
    """How the hand moves, and what counts as what."""

    percent: int = 50
    """Of full speed, and of full force against what is in the way; 10 to 99."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Of `percent` for a motor by name, where it is to be weaker than the others in `move_to`, in (0, 1]."""
    timeout: float = 6.0
    """Seconds that a motion may take."""
    still_seconds: float = 0.15
    """A motor that has not moved for so long stands still;"""
    still_lines: int = 4
    """so many lines of positions must have said so, too: after a pause of the line, one alone says little."""
    start_seconds: float = 0.4
    """A motor may take so long to begin to move."""
    heard_seconds: float = 0.05
    """After the last of a motion's commands, by when all motors obey them."""
    at_target_counts: int = 4
    """So near to its target a motor has arrived."""
    stopped_short_counts: int = 10
    """A motor that stands farther than this from its target was stopped by something."""
    contact_current: int = 100
    """Raw current at and above which a motor that stands still presses against something."""
    contact_gauge: int = 60
    """Raw change of a finger's strain gauges since `tare` that means contact."""
    tare_lines: int = 8
    """Lines of the strain gauges that `tare` averages."""
    link: LinkLimits = field(default_factory=LinkLimits)

    def patient(self, seconds: float) -> "MiaSettings":
        """The same for a hand, or a computer, that may be silent for so long before the hand counts as lost."""
        normal = LinkLimits()
        more = seconds - normal.stream_seconds
        link = LinkLimits(
            start_seconds=normal.start_seconds + more,
            answer_seconds=normal.answer_seconds + more,
            stream_seconds=seconds,
            acknowledge_seconds=seconds,
            write_seconds=seconds,
        )
        longer = {"timeout": self.timeout + more, "start_seconds": self.start_seconds + more}
        return replace(self, **longer, heard_seconds=_HEARD_SHARE * seconds, link=link)

    def __post_init__(self) -> None:
        """Checks the range in which standing still can be told from slow motion."""
        if not 10 <= self.percent <= 99:
            raise InputError(f"the hand's speed and force are {self.percent} percent; they must lie between 10 and 99")

    def percent_of(self, motor: str) -> int:
        """Of full speed and force, for one motor; never less than 10, for standing still is told from slow motion."""
        return max(round(self.percent * self.shares.get(motor, 1.0)), 10)


@dataclass(frozen=True)
class Grip:
    """What the motors tell about an object in the hand."""

    short: dict[str, float]
    """How far each motor that should have closed further was stopped short of its target, radians by motor."""
    pressing: tuple[str, ...]
    """Motors whose current or strain gauges say that they press, and that are not at their open end: nothing is held there."""
    force: dict[str, float]
    """Strain gauges by motor, raw, change since `tare`."""

    @property
    def holds(self) -> bool:
        """Whether the thumb presses, and another motor does that was stopped short: by something between the two.

        The thumb may have come to its target: what it is pressed by then is the other finger's doing.
        """
        return THUMB in self.pressing and any(motor in self.short for motor in self.pressing if motor != THUMB)


class MiaHand:
    """A Mia hand on a serial port. The first fault stops its motors, and every call after that says what it was."""

    def __init__(self, port: str, settings: MiaSettings | None = None, observer: Callable[[str, str], None] = lambda kind, text: None):
        """Connects, starts the streams, and takes the strain gauges' readings of now as no force.

        `observer` is told "sent", "received" or "garbled", and the text: every line but the keep-alive.

        Raises:
            InputError: the port cannot be opened.
            MissingDependencyError: pyserial is not installed.
            MotionStoppedError: no hand answers there.
        """
        self.settings = settings or MiaSettings()
        self._link = MiaLink(port, self.settings.link, observer)
        self._blocked: dict[str, float] = {}
        self._gauge_rest = np.zeros(len(GAUGES))
        try:
            self.tare()
        except MotionStoppedError:
            self.close()
            raise

    def __enter__(self) -> "MiaHand":
        """The hand itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the motors and closes the port."""
        self.close()

    def close(self) -> None:
        """Stops the motors and closes the port."""
        self._link.close()

    @property
    def failure(self) -> MotionStoppedError | None:
        """The first thing that went wrong, seen within a tenth of a second of its limit; None while all is well."""
        return self._link.failure

    @property
    def acknowledges(self) -> bool:
        """Whether the hand's firmware acknowledges every command."""
        return self._link.acknowledges

    def check(self) -> None:
        """Raises that failure. Quick enough for every cycle of a control loop."""
        self._link.check()

    def motor_positions(self) -> dict[str, float]:
        """Radians, by motor name."""
        values = self._link.latest(Stream.POSITION).values
        return {motor: radians_from_counts(motor, counts) for motor, counts in zip(MOTORS, values, strict=True)}

    def joint_positions(self) -> dict[str, float]:
        """Radians, of every joint, those that only follow included."""
        return joints_from_motors(self.motor_positions())

    def currents(self) -> dict[str, int]:
        """Raw, by motor name."""
        return dict(zip(MOTORS, self._link.latest(Stream.CURRENT).values, strict=True))

    def forces(self) -> dict[str, float]:
        """The strain gauges of the finger that each motor drives: length of both gauges' change since `tare`, raw."""
        change = np.array(self._link.latest(Stream.GAUGE).values) - self._gauge_rest
        places = {motor: [GAUGES.index(name) for name in names] for motor, names in _FINGER_GAUGES.items()}
        return {motor: float(np.linalg.norm(change[where])) for motor, where in places.items()}

    def tare(self) -> None:
        """Takes the strain gauges' readings of now (fingers free) as no force."""
        sample, rows = self._link.latest(Stream.GAUGE), []
        for _ in range(self.settings.tare_lines):
            sample = self._link.newer(Stream.GAUGE, sample.time)
            rows.append(sample.values)
        self._gauge_rest = np.mean(rows, axis=0)

    def move_to(self, targets: Mapping[str, float]) -> None:
        """Moves motors towards targets by name (radians), and returns when they stand still: there, or blocked.

        Raises:
            ValueError: there is no such motor, or it cannot go there.
            MotionStoppedError: the hand does not answer, or does not do what it was told; the motors were told to stop.
        """
        _require_motors(targets)
        goals = {motor: counts_from_radians(motor, radians) for motor, radians in targets.items()}
        start = self._counts()
        for attempt in (1, 2):
            since = time.monotonic()
            self._link.send(*(position_command(motor, counts, self.settings.percent_of(motor)) for motor, counts in goals.items()))
            end = self._wait_until_still(start, goals, since, time.monotonic() + self.settings.heard_seconds)
            idle = self._idle_motors(start, end, goals)
            if not idle:
                break
            if attempt == 2:
                self._fail(f"{', '.join(idle)} did not move, and nothing holds it up")
        self._blocked = {motor: float(np.sign(goals[motor] - end[motor])) for motor in goals if self._is_short(end[motor], goals[motor])}

    def open_grasp(self, grasp: str) -> None:
        """All motors to a grasp's rest positions (`mia_protocol.GRASPS`), as the hand has stored them; returns when they stand still.

        A new hand has none stored for the spherical and the tridigital grasp, and does nothing; `set_grasp` stores some.
        """
        self._do_grasp(open_grasp_command(grasp, self.settings.percent))

    def close_grasp(self, grasp: str, closing: float = 1.0) -> None:
        """All motors to a part of the way (0 to 1) to a grasp's closed positions; returns when they stand still."""
        if closing == 1.0:
            return self._do_grasp(close_grasp_command(grasp, self.settings.percent))
        return self._do_grasp(part_grasp_command(grasp, round(100 * closing), self.settings.percent))

    def set_grasp(
        self, grasp: str, rest: Mapping[str, float], closed: Mapping[str, float], delays: Mapping[str, float] | None = None
    ) -> None:
        """Stores a grasp's rest and closed positions (radians by motor) in the hand, until it is switched off.

        `delays` are parts (0 to 1) of the grasp's time for which motors wait.

        Raises:
            ValueError: there is no such motor, it cannot go there, or not the same motors rest and close.
        """
        _require_motors(rest)
        if rest.keys() != closed.keys():
            raise ValueError(f"the grasp {grasp} rests with {', '.join(rest)}, but closes with {', '.join(closed)}")
        commands = []
        for motor, radians in rest.items():
            ends = counts_from_radians(motor, radians), counts_from_radians(motor, closed[motor])
            commands.append(grasp_reference_command(grasp, motor, *ends, round(100 * (delays or {}).get(motor, 0.0))))
        self._link.send(*commands)

    def turn(self, speeds: Mapping[str, float]) -> None:
        """Turns motors at speeds (rad/s of the joints that they drive; positive closes) until they are told otherwise.

        Raises:
            ValueError: that is faster than the motor can turn where it stands.
        """
        _require_motors(speeds)
        counts, commands = self._counts(), []
        for motor, speed in speeds.items():
            unit = round(motor_speed(motor, speed, counts[motor]))
            if abs(unit) > SPEED_LIMIT:
                fastest = joint_speed(motor, SPEED_LIMIT, counts[motor])
                raise ValueError(f"{motor} cannot turn at {speed:.2f} rad/s; here it does at most {fastest:.2f}")
            commands.append(speed_command(motor, unit))
        self._link.send(*commands)

    def press(self, forces: Mapping[str, int]) -> None:
        """Lets motors close and press with forces (0 to 99, the hand's own unit) until they are told otherwise."""
        _require_motors(forces)
        self._link.send(*(force_command(motor, force) for motor, force in forces.items()))

    def stop(self) -> None:
        """Tells every motor to stand still, at once; also after a fault."""
        self._link.stop_motors()

    def detect_grasp(self, closed: Mapping[str, float]) -> Grip:
        """What the motors tell about an object, after `move_to(closed)`."""
        _require_motors(closed)
        counts, forces, currents = self._counts(), self.forces(), self.currents()
        goals = {motor: counts_from_radians(motor, radians) for motor, radians in closed.items()}
        short = [motor for motor in goals if self._is_short(counts[motor], goals[motor])]
        pressing = tuple(motor for motor in goals if self._presses(motor, forces, currents) and not _is_open(motor, counts[motor]))
        distances = {motor: abs(closed[motor] - radians_from_counts(motor, counts[motor])) for motor in short}
        return Grip(distances, pressing, forces)

    def _presses(self, motor: str, forces: Mapping[str, float], currents: Mapping[str, int]) -> bool:
        return forces[motor] >= self.settings.contact_gauge or abs(currents[motor]) >= self.settings.contact_current

    def _is_short(self, counts: int, goal: int) -> bool:
        return abs(goal - counts) > self.settings.stopped_short_counts

    def _counts(self) -> dict[str, int]:
        return _by_motor(self._link.latest(Stream.POSITION))

    def _do_grasp(self, command: str) -> None:
        start, since = self._counts(), time.monotonic()
        self._link.send(command)
        self._wait_until_still(start, {}, since, since)
        self._blocked = {}

    def _wait_until_still(self, start: dict[str, int], goals: Mapping[str, int], since: float, heard: float) -> dict[str, int]:
        """Where the motors stand at the end; `goals` (counts) may be unknown. Fails where one goes the wrong way, or never stops.

        Before the time `heard` a motor that something held up may not obey yet: it follows what gives way before its own command comes.
        """
        settings = self.settings
        sample = self._link.newer(Stream.POSITION, since)
        reference, quiet_since, quiet_lines = sample, sample.time, 0
        starts = [start]
        while True:
            now = _by_motor(sample)
            if sample.time <= heard:
                starts.append(start | {motor: now[motor] for motor in self._blocked})
            self._require_right_way(starts, now, goals)
            before = _by_motor(reference)
            if any(abs(now[motor] - before[motor]) >= _STILL_COUNTS for motor in MOTORS):
                reference, quiet_since, quiet_lines = sample, sample.time, 0
            arrived = bool(goals) and all(abs(now[motor] - goal) <= settings.at_target_counts for motor, goal in goals.items())
            begun = arrived or any(abs(now[motor] - start[motor]) >= _LEAST_MOTION_COUNTS for motor in MOTORS)
            needed = settings.still_seconds if begun else settings.start_seconds
            if sample.time - quiet_since >= needed and quiet_lines >= settings.still_lines:
                return now
            if sample.time - since > settings.timeout:
                self._fail(f"the hand still moves after {settings.timeout:g} s: {describe_counts(now)}")
            sample = self._link.newer(Stream.POSITION, sample.time)
            quiet_lines += 1

    def _require_right_way(self, starts: Sequence[Mapping[str, int]], now: Mapping[str, int], goals: Mapping[str, int]) -> None:
        for motor, goal in goals.items():
            places = [goal, *(start[motor] for start in starts)]
            if not min(places) - _WRONG_WAY_COUNTS <= now[motor] <= max(places) + _WRONG_WAY_COUNTS:
                self._fail(f"{motor} went to {now[motor]} counts on its way from {starts[0][motor]} to {goal}")

    def _idle_motors(self, start: Mapping[str, int], end: Mapping[str, int], goals: Mapping[str, int]) -> list[str]:
        """Motors that should have moved, did not, and press on nothing."""
        forces, currents = self.forces(), self.currents()
        return [
            motor
            for motor, goal in goals.items()
            if self._is_short(end[motor], goal)
            and abs(end[motor] - start[motor]) < _LEAST_MOTION_COUNTS
            and self._blocked.get(motor) != np.sign(goal - end[motor])
            and not self._presses(motor, forces, currents)
        ]

    def _fail(self, message: str) -> None:
        self._link.fail(StopReason.HAND_FAULT, message)
        self._link.check()


def _by_motor(sample: Sample) -> dict[str, int]:
    return dict(zip(MOTORS, sample.values, strict=True))


def _is_open(motor: str, counts: int) -> bool:
    """Whether a motor stands at the end at which its fingers are open; the index's, which closes both ways, has none."""
    return motor != INDEX and counts - COUNT_LIMITS[motor][0] <= _OPEN_END_COUNTS


def _require_motors(names: Iterable[str]) -> None:
    unknown = sorted(set(names) - set(MOTORS))
    if unknown:
        raise ValueError(f"the hand has no motor {unknown[0]!r}; it has {', '.join(MOTORS)}")
