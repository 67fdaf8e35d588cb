"""What every dataset gives: an image to reconstruct, and the truth to score it against where it is known."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from invgraphics.geometry.mesh import Mesh
from invgraphics.observation import Observation


@dataclass(frozen=True)
class FrameInput:
    """An image as read, before masks are made of boxes."""

    observation: Observation
    """Its masks are those that came with the image: n is 0 where none did."""
    boxes: Float[Tensor, "b 4"]
    """x0, y0, x1, y1 in pixels of the objects to be segmented, in the order asked for; b is 0 where masks came, and where neither did."""
    T_world_camera: Float[Tensor, "4 4"] | None = None
    """Where the camera stood in a frame that images of the same scene share, metres; None where the image does not say."""


@dataclass(frozen=True)
class GroundTruth:
    """One object of an image as it really is."""

    mask_index: int
    """Index of the object's mask in `Observation.masks`."""
    name: str
    mesh: Mesh
    """Its true surface in the camera frame, metres."""
    T_camera_object: Float[Tensor, "4 4"]
    """Pose of the model: its own frame to the camera frame, metres."""
