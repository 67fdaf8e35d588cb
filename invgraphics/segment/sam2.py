"""SAM 2 (Ravi et al. 2024) as the segmenter: boxes and clicks to masks by a checkpoint that the user has, its outlines mended by depth.

The checkpoint is a folder in Hugging Face's format: `config.json`, `model.safetensors`, and how images are prepared in
`processor_config.json` or `preprocessor_config.json` (SAM 2's usual values where the folder has neither). Nothing is downloaded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kornia
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from invgraphics.datasets.files import read_json
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import srgb_from_linear
from invgraphics.observation import Observation
from invgraphics.segment.clicks import Prompt
from invgraphics.segment.refine import refine_by_depth

_PREPARATION_FILES = ("processor_config.json", "preprocessor_config.json")
_BILINEAR = 2
"""Pillow's number of the filter, which is how the files name it."""
_INSTALL = "pip install 'invgraphics[sam2]'"
_LOADING_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError)
"""What transformers raises of folders that are not what they should be."""


@dataclass(frozen=True)
class ImagePreparation:
    """What is done to an image before the model sees it, as the checkpoint says it. Only what SAM 2's processors do is known here."""

    height: int = 1024
    """Pixels of the model's image, whatever the shape of the given one: it is stretched."""
    width: int = 1024
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from each channel of sRGB in [0, 1]."""
    deviation: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """That each channel is divided by then."""

    def apply(self, colour: Float[Tensor, "h w 3"]) -> Float[Tensor, "1 3 H W"]:
        """The model's image of one in linear RGB: 8-bit sRGB, stretched with antialiasing, rounded to 8 bits again, normalised."""
        stored = torch.round(255 * srgb_from_linear(colour)).to(torch.uint8).permute(2, 0, 1)[None]
        stretched = interpolate(stored, size=(self.height, self.width), mode="bilinear", align_corners=False, antialias=True)
        return kornia.enhance.normalize(stretched.float() / 255, torch.tensor(self.mean), torch.tensor(self.deviation))

    def place(self, points: Float[Tensor, "*p 2"], height: int, width: int) -> Float[Tensor, "*p 2"]:
        """Pixels (x, y) of an image of the given size in the model's image, as SAM 2 takes them: scaled, without half-pixel shifts."""
        return points * torch.tensor([self.width / width, self.height / height], dtype=points.dtype)


class Sam2Segmenter:
    """See the module. Loads the model once; encodes an image once for all of its boxes."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu"):
        """Loads the checkpoint.

        Raises:
            InputError: the folder is not a SAM 2 checkpoint in Hugging Face's format, or transformers is not installed.
        """
        self.name = f"SAM 2 ({folder})"
        self.preparation = read_preparation(folder)
        self.model = _load_model(folder).to(device).eval()
        side = self.model.config.prompt_encoder_config.image_size
        if (self.preparation.height, self.preparation.width) != (side, side):
            size = f"{self.preparation.width}x{self.preparation.height}"
            raise InputError(f"{folder} prepares images of {size} for a model of {side}x{side}; both must be the same")

    def segment(self, observation: Observation, boxes: Float[Tensor, "n 4"], generator: torch.Generator) -> Bool[Tensor, "n h w"]:
        """See `Segmenter.segment`. Nothing is drawn from the generator."""
        image = self.look_at(observation)
        logits = [image.predict_logits(Prompt(box=tuple(box))) for box in boxes.tolist()]
        masks = torch.stack(logits) > 0 if logits else torch.zeros(0, *observation.depth.shape, dtype=torch.bool)
        return refine_by_depth(masks.to(observation.depth.device), observation)

    @torch.no_grad()
    def look_at(self, observation: Observation) -> "Sam2Prompts":
        """The image encoded: what takes boxes and clicks on it, one object at a time."""
        pixels = self.preparation.apply(observation.colour.cpu().float()).to(self.model.device)
        return Sam2Prompts(self, self.model.get_image_embeddings(pixels), tuple(observation.depth.shape))


class Sam2Prompts:
    """A `PromptSegmenter` of one image, made by `Sam2Segmenter.look_at`."""

    def __init__(self, segmenter: Sam2Segmenter, embeddings: list[Tensor], size: tuple[int, int]):
        """`embeddings` are the encoded image's, whose (height, width) is `size`."""
        self.name = segmenter.name
        self._segmenter, self._embeddings, self._size = segmenter, embeddings, size

    def segment_prompt(self, observation: Observation, prompt: Prompt) -> Bool[Tensor, "h w"]:
        """See `PromptSegmenter`. `observation` is the image that was looked at. Raises `InputError` where nothing is marked."""
        mask = (self.predict_logits(prompt) > 0).to(observation.depth.device)
        return refine_by_depth(mask[None], observation)[0]

    @torch.no_grad()
    def predict_logits(self, prompt: Prompt) -> Float[Tensor, "h w"]:
        """The model's word on every pixel of the image, positive inside; before depth is asked.

        A single click may mean a part or the whole: of the model's three answers the one is taken that it trusts most. A box, or more than
        one click, means one thing, and gets one answer.
        """
        if not prompt:
            raise InputError("nothing is marked: give a box, or a point on the object")
        ambiguous = prompt.box is None and len(prompt.inside) + len(prompt.outside) == 1
        answer = self._segmenter.model(image_embeddings=self._embeddings, multimask_output=ambiguous, **self._describe(prompt))
        coarse = answer.pred_masks[:, 0, int(answer.iou_scores[0, 0].argmax())][None]
        return interpolate(coarse, size=self._size, mode="bilinear", align_corners=False)[0, 0].cpu()

    def _describe(self, prompt: Prompt) -> dict[str, Tensor]:
        """The model's inputs: pixels of its own image; label 1 for a point on the object, 0 for one off it."""
        place, device = self._segmenter.preparation.place, self._segmenter.model.device
        inputs = {}
        if prompt.box is not None:
            # A box ends behind its last pixel here, and at it in SAM 2.
            corners = torch.tensor(prompt.box).reshape(2, 2) - torch.tensor([[0.0, 0.0], [1.0, 1.0]])
            inputs["input_boxes"] = place(corners, *self._size).reshape(1, 1, 4).to(device)
        points = [*prompt.inside, *prompt.outside]
        if points:
            inputs["input_points"] = place(torch.tensor(points, dtype=torch.float32), *self._size)[None, None].to(device)
            inputs["input_labels"] = (torch.arange(len(points)) < len(prompt.inside)).long()[None, None].to(device)
        return inputs


