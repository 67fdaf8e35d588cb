"""Poses of reconstructed objects: models laid over the reconstructions, compared with the true poses; VSD from renders of both."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from invgraphics.camera import Camera
from invgraphics.datasets import PoseTruth
from invgraphics.geometry.mesh import Mesh
from invgraphics.metrics import bop_thresholds, compute_vsd
from invgraphics.model_registration import register_model
from invgraphics.observation import Observation
from invgraphics.pose_metrics import PoseResult, measure_diameter, score_pose
from renderers.rasterize.factory import make_rasterizer

PUBLISHED = "published"
"""What `PoseResult.model` says where the dataset's own model was laid over the reconstruction."""


def score_poses(
    observation: Observation, truths: Sequence[PoseTruth], meshes: Mapping[int, Mesh], left_out: Mapping[int, str], seed: int
) -> list[PoseResult]:
    """The pose of every object whose model is published; `meshes` are the reconstructions in the camera frame, by mask index."""
    results = []
    for truth in truths:
        if truth.model is None:
            continue
        mesh = meshes.get(truth.mask_index)
        if mesh is None:
            results.append(mark_pose_missing(observation.name, truth, left_out.get(truth.mask_index, "not reconstructed")))
        else:
            results.append(score_against(observation, truth, truth.model, PUBLISHED, mesh, seed))
    return results


def mark_pose_missing(image: str, truth: PoseTruth, reason: str, model: str = PUBLISHED) -> PoseResult:
    """The result of an object that has no pose."""
    return PoseResult(image, truth.mask_index, truth.name, truth.object_id, model, None, reason, truth.counted)


def score_against(observation: Observation, truth: PoseTruth, model: Mesh, source: str, mesh: Mesh, seed: int) -> PoseResult:
    """The pose of one object: a model (object frame) laid over its reconstruction (camera frame).

    Args:
        observation: the image, for its camera and measured depth.
        truth: the object's true pose.
        model: the published one, or a reconstruction of the same object from another image, metres.
        source: whose model it is, for the record: see `PoseResult.model`.
        mesh: the reconstruction from this image, metres.
        seed: of the points drawn from both surfaces.
    """
    registration = register_model(model, mesh, torch.Generator().manual_seed(seed))
    points = model.vertices if truth.points is None else truth.points
    diameter = measure_diameter(model.vertices) if truth.diameter_m is None else truth.diameter_m
    estimate, camera = registration.T_camera_model, observation.camera
    depth, true_depth = (render_depth(model.transformed(pose.to(model.vertices)), camera) for pose in (estimate, truth.T_camera_object))
    measured = torch.where(observation.valid, observation.depth, 0.0)
    vsd = compute_vsd(depth, true_depth, measured.to(depth), camera.K.to(depth), diameter, bop_thresholds(camera.width)["vsd"])
    scores = score_pose(
        points,
        model.vertices,
        estimate,
        truth.T_camera_object,
        camera,
        diameter_m=diameter,
        symmetries=truth.symmetries,
        vsd=vsd,
        residual_m=registration.residual_m,
    )
    return PoseResult(observation.name, truth.mask_index, truth.name, truth.object_id, source, scores, "", truth.counted)


def render_depth(mesh: Mesh, camera: Camera) -> Float[Tensor, "h w"]:
    """Depth along z, metres, of a mesh in the camera frame seen alone; 0 where it is not seen."""
    rasterizer = make_rasterizer("cpu", threads=1)
    vertices = mesh.vertices.detach().cpu()
    points = torch.cat([vertices, torch.ones_like(vertices[:, :1])], dim=-1)
    clip = points @ camera.clip_from_camera().to(points).T
    rasterized = rasterizer.rasterize(clip[None], mesh.faces, (camera.height, camera.width))
    return rasterizer.interpolate(vertices[:, 2:][None], rasterized, mesh.faces)[0, ..., 0]
