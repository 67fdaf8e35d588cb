"""Textures: looked up, averaged to vertex colours, as PNG bytes, and with their mesh as an OBJ file that splits no vertex at a seam."""

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.errors import InputError
from invgraphics.geometry.mesh import Mesh, Texture, linear_from_srgb, srgb_from_linear


def sample_image(image: Float[Tensor, "ht wt 3"], uv: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
    """Colours of a texture's image at coordinates (see `Texture.uv`): bilinear, wrapped, differentiable in both."""
    size = uv.new_tensor([image.shape[1], image.shape[0]])
    position = uv * size - 0.5
    floor = position.detach().floor()
    (left, top), (right, bottom) = ((floor + step).remainder(size).long().unbind(-1) for step in (0, 1))
    s, t = (position - floor).split(1, dim=-1)
    above = image[top, left] * (1 - s) + image[top, right] * s
    below = image[bottom, left] * (1 - s) + image[bottom, right] * s
    return above * (1 - t) + below * t


def average_at_vertices(texture: Texture, mesh: Mesh) -> Float[Tensor, "v 3"]:
    """The texture's colour at each vertex, the mean over the triangles that meet there; white where none does."""
    corners = sample_image(texture.image, texture.uv.reshape(-1, 2))
    index = mesh.faces.reshape(-1)
    sums = torch.zeros_like(mesh.vertices).index_add(0, index, corners.to(mesh.vertices))
    counts = torch.bincount(index, minlength=len(mesh.vertices))[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), 1.0)


def encode_png(image: Float[Tensor, "ht wt 3"]) -> bytes:
    """The image as an 8-bit sRGB PNG file."""
    srgb = np.round(255 * srgb_from_linear(image.detach().cpu()).numpy()).astype(np.uint8)
    return cv2.imencode(".png", srgb[..., ::-1])[1].tobytes()


def save_textured_obj(mesh: Mesh, texture: Texture, path: Path) -> None:
    """Writes `path` (.obj), and beside it the .mtl and .png that it names. Vertices and triangles keep their order, seams split no vertex.

    Vertex colours, where there are some, follow the positions as sRGB in [0, 1], which most programs read.
    """
    columns = [mesh.vertices.detach().cpu().double().numpy()]
    if mesh.colours is not None:
        columns.append(srgb_from_linear(mesh.colours.detach().cpu().double()).numpy())
    pairs, corner = np.unique(texture.uv.detach().cpu().double().numpy().reshape(-1, 2), axis=0, return_inverse=True)
    corner = corner.reshape(-1, 3) + 1
    lines = [f"mtllib {path.stem}.mtl", "usemtl surface"]
    lines += ["v " + " ".join(f"{value:.9g}" for value in row) for row in np.concatenate(columns, axis=1)]
    lines += [f"vt {u:.9g} {1 - v:.9g}" for u, v in pairs]
    triangles = zip((mesh.faces.cpu().numpy() + 1).tolist(), corner.tolist(), strict=True)
    lines += ["f " + " ".join(f"{vertex}/{place}" for vertex, place in zip(*row, strict=True)) for row in triangles]
    path.write_text("\n".join(lines) + "\n")
    path.with_suffix(".mtl").write_text(f"newmtl surface\nKd 1 1 1\nKs 0 0 0\nmap_Kd {path.stem}.png\n")
    path.with_suffix(".png").write_bytes(encode_png(texture.image))


def load_textured_obj(path: Path) -> Mesh:
    """Reads what `save_textured_obj` wrote: the same vertices and triangles, the image to 8-bit accuracy. float32.

    Raises:
        InputError: a file is missing, or holds something else.
    """
    picture = cv2.imread(str(path.with_suffix(".png")), cv2.IMREAD_COLOR)
    if not path.is_file() or picture is None:
        raise InputError(f"no such textured mesh: {path} and the image {path.with_suffix('.png').name} beside it")
    rows: dict[str, list[list[str]]] = {"v": [], "vt": [], "f": []}
    try:
        for line in path.read_text().splitlines():
            kind, *values = line.split()
            rows.get(kind, []).append(values)
        vertices, places = (torch.tensor(np.array(rows[kind], dtype=np.float64)) for kind in ("v", "vt"))
        corners = np.array([[entry.split("/") for entry in row] for row in rows["f"]], dtype=np.int64) - 1
        uv = places[torch.from_numpy(corners[..., 1])]
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} is not a textured mesh as this program writes it: {error}") from error
    uv[..., 1] = 1 - uv[..., 1]
    colours = linear_from_srgb(vertices[:, 3:]).float() if vertices.shape[1] == 6 else None
    image = linear_from_srgb(torch.from_numpy(picture[..., ::-1].copy()).float() / 255)
    return Mesh(vertices[:, :3].float(), torch.from_numpy(corners[..., 0].copy()), colours, Texture(uv.float(), image))
