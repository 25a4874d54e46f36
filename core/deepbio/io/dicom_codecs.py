"""Decoders of compressed DICOM pixels that pydicom alone does not have, from imagecodecs.

pydicom reads uncompressed, deflated and run-length pixels itself and has Pillow read 8-bit JPEG and
JPEG 2000. What is left, JPEG lossless, 12-bit JPEG, JPEG-LS and high-throughput JPEG 2000, is
registered here as pydicom's decoder plug-ins, so that all of these are read without a further package.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom import uid
from pydicom.pixels import get_decoder

from deepbio.errors import ImageError

__all__ = ["DECODER_DEPENDENCIES", "check_syntax", "decode_frame", "is_available"]

_CODECS = {  # transfer syntax -> name of the codec in imagecodecs
    uid.JPEGExtended12Bit: "jpeg8",
    uid.JPEGLossless: "ljpeg",
    uid.JPEGLosslessSV1: "ljpeg",
    uid.JPEGLSLossless: "jpegls",
    uid.JPEGLSNearLossless: "jpegls",
    uid.JPEG2000Lossless: "jpeg2k",
    uid.JPEG2000: "jpeg2k",
    uid.HTJ2KLossless: "jpeg2k",
    uid.HTJ2KLosslessRPCL: "jpeg2k",
    uid.HTJ2K: "jpeg2k",
}
_NAME = "imagecodecs"
_FROM_YBR = ("YBR_ICT", "YBR_RCT")  # JPEG 2000 decodes these to RGB on its own

DECODER_DEPENDENCIES = dict.fromkeys(_CODECS, ("imagecodecs>=2024.1",))  # pydicom reads it


def is_available(syntax: str) -> bool:
    """Whether this build of imagecodecs has the codec (pydicom asks when the plug-in is added)."""
    import imagecodecs

    return syntax in _CODECS and getattr(imagecodecs, _CODECS[uid.UID(syntax)].upper()).available


def decode_frame(source: bytes, runner: Any) -> bytearray:
    """Decode one frame for pydicom.

    Parameters
    ----------
    source : bytes
        The compressed frame.
    runner : pydicom.pixels.decoders.base.DecodeRunner
        What the header says; told how the bytes that are returned are laid out.

    Returns
    -------
    bytearray
        Pixels, colours interleaved, in as many bytes as the codec's precision needs.
    """
    import imagecodecs

    syntax = uid.UID(runner.transfer_syntax)
    pixels = getattr(imagecodecs, f"{_CODECS[syntax]}_decode")(source)
    runner.set_option("bits_allocated", 8 * pixels.dtype.itemsize)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
    if _CODECS[syntax] == "jpeg2k" and runner.photometric_interpretation in _FROM_YBR:
        runner.set_option("photometric_interpretation", "RGB")
    return bytearray(np.ascontiguousarray(pixels).tobytes())


def check_syntax(syntax: str) -> None:
    """Make sure that pixels of a transfer syntax can be read, adding our decoder where pydicom has none.

    Raises
    ------
    ImageError
        If nothing that is installed reads it; the message names the syntax.
    """
    known = uid.UID(syntax)
    try:
        decoder = get_decoder(known)
    except NotImplementedError as error:
        raise _unreadable(known) from error
    names = (*decoder.available_plugins, *decoder.missing_dependencies)
    if known in _CODECS and not any(name.startswith(_NAME) for name in names):
        decoder.add_plugin(_NAME, (__name__, "decode_frame"))
    if not decoder.is_available:
        raise _unreadable(known)


def _unreadable(syntax: uid.UID) -> ImageError:
    name = syntax.name if syntax.name != str(syntax) else "not in the standard"
    if "MPEG" in name or "HEVC" in name:
        hint = "It is a video: convert it to frames first, for example with 3D Slicer or ffmpeg."
    else:
        hint = "Decompress the files, for example with 'dcmdjpeg', 'gdcmconv --raw' or 3D Slicer."
    return ImageError(
        f"Its pixels are compressed as '{name}' (transfer syntax {syntax}), which cannot be read here.", hint
    )
