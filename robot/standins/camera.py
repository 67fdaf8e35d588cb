"""A RealSense camera that is not there: the device library's own `software_device`, fed with given pictures, and faults.

    with CameraStandIn(rgb, depth, K) as standin, RealSenseCamera(standin.device) as camera:
        frame = camera.capture()

Everything behind the device, from the sensors to the alignment, is the library's.
"""

import threading
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from robot.realsense import import_realsense


class CameraFault(Enum):
    """What can go wrong with a camera."""

    NO_FRAMES = "sends nothing"
    DEPTH_ONLY = "sends no colour"
    COLOUR_ONLY = "sends no depth"
    TWO_UNITS = "states ten times the device's unit for its frames"
    FROZEN = "sends the same picture, number and time stamp for ever"
    SKEWED = "sends colour of another moment than depth"
    EMPTY_DEPTH = "sees no depth"
    UNPLUGGED = "stops after a few pictures"


@dataclass(frozen=True)
class Lens:
    """How the stand-in's lens distorts colour and depth alike: a model of the library by its name, and its coefficients."""

    model: str = "brown_conrady"
    coefficients: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)


class CameraStandIn:
    """A camera that sees one picture, from `with` to the end of its block."""

    def __init__(
        self,
        rgb: UInt8[np.ndarray, "h w 3"],
        depth: Float[np.ndarray, "h w"],
        K: Float[np.ndarray, "3 3"],
        *,
        unit: float = 1e-4,
        stated_unit: float | None = None,
        rate: int = 30,
        noise: float = 0.0,
        lens: Lens | None = None,
        T_colour_depth: Float[np.ndarray, "4 4"] | None = None,
        model: str = "Intel RealSense D405",
        serial: str = "000000000001",
        seed: int = 0,
    ):
        """`rgb` is sRGB, `depth` metres along z in the frame of the depth sensor, 0 where there is none; `noise` of it in metres.

        `unit` is the metres that a count of its depth stands for, `stated_unit` what it says that they are, if not the truth.
        `T_colour_depth` is the depth sensor's pose in the colour sensor's frame; they share `K` and the size.
        """
        self._rs = import_realsense()
        self._rgb, self._depth = np.ascontiguousarray(rgb), depth
        self._unit, self._stated = unit, stated_unit or unit
        self._rate, self._noise, self._serial, self._model = rate, noise, serial, model
        self._generator = np.random.default_rng(seed)
        self._faults: set[CameraFault] = set()
        self._closing = threading.Event()
        self._lens = lens or Lens()
        self.device = self._rs.software_device()
        """What `RealSenseCamera` takes."""
        self._build(K, np.eye(4) if T_colour_depth is None else T_colour_depth)

    def __enter__(self) -> "CameraStandIn":
        """Starts sending."""
        self._thread = threading.Thread(target=self._feed, name="camera stand-in", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops sending."""
        self._closing.set()
        self._thread.join()

    def show(self, rgb: UInt8[np.ndarray, "h w 3"], depth: Float[np.ndarray, "h w"]) -> None:
        """Another picture from now on."""
        self._rgb, self._depth = np.ascontiguousarray(rgb), depth

    def inject(self, fault: CameraFault) -> None:
        """A fault from now on."""
        self._faults.add(fault)

    def record(self, path: Path, frames: int) -> None:
        """Writes a recording of so many pictures, as the library's recorder does (`.db3`)."""
        recorder = self._rs.recorder(str(path), self.device)
        queue = self._rs.frame_queue(1)
        sensors = recorder.query_sensors()
        for sensor in sensors:
            sensor.open(sensor.get_stream_profiles()[0])
            sensor.start(queue)
        for number in range(frames):
            self._send(number)
            time.sleep(1 / self._rate)
        for sensor in sensors:
            sensor.stop()
            sensor.close()

    def _build(self, K: np.ndarray, T_colour_depth: np.ndarray) -> None:
        rs = self._rs
        for key, value in (("serial_number", self._serial), ("name", self._model), ("product_line", "D400")):
            self.device.register_info(getattr(rs.camera_info, key), value)
        depth_sensor, colour_sensor = self.device.add_sensor("Stereo Module"), self.device.add_sensor("RGB Camera")
        depth_sensor.add_read_only_option(rs.option.depth_units, self._stated)
        depth = depth_sensor.add_video_stream(self._stream(rs.stream.depth, rs.format.z16, 2, K))
        colour = colour_sensor.add_video_stream(self._stream(rs.stream.color, rs.format.rgb8, 3, K))
        pose = rs.extrinsics()
        pose.rotation = T_colour_depth[:3, :3].flatten(order="F").tolist()
        pose.translation = T_colour_depth[:3, 3].tolist()
        depth.register_extrinsics_to(colour, pose)
        self._sensors = (depth_sensor, colour_sensor)
        self._profiles = (depth.as_video_stream_profile(), colour.as_video_stream_profile())

    def _stream(self, kind: Any, pixel_format: Any, pixel_bytes: int, K: np.ndarray) -> Any:
        rs, stream, intrinsics = self._rs, self._rs.video_stream(), self._rs.intrinsics()
        height, width = self._depth.shape
        intrinsics.width, intrinsics.height = width, height
        intrinsics.fx, intrinsics.fy, intrinsics.ppx, intrinsics.ppy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
        intrinsics.model, intrinsics.coeffs = getattr(rs.distortion, self._lens.model), list(self._lens.coefficients)
        stream.type, stream.fmt, stream.bpp, stream.intrinsics = kind, pixel_format, pixel_bytes, intrinsics
        stream.index, stream.uid, stream.width, stream.height, stream.fps = 0, pixel_bytes, width, height, self._rate
        return stream

    def _feed(self) -> None:
        number = 0
        while not self._closing.wait(1 / self._rate):
            if CameraFault.UNPLUGGED in self._faults or CameraFault.NO_FRAMES in self._faults:
                continue
            number += CameraFault.FROZEN not in self._faults
            self._send(number)

    def _send(self, number: int) -> None:
        stamp = 1000.0 * number / self._rate
        late = 0.7 * 1000.0 / self._rate if CameraFault.SKEWED in self._faults else 0.0
        if CameraFault.COLOUR_ONLY not in self._faults:
            self._sensors[0].on_video_frame(self._frame(0, self._counts(), number, stamp))
        if CameraFault.DEPTH_ONLY not in self._faults:
            self._sensors[1].on_video_frame(self._frame(1, self._rgb, number, stamp + late))

    def _frame(self, place: int, pixels: np.ndarray, number: int, stamp: float) -> Any:
        frame = self._rs.software_video_frame()
        frame.pixels, frame.profile = pixels, self._profiles[place]
        frame.bpp = pixels.itemsize * (pixels.shape[2] if pixels.ndim == 3 else 1)
        frame.stride = frame.bpp * pixels.shape[1]
        frame.timestamp, frame.domain, frame.frame_number = stamp, self._rs.timestamp_domain.hardware_clock, number
        if place == 0:
            frame.depth_units = self._stated * (10 if CameraFault.TWO_UNITS in self._faults else 1)
        return frame

    def _counts(self) -> np.ndarray:
        noisy = self._depth + self._noise * self._generator.standard_normal(self._depth.shape)
        seen = (self._depth > 0) & (CameraFault.EMPTY_DEPTH not in self._faults)
        return np.where(seen, np.clip(np.round(noisy / self._unit), 1, 65535), 0).astype(np.uint16)
