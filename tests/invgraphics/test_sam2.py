"""SAM 2 on the real code path, with a small model of random weights made here: what goes in, what comes out, files, conversion."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from invgraphics.cli import main
from invgraphics.datasets import FrameInput
from invgraphics.errors import InputError
from invgraphics.segment import Prompt, Sam2Segmenter, mask_objects, mask_prompts
from invgraphics.segment.refine import refine_by_depth
from invgraphics.segment.sam2 import ImagePreparation, read_preparation
from invgraphics.segment.sam2_conversion import convert_checkpoint, rename_weight
from tests.invgraphics.tabletop import HEIGHT, WIDTH, Tabletop, write_frame

transformers = pytest.importorskip("transformers", reason="transformers is not installed (pip install 'invgraphics[sam2]')")

SIDE = 128
"""Of the small model's image; the image here is 160x120, so that nothing fits by chance."""


BACKBONE = {
    "model_type": "sam2_hiera_det_model",
    "hidden_size": 8,
    "image_size": [SIDE, SIDE],
    "blocks_per_stage": [1, 2, 2, 1],
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 1, 1, 2],
    "window_size_per_stage": [8, 4, 4, 2],
    "global_attention_blocks": [4],
    "window_positional_embedding_background_size": [2, 2],
}
PARTS = {
    "vision_config": {
        "model_type": "sam2_vision_model",
        "backbone_config": BACKBONE,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 32,
    },
    "prompt_encoder_config": {"hidden_size": 32, "image_size": SIDE, "patch_size": 16},
    "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
}
MEMORY = {
    "memory_attention_hidden_size": 32,
    "memory_attention_num_layers": 1,
    "memory_attention_feed_forward_hidden_size": 32,
    "memory_encoder_hidden_size": 32,
    "memory_encoder_output_channels": 16,
    "mask_downsampler_embed_dim": 32,
    "memory_fuser_embed_dim": 32,
    "memory_fuser_intermediate_dim": 32,
}


def _save(model, folder: Path) -> Path:
    """A checkpoint folder as Hugging Face writes it."""
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": SIDE, "width": SIDE}}))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    model = transformers.Sam2Model(transformers.Sam2Config(**copy.deepcopy(PARTS)))
    return _save(model, tmp_path_factory.mktemp("sam2") / "small")


@pytest.fixture(scope="module")
def segmenter(checkpoint) -> Sam2Segmenter:
    return Sam2Segmenter(checkpoint)


def _record_prompts(segmenter: Sam2Segmenter, prompt: Prompt) -> dict[str, Tensor]:
    """What the model's prompt encoder is given for a prompt."""
    seen: dict[str, Tensor] = {}
    hook = segmenter.model.prompt_encoder.register_forward_pre_hook(lambda _, __, kwargs: seen.update(kwargs), with_kwargs=True)
    segmenter.look_at(Tabletop().observe(with_masks=False)).predict_logits(prompt)
    hook.remove()
    return seen


def test_prompts_land_where_they_point_in_the_models_image(segmenter):
    """A pixel of the stretched image lies at the same share of its width and height; a box ends at its last pixel."""
    prompt = Prompt((40.0, 30.0, 81.0, 61.0), ((40.0, 90.0), (120.0, 30.0)), ((8.0, 6.0),))
    seen = _record_prompts(segmenter, prompt)
    expected = [[40 / WIDTH, 90 / HEIGHT], [120 / WIDTH, 30 / HEIGHT], [8 / WIDTH, 6 / HEIGHT]]
    torch.testing.assert_close(seen["input_points"][0, 0], SIDE * torch.tensor(expected))
    assert seen["input_labels"].tolist() == [[[1, 1, 0]]]
    torch.testing.assert_close(seen["input_boxes"][0, 0], SIDE * torch.tensor([40 / WIDTH, 30 / HEIGHT, 80 / WIDTH, 60 / HEIGHT]))


