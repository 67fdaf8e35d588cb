"""What holds a scene still, and unseen surfaces bent until it does."""

import numpy as np
import pytest
import torch
import trimesh

from grasp_sim.stability import measure_stability
from invgraphics.geometry.mesh import Mesh, is_closed, mesh_from_trimesh
from invgraphics.scene import Material, Plane, Scene, SceneObject
from optim.contacts import PLANE, Surface, find_gaps
from optim.equilibrium import find_support
from optim.leaning import find_unseen, let_lean
from optim.object_view import view_objects
from tests.optim.views import box, photograph

REACH = 0.012
GREY = Material(torch.full((3,), 0.5), torch.tensor(0.0), torch.tensor(0.6))


def lift(solid: trimesh.Trimesh, height: float, tilt: float = 0.0, x: float = 0.0) -> trimesh.Trimesh:
    """A box about whose lower edge at x = 0 it has been tilted, and raised."""
    solid = solid.copy()
    solid.apply_transform(trimesh.transformations.rotation_matrix(-tilt, [0, 1, 0]))
    solid.apply_translation([x, 0, height])
    return solid


def fine(solid: trimesh.Trimesh) -> Mesh:
    """In triangles of 1 cm at most, as reconstructions are."""
    vertices, faces = trimesh.remesh.subdivide_to_size(solid.vertices, solid.faces, 0.01)
    merged = trimesh.Trimesh(vertices, faces)
    return mesh_from_trimesh(merged)


def support_of(*solids: trimesh.Trimesh):
    meshes = [fine(solid) for solid in solids]
    gaps = find_gaps([Surface(mesh) for mesh in meshes], REACH)
    return gaps, find_support(meshes, gaps, 0.1)


def plank_over_block(gap: float) -> list[trimesh.Trimesh]:
    """A plank that lies with one edge on the table, and with its underside `gap` metres over a block that ought to carry it."""
    block = box((0.03, 0.05, 0.03), x=0.115)
    tilt = np.arctan2(0.03 + gap / np.cos(0.32), 0.1)
    plank = trimesh.creation.box((0.16, 0.06, 0.01))
    plank.apply_translation([0.08, 0, 0.005])
    return [lift(plank, 0.0, tilt), block]


def test_a_box_is_held_by_the_table_alone():
    gaps, support = support_of(box((0.04, 0.06, 0.05)))
    assert support.held.max() < 1e-6
    assert (gaps.lower[(support.load > 0.02)] == PLANE).all()
    assert gaps.width[(support.load > 0.02)].max() < 1e-6


def test_nothing_holds_what_floats():
    _, support = support_of(lift(box((0.04, 0.06, 0.05)), 0.05))
    assert support.held[0] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(("overhang", "held"), [(0.01, False), (0.035, True)])
def test_what_overhangs_too_far_needs_a_hand(overhang: float, held: bool):
    _, support = support_of(box((0.06, 0.06, 0.05)), lift(box((0.06, 0.06, 0.02)), 0.05, x=overhang))
    assert bool(support.held[1] > 0.01) is held
    assert support.held[0] < 0.01


def test_the_gap_that_carries_is_found():
    gaps, support = support_of(*plank_over_block(0.003))
    assert support.held.max() < 0.01
    between = (support.load > 0.02) & (gaps.lower != PLANE)
    assert between.any()
    assert 0.001 < gaps.width[between].max() < 0.004
    assert (gaps.direction[between & (gaps.upper == 0), 2] > 0.8).all()


def test_unseen_surfaces_meet_where_something_leans_and_the_rest_stays():
    solids = plank_over_block(0.004)
    views = view_objects(photograph(solids), has_plane=True)
    meshes = [fine(solid) for solid in solids]
    leaning = let_lean(meshes, views)
    for before, after, view in zip(meshes, leaning, views, strict=True):
        assert is_closed(after.faces)
        moved = (after.vertices - before.vertices).norm(dim=1)
        assert moved.max() < 0.005
        assert moved[~find_unseen(before, view)].max() == 0
    assert _worst_turn(meshes) > 2
    assert _worst_turn(leaning) < 0.5


def test_what_stands_is_left_as_it_is():
    solids = [box((0.04, 0.05, 0.06), x=-0.05), box((0.05, 0.04, 0.03), x=0.05)]
    meshes = [fine(solid) for solid in solids]
    for before, after in zip(meshes, let_lean(meshes, view_objects(photograph(solids), has_plane=True)), strict=True):
        assert torch.equal(before.vertices, after.vertices)


def _worst_turn(meshes: list[Mesh]) -> float:
    """Degrees by which anything turns once it is let go."""
    objects = tuple(SceneObject(f"thing {k}", torch.eye(4), torch.ones(3), GREY, mesh) for k, mesh in enumerate(meshes))
    scene = Scene(objects, (), Plane(GREY), photograph([box((0.01, 0.01, 0.01))]).camera)
    return max(float(np.degrees(motion.angle)) for motion in measure_stability(scene))
