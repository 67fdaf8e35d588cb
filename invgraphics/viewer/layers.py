"""What of a scene is drawn where: each layer is a function that adds nodes below its own, and a line in the list that the user ticks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh, linear_from_srgb, srgb_from_linear
from invgraphics.geometry.spherical_harmonics import mean_radiance
from invgraphics.glb import encode_surface_glb, turn_to
from invgraphics.observation import Observation
from invgraphics.report.images import colour_of, heat_colours, to_srgb
from invgraphics.scene import AmbientLight, DirectionalLight, Light, Material, PointLight, Scene, SceneObject
from invgraphics.surfaces import as_metallic_roughness, build_ellipsoid_surface, build_surface
from invgraphics.transforms import transform_points
from invgraphics.viewer.content import Content

if TYPE_CHECKING:
    import viser

ROOT = "/scene"
AS_SEEN, BY_OBJECT, BY_SPREAD = "as seen", "one for each object", "uncertainty"
"""Paints of the meshes."""
MOST_POINTS = 200_000
PHOTOGRAPH_DEPTH = 0.12
"""Metres from the camera at which the photograph hangs."""
CAMERA_COLOUR = "#2a5ba0"
_GRID_CELL = 0.1
_NAME_HEIGHT = 0.01
"""Metres over an object at which its name stands."""
_LIGHT_DISTANCE = 0.8
"""Metres from the middle at which a directional light's arrow is drawn."""
_SPREAD_FLOOR = 1e-3
"""Metres: the scale of the uncertainty ends there at least."""


@dataclass(frozen=True)
class Look:
    """How the meshes are drawn."""

    paint: str = AS_SEEN
    sample: int = 0
    """Which of the shape samples; 0 is the reconstruction."""
    scene_lights: bool = False
    """Whether the scene's own lights shine, or the viewer's."""


@dataclass(frozen=True)
class Layer:
    """One line in the list of what is shown."""

    name: str
    label: str
    shown: bool
    """At the start."""
    draw: Callable[["viser.SceneApi", str, Content, Look], None]
    """Adds nodes below a path."""


def pose_of(T_world_node: Float[Tensor, "4 4"] | Float[np.ndarray, "4 4"]) -> dict[str, np.ndarray]:
    """A pose as viser takes it: `wxyz` and `position`."""
    T = T_world_node.detach().cpu().numpy() if isinstance(T_world_node, Tensor) else T_world_node
    T = T.astype(np.float64)
    return {"wxyz": Rotation.from_matrix(T[:3, :3]).as_quat()[[3, 0, 1, 2]], "position": T[:3, 3]}


def spread_limit(content: Content) -> float:
    """Metres at which the colours of the uncertainty end: the largest spread but for a hundredth."""
    everything = torch.cat([*content.spread, torch.zeros(1)])
    return max(float(torch.quantile(everything, 0.99)), _SPREAD_FLOOR)


def middle_of(scene: Scene) -> Float[np.ndarray, "3"]:
    """Of the objects' bounding box, world frame, metres."""
    low, high = bounds_of(scene)
    return (low + high) / 2


