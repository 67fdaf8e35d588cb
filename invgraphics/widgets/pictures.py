"""A picture that changes in place."""

import base64
from typing import Any

from invgraphics.errors import MissingDependencyError
from invgraphics.report.images import Image, encode_jpeg

try:
    import ipywidgets
except ImportError as missing:
    raise MissingDependencyError(f"notebook widgets need {missing.name}: pip install 'invgraphics[notebooks]'") from missing


class Picture(ipywidgets.Image):
    """An 8-bit sRGB picture (h, w, 3) in a notebook, as wide as its pixels or as `width` says."""

    def __init__(self, image: Image, width: int | None = None):
        """`width` in CSS pixels."""
        layout = ipywidgets.Layout(width=f"{width or image.shape[1]}px", max_width="100%")
        super().__init__(value=_encode(image), format="jpeg", layout=layout)

    def show(self, image: Image) -> None:
        """Shows another picture in the same place, at once, also while a cell is still running."""
        self.value = _encode(image)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str] | None:
        """With the picture itself, for pages that show notebooks without running them."""
        bundle = super()._repr_mimebundle_(**kwargs)
        return bundle and bundle | {"image/jpeg": base64.b64encode(self.value).decode()}


def _encode(image: Image) -> bytes:
    return base64.b64decode(encode_jpeg(image).partition(",")[2])
