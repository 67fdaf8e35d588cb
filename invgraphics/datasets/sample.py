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


@dataclass(frozen=True)
class PoseTruth:
    """Where one object of an image truly is, and what is needed to score a pose of it. Some datasets know the pose and no surface."""

    mask_index: int
    """Index of the object's mask in `Observation.masks`."""
    name: str
    object_id: str
    """What the dataset calls the object: equal in all images that show the same one."""
    T_camera_object: Float[Tensor, "4 4"]
    """The object's own frame to the camera frame, metres."""
    model: Mesh | None = None
    """Its surface in its own frame, metres; None where the dataset publishes none."""
    points: Float[Tensor, "p 3"] | None = None
    """The points, own frame, metres, at which the dataset's papers measure ADD; None for the model's vertices."""
    diameter_m: float | None = None
    """The greatest distance between two points of the model as the dataset states it; None where it does not."""
    symmetries: Float[Tensor, "s 4 4"] | None = None
    """Motions of the own frame that leave the object looking the same, the identity among them; None where the dataset does not say."""
    counted: bool = True
    """Whether the dataset's own evaluation counts it (BOP leaves out what is hardly visible or not among the targets)."""
