"""invgraphics: one RGB-D image in, a scene of closed meshes, poses, materials and lights out."""

import os

# Idle OpenMP threads sleep instead of spinning: torch's small operations are then not slowed tenfold wherever the cores are shared.
# Read by the OpenMP library when torch loads it, so it must be set before; a value of the user's own stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
