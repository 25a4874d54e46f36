"""Sequences as 3D Slicer writes them to NRRD: frames, with their interval; other lists are channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepbio.image import RGB
from deepbio.io import read, read_labels

PIXELS = np.arange(3 * 5 * 7 * 11, dtype=np.uint16).reshape(3, 5, 7, 11)
PLACE = "(-0.5,0,0) (0,0.8,0) (0,0,1.2)"
TIMES = 'labels: "" "" "" "time"\nunits: "" "" "" "ms"'


def sequence(path: Path, pixels: np.ndarray, more: str, *, kind: str = "list", first: bool = False) -> Path:
    """The header of a real file, with frames (t, z, y, x) as the last or the first axis."""
    sizes = pixels.shape[::-1] if not first else (pixels.shape[0], *pixels.shape[:0:-1])
    places, kinds = f"{PLACE} none", f"domain domain domain {kind}"
    if first:
        places, kinds, pixels = f"none {PLACE}", f"{kind} domain domain domain", np.moveaxis(pixels, 0, -1)
    head = (
        f"NRRD0004\ntype: {pixels.dtype}\ndimension: 4\nspace: left-posterior-superior\n"
        f"sizes: {' '.join(map(str, sizes))}\nspace directions: {places}\nkinds: {kinds}\n"
        f"endian: little\nencoding: raw\nspace origin: (1,2,3)\n{more}\n\n"
    )
    path.write_bytes(head.encode() + np.ascontiguousarray(pixels).tobytes())
    return path


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_sequence_has_times(tmp_path: Path, first: bool, lazy: bool) -> None:
    axis, empty = (0, '"time" "" "" ""') if first else (3, '"" "" "" "time"')
    more = (
        f"labels: {empty}\nunits: {empty.replace('time', 'ms')}\nDataNodeClassName:=vtkMRMLScalarVolumeNode\n"
        f"axis {axis} index type:=numeric\naxis {axis} index values:=0 40 80"
    )
    image = read(sequence(tmp_path / "heart.nrrd", PIXELS, more, first=first), lazy=lazy)
    assert (image.axes, image.frame_interval, image.channels) == ("TZYX", pytest.approx(0.04), ())
    assert (image.grid.spacing, image.grid.origin) == ((1.2, 0.8, 0.5), (1, 2, 3))
    np.testing.assert_array_equal(image.numpy(), PIXELS)


def test_three_frames_of_bytes_are_no_colours(tmp_path: Path) -> None:
    frames = PIXELS.astype(np.uint8)
    assert read(sequence(tmp_path / "a.seq.nrrd", frames, "")).channels == ()
    assert read(sequence(tmp_path / "a.nrrd", frames, "", kind="RGB-color")).channels == RGB


def test_labels_of_a_sequence(tmp_path: Path) -> None:
    assert read_labels(sequence(tmp_path / "a.seq.nrrd", PIXELS, TIMES)).axes == "TZYX"


@pytest.mark.parametrize(
    ("more", "interval", "told"),
    [
        ("", None, ""),
        ("axis 3 index type:=numeric\naxis 3 index values:=0 1 2", None, ""),  # of no unit: numbers of frames
        (f"{TIMES}\naxis 3 index type:=text\naxis 3 index values:=systole diastole rest", None, ""),
        (f"{TIMES}\naxis 3 index values:=0 40 90", None, "The frames are 40 to 50 ms apart"),
        (f"{TIMES}\naxis 3 index values:=80 40 0", None, "The frames are -40 to -40 ms apart"),
        (f"{TIMES}\naxis 3 index values:=10 50.1 90", 0.04, ""),
    ],
)
def test_times_of_a_sequence(tmp_path: Path, more: str, interval: float | None, told: str) -> None:
    image = read(sequence(tmp_path / "a.seq.nrrd", PIXELS, more))
    assert image.axes == "TZYX"
    assert image.frame_interval == (interval and pytest.approx(interval))
    assert " ".join(image.meta["notes"]).startswith(told)
    assert bool(image.meta["notes"]) is bool(told)


@pytest.mark.parametrize(("name", "kind", "more"), [
    ("dwi.nrrd", "list", "modality:=DWMRI\nDWMRI_gradient_0000:=0 0 0"),
    ("list.nrrd", "list", ""),
    ("vector.seq.nrrd", "vector", ""),
])  # fmt: skip
def test_other_lists_are_channels(tmp_path: Path, name: str, kind: str, more: str) -> None:
    assert read(sequence(tmp_path / name, PIXELS, more, kind=kind)).axes == "CZYX"
