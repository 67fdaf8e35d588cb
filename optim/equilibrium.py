"""Whether forces at contacts can hold a scene still, and across which gaps they would have to act where they cannot.

Everything is rigid, of even density, and pulled down by gravity; contacts push, and rub up to a friction coefficient (Coulomb). That forces
balance is a linear programme over all objects at once, as in Whiting, Ochsendorf and Durand (Procedural modeling of structurally-sound
masonry buildings, 2009), with friction cones as pyramids. Here a force may also act across a gap, at the price of its width: the least
total price, the work of closing the gaps, tells what most probably carries what. What nothing in reach can carry is held by a hand at a
higher price.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog
from scipy.sparse import coo_matrix, csr_matrix, hstack

from invgraphics.geometry.mesh import Mesh, volume
from optim.contacts import PLANE, Gaps
from optim.standing import find_centre_of_mass

FRICTION = 0.5
"""Coulomb's coefficient that most pairs of everyday things reach (cardboard, wood, plastic: 0.4 to 0.7)."""
_CONE_SIDES = 6
_TILTS = 6
"""Ways in which the scene is tilted."""
_REUSED = 0.02
"""Share of that weight from which a force, once it acts, costs nothing in the other directions."""
_HAND_PRICE = 0.1
"""Metres: of a force that nothing in reach gives, and a last resort."""
_LEAST_PRICE = 1e-5
"""Metres, of a contact without a gap: no more contacts than it takes."""


@dataclass(frozen=True)
class Support:
    """How a scene is held."""

    load: Float[np.ndarray, " g"]
    """The force across each gap, at its greatest, as a share of the weight of the lighter object beside it."""
    held: Float[np.ndarray, " n"]
    """Share of each object's weight that no contact in reach carries; counts torque as force at the object's size."""


def find_support(meshes: Sequence[Mesh], gaps: Gaps, tilt: float) -> Support:
    """What holds closed meshes (world frame) with the least work of closing gaps, upright and tilted to all sides by `tilt` radians."""
    bodies = [_Body.of(mesh) for mesh in meshes]
    matrix = _assemble(bodies, gaps)
    prices, load, held = gaps.width.clip(min=0) + _LEAST_PRICE, np.zeros(len(gaps)), np.zeros(len(bodies))
    for pull in _tilted_pulls(tilt):
        forces, missing = _balance(matrix, bodies, prices, pull)
        load = np.maximum(load, forces / _carried_weight(bodies, gaps))
        held = np.maximum(held, missing)
        prices = np.where(load > _REUSED, _LEAST_PRICE, prices)
    return Support(load, held)


@dataclass(frozen=True)
class _Body:
    weight: float
    """Of its volume; only ratios count."""
    centre: np.ndarray
    """Of mass, world frame, metres."""
    size: float
    """Metres, from the centre: makes forces of torques."""

    @classmethod
    def of(cls, mesh: Mesh) -> "_Body":
        vertices = mesh.vertices.double()
        centre = find_centre_of_mass(vertices, mesh.faces)
        return cls(max(float(volume(vertices, mesh.faces)), 1e-9), centre.numpy(), float((vertices - centre).norm(dim=1).max()))


def _tilted_pulls(tilt: float) -> list[np.ndarray]:
    """Gravity's unit directions: straight down, and tilted to all sides."""
    angles = 2 * np.pi * np.arange(_TILTS) / _TILTS
    tilted = np.stack([np.sin(tilt) * np.cos(angles), np.sin(tilt) * np.sin(angles), np.full(_TILTS, -np.cos(tilt))], axis=1)
    return [np.array([0.0, 0.0, -1.0]), *(tilted if tilt else ())]


def _carried_weight(bodies: Sequence[_Body], gaps: Gaps) -> Float[np.ndarray, " g"]:
    """Of the lighter of the two things at each gap."""
    weights = np.array([body.weight for body in bodies] + [np.inf])  # PLANE is the last.
    return np.minimum(weights[gaps.upper], weights[gaps.lower])


def _assemble(bodies: Sequence[_Body], gaps: Gaps) -> csr_matrix:
    """(6 n, g sides): forces and torques over size, on every body, of unit pushes along every edge of every gap's cone."""
    edges = _cone_edges(gaps.direction).reshape(-1, 3)
    column = np.arange(len(edges))
    entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for end, at, sign in ((gaps.upper, gaps.at_upper, 1.0), (gaps.lower, gaps.at_lower, -1.0)):
        body, place = np.repeat(end, _CONE_SIDES), np.repeat(at, _CONE_SIDES, axis=0)
        real = body != PLANE
        centres, sizes = np.array([b.centre for b in bodies])[body], np.array([b.size for b in bodies])[body]
        wrench = sign * np.concatenate([edges, np.cross(place - centres, edges) / sizes[:, None]], axis=1)
        entries += [(6 * body[real] + axis, column[real], wrench[real, axis]) for axis in range(6)]
    rows, columns, values = (np.concatenate(part) for part in zip(*entries, strict=True))
    return coo_matrix((values, (rows, columns)), shape=(6 * len(bodies), len(edges))).tocsr()


def _cone_edges(normals: Float[np.ndarray, "g 3"]) -> Float[np.ndarray, "g s 3"]:
    """Edges of the friction pyramids, each with a unit push along the normal."""
    helper = np.where(np.abs(normals[:, 2:]) < 0.9, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    first = np.cross(helper, normals)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(normals, first)
    angles = 2 * np.pi * np.arange(_CONE_SIDES) / _CONE_SIDES
    tangents = np.cos(angles)[:, None] * first[:, None] + np.sin(angles)[:, None] * second[:, None]
    return normals[:, None] + FRICTION * tangents


def _balance(
    matrix: csr_matrix, bodies: Sequence[_Body], prices: np.ndarray, pull: np.ndarray
) -> tuple[Float[np.ndarray, " g"], Float[np.ndarray, " n"]]:
    """The push at each gap, and the share of each body's weight that hands hold."""
    size = 6 * len(bodies)
    hands = csr_matrix(np.concatenate([np.eye(size), -np.eye(size)], axis=1))
    weights = np.array([body.weight for body in bodies])
    scale = weights.mean()
    wanted = np.concatenate([np.concatenate([-pull * body.weight, np.zeros(3)]) for body in bodies]) / scale
    cost = np.concatenate([np.repeat(prices, _CONE_SIDES), np.full(2 * size, _HAND_PRICE)])
    found = linprog(cost * 1e3, A_eq=hstack([matrix, hands]), b_eq=wanted, bounds=(0, None), method="highs")
    if found.x is None:  # Hands can hold anything, so a solution exists: the solver has failed.
        raise RuntimeError(f"no forces that hold the scene were found: {found.message}")
    solution = found.x
    pushes = solution[: len(cost) - 2 * size].reshape(-1, _CONE_SIDES).sum(1) * scale
    hand = solution[len(cost) - 2 * size :].reshape(2, len(bodies), 6).sum((0, 2)) * scale
    return pushes, hand / weights
