"""Pictures of results, made with pillow and numpy alone, so that they work wherever deepbio does."""

from deepbio.render.boxes import Panel, box_plot
from deepbio.render.overlay import count_per_frame, outlines, overlay, stretch

__all__ = ["Panel", "box_plot", "count_per_frame", "outlines", "overlay", "stretch"]
