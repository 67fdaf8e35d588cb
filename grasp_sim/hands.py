"""Hands as data: a URDF and a JSON description. Adding a hand takes no code.

The description names the motors and what they move, the points that touch, and the templates: for each way of grasping the open and
the closed motor positions and the two sides between which the object is held. On the way from open to closed the two sides approach
each other; where along it they are as far apart as an object is wide, there the object belongs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from grasp_sim.drives import Coupling
from grasp_sim.urdf import KinematicTree, read_urdf
from invgraphics.errors import InputError
from invgraphics.grasp import Grasp

ASSETS = Path(__file__).parent / "assets"
_SAME_POSITION = 1e-3
"""Radians or metres between motor positions that count as one."""


@dataclass(frozen=True)
class Motor:
    """What one motor can do."""

    lower: float
    """Radians or metres."""
    upper: float
    """Radians or metres."""
    effort: float
    """For all its joints together, newton metres or newtons."""
    velocity: float
    """Radians or metres a second."""


@dataclass(frozen=True)
class ContactPoint:
    """A place on a hand that is meant to touch the object: the centre of a fingertip, or a point on a flat pad (radius 0)."""

    link: str
    position: Float[np.ndarray, "3"]
    """Link frame, metres."""
    radius: float
    """Metres."""


@dataclass(frozen=True)
class Template:
    """One way of grasping."""

    name: str
    opened: dict[str, float]
    """Motor positions, fully open."""
    closed: dict[str, float]
    """Motor positions towards which the hand closes."""
    side_a: tuple[str, ...]
    """Names of the contact points on one side, usually the fingers."""
    side_b: tuple[str, ...]
    """Names of those on the other side, usually the thumb."""
    efforts: dict[str, float]
    """Largest effort of a motor while closing, newton metres or newtons, where it is less than the motor's: so that no side overpowers
    the other."""
    stops: tuple[str, ...] = ()
    """Motors that stop where they would just touch an object of the expected width; the others press it against what they move."""

    def motors_at(self, share: float) -> dict[str, float]:
        """Motor positions at a share of the way from open (0) to closed (1)."""
        return {name: (1 - share) * self.opened[name] + share * self.closed[name] for name in self.opened}

    def targets_at(self, share: float) -> dict[str, float]:
        """Motor positions to close to around an object that the two sides touch at that share of the way."""
        touching = self.motors_at(share)
        return {name: touching[name] if name in self.stops else target for name, target in self.closed.items()}


@dataclass(frozen=True)
class Closure:
    """Where the two sides of a template are along its way from open to closed; k places, hand frame."""

    share: Float[np.ndarray, " k"]
    """Share of the way, rising from 0."""
    width: Float[np.ndarray, " k"]
    """Opening between the two sides, metres, falling."""
    centre: Float[np.ndarray, "k 3"]
    """Midway between the two sides, metres."""
    axis: Float[np.ndarray, "k 3"]
    """Unit, from side a to side b."""
    radii: tuple[float, float]
    """How round the two sides are where they touch, metres; 0 for flat pads."""

    def at_width(self, width: float) -> tuple[float, Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
        """Share, centre and axis where the opening is `width` (clamped to what the template reaches)."""
        index = float(np.interp(-width, -self.width, np.arange(len(self.width))))
        low = min(int(index), len(self.share) - 2)
        blend = index - low
        share, centre, axis = ((1 - blend) * each[low] + blend * each[low + 1] for each in (self.share, self.centre, self.axis))
        return float(share), centre, axis / np.linalg.norm(axis)


@dataclass(frozen=True)
class Hand:
    """A hand's description."""

    name: str
    urdf: Path
    frame: str
    """What the hand frame (`T_world_hand` of a grasp) is, in words. Its z is the approach direction."""
    T_root_hand: Float[np.ndarray, "4 4"]
    """Hand frame to the URDF's root link frame, metres."""
    motors: dict[str, Motor]
    couplings: tuple[Coupling, ...]
    """What the motors move besides the joints that they are named after."""
    contacts: dict[str, ContactPoint]
    templates: tuple[Template, ...]
    friction: float
    """Friction coefficient of all links; the pair's is its product with the object's."""
    torsional_friction: float
    """Torsional coefficient of all links, metres: what a soft fingertip resists to turning."""

    @cached_property
    def kinematics(self) -> KinematicTree:
        """Joints and collision shapes of the URDF."""
        return read_urdf(self.urdf)

    def joint_positions(self, motors: Mapping[str, float]) -> dict[str, float]:
        """Where all joints are when the motors are there."""
        joints = dict(motors)
        joints |= {
            coupling.follower: coupling.position(motors[coupling.driver]) for coupling in self.couplings if coupling.driver in motors
        }
        return joints

    def link_poses(self, motors: Mapping[str, float]) -> dict[str, Float[np.ndarray, "4 4"]]:
        """`T_hand_link` of every link, metres."""
        T_hand_root = np.linalg.inv(self.T_root_hand)
        return {link: T_hand_root @ T for link, T in self.kinematics.link_poses(self.joint_positions(motors)).items()}

    def template(self, name: str) -> Template:
        """The template of that name; `InputError` lists the names there are."""
        for template in self.templates:
            if template.name == name:
                return template
        raise InputError(f"hand {self.name} has no template {name!r}; it has {', '.join(each.name for each in self.templates)}")

    def template_of(self, grasp: Grasp) -> Template:
        """The template that a grasp was made from; `InputError` where it is not one of this hand's."""
        for template in self.templates:
            if self._is_from(grasp, template):
                return template
        raise InputError(
            f"the grasp's opening and closing are those of no template of hand {self.name}; search grasps with this hand again"
        )

    def _is_from(self, grasp: Grasp, template: Template) -> bool:
        """Whether a grasp opens along a template's way and closes to its end, but for motors that stop early."""
        ways = {name: template.closed[name] - start for name, start in template.opened.items()}
        longest = max(ways, key=lambda name: abs(ways[name]))
        expected = template.motors_at((grasp.preshape[longest] - template.opened[longest]) / ways[longest])
        opens = all(abs(grasp.preshape[name] - position) < _SAME_POSITION for name, position in expected.items())
        free = [name for name in template.closed if name not in template.stops]
        return opens and all(abs(grasp.closed[name] - template.closed[name]) < _SAME_POSITION for name in free)

    def opening(self, template: Template, motors: Mapping[str, float]) -> float:
        """Metres between a template's sides with the motors there; negative where they overlap."""
        return self._gap_at(template, motors)[0]

    def closure(self, template: Template, steps: int = 60) -> Closure:
        """The opening between a template's sides, followed from open until it is nothing or no longer shrinks."""
        shares = np.linspace(0.0, 1.0, steps)
        gaps = [self._gap(template, share) for share in shares]
        widths = np.array([width for width, _, _ in gaps])
        falling = np.append((np.diff(widths) < 0) & (widths[1:] > 0), False)
        start = int(widths.argmax())
        count = int(np.argmin(falling[start:])) + 1
        kept = slice(start, start + count)
        radii = tuple(float(np.mean([self.contacts[name].radius for name in side])) for side in (template.side_a, template.side_b))
        return Closure(
            shares[kept], widths[kept], np.array([gap[1] for gap in gaps])[kept], np.array([gap[2] for gap in gaps])[kept], radii
        )

    def _gap(self, template: Template, share: float) -> tuple[float, np.ndarray, np.ndarray]:
        """Width, centre and axis between the two sides' surfaces."""
        return self._gap_at(template, template.motors_at(share))

    def _gap_at(self, template: Template, motors: Mapping[str, float]) -> tuple[float, np.ndarray, np.ndarray]:
        poses = self.link_poses(motors)
        middle_a, radius_a = self._side(template.side_a, poses)
        middle_b, radius_b = self._side(template.side_b, poses)
        between = middle_b - middle_a
        distance = float(np.linalg.norm(between))
        axis = between / distance if distance > 1e-9 else self._opening_direction(template)
        centre = (middle_a + radius_a * axis + middle_b - radius_b * axis) / 2
        return distance - radius_a - radius_b, centre, axis

    def _side(self, names: tuple[str, ...], poses: dict[str, np.ndarray]) -> tuple[np.ndarray, float]:
        """Mean centre and mean radius of one side's contact points."""
        points = [self.contacts[name] for name in names]
        centres = [poses[point.link][:3, :3] @ point.position + poses[point.link][:3, 3] for point in points]
        return np.mean(centres, axis=0), float(np.mean([point.radius for point in points]))

    def _opening_direction(self, template: Template) -> np.ndarray:
        """From side a to side b when fully open: the axis of a hand whose sides meet in a point."""
        poses = self.link_poses(template.opened)
        between = self._side(template.side_b, poses)[0] - self._side(template.side_a, poses)[0]
        return between / np.linalg.norm(between)


