"""Every renderer, every scene: against stored images, and against each other. Gradients: `test_matrix_gradients.py`."""

from functools import cache

import numpy as np
import pytest
import torch

from renderers.batch import render_batch
from renderers.protocol import Rendered, Renderer
from tests.renderers.available import available_renderers, device_of, dtype_of, fit_scene
from tests.renderers.matrix_scenes import SCENES, cameras_around, is_drawable
from tests.renderers.references import StoredImages, draw_triangles, load_references
from tests.renderers.scenes import moved

RENDERERS = available_renderers()
REFERENCES = {reference.name: reference for reference in load_references()}
HINT = "where the change is meant, record anew: python -m tests.renderers.record_reference cpu (and warp, raycast)"


def draws_alike(one: str, other: str) -> bool:
    """Whether both draw meshes, or both the ellipsoids themselves."""
    return ("raycast" in one) == ("raycast" in other)


def blend_alike(one: str, other: str) -> bool:
    """Whether both blend across the same pixel pairs: nvdiffrast finds fewer."""
    return (one == "nvdiffrast") == (other == "nvdiffrast")


@pytest.fixture(params=RENDERERS, ids=str)
def renderer(request) -> Renderer:
    return RENDERERS[request.param]


@cache
def draw(name: str, scene_name: str) -> Rendered | None:
    """On the CPU, in float64; None where the renderer cannot show all of it."""
    renderer = RENDERERS[name]
    scene = fit_scene(SCENES[scene_name](), renderer)
    if not is_drawable(scene, renderer.capabilities):
        return None
    return moved(renderer(scene, scene.camera), "cpu", torch.float64)


def assert_same_images(found: Rendered, expected: Rendered | StoredImages, ids: torch.Tensor, exact: bool, blends_alike: bool) -> None:
    """`exact`: both computed in float64. Elsewhere single pixels at silhouettes may differ, and what is blended there with them."""
    same = found.object_ids == ids
    share = 1.0 if exact else 0.99
    assert same.double().mean() >= share, HINT
    assert (found.depth - expected.depth)[same].abs().max() < 1e-4, HINT
    for name, tolerance in (("colour", 2e-4), ("coverage", 3e-3)):
        difference = (getattr(found, name) - getattr(expected, name)).abs()
        least = share if blends_alike else 0.9
        assert (difference < (tolerance if exact else 1e-2)).double().mean() >= least, f"{name}: {float(difference.max())}; {HINT}"


STORED = [
    (name, reference, scene)
    for name in RENDERERS
    for reference in REFERENCES
    for scene in SCENES
    if draws_alike(name, reference) and REFERENCES[reference].images(scene)
]


@pytest.mark.parametrize(("name", "reference", "scene"), STORED)
def test_draws_what_was_stored(name, reference, scene):
    found, expected = draw(name, scene), REFERENCES[reference].images(scene)
    assert found is not None, "an image of this scene was stored, so it can be drawn"
    exact = RENDERERS[name].capabilities.float64 and REFERENCES[reference].about["float64"]
    assert_same_images(found, expected, expected.ids, exact, blend_alike(name, reference))


@pytest.mark.parametrize("scene", SCENES)
def test_draws_what_the_cpu_draws(renderer, scene):
    expected, found = draw("cpu", scene), draw(renderer.name, scene)
    if found is None:
        assert not (renderer.capabilities.draws_meshes and renderer.capabilities.textures)
        return
    if draws_alike(renderer.name, "cpu"):
        exact = renderer.capabilities.float64
        assert_same_images(found, expected, expected.object_ids, exact, blend_alike(renderer.name, "cpu"))
        assert (found.normals - expected.normals)[found.object_ids == expected.object_ids].abs().max() < 1e-3
        return
    # An ellipsoid's mesh lies inside the ellipsoid by up to 3e-4 of its size, and bends its normals by a degree.
    same = found.object_ids == expected.object_ids
    assert same.double().mean() > 0.98
    surface = torch.nn.functional.max_pool2d(1.0 - same[None, None].double(), 3, 1, 1)[0, 0] == 0
    assert (found.depth - expected.depth)[surface].abs().max() < 3e-3
    assert (found.colour - expected.colour)[surface].abs().median() < 1e-3
    torch.testing.assert_close(found.coverage.sum((1, 2)), expected.coverage.sum((1, 2)), rtol=0.02, atol=0)


@pytest.mark.parametrize("reference", [name for name in REFERENCES if name != "raycast"])
@pytest.mark.parametrize("name", [name for name in RENDERERS if "raycast" not in name])
def test_rasterizes_and_differentiates_what_was_stored(name, reference):
    renderer = RENDERERS[name]
    stored = {name.removeprefix("rasterizer/"): array for name, array in REFERENCES[reference].arrays.items() if "rasterizer" in name}
    found = draw_triangles(renderer.rasterizer, dtype_of(renderer), device_of(renderer))
    exact = renderer.capabilities.float64 and REFERENCES[reference].about["float64"]
    assert set(found) == set(stored)
    ids = found["buffer"][..., 3] == stored["buffer"][..., 3]
    assert ids.mean() >= (1.0 if exact else 0.99)
    for what, array in stored.items():
        difference, scale = np.abs(found[what] - array), np.abs(array).max()
        close = difference < (1e-6 if exact else 1e-2) * scale
        if "blended" in what and not blend_alike(name, reference):
            continue  # test_backends.py compares sums and directions.
        assert close.mean() >= (1.0 if exact else 0.97), f"{what}: {difference.max() / scale}; {HINT}"


def test_a_batch_of_cameras_is_the_cameras_one_by_one(renderer):
    scene = fit_scene(SCENES["ellipsoids"](), renderer)
    cameras = [moved(camera, device_of(renderer), dtype_of(renderer)) for camera in cameras_around(scene, 3)]
    for found, camera in zip(render_batch(renderer, [scene], cameras), cameras, strict=True):
        expected = renderer(scene, camera)
        assert found.colour.shape == (camera.height, camera.width, 3)
        for name, image in vars(expected).items():
            torch.testing.assert_close(getattr(found, name), image, rtol=0, atol=1e-7)


def test_a_batch_of_scenes_is_the_scenes_one_by_one(renderer):
    scenes = [fit_scene(SCENES[name](), renderer) for name in ("ellipsoids", "mixed_materials", "partly_outside")]
    for found, scene in zip(render_batch(renderer, scenes, [scenes[0].camera]), scenes, strict=True):
        for name, image in vars(renderer(scene, scenes[0].camera)).items():
            torch.testing.assert_close(getattr(found, name), image, rtol=0, atol=1e-7)
