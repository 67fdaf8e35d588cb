"""Pictures as 8-bit sRGB arrays (h, w, 3): overlays, colour maps, crops, and their encoding into a page."""

import base64
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from invgraphics.geometry.mesh import linear_from_srgb, srgb_from_linear

Image = np.ndarray
"""(h, w, 3) uint8 sRGB."""

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#7b5ea7", "#8c6d31", "#5a5a5a")
"""Colours that people with any common colour vision tell apart (Okabe and Ito 2008; the last three are additions)."""
PAPER = (247, 247, 245)
"""Background of renders."""
UNKNOWN = (205, 205, 202)
"""Pixels for which a map has no value."""

_HEAT = ("#d9d7d0", "#f6d9a0", "#fdae61", "#f46d43", "#c1272d", "#67001f")
_DIVERGING = ("#053061", "#2166ac", "#4393c3", "#92c5de", "#f2f2f0", "#fdb863", "#e08214", "#b35806", "#7f3b08")


def to_srgb(linear: Float[Tensor, "h w 3"]) -> Image:
    """Linear RGB as 8-bit sRGB; values outside [0, 1] are clipped."""
    return np.round(255 * srgb_from_linear(linear.detach()).cpu().numpy()).astype(np.uint8)


def composite(colour: Float[Tensor, "h w 3"], coverage: Float[Tensor, "h w"]) -> Image:
    """A render over paper: `colour` is linear RGB already weighted by `coverage` in [0, 1]; the rest of each pixel is paper."""
    paper = linear_from_srgb(torch.tensor(PAPER).to(colour) / 255)
    return to_srgb(colour + (1 - coverage.clamp(0.0, 1.0))[..., None] * paper)


def colour_of(index: int) -> str:
    """The colour, as #rrggbb, of the object of that index everywhere on the page."""
    return PALETTE[index % len(PALETTE)]


def outline_masks(image: Image, masks: Bool[Tensor, "n h w"], indices: tuple[int, ...] | None = None, fill: float = 0.0) -> Image:
    """The image with every mask outlined in its object's colour, and filled with it by the fraction `fill`."""
    result = image.copy()
    scale = max(1, round(min(image.shape[:2]) / 400))
    for k, mask in enumerate(masks.cpu().numpy()):
        colour = _rgb(colour_of(indices[k] if indices else k))
        if fill > 0:
            result[mask] = np.round((1 - fill) * result[mask] + fill * np.array(colour)).astype(np.uint8)
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(result, contours, -1, (255, 255, 255), scale + 2)
        cv2.drawContours(result, contours, -1, colour, scale)
    return result


