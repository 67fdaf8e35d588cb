"""Meta's SAM 2 checkpoints (`sam2.1_hiera_tiny.pt`, ...) as the folders that `Sam2Segmenter` loads.

Both programs build the same network and name its weights differently. Only what segments single images is taken: memory, which follows
objects through videos, stays behind. Which of the four sizes a file holds is told from its weights.
"""

import json
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invgraphics.errors import InputError
from invgraphics.segment.sam2 import ImagePreparation, import_sam2

_VIDEO_ONLY = (
    "memory_attention.",
    "memory_encoder.",
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "mask_downsample.",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
)
"""Beginnings of the names of weights that single images do not need."""
_FIRST_AND_LAST = {"0": "proj_in", "1": "proj_out"}
_THREE_LAYERS = {"0": "proj_in", "1": "layers.0", "2": "proj_out"}
_MASK_LAYERS = {"0": "conv1", "1": "layer_norm1", "3": "conv2", "4": "layer_norm2", "6": "conv3"}
_UPSCALING = {"0": "upscale_conv1", "1": "upscale_layer_norm", "3": "upscale_conv2"}
_POINTS = re.compile(r"sam_prompt_encoder\.point_embeddings\.(\d)\.weight")
_FREQUENCIES = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_RULES: tuple[tuple[str, Any], ...] = (
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^image_encoder\.trunk\.patch_embed\.proj\.", "vision_encoder.backbone.patch_embed.projection."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.(\d)\.", lambda match: f"prompt_encoder.mask_embed.{_MASK_LAYERS[match[1]]}."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.output_upscaling\.(\d)\.", lambda match: f"mask_decoder.{_UPSCALING[match[1]]}."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (
        r"(output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head)\.layers\.(\d)\.",
        lambda m: f"{m[1]}.{_THREE_LAYERS[m[2]]}.",
    ),
    (r"\.mlp\.layers\.(\d)\.", lambda match: f".mlp.{_FIRST_AND_LAST[match[1]]}."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.(self_attn|\w+_attn_\w+|cross_attn_\w+)\.out_proj\.", r".\1.o_proj."),
)
"""What in a name becomes what, one rule after the other."""


@dataclass(frozen=True)
class _Backbone:
    """One of SAM 2's image encoders, as its published configurations describe it."""

    blocks: tuple[int, ...]
    """Blocks of each of the four stages; the width doubles from stage to stage, and so does the number of heads."""
    heads: int
    windows: tuple[int, ...]
    """Side of the attention windows of each stage."""
    unlimited: tuple[int, ...]
    """Blocks without windows."""
    background: int
    """Side of the coarse grid of position codes."""


_BACKBONES = {
    (96, 12): _Backbone((1, 2, 7, 2), 1, (8, 4, 14, 7), (5, 7, 9), 7),
    (96, 16): _Backbone((1, 2, 11, 2), 1, (8, 4, 14, 7), (7, 10, 13), 7),
    (112, 24): _Backbone((2, 3, 16, 3), 2, (8, 4, 14, 7), (12, 16, 20), 14),
    (144, 48): _Backbone((2, 6, 36, 4), 2, (8, 4, 16, 8), (23, 33, 43), 7),
}
"""Tiny, small, base plus and large, by the width of the first stage and the number of blocks."""
_LOADING_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, AttributeError, pickle.UnpicklingError)


def convert_checkpoint(checkpoint: Path, out: Path) -> None:
    """Writes `config.json`, `model.safetensors` and `preprocessor_config.json` of one of Meta's checkpoints to a folder that is not there.

    Raises:
        InputError: the file is no checkpoint of SAM 2, the folder exists, or transformers is not installed.
    """
    if out.exists():
        raise InputError(f"{out} exists; name a folder that does not")
    weights = load_weights(checkpoint)
    model = build_empty_model(weights, str(checkpoint))
    model.load_state_dict(rename_weights(weights, str(checkpoint)), assign=True)
    usual = ImagePreparation()
    out.mkdir(parents=True)
    model.save_pretrained(out)
    preparation = {
        "image_processor_type": "Sam2ImageProcessor",
        "size": {"height": usual.height, "width": usual.width},
        "image_mean": usual.mean,
        "image_std": usual.deviation,
        "rescale_factor": 1 / 255,
        "resample": 2,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
    }
    (out / "preprocessor_config.json").write_text(json.dumps(preparation, indent=2))


def load_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of one of Meta's checkpoints by Meta's names; nothing in the file is run."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except _LOADING_ERRORS as error:
        raise InputError(f"{checkpoint} cannot be read as a PyTorch checkpoint: {' '.join(str(error).split())[:200]}") from error
    weights = content.get("model") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"{checkpoint} holds no weights under 'model'; it must be one of Meta's SAM 2 checkpoints")
    return weights


def rename_weights(weights: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors that single images need, by Hugging Face's names.

    Raises:
        InputError: a weight is missing that is put together with others.
    """
    renamed, points = {}, {}
    for name, value in weights.items():
        match = _POINTS.fullmatch(name)
        if match:
            points[int(match[1])] = value
        elif name == _FREQUENCIES:
            renamed["shared_image_embedding.positional_embedding"] = value
            renamed["prompt_encoder.shared_embedding.positional_embedding"] = value.clone()
        elif not name.startswith(_VIDEO_ONLY):
            renamed[rename_weight(name)] = value
    if sorted(points) != list(range(4)):
        raise InputError(f"{where} has {len(points)} of the four point_embeddings of SAM 2")
    renamed["prompt_encoder.point_embed.weight"] = torch.cat([points[index] for index in range(4)])
    return renamed


def rename_weight(name: str) -> str:
    """Hugging Face's name of a weight that Meta calls so; the same for names that neither has."""
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name


def build_empty_model(weights: dict[str, Tensor], where: str) -> Any:
    """Hugging Face's model of the size that the weights have, without values yet.

    Raises:
        InputError: the weights are none of SAM 2's four sizes, or not all that it has, or of other shapes.
    """
    first = weights.get("image_encoder.trunk.patch_embed.proj.weight")
    blocks = {name.split(".")[3] for name in weights if name.startswith("image_encoder.trunk.blocks.")}
    backbone = None if first is None else _BACKBONES.get((first.shape[0], len(blocks)))
    if backbone is None:
        raise InputError(f"{where} is none of SAM 2's tiny, small, base plus and large image encoders")
    sam2 = import_sam2()
    with torch.device("meta"):
        model = sam2.Sam2Model(sam2.Sam2Config(vision_config=_describe_backbone(backbone, first.shape[0])))
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in rename_weights(weights, where).items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise InputError(
            f"{where} is not what SAM 2 has: {len(wrong)} weights are missing, unknown or of another shape, {wrong[0]} for one"
        )
    return model


def _describe_backbone(backbone: _Backbone, width: int) -> dict[str, Any]:
    """Hugging Face's `vision_config`."""
    widths = [width * 2**stage for stage in range(4)]
    return {
        "model_type": "sam2_vision_model",
        "backbone_channel_list": widths[::-1],
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": width,
            "num_attention_heads": backbone.heads,
            "blocks_per_stage": list(backbone.blocks),
            "embed_dim_per_stage": widths,
            "num_attention_heads_per_stage": [backbone.heads * 2**stage for stage in range(4)],
            "window_size_per_stage": list(backbone.windows),
            "global_attention_blocks": list(backbone.unlimited),
            "window_positional_embedding_background_size": [backbone.background, backbone.background],
        },
    }
