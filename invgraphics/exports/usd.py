"""USD: a stage that shows the scene and that a simulator (Isaac Sim, Omniverse) can play. Needs usd-core.

World frame: z up, metres, kilograms. `/World/Objects/object_KK` are rigid bodies with a `Surface` that is seen and convex pieces that
collide; `/World/SupportPlane`, `/World/Lights`, `/World/Camera`, `/World/Physics`.
"""

from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.datasets.files import write_image
from invgraphics.errors import MissingDependencyError
from invgraphics.exports.bodies import GRAVITY, PLANE_HALF_SIZE, RigidBody, SimulatedScene, quaternion_wxyz
from invgraphics.geometry.mesh import Mesh
from invgraphics.geometry.spherical_harmonics import evaluate_spherical_harmonics
from invgraphics.geometry.texture import encode_png
from invgraphics.glb import turn_to
from invgraphics.scene import AmbientLight, DirectionalLight, Light, PointLight
from invgraphics.surfaces import as_metallic_roughness

_TEXTURES = "textures"
_APERTURE_WIDTH = 20.955
"""Of the camera, in USD's tenths of a unit; only its ratio to the focal length shows in a picture."""
_BULB_RADIUS = 0.01
"""Metres: of the sphere that stands for a point light."""
_SKY_HEIGHT = 64
"""Pixels of the picture of the ambient light."""
_T_WORLD_DOME = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
"""A dome's pole is its y axis; in the world it is z."""


def write_usd(simulated: SimulatedScene, folder: Path) -> None:
    """Writes `scene.usd` and `textures/`.

    Raises:
        MissingDependencyError: usd-core is not installed.
    """
    _StageWriter(import_pxr(), folder).write(simulated)


def import_pxr() -> ModuleType:
    """The module `pxr` with the parts of it that are used.

    Raises:
        MissingDependencyError: usd-core is not installed.
    """
    try:
        import pxr
        from pxr import Gf, Sdf, Usd, UsdGeom, UsdLux, UsdPhysics, UsdShade, Vt  # noqa: F401 (each becomes an attribute of pxr)
    except ImportError as error:
        raise MissingDependencyError("USD needs usd-core: pip install 'invgraphics[usd]'") from error
    return pxr


