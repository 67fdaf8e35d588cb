"""Surfaces as PLY, and as OBJ with a material and, where there is one, a texture."""

from pathlib import Path

import numpy as np
import torch

from invgraphics.exports.bodies import ConvexPiece, RigidBody
from invgraphics.geometry.mesh import Mesh, srgb_from_linear
from invgraphics.geometry.texture import save_textured_obj
from invgraphics.surfaces import without_texture


def write_ply(surface: Mesh, path: Path) -> None:
    """Binary PLY with 8-bit sRGB vertex colours, into which a texture is averaged."""
    without_texture(surface).to_trimesh().export(path)


def write_obj(surface: Mesh, path: Path) -> None:
    """OBJ; a texture as PNG with its MTL, else vertex colours (sRGB, behind the positions), which a material would hide from readers."""
    if surface.texture is not None:
        save_textured_obj(surface, surface.texture, path)
        return
    colours = torch.ones_like(surface.vertices) if surface.colours is None else surface.colours
    srgb = srgb_from_linear(colours.detach()).cpu().double().numpy()
    rows = np.concatenate([surface.vertices.detach().cpu().double().numpy(), srgb], axis=1)
    lines = [f"v {spaced_row(row)}" for row in rows]
    lines += [f"f {a} {b} {c}" for a, b, c in (surface.faces.cpu().numpy() + 1).tolist()]
    path.write_text("\n".join(lines) + "\n")


def write_piece(piece: ConvexPiece, path: Path) -> None:
    """OBJ of positions and triangles."""
    lines = [f"v {spaced_row(row)}" for row in piece.vertices]
    lines += [f"f {a} {b} {c}" for a, b, c in (piece.faces + 1).tolist()]
    path.write_text("\n".join(lines) + "\n")


def write_body_meshes(body: RigidBody, folder: Path) -> tuple[str, list[str]]:
    """Writes what a body looks like and what it collides as; returns their files' names in the folder, the surface's and the pieces'."""
    folder.mkdir(exist_ok=True)
    surface, pieces = f"{body.name}.obj", [f"{body.name}_collision_{k:02d}.obj" for k in range(len(body.pieces))]
    write_obj(body.surface, folder / surface)
    for piece, name in zip(body.pieces, pieces, strict=True):
        write_piece(piece, folder / name)
    return surface, pieces


def spaced_row(values: np.ndarray) -> str:
    """Numbers as OBJ takes them."""
    return " ".join(f"{value:.7g}" for value in values)
