"""PNG and JPEG: plain pictures, without spacing.

Grey of 8 and 16 bits, colour and palettes are read as what they show; of a label map in a palette
PNG, the indices are the labels. An opaque alpha channel is dropped; a transparent one is an error,
since no background would be the right one. The order of the pixels is that of the file: an
orientation that a camera noted is not applied (ImageJ does not either), but told in the notes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from deepbio.errors import ImageError, OutputError
from deepbio.image import RGB, Image, LabelMap, Table
from deepbio.io.arrays import Deferred, OpaqueColour
from deepbio.io.files import first_bytes
from deepbio.io.labels import label_type

__all__ = ["read", "write"]

_QUALITY = 95  # JPEG: losses that are hardly visible
_ORIENTATION = 0x0112  # EXIF
_DEEP_SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}  # PNG colour type -> samples a pixel
_SAMPLES = {"1": 1, "L": 1, "P": 1, "LA": 2, "RGB": 3, "RGBA": 4}
_WITH_ALPHA = {"1": "LA", "L": "LA", "P": "RGBA", "RGB": "RGBA"}


class _Plan(NamedTuple):
    """How a picture is decoded: by Pillow into `mode`, or by libpng where a sample has 16 bits."""

    mode: str  # "" for libpng
    samples: int
    dtype: type


def read(path: Path, *, lazy: bool, labels: bool) -> Image:
    """Read a PNG or JPEG.

    Raises
    ------
    ImageError
        If it is not one, is cut off, is transparent, or its colours are neither grey nor RGB.
    """
    with _opened(path) as picture:
        plan = _plan(path, picture, labels)
        width, height = picture.size
        meta = {"format": picture.format, "notes": _notes(picture)}
    shape = (height, width) if plan.samples == 1 else (plan.samples, height, width)
    array = Deferred(shape, plan.dtype, lambda: _decode(path, plan))
    if plan.samples == 1:
        return Image(array if lazy else array[...], meta=meta)
    pixels = OpaqueColour(array, 0, path.name) if plan.samples in (2, 4) else array
    if plan.samples == 2:
        return Image(pixels[0], meta=meta)
    return Image(pixels if lazy else pixels[...], "CYX", channels=RGB, meta=meta)


def write(path: Path, item: Image | LabelMap | Table) -> None:
    """Write a 2D picture: grey or RGB of 8 bits, in PNG also of 16 bits.

    Spacing and names are not kept. Label maps are written as 16-bit grey PNG, never as JPEG, whose
    losses would make new labels.

    Raises
    ------
    OutputError
        If the format cannot hold it.
    """
    is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    if isinstance(item, LabelMap):
        pixels = _label_pixels(path, item, is_jpeg)
    elif isinstance(item, Image) and (item.axes == "YX" or (item.axes == "CYX" and item.is_rgb)):
        pixels = item.numpy() if item.axes == "YX" else np.ascontiguousarray(np.moveaxis(item.numpy(), 0, -1))
    else:
        axes = getattr(item, "axes", "no")
        raise OutputError(
            f"'{path}': a picture holds one plane, grey or RGB; the image has axes {axes}.", "Write a .tif."
        )
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    allowed = (np.uint8,) if is_jpeg else (np.uint8, np.uint16)
    if pixels.dtype not in allowed:
        names = " or ".join(np.dtype(kind).name for kind in allowed)
        raise OutputError(
            f"'{path}': this format holds {names}, the image is {pixels.dtype}.", "Write a .tif."
        )
    if pixels.dtype == np.uint16:
        import imagecodecs

        path.write_bytes(imagecodecs.png_encode(pixels))
    elif is_jpeg:
        Pillow.fromarray(pixels).save(path, format="JPEG", quality=_QUALITY, subsampling=0)
    else:
        Pillow.fromarray(pixels).save(path, format="PNG")


def _label_pixels(path: Path, labels: LabelMap, is_jpeg: bool) -> np.ndarray:
    dtype, highest = label_type(labels)
    if is_jpeg:
        raise OutputError(f"'{path}': JPEG is lossy and would change the labels.", "Write a .tif or .png.")
    if labels.axes != "YX" or dtype != np.uint16:
        raise OutputError(
            f"'{path}': a PNG holds one plane of labels up to 65535; "
            f"found axes {labels.axes}, labels up to {highest}.",
            "Write a .tif.",
        )
    return labels.numpy().astype(np.uint16)


@contextmanager
def _opened(path: Path) -> Iterator[Pillow.Image]:
    """Open with Pillow; its guard against giants becomes our error, its half-way warning is dropped."""
    expected = "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            picture = Pillow.open(path, formats=(expected,))
    except UnidentifiedImageError as error:
        raise ImageError(
            f"'{path}' is not a {expected} image: {first_bytes(path)}.", "Check the suffix."
        ) from error
    except Pillow.DecompressionBombError as error:
        raise ImageError(
            f"'{path}' is too large for this format: {error}", "Convert it to a tiled TIFF."
        ) from error
    with picture:
        yield picture


def _plan(path: Path, picture: Pillow.Image, labels: bool) -> _Plan:
    if picture.format == "PNG":
        with path.open("rb") as file:
            depth, colour = file.read(26)[24:26]  # of the header chunk IHDR
        if depth == 16:
            return _Plan("", _DEEP_SAMPLES[colour], np.uint16)
    mode = picture.mode
    if mode == "P" and labels:
        return _Plan("P", 1, np.uint8)
    if mode not in _SAMPLES:
        raise ImageError(
            f"'{path}' has the colour type {mode}; expected grey, RGB or a palette.", "Convert it to RGB."
        )
    if "transparency" in picture.info and mode in _WITH_ALPHA:
        mode = _WITH_ALPHA[mode]
    elif mode == "P":
        mode = "L" if _is_grey(picture) else "RGB"
    return _Plan(mode, _SAMPLES[mode], bool if mode == "1" else np.uint8)


def _is_grey(picture: Pillow.Image) -> bool:
    table = np.reshape(picture.getpalette("RGB") or [], (-1, 3))
    return bool((table == table[:, :1]).all())


def _notes(picture: Pillow.Image) -> tuple[str, ...]:
    turned = picture.getexif().get(_ORIENTATION, 1) != 1
    return ("The camera noted that the picture is turned; the pixels are as stored.",) if turned else ()


def _decode(path: Path, plan: _Plan) -> np.ndarray:
    """Decode the pixels, channels first."""
    try:
        if plan.mode:
            with _opened(path) as picture:
                pixels = np.array(picture if picture.mode == plan.mode else picture.convert(plan.mode))
        else:
            import imagecodecs

            pixels = imagecodecs.png_decode(path.read_bytes())
    except (OSError, RuntimeError, SyntaxError) as error:  # Pillow raises SyntaxError for broken chunks
        raise ImageError(f"'{path}' is damaged or cut off: {error}.", "Export or copy it again.") from error
    return pixels if plan.samples == 1 else np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
