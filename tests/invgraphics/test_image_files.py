"""Pictures on disk: they come back as they were written, and a disk that does not take them is told of."""

import errno
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from invgraphics.datasets.files import read_depth, write_image


def test_colours_come_back_in_their_order(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    write_image(tmp_path / "rgb.png", pixels)
    np.testing.assert_array_equal(Image.open(tmp_path / "rgb.png"), pixels)
    write_image(tmp_path / "view.png", pixels[:, ::-1])
    np.testing.assert_array_equal(Image.open(tmp_path / "view.png"), pixels[:, ::-1])


def test_all_sixteen_bits_come_back(tmp_path: Path) -> None:
    counts = np.array([[0, 1, 255], [256, 40000, 65535]], np.uint16)
    write_image(tmp_path / "depth.png", counts)
    np.testing.assert_array_equal(read_depth(tmp_path / "depth.png"), counts)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is a disk that is always full")
def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mask.png").symlink_to("/dev/full")
    with pytest.raises(OSError, match="space") as caught:
        write_image(tmp_path / "mask.png", np.zeros((4, 4), np.uint8))
    assert caught.value.errno == errno.ENOSPC


def test_pixels_that_a_format_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bool would not come back"):
        write_image(tmp_path / "mask.png", np.zeros((4, 4), bool))
