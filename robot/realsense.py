"""The RealSense D405 (or another D4xx): colour and depth on one pinhole camera, in the unit and with the intrinsics that the device states.

    with open_camera() as camera:
        frame = camera.capture()
        observation = frame.observation("table", calibration.T_base_camera)

The same driver reads a camera, a recording (`open_recording`) and a `software_device`: it opens the device's sensors and pairs their
frames by time itself, for a pipeline would take no software device, and pairs across a frame without saying so.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from invgraphics.camera import Camera
from invgraphics.datasets.checks import parse_depth, parse_intrinsics
from invgraphics.datasets.files import write_image
from invgraphics.errors import InputError, MissingDependencyError
from invgraphics.geometry.mesh import linear_from_srgb
from invgraphics.observation import Observation
from robot.lens import build_rays, build_undistortion, register_depth, undistort_colour
from robot.stops import MotionStoppedError, StopReason

_QUEUE_FRAMES = 64
"""Frames that wait to be paired, a second of both streams; the oldest are dropped."""
_MOST_COUNTS = 65535
"""Of a 16-bit depth image."""
_FRAMES_ON_THE_WAY = 3
"""Pairs that a camera may have exposed before it was asked and delivers after that."""
_LARGEST_SKEW = 0.25
"""Share of the time between two pictures by which depth and colour of one picture may differ."""
_LONGEST_RANGE_M = {"D405": 1.5}
"""A median depth beyond this is no depth of that camera (it measures from 0.07 m to 0.5 m): the stated unit is wrong."""


@dataclass(frozen=True)
class RealSenseSettings:
    """How to take a picture."""

    width: int = 848
    """Pixels, of colour and depth alike; a recording's own size is taken instead."""
    height: int = 480
    rate: int = 30
    """Pictures a second."""
    frames: int = 5
    """The depth is the median over so many; nothing may move meanwhile. The colour is the last one's."""
    settling_frames: int = 15
    """Pictures of a live camera left out first, while it adapts to the light."""
    timeout: float = 2.0
    """Seconds without a new picture after which the camera counts as lost."""

    def __post_init__(self) -> None:
        """Checks the counts."""
        if self.frames < 1 or self.settling_frames < 0 or self.timeout <= 0:
            raise InputError("a picture needs at least 1 frame, no negative number of frames to settle, and a positive timeout")


@dataclass(frozen=True)
class CapturedFrame:
    """One picture, undistorted, depth registered to colour."""

    rgb: UInt8[np.ndarray, "h w 3"]
    """sRGB."""
    counts: Float[np.ndarray, "h w"]
    """Depth along z in counts of `unit`; 0 where there is none."""
    unit: float
    """Metres that the device says one count is."""
    K: Float[np.ndarray, "3 3"]
    """Pinhole camera of both images, pixels."""
    time: float
    """Of the last frame, seconds of the device's clock (since 1970 where the driver gives the computer's)."""
    serial: str
    """The camera's serial number."""
    model: str

    @property
    def depth(self) -> Float[np.ndarray, "h w"]:
        """Metres along z; 0 where there is none."""
        return self.counts * self.unit

    def observation(self, name: str, T_world_camera: Float[np.ndarray, "4 4"] | None = None) -> Observation:
        """The picture as input of a reconstruction, without masks.

        Raises:
            InputError: there is no depth in it, or its unit cannot be right.
        """
        height, width = self.counts.shape
        where = f"{self.model} {self.serial}"
        depth, valid = parse_depth(self.counts, self.unit, f"the depth of {where}", "the stated unit")
        K = parse_intrinsics(self.K, height, width, f"K of {where}")
        pose = torch.eye(4) if T_world_camera is None else torch.tensor(T_world_camera, dtype=torch.float32)
        colour = linear_from_srgb(torch.from_numpy(self.rgb.astype(np.float32) / 255))
        masks = torch.zeros(0, height, width, dtype=torch.bool)
        return Observation(colour, depth, valid, masks, Camera(K, height, width, pose), name)

    def save(self, folder: Path, T_world_camera: Float[np.ndarray, "4 4"] | None = None) -> None:
        """Writes a frame folder, as `invgraphics reconstruct` reads it."""
        height, width = self.counts.shape
        counts = np.round(self.counts)
        folder.mkdir(parents=True, exist_ok=True)
        write_image(folder / "rgb.png", self.rgb)
        write_image(folder / "depth.png", np.where(counts <= _MOST_COUNTS, counts, 0).astype(np.uint16))
        description = {"K": self.K.tolist(), "width": width, "height": height, "depth_scale_m": self.unit}
        origin = {"camera_serial": self.serial, "camera_model": self.model, "time_s": self.time}
        pose = {} if T_world_camera is None else {"T_world_camera": T_world_camera.tolist()}
        (folder / "camera.json").write_text(json.dumps(description | pose | origin, indent=1) + "\n")


