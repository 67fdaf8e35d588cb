"""The input of everything: one RGB-D image with its camera and the objects' masks."""

from dataclasses import dataclass, replace

from jaxtyping import Bool, Float
from torch import Tensor

from invgraphics.camera import Camera


@dataclass(frozen=True)
class Observation:
    """One registered RGB-D image. Depth and colour share the camera."""

    colour: Float[Tensor, "h w 3"]
    """Linear RGB in [0, 1]."""
    depth: Float[Tensor, "h w"]
    """Metres along the camera's z axis; 0 where `valid` is false."""
    valid: Bool[Tensor, "h w"]
    """Where the sensor gave a depth."""
    masks: Bool[Tensor, "n h w"]
    """Visible pixels of each object, in the order in which the objects were asked for. Disjoint. n may be 0."""
    camera: Camera
    """The world frame is the camera frame until the support plane is known (`T_world_camera` is then the identity)."""
    name: str
    """What messages and output folders call this image."""
    object_names: tuple[str, ...] = ()
    """A label for each mask, for reports: "object_00" unless the dataset knows better. As many as masks."""

    def with_masks(self, masks: Bool[Tensor, "n h w"], object_names: tuple[str, ...] = ()) -> "Observation":
        """The same image with other masks; names default to object_00, object_01, ..."""
        names = object_names or tuple(f"object_{k:02d}" for k in range(len(masks)))
        return replace(self, masks=masks, object_names=names)

    def with_camera_pose(self, T_world_camera: Float[Tensor, "4 4"]) -> "Observation":
        """The same image with the camera placed in the world."""
        return replace(self, camera=replace(self.camera, T_world_camera=T_world_camera))
