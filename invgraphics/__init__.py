"""invgraphics: one RGB-D image in, a scene of closed meshes, poses, materials and lights out."""

import ctypes
import os
import sys

# Idle OpenMP threads sleep instead of spinning: torch's small operations are then not slowed tenfold wherever the cores are shared.
# Read by the OpenMP library when torch loads it, so it must be set before; a value of the user's own stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def _keep_freed_memory(largest_block: int, most: int) -> None:
    """Have glibc reuse freed blocks of up to `largest_block` bytes, keeping `most` bytes at most, instead of returning them to the system.

    Every step of an optimisation allocates and frees its images; touching new pages each time costs milliseconds. Values that the user
    has set in the environment stay.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and not {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & set(os.environ):
        mallopt(_M_MMAP_THRESHOLD, largest_block)
        mallopt(_M_TRIM_THRESHOLD, most)


_keep_freed_memory(largest_block=32 * 2**20, most=256 * 2**20)

__version__ = "0.1.0"
