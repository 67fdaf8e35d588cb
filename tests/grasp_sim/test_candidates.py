"""Candidates: opposing pairs against geometry that is known, clearance against PyBullet's own distances."""

import numpy as np
import pytest
import trimesh

from grasp_sim.candidates import CandidateSettings, find_candidates, find_pairs
from grasp_sim.hands import load_hand
from grasp_sim.solids import PlacedSolid, Polyhedron, build_solid
from grasp_sim.world import World
from invgraphics.geometry.mesh import Mesh, mesh_from_trimesh
from invgraphics.grasp import NoGrasp
from tests.grasp_sim.shapes import make_bowl, make_box, place


def surface_of(mesh: Mesh) -> Polyhedron:
    return Polyhedron(mesh.vertices.double().numpy(), mesh.faces.numpy())


def test_pairs_of_a_box_join_opposite_faces() -> None:
    sides = np.array([0.05, 0.07, 0.11])
    pairs = find_pairs(surface_of(make_box(*sides)), CandidateSettings(), np.random.default_rng(0))
    main = np.abs(pairs.axis).argmax(1)
    assert set(main) == {0, 1, 2}
    straight = pairs.quality > 0.999
    assert straight.sum() > 300
    np.testing.assert_allclose(pairs.width[straight], sides[main[straight]], rtol=1e-3)
    ends = np.abs(pairs.centre + 0.5 * pairs.width[:, None] * pairs.axis)
    np.testing.assert_allclose(ends[np.arange(len(main)), main], sides[main] / 2, rtol=1e-5)


def test_pairs_of_a_bowl_span_its_wall_and_its_whole_width() -> None:
    radius, wall = 0.06, 0.004
    pairs = find_pairs(surface_of(make_bowl(radius, wall)), CandidateSettings(), np.random.default_rng(0))
    assert (np.abs(pairs.width - wall) < 1e-3).sum() > 100
    assert pairs.width.max() > 1.8 * (radius - wall)


@pytest.mark.parametrize("name", ["parallel_jaw", "mia_right"])
def test_hands_of_candidates_keep_clear_and_straddle_the_object(name: str) -> None:
    """In the world of PyBullet nothing overlaps, at the grasp and 5 cm before it."""
    hand = load_hand(name)
    objects = [place(make_box(0.05, 0.06, 0.12)), place(make_box(0.04, 0.04, 0.06), x=0.075)]
    found, why = find_candidates(objects, 0, hand, np.random.default_rng(1), count=12)
    assert (len(found), why) == (12, None)
    middle = np.array([0, 0, 0.06])
    for candidate in found:
        T = candidate.grasp.T_world_hand
        np.testing.assert_allclose(T[:3, :3].T @ T[:3, :3], np.eye(3), atol=1e-9)
        assert np.linalg.norm(T[:3, 3] - middle) < 0.1
        with World() as world:
            others = [world.add_plane(), *(world.add_mesh(item.solid, item.T_world_body, drawn=False) for item in objects)]
            body = world.add_urdf(hand.urdf, T @ np.linalg.inv(hand.T_root_hand), fixed=True)
            world.couple_joints(body, hand.couplings)
            world.set_joint_positions(body, candidate.grasp.preshape)
            for back in (0.0, 0.05):
                start = T.copy()
                start[:3, 3] -= back * T[:3, 2]
                world.set_pose(body, start @ np.linalg.inv(hand.T_root_hand))
                overlaps = [contact.distance for other in others for contact in world.near(body, other, 0.0)]
                assert min(overlaps, default=0.0) > -1e-3


