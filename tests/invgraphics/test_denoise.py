"""The depth filter against surfaces that are known: noise goes, slopes, steps and colours' borders stay."""

import numpy as np
import torch

from invgraphics.camera import Camera
from invgraphics.denoise import smooth_depth
from invgraphics.observation import Observation

SIZE = 64
NOISE = 0.01
WANTED = torch.ones(SIZE, SIZE, dtype=torch.bool)


def observe(inverse_depth: np.ndarray, colour: np.ndarray | None = None) -> Observation:
    K = torch.tensor([[100.0, 0, 31.5], [0, 100.0, 31.5], [0, 0, 1]])
    grey = torch.full((SIZE, SIZE, 3), 0.5) if colour is None else torch.as_tensor(colour, dtype=torch.float32)
    depth = torch.as_tensor(1 / inverse_depth, dtype=torch.float32)
    return Observation(
        grey,
        depth,
        torch.ones(SIZE, SIZE, dtype=torch.bool),
        torch.zeros(0, SIZE, SIZE, dtype=torch.bool),
        Camera(K, SIZE, SIZE, torch.eye(4)),
        "test",
    )


def plane() -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return 1.5 + 0.004 * columns - 0.002 * rows


def test_a_plane_without_noise_stays_as_it_is() -> None:
    smooth = smooth_depth(observe(plane()), NOISE, WANTED)
    np.testing.assert_allclose(1 / smooth.depth.numpy(), plane(), rtol=1e-5)


def test_noise_on_a_slope_shrinks_by_far_and_leaves_no_bias() -> None:
    noisy = plane() + NOISE * np.random.default_rng(0).standard_normal((SIZE, SIZE))
    error = 1 / smooth_depth(observe(noisy), NOISE, WANTED).depth.numpy() - plane()
    assert error[8:-8, 8:-8].std() < 0.15 * NOISE
    assert error.std() < 0.25 * NOISE
    assert abs(error.mean()) < 0.05 * NOISE


def test_a_step_in_depth_and_a_border_of_colour_stay_sharp() -> None:
    high = np.arange(SIZE)[None, :] >= SIZE // 2
    large = plane() + 0.2 * high
    np.testing.assert_allclose(1 / smooth_depth(observe(large), NOISE, WANTED).depth.numpy(), large, atol=1e-4)
    small = plane() + 1.5 * NOISE * high
    colour = np.where(high[..., None], [0.6, 0.1, 0.1], [0.1, 0.5, 0.1]) * np.ones((SIZE, SIZE, 1))
    np.testing.assert_allclose(1 / smooth_depth(observe(small, colour), NOISE, WANTED).depth.numpy(), small, atol=1e-4)


def test_only_what_is_wanted_is_changed_and_missing_readings_stay_missing() -> None:
    noisy = observe(plane() + NOISE * np.random.default_rng(0).standard_normal((SIZE, SIZE)))
    wanted = WANTED.clone()
    wanted[:, :20] = False
    smooth = smooth_depth(noisy, NOISE, wanted).depth
    torch.testing.assert_close(smooth[:, :20], noisy.depth[:, :20])
    assert bool((smooth[:, 20:] != noisy.depth[:, 20:]).all())
