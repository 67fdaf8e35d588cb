"""What several tests share: where the shared data lies, finite differences."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

SHARED_DATA = Path(os.environ.get("INVGRAPHICS_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))

needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"the shared data is not at {SHARED_DATA}")


def finite_difference(function: Callable[[Tensor], Tensor], x: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences of a scalar function with respect to every entry of `x` (float64)."""
    gradient = torch.zeros_like(x)
    for index in range(x.numel()):
        offset = torch.zeros_like(x).reshape(-1)
        offset[index] = step
        offset = offset.reshape(x.shape)
        with torch.no_grad():
            gradient.reshape(-1)[index] = (function(x + offset) - function(x - offset)) / (2 * step)
    return gradient
