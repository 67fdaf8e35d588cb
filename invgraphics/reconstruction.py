"""What a reconstruction returns: the scene, and how it came to be."""

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from invgraphics.geometry.mesh import Mesh
from invgraphics.observation import Observation
from invgraphics.scene import Scene


@dataclass(frozen=True)
class StageHistory:
    """How one stage of the optimization went."""

    stage: str
    """Name of the stage, with the object it worked on where it worked on one."""
    loss: dict[str, list[float]]
    """Weighted value of each loss term at each iteration, and their sum under "total"."""
    outcome: str
    """How it ended, in words: converged, no progress, iteration limit, ..."""


@dataclass(frozen=True)
class Reconstruction:
    """A scene recovered from one observation."""

    scene: Scene
    """`scene.objects` are in the order of `observation.masks` less the objects in `left_out`."""
    observation: Observation
    """What it was recovered from, with the camera placed in the world frame."""
    mask_indices: tuple[int, ...]
    """For each object of the scene, the index of its mask in the masks that were asked for."""
    left_out: dict[int, str] = field(default_factory=dict)
    """Indices of the masks that gave no object, and why."""
    history: tuple[StageHistory, ...] = ()
    """The stages in the order in which they ran."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall-clock time of each stage, in the order in which they ran."""
    peak_memory_bytes: int = 0
    """Peak resident memory of the process."""
    hypotheses: tuple[str, ...] = ()
    """For each object of the scene, the name of the completion of its unseen side that was chosen."""
    samples: tuple[tuple[Mesh, ...], ...] = ()
    """For each object of the scene, shapes that the image allows, object frame: the first is its own. Empty unless they were asked for."""
    spread: tuple[Float[Tensor, " _"], ...] = ()
    """For each object with samples, how far they are from each vertex of its mesh: root mean square, metres."""
    cages: tuple[Mesh, ...] = ()
    """For each object of the scene, the cage that its mesh was fitted in, where it ended; world frame. Empty where there were none."""
