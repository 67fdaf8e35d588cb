"""What is checked before anything moves: ranges, speeds, the start, the workspace, singularities, collisions."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from robot.kinematics import JOINT_NAMES, UR5_GEOMETRY, JointLimits, URGeometry, link_transforms, manipulability
from robot.motion import CollisionChecker, joint_line
from robot.trajectory import Trajectory

_TOLERANCE = 1.02
"""Share of a limit up to which numbers count as within it."""
_START_TOLERANCE = 0.02
"""Radians between where a motion starts and where the arm stands."""
_REST_SPEED = 0.01
"""rad/s below which a motion begins and ends at rest."""
_WATCHED_FRAMES = (2, 3, 4, 5, 6)
"""Frames whose origins must not be too fast: elbow, wrists, flange."""
_CHECKED_STEP = 0.03
"""Radians between two configurations that are checked for collision."""


@dataclass(frozen=True)
class SpeedLimits:
    """How fast the arm may be."""

    joint_share: float = 0.1
    """Of the joints' speed and acceleration limits, in (0, 1]."""
    tool: float = 0.25
    """Of elbow, wrists and flange, m/s; 0.25 is ISO 10218-1's reduced speed."""

    def slow_down(self, trajectory: Trajectory, limits: JointLimits, geometry: URGeometry = UR5_GEOMETRY) -> Trajectory:
        """The same path, as much slower as these limits ask for."""
        joint = (abs(trajectory.velocities) / limits.velocity).max() / self.joint_share
        tool = _fastest_point(trajectory, geometry) / self.tool
        factor = max(1.0, float(joint), tool)
        return Trajectory(trajectory.times * factor, trajectory.positions, trajectory.velocities / factor)


@dataclass(frozen=True)
class Workspace:
    """The box that flange and wrists stay in, base frame, metres."""

    lower: Float[np.ndarray, "3"]
    upper: Float[np.ndarray, "3"]

    def contains(self, point: Float[np.ndarray, "3"]) -> bool:
        """Whether a point lies in it."""
        return bool(((point >= self.lower) & (point <= self.upper)).all())


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    words: str
    """What was found."""


@dataclass(frozen=True)
class Motion:
    """A trajectory with what it means."""

    name: str
    trajectory: Trajectory
    may_touch: Collection[int] = ()
    """Bodies in the collision checker's world that it may touch."""
    free_until: float = 1.0
    """Share of its samples that must be free of collision; what follows is meant to touch."""
    straight: bool = False
    """The flange moves on a straight line, which a singularity forbids; a motion in joint space may pass one."""
    resumed: bool = False
    """It is taken up at wherever on its path the arm then stands, not where the motion before it would end."""


def find_violation(
    trajectory: Trajectory, limits: JointLimits, speed: SpeedLimits, q_now: Float[np.ndarray, "6"], geometry: URGeometry = UR5_GEOMETRY
) -> str | None:
    """Why a driver must not carry out a trajectory; None where it may. `q_now` is where the arm stands, radians."""
    numbers = (trajectory.times, trajectory.positions, trajectory.velocities)
    if not all(np.isfinite(values).all() for values in numbers) or trajectory.times[0] != 0 or (np.diff(trajectory.times) <= 0).any():
        return "its times do not increase from 0, or there are numbers that are none"
    away = abs(trajectory.positions[0] - q_now)
    if away.max() > _START_TOLERANCE:
        return f"it starts {np.degrees(away.max()):.1f} degrees from where {JOINT_NAMES[int(away.argmax())]} stands"
    if abs(trajectory.velocities[[0, -1]]).max() > _REST_SPEED:
        return "it does not start and end at rest"
    if not limits.contain(trajectory.positions):
        beyond = np.maximum(trajectory.positions - limits.upper, limits.lower - trajectory.positions).max(axis=0)
        return f"{JOINT_NAMES[int(beyond.argmax())]} would be {np.degrees(beyond.max()):.1f} degrees beyond its range"
    share = abs(_velocities(trajectory)) / limits.velocity
    if share.max() > _TOLERANCE * speed.joint_share:
        joint = JOINT_NAMES[int(share.max(axis=0).argmax())]
        return f"{joint} would turn at {100 * share.max():.0f} % of its speed; {100 * speed.joint_share:.0f} % are allowed"
    fastest = _fastest_point(trajectory, geometry)
    if fastest > _TOLERANCE * speed.tool:
        return f"the arm would move at {1000 * fastest:.0f} mm/s; {1000 * speed.tool:.0f} mm/s are allowed"
    return None


