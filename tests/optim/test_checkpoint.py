import itertools
import shutil
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
import torch

from invgraphics.errors import InputError
from invgraphics.reconstruction import Reconstruction
from optim.checkpoint import Checkpoint, StageRunner, compute_key
from optim.options import ReconstructionOptions
from optim.reconstruct import reconstruct
from tests.optim.views import ball, photograph


class KilledError(Exception):
    pass


def reconstruct_ball(checkpoint: Path | None, kill_at: int | None = None, seed: int = 3) -> tuple[Reconstruction, list[str]]:
    """A small scene's reconstruction and the stages that it told of; ends with `KilledError` just before the stage of the given number."""
    told: list[str] = []

    def tell(stage: str, fraction: float) -> None:
        if kill_at == len(told):
            raise KilledError
        told.append(stage)

    observation = photograph([ball(0.03)], noise=5e-4).with_camera_pose(torch.eye(4))
    return reconstruct(observation, seed, tell, checkpoint=checkpoint), told


def test_killed_after_any_stage_it_goes_on_there_to_the_same_bits(tmp_path):
    whole, stages = reconstruct_ball(None)
    kept: list[set[str]] = []
    for kill_at in range(1, len(stages)):
        with pytest.raises(KilledError):
            reconstruct_ball(tmp_path / "run", kill_at)
        kept.append({path.name for path in (tmp_path / "run").glob("*.pt")})
        assert len(kept[-1]) == kill_at
    resumed, _ = reconstruct_ball(tmp_path / "run")
    assert all(before < after for before, after in itertools.pairwise(kept))
    assert_same(resumed, whole)


def test_another_seed_starts_afresh(tmp_path):
    with pytest.raises(KilledError):
        reconstruct_ball(tmp_path, kill_at=3)
    with pytest.raises(KilledError):
        reconstruct_ball(tmp_path, kill_at=1, seed=4)
    assert len(list(tmp_path.glob("*.pt"))) == 1


def test_key_depends_on_image_seed_and_options():
    observation = photograph([ball(0.03)])
    other = replace(observation, depth=observation.depth + 1e-6)
    options = ReconstructionOptions()
    keys = [
        compute_key([observation], None, 0, options),
        compute_key([other], None, 0, options),
        compute_key([observation, other], None, 0, options),
        compute_key([observation, other], torch.eye(4).repeat(2, 1, 1), 0, options),
        compute_key([observation], None, 1, options),
        compute_key([observation], None, 0, options.without(["cages"])),
    ]
    assert len(set(keys)) == len(keys)
    assert compute_key([photograph([ball(0.03)])], None, 0, options) == keys[0]


def test_a_stage_that_was_kept_is_not_computed_again_and_the_generator_goes_on(tmp_path):
    def run(compute) -> tuple[float, float]:
        generator = torch.Generator().manual_seed(0)
        stages = StageRunner(lambda stage, fraction: None, generator, Checkpoint(tmp_path, "key"))
        return float(stages.run("a stage", 0.0, lambda: compute(generator))), float(torch.rand(1, generator=generator))

    first = run(lambda generator: torch.rand(1, generator=generator))
    assert run(lambda generator: pytest.fail("computed again")) == first


def test_damaged_checkpoint_is_an_input_error(tmp_path):
    checkpoint = Checkpoint(tmp_path, "key")
    checkpoint.save("a stage", {"outcome": torch.zeros(1000)})
    path = tmp_path / "a_stage.pt"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match="damaged"):
        checkpoint.load("a stage")


@pytest.mark.parametrize("names", [("thesis.tex",), ("weights.pt",), ("key.json", "thesis.tex")])
def test_a_folder_with_anything_else_in_it_is_refused_and_left_as_it_is(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=rf"{tmp_path} holds {names[-1]}"):
        Checkpoint(tmp_path, "key")
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_a_folder_that_goes_away_is_an_input_error(tmp_path):
    checkpoint = Checkpoint(tmp_path / "run", "key")
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(InputError, match="cannot be written: No such file"):
        checkpoint.save("a stage", {"outcome": torch.zeros(1)})
    with pytest.raises(InputError, match="cannot be written: No such file"):
        checkpoint.note("a stage", 0.5)


def test_reading_runs_no_code(tmp_path):
    checkpoint = Checkpoint(tmp_path, "key")
    checkpoint.save("a stage", {"outcome": Path("anything")})
    with pytest.raises(InputError, match="damaged"):
        checkpoint.load("a stage")


def assert_same(a: Reconstruction, b: Reconstruction) -> None:
    ours, theirs = list_tensors(a.scene), list_tensors(b.scene)
    assert len(ours) == len(theirs) > 10
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert a.hypotheses == b.hypotheses
    assert [entry.loss for entry in a.history] == [entry.loss for entry in b.history]


def list_tensors(value: object) -> list[torch.Tensor]:
    """Every tensor that a data type holds, at any depth."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = [getattr(value, field.name) for field in fields(value)] if is_dataclass(value) else value if isinstance(value, tuple) else ()
    return [tensor for part in parts for tensor in list_tensors(part)]
