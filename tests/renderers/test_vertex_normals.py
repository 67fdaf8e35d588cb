"""The compiled vertex normals against the plain ones and finite differences."""

import pytest
import torch

from invgraphics.geometry.mesh import icosphere, vertex_normals
from renderers.vertex_normals import compute_vertex_normals


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_are_the_area_weighted_means(dtype):
    vertices, faces = icosphere(2)
    bumpy = (vertices * (1 + 0.2 * torch.sin(5 * vertices[:, :1]))).to(dtype)
    loose = torch.cat([bumpy, torch.ones(1, 3, dtype=dtype)])
    normals = compute_vertex_normals(loose, faces)
    assert normals.dtype == dtype
    torch.testing.assert_close(normals, vertex_normals(loose, faces))
    assert (normals[-1] == 0).all()


def test_gradient():
    vertices, faces = icosphere(0)
    bumpy = (vertices * (1 + 0.2 * torch.sin(5 * vertices[:, :1]))).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda points: compute_vertex_normals(points, faces), bumpy)