def read_preparation(folder: Path) -> ImagePreparation:
    """How a checkpoint's images are prepared.

    Raises:
        InputError: it asks for something that SAM 2's processors do not do, or is not what it should be.
    """
    path = next((folder / name for name in _PREPARATION_FILES if (folder / name).is_file()), None)
    if path is None:
        return ImagePreparation()
    content = read_json(path)
    content = content.get("image_processor", content) if isinstance(content, dict) else {}
    asked = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": _BILINEAR}
    others = [f"{name} {content[name]!r}" for name, value in asked.items() if content.get(name, value) != value]
    if others or abs(content.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9 or content.get("do_pad"):
        raise InputError(f"{path} asks for {', '.join(others) or 'another scale or padding'}, which SAM 2's image processor does not do")
    usual = ImagePreparation()
    size = content.get("size", {"height": usual.height, "width": usual.width})
    mean, deviation = content.get("image_mean", usual.mean), content.get("image_std", usual.deviation)
    if not isinstance(size, dict) or not all(isinstance(size.get(side), int) and size[side] > 0 for side in ("height", "width")):
        raise InputError(f"size in {path} is {size!r}; it must have a height and a width in pixels")
    if not all(isinstance(values, list | tuple) and len(values) == 3 for values in (mean, deviation)) or not all(x > 0 for x in deviation):
        raise InputError(f"image_mean and image_std in {path} must be three numbers each, the latter positive")
    return ImagePreparation(size["height"], size["width"], tuple(map(float, mean)), tuple(map(float, deviation)))


def _load_model(folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder} is not a checkpoint folder: it must hold config.json and model.safetensors, as Hugging Face writes them"
        )
    kind = read_json(folder / "config.json").get("model_type")
    if kind not in ("sam2", "sam2_video"):
        raise InputError(f"{folder} holds a model of the kind {kind!r}; --sam2 takes a SAM 2 checkpoint (kind 'sam2' or 'sam2_video')")
    sam2 = import_sam2()
    from safetensors import SafetensorError

    try:
        model, report = sam2.Sam2Model.from_pretrained(folder, local_files_only=True, use_safetensors=True, output_loading_info=True)
    except (*_LOADING_ERRORS, SafetensorError) as error:
        raise InputError(f"{folder} cannot be loaded as SAM 2: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(f"{folder} lacks {len(missing)} of the model's weights, {missing[0]} among them; download or convert it again")
    return model


def import_sam2() -> Any:
    """The package that has the model. Raises `InputError` where it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise InputError(f"SAM 2 needs transformers, which is not installed: {_INSTALL}") from error
    # Its word on checkpoints made for videos: what is missing in one is checked here.
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers
