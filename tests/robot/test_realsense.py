"""The camera's driver on the device library's own software device, on recordings of it, and where it fails."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from invgraphics.cli import main
from invgraphics.datasets import load_frame
from invgraphics.errors import InputError, MissingDependencyError
from invgraphics.geometry.mesh import linear_from_srgb
from robot.lens import register_depth
from robot.realsense import RealSenseCamera, RealSenseSettings, _valid_median, import_realsense, open_camera, open_recording
from robot.stops import MotionStoppedError, StopReason

try:
    rs = import_realsense()
except MissingDependencyError as missing:
    pytest.skip(str(missing), allow_module_level=True)

from robot.lens import build_rays, build_undistortion
from robot.standins.camera import CameraFault, CameraStandIn, Lens

pytestmark = pytest.mark.realtime

HEIGHT, WIDTH = 90, 120
K = np.array([[110.0, 0.0, 60.3], [0.0, 111.0, 44.2], [0.0, 0.0, 1.0]])
SETTINGS = RealSenseSettings(width=WIDTH, height=HEIGHT, rate=60, frames=3, settling_frames=1, timeout=0.5)
BARREL = Lens("brown_conrady", (-0.2, 0.08, 0.001, -0.0008, -0.01))


def _pixels():
    return np.meshgrid(np.arange(WIDTH, dtype=float), np.arange(HEIGHT, dtype=float))


def _picture(shade=0):
    u, v = _pixels()
    rgb = np.stack([2 * u, 2 * v, np.full_like(u, shade)], axis=-1).astype(np.uint8)
    depth = np.where((abs(u - 60) < 20) & (abs(v - 40) < 15), 0.25, 0.32)
    depth[:4] = 0.0
    return rgb, depth


def _bent_pixels():
    """Where the pixels of a pinhole image lie behind the barrel lens, by the textbook's formula (Brown 1971)."""
    k1, k2, p1, p2, k3 = BARREL.coefficients
    u, v = _pixels()
    x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    r2 = x**2 + y**2
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    bent = [x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2), y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y]
    return np.stack([K[0, 0] * bent[0] + K[0, 2], K[1, 1] * bent[1] + K[1, 2]], axis=-1)


def _capture(**options):
    with CameraStandIn(*_picture(), K, rate=60, **options) as standin, RealSenseCamera(standin.device, SETTINGS) as camera:
        return camera.capture()


@pytest.mark.parametrize("unit", [1e-4, 1e-3, 0.00025])
def test_depth_comes_in_the_unit_that_the_device_states(unit):
    frame = _capture(unit=unit)
    rgb, depth = _picture()
    assert frame.unit == pytest.approx(unit, rel=1e-6)
    np.testing.assert_allclose(frame.depth, depth, atol=0.51 * unit)
    np.testing.assert_array_equal(frame.rgb, rgb)
    np.testing.assert_allclose(frame.K, K, rtol=1e-6)
    assert (frame.serial, frame.model) == ("000000000001", "Intel RealSense D405")


def test_an_observation_is_linear_and_metric():
    frame = _capture()
    pose = np.eye(4)
    pose[:3, 3] = 0.1, 0.2, 0.3
    observation = frame.observation("table", pose)
    torch.testing.assert_close(observation.depth, torch.tensor(frame.depth, dtype=torch.float32))
    torch.testing.assert_close(observation.colour, linear_from_srgb(torch.from_numpy(frame.rgb.astype(np.float32) / 255)))
    assert (observation.valid.numpy() == (_picture()[1] > 0)).all()
    assert len(observation.masks) == 0
    torch.testing.assert_close(observation.camera.T_world_camera[:3, 3], torch.tensor([0.1, 0.2, 0.3]))


def test_the_median_over_frames_beats_one_frame():
    depth = _picture()[1]
    noisy = _capture(noise=0.002)
    single = np.std((np.random.default_rng(0).normal(0, 0.002, depth.shape))[depth > 0])
    assert np.std((noisy.depth - depth)[depth > 0]) < 0.8 * single


def test_the_median_is_over_the_frames_that_see():
    counts = np.array([[4.0, 0.0, 0.0, 5.0], [0.0, 0.0, 7.0, 9.0], [6.0, 3.0, 8.0, 1.0], [0.0, 0.0, 9.0, 2.0]])[:, None]
    np.testing.assert_array_equal(_valid_median(counts), [[5.0, 0.0, 8.0, 3.5]])


def test_a_second_picture_holds_nothing_of_before():
    with CameraStandIn(*_picture(), K, rate=60) as standin, RealSenseCamera(standin.device, SETTINGS) as camera:
        first = camera.capture()
        rgb, depth = _picture(shade=200)
        standin.show(rgb, np.where(depth > 0, 0.4, 0.0))
        second = camera.capture()
    assert second.time > first.time
    assert (second.rgb[..., 2] == 200).all()
    np.testing.assert_allclose(second.depth[10:], 0.4, atol=1e-4)


