"""The USD stage, read back and validated by OpenUSD."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from invgraphics.cli import main
from invgraphics.geometry.mesh import linear_from_srgb
from invgraphics.geometry.spherical_harmonics import evaluate_spherical_harmonics
from invgraphics.scene import Scene
from invgraphics.transforms import transform_points
from tests.invgraphics.export_scene import DENSITY, NAMES, write_output

pytest.importorskip("pxr", reason="usd-core is not installed")

from pxr import Gf, Usd, UsdGeom, UsdLux, UsdPhysics, UsdShade, UsdValidation

POINTS = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.05, 0.02], [-0.05, 0.1, 0.1]])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scene]:
    out = tmp_path_factory.mktemp("export") / "out"
    scene = write_output(out)
    assert main(["export", str(out), "--format", "usd", "--density", str(DENSITY)]) == 0
    return out / "exports" / "usd", scene


@pytest.fixture
def stage(written) -> Usd.Stage:
    return Usd.Stage.Open(str(written[0] / "scene.usd"))


def test_openusd_finds_nothing_wrong(stage):
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(validators) >= 20
    errors = UsdValidation.ValidationContext(validators).Validate(stage)
    assert [error.GetErrorAsString() for error in errors] == []
    assert UsdGeom.GetStageUpAxis(stage) == "Z"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    assert UsdPhysics.GetStageKilogramsPerUnit(stage) == 1.0
    assert stage.GetDefaultPrim().GetPath() == "/World"


def test_surfaces_are_where_they_were(stage, written):
    for name, item in zip(NAMES, written[1].objects, strict=True):
        body = stage.GetPrimAtPath(f"/World/Objects/{name}")
        assert body.GetDisplayName() == item.name
        mesh = UsdGeom.Mesh(body.GetChild("Surface"))
        T = np.array(UsdGeom.Xformable(mesh).ComputeLocalToWorldTransform(Usd.TimeCode.Default()))
        points = np.array(mesh.GetPointsAttr().Get()) @ T[:3, :3] + T[3, :3]
        np.testing.assert_allclose(points, transform_points(item.T_world_object, item.mesh.vertices), atol=1e-6)
        assert np.array_equal(np.array(mesh.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3), item.mesh.faces)


def test_bodies_can_be_simulated(stage, written):
    for name, item in zip(NAMES, written[1].objects, strict=True):
        body = stage.GetPrimAtPath(f"/World/Objects/{name}")
        assert body.HasAPI(UsdPhysics.RigidBodyAPI)
        solid = item.mesh.to_trimesh()
        solid.density = DENSITY
        mass = UsdPhysics.MassAPI(body)
        assert mass.GetMassAttr().Get() == pytest.approx(solid.mass, rel=1e-4)
        np.testing.assert_allclose(mass.GetCenterOfMassAttr().Get(), solid.center_mass, atol=1e-6)
        R = np.array(Gf.Matrix3d(Gf.Rotation(Gf.Quatd(mass.GetPrincipalAxesAttr().Get())))).T
        inertia = R @ np.diag(mass.GetDiagonalInertiaAttr().Get()) @ R.T
        np.testing.assert_allclose(inertia, solid.moment_inertia, atol=1e-3 * np.abs(solid.moment_inertia).max())
        pieces = body.GetChild("Collision").GetChildren()
        hulls = [np.array(UsdGeom.Mesh(piece).GetPointsAttr().Get()) for piece in pieces]
        everything = np.concatenate(hulls)
        np.testing.assert_allclose(everything.min(0), solid.bounds[0], atol=1e-3)
        np.testing.assert_allclose(everything.max(0), solid.bounds[1], atol=1e-3)
        for piece in pieces:
            assert piece.HasAPI(UsdPhysics.CollisionAPI)
            assert UsdPhysics.MeshCollisionAPI(piece).GetApproximationAttr().Get() == "convexHull"
            material, _ = UsdShade.MaterialBindingAPI(piece).ComputeBoundMaterial("physics")
            assert UsdPhysics.MaterialAPI(material).GetDynamicFrictionAttr().Get() == pytest.approx(0.6)
    assert len(stage.GetPrimAtPath("/World/Objects/object_02/Collision").GetChildren()) > 1
    assert UsdPhysics.Scene(stage.GetPrimAtPath("/World/Physics")).GetGravityMagnitudeAttr().Get() == pytest.approx(9.81)
    assert stage.GetPrimAtPath("/World/SupportPlane/Collision").HasAPI(UsdPhysics.CollisionAPI)


def find_colour_source(stage: Usd.Stage, name: str) -> UsdShade.Shader:
    """What feeds the base colour of the material that an object's surface is bound to."""
    surface = stage.GetPrimAtPath(f"/World/Objects/{name}/Surface")
    material, _ = UsdShade.MaterialBindingAPI(surface).ComputeBoundMaterial()
    shader, _, _ = material.ComputeSurfaceSource()
    assert shader.GetShaderId() == "UsdPreviewSurface"
    assert shader.GetInput("roughness").Get() == pytest.approx(0.5)
    assert shader.GetInput("metallic").Get() == pytest.approx(0.25)
    source, _, _ = shader.GetInput("diffuseColor").GetConnectedSource()
    return UsdShade.Shader(source.GetPrim())


