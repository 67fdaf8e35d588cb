"""invgraphics: one RGB-D image in, a scene of closed meshes, poses, materials and lights out."""

__version__ = "0.1.0"