def bounds_of(scene: Scene) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Least and largest coordinates of the objects, world frame, metres; of a decimetre about the origin where there is none."""
    points = [transform_points(item.T_world_object, _shape(item).vertices).detach() for item in scene.objects]
    together = torch.cat(points).double().cpu().numpy() if points else np.array([[-0.05] * 3, [0.05] * 3])
    return together.min(0), together.max(0)


def _shape(item: SceneObject) -> Mesh:
    return build_ellipsoid_surface(item) if item.mesh is None else item.mesh


def draw_objects(scene: "viser.SceneApi", path: str, content: Content, look: Look) -> None:
    """Meshes, textured, or in the paint asked for; a shape sample in place of them where one is asked for."""
    limit = spread_limit(content)
    for k, item in enumerate(content.scene.objects):
        surface, material = build_surface(item), as_metallic_roughness(item.material)
        if look.sample > 0 and content.samples:
            surface, material = content.samples[k][look.sample], _plain(colour_of(k))
        elif look.paint == BY_OBJECT:
            surface, material = Mesh(surface.vertices, surface.faces), _plain(colour_of(k))
        elif look.paint == BY_SPREAD and content.spread:
            colours = heat_colours((content.spread[k] / limit).clamp(0, 1).cpu().numpy())
            linear = linear_from_srgb(torch.from_numpy(colours / 255.0)).float()
            surface, material = Mesh(surface.vertices, surface.faces, linear), _plain("#ffffff")
        scene.add_glb(f"{path}/{k:02d}", encode_surface_glb(item.name, surface, material), **pose_of(item.T_world_object))


def _plain(colour: str) -> Material:
    return Material(linear_from_srgb(_floats(colour)), torch.tensor(0.0), torch.tensor(0.7))


def draw_names(scene: "viser.SceneApi", path: str, content: Content, look: Look) -> None:
    """Over each object."""
    for k, item in enumerate(content.scene.objects):
        scene.add_label(f"{path}/{k:02d}", item.name, position=find_name_place(item), anchor="bottom-center")


def find_name_place(item: SceneObject) -> Float[np.ndarray, "3"]:
    """A little over the object, world frame, metres."""
    points = transform_points(item.T_world_object, _shape(item).vertices).detach().double().cpu().numpy()
    low, high = points.min(0), points.max(0)
    return np.array([*(low + high)[:2] / 2, high[2] + _NAME_HEIGHT])


def draw_cloud(scene: "viser.SceneApi", path: str, content: Content, look: Look) -> None:
    """Every measured point of the image in its colour; evenly thinned where there are very many."""
    observation = content.observation
    if observation is None:
        return
    points = transform_points(observation.camera.T_world_camera, observation.camera.unproject(observation.depth)[observation.valid])
    colours = to_srgb(observation.colour)[observation.valid.cpu().numpy()]
    step = -(-max(len(points), 1) // MOST_POINTS)
    size = float(observation.depth[observation.valid].median()) / float(observation.camera.K[0, 0]) if len(points) else 1e-3
    scene.add_point_cloud(
        f"{path}/points", points[::step].cpu().numpy(), colours[::step], point_size=size, precision="float32", point_shading="flat"
    )


def draw_ellipsoids(scene: "viser.SceneApi", path: str, content: Content, look: Look) -> None:
    """As wire frames in the objects' colours."""
    for k, item in enumerate(content.scene.objects):
        _draw_wires(scene, f"{path}/{k:02d}", build_ellipsoid_surface(item), item.T_world_object, colour_of(k))


def draw_cages(scene: "viser.SceneApi", path: str, content: Content, look: Look) -> None:
    """As wire frames in the objects' colours."""
    for k, cage in enumerate(content.cages):
        _draw_wires(scene, f"{path}/{k:02d}", cage, torch.eye(4), colour_of(k))


def _draw_wires(scene: "viser.SceneApi", path: str, mesh: Mesh, T_world_mesh: Tensor, colour: str) -> None:
    vertices, faces = mesh.vertices.detach().cpu().numpy(), mesh.faces.cpu().numpy()
    scene.add_mesh_simple(path, vertices, faces, color=_bytes(colour), wireframe=True, **pose_of(T_world_mesh), cast_shadow=False)


def draw_plane(scene: "viser.SceneApi", path: str, content: Content, look: Look) -> None:
    """The support plane in its colour, with a grid of 10 cm, and the world's axes, 5 cm long."""
    if content.scene.plane is None:
        return
    low, high = bounds_of(content.scene)
    x, y = middle_of(content.scene)[:2]
    side = _GRID_CELL * np.ceil((max(high - low) + 0.4) / _GRID_CELL)
    base = as_metallic_roughness(content.scene.plane.material).base_colour
    scene.add_grid(
        f"{path}/grid",
        width=side,
        height=side,
        cell_size=_GRID_CELL,
        section_size=5 * _GRID_CELL,
        cell_color=(120, 120, 120),
        section_color=(80, 80, 80),
        plane_color=_to_bytes(base),
        plane_opacity=0.6,
        shadow_opacity=0.3,
        position=(_GRID_CELL * round(x / _GRID_CELL), _GRID_CELL * round(y / _GRID_CELL), -5e-4),
    )
    scene.add_frame(f"{path}/axes", axes_length=0.05, axes_radius=0.0015)


def draw_camera(scene: "viser.SceneApi", path: str, content: Content, look: Look) -> None:
    """The pyramid that the camera sees, and the photograph in it."""
    camera = content.scene.camera
    corners = _unproject(
        camera, [(-0.5, -0.5), (camera.width - 0.5, -0.5), (camera.width - 0.5, camera.height - 0.5), (-0.5, camera.height - 0.5)]
    )
    edges = [(np.zeros(3), corner) for corner in corners] + [(corners[k], corners[(k + 1) % 4]) for k in range(4)]
    scene.add_frame(f"{path}/pose", show_axes=False, **pose_of(camera.T_world_camera))
    scene.add_line_segments(f"{path}/pose/edges", np.array(edges), _bytes(CAMERA_COLOUR), thickness=0.0015)
    if content.observation is not None:
        draw_photograph(scene, f"{path}/pose/photograph", content.observation)