def check_motions(
    motions: Sequence[Motion],
    limits: JointLimits,
    speed: SpeedLimits,
    workspace: Workspace,
    q_now: Float[np.ndarray, "6"],
    collision: Callable[[Motion], CollisionChecker],
    geometry: URGeometry = UR5_GEOMETRY,
    least_manipulability: float = 0.01,
) -> list[Check]:
    """Everything that is checked of motions that follow each other, one `Check` for each kind; all must have passed before anything moves.

    `collision` gives the checker for a motion (what the hand carries may differ). `least_manipulability` is of |det J|, m^3.
    """
    return [
        _check_driver(motions, limits, speed, q_now, geometry),
        _check_workspace(motions, workspace, geometry),
        _check_singularity(motions, geometry, least_manipulability),
        check_collision(motions, collision),
    ]


def _check_driver(motions: Sequence[Motion], limits: JointLimits, speed: SpeedLimits, q_now: np.ndarray, geometry: URGeometry) -> Check:
    where = q_now
    for motion in motions:
        start = motion.trajectory.positions[0] if motion.resumed else where
        violation = find_violation(motion.trajectory, limits, speed, start, geometry)
        if violation is not None:
            return Check("limits and speed", False, f"{motion.name}: {violation}")
        where = motion.trajectory.positions[-1]
    share = max(float((abs(motion.trajectory.velocities) / limits.velocity).max()) for motion in motions)
    fastest = max(_fastest_point(motion.trajectory, geometry) for motion in motions)
    words = f"joints at most {100 * share:.0f} % of their speed, arm at most {1000 * fastest:.0f} mm/s, all within their ranges"
    return Check("limits and speed", True, words)


def _check_workspace(motions: Sequence[Motion], workspace: Workspace, geometry: URGeometry) -> Check:
    for motion in motions:
        frames = link_transforms(motion.trajectory.positions, geometry)
        outside = next((point for point in frames[:, 4:, :3, 3].reshape(-1, 3) if not workspace.contains(point)), None)
        if outside is not None:
            place = ", ".join(f"{value:.2f}" for value in outside)
            return Check("workspace", False, f"{motion.name}: flange or wrist would be at ({place}) m, outside the box")
    box = " x ".join(f"{low:.2f} to {high:.2f}" for low, high in zip(workspace.lower, workspace.upper, strict=True))
    return Check("workspace", True, f"flange and wrists stay in {box} m")


def _check_singularity(motions: Sequence[Motion], geometry: URGeometry, least: float) -> Check:
    motions = [motion for motion in motions if motion.straight]
    if not motions:
        return Check("singularity", True, "no straight motion")
    found = {motion.name: min(manipulability(q, geometry) for q in _configurations(motion.trajectory)) for motion in motions}
    name = min(found, key=lambda key: found[key])
    words = f"|det J| is {found[name]:.3f} m^3 at least, in {name}; {least:.3f} are asked for"
    return Check("singularity", found[name] >= least, words)


def check_collision(motions: Sequence[Motion], collision: Callable[[Motion], CollisionChecker]) -> Check:
    """Whether arm, hand and what they carry stay clear of everything; see `check_motions`."""
    count = 0
    for motion in motions:
        checker = collision(motion)
        for q in _configurations(motion.trajectory, motion.free_until):
            count += 1
            touching = checker.collision(q, ignoring=motion.may_touch)
            if touching is not None:
                return Check("collision", False, f"{motion.name}: {touching} would touch")
    return Check("collision", True, f"{count} configurations are free")


def _configurations(trajectory: Trajectory, share: float = 1.0) -> list[np.ndarray]:
    """Along the first share of a trajectory, close enough to each other."""
    positions = trajectory.positions[: max(round(share * len(trajectory.positions)), 1)]
    kept = [positions[0]]
    for q in positions[1:]:
        if abs(q - kept[-1]).max() > _CHECKED_STEP:
            kept += list(joint_line(kept[-1], q, _CHECKED_STEP)[1:])
    return [*kept, positions[-1]]


def _velocities(trajectory: Trajectory) -> Float[np.ndarray, "m 6"]:
    """Those of the samples and those that the samples' positions imply, whichever a wrong trajectory understates."""
    if len(trajectory.times) == 1:
        return trajectory.velocities
    implied = np.diff(trajectory.positions, axis=0) / np.diff(trajectory.times)[:, None]
    return np.concatenate([trajectory.velocities, implied])


def _fastest_point(trajectory: Trajectory, geometry: URGeometry) -> float:
    """Speed of the fastest watched frame, m/s."""
    if len(trajectory.times) == 1:
        return 0.0
    points = link_transforms(trajectory.positions, geometry)[..., :3, 3][:, list(_WATCHED_FRAMES)]
    return float((np.linalg.norm(np.diff(points, axis=0), axis=-1) / np.diff(trajectory.times)[:, None]).max())