def available_hands() -> tuple[str, ...]:
    """Names of the hands that ship with the package."""
    return tuple(sorted(path.stem for path in ASSETS.glob("*.json")))


def load_hand(name: str | Path) -> Hand:
    """A shipped hand by name, or any hand by the path of its JSON description, or of a folder that holds one.

    `InputError` says what is wrong with it.
    """
    path = ASSETS / f"{name}.json"
    if not path.is_file():
        path = Path(name)
    if path.is_dir():
        found = sorted(path.glob("*.json"))
        if len(found) != 1:
            raise InputError(f"{path}: a hand's folder holds one description (.json), this one {len(found)}")
        path = found[0]
    if not path.is_file():
        raise InputError(f"no hand {str(name)!r}: there are {', '.join(available_hands())}, or give the path of a description (.json)")
    try:
        entries = json.loads(path.read_text())
        hand = _read_hand(path, entries)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    except KeyError as missing:
        raise InputError(f"{path}: the hand's description lacks {missing}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a hand's description: {error}") from None
    _check(path, hand)
    return hand


def _read_hand(path: Path, entries: dict) -> Hand:
    T_root_hand = np.eye(4)
    T_root_hand[:3, :3] = Rotation.from_euler("xyz", entries["T_root_hand"]["rpy_rad"]).as_matrix()
    T_root_hand[:3, 3] = entries["T_root_hand"]["xyz_m"]
    contacts = {
        name: ContactPoint(point["link"], np.array(point["xyz_m"], dtype=float), float(point["radius_m"]))
        for name, point in entries["contacts"].items()
    }
    templates = tuple(
        Template(
            each["name"],
            each["open"],
            each["closed"],
            tuple(each["side_a"]),
            tuple(each["side_b"]),
            each.get("efforts", {}),
            tuple(each.get("stops", ())),
        )
        for each in entries["templates"]
    )
    return Hand(
        name=entries["name"],
        urdf=path.parent / entries["urdf"],
        frame=entries["frame"],
        T_root_hand=T_root_hand,
        motors={name: Motor(**limits) for name, limits in entries["motors"].items()},
        couplings=tuple(Coupling(**coupling) for coupling in entries["couplings"]),
        contacts=contacts,
        templates=templates,
        friction=float(entries["friction"]),
        torsional_friction=float(entries["torsional_friction_m"]),
    )


