"""What a `World` reports: contacts, joint states, pictures; how it is lit; and what it takes for granted."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

GRAVITY = 9.81
"""Standard acceleration of free fall, m/s^2."""
DEFAULT_DENSITY = 400.0
"""kg/m^3: between an empty package and a full one; nothing in an image tells it."""
DEFAULT_FRICTION = 0.6
"""Of an object against a hand or a table whose own coefficient is 1 (cardboard, plastic, wood on rubber: 0.5 to 0.9)."""
BACKGROUND = -1
"""Where a picture shows no body."""


@dataclass(frozen=True)
class Contact:
    """One point at which two bodies touch."""

    body_a: int
    """The body that was asked for."""
    link_a: str
    """Its link, by name; for a body without links the name of its root."""
    body_b: int
    """The other body."""
    link_b: str
    """The other body's link."""
    position: Float[np.ndarray, "3"]
    """On b's surface, world frame, metres."""
    normal: Float[np.ndarray, "3"]
    """Unit, world frame, from b towards a."""
    distance: float
    """Metres; negative where the bodies overlap."""
    force: float
    """Along the normal, newtons; 0 for a mere geometric query."""


@dataclass(frozen=True)
class JointState:
    """Where one joint of an articulated body is."""

    position: float
    """Radians or metres."""
    velocity: float
    """Radians or metres a second."""
    effort: float
    """What its motor applied during the last step, newton metres or newtons."""


@dataclass(frozen=True)
class JointLimits:
    """What a URDF says of one movable joint."""

    lower: float
    """Radians or metres."""
    upper: float
    """Radians or metres."""
    effort: float
    """Newton metres or newtons."""
    velocity: float
    """Radians or metres a second."""


@dataclass(frozen=True)
class Articulation:
    """Index tables of one body, read once."""

    joints: dict[str, int]
    """Movable joints."""
    links: dict[str, int]
    """Links by name; the root is -1."""
    limits: dict[str, JointLimits]
    """Of the movable joints."""
    T_inertial_body: Float[np.ndarray, "4 4"]
    """Body frame to the frame of the root link's centre of mass, in which PyBullet places bodies."""


@dataclass(frozen=True)
class Picture:
    """What a camera in the world sees (PyBullet's own software renderer)."""

    colour: UInt8[np.ndarray, "h w 3"]
    """8-bit sRGB."""
    depth: Float[np.ndarray, "h w"]
    """Metres along the camera's z axis; 0 where nothing was hit."""
    bodies: Int[np.ndarray, "h w"]
    """Body at each pixel; -1 where nothing was hit."""

    @property
    def valid(self) -> Bool[np.ndarray, "h w"]:
        """Where the ray hit something."""
        return self.bodies != BACKGROUND


@dataclass(frozen=True)
class Lighting:
    """One directional light with a shadow, and ambient light, for `World.render`."""

    direction: tuple[float, float, float] = (0.5, 0.3, 1.0)
    """From the scene towards the light, world frame."""
    ambient: float = 0.6
    diffuse: float = 0.4
    specular: float = 0.05
    shadow: bool = True
