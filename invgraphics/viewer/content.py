"""What the viewer shows, as plain data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from invgraphics.geometry.mesh import Mesh
from invgraphics.observation import Observation
from invgraphics.scene import Scene


@dataclass(frozen=True)
class Content:
    """A scene with what is known beside it. Everything but the scene may be missing."""

    title: str
    """What the page calls it."""
    scene: Scene
    observation: Observation | None = None
    """The image, its camera placed in the world."""
    samples: tuple[tuple[Mesh, ...], ...] = ()
    """For each object, shapes that the image allows, object frame: the first is its own."""
    spread: tuple[Float[Tensor, " _"], ...] = ()
    """For each object, how far the samples are from each vertex of its mesh, metres."""
    cages: tuple[Mesh, ...] = ()
    """For each object, the cage that its mesh was fitted in, world frame."""


@dataclass(frozen=True)
class Articulation:
    """A hand, or an arm with a hand, as the viewer draws it."""

    name: str
    links: dict[str, Mesh]
    """What is drawn of each link, link frame, metres."""
    link_poses: Callable[[Mapping[str, float]], Mapping[str, Float[np.ndarray, "4 4"]]]
    """Where every link is in the articulation's own frame (a hand's grasp frame, an arm's base) with the joints at positions by name
    (rad, m); those that are left out stand at 0."""
