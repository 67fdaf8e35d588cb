"""The image to draw on: what `invgraphics.segment.MaskEditor` can do, by mouse, pen or finger in a notebook."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invgraphics.errors import InputError, MissingDependencyError
from invgraphics.report.images import Image, colour_of, encode_jpeg, outline_masks, to_srgb
from invgraphics.segment.editor import MaskEditor

try:
    import anywidget
    import traitlets
except ImportError as missing:
    raise MissingDependencyError(f"notebook widgets need {missing.name}: pip install 'invgraphics[notebooks]'") from missing

_FOLDER = Path(__file__).parent
_FILL = 0.45
"""How much of its object's colour a masked pixel takes."""


class MaskCanvas(anywidget.AnyWidget):
    """Shows an image with its masks and hands every gesture to an editor; the editor may be used beside it, too."""

    _esm = _FOLDER / "mask_canvas.js"
    _css = _FOLDER / "mask_canvas.css"
    plain = traitlets.Unicode().tag(sync=True)
    """The image as a data URI."""
    marked = traitlets.Unicode().tag(sync=True)
    """The image with the masks in it, as a data URI."""
    size = traitlets.List(traitlets.Int()).tag(sync=True)
    """Width and height, pixels."""
    objects = traitlets.List().tag(sync=True)
    """For each object its colour, number of pixels, box and clicks."""
    selected = traitlets.Int(0).tag(sync=True)
    """Index of the object that gestures are for."""
    status = traitlets.Unicode().tag(sync=True)
    """What came of the last gesture, in words."""

    def __init__(self, editor: MaskEditor):
        """One canvas for one editor."""
        self.editor = editor
        self._image: Image = to_srgb(editor.observation.colour)
        height, width = editor.observation.depth.shape
        super().__init__(plain=encode_jpeg(self._image), size=[width, height])
        if not editor.objects:
            editor.add_object()
        editor.on_change(self._show)
        self.on_msg(lambda widget, content, buffers: self.obey(content))
        self._show()
        self.status = f"masks by {editor.segmenter.name}; drag a box around an object, or click on it"

    def obey(self, gesture: Mapping[str, Any]) -> None:
        """Does what a gesture in the browser asks for: "box", "point", "stroke", "add", "remove" or "undo"; the status tells how it went.

        Coordinates are pixels in which pixel k reaches from k to k + 1, as a canvas has them.
        """
        try:
            self._carry_out(gesture)
        except InputError as error:
            self.status = str(error)

    def _carry_out(self, gesture: Mapping[str, Any]) -> None:
        editor, kind = self.editor, gesture["kind"]
        if kind == "add" or (kind not in ("undo", "remove") and not editor.objects):
            self.selected = editor.add_object()
        index = min(self.selected, len(editor.objects) - 1)
        if kind == "box":
            editor.set_box(index, gesture["box"])
        elif kind == "point":
            editor.click(index, gesture["x"] - 0.5, gesture["y"] - 0.5, gesture["inside"])
        elif kind == "stroke":
            editor.paint(index, [(x - 0.5, y - 0.5) for x, y in gesture["path"]], gesture["radius"], gesture["erase"])
        elif kind == "remove" and editor.objects:
            editor.remove_object(index)
        elif kind == "undo":
            editor.undo()

    def _show(self) -> None:
        """Sends the editor's state to the browser."""
        masks = self.editor.masks()
        self.selected = max(0, min(self.selected, len(masks) - 1))
        self.objects = [
            {
                "colour": colour_of(k),
                "pixels": int(mask.sum()),
                "box": item.prompt.box and list(item.prompt.box),
                "inside": [[x + 0.5, y + 0.5] for x, y in item.prompt.inside],
                "outside": [[x + 0.5, y + 0.5] for x, y in item.prompt.outside],
            }
            for k, (item, mask) in enumerate(zip(self.editor.objects, masks, strict=True))
        ]
        self.marked = encode_jpeg(outline_masks(self._image, masks, fill=_FILL))
        if self.editor.objects:
            readings = int((masks[self.selected] & self.editor.observation.valid).sum())
            self.status = f"object {self.selected}: {self.objects[self.selected]['pixels']} pixels, {readings} of them with a depth reading"