def test_depth_of_a_sensor_beside_the_colour_sensor_is_registered():
    T_colour_depth = np.eye(4)
    T_colour_depth[0, 3] = 0.02
    frame = _capture(T_colour_depth=T_colour_depth)
    near = np.argwhere((frame.depth > 0) & (frame.depth < 0.28))
    moved = K[0, 0] * 0.02 / 0.25
    assert near[:, 1].min() == pytest.approx(41 + moved, abs=0.51)
    assert near[:, 1].max() == pytest.approx(79 + moved, abs=0.51)
    shadow = frame.depth[40, : near[:, 1].min()]
    assert 1 <= (shadow[10:] == 0).sum() <= 3


def test_one_sensor_for_both_changes_no_reading_and_fills_no_hole():
    u, v = _pixels()
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], axis=-1)
    depth = np.full((HEIGHT, WIDTH), 0.3)
    depth[20, 30] = 0.0
    np.testing.assert_array_equal(register_depth(depth, rays, np.eye(4), K, (WIDTH, HEIGHT)), depth)


def test_registered_slopes_have_no_seams():
    u, v = _pixels()
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], axis=-1)
    depth = 0.3 / (1 + 0.8 * rays[..., 0])
    T = np.eye(4)
    T[:3, 3] = -0.015, 0.004, 0.01
    registered = register_depth(depth, rays, T, K, (WIDTH, HEIGHT))
    inside = registered[5:-8, 5:-12]
    assert (inside > 0).mean() > 0.999
    points = (rays * registered[..., None])[5:-8, 5:-12][inside > 0] - T[:3, 3]
    np.testing.assert_allclose(points @ [0.8, 0.0, 1.0], 0.3, atol=0.003)


def test_a_lens_is_undone_by_its_own_model():
    intrinsics = rs.intrinsics()
    intrinsics.width, intrinsics.height = WIDTH, HEIGHT
    intrinsics.fx, intrinsics.fy, intrinsics.ppx, intrinsics.ppy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    intrinsics.model, intrinsics.coeffs = getattr(rs.distortion, BARREL.model), list(BARREL.coefficients)
    undistortion, rays = build_undistortion(rs, intrinsics), build_rays(rs, intrinsics)
    np.testing.assert_allclose(undistortion.map, _bent_pixels(), atol=0.03)
    place = (31, 77)
    ray = rs.rs2_deproject_pixel_to_point(intrinsics, [float(place[1]), float(place[0])], 1.0)
    np.testing.assert_allclose(rays[place], ray, atol=2e-4)


def test_a_distorted_picture_comes_out_straight():
    """The picture's colours are a ramp, so that each pixel tells where it was taken from; a wall is a wall behind any lens."""
    frame = _capture(lens=BARREL)
    bent = _bent_pixels()
    assert np.linalg.norm(bent - np.stack(_pixels(), axis=-1), axis=-1).max() > 4
    np.testing.assert_allclose(frame.rgb[3:-3, 3:-3, :2] / 2.0, bent[3:-3, 3:-3], atol=0.6)
    back = frame.depth[60:, 5:20]
    np.testing.assert_allclose(back[back > 0], 0.32, atol=1e-4)


def test_lenses_that_cannot_be_undone_are_refused():
    with pytest.raises(InputError, match=r"distortion of the lens .* cannot be undone"):
        _capture(lens=Lens("ftheta", (-0.05, 0.06, 0.0003, -0.0004, -0.02)))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (CameraFault.NO_FRAMES, "sent no depth and no colour frames within 0.5 s"),
        (CameraFault.DEPTH_ONLY, "sent no colour frames"),
        (CameraFault.COLOUR_ONLY, "sent no depth frames"),
        (CameraFault.FROZEN, "sent only old frames"),
        (CameraFault.SKEWED, "of different moments only"),
        (CameraFault.UNPLUGGED, "sent no depth and no colour frames"),
    ],
)
def test_a_camera_that_fails_between_two_pictures_is_lost(fault, words):
    with CameraStandIn(*_picture(), K, rate=60) as standin, RealSenseCamera(standin.device, SETTINGS) as camera:
        camera.capture()
        standin.inject(fault)
        with pytest.raises(MotionStoppedError, match=words) as stop:
            camera.capture()
    assert stop.value.reason is StopReason.CAMERA_SILENT


