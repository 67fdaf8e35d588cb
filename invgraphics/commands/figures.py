"""Hands and robots as the viewer draws them: their collision shapes, link by link."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float

from grasp_sim.hands import load_hand
from grasp_sim.urdf import Primitive, read_urdf
from invgraphics.geometry.mesh import Mesh, mesh_from_trimesh
from invgraphics.grasp import Grasp
from invgraphics.viewer.content import Articulation

_SECTIONS = 24


def articulate_hands(grasps: Sequence[Grasp]) -> dict[str, Articulation]:
    """The hands that occur in grasps, by name, placed by their grasp frames; couplings of joints are followed."""
    hands = [load_hand(name) for name in dict.fromkeys(grasp.hand for grasp in grasps)]
    return {hand.name: Articulation(hand.name, _build_links(hand.kinematics.shapes), hand.link_poses) for hand in hands}


def articulate_robot(urdf: Path) -> Articulation:
    """A robot placed by its root link."""
    tree = read_urdf(urdf)
    return Articulation(urdf.stem, _build_links(tree.shapes), tree.link_poses)


def _build_links(shapes: Sequence[Primitive]) -> dict[str, Mesh]:
    """The shapes of each link as one mesh."""
    by_link: dict[str, list[trimesh.Trimesh]] = {}
    for shape in shapes:
        by_link.setdefault(shape.link, []).append(_build_shape(shape))
    return {link: mesh_from_trimesh(trimesh.util.concatenate(parts)) for link, parts in by_link.items()}


def _build_shape(shape: Primitive) -> trimesh.Trimesh:
    T: Float[np.ndarray, "4 4"] = shape.T_link_shape
    if shape.kind == "box":
        return trimesh.creation.box(2 * shape.size, transform=T)
    if shape.kind == "cylinder":
        return trimesh.creation.cylinder(shape.size[0], 2 * shape.size[2], sections=_SECTIONS, transform=T)
    sphere = trimesh.creation.icosphere(subdivisions=2, radius=shape.size[0])
    return sphere.apply_transform(T)
