"""`invgraphics segment FRAME --out OUT`: the masks that `reconstruct` would take, written and drawn."""

import argparse
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from invgraphics.commands.prompting import add_prompt_arguments, parse_prompts, segment_frame
from invgraphics.datasets import find_masks_without_depth, load_frame
from invgraphics.datasets.files import write_image
from invgraphics.errors import InputError
from invgraphics.geometry.mesh import srgb_from_linear
from invgraphics.observation import Observation
from invgraphics.output import claim_output_folder
from invgraphics.report.html import count

_MOST_OBJECTS = 255
_TINT = 0.45
_GOLDEN_ANGLE_DEGREES = 137.508
"""Between the hues of two objects: neighbours in number never look alike."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("frame", metavar="FRAME", help="a frame folder, or an image of a dataset (KIND:PATH:SCENE/IMAGE)")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for mask.png (ids, as a frame folder takes it), masks/ and overlay.png"
    )
    add_prompt_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (default 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier run wrote to OUT")


def run(arguments: argparse.Namespace) -> int:
    """Segments, writes, says what segmented. 1 where an object got no pixel."""
    frame = load_frame(arguments.frame)
    prompts = parse_prompts(arguments.marks, [frame])
    observation, source = segment_frame(frame, prompts, arguments.sam2, arguments.seed)
    if len(observation.masks) > _MOST_OBJECTS:
        raise InputError(f"{len(observation.masks)} objects; mask.png of 8 bits can number {_MOST_OBJECTS}")
    claim_output_folder(arguments.out, arguments.overwrite)
    _write(observation, arguments.out)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{observation.name}: {count(len(observation.masks), 'mask')} {source}")
    left_out = find_masks_without_depth(observation)
    for index, (name, mask) in enumerate(zip(observation.object_names, observation.masks, strict=True)):
        console.print(f"{index:02d} {name}: {int(mask.sum())} pixels" + (f"; {left_out[index]}" if index in left_out else ""))
    console.print(f"wrote {arguments.out}/mask.png, masks/ and overlay.png")
    return 0 if all(bool(mask.any()) for mask in observation.masks) else 1


def _write(observation: Observation, out: Path) -> None:
    masks = observation.masks.cpu().numpy()
    ids = np.zeros(masks.shape[1:], np.uint8)
    (out / "masks").mkdir()
    for index, mask in enumerate(masks):
        ids[mask] = index + 1
        write_image(out / "masks" / f"object_{index:02d}.png", 255 * mask.astype(np.uint8))
    write_image(out / "mask.png", ids)
    write_image(out / "overlay.png", draw_masks(observation)[..., ::-1])


def draw_masks(observation: Observation) -> np.ndarray:
    """(h, w, 3) uint8 BGR: the image with every mask tinted in its own hue, outlined and numbered."""
    picture = np.round(255 * srgb_from_linear(observation.colour).cpu().numpy())[..., ::-1].astype(np.uint8).copy()
    scale = max(picture.shape[1] / 640, 0.5)
    for index, mask in enumerate(observation.masks.cpu().numpy()):
        hue = np.uint8([[[int(index * _GOLDEN_ANGLE_DEGREES % 360 / 2), 230, 255]]])
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].astype(float)
        picture[mask] = ((1 - _TINT) * picture[mask] + _TINT * colour).astype(np.uint8)
        outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outline, -1, colour.tolist(), max(1, round(2 * scale)))
        if mask.any():
            _write_number(picture, mask, f"{index:02d}", scale)
    return picture


def _write_number(picture: np.ndarray, mask: np.ndarray, text: str, scale: float) -> None:
    """Puts the number where the mask is widest, in place."""
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    y, x = np.unravel_index(int(distance.argmax()), mask.shape)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6 * scale, 1)
    place = (int(x - width / 2), int(y + height / 2))
    for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6 * scale, colour, round(max(1, thickness * scale)), cv2.LINE_AA)