class RealSenseCamera:
    """A device whose colour and depth streams run."""

    def __init__(self, device: Any, settings: RealSenseSettings | None = None):
        """`device` is a `pyrealsense2.device` with one depth and one colour stream of the wanted size.

        Raises:
            InputError: it has no such streams, or its lens has a distortion that cannot be undone.
        """
        self.settings = settings or RealSenseSettings()
        self._rs = import_realsense()
        self._device = device
        self._recorded = device.is_playback()
        self.serial, self.model = _info(self._rs, device, "serial_number"), _info(self._rs, device, "name")
        self._queue = self._rs.frame_queue(_QUEUE_FRAMES, keep_frames=True)
        self._last_number = -1
        depth_sensor, self._depth_profile = self._find_profile(self._rs.stream.depth, "depth", (self._rs.format.z16,))
        colour_sensor, self._colour_profile = self._find_profile(
            self._rs.stream.color, "colour", (self._rs.format.rgb8, self._rs.format.bgr8)
        )
        self._sensors = self._group(depth_sensor, colour_sensor)
        self._rays = build_rays(self._rs, self._depth_profile.as_video_stream_profile().intrinsics)
        self._undistortion = build_undistortion(self._rs, self._colour_profile.as_video_stream_profile().intrinsics)
        self._stated_unit = round(float(depth_sensor.get_option(self._rs.option.depth_units)), 9)
        try:
            self._start()
        except (InputError, MotionStoppedError):
            self.close()
            raise

    def __enter__(self) -> "RealSenseCamera":
        """The camera itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the streams."""
        self.close()

    def close(self) -> None:
        """Stops the streams, and gives back sensors that were opened and never started; those of a camera that is gone have stopped."""
        for sensor, _ in self._sensors:
            for end in (sensor.stop, sensor.close):
                with suppress(RuntimeError):
                    end()

    def capture(self) -> CapturedFrame:
        """Takes a picture of a scene in which nothing moves.

        Raises:
            InputError: the device states two units of depth, or one that cannot be right.
            MotionStoppedError: no frames come, or always the same one.
        """
        pairs = self._take_pairs()
        depths, colour = [depth for depth, _ in pairs], pairs[-1][1]
        unit = self._unit(depths)
        counts = _valid_median(np.stack([np.asanyarray(depth.get_data()) for depth in depths]).astype(np.float64))
        size = _size(colour.profile)[:2]
        frame = CapturedFrame(
            rgb=undistort_colour(_as_rgb(self._rs, colour), self._undistortion),
            counts=register_depth(counts, self._rays, self._T_colour_depth(unit), self._undistortion.K, size),
            unit=unit,
            K=self._undistortion.K,
            time=colour.get_timestamp() / 1000,
            serial=self.serial,
            model=self.model,
        )
        self._require_range(frame)
        return frame

    def _take_pairs(self) -> list[tuple[Any, Any]]:
        """A recording plays in its own time, and only meanwhile, so that nothing of it is missed."""
        if not self._recorded:
            self._forget_old_frames()
            return [self._next_pair() for _ in range(self.settings.frames)]
        self._device.as_playback().resume()
        pairs = [self._next_pair() for _ in range(self.settings.frames)]
        self._device.as_playback().pause()
        return pairs

    def _T_colour_depth(self, unit: float) -> Float[np.ndarray, "4 4"]:
        """Pose of the depth sensor in the colour sensor's frame; its translation in counts."""
        extrinsics = self._depth_profile.get_extrinsics_to(self._colour_profile)
        pose = np.eye(4)
        pose[:3, :3] = np.array(extrinsics.rotation).reshape(3, 3, order="F")
        pose[:3, 3] = np.array(extrinsics.translation) / unit
        return pose

    def _group(self, depth_sensor: Any, colour_sensor: Any) -> list[tuple[Any, list[Any]]]:
        """Sensors with the profiles to open on them: a D405 gives both from one."""
        if depth_sensor.get_info(self._rs.camera_info.name) == colour_sensor.get_info(self._rs.camera_info.name):
            return [(depth_sensor, [self._depth_profile, self._colour_profile])]
        return [(depth_sensor, [self._depth_profile]), (colour_sensor, [self._colour_profile])]

    def _find_profile(self, stream: Any, what: str, formats: tuple[Any, ...]) -> tuple[Any, Any]:
        offered = [
            (sensor, p) for sensor in self._device.query_sensors() for p in sensor.get_stream_profiles() if p.stream_type() == stream
        ]
        offered = [(sensor, p) for sensor, p in offered if p.format() in formats]
        size = (self.settings.width, self.settings.height, self.settings.rate)
        for sensor, profile in offered:
            if self._recorded or _size(profile) == size:
                return sensor, profile
        sizes = sorted({"{}x{} at {}/s".format(*_size(profile)) for _, profile in offered})
        raise InputError(
            f"{self.model} {self.serial} offers no {what} stream of {size[0]}x{size[1]} at {size[2]}/s; "
            + (f"it offers {', '.join(sizes)}" if sizes else f"it offers no {what} at all")
        )

    def _start(self) -> None:
        try:
            for sensor, profiles in self._sensors:
                sensor.open(profiles)
            if self._recorded:
                self._device.as_playback().pause()
            for sensor, _ in self._sensors:
                sensor.start(self._queue)
        except RuntimeError as error:
            raise InputError(f"{self.model} {self.serial} cannot be started: {error}; does another program use it?") from error
        if not self._recorded:
            for _ in range(self.settings.settling_frames):
                self._next_pair()

    def _forget_old_frames(self) -> None:
        """Throws away what was seen before now, and what was still on its way."""
        while self._queue.poll_for_frame():
            pass
        for _ in range(_FRAMES_ON_THE_WAY):
            self._next_pair()

    def _next_pair(self) -> tuple[Any, Any]:
        """The next depth and colour frames of one moment."""
        largest_skew = _LARGEST_SKEW * 1000 / _size(self._colour_profile)[2]
        latest: dict[Any, Any] = {}
        deadline = time.monotonic() + self.settings.timeout
        while (left := deadline - time.monotonic()) > 0:
            found, frame = self._queue.try_wait_for_frame(max(1, round(1000 * left)))
            if not found:
                break
            latest[frame.profile.stream_type()] = frame
            depth, colour = latest.get(self._rs.stream.depth), latest.get(self._rs.stream.color)
            paired = depth and colour and abs(depth.get_timestamp() - colour.get_timestamp()) <= largest_skew
            if paired and colour.get_frame_number() > self._last_number:
                self._last_number = colour.get_frame_number()
                return depth, colour
        raise self._lost(latest)

    def _lost(self, latest: dict[Any, Any]) -> Exception:
        names = {self._rs.stream.depth: "depth", self._rs.stream.color: "colour"}
        missing = [name for stream, name in names.items() if stream not in latest]
        if self._recorded:
            return InputError(f"the recording {self._device.as_playback().file_name()} ends before {self.settings.frames} pictures")
        if missing:
            what = f"sent no {' and no '.join(missing)} frames"
        elif latest[self._rs.stream.color].get_frame_number() <= self._last_number:
            what = "sent only old frames"
        else:
            what = "sent depth and colour of different moments only"
        where = f"{self.model} {self.serial}"
        return MotionStoppedError(f"{where} {what} within {self.settings.timeout:g} s; is it on a USB 3 port?", StopReason.CAMERA_SILENT)

    def _unit(self, depths: list[Any]) -> float:
        """Metres a count, by the device and by every frame."""
        units = {self._stated_unit} | {round(depth.as_depth_frame().get_units(), 9) for depth in depths}
        if len(units) > 1:
            stated = ", ".join(f"{unit:g} m" for unit in sorted(units))
            raise InputError(f"{self.model} {self.serial} states several units of depth, {stated}")
        return units.pop()

    def _require_range(self, frame: CapturedFrame) -> None:
        valid = frame.counts > 0
        if not valid.any():
            raise InputError(
                f"{self.model} {self.serial} sees no depth at all: is something too near to it, or is all that it sees glass or mirrors?"
            )
        median = float(np.median(frame.depth[valid]))
        for model, longest in _LONGEST_RANGE_M.items():
            if model in self.model and median > longest:
                raise InputError(
                    f"the median depth of {self.model} {self.serial} would be {median:.2f} m, which is farther than it can see "
                    f"({longest:g} m): the unit that it states, {frame.unit:g} m, is wrong, or it looks past the table"
                )


