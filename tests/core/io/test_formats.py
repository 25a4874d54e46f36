"""The table of formats."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deepbio.errors import ImageError
from deepbio.io import image_suffixes, read
from deepbio.io.formats import FORMATS, find_format


def test_every_suffix_leads_to_one_module_that_reads_and_writes() -> None:
    suffixes = [suffix for form in FORMATS for suffix in form.suffixes]
    assert len(suffixes) == len(set(suffixes))
    for form in FORMATS:
        backend = form.load()
        assert callable(backend.read)
        assert callable(backend.write)


@pytest.mark.parametrize(
    ("name", "form", "suffix"),
    [
        ("a.TIF", "TIFF", ".tif"),
        ("a.b.ome.tiff", "TIFF", ".ome.tiff"),
        ("a.nii.gz", "NIfTI", ".nii.gz"),
        ("a.ome.zarr", "OME-Zarr", ".ome.zarr"),
        ("a.csv", "CSV", ".csv"),
    ],
)
def test_the_longest_suffix_counts(name: str, form: str, suffix: str) -> None:
    found, what = find_format(Path(name))
    assert (found.name, what) == (form, suffix)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a.tfi", r"Did you mean \.tif"),
        ("a.niii", r"Did you mean \.nii"),
        ("a.xyz", "Known suffixes"),
        ("a", "Known suffixes"),
        ("a.czi", "Bio-Formats"),
        ("a.img", "3D Slicer"),
        ("a.hdr", "3D Slicer"),
    ],
)
def test_an_unknown_suffix_names_the_nearest(tmp_path: Path, name: str, hint: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"pixels of some kind")
    with pytest.raises(ImageError, match="not a known image format") as caught:
        read(path)
    assert re.search(hint, caught.value.hint)
    path.unlink()
    with pytest.raises(ImageError, match="does not exist"):  # which matters more than its suffix
        read(path)


def test_tables_are_not_images(tmp_path: Path) -> None:
    assert ".csv" not in image_suffixes()
    with pytest.raises(ImageError, match="is a table"):
        read(tmp_path / "a.csv")