def label_masks(image: Image, masks: Bool[Tensor, "n h w"]) -> Image:
    """The image with every mask's index written into the mask, at the point farthest from its border."""
    result = image.copy()
    for k, mask in enumerate(masks.cpu().numpy()):
        if not mask.any():
            continue
        inside = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        v, u = np.unravel_index(inside.argmax(), inside.shape)
        (width, height), _ = cv2.getTextSize(str(k), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 2)
        corner = (int(u) - width // 2, int(v) + height // 2)
        cv2.putText(result, str(k), corner, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (20, 20, 20), 4, cv2.LINE_AA)
        cv2.putText(result, str(k), corner, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2, cv2.LINE_AA)
    return result


def colour_depth(depth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"], near: float, far: float) -> Image:
    """Depth in metres as colour, `near` bright and `far` dark; grey where there is none."""
    fraction = ((depth - near) / max(far - near, 1e-9)).clamp(0, 1).cpu().numpy()
    return _paint_where(sequential_colours(1 - fraction), valid)


def colour_error(error: Float[Tensor, "h w"], known: Bool[Tensor, "h w"], limit: float) -> Image:
    """A signed error as colour: blue at `-limit` and below, white at 0, orange at `limit` and above; grey where unknown."""
    return _paint_where(diverging_colours((0.5 + 0.5 * error / limit).clamp(0, 1).cpu().numpy()), known)


def sequential_colours(fraction: np.ndarray) -> Image:
    """Colours of fractions (h, w) in [0, 1], dark to bright, even in lightness (viridis)."""
    return cv2.applyColorMap(np.round(255 * fraction).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]


def diverging_colours(fraction: np.ndarray) -> Image:
    """Colours of fractions (h, w) in [0, 1]: blue, white at one half, orange."""
    return _interpolate_colours(_DIVERGING, fraction)


def heat_colours(fraction: np.ndarray) -> np.ndarray:
    """8-bit sRGB (..., 3) of fractions (...) in [0, 1] of an error: clay grey at 0, orange, dark red at 1."""
    return _interpolate_colours(_HEAT, fraction)


def compare_masks(mask: Bool[Tensor, "h w"], rendered: Bool[Tensor, "h w"], hidden: Bool[Tensor, "h w"]) -> Image:
    """Where mask and render agree (grey), only the mask is (blue), only the render is (orange); what hides the object is darker paper."""
    image = np.full((*mask.shape, 3), PAPER, np.uint8)
    for pixels, colour in ((hidden, UNKNOWN), (mask & rendered, (150, 150, 148)), (mask & ~rendered, _rgb("#2166ac"))):
        image[pixels.cpu().numpy()] = colour
    image[(rendered & ~mask & ~hidden).cpu().numpy()] = _rgb("#e08214")
    return image


def _interpolate_colours(stops: tuple[str, ...], fraction: np.ndarray) -> np.ndarray:
    colours = np.array([_rgb(colour) for colour in stops], dtype=np.float64)
    position = np.linspace(0, 1, len(colours))
    channels = [np.interp(fraction, position, colours[:, k]) for k in range(3)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def depth_range(depth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"], objects: Bool[Tensor, "h w"]) -> tuple[float, float]:
    """Nearest and farthest depth in metres that a picture should tell apart: the objects' (all readings where there are none) less
    the extreme 1 % at both ends, and half as much again before and behind, as far as there are readings."""
    chosen = valid & objects if (valid & objects).any() else valid
    if not chosen.any():
        return 0.0, 1.0
    near, far = np.quantile(depth[chosen].cpu().numpy(), [0.01, 0.99])
    least, most = np.quantile(depth[valid].cpu().numpy(), [0.01, 0.99])
    margin = max(0.5 * (far - near), 5e-4)
    return float(max(near - margin, min(near, least))), float(min(far + margin, max(far, most)))


def crop_box(mask: Bool[Tensor, "h w"], margin: float = 0.15) -> tuple[int, int, int]:
    """Left, top and side of a square around a mask, `margin` of its longer side wider at each edge; it may reach outside the image."""
    rows, columns = (torch.nonzero(mask.any(axis)).flatten().tolist() for axis in (1, 0))
    if not rows:
        return 0, 0, max(mask.shape)
    side = round((1 + 2 * margin) * max(rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1))
    return (columns[0] + columns[-1] + 1 - side) // 2, (rows[0] + rows[-1] + 1 - side) // 2, side


def crop_square(image: np.ndarray, box: tuple[int, int, int], size: int) -> np.ndarray:
    """The square (left, top, side) of a picture or a mask at `size` x `size` pixels; paper (or false) outside the picture."""
    left, top, side = box
    shape = (side, side, *image.shape[2:])
    square = np.zeros(shape, bool) if image.dtype == bool else np.full(shape, PAPER, np.uint8)
    rows = slice(max(0, top), min(image.shape[0], top + side))
    columns = slice(max(0, left), min(image.shape[1], left + side))
    square[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = image[rows, columns]
    if image.dtype == bool:
        return cv2.resize(square.astype(np.uint8), (size, size), interpolation=cv2.INTER_LINEAR) > 0
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if size < side else cv2.INTER_CUBIC)


def encode_png(image: Image) -> str:
    """The image as the data URI of a PNG: for drawings, maps and renders."""
    return _encode(image, ".png", [cv2.IMWRITE_PNG_COMPRESSION, 9])


def encode_jpeg(image: Image) -> str:
    """The image as the data URI of a JPEG: for photographs where a page holds many."""
    return _encode(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, 88])


def encode_film(film: bytes) -> str:
    """An animated WebP as a data URI."""
    return f"data:image/webp;base64,{base64.b64encode(film).decode()}"


def save_jpeg(image: Image, path: Path) -> None:
    """Writes the image to a JPEG file, for pages that hold too many pictures to carry them inside."""
    _, content = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 88])
    path.write_bytes(content.tobytes())


def _encode(image: Image, suffix: str, options: list[int]) -> str:
    _, content = cv2.imencode(suffix, np.ascontiguousarray(image[..., ::-1]), options)
    kind = {".png": "png", ".jpg": "jpeg"}[suffix]
    return f"data:image/{kind};base64,{base64.b64encode(content.tobytes()).decode()}"


def _paint_where(colours: Image, known: Bool[Tensor, "h w"]) -> Image:
    return np.where(known.cpu().numpy()[..., None], colours, np.array(UNKNOWN, dtype=np.uint8)).astype(np.uint8)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