@contextmanager
def open_camera(serial: str | None = None, settings: RealSenseSettings | None = None) -> Iterator[RealSenseCamera]:
    """The connected camera, or the one with that serial number.

    Raises:
        InputError: there is none, or there are several and none was named.
        MissingDependencyError: pyrealsense2 is not installed.
    """
    rs = import_realsense()
    devices = {_info(rs, device, "serial_number"): device for device in rs.context().query_devices()}
    there = f"connected: {', '.join(devices)}" if devices else "none is connected (USB 3 cable? `lsusb` shows 8086)"
    if serial is None and len(devices) != 1:
        raise InputError(f"name one RealSense camera by its serial number; {there}" if devices else f"no RealSense camera: {there}")
    if serial is not None and serial not in devices:
        raise InputError(f"no RealSense camera has the serial number {serial}; {there}")
    with RealSenseCamera(devices[serial or next(iter(devices))], settings) as camera:
        yield camera


@contextmanager
def open_recording(path: Path, settings: RealSenseSettings | None = None) -> Iterator[RealSenseCamera]:
    """A camera's recording: `.bag`, or `.db3` of newer tools.

    Raises:
        InputError: there is no such file, or it is no recording.
    """
    rs = import_realsense()
    if not path.is_file():
        raise InputError(f"no such recording: {path}")
    try:
        device = rs.context().load_device(str(path))
    except RuntimeError as error:
        raise InputError(f"{path} is no recording of a RealSense camera (.bag or .db3): {error}") from error
    with RealSenseCamera(device, settings) as camera:
        yield camera


