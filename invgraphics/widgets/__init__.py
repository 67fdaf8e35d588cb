"""Things to draw on and to turn in JupyterLab. They need anywidget: `pip install 'invgraphics[notebooks]'`."""

from invgraphics.widgets.mask_canvas import MaskCanvas
from invgraphics.widgets.pictures import Picture

__all__ = ["MaskCanvas", "Picture"]