def test_fingertips_come_down_to_the_table_for_what_is_thin_and_never_reach_into_it() -> None:
    """A pen that lies: open, half closed and where it touches, no part of the hand is below the plane, by PyBullet's own distances."""
    hand = load_hand("mia_right")
    pen = mesh_from_trimesh(trimesh.creation.cylinder(radius=0.008, height=0.14))
    T = np.eye(4)
    T[:3, :3], T[2, 3] = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]), 0.008
    found, _ = find_candidates([PlacedSolid(build_solid(pen), T, "pen")], 0, hand, np.random.default_rng(0), count=8)
    with World() as world:
        plane = world.add_plane()
        body = world.add_urdf(hand.urdf, np.eye(4), fixed=True)
        world.couple_joints(body, hand.couplings)
        lowest = []
        for candidate in found:
            grasp = candidate.grasp
            world.set_pose(body, grasp.T_world_hand @ np.linalg.inv(hand.T_root_hand))
            closure = hand.closure(hand.template(candidate.template))
            touching = hand.template(candidate.template).motors_at(closure.at_width(grasp.width)[0])
            for share in (0.0, 0.5, 1.0):
                world.set_joint_positions(body, {name: (1 - share) * grasp.preshape[name] + share * touching[name] for name in touching})
                lowest.append(min(contact.distance for contact in world.near(body, plane, 0.1)))
    assert min(lowest) > -1e-3
    assert np.median(lowest) < 4e-3


def test_scores_fall_and_neighbours_are_thinned() -> None:
    settings = CandidateSettings()
    objects = [place(make_box(0.05, 0.06, 0.12))]
    found, _ = find_candidates(objects, 0, load_hand("parallel_jaw"), np.random.default_rng(0), settings=settings)
    scores = [candidate.score for candidate in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    poses = [candidate.grasp.T_world_hand for candidate in found]
    for k, first in enumerate(poses):
        for second in poses[:k]:
            turn = np.arccos(np.clip((np.trace(first[:3, :3].T @ second[:3, :3]) - 1) / 2, -1, 1))
            assert np.linalg.norm(first[:3, 3] - second[:3, 3]) >= settings.distinct_position or turn >= settings.distinct_turn - 1e-6


def test_an_object_wider_than_the_hand_is_told_in_millimetres() -> None:
    ball = mesh_from_trimesh(trimesh.creation.icosphere(subdivisions=3, radius=0.06))
    found, why = find_candidates([place(ball)], 0, load_hand("parallel_jaw"), np.random.default_rng(0))
    assert found == []
    assert why.reason is NoGrasp.HAND_TOO_SMALL
    assert "the hand opens to 80 mm" in why.message
    assert "is 1" in why.message


def test_an_object_walled_in_is_told() -> None:
    walls = [place(make_box(0.3, 0.3, 0.02))]
    thing = place(make_box(0.04, 0.04, 0.04))
    walls += [place(make_box(0.02, 0.2, 0.2), x=sign * 0.035) for sign in (-1, 1)]
    walls += [place(make_box(0.2, 0.02, 0.2), y=sign * 0.035) for sign in (-1, 1)]
    lid = place(make_box(0.2, 0.2, 0.02))
    lifted = lid.T_world_body.copy()
    lifted[2, 3] = 0.06
    objects = [thing, *walls[1:], PlacedSolid(lid.solid, lifted, "lid")]
    found, why = find_candidates(objects, 0, load_hand("parallel_jaw"), np.random.default_rng(0))
    assert found == []
    assert why.reason is NoGrasp.NO_ROOM


def test_what_turns_out_too_thin_is_left_alone() -> None:
    """A wall that tapers upwards from 24 to 6 mm: a refined hand may come to stand where it is thinner than where its pair was."""
    corners = [(sign * half, end, z) for half, z in ((0.012, 0.0), (0.003, 0.09)) for sign in (-1, 1) for end in (-0.04, 0.04)]
    wall = trimesh.convex.convex_hull(np.array(corners))
    narrowest = 0.012
    found, _ = find_candidates(
        [place(mesh_from_trimesh(wall))],
        0,
        load_hand("parallel_jaw"),
        np.random.default_rng(0),
        settings=CandidateSettings(narrowest=narrowest),
    )
    assert found
    assert min(candidate.grasp.width for candidate in found) >= narrowest


def test_same_seed_same_candidates() -> None:
    objects = [place(make_bowl())]
    hand = load_hand("parallel_jaw")
    first, second = (find_candidates(objects, 0, hand, np.random.default_rng(5))[0] for _ in range(2))
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.grasp.T_world_hand, other.grasp.T_world_hand)
