"""What stands in the panels: facts in words, scales of colours."""

import numpy as np

from invgraphics.geometry.mesh import volume
from invgraphics.grasp import Grasp
from invgraphics.report.images import heat_colours, sequential_colours
from invgraphics.scene import PhongMaterial
from invgraphics.surfaces import build_surface
from invgraphics.viewer.content import Content

_STOPS = 9


def success_colour(rate: float) -> tuple[int, int, int]:
    """Of a grasp by its success rate in [0, 1]: dark violet, green, yellow."""
    red, green, blue = (int(value) for value in sequential_colours(np.array([[rate]]))[0, 0])
    return red, green, blue


def draw_scale(limit: float) -> str:
    """The legend of the uncertainty (HTML); `limit` in metres is where its colours end."""
    return _scale(heat_colours(np.linspace(0, 1, _STOPS)), "0 mm", f"{1e3 * limit:.0f} mm or more")


def draw_success_scale() -> str:
    """The legend of the grasps' colours (HTML)."""
    return _scale(sequential_colours(np.linspace(0, 1, _STOPS)[None])[0], "0 %", "100 % of trials succeeded")


def _scale(colours: np.ndarray, low: str, high: str) -> str:
    stops = ", ".join("#{:02x}{:02x}{:02x}".format(*(int(value) for value in colour)) for colour in colours)
    bar = f'<div style="height:10px;border-radius:3px;background:linear-gradient(to right,{stops})"></div>'
    ends = f'<div style="display:flex;justify-content:space-between;font-size:11px"><span>{low}</span><span>{high}</span></div>'
    return f'<div style="margin:4px 12px">{bar}{ends}</div>'


def describe_object(content: Content, index: int) -> str:
    """Size, volume, place, material, uncertainty of an object (Markdown)."""
    item = content.scene.objects[index]
    surface = build_surface(item)
    size = 1e3 * (surface.vertices.max(0).values - surface.vertices.min(0).values).detach()
    x, y, z = (1e3 * value for value in item.T_world_object[:3, 3].tolist())
    rows = [
        ("size", " x ".join(f"{length:.0f}" for length in sorted(size.tolist(), reverse=True)) + " mm"),
        ("volume", f"{1e6 * float(volume(surface.vertices.detach(), surface.faces)):.0f} cm³"),
        ("place", f"x {x:.0f}, y {y:.0f}, z {z:.0f} mm"),
        ("material", _describe_material(item.material)),
    ]
    if content.spread:
        spread = 1e3 * content.spread[index]
        rows.append(("uncertainty", f"median {float(spread.median()):.1f} mm, largest {float(spread.max()):.1f} mm"))
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _describe_material(material) -> str:
    if isinstance(material, PhongMaterial):
        return f"Phong, specular {float(material.specular):.2f}, shininess {float(material.shininess):.0f}"
    return f"roughness {float(material.roughness):.2f}, metallic {float(material.metallic):.2f}"


def describe_grasp(grasp: Grasp, rank: int, count: int, name: str) -> str:
    """What the trials said of a grasp (Markdown)."""
    low, high = grasp.success_interval
    x, y, z = 1e3 * np.asarray(grasp.T_world_hand)[:3, 3]
    rows = [
        ("rank", f"{rank} of {count}"),
        ("object", name),
        ("hand", grasp.hand),
        ("success", f"{100 * grasp.success_rate:.0f} % of {grasp.trials} trials (95 %: {100 * low:.0f} to {100 * high:.0f})"),
        ("opening", f"{1e3 * grasp.width:.0f} mm"),
        ("hand at", f"x {x:.0f}, y {y:.0f}, z {z:.0f} mm"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
