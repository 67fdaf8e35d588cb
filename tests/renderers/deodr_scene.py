"""Triangles as DEODR takes them (de La Gorce et al. 2011; the package `deodr`)."""

import numpy as np
import torch
from torch import Tensor

from renderers.rasterize import build_topology


def find_outline(points: Tensor, faces: Tensor) -> np.ndarray:
    """(f, 3) whether edges (0, 1), (1, 2), (2, 0) of triangles that face the camera part them from ones that do not. Camera frame."""
    corners = points[faces]
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = (cross * corners[:, 0]).sum(-1) < 0
    topology = build_topology(faces)
    owners = torch.repeat_interleave(torch.arange(len(topology.edges)), topology.starts.diff())
    count = torch.zeros(len(topology.edges), dtype=torch.int64).index_add(0, owners, facing[topology.edge_faces].long())
    number = {tuple(edge): index for index, edge in enumerate(topology.edges.tolist())}
    sides = [[number[min(a, b), max(a, b)] for a, b in ((f[0], f[1]), (f[1], f[2]), (f[2], f[0]))] for f in faces.tolist()]
    return ((count[torch.tensor(sides)] == 1) & facing[:, None]).numpy()


def build_deodr_scene(points: Tensor, faces: Tensor, colours: Tensor, K: Tensor, size: tuple[int, int]) -> object:
    """DEODR's scene of camera-frame points with vertex colours on black; back faces culled, silhouettes overdrawn."""
    from deodr import differentiable_renderer

    pixels = points[:, :2] / points[:, 2:] * torch.stack([K[0, 0], K[1, 1]]) + K[:2, 2]
    sides = faces.numpy().astype(np.uint32)
    return differentiable_renderer.Scene2D(
        faces=sides,
        faces_uv=sides,
        ij=pixels.double().numpy(),
        depths=points[:, 2].double().numpy(),
        textured=np.zeros(len(faces), dtype=bool),
        uv=np.zeros((len(points), 2)),
        shade=np.ones(len(points)),
        colors=colours.double().numpy(),
        shaded=np.zeros(len(faces), dtype=bool),
        edgeflags=find_outline(points, faces),
        height=size[0],
        width=size[1],
        nb_colors=colours.shape[1],
        texture=np.zeros((2, 2, colours.shape[1])),
        background_image=np.zeros((*size, colours.shape[1])),
        background_color=None,
        clockwise=False,
        backface_culling=True,
        perspective_correct=False,
    )
