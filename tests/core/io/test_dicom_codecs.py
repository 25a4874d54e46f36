"""Compressed DICOM pixels: the same values as uncompressed, and what cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import UID, HTJ2KLossless, JPEG2000Lossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless

from deepbio.errors import ImageError
from deepbio.io import read
from deepbio.io.dicom_codecs import check_syntax

SHIPPED = Path(get_testdata_file("CT_small.dcm", download=False)).parent


@pytest.mark.parametrize(
    "name",
    [
        "JPGExtended.dcm",  # 12 bits
        "JPEG-lossy.dcm",
        "JPEG2000.dcm",
        "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "GDCMJ2K_TextGBR.dcm",
        "SC_rgb_jpeg_gdcm.dcm",  # JPEG lossless
        "SC_rgb_gdcm_KY.dcm",
        "SC_rgb_jls_lossy_line.dcm",
        "SC_rgb_jls_lossy_sample.dcm",
        "693_J2KI.dcm",
    ],
)
def test_shipped_files_read_as_simpleitk_reads_them(name: str) -> None:
    mine = read(SHIPPED / name).numpy()
    other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(SHIPPED / name))).squeeze()
    mine = np.moveaxis(mine, 0, -1) if other.ndim == 3 else mine.squeeze()
    np.testing.assert_array_equal(mine, other)


def sof3(pixels: np.ndarray) -> bytes:
    return imagecodecs.ljpeg_encode(pixels.view(np.uint16), bitspersample=16)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEGLossless, sof3),
        (JPEGLosslessSV1, sof3),
        (JPEGLSLossless, lambda pixels: imagecodecs.jpegls_encode(pixels.view(np.uint16))),
        (JPEG2000Lossless, lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k")),
        (HTJ2KLossless, imagecodecs.htj2k_encode),
    ],
    ids=["JPEG lossless", "JPEG lossless SV1", "JPEG-LS", "JPEG 2000", "HTJ2K"],
)
def test_lossless_is_lossless(tmp_path: Path, syntax: UID, encode) -> None:
    dataset = pydicom.dcmread(SHIPPED / "MR_small.dcm")
    pixels = dataset.pixel_array - np.int16(700)  # negative values, too
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([encode(np.ascontiguousarray(pixels))])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read(tmp_path / "a.dcm").numpy()[0], pixels)


@pytest.mark.parametrize(
    ("syntax", "name", "hint"),
    [
        ("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile / Main Level", "video"),
        ("1.2.840.10008.1.2.4.94", "JPIP Referenced", "Decompress"),
        ("1.2.3.4.5", "not in the standard", "Decompress"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, syntax: str, name: str, hint: str) -> None:
    dataset = pydicom.dcmread(SHIPPED / "MR_small.dcm")
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([b"\0\1"])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(tmp_path / "a.dcm", implicit_vr=False, little_endian=True)
    with pytest.raises(ImageError) as caught:
        read(tmp_path / "a.dcm", lazy=True)
    assert f"'{name}' (transfer syntax {syntax})" in caught.value.message
    assert "a.dcm" in caught.value.message
    assert hint in caught.value.hint


def test_our_decoder_is_added_once() -> None:
    for _ in range(3):
        check_syntax(JPEGLossless)


def test_a_codec_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from deepbio.io import dicom_codecs

    class Decoder:
        available_plugins = ()
        missing_dependencies = ("gdcm requires gdcm>=3.0.10",)
        is_available = False

        def add_plugin(self, label: str, path: tuple[str, str]) -> None:
            assert path == ("deepbio.io.dicom_codecs", "decode_frame")

    monkeypatch.setattr(dicom_codecs, "get_decoder", lambda syntax: Decoder())
    with pytest.raises(ImageError, match="JPEG-LS Lossless"):
        check_syntax(JPEGLSLossless)


def test_colours_of_16_bits() -> None:
    image = read(SHIPPED / "SC_rgb_rle_16bit.dcm")  # GDCM mixes up its planes
    assert image.numpy()[:, 5, 5].tolist() == [65535, 0, 0]