def import_realsense() -> ModuleType:
    """The library, or `MissingDependencyError` with what to install."""
    try:
        import pyrealsense2
    except ImportError as error:
        raise MissingDependencyError(
            f"the RealSense camera needs pyrealsense2: pip install 'invgraphics[robot]', and libusb-1.0-0 from the system ({error})"
        ) from error
    return pyrealsense2


def _info(rs: ModuleType, device: Any, key: str) -> str:
    field = getattr(rs.camera_info, key)
    return device.get_info(field) if device.supports(field) else "unknown"


def _size(profile: Any) -> tuple[int, int, int]:
    video = profile.as_video_stream_profile()
    return video.width(), video.height(), video.fps()


def _as_rgb(rs: ModuleType, colour: Any) -> UInt8[np.ndarray, "h w 3"]:
    image = np.asanyarray(colour.get_data())
    return np.ascontiguousarray(image[..., ::-1] if colour.profile.format() == rs.format.bgr8 else image)


def _valid_median(counts: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, "h w"]:
    """Median over the frames that have a depth, where at least half of them do; else 0."""
    valid: Bool[np.ndarray, "n h w"] = counts > 0
    seen = valid.sum(0)
    ordered = np.sort(np.where(valid, counts, np.inf), axis=0)
    low, high = np.maximum(seen - 1, 0) // 2, seen // 2
    pick = np.stack([low, np.minimum(high, len(counts) - 1)])
    middle = np.take_along_axis(ordered, pick, axis=0)
    enough = 2 * seen >= len(counts)
    return np.where(enough & (seen > 0), np.where(np.isfinite(middle), middle, 0.0).mean(0), 0.0)
