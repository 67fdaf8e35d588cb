"""Differentiable rasterization: rasterize -> interpolate -> texture -> antialias, the same calls on every backend."""

from renderers.rasterize.factory import RASTERIZERS, make_rasterizer
from renderers.rasterize.protocol import Rasterized, Rasterizer
from renderers.rasterize.topology import EdgeTopology, build_topology

__all__ = ["RASTERIZERS", "EdgeTopology", "Rasterized", "Rasterizer", "build_topology", "make_rasterizer"]