@pytest.mark.parametrize("click", [(30.0, 100.0), (140.0, 20.0)])
def test_masks_come_back_to_where_was_clicked(segmenter, click):
    """The decoder made to answer with a disc around the point that it was given, on its own grid, each answer trusted in its turn."""
    given: list[Tensor] = []
    hooks = [
        segmenter.model.prompt_encoder.register_forward_pre_hook(
            lambda _, __, kwargs: given.append(kwargs["input_points"]), with_kwargs=True
        ),
        segmenter.model.mask_decoder.register_forward_hook(lambda _, __, output: _draw_discs(given[-1][0, 0, 0], output)),
    ]
    logits = segmenter.look_at(Tabletop().observe(with_masks=False)).predict_logits(Prompt(inside=(click,)))
    for hook in hooks:
        hook.remove()
    assert logits.shape == (HEIGHT, WIDTH)
    v, u = torch.nonzero(logits > 0, as_tuple=True)
    assert float(u.float().mean()) == pytest.approx(click[0], abs=2.5)
    assert float(v.float().mean()) == pytest.approx(click[1], abs=2.5)
    # Radius 4 cells of a grid of 32: an eighth of either side of the image, whatever its shape.
    assert (u.max() - u.min()) / WIDTH == pytest.approx(0.25, abs=0.03)
    assert (v.max() - v.min()) / HEIGHT == pytest.approx(0.25, abs=0.03)


def _draw_discs(point: Tensor, output: tuple) -> tuple:
    masks, trust, *others = output
    side = masks.shape[-1]
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    centre = point * side / SIDE
    disc = 4.0 - ((x + 0.5 - centre[0]) ** 2 + (y + 0.5 - centre[1]) ** 2).sqrt()
    answers = torch.full_like(masks, -1.0)
    answers[0, 0, 1] = disc
    trusted = torch.zeros_like(trust)
    trusted[0, 0, 1] = 0.9
    return answers, trusted, *others


def test_one_click_gets_the_most_trusted_of_three_answers_and_a_box_gets_one(segmenter):
    image = segmenter.look_at(Tabletop().observe(with_masks=False))
    asked: list[bool] = []
    hook = segmenter.model.mask_decoder.register_forward_pre_hook(
        lambda _, __, kwargs: asked.append(kwargs["multimask_output"]), with_kwargs=True
    )
    for prompt in (
        Prompt(inside=((30.0, 60.0),)),
        Prompt(inside=((30.0, 60.0),), outside=((90.0, 60.0),)),
        Prompt(box=(10.0, 10.0, 50.0, 60.0)),
    ):
        image.predict_logits(prompt)
    hook.remove()
    assert asked == [True, False, False]


def test_answers_depend_on_the_prompt_and_on_the_image_and_on_nothing_else(segmenter, checkpoint):
    observation = Tabletop().observe(with_masks=False)
    prompts = [Prompt(inside=((30.0, 60.0),)), Prompt(inside=((120.0, 60.0),))]
    image, again = segmenter.look_at(observation), Sam2Segmenter(checkpoint).look_at(observation)
    first, second = (image.predict_logits(prompt) for prompt in prompts)
    torch.testing.assert_close(first, again.predict_logits(prompts[0]), rtol=0, atol=0)
    assert not torch.equal(first, second)
    other = segmenter.look_at(Tabletop(balls=()).observe(with_masks=False)).predict_logits(prompts[0])
    assert not torch.equal(first, other)


def test_checkpoints_made_for_videos_do_for_images(tmp_path, capfd):
    """As Hugging Face publishes SAM 2.1: the same weights and more."""
    torch.manual_seed(1)
    video = transformers.Sam2VideoModel(transformers.Sam2VideoConfig(**copy.deepcopy(PARTS), **MEMORY, image_size=SIDE))
    loaded = Sam2Segmenter(_save(video, tmp_path / "video")).model.state_dict()
    theirs = video.state_dict()
    assert len(loaded) > 200
    assert all(torch.equal(value, theirs[name]) for name, value in loaded.items())
    assert "sam2_video" not in capfd.readouterr().err


def test_images_are_stretched_normalised_and_rounded_as_stored(checkpoint):
    colour = torch.zeros(HEIGHT, WIDTH, 3)
    colour[:, WIDTH // 2 :] = 1.0
    pixels = ImagePreparation(64, 64).apply(colour)
    assert pixels.shape == (1, 3, 64, 64)
    low, high = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]
    torch.testing.assert_close(pixels[0, :, 10, 5], torch.tensor(low))
    torch.testing.assert_close(pixels[0, :, 10, 60], torch.tensor(high))
    stored = (pixels * torch.tensor([0.229, 0.224, 0.225])[:, None, None] + torch.tensor([0.485, 0.456, 0.406])[:, None, None]) * 255
    torch.testing.assert_close(stored, stored.round(), rtol=0, atol=1e-3)
    assert read_preparation(checkpoint) == ImagePreparation(SIDE, SIDE)


