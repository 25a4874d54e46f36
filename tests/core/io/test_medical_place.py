"""What headers say about places beyond what SimpleITK tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from deepbio.image import Image
from deepbio.io import read, write

SHAPE = (5, 7, 11)


def _nrrd(path: Path, fields: str) -> Path:
    head = f"NRRD0005\ntype: uchar\ndimension: 3\nsizes: 11 7 5\nencoding: raw\n{fields}\n\n"
    path.write_bytes(head.encode() + bytes(np.prod(SHAPE)))
    return path


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("um", 1e-3), ("microns", 1e-3), ("nm", 1e-6), ("mm", 1.0), ("m", 1e3), ("furlong", 1.0), ("", 1.0)],
)
@pytest.mark.parametrize("kind", ["space units", "units"])
def test_units_of_nrrd(tmp_path: Path, kind: str, unit: str, factor: float) -> None:
    place = "spacings: 0.5 0.8 1.2"
    if kind == "space units":
        place = "space: left-posterior-superior\nspace directions: (0.5,0,0) (0,0.8,0) (0,0,1.2)\nspace origin: (1,2,3)"
    grid = read(_nrrd(tmp_path / "a.nrrd", f'{place}\n{kind}: "{unit}" "{unit}" "{unit}"')).grid
    assert grid.unit == "millimeter"
    assert grid.spacing == pytest.approx((1.2 * factor, 0.8 * factor, 0.5 * factor))
    if kind == "space units":
        assert grid.origin == pytest.approx((factor, 2 * factor, 3 * factor))


def test_units_of_nrrd_that_contradict_each_other(tmp_path: Path) -> None:
    path = _nrrd(tmp_path / "a.nrrd", 'spacings: 0.5 0.8 1.2\nunits: "um" "um" "mm"')
    assert read(path).grid.spacing == (1.2, 0.8, 0.5)


def test_axes_of_another_length_are_spacing(tmp_path: Path) -> None:
    (tmp_path / "a.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nBinaryData = True\nTransformMatrix = 2 0 0 0 0 3 0 -1 0\n"
        b"Offset = 10 20 30\nElementSpacing = 0.5 0.8 1.2\nDimSize = 11 7 5\nElementType = MET_UCHAR\n"
        b"ElementDataFile = LOCAL\n" + bytes(np.prod(SHAPE))
    )
    grid = read(tmp_path / "a.mha").grid
    assert grid.spacing == pytest.approx((1.2, 2.4, 1.0))
    np.testing.assert_allclose(np.linalg.norm(grid.direction, axis=0), 1)
    np.testing.assert_allclose(grid.to_world((1, 1, 1)), (11, 18.8, 32.4))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_sheared_axes_are_told(tmp_path: Path, oblique, suffix: str) -> None:
    direction = np.array([[0, 0, 1], [0, 1, 0], [np.cos(0.2), np.sin(0.2), 0]]).T
    for name, grid in (("straight", oblique(3)), ("slanted", oblique(3).replace(direction=direction))):
        write(tmp_path / f"{name}{suffix}", Image(np.zeros(SHAPE, np.uint8), "ZYX", grid))
    assert read(tmp_path / f"straight{suffix}").meta["notes"] == ()
    (note,) = read(tmp_path / f"slanted{suffix}").meta["notes"]
    assert "sheared by up to 11.5 degrees" in note


def _with_sform(path: Path, oblique, change: float) -> Path:
    """A NIfTI whose sform, for aligned images (2), has its x moved by so many mm."""
    write(path, Image(np.zeros(SHAPE, np.uint8), "ZYX", oblique(3)))
    content = bytearray(path.read_bytes())
    content[254:256] = (2).to_bytes(2, "little")
    moved = np.frombuffer(content[292:296], "<f4") + np.float32(change)
    content[292:296] = moved.tobytes()
    path.write_bytes(content)
    return path


def test_an_sform_of_another_place_is_told(tmp_path: Path, oblique) -> None:
    same, other = (_with_sform(tmp_path / f"{n}.nii", oblique, n) for n in (0, 25))
    assert read(same).meta["notes"] == ()
    (note,) = read(other).meta["notes"]
    assert "up to 25 mm apart" in note
    assert read(other).grid == read(same).grid  # as SimpleITK and 3D Slicer place it


def test_an_sform_in_micrometers_agrees(tmp_path: Path, oblique) -> None:
    path = _with_sform(tmp_path / "a.nii", oblique, 0)
    content = bytearray(path.read_bytes())
    content[123] = 3  # xyzt_units: micrometers
    path.write_bytes(content)
    assert read(path).meta["notes"] == ()
    assert read(path).grid.spacing == pytest.approx([s / 1000 for s in oblique(3).spacing])
    assert SimpleITK.ReadImage(str(path)).GetSpacing()[::-1] == pytest.approx(read(path).grid.spacing)
