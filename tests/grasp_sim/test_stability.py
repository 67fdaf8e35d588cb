import math
from dataclasses import replace

import pytest
import torch

from grasp_sim.stability import measure_stability
from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, icosphere
from invgraphics.scene import Material, Plane, Scene, SceneObject
from invgraphics.transforms import rigid, so3_exp
from tests.grasp_sim.shapes import make_box


def _scene(*objects: tuple[Mesh, tuple[float, float, float], tuple[float, float, float]]) -> Scene:
    """Meshes at places, turned by rotation vectors, on a plane."""
    material = Material(torch.full((3,), 0.5), torch.tensor(0.0), torch.tensor(0.5))
    items = tuple(
        SceneObject(f"thing {k}", rigid(so3_exp(torch.tensor(turn)), torch.tensor(place)), torch.full((3,), 0.02), material, mesh)
        for k, (mesh, place, turn) in enumerate(objects)
    )
    camera = Camera(torch.tensor([[60.0, 0, 20], [0, 60, 20], [0, 0, 1]]), 40, 40, torch.eye(4))
    return Scene(items, (), Plane(material), camera)


def test_what_stands_stays_and_what_floats_falls():
    box = make_box(0.06, 0.06, 0.04)
    standing, floating = measure_stability(_scene((box, (0.0, 0.0, 0.02), (0.0, 0.0, 0.3)), (box, (0.2, 0.0, 0.05), (0.0, 0.0, 0.0))))
    assert standing.distance < 0.001
    assert standing.angle < math.radians(1)
    assert floating.distance == pytest.approx(0.03, abs=0.002)


def test_a_box_on_its_edge_topples():
    tilt = math.radians(20)
    height = 0.02 * math.sin(tilt) + 0.05 * math.cos(tilt)
    (motion,) = measure_stability(_scene((make_box(0.04, 0.04, 0.1), (0.0, 0.0, height), (0.0, math.pi / 2 - tilt, 0.0))))
    assert math.degrees(motion.angle) == pytest.approx(70, abs=3) or math.degrees(motion.angle) == pytest.approx(20, abs=3)
    assert motion.distance > 0.005


def test_a_ball_stays():
    vertices, faces = icosphere(3)
    (motion,) = measure_stability(_scene((Mesh(0.03 * vertices, faces), (0.0, 0.0, 0.03), (0.0, 0.0, 0.0))))
    assert motion.distance < 0.005


def test_without_a_plane_there_is_nothing_to_stand_on():
    with pytest.raises(ValueError, match="nothing to stand on"):
        measure_stability(replace(_scene(), plane=None))