def _check(path: Path, hand: Hand) -> None:
    """Names that refer to something refer to something that is there."""
    joints = {joint.name for joint in hand.kinematics.joints}
    links = {joint.child for joint in hand.kinematics.joints} | {hand.kinematics.root}
    wrong = [f"motor {name}: no such joint" for name in hand.motors if name not in joints]
    wrong += [f"coupling of {each.follower}: no such joint" for each in hand.couplings if each.follower not in joints]
    wrong += [f"coupling of {each.follower}: no motor {each.driver}" for each in hand.couplings if each.driver not in hand.motors]
    wrong += [f"contact {name}: no link {point.link}" for name, point in hand.contacts.items() if point.link not in links]
    for template in hand.templates:
        known = set(template.side_a + template.side_b) <= hand.contacts.keys()
        wrong += [] if known else [f"template {template.name}: its sides name a contact that is not described"]
        motors = template.opened.keys() == template.closed.keys() == hand.motors.keys()
        unknown = template.efforts.keys() - hand.motors.keys()
        wrong += [f"template {template.name}: effort of {name}, which is no motor" for name in sorted(unknown)]
        unknown = set(template.stops) - hand.motors.keys()
        wrong += [f"template {template.name}: {name} stops, which is no motor" for name in sorted(unknown)]
        wrong += [] if motors else [f"template {template.name}: it must give every motor, open and closed"]
    if wrong:
        raise InputError(f"{path}: {wrong[0]}")
