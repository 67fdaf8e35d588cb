"""What the UR5 driver and its servo process say to each other."""

import math
from dataclasses import dataclass

import numpy as np

from robot.stops import StopReason

CYCLE = 0.008
"""Seconds between two states of a controller of the CB series."""


@dataclass(frozen=True)
class ServoSettings:
    """What the servo process is told; plain numbers, for they go to another process."""

    host: str
    """Address of the controller."""
    model: str = "UR5"
    """What the controller must say it is."""
    lookahead: float = 0.1
    """Of `servoj`: seconds over which setpoints are smoothed."""
    gain: float = 300.0
    """Of `servoj`."""
    stale_after: float = 0.1
    """Seconds without a fresh state after which everything stops."""
    watchdog_frequency: float = 10.0
    """Hertz at which the controller must hear of us, or it stops the program."""
    largest_lag: float = 0.03
    """A joint may be so far from its setpoint, apart from what its speed explains, radians."""
    largest_force: float = 80.0
    """At the tool, newtons; estimated by the controller from the joints' currents."""
    largest_setpoint_step: float = 3.2 * CYCLE
    """Between two setpoints, radians; more is a programming error."""
    lower: tuple[float, ...] = (-2 * math.pi,) * 6
    """Of the joints, radians."""
    upper: tuple[float, ...] = (2 * math.pi,) * 6
    """Of the joints, radians."""
    fastest: tuple[float, ...] = (1.2,) * 6
    """Joint speed at which everything stops, rad/s."""
    payload: float = 0.0
    """What the flange carries, kilograms."""
    centre_of_gravity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of the payload in the flange frame, metres."""
    tcp: tuple[float, ...] = (0.0,) * 6
    """`T_flange_tcp` as a pose vector, metres and radians."""
    braking_seconds: float = 0.3
    """In which a motion that is broken off comes to rest on its path."""
    silence_allowed: float = 0.5
    """Seconds for which the main program may say nothing during a motion."""


@dataclass(frozen=True)
class Follow:
    """Asks for a motion along setpoints, one a cycle."""

    number: int
    positions: np.ndarray
    """(n, 6), radians; the first is where the arm stands."""
    touch: float = math.inf
    """Newtons by which the tool may be pushed up beyond what it was at the start; more breaks the motion off."""


@dataclass(frozen=True)
class MoveJoints:
    """Asks for the controller's own `movej`."""

    number: int
    q: tuple[float, ...]
    """Radians."""
    speed: float
    """rad/s of the joint that moves most."""
    acceleration: float
    """rad/s^2."""


@dataclass(frozen=True)
class MoveStraight:
    """Asks for the controller's own `movel`."""

    number: int
    pose: tuple[float, ...]
    """`T_base_tcp` as a pose vector."""
    q: tuple[float, ...]
    """Where the joints will be, radians."""
    speed: float
    """m/s."""
    acceleration: float
    """m/s^2."""


@dataclass(frozen=True)
class Brake:
    """Asks to break a motion off, coming to rest on its path."""


@dataclass(frozen=True)
class Alive:
    """Says that the main program is not hanging."""


@dataclass(frozen=True)
class Quit:
    """Asks to end the program on the controller and leave."""


@dataclass(frozen=True)
class State:
    """What the controller said in one cycle, and the setpoint sent upon it."""

    clock: float
    """`time.monotonic()` of its arrival, seconds."""
    timestamp: float
    """The controller's, seconds."""
    q: tuple[float, ...]
    """Radians."""
    qd: tuple[float, ...]
    """rad/s."""
    tcp_pose: tuple[float, ...]
    """`T_base_tcp` as a pose vector."""
    force: tuple[float, ...]
    """At the tool, N and N m, base frame."""
    robot_mode: int
    safety_bits: int
    runtime_state: int
    payload: float
    """Kilograms."""
    setpoint: tuple[float, ...] | None = None
    """Radians; None where none was sent."""


@dataclass(frozen=True)
class Done:
    """A motion has ended and the arm stands."""

    number: int
    complete: bool
    """Whether it went all the way."""


@dataclass(frozen=True)
class Stopped:
    """The servo process ends, and why."""

    reason: StopReason
    words: str
