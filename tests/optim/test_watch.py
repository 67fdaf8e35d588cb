"""A run as another process sees it, after every stage."""

from pathlib import Path

import torch

from invgraphics.geometry.mesh import is_closed
from optim.reconstruct import reconstruct
from optim.watch import STAGES, read_progress, read_snapshot
from tests.optim.views import ball, photograph


def test_a_run_is_seen_stage_by_stage_and_ends_where_it_ends(tmp_path: Path):
    seen: dict[str, tuple] = {}
    folder = tmp_path / "run"

    def look(stage: str, fraction: float) -> None:
        last = list(seen)[-1] if seen else None
        snapshot = read_snapshot(folder, after=last)
        if snapshot is not None:
            seen[snapshot.stage] = (snapshot, read_progress(folder))

    assert read_progress(folder) is None
    assert read_snapshot(folder) is None
    observation = photograph([ball(0.03)], noise=5e-4).with_camera_pose(torch.eye(4))
    result = reconstruct(observation, 3, look, checkpoint=folder)
    assert tuple(seen) == STAGES
    for k, stage in enumerate(STAGES):
        snapshot, progress = seen[stage]
        assert progress.stage == stage
        assert len(snapshot.scene.objects) == (0 if k == 0 else 1)
        torch.testing.assert_close(snapshot.observation.camera.T_world_camera, result.observation.camera.T_world_camera)
    fractions = [progress.fraction for _, progress in seen.values()]
    assert fractions == sorted(fractions)
    assert seen["ellipsoids to image"][0].scene.objects[0].mesh is None
    completed = seen["completion"][0].scene.objects[0]
    assert is_closed(completed.mesh.faces)
    torch.testing.assert_close(completed.mesh.vertices.mean(0), torch.zeros(3), atol=0.01, rtol=0)
    last = seen["materials and lights"][0]
    torch.testing.assert_close(last.scene.objects[0].mesh.vertices, result.scene.objects[0].mesh.vertices)
    for cage, expected in ((seen["cages"][0].cages[0], result.cages[0]),):
        torch.testing.assert_close(cage.vertices, expected.vertices)
        assert is_closed(cage.faces)
    inside = last.scene.objects[0].mesh.transformed(last.scene.objects[0].T_world_object).vertices
    assert (result.cages[0].vertices.min(0).values < inside.min(0).values).all()
    assert (result.cages[0].vertices.max(0).values > inside.max(0).values).all()
    assert read_snapshot(folder, after="materials and lights") is None