def test_the_texture_lies_where_it_was(stage, written):
    """Its image is looked up by hand, with USD's coordinates, v from the bottom."""
    texture = find_colour_source(stage, "object_00")
    image = cv2.imread(texture.GetInput("file").Get().resolvedPath)[..., ::-1] / 255.0
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/World/Objects/object_00/Surface"))
    stored = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st")
    assert stored.GetInterpolation() == "faceVarying"
    st = np.array(stored.Get()).reshape(-1, 3, 2).mean(1)
    rows, columns = ((1 - st[:, 1]) * image.shape[0]).astype(int), (st[:, 0] * image.shape[1]).astype(int)
    colours = linear_from_srgb(torch.tensor(image[rows, columns])).numpy()
    box = written[1].objects[0].mesh
    right = (box.vertices[box.faces].mean(1)[:, 0] > 0).numpy()[:, None]
    np.testing.assert_allclose(colours, np.where(right, [0.0, 0.6, 0.0], [0.8, 0.0, 0.0]), atol=0.01)


def test_vertex_colours_are_linear(stage, written):
    reader = find_colour_source(stage, "object_02")
    assert reader.GetInput("varname").Get() == "displayColor"
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/World/Objects/object_02/Surface"))
    cup = written[1].objects[1]
    expected = cup.mesh.colours * cup.material.base_colour
    np.testing.assert_allclose(np.array(mesh.GetDisplayColorPrimvar().Get()), expected, atol=0.02)


def test_the_camera_sees_what_the_camera_saw(stage, written):
    camera = written[1].camera
    frustum = UsdGeom.Camera(stage.GetPrimAtPath("/World/Camera")).GetCamera(Usd.TimeCode.Default()).frustum
    T = np.array(frustum.ComputeViewMatrix()) @ np.array(frustum.ComputeProjectionMatrix())
    clip = np.concatenate([POINTS.numpy(), np.ones((3, 1))], axis=1) @ T
    x, y = (clip[:, :2] / clip[:, 3:]).T
    pixels = np.stack([(x + 1) / 2 * camera.width - 0.5, (1 - y) / 2 * camera.height - 0.5], axis=1)
    np.testing.assert_allclose(pixels, camera.project(POINTS)[0], atol=0.01)


def test_lights_are_as_strong_and_where_they_were(stage, written):
    point, sun, sky = written[1].lights

    def colour(light) -> np.ndarray:
        return np.array(light.GetColorAttr().Get()) * light.GetIntensityAttr().Get()

    def to_world(light) -> np.ndarray:
        return np.array(UsdGeom.Xformable(light).ComputeLocalToWorldTransform(Usd.TimeCode.Default()))

    bulb = UsdLux.SphereLight(stage.GetPrimAtPath("/World/Lights/light_0"))
    np.testing.assert_allclose(colour(bulb) * np.pi * bulb.GetRadiusAttr().Get() ** 2, point.intensity, rtol=1e-5)
    np.testing.assert_allclose(to_world(bulb)[3, :3], point.position, atol=1e-6)
    distant = UsdLux.DistantLight(stage.GetPrimAtPath("/World/Lights/light_1"))
    assert distant.GetNormalizeAttr().Get()
    np.testing.assert_allclose(colour(distant), sun.irradiance, rtol=1e-5)
    np.testing.assert_allclose(-to_world(distant)[2, :3], sun.direction, atol=1e-6)
    dome = UsdLux.DomeLight(stage.GetPrimAtPath("/World/Lights/light_2"))
    picture = cv2.imread(dome.GetTextureFileAttr().Get().resolvedPath, cv2.IMREAD_UNCHANGED)[..., ::-1]
    up = np.array([0.0, 1.0, 0.0]) @ to_world(dome)[:3, :3]
    expected = evaluate_spherical_harmonics(torch.tensor(up[None], dtype=torch.float32)) @ sky.sh
    np.testing.assert_allclose(picture[0].mean(0), expected[0], rtol=0.05)
