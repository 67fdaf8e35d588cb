"""An open box on the table, for objects to be put into: a body for planning and physics, and the question what lies in it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float

from invgraphics.errors import InputError

_COLOUR = "0.25 0.35 0.5 1"
_RIM = 0.01
"""Metres below the rim that the underside of an object must have passed before it is let go."""
_DROP_STEP = 0.02
"""Between two heights above the floor at which letting go is tried, metres."""


@dataclass(frozen=True)
class Bin:
    """Where it stands and how large it is; metres, in the arm's base frame."""

    x: float
    """Of its middle."""
    y: float
    """Of its middle."""
    length: float
    """Inside, along its own x."""
    width: float
    """Inside, along its own y."""
    height: float
    """Of the rim above the table."""
    turn: float = 0.0
    """Of its own x about the vertical, radians."""
    wall: float = 0.005
    """Thickness of floor and walls."""
    table_height: float = 0.0
    """Of what it stands on."""

    def __post_init__(self) -> None:
        """`InputError` for what is no bin."""
        if not np.isfinite(list(asdict(self).values())).all() or min(self.length, self.width, self.height, self.wall) <= 0:
            raise InputError(f"a bin of {self.length:g} x {self.width:g} x {self.height:g} m: all of its sizes must lie above 0")
        if self.height <= self.wall + _RIM:
            raise InputError(f"a bin {self.height:g} m high with a floor of {self.wall:g} m has no walls to keep anything in")

    @property
    def T_base_bin(self) -> Float[np.ndarray, "4 4"]:
        """Its own frame: origin in the middle of its underside, z up."""
        cosine, sine = np.cos(self.turn), np.sin(self.turn)
        T_base_bin = np.eye(4)
        T_base_bin[:2, :2] = [[cosine, -sine], [sine, cosine]]
        T_base_bin[:3, 3] = self.x, self.y, self.table_height
        return T_base_bin

    def drops(self) -> Iterator[float]:
        """Heights above the floor at which an object may be let go, lowest first: its underside is between the walls at each of them."""
        yield from np.arange(0.0, self.height - self.wall - _RIM, _DROP_STEP)

    def is_above_floor(self, points: Float[np.ndarray, "... 3"]) -> bool:
        """Whether all points (base frame) lie within the walls as seen from above, at whatever height."""
        return bool((abs(self._inside(points)[..., :2]) <= [self.length / 2, self.width / 2]).all())

    def contains(self, points: Float[np.ndarray, "... 3"], tolerance: float = 0.0) -> bool:
        """Whether all points (base frame) lie within the walls and none is deeper than the floor."""
        inside = self._inside(points)
        lowest = float(inside[..., 2].min()) - self.wall
        reach = abs(inside[..., :2]) - [self.length / 2, self.width / 2]
        return bool(reach.max() <= tolerance and lowest >= -tolerance)

    def meets(self, points: Float[np.ndarray, "... 3"]) -> bool:
        """Whether any point (base frame) lies within the box that the bin takes up, its walls included."""
        inside = self._inside(points)
        outer = np.array([self.length / 2 + self.wall, self.width / 2 + self.wall])
        return bool(((abs(inside[..., :2]) < outer).all(axis=-1) & (inside[..., 2] < self.height)).any())

    def plates(self, margin: float = 0.0) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Floor and walls, each one's sides and middle, in the bin's frame.

        They do not overlap but by the `margin` (metres) by which the walls are thicker to both sides, and higher.
        """
        length, width, wall, rise = self.length, self.width, self.wall, self.height - self.wall + margin
        middle, thickness = self.wall + rise / 2, wall + 2 * margin
        across, along = np.array([thickness, width + 2 * (wall + margin), rise]), np.array([length, thickness, rise])
        return (
            (np.array([length + 2 * wall, width + 2 * wall, wall]), np.array([0.0, 0.0, wall / 2])),
            *((across, np.array([side * (length + wall) / 2, 0.0, middle])) for side in (-1, 1)),
            *((along, np.array([0.0, side * (width + wall) / 2, middle])) for side in (-1, 1)),
        )

    def urdf(self, margin: float = 0.0) -> str:
        """A body of one link, its root frame the bin's; to be fixed in the world. `margin` as in `plates`."""
        shapes = "".join(_shape(tag, *plate) for plate in self.plates(margin) for tag in ("visual", "collision"))
        inertial = '<inertial><mass value="0"/><inertia ixx="0" ixy="0" ixz="0" iyy="0" iyz="0" izz="0"/></inertial>'
        robot = ElementTree.fromstring(f'<robot name="bin"><link name="bin">{inertial}{shapes}</link></robot>')
        ElementTree.indent(robot)
        return ElementTree.tostring(robot, encoding="unicode")

    def describe(self) -> dict[str, float]:
        """Its fields by name, to be written down."""
        return asdict(self)

    @staticmethod
    def of(description: Mapping[str, float]) -> "Bin":
        """The bin that `describe` wrote down."""
        return Bin(**description)

    def _inside(self, points: np.ndarray) -> Float[np.ndarray, "... 3"]:
        """In the bin's frame."""
        return (points - self.T_base_bin[:3, 3]) @ self.T_base_bin[:3, :3]


def _shape(tag: str, sides: np.ndarray, middle: np.ndarray) -> str:
    box = f'<geometry><box size="{" ".join(f"{side:.9g}" for side in sides)}"/></geometry>'
    colour = f'<material name="bin"><color rgba="{_COLOUR}"/></material>' if tag == "visual" else ""
    return f'<{tag}><origin xyz="{" ".join(f"{value:.9g}" for value in middle)}"/>{box}{colour}</{tag}>'
