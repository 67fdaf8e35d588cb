"""Analytic ellipsoids and scenes of them against marching, supersampling and finite differences."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.scene import AmbientLight, DirectionalLight, Material, Plane, PointLight, Scene, SceneObject
from invgraphics.transforms import rigid, so3_exp
from renderers.protocol import BACKGROUND_ID, PLANE_ID, Renderer, make_renderer
from renderers.raycast.ellipsoids import (
    bounding_boxes,
    ellipsoid_coverage,
    ellipsoid_depth,
    ellipsoid_normals,
    ellipsoid_signed_distance,
    project_ellipsoids,
)
from renderers.raycast.renderer import RaycastRenderer


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def pinhole(focal: float, height: int, width: int) -> Camera:
    K = double(focal, 0, (width - 1) / 2, 0, 1.05 * focal, (height - 1) / 2 + 3, 0, 0, 1).reshape(3, 3)
    return Camera(K, height, width, torch.eye(4, dtype=torch.float64))


def focal_lengths(camera: Camera) -> Tensor:
    return torch.stack([camera.K[0, 0], camera.K[1, 1]])[None]


def flat_rays(camera: Camera) -> Tensor:
    return camera.rays().reshape(1, -1, 3)


def some_ellipsoids() -> tuple[Tensor, Tensor]:
    """A compact one, a plate of 1:50, a needle, one far off the axis."""
    rotation = so3_exp(double(0.5, 0.2, -0.3, 0.9, -0.6, 0.4, 0.1, 1.1, 0.7, 0.4, 0.4, 2.0).reshape(4, 3))
    translation = double(0.02, -0.01, 0.6, -0.05, 0.04, 0.7, 0.03, 0.02, 0.5, 0.14, -0.10, 0.6).reshape(4, 3)
    radii = double(0.05, 0.08, 0.03, 0.1, 0.1, 0.002, 0.004, 0.09, 0.004, 0.02, 0.05, 0.03).reshape(4, 3)
    return rigid(rotation, translation), radii


def level(pose: Tensor, radii: Tensor, points: Tensor) -> Tensor:
    """(x/a)^2 + (y/b)^2 + (z/c)^2 of camera-frame points."""
    return ((((points - pose[:3, 3]) @ pose[:3, :3]) / radii) ** 2).sum(-1)


def supersampled_coverage(pose: Tensor, radii: Tensor, camera: Camera, factor: int) -> Tensor:
    """Share of factor x factor rays through each pixel that meet the ellipsoid (tested by the discriminant)."""
    fine = camera.resize(camera.width * factor, camera.height * factor)
    rotation = pose[:3, :3]
    origin, direction = -(pose[:3, 3] @ rotation) / radii, fine.rays() @ rotation / radii
    along = direction @ origin
    meets = along**2 - (direction**2).sum(-1) * (origin @ origin - 1) >= 0
    meets &= along < 0
    blocks = meets.to(torch.float64).reshape(camera.height, factor, camera.width, factor)
    return blocks.mean(dim=(1, 3))


def test_depth_is_where_a_marched_ray_first_enters():
    camera = pinhole(40, 26, 32)
    poses, radii = some_ellipsoids()
    rays = flat_rays(camera)
    found = ellipsoid_depth(poses, radii, rays)
    depths = torch.linspace(0.3, 1.0, 1401, dtype=torch.float64)
    for k in (0, 2, 3):
        inside = level(poses[k], radii[k], rays[0] * depths[:, None, None]) < 1
        marched = depths[inside.to(torch.int8).argmax(0)]
        met = inside.any(0)
        assert met.sum() > 5
        assert (found.hit[k] | ~met).all()
        torch.testing.assert_close(found.depth[k][met], marched[met], atol=6e-4, rtol=0)


def test_hits_lie_on_the_surface_and_misses_do_not_exist_nearer():
    camera = pinhole(120, 80, 96)
    poses, radii = some_ellipsoids()
    rays = flat_rays(camera)
    found = ellipsoid_depth(poses, radii, rays)
    for k in range(len(radii)):
        hit = found.hit[k]
        # The rim's depth is rounded off on purpose: leave out rays that only graze.
        chord = level(poses[k], radii[k], rays[0][hit] * (found.depth[k][hit] + 1e-4)[:, None])
        points = rays[0][hit] * found.depth[k][hit][:, None]
        inward = chord < 1
        torch.testing.assert_close(level(poses[k], radii[k], points)[inward], torch.ones(int(inward.sum()), dtype=torch.float64))
        expected = (supersampled_coverage(poses[k], radii[k], camera, 1) > 0).reshape(-1)
        assert torch.equal(hit, expected)


def test_thin_plate_keeps_its_digits_in_single_precision():
    camera = pinhole(120, 80, 96)
    poses, radii = (x[1:2] for x in some_ellipsoids())
    exact = ellipsoid_depth(poses, radii, flat_rays(camera))
    single = ellipsoid_depth(poses.float(), radii.float(), flat_rays(camera).float())
    both = exact.hit & single.hit
    assert (exact.hit != single.hit).sum() <= 1
    torch.testing.assert_close(single.depth[both].double(), exact.depth[both], atol=2e-5, rtol=0)
    focal = focal_lengths(camera)
    coverage = ellipsoid_coverage(poses, radii, flat_rays(camera), focal)
    torch.testing.assert_close(
        ellipsoid_coverage(poses.float(), radii.float(), flat_rays(camera).float(), focal.float()).double(), coverage, atol=2e-3, rtol=0
    )


def test_normals_are_the_gradient_of_the_level():
    camera = pinhole(60, 40, 48)
    poses, radii = some_ellipsoids()
    rays = flat_rays(camera)
    found = ellipsoid_depth(poses, radii, rays)
    normals = ellipsoid_normals(poses, radii, rays, found.depth)
    for k in range(len(radii)):
        points = (rays[0] * found.depth[k][:, None])[found.hit[k]].requires_grad_()
        (gradient,) = torch.autograd.grad(level(poses[k], radii[k], points).sum(), points)
        expected = torch.nn.functional.normalize(gradient, dim=-1)
        torch.testing.assert_close(normals[k][found.hit[k]], expected)
        assert ((normals[k][found.hit[k]] * rays[0][found.hit[k]]).sum(-1) <= 1e-9).all()


def test_from_inside_the_far_wall_is_seen_and_all_is_covered():
    camera = pinhole(60, 40, 48)
    pose = rigid(so3_exp(double(0.1, 0.2, 0.3)), double(0.1, 0.0, 0.2))[None]
    radii = double(0.5, 0.6, 0.7)[None]
    found = ellipsoid_depth(pose, radii, flat_rays(camera))
    assert found.hit.all()
    assert (found.depth > 0).all()
    points = flat_rays(camera)[0] * found.depth[0][:, None]
    torch.testing.assert_close(level(pose[0], radii[0], points), torch.ones(len(points), dtype=torch.float64))
    assert (ellipsoid_coverage(pose, radii, flat_rays(camera), focal_lengths(camera)) == 1).all()


def test_what_is_behind_the_camera_is_not_seen():
    camera = pinhole(60, 40, 48)
    pose = rigid(torch.eye(3, dtype=torch.float64), double(0, 0, -0.5))[None]
    radii = double(0.1, 0.2, 0.3)[None]
    assert not ellipsoid_depth(pose, radii, flat_rays(camera)).hit.any()
    assert (ellipsoid_coverage(pose, radii, flat_rays(camera), focal_lengths(camera)) == 0).all()
    box = bounding_boxes(pose, radii, camera.K, camera.height, camera.width)[0]
    assert box[0] == box[2]


def test_coverage_of_an_ellipsoid_through_the_plane_of_the_camera():
    """Part of it lies behind the camera: its outline is no ellipse."""
    camera = pinhole(40, 60, 60)
    pose = rigid(so3_exp(double(0.2, 0.3, 0.1)), double(0.35, 0.1, 0.1))[None]
    radii = double(0.25, 0.2, 0.4)[None]
    assert not project_ellipsoids(pose, radii).whole[0]
    coverage = ellipsoid_coverage(pose, radii, flat_rays(camera), focal_lengths(camera)).reshape(60, 60)
    expected = supersampled_coverage(pose[0], radii[0], camera, 8)
    assert 0.05 < expected.mean() < 0.8
    assert (coverage - expected).abs().max() < 0.12


@pytest.mark.parametrize(("index", "worst", "mean"), [(0, 0.15, 2e-3), (1, 0.15, 2e-3), (2, 0.35, 5e-3), (3, 0.15, 2e-3)])
def test_coverage_against_supersampling(index: int, worst: float, mean: float):
    """Half pixels of the silhouette, sub-pixel thickness of the needle. (Beyond the needle's tips the distance is only a bound.)"""
    camera = pinhole(150, 100, 120)
    poses, radii = some_ellipsoids()
    coverage = ellipsoid_coverage(poses[index : index + 1], radii[index : index + 1], flat_rays(camera), focal_lengths(camera))
    expected = supersampled_coverage(poses[index], radii[index], camera, 10).reshape(-1)
    error = (coverage[0] - expected).abs()
    assert error.max() < worst
    assert error.mean() < mean
    assert abs(float(coverage.sum() / expected.sum()) - 1) < 0.04


def test_signed_distance_against_the_nearest_point_of_the_outline():
    """Within 2 pixels of the silhouette of the compact ellipsoid; the outline is sampled on the surface, where the view grazes."""
    camera = pinhole(150, 100, 120)
    poses, radii = (x[:1] for x in some_ellipsoids())
    ellipse = project_ellipsoids(poses, radii)
    angle = torch.linspace(0, 2 * math.pi, 4_001, dtype=torch.float64)
    root = torch.linalg.cholesky(ellipse.covariance[0])
    outline = ellipse.centre[0] + torch.stack([angle.cos(), angle.sin()], dim=-1) @ root.T
    rays = torch.cat([outline, torch.ones(len(outline), 1, dtype=torch.float64)], dim=-1)[None]
    rotation = poses[0, :3, :3]
    origin, direction = -(poses[0, :3, 3] @ rotation) / radii[0], rays[0] @ rotation / radii[0]
    discriminant = (direction @ origin) ** 2 - (direction**2).sum(-1) * (origin @ origin - 1)
    torch.testing.assert_close(discriminant / (direction @ origin) ** 2, torch.zeros(len(outline), dtype=torch.float64), atol=1e-12, rtol=0)
    scale = focal_lengths(camera)
    distance = ellipsoid_signed_distance(poses, radii, flat_rays(camera), scale)[0]
    nearest = torch.cdist(flat_rays(camera)[0, :, :2] * scale, outline * scale).amin(-1)
    near = nearest < 2
    torch.testing.assert_close(distance[near].abs(), nearest[near], atol=0.15, rtol=0)
    hit = ellipsoid_depth(poses, radii, flat_rays(camera)).hit[0]
    assert torch.equal(distance < 0, hit)


def test_boxes_hold_the_silhouettes_and_little_more():
    camera = pinhole(150, 100, 120)
    poses, radii = some_ellipsoids()
    boxes = bounding_boxes(poses, radii, camera.K, camera.height, camera.width, margin=2.0)
    for k, (left, top, right, bottom) in enumerate(boxes.tolist()):
        hit = supersampled_coverage(poses[k], radii[k], camera, 1) > 0
        rows, columns = hit.any(1).nonzero()[:, 0], hit.any(0).nonzero()[:, 0]
        for low, high, first, last, size in ((left, right, columns[0], columns[-1], 120), (top, bottom, rows[0], rows[-1], 100)):
            assert max(int(first) - 4, 0) <= low <= max(int(first) - 1, 0)
            assert min(int(last) + 2, size) <= high <= min(int(last) + 5, size)


def test_an_object_beside_its_mask_is_pulled_towards_it():
    """The coverage's gradient at a distance, softened, and the signed distance's at any."""
    camera = pinhole(150, 100, 120)
    poses, radii = (x[:1] for x in some_ellipsoids())
    moved = poses.clone()
    moved[:, 0, 3] += 0.14
    mask = supersampled_coverage(poses[0], radii[0], camera, 4).reshape(1, -1)
    pose = moved.clone().requires_grad_()
    assert (ellipsoid_coverage(pose, radii, flat_rays(camera), focal_lengths(camera)) * mask).sum() < 1e-3
    soft = ellipsoid_coverage(pose, radii, flat_rays(camera), focal_lengths(camera), softness=40.0)
    (pull,) = torch.autograd.grad(((soft - mask) ** 2).sum(), pose)
    assert pull[0, 0, 3] > 0
    distance = ellipsoid_signed_distance(pose, radii, flat_rays(camera), focal_lengths(camera))
    (pull,) = torch.autograd.grad((distance.clamp(min=0) * mask).sum(), pose)
    assert pull[0, 0, 3] > 0


def test_gradients_with_respect_to_pose_radii_and_camera():
    poses, radii = some_ellipsoids()
    pixels = double(33, 20, 35.5, 28.2, 40, 30, 20, 33, 23, 36, 47, 17).reshape(6, 2)

    def everything(rotation, translation, radii, focal, principal):
        xy = (pixels - principal) / focal
        rays = torch.cat([xy, torch.ones(len(xy), 1, dtype=torch.float64)], dim=-1)[None]
        pose = rigid(rotation, translation)
        found = ellipsoid_depth(pose, radii, rays)
        normals = ellipsoid_normals(pose, radii, rays, found.depth)
        distance = ellipsoid_signed_distance(pose, radii, rays, focal[None])
        return found.depth, normals, distance, ellipsoid_coverage(pose, radii, rays, focal[None], softness=3.0)

    inputs = [poses[:, :3, :3].contiguous(), poses[:, :3, 3].contiguous(), radii, double(120, 125), double(31.5, 24.5)]
    assert torch.autograd.gradcheck(everything, [x.requires_grad_() for x in inputs])


def test_silhouette_gradient_is_that_of_the_true_area():
    """d(area)/d(pose, radii) of the soft coverage against finite differences of the closed-form area of the ellipse."""
    camera = pinhole(150, 100, 120)
    poses, radii = (x[:1] for x in some_ellipsoids())
    shape = torch.cat([poses[0, :3, 3], radii[0]]).requires_grad_()

    def place(x: Tensor) -> tuple[Tensor, Tensor]:
        return rigid(poses[:, :3, :3], x[None, :3]), x[None, 3:]

    def area(x: Tensor) -> Tensor:
        return math.pi * torch.linalg.det(project_ellipsoids(*place(x)).covariance[0]).sqrt() * focal_lengths(camera).prod()

    covered = ellipsoid_coverage(*place(shape), flat_rays(camera), focal_lengths(camera)).sum()
    torch.testing.assert_close(covered, area(shape), rtol=0.01, atol=0)
    (soft,) = torch.autograd.grad(covered, shape)
    (exact,) = torch.autograd.grad(area(shape), shape)
    assert (soft - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_everywhere(dtype: torch.dtype):
    """Rims, centres, exact alignment with pixels, plates seen from the edge, behind, around and across the camera, spheres."""
    camera = pinhole(60, 41, 61).to(dtype=dtype)
    translation = double(0, 0, 0.5, 0, 0, 0.5, 0, 0, -0.5, 0.1, 0, 0.1, 0.3, 0, 0.05, 0, 0, 0.1, 3, 0, 0.5).reshape(7, 3).to(dtype)
    radii = double(*[0.05] * 3, 0.1, 0.001, 0.1, *[0.1] * 3, *[0.4] * 3, *[0.2] * 3, *[0.1] * 3, *[0.1] * 3).reshape(7, 3).to(dtype)
    poses = rigid(torch.eye(3, dtype=dtype).expand(7, 3, 3), translation).requires_grad_()
    radii.requires_grad_()
    K = camera.K.clone().requires_grad_()
    placed = Camera(K, camera.height, camera.width, camera.T_world_camera)
    rays, focal = flat_rays(placed), focal_lengths(placed)
    found = ellipsoid_depth(poses, radii, rays)
    normals = ellipsoid_normals(poses, radii, rays, found.depth)
    coverage = ellipsoid_coverage(poses, radii, rays, focal)
    for output in (found.depth, normals, coverage, ellipsoid_signed_distance(poses, radii, rays, focal)):
        assert output.isfinite().all()
        for gradient in torch.autograd.grad(output.sum(), [poses, radii, K], retain_graph=True):
            assert gradient.isfinite().all()


def material(red: float, green: float, blue: float, roughness: float = 0.6) -> Material:
    return Material(double(red, green, blue), double(0)[0], double(roughness)[0])


def table_scene(size: tuple[int, int] = (60, 80)) -> Scene:
    """Two ellipsoids on a table, one in front of the other, and a third that is sunk into it; a camera that looks down at them."""
    tilt = math.radians(-125.0)
    T_world_camera = rigid(so3_exp(double(tilt, 0, 0)), double(0, -0.5, 0.4))
    height, width = size
    focal = 1.3 * width
    K = double(focal, 0, (width - 1) / 2, 0, focal, (height - 1) / 2, 0, 0, 1).reshape(3, 3)
    camera = Camera(K, height, width, T_world_camera)
    turned = so3_exp(double(0.3, 0.4, 0.2))
    objects = (
        SceneObject("near", rigid(turned, double(0.02, -0.05, 0.05)), double(0.05, 0.03, 0.05), material(0.8, 0.2, 0.1)),
        SceneObject("far", rigid(turned.T, double(-0.03, 0.05, 0.06)), double(0.04, 0.05, 0.06), material(0.1, 0.7, 0.3, 0.3)),
        SceneObject("sunk", rigid(turned, double(0.12, 0.02, 0.01)), double(0.04, 0.04, 0.03), material(0.2, 0.3, 0.9)),
    )
    sh = torch.zeros(9, 3, dtype=torch.float64)
    sh[0], sh[2] = 1.0, 0.3
    lights = (
        PointLight(double(0.4, -0.3, 0.9), double(2, 2, 2)),
        DirectionalLight(double(0.5, 0.5, -1), double(1, 1, 1)),
        AmbientLight(sh),
    )
    return Scene(objects, lights, Plane(material(0.5, 0.5, 0.4)), camera)


def without_tilt(scene: Scene) -> Scene:
    """The same from a camera that also sees above the horizon."""
    T_world_camera = rigid(so3_exp(double(math.radians(-92.0), 0, 0)), double(0, -0.5, 0.1))
    return replace(scene, camera=replace(scene.camera, T_world_camera=T_world_camera))


def test_a_renderer_of_the_protocol():
    renderer = make_renderer("raycast")
    assert isinstance(renderer, Renderer)
    assert isinstance(renderer, RaycastRenderer)


def test_pixels_show_what_their_rays_meet_first():
    """Depth, ids and normals against marching along every ray through the union of ellipsoids and the half space below the table."""
    scene = table_scene((30, 40))
    rendered = RaycastRenderer()(scene, scene.camera)
    depths = torch.linspace(0.3, 1.2, 1801, dtype=torch.float64)
    points = scene.camera.rays() * depths[:, None, None, None]
    points = points @ scene.camera.T_world_camera[:3, :3].T + scene.camera.T_world_camera[:3, 3]
    inside = [level(item.T_world_object, item.radii, points) < 1 for item in scene.objects]
    inside = torch.stack([*inside, points[..., 2] < 0])
    first = torch.where(inside.any(1), inside.to(torch.int8).argmax(1), len(depths))
    nearest, winner = first.min(0)
    expected_ids = torch.where(winner == len(scene.objects), PLANE_ID, winner)
    decided = first.sort(0).values[:2].diff(dim=0)[0] > 2
    assert decided.to(torch.float64).mean() > 0.95
    assert torch.equal(rendered.object_ids[decided], expected_ids[decided])
    on_rim = (rendered.normals * (points[1] - points[0])).sum(-1).abs() < 0.2 * (points[1] - points[0]).norm(dim=-1)
    smooth = decided & ~on_rim
    torch.testing.assert_close(rendered.depth[smooth], depths[nearest[smooth]], atol=1.5e-3, rtol=0)
    assert (rendered.normals[rendered.object_ids == PLANE_ID] == double(0, 0, 1)).all()


def test_soft_coverage_is_the_share_that_each_object_shows():
    """Occlusion included, against the ids of an image of eight times the size."""
    scene = table_scene()
    rendered = RaycastRenderer()(scene, scene.camera)
    factor = 8
    fine = RaycastRenderer(shadows="none")(scene, scene.camera.resize(factor * scene.camera.width, factor * scene.camera.height))
    for k in range(len(scene.objects)):
        shares = (fine.object_ids == k).to(torch.float64).reshape(scene.camera.height, factor, scene.camera.width, factor).mean(dim=(1, 3))
        error = (rendered.coverage[k] - shares).abs()
        assert error.mean() < 3e-3
    assert (rendered.foreground < 1 + 1e-9).all()


def test_colour_is_that_of_a_supersampled_image():
    scene = table_scene()
    rendered = RaycastRenderer()(scene, scene.camera)
    factor = 6
    fine = RaycastRenderer()(scene, scene.camera.resize(factor * scene.camera.width, factor * scene.camera.height))
    mean = fine.colour.reshape(scene.camera.height, factor, scene.camera.width, factor, 3).mean(dim=(1, 3))
    error = (rendered.colour - mean).abs()
    assert error.mean() < 3e-3
    assert error.quantile(0.99) < 0.06


def test_objects_darken_the_table_behind_them_and_not_their_lit_side():
    scene = table_scene()
    dark, lit = RaycastRenderer()(scene, scene.camera), RaycastRenderer(shadows="none")(scene, scene.camera)
    lost = (lit.colour - dark.colour).sum(-1)
    assert (lost > -1e-9).all()
    table = dark.object_ids == PLANE_ID
    assert 0.03 < (lost[table] > 0.1).to(torch.float64).mean() < 0.5
    alone = replace(scene, objects=scene.objects[:1])
    both = [RaycastRenderer(shadows=shadows)(alone, scene.camera) for shadows in ("ellipsoids", "none")]
    on_object = both[0].coverage[0] > 0.999
    torch.testing.assert_close(both[0].colour[on_object], both[1].colour[on_object], atol=2e-3, rtol=0)


def test_nothing_is_seen_above_the_horizon_nor_in_an_empty_scene():
    scene = without_tilt(table_scene())
    rendered = RaycastRenderer()(scene, scene.camera)
    assert (rendered.object_ids == BACKGROUND_ID).any()
    assert (rendered.object_ids == PLANE_ID).any()
    sky = (rendered.object_ids == BACKGROUND_ID) & (rendered.foreground < 1e-9)
    for image in (rendered.depth, rendered.colour, rendered.normals):
        assert (image[sky] == 0).all()
        assert image.isfinite().all()
    empty = RaycastRenderer()(replace(scene, objects=(), plane=None), scene.camera)
    assert empty.coverage.shape == (0, 60, 80)
    assert (empty.object_ids == BACKGROUND_ID).all()
    floating = RaycastRenderer()(replace(scene, plane=None), scene.camera)
    assert set(floating.object_ids.unique().tolist()) == {BACKGROUND_ID, 0, 1, 2}


def test_gradients_of_whole_images_against_finite_differences():
    """A random projection of every image, in poses, radii, materials, lights and camera."""
    scene = table_scene((24, 32))
    renderer = RaycastRenderer(softness=2.0, light_radius=0.2)
    generator = torch.Generator().manual_seed(0)
    weights = [torch.rand(24, 32, count, dtype=torch.float64, generator=generator) for count in (3, 1, 3, 3)]

    def images(translation, rotation, radii, colour, roughness, place, sh, K, eye):
        poses = rigid(rotation, translation)
        objects = tuple(SceneObject(str(k), poses[k], radii[k], Material(colour[k], double(0)[0], roughness[k])) for k in range(len(radii)))
        camera = Camera(K, 24, 32, rigid(scene.camera.T_world_camera[:3, :3], eye))
        lights = (PointLight(place, double(2, 2, 2)), AmbientLight(sh))
        out = renderer(replace(scene, objects=objects, lights=lights), camera)
        parts = (out.colour, out.depth[..., None], out.normals, out.coverage.permute(1, 2, 0))
        return tuple((part * weight).sum() for part, weight in zip(parts, weights, strict=True))

    objects = scene.objects
    inputs = [
        torch.stack([item.T_world_object[:3, 3] for item in objects]),
        torch.stack([item.T_world_object[:3, :3] for item in objects]),
        torch.stack([item.radii for item in objects]),
        torch.stack([item.material.base_colour for item in objects]),
        torch.stack([item.material.roughness for item in objects]),
        scene.lights[0].position,
        scene.lights[2].sh,
        scene.camera.K,
        scene.camera.T_world_camera[:3, 3],
    ]
    assert torch.autograd.gradcheck(images, [x.clone().requires_grad_() for x in inputs], eps=1e-8, atol=1e-4, rtol=1e-4)
