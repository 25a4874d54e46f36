"""The picture of a segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepbio.errors import OptionError
from deepbio.render.overlay import overlay

if TYPE_CHECKING:
    from PIL import Image as Picture

    from deepbio.image import Image
    from deepbio.library import ModelCard
    from deepbio.tasks import Result

__all__ = ["picture"]


def picture(image: Image | None, result: Result, card: ModelCard | None, title: str) -> Picture.Image:
    """Draw an image, its outlined objects and its labels side by side; see `overlay`.

    Raises
    ------
    OptionError
        If the model gave no labels.
    """
    if image is None or result.labels is None:
        raise OptionError("This model gives no labels to draw.", "Leave 'overlay' out of --save.")
    return overlay(image, result.labels, title=title)
