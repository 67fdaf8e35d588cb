"""Images and gradients that a backend has drawn once, stored small: what every backend on every machine is compared with.

`<name>.npz` under `reference/` holds, for each scene of `matrix_scenes`, colour, depth, ids and coverage; under "rasterizer", what the
rasterizer itself made of triangles of all sizes, with gradients; and "about", a JSON text that says what drew it where.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from renderers.protocol import Rendered
from renderers.rasterize import Rasterizer, build_topology
from tests.renderers.rasterizer_scenes import clip_of, make_camera, sphere, triangle_soup

FOLDER = Path(__file__).parent / "reference"
DEPTH_STEP = 5e-5
"""Metres: depth is stored as 16-bit multiples, as it reaches no further than 3 m."""
COLOUR_STEP = 2e-4
COVERAGE_STEP = 1 / 255
SIZE = (24, 32)


def encode(rendered: Rendered) -> dict[str, np.ndarray]:
    """The images as small integers."""

    def rounded(image: Tensor, step: float, dtype: type) -> np.ndarray:
        return np.clip(np.round(image.detach().cpu().double().numpy() / step), 0, np.iinfo(dtype).max).astype(dtype)

    return {
        "colour": rounded(rendered.colour, COLOUR_STEP, np.uint16),
        "depth": rounded(rendered.depth, DEPTH_STEP, np.uint16),
        "ids": rendered.object_ids.cpu().numpy().astype(np.int8),
        "coverage": rounded(rendered.coverage, COVERAGE_STEP, np.uint8),
    }


@dataclass(frozen=True)
class StoredImages:
    """What `encode` keeps, decoded; float64."""

    colour: Tensor
    depth: Tensor
    ids: Tensor
    coverage: Tensor


@dataclass(frozen=True)
class Reference:
    """One file."""

    name: str
    about: dict[str, object]
    arrays: dict[str, np.ndarray]

    def images(self, scene: str) -> StoredImages | None:
        """What it drew of a scene; None if it could not."""
        if f"{scene}/colour" not in self.arrays:
            return None
        colour, depth, ids, coverage = (
            torch.from_numpy(self.arrays[f"{scene}/{what}"].astype(np.float64)) for what in ("colour", "depth", "ids", "coverage")
        )
        return StoredImages(colour * COLOUR_STEP, depth * DEPTH_STEP, ids.long(), coverage * COVERAGE_STEP)


def load_references() -> list[Reference]:
    """All stored files."""
    found = []
    for path in sorted(FOLDER.glob("*.npz")):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        found.append(Reference(path.stem, json.loads(str(arrays.pop("about"))), arrays))
    return found


def draw_triangles(rasterizer: Rasterizer, dtype: torch.dtype, device: str) -> dict[str, np.ndarray]:
    """The four operations on triangles of all sizes, some across the near plane, and on a coarse sphere; with the gradients. float32."""
    soup, soup_faces = triangle_soup(40, seed=1)
    ball, ball_faces = sphere(1, (0.05, 0.0, 0.6), 0.25)
    points, faces = torch.cat([soup, ball]).to(device, dtype), torch.cat([soup_faces, ball_faces + len(soup)]).to(device)
    clip = clip_of(make_camera(*SIZE, focal=28.0), points)[None].detach().requires_grad_()
    values = (points * 3).sin().requires_grad_()
    texels = torch.rand(1, 4, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(device, dtype).requires_grad_()
    drawn = rasterizer.rasterize(clip, faces, SIZE)
    image = rasterizer.interpolate(values, drawn, faces)
    picture = rasterizer.texture(texels, image[..., :2])
    blended = rasterizer.antialias(torch.cat([image, picture], dim=-1), drawn, clip, build_topology(faces))
    row, column = torch.meshgrid(torch.linspace(0.5, 1.5, SIZE[0]), torch.linspace(0.5, 1.5, SIZE[1]), indexing="ij")
    weight = (row * column)[..., None].to(device, dtype)
    inside = ((image.square() + drawn.buffer[..., 2:3]) * weight).sum() + (picture.square() * weight).sum()
    of_inside = torch.autograd.grad(inside, (clip, values, texels), retain_graph=True)
    (of_blended,) = torch.autograd.grad((blended * weight).sum(), clip)
    found = {
        "buffer": drawn.buffer,
        "blended": blended,
        "clip gradient": of_inside[0],
        "value gradient": of_inside[1],
        "texel gradient": of_inside[2],
        "blended clip gradient": of_blended,
    }
    return {name: value.detach().cpu().numpy().astype(np.float32) for name, value in found.items()}
