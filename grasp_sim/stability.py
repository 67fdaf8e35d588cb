"""Whether a scene stands still: it is let go in the physics world, and how far each object has moved is measured."""

from dataclasses import dataclass

import numpy as np

from grasp_sim.poses import angle_between
from grasp_sim.records import DEFAULT_FRICTION
from grasp_sim.solids import build_solid, object_surface
from grasp_sim.world import World
from invgraphics.scene import Scene, SceneObject

_LEAST_SECONDS = 1.0
"""Simulated before rest is looked for: what is about to topple starts slowly."""
_MOST_SECONDS = 3.0
_BULGE, _MOST_PIECES = 2e-4, 64
"""Metres by which convex pieces may bulge over a surface on average, and how many there may be: finer than grasps need, as things that lean
are held by millimetres."""
_ROLLING_FRICTION = 0.0005
"""Metres: the reach of a small contact patch. Without it a ball never comes to rest on any plane."""


@dataclass(frozen=True)
class Motion:
    """How far an object is from where it was let go."""

    distance: float
    """Of its centre of mass, metres."""
    angle: float
    """Of its rotation, radians."""


def measure_stability(scene: Scene) -> tuple[Motion, ...]:
    """Lets go of every object of a scene at once, at rest, on its support plane, and waits until they have come to rest (or 4 s).

    Objects are solids of even density with the friction of packages on wood, among each other, too, and a little resistance to rolling.
    What overlaps is pushed apart by the contacts, which counts as motion. Deterministic.

    Raises:
        ValueError: the scene has no support plane.
        InputError: the surface of an object is not closed.
    """
    if scene.plane is None:
        raise ValueError("a scene without a support plane has nothing to stand on")
    with World() as world:
        # Bullet multiplies the coefficients of the two that touch.
        friction = DEFAULT_FRICTION**0.5
        world.add_plane(friction=friction)
        bodies = [_let_go(world, item) for item in scene.objects]
        for body in bodies:
            world.set_friction(body, friction, rolling=_ROLLING_FRICTION)
        before = [(world.pose(body), world.centre_of_mass(body)) for body in bodies]
        world.step(round(_LEAST_SECONDS / world.time_step))
        world.settle(bodies, max_seconds=_MOST_SECONDS)
        return tuple(
            Motion(float(np.linalg.norm(world.centre_of_mass(body) - centre)), angle_between(world.pose(body), pose))
            for body, (pose, centre) in zip(bodies, before, strict=True)
        )


def _let_go(world: World, item: SceneObject) -> int:
    solid = build_solid(object_surface(item), bulge=_BULGE, max_pieces=_MOST_PIECES)
    return world.add_mesh(solid, item.T_world_object.detach().cpu().double().numpy(), drawn=False)