class _StageWriter:
    """Writes one stage."""

    def __init__(self, pxr: ModuleType, folder: Path):
        self.pxr, self.folder = pxr, folder
        self.stage = pxr.Usd.Stage.CreateNew(str(folder / "scene.usd"))

    def write(self, simulated: SimulatedScene) -> None:
        """Everything, and saves it."""
        UsdGeom, UsdPhysics = self.pxr.UsdGeom, self.pxr.UsdPhysics
        UsdGeom.SetStageUpAxis(self.stage, UsdGeom.Tokens.z)
        UsdGeom.SetStageMetersPerUnit(self.stage, 1.0)
        UsdPhysics.SetStageKilogramsPerUnit(self.stage, 1.0)
        self.stage.SetDefaultPrim(UsdGeom.Xform.Define(self.stage, "/World").GetPrim())
        self._add_physics()
        UsdGeom.Scope.Define(self.stage, "/World/Objects")
        for body in simulated.bodies:
            self._add_body(body)
        if simulated.scene.plane is not None:
            self._add_plane(simulated)
        for k, light in enumerate(simulated.scene.lights):
            self._add_light(f"/World/Lights/light_{k}", light)
        self._add_camera(simulated.scene.camera)
        self.stage.GetRootLayer().Save()

    def _add_physics(self) -> None:
        scene = self.pxr.UsdPhysics.Scene.Define(self.stage, "/World/Physics")
        scene.CreateGravityDirectionAttr(self.pxr.Gf.Vec3f(0, 0, -1))
        scene.CreateGravityMagnitudeAttr(GRAVITY)

    def _add_body(self, body: RigidBody) -> None:
        UsdGeom, UsdPhysics, Gf = self.pxr.UsdGeom, self.pxr.UsdPhysics, self.pxr.Gf
        path = f"/World/Objects/{body.name}"
        prim = self._add_frame(path, body.T_world_body)
        prim.SetDisplayName(body.label)
        UsdPhysics.RigidBodyAPI.Apply(prim)
        mass = UsdPhysics.MassAPI.Apply(prim)
        mass.CreateMassAttr(body.mass)
        mass.CreateCenterOfMassAttr(Gf.Vec3f(*body.T_body_inertial[:3, 3].tolist()))
        mass.CreateDiagonalInertiaAttr(Gf.Vec3f(*body.moments.tolist()))
        mass.CreatePrincipalAxesAttr(Gf.Quatf(*quaternion_wxyz(body.T_body_inertial)))
        surface = self._add_surface(f"{path}/Surface", body.surface)
        material = self._add_material(f"{path}/Material", body)
        self._bind(surface, material)
        friction = self._add_friction(f"{path}/Friction", body.friction)
        UsdGeom.Scope.Define(self.stage, f"{path}/Collision")
        for k, piece in enumerate(body.pieces):
            mesh = self._add_triangles(f"{path}/Collision/piece_{k:02d}", piece.vertices, piece.faces)
            mesh.CreatePurposeAttr(UsdGeom.Tokens.guide)
            self._make_solid(mesh.GetPrim(), friction)
            UsdPhysics.MeshCollisionAPI.Apply(mesh.GetPrim()).CreateApproximationAttr(UsdPhysics.Tokens.convexHull)

    def _add_frame(self, path: str, T_parent_frame: Float[np.ndarray, "4 4"]):
        """A frame of its own, as translation and rotation, which simulators write back."""
        frame = self.pxr.UsdGeom.Xform.Define(self.stage, path)
        self._place(frame, T_parent_frame)
        return frame.GetPrim()

    def _place(self, frame, T_parent_frame: Float[np.ndarray, "4 4"]) -> None:
        Gf, precision = self.pxr.Gf, self.pxr.UsdGeom.XformOp.PrecisionDouble
        frame.AddTranslateOp(precision).Set(Gf.Vec3d(*T_parent_frame[:3, 3].tolist()))
        frame.AddOrientOp(precision).Set(Gf.Quatd(*quaternion_wxyz(T_parent_frame)))

    def _add_triangles(self, path: str, vertices: Float[np.ndarray, "v 3"], faces: np.ndarray):
        Vt, mesh = self.pxr.Vt, self.pxr.UsdGeom.Mesh.Define(self.stage, path)
        points = Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(vertices, np.float32))
        mesh.CreatePointsAttr(points)
        mesh.CreateExtentAttr(self.pxr.UsdGeom.PointBased.ComputeExtent(points))
        mesh.CreateFaceVertexCountsAttr(Vt.IntArray([3] * len(faces)))
        mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(np.ascontiguousarray(faces.reshape(-1), np.int32)))
        mesh.CreateSubdivisionSchemeAttr(self.pxr.UsdGeom.Tokens.none)
        return mesh

    def _add_surface(self, path: str, surface: Mesh):
        """The triangles with texture coordinates a corner (no vertex is split at a seam), or with a colour a vertex (linear)."""
        Sdf, Vt, tokens = self.pxr.Sdf, self.pxr.Vt, self.pxr.UsdGeom.Tokens
        mesh = self._add_triangles(path, surface.vertices.detach().cpu().numpy(), surface.faces.cpu().numpy())
        primvars = self.pxr.UsdGeom.PrimvarsAPI(mesh)
        if surface.texture is not None:
            uv = surface.texture.uv.detach().cpu().numpy().reshape(-1, 2).copy()
            uv[:, 1] = 1 - uv[:, 1]
            stored = primvars.CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, tokens.faceVarying)
            stored.Set(Vt.Vec2fArray.FromNumpy(np.ascontiguousarray(uv, np.float32)))
        if surface.colours is not None:
            colours = mesh.CreateDisplayColorPrimvar(tokens.vertex)
            colours.Set(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(surface.colours.detach().cpu().clamp(0, 1).numpy(), np.float32)))
        return mesh

    def _add_material(self, path: str, body: RigidBody):
        """UsdPreviewSurface, its base colour read from the texture, else from the vertex colours."""
        Sdf = self.pxr.Sdf
        material, shader = self._add_preview_surface(path, body.metallic, body.roughness)
        if body.surface.texture is not None:
            name = f"{_TEXTURES}/{body.name}.png"
            (self.folder / _TEXTURES).mkdir(exist_ok=True)
            (self.folder / name).write_bytes(encode_png(body.surface.texture.image))
            reader = self._add_shader(f"{path}/Coordinates", "UsdPrimvarReader_float2", {"varname": (Sdf.ValueTypeNames.String, "st")})
            inputs = {
                "file": (Sdf.ValueTypeNames.Asset, f"./{name}"),
                "sourceColorSpace": (Sdf.ValueTypeNames.Token, "sRGB"),
                "wrapS": (Sdf.ValueTypeNames.Token, "repeat"),
                "wrapT": (Sdf.ValueTypeNames.Token, "repeat"),
            }
            texture = self._add_shader(f"{path}/Texture", "UsdUVTexture", inputs)
            coordinates = reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
            texture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(coordinates)
            colour = texture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
        else:
            inputs = {"varname": (Sdf.ValueTypeNames.String, "displayColor")}
            reader = self._add_shader(f"{path}/Colours", "UsdPrimvarReader_float3", inputs)
            colour = reader.CreateOutput("result", Sdf.ValueTypeNames.Float3)
        shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(colour)
        return material

    def _add_preview_surface(self, path: str, metallic: float, roughness: float):
        material = self.pxr.UsdShade.Material.Define(self.stage, path)
        number = self.pxr.Sdf.ValueTypeNames.Float
        shader = self._add_shader(f"{path}/Shader", "UsdPreviewSurface", {"metallic": (number, metallic), "roughness": (number, roughness)})
        material.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
        return material, shader

    def _add_shader(self, path: str, kind: str, inputs: dict):
        shader = self.pxr.UsdShade.Shader.Define(self.stage, path)
        shader.CreateIdAttr(kind)
        for name, (value_type, value) in inputs.items():
            shader.CreateInput(name, value_type).Set(value)
        return shader

    def _bind(self, geometry, material) -> None:
        self.pxr.UsdShade.MaterialBindingAPI.Apply(geometry.GetPrim()).Bind(material)

    def _add_friction(self, path: str, friction: float):
        """PhysX averages two bodies' coefficients unless it is told to multiply them, as everywhere else here."""
        material = self.pxr.UsdShade.Material.Define(self.stage, path)
        physics = self.pxr.UsdPhysics.MaterialAPI.Apply(material.GetPrim())
        physics.CreateStaticFrictionAttr(friction)
        physics.CreateDynamicFrictionAttr(friction)
        physics.CreateRestitutionAttr(0.0)
        prim = material.GetPrim()
        prim.AddAppliedSchema("PhysxMaterialAPI")
        prim.CreateAttribute("physxMaterial:frictionCombineMode", self.pxr.Sdf.ValueTypeNames.Token, False).Set("multiply")
        return material

    def _make_solid(self, prim, friction) -> None:
        self.pxr.UsdPhysics.CollisionAPI.Apply(prim)
        binding = self.pxr.UsdShade.MaterialBindingAPI.Apply(prim)
        binding.Bind(friction, self.pxr.UsdShade.Tokens.weakerThanDescendants, "physics")

    def _add_plane(self, simulated: SimulatedScene) -> None:
        """A square to look at, and an endless plane to stand on."""
        path, size = "/World/SupportPlane", PLANE_HALF_SIZE
        self._add_frame(path, np.eye(4))
        corners = np.array([[-size, -size, 0], [size, -size, 0], [size, size, 0], [-size, size, 0]])
        square = self._add_triangles(f"{path}/Surface", corners, np.array([[0, 1, 2], [0, 2, 3]]))
        look = as_metallic_roughness(simulated.scene.plane.material)
        material, shader = self._add_preview_surface(f"{path}/Material", float(look.metallic), float(look.roughness))
        base = self.pxr.Gf.Vec3f(*look.base_colour.detach().cpu().clamp(0, 1).tolist())
        shader.CreateInput("diffuseColor", self.pxr.Sdf.ValueTypeNames.Color3f).Set(base)
        self._bind(square, material)
        plane = self.pxr.UsdGeom.Plane.Define(self.stage, f"{path}/Collision")
        plane.CreateAxisAttr(self.pxr.UsdGeom.Tokens.z)
        plane.CreatePurposeAttr(self.pxr.UsdGeom.Tokens.guide)
        self._make_solid(plane.GetPrim(), self._add_friction(f"{path}/Friction", simulated.plane_friction))

    def _add_light(self, path: str, light: Light) -> None:
        """USD's intensity is the radiance of the light's surface; a normalised distant light's is its irradiance."""
        UsdLux = self.pxr.UsdLux
        self.pxr.UsdGeom.Scope.Define(self.stage, "/World/Lights")
        if isinstance(light, PointLight):
            bulb = UsdLux.SphereLight.Define(self.stage, path)
            bulb.CreateRadiusAttr(_BULB_RADIUS)
            self._set_strength(bulb, light.intensity / (torch.pi * _BULB_RADIUS**2))
            T_world_light = np.eye(4)
            T_world_light[:3, 3] = light.position.detach().cpu().numpy()
            self._place(self.pxr.UsdGeom.Xformable(bulb), T_world_light)
        elif isinstance(light, DirectionalLight):
            sun = UsdLux.DistantLight.Define(self.stage, path)
            sun.CreateNormalizeAttr(True)
            self._set_strength(sun, light.irradiance)
            self._place(self.pxr.UsdGeom.Xformable(sun), turn_to(light.direction).double().numpy())
        else:
            self._add_dome(path, light)

    def _add_dome(self, path: str, light: AmbientLight) -> None:
        name = f"{_TEXTURES}/{path.rsplit('/', 1)[1]}.hdr"
        (self.folder / _TEXTURES).mkdir(exist_ok=True)
        radiance = draw_sky(light.sh.detach().cpu(), _SKY_HEIGHT).numpy()
        write_image(self.folder / name, radiance.astype(np.float32))
        dome = self.pxr.UsdLux.DomeLight.Define(self.stage, path)
        dome.CreateTextureFileAttr(f"./{name}")
        dome.CreateTextureFormatAttr(self.pxr.UsdLux.Tokens.latlong)
        dome.CreateIntensityAttr(1.0)
        self._place(self.pxr.UsdGeom.Xformable(dome), _T_WORLD_DOME)

    def _set_strength(self, light, strength: Float[Tensor, "3"]) -> None:
        brightness = max(float(strength.max()), 1e-12)
        light.CreateIntensityAttr(brightness)
        light.CreateColorAttr(self.pxr.Gf.Vec3f(*(strength.detach().cpu() / brightness).clamp(0, 1).tolist()))

    def _add_camera(self, camera: Camera) -> None:
        """The camera of the photograph, its off-centre principal point included; USD's looks along -z with y up."""
        T_world_camera = camera.T_world_camera.detach().cpu().double().numpy() @ np.diag([1.0, -1.0, -1.0, 1.0])
        (fx, cx), (fy, cy) = camera.K[0, [0, 2]].tolist(), camera.K[1, [1, 2]].tolist()
        focal, width, height = fx * _APERTURE_WIDTH / camera.width, camera.width, camera.height
        lens = self.pxr.UsdGeom.Camera.Define(self.stage, "/World/Camera")
        lens.CreateFocalLengthAttr(focal)
        lens.CreateHorizontalApertureAttr(_APERTURE_WIDTH)
        lens.CreateVerticalApertureAttr(focal * height / fy)
        lens.CreateHorizontalApertureOffsetAttr(((width - 1) / 2 - cx) * focal / fx)
        lens.CreateVerticalApertureOffsetAttr((cy - (height - 1) / 2) * focal / fy)
        lens.CreateClippingRangeAttr(self.pxr.Gf.Vec2f(0.01, 100.0))
        self._place(lens, T_world_camera)


def draw_sky(coefficients: Float[Tensor, "9 3"], height: int) -> Float[Tensor, "h w 3"]:
    """Radiance (linear RGB, at least 0) from all directions, as OpenEXR lays out latitude and longitude; the image's top is world +z.

    In the dome's frame latitude pi/2 (top row) is +y, longitude 0 (middle column) +z and pi/2 (a quarter from the left) +x.
    """
    latitude = torch.pi / 2 - (torch.arange(height, dtype=torch.float64) + 0.5) * torch.pi / height
    longitude = torch.pi - (torch.arange(2 * height, dtype=torch.float64) + 0.5) * torch.pi / height
    latitude, longitude = torch.meshgrid(latitude, longitude, indexing="ij")
    directions = torch.stack([latitude.cos() * longitude.sin(), latitude.sin(), latitude.cos() * longitude.cos()], dim=-1)
    in_world = directions.reshape(-1, 3) @ torch.from_numpy(_T_WORLD_DOME[:3, :3]).T
    return (evaluate_spherical_harmonics(in_world) @ coefficients.double()).clamp(min=0).reshape(height, 2 * height, 3)