def test_boxes_and_clicks_give_disjoint_masks_of_the_images_size(segmenter):
    observation = Tabletop().observe(with_masks=False)
    boxes = torch.tensor([[20.0, 20, 70, 90], [80.0, 30, 140, 100]])
    masks = mask_objects(FrameInput(observation, torch.zeros(0, 4)), torch.Generator(), boxes, segmenter).masks
    assert masks.shape == (2, HEIGHT, WIDTH)
    assert int(masks.sum(0).max()) <= 1
    prompts = [Prompt(inside=((40.0, 60.0),)), Prompt(box=(80.0, 30.0, 140.0, 100.0), outside=((100.0, 90.0),))]
    clicked = mask_prompts(observation, prompts, segmenter.look_at(observation))
    assert clicked.masks.shape == (2, HEIGHT, WIDTH)
    assert clicked.object_names == ("object_00", "object_01")
    assert int(clicked.masks.sum(0).max()) <= 1
    assert segmenter.segment(observation, torch.zeros(0, 4), torch.Generator()).shape == (0, HEIGHT, WIDTH)


def test_depth_takes_strips_of_the_background_off_and_leaves_gaps_in_the_depth():
    scene = Tabletop(wall=0.25, tilt_degrees=15, balls=((0.0, 0.0, 0.06),))
    observation = scene.observe()
    (true,) = observation.masks
    v, u = torch.nonzero(true, as_tuple=True)
    spill = torch.zeros_like(true)
    spill[int(v.min()) : int(v.min()) + 3, int(u.float().mean()) - 12 : int(u.float().mean()) + 12] = True
    spill &= ~true
    hole = torch.zeros_like(true)
    hole[int(v.float().mean()) - 3 : int(v.float().mean()) + 3, int(u.float().mean()) - 3 : int(u.float().mean()) + 3] = True
    observation = observation.__class__(**{**vars(observation), "valid": observation.valid & ~hole, "depth": observation.depth * ~hole})
    (refined,) = refine_by_depth((true | spill)[None], observation)
    assert float((refined & spill).sum()) < 0.1 * float(spill.sum())
    assert float((refined & true).sum()) > 0.97 * float(true.sum())
    assert refined[hole].all()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "must hold config.json"),
        ({"config.json": "{"}, "is not JSON"),
        ({"config.json": '{"model_type": "bert"}'}, "of the kind 'bert'"),
        ({"config.json": '{"model_type": "sam2"}'}, "cannot be loaded as SAM 2"),
        ({"config.json": '{"model_type": "sam2"}', "model.safetensors": "nonsense"}, "cannot be loaded as SAM 2"),
        ({"config.json": '{"model_type": "sam2"}', "preprocessor_config.json": '{"do_resize": false}'}, "do_resize False"),
        (
            {"config.json": '{"model_type": "sam2"}', "preprocessor_config.json": '{"size": {"height": 3}}'},
            "must have a height and a width",
        ),
        ({"config.json": '{"model_type": "sam2"}', "preprocessor_config.json": '{"image_std": [1, 0, 1]}'}, "three numbers each"),
    ],
)
def test_folders_that_are_no_checkpoint_are_refused_in_one_line(tmp_path, files, said):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said) as raised:
        Sam2Segmenter(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_checkpoint_that_lacks_weights_is_refused(checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(checkpoint / "model.safetensors")
    del weights["mask_decoder.iou_token.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text((checkpoint / name).read_text())
    with pytest.raises(InputError, match=r"lacks 1 of the model's weights, mask_decoder\.iou_token\.weight"):
        Sam2Segmenter(tmp_path)


def test_the_command_segments_with_it_and_says_so(checkpoint, tmp_path, capsys):
    frame = write_frame(tmp_path / "frame", masks=False)
    out = tmp_path / "out"
    words = ["segment", str(frame), "--sam2", str(checkpoint), "--click", "40", "60", "--off", "100", "20", "--out", str(out)]
    assert main(words) == 0
    assert f"SAM 2 ({checkpoint})" in capsys.readouterr().out
    assert (out / "mask.png").is_file()


def _metas_weights() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of sam2.1_hiera_tiny.pt, as Meta's program (facebookresearch/sam2) names them."""
    rows = (Path(__file__).parent / "sam2_weights.txt").read_text().splitlines()
    return {name: tuple(map(int, shape.split(",") if shape else ())) for name, _, shape in (row.partition(" ") for row in rows)}


def test_every_weight_of_metas_checkpoint_finds_its_place(tmp_path):
    """A checkpoint with Meta's names and shapes, each tensor filled with a number of its own, converted and loaded again."""
    weights = {name: torch.full(shape, 1e-3 * index) for index, (name, shape) in enumerate(_metas_weights().items())}
    torch.save({"model": weights}, tmp_path / "tiny.pt")
    assert main(["sam2", str(tmp_path / "tiny.pt"), "--out", str(tmp_path / "tiny")]) == 0
    converted = Sam2Segmenter(tmp_path / "tiny").model.state_dict()
    named = {
        "no_mem_embed": "no_memory_embedding",
        "image_encoder.trunk.blocks.5.attn.qkv.weight": "vision_encoder.backbone.blocks.5.attn.qkv.weight",
        "image_encoder.trunk.blocks.3.proj.bias": "vision_encoder.backbone.blocks.3.proj.bias",
        "image_encoder.neck.convs.2.conv.bias": "vision_encoder.neck.convs.2.bias",
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": "prompt_encoder.shared_embedding.positional_embedding",
        "sam_prompt_encoder.mask_downscaling.4.weight": "prompt_encoder.mask_embed.layer_norm2.weight",
        "sam_mask_decoder.transformer.layers.1.norm4.weight": "mask_decoder.transformer.layers.1.layer_norm4.weight",
        "sam_mask_decoder.transformer.final_attn_token_to_image.out_proj.bias": (
            "mask_decoder.transformer.final_attn_token_to_image.o_proj.bias"
        ),
        "sam_mask_decoder.output_hypernetworks_mlps.3.layers.2.bias": "mask_decoder.output_hypernetworks_mlps.3.proj_out.bias",
        "sam_mask_decoder.iou_prediction_head.layers.1.weight": "mask_decoder.iou_prediction_head.layers.0.weight",
    }
    for theirs, ours in named.items():
        torch.testing.assert_close(converted[ours], weights[theirs])
    points = torch.cat([weights[f"sam_prompt_encoder.point_embeddings.{k}.weight"] for k in range(4)])
    torch.testing.assert_close(converted["prompt_encoder.point_embed.weight"], points)
    numbers = sorted(float(value.reshape(-1)[0]) for name, value in converted.items() if "point_embed" not in name)
    assert len(set(numbers)) == len(numbers) - 1


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("image_encoder.trunk.blocks.10.norm1.weight", "vision_encoder.backbone.blocks.10.layer_norm1.weight"),
        ("image_encoder.trunk.blocks.10.mlp.layers.1.bias", "vision_encoder.backbone.blocks.10.mlp.proj_out.bias"),
        ("sam_mask_decoder.output_upscaling.1.bias", "mask_decoder.upscale_layer_norm.bias"),
        ("sam_mask_decoder.conv_s0.weight", "mask_decoder.conv_s0.weight"),
    ],
)
def test_names_are_changed_by_rule(name, renamed):
    assert rename_weight(name) == renamed


def test_files_that_are_no_checkpoint_are_not_converted(tmp_path):
    (tmp_path / "text.pt").write_text("not a checkpoint")
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "other.pt")
    torch.save({"weights": 1}, tmp_path / "none.pt")
    weights = {name: torch.empty(shape, device="meta") for name, shape in _metas_weights().items()}
    lacking = {name: torch.zeros(1).expand(value.shape) for name, value in weights.items() if "conv_s0" not in name}
    torch.save(
        {"model": {name: value.clone() if value.numel() < 10 else value for name, value in lacking.items()}}, tmp_path / "lacking.pt"
    )
    for name, said in (
        ("text", "cannot be read as a PyTorch"),
        ("other", "none of SAM 2's tiny"),
        ("none", "under 'model'"),
        ("absent", "cannot be read"),
        ("lacking", "2 weights are missing"),
    ):
        with pytest.raises(InputError, match=said):
            convert_checkpoint(tmp_path / f"{name}.pt", tmp_path / "out")
        assert not (tmp_path / "out").exists()
    np.testing.assert_equal(len(weights), 471)
