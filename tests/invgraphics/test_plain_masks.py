"""Masks by colour: things that touch in the image, one seen in two parts, shade on them, noise on the table."""

from types import SimpleNamespace

import numpy as np
import torch

from invgraphics.camera import Camera
from invgraphics.observation import Observation
from invgraphics.plane import find_support_plane
from invgraphics.segment.plain import propose_plain_masks

HEIGHT, WIDTH = 120, 160
RED, GREEN, GREY = (0.5, 0.1, 0.1), (0.1, 0.4, 0.2), (0.4, 0.4, 0.4)


def draw_scene() -> SimpleNamespace:
    """A table seen from straight above at 0.8 m; a red strip that a green block parts, and a block of the table's own colour."""
    generator = np.random.default_rng(0)
    labels = np.zeros((HEIGHT, WIDTH), int)
    labels[50:70, 30:110] = 1
    labels[40:80, 60:80] = 2
    labels[90:110, 120:150] = 3
    colour = np.array([GREY, RED, GREEN, GREY])[labels]
    shade = np.where(np.arange(WIDTH) % 40 < 20, 1.0, 0.6)[None, :, None]
    depth = np.array([0.8, 0.76, 0.75, 0.76])[labels] + 0.003 * generator.standard_normal(labels.shape)
    K = torch.tensor([[150.0, 0, 79.5], [0, 150.0, 59.5], [0, 0, 1]])
    valid, masks = torch.ones(HEIGHT, WIDTH, dtype=torch.bool), torch.zeros(0, HEIGHT, WIDTH, dtype=torch.bool)
    coded = np.round(255 * (colour * shade) ** (1 / 2.2)) / 255
    camera = Camera(K, HEIGHT, WIDTH, torch.eye(4))
    image = torch.as_tensor(coded**2.2, dtype=torch.float32)
    return SimpleNamespace(
        labels=labels, observation=Observation(image, torch.as_tensor(depth, dtype=torch.float32), valid, masks, camera, "test")
    )


def test_each_thing_has_its_mask_and_the_table_none() -> None:
    scene = draw_scene()
    plane = find_support_plane(scene.observation, torch.Generator().manual_seed(0))
    masks = propose_plain_masks(scene.observation, plane).numpy()
    assert len(masks) == 3
    for k in (1, 2, 3):
        true = scene.labels == k
        overlap = max((mask & true).sum() / (mask | true).sum() for mask in masks)
        assert overlap > (0.95 if k < 3 else 0.7), k
    assert (masks.sum(0) <= 1).all()


def test_an_empty_table_gives_no_masks() -> None:
    scene = draw_scene()
    plane = find_support_plane(scene.observation, torch.Generator().manual_seed(0))
    bare = 0.8 + 0.003 * np.random.default_rng(1).standard_normal((HEIGHT, WIDTH))
    grey = torch.full((HEIGHT, WIDTH, 3), 0.4)
    item = scene.observation
    empty = Observation(grey, torch.as_tensor(bare, dtype=torch.float32), item.valid, item.masks, item.camera, "empty")
    assert propose_plain_masks(empty, plane).shape == (0, HEIGHT, WIDTH)