def test_a_wrong_or_doubtful_unit_is_refused():
    with pytest.raises(InputError, match=r"median depth .* would be 3\.20 m, which is farther than it can see"):
        _capture(stated_unit=1e-3)
    with CameraStandIn(*_picture(), K, rate=60) as standin, RealSenseCamera(standin.device, SETTINGS) as camera:
        standin.inject(CameraFault.TWO_UNITS)
        with pytest.raises(InputError, match=r"states several units of depth, 0\.0001 m, 0\.001 m"):
            camera.capture()


def test_a_picture_without_depth_is_refused():
    with CameraStandIn(*_picture(), K, rate=60) as standin, RealSenseCamera(standin.device, SETTINGS) as camera:
        standin.inject(CameraFault.EMPTY_DEPTH)
        with pytest.raises(InputError, match="sees no depth at all"):
            camera.capture()


def test_a_camera_that_cannot_be_started_is_given_back():
    """Another program has the colour sensor: the depth sensor, which was opened first, must not stay open."""
    with CameraStandIn(*_picture(), K, rate=60) as standin:
        depth_sensor, colour_sensor = standin.device.query_sensors()
        colour_sensor.open(colour_sensor.get_stream_profiles()[0])
        with pytest.raises(InputError, match="does another program use it"):
            RealSenseCamera(standin.device, SETTINGS)
        depth_sensor.open(depth_sensor.get_stream_profiles()[0])
        depth_sensor.close()


def test_a_stream_that_the_camera_does_not_have_is_refused():
    standin = CameraStandIn(*_picture(), K, rate=60)
    with pytest.raises(InputError, match=r"offers no depth stream of 640x480 at 30/s; it offers 120x90 at 60/s"):
        RealSenseCamera(standin.device, RealSenseSettings(width=640, height=480))


def test_recordings_give_the_same_pictures_and_end(tmp_path):
    path = tmp_path / "table.db3"
    CameraStandIn(*_picture(), K, rate=60).record(path, frames=8)
    with open_recording(path, RealSenseSettings(frames=3)) as camera:
        frame = camera.capture()
        rgb, depth = _picture()
        np.testing.assert_array_equal(frame.rgb, rgb)
        np.testing.assert_allclose(frame.depth, depth, atol=0.6e-4)
        camera.capture()
        with pytest.raises(InputError, match=r"table\.db3 ends before 3 pictures"):
            camera.capture()


def test_a_bag_of_an_older_library_is_read():
    """`legacy.bag` was recorded from a `CameraStandIn` by pyrealsense2 2.56.5; newer ones write `.db3` only, and read both."""
    u, v = np.meshgrid(np.arange(64), np.arange(48))
    with open_recording(Path(__file__).parent / "recordings" / "legacy.bag", RealSenseSettings(frames=3)) as camera:
        frame = camera.capture()
    np.testing.assert_array_equal(frame.rgb, np.stack([2 * u, 2 * v, np.full_like(u, 100)], axis=-1))
    np.testing.assert_allclose(frame.depth, np.where(u < 5, 0.0, 0.3 + 0.0005 * v), atol=0.6e-4)
    np.testing.assert_allclose(frame.K, [[60.0, 0.0, 31.5], [0.0, 60.0, 23.5], [0.0, 0.0, 1.0]])
    assert (frame.unit, frame.serial, frame.model) == (pytest.approx(1e-4), "000000000001", "Intel RealSense D405")


def test_what_is_no_recording_or_no_camera_is_named(tmp_path):
    (tmp_path / "broken.bag").write_bytes(b"no bag")
    for name, words in (("missing.bag", "no such recording"), ("broken.bag", "is no recording of a RealSense camera")):
        with pytest.raises(InputError, match=words), open_recording(tmp_path / name):
            pass
    with pytest.raises(InputError, match=r"no RealSense camera (has the serial number 123|with)"), open_camera("123"):
        pass


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'invgraphics\[robot\]', and libusb-1\.0-0"):
        import_realsense()


def test_capture_writes_a_frame_that_reconstruct_reads(tmp_path, capsys):
    CameraStandIn(*_picture(), K, rate=60).record(tmp_path / "table.db3", frames=8)
    assert main(["capture", str(tmp_path / "frame"), "--recording", str(tmp_path / "table.db3"), "--frames", "3"]) == 0
    assert "120x90, 96 % with depth, median 0.320 m" in capsys.readouterr().out
    observation = load_frame(tmp_path / "frame").observation
    np.testing.assert_allclose(observation.depth.numpy(), _picture()[1], atol=0.6e-4)
    np.testing.assert_allclose(observation.camera.K.numpy(), K, rtol=1e-6)
    assert json.loads((tmp_path / "frame" / "camera.json").read_text())["camera_serial"] == "000000000001"
    assert main(["capture", str(tmp_path / "frame"), "--recording", str(tmp_path / "table.db3")]) == 2
    assert "holds a picture already" in capsys.readouterr().err