def draw_photograph(scene: "viser.SceneApi", path: str, observation: Observation) -> None:
    """The image where its pixels lie at `PHOTOGRAPH_DEPTH`; below a node that stands at the camera."""
    camera = observation.camera
    fx, fy = (float(camera.K[k, k]) for k in range(2))
    (middle,) = _unproject(camera, [((camera.width - 1) / 2, (camera.height - 1) / 2)])
    width, height = PHOTOGRAPH_DEPTH * camera.width / fx, PHOTOGRAPH_DEPTH * camera.height / fy
    scene.add_image(
        path, to_srgb(observation.colour), width, height, format="jpeg", position=middle, cast_shadow=False, receive_shadow=False
    )


def _unproject(camera: Camera, pixels: list[tuple[float, float]]) -> Float[np.ndarray, "n 3"]:
    """Points at `PHOTOGRAPH_DEPTH` in the camera frame."""
    K = camera.K.detach().cpu().double().numpy()
    xy = (np.array(pixels) - K[:2, 2]) / K[[0, 1], [0, 1]]
    return PHOTOGRAPH_DEPTH * np.concatenate([xy, np.ones((len(xy), 1))], axis=1)


def draw_lights(scene: "viser.SceneApi", path: str, content: Content, look: Look) -> None:
    """Each light as a mark; shining, where the scene's own lights are asked for."""
    middle = middle_of(content.scene)
    for k, light in enumerate(content.scene.lights):
        where = f"{path}/{k:02d}"
        if isinstance(light, PointLight):
            scene.add_icosphere(
                f"{where}/bulb", radius=0.015, color=_light_colour(light), position=_place(light.position), cast_shadow=False
            )
        elif isinstance(light, DirectionalLight):
            start = middle - _LIGHT_DISTANCE * light.direction.detach().cpu().double().numpy()
            end = start + 0.25 * (middle - start)
            scene.add_arrows(f"{where}/arrow", np.array([[start, end]]), _light_colour(light), shaft_radius=0.004, head_radius=0.012)
        if look.scene_lights:
            _shine(scene, where, light)


def _shine(scene: "viser.SceneApi", path: str, light: Light) -> None:
    """The light as three.js has it, in the same units: candela, lux; ambient light as its mean, which shines from everywhere."""
    colour = _light_colour(light)
    if isinstance(light, PointLight):
        strength = float(light.intensity.max())
        scene.add_light_point(f"{path}/light", color=colour, intensity=strength, position=_place(light.position), cast_shadow=True)
    elif isinstance(light, DirectionalLight):
        T_world_light = turn_to(light.direction).numpy()
        back = -light.direction.detach().cpu().numpy()
        scene.add_light_directional(
            f"{path}/light",
            color=colour,
            intensity=float(light.irradiance.max()),
            cast_shadow=True,
            **(pose_of(T_world_light) | {"position": back}),
        )
    else:
        scene.add_light_ambient(f"{path}/light", color=colour, intensity=float(torch.pi * mean_radiance(light.sh.detach()).max()))


def _light_colour(light: Light) -> tuple[int, int, int]:
    if isinstance(light, AmbientLight):
        strength = mean_radiance(light.sh.detach())
    else:
        strength = light.intensity if isinstance(light, PointLight) else light.irradiance
    return _to_bytes(strength.detach() / strength.max().clamp(min=1e-9))


LAYERS = (
    Layer("objects", "Meshes", True, draw_objects),
    Layer("names", "Names", True, draw_names),
    Layer("cloud", "Point cloud", False, draw_cloud),
    Layer("ellipsoids", "Ellipsoids", False, draw_ellipsoids),
    Layer("cages", "Cages", False, draw_cages),
    Layer("plane", "Support plane", True, draw_plane),
    Layer("camera", "Camera and photograph", True, draw_camera),
    Layer("lights", "Lights", True, draw_lights),
)


def _place(position: Tensor) -> tuple[float, ...]:
    return tuple(position.detach().cpu().tolist())


def _floats(colour: str) -> Tensor:
    return torch.tensor(_bytes(colour)) / 255


def _bytes(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _to_bytes(linear: Float[Tensor, "3"]) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in np.round(255 * srgb_from_linear(linear.detach().cpu()).numpy()))
    return red, green, blue
